// Package fingerprint turns the bytes of a picture into the signals that an entry stores and the
// queries that a check searches.
//
//	h := fingerprint.New(hashing.DefaultLimits())
//	picture, err := h.Picture(ctx, data)
//	if m, ok := hashing.AsMediaError(err); ok { ... }      // not a picture that can be read
//	if picture.Unhashable != "" { ... }                    // read, but with nothing to tell it by
//	for _, signal := range fingerprint.Stored(picture) { ... }
//
// # What is computed
//
// From one decoding, PDQ is taken of up to six renderings of the picture:
//
//   - plain, from the luma reduced by a power of two that keeps the shorter side at 512 pixels or more:
//     within a few bits of what HMA and python-threatexchange compute from the full picture;
//   - cli, from 512 x 512 sampled pixels: what the reference's command line computes. For pictures
//     up to 512 x 512 it equals plain, for larger ones it is about 7 bits away;
//   - white and black, composited over these, for pictures with alpha: what a site that flattens
//     uploads makes of them;
//   - trim, without flat borders: bars above and below or at the sides, margins, one inside another;
//   - frame, the picture inside a picture: in a screenshot, below a caption, on a phone's screen.
//
// Further frames of an animation, up to eight, are taken plain, if they differ from those before.
//
// Queries hold each rendering in its eight orientations, which one filtering gives
// ([pdq.Hasher.Exact]), and the negative of the plain one. A negative that was also turned is not searched for: it is rare, and each
// query costs a search.
//
// pHash, dHash and aHash (64 bits, by github.com/corona10/goimagehash) are a second opinion that costs
// no index of its own. They are computed when needed, by [Short], from the thumbs of a [hashing.Picture].
//
// # What cannot be hashed
//
// A signal is used only if its PDQ quality is 50 or more, its value is not blank ([hashing.Signal.Blank])
// and its rendering is not flat: 8 levels or less between its darkest and lightest value. Quality alone
// does not settle it: faint noise over one colour may reach 100, and so do bare stripes. A picture
// without a usable rendering, or with a side shorter than 5 pixels, is [hashing.Picture.Unhashable] and still has the digests of its bytes.
package fingerprint

import (
	"context"
	"image"
	"slices"

	"vigie/hashing"
	"vigie/hashing/decode"
	"vigie/hashing/pdq"
)

const (
	minSide    = 5 // of a picture that PDQ accepts
	flatLevels = 8 // a rendering whose luma spans no more is flat
	maxFrames  = 8 // of an animation, beside its first
	sameFrame  = 8 // bits within which a frame finds little that the one before does not
)

// Hasher computes fingerprints. It reuses its buffers, a few times as large as the largest reduced
// picture so far, and is not safe for concurrent use: have one for each goroutine.
type Hasher struct {
	limits  hashing.Limits
	pdq     pdq.Hasher
	plain   decode.Luma
	other   decode.Luma // of the renderings that are not parts of the plain one
	gray    []uint8     // the plain luma as bytes, where it comes as floats
	part    []uint8     // what is cut out of it
	framer  framer
	columns []uint32 // sums of a thumb's band
}

// New makes a Hasher that refuses pictures over the limits; see [hashing.DefaultLimits].
func New(limits hashing.Limits) *Hasher {
	return &Hasher{limits: limits, pdq: pdq.Hasher{Exact: true}}
}

// Picture decodes data once and computes its signals, queries and thumbs. Errors are [*hashing.MediaError],
// of the kinds of [decode.Decode], or that of ctx, which is looked at between stages: a decoder at work
// is not interrupted. data is not kept.
func (h *Hasher) Picture(ctx context.Context, data []byte) (hashing.Picture, error) {
	if err := ctx.Err(); err != nil {
		return hashing.Picture{}, err
	}
	img, err := decode.Decode(data, h.limits)
	if err != nil {
		return hashing.Picture{}, err
	}
	p := hashing.Picture{Format: img.Format, Width: img.Width, Height: img.Height}
	if img.Width < minSide || img.Height < minSide {
		p.Unhashable = hashing.Tiny
		return p, nil
	}
	if err := ctx.Err(); err != nil {
		return hashing.Picture{}, err
	}
	allFlat := h.still(&p, img)
	for at, frame := range img.Further(maxFrames) {
		if err := ctx.Err(); err != nil {
			return hashing.Picture{}, err
		}
		h.further(&p, at, frame)
	}
	switch {
	case len(p.Signals) > 0:
	case allFlat:
		p.Unhashable = hashing.Flat
	default:
		p.Unhashable = hashing.LowQuality
	}
	p.Graphic = p.Graphic && p.Unhashable == ""
	if err := ctx.Err(); err != nil {
		return hashing.Picture{}, err
	}
	return p, nil
}

// still fills in what the first frame gives; it reports whether all its renderings are flat.
func (h *Hasher) still(p *hashing.Picture, img *decode.Image) bool {
	allFlat := true
	add := func(r rendering) {
		allFlat = allFlat && r.flat
		if r.usable() {
			p.Signals = append(p.Signals, r.signal(hashing.Identity))
			p.Queries = r.appendQueries(p.Queries)
		}
	}
	img.Reduced(&h.plain, decode.Bare)
	whole := h.plane(&h.plain)
	p.Graphic = graphic(whole)
	plain := h.rendering(hashing.Plain, &h.plain)
	add(plain)
	if plain.usable() {
		p.Thumbs = append(p.Thumbs, h.thumb(whole, plain))
	}
	if img.Width > decode.SampleSide || img.Height > decode.SampleSide {
		img.Sampled(&h.other)
		add(h.rendering(hashing.CLI, &h.other))
	} else {
		cli := plain
		cli.variant = hashing.CLI
		add(cli)
	}
	if img.HasAlpha {
		img.Reduced(&h.other, decode.OverWhite)
		add(h.rendering(hashing.White, &h.other))
		img.Reduced(&h.other, decode.OverBlack)
		add(h.rendering(hashing.Black, &h.other))
	}
	for variant, box := range h.insides(whole) {
		r := h.cut(variant, whole, box)
		add(r)
		if r.usable() {
			p.Thumbs = append(p.Thumbs, h.thumb(whole.sub(box), r))
		}
	}
	if plain.usable() {
		p.Queries = append(p.Queries, plain.inverted())
	}
	return allFlat
}

// further adds the plain rendering of a further frame of an animation, if it is not near one before.
func (h *Hasher) further(p *hashing.Picture, at uint32, frame *decode.Image) {
	frame.Reduced(&h.other, decode.Bare)
	r := h.rendering(hashing.Plain, &h.other)
	r.time = at
	known := slices.ContainsFunc(p.Signals, func(s hashing.Signal) bool {
		return s.Variant == hashing.Plain && s.Value.Distance(r.signal(hashing.Identity).Value) <= sameFrame
	})
	if r.usable() && !known {
		if len(p.Signals) == 0 { // nothing was to be seen before, as on a black first frame
			p.Graphic = graphic(h.plane(&h.other))
		}
		p.Signals = append(p.Signals, r.signal(hashing.Identity))
		p.Queries = r.appendQueries(p.Queries)
	}
}

// plane is the luma as bytes.
func (h *Hasher) plane(l *decode.Luma) plane {
	pix := l.Bytes
	if l.Floats != nil {
		h.gray = slices.Grow(h.gray[:0], len(l.Floats))[:len(l.Floats)]
		for i, v := range l.Floats {
			h.gray[i] = uint8(v + 0.5)
		}
		pix = h.gray
	}
	return plane{pix, l.Width, l.Height, l.Width}
}

// rendering is one rendering's PDQ in its eight orientations, in the order of [hashing.Transform].
type rendering struct {
	variant hashing.Variant
	hashes  [hashing.Orientations]pdq.Hash
	quality hashing.Quality
	flat    bool
	time    uint32 // of the frame
}

func (r rendering) usable() bool {
	return !r.flat && r.quality.Usable() && !r.signal(hashing.Identity).Blank()
}

func (r rendering) signal(t hashing.Transform) hashing.Signal {
	return hashing.Signal{
		Algorithm: hashing.PDQ, Variant: r.variant, Version: hashing.PDQ.Version(),
		Quality: r.quality, Time: r.time, Value: hashing.Value(r.hashes[t]),
	}
}

// appendQueries adds the eight orientations but for values already there under the same transform.
func (r rendering) appendQueries(queries []hashing.Query) []hashing.Query {
	for t := range hashing.Transform(hashing.Orientations) {
		q := hashing.Query{Signal: r.signal(t), Transform: t}
		known := slices.ContainsFunc(queries, func(o hashing.Query) bool {
			return o.Transform == t && o.Signal.Value == q.Signal.Value
		})
		if !known {
			queries = append(queries, q)
		}
	}
	return queries
}

// inverted is the query for the negative of the rendering. Its cosine transform is the negative
// of this one's, the lowest frequency being left out of PDQ, and so is its median: the bits are the
// complement, but for the median's own.
func (r rendering) inverted() hashing.Query {
	s := r.signal(hashing.Identity)
	for i := range s.Value {
		s.Value[i] = ^s.Value[i]
	}
	return hashing.Query{Signal: s, Transform: hashing.Inverted}
}

func (h *Hasher) rendering(v hashing.Variant, l *decode.Luma) rendering {
	r := rendering{variant: v}
	var quality int
	if l.Floats != nil {
		r.hashes, quality = h.pdq.Dihedral(l.Floats, l.Width, l.Height)
		r.flat = flat(l.Floats)
	} else {
		r.hashes, quality = h.pdq.DihedralBytes(l.Bytes, l.Width, l.Height)
		r.flat = flat(l.Bytes)
	}
	r.quality = hashing.Quality(quality)
	return r
}

// cut is the rendering of a part of the plain one.
func (h *Hasher) cut(v hashing.Variant, p plane, box image.Rectangle) rendering {
	p = p.sub(box)
	h.part = slices.Grow(h.part[:0], p.w*p.h)
	for y := range p.h {
		h.part = append(h.part, p.pix[y*p.stride:][:p.w]...)
	}
	return h.rendering(v, &decode.Luma{Width: p.w, Height: p.h, Bytes: h.part})
}

// flat reports whether the levels span no more than flatLevels.
func flat[T uint8 | float32](luma []T) bool {
	low, high := luma[0], luma[0]
	for _, v := range luma {
		low, high = min(low, v), max(high, v)
		if high-low > flatLevels {
			return false
		}
	}
	return true
}
