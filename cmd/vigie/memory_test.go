package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/alecthomas/kong"

	v1 "vigie/api/v1"
	"vigie/hashing"
	"vigie/index"
	"vigie/matcher"
	"vigie/storage"
)

func TestMemoryLimitText(t *testing.T) {
	const machine = 1000 << 20
	for _, c := range []struct {
		text, want string // what it prints as
		of         int64
	}{
		{"20GiB", "20GiB", 20 << 30},
		{"20480MiB", "20GiB", 20 << 30},
		{"256MiB", "256MiB", 256 << 20},
		{"1073741824", "1GiB", 1 << 30},
		{"85%", "85%", 850 << 20},
		{"1%", "1%", 10 << 20},
		{"100%", "100%", machine},
		{"none", "none", 0},
	} {
		var l MemoryLimit
		if err := l.UnmarshalText([]byte(c.text)); err != nil || l.String() != c.want || l.of(machine) != c.of {
			t.Errorf("%q: %v, %d of %d bytes, %v; want %q, %d", c.text, l, l.of(machine), machine, err, c.want, c.of)
		}
	}
	var l MemoryLimit
	if err := l.UnmarshalText([]byte("85%")); err != nil || l.of(0) != 0 {
		t.Errorf("of an unknown memory: %d, %v", l.of(0), err)
	}
	for text, want := range map[string]string{
		"":       "accepted are sizes such as 20GiB, shares such as 85%, and none",
		"many":   "accepted are sizes",
		"-1GiB":  "accepted are sizes",
		"20GB":   "accepted are sizes",
		"1.5GiB": "accepted are sizes",
		"0":      "less than a node takes; accepted are 256MiB and more",
		"255MiB": "less than a node takes",
		"0%":     "accepted are 1% to 100%",
		"101%":   "accepted are 1% to 100%",
		"-5%":    "accepted are 1% to 100%",
		"+5%":    "accepted are 1% to 100%",
		"8.5%":   "accepted are 1% to 100%",
		"%":      "accepted are 1% to 100%",
		"None":   "accepted are sizes",
	} {
		if err := new(MemoryLimit).UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
}

func TestAvailableMemory(t *testing.T) {
	const meminfo = "MemTotal:       16384 kB\nMemFree:        1 kB\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"nothing is known": {nil, 0},
		"a machine":        {map[string]string{"proc/meminfo": meminfo}, 16 << 20},
		"version 2": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/system.slice/vigie.service\n",
			"sys/fs/cgroup/system.slice/vigie.service/memory.max": "8388608\n",
			"sys/fs/cgroup/system.slice/memory.max":               "max\n",
		}, 8 << 20},
		"version 2, a group above has less": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n",
			"sys/fs/cgroup/a/b/memory.max": "8388608\n", "sys/fs/cgroup/a/memory.max": "4194304\n",
		}, 4 << 20},
		"version 2, throttled before": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a\n",
			"sys/fs/cgroup/a/memory.max": "8388608\n", "sys/fs/cgroup/a/memory.high": "2097152\n",
		}, 2 << 20},
		"version 2, in a container": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "8388608\n",
		}, 8 << 20},
		"version 1": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "5:cpu:/x\n4:memory:/docker/abc\n0::/\n",
			"sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "8388608\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":            "9223372036854771712\n",
		}, 8 << 20},
		"version 1, in a container": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "4:memory:/docker/abc\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "8388608\n",
		}, 8 << 20},
		"more than the machine has": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "99999999999\n",
		}, 16 << 20},
	} {
		root := fstest.MapFS{}
		for path, text := range c.files {
			root[path] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := availableMemory(root); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestHugeBytes(t *testing.T) {
	root := fstest.MapFS{"proc/self/smaps_rollup": &fstest.MapFile{Data: []byte(
		"00400000-7fff [rollup]\nRss:  9000 kB\nAnonHugePages:      4096 kB\nShmemPmdMapped:        0 kB\nFilePmdMapped:      2048 kB\n")}}
	if got := hugeBytes(root); got != 6<<20 {
		t.Errorf("%d bytes, want 6 MiB", got)
	}
	if got := hugeBytes(fstest.MapFS{}); got != 0 {
		t.Errorf("where it is not known: %d bytes", got)
	}
}

// TestCommandsWithoutMemory opens a folder whose index does not fit, as a command does that owns it: it does not wait for
// ever, and what needs no index is done.
func TestCommandsWithoutMemory(t *testing.T) {
	t.Parallel()
	var c cli
	parser, err := kong.New(&c, words())
	if err == nil {
		_, err = parser.Parse([]string{"serve", "--data", filepath.Join(t.TempDir(), "data")})
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	run := func(do func(*node) error) {
		t.Helper()
		n, err := openNode(ctx, &c.Config, nil, nil)
		if err == nil {
			err = n.loaded(ctx)
		}
		if err == nil {
			err = do(n)
		}
		if n != nil {
			err = errors.Join(err, n.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var entry storage.EntryID
	run(func(n *node) error {
		name := "b"
		_, err := n.matcher.CreateBank(ctx, matcher.Local(), matcher.NewBank{BankEdit: matcher.BankEdit{Name: &name}})
		if err != nil {
			return err
		}
		flagged, err := n.matcher.Flag(ctx, matcher.Flagging{Who: matcher.Local(), Bank: name, Signals: []hashing.Signal{{Algorithm: hashing.MD5, Value: hashing.Value{1}}}})
		entry = flagged.Entry.ID
		return err
	})
	c.Config.MemoryLimit = MemoryLimit{size: 1}
	run(func(n *node) error {
		if n.matcher.Follower().State() != nil {
			return errors.New("the index was loaded")
		}
		return n.matcher.Retract(ctx, matcher.Local(), entry, "no memory")
	})
}

// TestWatchMemory watches an index without room: it says so once. It is not parallel, since Go's limit is that of all tests.
func TestWatchMemory(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	for _, c := range []struct {
		limit, least, most int64 // and what is left to Go's heap
		lines              int
	}{
		{1 << 30, 1 << 29, 1 << 30, 0},
		{1, 0, 1, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			var log output
			ctx, cancel := context.WithCancel(t.Context())
			x := index.New(index.Options{MemoryLimit: c.limit})
			go watchMemory(ctx, x, slog.New(slog.NewTextHandler(&log, nil)))
			time.Sleep(time.Minute)
			if n := debug.SetMemoryLimit(-1); n < c.least || n > c.most {
				t.Errorf("of %d bytes Go has %d", c.limit, n)
			}
			if got := strings.Count(log.String(), "THE MEMORY LIMIT IS REACHED"); got != c.lines {
				t.Errorf("it was said %d times, want %d: %s", got, c.lines, log.String())
			}
			cancel()
			synctest.Wait()
		})
	}
	if after := debug.SetMemoryLimit(-1); after != before {
		t.Errorf("Go's limit was %d, and is %d", before, after)
	}
}

// TestMemoryMetrics reads what a node says of its memory.
func TestMemoryMetrics(t *testing.T) {
	t.Parallel()
	n := &target{t: t, served: serve(t, t.TempDir()+"/data", nil, "--memory-limit", "4GiB")}
	n.admin = n.key(t, v1.Admin)
	if _, err := post[v1.Bank](n.served, n.admin, "/v1/banks", v1.NewBank{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	if _, err := postFile[v1.Flagged](n.served, n.admin, "/v1/banks/b/entries", jpegOf(1, 320, 240)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		`vigie_index_rows{algorithm="sha256"}`:      "1",
		`vigie_index_dead_rows{algorithm="sha256"}`: "0",
		`vigie_index_deltas{algorithm="sha256"}`:    "1",
		`vigie_index_segments{algorithm="sha256"}`:  "0",
		`vigie_memory_limit_bytes`:                  "4.294967296e+09",
		`vigie_index_merge_postponed`:               "0",
	} {
		eventually(t, name+" is "+want, func() bool { return n.metric(name) == want })
	}
	for _, name := range []string{
		`vigie_index_bytes{algorithm="pdq"}`, "vigie_memory_used_bytes", "vigie_memory_merge_bytes", "vigie_memory_room_bytes",
	} {
		if got := n.metric(name); got == "" || got == "0" || strings.HasPrefix(got, "-") {
			t.Errorf("%s is %q", name, got)
		}
	}
	if n.metric("vigie_memory_huge_bytes") == "" {
		t.Error("no vigie_memory_huge_bytes")
	}
}
