package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// process is the parent's end of a child. One goroutine at a time asks it; kill may come from any.
type process struct {
	cmd      *exec.Cmd
	in, out  *os.File // the parent's ends of the child's standard input and output
	stderr   memoryComplaint
	memory   int64         // limit, bytes
	pictures int           // handed over so far
	used     time.Time     // when it was last put back, if its crew asks
	done     chan struct{} // closed when the child is reaped; stderr and cmd.ProcessState are final then
	killOnce sync.Once
}

// ask hands one picture over and returns what the child says first. After an error the child is of no
// more use.
func (c *process) ask(data []byte) ([]byte, error) {
	c.pictures++
	if err := writeFrame(c.in, data); err != nil {
		return nil, err
	}
	return c.listen()
}

// listen returns the child's next say.
func (c *process) listen() ([]byte, error) { return readFrame(c.out, maxAnswer, nil) }

// answer tells the child whether it gets the memory that it needs.
func (c *process) answer(may []byte) error { return writeFrame(c.in, may) }

// kill ends the child and whoever waits at its pipes. It does not wait for the end.
func (c *process) kill() {
	c.killOnce.Do(func() {
		_ = c.cmd.Process.Kill() // an error means that it has ended already
		_ = c.in.Close()
		_ = c.out.Close()
	})
}

// end kills the child and waits until it is reaped.
func (c *process) end() {
	c.kill()
	<-c.done
}

func (c *process) dead() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// startTimeout bounds the time from the start of a child to its hello. It is generous, since a child
// that does not start is the server's trouble and no picture's.
const startTimeout = 30 * time.Second

// start starts a child, limits it from outside and reads its hello.
func (p *Pool) start(ctx context.Context, w *crew) (*process, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	begun := time.Now()
	c, held, err := p.launch(ctx, w.ChildOptions)
	if err != nil {
		return nil, fmt.Errorf("start a decode child: %w", err)
	}
	p.started(ChildStart{PID: c.cmd.Process.Pid, Protections: held, Took: time.Since(begun)})
	return c, nil
}

func (p *Pool) launch(ctx context.Context, o ChildOptions) (*process, Protections, error) {
	options, err := json.Marshal(o)
	if err != nil {
		return nil, Protections{}, err
	}
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, Protections{}, err
	}
	defer childIn.Close()
	out, childOut, err := os.Pipe()
	if err != nil {
		in.Close()
		return nil, Protections{}, err
	}
	defer childOut.Close()

	c := &process{in: in, out: out, memory: o.Memory, done: make(chan struct{})}
	c.cmd = &exec.Cmd{
		Path:   programPath(p.o.Command[0]),
		Args:   p.o.Command,
		Stdin:  childIn,
		Stdout: childOut,
		Stderr: &c.stderr,
		// Two threads: the collector and the decoder do not wait for each other, and the children
		// together do not take more than the machine has.
		Env:         append([]string{envOptions + "=" + string(options), "GOMAXPROCS=2", "GOTRACEBACK=none"}, p.o.Env...),
		SysProcAttr: sysProcAttr(),
		WaitDelay:   time.Second,
	}
	if runtime.GOOS != "windows" {
		c.cmd.Dir = "/"
	}
	if err := p.startThread.start(c.cmd); err != nil {
		in.Close()
		out.Close()
		return nil, Protections{}, err
	}
	childIn.Close()
	childOut.Close()

	unwatch := context.AfterFunc(ctx, c.kill)
	held, err := c.greet()
	if !unwatch() && err == nil {
		err = errors.New("killed while it started")
	}
	if err != nil {
		c.kill()
	}
	// Only now may the process be reaped: until here its number cannot pass to another process.
	go func() {
		_ = c.cmd.Wait() // what there is to know is in ProcessState
		close(c.done)
	}()
	if err != nil {
		<-c.done
		if c.stderr.found {
			err = fmt.Errorf("%w; %d MiB of memory do not suffice", err, o.Memory>>20)
		}
		return nil, Protections{}, fmt.Errorf("%w (%s)", err, c.cmd.ProcessState)
	}
	return c, held, nil
}

// greet limits the child's memory and reads its hello.
func (c *process) greet() (Protections, error) {
	if err := limitMemory(c.cmd.Process.Pid, c.memory); err != nil {
		return Protections{}, fmt.Errorf("limit its memory: %w", err)
	}
	b, err := readFrame(c.out, maxHello, nil)
	if err != nil {
		return Protections{}, fmt.Errorf("it said no hello (does its command call sandbox.Child?): %w", err)
	}
	var h hello
	if err := strictJSON(b, &h); err != nil {
		return Protections{}, fmt.Errorf("its hello cannot be read: %w", err)
	}
	if h.Error != "" {
		return Protections{}, fmt.Errorf("it refuses to work: %s", cleanDetail(h.Error))
	}
	if h.Wire != wireVersion {
		return Protections{}, errors.New("it is of another build of this program")
	}
	return h.Protections, nil
}

// starter starts processes from one goroutine that is locked to its thread; see "When the parent
// dies" in the package documentation.
type starter chan startJob

type startJob struct {
	cmd *exec.Cmd
	err chan<- error
}

func newStarter() starter {
	s := make(starter)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine, since others shall not be as patient
		stepBack()
		for job := range s {
			job.err <- job.cmd.Start()
		}
	}()
	return s
}

func (s starter) start(cmd *exec.Cmd) error {
	err := make(chan error, 1)
	s <- startJob{cmd, err}
	return <-err
}

// memoryComplaint is a writer that keeps nothing but whether the runtime complained about memory in
// what passed. The text of a dying child may hold anything, so nobody gets to read it.
type memoryComplaint struct {
	found bool
	tail  []byte // enough of the last write to find a phrase across two
}

var memoryPhrases = [][]byte{[]byte("out of memory"), []byte("annot allocate memory"), []byte("failed to allocate")}

func (m *memoryComplaint) Write(b []byte) (int, error) {
	const overlap, window = 32, 4096
	for rest := b; len(rest) > 0 && !m.found; {
		n := min(len(rest), window)
		m.tail = append(m.tail, rest[:n]...)
		rest = rest[n:]
		for _, phrase := range memoryPhrases {
			m.found = m.found || bytes.Contains(m.tail, phrase)
		}
		m.tail = append(m.tail[:0], m.tail[max(0, len(m.tail)-overlap):]...)
	}
	return len(b), nil
}
