package decode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"

	"vigie/hashing"
)

// AVIFPixels is the largest AVIF that is decoded, in pixels, whatever the limits allow: the decoder
// takes hundreds of megabytes for the largest.
const AVIFPixels = 16_000_000

// headerOfAVIF finds the size without running a decoder. It is the largest that the file claims of any
// of its images and tracks: which of them is the picture is the decoder's to know. The decoder scales a
// bitstream of another size to what the header claims; the memory for that is bounded by its process alone.
func headerOfAVIF(data []byte) (image.Config, error) {
	r := isoReader{}
	r.read(data, 0)
	if r.cut {
		return image.Config{}, errors.New("a box is longer than the file")
	}
	if r.size.X == 0 || r.size.Y == 0 {
		return image.Config{}, errors.New("no size is claimed")
	}
	if r.size.X > AVIFPixels/r.size.Y {
		return image.Config{}, &hashing.MediaError{
			Kind:   hashing.TooLarge,
			Detail: fmt.Sprintf("AVIF of %d x %d pixels; accepted are %d in all", r.size.X, r.size.Y, AVIFPixels),
		}
	}
	return image.Config{ColorModel: color.NRGBAModel, Width: r.size.X, Height: r.size.Y}, nil
}

// isoReader looks for sizes in the boxes of an ISO base media file (ISO/IEC 14496-12): image spatial extents
// (ispe, ISO/IEC 23008-12) and sample entries of AV1 and HEVC tracks.
type isoReader struct {
	size  image.Point // the largest sides found
	boxes int
	cut   bool // a box that matters is longer than the file: the decoder would make something up
}

// The nesting is ftyp, meta/iprp/ipco/ispe; moov/trak/mdia/minf/stbl/stsd/av01.
const (
	isoDepth = 8
	isoBoxes = 1 << 16
)

func (r *isoReader) read(data []byte, depth int) {
	be := binary.BigEndian
	for len(data) >= 8 && depth < isoDepth && r.boxes < isoBoxes {
		r.boxes++
		length, header := uint64(be.Uint32(data)), uint64(8)
		switch {
		case length == 1 && len(data) >= 16:
			length, header = be.Uint64(data[8:]), 16
		case length == 0: // to the end
			length = uint64(len(data))
		}
		if length < header || length > uint64(len(data)) {
			kind := string(data[4:8])
			r.cut = depth == 0 && (kind == "meta" || kind == "moov" || kind == "mdat")
			return
		}
		body := data[header:length]
		switch string(data[4:8]) {
		case "moov", "trak", "mdia", "minf", "stbl", "iprp", "ipco":
			r.read(body, depth+1)
		case "meta":
			if len(body) >= 4 {
				r.read(body[4:], depth+1)
			}
		case "stsd":
			if len(body) >= 8 {
				r.read(body[8:], depth+1)
			}
		case "ispe":
			if len(body) >= 12 {
				r.claim(be.Uint32(body[4:]), be.Uint32(body[8:]))
			}
		case "av01", "hvc1", "hev1":
			if len(body) >= 28 {
				r.claim(uint32(be.Uint16(body[24:])), uint32(be.Uint16(body[26:])))
			}
		}
		data = data[length:]
	}
}

func (r *isoReader) claim(width, height uint32) {
	const most = 1 << 30
	r.size.X, r.size.Y = max(r.size.X, int(min(width, most))), max(r.size.Y, int(min(height, most)))
}
