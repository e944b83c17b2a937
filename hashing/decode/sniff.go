package decode

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// prefix recognises data that begins with one of the texts.
func prefix(texts ...string) func([]byte) bool {
	return func(data []byte) bool {
		for _, text := range texts {
			if bytes.HasPrefix(data, []byte(text)) {
				return true
			}
		}
		return false
	}
}

// chunk recognises a RIFF file by its container and form (4 bytes, a length, 4 bytes).
func chunk(container, form string) func([]byte) bool {
	return func(data []byte) bool {
		return len(data) >= 12 && string(data[:4]) == container && string(data[8:12]) == form
	}
}

// brand recognises an ISO base media file (ISO/IEC 14496-12) by the major brand of its first box.
func brand(names ...string) func([]byte) bool {
	return func(data []byte) bool {
		if len(data) < 12 || string(data[4:8]) != "ftyp" {
			return false
		}
		for _, name := range names {
			if strings.HasPrefix(string(data[8:12]), name) {
				return true
			}
		}
		return false
	}
}

// isBMP wants more than "BM", with which a text may begin: the length of a known second header.
func isBMP(data []byte) bool {
	if len(data) < 18 || string(data[:2]) != "BM" {
		return false
	}
	switch binary.LittleEndian.Uint32(data[14:]) {
	case 12, 16, 40, 52, 56, 64, 108, 124:
		return true
	}
	return false
}

// isAnimatedWebP looks at the flags of the extended header, which comes first
// (developers.google.com/speed/webp/docs/riff_container).
func isAnimatedWebP(data []byte) bool {
	return len(data) > 20 && string(data[12:16]) == "VP8X" && data[20]&2 != 0
}

// others are formats that people do send, though they are not accepted; the first that fits is named.
var others = []struct {
	name   string
	begins func([]byte) bool
}{
	{"an AVIF picture", brand("avif", "avis")},
	{"a HEIC picture", brand("heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1")},
	{"QuickTime video", brand("qt")},
	{"3GP video", brand("3g")},
	{"MP4 video", brand("")},
	{"QuickTime video", func(d []byte) bool {
		return len(d) >= 8 && (string(d[4:8]) == "moov" || string(d[4:8]) == "mdat" || string(d[4:8]) == "wide")
	}},
	{"WebM or Matroska video", prefix("\x1a\x45\xdf\xa3")},
	{"AVI video", chunk("RIFF", "AVI ")},
	{"FLV video", prefix("FLV\x01")},
	{"MPEG video", prefix("\x00\x00\x01\xba", "\x00\x00\x01\xb3")},
	{"a JPEG XL picture", prefix("\xff\x0a", "\x00\x00\x00\x0cJXL ")},
	{"a JPEG 2000 picture", prefix("\x00\x00\x00\x0cjP  ", "\xff\x4f\xff\x51")},
	{"a BigTIFF picture", prefix("II+\x00", "MM\x00+")},
	{"a Photoshop document", prefix("8BPS")},
	{"an icon", prefix("\x00\x00\x01\x00")},
	{"a PDF document", prefix("%PDF-")},
	{"a ZIP archive", prefix("PK\x03\x04")},
	{"compressed data", prefix("\x1f\x8b", "\x28\xb5\x2f\xfd", "BZh", "\xfd7zXZ\x00")},
	{"an SVG drawing", isMarkup("<svg")},
	{"an HTML page", isMarkup("<!doctype html", "<html", "<head", "<body")},
	{"XML", isMarkup("<?xml")},
	{"plain text", isText},
}

// describe names what data looks like, for people. It quotes nothing of it.
func describe(data []byte) string {
	for _, other := range others {
		if other.begins(data) {
			return other.name
		}
	}
	return "an unknown format"
}

// isMarkup recognises a document by a tag within its first kilobyte, where it starts with "<".
func isMarkup(tags ...string) func([]byte) bool {
	return func(data []byte) bool {
		head := strings.ToLower(string(bytes.TrimLeft(data[:min(len(data), 1024)], "\xef\xbb\xbf \t\r\n")))
		if !strings.HasPrefix(head, "<") {
			return false
		}
		for _, tag := range tags {
			if strings.Contains(head, tag) {
				return true
			}
		}
		return false
	}
}

func isText(data []byte) bool {
	head := data[:min(len(data), 1024)]
	for len(head) > 0 {
		r, n := utf8.DecodeRune(head)
		cut := len(head) < utf8.UTFMax && len(data) > 1024 && !utf8.FullRune(head)
		if cut {
			return true
		}
		if r == utf8.RuneError && n == 1 || r < ' ' && r != '\n' && r != '\r' && r != '\t' {
			return false
		}
		head = head[n:]
	}
	return true
}
