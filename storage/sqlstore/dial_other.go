//go:build !linux

package sqlstore

import "syscall"

// boundUnanswered is for Linux.
func boundUnanswered(string, string, syscall.RawConn) error { return nil }
