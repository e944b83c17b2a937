// Package decode turns the bytes of a picture into luma for hashing.
//
//	img, err := decode.Decode(data, hashing.DefaultLimits())
//	if m, ok := hashing.AsMediaError(err); ok { ... } // m.Kind: empty, too-large, unsupported-format, corrupt
//	luma, width, height := img.Reduced(nil, decode.Bare)
//
// # Hostile input
//
// The format is told by the first bytes, and its decoder is called by name: nothing depends on which
// decoders other packages register with image.Decode. The limits are applied to the header before a
// decoder allocates for pixels; a decoder that panics is an error. What no Go code can hold are memory
// and time of the decoder itself: package vigie/hashing/sandbox does that with processes.
//
// # What the pixels are
//
// As every PDQ reference does, the picture is taken as coded: EXIF orientation and colour profiles are
// ignored, and alpha is dropped, so that the colour under transparent pixels counts; where alpha
// matters, [Backdrop] composites. Palettes, CMYK and 16-bit samples become 8-bit RGB first (the
// references hash palette indices and clipped 16-bit values there, which means nothing). Of an
// animated GIF the first frame counts.
//
// Luma is 0.299 R + 0.587 G + 0.114 B. JPEG and lossy WebP store luma themselves, and it is used
// as stored: what conversion to RGB and back would add is rounding.
package decode

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"strings"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"

	"vigie/hashing"
)

// Image is a decoded picture. Its methods may be called from many goroutines.
type Image struct {
	Format        string // "jpeg", "png", "gif", "webp", "bmp", "tiff"
	Width, Height int    // pixels, as coded
	HasAlpha      bool   // some pixel is not opaque

	pixels pixels
}

// format is what has to be known of a picture format.
type format struct {
	name   string
	begins func([]byte) bool
	header func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
}

var formats = []format{
	{"jpeg", prefix("\xff\xd8\xff"), jpeg.DecodeConfig, jpeg.Decode},
	{"png", prefix("\x89PNG\r\n\x1a\n"), png.DecodeConfig, png.Decode},
	{"gif", prefix("GIF87a", "GIF89a"), gif.DecodeConfig, gif.Decode},
	{"webp", chunk("RIFF", "WEBP"), webp.DecodeConfig, webp.Decode},
	{"bmp", isBMP, bmp.DecodeConfig, bmp.Decode},
	{"tiff", prefix("II*\x00", "MM\x00*"), tiff.DecodeConfig, tiff.Decode},
}

// accepted ends the message about what is not.
const accepted = "accepted are JPEG, PNG, GIF, WebP, BMP, TIFF"

// Decode decodes a picture within the limits. All its errors are [*hashing.MediaError], of the kinds
// Empty, Unsupported, TooLarge and Corrupt. A truncated file is corrupt; bytes after the picture's end
// are ignored. It may be called from many goroutines.
func Decode(data []byte, limits hashing.Limits) (*Image, error) {
	if len(data) == 0 {
		return nil, &hashing.MediaError{Kind: hashing.Empty, Detail: "no bytes"}
	}
	if int64(len(data)) > limits.Bytes {
		return nil, &hashing.MediaError{Kind: hashing.TooLarge, Detail: fmt.Sprintf("%d bytes; accepted are %d", len(data), limits.Bytes)}
	}
	for _, f := range formats {
		if f.begins(data) {
			return f.open(data, limits)
		}
	}
	return nil, unsupported("this looks like %s; %s", describe(data), accepted)
}

// open reads the header, holds it against the limits, and only then decodes.
func (f format) open(data []byte, limits hashing.Limits) (img *Image, err error) {
	defer func() {
		if recover() != nil { // the value may quote the media
			img, err = nil, corrupt(f.name, errors.New("the decoder panicked"))
		}
	}()
	if f.name == "webp" && isAnimatedWebP(data) {
		return nil, unsupported("animated WebP; only still WebP is accepted")
	}
	config, err := f.header(bytes.NewReader(data))
	if err != nil {
		return nil, decoderError(f.name, err)
	}
	if err := limits.CheckSize(config.Width, config.Height); err != nil {
		return nil, err
	}
	decoded, err := f.decode(bytes.NewReader(data))
	if err != nil {
		return nil, decoderError(f.name, err)
	}
	canvas := image.Rect(0, 0, config.Width, config.Height)
	if !decoded.Bounds().In(canvas) || f.name != "gif" && decoded.Bounds() != canvas {
		return nil, corrupt(f.name, fmt.Errorf("header claims %v, pixels are %v", canvas.Max, decoded.Bounds()))
	}
	px := pixelsOf(decoded, f.name == "webp")
	if p, ok := decoded.(*image.Paletted); ok && f.name == "gif" {
		px = gifPixels(p, canvas, config.ColorModel)
	}
	return &Image{Format: f.name, Width: config.Width, Height: config.Height, HasAlpha: px.alpha != nil, pixels: px}, nil
}

// decoderError tells what a decoder knows but does not implement from what is damaged.
func decoderError(name string, err error) error {
	var (
		j jpeg.UnsupportedError
		p png.UnsupportedError
		t tiff.UnsupportedError
	)
	if errors.As(err, &j) || errors.As(err, &p) || errors.As(err, &t) || errors.Is(err, bmp.ErrUnsupported) {
		return unsupported("%s: %s", strings.ToUpper(name), err)
	}
	return corrupt(name, err)
}

func unsupported(text string, args ...any) error {
	return &hashing.MediaError{Kind: hashing.Unsupported, Detail: fmt.Sprintf(text, args...)}
}

func corrupt(name string, err error) error {
	return &hashing.MediaError{Kind: hashing.Corrupt, Detail: fmt.Sprintf("%s: %s", strings.ToUpper(name), err)}
}
