//go:build !linux

package sandbox

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// On other systems than Linux a program is a process of its own, with its time by the clock; nothing more.
const childGivesUpRights = false

// ProgramChild fails: only on Linux does a child come between.
func ProgramChild() error { return errors.New("programs are started directly on this system") }

func (p *Process) prepare(*os.File) error {
	p.cmd.Path = p.c.Program
	p.cmd.Args = append([]string{p.c.Program}, p.c.Args...)
	p.cmd.Env = programEnv
	return nil
}

var programEnv = []string{"LC_ALL=C"}

func anonymousFile(data []byte) (*os.File, error) { return temporaryFile(data) }

func killGroup(p *os.Process) { _ = p.Kill() }

func waitExit(*os.Process) bool { return false }

func tooMuchCPU(syscall.WaitStatus) bool    { return false }
func tooMuchOutput(syscall.WaitStatus) bool { return false }

func usageOf(s *os.ProcessState) Usage {
	return Usage{CPU: time.Duration(s.UserTime() + s.SystemTime())}
}
