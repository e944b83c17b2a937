package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"vigie/hashing"
	"vigie/storage"
)

// ErrOlder: the catalogue was written by an earlier version of Vigie, and nobody has migrated it yet.
var ErrOlder = errors.New("catalogue of an earlier version of Vigie")

// Snapshot is a catalogue as it is at one moment, read beside the process that owns it: it is for looking after a catalogue, not
// for serving it. It implements [storage.Catalogue], but for changes. While it is open, the write-ahead log of the catalogue
// grows. Methods are safe for concurrent use and wait for each other.
type Snapshot struct {
	path   string
	db     *sql.DB
	tx     *sql.Tx
	cancel context.CancelFunc
}

// OpenSnapshot reads the catalogue in the SQLite file at path as of now. It changes nothing and locks nobody out. Errors wrap
// [ErrForeign], [ErrNewer] or [ErrOlder] if the file is not a catalogue of this version. Close it.
func OpenSnapshot(ctx context.Context, path string) (_ *Snapshot, err error) {
	s := &Snapshot{path: path}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("read catalogue %s: %w", path, err), s.Close())
		}
	}()
	// SQLite itself reads the header: to close a file is to lose this process's locks on it.
	if s.db, err = connectSQLite(s.path, url.Values{"mode": {"ro"}, "_query_only": {"1"}}); err != nil {
		return s, err
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx)) // a transaction ends with the context that began it
	s.cancel = cancel
	if s.tx, err = s.db.BeginTx(life, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelSerializable}); err != nil {
		return s, err
	}
	var application, version int64 // which fixes the moment, too
	err = s.tx.QueryRowContext(ctx, "PRAGMA application_id").Scan(&application)
	if err == nil {
		err = s.tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
	}
	if fault, ok := errors.AsType[*sqlite.Error](err); ok && fault.Code() == sqlite3.SQLITE_NOTADB || err == nil && application != applicationID {
		return s, ErrForeign
	}
	if err != nil {
		return s, err
	}
	newest, err := newestMigration(sqliteDialect)
	switch {
	case err != nil:
		return s, err
	case version > newest:
		return s, fmt.Errorf("its schema is number %d, this version knows %d: %w", version, newest, ErrNewer)
	case version < newest:
		return s, fmt.Errorf("its schema is number %d, this version needs %d: %w", version, newest, ErrOlder)
	}
	_, err = s.Head(ctx)
	return s, err
}

// Close releases the catalogue.
func (s *Snapshot) Close() error {
	var faults []error
	if s.tx != nil {
		if err := s.tx.Rollback(); !errors.Is(err, sql.ErrTxDone) {
			faults = append(faults, err)
		}
	}
	if s.cancel != nil {
		s.cancel()
	}
	if s.db != nil {
		faults = append(faults, s.db.Close())
	}
	return errors.Join(faults...)
}

// Head implements [storage.Log].
func (s *Snapshot) Head(ctx context.Context) (storage.Head, error) { return readHead(ctx, s.tx) }

// Changes implements [storage.Log].
func (s *Snapshot) Changes(ctx context.Context, after uint64, limit int) ([]storage.Change, error) {
	return readChanges(ctx, s.tx, after, limit)
}

// Wait implements [storage.Log]: a snapshot does not grow, so beyond its head it waits for ctx to end.
func (s *Snapshot) Wait(ctx context.Context, after uint64) error {
	if head, err := s.Head(ctx); err != nil || head.Seq > after {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// View implements [storage.Catalogue].
func (s *Snapshot) View(ctx context.Context, fn func(storage.Reader) error) error {
	return fn(&reader{ctx: ctx, db: s.tx, dialect: sqliteDialect})
}

// Update implements [storage.Catalogue]: it is refused.
func (s *Snapshot) Update(context.Context, func(storage.Writer) error) error {
	return fmt.Errorf("change a snapshot: %w", errors.ErrUnsupported)
}

// Integrity has SQLite examine the whole file: its pages, that indexes and tables agree, and that what a row refers to is there. It
// returns what is wrong, at most some hundred lines; nil if all is right.
func (s *Snapshot) Integrity(ctx context.Context) (faults []string, err error) {
	_, err = list(ctx, s.tx, func(row scanner) (_ struct{}, err error) {
		var line string
		if err = row.Scan(&line); err == nil && line != "ok" {
			faults = append(faults, line)
		}
		return struct{}{}, err
	}, "PRAGMA integrity_check")
	if err == nil {
		_, err = list(ctx, s.tx, func(row scanner) (_ struct{}, err error) {
			var table, parent string
			var id sql.NullInt64 // tables without row ids have none
			if err = row.Scan(&table, &id, &parent); err == nil {
				faults = append(faults, fmt.Sprintf("row %d of %s refers to a row of %s that is not there", id.Int64, table, parent))
			}
			return struct{}{}, err
		}, `SELECT "table", rowid, parent FROM pragma_foreign_key_check LIMIT 100`)
	}
	if fault, ok := errors.AsType[*sqlite.Error](err); ok && fault.Code()&0xff == sqlite3.SQLITE_CORRUPT {
		return append(faults, fault.Error()), nil // too damaged to be examined to the end
	}
	return faults, err
}

// Rows counts the rows of each table of Vigie.
func (s *Snapshot) Rows(ctx context.Context) (map[string]int64, error) {
	tables, err := list(ctx, s.tx, func(row scanner) (name string, err error) {
		err = row.Scan(&name)
		return name, err
	}, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'goose_db_version'")
	rows := map[string]int64{}
	for _, t := range tables {
		var n int64
		if err := s.tx.QueryRowContext(ctx, fmt.Sprintf("SELECT count(*) FROM %q", t)).Scan(&n); err != nil {
			return nil, fmt.Errorf("count %s: %w", t, err)
		}
		rows[t] = n
	}
	return rows, err
}

// SignalCounts counts the signals of all entries, by the name of their algorithm.
func (s *Snapshot) SignalCounts(ctx context.Context) (map[string]int64, error) {
	counts := map[string]int64{}
	_, err := list(ctx, s.tx, func(row scanner) (_ struct{}, err error) {
		var algorithm string
		var n int64
		err = row.Scan(&algorithm, &n)
		counts[algorithm] = n
		return struct{}{}, err
	}, "SELECT algorithm, count(*) FROM entry_signals GROUP BY algorithm")
	return counts, err
}

// MediaRow is what the catalogue says of a blob.
type MediaRow struct {
	SHA256 hashing.Value
	Size   int64
	State  storage.MediaState
	At     time.Time // when it was touched last
}

// Media returns the rows of all blobs, in the order of their SHA-256.
func (s *Snapshot) Media(ctx context.Context) ([]MediaRow, error) {
	rows, err := list(ctx, s.tx, func(row scanner) (m MediaRow, err error) {
		err = row.Scan(valueColumn{&m.SHA256}, &m.Size, &m.State, timeColumn{&m.At})
		return m, err
	}, "SELECT sha256, size, state, at FROM media ORDER BY sha256")
	if err != nil {
		return nil, fmt.Errorf("read the rows of media: %w", err)
	}
	return rows, nil
}

// Unkept returns entries that say that their bytes are kept, though no live row of media has them; at most some hundred.
func (s *Snapshot) Unkept(ctx context.Context) ([]storage.EntryID, error) {
	return list(ctx, s.tx, func(row scanner) (id storage.EntryID, err error) {
		err = row.Scan(&id)
		return id, err
	}, `SELECT id FROM entries e WHERE kept AND NOT EXISTS (
		SELECT 1 FROM media m WHERE m.sha256 = e.sha256 AND m.state = 'live') ORDER BY id LIMIT 100`)
}

// Nodes returns at most n stored nodes of the log's Merkle tree, from an index on (tlog.StoredHashIndex); fewer if one is missing
// or they end.
func (s *Snapshot) Nodes(ctx context.Context, from int64, n int) ([]storage.Hash, error) {
	next := from
	nodes, err := list(ctx, s.tx, func(row scanner) (h storage.Hash, err error) {
		var at int64
		if err := row.Scan(&at, hashColumn{&h}); err != nil {
			return h, err
		}
		if at != next {
			return h, fmt.Errorf("node %d of the tree is missing: %w", next, storage.ErrCorrupt)
		}
		next++
		return h, nil
	}, "SELECT idx, hash FROM log_hashes WHERE idx >= $1 ORDER BY idx LIMIT $2", from, n)
	return nodes, err
}
