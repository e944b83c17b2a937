// Package fingerprint turns the bytes of a picture into the signals that an entry stores and the
// queries that a check searches.
//
//	h := fingerprint.New(hashing.DefaultLimits())
//	picture, err := h.Picture(ctx, data)
//	if m, ok := hashing.AsMediaError(err); ok { ... }      // not a picture that can be read
//	if picture.Unhashable != "" { ... }                    // read, but with nothing to tell it by
//	for _, signal := range picture.Stored() { ... }
//
// # What is computed
//
// PDQ, the main signal, is taken of up to four renderings of the picture:
//
//   - plain, from the luma reduced by a power of two that keeps the shorter side at 512 pixels or more:
//     within a few bits of what HMA and python-threatexchange compute from the full picture;
//   - cli, from 512 x 512 sampled pixels: what the reference's command line computes. For pictures
//     up to 512 x 512 it equals plain, for larger ones it is about 7 bits away;
//   - white and black, composited over these, for pictures with alpha: what a site that flattens
//     uploads makes of them.
//
// pHash, dHash and aHash (64 bits, by github.com/corona10/goimagehash) are taken of the plain
// rendering: a second opinion that costs no index of its own.
//
// Queries hold each PDQ rendering in its eight orientations, which one cosine transform gives.
//
// # What cannot be hashed
//
// A signal is used only if its PDQ quality is 50 or more, its value is not blank ([hashing.Signal.Blank])
// and its rendering is not flat: 8 levels or less between its darkest and lightest value. Quality alone
// does not settle it: faint noise over one colour may reach 100, and so do bare stripes. A picture without a usable rendering, or with a side shorter than
// 5 pixels, is [hashing.Picture.Unhashable] and still has the digests of its bytes.
package fingerprint

import (
	"context"
	"image"
	"slices"

	"github.com/corona10/goimagehash"

	"vigie/hashing"
	"vigie/hashing/decode"
	"vigie/hashing/pdq"
)

const (
	minSide    = 5 // of a picture that PDQ accepts
	flatLevels = 8 // a rendering whose luma spans no more is flat
)

// Hasher computes fingerprints. It reuses its buffers, a few times as large as the largest reduced
// picture so far, and is not safe for concurrent use: have one for each goroutine.
type Hasher struct {
	limits hashing.Limits
	pdq    pdq.Hasher
	plain  []float32
	luma   []float32 // of the other renderings
	gray   image.Gray
}

// New makes a Hasher that refuses pictures over the limits; see [hashing.DefaultLimits].
func New(limits hashing.Limits) *Hasher { return &Hasher{limits: limits} }

// Picture decodes data once and computes its signals and queries. Errors are [*hashing.MediaError],
// of the kinds Empty, Unsupported, TooLarge and Corrupt, or that of ctx, which is looked at between
// stages: a decoder at work is not interrupted. data is not kept.
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
	renderings, width, height := h.renderings(img)
	if err := ctx.Err(); err != nil {
		return hashing.Picture{}, err
	}
	usable := slices.DeleteFunc(slices.Clone(renderings), func(r rendering) bool { return !r.usable() })
	if len(usable) == 0 {
		p.Unhashable = hashing.LowQuality
		if !slices.ContainsFunc(renderings, func(r rendering) bool { return !r.flat }) {
			p.Unhashable = hashing.Flat
		}
		return p, nil
	}
	for _, r := range usable {
		p.Signals = append(p.Signals, r.signal(hashing.Identity))
		p.Queries = r.appendQueries(p.Queries)
	}
	if plain := renderings[0]; plain.usable() {
		for _, s := range h.short(width, height, plain.quality) {
			if s.Blank() {
				continue // a gradient's dhash, for one
			}
			p.Signals = append(p.Signals, s)
			p.Queries = append(p.Queries, hashing.Query{Signal: s, Transform: hashing.Identity})
		}
	}
	return p, nil
}

// rendering is one rendering's PDQ in its eight orientations, in the order of [hashing.Transform].
type rendering struct {
	variant hashing.Variant
	hashes  [hashing.Orientations]pdq.Hash
	quality hashing.Quality
	flat    bool
}

func (r rendering) usable() bool {
	return !r.flat && r.quality.Usable() && !r.signal(hashing.Identity).Blank()
}

func (r rendering) signal(t hashing.Transform) hashing.Signal {
	return hashing.Signal{
		Algorithm: hashing.PDQ, Variant: r.variant, Version: hashing.PDQ.Version(),
		Quality: r.quality, Value: hashing.Value(r.hashes[t]),
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

// renderings computes all PDQ renderings of img, plain first, and leaves in h.plain the plain luma,
// whose width and height it returns.
func (h *Hasher) renderings(img *decode.Image) (all []rendering, width, height int) {
	h.plain, width, height = img.Reduced(h.plain, decode.Bare)
	all = append(all, h.rendering(hashing.Plain, h.plain, width, height))

	cli := all[0]
	if img.Width > decode.SampleSide || img.Height > decode.SampleSide {
		var w, ht int
		h.luma, w, ht = img.Sampled(h.luma)
		cli = h.rendering(hashing.CLI, h.luma, w, ht)
	}
	cli.variant = hashing.CLI
	all = append(all, cli)

	if img.HasAlpha {
		h.luma, _, _ = img.Reduced(h.luma, decode.OverWhite)
		all = append(all, h.rendering(hashing.White, h.luma, width, height))
		h.luma, _, _ = img.Reduced(h.luma, decode.OverBlack)
		all = append(all, h.rendering(hashing.Black, h.luma, width, height))
	}
	return all, width, height
}

func (h *Hasher) rendering(v hashing.Variant, luma []float32, width, height int) rendering {
	hashes, quality := h.pdq.Dihedral(luma, width, height)
	return rendering{
		variant: v, hashes: hashes, quality: hashing.Quality(quality),
		flat: levels(luma) <= flatLevels,
	}
}

// levels is the span between the darkest and the lightest value.
func levels(luma []float32) float32 {
	low, high := luma[0], luma[0]
	for _, v := range luma {
		if v < low {
			low = v
		} else if v > high {
			high = v
		}
	}
	return high - low
}

// short computes the 64-bit hashes of h.plain as an 8-bit gray picture.
func (h *Hasher) short(width, height int, quality hashing.Quality) []hashing.Signal {
	h.gray = image.Gray{Pix: slices.Grow(h.gray.Pix[:0], len(h.plain))[:len(h.plain)], Stride: width, Rect: image.Rect(0, 0, width, height)}
	for i, v := range h.plain {
		h.gray.Pix[i] = uint8(v + 0.5)
	}
	var signals []hashing.Signal
	for _, f := range []struct {
		algorithm hashing.Algorithm
		hash      func(image.Image) (*goimagehash.ImageHash, error)
	}{
		{hashing.PHash, goimagehash.PerceptionHash},
		{hashing.DHash, goimagehash.DifferenceHash},
		{hashing.AHash, goimagehash.AverageHash},
	} {
		value, err := f.hash(&h.gray)
		if err != nil { // only a nil picture has one
			continue
		}
		signals = append(signals, hashing.Signal{
			Algorithm: f.algorithm, Version: f.algorithm.Version(), Quality: quality,
			Value: hashing.Value{value.GetHash()},
		})
	}
	return signals
}
