package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"image"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/image/draw"

	"vigie/internal/testpg"
	"vigie/storage/datadir"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestScripts runs the journeys of testdata/script. Besides testscript's own commands they have
// vigie itself, those of scriptCommands, and the condition [race]: the program under test is many times slower.
func TestScripts(t *testing.T) {
	t.Parallel()
	runScripts(t, "testdata/script", scriptCommands)
}

// TestPostgresScripts runs the journeys of testdata/postgres, which have the command database besides.
func TestPostgresScripts(t *testing.T) {
	t.Parallel()
	testpg.Database(t, "", nil) // or they are skipped
	commands := maps.Clone(scriptCommands)
	// database makes an empty database and sets a variable to its URL.
	commands["database"] = func(ts *testscript.TestScript, neg bool, args []string) {
		need(ts, !neg && len(args) == 1, "database VARIABLE")
		ts.Setenv(args[0], testpg.Database(t, "", nil))
	}
	runScripts(t, "testdata/postgres", commands)
}

func runScripts(t *testing.T, dir string, commands map[string]func(ts *testscript.TestScript, neg bool, args []string)) {
	t.Helper()
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		Cmds:                commands,
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Condition: func(name string) (bool, error) {
			if name == "race" {
				return underRace, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, ".cache"))
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("TZ", "UTC")
			e.Values[lastServed{}] = new(*served)
			return nil
		},
	})
}

// lastServed is the key of a script's last node, a **served.
type lastServed struct{}

var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"draw":         scriptDraw,
	"film":         scriptFilm,
	"alter":        scriptAlter,
	"write":        scriptWrite,
	"exits":        scriptExits,
	"eventually":   scriptEventually,
	"prints":       scriptPrints,
	"unprivileged": scriptUnprivileged,
	"serve":        scriptServe,
	"end":          scriptEnd, // "stop" is one of testscript's own, and ends the script
	"lock":         scriptLock,
	"shape":        scriptShape,
	"pick":         scriptPick,
	"append":       scriptAppend,
}

// need stops a script that uses a command in a way it does not have.
func need(ts *testscript.TestScript, ok bool, usage string) {
	if !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

// scriptDraw draws a picture. Its seed says which; the extension says the format.
func scriptDraw(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "draw FILE SEED")
	seed, err := strconv.ParseUint(args[1], 10, 64)
	ts.Check(err)
	data := encoded(filepath.Ext(args[0]), drawn(seed, 320, 240))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o666))
}

// scriptFilm makes a video of pictures, two seconds each.
func scriptFilm(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) >= 2, "film FILE PICTURE...")
	for i := range args {
		args[i] = ts.MkAbs(args[i])
	}
	ts.Check(film(args[0], 2, args[1:]...))
}

// film makes a video of pictures, some seconds each, with the program ffmpeg.
func film(path string, seconds int, pictures ...string) error {
	command := []string{"-nostdin", "-loglevel", "error", "-y"}
	joined := ""
	for i, picture := range pictures {
		command = append(command, "-loop", "1", "-framerate", "10", "-t", fmt.Sprint(seconds), "-i", picture)
		joined += fmt.Sprintf("[%d]", i)
	}
	command = append(command, "-filter_complex", fmt.Sprintf("%sconcat=n=%d,format=yuv420p", joined, len(pictures)), "-c:v", "mpeg4", "-q:v", "3", path)
	if out, err := exec.Command("ffmpeg", command...).CombinedOutput(); err != nil {
		return fmt.Errorf("ffmpeg: %w: %s", err, out)
	}
	return nil
}

// scriptAlter copies a picture with a change that leaves it the same to the eye; see altered.
func scriptAlter(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 3 && altered[args[0]] != nil, "alter KIND FILE NEW")
	m, _, err := image.Decode(strings.NewReader(ts.ReadFile(args[1])))
	ts.Check(err)
	rgba := image.NewRGBA(m.Bounds())
	draw.Draw(rgba, rgba.Rect, m, image.Point{}, draw.Src)
	data := encoded(filepath.Ext(args[2]), altered[args[0]](rgba))
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), data, 0o666))
}

// scriptWrite writes a file whose name or content a script cannot spell: Go's escapes are understood.
func scriptWrite(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "write FILE CONTENT")
	for i := range args {
		text, err := strconv.Unquote(`"` + strings.ReplaceAll(args[i], `"`, `\"`) + `"`)
		ts.Check(err)
		args[i] = text
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(args[1]), 0o666))
}

// scriptAppend adds what a command printed, or a file, to a file.
func scriptAppend(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "append FROM FILE")
	f, err := os.OpenFile(ts.MkAbs(args[1]), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	ts.Check(err)
	_, err = f.WriteString(ts.ReadFile(args[0]))
	ts.Check(errors.Join(err, f.Close()))
}

// scriptExits runs a command that must end with an exit code.
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) >= 2, "exits CODE PROGRAM ARGUMENT...")
	checkExit(ts, args[0], ts.Exec(args[1], args[2:]...))
}

// scriptEventually runs a command until it ends with an exit code.
func scriptEventually(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) >= 2, "eventually CODE PROGRAM ARGUMENT...")
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if exitCode(ts, ts.Exec(args[1], args[2:]...)) == args[0] {
			return
		}
	}
	ts.Fatalf("not within %v: exit code %s", patience, args[0])
}

// scriptPrints runs a command until what it prints fits an expression.
func scriptPrints(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) >= 2, "prints EXPRESSION PROGRAM ARGUMENT...")
	want := regexp.MustCompile("(?m)" + args[0])
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if want.MatchString(ts.ReadFile("stdout")) {
			return
		}
	}
	ts.Fatalf("not within %v: %s", patience, args[0])
}

func checkExit(ts *testscript.TestScript, want string, err error) {
	if code := exitCode(ts, err); code != want {
		ts.Fatalf("exit code %s, want %s; it printed %s%s", code, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

func exitCode(ts *testscript.TestScript, err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Sprint(exit.ExitCode())
	}
	ts.Check(err)
	return "0"
}

// withoutOverride makes root respect the permissions of files.
var withoutOverride = []string{"setpriv", "--bounding-set=-dac_override,-dac_read_search"}

// scriptUnprivileged is exits for a user whom permissions stop. Root becomes one by giving up rights.
func scriptUnprivileged(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) >= 2, "unprivileged CODE PROGRAM ARGUMENT...")
	want, args := args[0], args[1:]
	if os.Geteuid() == 0 {
		args = append(withoutOverride[:len(withoutOverride):len(withoutOverride)], args...)
	}
	checkExit(ts, want, ts.Exec(args[0], args[1:]...))
}

// scriptServe starts a node on a folder and sets URL to where it is. It ends with the script, or
// with end.
func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) >= 1, "serve FOLDER FLAG...")
	s, err := startServe(ts.MkAbs(args[0]), nil, args[1:]...)
	ts.Check(err)
	ts.Defer(s.kill)
	ts.Setenv("URL", s.url)
	*ts.Value(lastServed{}).(**served) = s
}

// scriptEnd ends the node that serve started last, and shows its standard output and error.
func scriptEnd(ts *testscript.TestScript, neg bool, args []string) {
	s := *ts.Value(lastServed{}).(**served)
	need(ts, !neg && s != nil && len(args) == 0, "end, after serve")
	code, err := s.stop()
	ts.Check(err)
	if code != 0 {
		ts.Fatalf("the node ended with %d: %s", code, s.stderr.String())
	}
	ts.Check(os.WriteFile(ts.MkAbs("node.out"), []byte(s.stdout.String()), 0o666))
	ts.Check(os.WriteFile(ts.MkAbs("node.err"), []byte(s.stderr.String()), 0o666))
}

// scriptLock claims a data folder as another process would that never answers: without a socket, or
// with one behind which nobody reads.
func scriptLock(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && (len(args) == 1 || len(args) == 2 && args[1] == "deaf"), "lock FOLDER [deaf]")
	dir := ts.MkAbs(args[0])
	lock, err := datadir.LockFolder(dir)
	ts.Check(err)
	ts.Defer(func() { _ = lock.Close() })
	if len(args) == 2 {
		l, err := net.Listen("unix", filepath.Join(dir, socketFile))
		ts.Check(err)
		ts.Defer(func() { _ = l.Close() })
	}
}

// shapes replace in JSON what differs from run to run.
var shapes = []struct {
	value *regexp.Regexp
	shown string
}{
	{regexp.MustCompile(`"log_id":"[0-9a-f]{32}"`), `"log_id":ID`},
	{regexp.MustCompile(`"timings":\{"explain":[\d.e-]+,"hash":[\d.e-]+,"search":[\d.e-]+,"total":[\d.e-]+\}`), `"timings":TIMES`},
	{regexp.MustCompile(`"staleness_ms":\d+`), `"staleness_ms":TIME`},
	{regexp.MustCompile(`"seconds":[\d.e-]+`), `"seconds":TIME`},
	{regexp.MustCompile(`"bytes":\d+`), `"bytes":SIZE`},
	{regexp.MustCompile(`"id":"[a-z2-7]{12}"`), `"id":ID`},
	{regexp.MustCompile(`"match":"[0-9a-f]{8}-`), `"match":"NODE-`},
	{regexp.MustCompile(`"vg_[0-9a-z]+_[0-9a-zA-Z]+"`), `KEY`},
	{regexp.MustCompile(`"20\d\d-\d\d-\d\dT[0-9:.]+Z"`), `DATE`},
	{regexp.MustCompile(`"distance":\d+`), `"distance":BITS`},
	{regexp.MustCompile(`"[0-9a-f]{64}"`), `HEX64`},
	{regexp.MustCompile(`"[0-9a-f]{32}"`), `HEX32`},
	{regexp.MustCompile(`"[0-9a-f]{16}"`), `HEX16`},
}

// scriptShape writes what the last command printed to a file, with what differs from run to run
// replaced by a word in capitals, and each object spread over lines.
func scriptShape(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "shape FILE")
	text := ts.ReadFile("stdout")
	for _, s := range shapes {
		text = s.value.ReplaceAllString(text, s.shown)
	}
	text = regexp.MustCompile(`\{"(algorithm|at|entry|evidence)`).ReplaceAllString(text, "\n  {\"$1")
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o666))
}

// scriptPick sets a variable to what an expression's group finds in what the last command printed.
func scriptPick(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "pick VARIABLE EXPRESSION")
	found := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) != 2 {
		ts.Fatalf("%s is not in %s", args[1], ts.ReadFile("stdout"))
	}
	ts.Setenv(args[0], found[1])
}

// TestConcurrentCommands runs many commands at once on a folder that no node serves: each is in
// turn the owner, or talks to whoever is.
func TestConcurrentCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := append(os.Environ(), "VIGIE_DATA="+filepath.Join(dir, "data"))
	picture := filepath.Join(dir, "a.jpg")
	if err := os.WriteFile(picture, jpegOf(1, 200, 150), 0o666); err != nil {
		t.Fatal(err)
	}
	if code, _, warn := runVigie(env, "banks", "create", "b"); code != 0 {
		t.Fatal(warn)
	}
	failed := make(chan string)
	const commands = 12
	for i := range commands {
		go func() {
			args := []string{"check", picture}
			if i%2 == 0 {
				args = []string{"flag", "--bank", "b", picture}
			}
			code, out, warn := runVigie(env, args...)
			if code == 0 && warn == "" {
				failed <- ""
				return
			}
			failed <- fmt.Sprintf("%v: exit %d: %s%s", args, code, out, warn)
		}()
	}
	for range commands {
		if f := <-failed; f != "" {
			t.Error(f)
		}
	}
	_, out, _ := runVigie(env, "log", "list")
	if got := bytes.Count([]byte(out), []byte("entry.added")); got != 1 {
		t.Errorf("%d entries were added, want 1:\n%s", got, out)
	}
}
