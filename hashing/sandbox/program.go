package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"vigie/hashing"
)

// ProgramCommand is the hidden command by which [Start] starts this binary again, to give up its rights
// and become the program. The binary must then call [ProgramChild].
const ProgramCommand = "program-child"

// Command is a run of an external program on one media, without rights: no network, no other process,
// no file but its own code and libraries, the input and its folder; see the package documentation.
// Zero fields get the defaults named below.
type Command struct {
	Program string   // an absolute path, or a name found in PATH; no script
	Args    []string // without the program's name; they must hold nothing of the media

	// Input is what the program reads as /dev/fd/3: an anonymous file that nobody can change, in which it may seek.
	Input []byte
	// File is given as /dev/fd/3 in place of Input: for what is too large for memory. It must be open
	// for reading alone. The caller closes it, after Wait.
	File *os.File

	Side   bool // the program may write to /dev/fd/4, a second pipe: [Process.Side]
	Folder bool // the program works in an empty folder in which it may write: [Process.Folder]; Wait removes it

	Memory int64         // bytes, RLIMIT_DATA; at least [MinMemory]. Default: 1 GiB
	CPU    time.Duration // of all threads, in whole seconds, RLIMIT_CPU. Default: 60 s
	Output int64         // bytes that the files of the folder may have, each and together. Default: 256 MiB
	Time   time.Duration // by the clock, from the program's begin. Default: 60 s
}

func (c *Command) withDefaults() {
	if c.Memory == 0 {
		c.Memory = 1 << 30
	}
	c.Memory = max(c.Memory, MinMemory)
	if c.CPU == 0 {
		c.CPU = time.Minute
	}
	if c.Output == 0 {
		c.Output = 256 << 20
	}
	if c.Time == 0 {
		c.Time = time.Minute
	}
	if !c.Folder {
		c.Output = 0
	}
}

// FindProgram returns the absolute path of a program: name itself if it is a path, else where PATH has
// it. The error is a [*hashing.MediaError] of kind [hashing.NoDecoder] that says what to install.
func FindProgram(name, install string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return "", &hashing.MediaError{
			Kind:   hashing.NoDecoder,
			Detail: fmt.Sprintf("this node lacks the program %s; it is part of the package %s", name, install),
		}
	}
	return path, nil
}

// Process is a program at work. Stdout and Side may be read from two goroutines; they end with the
// program, and with Wait. Whoever stops reading before the end calls Kill. The caller must call Wait.
type Process struct {
	Stdout, Side io.Reader   // Side is nil unless [Command.Side]
	Folder       string      // "" unless [Command.Folder]
	Protections  Protections // the walls around it, as they were put up before it began

	c      Command
	ctx    context.Context // ends with the caller's, at the deadline, and with Kill
	cancel context.CancelCauseFunc
	timer  *time.Timer // ends ctx
	cmd    *exec.Cmd
	pipes  []*os.File
	stderr head
	exited chan struct{} // closed when the process is reaped; cmd.ProcessState is final then

	mu   sync.Mutex
	gone bool // the process has ended and may not be killed
}

// Usage is what a program took.
type Usage struct {
	CPU    time.Duration // user and system
	MaxRSS int64         // bytes; 0 where the system does not tell
}

// ExitError says that a program ended by itself with another status than 0.
type ExitError struct {
	Code int
	// Stderr is the first that the program wrote to standard error, for telling faults apart. It may quote
	// the media: it must not be logged or shown.
	Stderr string
}

func (e *ExitError) Error() string { return fmt.Sprintf("the program ended with status %d", e.Code) }

// ErrKilled is what Wait returns after [Process.Kill].
var ErrKilled = errors.New("the program was killed")

var (
	errTime   = errors.New("the time of the program")
	errOutput = errors.New("the output of the program")
)

// Start runs a program. It returns when the walls stand and the program begins, or with the reason
// why not: ctx's error, or trouble of the server. The end of ctx kills the program.
func Start(ctx context.Context, c Command) (_ *Process, err error) {
	c.withDefaults()
	if c.Program, err = exec.LookPath(c.Program); err != nil {
		return nil, fmt.Errorf("find the program: %w", err)
	}
	if c.Program, err = filepath.Abs(c.Program); err != nil {
		return nil, fmt.Errorf("find the program: %w", err)
	}
	p := &Process{c: c, exited: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	p.timer = time.AfterFunc(startTimeout, func() { p.cancel(errTime) })
	err = p.start()
	if p.timer.Stop() { // the program's own time begins with the program
		p.timer.Reset(c.Time)
	}
	if err != nil {
		p.free()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("start %s: %w", filepath.Base(c.Program), err)
	}
	return p, nil
}

func (p *Process) start() (err error) {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	input := p.c.File
	if input == nil && p.c.Input != nil {
		if input, err = anonymousFile(p.c.Input); err != nil {
			return fmt.Errorf("hand over the input: %w", err)
		}
		defer input.Close()
	}
	var theirs []*os.File // the child's ends
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
	}()
	pipe := func() (ours, their *os.File, err error) {
		ours, their, err = os.Pipe()
		if err == nil {
			p.pipes, theirs = append(p.pipes, ours), append(theirs, their)
		}
		return ours, their, err
	}
	stdout, childStdout, err := pipe()
	if err != nil {
		return err
	}
	var childSide *os.File
	p.Stdout = stdout
	if p.c.Side {
		var side *os.File
		if side, childSide, err = pipe(); err != nil {
			return err
		}
		p.Side = side
	}
	status, childStatus, err := pipe()
	if err != nil {
		return err
	}
	if p.c.Folder {
		if p.Folder, err = os.MkdirTemp("", "vigie-"); err != nil {
			return err
		}
	}
	p.cmd = &exec.Cmd{
		Stdout: childStdout, Stderr: &p.stderr, ExtraFiles: []*os.File{input, childSide, childStatus},
		Dir: "/", SysProcAttr: sysProcAttr(), WaitDelay: time.Second,
	}
	if p.c.Folder {
		p.cmd.Dir = p.Folder
	}
	if err := p.prepare(input); err != nil {
		return err
	}
	if err := p.launch(); err != nil {
		return err
	}
	for _, f := range theirs {
		f.Close()
	}
	err = p.readStatus(status)
	if err == nil {
		return nil
	}
	p.cancel(ErrKilled)
	<-p.exited
	switch {
	case context.Cause(p.ctx) == errTime:
		return fmt.Errorf("it did not begin within %v", startTimeout)
	case err == errNotBegun: // what it wrote is of this binary, which has seen no media
		return fmt.Errorf("%w: %v: %s", err, p.cmd.ProcessState, cleanDetail(p.stderr.String()))
	}
	return err
}

// launch starts the process and has a goroutine see to its end. That goroutine keeps its thread, since
// the kernel ends the child with the thread that started it (see "When the parent dies").
func (p *Process) launch() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // for good, as in newStarter
		stepBack()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		defer context.AfterFunc(p.ctx, p.kill)()
		if waitExit(p.cmd.Process) {
			// Until it is reaped the number of the group is its own: now end what it may have left.
			p.kill()
			p.mu.Lock()
			p.gone = true
			p.mu.Unlock()
		}
		_ = p.cmd.Wait() // what there is to know is in ProcessState
		close(p.exited)
	}()
	if err := <-started; err != nil {
		close(p.exited)
		return err
	}
	if p.Folder != "" {
		go p.watchFolder()
	}
	return nil
}

// kill ends the process and its group, unless they are gone.
func (p *Process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone {
		killGroup(p.cmd.Process)
	}
}

// programStatus is what the child says before it becomes the program: its walls, then, if the program cannot
// be executed, why.
type programStatus struct {
	Protections Protections `json:"protections"`
	Error       string      `json:"error,omitempty"`
}

var errNotBegun = errors.New("it did not begin (does this binary call sandbox.ProgramChild?)")

// readStatus reads until the program begins, which closes the pipe.
func (p *Process) readStatus(r io.Reader) error {
	if !childGivesUpRights {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(r, maxHello))
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return errNotBegun
	}
	for d := json.NewDecoder(bytes.NewReader(b)); d.More(); {
		var s programStatus
		if err := d.Decode(&s); err != nil {
			return errors.New("its status cannot be read")
		}
		if s.Error != "" {
			return errors.New(cleanDetail(s.Error))
		}
		p.Protections = s.Protections
	}
	return nil
}

// watchFolder kills a program that fills the disk with many files.
func (p *Process) watchFolder() {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.exited:
			return
		case <-tick.C:
		}
		var sum int64
		files := 0
		_ = filepath.WalkDir(p.Folder, func(_ string, e os.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				if info, err := e.Info(); err == nil {
					sum += info.Size()
				}
			}
			if files++; files > 10_000 {
				sum = math.MaxInt64
				return filepath.SkipAll
			}
			return nil
		})
		if sum > p.c.Output {
			p.cancel(errOutput)
			return
		}
	}
}

// Kill ends the program at once, with all that it started. It does not wait, and may be called at any time, from
// any goroutine, more than once.
func (p *Process) Kill() { p.cancel(ErrKilled) }

// Wait closes Stdout and Side, waits until the program has ended, frees what belongs to it, and says
// how it ended: nil for status 0, a [*ExitError] for another; a [*hashing.MediaError] of kind
// [hashing.TimedOut], [hashing.OutOfMemory], [hashing.TooLarge] (its output) or [hashing.Crashed]; ctx's error or
// [ErrKilled]. It must be called once, by one goroutine, when nobody reads any more; files of the folder
// that are wanted are opened before. To do so when the program has ended, see [Process.Done].
func (p *Process) Wait() (Usage, error) {
	for _, f := range p.pipes {
		f.Close()
	}
	<-p.exited
	usage := usageOf(p.cmd.ProcessState)
	err := p.verdict(usage)
	p.free()
	return usage, err
}

// Done is closed when the program has ended and is reaped.
func (p *Process) Done() <-chan struct{} { return p.exited }

// free gives back all but the process itself.
func (p *Process) free() {
	p.cancel(ErrKilled)
	p.timer.Stop()
	for _, f := range p.pipes {
		f.Close()
	}
	if p.Folder != "" {
		_ = os.RemoveAll(p.Folder)
	}
}

// verdict says how the process ended.
func (p *Process) verdict(usage Usage) error {
	state := p.cmd.ProcessState
	if state.Success() {
		return nil
	}
	died := func(kind hashing.MediaErrorKind, format string, args ...any) error {
		return &hashing.MediaError{Kind: kind, Detail: fmt.Sprintf(format, args...)}
	}
	status, _ := state.Sys().(syscall.WaitStatus)
	slow := died(hashing.TimedOut, "not decoded within %v of processor time", p.c.CPU)
	greedy := died(hashing.OutOfMemory, "more than %d MiB needed", p.c.Memory>>20)
	switch {
	case !status.Signaled() && !p.stderr.lacksMemory():
		return &ExitError{Code: state.ExitCode(), Stderr: p.stderr.String()}
	case !status.Signaled():
		return greedy
	case tooMuchCPU(status):
		return slow
	case tooMuchOutput(status):
		return died(hashing.TooLarge, "more than %d MiB of output", p.c.Output>>20)
	case status.Signal() != syscall.SIGKILL:
		if p.stderr.lacksMemory() {
			return greedy
		}
		return died(hashing.Crashed, "the decoder crashed: %s", state)
	case context.Cause(p.ctx) == errTime:
		return died(hashing.TimedOut, "not decoded within %v", p.c.Time)
	case context.Cause(p.ctx) == errOutput:
		return died(hashing.TooLarge, "more than %d MiB of output", p.c.Output>>20)
	case p.ctx.Err() != nil:
		return context.Cause(p.ctx)
	case usage.CPU >= p.c.CPU:
		return slow
	}
	// The system's own killer is what else sends this signal.
	return greedy
}

// head keeps the first bytes of what is written. It is read when the writer is done.
type head struct{ b []byte }

const maxStderr = 4 << 10

func (h *head) Write(b []byte) (int, error) {
	h.b = append(h.b, b[:min(len(b), maxStderr-len(h.b))]...)
	return len(b), nil
}

func (h *head) String() string { return string(h.b) }

// lacksMemory reports whether the text is a complaint of Go, of C's strerror(ENOMEM) or of C++.
func (h *head) lacksMemory() bool {
	for _, phrase := range []string{"out of memory", "annot allocate", "failed to allocate", "bad_alloc"} {
		if strings.Contains(h.String(), phrase) {
			return true
		}
	}
	return false
}

// temporaryFile is a file on disk that has no name any more, open for reading.
func temporaryFile(data []byte) (*os.File, error) {
	w, err := os.CreateTemp("", "vigie-")
	if err != nil {
		return nil, err
	}
	defer w.Close()
	defer os.Remove(w.Name())
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	return os.Open(w.Name())
}
