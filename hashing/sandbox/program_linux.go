package sandbox

import (
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

const childGivesUpRights = true

// programOptions is what the parent tells the child that will become a program.
type programOptions struct {
	Program string   `json:"program"`
	Args    []string `json:"args"`
	Folder  string   `json:"folder,omitempty"`
	OnDisk  bool     `json:"on_disk,omitempty"` // descriptor 3 is a file of a file system
	Memory  int64    `json:"memory"`
	CPU     int64    `json:"cpu"` // seconds
	Output  int64    `json:"output"`
}

const envProgram = "VIGIE_PROGRAM_CHILD"

// The descriptors of a program beside the standard ones. The last one closes when the program begins.
const (
	inputFD  = 3
	statusFD = 5
)

// prepare has the child be this binary.
func (p *Process) prepare(input *os.File) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	options, err := json.Marshal(programOptions{
		Program: p.c.Program, Args: p.c.Args, Folder: p.Folder, OnDisk: input != nil && !sealed(input),
		Memory: p.c.Memory, CPU: int64((p.c.CPU + time.Second - 1) / time.Second), Output: p.c.Output,
	})
	if err != nil {
		return err
	}
	p.cmd.Path = programPath(exe)
	p.cmd.Args = []string{exe, ProgramCommand}
	p.cmd.Env = []string{envProgram + "=" + string(options), "GOTRACEBACK=none", "GOMAXPROCS=1"}
	return nil
}

// anonymousFile is a file without a name that holds data and cannot be changed, read from its start.
func anonymousFile(data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("input", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return temporaryFile(data)
	}
	f := os.NewFile(uintptr(fd), "input")
	_, err = f.Write(data)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sealed reports whether f is an anonymous file in memory.
func sealed(f *os.File) bool {
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	return err == nil && seals&unix.F_SEAL_WRITE != 0
}

// killGroup ends the group that a process leads. The process must be one that nobody has reaped.
func killGroup(p *os.Process) {
	_ = unix.Kill(-p.Pid, unix.SIGKILL)
	_ = unix.Kill(p.Pid, unix.SIGKILL) // if it does not lead one yet
}

// waitExit waits for the end of a process and leaves it to be reaped; false if it cannot.
func waitExit(p *os.Process) bool {
	for {
		err := unix.Waitid(unix.P_PID, p.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err == nil
		}
	}
}

func tooMuchCPU(s syscall.WaitStatus) bool    { return s.Signal() == unix.SIGXCPU }
func tooMuchOutput(s syscall.WaitStatus) bool { return s.Signal() == unix.SIGXFSZ }

func usageOf(s *os.ProcessState) Usage {
	u := Usage{CPU: s.UserTime() + s.SystemTime()}
	if r, ok := s.SysUsage().(*syscall.Rusage); ok {
		u.MaxRSS = r.Maxrss << 10
	}
	return u
}

// ProgramChild is the whole life of the hidden command [ProgramCommand]: it gives up the rights of this process,
// for good, and becomes the program that the parent named. It returns only if it cannot, and the parent has been
// told why.
func ProgramChild() error {
	runtime.LockOSThread() // rights are a thread's, and this is the one that becomes the program
	unix.CloseOnExec(statusFD)
	status := json.NewEncoder(os.NewFile(statusFD, "status"))
	var o programOptions
	err := strictJSON([]byte(os.Getenv(envProgram)), &o)
	if err == nil {
		var held Protections
		if held, err = confine(o); err == nil {
			if err := status.Encode(programStatus{Protections: held}); err != nil {
				return err
			}
			err = syscall.Exec(o.Program, append([]string{o.Program}, o.Args...), []string{"PATH=/usr/bin:/bin", "LC_ALL=C"})
		}
	}
	return errors.Join(err, status.Encode(programStatus{Error: err.Error()}))
}

// confine takes from this thread, and from the program that it becomes, what a decoder does not need.
func confine(o programOptions) (held Protections, err error) {
	dieFirst()
	if err := ll.AllThreadsPrctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return held, fmt.Errorf("no_new_privs: %w", err)
	}
	held.NoNewPrivs = true
	held.Landlock = restrictProgramPaths(o)
	dropCapabilities()

	const files = 64 // descriptors: its libraries are opened one at a time
	for _, limit := range []struct {
		resource int
		value    int64
	}{
		{unix.RLIMIT_DATA, o.Memory + detector},
		{unix.RLIMIT_FSIZE, o.Output},
		{unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_NOFILE, files},
	} {
		if _, err := lowerLimit(0, limit.resource, limit.value); err != nil {
			return held, fmt.Errorf("limit resource %d: %w", limit.resource, err)
		}
	}
	held.Memory = o.Memory
	// The first signal names the reason, the second cannot be ignored.
	cpu := unix.Rlimit{Cur: uint64(o.CPU), Max: uint64(o.CPU) + 1}
	if err := unix.Prlimit(0, unix.RLIMIT_CPU, &cpu, nil); err != nil {
		return held, fmt.Errorf("limit processor time: %w", err)
	}
	held.Seccomp = filterProgramCalls() == nil
	return held, nil
}

// dropCapabilities leaves a node that runs as root without its powers. With no_new_privs no
// program gets them back. For other users there is nothing to drop.
func dropCapabilities() {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_ = unix.Capset(&header, &none[0])
}

// libraries are where a program's code, its libraries and their plug-ins lie, and what libraries ask of
// the machine. There is nothing of a user or of the node in them.
var libraries = []string{
	"/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/local/lib", "/lib", "/lib32", "/lib64",
	"/nix/store", "/sys/devices/system/cpu", "/sys/devices/system/node",
}

// restrictProgramPaths applies the strongest Landlock rules that kernel and library know, and returns
// their ABI version, 0 if there are none.
func restrictProgramPaths(o programOptions) int {
	abi, err := ll.LandlockGetABIVersion()
	if err != nil || abi < 1 {
		return 0
	}
	const (
		read  = ll.AccessFSReadFile
		write = ll.AccessFSWriteFile
		all   = read | write | ll.AccessFSReadDir | ll.AccessFSMakeReg | ll.AccessFSTruncate
	)
	rules := []landlock.Rule{
		landlock.PathAccess(read|ll.AccessFSExecute, o.Program),
		landlock.PathAccess(read|ll.AccessFSReadDir, libraries...).IgnoreIfMissing(),
		landlock.PathAccess(read, "/etc/ld.so.cache", "/dev/zero", "/dev/urandom", "/proc/cpuinfo").IgnoreIfMissing(),
		landlock.PathAccess(read|write, "/dev/null").IgnoreIfMissing(),
	}
	if loader := loaderOf(o.Program); loader != "" {
		rules = append(rules, landlock.PathAccess(read|ll.AccessFSExecute, loader))
	}
	if o.Folder != "" {
		rules = append(rules, landlock.PathAccess(all, o.Folder))
	}
	if o.OnDisk {
		rules = append(rules, landlock.PathAccess(read, fmt.Sprintf("/proc/self/fd/%d", inputFD)))
	}
	if landlock.V11.BestEffort().Restrict(rules...) != nil {
		return 0
	}
	return min(abi, 11)
}

// loaderOf is the program that the kernel starts to load path and its libraries; "" for a static one.
func loaderOf(path string) string {
	f, err := elf.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for _, part := range f.Progs {
		if part.Type != elf.PT_INTERP || part.Filesz > unix.PathMax {
			continue
		}
		b := make([]byte, part.Filesz)
		if _, err := part.ReadAt(b, 0); err != nil {
			return ""
		}
		if name := unix.ByteSliceToString(b); filepath.IsAbs(name) {
			return name
		}
	}
	return ""
}

// programAllowed are the system calls of a program that computes, reads and writes files that Landlock
// lets it open, and has threads. What it tries beside them fails with EPERM. In its folder it can make files and
// nothing else: one that was removed, or lies deep in folders, or has room reserved behind its end would
// fill the disk unseen by who watches the folder.
var programAllowed = []string{
	"creat", "close", "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev",
	"lseek", "stat", "lstat", "fstat", "newfstatat", "statx", "statfs", "fstatfs", "access", "faccessat", "faccessat2",
	"readlink", "readlinkat", "getdents64", "getdents", "getcwd", "fadvise64", "ftruncate", "fsync", "fdatasync",
	"umask", "dup", "dup2", "dup3", "flock", "pipe", "pipe2", "eventfd2",
	"mprotect", "munmap", "mremap", "madvise", "mincore", "msync", "brk", "membarrier",
	"futex", "sched_yield", "sched_getaffinity", "sched_getparam", "sched_getscheduler",
	"sched_get_priority_max", "sched_get_priority_min", "getpriority", "rseq", "set_robust_list", "get_robust_list", "set_tid_address",
	"gettid", "getpid", "getppid", "getpgrp", "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups",
	"uname", "sysinfo", "times", "getrusage", "getrlimit", "arch_prctl",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigsuspend", "rt_sigpending", "rt_sigtimedwait", "sigaltstack", "restart_syscall",
	"epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "poll", "ppoll", "select", "pselect6",
	"nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday", "time", "alarm", "setitimer", "getitimer",
	"getrandom", "execve", "exit", "exit_group",
}

// programMissing fail as if the kernel did not have them, since libraries then go another way.
var programMissing = []string{
	"clone3", "openat2", "close_range", "memfd_create", "get_mempolicy", "set_mempolicy", "mbind", "mlock", "copy_file_range",
	"epoll_pwait2", "pidfd_open", "timerfd_create", "utimensat", "fchmod", "chmod",
}

// filterProgramCalls is the filter that outlives the exec. Which files may be executed is Landlock's
// to say: the program and its loader. No process can be made, no memory shared with others, no signal sent to others.
func filterProgramCalls() error {
	f, err := newFilter(programAllowed, programMissing)
	if err != nil {
		return err
	}
	f.only("clone", argument(0, seccomp.BitsSet, unix.CLONE_THREAD))
	// Shared anonymous memory would not count as data.
	f.only("mmap", argument(3, seccomp.BitsNotSet, unix.MAP_SHARED))
	f.only("mmap", argument(3, seccomp.BitsNotSet, unix.MAP_ANONYMOUS))
	f.only("open", argument(1, seccomp.BitsNotSet, unnamed))
	f.only("openat", argument(2, seccomp.BitsNotSet, unnamed))
	f.onlyOwnDescriptors()
	f.only("tgkill", argument(0, seccomp.Equal, uint64(os.Getpid())))
	f.only("kill", argument(0, seccomp.Equal, uint64(os.Getpid())))
	f.only("prlimit64", argument(2, seccomp.Equal, 0)) // to read
	for _, what := range []uint64{unix.PR_SET_NAME, unix.PR_GET_NAME, unix.PR_SET_VMA, unix.PR_CAPBSET_READ, unix.PR_GET_DUMPABLE} {
		f.only("prctl", argument(0, seccomp.Equal, what))
	}
	for _, what := range []uint64{unix.TCGETS, unix.TIOCGWINSZ, unix.TIOCINQ} {
		f.only("ioctl", argument(1, seccomp.Equal, what))
	}
	return f.load()
}

// unnamed is the bit of O_TMPFILE that O_DIRECTORY does not share: a file that no folder shows.
const unnamed = unix.O_TMPFILE &^ unix.O_DIRECTORY

func argument(n uint32, op seccomp.Operation, value uint64) seccomp.Condition {
	return seccomp.Condition{Argument: n, Operation: op, Value: value}
}

// filter collects what a seccomp filter allows; everything else fails with EPERM, and what is
// named missing with ENOSYS. Names that the machine's architecture does not have are left out.
type filter struct {
	info           *arch.Info
	allow, missing seccomp.SyscallGroup
}

func newFilter(allowed, missing []string) (*filter, error) {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		return nil, fmt.Errorf("no filter for %s", runtime.GOARCH)
	}
	info, err := arch.GetInfo("")
	if err != nil {
		return nil, err
	}
	known := func(names []string) (known []string) {
		for _, name := range names {
			if _, ok := info.SyscallNames[name]; ok {
				known = append(known, name)
			}
		}
		return known
	}
	return &filter{
		info:    info,
		allow:   seccomp.SyscallGroup{Action: seccomp.ActionAllow, Names: known(allowed)},
		missing: seccomp.SyscallGroup{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: known(missing)},
	}, nil
}

// only allows a call if all the conditions hold; said again, if those or these do.
func (f *filter) only(name string, all ...seccomp.Condition) {
	if _, ok := f.info.SyscallNames[name]; ok {
		f.allow.NamesWithCondtions = append(f.allow.NamesWithCondtions, seccomp.NameWithConditions{Name: name, Conditions: all})
	}
}

// onlyOwnDescriptors allows what fcntl does with descriptors themselves. It can also name a process that the kernel
// then signals, with a signal of the caller's choice, when a pipe becomes ready.
func (f *filter) onlyOwnDescriptors() {
	for _, what := range []uint64{
		unix.F_DUPFD, unix.F_DUPFD_CLOEXEC, unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_GETLK, unix.F_SETLK, unix.F_SETLKW,
	} {
		f.only("fcntl", argument(1, seccomp.Equal, what))
	}
	f.only("fcntl", argument(1, seccomp.Equal, unix.F_SETFL), argument(2, seccomp.BitsNotSet, unix.O_ASYNC))
}

func (f *filter) load() error {
	return seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true,
		Flag:       seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionErrno, // with EPERM
			Syscalls:      []seccomp.SyscallGroup{f.missing, f.allow},
		},
	})
}
