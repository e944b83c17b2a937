// Package decode turns the bytes of a picture into luma for hashing.
//
//	img, err := decode.Decode(data, hashing.DefaultLimits())
//	if m, ok := hashing.AsMediaError(err); ok { ... } // m.Kind: empty, too-large, unsupported-format, corrupt
//	var luma decode.Luma
//	img.Reduced(&luma, decode.Bare)
//	for time, frame := range img.Further(4) { ... } // of an animation
//
// # Hostile input
//
// The format is told by the first bytes ([Sniff]), and its decoder is called by name: nothing depends
// on which decoders other packages register with image.Decode. The limits are applied to the header
// before a decoder allocates for pixels; a decoder that panics is an error. What no Go code can hold are
// memory and time of the decoder itself: package vigie/hashing/sandbox does that with processes.
//
// # What the pixels are
//
// As every PDQ reference does, the picture is taken as coded: EXIF orientation, the rotations of AVIF
// and colour profiles are ignored, and alpha is dropped, so that the colour under transparent pixels
// counts; where alpha matters, [Backdrop] composites. Palettes, CMYK and 16-bit samples become 8-bit
// RGB first (the references hash palette indices and clipped 16-bit values there, which means nothing).
// An animation is its first frame; [Image.Further] yields others.
//
// Luma is 0.299 R + 0.587 G + 0.114 B. JPEG and lossy WebP store luma themselves, and it is used
// as stored: what conversion to RGB and back would add is rounding.
//
// # Which decoder
//
// JPEG with luma, or luma and chroma, is decoded by github.com/gen2brain/jpegn at a half, a quarter
// or an eighth of its size where [Image.Reduced] would divide it anyway. It takes a file at its word
// where the standard library does not, and it decodes CMYK to zeros: every other JPEG, and any that
// looks as if it had decoded to nothing, is the standard library's. Lossy WebP is decoded by
// github.com/deepteams/webp, lossless WebP, BMP and TIFF by golang.org/x/image, PNG and GIF by the
// standard library, AVIF by github.com/gen2brain/avif: libavif as WebAssembly, in builds with -tags nodynamic only.
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

	"vigie/hashing"
)

// Image is a decoded picture. Its methods may be called from many goroutines.
type Image struct {
	Format        string // "jpeg", "png", "gif", "webp", "bmp", "tiff", "avif"
	Width, Height int    // pixels, as coded
	HasAlpha      bool   // some pixel is not opaque

	pixels pixels
	// What Further needs: the file and the limits. No frames for formats without animation.
	data   []byte
	limits hashing.Limits
	frames func(data []byte) *animation
}

// format is what has to be known of a picture format.
type format struct {
	name   string
	header func([]byte) (image.Config, error)
	decode func(data []byte, config image.Config) (pixels, error)
	frames func(data []byte) *animation // nil if the format has no animations
	cost   func(data []byte, config image.Config) int64
}

var formats = []format{
	{"jpeg", with(jpeg.DecodeConfig), decodeJPEG, nil, costOfJPEG},
	{"png", with(png.DecodeConfig), decodePNG, framesOfPNG, costOfPNG},
	{"gif", with(gif.DecodeConfig), decodeGIF, framesOfGIF, perPixel(6)},
	{"webp", headerOfWebP, decodeWebP, framesOfWebP, costOfWebP},
	{"bmp", with(bmp.DecodeConfig), decodeBMP, nil, perPixel(4)},
	{"tiff", with(tiff.DecodeConfig), decodeTIFF, nil, perPixel(16)},
	{"avif", headerOfAVIF, decodeAVIF, nil, costOfAVIF},
}

// accepted ends the message about what is not.
const accepted = "accepted are JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF; by other programs HEIC and videos"

// Decode decodes a picture within the limits. All its errors are [*hashing.MediaError], of the kinds
// Empty, Unsupported, TooLarge and Corrupt. A truncated file is corrupt; bytes after the picture's end
// are ignored. AVIF has a limit of its own besides, [AVIFPixels]. The Image of an animation or a JPEG keeps data.
// Decode may be called from many goroutines.
func Decode(data []byte, limits hashing.Limits) (*Image, error) {
	f, err := find(data, limits)
	if err != nil {
		return nil, err
	}
	return f.open(data, limits)
}

// find is the format of data that is not longer than the limit.
func find(data []byte, limits hashing.Limits) (format, error) {
	if len(data) == 0 {
		return format{}, &hashing.MediaError{Kind: hashing.Empty, Detail: "no bytes"}
	}
	if int64(len(data)) > limits.Bytes {
		return format{}, &hashing.MediaError{Kind: hashing.TooLarge, Detail: fmt.Sprintf("%d bytes; accepted are %d", len(data), limits.Bytes)}
	}
	kind := Sniff(data)
	for _, f := range formats {
		if f.name == kind.Name {
			return f, nil
		}
	}
	return format{}, unsupported("this looks like %s; %s", kind.Text, accepted)
}

// size reads the header and holds it against the limits.
func (f format) size(data []byte, limits hashing.Limits) (image.Config, error) {
	config, err := f.header(data)
	if err != nil {
		return config, decoderError(f.name, err)
	}
	return config, limits.CheckSize(config.Width, config.Height)
}

// open decodes what the limits allow.
func (f format) open(data []byte, limits hashing.Limits) (img *Image, err error) {
	defer func() {
		if recover() != nil { // the value may quote the media
			img, err = nil, corrupt(f.name, errPanicked)
		}
	}()
	config, err := f.size(data, limits)
	if err != nil {
		return nil, err
	}
	p, err := f.decode(data, config)
	if err != nil {
		return nil, decoderError(f.name, err)
	}
	img = &Image{Format: f.name, Width: config.Width, Height: config.Height, HasAlpha: p.alpha != nil, pixels: p}
	if p.scale == 1 { // AVIF's header may have claimed more
		img.Width, img.Height = p.width, p.height
	}
	if f.frames != nil {
		img.data, img.limits, img.frames = data, limits, f.frames
	}
	return img, nil
}

var errPanicked = errors.New("the decoder panicked")

// with adapts a function that reads.
func with[T any](read func(io.Reader) (T, error)) func([]byte) (T, error) {
	return func(data []byte) (T, error) { return read(bytes.NewReader(data)) }
}

// asClaimed gives access to a picture that must be as large as its header claimed.
func asClaimed(img image.Image, config image.Config, studio bool) (pixels, error) {
	if canvas := image.Rect(0, 0, config.Width, config.Height); img.Bounds() != canvas {
		return pixels{}, fmt.Errorf("header claims %v, pixels are %v", canvas.Max, img.Bounds())
	}
	return pixelsOf(img, studio), nil
}

func decodeBMP(data []byte, config image.Config) (pixels, error) {
	img, err := bmp.Decode(bytes.NewReader(data))
	if err != nil {
		return pixels{}, err
	}
	return asClaimed(img, config, false)
}

func decodeTIFF(data []byte, config image.Config) (pixels, error) {
	img, err := tiff.Decode(bytes.NewReader(data))
	if err != nil {
		return pixels{}, err
	}
	return asClaimed(img, config, false)
}

// decoderError tells what a decoder knows but does not implement from what is damaged.
func decoderError(name string, err error) error {
	var (
		j jpeg.UnsupportedError
		p png.UnsupportedError
		t tiff.UnsupportedError
	)
	switch _, ours := hashing.AsMediaError(err); {
	case ours:
		return err
	case errors.As(err, &j), errors.As(err, &p), errors.As(err, &t), errors.Is(err, bmp.ErrUnsupported):
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
