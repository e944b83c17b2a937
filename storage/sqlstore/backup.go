package sqlstore

import (
	"context"
	"fmt"
	"net/url"

	"vigie/internal/sqlitecopy"
)

// Backup writes the catalogue in the SQLite file at from, as it is at one moment, to a new file at to, and flushes it. The
// process that owns the catalogue goes on reading and writing meanwhile: the copy is one read transaction, so it has each
// commit whole or not at all, and it keeps the write-ahead log from being emptied until it ends. What was deleted is not
// in the copy, not even in free pages. to must not be there yet; if the copy fails, it is not there afterwards.
func Backup(ctx context.Context, from, to string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("copy catalogue %s: %w", from, err)
		}
	}()
	s, err := OpenSnapshot(ctx, from) // which refuses what is not a catalogue
	if err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	// Not query_only, as a snapshot is: SQLite refuses to write even another file then. The file is opened for reading alone.
	db, err := connectSQLite(s.path, url.Values{"mode": {"ro"}})
	if err != nil {
		return err
	}
	return sqlitecopy.To(ctx, db, to)
}
