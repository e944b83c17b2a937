package video

import (
	"vigie/hashing"
	"vigie/hashing/decode"
	"vigie/hashing/fingerprint"
	"vigie/hashing/pdq"
)

// hasher hashes frames, one at a time, and keeps its memory for the next.
type hasher struct {
	pdq    pdq.Hasher
	frames *fingerprint.Hasher
	floats []float32
}

func newHasher() *hasher { return &hasher{frames: fingerprint.New(hashing.Limits{})} }

// whole is PDQ of the full picture, as vPDQ takes it.
func (h *hasher) whole(p picture) (pdq.Hash, int) {
	return h.pdq.HashBytes(p.luma, p.width, p.height)
}

// frame hashes a frame; false if nothing in it can be told from others.
func (h *hasher) frame(p picture) (hashing.Frame, bool) {
	luma := decode.Luma{Width: p.width, Height: p.height, Bytes: p.luma}
	factor := 1
	for min(p.width, p.height) >= 2*factor*decode.ReducedSide {
		factor *= 2
	}
	if factor > 1 {
		luma = h.reduced(p, factor)
	}
	return h.frames.Frame(&luma, p.time)
}

// reduced divides a picture as decode.Image.Reduced does: each value is the mean of a square of
// pixels, of fewer at the right and bottom edges.
func (h *hasher) reduced(p picture, factor int) decode.Luma {
	width, height := (p.width+factor-1)/factor, (p.height+factor-1)/factor
	if cap(h.floats) < width*height {
		h.floats = make([]float32, width*height)
	}
	h.floats = h.floats[:width*height]
	for y := range height {
		out := h.floats[y*width:][:width]
		top, bottom := y*factor, min((y+1)*factor, p.height)
		for x := range out {
			left, right := x*factor, min((x+1)*factor, p.width)
			sum := 0
			for line := top; line < bottom; line++ {
				for _, v := range p.luma[line*p.width+left : line*p.width+right] {
					sum += int(v)
				}
			}
			out[x] = float32(sum) / float32((bottom-top)*(right-left))
		}
	}
	return decode.Luma{Width: width, Height: height, Floats: h.floats}
}
