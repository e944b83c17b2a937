package video_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/hashing/sandbox"
	"vigie/hashing/video"
	"vigie/internal/hostile"
)

// generate has ffmpeg make a small video of a test picture in motion.
func generate(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := encode(t.Context(), nil, append(append([]string{"-f", "lavfi"}, args...), "-threads", "1", path)...); err != nil {
		t.Fatal(err)
	}
	return read(t, path)
}

func small(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	return generate(t, name, append([]string{"-i", "testsrc2=size=160x120:rate=10:duration=4"}, args...)...)
}

// jpegOf returns a picture whose header may lie.
func jpegOf(t testing.TB, width, height int) []byte {
	data := small(t, "one.jpg", "-frames:v", "1")
	at := bytes.Index(data, []byte{0xff, 0xc0})
	binary.BigEndian.PutUint16(data[at+5:], uint16(height))
	binary.BigEndian.PutUint16(data[at+7:], uint16(width))
	return data
}

// TestHostile shows what becomes of each input, and that a good one is answered afterwards.
func TestHostile(t *testing.T) {
	good := small(t, "good.mp4")
	honest := jpegOf(t, 160, 120)
	var most sandbox.Usage
	o := video.Options{
		Timeout: 5 * time.Second, Memory: 512 << 20, MaxDuration: time.Hour, MaxFrames: 50, Children: 1,
		Limits: hashing.Limits{Bytes: 16 << 20, Side: 4096, Pixels: 10_000_000},
		Used: func(u sandbox.Usage) {
			most.CPU, most.MaxRSS = max(most.CPU, u.CPU), max(most.MaxRSS, u.MaxRSS)
		},
	}
	d := newDecoder(t, o)
	slow := o
	slow.Timeout = 40 * time.Millisecond
	narrow := o
	narrow.Memory = 2 << 20

	for _, test := range []struct {
		name string
		data []byte
		with *video.Options
		want string // kinds of errors, or "frames", or "cut", that are right
	}{
		{"empty", nil, nil, "empty"},
		{"text", []byte("hello, world\n"), nil, "unsupported-format"},
		{"playlist (m3u8)", []byte("#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n"), nil, "unsupported-format"},
		{"concat script", []byte("ffconcat version 1.0\nfile /etc/passwd\n"), nil, "unsupported-format"},
		{"playlist behind a box that names MP4", append([]byte("\x00\x00\x00\x10ftypisom\x00\x00\x00\x00"), "#EXTM3U\nfile:///etc/passwd\n"...), nil, "corrupt"},
		{"DASH manifest", []byte("<?xml version=\"1.0\"?><MPD></MPD>"), nil, "unsupported-format"},
		{"SDP", []byte("v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n"), nil, "unsupported-format"},
		{"JPEG", honest, nil, "unsupported-format"},
		{"AVIF by its brand", []byte("\x00\x00\x00\x18ftypavif\x00\x00\x00\x00avifmif1"), nil, "unsupported-format"},
		{"too many bytes", append(bytes.Clone(good), make([]byte, 16<<20)...), nil, "too-large"},
		{"only the magic", []byte("\x1a\x45\xdf\xa3"), nil, "corrupt"},
		{"only sound", generate(t, "sound.mp4", "-i", "sine=duration=1"), nil, "unsupported-format"},
		{"claims 100 hours in its header", hostile.Patched(good, "mvhd", 16, 360_000_000), nil, "frames"},
		{"shows its last frame after 100 hours", hostile.Patched(good, "stts", 12, 90_000_000), nil, "cut frames"},
		{"10 hours of one colour", generate(t, "long.mp4", "-i", "color=gray:size=64x64:rate=0.05:duration=36000", "-preset", "ultrafast"), nil, "cut"},
		{"4 billion samples", hostile.Patched(hostile.Patched(good, "stsz", 4, 1), "stsz", 8, 0xffffffff), nil, "corrupt decoder-memory decoder-timeout cut frames"},
		{"4 billion time stamps", hostile.Patched(good, "stts", 8, 0xffffffff), nil, "corrupt decoder-memory decoder-timeout cut frames"},
		{"100,000 x 100,000 in the container", hostile.Matroska(1, 100_000, 100_000, honest), nil, "frames corrupt"},
		{"65,500 x 65,500 in each frame", hostile.Matroska(1, 65_500, 65_500, jpegOf(t, 65_500, 65_500), jpegOf(t, 65_500, 65_500)), nil, "corrupt"},
		{"a side over the limit", generate(t, "wide.mp4", "-i", "testsrc2=size=5000x64:rate=1:duration=2"), nil, "too-large"},
		{"pixels over the limit", generate(t, "large.mp4", "-i", "testsrc2=size=4096x3072:rate=1:duration=1", "-preset", "ultrafast"), nil, "corrupt"},
		{"10,000 streams", hostile.Matroska(10_000, 160, 120, honest), nil, "corrupt frames"},
		{"2,000 frames", hostile.Matroska(1, 160, 120, repeat(honest, 2000)...), nil, "frames cut"},
		{"frames of many sizes", hostile.Matroska(1, 160, 120, honest, jpegOf(t, 4000, 8), jpegOf(t, 8, 4000), honest, jpegOf(t, 1, 1), honest), nil, "frames"},
		{"no time", good, &slow, "decoder-timeout"},
		{"no memory", good, &narrow, "decoder-memory corrupt decoder-crashed"},
	} {
		decoder := d
		if test.with != nil {
			decoder = newDecoder(t, *test.with)
		}
		most = sandbox.Usage{}
		begun := time.Now()
		last := int64(-1)
		v, err := decoder.Video(t.Context(), test.data, hashing.VideoOptions{All: true}, func(f hashing.Frame) error {
			if int64(f.Time) <= last || len(f.Signals) > 0 && len(f.Queries) < hashing.Orientations {
				t.Errorf("%s: a frame at %d ms after one at %d, with %d signals, %d queries", test.name, f.Time, last, len(f.Signals), len(f.Queries))
			}
			last = int64(f.Time)
			return nil
		})
		got := "frames"
		switch media, ok := hashing.AsMediaError(err); {
		case ok:
			got = string(media.Kind)
		case err != nil:
			got = "error"
		case v.Cut:
			got = "cut"
		}
		t.Logf("%-40s %-18s %4d frames to %4.1f s; %4d ms, CPU %4d ms, %3d MiB  %v", test.name, got, v.Frames, float64(v.Duration)/1000,
			time.Since(begun).Milliseconds(), most.CPU.Milliseconds(), most.MaxRSS>>20, err)
		if !strings.Contains(" "+test.want+" ", " "+got+" ") {
			t.Errorf("%s: %s, %v; want %s", test.name, got, err, test.want)
		}
		if got == "frames" && v.Frames == 0 {
			t.Errorf("%s: no frame", test.name)
		}
	}
	if v, err := d.Video(t.Context(), good, hashing.VideoOptions{}, func(hashing.Frame) error { return nil }); err != nil || v.Frames == 0 {
		t.Errorf("a good video afterwards: %+v, %v", v, err)
	}
}

// TestSlides: of a slow series of pictures each is seen, also where no other refers to them.
func TestSlides(t *testing.T) {
	d := newDecoder(t, video.Options{})
	data := generate(t, "slides.mp4", "-i", "testsrc2=size=160x120:rate=1:duration=12", "-c:v", "libx264",
		"-bf", "16", "-x264-params", "b-adapt=0:b-pyramid=none:scenecut=0:keyint=infinite")
	v, err := d.Video(t.Context(), data, hashing.VideoOptions{All: true}, nil)
	if err != nil || v.Cut || v.Frames != 12 {
		t.Errorf("%+v, %v; want 12 frames", v, err)
	}
}

// TestCover: a cover picture that stands before the video is not the video, but better than nothing.
func TestCover(t *testing.T) {
	d := newDecoder(t, video.Options{})
	picture := filepath.Join(t.TempDir(), "cover.jpg")
	if err := os.WriteFile(picture, jpegOf(t, 160, 120), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		source string
		size   int
	}{"video": {"testsrc2=size=240x200:rate=5:duration=3", 240}, "sound": {"sine=duration=1", 160}} {
		data := generate(t, name+".mp4", "-i", test.source, "-i", picture, "-map", "0", "-map", "1", "-c:v:1", "copy", "-disposition:v:1", "attached_pic")
		if name == "sound" {
			data = generate(t, name+".mp4", "-i", test.source, "-i", picture, "-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v:0", "attached_pic")
		}
		v, err := d.Video(t.Context(), coverFirst(data), hashing.VideoOptions{All: true}, nil)
		if err != nil || v.Width != test.size || v.Frames == 0 {
			t.Errorf("%s: %+v, %v; want the pictures %d pixels wide", name, v, err, test.size)
		}
	}
}

// coverFirst puts the box with the cover picture before the tracks, in an MP4 whose index is at its end.
func coverFirst(data []byte) []byte {
	at := bytes.LastIndex(data, []byte("moov")) - 4
	moov := data[at:]
	var head, tail []byte
	for rest := moov[8:]; len(rest) > 0; {
		n := binary.BigEndian.Uint32(rest)
		if string(rest[4:8]) == "udta" || string(rest[4:8]) == "mvhd" {
			head = append(head, rest[:n]...)
		} else {
			tail = append(tail, rest[:n]...)
		}
		rest = rest[n:]
	}
	return bytes.Join([][]byte{data[:at], moov[:8], head, tail}, nil)
}

// TestTinyFirst: a first frame of a few pixels must not make all others as small.
func TestTinyFirst(t *testing.T) {
	d := newDecoder(t, video.Options{})
	large := generate(t, "large.jpg", "-i", "testsrc2=size=640x480:rate=1", "-frames:v", "1", "-q:v", "2")
	tiny := generate(t, "tiny.jpg", "-i", "testsrc2=size=32x24:rate=1", "-frames:v", "1", "-q:v", "2")
	collect := func(data []byte) (all []hashing.Frame) {
		v, err := d.Video(t.Context(), data, hashing.VideoOptions{All: true}, func(f hashing.Frame) error {
			all = append(all, f)
			return nil
		})
		if err != nil || v.Cut || len(all) != v.Frames {
			t.Errorf("%+v, %v", v, err)
		}
		return all
	}
	want := collect(hostile.Matroska(1, 640, 480, large, large))
	for name, pictures := range map[string][][]byte{
		"first": {tiny, large, large, large}, "between": {large, tiny, large, large}, "often": {tiny, large, tiny, large, tiny, large},
	} {
		got := map[uint32]hashing.Frame{}
		for _, f := range collect(hostile.Matroska(1, 32, 24, pictures...)) {
			if _, ok := got[f.Time]; ok {
				t.Errorf("%s: two frames at %d ms", name, f.Time)
			}
			got[f.Time] = f
		}
		for i, p := range pictures {
			if len(p) != len(large) || i == 0 { // the first may be lost if the container has its size wrong
				continue
			}
			f, ok := got[uint32(1000*i)]
			if !ok {
				t.Errorf("%s: no frame %d", name, i)
				continue
			}
			if distance := f.Signals[0].Value.Distance(want[0].Signals[0].Value); distance > 10 {
				t.Errorf("%s: frame %d is %d bits off", name, i, distance)
			}
		}
	}
}

// withDescription puts an Exif segment with an ImageDescription into a JPEG.
func withDescription(jpeg []byte, text string) []byte {
	text += "\x00"
	be := binary.BigEndian
	exif := []byte("Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x0e\x00\x02")
	exif = be.AppendUint32(exif, uint32(len(text)))
	exif = be.AppendUint32(exif, 26)
	exif = append(exif, "\x00\x00\x00\x00"+text...)
	segment := append(be.AppendUint16([]byte{0xff, 0xe1}, uint16(2+len(exif))), exif...)
	return bytes.Join([][]byte{jpeg[:2], segment, jpeg[2:]}, nil)
}

// TestTexts: what a frame says of itself must not pass for what ffmpeg says of the frame.
func TestTexts(t *testing.T) {
	d := newDecoder(t, video.Options{})
	plain := jpegOf(t, 160, 120)
	for name, text := range map[string]string{
		"none": "", "time": "x\nframe:7    pts:500     pts_time:500\nx", "of long lines": strings.Repeat("long ", 2000),
	} {
		data := hostile.Matroska(1, 160, 120, repeat(withDescription(plain, text), 5)...)
		var times []uint32
		v, err := d.Video(t.Context(), data, hashing.VideoOptions{All: true}, func(f hashing.Frame) error {
			times = append(times, f.Time)
			return nil
		})
		if err != nil || v.Cut || fmt.Sprint(times) != "[0 1000 2000 3000 4000]" {
			t.Errorf("a text %s: %+v, %v, frames at %v", name, v, err, times)
		}
	}
}

func repeat(frame []byte, n int) [][]byte {
	frames := make([][]byte, n)
	for i := range frames {
		frames[i] = frame
	}
	return frames
}

// containers are the same few seconds in each container that is accepted.
var containers = []struct {
	name, format string
	args         []string
}{
	{"a.mp4", "mp4", nil},
	{"fast.mp4", "mp4", []string{"-movflags", "faststart"}},
	{"fragments.mp4", "mp4", []string{"-movflags", "frag_keyframe+empty_moov"}},
	{"a.mov", "mov", nil},
	{"a.3gp", "3gp", []string{"-c:v", "h263", "-s", "176x144"}},
	{"a.webm", "webm", []string{"-c:v", "libvpx", "-deadline", "realtime"}},
	{"vp9.webm", "webm", []string{"-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"}},
	{"a.mkv", "matroska", nil},
	{"hevc.mkv", "matroska", []string{"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none"}},
	{"av1.mkv", "matroska", []string{"-c:v", "libsvtav1", "-preset", "12"}},
	{"a.avi", "avi", nil},
	{"a.flv", "flv", nil},
	{"a.ts", "mpegts", nil},
	{"a.m2ts", "mpegts", nil},
	{"a.mpg", "mpeg", []string{"-r", "25"}},
	{"a.m1v", "mpeg", []string{"-r", "25"}},
	{"a.ogv", "ogg", []string{"-c:v", "libtheora"}},
	{"a.wmv", "asf", nil},
	{"full.mp4", "mp4", []string{"-pix_fmt", "yuvj420p"}},
	{"ten.mkv", "matroska", []string{"-pix_fmt", "yuv420p10le"}},
}

// TestContainers: the same pictures come out of each.
func TestContainers(t *testing.T) {
	if testing.Short() {
		t.Skip("encodes")
	}
	d := newDecoder(t, video.Options{})
	var want hashing.Frame
	for _, c := range containers {
		data := small(t, c.name, c.args...)
		if format, ok := video.Sniff(data); !ok || format != c.format {
			t.Errorf("%s: %q, %v", c.name, format, ok)
		}
		for _, o := range []hashing.VideoOptions{{All: true}, {Keyframes: true}} {
			var all []hashing.Frame
			v, err := d.Video(t.Context(), data, o, func(f hashing.Frame) error {
				all = append(all, f)
				return nil
			})
			if err != nil || v.Cut || v.Format != c.format || v.Frames != len(all) || len(all) == 0 {
				t.Errorf("%s %+v: %+v, %v", c.name, o, v, err)
				continue
			}
			if want.Signals == nil {
				want = all[0]
			}
			distance := want.Signals[0].Value.Distance(all[0].Signals[0].Value)
			t.Logf("%-14s %-8s %4d x %d: %d frames to %d ms, %d bits off", c.name, v.Format, v.Width, v.Height, v.Frames, v.Duration, distance)
			if distance > 31 {
				t.Errorf("%s: the first frame is %d bits off", c.name, distance)
			}
			if !o.Keyframes && len(all) < 4 {
				t.Errorf("%s: %d frames of 4 seconds", c.name, len(all))
			}
		}
	}
}

// TestDamaged cuts containers and throws bits: whatever comes, it is frames or a typed error.
func TestDamaged(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	d := newDecoder(t, video.Options{Timeout: 10 * time.Second, Memory: 512 << 20})
	answers := map[string]int{}
	try := func(name string, data []byte) string {
		v, err := d.Video(t.Context(), data, hashing.VideoOptions{}, func(hashing.Frame) error { return nil })
		answer := fmt.Sprintf("frames, cut %v", v.Cut)
		if err != nil {
			media, ok := hashing.AsMediaError(err)
			if !ok {
				t.Errorf("%s: %v", name, err)
				return ""
			}
			answer = string(media.Kind)
		}
		answers[answer]++
		return answer
	}
	r := rand.New(rand.NewPCG(4, 4))
	for _, name := range []string{"a.mp4", "a.mkv", "a.avi", "a.ts", "a.flv", "a.mpg"} {
		whole := small(t, name, "-r", "25")
		for percent := 5; percent < 100; percent += 19 {
			answer := try(name, whole[:len(whole)*percent/100])
			// What has its index in front, or needs none, gives what is there.
			if percent > 80 && !strings.HasSuffix(name, ".mp4") && !strings.HasPrefix(answer, "frames") {
				t.Errorf("%s, %d %%: %s", name, percent, answer)
			}
		}
		for range 8 {
			damaged := bytes.Clone(whole)
			for range 1 + r.IntN(200) {
				damaged[32+r.IntN(len(damaged)-32)] ^= byte(1 << r.IntN(8))
			}
			try(name, damaged)
		}
	}
	t.Log(answers)
}

// FuzzVideo lets the fuzzer write files. Most of the time goes into starting ffmpeg.
func FuzzVideo(f *testing.F) {
	d := newDecoder(f, video.Options{Timeout: 5 * time.Second, Memory: 512 << 20, MaxFrames: 20})
	for _, c := range []string{"a.mp4", "a.mkv", "a.avi", "a.ts", "a.flv"} {
		f.Add(generate(f, c, "-i", "testsrc2=size=64x64:rate=2:duration=1"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := d.Video(t.Context(), data, hashing.VideoOptions{}, func(hashing.Frame) error { return nil })
		if _, ok := hashing.AsMediaError(err); err != nil && !ok {
			t.Fatal(err)
		}
	})
}

// TestSniff: whatever is no video is none here, whatever its name may be.
func TestSniff(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1": "", "\x00\x00\x00\x18ftypavis\x00\x00\x00\x00avif": "",
		"#EXTM3U\n": "", "ffconcat version 1.0\n": "", "RIFF\x00\x00\x00\x00WEBPVP8 ": "", "GIF89a": "",
		"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00": "mp4", "\x00\x00\x00\x18ftypqt  \x00\x00\x00\x00": "mov",
		"\x00\x00\x00\x08wide": "mov", "RIFF\x00\x00\x00\x00AVI LIST": "avi", "\x1a\x45\xdf\xa3": "matroska", "OggS\x00": "ogg",
	} {
		if got, ok := video.Sniff([]byte(text)); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v; want %q", text, got, ok, want)
		}
	}
}
