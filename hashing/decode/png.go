package decode

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/png"
	"slices"
)

// framesOfPNG follows the chunks of an animated PNG (W3C PNG, third edition: acTL, fcTL, fdAT) to its
// end, or to where it is damaged. The standard library decodes the default image alone, so that each
// frame becomes a file of its own: the header with the frame's size, the palette, the frame's data.
func framesOfPNG(data []byte) *animation {
	const (
		signature  = 8
		mostChunks = 1 << 18 // of data, together
	)
	chunks := 0
	var (
		a                *animation
		header           []byte // the data of IHDR
		shared           []byte // the chunks that every frame needs
		current          *part  // the frame whose data follow
		pieces           [][]byte
		animated, images bool // after acTL; after IDAT
	)
	finish := func() bool {
		if current == nil {
			return true
		}
		p, own := *current, pieces
		current, pieces = nil, nil
		if len(own) == 0 {
			return false
		}
		p.decode = func() (pixels, error) { return decodeFrameOfPNG(header, shared, p.rect, own) }
		return a.add(p)
	}
	be := binary.BigEndian
	for at := signature; len(data)-at >= 12; {
		length := int64(be.Uint32(data[at:]))
		if length > int64(len(data)-at-12) {
			break
		}
		kind, body := string(data[at+4:at+8]), data[at+8:at+8+int(length)]
		whole := data[at : at+12+int(length)]
		at += len(whole)
		switch kind {
		case "IHDR":
			if len(body) != 13 || a != nil {
				return a
			}
			header = body
			a = &animation{canvas: image.Pt(int(be.Uint32(body)), int(be.Uint32(body[4:]))), still: true}
		case "PLTE", "tRNS":
			if !images {
				shared = append(shared, whole...)
			}
		case "acTL":
			animated = !images
		case "fcTL":
			if a == nil || len(body) < 26 || !finish() {
				return a
			}
			current = partOfPNG(body)
			if current == nil {
				return a
			}
			if !images {
				a.still = false
			}
		case "IDAT":
			images = true
			if !animated {
				return nil
			}
			if chunks++; chunks > mostChunks {
				return a
			}
			if current != nil {
				pieces = append(pieces, body)
			}
		case "fdAT":
			if chunks++; current == nil || len(body) < 4 || chunks > mostChunks {
				return a
			}
			pieces = append(pieces, body[4:]) // behind its sequence number
		case "IEND":
			at = len(data)
		}
	}
	if a != nil {
		finish()
	}
	return a
}

// partOfPNG reads a frame control chunk; nil if it makes no sense.
func partOfPNG(body []byte) *part {
	be := binary.BigEndian
	const most = 1<<31 - 1
	for i := 4; i < 20; i += 4 {
		if be.Uint32(body[i:]) > most {
			return nil
		}
	}
	x, y := int(be.Uint32(body[12:])), int(be.Uint32(body[16:]))
	p := &part{rect: image.Rect(x, y, x+int(be.Uint32(body[4:])), y+int(be.Uint32(body[8:])))}
	unit := uint32(be.Uint16(body[22:]))
	if unit == 0 {
		unit = 100
	}
	p.delay = 1000 * uint32(be.Uint16(body[20:])) / unit
	switch body[24] {
	case 1:
		p.dispose = erase
	case 2:
		p.dispose = restore
	}
	p.blend = body[25] == 1
	return p
}

// decodeFrameOfPNG makes a file of a frame and decodes it.
func decodeFrameOfPNG(header, shared []byte, rect image.Rectangle, pieces [][]byte) (pixels, error) {
	var file []byte
	chunk := func(kind string, body ...[]byte) {
		from := len(file)
		file = binary.BigEndian.AppendUint32(file, 0)
		file = append(file, kind...)
		for _, b := range body {
			file = append(file, b...)
		}
		binary.BigEndian.PutUint32(file[from:], uint32(len(file)-from-8))
		file = binary.BigEndian.AppendUint32(file, crc32.ChecksumIEEE(file[from+4:]))
	}
	file = append(file, "\x89PNG\r\n\x1a\n"...)
	header = slices.Clone(header)
	binary.BigEndian.PutUint32(header, uint32(rect.Dx()))
	binary.BigEndian.PutUint32(header[4:], uint32(rect.Dy()))
	chunk("IHDR", header)
	file = append(file, shared...)
	chunk("IDAT", pieces...)
	chunk("IEND")
	return decodePNG(file, image.Config{Width: rect.Dx(), Height: rect.Dy()})
}

func decodePNG(data []byte, config image.Config) (pixels, error) {
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return pixels{}, err
	}
	return asClaimed(img, config, false)
}
