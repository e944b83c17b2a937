// Package hostile makes media that claim what is not so, or that grow when they are decoded, for tests.
package hostile

import (
	"bytes"
	"encoding/binary"
)

// Patched returns a file of boxes (MP4, AVIF, HEIC) with the 4 bytes replaced that stand offset bytes behind the name of the
// first box so named. It panics if there is no such box.
func Patched(data []byte, box string, offset int, value uint32) []byte {
	at := bytes.Index(data, []byte(box))
	if at < 0 {
		panic("no box " + box)
	}
	data = bytes.Clone(data)
	binary.BigEndian.PutUint32(data[at+4+offset:], value)
	return data
}

// WebP is a lossless picture of one gray. Its codes have one symbol each, so that no pixel takes a bit:
// 30-odd bytes are up to 16384 x 16384 pixels ("WebP Lossless Bitstream Specification", 6.2).
func WebP(width, height int) []byte {
	var bits, n uint64
	put := func(value, width uint64) { bits, n = bits|value<<n, n+width }
	put(uint64(width-1), 14)
	put(uint64(height-1), 14)
	put(0, 1+3) // no alpha, version 0
	put(0, 3)   // no transform, no colour cache, one group of codes
	stream := binary.LittleEndian.AppendUint64([]byte{0x2f}, bits)[:1+4]
	bits, n = bits>>32, n-32
	for _, symbol := range []uint64{0x80, 0x80, 0x80, 0xff} { // green, red, blue, alpha
		put(0b101, 3) // simple, one symbol, of 8 bits
		put(symbol, 8)
	}
	put(0b001, 3) // distance: a symbol of one bit, 0
	put(0, 1)
	stream = binary.LittleEndian.AppendUint64(stream, bits)
	file := append([]byte("WEBPVP8L"), binary.LittleEndian.AppendUint32(nil, uint32(len(stream)))...)
	if len(stream)%2 == 1 {
		stream = append(stream, 0)
	}
	file = append(file, stream...)
	return append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(file))), file...)
}

// Matroska is a file of many video tracks of JPEG pictures that claim a size, and to last 100,000
// seconds; the first track has the pictures given, a millisecond each.
func Matroska(tracks int, width, height uint64, pictures ...[]byte) []byte {
	var entries, blocks []byte
	for i := range tracks {
		entries = append(entries, element(0xae, number(0xd7, uint64(i+1)), number(0x73c5, uint64(i+1)), number(0x83, 1),
			element(0x86, []byte("V_MJPEG")), element(0xe0, number(0xb0, width), number(0xba, height)))...)
	}
	for i, p := range pictures {
		blocks = append(blocks, element(0xa3, []byte{0x81, byte(i >> 8), byte(i), 0x80}, p)...)
	}
	return bytes.Join([][]byte{
		element(0x1a45dfa3, element(0x4282, []byte("matroska"))),
		element(0x18538067,
			element(0x1549a966, number(0x2ad7b1, 1e9), element(0x4489, []byte{0x47, 0xc3, 0x50, 0})),
			element(0x1654ae6b, entries), element(0x1f43b675, number(0xe7, 0), blocks)),
	}, nil)
}

// element is one of Matroska's (RFC 8794), with a length of 8 bytes.
func element(id uint32, parts ...[]byte) []byte {
	payload := bytes.Join(parts, nil)
	b := bytes.TrimLeft(binary.BigEndian.AppendUint32(nil, id), "\x00")
	b = binary.BigEndian.AppendUint64(b, 1<<56|uint64(len(payload)))
	return append(b, payload...)
}

func number(id uint32, n uint64) []byte { return element(id, binary.BigEndian.AppendUint64(nil, n)) }
