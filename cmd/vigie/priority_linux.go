package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// idlePriority is the nice value of a worker: of a processor that others want as well it gets about one part in 70.
const idlePriority = 19

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
			if err := syscall.Setpriority(syscall.PRIO_PROCESS, id, idlePriority); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("lower the priority: %w", err)
			}
			done[t.Name()], more = true, true
		}
	}
	return nil
}
