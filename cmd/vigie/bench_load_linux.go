package main

import (
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// apart starts a node on one half of the processors, and leaves the other half to this process, until all is
// called: who measures on the processors that it measures adds its own load to the figures. The number is that of the node's; 0
// if there are too few, and start was called without more ado.
func apart(start func() error) (processors int, all func(), err error) {
	var every, node, own unix.CPUSet
	if unix.SchedGetaffinity(0, &every) != nil || every.Count() < 2 {
		return 0, func() {}, start()
	}
	for cpu, left := 0, every.Count(); left > 0; cpu++ {
		if !every.IsSet(cpu) {
			continue
		}
		if left > every.Count()/2 {
			node.Set(cpu)
		} else {
			own.Set(cpu)
		}
		left--
	}
	runtime.LockOSThread()
	_ = unix.SchedSetaffinity(0, &node) // which a child inherits
	err = start()
	keep(&own)
	runtime.UnlockOSThread()
	return node.Count(), func() { keep(&every) }, err
}

// keep puts all threads of this process on some processors; those that come later are begun by one of them.
func keep(on *unix.CPUSet) {
	threads, _ := os.ReadDir("/proc/self/task")
	for _, t := range threads {
		if id, err := strconv.Atoi(t.Name()); err == nil {
			_ = unix.SchedSetaffinity(id, on)
		}
	}
}
