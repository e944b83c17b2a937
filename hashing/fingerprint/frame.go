package fingerprint

import (
	"slices"

	"vigie/hashing"
	"vigie/hashing/decode"
)

// Frame hashes one frame of a video that was decoded elsewhere: l is its luma, at full size or reduced as
// [decode.Image.Reduced] does, and at its time in milliseconds. The renderings are the plain one, the
// trimmed and the framed one. It reports false if none of them is usable: the frame is black, flat,
// blurred or tiny. l is not kept.
func (h *Hasher) Frame(l *decode.Luma, at uint32) (hashing.Frame, bool) {
	f := hashing.Frame{Time: at}
	if l.Width < minSide || l.Height < minSide {
		return f, false
	}
	add := func(r rendering) {
		if r.time = at; !r.usable() {
			return
		}
		f.Signals = append(f.Signals, r.signal(hashing.Identity))
		f.Queries = r.appendQueries(f.Queries)
	}
	whole := bytesOf(l, &h.gray)
	plain := h.rendering(hashing.Plain, l)
	plain.graphic = graphic(whole)
	add(plain)
	for variant, box := range h.insides(whole) {
		add(h.cut(variant, whole, box, plain.graphic))
	}
	if len(f.Signals) == 0 {
		return f, false
	}
	if plain.time = at; plain.usable() {
		f.Queries = append(f.Queries, plain.inverted())
	}
	f.Quality = f.Signals[0].Quality
	f.Signals = slices.Clip(hashing.Picture{Signals: f.Signals}.Stored())
	return f, true
}
