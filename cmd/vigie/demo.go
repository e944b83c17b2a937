package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	v1 "vigie/api/v1"
	"vigie/fixtures"
	"vigie/internal/edits"
)

type demoCmd struct {
	Keep bool `help:"Keep the temporary folder."`
}

// Run shows the main job end to end on real HTTP, and fails if anything is not as it should be.
func (c *demoCmd) Run(ctx context.Context, a *app) error {
	dir, err := os.MkdirTemp("", "vigie-demo-")
	if err != nil {
		return err
	}
	if c.Keep {
		defer a.say("Everything is in %s.", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	d := &demo{app: a, dir: dir, out: tabwriter.NewWriter(a.printer.out, 0, 0, 2, ' ', 0)}
	if err := d.start(ctx); err != nil {
		return fmt.Errorf("demo: start a node: %w", err)
	}
	defer d.node.Process.Kill() //nolint:errcheck // it has ended long since, if all went well
	for _, step := range []func(context.Context) error{d.keys, d.flag, d.check, d.video, d.retract, d.scan, d.end} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
	}
	a.say(`
All as expected. Your own node:

  vigie serve --data my-vigie                                    # then, in another terminal:
  vigie banks create --data my-vigie --action block propaganda
  vigie flag  --data my-vigie --bank propaganda PICTURE...
  vigie check --data my-vigie UPLOAD...
  vigie keys create --data my-vigie --role platform NAME         # for checks over HTTP; see /docs`)
	return nil
}

// demo is one run: a node in a process of its own, and clients with keys of each role.
type demo struct {
	*app
	self     string // this program
	dir, url string
	node     *exec.Cmd
	out      *tabwriter.Writer

	admin, analyst, platform *v1.Client
	platformKey              string
	entries                  map[string]int64 // by name of the fixture
}

const demoBank = "demo"

// title begins a part of the report.
func (d *demo) title(format string, args ...any) { d.say("\n"+format, args...) }

func (d *demo) start(ctx context.Context) error {
	began := time.Now()
	var err error
	if d.self, err = os.Executable(); err != nil {
		return err
	}
	d.node = exec.CommandContext(ctx, d.self, "serve", "--json", "--data", filepath.Join(d.dir, "node"), "--listen", "127.0.0.1:0", "--log-level", "error")
	d.node.Env = []string{"PATH=" + os.Getenv("PATH")}
	d.node.Cancel = func() error { return d.node.Process.Signal(syscall.SIGTERM) }
	d.node.Stderr = d.printer.err
	stdout, err := d.node.StdoutPipe()
	if err != nil {
		return err
	}
	if err := d.node.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("it ended before it was ready: %w", errors.Join(err, d.node.Wait()))
	}
	var ready readyLine
	if err := json.Unmarshal(line, &ready); err != nil {
		return err
	}
	d.url = ready.URL
	d.say("A node on SQLite and a folder is ready at %s after %s.", d.url, time.Since(began).Round(time.Millisecond))
	return nil
}

// keys makes a key for each role as the operator does: through the socket in the data folder.
func (d *demo) keys(ctx context.Context) error {
	local := *d.app
	local.Server, local.Data = "", filepath.Join(d.dir, "node")
	socket, err := local.connect(ctx)
	if err != nil {
		return err
	}
	defer socket.Close()
	for role, to := range map[v1.Role]**v1.Client{v1.Admin: &d.admin, v1.Analyst: &d.analyst, v1.Platform: &d.platform} {
		made, err := ask[v1.CreatedKey](socket.CreateKey(ctx, v1.NewKey{Name: "demo " + string(role), Role: role}))
		if err != nil {
			return err
		}
		if role == v1.Platform {
			d.platformKey = made.Secret
		}
		*to, err = v1.NewClient(d.url, v1.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
			r.Header.Set("Authorization", "Bearer "+made.Secret)
			return nil
		}))
		if err != nil {
			return err
		}
	}
	action := v1.ActionBlock
	_, err = ask[v1.Bank](d.admin.CreateBank(ctx, v1.NewBank{Name: demoBank, Action: &action}))
	d.say("Keys for an admin, an analyst and a platform are made, and a bank %q whose matches are to be blocked.", demoBank)
	return err
}

// What the demo flags, one for each alteration, and pictures that have nothing to do with them.
var (
	flagged   = []string{"bridge.jpg", "contours.png", "discs.jpg", "hills.jpg", "lighthouse.jpg"}
	unrelated = []string{"mosaic.jpg", "page.png", "skyline.png"}
)

func (d *demo) flag(ctx context.Context) error {
	d.title("The analyst flags:")
	d.entries = map[string]int64{}
	row(d.out, "  PICTURE", "ENTRY", "CHANGE", "MATCHABLE", "MS")
	for _, name := range flagged {
		began := time.Now()
		contentType, body := upload(bytes.NewReader(fixtures.Read(name)), map[string][]string{"labels": {"demo"}, "origin": {"fixtures/" + name}})
		f, err := ask[v1.Flagged](d.analyst.FlagWithBody(ctx, demoBank, contentType, body))
		if err != nil {
			return fmt.Errorf("flag %s: %w", name, err)
		}
		if !f.Created || !f.Matchable {
			return fmt.Errorf("flag %s: created %v, matchable %v; both should be true", name, f.Created, f.Matchable)
		}
		d.entries[name] = f.Entry.Id
		row(d.out, "  "+name, fmt.Sprint(f.Entry.Id), fmt.Sprint(f.Seq), "yes", ms(time.Since(began)))
	}
	return d.out.Flush()
}

// alteration is one way of making a copy that people see as the same picture.
type alteration struct {
	edit, words string         // of edits.Standard
	transforms  []v1.Transform // under one of which it should be found; nil: none
}

var alterations = []alteration{
	{"jpeg20", "re-encoded", nil},
	{"resize50", "resized to half", nil},
	{"sepia", "recoloured", nil},
	{"fliph", "mirrored", []v1.Transform{v1.TransformMirror}},
	{"rot90", "rotated a quarter", []v1.Transform{v1.TransformRotate90, v1.TransformRotate270}},
	{"invert", "inverted", []v1.Transform{v1.TransformInverted}},
	{"border10", "with a border", nil},
	{"caption22", "with a caption below", nil},
	{"screenshot", "in a screenshot", nil},
	{"banner14", "with a banner", nil},
}

func (d *demo) check(ctx context.Context) error {
	d.title("The platform checks uploads:")
	if err := os.MkdirAll(filepath.Join(d.dir, "posted", "copies"), 0o700); err != nil {
		return err
	}
	row(d.out, "  UPLOAD", "LEVEL", "ACTION", "ENTRY", "BY", "MS")
	known := edits.Standard()
	for i, alt := range alterations {
		name := flagged[i%len(flagged)]
		picture, err := decodeFixture(name)
		if err != nil {
			return err
		}
		edit := known[slices.IndexFunc(known, func(e edits.Edit) bool { return e.Name == alt.edit })]
		data, err := edit.Copy(edits.Reduce(picture), 1, name)
		if err != nil {
			return err
		}
		v, err := d.checkOne(ctx, name+", "+alt.words, data)
		if err != nil {
			return err
		}
		if v.Level != v1.LevelMatch && v.Level != v1.LevelLikely || v.Matches[0].Entry != d.entries[name] {
			return fmt.Errorf("%s, %s: %s by %d matches; entry %d is expected, as a match or likely", name, alt.words, v.Level, len(v.Matches), d.entries[name])
		}
		wanted := alt.transforms
		if wanted == nil {
			wanted = []v1.Transform{v1.TransformNone}
		}
		if found := v.Matches[0].Transform; !slices.Contains(wanted, found) {
			return fmt.Errorf("%s, %s: found as %s, expected %v", name, alt.words, found, wanted)
		}
		if err := os.WriteFile(filepath.Join(d.dir, "posted", "copies", fmt.Sprintf("%d.jpg", i)), data, 0o600); err != nil {
			return err
		}
	}
	for i, name := range unrelated {
		data := fixtures.Read(name)
		v, err := d.checkOne(ctx, name+", unrelated", data)
		if err != nil {
			return err
		}
		if v.Level != v1.LevelNone {
			return fmt.Errorf("%s is unrelated, and found as %s", name, v.Level)
		}
		if err := os.WriteFile(filepath.Join(d.dir, "posted", fmt.Sprintf("other-%d%s", i, filepath.Ext(name))), data, 0o600); err != nil {
			return err
		}
	}
	return d.out.Flush()
}

func (d *demo) checkOne(ctx context.Context, what string, data []byte) (v1.Verdict, error) {
	began := time.Now()
	contentType, body := upload(bytes.NewReader(data), nil)
	v, err := ask[v1.Verdict](d.platform.CheckWithBody(ctx, contentType, body))
	if err != nil {
		return v, fmt.Errorf("check %s: %w", what, err)
	}
	entry, by := "-", "-"
	if len(v.Matches) > 0 {
		entry, by = fmt.Sprint(v.Matches[0].Entry), matchWords(v.Matches[0])
	}
	row(d.out, "  "+what, string(v.Level), string(v.Action), entry, by, ms(time.Since(began)))
	return v, nil
}

// The demo's video shows four pictures, three seconds each. The upload is a part of it, mirrored, between
// two other pictures.
var (
	filmed   = []string{"hills.jpg", "contours.png", "lighthouse.jpg", "discs.jpg"}
	compiled = []string{"mosaic.jpg", "skyline.png"}
)

// video flags a video and checks a compilation that holds a part of it. Without ffmpeg there are no videos.
func (d *demo) video(ctx context.Context) error {
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		d.title("ffmpeg is not installed: videos are left out (make setup installs it).")
		return nil
	}
	d.title("The analyst flags a video; the platform checks a compilation that holds a mirrored part of it:")
	known, posted := filepath.Join(d.dir, "known.mp4"), filepath.Join(d.dir, "compilation.mp4")
	if err := d.film(ctx, known, "null", filmed...); err != nil {
		return err
	}
	if err := d.film(ctx, posted, "hflip", compiled[0], filmed[1], filmed[2], compiled[1]); err != nil {
		return err
	}
	data, err := os.ReadFile(known)
	if err != nil {
		return err
	}
	contentType, body := upload(bytes.NewReader(data), map[string][]string{"labels": {"demo"}, "origin": {"known.mp4"}})
	f, err := ask[v1.Flagged](d.analyst.FlagWithBody(ctx, demoBank, contentType, body))
	if err != nil {
		return fmt.Errorf("flag a video: %w", err)
	}
	d.say("  entry %d: %s of %s", f.Entry.Id, plural(f.Frames.Kept, "frame"), clock(*f.Entry.Media.DurationMs))
	if data, err = os.ReadFile(posted); err != nil {
		return err
	}
	row(d.out, "  UPLOAD", "LEVEL", "ACTION", "ENTRY", "BY", "MS")
	began := time.Now()
	contentType, body = upload(bytes.NewReader(data), nil)
	v, err := ask[v1.Verdict](d.platform.CheckWithBody(ctx, contentType, body))
	if err != nil {
		return fmt.Errorf("check a video: %w", err)
	}
	i := slices.IndexFunc(v.Matches, func(m v1.Match) bool { return m.Entry == f.Entry.Id })
	if i < 0 || v.Matches[i].Level != v1.LevelMatch || v.Matches[i].Transform != v1.TransformMirror {
		return fmt.Errorf("the compilation is found as %s by %d matches; a mirrored match with entry %d is expected", v.Level, len(v.Matches), f.Entry.Id)
	}
	m := v.Matches[i]
	row(d.out, "  compilation.mp4", string(m.Level), string(m.Action), fmt.Sprint(m.Entry), matchWords(m), ms(time.Since(began)))
	if err := d.out.Flush(); err != nil {
		return err
	}
	for _, line := range videoLines(m) {
		d.say("    %s", line)
	}
	d.say("  %s that it shows were flagged before, and are found too.", plural(len(v.Matches)-1, "picture"))
	return nil
}

// film makes a video of pictures, three seconds each, all of them filtered.
func (d *demo) film(ctx context.Context, path, filter string, pictures ...string) error {
	args := []string{"-nostdin", "-loglevel", "error", "-y"}
	var chains, joined string
	for i, name := range pictures {
		file := filepath.Join(d.dir, name)
		if err := os.WriteFile(file, fixtures.Read(name), 0o600); err != nil {
			return err
		}
		args = append(args, "-loop", "1", "-framerate", "10", "-t", "3", "-i", file)
		chains += fmt.Sprintf("[%d]scale=640:480,setsar=1,format=yuv420p,%s[v%d];", i, filter, i)
		joined += fmt.Sprintf("[v%d]", i)
	}
	args = append(args, "-filter_complex", fmt.Sprintf("%s%sconcat=n=%d", chains, joined, len(pictures)), "-c:v", "mpeg4", "-q:v", "4", path)
	if out, err := exec.CommandContext(ctx, "ffmpeg", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("make a video: %w: %s", err, out)
	}
	return nil
}

func (d *demo) retract(ctx context.Context) error {
	name := flagged[0]
	d.title("The analyst retracts entry %d (%s); the same upload is checked again:", d.entries[name], name)
	if _, err := ask[v1.Entry](d.analyst.Retract(ctx, d.entries[name], v1.Reason{Reason: "flagged for the demo"})); err != nil {
		return err
	}
	row(d.out, "  UPLOAD", "LEVEL", "ACTION", "ENTRY", "BY", "MS")
	v, err := d.checkOne(ctx, name, fixtures.Read(name))
	if err != nil {
		return err
	}
	if v.Level != v1.LevelNone {
		return fmt.Errorf("%s is retracted, and still found as %s", name, v.Level)
	}
	return d.out.Flush()
}

// scan goes through a folder of what was posted, as a command of its own.
func (d *demo) scan(ctx context.Context) error {
	d.title("What was posted before is scanned (vigie scan --server %s ...):", d.url)
	scan := exec.CommandContext(ctx, d.self, "scan", "--json", "--server", d.url, filepath.Join(d.dir, "posted"))
	scan.Env = []string{keyVariable + "=" + d.platformKey, "HOME=" + d.dir, "XDG_CACHE_HOME=" + d.dir}
	scan.Stderr = d.printer.err
	text, err := scan.Output()
	if err != nil {
		return fmt.Errorf("scan: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	var end scanSummary
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &end); err != nil {
		return err
	}
	end.Summary.Took = time.Duration(end.Seconds * float64(time.Second))
	d.say("  %s", summaryWords(end.Summary, "files"))
	want := 0 // the copies, but those of the entry that was retracted
	for i := range alterations {
		if i%len(flagged) != 0 {
			want++
		}
	}
	all := len(alterations) + len(unrelated)
	if got := end.Summary.Levels["match"] + end.Summary.Levels["likely"]; got != int64(want) || end.Summary.Items != int64(all) {
		return fmt.Errorf("scan: %d of %d files found; %d of %d are expected", got, end.Summary.Items, want, all)
	}
	return nil
}

// end verifies the log and stops the node.
func (d *demo) end(ctx context.Context) error {
	local := *d.app
	local.Server, local.Data = "", filepath.Join(d.dir, "node")
	d.title("The change log is verified, and the node stopped:")
	if err := (logVerifyCmd{}).Run(ctx, &local); err != nil {
		return err
	}
	if err := d.node.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return d.node.Wait()
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }

func decodeFixture(name string) (image.Image, error) {
	decode := png.Decode
	if filepath.Ext(name) == ".jpg" {
		decode = jpeg.Decode
	}
	return decode(bytes.NewReader(fixtures.Read(name)))
}
