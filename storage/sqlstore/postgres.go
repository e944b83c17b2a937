package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"vigie/internal/pgdial"
	"vigie/storage"
)

// A catalogue has the schema vigie of a database to itself. Every session sets all that it relies on, whatever the
// server, the database or the URL say.
const (
	schema = "vigie"
	// channel is where commits that appended to the log are told of.
	channel = "vigie_changes"
	// migrating is the advisory lock of who looks at the schema and migrates it.
	migrating = 0x56494749
	// A migration that waits for a lock has everybody behind it wait. So it lets go after a while, and tries again after
	// another, so many times.
	migrationWait, migrationPause, migrationTries = 3 * time.Second, time.Second, 10
	// maxReaders is how many connections a store reads with at most; it has one to write and one to listen, besides.
	maxReaders = 12
)

var postgresDialect = dialect{
	migrations: "migrations/postgres",
	goose:      goose.DialectPostgres,
	idList:     "SELECT CAST(value AS BIGINT) AS id FROM json_array_elements_text(CAST(%s AS JSON))",
	textList:   "SELECT value FROM json_array_elements_text(CAST(%s AS JSON)) AS t(value)",
	takeHead:   " FOR UPDATE",
	newIDs: map[*table]string{
		entriesTable: sequence("entries", "id"), matchesTable: sequence("matches", "ord"), signInsTable: sequence("sign_ins", "ord"),
	},
	arrays:    true,
	schema:    postgresSchema,
	clock:     "SELECT CAST(FLOOR(EXTRACT(EPOCH FROM now()) * 1000) AS BIGINT)",
	notify:    "SELECT pg_notify('" + channel + "', '')",
	view:      sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead},
	hold:      100 * time.Millisecond,
	limit:     30 * time.Second,
	turn:      5 * time.Second,
	away:      away,
	lost:      lost,
	undecided: undecided,
}

// OpenPostgres opens the catalogue in the database that the URL names (postgres://user:password@host:port/database, or what
// else libpq understands), and makes it if there is none. Of several hosts (postgres://one:5432,two:5432/database) the first is taken
// that can be written to, now and each time that a connection is made. A pooler in between must pool sessions. Older catalogues are migrated, by one process at a
// time. Any number of processes may have it open. Errors wrap [ErrForeign], [ErrNewer] or [ErrPooler] if the database is left
// untouched for that reason.
func OpenPostgres(ctx context.Context, url string, o storage.Options) (_ *Store, err error) {
	config, err := pgx.ParseConfig(url) // its error shows no password
	if err != nil {
		return nil, fmt.Errorf("open catalogue: %w", err)
	}
	defer func() {
		if err == nil {
			return
		}
		said := short(err)
		if poolers(err) {
			said = fmt.Errorf("%w: %w", ErrPooler, said)
		}
		err = fmt.Errorf("open catalogue in database %s at %s: %w",
			config.Database, net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))), said)
	}()
	if err := preparePostgres(ctx, config); err != nil {
		return nil, err
	}
	writer := sql.OpenDB(pipelines{stdlib.GetConnector(*sessionOf(config, map[string]string{
		"statement_timeout":                   "30s",
		"lock_timeout":                        "10s",
		"idle_in_transaction_session_timeout": "5s", // a process that stands still, or is cut off, lets go of the head
		"default_transaction_isolation":       "read committed",
		"default_transaction_read_only":       "off",
	}))})
	writer.SetMaxOpenConns(1)
	reader := connectPostgres(config, map[string]string{
		"statement_timeout":                   "1min",
		"lock_timeout":                        "10s",
		"idle_in_transaction_session_timeout": "10min",
		"default_transaction_read_only":       "on",
	})
	reader.SetMaxOpenConns(maxReaders)
	reader.SetMaxIdleConns(maxReaders)
	reader.SetConnMaxIdleTime(5 * time.Minute)
	s, err := start(ctx, writer, reader, postgresDialect, o)
	if err != nil {
		return nil, errors.Join(err, reader.Close(), writer.Close())
	}
	s.listen(context.WithoutCancel(ctx), sessionOf(config, nil)) // Close ends it
	return s, nil
}

// sessionOf is how every session is set up, with further settings.
func sessionOf(config *pgx.ConnConfig, settings map[string]string) *pgx.ConnConfig {
	c := config.Copy()
	maps.Copy(c.RuntimeParams, map[string]string{
		"application_name": "vigie",
		"search_path":      schema + ", pg_temp",
		// With less, a server that crashes forgets acknowledged commits.
		"synchronous_commit": "on",
		"client_encoding":    "UTF8",
		// Every query on what can be large has its index. A plan that was made, and kept, while a table was small must not go
		// without it when the table has grown.
		"enable_seqscan": "off",
		"jit":            "off",
	})
	maps.Copy(c.RuntimeParams, settings)
	c.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 5 * time.Second
	}
	c.DialFunc = pgdial.Dial
	c.ValidateConnect = fit
	return c
}

// fit refuses a server that cannot be written to, so that the next one of the URL is tried, whatever its target_session_attrs; and one
// where the settings above do not hold.
func fit(ctx context.Context, conn *pgconn.PgConn) error {
	answer := conn.ExecParams(ctx, `SELECT pg_is_in_recovery(), current_setting('search_path') = $1 AND current_setting('synchronous_commit') = 'on'
		AND current_setting('application_name') = 'vigie'`, [][]byte{[]byte(schema + ", pg_temp")}, nil, nil, nil).Read()
	switch {
	case answer.Err != nil:
		return answer.Err
	case len(answer.Rows) != 1 || string(answer.Rows[0][0]) != "f":
		return errors.New("the server is a standby, which cannot be written to")
	case string(answer.Rows[0][1]) != "t":
		return fmt.Errorf("%w: the settings of the session do not hold", ErrPooler)
	}
	return nil
}

// poolers reports whether an error is what pgbouncer answers to settings that it does not pass on. It gives most of what it says the
// same code: that it has too many clients, or no server, will pass.
func poolers(err error) bool {
	answer, ok := errors.AsType[*pgconn.PgError](err)
	return ok && answer.Code == "08P01" && strings.HasPrefix(answer.Message, "unsupported startup parameter")
}

// connectPostgres makes a pool of sessions.
func connectPostgres(config *pgx.ConnConfig, settings map[string]string) *sql.DB {
	return stdlib.OpenDB(*sessionOf(config, settings))
}

// short shows of a connection that the server has refused what it said, and not all the ways in which a connection was tried.
func short(err error) error {
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok && connecting {
		return shortError{err, answer}
	}
	return err
}

// shortError is an error with the text of its cause.
type shortError struct{ error, cause error }

func (e shortError) Error() string { return e.cause.Error() }
func (e shortError) Unwrap() error { return e.error }

// preparePostgres makes sure that the schema is ours, and of this version. Processes that start together do it one after
// the other.
func preparePostgres(ctx context.Context, config *pgx.ConnConfig) (err error) {
	db := connectPostgres(config, map[string]string{
		"statement_timeout": "0", "lock_timeout": strconv.FormatInt(migrationWait.Milliseconds(), 10), "default_transaction_read_only": "off",
	})
	defer func() { err = errors.Join(err, db.Close()) }() // which unlocks, too
	lock, err := db.Conn(ctx)
	if err != nil {
		return postgresDialect.explain(err, nil)
	}
	defer lock.Close()
	if _, err = lock.ExecContext(ctx, "SET lock_timeout = 0"); err == nil { // as long as it takes: nobody else is behind this one
		_, err = lock.ExecContext(ctx, "SELECT pg_advisory_lock($1)", int64(migrating))
	}
	if err != nil {
		return fmt.Errorf("wait for other processes to migrate: %w", err)
	}
	if err := claimPostgres(ctx, lock); err != nil {
		return err
	}
	for tries := 1; ; tries++ {
		err := migrate(ctx, db, postgresDialect)
		if answer, ok := errors.AsType[*pgconn.PgError](err); !ok || answer.Code != "55P03" || tries == migrationTries {
			return err
		}
		select {
		case <-time.After(migrationPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// claimPostgres makes sure that the schema is ours to write: it makes a new one and refuses others.
func claimPostgres(ctx context.Context, db queryer) error {
	var encoding string
	if err := db.QueryRowContext(ctx, "SHOW server_encoding").Scan(&encoding); err != nil {
		return err
	}
	if encoding != "UTF8" {
		return fmt.Errorf("its encoding is %s, it has to be UTF8", encoding)
	}
	var there bool
	err := db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)", schema).Scan(&there)
	if err != nil {
		return err
	}
	if !there {
		_, err := db.ExecContext(ctx, "CREATE SCHEMA "+schema)
		return err
	}
	tables, err := list(ctx, db, func(row scanner) (name string, err error) {
		err = row.Scan(&name)
		return name, err
	}, `SELECT CAST(c.relname AS TEXT) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')`, schema)
	if err != nil {
		return err
	}
	const versions, mark = "goose_db_version", "log_head"
	if len(tables) == 0 || len(tables) == 1 && tables[0] == versions { // or who made it died before it had anything
		return nil
	}
	if !slices.Contains(tables, versions) || !slices.Contains(tables, mark) {
		return fmt.Errorf("its schema %s has other tables: %w", schema, ErrForeign)
	}
	newest, err := newestMigration(postgresDialect)
	if err != nil {
		return err
	}
	var version int64
	err = db.QueryRowContext(ctx, "SELECT COALESCE(MAX(version_id), 0) FROM "+schema+"."+versions+" WHERE is_applied").Scan(&version)
	if err == nil && version > newest {
		err = fmt.Errorf("its schema is number %d, this version knows %d: %w", version, newest, ErrNewer)
	}
	return err
}

// listen wakes those who wait whenever somebody has committed. It is a hint: what it misses while it has no connection,
// those who wait see when they look.
func (s *Store) listen(ctx context.Context, config *pgx.ConnConfig) {
	ctx, cancel := context.WithCancel(ctx)
	var ended sync.WaitGroup
	ended.Go(func() {
		for ctx.Err() == nil {
			s.hear(ctx, config)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	})
	s.unlisten = func() {
		cancel()
		ended.Wait()
	}
}

// hear listens until the connection is lost or ctx ends.
func (s *Store) hear(ctx context.Context, config *pgx.ConnConfig) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, "LISTEN "+channel)
	for err == nil {
		s.announceCommit() // first of all for what was committed before it listened
		_, err = conn.WaitForNotification(ctx)
	}
}

// lost tells whether a connection is closed.
func lost(conn *sql.Conn) bool {
	closed := true
	err := conn.Raw(func(c any) error {
		closed = c.(interface{ Conn() *pgx.Conn }).Conn().IsClosed()
		return nil
	})
	return err != nil || closed
}

// away is for the dialect. An answer of the server counts if it is about the server or what it is busy with, and not about what
// it was asked.
func away(err error, conn *sql.Conn) bool {
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch answer.Code[:2] {
		case "08", // connections
			// Deadlocks, which only a migration, or somebody's own DDL, can cause: writers have the head of the log before anything
			// else, and at read committed nothing fails to serialise. They are so rare that the caller may try again.
			"40",
			"53", // disk or memory full, too many connections
			"57", // shut down, starting, taking too long
			"58": // its disk
			return true
		}
		switch answer.Code {
		case "25006", // read only: not the primary (any more)
			"25P03", // idle in a transaction for too long
			"55P03": // waited for a lock for too long
			return true
		}
		return conn == nil // what it says to who connects: no such user, no such database
	}
	return conn == nil || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || lost(conn)
}

// undecided is for the dialect: the server has not said that it rolled back, and may have got the COMMIT. Whether pgx calls the
// error safe to retry says nothing: it does so, too, when the connection ended before the answer.
func undecided(err error) bool {
	if errors.Is(err, errUnsent) || errors.Is(err, pgx.ErrTxCommitRollback) {
		return false
	}
	answer, ok := errors.AsType[*pgconn.PgError](err)
	return !ok || answer.SeverityUnlocalized != "ERROR"
}
