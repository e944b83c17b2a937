package sandbox

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// sysProcAttr lets the kernel kill a child whose parent died, and keeps the terminal's Ctrl-C, which
// goes to a whole process group, from children that still work for a parent that shuts down.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// limitMemory is the memory limit from outside. The process must be one that nobody has reaped.
func limitMemory(pid int, n int64) error {
	_, err := lowerLimit(pid, unix.RLIMIT_DATA, n)
	return err
}

// programPath is where to start the program at path from. For this very program it is the file that
// runs, even if an upgrade has replaced the one at path: parent and children are of one version.
func programPath(path string) string {
	const self = "/proc/self/exe"
	if exe, err := os.Executable(); err != nil || exe != path {
		return path
	}
	if _, err := os.Stat(self); err != nil {
		return path
	}
	return self
}

// dieFirst has the kernel end this process, and what it becomes, before any other when the memory of the machine, or of the node's
// group, is used up: by itself it ends the largest, which is the node. proc_pid_oom_score_adj(5). Nobody needs a right to raise it.
func dieFirst() { _ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0) }

// patience is the nice value of children, from 0 to 19.
const patience = 10

// stepBack makes what the calling thread starts wait for others; the thread, too. One that waits for more already goes on doing so.
func stepBack() {
	if now, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0); err == nil && 20-now >= patience { // the kernel's answer is 20 less the value
		return
	}
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, patience)
}
