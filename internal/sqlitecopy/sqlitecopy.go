// Package sqlitecopy copies SQLite files beside the process that has them open.
package sqlitecopy

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// To writes what db has at one moment to a new file at to, and flushes it. The copy is one read transaction, so it has each commit whole or
// not at all, and it keeps the write-ahead log from being emptied until it ends. What was deleted is not in the copy, not even in
// free pages. to must not be there yet (os.ErrExist); if the copy fails, it is not there afterwards. db must not be query_only: SQLite
// refuses to write even another file then. It is closed.
func To(ctx context.Context, db *sql.DB, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return errors.Join(fmt.Errorf("%s: %w", to, os.ErrExist), db.Close())
	}
	_, err := db.ExecContext(ctx, "VACUUM INTO $1", to)
	if err = errors.Join(err, db.Close()); err == nil {
		err = errors.Join(os.Chmod(to, 0o600), flush(to), flush(filepath.Dir(to)))
	}
	if err != nil {
		_ = os.Remove(to)
		_ = os.Remove(to + "-journal")
	}
	return err
}

// flush brings a file or a folder to the disk.
func flush(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
