//go:build !linux

package sandbox

import "syscall"

func sysProcAttr() *syscall.SysProcAttr { return nil }

func limitMemory(int, int64) error { return nil }

func programPath(path string) string { return path }

// stepBack makes what the calling thread starts wait for others, where threads have priorities of their own.
func stepBack() {}
