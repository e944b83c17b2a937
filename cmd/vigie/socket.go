package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// The socket in a data folder. Only its owner can reach it: the folder is private to the user.

// maxSocketPath is what the kernel accepts as the path of a socket, less a reserve (unix(7): 108 bytes).
const maxSocketPath = 100

// socketPath is a path to the folder's socket that is short enough; release it after use.
func socketPath(data string) (path string, release func(), err error) {
	path = filepath.Join(data, socketFile)
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := os.Open(data)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socketFile), func() { _ = dir.Close() }, nil
}

// listenSocket takes the place of a socket that a dead process left. Its caller owns the folder.
func listenSocket(data string) (net.Listener, error) {
	path, release, err := socketPath(data)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("remove the old socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on the socket of the data folder: %w", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // the path may be gone by then; the next owner removes it
	return l, os.Chmod(path, 0o600)
}

// dialSocket connects to whoever owns the folder.
func dialSocket(ctx context.Context, data string) (net.Conn, error) {
	path, release, err := socketPath(data)
	if err != nil {
		return nil, err
	}
	defer release()
	return new(net.Dialer).DialContext(ctx, "unix", path)
}
