// Package testkill has a test run itself in a process of its own, which it kills: what that process told of as done must be there
// afterwards. In that process, the test sees a variable of its environment and does what is to be killed, until it is.
package testkill

import (
	"bufio"
	"bytes"
	"cmp"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// Number is a number from the environment, or another one if the variable is not set.
func Number(t testing.TB, name string, otherwise uint64) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(cmp.Or(os.Getenv(name), strconv.FormatUint(otherwise, 10)), 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// After starts a process with this test alone and more environment (NAME=value), and lets it live until it has written so many lines, 1 or
// more, and for a pause; then it gets SIGKILL. said is given each line of its standard output, also those that came between. A process that ends by
// itself fails the test.
func After(t *testing.T, env []string, lines int, pause time.Duration, said func(line string)) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), env...)
	var warn bytes.Buffer
	cmd.Stderr = &warn
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	n, all := 0, bufio.NewScanner(out)
	for all.Scan() {
		said(all.Text())
		if n++; n == lines {
			time.Sleep(pause) // the moment of the kill, not a wait for something
			_ = cmd.Process.Kill()
		}
	}
	if err := cmd.Wait(); n < lines || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("the process ended by itself: %v %s", err, warn.String())
	}
}
