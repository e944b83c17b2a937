package video

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"
)

func mp4Box(kind string, bodies ...string) string {
	body := strings.Join(bodies, "")
	return string(binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))) + kind + body
}

func words(all ...uint32) (s string) {
	for _, w := range all {
		s += string(binary.BigEndian.AppendUint32(nil, w))
	}
	return s
}

func TestLoneTrack(t *testing.T) {
	file := mp4Box("ftyp", "isom", words(0))
	head := mp4Box("mvhd", words(0, 0, 0, 1000, 30_500))
	trak := func(kind string) string {
		return mp4Box("trak", mp4Box("tkhd"), mp4Box("mdia", mp4Box("hdlr", words(0, 0), kind, words(0))))
	}
	for _, c := range []struct {
		name, file string
		length     time.Duration
		sure       bool
	}{
		{"one", file + mp4Box("moov", head, trak("soun"), trak("vide")) + mp4Box("mdat", "x"), 30500 * time.Millisecond, true},
		{"index at the end", file + mp4Box("mdat", "x") + mp4Box("moov", head, trak("vide")), 30500 * time.Millisecond, true},
		{"cut in the middle of its data", file + mp4Box("moov", head, trak("vide")) + words(1000) + "mdat...", 30500 * time.Millisecond, true},
		{"long head", file + mp4Box("moov", mp4Box("mvhd", words(1<<24, 0, 0, 0, 0, 10, 0, 25)), trak("vide")), 2500 * time.Millisecond, true},
		{"of no length", file + mp4Box("moov", mp4Box("mvhd", words(0, 0, 0, 0, 5)), trak("vide")), 0, true},
		{"of a hundred years", file + mp4Box("moov", mp4Box("mvhd", words(0, 0, 0, 1, 1<<31)), trak("vide")), 0, true},
		{"two", file + mp4Box("moov", head, trak("vide"), trak("vide")), 0, false},
		{"none", file + mp4Box("moov", head, trak("soun")), 0, false},
		{"two indexes", file + mp4Box("moov", head, trak("vide")) + mp4Box("moov", head, trak("vide")), 0, false},
		{"compressed", file + mp4Box("moov", mp4Box("cmov", head, trak("vide"))), 0, false},
		{"cut short", (file + mp4Box("moov", head, trak("vide")))[:70], 0, false},
		{"a box too short", file + words(7) + "moov", 0, false},
		{"a box too long", file + words(1) + "moov" + words(1<<31, 0), 0, false},
		{"other", "\x1a\x45\xdf\xa3 matroska, say", 0, false},
		{"empty", "", 0, false},
	} {
		length, sure := loneTrack([]byte(c.file))
		if sure != c.sure || sure && length != c.length {
			t.Errorf("%s: %v %t", c.name, length, sure)
		}
	}
}
