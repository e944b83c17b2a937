package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	v1 "vigie/api/v1"
)

// pile fills a folder with drawn pictures, in folders of 50.
func pile(t *testing.T, pictures int) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "pile")
	for i := range pictures {
		dir := filepath.Join(root, fmt.Sprintf("%02d", i/50))
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%03d.jpg", i)), jpegOf(uint64(i), 160, 120), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// scanned reads the lines of vigie scan --json: the level of each file, and the summary.
func scanned(t *testing.T, out string) (levels map[string]string, names []string, summary *scanSummary) {
	t.Helper()
	levels = map[string]string{}
	lines := json.NewDecoder(strings.NewReader(out))
	for lines.More() {
		var line struct {
			File, Level, Error string
			Summary            json.RawMessage
		}
		var text json.RawMessage
		if err := lines.Decode(&text); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &line); err != nil {
			t.Fatal(err)
		}
		switch {
		case line.Summary != nil:
			summary = new(scanSummary)
			if err := json.Unmarshal(text, summary); err != nil {
				t.Fatal(err)
			}
		case line.Error != "":
			t.Errorf("%s: %s", line.File, line.Error)
		default:
			levels[line.File] = line.Level
			names = append(names, line.File)
		}
	}
	return levels, names, summary
}

// TestScanBesideFlags scans a folder through a node while others flag pictures of it.
func TestScanBesideFlags(t *testing.T) {
	t.Parallel()
	const pictures = 300
	root := pile(t, pictures)
	s := serve(t, filepath.Join(t.TempDir(), "data"), nil, "--log-level", "warn")
	key := s.key(t, v1.Admin)
	if _, err := post[v1.Bank](s, key, "/v1/banks", v1.NewBank{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	flag := func(i int) error {
		_, err := unhurried(func() (v1.Flagged, error) {
			return postFile[v1.Flagged](s, key, "/v1/banks/b/entries", jpegOf(uint64(i), 160, 120))
		})
		return err
	}
	const before = 20 // flagged before the scan begins: these must be found
	for i := range before {
		if err := flag(i * pictures / before); err != nil {
			t.Fatal(err)
		}
	}
	var stop atomic.Bool
	var flags atomic.Int64
	var others errgroup.Group
	for worker := range 2 {
		others.Go(func() error {
			for i := worker; i < pictures && !stop.Load(); i += 2 {
				if err := flag(i); err != nil {
					return err
				}
				flags.Add(1)
			}
			return nil
		})
	}
	code, out, warn := runVigie(append(os.Environ(), "VIGIE_DATA="+s.data), "scan", "--json", root)
	stop.Store(true)
	if err := others.Wait(); err != nil {
		t.Errorf("a flag beside the scan: %v", err)
	}
	levels, _, summary := scanned(t, out)
	if code != 0 || summary == nil || summary.Summary.Items != pictures || len(levels) != pictures {
		t.Fatalf("exit %d, %d files, summary %+v: %s", code, len(levels), summary, warn)
	}
	for i := range before {
		n := i * pictures / before
		if file := filepath.Join(root, fmt.Sprintf("%02d", n/50), fmt.Sprintf("%03d.jpg", n)); levels[file] != "match" {
			t.Errorf("%s: %s", file, levels[file])
		}
	}
	t.Logf("%d files in %.1f s beside %d flags: %v", pictures, summary.Seconds, flags.Load(), summary.Summary.Levels)

	// Now every picture that was flagged meanwhile is found.
	code, out, _ = runVigie(append(os.Environ(), "VIGIE_DATA="+s.data), "scan", "--json", root)
	_, _, summary = scanned(t, out)
	if want := min(flags.Load(), pictures); code != 0 || summary.Summary.Levels["match"] < want {
		t.Errorf("exit %d, %v; want %d matches or more", code, summary.Summary.Levels, want)
	}
}

// TestScanResume stops a scan, politely and by SIGKILL, and resumes it.
func TestScanResume(t *testing.T) {
	t.Parallel()
	const pictures = 400
	root := pile(t, pictures)
	for _, test := range []struct {
		name   string
		signal syscall.Signal
		exact  bool // no file comes twice
	}{
		{"interrupted", syscall.SIGINT, true},
		{"killed", syscall.SIGKILL, false}, // files since the last checkpoint come again
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			data := filepath.Join(t.TempDir(), "data")
			env := append(os.Environ(), "VIGIE_DATA="+data)
			if code, _, warn := runVigie(env, "banks", "create", "b"); code != 0 {
				t.Fatal(warn)
			}
			first := exec.Command("vigie", "scan", "--json", "--workers=1", root)
			var warn output
			first.Env, first.Stderr = env, &warn
			pipe, err := first.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := first.Start(); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			lines := bufio.NewReader(pipe)
			// Reading slowly holds the scan up, so that it is still under way when its checkpoint is
			// saved for the first time. Then comes the signal.
			pace := time.NewTicker(5 * time.Millisecond)
			defer pace.Stop()
			for signalled := false; ; <-pace.C {
				line, err := lines.ReadString('\n')
				if err == io.EOF {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				out.WriteString(line)
				saved, _ := filepath.Glob(filepath.Join(data, "scans", "*.json"))
				if len(saved) == 1 && !signalled {
					signalled = true
					if err := first.Process.Signal(test.signal); err != nil {
						t.Fatal(err)
					}
				}
			}
			_ = first.Wait()
			_, names, summary := scanned(t, out.String())
			if len(names) >= pictures {
				t.Fatalf("the scan was not stopped before its end")
			}
			if test.exact {
				if code := first.ProcessState.ExitCode(); code != exitFailed || summary == nil || !summary.Stopped {
					t.Errorf("exit %d, summary %+v", code, summary)
				}
				if want := "vigie: stopped; go on with: vigie scan --json --workers=1 " + root + " --resume\n"; warn.String() != want {
					t.Errorf("got %q, want %q", warn.String(), want)
				}
			}

			code, rest, again := runVigie(env, "scan", "--json", "--resume", root)
			_, more, summary := scanned(t, rest)
			all := append(names, more...)
			if test.exact && len(all) != pictures {
				t.Errorf("%d files, then %d", len(names), len(more))
			}
			if !test.exact && len(more) == pictures {
				t.Error("the checkpoint was not used")
			}
			slices.Sort(all)
			if n := len(slices.Compact(all)); n != pictures {
				t.Errorf("%d different files of %d", n, pictures)
			}
			if code != 0 || summary == nil || summary.Summary.Items != pictures {
				t.Errorf("exit %d, summary %+v: %s", code, summary, again)
			}
			if code, _, warn := runVigie(env, "scan", "--resume", root); code != exitUsage {
				t.Errorf("resumed once more: exit %d: %s", code, warn)
			}
		})
	}
}

// TestScanLosesNode kills the node through which a scan goes. The scan ends and can be resumed; it
// does not take the folder over, which the node needs when it is started again.
func TestScanLosesNode(t *testing.T) {
	t.Parallel()
	root := pile(t, 200)
	s := serve(t, filepath.Join(t.TempDir(), "data"), nil, "--log-level", "error")
	cmd := exec.Command("vigie", "scan", "--json", root)
	var warn output
	cmd.Stderr = &warn
	cmd.Env = append(os.Environ(), "VIGIE_DATA="+s.data, "XDG_CACHE_HOME="+t.TempDir())
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(pipe)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	s.kill()
	rest, err := io.ReadAll(lines)
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	scanned(t, string(rest)) // no file was given up for the node's fault: it would not come again
	code, said := cmd.ProcessState.ExitCode(), warn.String()
	if code != exitFailed || !strings.HasSuffix(said, "; when that is mended, go on with --resume\n") {
		t.Errorf("exit %d: %s", code, said)
	}
}
