package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "vigie/api/v1"
	"vigie/fixtures"
	"vigie/internal/hostile"
)

// What the node under attack may use.
const (
	hostileBytes = 8 << 20
	hostileLines = 1000
	hostileBody  = 2 * time.Second

	// memoryBack bounds what the node and its children may hold, soon after all that, over what they held
	// before it. The bodies of the largest uploads are garbage by then, which the node gives back to the system when it has
	// been quiet for a few seconds.
	memoryBack = 32 << 20
)

// attack is one row of the table: an input, over HTTP and on the command line. A nil function means
// that the input cannot come that way.
type attack struct {
	input string
	http  func(*target) (*http.Response, error)
	cli   func(*target) (code int, stdout, stderr string)
}

// target is the node under attack, and what attackers hold.
type target struct {
	*served
	t                                        *testing.T
	admin, platform, auditor, lapsed, banned string // keys
}

// TestHostile sends the node what it must survive, and prints what each input was answered.
func TestHostile(t *testing.T) {
	n := newTarget(t, 8*time.Second)
	before := n.warm()

	var table, timed strings.Builder
	w, wt := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0), tabwriter.NewWriter(&timed, 0, 0, 2, ' ', 0)
	row(w, "INPUT", "OVER HTTP", "EXIT", "ON THE COMMAND LINE")
	row(wt, "INPUT", "OVER HTTP", "MS", "EXIT", "ON THE COMMAND LINE", "MS")
	for _, a := range attacks {
		overHTTP, took := n.overHTTP(a)
		exit, message, ran := n.commandLine(a)
		row(w, a.input, overHTTP, exit, message)
		row(wt, a.input, overHTTP, took, exit, message, ran)
	}
	_ = w.Flush()
	_ = wt.Flush()
	t.Logf("\n%s", timed.String())
	golden(t, "testdata/hostile.golden", table.String())

	began := time.Now()
	n.good()
	t.Logf("a good check afterwards: %v", time.Since(began).Round(time.Millisecond))
	if took := time.Since(began); took > time.Second {
		t.Errorf("a good check took %v", took)
	}
	n.calm(before)
	if strings.Contains(n.stderr.String(), "VIGIE-TEST") {
		t.Error("the log holds content of uploads")
	}
}

// TestHostileCrowd sends 32 hostile uploads at once, again and again: good checks are still answered.
func TestHostileCrowd(t *testing.T) {
	n := newTarget(t, 3*time.Second)
	before := n.warm()
	crowd := [][]byte{
		[]byte("VIGIE-TEST-HANG"), []byte("VIGIE-TEST-MEMORY"), []byte("VIGIE-TEST-CRASH"), []byte("VIGIE-TEST-GARBAGE nonsense"),
		flatPNG(7000, 7000, 8, 0), flatPNG(7500, 7500, 16, 6), bmp24TB(), pngHeader(50_000, 50_000),
		hostile.Matroska(10_000, 64, 48, jpegOf(9, 64, 48)), hostile.Patched(goodFilm(), "stts", 12, 90_000_000),
		hostile.WebP(7000, 7000), bomb("avif")(), bomb("heic")(),
	}
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			_, err := postFile[v1.Verdict](n.served, n.admin, "/v1/check", crowd[i%len(crowd)])
			var p *problemError
			if err != nil && !(errors.As(err, &p) && (p.Status < 500 || p.Status == http.StatusServiceUnavailable)) {
				t.Errorf("%.20q: %v", crowd[i%len(crowd)], err)
			}
		})
	}
	over := make(chan struct{})
	go func() { all.Wait(); close(over) }()
	// Signals need no decoder: they must not feel the crowd. Pictures stand in one line with it.
	var slowestSignals, slowestPicture time.Duration
	signals := v1.CheckSignals{Signals: []v1.Signal{{Algorithm: v1.Md5, Value: strings.Repeat("0", 32)}}}
	checks := 0
	for running := true; running; checks++ {
		began := time.Now()
		if _, err := post[v1.Verdict](n.served, n.platform, "/v1/check", signals); err != nil {
			t.Fatal(err)
		}
		slowestSignals = max(slowestSignals, time.Since(began))
		began = time.Now()
		n.good()
		slowestPicture = max(slowestPicture, time.Since(began))
		select {
		case <-over:
			running = false
		default:
		}
	}
	t.Logf("%d good pictures and as many signals checked beside 32 hostile uploads; the slowest took %v and %v",
		checks, slowestPicture.Round(time.Millisecond), slowestSignals.Round(time.Millisecond))
	if slowestSignals > time.Second {
		t.Errorf("a check of signals took %v", slowestSignals)
	}
	n.calm(before)
}

// newTarget starts a node with small limits, of which the decoders' deadline is one, and test hooks.
func newTarget(t *testing.T, deadline time.Duration) *target {
	if underRace {
		t.Skip("what is shown here are times and memory, which the race detector multiplies")
	}
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("ffmpeg is not installed: make setup")
	}
	dir := t.TempDir()
	n := &target{t: t, served: serve(t, filepath.Join(dir, "data"), []string{"VIGIE_DECODE_TEST_HOOKS=1"},
		"--max-bytes", fmt.Sprint(hostileBytes), "--max-video-bytes", fmt.Sprint(hostileBytes), "--video-timeout", "5s",
		"--video-decoders", "2", "--max-video-time", "1h", "--batch-lines", fmt.Sprint(hostileLines), "--decoders", "2",
		"--decoder-timeout", deadline.String(), "--decoder-memory", "900MiB", "--body-timeout", hostileBody.String())}
	for role, key := range map[v1.Role]*string{v1.Admin: &n.admin, v1.Platform: &n.platform, v1.Auditor: &n.auditor} {
		*key = n.key(t, role)
	}
	n.lapsed, n.banned = n.key(t, v1.Platform, "--expires=200ms"), n.key(t, v1.Platform)
	id := strings.Split(n.banned, "_")[1]
	for _, args := range [][]string{{"keys", "revoke", id}, {"banks", "create", "b"}} {
		if code, _, warn := n.vigie(args...); code != 0 {
			t.Fatal(warn)
		}
	}
	eventually(t, "the key expires", func() bool {
		_, err := get[json.RawMessage](n.served, n.lapsed, "/v1/banks")
		return err != nil && strings.Contains(err.Error(), "expired")
	})
	if err := os.WriteFile(n.file("good.jpg"), jpegOf(1, 640, 480), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := postFile[v1.Flagged](n.served, n.admin, "/v1/banks/b/entries", jpegOf(1, 640, 480)); err != nil {
		t.Fatal(err)
	}
	return n
}

// good checks a picture that is known; when the node has too much to do, later, as it says.
func (n *target) good() {
	v, err := unhurried(func() (v1.Verdict, error) {
		return postFile[v1.Verdict](n.served, n.platform, "/v1/check", jpegOf(1, 640, 480))
	})
	if err != nil || v.Level != v1.LevelMatch {
		n.t.Fatalf("a good check: %v %v", v.Level, err)
	}
}

// warm lets all children start, and returns the memory that the node and they hold when they have been quiet, in bytes.
// The child for AVIF counts: it lives on for a minute after its last picture, and so may be there when all is over.
func (n *target) warm() (before int64) {
	for range 8 {
		n.good()
	}
	_, _ = postFile[v1.Verdict](n.served, n.platform, "/v1/check", claims("avif", 64, 64)())
	time.Sleep(11 * time.Second) // the node looks every 5 seconds whether it was quiet since
	return resident(n.process.Pid)
}

// calm waits until no child works, none is too many, and memory is back.
func (n *target) calm(before int64) {
	n.t.Helper()
	pid := n.process.Pid
	eventually(n.t, "children are idle, and at most 2 and one for AVIF", func() bool {
		all := children(pid)
		for _, state := range all {
			if state != "S" {
				return false
			}
		}
		return len(all) <= 3 && n.metric("vigie_decoders_busy") == "0"
	})
	defer func() {
		n.t.Logf("resident memory of node and children: %d MiB before (bound: %d more), %d MiB after, of which the node's: %d MiB",
			before>>20, memoryBack>>20, resident(pid)>>20, rss(pid)>>20)
		for child, state := range children(pid) {
			n.t.Logf("a child's (%s): %d MiB", state, rss(child)>>20)
		}
	}()
	eventually(n.t, fmt.Sprintf("memory is within %d MiB of the %d MiB before", memoryBack>>20, before>>20), func() bool {
		return resident(pid) <= before+memoryBack
	})
}

// metric reads one value of /metrics.
func (n *target) metric(name string) string {
	r, err := n.request(n.admin, "GET", "/metrics", "", nil)
	if err != nil {
		n.t.Fatal(err)
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body)
	if m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (.*)$`).FindSubmatch(text); m != nil {
		return string(m[1])
	}
	return ""
}

// file is a path beside the data folder.
func (n *target) file(name string) string { return filepath.Join(filepath.Dir(n.data), name) }

// overHTTP runs one attack and says what it was answered: the status, and the problem's type or the
// verdict's level.
func (n *target) overHTTP(a attack) (answer, ms string) {
	if a.http == nil {
		return "-", "-"
	}
	began := time.Now()
	r, err := a.http(n)
	if err != nil {
		return "no answer: " + err.Error(), "-"
	}
	defer r.Body.Close()
	body, _ := io.ReadAll(r.Body)
	ms = fmt.Sprint(time.Since(began).Milliseconds())
	lines := bytes.Split(bytes.TrimSpace(body), []byte("\n"))
	var out struct {
		Type       string
		Level      string
		Created    *bool
		Unhashable *v1.Unhashable
		Problem    *v1.Problem // of a batch
	}
	if err := json.Unmarshal(lines[len(lines)-1], &out); err != nil {
		return fmt.Sprintf("%d %.40q", r.StatusCode, body), ms
	}
	switch {
	case out.Problem != nil:
		answer = fmt.Sprintf("%d lines, then %d %s", len(lines)-1, out.Problem.Status, out.Problem.Type)
	case out.Type != "":
		answer = out.Type
	case out.Created != nil:
		answer = "flagged"
	default:
		answer = "level " + out.Level
	}
	if out.Unhashable != nil {
		answer += ", unhashable: " + out.Unhashable.Reason
	}
	return fmt.Sprintf("%d %s", r.StatusCode, strings.ReplaceAll(answer, "/problems/", "")), ms
}

var (
	portOf   = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	problems = regexp.MustCompile(`exit status \d+|signal: [a-z ]+`)
)

// commandLine runs one attack and says its exit code and what it printed, without what differs from
// run to run.
func (n *target) commandLine(a attack) (exit, message, ms string) {
	if a.cli == nil {
		return "-", "-", "-"
	}
	began := time.Now()
	code, stdout, stderr := a.cli(n)
	ms = fmt.Sprint(time.Since(began).Milliseconds())
	message = strings.Join(strings.Fields(strings.TrimSpace(stdout+stderr)), " ")
	message = strings.ReplaceAll(message, filepath.Dir(n.data)+"/", "")
	message = portOf.ReplaceAllString(message, "127.0.0.1:PORT")
	message = problems.ReplaceAllString(message, "(how)")
	return fmt.Sprint(code), message, ms
}

// golden compares with a file, or rewrites it with -update.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (rewrite with -update):\n%s", path, diff)
	}
}

// attacks is the table. File names are what the command line shows.
var attacks = slices.Concat(
	[]attack{
		picture("empty file", "empty.jpg", func() []byte { return nil }),
		picture("text named .jpg", "text.jpg", func() []byte { return []byte("I am no picture\n") }),
		picture("truncated JPEG", "cut.jpg", func() []byte { return jpegOf(2, 640, 480)[:9000] }),
		picture("truncated PNG", "cut.png", func() []byte { return encoded("png", drawn(2, 640, 480))[:9000] }),
		picture("truncated WebP", "cut.webp", func() []byte { return fixtures.Read("bridge.webp")[:9000] }),
		picture("BMP header that asks for 24 TB", "24tb.bmp", bmp24TB),
		picture("PNG header of 50,000 x 50,000", "vast.png", func() []byte { return pngHeader(50_000, 50_000) }),
		picture("bomb: 48 kB that are 49 million pixels", "bomb.png", func() []byte { return flatPNG(7000, 7000, 8, 0) }),
		picture("bomb beyond the pixel limit", "beyond.png", func() []byte { return flatPNG(20_000, 4000, 8, 0) }),
		picture("WebP bomb: 38 bytes that are 49 million pixels", "bomb.webp", func() []byte { return hostile.WebP(7000, 7000) }),
		picture("WebP bomb beyond the pixel limit", "beyond.webp", func() []byte { return hostile.WebP(16_384, 16_384) }),
		picture("AVIF bomb: 543 bytes that are 49 million pixels", "bomb.avif", bomb("avif")),
		picture("AVIF that claims 60,000 x 60,000", "vast.avif", claims("avif", 60_000, 60_000)),
		picture("AVIF that claims 64 x 64, and is 7000 x 7000", "small.avif", claims("avif", 64, 64)),
		picture("HEIC bomb: 12 kB that are 49 million pixels", "bomb.heic", bomb("heic")),
		picture("HEIC that claims 60,000 x 60,000", "vast.heic", claims("heic", 60_000, 60_000)),
		picture("HEIC that claims 64 x 64, and is 7000 x 7000", "small.heic", claims("heic", 64, 64)),
		picture("1 x 1 picture", "dot.png", func() []byte { return flatPNG(1, 1, 8, 0) }),
		picture("flat picture", "flat.png", func() []byte { return flatPNG(640, 480, 8, 2) }),
		flagging("flat picture, flagged", "flat.png", func() []byte { return flatPNG(640, 480, 8, 2) }),
		picture("animated GIF", "film.gif", func() []byte { return animated(3) }),
		picture("CMYK JPEG", "cmyk.jpg", func() []byte { return cmyk(4) }),
		picture("decoder that hangs", "hang.jpg", hook("HANG")),
		picture("decoder that eats memory", "memory.jpg", hook("MEMORY")),
		picture("decoder that crashes", "crash.jpg", hook("CRASH")),
		picture("decoder that ends", "exit.jpg", hook("EXIT")),
		picture("decoder that answers garbage", "garbage.jpg", hook("GARBAGE \xff\xff\xff\xffgarbage")),
		picture("body over the limit, length declared", "large.jpg", func() []byte { return make([]byte, hostileBytes+1<<20+1) }),
		{
			"body over the limit, chunked",
			func(n *target) (*http.Response, error) { return n.endlessUpload(hostileBytes + 4<<20) }, nil,
		},
		{"body that comes slowly", (*target).slowUpload, nil},
	},
	hostileFilms,
	[]attack{
		signalled("hexadecimal that is none", "pdq", strings.Repeat("xy", 32)),
		signalled("hexadecimal of the wrong length", "pdq", strings.Repeat("ab", 31)),
		signalled("unknown algorithm", "md6", strings.Repeat("ab", 16)),
		{
			"unknown bank",
			jsonPost(func(n *target) string { return n.platform }, "/v1/check", `{"signals":[{"algorithm":"md5","value":"00112233445566778899aabbccddeeff"}],"banks":["nowhere"]}`),
			command("check", "--bank", "nowhere", "good.jpg"),
		},
		{
			"JSON with an unknown field",
			jsonPost(func(n *target) string { return n.platform }, "/v1/check", `{"signals":[{"algorithm":"md5","value":"00112233445566778899aabbccddeeff"}],"colour":"red"}`),
			command("check", "--colour", "red", "good.jpg"),
		},
		{
			"JSON that is none",
			jsonPost(func(n *target) string { return n.platform }, "/v1/check", `{"signals":`), nil,
		},
		{
			"JSON nested 100,000 deep",
			jsonPost(func(n *target) string { return n.platform }, "/v1/check", strings.Repeat(`[`, 100_000)), nil,
		},
		{
			"endless NDJSON of good lines",
			batch(&endless{line: `{"signals":[{"algorithm":"md5","value":"00112233445566778899aabbccddeeff"}]}` + "\n"}), nil,
		},
		{"endless NDJSON of bad lines", batch(&endless{line: "{}\n"}), nil},
		{"endless NDJSON without an end of line", batch(&endless{line: `{"signals":[`}), nil},
		{"endless empty lines", batch(&endless{line: "\n"}), nil},
	},
	[]attack{
		keyed("no key", func(*target) string { return "" }),
		keyed("key that is none", func(*target) string { return "secret" }),
		keyed("key that nobody made", func(*target) string { return "vg_aaaaaaaaaaaa_0123456789" }),
		keyed("wrong role", func(n *target) string { return n.auditor }),
		keyed("expired key", func(n *target) string { return n.lapsed }),
		keyed("revoked key", func(n *target) string { return n.banned }),
		{"file without permission", nil, func(n *target) (int, string, string) {
			path := n.file("sealed.jpg")
			if err := os.WriteFile(path, jpegOf(1, 64, 64), 0); err != nil {
				n.t.Fatal(err)
			}
			return n.unprivileged("check", path)
		}},
		{"two processes on one data folder", nil, command("serve", "--listen", "127.0.0.1:0")},
	},
)

// hostileFilms are hostile videos, for nodes that have ffmpeg. Which of its parts gives up first differs from
// one version to the next; what counts is that the answer is one of these, and comes.
var hostileFilms = []attack{
	picture("playlist named .mp4", "playlist.mp4", func() []byte { return []byte("#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n") }),
	picture("concat script named .mp4", "concat.mp4", func() []byte { return []byte("ffconcat version 1.0\nfile /etc/passwd\n") }),
	picture("playlist behind a box that names MP4", "box.mp4", func() []byte {
		return append([]byte("\x00\x00\x00\x10ftypisom\x00\x00\x00\x00"), "#EXTM3U\nfile:///etc/passwd\n"...)
	}),
	picture("video that claims 100 hours", "hours.mp4", func() []byte { return hostile.Patched(goodFilm(), "mvhd", 16, 360_000_000) }),
	picture("video whose last frame is after 100 hours", "later.mp4", func() []byte { return hostile.Patched(goodFilm(), "stts", 12, 90_000_000) }),
	picture("video of 100,000 x 100,000", "vast.mkv", func() []byte { return hostile.Matroska(1, 100_000, 100_000, pngHeader(50_000, 50_000)) }),
	picture("video of 2,000 frames a second without an end", "endless.mkv", func() []byte {
		return hostile.Matroska(1, 64, 48, slices.Repeat([][]byte{jpegOf(9, 64, 48)}, 2000)...)
	}),
	picture("video of 10,000 streams", "streams.mkv", func() []byte { return hostile.Matroska(10_000, 64, 48, jpegOf(9, 64, 48)) }),
	picture("video cut short", "cut.mp4", func() []byte { return goodFilm()[:len(goodFilm())/2] }),
	picture("video without a frame", "none.mkv", func() []byte { return hostile.Matroska(1, 64, 48) }),
	flagging("video of one colour, flagged", "gray.mp4", func() []byte { return grayFilm() }),
	picture("video over the limit", "large.mp4", func() []byte { return append(goodFilm(), make([]byte, hostileBytes)...) }),
}

// goodFilm and grayFilm are made once, by ffmpeg.
var (
	goodFilm = sync.OnceValue(func() []byte { return generatedFilm("testsrc2=size=160x120:rate=10:duration=4") })
	grayFilm = sync.OnceValue(func() []byte { return generatedFilm("color=gray:size=160x120:rate=10:duration=4") })
)

func generatedFilm(source string) []byte {
	dir, err := os.MkdirTemp("", "film")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "film.mp4")
	out, err := exec.Command("ffmpeg", "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", source, "-c:v", "mpeg4", path).CombinedOutput()
	if err != nil {
		panic(fmt.Sprintf("ffmpeg: %v: %s", err, out))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	return data
}

// bomb is a picture of one gray, 7000 x 7000:
//
//	ffmpeg -f lavfi -i color=0x808080:size=7000x7000 -frames:v 1 -c:v libaom-av1 -cpu-used 8 -still-picture 1 bomb.avif
//	ffmpeg -f lavfi -i color=0x808080:size=7000x7000 -frames:v 1 gray.png && heif-enc -q 30 -o bomb.heic gray.png
func bomb(format string) func() []byte {
	return func() []byte {
		data, err := os.ReadFile("testdata/bomb." + format)
		if err != nil {
			panic(err)
		}
		return data
	}
}

// claims is a bomb that says that it is of another size, wherever it says it.
func claims(format string, width, height uint32) func() []byte {
	return func() []byte {
		was := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte("ispe\x00\x00\x00\x00"), 7000), 7000)
		is := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte("ispe\x00\x00\x00\x00"), width), height)
		return bytes.ReplaceAll(bomb(format)(), was, is)
	}
}

func hook(name string) func() []byte { return func() []byte { return []byte("VIGIE-TEST-" + name) } }

// picture is a file that is checked.
func picture(input, name string, data func() []byte) attack {
	return attack{
		input,
		func(n *target) (*http.Response, error) {
			contentType, body := form(data())
			return n.request(n.platform, "POST", "/v1/check", contentType, body)
		},
		func(n *target) (int, string, string) { return n.vigie("check", n.write(name, data())) },
	}
}

// flagging is a file that is flagged.
func flagging(input, name string, data func() []byte) attack {
	return attack{
		input,
		func(n *target) (*http.Response, error) {
			contentType, body := form(data())
			return n.request(n.admin, "POST", "/v1/banks/b/entries", contentType, body)
		},
		func(n *target) (int, string, string) { return n.vigie("flag", "--bank", "b", n.write(name, data())) },
	}
}

func signalled(input, algorithm, value string) attack {
	body := fmt.Sprintf(`{"signals":[{"algorithm":%q,"value":%q}]}`, algorithm, value)
	return attack{input, jsonPost(func(n *target) string { return n.platform }, "/v1/check", body), command("check", "--signal", algorithm+":"+value)}
}

// keyed is a good check with a bad key.
func keyed(input string, key func(*target) string) attack {
	return attack{
		input,
		func(n *target) (*http.Response, error) {
			contentType, body := form(jpegOf(1, 64, 64))
			return n.request(key(n), "POST", "/v1/check", contentType, body)
		},
		func(n *target) (int, string, string) {
			return runVigie(append(os.Environ(), "VIGIE_SERVER="+n.url, "VIGIE_KEY="+key(n)), "check", n.file("good.jpg"))
		},
	}
}

func jsonPost(key func(*target) string, path, body string) func(*target) (*http.Response, error) {
	return func(n *target) (*http.Response, error) {
		return n.request(key(n), "POST", path, "application/json", strings.NewReader(body))
	}
}

// command runs vigie on the node's folder; a name of a file is one beside it.
func command(args ...string) func(*target) (int, string, string) {
	return func(n *target) (int, string, string) {
		args := slices.Clone(args)
		for i, a := range args {
			if strings.HasSuffix(a, ".jpg") {
				args[i] = n.file(a)
			}
		}
		return n.vigie(args...)
	}
}

func (n *target) write(name string, data []byte) string {
	path := n.file(name)
	if err := os.WriteFile(path, data, 0o666); err != nil {
		n.t.Fatal(err)
	}
	return path
}

// unprivileged runs vigie as a user whom permissions stop.
func (n *target) unprivileged(args ...string) (int, string, string) {
	if os.Geteuid() != 0 {
		return n.vigie(args...)
	}
	program, err := exec.LookPath("vigie")
	if err != nil {
		n.t.Fatal(err)
	}
	cmd := exec.Command(withoutOverride[0], slices.Concat(withoutOverride[1:], []string{program}, args)...)
	cmd.Env = append(os.Environ(), "VIGIE_DATA="+n.data)
	var out, warn bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &warn
	if err := cmd.Run(); cmd.ProcessState == nil {
		n.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), warn.String()
}

// batch posts NDJSON that never ends by itself, and reads all that comes back.
func batch(lines *endless) func(*target) (*http.Response, error) {
	return func(n *target) (*http.Response, error) {
		return n.request(n.platform, "POST", "/v1/check/batch", "application/x-ndjson", &endless{line: lines.line})
	}
}

// endlessUpload sends a file of a size that is not declared.
func (n *target) endlessUpload(size int64) (*http.Response, error) {
	r, w := io.Pipe()
	mw := multipart.NewWriter(w)
	go func() {
		part, err := mw.CreateFormFile("file", "upload")
		if err == nil {
			_, err = io.CopyN(part, &endless{line: "\xff\xd8\xff"}, size)
		}
		w.CloseWithError(errors.Join(err, mw.Close()))
	}()
	return n.request(n.platform, "POST", "/v1/check", mw.FormDataContentType(), r)
}

// slowUpload declares a body and sends a byte of it from time to time, until it is answered.
func (n *target) slowUpload() (*http.Response, error) {
	r, w := io.Pipe()
	contentType, body := form(jpegOf(1, 64, 64))
	answered := make(chan struct{})
	defer close(answered)
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-answered:
				_ = w.Close()
				return
			case <-tick.C:
				if _, err := io.CopyN(w, body, 1); err != nil {
					return
				}
			}
		}
	}()
	return n.request(n.platform, "POST", "/v1/check", contentType, r)
}
