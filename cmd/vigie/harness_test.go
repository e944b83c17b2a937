package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	v1 "vigie/api/v1"
	"vigie/hashing/sandbox"
	"vigie/internal/testpg"
)

// TestMain makes the test binary the program under test: as "vigie" in PATH it is the whole command
// line, and it is its own decode child and program child.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == decodeChild {
		os.Exit(runDecodeChild())
	}
	if len(os.Args) == 2 && os.Args[1] == sandbox.ProgramCommand {
		_ = sandbox.ProgramChild()
		os.Exit(exitFailed)
	}
	testscript.Main(withPostgres{m}, map[string]func(){"vigie": main})
}

// withPostgres stops the server that tests have shared, at their end.
type withPostgres struct{ *testing.M }

func (m withPostgres) Run() int { return testpg.Main(m.M) }

// patience is how long a test waits for what should come at once, on a busy machine.
const patience = 30 * time.Second

// eventually polls until done, and fails the test if that takes too long.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// output collects what a process writes, and can be read meanwhile.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// served is a `vigie serve` in a process of its own.
type served struct {
	data, url      string
	process        *os.Process
	stdout, stderr output
	ended          chan struct{} // closed when the process is gone
	exit           error         // of Wait; read it when ended is closed
}

// startServe starts a node on a data folder and returns once it says that it is ready.
func startServe(data string, env []string, args ...string) (*served, error) {
	return startProgram("vigie", data, env, args...)
}

// startProgram is startServe with another program than this test's own.
func startProgram(program, data string, env []string, args ...string) (*served, error) {
	return startCommand(program, "serve", data, env, args...)
}

// startCommand is startProgram with another command that runs a node.
func startCommand(program, command, data string, env []string, args ...string) (*served, error) {
	s := &served{data: data, ended: make(chan struct{})}
	args = append([]string{command, "--json", "--data", data, "--listen", "127.0.0.1:0"}, args...)
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = &s.stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s.process = cmd.Process
	stdout := bufio.NewReader(io.TeeReader(pipe, &s.stdout))
	first := make(chan error, 1)
	go func() {
		defer close(s.ended)
		line, err := stdout.ReadBytes('\n')
		var ready readyLine
		if err == nil {
			err = json.Unmarshal(line, &ready)
		}
		s.url = ready.URL
		first <- err
		_, _ = io.Copy(io.Discard, stdout)
		s.exit = cmd.Wait()
	}()
	select {
	case err = <-first:
	case <-time.After(patience):
		err = errors.New("it does not get ready")
	}
	if err != nil {
		_ = s.process.Kill()
		<-s.ended
		return nil, fmt.Errorf("vigie %s: %w; it said: %s", command, err, s.stderr.String())
	}
	return s, nil
}

// serve starts a node for the length of a test.
func serve(t testing.TB, data string, env []string, args ...string) *served {
	t.Helper()
	s, err := startServe(data, env, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.kill() })
	return s
}

// kill ends the node as a power cut would, from the node's point of view.
func (s *served) kill() {
	_ = s.process.Kill()
	<-s.ended
}

// stop asks the node to end and returns its exit code.
func (s *served) stop() (int, error) {
	if err := s.process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.kill()
		return 0, errors.New("SIGTERM does not end the node")
	}
	var exit *exec.ExitError
	if errors.As(s.exit, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, s.exit
}

// vigie runs a command on the node's data folder and returns its exit code and what it printed.
func (s *served) vigie(args ...string) (code int, stdout, stderr string) {
	return runVigie(append(os.Environ(), "VIGIE_DATA="+s.data), args...)
}

func runVigie(env []string, args ...string) (code int, stdout, stderr string) {
	cmd := exec.Command("vigie", args...)
	var out, warn bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &warn
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		return -1, "", err.Error()
	}
	return cmd.ProcessState.ExitCode(), out.String(), warn.String()
}

// key makes a key by the node's socket.
func (s *served) key(t testing.TB, role v1.Role, args ...string) string {
	t.Helper()
	code, out, warn := s.vigie(append([]string{"keys", "create", "--role", string(role), "--json", "test " + string(role)}, args...)...)
	var made v1.CreatedKey
	if err := json.Unmarshal([]byte(out), &made); code != 0 || err != nil {
		t.Fatalf("make a key: exit %d: %s%s %v", code, out, warn, err)
	}
	return made.Secret
}

// request sends a request with a key, "" for none. One that can be sent again is, while the node has more work than it can do in time,
// which a machine full of tests is to be expected to give it.
func (s *served) request(key, method, path, contentType string, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequest(method, s.url+path, body)
	if err != nil {
		return nil, err
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		answer, err := http.DefaultClient.Do(r)
		if err != nil || !overloaded(answer) || body != nil && r.GetBody == nil || time.Now().After(deadline) {
			return answer, err
		}
		if r.GetBody != nil {
			if r.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// overloaded reports whether a node has refused a request before it did anything, because it has too much to do.
func overloaded(answer *http.Response) bool {
	if answer.StatusCode != http.StatusServiceUnavailable {
		return false
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	answer.Body = io.NopCloser(bytes.NewReader(text))
	var p v1.Problem
	return err == nil && json.Unmarshal(text, &p) == nil && p.Type == "/problems/overloaded"
}

// get reads a JSON answer.
func get[T any](s *served, key, path string) (T, error) {
	return ask[T](s.request(key, "GET", path, "", nil))
}

// post sends JSON and reads a JSON answer.
func post[T any](s *served, key, path string, in any) (T, error) {
	body, err := json.Marshal(in)
	if err != nil {
		panic(err) // the tests' own structs
	}
	return ask[T](s.request(key, "POST", path, "application/json", bytes.NewReader(body)))
}

// upload sends a file as multipart, with its length declared, and reads a JSON answer.
func postFile[T any](s *served, key, path string, file []byte) (T, error) {
	contentType, body := form(file)
	return ask[T](s.request(key, "POST", path, contentType, body))
}

// unhurried does something again while the node is too busy for it, for whatever reason, as its clients do.
func unhurried[T any](do func() (T, error)) (T, error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		out, err := do()
		var p *problemError
		if !errors.As(err, &p) || p.Status != http.StatusTooManyRequests && p.Status != http.StatusServiceUnavailable || time.Now().After(deadline) {
			return out, err
		}
	}
}

func form(file []byte) (contentType string, body *bytes.Reader) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part, err := w.CreateFormFile("file", "upload")
	if err == nil {
		_, err = part.Write(file)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err) // memory does not fail
	}
	return w.FormDataContentType(), bytes.NewReader(b.Bytes())
}

// children lists the processes whose parent is pid, with their state letters.
func children(pid int) map[int]string {
	found := map[int]string{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		_, rest, ok := strings.Cut(string(text), ") ") // the name before may hold anything
		if err != nil || !ok {
			continue
		}
		var state string
		var parent, child int
		_, _ = fmt.Sscan(rest, &state, &parent)
		_, _ = fmt.Sscan(string(text), &child)
		if parent == pid {
			found[child] = state
		}
	}
	return found
}

// resident is the memory of a process and its children, in bytes.
func resident(pid int) int64 {
	sum := rss(pid)
	for child := range children(pid) {
		sum += rss(child)
	}
	return sum
}

func rss(pid int) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	var size, pages int64
	_, _ = fmt.Sscan(string(text), &size, &pages)
	return pages * int64(os.Getpagesize())
}
