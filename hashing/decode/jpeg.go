package decode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/jpeg"

	"github.com/gen2brain/jpegn"
)

// decodeJPEG uses the fast decoder for what it decodes well, and the standard library for all else.
//
// A scan that decodes to nothing would be hashed as a black or gray picture, and a copy of something
// known would be missed in silence. A file without a scan of its first component is therefore
// refused, and where the fast decoder's result looks like what it leaves when it gives up, which
// it does without an error, the standard library decides.
func decodeJPEG(data []byte, config image.Config) (pixels, error) {
	file := readJPEG(data)
	if file.complete && !file.first {
		return pixels{}, errors.New("no scan of the first component")
	}
	if file.plain() {
		scale := min(8, reduction(config.Width, config.Height))
		img, err := decodeFast(data, scale)
		if err == nil && !gaveUp(img) {
			size := img.Bounds().Size()
			if size != image.Pt((config.Width+scale-1)/scale, (config.Height+scale-1)/scale) {
				return pixels{}, fmt.Errorf("header claims %d x %d pixels, at 1/%d there are %v", config.Width, config.Height, scale, size)
			}
			p := pixelsOf(img, false)
			p.scale = scale
			p.full = func() (pixels, error) {
				img, err := decodeFast(data, 1)
				if err != nil {
					return pixels{}, err
				}
				return asClaimed(img, config, false)
			}
			return p, nil
		}
	}
	img, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		return pixels{}, err
	}
	return asClaimed(img, config, false)
}

// decodeFast decodes at 1/scale.
func decodeFast(data []byte, scale int) (img image.Image, err error) {
	defer func() {
		if recover() != nil {
			img, err = nil, errPanicked
		}
	}()
	return jpegn.Decode(bytes.NewReader(data), &jpegn.Options{ScaleDenom: scale})
}

// gaveUp reports whether img may be what is left of a picture whose decoding ended early: one level of
// luma throughout, or a last row that is zero in all planes, which is black only without chroma.
func gaveUp(img image.Image) bool {
	last := func(pix []uint8, stride, width, height int) []uint8 { return pix[(height-1)*stride:][:width] }
	switch m := img.(type) {
	case *image.YCbCr:
		w, h := m.Rect.Dx(), m.Rect.Dy()
		ch := m.COffset(0, h-1)/m.CStride + 1
		return uniform(m.Y, m.YStride, w, h) ||
			zero(last(m.Y, m.YStride, w, h)) && zero(last(m.Cb, m.CStride, m.COffset(w-1, 0)+1, ch)) && zero(last(m.Cr, m.CStride, m.COffset(w-1, 0)+1, ch))
	case *image.Gray:
		w, h := m.Rect.Dx(), m.Rect.Dy()
		return uniform(m.Pix, m.Stride, w, h) || zero(last(m.Pix, m.Stride, w, h))
	}
	return true // of no type that was asked for
}

func zero(row []uint8) bool {
	for _, v := range row {
		if v != 0 {
			return false
		}
	}
	return true
}

func uniform(pix []uint8, stride, width, height int) bool {
	for y := range height {
		for _, v := range pix[y*stride:][:width] {
			if v != pix[0] {
				return false
			}
		}
	}
	return true
}

// jpegFile is what a JPEG's markers say of how it is coded (ITU-T T.81, annex B).
type jpegFile struct {
	frame      byte // the second byte of the SOF marker; 0 if there is none
	precision  int
	width      int
	height     int
	components int
	id         [4]byte
	h, v       [4]int // sampling factors
	adobe      int    // the colour transform of Adobe's APP14, -1 if there is none
	scans      int
	inFirst    int  // components of the first scan
	first      bool // some scan holds the first component, and has data
	complete   bool // the markers follow each other up to the end of the image
}

// plain reports whether the fast decoder is known to decode such files: sequential in one scan, or
// progressive, of 8 bits, with one gray component or with luma and chroma at usual sampling factors.
func (f *jpegFile) plain() bool {
	const baseline, progressive = 0xc0, 0xc2
	if !f.complete || f.precision != 8 || f.adobe == 0 || string(f.id[:3]) == "RGB" {
		return false
	}
	if f.frame != progressive && (f.frame != baseline || f.scans != 1 || f.inFirst != f.components) {
		return false
	}
	if f.components == 1 {
		return true
	}
	if f.components != 3 || f.h[1] != 1 || f.v[1] != 1 || f.h[2] != 1 || f.v[2] != 1 {
		return false
	}
	switch [2]int{f.h[0], f.v[0]} {
	case [2]int{1, 1}, [2]int{2, 1}, [2]int{2, 2}, [2]int{1, 2}, [2]int{4, 1}, [2]int{4, 2}:
		return true
	}
	return false
}

// share is the memory of all components together, in samples for each pixel.
func (f *jpegFile) share() float64 {
	h, v, sum := 1, 1, 0
	for i := range f.components {
		h, v, sum = max(h, f.h[i]), max(v, f.v[i]), sum+f.h[i]*f.v[i]
	}
	return float64(sum) / float64(h*v)
}

// readJPEG follows the markers to the end of the image. The entropy-coded data are skipped.
func readJPEG(data []byte) jpegFile {
	f := jpegFile{adobe: -1}
	for at := 2; ; {
		marker, after := nextMarker(data, at)
		if after < 0 {
			return f
		}
		at = after
		switch {
		case marker == 0xd9: // EOI
			f.complete = true
			return f
		case marker <= 0x01, marker >= 0xd0 && marker <= 0xd8: // those without a segment
			continue
		}
		if len(data)-at < 2 {
			return f
		}
		length := int(binary.BigEndian.Uint16(data[at:]))
		if length < 2 || length > len(data)-at {
			return f
		}
		segment := data[at+2 : at+length]
		at += length
		switch {
		case marker == 0xee: // APP14
			if len(segment) >= 12 && string(segment[:5]) == "Adobe" {
				f.adobe = int(segment[11])
			}
		case marker == 0xda: // SOS
			next := endOfScan(data, at)
			if !f.scan(segment, next > at) {
				return f
			}
			at = next
		case marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc: // SOF
			if !f.start(marker, segment) {
				return f
			}
		}
	}
}

// start takes a frame header in; it reports whether it is a good one, and the only one.
func (f *jpegFile) start(marker byte, segment []byte) bool {
	if f.frame != 0 || len(segment) < 6 || len(segment) < 6+3*int(segment[5]) || segment[5] > 4 {
		return false
	}
	f.frame, f.precision, f.components = marker, int(segment[0]), int(segment[5])
	f.height, f.width = int(binary.BigEndian.Uint16(segment[1:])), int(binary.BigEndian.Uint16(segment[3:]))
	for i := range f.components {
		c := segment[6+3*i:]
		f.id[i], f.h[i], f.v[i] = c[0], int(c[1]>>4), int(c[1]&15)
	}
	return true
}

// scan takes a scan header in; it reports whether it is a good one.
func (f *jpegFile) scan(segment []byte, hasData bool) bool {
	if f.frame == 0 || len(segment) < 1 || len(segment) < 4+2*int(segment[0]) {
		return false
	}
	n := int(segment[0])
	if f.scans++; f.scans == 1 {
		f.inFirst = n
	}
	for i := range n {
		if segment[1+2*i] == f.id[0] && hasData {
			f.first = true
		}
	}
	return true
}

// nextMarker finds the next marker from at on, and where it ends: -1 if there is none.
func nextMarker(data []byte, at int) (marker byte, after int) {
	i := bytes.IndexByte(data[min(at, len(data)):], 0xff)
	if i < 0 {
		return 0, -1
	}
	for at += i; at < len(data); at++ {
		if data[at] != 0xff { // 0xff may be repeated
			return data[at], at + 1
		}
	}
	return 0, -1
}

// endOfScan is where the entropy-coded data that begin at from end: at the next marker but restarts.
func endOfScan(data []byte, from int) int {
	for at := from; ; {
		i := bytes.IndexByte(data[at:], 0xff)
		if i < 0 || at+i+1 >= len(data) {
			return len(data)
		}
		at += i
		if next := data[at+1]; next != 0 && next != 0xff && (next < 0xd0 || next > 0xd7) {
			return at
		}
		at++
	}
}
