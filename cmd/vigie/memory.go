package main

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"vigie/index"
)

// MemoryLimit is a size, or a share of the memory that the process may have, on the command line: 20GiB, 85%. The zero
// value is no limit.
type MemoryLimit struct {
	size    Bytes
	percent int // if not 0, in place of the size
}

// leastMemory is the least size of a limit: a node without an index takes some 100 MiB.
const leastMemory = 256 << 20

// UnmarshalText reads "20GiB", "85%" and "none".
func (l *MemoryLimit) UnmarshalText(text []byte) error {
	*l = MemoryLimit{}
	if string(text) == "none" {
		return nil
	}
	if digits, ok := strings.CutSuffix(string(text), "%"); ok {
		n, err := strconv.Atoi(digits)
		if err != nil || n < 1 || n > 100 || strconv.Itoa(n) != digits {
			return fmt.Errorf("%q is not a share of the memory; accepted are 1%% to 100%%", text)
		}
		l.percent = n
		return nil
	}
	if err := l.size.UnmarshalText(text); err != nil {
		return fmt.Errorf("%q is not a limit of the memory; accepted are sizes such as 20GiB, shares such as 85%%, and none", text)
	}
	if l.size < leastMemory {
		return fmt.Errorf("%q is less than a node takes; accepted are %v and more, shares such as 85%%, and none", text, Bytes(leastMemory))
	}
	return nil
}

func (l MemoryLimit) String() string {
	switch {
	case l.percent > 0:
		return strconv.Itoa(l.percent) + "%"
	case l.size == 0:
		return "none"
	}
	return l.size.String()
}

// of is the limit in bytes, given what there is; 0 if there is none, or if it is a share of what is not known.
func (l MemoryLimit) of(available int64) int64 {
	if l.percent > 0 {
		return available / 100 * int64(l.percent)
	}
	return int64(l.size)
}

// availableMemory is what this process may have at most: the memory of the machine, or what a control group grants
// (version 1 or 2; of it and all groups above the least). It is 0 if the system does not say.
func availableMemory(root fs.FS) int64 {
	least := int64(0)
	take := func(n int64, err error) {
		if err == nil && n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	kib, err := memoryLine(root, "proc/meminfo", "MemTotal:")
	take(kib<<10, err)
	groups, _ := fs.ReadFile(root, "proc/self/cgroup")
	for line := range strings.Lines(string(groups)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 {
			continue
		}
		var mount string
		var files []string
		switch parts[1] {
		case "":
			mount, files = "sys/fs/cgroup", []string{"memory.max", "memory.high"}
		case "memory":
			mount, files = "sys/fs/cgroup/memory", []string{"memory.limit_in_bytes"}
		}
		for _, file := range files {
			for group := path.Clean("/" + parts[2]); ; group = path.Dir(group) {
				text, err := fs.ReadFile(root, path.Join(mount, group, file))
				if err == nil {
					take(strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)) // "max" is no number
				}
				if group == "/" {
					break
				}
			}
		}
	}
	return least
}

// hugeBytes is how much of this process lies in huge pages; 0 where that is not known. The kernel walks all of its
// memory to tell, some milliseconds for a GiB.
func hugeBytes(root fs.FS) int64 {
	sum := int64(0)
	for _, name := range []string{"AnonHugePages:", "ShmemPmdMapped:", "FilePmdMapped:"} {
		kib, _ := memoryLine(root, "proc/self/smaps_rollup", name)
		sum += kib << 10
	}
	return sum
}

// memoryLine is a number of a file such as /proc/meminfo, in KiB.
func memoryLine(root fs.FS, name, key string) (int64, error) {
	f, err := root.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == key {
			return strconv.ParseInt(fields[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no line %s", name, key)
}

// root is the file system.
func root() fs.FS { return os.DirFS("/") }

// watchMemory keeps Go's heap within what the index leaves of the limit, and says when new rows are refused, and when they
// are taken again.
func watchMemory(ctx context.Context, x *index.Index, log *slog.Logger) {
	if x.Memory().Limit == 0 {
		return
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	_, set := os.LookupEnv("GOMEMLIMIT")
	for full := false; ; {
		m := x.Memory()
		if !set {
			debug.SetMemoryLimit(m.Heap())
		}
		if full && m.Room() > m.Limit/32 || !full && m.Room() <= 0 { // not again and again at the limit
			full = !full
			sizes := []any{"limit", m.Limit, "used", m.Used(), "index", m.Index, "merge", m.Merge}
			if full {
				log.Error("THE MEMORY LIMIT IS REACHED: flags are refused, checks go on; retract entries, or give the node more memory (--memory-limit)", sizes...)
			} else {
				log.Info("there is memory again: flags are taken", sizes...)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}
