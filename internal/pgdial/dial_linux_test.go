package pgdial

import (
	"net"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDial: a connection ends by itself when its peer is gone, whether there is something that it has not acknowledged or not.
func TestDial(t *testing.T) {
	t.Parallel()
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "socket")} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c, err := Dial(t.Context(), network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if network == "unix" {
			continue
		}
		raw, err := c.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = raw.Control(func(fd uintptr) {
			for _, o := range []struct{ level, name, want int }{
				{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 30_000}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 10},
			} {
				if got, err := unix.GetsockoptInt(int(fd), o.level, o.name); err != nil || got != o.want {
					t.Errorf("option %d is %d, not %d: %v", o.name, got, o.want, err)
				}
			}
		})
		if err != nil {
			t.Error(err)
		}
	}
}
