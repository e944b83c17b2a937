package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// idle is the policy of a worker: whoever else wakes up has its processor at once, and while others want all of them it gets about one part
// in 300. A nice value of 19 alone would have others wait for the end of its turn, some milliseconds. See sched(7).
var idle = unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE, Nice: 19}

// stepBack has all threads of this process, and what they start, run when nobody else on the machine wants a processor.
func stepBack() error {
	done := map[string]bool{}
	for more := true; more; { // a thread may have started another meanwhile
		more = false
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("list the threads: %w", err)
		}
		for _, t := range threads {
			id, err := strconv.Atoi(t.Name())
			if err != nil || done[t.Name()] {
				continue
			}
			if err := unix.SchedSetAttr(id, &idle, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("lower the priority: %w", err)
			}
			done[t.Name()], more = true, true
		}
	}
	return nil
}
