// Package edits alters pictures as people do before they post them again: recompressed, cropped,
// framed, turned, written over. It makes the test material of vigie bench accuracy.
//
//	base := edits.Reduce(picture)
//	for _, e := range edits.All() {
//		jpeg, err := e.Copy(base, 1, "picture.jpg") // the same bytes for the same seed and name
//	}
//
// [Standard] holds 53 edits with fixed parameters. Many of them fall on round numbers, and a system
// may have been tuned to just these. [Random] holds edits whose parameters are drawn anew for each
// picture, from a seed: what they yield is closer to what to expect.
//
// Pictures that stand beside the edited one (in a collage, behind a picture in a picture) are drawn,
// so that no copy shows a second known picture.
package edits

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"image"
	"image/jpeg"
	"math/rand/v2"

	"golang.org/x/image/draw"
)

// Side is the longer side to which a picture is reduced before it is edited, in pixels; Quality is
// the JPEG quality of a copy.
const (
	Side    = 640
	Quality = 88
)

// Group says what kind of edit it is.
type Group string

// The groups, in the order in which reports show them.
const (
	Coding   Group = "compression and size"
	Colour   Group = "colour and light"
	Overlay  Group = "drawn over"
	Border   Group = "borders"
	Page     Group = "in a page"
	Crop     Group = "crops"
	Turn     Group = "turned and mirrored"
	Tilt     Group = "tilted"
	Combined Group = "combinations"
)

// Edit is one way to alter a picture.
type Edit struct {
	Name  string // lower-case letters, digits, and signs that may stand in a file's name
	Group Group
	apply func(im *image.RGBA, r *rand.Rand) *image.RGBA // never writes into im
}

// Reduce turns a picture into one that edits take: opaque, the longer side at most [Side] pixels.
// Transparency is dropped, the colours below it show.
func Reduce(img image.Image) *image.RGBA {
	b := img.Bounds()
	bare := image.NewRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	if src, ok := img.(*image.NRGBA); ok {
		for y := range b.Dy() {
			copy(bare.Pix[y*bare.Stride:(y+1)*bare.Stride], src.Pix[src.PixOffset(b.Min.X, b.Min.Y+y):])
		}
	} else {
		draw.Draw(bare, bare.Rect, img, b.Min, draw.Src)
	}
	for i := 3; i < len(bare.Pix); i += 4 {
		bare.Pix[i] = 255
	}
	longer := max(b.Dx(), b.Dy())
	if longer <= Side {
		return bare
	}
	k := float64(Side) / float64(longer)
	return scaled(bare, max(1, int(float64(b.Dx())*k)), max(1, int(float64(b.Dy())*k)), lanczos)
}

// Apply alters a picture from [Reduce]. The result depends on the seed, the picture and its name
// alone, and shares no memory with im.
func (e Edit) Apply(im *image.RGBA, seed uint64, name string) *image.RGBA {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s\x00%s", e.Name, name) // a hash takes every write
	return e.apply(im, rand.New(rand.NewPCG(seed, h.Sum64())))
}

// Copy is Apply, coded as JPEG of [Quality].
func (e Edit) Copy(im *image.RGBA, seed uint64, name string) ([]byte, error) {
	return encoded(e.Apply(im, seed, name), Quality)
}

// All is [Standard] and [Random].
func All() []Edit { return append(Standard(), Random()...) }

func encoded(im *image.RGBA, quality int) ([]byte, error) {
	var buf bytes.Buffer
	err := jpeg.Encode(&buf, im, &jpeg.Options{Quality: quality})
	return buf.Bytes(), err
}
