package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"vigie/storage"
)

type doctorCmd struct {
	Deep bool `help:"Read everything: hash each media file, compare each entry with the log, and the saved index with one made anew (which takes the memory of both)."`
}

// check is one thing that the doctor looks at. What it needs of others it takes from the examination; it says so if that is
// not to be had, and never repeats their complaint.
type check struct {
	name string
	look func(context.Context, *examination) []finding
}

// checks in the order in which they are made: what others rest upon comes first.
var checks = []check{
	{"folder", checkFolder},
	{"lock", checkLock},
	{"catalogue", checkCatalogue},
	{"log", checkLog},
	{"entries", checkEntries},
	{"banks and keys", checkBanksAndKeys},
	{"media", checkMedia},
	{"index", checkIndex},
	{"journal", checkJournal},
	{"history", checkHistory},
	{"disk", checkDisk},
	{"memory", checkMemory},
	{"open files", checkOpenFiles},
	{"decoders", checkDecoders},
	{"clock", checkClock},
	{"settings", checkSettings},
}

// level is how bad a finding is.
type level string

const (
	healthy level = "ok"
	warned  level = "warning" // will be, or may be, a fault
	faulty  level = "fault"   // something is wrong: the exit code is 1
)

// finding is what a check found.
type finding struct {
	Check string `json:"check"`
	Level level  `json:"level"`
	Says  string `json:"says"`            // what was seen
	Means string `json:"means,omitempty"` // what that leads to
	Do    string `json:"do,omitempty"`
}

func fine(format string, args ...any) []finding {
	return []finding{{Level: healthy, Says: fmt.Sprintf(format, args...)}}
}

// warning and fault are findings; says is what was seen, means what that leads to, do what to do.
func warning(means, do, says string, args ...any) finding {
	return finding{Level: warned, Says: fmt.Sprintf(says, args...), Means: means, Do: do}
}

func fault(means, do, says string, args ...any) finding {
	return finding{Level: faulty, Says: fmt.Sprintf(says, args...), Means: means, Do: do}
}

// unchecked says that a check had to be left out.
func unchecked(why string) []finding {
	return []finding{warning("", "", "not examined, since %s", why)}
}

// or is the findings, or that all is well.
func or(found []finding, format string, args ...any) []finding {
	if len(found) > 0 {
		return found
	}
	return fine(format, args...)
}

// examination is what checks share.
type examination struct {
	*app
	deep     bool
	nothing  bool // there is no folder, and nothing to look at
	now      time.Time
	catalog  snapshot         // nil: there is none, or it cannot be read
	rows     map[string]int64 // of its tables; nil as long as nobody knows
	head     storage.Head
	log      *logPass // nil: not read, or it does not verify
	ownerPID int      // of the process that owns the folder; 0: none, or not known
}

func (x *examination) path(parts ...string) string {
	return filepath.Join(append([]string{x.Data}, parts...)...)
}

// doctorSummary is the last line of vigie doctor --json.
type doctorSummary struct {
	Faults   int `json:"faults"`
	Warnings int `json:"warnings"`
}

// Run makes all checks and prints what each finds. It reads beside a node that runs on the folder, and changes nothing.
func (c *doctorCmd) Run(ctx context.Context, a *app) (err error) {
	if a.Server != "" {
		return usagef("doctor examines a data folder of this machine (--data); --server names a node elsewhere")
	}
	x := &examination{app: a, deep: c.Deep, now: time.Now()}
	defer func() {
		if x.catalog != nil {
			_ = x.catalog.Close() // read alone
		}
	}()
	var sum doctorSummary
	for _, check := range checks {
		if x.nothing {
			break
		}
		found := check.look(ctx, x)
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, f := range found {
			f.Check = check.name
			switch f.Level {
			case faulty:
				sum.Faults++
			case warned:
				sum.Warnings++
			}
			if err := x.tell(f); err != nil {
				return err
			}
		}
	}
	if a.json {
		err = a.object(map[string]doctorSummary{"summary": sum})
	}
	a.say("%d faults, %d warnings.", sum.Faults, sum.Warnings)
	if sum.Faults > 0 && err == nil {
		err = errSomeFailed
	}
	return err
}

// tell prints a finding.
func (x *examination) tell(f finding) error {
	if x.json {
		return x.object(f)
	}
	word := strings.ToUpper(string(f.Level))
	x.say("%-7s  %-14s  %s", word, f.Check, printable(f.Says))
	for _, more := range []string{f.Means, f.Do} {
		if more != "" {
			x.say("%25s  %s", "", printable(more))
		}
	}
	return nil
}
