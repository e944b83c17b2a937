package decode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io"

	"github.com/deepteams/webp"
	"golang.org/x/image/vp8l"
)

// webpFile is what the chunks of a WebP say (RFC 9649).
type webpFile struct {
	canvas image.Point
	// Of a still, one part without a rectangle of its own; else the frames.
	frames   []webpFrame
	animated bool
	cut      error // why reading ended early, behind at least one frame
}

// webpFrame is one bitstream.
type webpFrame struct {
	part
	size      image.Point // as the bitstream's header claims
	lossless  bool
	bitstream []byte
	alpha     []byte // the ALPH chunk, of a lossy frame; may be nil
}

var (
	errWebPCut   = errors.New("a chunk is longer than the file")
	errWebPEmpty = errors.New("no bitstream")
)

// readWebP reads as far as the most-th frame.
func readWebP(data []byte, most int) (f webpFile, err error) {
	const riff, extended = 12, 10
	if len(data) < riff {
		return f, errWebPCut
	}
	// The length in the header is that of what counts. Some files claim more than there is, or one byte less.
	rest := data[riff:]
	if claimed := int64(binary.LittleEndian.Uint32(data[4:])) - 4; claimed >= 0 && claimed+1 < int64(len(rest)) {
		rest = rest[:claimed+claimed&1]
	}
	kind, body, rest, err := webpChunk(rest)
	if err != nil {
		return f, err
	}
	if kind != "VP8X" {
		frame := webpFrame{}
		if err := frame.take(kind, body); err != nil {
			return f, err
		}
		f.canvas, f.frames = frame.size, []webpFrame{frame}
		return f, nil
	}
	if len(body) < extended {
		return f, errWebPCut
	}
	f.animated = body[0]&2 != 0
	f.canvas = image.Pt(1+uint24(body[4:]), 1+uint24(body[7:]))
	still := webpFrame{}
	for len(rest) > 0 && len(f.frames) < most {
		if kind, body, rest, err = webpChunk(rest); err != nil {
			f.cut = err
			break
		}
		switch {
		case f.animated && kind == "ANMF":
			frame, err := readFrameOfWebP(body)
			if err != nil {
				f.cut = err
				rest = nil
				break
			}
			f.frames = append(f.frames, frame)
		case !f.animated && (kind == "ALPH" || kind == "VP8 " || kind == "VP8L"):
			if err := still.take(kind, body); err != nil {
				return f, err
			}
			if still.bitstream != nil {
				f.frames = append(f.frames, still)
				return f, nil
			}
		}
	}
	if len(f.frames) == 0 {
		if f.cut != nil {
			return f, f.cut
		}
		return f, errWebPEmpty
	}
	return f, nil
}

// readFrameOfWebP reads the body of an ANMF chunk.
func readFrameOfWebP(body []byte) (f webpFrame, err error) {
	const header = 16
	if len(body) < header {
		return f, errWebPCut
	}
	x, y := 2*uint24(body), 2*uint24(body[3:])
	f.rect = image.Rect(x, y, x+1+uint24(body[6:]), y+1+uint24(body[9:]))
	f.delay = uint32(uint24(body[12:]))
	f.blend = body[15]&2 == 0
	if body[15]&1 != 0 {
		f.dispose = erase
	}
	for rest := body[header:]; f.bitstream == nil; {
		var kind string
		var inner []byte
		if len(rest) == 0 {
			return f, errWebPEmpty
		}
		if kind, inner, rest, err = webpChunk(rest); err != nil {
			return f, err
		}
		if err := f.take(kind, inner); err != nil {
			return f, err
		}
	}
	f.opaque = !f.lossless && f.alpha == nil
	return f, nil
}

// webpChunk splits the first chunk off.
func webpChunk(data []byte) (kind string, body, rest []byte, err error) {
	if len(data) < 8 {
		return "", nil, nil, errWebPCut
	}
	length := int64(binary.LittleEndian.Uint32(data[4:]))
	if length > int64(len(data)-8) {
		return "", nil, nil, errWebPCut
	}
	end := 8 + int(length)
	return string(data[:4]), data[8:end], data[min(len(data), end+end&1):], nil
}

// take takes a chunk in that may hold a part of the frame; others are passed over.
func (f *webpFrame) take(kind string, body []byte) error {
	switch kind {
	case "ALPH":
		f.alpha = body
	case "VP8 ": // RFC 6386, section 9.1
		if len(body) < 10 || string(body[3:6]) != "\x9d\x01\x2a" {
			return errors.New("no VP8 key frame")
		}
		f.bitstream = body
		f.size = image.Pt(int(binary.LittleEndian.Uint16(body[6:])&0x3fff), int(binary.LittleEndian.Uint16(body[8:])&0x3fff))
	case "VP8L":
		if len(body) < 5 || body[0] != 0x2f {
			return errors.New("no VP8L image")
		}
		bits := binary.LittleEndian.Uint32(body[1:])
		f.bitstream, f.lossless = body, true
		f.size = image.Pt(int(bits&0x3fff)+1, int(bits>>14&0x3fff)+1)
	}
	return nil
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

func headerOfWebP(data []byte) (image.Config, error) {
	f, err := readWebP(data, 1)
	if err != nil && f.canvas == (image.Point{}) {
		return image.Config{}, err
	}
	return image.Config{ColorModel: color.NRGBAModel, Width: f.canvas.X, Height: f.canvas.Y}, nil
}

func decodeWebP(data []byte, config image.Config) (pixels, error) {
	f, err := readWebP(data, 1)
	if err != nil {
		return pixels{}, err
	}
	canvas := image.Rect(0, 0, config.Width, config.Height)
	first := f.frames[0]
	rect := canvas
	if f.animated {
		rect = first.rect
	}
	if !rect.In(canvas) || first.size != rect.Size() {
		return pixels{}, fmt.Errorf("header claims %v, the bitstream is %v", rect.Size(), first.size)
	}
	p, err := first.decode()
	if err != nil {
		return pixels{}, err
	}
	return placed(p, rect, canvas), nil
}

// framesOfWebP reads the frames to the end, or to where the file is damaged.
func framesOfWebP(data []byte) *animation {
	f, err := readWebP(data, mostFrames)
	if err != nil || !f.animated {
		return nil
	}
	a := &animation{canvas: f.canvas}
	for _, frame := range f.frames {
		p := frame.part
		p.decode = frame.decode
		if frame.size != frame.rect.Size() || !a.add(p) {
			break
		}
	}
	return a
}

// decode decodes a frame, whose size was compared with the limits.
//
// Of the library only the decoder of lossy bitstreams is used. Version 1.2.0 decodes some lossless ones to
// other pixels than libwebp does, and takes compressed alpha to begin with a header, which no encoder
// writes and which would bring a size of its own.
func (f *webpFrame) decode() (pixels, error) {
	var img image.Image
	var err error
	if f.lossless {
		img, err = vp8l.Decode(bytes.NewReader(f.bitstream))
	} else {
		img, err = webp.Decode(bytes.NewReader(lossyFile(f.bitstream)))
	}
	if err != nil {
		return pixels{}, err
	}
	p, err := asClaimed(img, image.Config{Width: f.size.X, Height: f.size.Y}, true)
	if err != nil || f.alpha == nil || f.lossless {
		return p, err
	}
	alpha, err := decodeAlpha(f.alpha, f.size.X, f.size.Y)
	if err != nil {
		return pixels{}, err
	}
	for _, a := range alpha {
		if a != 255 {
			p.alpha = func(dst []uint8, y int) { copy(dst, alpha[y*f.size.X:]) }
			break
		}
	}
	return p, nil
}

// lossyFile makes a file of one bitstream.
func lossyFile(bitstream []byte) []byte {
	padded := len(bitstream) + len(bitstream)&1
	file := append(make([]byte, 0, 20+padded), "RIFF"...)
	file = binary.LittleEndian.AppendUint32(file, uint32(12+padded))
	file = binary.LittleEndian.AppendUint32(append(file, "WEBPVP8 "...), uint32(len(bitstream)))
	return append(file, bitstream...)[:20+padded]
}

// decodeAlpha decodes an ALPH chunk (RFC 9649, section 2.7.1.2): a plane as it is, or as the green of a VP8L
// image without its header, under a filter that predicts from neighbours.
func decodeAlpha(chunk []byte, width, height int) ([]uint8, error) {
	if len(chunk) == 0 {
		return nil, errWebPCut
	}
	plane := make([]uint8, width*height)
	switch chunk[0] & 3 {
	case 0:
		if copy(plane, chunk[1:]) < len(plane) {
			return nil, errWebPCut
		}
	case 1:
		header := []byte{0x2f, 0, 0, 0, 0}
		binary.LittleEndian.PutUint32(header[1:], uint32(width-1)|uint32(height-1)<<14)
		img, err := vp8l.Decode(io.MultiReader(bytes.NewReader(header), bytes.NewReader(chunk[1:])))
		if err != nil {
			return nil, err
		}
		m, ok := img.(*image.NRGBA)
		if !ok || m.Rect != image.Rect(0, 0, width, height) {
			return nil, errors.New("alpha of another size")
		}
		for i := range plane {
			plane[i] = m.Pix[4*i+1]
		}
	default:
		return nil, errors.New("alpha of an unknown coding")
	}
	unfilter(plane, width, chunk[0]>>2&3)
	return plane, nil
}

// unfilter adds to each value its prediction: from the left, from above, or by the gradient of
// both. The first row is predicted from the left, the first column from above.
func unfilter(plane []uint8, width int, filter byte) {
	const horizontal, vertical, gradient = 1, 2, 3
	if filter == 0 {
		return
	}
	for i := range plane {
		x, y := i%width, i/width
		switch {
		case x == 0 && y == 0:
		case y == 0, x > 0 && filter == horizontal:
			plane[i] += plane[i-1]
		case x == 0, filter == vertical:
			plane[i] += plane[i-width]
		case filter == gradient:
			predicted := int(plane[i-1]) + int(plane[i-width]) - int(plane[i-width-1])
			plane[i] += uint8(min(255, max(0, predicted)))
		}
	}
}
