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
// From one decoding, PDQ is taken of these renderings of the picture:
//
//   - plain, from the luma reduced by a power of two that keeps the shorter side at 512 pixels or more:
//     within a few bits of what HMA and python-threatexchange compute from the full picture;
//   - cli, from 512 x 512 sampled pixels: what the reference's command line computes. For pictures
//     up to 512 x 512 it equals plain, for larger ones it is about 7 bits away;
//   - white and black, composited over these, for pictures with alpha: what a site that flattens
//     uploads makes of them;
//   - trim, without flat borders: bars above and below or at the sides, margins, one inside another; those of
//     the white and the black one are taken off too;
//   - frame, the picture inside a picture: in a screenshot, below a caption, on a phone's screen.
//
// What is small in a large picture is cut out of its full pixels. Each rendering is judged by itself whether it
// is a graphic. Further frames of an animation, up to eight, have the same renderings but for cli, as far as
// they differ by more than 8 bits from those before.
//
// Queries hold each rendering in its eight orientations, which one filtering gives
// ([pdq.Hasher.Exact]), and the negative of the plain one. A negative that was also turned is not searched for: it
// is rare, and each query costs a search. Still pictures have 9 to 40 of them as a rule, an animation of eight
// frames 72, of eight bordered ones 136, and fewer than 740 whatever it shows.
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
	"sync"

	"vigie/hashing"
	"vigie/hashing/decode"
	"vigie/hashing/pdq"
)

const (
	minSide    = 5 // of a picture that PDQ accepts
	flatLevels = 8 // a rendering whose luma spans no more is flat
	maxFrames  = 8 // of an animation, beside its first
	nearBits   = 8 // within which a rendering finds little that another does not
)

// Hasher computes fingerprints. It reuses its buffers, a few times as large as the largest reduced
// picture so far, and is not safe for concurrent use: have one for each goroutine.
type Hasher struct {
	limits  hashing.Limits
	pdq     pdq.Hasher
	plain   decode.Luma
	other   decode.Luma // of the renderings that are not parts of the plain one
	gray    []uint8     // the plain luma as bytes, where it comes as floats
	finest  []uint8     // and of a part of it
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
	allFlat := h.look(&p, img, 0)
	for at, frame := range img.Further(maxFrames) {
		if err := ctx.Err(); err != nil {
			return hashing.Picture{}, err
		}
		allFlat = h.look(&p, frame, at) && allFlat
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

// look adds what a frame shows, the picture's own or one of its animation, at a time. Of a frame behind the first
// that shows anything, only what is new is added. It reports whether all renderings are flat.
func (h *Hasher) look(p *hashing.Picture, img *decode.Image, at uint32) (allFlat bool) {
	allFlat = true
	first := len(p.Signals) == 0
	add := func(r rendering, of plane, spare bool) (added bool) {
		r.time = at
		allFlat = allFlat && r.flat
		if !r.usable() || spare && r.near(p.Signals) {
			return false
		}
		p.Signals = append(p.Signals, r.signal(hashing.Identity))
		p.Queries = r.appendQueries(p.Queries)
		if first && at == 0 && (r.variant == hashing.Plain || r.variant == hashing.Trimmed || r.variant == hashing.Framed) {
			p.Thumbs = append(p.Thumbs, h.thumb(of, r))
		}
		return true
	}
	img.Reduced(&h.plain, decode.Bare)
	whole := bytesOf(&h.plain, &h.gray)
	plain := h.rendering(hashing.Plain, &h.plain)
	plain.graphic = graphic(whole)
	if first {
		p.Graphic = plain.graphic
	}
	if !first && !img.HasAlpha && plain.usable() && plain.near(p.Signals) {
		return false
	}
	negative := add(plain, whole, !first)
	switch {
	case !first:
	case img.Width > decode.SampleSide || img.Height > decode.SampleSide:
		img.Sampled(&h.other)
		cli := h.rendering(hashing.CLI, &h.other)
		cli.graphic = plain.graphic
		add(cli, whole, false)
	default:
		cli := plain
		cli.variant = hashing.CLI
		add(cli, whole, false)
	}
	full := sync.OnceValues(img.Full)
	for variant, box := range h.insides(whole) {
		of, box := h.finer(img, full, whole, box)
		add(h.cut(variant, of, box, plain.graphic), of.sub(box), !first)
	}
	if img.HasAlpha {
		for _, over := range []struct {
			variant  hashing.Variant
			backdrop decode.Backdrop
		}{{hashing.White, decode.OverWhite}, {hashing.Black, decode.OverBlack}} {
			img.Reduced(&h.other, over.backdrop)
			flattened := bytesOf(&h.other, &h.gray)
			r := h.rendering(over.variant, &h.other)
			r.graphic = graphic(flattened)
			add(r, flattened, !first)
			for box := range trims(flattened) {
				add(h.cut(hashing.Trimmed, flattened, box, r.graphic), flattened.sub(box), true)
			}
		}
	}
	if plain.time = at; negative {
		p.Queries = append(p.Queries, plain.inverted())
	}
	return allFlat
}

// finer is a part of a picture, whose reduced pixels p are, from less reduced ones if it is small, and where in
// them the part lies. They are no more than p has. The part's edges are set anew, as far as they are those of a
// border: one pixel of p is much of it.
func (h *Hasher) finer(img *decode.Image, full func() (*decode.Image, error), p plane, box image.Rectangle) (plane, image.Rectangle) {
	factor := (img.Width + p.w - 1) / p.w // by which p is reduced
	if factor == 1 || min(box.Dx(), box.Dy()) >= decode.ReducedSide/2 {
		return p, box
	}
	by := factor
	for by > 1 && min(box.Dx(), box.Dy())*factor/by < decode.ReducedSide && box.Dx()*box.Dy()*4*factor/by*factor/by <= p.w*p.h {
		by /= 2
	}
	if by == factor {
		return p, box
	}
	all, err := full()
	if err != nil { // it was decoded at another scale, and that has to do
		return p, box
	}
	margin, bounds := 2*factor, image.Rect(0, 0, img.Width, img.Height)
	inner := image.Rectangle{box.Min.Mul(factor), box.Max.Mul(factor)}.Intersect(bounds)
	outer := inner.Inset(-margin).Intersect(bounds)
	all.Part(&h.other, outer, by)
	fine := bytesOf(&h.other, &h.finest)
	box = image.Rectangle{inner.Min.Sub(outer.Min).Div(by), inner.Max.Sub(outer.Min).Div(by)}
	trimmed := trim(fine, 1, false)
	for s := top; s <= right; s++ {
		n, before := s.beyond(fine, trimmed), s.beyond(fine, box)
		if n > 0 && before > 0 && n <= 2*margin/by {
			box = s.moved(box, n-before)
		}
	}
	return fine, box
}

// bytesOf is the luma as bytes, in a buffer if it comes as floats.
func bytesOf(l *decode.Luma, buffer *[]uint8) plane {
	pix := l.Bytes
	if l.Floats != nil {
		pix = slices.Grow((*buffer)[:0], len(l.Floats))[:len(l.Floats)]
		for i, v := range l.Floats {
			pix[i] = uint8(v + 0.5)
		}
		*buffer = pix
	}
	return plane{pix, l.Width, l.Height, l.Width}
}

// rendering is one rendering's PDQ in its eight orientations, in the order of [hashing.Transform].
type rendering struct {
	variant hashing.Variant
	hashes  [hashing.Orientations]pdq.Hash
	quality hashing.Quality
	flat    bool
	graphic bool
	time    uint32 // of the frame
}

func (r rendering) usable() bool {
	return !r.flat && r.quality.Usable() && !r.signal(hashing.Identity).Blank()
}

// near reports whether one of the signals is so near that the rendering finds little which that one does not.
func (r rendering) near(signals []hashing.Signal) bool {
	return slices.ContainsFunc(signals, func(s hashing.Signal) bool {
		return s.Value.Distance(hashing.Value(r.hashes[hashing.Identity])) <= nearBits
	})
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
		q := hashing.Query{Signal: r.signal(t), Transform: t, Graphic: r.graphic}
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
	return hashing.Query{Signal: s, Transform: hashing.Inverted, Graphic: r.graphic}
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

// cut is the rendering of a part of a picture, which may be a graphic as a whole.
func (h *Hasher) cut(v hashing.Variant, p plane, box image.Rectangle, ofGraphic bool) rendering {
	p = p.sub(box)
	h.part = slices.Grow(h.part[:0], p.w*p.h)
	for y := range p.h {
		h.part = append(h.part, p.pix[y*p.stride:][:p.w]...)
	}
	r := h.rendering(v, &decode.Luma{Width: p.w, Height: p.h, Bytes: h.part})
	r.graphic = graphicPart(p, ofGraphic)
	return r
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
