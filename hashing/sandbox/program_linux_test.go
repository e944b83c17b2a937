package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/hashing/sandbox"
)

// bash is a program that can try anything by its built-in commands.
func bash(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	return path
}

// clean checks that nothing is left of programs: no process, descriptor, goroutine or folder.
func clean(t testing.TB) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	goroutines, descriptors := runtime.NumGoroutine(), openDescriptors(t)
	t.Cleanup(func() {
		waitFor(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
		if left := childrenOf(t, os.Getpid()); len(left) != 0 {
			t.Errorf("processes left: %v", left)
		}
		if n := openDescriptors(t); n > descriptors {
			t.Errorf("%d descriptors, %d before", n, descriptors)
		}
		if left, _ := os.ReadDir(os.TempDir()); len(left) != 0 {
			t.Errorf("left on disk: %v", left)
		}
	})
}

func openDescriptors(t testing.TB) (n int) {
	t.Helper()
	names, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		// Those of the runtime's poller and of the test's own listing come and go.
		if to, err := os.Readlink(name); err == nil && !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/proc/") {
			n++
		}
	}
	return n
}

// run runs a program to its end and returns what it wrote.
func run(t testing.TB, c sandbox.Command) (stdout string, usage sandbox.Usage, err error) {
	t.Helper()
	p, err := sandbox.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(io.LimitReader(p.Stdout, 1<<20))
	usage, err = p.Wait()
	return string(b), usage, err
}

// TestProgramWalls has a shell try what a decoder has no business to do, and shows for each attempt that
// it succeeds without the walls.
func TestProgramWalls(t *testing.T) {
	shell := bash(t)
	clean(t)
	address := listen(t)
	host, port, _ := net.SplitHostPort(address)
	outside := filepath.Join(t.TempDir(), "new")
	for _, test := range []struct{ name, script string }{
		{"read a file", "read -r line < /etc/passwd"},
		{"read the node's environment", fmt.Sprintf("read -r -d '' line < /proc/%d/environ || [ -n \"$line\" ]", os.Getpid())},
		{"list a folder", "set -- /etc/*; [ $# -gt 1 ]"},
		{"write a file", "echo x > " + outside},
		{"connect", fmt.Sprintf("exec 9<>/dev/tcp/%s/%s", host, port)},
		{"fork", "(exit 0)"},
		{"execute another program", "exec /bin/echo succeeded"},
		{"signal another process", fmt.Sprintf("kill -0 %d", os.Getpid())},
		{"see the environment", "[ -n \"$HOME\" ]"},
		{"raise a limit", "ulimit -d unlimited"},
	} {
		script := test.script + " && echo succeeded"
		plain := exec.Command(shell, "-c", script)
		plain.Env = []string{"HOME=/"}
		if out, _ := plain.Output(); string(out) != "succeeded\n" {
			t.Errorf("%s: fails without walls too", test.name)
		}
		_ = os.Remove(outside)
		out, _, err := run(t, sandbox.Command{Program: shell, Args: []string{"-c", script}})
		if strings.Contains(out, "succeeded") || err == nil {
			t.Errorf("%s: %q, %v", test.name, out, err)
		}
	}
}

// TestProgramFolder has a program try, in the folder that it may write to, what would hide from who watches
// the folder, and what would reach other processes through a descriptor.
func TestProgramFolder(t *testing.T) {
	perl, err := exec.LookPath("perl")
	if err != nil || runtime.GOARCH != "amd64" {
		t.Skip("no perl whose system calls have known numbers")
	}
	clean(t)
	const setOwner, setSignal, async = 8, 10, 0o20000
	for _, test := range []struct{ name, script string }{
		{"make a folder", `mkdir("d")`},
		{"remove a file", `open(F, ">", "f") && unlink("f")`},
		{"rename a file", `open(F, ">", "f") && rename("f", "g")`},
		{"make a file without a name", `($d = ".") && syscall(257, -100, $d, 0x410002, 0600) >= 0`},
		{"reserve room behind a file's end", `open(F, ">", "f") && syscall(285, fileno(F), 1, 0, 1 << 20) == 0`},
		{"bind a process to a processor", `($m = "x" x 128) && syscall(204, 0, 128, $m) > 0 && syscall(203, 0 + $$, 128, $m) == 0`},
		{"have the kernel signal another process", fmt.Sprintf(`pipe(R, W) && defined(fcntl(R, %d, %d))`, setOwner, os.Getpid())},
		{"choose that signal", fmt.Sprintf(`pipe(R, W) && defined(fcntl(R, %d, 9))`, setSignal)},
		{"ask for that signal", fmt.Sprintf(`pipe(R, W) && defined(fcntl(R, 4, %d))`, async)},
	} {
		script := test.script + ` and print "succeeded\n"`
		plain := exec.Command(perl, "-e", script)
		plain.Dir = t.TempDir()
		if out, _ := plain.Output(); string(out) != "succeeded\n" {
			t.Errorf("%s: fails without walls too", test.name)
		}
		if out, _, err := run(t, sandbox.Command{Program: perl, Args: []string{"-e", script}, Folder: true}); out != "" {
			t.Errorf("%s: %q, %v", test.name, out, err)
		}
	}
	out, _, err := run(t, sandbox.Command{Program: perl, Args: []string{"-e", `open(F, ">", "f") and print F "x" and close(F) and -s "f" == 1 and print "fine"`}, Folder: true})
	if out != "fine" || err != nil {
		t.Errorf("a file: %q, %v", out, err)
	}
}

// TestProgramAnswers shows how each way of ending is told.
func TestProgramAnswers(t *testing.T) {
	shell := bash(t)
	clean(t)
	for _, test := range []struct {
		name, script string
		c            sandbox.Command
		kind         hashing.MediaErrorKind // "" for no error
		stdout       string                 // begins with
	}{
		{"good", "echo fine", sandbox.Command{}, "", "fine\n"},
		{"reads its input", "read -r a < /dev/fd/3; read -r b <&3; echo $a $b", sandbox.Command{Input: []byte("media\n")}, "", "media media\n"},
		{"changes its input", "echo x > /dev/fd/3 || echo cannot", sandbox.Command{Input: []byte("media\n")}, "", "cannot\n"},
		{"eats memory", "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done", sandbox.Command{Memory: 900 << 20}, hashing.OutOfMemory, ""},
		{"computes for ever", "while :; do :; done", sandbox.Command{CPU: time.Second}, hashing.TimedOut, ""},
		{"hangs", "read -r x <&4; while :; do read -r -t 1 x < /dev/fd/4; done", sandbox.Command{Time: 200 * time.Millisecond, Side: true}, hashing.TimedOut, ""},
		{"crashes", "kill -SEGV $$", sandbox.Command{}, hashing.Crashed, ""},
		{"prints endlessly", "while :; do echo yyyyyyyy; done", sandbox.Command{}, hashing.Crashed, "yyyyyyyy\n"}, // a broken pipe ends it
		{"writes into its folder", "echo x > a; read -r x < a; echo $x $PWD", sandbox.Command{Folder: true}, "", "x /"},
		{"a huge file", "while :; do echo yyyyyyyyyyyyyyyy; done > a", sandbox.Command{Folder: true, Output: 1 << 20}, hashing.TooLarge, ""},
		{"many files", "i=0; while :; do i=$((i+1)); echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy > $i; done", sandbox.Command{Folder: true, Output: 16 << 10}, hashing.TooLarge, ""},
		{"a file without a folder", "echo x > a || echo cannot", sandbox.Command{}, "", "cannot\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.c.Program, test.c.Args = shell, []string{"-c", test.script}
			out, usage, err := run(t, test.c)
			media, ok := hashing.AsMediaError(err)
			if test.kind == "" && err != nil || test.kind != "" && (!ok || media.Kind != test.kind) {
				t.Errorf("got %v, want %q", err, test.kind)
			}
			if !strings.HasPrefix(out, test.stdout) {
				t.Errorf("wrote %.100q, want %q", out, test.stdout)
			}
			if usage.MaxRSS <= 0 || usage.CPU <= 0 || test.name == "eats memory" && usage.MaxRSS > 1000<<20+sandbox.Detector {
				t.Errorf("usage: %+v", usage)
			}
		})
	}
	_, _, err := run(t, sandbox.Command{Program: shell, Args: []string{"-c", "{ echo why; for ((i=0; i<9000; i++)); do echo; done; exit 3; } >&2"}})
	var exit *sandbox.ExitError
	if !errors.As(err, &exit) || exit.Code != 3 || !strings.Contains(exit.Stderr, "why\n") || len(exit.Stderr) > 4<<10 || strings.Contains(exit.Error(), "why") {
		t.Errorf("got %v, %v", err, exit)
	}
}

func TestProgramSide(t *testing.T) {
	shell := bash(t)
	clean(t)
	p, err := sandbox.Start(t.Context(), sandbox.Command{Program: shell, Side: true, Args: []string{"-c", "echo a; echo b >&4; echo c > /dev/fd/4; echo d"}})
	if err != nil {
		t.Fatal(err)
	}
	if !p.Protections.NoNewPrivs || p.Protections.Memory != 1<<30 {
		t.Errorf("held: %v", p.Protections)
	}
	t.Log(p.Protections)
	side, err := io.ReadAll(p.Side)
	if err != nil || string(side) != "b\nc\n" {
		t.Errorf("side: %q, %v", side, err)
	}
	out, err := io.ReadAll(p.Stdout)
	if err != nil || string(out) != "a\nd\n" {
		t.Errorf("stdout: %q, %v", out, err)
	}
	if _, err := p.Wait(); err != nil {
		t.Error(err)
	}
}

// TestProgramFile hands over an open file: it may be read though its folder may not.
func TestProgramFile(t *testing.T) {
	shell := bash(t)
	path := filepath.Join(t.TempDir(), "media")
	for _, path := range []string{path, path + "2"} {
		if err := os.WriteFile(path, []byte("of a file\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	clean(t)
	out, _, err := run(t, sandbox.Command{Program: shell, File: f, Args: []string{"-c", "read -r a < /dev/fd/3; echo $a; echo x > /dev/fd/3 || echo cannot; read -r a < " + path + "2 || echo cannot"}})
	if out != "of a file\ncannot\ncannot\n" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
}

func TestProgramKilled(t *testing.T) {
	shell := bash(t)
	clean(t)
	hang := sandbox.Command{Program: shell, Args: []string{"-c", "while :; do :; done"}, Folder: true, Input: []byte("x")}
	t.Run("by its caller", func(t *testing.T) {
		p, err := sandbox.Start(t.Context(), hang)
		if err != nil {
			t.Fatal(err)
		}
		p.Kill()
		p.Kill()
		if _, err := p.Wait(); !errors.Is(err, sandbox.ErrKilled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p, err := sandbox.Start(ctx, hang)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := io.ReadAll(p.Stdout); err != nil {
			t.Error(err)
		}
		if _, err := p.Wait(); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("before it starts", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := sandbox.Start(ctx, hang); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestProgramDoesNotStart(t *testing.T) {
	clean(t)
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/bash\necho\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"no-such-program", "/etc/passwd", script} {
		if p, err := sandbox.Start(t.Context(), sandbox.Command{Program: program}); err == nil {
			_, err = p.Wait()
			t.Errorf("%s started; %v", program, err)
		}
	}
	_, err := sandbox.FindProgram("no-such-program", "some-package")
	if media, ok := hashing.AsMediaError(err); !ok || media.Kind != hashing.NoDecoder || !strings.Contains(media.Detail, "some-package") {
		t.Errorf("got %v", err)
	}
}

// TestFFmpeg runs the program that decodes videos, on a video that it makes itself.
func TestFFmpeg(t *testing.T) {
	ffmpeg, err := sandbox.FindProgram("ffmpeg", "ffmpeg")
	if err != nil {
		t.Skip(err)
	}
	clean(t)
	made, err := sandbox.Start(t.Context(), sandbox.Command{Program: ffmpeg, Args: strings.Fields(
		"-nostdin -loglevel error -f lavfi -i testsrc=size=320x240:rate=10:duration=3 -threads 1 -c:v mpeg4 -f avi pipe:1")})
	if err != nil {
		t.Fatal(err)
	}
	video, _ := io.ReadAll(made.Stdout)
	if _, err := made.Wait(); err != nil || len(video) < 1000 {
		t.Fatalf("%d bytes, %v", len(video), err)
	}
	args := strings.Fields("-nostdin -loglevel error -protocol_whitelist file,pipe -threads 1 -i /dev/fd/3 -map 0:v:0 -vf fps=1,scale=64:64 -pix_fmt gray -f rawvideo pipe:1")
	out, usage, err := run(t, sandbox.Command{Program: ffmpeg, Args: args, Input: video})
	if err != nil || len(out) != 3*64*64 {
		t.Errorf("%d bytes of frames, %v", len(out), err)
	}
	t.Logf("%v, %d MiB", usage.CPU, usage.MaxRSS>>20)
	_, _, err = run(t, sandbox.Command{Program: ffmpeg, Args: args, Input: bytes.Repeat([]byte("no video"), 1000)})
	var exit *sandbox.ExitError
	if !errors.As(err, &exit) || exit.Stderr == "" {
		t.Errorf("garbage: %v", err)
	}
}

// BenchmarkProgram measures what the walls cost: a shell that does nothing, with and without them.
func BenchmarkProgram(b *testing.B) {
	shell := bash(b)
	b.Run("walls", func(b *testing.B) {
		for b.Loop() {
			p, err := sandbox.Start(b.Context(), sandbox.Command{Program: shell, Args: []string{"-c", ":"}})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := p.Wait(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command(shell, "-c", ":").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
