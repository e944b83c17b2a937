package sqlstore

import (
	"context"
	"errors"
	"fmt"

	"vigie/storage"
)

// PostgresSnapshot is what [Snapshot] is, of a catalogue in PostgreSQL: as it is at one moment, read beside the processes that
// have it open. While it is open, the server keeps what is replaced or removed meanwhile. It has one connection: it is
// for one goroutine at a time.
type PostgresSnapshot struct{ *Snapshot }

// SnapshotPostgres reads the catalogue in the database that the URL names, as of now. It changes nothing and locks nobody
// out. Errors wrap [ErrForeign], [ErrNewer] or [ErrOlder] if there is no catalogue of this version. Close it.
func SnapshotPostgres(ctx context.Context, url string) (_ *PostgresSnapshot, err error) {
	s := &PostgresSnapshot{&Snapshot{}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("read the catalogue: %w", err), s.Close())
		}
	}()
	version, err := SchemaOfPostgres(ctx, url)
	if err != nil {
		return nil, err
	}
	if version.Has < version.Knows {
		return nil, fmt.Errorf("its schema is number %d, this version needs %d: %w", version.Has, version.Knows, ErrOlder)
	}
	if s.db, err = lookPostgres(url); err != nil {
		return nil, err
	}
	s.db.SetMaxOpenConns(1)
	life, cancel := context.WithCancel(context.WithoutCancel(ctx)) // a transaction ends with the context that began it
	s.cancel = cancel
	if s.tx, err = s.db.BeginTx(life, &postgresDialect.view); err != nil {
		return nil, err
	}
	_, err = s.Head(ctx) // which fixes the moment
	return s, err
}

// View implements [storage.Catalogue].
func (s *PostgresSnapshot) View(ctx context.Context, fn func(storage.Reader) error) error {
	return fn(&reader{ctx: ctx, db: s.tx, dialect: postgresDialect})
}

// Integrity is of SQLite alone: [errors.ErrUnsupported].
func (s *PostgresSnapshot) Integrity(context.Context) ([]string, error) {
	return nil, fmt.Errorf("examine the files of the database: %w", errors.ErrUnsupported)
}

// Rows counts the rows of each table of Vigie.
func (s *PostgresSnapshot) Rows(ctx context.Context) (map[string]int64, error) {
	tables, err := list(ctx, s.tx, func(row scanner) (name string, err error) {
		err = row.Scan(&name)
		return name, err
	}, `SELECT CAST(c.relname AS TEXT) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relkind = 'r' AND c.relname <> 'goose_db_version'`, schema)
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

var _ storage.Catalogue = (*PostgresSnapshot)(nil)
