package sandbox

import (
	"fmt"
	"os"
	"runtime"
	"time"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// giveUpRights takes from this process, all its threads and whatever it may become, what a decoder
// does not need. The order matters: Landlock needs a descriptor, so it comes before the limit on
// descriptors; the filter comes last, for it forbids all the rest.
func giveUpRights(o ChildOptions) (held Protections, err error) {
	// The runtime opens the descriptors of its poller with the first timer, and ends the process if
	// it cannot.
	time.Sleep(time.Nanosecond)
	dieFirst() // while there are files

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	if err := ll.AllThreadsPrctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return held, fmt.Errorf("no_new_privs: %w", err)
	}
	held.NoNewPrivs = true
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return held, fmt.Errorf("not dumpable: %w", err)
	}
	held.NotDumpable = true

	if !o.lacks("landlock") {
		held.Landlock = restrictPaths()
	}
	if err := setLimits(o, &held); err != nil {
		return held, err
	}
	if !o.lacks("seccomp") {
		held.Seccomp = filterCalls() == nil
	}
	return held, nil
}

// restrictPaths applies the strongest Landlock rules that kernel and library know, with no
// exception, and returns their ABI version, 0 if there are none.
func restrictPaths() int {
	abi, err := ll.LandlockGetABIVersion()
	if err != nil || abi < 1 || landlock.V11.BestEffort().Restrict() != nil {
		return 0
	}
	return min(abi, 11)
}

func setLimits(o ChildOptions, held *Protections) error {
	if !o.lacks("memory") {
		var err error
		if held.Memory, err = lowerLimit(0, unix.RLIMIT_DATA, o.Memory); err != nil {
			return fmt.Errorf("limit memory: %w", err)
		}
	}
	for _, resource := range []int{unix.RLIMIT_FSIZE, unix.RLIMIT_CORE, unix.RLIMIT_NOFILE} {
		if resource == unix.RLIMIT_NOFILE && o.lacks("nofile") {
			continue
		}
		if _, err := lowerLimit(0, resource, 0); err != nil {
			return fmt.Errorf("limit resource %d: %w", resource, err)
		}
	}
	held.NoFiles = !o.lacks("nofile")
	return nil
}

// lowerLimit sets the soft and the hard limit of a process (0: this one) to n, or leaves a lower
// hard limit as it is, and returns the one in force.
func lowerLimit(pid, resource int, n int64) (int64, error) {
	var old unix.Rlimit
	if err := unix.Prlimit(pid, resource, nil, &old); err != nil {
		return 0, err
	}
	to := min(uint64(n), old.Max)
	return int64(to), unix.Prlimit(pid, resource, &unix.Rlimit{Cur: to, Max: to}, nil)
}

// allowed are the system calls of a Go program that only computes and talks over open descriptors:
// memory, threads, signals to itself, clocks, the poller, the end. In builds with cgo the C library
// adds a few for its threads. What a kernel's architecture does not have is left out.
var allowed = []string{
	"read", "write", "close", "fstat",
	"munmap", "mremap", "madvise", "mincore", "brk",
	"futex", "sched_yield", "sched_getaffinity", "membarrier", "rseq",
	"set_robust_list", "set_tid_address", "gettid", "getpid", "getppid",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall",
	"epoll_ctl", "epoll_wait", "epoll_pwait", "poll", "ppoll", "pselect6",
	"nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday",
	"getrandom", "getrusage", "exit", "exit_group",
}

// filterCalls allows the calls above, and a few only with harmless arguments: threads but no
// processes, signals to this process only, and no memory that can be executed. Memory is private: what is shared would not count as data. Anything else fails with
// EPERM, which the runtime and libraries survive where they merely try. clone3 fails as if the
// kernel did not have it, because its arguments cannot be seen; the C library then uses clone.
func filterCalls() error {
	f, err := newFilter(allowed, []string{"clone3"})
	if err != nil {
		return err
	}
	f.only("clone", argument(0, seccomp.BitsSet, unix.CLONE_THREAD))
	private := argument(3, seccomp.BitsNotSet, unix.MAP_SHARED)
	f.only("mmap", private, argument(2, seccomp.BitsNotSet, unix.PROT_EXEC))
	f.only("mprotect", argument(2, seccomp.BitsNotSet, unix.PROT_EXEC))
	f.onlyOwnDescriptors()
	f.only("tgkill", argument(0, seccomp.Equal, uint64(os.Getpid())))
	f.only("prctl", argument(0, seccomp.Equal, unix.PR_SET_VMA)) // the runtime names its memory
	return f.load()
}
