package sqlstore

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"vigie/storage"
)

func (r *reader) Remembered(scope, key string) (storage.Remembered, error) {
	found := storage.Remembered{Scope: scope, Key: key}
	if !storage.IsText(scope) || !storage.IsText(key) {
		return storage.Remembered{}, wrap(sql.ErrNoRows, "outcome of request", strconv.Quote(key))
	}
	var outcome sql.NullString
	err := r.row("SELECT digest, outcome, seq, at FROM remembered WHERE scope = $1 AND key = $2", scope, key).
		Scan(hashColumn{&found.Digest}, &outcome, &found.Seq, timeColumn{&found.At})
	if err != nil {
		return storage.Remembered{}, wrap(err, "outcome of request", key)
	}
	if outcome.Valid {
		found.Outcome = json.RawMessage(outcome.String)
	}
	return found, nil
}

func (w *writer) Remember(r storage.Remembered) error {
	if err := r.Check(); err != nil {
		return err
	}
	result, err := w.db.ExecContext(w.ctx, `
		INSERT INTO remembered (scope, key, digest, outcome, seq, at) VALUES ($1, $2, $3, $4, 0, $5)
		ON CONFLICT DO NOTHING`,
		r.Scope, r.Key, r.Digest[:], nullText(r.Outcome), millis(w.options.Time()))
	if err != nil {
		return fmt.Errorf("outcome of request %s: %w", r.Key, err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return existsAlready(err, "outcome of request", r.Key)
	}
	w.noted = append(w.noted, storage.Remembered{Scope: r.Scope, Key: r.Key})
	return nil
}

// nullText stores JSON as it is; none is NULL.
func nullText(text json.RawMessage) sql.NullString {
	return sql.NullString{String: string(text), Valid: len(text) > 0}
}

const removeRemembered = `
	DELETE FROM remembered WHERE (scope, key) IN (
		SELECT scope, key FROM remembered WHERE at < $1 ORDER BY at, scope, key LIMIT $2)`

func (w *writer) Forget(before time.Time, limit int) (int, error) {
	return w.remove(removeRemembered, before, limit)
}

// remove runs a statement that removes at most $2 things from before the time $1.
func (w *writer) remove(statement string, before time.Time, limit int, more ...any) (int, error) {
	if err := storage.CheckRemoved(limit); err != nil {
		return 0, err
	}
	result, err := w.db.ExecContext(w.ctx, statement, append([]any{millis(before), limit}, more...)...)
	if err != nil {
		return 0, fmt.Errorf("remove what is from before %s: %w", before.Format(time.RFC3339), err)
	}
	n, err := result.RowsAffected()
	return int(n), err
}
