package sandbox_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/hashing/sandbox"
)

// tried asks a child to do what it must not, and returns how it went.
func tried(t *testing.T, p *sandbox.Pool, what string) string {
	t.Helper()
	_, err := p.Picture(t.Context(), []byte("VIGIE-TEST-"+what))
	media, ok := hashing.AsMediaError(err)
	if !ok || media.Kind != hashing.Corrupt {
		t.Errorf("%s: got %v", what, err)
		return ""
	}
	return media.Detail
}

// TestWalls shows each wall alone: the filter, then without it the limit on descriptors, then
// without both Landlock; and without all three that the attempts would have succeeded.
func TestWalls(t *testing.T) {
	address := listen(t)
	file := filepath.Join(t.TempDir(), "new")
	for _, test := range []struct {
		name, without string
		wants         map[string]string
	}{
		{"all", "", map[string]string{
			"FILE": "operation not permitted", "CREATE " + file: "operation not permitted",
			"SOCKET " + address: "operation not permitted", "EXEC": "operation not permitted",
			"SIGNAL": "operation not permitted", "ENV": " 5 variables",
		}},
		{"descriptors", "seccomp,landlock", map[string]string{
			"FILE": "too many open files", "CREATE " + file: "too many open files",
			"SOCKET " + address: "too many open files",
		}},
		{"landlock", "seccomp,nofile", map[string]string{
			"FILE": "permission denied", "CREATE " + file: "permission denied", "EXEC": "permission denied",
			"SOCKET " + address: "permission denied", "SIGNAL": "operation not permitted",
		}},
		{"none", "seccomp,nofile,landlock", map[string]string{
			"FILE": "open succeeded", "SOCKET " + address: "dial succeeded", "SIGNAL": "signal succeeded",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPool(t, sandbox.Options{Children: 1}, "VIGIE_DECODE_TEST_WITHOUT="+test.without)
			held := p.Stats().Protections
			t.Log(held)
			if !strings.Contains(test.without, "seccomp") && !held.Seccomp {
				t.Skip("this kernel has no seccomp filters")
			}
			if !strings.Contains(test.without, "landlock") && strings.Contains(test.without, "seccomp") && held.Landlock < 6 {
				t.Skip("this kernel has too little of Landlock")
			}
			for what, want := range test.wants {
				if got := tried(t, p, what); !strings.Contains(got, want) {
					t.Errorf("%s: %s; want %s", what, got, want)
				}
			}
			if total(p.Stats().Died) != 0 {
				t.Errorf("attempts killed the child: %v", p.Stats().Died)
			}
			good(t, p)
		})
	}
}

// TestSeenFromOutside reads what the kernel says of a child and each of its threads.
func TestSeenFromOutside(t *testing.T) {
	const memory = 700 << 20
	var pid int
	p := newPool(t, sandbox.Options{Children: 1, Memory: memory, Events: sandbox.Events{
		ChildStarted: func(s sandbox.ChildStart) { pid = s.PID },
	}})
	good(t, p)
	held := p.Stats().Protections
	if held.Memory != memory || !held.NoFiles || !held.NoNewPrivs || !held.NotDumpable {
		t.Errorf("held: %s", held)
	}
	if got := strings.TrimSpace(read(t, fmt.Sprintf("/proc/%d/oom_score_adj", pid))); got != "1000" { // it dies before the node
		t.Errorf("oom_score_adj %s", got)
	}
	limits := read(t, fmt.Sprintf("/proc/%d/limits", pid))
	for name, want := range map[string]string{
		"Max data size": fmt.Sprint(memory), "Max file size": "0", "Max core file size": "0", "Max open files": "0",
	} {
		_, rest, _ := strings.Cut(limits, name)
		if f := strings.Fields(rest); len(f) < 2 || f[0] != want || f[1] != want {
			t.Errorf("%s: %.40q, want %s", name, rest, want)
		}
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) < 2 {
		t.Fatalf("threads: %v %v", threads, err)
	}
	for _, thread := range threads {
		status := read(t, thread)
		if !strings.Contains(status, "NoNewPrivs:\t1\n") {
			t.Errorf("%s may gain privileges", thread)
		}
		if held.Seccomp && !strings.Contains(status, "Seccomp:\t2\n") {
			t.Errorf("%s is not filtered", thread)
		}
	}
}

// TestMemoryFromOutside shows that the parent's limit holds if the child sets none.
func TestMemoryFromOutside(t *testing.T) {
	p := newPool(t, sandbox.Options{Children: 1, Memory: 900 << 20}, "VIGIE_DECODE_TEST_WITHOUT=memory")
	if held := p.Stats().Protections; held.Memory != 0 {
		t.Fatalf("held: %s", held)
	}
	_, err := p.Picture(t.Context(), []byte("VIGIE-TEST-MEMORY"))
	if media, ok := hashing.AsMediaError(err); !ok || media.Kind != hashing.OutOfMemory {
		t.Errorf("got %v", err)
	}
	good(t, p)
}

// raceEnabled says that the race detector is on.
var raceEnabled bool

// TestIdleChildIsSmall has a child use much memory for one picture: soon after, it is small again.
func TestIdleChildIsSmall(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector keeps memory of its own")
	}
	var pid int
	p := newPool(t, sandbox.Options{Children: 1, Events: sandbox.Events{
		ChildStarted: func(s sandbox.ChildStart) { pid = s.PID },
	}})
	if _, err := p.Picture(t.Context(), []byte("large")); err != nil {
		t.Fatal(err)
	}
	resident := func() (pages int) {
		var size int
		_, _ = fmt.Sscan(read(t, fmt.Sprintf("/proc/%d/statm", pid)), &size, &pages)
		return pages * os.Getpagesize()
	}
	t.Logf("%d MiB after the picture", resident()>>20)
	waitFor(t, "it is small", func() bool { return resident() < 64<<20 })
	good(t, p)
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestParentKilled starts a parent that has a child hang, and kills the parent.
func TestParentKilled(t *testing.T) {
	if os.Getenv("VIGIE_TEST_PARENT") != "" {
		p, err := sandbox.New(sandbox.Options{Children: 1, Timeout: time.Minute, Env: []string{"VIGIE_DECODE_TEST_HOOKS=1"}})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = p.Picture(t.Context(), []byte("VIGIE-TEST-HANG"))
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent, err := os.StartProcess(exe, []string{exe, "-test.run=^TestParentKilled$"}, &os.ProcAttr{Env: append(os.Environ(), "VIGIE_TEST_PARENT=1")})
	if err != nil {
		t.Fatal(err)
	}
	var children []string
	waitFor(t, "the child works", func() bool {
		children = childrenOf(t, parent.Pid)
		return len(children) == 1 && busy(children[0])
	})
	if err := parent.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := parent.Wait(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the child is gone", func() bool {
		b, err := os.ReadFile(children[0])
		return err != nil || strings.Contains(string(b), ") Z ")
	})
}

// busy reports whether the process of a /proc/N/stat file has used 50 ms of CPU or more.
func busy(stat string) bool {
	b, _ := os.ReadFile(stat)
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	var ticks int
	if len(f) > 11 {
		_, _ = fmt.Sscan(f[11], &ticks)
	}
	return ticks >= 5
}
