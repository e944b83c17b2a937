package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// A machine's clock jumps for all programs on it, so a test cannot let it jump. Instead the program is built with another time.Now:
// the wall clock jumps, the monotonic clock does not, as after a real jump. Libraries see it, too, and decode children.

// clockVariable says when the clock jumps: "AFTER:BY,..." in seconds since the start of the process and of the wall clock; the last
// one that has come counts.
const clockVariable = "VIGIE_TEST_CLOCK"

const jumpingNow = `
var jumps = jumpsFrom(syscall.Getenv("VIGIE_TEST_CLOCK"))

type jump struct{ after, by int64 }

func jumpsFrom(text string, _ bool) (all []jump) {
	for text != "" {
		var j jump
		number := func(end byte) (n int64) {
			sign := int64(1)
			for text != "" {
				c := text[0]
				text = text[1:]
				switch {
				case c == end:
					return sign * n
				case c == '-':
					sign = -1
				default:
					n = 10*n + int64(c-'0')
				}
			}
			return sign * n
		}
		j.after, j.by = number(':'), number(',')
		all = append(all, j)
	}
	return all
}

func jumped(mono int64) (by int64) {
	for _, j := range jumps {
		if mono-startNano >= j.after*1e9 {
			by = j.by
		}
	}
	return by
}
`

// withJumpingClock builds the program so, and returns its path.
func withJumpingClock(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	must(t, err)
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	source, err := os.ReadFile(original)
	must(t, err)
	const reading = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	text := strings.Replace(string(source), reading, reading+"\tsec += jumped(mono)\n", 1)
	text = strings.Replace(text, "import (\n", "import (\n\t\"syscall\"\n", 1)
	if len(text) == len(source) || !strings.Contains(text, "jumped(mono)") {
		t.Fatalf("time.Now of %s is not as this test knows it", runtime.Version())
	}
	replaced, overlay, program := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "vigie")
	must(t, os.WriteFile(replaced, []byte(text+jumpingNow), 0o600))
	list, err := json.Marshal(map[string]map[string]string{"Replace": {original: replaced}})
	must(t, err)
	must(t, os.WriteFile(overlay, list, 0o600))
	build := exec.Command("go", "build", "-tags", "nodynamic", "-overlay", overlay, "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}
