//go:build !linux

package sandbox

import "syscall"

func sysProcAttr() *syscall.SysProcAttr { return nil }

func limitMemory(int, int64) error { return nil }

func programPath(path string) string { return path }
