package decode

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// Class says what a media needs to be decoded.
type Class uint8

// The classes.
const (
	// Unknown: nothing here decodes it.
	Unknown Class = iota
	// Picture: [Decode] does.
	Picture
	// Compiled: Decode does, by WebAssembly that is compiled at run time. It needs a process that may
	// make memory executable, and much more memory than others.
	Compiled
	// External: a picture that an optional program has to convert first.
	External
	// Video: a video's container. There may be no video in it.
	Video
)

// Kind is what the first bytes of a media say.
type Kind struct {
	// Name is the format, as in a Picture's or a Video's Format: "jpeg", "png", "gif", "webp", "bmp", "tiff";
	// "avif"; "heic"; "mp4", "mov", "3gp", "webm", "matroska", "avi", "flv", "mpeg", "mpegts", "asf",
	// "ogg". It is empty if the class is Unknown.
	Name  string
	Class Class
	Text  string // what it looks like, for people: "an AVIF picture". It quotes nothing of the media.
}

// Sniff tells what data is, from at most its first kilobyte; no data are an unknown format. Sequences
// of AVIF and HEIC count as these pictures. It never fails, and tells nothing of whether the rest is sound.
func Sniff(data []byte) Kind {
	data = data[:min(len(data), sniffed)]
	for _, k := range kinds {
		if k.begins(data) {
			return k.Kind
		}
	}
	return Kind{Text: "an unknown format"}
}

// sniffed is how many bytes are looked at.
const sniffed = 1024

// kinds are the formats that can be decoded and others that people do send; the first that fits is taken.
var kinds = []struct {
	Kind
	begins func([]byte) bool
}{
	{Kind{"jpeg", Picture, "a JPEG picture"}, prefix("\xff\xd8\xff")},
	{Kind{"png", Picture, "a PNG picture"}, prefix("\x89PNG\r\n\x1a\n")},
	{Kind{"gif", Picture, "a GIF picture"}, prefix("GIF87a", "GIF89a")},
	{Kind{"webp", Picture, "a WebP picture"}, chunk("RIFF", "WEBP")},
	{Kind{"bmp", Picture, "a BMP picture"}, isBMP},
	{Kind{"tiff", Picture, "a TIFF picture"}, prefix("II*\x00", "MM\x00*")},
	{Kind{"avif", Compiled, "an AVIF picture"}, brand("avif", "avis")},
	{Kind{"heic", External, "a HEIC picture"}, brand("heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "mif1", "msf1", "miaf")},
	{Kind{"", Unknown, "a camera's raw picture"}, major("crx ")},
	{Kind{"mov", Video, "QuickTime video"}, major("qt  ")},
	{Kind{"3gp", Video, "3GP video"}, major("3g")},
	{Kind{"mp4", Video, "MP4 video"}, major("")},
	{Kind{"mov", Video, "QuickTime video"}, isOldQuickTime},
	{Kind{"webm", Video, "WebM video"}, func(d []byte) bool { return isMatroska(d) && bytes.Contains(d, []byte("\x42\x82\x84webm")) }},
	{Kind{"matroska", Video, "Matroska video"}, isMatroska},
	{Kind{"avi", Video, "AVI video"}, chunk("RIFF", "AVI ")},
	{Kind{"flv", Video, "FLV video"}, prefix("FLV\x01")},
	{Kind{"mpeg", Video, "MPEG video"}, prefix("\x00\x00\x01\xba", "\x00\x00\x01\xb3")},
	{Kind{"asf", Video, "Windows Media video"}, prefix("\x30\x26\xb2\x75\x8e\x66\xcf\x11")},
	{Kind{"ogg", Video, "Ogg video"}, prefix("OggS\x00")},
	{Kind{"mpegts", Video, "an MPEG transport stream"}, isTransportStream},
	{Kind{"", Unknown, "a JPEG XL picture"}, prefix("\xff\x0a", "\x00\x00\x00\x0cJXL ")},
	{Kind{"", Unknown, "a JPEG 2000 picture"}, prefix("\x00\x00\x00\x0cjP  ", "\xff\x4f\xff\x51")},
	{Kind{"", Unknown, "a BigTIFF picture"}, prefix("II+\x00", "MM\x00+")},
	{Kind{"", Unknown, "a Photoshop document"}, prefix("8BPS")},
	{Kind{"", Unknown, "an icon"}, prefix("\x00\x00\x01\x00")},
	{Kind{"", Unknown, "a PDF document"}, prefix("%PDF-")},
	{Kind{"", Unknown, "a ZIP archive"}, prefix("PK\x03\x04")},
	{Kind{"", Unknown, "compressed data"}, prefix("\x1f\x8b", "\x28\xb5\x2f\xfd", "BZh", "\xfd7zXZ\x00")},
	{Kind{"", Unknown, "an SVG drawing"}, isMarkup("<svg")},
	{Kind{"", Unknown, "an HTML page"}, isMarkup("<!doctype html", "<html", "<head", "<body")},
	{Kind{"", Unknown, "XML"}, isMarkup("<?xml")},
	{Kind{"", Unknown, "plain text"}, isText},
}

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

// major recognises an ISO base media file (ISO/IEC 14496-12) by how the major brand of its first box begins.
func major(name string) func([]byte) bool {
	return func(data []byte) bool {
		return len(data) >= 12 && string(data[4:8]) == "ftyp" && strings.HasPrefix(string(data[8:12]), name)
	}
}

// brand recognises an ISO base media file whose major brand is one of the names; if that is one of those
// that only say "a picture" or "a sequence" (ISO/IEC 23008-12), whose compatible brands name it first.
func brand(names ...string) func([]byte) bool {
	return func(data []byte) bool {
		if len(data) < 12 || string(data[4:8]) != "ftyp" {
			return false
		}
		listed := func(at int) bool {
			for _, name := range names {
				if string(data[at:at+4]) == name {
					return true
				}
			}
			return false
		}
		if general := string(data[8:12]); general != "mif1" && general != "msf1" && general != "miaf" {
			return listed(8)
		}
		end := min(int64(binary.BigEndian.Uint32(data)), int64(len(data)))
		for at := 16; int64(at)+4 <= end; at += 4 {
			if name := string(data[at : at+2]); name != "mi" && name != "ms" && listed(at) {
				return true
			}
		}
		return listed(8)
	}
}

// isOldQuickTime recognises a file from before the type box, by the box it begins with.
func isOldQuickTime(data []byte) bool {
	if len(data) < 8 || data[0] != 0 {
		return false
	}
	switch string(data[4:8]) {
	case "moov", "mdat", "wide", "free", "skip", "pnot":
		return true
	}
	return false
}

func isMatroska(data []byte) bool { return bytes.HasPrefix(data, []byte("\x1a\x45\xdf\xa3")) }

// isTransportStream recognises MPEG-TS by the byte that begins its packets (ISO/IEC 13818-1), which are
// 188 bytes long, or 192 with a time before each.
func isTransportStream(data []byte) bool {
	for _, packet := range [][2]int{{0, 188}, {4, 192}} {
		n := 0
		for at := packet[0]; at < len(data) && data[at] == 0x47; at += packet[1] {
			n++
		}
		if n >= 3 {
			return true
		}
	}
	return false
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

// isMarkup recognises a document by a tag where it starts with "<".
func isMarkup(tags ...string) func([]byte) bool {
	return func(data []byte) bool {
		head := strings.ToLower(string(bytes.TrimLeft(data, "\xef\xbb\xbf \t\r\n")))
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
	if len(data) == 0 {
		return false
	}
	head := data
	for len(head) > 0 {
		r, n := utf8.DecodeRune(head)
		cut := len(head) < utf8.UTFMax && len(data) == sniffed && !utf8.FullRune(head)
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
