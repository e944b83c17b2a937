//go:build !linux

package pgdial

import "syscall"

// boundUnanswered is for Linux.
func boundUnanswered(string, string, syscall.RawConn) error { return nil }
