package kernel_test

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"vigie/index/internal/kernel"
)

// poison fills the places that a kernel must not write to.
const poison = 0xdeadbeef

// agree runs a scan with each kernel and returns the results, which must be the same, as must be what
// each call wrote and did. scan goes on at a position below end, and writes to out, which has room
// places, more if the scan gets nowhere; mayStall says that this may happen. Places beyond out are
// poisoned, and must stay so.
func agree[T comparable](t testing.TB, end, room int, mayStall bool, bad T, scan func(from int, out []T) (n, done int)) (results []T) {
	t.Helper()
	type call struct{ n, done int }
	run := func() (results []T, calls []call) {
		room := room
		for at := 0; at < end; {
			memory := slices.Repeat([]T{bad}, room+32)
			n, done := scan(at, memory[:room:room])
			if n < 0 || n > room || done < 0 || at+done > end || done == 0 && (n != 0 || !mayStall) {
				t.Fatalf("from %d of %d, with room for %d: %d results, %d done", at, end, room, n, done)
			}
			for _, v := range memory[room:] {
				if v != bad {
					t.Fatalf("from %d of %d: wrote beyond the room for %d", at, end, room)
				}
			}
			if done == 0 {
				room *= 2
			}
			results, calls = append(results, memory[:n]...), append(calls, call{n, done})
			at += done
		}
		return results, calls
	}
	defer kernel.Use(kernel.Kernel())
	kernel.Use("portable")
	results, calls := run()
	for _, name := range kernel.Kernels()[:len(kernel.Kernels())-1] {
		kernel.Use(name)
		gotResults, gotCalls := run()
		if !slices.Equal(gotCalls, calls) {
			t.Fatalf("%s: results and progress of the calls\n%v, want\n%v", name, gotCalls, calls)
		}
		if !slices.Equal(gotResults, results) {
			t.Fatalf("%s: results\n%v, want\n%v", name, gotResults, results)
		}
	}
	return results
}

// near returns v with about 32 bits flipped, or 16, 8, 4, 2, 1, none.
func near(r *rand.Rand, v uint64) uint64 {
	flips := r.Uint64()
	for range r.IntN(7) {
		flips &= r.Uint64()
	}
	return v ^ flips
}

// makeRows returns rows, of which a part of share is near q.
func makeRows(r *rand.Rand, n int, q *[4]uint64, share float64) [][4]uint64 {
	rows := make([][4]uint64, n)
	for i := range rows {
		for w := range rows[i] {
			rows[i][w] = r.Uint64()
			if r.Float64() < share {
				rows[i][w] = near(r, q[w])
			}
		}
	}
	return rows
}

// planes lays out rows, a multiple of 8, in memory that begins offset words off a cache line.
func planes(rows [][4]uint64, offset int) (a, b []uint64) {
	a, b = aligned(2*len(rows), offset), aligned(2*len(rows), offset)
	for i, row := range rows {
		at := i/8*16 + i%8
		a[at], a[at+8], b[at], b[at+8] = row[0], row[1], row[2], row[3]
	}
	return a, b
}

// aligned returns n words that begin offset words off a cache line, and end where their memory ends.
func aligned(n, offset int) []uint64 {
	memory := make([]uint64, n+16)
	start := offset + (64-address(memory)%64)%64/8
	return memory[start : start+n : start+n]
}

func queries8(r *rand.Rand, q *[4]uint64) (all [8][2]uint64) {
	for i := range all {
		all[i] = [2]uint64{near(r, q[0]), near(r, q[1])}
	}
	return all
}

// want lists the numbers of the rows at most radius from q by their first words.
func want(rows [][4]uint64, q []uint64, radius int) (numbers []uint32) {
	for i, row := range rows {
		d := 0
		for w := range q {
			d += bits.OnesCount64(row[w] ^ q[w])
		}
		if d <= radius {
			numbers = append(numbers, uint32(i))
		}
	}
	return numbers
}

func same[T comparable](t testing.TB, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// checkFlat compares all flat scans of n rows with their definition.
func checkFlat(t testing.TB, r *rand.Rand, n, offset, radius, room int, share float64) {
	t.Helper()
	q := [4]uint64{r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()}
	rows := makeRows(r, (n+7)/8*8, &q, share)
	a, b := planes(rows, offset)

	got := agree(t, len(a)/16, room, false, poison, func(from int, out []uint32) (n, blocks int) {
		n, blocks = kernel.Flat128(a[from*16:], q[0], q[1], radius, out)
		add(out[:n], from*8)
		return n, blocks
	})
	same(t, "Flat128", got, want(rows, q[:2], radius))

	got = agree(t, len(a)/16, room, false, poison, func(from int, out []uint32) (n, blocks int) {
		n, blocks = kernel.Flat256(a[from*16:], b[from*16:], &q, radius, out)
		add(out[:n], from*8)
		return n, blocks
	})
	same(t, "Flat256", got, want(rows, q[:], radius))

	words := aligned(n, offset)
	for i := range words {
		words[i] = rows[i][0]
	}
	got = agree(t, n, room, false, poison, func(from int, out []uint32) (n, read int) {
		n, read = kernel.Flat64(words[from:], q[0], radius, out)
		add(out[:n], from)
		return n, read
	})
	same(t, "Flat64", got, want(rows[:n], q[:1], radius))

	type hit struct {
		row   uint32
		query uint8
	}
	all := queries8(r, &q)
	hits := agree(t, len(a)/16, room+56, false, hit{row: poison}, func(from int, out []hit) (n, blocks int) {
		found := slices.Repeat([]uint32{poison}, len(out)+32)
		by := slices.Repeat([]uint8{poison & 0xff}, len(out)+32)
		n, blocks = kernel.Flat128x8(a[from*16:], &all, radius, found[:len(out)], by[:len(out)])
		for i := range n {
			out[i] = hit{found[i] + uint32(from*8), by[i]}
		}
		for i := len(out); i < len(found); i++ {
			if found[i] != poison || by[i] != poison&0xff {
				t.Fatalf("Flat128x8 wrote beyond the room for %d", len(out))
			}
		}
		return n, blocks
	})
	var wantHits []hit
	for block := 0; block < len(rows); block += 8 {
		for k := range all {
			for _, i := range want(rows[block:block+8], all[k][:], radius) {
				wantHits = append(wantHits, hit{uint32(block) + i, uint8(k)})
			}
		}
	}
	same(t, "Flat128x8", hits, wantHits)
}

func add(numbers []uint32, n int) {
	for i := range numbers {
		numbers[i] += uint32(n)
	}
}

func TestFlatScansOfEveryLength(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	radii := []int{math.MinInt, -1, 0, 9, 31, 63, 64, 70, 127, 128, 200, 256, math.MaxInt}
	for n := range 201 {
		for i := range 5 {
			radius := radii[(5*n+i)%len(radii)]
			share := []float64{0, 0.1, 1}[r.IntN(3)]
			room := []int{8, 9, 15, 16, 17, 64, 1000}[r.IntN(7)]
			checkFlat(t, r, n, (n+i)%8, radius, room, share)
		}
	}
}

func TestFlatScansOfRandomLengths(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 40 {
		checkFlat(t, r, r.IntN(5000), r.IntN(8), r.IntN(260), 8+r.IntN(300), r.Float64())
	}
}

// A query equal to a row is found wherever the row is.
func TestFlatScansFindARowAnywhere(t *testing.T) {
	const n = 200
	r := rand.New(rand.NewPCG(5, 6))
	rows := makeRows(r, n, &[4]uint64{}, 0)
	a, b := planes(rows, 0)
	for i, q := range rows {
		one := []uint32{uint32(i)}
		same(t, "Flat128", agree(t, n/8, 8, false, poison, func(from int, out []uint32) (int, int) {
			n, blocks := kernel.Flat128(a[from*16:], q[0], q[1], 31, out)
			add(out[:n], from*8)
			return n, blocks
		}), one)
		same(t, "Flat256", agree(t, n/8, 8, false, poison, func(from int, out []uint32) (int, int) {
			n, blocks := kernel.Flat256(a[from*16:], b[from*16:], &q, 31, out)
			add(out[:n], from*8)
			return n, blocks
		}), one)
		if d := kernel.Distance(a, b, uint32(i), &q); d != 0 {
			t.Errorf("row %d is %d from itself", i, d)
		}
	}
}

func TestDistance(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	q := [4]uint64{1, 2, 3, math.MaxUint64}
	rows := makeRows(r, 64, &q, 0.5)
	a, b := planes(rows, 0)
	for i, row := range rows {
		d := 0
		for w := range q {
			d += bits.OnesCount64(q[w] ^ row[w])
		}
		if got := kernel.Distance(a, b, uint32(i), &q); got != d {
			t.Errorf("row %d: got %d, want %d", i, got, d)
		}
	}
}

// table returns sketches, a part of share near q, in buckets of the sizes given, with their directory.
// The padding is like q, so that whoever reads it finds what must not be reported.
func table(r *rand.Rand, q uint32, sizes []int, offset int, share float64) (off, sketch []uint32) {
	off = make([]uint32, 1, len(sizes)+1)
	n := 0
	for _, size := range sizes {
		n += size
		off = append(off, uint32(n))
	}
	memory := make([]uint32, offset+n+kernel.Padding)
	for i := range memory {
		memory[i] = q
	}
	sketch = memory[offset : offset+n]
	for i := range sketch {
		sketch[i] = r.Uint32()
		if r.Float64() < share {
			sketch[i] = uint32(near(r, uint64(q)))
		}
	}
	return off, sketch
}

// checkProbe compares Ranges and Scan with their definition. sizes has 1<<n buckets.
func checkProbe(t testing.TB, r *rand.Rand, sizes []int, offset, limit, room int, share float64) {
	t.Helper()
	q, c := r.Uint32(), uint16(r.Uint32())
	off, sketch := table(r, q, sizes, offset, share)
	shift := uint(16 - bits.Len(uint(len(sizes)-1)))
	masks := make([]uint16, r.IntN(60))
	for i := range masks {
		masks[i] = uint16(r.Uint32())
	}

	kernel.Prefetch(off, masks, c, shift)
	var wantRanges []kernel.Range
	wantTotal := 0
	for _, m := range masks {
		k := int(c^m) >> shift
		wantRanges = append(wantRanges, kernel.Range{Lo: off[k], Hi: off[k+1]})
		wantTotal += sizes[k]
	}
	ranges := agree(t, 1, len(masks)+1, false, kernel.Range{Lo: poison}, func(_ int, out []kernel.Range) (int, int) {
		out[len(masks)] = kernel.Range{Lo: 77}
		if total := kernel.Ranges(off, masks, c, shift, sketch, out); total != wantTotal {
			t.Fatalf("%s: Ranges counts %d, want %d", kernel.Kernel(), total, wantTotal)
		}
		if (out[len(masks)] != kernel.Range{Lo: 77}) {
			t.Fatalf("%s: Ranges wrote more than %d", kernel.Kernel(), len(masks))
		}
		return len(masks), 1
	})
	same(t, "Ranges", ranges, wantRanges)

	got := agree(t, len(ranges), room, true, poison, func(from int, out []uint32) (int, int) {
		return kernel.Scan(sketch, ranges[from:], q, limit, out)
	})
	var wantPositions []uint32
	for _, b := range ranges {
		for p := b.Lo; p < b.Hi; p++ {
			if bits.OnesCount32(sketch[p]^q) <= limit {
				wantPositions = append(wantPositions, p)
			}
		}
	}
	same(t, "Scan", got, wantPositions)
}

// The limits that sketches are tested with.
var limits = []int{math.MinInt, -1, 0, 1, 4, 9, 15, 16, 31, 32, 33, 256, math.MaxInt}

func TestProbesOfEveryBucketSize(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for size := range 201 {
		for i := range 5 {
			limit := limits[(5*size+i)%len(limits)]
			sizes := []int{size, r.IntN(40), size, 0}
			checkProbe(t, r, sizes, (size+i)%16, limit, 1+r.IntN(300), []float64{0, 0.1, 1}[r.IntN(3)])
		}
	}
}

func TestProbesOfRandomDirectories(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for width := range 11 {
		for range 20 {
			sizes := make([]int, 1<<width)
			for i := range sizes {
				sizes[i] = r.IntN(1 + r.IntN(100))
			}
			checkProbe(t, r, sizes, r.IntN(16), r.IntN(33), 1+r.IntN(500), r.Float64())
		}
	}
	sizes := make([]int, 1<<16)
	for i := range sizes {
		sizes[i] = r.IntN(3)
	}
	checkProbe(t, r, sizes, 0, 12, 100, 0.5)
}

// An empty table has no padding.
func TestScanOfNothing(t *testing.T) {
	for _, name := range kernel.Kernels() {
		t.Run(name, func(t *testing.T) {
			defer kernel.Use(kernel.Kernel())
			kernel.Use(name)
			if n, done := kernel.Scan(nil, make([]kernel.Range, 3), 0, 32, nil); n != 0 || done != 3 {
				t.Errorf("got %d results of %d ranges, want 0 of 3", n, done)
			}
			if n, done := kernel.JoinBucket(nil, make([]uint32, 3), 32, nil); n != 0 || done != 3 {
				t.Errorf("got %d pairs of %d queries, want 0 of 3", n, done)
			}
			if n, read := kernel.Flat64(nil, 0, 64, make([]uint32, 8)); n != 0 || read != 0 {
				t.Errorf("got %d rows of %d, want 0 of 0", n, read)
			}
		})
	}
}

func TestWrongSlicesPanic(t *testing.T) {
	a := make([]uint64, 16)
	words := make([]uint32, 40)
	for name, f := range map[string]func(){
		"room of Flat128":       func() { kernel.Flat128(a, 0, 0, 0, words[:7]) },
		"room of Flat256":       func() { kernel.Flat256(a, a, &[4]uint64{}, 0, words[:7]) },
		"plane of Flat256":      func() { kernel.Flat256(a, a[:8:8], &[4]uint64{}, 0, words) },
		"room of Flat64":        func() { kernel.Flat64(a, 0, 0, words[:7]) },
		"rows of Flat128x8":     func() { kernel.Flat128x8(a, &[8][2]uint64{}, 0, words, make([]uint8, 64)) },
		"queries of Flat128x8":  func() { kernel.Flat128x8(a, &[8][2]uint64{}, 0, make([]uint32, 64), make([]uint8, 63)) },
		"directory of Prefetch": func() { kernel.Prefetch(words[:32], nil, 0, 11) },
		"directory of Ranges":   func() { kernel.Ranges(words[:32], nil, 0, 11, nil, nil) },
		"room of Ranges":        func() { kernel.Ranges(words[:33], make([]uint16, 2), 0, 11, words, make([]kernel.Range, 1)) },
		"padding of Scan":       func() { kernel.Scan(words[:25], nil, 0, 0, nil) },
		"padding of JoinBucket": func() { kernel.JoinBucket(words[:25], nil, 0, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

// checkJoin compares JoinBucket with its definition.
func checkJoin(t testing.TB, r *rand.Rand, n, queries, offset, limit, room int, share float64) {
	t.Helper()
	like := r.Uint32()
	_, rows := table(r, like, []int{n}, offset, share)
	_, group := table(r, like, []int{queries}, 0, share)
	got := agree(t, queries, room, true, kernel.Pair{Row: poison}, func(from int, out []kernel.Pair) (n, done int) {
		n, done = kernel.JoinBucket(rows, group[from:], limit, out)
		for i := range out[:n] {
			out[i].Query += uint32(from)
		}
		return n, done
	})
	var wantPairs []kernel.Pair
	for k, q := range group {
		for i, row := range rows {
			if bits.OnesCount32(row^q) <= limit {
				wantPairs = append(wantPairs, kernel.Pair{Row: uint32(i), Query: uint32(k)})
			}
		}
	}
	same(t, "JoinBucket", got, wantPairs)
}

func TestJoinsOfEveryBucketSize(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for n := range 201 {
		for i := range 5 {
			limit := limits[(5*n+i)%len(limits)]
			checkJoin(t, r, n, r.IntN(10), (n+i)%16, limit, 1+r.IntN(500), []float64{0, 0.1, 1}[r.IntN(3)])
		}
	}
}

// A hint may name any place.
func TestPrefetch(t *testing.T) {
	for _, name := range kernel.Kernels() {
		t.Run(name, func(t *testing.T) {
			defer kernel.Use(kernel.Kernel())
			kernel.Use(name)
			kernel.PrefetchRows(make([]uint64, 16), []uint32{0, 7, math.MaxUint32})
			kernel.PrefetchWords(make([]uint64, 1), []uint32{0, math.MaxUint32})
			kernel.PrefetchWords(make([]uint32, 1), []uint32{0, math.MaxUint32})
			kernel.PrefetchWords[uint32](nil, nil)
		})
	}
}

func TestKernelIsChosenByName(t *testing.T) {
	able := kernel.Kernels()
	for _, name := range able {
		if got := kernel.Choose(name); got != name {
			t.Errorf("%s gives %s", name, got)
		}
	}
	for _, name := range []string{"", "neon", "AVX2"} {
		if got := kernel.Choose(name); got != able[0] {
			t.Errorf("%q gives %s, want the fastest, %s", name, got, able[0])
		}
	}
	if !slices.Contains(able, kernel.Kernel()) || able[len(able)-1] != "portable" {
		t.Errorf("the kernel is %s of %v", kernel.Kernel(), able)
	}
}

func FuzzFlat(f *testing.F) {
	f.Add(uint64(1), uint16(100), uint8(0), int16(31), uint8(0), uint8(10))
	f.Add(uint64(2), uint16(77), uint8(3), int16(128), uint8(1), uint8(255))
	f.Fuzz(func(t *testing.T, seed uint64, n uint16, offset uint8, radius int16, room, share uint8) {
		r := rand.New(rand.NewPCG(seed, 0))
		checkFlat(t, r, int(n)%1000, int(offset)%8, int(radius), 8+int(room), float64(share)/255)
	})
}

func FuzzProbe(f *testing.F) {
	f.Add(uint64(1), []byte{15, 16, 17, 0}, uint8(0), int16(9), uint8(0), uint8(10))
	f.Add(uint64(2), []byte{1, 2, 200, 33, 5}, uint8(7), int16(32), uint8(100), uint8(255))
	f.Fuzz(func(t *testing.T, seed uint64, counts []byte, offset uint8, limit int16, room, share uint8) {
		buckets := 1
		for buckets < len(counts) && buckets < 1<<10 {
			buckets *= 2
		}
		sizes := make([]int, buckets)
		for i, c := range counts[:min(len(counts), buckets)] {
			sizes[i] = int(c)
		}
		r := rand.New(rand.NewPCG(seed, 0))
		checkProbe(t, r, sizes, int(offset)%16, int(limit), 1+int(room), float64(share)/255)
	})
}

func FuzzJoin(f *testing.F) {
	f.Add(uint64(1), uint8(15), uint8(5), uint8(0), int16(9), uint8(0), uint8(10))
	f.Add(uint64(2), uint8(200), uint8(9), uint8(5), int16(32), uint8(200), uint8(255))
	f.Fuzz(func(t *testing.T, seed uint64, n, queries, offset uint8, limit int16, room, share uint8) {
		r := rand.New(rand.NewPCG(seed, 0))
		checkJoin(t, r, int(n), int(queries), int(offset)%16, int(limit), 1+int(room), float64(share)/255)
	})
}
