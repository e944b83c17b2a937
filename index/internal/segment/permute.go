package segment

import "math/bits"

// Value is the bits of a row: 256 of them, or fewer, the rest 0. Bit i is bit i%64 of word i/64.
type Value = [4]uint64

// Permute deals out the bits of a 256-bit hash so that no chunk of 16 gathers bits of one kind.
//
// PDQ's bits are the signs of a 16 x 16 matrix of frequencies, bit 16*i+j that of row i, column j
// (pdqhashing.cpp, pdqBuffer16x16ToBits). Neighbours in a row resemble each other from picture to
// picture, and tables by rows would have a quarter more in their buckets than chance has it. Chunk t
// of a permuted hash is the t-th diagonal instead, a Latin square: its bit i is bit (i+t)%16 of row i,
// so that each chunk has one bit of every row and of every column. Distances remain what they were.
func Permute(v Value) Value {
	for i := range 16 {
		setRow(&v, i, bits.RotateLeft16(row(&v, i), -i))
	}
	return transpose(v)
}

// Restore undoes [Permute].
func Restore(v Value) Value {
	v = transpose(v)
	for i := range 16 {
		setRow(&v, i, bits.RotateLeft16(row(&v, i), i))
	}
	return v
}

func row(v *Value, i int) uint16 { return uint16(v[i/4] >> (i % 4 * 16)) }

func setRow(v *Value, i int, r uint16) {
	at := i % 4 * 16
	v[i/4] = v[i/4]&^(0xffff<<at) | uint64(r)<<at
}

// transpose turns the 16 x 16 bits over: bit j of row i becomes bit i of row j. Blocks change places,
// then the blocks in them (Warren, "Hacker's Delight", 2nd ed., 7-3).
func transpose(v Value) Value {
	v[0], v[2] = swap(v[0], v[2], 8, 0x00ff00ff00ff00ff)
	v[1], v[3] = swap(v[1], v[3], 8, 0x00ff00ff00ff00ff)
	v[0], v[1] = swap(v[0], v[1], 4, 0x0f0f0f0f0f0f0f0f)
	v[2], v[3] = swap(v[2], v[3], 4, 0x0f0f0f0f0f0f0f0f)
	for i, w := range v {
		v[i] = within(within(w, 32-2, 0x0000_0000_cccc_cccc), 16-1, 0x0000_aaaa_0000_aaaa)
	}
	return v
}

// swap exchanges the bits of y that the mask names with those of x that stand n above them.
func swap(x, y uint64, n uint, mask uint64) (uint64, uint64) {
	d := (x>>n ^ y) & mask
	return x ^ d<<n, y ^ d
}

// within exchanges bits of one word: those that the mask names, and those n above them.
func within(w uint64, n uint, mask uint64) uint64 {
	d := (w>>n ^ w) & mask
	return w ^ d ^ d<<n
}
