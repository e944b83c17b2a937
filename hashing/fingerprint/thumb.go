package fingerprint

import (
	"encoding/binary"
	"image"
	"iter"
	"slices"

	"github.com/corona10/goimagehash"

	"vigie/hashing"
)

const thumbSide = hashing.ThumbSide

// thumb is the thumb of a rendering of p: each of its pixels is the mean of a 64th of the width by a 64th
// of the height, pixels on a boundary counting on both sides by their parts. All parts are counted in
// 64ths of a pixel, so that the means are exact.
func (h *Hasher) thumb(p plane, r rendering) hashing.Thumb {
	t := hashing.Thumb{Variant: r.variant, Quality: r.quality}
	h.columns = slices.Grow(h.columns[:0], p.w)[:p.w]
	for ty := range thumbSide {
		h.band(p, ty*p.h, (ty+1)*p.h)
		for tx := range thumbSide {
			var sum uint64
			for x, weight := range overlaps(tx*p.w, (tx+1)*p.w) {
				sum += uint64(weight) * uint64(h.columns[x])
			}
			area := uint64(p.w * p.h)
			t.Pix[ty*thumbSide+tx] = uint8((sum + area/2) / area)
		}
	}
	return t
}

// overlaps yields the pixels that a stretch from..to overlaps, and by how much, all in 64ths of a pixel.
func overlaps(from, to int) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		for i := from / thumbSide; i*thumbSide < to; i++ {
			if !yield(i, min((i+1)*thumbSide, to)-max(i*thumbSide, from)) {
				return
			}
		}
	}
}

// band sums the columns of the rows from..to, in 64ths of a row, into h.columns.
func (h *Hasher) band(p plane, from, to int) {
	clear(h.columns)
	first, last := (from+thumbSide-1)/thumbSide, to/thumbSide // the whole rows
	for first < last {
		n := min(last-first, 256) // whose sums fit into 16 bits
		h.wholeRows(p, first, first+n)
		first += n
	}
	for y, weight := range overlaps(from, to) {
		if weight == thumbSide {
			continue
		}
		for x, v := range p.row(y) {
			h.columns[x] += uint32(weight) * uint32(v)
		}
	}
}

// wholeRows adds at most 256 rows, eight columns at a time, which lie in the 16-bit parts of two words.
func (h *Hasher) wholeRows(p plane, from, to int) {
	const low = 0x00ff00ff00ff00ff
	x := 0
	for ; x+8 <= p.w; x += 8 {
		var even, odd uint64
		for at := from*p.stride + x; at < to*p.stride; at += p.stride {
			v := binary.LittleEndian.Uint64(p.pix[at:])
			even += v & low
			odd += v >> 8 & low
		}
		columns := h.columns[x:][:8]
		for i := range 4 {
			columns[2*i] += thumbSide * uint32(even>>(16*i)&0xffff)
			columns[2*i+1] += thumbSide * uint32(odd>>(16*i)&0xffff)
		}
	}
	for ; x < p.w; x++ {
		for y := from; y < to; y++ {
			h.columns[x] += thumbSide * uint32(p.pix[y*p.stride+x])
		}
	}
}

// turned is the thumb under a transform.
func turned(t *hashing.Thumb, o hashing.Transform) (pix [thumbSide * thumbSide]uint8) {
	const last = thumbSide - 1
	for y := range thumbSide {
		for x := range thumbSide {
			fx, fy := x, y
			switch o {
			case hashing.Rotate90:
				fx, fy = last-y, x
			case hashing.Rotate180:
				fx, fy = last-x, last-y
			case hashing.Rotate270:
				fx, fy = y, last-x
			case hashing.Flip:
				fy = last - y
			case hashing.Mirror:
				fx = last - x
			case hashing.Transpose:
				fx, fy = y, x
			case hashing.Transverse:
				fx, fy = last-y, last-x
			}
			v := t.Pix[fy*thumbSide+fx]
			if o == hashing.Inverted {
				v = 255 - v
			}
			pix[y*thumbSide+x] = v
		}
	}
	return pix
}

// Short returns the 64-bit hashes of a thumb under a transform: pHash, dHash and aHash, by
// github.com/corona10/goimagehash, with the thumb's variant and quality. Those that are blank
// ([hashing.Signal.Blank]) are left out. It takes about a tenth of a millisecond and may be called from many
// goroutines.
func Short(t hashing.Thumb, o hashing.Transform) []hashing.Signal {
	pix := turned(&t, o)
	gray := &image.Gray{Pix: pix[:], Stride: thumbSide, Rect: image.Rect(0, 0, thumbSide, thumbSide)}
	var signals []hashing.Signal
	for _, f := range []struct {
		algorithm hashing.Algorithm
		hash      func(image.Image) (*goimagehash.ImageHash, error)
	}{
		{hashing.PHash, goimagehash.PerceptionHash},
		{hashing.DHash, goimagehash.DifferenceHash},
		{hashing.AHash, goimagehash.AverageHash},
	} {
		value, err := f.hash(gray)
		if err != nil { // only a nil picture has one
			continue
		}
		s := hashing.Signal{
			Algorithm: f.algorithm, Variant: t.Variant, Version: f.algorithm.Version(), Quality: t.Quality,
			Value: hashing.Value{value.GetHash()},
		}
		if !s.Blank() { // a gradient's dhash, for one
			signals = append(signals, s)
		}
	}
	return signals
}

// Stored returns all signals that an entry stores of a picture: the PDQ signals that are more than 4
// bits apart ([hashing.Picture.Stored]), and the 64-bit hashes of those renderings among them that have a thumb,
// aHash of the plain one alone.
func Stored(p hashing.Picture) []hashing.Signal {
	stored := p.Stored()
	for _, t := range p.Thumbs {
		kept := slices.ContainsFunc(stored, func(s hashing.Signal) bool {
			return s.Algorithm == hashing.PDQ && s.Variant == t.Variant && s.Time == 0
		})
		if !kept {
			continue
		}
		for _, s := range Short(t, hashing.Identity) {
			if s.Algorithm != hashing.AHash || t.Variant == hashing.Plain {
				stored = append(stored, s)
			}
		}
	}
	return stored
}
