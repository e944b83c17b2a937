package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vigie/hashing/sandbox"
)

// rowBytes is what a row of an algorithm takes in memory while segments merge; see docs/operations.md.
var rowBytes = map[string]int64{"pdq": 350, "phash": 150, "dhash": 150, "ahash": 150, "md5": 106, "sha256": 106}

// checkMemory: the index of this catalogue fits into the memory limit.
func checkMemory(ctx context.Context, x *examination) []finding {
	const rest = 200 << 20 // of the node
	if x.rows == nil {
		return unchecked("the catalogue cannot be read")
	}
	counts, err := x.catalog.SignalCounts(ctx)
	if err != nil {
		return unchecked(fmt.Sprintf("the signals cannot be counted: %v", err))
	}
	need, rows := int64(rest), int64(0)
	for algorithm, n := range counts {
		need += n * rowBytes[algorithm]
		rows += n
	}
	limit := x.MemoryLimit.of(availableMemory(root()))
	switch {
	case limit == 0:
		return []finding{warning("the kernel ends a node that takes too much", "set --memory-limit", "there is no limit (%v); %d signals take up to %s", x.MemoryLimit, rows, humanBytes(need))}
	case need > limit-limit/16:
		return []finding{warning("new rows are refused (507) as soon as they do not fit; checks go on", "give the node more memory (--memory-limit), or retract what is not needed",
			"%d signals take up to %s while they merge; the limit is %s", rows, humanBytes(need), humanBytes(limit))}
	}
	return fine("%d signals take up to %s; the limit is %s", rows, humanBytes(need), humanBytes(limit))
}

// checkOpenFiles: the node may open enough files: connections, readers of the catalogue, segments.
func checkOpenFiles(_ context.Context, x *examination) []finding {
	const enough = 1024
	whose := "this program"
	n, ok := limitOf(x.ownerPID)
	if ok {
		whose = fmt.Sprintf("process %d", x.ownerPID)
	} else {
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return unchecked(fmt.Sprintf("the system does not say: %v", err))
		}
		n = limit.Cur
	}
	if n < enough {
		return []finding{warning("connections are refused when there are many", "ulimit -n 65536, or LimitNOFILE=65536 in the unit", "%s may open %d files", whose, n)}
	}
	return fine("%s may open %d", whose, n)
}

// limitOf is how many files a process may open, if the system says.
func limitOf(pid int) (n uint64, ok bool) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, found := strings.CutPrefix(lines.Text(), "Max open files"); found {
			words := strings.Fields(rest)
			if len(words) == 0 {
				return 0, false
			}
			n, err := strconv.ParseUint(words[0], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// checkDecoders: pictures and videos can be decoded, behind all walls.
func checkDecoders(ctx context.Context, x *examination) (found []finding) {
	o := x.sandbox()
	o.Children = 1
	pool, err := sandbox.New(o)
	if err != nil {
		return []finding{fault("no picture can be checked or flagged", "the reason says what is missing", "no decode child can be started: %v", err)}
	}
	stats := pool.Stats()
	_ = pool.Close() // nothing was asked of it
	walls := stats.Protections
	if !walls.Full() {
		means := "a hostile file that takes a decode child over could do more than it should"
		if walls.Landlock == 0 {
			means += "; ffmpeg and heif-convert could read what this user can read"
		}
		found = append(found, warning(means, "use a kernel with Landlock and seccomp; until then run the node as a user whose files are its own alone", "decode children lack protections: %s", walls))
	}
	if stats.Converter == "" {
		found = append(found, warning("HEIC pictures are refused", "install the package libheif-examples", "there is no heif-convert"))
	}
	films, err := x.films()
	if err != nil {
		return append(found, fault("no video can be checked or flagged", "mend the settings of videos", "%v", err))
	}
	version, there := films.Available()
	switch {
	case films.off:
		version = "switched off"
	case !there:
		found = append(found, warning("videos are refused", "install ffmpeg 5.1 or later", "there is no ffmpeg that can be used"))
	}
	return or(found, "%s; ffmpeg %s; HEIC by %s", walls, version, stats.Converter)
}

// checkClock: the clock does not contradict the log.
func checkClock(_ context.Context, x *examination) (found []finding) {
	const slack = time.Minute
	switch {
	case x.log == nil:
		return unchecked("there is no log that verifies to compare it with")
	case x.log.last.IsZero():
		return fine("the log is empty")
	}
	set := "set the clock of the machine (ntp)"
	if ahead := x.log.last.Sub(x.now); ahead > slack {
		found = append(found, fault("either the clock of this machine is slow, or it was fast then: times in the log and the expiry of keys are wrong", set,
			"the last change is of %s, %v from now", x.log.last.Local().Format(stamp), ahead.Round(time.Second)))
	}
	if x.log.wentBack > slack {
		found = append(found, warning("times of the log are not in the order of its changes; the numbers are", set, "the clock went back by %v before change %d", x.log.wentBack.Round(time.Second), x.log.backAt))
	}
	return or(found, "the last change is of %s", x.log.last.Local().Format(stamp))
}

// checkSettings: the node is not open to the world unprotected, and its certificate holds.
func checkSettings(_ context.Context, x *examination) (found []finding) {
	open := false
	for _, l := range [][2]string{{"--listen", x.Listen}, {"--listen-private", x.ListenPrivate}} {
		flag, address := l[0], l[1]
		if address == "" {
			continue
		}
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			found = append(found, fault("the node cannot listen", flag+" HOST:PORT", "%s %s: %v", flag, address, err))
			continue
		}
		if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
			continue
		}
		if flag == "--listen-private" {
			found = append(found, warning("whoever reaches it sees numbers of the node, and parts of its memory", flag+" 127.0.0.1:8741", "metrics and profiles are on %s", address))
		} else if open = true; x.TlsCert == "" {
			found = append(found, warning("keys and uploads can be read on their way, if no proxy with TLS stands before it", "--tls-cert and --tls-key; or --listen 127.0.0.1:8740 and a reverse proxy with TLS", "the node listens on %s without TLS", address))
		}
	}
	if x.TlsCert != "" {
		found = append(found, x.checkCertificate()...)
	}
	if open {
		return or(found, "it listens on %s, with TLS", x.Listen)
	}
	return or(found, "it listens on %s, for this machine alone", x.Listen)
}

// checkCertificate: it can be used, also tomorrow.
func (x *examination) checkCertificate() []finding {
	const soon = 14 * 24 * time.Hour
	const renew = "renew it; the node reads it again when it changes"
	c, err := openCertificate(x.TlsCert, x.TlsKey)
	if err != nil {
		return []finding{fault("the node does not start", "mend --tls-cert and --tls-key", "%v", err)}
	}
	leaf := c.now.Load().Leaf
	switch left := leaf.NotAfter.Sub(x.now); {
	case left <= 0:
		return []finding{fault("clients refuse it", renew, "the certificate %s expired on %s", x.TlsCert, leaf.NotAfter.Local().Format(stamp))}
	case left < soon:
		return []finding{warning("clients refuse it then", renew, "the certificate %s expires in %.0f hours", x.TlsCert, left.Hours())}
	case x.now.Before(leaf.NotBefore):
		return []finding{fault("clients refuse it until then", "set the clock, or wait", "the certificate %s holds from %s on", x.TlsCert, leaf.NotBefore.Local().Format(stamp))}
	}
	return nil
}
