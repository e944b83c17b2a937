package jobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"vigie/storage"
)

// The jobs of a kind whose keys begin with a prefix, in both engines: a stretch of an index by key. And the end of what nobody replays.

const ofKeys = " AND key >= $4 AND key < $5"

// Pending is for Engine.
func (e *localEngine) Pending(ctx context.Context, kind string) (map[string]Pending, error) {
	rows, err := e.db.QueryContext(ctx, `SELECT p.beginning, p.jobs, p.failing, p.oldest, COALESCE(j.error, '') FROM (
			SELECT substr(key, 1, instr(key || '-', '-') - 1) AS beginning, count(*) AS jobs, count(*) FILTER (WHERE failed > 0 AND error IS NOT NULL) AS failing,
				min(created) AS oldest, min(id) FILTER (WHERE failed > 0 AND error IS NOT NULL) AS failed
			FROM job WHERE kind = $1 AND key IS NOT NULL AND state <> 'dead' GROUP BY beginning
		) p LEFT JOIN job j ON j.id = p.failed`, kind) // while a job runs, its attempt counts among the failed
	if err != nil {
		return nil, mapLocal(err)
	}
	defer rows.Close()
	all := map[string]Pending{}
	for rows.Next() {
		var beginning string
		var p Pending
		var oldest int64
		if err := rows.Scan(&beginning, &p.Jobs, &p.Failing, &oldest, &p.Error); err != nil {
			return nil, mapLocal(err)
		}
		p.Oldest = fromMicros(oldest)
		all[beginning] = p
	}
	return all, mapLocal(rows.Err())
}

// DeadOf is for Engine.
func (e *localEngine) DeadOf(ctx context.Context, kind, prefix string, after int64, limit int) ([]Dead, error) {
	if err := errors.Join(checkPage(limit), checkKey(prefix)); err != nil {
		return nil, err
	}
	return e.dead(ctx, kind, after, limit, ofKeys, prefix, behind(prefix))
}

// ReplayOf is for Engine.
func (e *localEngine) ReplayOf(ctx context.Context, kind, prefix string) (replayed int, err error) {
	if err := checkKey(prefix); err != nil {
		return 0, err
	}
	replayed, err = e.exec(ctx, `UPDATE OR IGNORE job SET state = 'waiting', at = $4, created = $4, failed = 0, died = NULL
		WHERE kind = $1 AND key >= $2 AND key < $3 AND state = 'dead'`, kind, prefix, behind(prefix), micros(time.Now()))
	e.rouse(kind)
	return replayed, err
}

// DropOf is for Engine.
func (e *localEngine) DropOf(ctx context.Context, kind, prefix string) error {
	if err := checkKey(prefix); err != nil {
		return err
	}
	_, err := e.exec(ctx, "DELETE FROM job WHERE kind = $1 AND key >= $2 AND key < $3 AND state = 'dead'", kind, prefix, behind(prefix))
	if err == nil { // another index has them
		_, err = e.exec(ctx, "DELETE FROM job WHERE kind = $1 AND key >= $2 AND key < $3 AND state <> 'dead' AND state = 'waiting'", kind, prefix, behind(prefix))
	}
	return err
}

// Expire is for Engine.
func (e *localEngine) Expire(ctx context.Context, kind string, before time.Time) error {
	_, err := e.exec(ctx, "DELETE FROM job WHERE kind = $1 AND state = 'dead' AND died < $2", kind, micros(before))
	return err
}

func (e *localEngine) exec(ctx context.Context, statement string, args ...any) (rows int, err error) {
	err = e.update(ctx, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx, statement, args...)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		rows = int(n)
		return err
	})
	return rows, err
}

// deadByKey is an index of Vigie's own beside River's: of dead jobs, by key.
const (
	keyOfArgs = `(args->>'key') COLLATE "C"`
	deadByKey = "CREATE INDEX IF NOT EXISTS vigie_dead_by_key ON " + schema + ".river_job (queue, (" + keyOfArgs + ")) WHERE state IN ('cancelled', 'discarded')"
)

// Pending is for Engine.
func (e *riverEngine) Pending(ctx context.Context, kind string) (map[string]Pending, error) {
	ctx, cancel := e.within(ctx)
	defer cancel()
	rows, err := e.pool.Query(ctx, `SELECT p.beginning, p.jobs, p.failing, p.oldest, COALESCE(j.errors[array_upper(j.errors, 1)]->>'error', '') FROM (
			SELECT split_part(args->>'key', '-', 1) AS beginning, count(*) AS jobs, count(*) FILTER (WHERE attempt > 0 AND cardinality(errors) > 0) AS failing,
				min(created_at) AS oldest, min(id) FILTER (WHERE attempt > 0 AND cardinality(errors) > 0) AS failed
			FROM river_job WHERE queue = $1 AND args->>'key' <> '' AND (`+waiting+` OR state = 'running') GROUP BY beginning
		) p LEFT JOIN river_job j ON j.id = p.failed`, kind)
	if err != nil {
		return nil, mapError(ctx, err)
	}
	all := map[string]Pending{}
	var beginning string
	var p Pending
	_, err = pgx.ForEachRow(rows, []any{&beginning, &p.Jobs, &p.Failing, &p.Oldest, &p.Error}, func() error {
		p.Oldest = p.Oldest.UTC()
		all[beginning] = p
		return nil
	})
	return all, mapError(ctx, err)
}

// DeadOf is for Engine.
func (e *riverEngine) DeadOf(ctx context.Context, kind, prefix string, after int64, limit int) ([]Dead, error) {
	if err := errors.Join(checkPage(limit), checkKey(prefix)); err != nil {
		return nil, err
	}
	return e.dead(ctx, kind, after, limit, " AND "+keyOfArgs+" >= $4 AND "+keyOfArgs+" < $5", prefix, behind(prefix))
}

// ReplayOf is for Engine.
func (e *riverEngine) ReplayOf(ctx context.Context, kind, prefix string) (int, error) {
	if err := checkKey(prefix); err != nil {
		return 0, err
	}
	ctx, cancel := e.within(ctx)
	defer cancel()
	const replay = `UPDATE river_job SET state = 'available', attempt = 0, finalized_at = NULL, scheduled_at = now(), created_at = now()
		WHERE id IN (
			SELECT DISTINCT ON (unique_key) id FROM river_job d
			WHERE queue = $1 AND ` + keyOfArgs + ` >= $2 AND ` + keyOfArgs + ` < $3 AND ` + dead + ` AND NOT EXISTS (
				SELECT 1 FROM river_job o
				WHERE o.unique_key = d.unique_key AND o.state IN ('available', 'scheduled', 'retryable', 'pending', 'running'))
			ORDER BY unique_key, id)`
	for again := 3; ; again-- {
		tag, err := e.pool.Exec(ctx, replay, kind, prefix, behind(prefix))
		if answer, ok := errors.AsType[*pgconn.PgError](err); ok && answer.Code == "23505" {
			if again > 0 { // one with such a key was enqueued just now
				continue
			}
			return 0, fmt.Errorf("replay jobs: others with their keys are enqueued all the time: %w", storage.ErrConflict)
		}
		return int(tag.RowsAffected()), mapError(ctx, err)
	}
}

// DropOf is for Engine.
func (e *riverEngine) DropOf(ctx context.Context, kind, prefix string) error {
	if err := checkKey(prefix); err != nil {
		return err
	}
	ctx, cancel := e.within(ctx)
	defer cancel()
	_, err := e.pool.Exec(ctx, "DELETE FROM river_job WHERE queue = $1 AND "+keyOfArgs+" >= $2 AND "+keyOfArgs+" < $3 AND ("+waiting+" OR "+dead+")",
		kind, prefix, behind(prefix))
	return mapError(ctx, err)
}

// Expire is for Engine.
func (e *riverEngine) Expire(ctx context.Context, kind string, before time.Time) error {
	ctx, cancel := e.within(ctx)
	defer cancel()
	_, err := e.pool.Exec(ctx, "DELETE FROM river_job WHERE queue = $1 AND "+dead+" AND finalized_at < $2", kind, before)
	return mapError(ctx, err)
}
