package jobs

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"vigie/storage"
)

//go:embed local.sql
var localSchema string

// localMark and localVersion stand in the header of the file: "VIGJ".
const localMark, localVersion = 0x5649474a, 1

var errForeign = errors.New("not a file of Vigie's jobs")

// localEngine is an engine on a SQLite file.
type localEngine struct {
	*handlers
	db      *sql.DB
	writing sync.Mutex               // one transaction at a time
	seen    clock                    // in the last turn; of who writes
	wake    map[string]chan struct{} // of the loops, by kind
	mu      sync.Mutex
	running map[int64]*attempt // by job: the latest attempt at each one
}

// OpenLocal opens the jobs in the file at path, and makes it if there is none; the folder must exist. One process may have it open: that is
// for the lock of its data folder to see to (vigie/storage/datadir). What another process was doing when it ended, is to be done again.
func OpenLocal(ctx context.Context, path string, of map[string]Handler, o Options) (_ Engine, err error) {
	hs, err := newHandlers(of, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open jobs %s: %w", path, err)
		}
	}()
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // for its owner only
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	settings := url.Values{
		"_busy_timeout": {"1000"},
		"_dqs":          {"0"},
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"}, // with less, WAL forgets jobs that were acknowledged when the power fails
		"_txlock":       {"immediate"},
	}
	c, err := sqlite.NewConnector((&url.URL{Scheme: "file", Path: path, RawQuery: settings.Encode()}).String())
	if err != nil {
		return nil, err
	}
	e := &localEngine{handlers: hs, db: sql.OpenDB(c), wake: map[string]chan struct{}{}, running: map[int64]*attempt{}, seen: look()}
	e.db.SetMaxOpenConns(1)
	for kind := range hs.of {
		e.wake[kind] = make(chan struct{}, 1)
	}
	if err := e.prepare(ctx); err != nil {
		return nil, errors.Join(err, e.db.Close())
	}
	return e, nil
}

// prepare makes the table of a new file, and has jobs tried again whose process has ended.
func (e *localEngine) prepare(ctx context.Context) error {
	return e.update(ctx, func(tx *sql.Tx) error {
		var mark, version, tables int
		if err := tx.QueryRowContext(ctx, `SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version),
			(SELECT count(*) FROM sqlite_schema)`).Scan(&mark, &version, &tables); err != nil {
			return err
		}
		switch {
		case mark == 0 && tables == 0:
			stamp := fmt.Sprintf("; PRAGMA application_id = %d; PRAGMA user_version = %d", localMark, localVersion)
			if _, err := tx.ExecContext(ctx, localSchema+stamp); err != nil {
				return err
			}
		case mark != localMark:
			return errForeign
		case version > localVersion:
			return fmt.Errorf("its tables are number %d, of a later version of Vigie; this one knows %d", version, localVersion)
		}
		var ahead int64 // of the clock by which the last job was enqueued; one that is dead says so for ever
		if err := tx.QueryRowContext(ctx, "SELECT COALESCE(max(created), 0) - $1 FROM job WHERE state <> 'dead'", micros(time.Now())).Scan(&ahead); err != nil {
			return err
		}
		if err := setBack(ctx, tx, time.Duration(ahead)*time.Microsecond); err != nil {
			return err
		}
		all, err := collect(tx.QueryContext(ctx, "SELECT id, runs, failed, args, created, kind FROM job WHERE state = 'running'"))
		if err != nil {
			return err
		}
		for _, a := range all {
			h, ok := e.of[a.kind]
			if !ok { // a kind of another version of Vigie
				h.Attempts, h.Backoff = a.failed+1, func(int) time.Duration { return 0 }
			}
			if err := settle(ctx, tx, a.outcome(ctx, h, errors.New("its process has ended"))); err != nil {
				return err
			}
		}
		return nil
	})
}

// update runs a transaction.
func (e *localEngine) update(ctx context.Context, fn func(*sql.Tx) error) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	return e.transact(ctx, fn)
}

// transact is update for who is the one that writes.
func (e *localEngine) transact(ctx context.Context, fn func(*sql.Tx) error) error {
	tx, err := e.db.BeginTx(ctx, nil)
	if err != nil {
		return mapLocal(err)
	}
	if err := fn(tx); err != nil {
		return errors.Join(mapLocal(err), tx.Rollback())
	}
	if err = tx.Commit(); err != nil {
		// After some errors SQLite leaves the transaction open, and database/sql does not know.
		_, _ = e.db.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
	}
	return mapLocal(err)
}

// Enqueue is for Engine.
func (e *localEngine) Enqueue(ctx context.Context, jobs ...Job) error {
	jobs, err := e.check(jobs)
	if err != nil || len(jobs) == 0 {
		return err
	}
	now := time.Now()
	err = e.update(ctx, func(tx *sql.Tx) error {
		insert, err := tx.PrepareContext(ctx, `INSERT INTO job (kind, key, args, at, created) VALUES ($1, NULLIF($2, ''), $3, $4, $5)
			ON CONFLICT (kind, key) WHERE key IS NOT NULL AND state <> 'dead' DO NOTHING`)
		if err != nil {
			return err
		}
		defer insert.Close()
		for _, j := range jobs {
			at := now
			if !j.At.IsZero() {
				at = j.At
			}
			if _, err := insert.ExecContext(ctx, j.Kind, j.Key, []byte(j.Args), micros(at), micros(now)); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		for _, j := range jobs {
			e.rouse(j.Kind)
		}
	}
	return err
}

// rouse has the loop of a kind take a turn.
func (e *localEngine) rouse(kind string) {
	select {
	case e.wake[kind] <- struct{}{}:
	default:
	}
}

// Dead is for Engine.
func (e *localEngine) Dead(ctx context.Context, kind string, after int64, limit int) ([]Dead, error) {
	if err := checkPage(limit); err != nil {
		return nil, err
	}
	return e.dead(ctx, kind, after, limit, "")
}

// dead lists those that a further condition, in which arguments begin at $4, is true of.
func (e *localEngine) dead(ctx context.Context, kind string, after int64, limit int, where string, args ...any) ([]Dead, error) {
	rows, err := e.db.QueryContext(ctx, `SELECT id, args, COALESCE(error, ''), runs, created, died FROM job
		WHERE kind = $1 AND state = 'dead' AND id > $2`+where+` ORDER BY id LIMIT $3`, append([]any{kind, after, limit}, args...)...)
	if err != nil {
		return nil, mapLocal(err)
	}
	defer rows.Close()
	var all []Dead
	for rows.Next() {
		d := Dead{Kind: kind}
		var args []byte
		var created, died int64
		if err := rows.Scan(&d.ID, &args, &d.Error, &d.Attempts, &created, &died); err != nil {
			return nil, mapLocal(err)
		}
		d.Args, d.Created, d.Died = args, fromMicros(created), fromMicros(died)
		all = append(all, d)
	}
	return all, mapLocal(rows.Err())
}

// Replay is for Engine.
func (e *localEngine) Replay(ctx context.Context, id int64) error {
	var kind string
	err := e.update(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "UPDATE job SET state = 'waiting', at = $2, created = $2, failed = 0, died = NULL WHERE id = $1 AND state = 'dead' RETURNING kind",
			id, micros(time.Now())).Scan(&kind)
	})
	if answer, ok := errors.AsType[*sqlite.Error](err); ok && answer.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE {
		return fmt.Errorf("replay job %d: another one with its key waits or runs: %w", id, storage.ErrExists)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("replay job %d: no dead job has this id: %w", id, storage.ErrNotFound)
	}
	e.rouse(kind)
	return err
}

// Drop is for Engine.
func (e *localEngine) Drop(ctx context.Context, kind, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	var gone []*attempt
	err := e.update(ctx, func(tx *sql.Tx) (err error) {
		gone, err = collect(tx.QueryContext(ctx, "DELETE FROM job WHERE kind = $1 AND key = $2 RETURNING id, runs, failed, args, created, kind", kind, key))
		return err
	})
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, g := range gone {
		if a := e.running[g.ID]; a != nil {
			a.cancel()
		}
	}
	return nil
}

// Stats is for Engine.
func (e *localEngine) Stats(ctx context.Context) (map[string]Stats, error) {
	all := map[string]Stats{}
	for kind := range e.of {
		var s Stats
		var oldest sql.NullInt64
		err := e.db.QueryRowContext(ctx, `SELECT count(*) FILTER (WHERE state = 'waiting'), count(*) FILTER (WHERE state = 'running'),
			count(*) FILTER (WHERE state = 'dead'), min(at) FILTER (WHERE state = 'waiting' AND at <= $2) FROM job WHERE kind = $1`,
			kind, micros(time.Now())).Scan(&s.Waiting, &s.Running, &s.Dead, &oldest)
		if err != nil {
			return nil, mapLocal(err)
		}
		if oldest.Valid {
			s.Oldest = fromMicros(oldest.Int64)
		}
		all[kind] = s
	}
	return all, nil
}

// Close is for Engine.
func (e *localEngine) Close() error { return e.db.Close() }

func micros(t time.Time) int64      { return t.UnixMicro() }
func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

// mapLocal names the errors of SQLite that callers know.
func mapLocal(err error) error {
	if answer, ok := errors.AsType[*sqlite.Error](err); ok {
		switch answer.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			return fmt.Errorf("%w: %w", storage.ErrLocked, err)
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR:
			return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
		}
	}
	return err
}
