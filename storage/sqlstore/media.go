package sqlstore

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"vigie/hashing"
	"vigie/storage"
)

func (w *writer) MediaPend(sha hashing.Value, size int64) (live bool, err error) {
	var state storage.MediaState
	err = w.row(`
		INSERT INTO media (sha256, size, state, at) VALUES ($1, $2, 'pending', $3)
		ON CONFLICT (sha256) DO UPDATE SET at = excluded.at WHERE media.state <> 'deleting'
		RETURNING state`, sha.Bytes(32), size, millis(w.options.Time())).Scan(&state)
	return state == storage.MediaLive, mediaError(err, sha)
}

func (w *writer) MediaLive(sha hashing.Value) error {
	var state storage.MediaState
	return mediaError(w.row(`
		UPDATE media SET state = 'live' WHERE sha256 = $1 AND state IN ('pending', 'live')
		RETURNING state`, sha.Bytes(32)).Scan(&state), sha)
}

func (w *writer) MediaSweep(before time.Time) ([]hashing.Value, error) {
	err := w.exec("UPDATE media SET state = 'deleting' WHERE state = 'pending' AND at < $1", before.UnixMilli())
	if err != nil {
		return nil, fmt.Errorf("sweep media: %w", err)
	}
	swept, err := list(w.ctx, w.db, func(row scanner) (sha hashing.Value, err error) {
		err = row.Scan(valueColumn{&sha})
		return sha, err
	}, "SELECT sha256 FROM media WHERE state = 'deleting' ORDER BY sha256")
	if err != nil {
		return nil, fmt.Errorf("sweep media: %w", err)
	}
	return swept, nil
}

func (w *writer) MediaGone(sha hashing.Value) error {
	if err := w.exec("DELETE FROM media WHERE sha256 = $1 AND state = 'deleting'", sha.Bytes(32)); err != nil {
		return mediaError(err, sha)
	}
	kept, err := w.exists("SELECT 1 FROM media WHERE sha256 = $1", sha.Bytes(32))
	if err == nil && kept {
		err = sql.ErrNoRows
	}
	return mediaError(err, sha)
}

// mediaError takes a statement that found no row in the state that it needs for a conflict.
func mediaError(err error, sha hashing.Value) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		err = storage.ErrConflict
	}
	return fmt.Errorf("media %x: %w", sha.Bytes(32), err)
}
