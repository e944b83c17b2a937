package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"

	"vigie/storage"
)

var (
	// ErrForeign: the file is not a catalogue of Vigie.
	ErrForeign = errors.New("not a Vigie catalogue")
	// ErrNewer: the catalogue was written by a later version of Vigie.
	ErrNewer = errors.New("catalogue of a later version of Vigie")
	// ErrPooler: sessions are not as they have to be.
	ErrPooler = errors.New("a pooler stands between here and PostgreSQL, and does not pass on the settings of a session; accepted is a connection to PostgreSQL itself")
)

//go:embed migrations
var migrations embed.FS

// applicationID marks SQLite files as Vigie's: "VIGI".
const applicationID = 0x56494749

// OpenSQLite opens the catalogue in the file at path, and makes it if there is none or the file is
// empty; the folder must exist. Older catalogues are migrated. The file is readable by its owner
// only. Errors wrap [ErrForeign] or [ErrNewer] if the file is left untouched for that reason.
func OpenSQLite(ctx context.Context, path string, o storage.Options) (_ *Store, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open catalogue %s: %w", path, err)
		}
	}()
	if err := claimSQLite(ctx, path); err != nil {
		return nil, err
	}
	writer, err := connectSQLite(path, url.Values{
		"_journal_mode": {"WAL"},
		// With less, WAL forgets acknowledged commits when the power fails.
		"_synchronous": {"FULL"},
		"_txlock":      {"immediate"},
	})
	if err != nil {
		return nil, err
	}
	writer.SetMaxOpenConns(1)
	if err := migrate(ctx, writer, sqliteDialect); err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	reader, err := connectSQLite(path, url.Values{"_query_only": {"1"}})
	if err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	procs := runtime.GOMAXPROCS(0)
	reader.SetMaxIdleConns(max(4, 2*procs))
	// A crowd of readers queues here, each as long as its context lets it, instead of opening files and
	// caches without end.
	reader.SetMaxOpenConns(max(8, 4*procs))
	s, err := start(ctx, writer, reader, sqliteDialect, o)
	if err != nil {
		return nil, errors.Join(err, reader.Close(), writer.Close())
	}
	return s, nil
}

// connectSQLite makes a pool of connections that share the settings every connection needs. The
// driver applies _busy_timeout before all others. In a file's URL a relative path would be a host.
func connectSQLite(path string, settings url.Values) (*sql.DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	settings.Set("_busy_timeout", "10000")
	settings.Set("_foreign_keys", "1")
	settings.Set("_dqs", "0")
	name := url.URL{Scheme: "file", Path: path, RawQuery: settings.Encode()}
	c, err := sqlite.NewConnector(name.String())
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(c), nil
}

// claimSQLite makes sure that the file is ours to write: it stamps a new one and refuses others,
// reading no more than the header of a file that is not ours.
func claimSQLite(ctx context.Context, path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	header := make([]byte, 72)
	n, err := io.ReadFull(file, header)
	if err := errors.Join(file.Close(), ignore(err, io.EOF, io.ErrUnexpectedEOF)); err != nil {
		return err
	}
	if n == 0 {
		return stampSQLite(ctx, path)
	}
	if !bytes.HasPrefix(header, []byte("SQLite format 3\x00")) || binary.BigEndian.Uint32(header[68:]) != applicationID {
		return ErrForeign
	}
	newest, err := newestMigration(sqliteDialect)
	if err != nil {
		return err
	}
	db, err := connectSQLite(path, url.Values{"mode": {"ro"}})
	if err != nil {
		return err
	}
	defer db.Close()
	var version int64
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > newest {
		return fmt.Errorf("its schema is number %d, this version knows %d: %w", version, newest, ErrNewer)
	}
	return nil
}

// stampSQLite writes the header of a new file. It comes before the write-ahead log is switched on, so
// that the mark is in the file itself whatever happens afterwards.
func stampSQLite(ctx context.Context, path string) error {
	db, err := connectSQLite(path, url.Values{"_synchronous": {"FULL"}})
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID))
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

func migrate(ctx context.Context, db *sql.DB, d dialect) error {
	files, err := fs.Sub(migrations, d.migrations)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(d.goose, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// newestMigration is the number of the last migration that this binary has.
func newestMigration(d dialect) (newest int64, err error) {
	files, err := fs.Glob(migrations, d.migrations+"/*.sql")
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		n, err := goose.NumericComponent(f)
		if err != nil {
			return 0, err
		}
		newest = max(newest, n)
	}
	return newest, nil
}

// ignore drops an error that is one of the expected ones.
func ignore(err error, expected ...error) error {
	for _, e := range expected {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}
