package sqlstore

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"vigie/storage"
)

// Schema is how far a catalogue was migrated: [OpenSQLite] and [OpenPostgres] take it to Knows.
type Schema struct {
	Has   int64 // number of the last migration that was applied; 0: there is no catalogue yet
	Knows int64 // number of the last that this program has
}

// SchemaOfSQLite reads the schema of the catalogue in the file at path; it changes nothing. A file that is not there has
// none. Errors wrap [ErrForeign] or [ErrNewer].
func SchemaOfSQLite(ctx context.Context, path string) (s Schema, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("read the schema of catalogue %s: %w", path, err)
		}
	}()
	if s.Knows, err = newestMigration(sqliteDialect); err != nil {
		return s, err
	}
	if info, err := os.Stat(path); errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0 {
		return s, nil
	}
	db, err := connectSQLite(path, url.Values{"mode": {"ro"}, "_query_only": {"1"}})
	if err != nil {
		return s, err
	}
	defer db.Close()
	var application int64
	err = db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&application)
	if fault, ok := errors.AsType[*sqlite.Error](err); ok && fault.Code() == sqlite3.SQLITE_NOTADB || err == nil && application != applicationID {
		return s, ErrForeign
	}
	if err == nil {
		err = db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&s.Has)
	}
	return s, s.known(err)
}

// SchemaOfPostgres reads the schema of the catalogue in a database; it changes nothing. Errors wrap [ErrForeign] or [ErrNewer].
func SchemaOfPostgres(ctx context.Context, url string) (s Schema, err error) {
	if s.Knows, err = newestMigration(postgresDialect); err != nil {
		return s, err
	}
	db, err := lookPostgres(url)
	if err != nil {
		return s, err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, nil)
	if err == nil {
		defer tx.Rollback() // and with it what claimPostgres makes
		s.Has, err = schemaIn(ctx, tx)
	}
	if err = s.known(err); err != nil {
		err = fmt.Errorf("read the schema of the catalogue: %w", err)
	}
	return s, err
}

func (s Schema) known(err error) error {
	if err == nil && s.Has > s.Knows {
		err = fmt.Errorf("its schema is number %d, this version knows %d: %w", s.Has, s.Knows, ErrNewer)
	}
	return err
}

// lookPostgres makes a pool of sessions to look at a catalogue in a database, for as long as it takes.
func lookPostgres(url string) (*sql.DB, error) {
	config, err := pgx.ParseConfig(url) // its error shows no password
	if err != nil {
		return nil, err
	}
	return connectPostgres(config, map[string]string{
		"statement_timeout": "0", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "0", "default_transaction_read_only": "off",
	}), nil
}

// schemaIn is the number of the last migration in the database, or 0; an error if the schema is not ours. It may make the
// schema: its transaction is to be rolled back.
func schemaIn(ctx context.Context, tx *sql.Tx) (version int64, err error) {
	if err := claimPostgres(ctx, tx); err != nil {
		return 0, err
	}
	var migrated bool
	const table = schema + ".goose_db_version"
	if err := tx.QueryRowContext(ctx, "SELECT to_regclass($1) IS NOT NULL", table).Scan(&migrated); err != nil || !migrated {
		return 0, err
	}
	err = tx.QueryRowContext(ctx, "SELECT COALESCE(MAX(version_id), 0) FROM "+table+" WHERE is_applied").Scan(&version)
	return version, err
}

// Passing reports whether [OpenPostgres] failed for a reason that may pass by itself: the server is not there, is starting, or
// has too much to do. A wrong password or certificate, a database that is not there, or one of others do not pass,
// nor does a pooler that is in the way.
func Passing(err error) bool {
	if errors.Is(err, ErrForeign) || errors.Is(err, ErrNewer) || errors.Is(err, ErrPooler) || poolers(err) {
		return false
	}
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok {
		return away(answer, &sql.Conn{})
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false
	}
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	_, network := errors.AsType[net.Error](err)
	return connecting || network || errors.Is(err, storage.ErrUnavailable)
}

// PlaceOf says where the database of a URL is, without its user and password: "database vigie at db.example:5432".
func PlaceOf(url string) (string, error) {
	config, err := pgx.ParseConfig(url) // its error shows no password
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("database %s at %s", config.Database, net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))), nil
}
