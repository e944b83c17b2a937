package jobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"vigie/storage"
)

// The jobs of a kind whose keys begin with a prefix, in both engines: a stretch of an index by key. And the end of what nobody replays.

const ofKeys = " AND key >= $4 AND key < $5"

// PendingOf is for Engine.
func (e *localEngine) PendingOf(ctx context.Context, kind, prefix string) (p Pending, err error) {
	if err := checkKey(prefix); err != nil {
		return p, err
	}
	const those = " FROM job WHERE kind = $1 AND key >= $2 AND key < $3 AND state <> 'dead'"
	const failing = "failed > 0 AND error IS NOT NULL" // while a job runs, its attempt counts among the failed
	var oldest sql.NullInt64
	err = e.db.QueryRowContext(ctx, "SELECT count(*), count(*) FILTER (WHERE "+failing+"), min(created), COALESCE((SELECT error"+those+" AND "+failing+" ORDER BY id LIMIT 1), '')"+those,
		kind, prefix, behind(prefix)).Scan(&p.Jobs, &p.Failing, &oldest, &p.Error)
	if oldest.Valid {
		p.Oldest = fromMicros(oldest.Int64)
	}
	return p, mapLocal(err)
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

// PendingOf is for Engine.
func (e *riverEngine) PendingOf(ctx context.Context, kind, prefix string) (p Pending, err error) {
	if err := checkKey(prefix); err != nil {
		return p, err
	}
	const failing = "attempt > 0 AND cardinality(errors) > 0"
	var oldest *time.Time
	err = e.pool.QueryRow(ctx, `SELECT count(*), count(*) FILTER (WHERE `+failing+`), min(created_at),
			COALESCE((array_agg(errors[array_upper(errors, 1)]->>'error' ORDER BY id) FILTER (WHERE `+failing+`))[1], '')
		FROM river_job WHERE queue = $1 AND (`+waiting+` OR state = 'running') AND `+keyOfArgs+` >= $2 AND `+keyOfArgs+` < $3`,
		kind, prefix, behind(prefix)).Scan(&p.Jobs, &p.Failing, &oldest, &p.Error)
	if oldest != nil {
		p.Oldest = oldest.UTC()
	}
	return p, mapError(ctx, err)
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
	_, err := e.pool.Exec(ctx, "DELETE FROM river_job WHERE queue = $1 AND "+keyOfArgs+" >= $2 AND "+keyOfArgs+" < $3 AND ("+waiting+" OR "+dead+")",
		kind, prefix, behind(prefix))
	return mapError(ctx, err)
}

// Expire is for Engine.
func (e *riverEngine) Expire(ctx context.Context, kind string, before time.Time) error {
	_, err := e.pool.Exec(ctx, "DELETE FROM river_job WHERE queue = $1 AND "+dead+" AND finalized_at < $2", kind, before)
	return mapError(ctx, err)
}
