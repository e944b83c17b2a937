package video

import (
	"encoding/binary"
	"time"
)

// loneTrack reads from an MP4 that it has one stream of pictures, and how long it is, which saves asking ffprobe: a process
// more, as dear as the keyframes of a short clip. It is not sure of any file that is built otherwise than usual
// (ISO/IEC 14496-12: moov with mvhd, and a trak for each stream, whose mdia has a hdlr).
func loneTrack(data []byte) (length time.Duration, sure bool) {
	videos, heads := 0, 0
	ok := boxes(data, func(kind string, body []byte) bool {
		if kind != "moov" {
			return true
		}
		return boxes(body, func(kind string, body []byte) bool {
			switch kind {
			case "mvhd":
				heads++
				length = movieLength(body)
			case "trak":
				return boxes(body, func(kind string, body []byte) bool {
					return kind != "mdia" || boxes(body, func(kind string, body []byte) bool {
						if kind == "hdlr" && len(body) >= 12 && string(body[8:12]) == "vide" {
							videos++
						}
						return kind != "hdlr" || len(body) >= 12
					})
				})
			case "cmov": // compressed
				return false
			}
			return true
		})
	})
	return length, ok && videos == 1 && heads == 1
}

// boxes calls each for the boxes of data, and reports whether all are whole, and each agreed. The last may be cut short: a
// file without its end is still a film.
func boxes(data []byte, each func(kind string, body []byte) bool) bool {
	for len(data) >= 8 {
		size, head := uint64(binary.BigEndian.Uint32(data)), uint64(8)
		switch {
		case size == 0:
			size = uint64(len(data))
		case size == 1 && len(data) >= 16:
			size, head = binary.BigEndian.Uint64(data[8:]), 16
		}
		kind := string(data[4:8])
		if size > uint64(len(data)) && kind == "mdat" {
			return true
		}
		if size < head || size > uint64(len(data)) || !each(kind, data[head:size]) {
			return false
		}
		data = data[size:]
	}
	return true
}

// movieLength is what an mvhd says; 0 if it makes no sense.
func movieLength(b []byte) time.Duration {
	var scale, length uint64
	switch {
	case len(b) >= 20 && b[0] == 0:
		scale, length = uint64(binary.BigEndian.Uint32(b[12:])), uint64(binary.BigEndian.Uint32(b[16:]))
	case len(b) >= 32 && b[0] == 1:
		scale, length = uint64(binary.BigEndian.Uint32(b[20:])), binary.BigEndian.Uint64(b[24:])
	}
	const most = 1 << 32 / 1000 // seconds, which milliseconds of 32 bits hold
	if scale == 0 || length/scale >= most {
		return 0
	}
	return time.Duration(float64(length) / float64(scale) * float64(time.Second))
}
