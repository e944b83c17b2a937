package sandbox

import (
	"fmt"
	"strings"
)

// Protections says which walls stand around a child, as the child itself reports at its start.
type Protections struct {
	NoNewPrivs  bool  `json:"no_new_privs"` // no rights by executing a program, in every thread
	NotDumpable bool  `json:"not_dumpable"` // no core dump, no tracing by processes of the same user
	Memory      int64 `json:"memory"`       // hard limit of RLIMIT_DATA in bytes; 0: none
	NoFiles     bool  `json:"no_files"`     // no new descriptor, and not a byte written to a file
	Landlock    int   `json:"landlock"`     // ABI version in force; 0: none
	Seccomp     bool  `json:"seccomp"`      // only the listed system calls
}

// Full reports whether all of them hold, Landlock with at least its file rules (ABI 1).
func (p Protections) Full() bool {
	return p.NoNewPrivs && p.NotDumpable && p.Memory > 0 && p.NoFiles && p.Landlock > 0 && p.Seccomp
}

// String is a short text for logs: "memory=1536MiB no-new-files no-new-privs not-dumpable landlock=7 seccomp",
// where a missing protection is named with "NO:", as in "NO:seccomp".
func (p Protections) String() string {
	var b strings.Builder
	word := func(ok bool, s string) {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		if !ok {
			b.WriteString("NO:")
			s, _, _ = strings.Cut(s, "=")
		}
		b.WriteString(s)
	}
	word(p.Memory > 0, fmt.Sprintf("memory=%dMiB", p.Memory>>20))
	word(p.NoFiles, "no-new-files")
	word(p.NoNewPrivs, "no-new-privs")
	word(p.NotDumpable, "not-dumpable")
	word(p.Landlock > 0, fmt.Sprintf("landlock=%d", p.Landlock))
	word(p.Seccomp, "seccomp")
	return b.String()
}
