//go:build nodynamic

package decode

import (
	"bytes"
	"errors"
	"image"
	"strings"

	"github.com/gen2brain/avif"
)

// The library loads libavif of the system if there is one, unless the tag nodynamic is set: then it is
// WebAssembly, which can do no harm beyond its own memory.
//
// It does not tell a picture that it could not decode behind a good header: it hands out fresh memory, with
// remains of earlier use at its begin, as that picture. Its call for all pictures tells how long
// each is shown, which is 1 for a still that was decoded.
func decodeAVIF(data []byte, config image.Config) (pixels, error) {
	var img image.Image
	var err error
	decoded := true
	if sequence := len(data) >= 12 && string(data[8:12]) == "avis"; sequence { // of which all would be too many
		img, err = avif.Decode(bytes.NewReader(data))
		decoded = err == nil && !blank(img)
	} else {
		var all *avif.AVIF
		if all, err = avif.DecodeAll(bytes.NewReader(data)); err == nil {
			decoded = len(all.Image) > 0 && all.Delay[0] == 1
			if decoded {
				img = all.Image[0]
			}
		}
	}
	switch {
	case err != nil:
		text, _, _ := strings.Cut(err.Error(), "\n") // a stack of calls follows
		return pixels{}, errors.New(text)
	case !decoded:
		return pixels{}, errors.New("nothing was decoded")
	}
	size := img.Bounds().Size()
	if size.X > config.Width || size.Y > config.Height {
		return pixels{}, errors.New("the picture is larger than its header claims")
	}
	return pixelsOf(img, false), nil
}

// blank reports whether img may be fresh memory, but for its begin. A picture that is transparent but for its
// upper quarter looks the same.
func blank(img image.Image) bool {
	switch m := img.(type) {
	case *image.RGBA:
		return zero(m.Pix[len(m.Pix)/4:])
	case *image.RGBA64:
		return zero(m.Pix[len(m.Pix)/4:])
	}
	return true // of no type that the library makes
}
