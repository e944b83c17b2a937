// Package datadir claims the data folder of a node: one process at a time.
package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"vigie/storage"
)

// LockName is the file in the data folder that carries the lock. Its content means nothing, and it
// stays when the lock is gone.
const LockName = "LOCK"

// Lock is the claim on a data folder. The system drops it when the process ends, however it ends.
type Lock struct{ file *os.File }

// LockFolder makes the folder, for its owner only, if there is none, and claims it.
// storage.ErrLocked says that somebody holds it, in another process or in this one.
func LockFolder(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, LockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock folder: %w", err)
	}
	if err := flock(file); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = storage.ErrLocked
		}
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), file.Close())
	}
	return &Lock{file}, nil
}

// Close gives the folder up.
func (l *Lock) Close() error { return l.file.Close() }

// flock claims the file without waiting. The claim belongs to the open file, so that a second one in
// the same process fails as well.
func flock(file *os.File) error {
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != syscall.EINTR {
			return err
		}
	}
}
