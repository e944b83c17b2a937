package jobs

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"modernc.org/sqlite"

	"vigie/internal/sqlitecopy"
)

// Jobs go with the catalogue of which they were made: into its backup, and where it is copied to.

// Copied counts what [Copy] has copied.
type Copied struct {
	Waiting int // those under way included
	Dead    int
	Unknown int // of kinds that have no handler, as they are another version's: they are not there
}

// Copy has all jobs of one engine kept by another, and nothing else: what that one had before is removed. Jobs under way wait there, those
// that wait count as enqueued now, the dead are dead as they were; all get new numbers. Neither engine runs meanwhile.
func Copy(ctx context.Context, from, to Engine) (c Copied, err error) {
	source, here := from.(keeper)
	target, there := to.(keeper)
	if !here || !there {
		return c, fmt.Errorf("copy jobs: %w: not engines of this package", errors.ErrUnsupported)
	}
	if err = target.clear(ctx); err == nil {
		err = source.pages(ctx, func(page []kept) error {
			var waiting []Job
			var dead []kept
			for _, k := range page {
				switch {
				case !target.knows(k.Kind):
					c.Unknown++
				case k.dead != nil:
					dead = append(dead, k)
				default:
					waiting = append(waiting, k.Job)
				}
			}
			n, err := target.keepDead(ctx, dead)
			c.Waiting, c.Dead = c.Waiting+len(waiting), c.Dead+n
			return errors.Join(err, to.Enqueue(ctx, waiting...))
		})
	}
	if err != nil {
		return c, fmt.Errorf("copy jobs: %w", err)
	}
	return c, nil
}

// kept is a job as engines keep it.
type kept struct {
	Job
	dead *Dead // nil: it waits, or runs
}

// copyPage is how many jobs are copied at a time.
const copyPage = 500

// keeper is an engine whose jobs can be copied.
type keeper interface {
	knows(kind string) bool
	clear(ctx context.Context) error
	// pages has all jobs that are not done, nor dropped while they run, by id.
	pages(ctx context.Context, each func([]kept) error) error
	// keepDead says how many it keeps: not one with whose key another waits, where there is one of a key.
	keepDead(ctx context.Context, dead []kept) (n int, err error)
}

func (hs *handlers) knows(kind string) bool {
	_, ok := hs.of[kind]
	return ok
}

func (e *localEngine) clear(ctx context.Context) error {
	_, err := e.exec(ctx, "DELETE FROM job")
	return err
}

func (e *localEngine) pages(ctx context.Context, each func([]kept) error) error {
	return inPages(each, func(after int64) (all []kept, last int64, err error) {
		rows, err := e.db.QueryContext(ctx, `SELECT id, kind, COALESCE(key, ''), args, at, state = 'dead', COALESCE(error, ''), runs, created, COALESCE(died, 0)
			FROM job WHERE id > $1 ORDER BY id LIMIT $2`, after, copyPage)
		if err != nil {
			return nil, 0, mapLocal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var k kept
			var d Dead
			var at, created, died int64
			var args []byte
			var dead bool
			if err := rows.Scan(&last, &k.Kind, &k.Key, &args, &at, &dead, &d.Error, &d.Attempts, &created, &died); err != nil {
				return nil, 0, mapLocal(err)
			}
			k.Args, k.At = args, fromMicros(at)
			if d.Created, d.Died = fromMicros(created), fromMicros(died); dead {
				k.dead = &d
			}
			all = append(all, k)
		}
		return all, last, mapLocal(rows.Err())
	})
}

func (e *localEngine) keepDead(ctx context.Context, dead []kept) (int, error) {
	return len(dead), e.update(ctx, func(tx *sql.Tx) error {
		for _, k := range dead {
			_, err := tx.ExecContext(ctx, `INSERT INTO job (kind, key, args, state, at, runs, error, created, died) VALUES ($1, NULLIF($2, ''), $3, 'dead', $4, $5, $6, $7, $8)`,
				k.Kind, k.Key, []byte(k.Args), micros(k.At), k.dead.Attempts, k.dead.Error, micros(k.dead.Created), micros(k.dead.Died))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (e *riverEngine) clear(ctx context.Context) error {
	_, err := e.pool.Exec(ctx, "DELETE FROM river_job")
	return mapError(ctx, err)
}

func (e *riverEngine) pages(ctx context.Context, each func([]kept) error) error {
	return inPages(each, func(after int64) (all []kept, last int64, err error) {
		rows, err := e.pool.Query(ctx, `SELECT id, queue, COALESCE(args->>'key', ''), COALESCE(args->>'args', ''), scheduled_at, `+dead+`,
			COALESCE(errors[array_upper(errors, 1)]->>'error', ''), COALESCE((metadata->>'runs')::int, 0), created_at, COALESCE(finalized_at, created_at)
			FROM river_job WHERE id > $1 AND (`+waiting+` OR state = 'running' AND NOT metadata ? 'cancel_attempted_at' OR `+dead+`) ORDER BY id LIMIT $2`, after, copyPage)
		if err != nil {
			return nil, 0, mapError(ctx, err)
		}
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (k kept, err error) {
			var d Dead
			var args string
			var dead bool
			err = row.Scan(&last, &k.Kind, &k.Key, &args, &k.At, &dead, &d.Error, &d.Attempts, &d.Created, &d.Died)
			k.Args = json.RawMessage(args)
			if d.Error = causeOf(d.Error); dead {
				k.dead = &d
			}
			return k, err
		})
		return all, last, mapError(ctx, err)
	})
}

func (e *riverEngine) keepDead(ctx context.Context, dead []kept) (n int, err error) {
	err = pgx.BeginFunc(ctx, e.pool, func(tx pgx.Tx) error {
		for _, k := range dead {
			p := e.insertion(k.Job)
			added, err := e.client.InsertTx(ctx, tx, p.Args, p.InsertOpts)
			if err != nil {
				return err
			}
			if added.UniqueSkippedAsDuplicate { // another one with its key waits: it is tried anew
				continue
			}
			n++
			_, err = tx.Exec(ctx, `UPDATE river_job SET state = 'discarded', created_at = $2, finalized_at = $3,
				metadata = jsonb_set(metadata, '{runs}', to_jsonb($4::int)),
				errors = ARRAY[jsonb_build_object('at', $3::timestamptz, 'attempt', $4::int, 'error', $5::text, 'trace', '')]
				WHERE id = $1`, added.Job.ID, k.dead.Created, k.dead.Died, k.dead.Attempts, k.dead.Error)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return n, mapError(ctx, err)
}

// inPages calls each with pages until there is none; read reads the one beyond an id, and says which its last one is.
func inPages(each func([]kept) error, read func(after int64) ([]kept, int64, error)) error {
	for after := int64(0); ; {
		page, last, err := read(after)
		if err != nil || len(page) == 0 {
			return err
		}
		if err := each(page); err != nil {
			return err
		}
		after = last
	}
}

// BackupLocal writes the jobs in the file at from, as they are at one moment, to a new file at to, and flushes it. The process that has them
// open goes on meanwhile. to must not be there yet; if the copy fails, it is not there afterwards.
func BackupLocal(ctx context.Context, from, to string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("copy jobs %s: %w", from, err)
		}
	}()
	path, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	settings := url.Values{"mode": {"ro"}, "_busy_timeout": {"10000"}, "_dqs": {"0"}}
	c, err := sqlite.NewConnector((&url.URL{Scheme: "file", Path: path, RawQuery: settings.Encode()}).String())
	if err != nil {
		return err
	}
	db := sql.OpenDB(c)
	var mark int
	err = db.QueryRowContext(ctx, "SELECT application_id FROM pragma_application_id").Scan(&mark)
	if err == nil && mark != localMark {
		err = errForeign
	}
	if err != nil {
		return errors.Join(err, db.Close())
	}
	return sqlitecopy.To(ctx, db, to)
}

// RenewLocal has the jobs in the file at path that wait count as enqueued now: what has waited for too long is given up, and for how long it
// lay in a backup does not count. Jobs that were under way wait, too. Nobody has the file open.
func RenewLocal(ctx context.Context, path string) error {
	engine, err := OpenLocal(ctx, path, nil, Options{})
	if err != nil {
		return err
	}
	_, err = engine.(*localEngine).exec(ctx, "UPDATE job SET created = $1 WHERE state = 'waiting'", micros(time.Now()))
	return errors.Join(err, engine.Close())
}
