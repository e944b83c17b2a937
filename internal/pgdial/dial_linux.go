package pgdial

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// boundUnanswered has a connection end when what was sent is not acknowledged for half a minute; by itself, Linux goes on for a
// quarter of an hour, and keep-alive says nothing meanwhile.
func boundUnanswered(network, _ string, c syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var err error
	err2 := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 30_000)
	})
	return errors.Join(err, err2)
}
