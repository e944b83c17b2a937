// Package hostile makes video files that claim what is not so, for tests.
package hostile

import (
	"bytes"
	"encoding/binary"
)

// Patched returns an MP4 file with the 4 bytes replaced that stand offset bytes behind the name of the
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
