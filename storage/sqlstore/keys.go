package sqlstore

import (
	"database/sql"
	"errors"
	"fmt"

	"vigie/storage"
)

const selectKeys = "SELECT id, name, role, hash, created_at, expires_at, revoked_at, seq FROM keys "

func scanKey(row scanner) (k storage.Key, err error) {
	err = row.Scan(&k.ID, &k.Name, &k.Role, hashColumn{(*storage.Hash)(&k.Hash)},
		timeColumn{&k.CreatedAt}, timeColumn{&k.ExpiresAt}, timeColumn{&k.RevokedAt}, &k.Seq)
	return k, err
}

func (r *reader) Key(id string) (storage.Key, error) {
	k, err := scanKey(r.row(selectKeys+"WHERE id = $1", id))
	return k, wrap(err, "key", id)
}

func (r *reader) Keys() ([]storage.Key, error) {
	keys, err := list(r.ctx, r.db, scanKey, selectKeys+"ORDER BY ord")
	return keys, wrap(err, "keys", "all")
}

func (w *writer) CreateKey(k *storage.Key) error {
	k.CreatedAt, k.Seq = w.options.Time(), 0
	var id string
	err := w.row(`
		INSERT INTO keys (id, name, role, hash, created_at, expires_at, revoked_at, seq)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 0)
		ON CONFLICT DO NOTHING RETURNING id`,
		k.ID, k.Name, k.Role, k.Hash[:], millis(k.CreatedAt), millis(k.ExpiresAt), millis(k.RevokedAt)).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("key %s: %w", k.ID, storage.ErrExists)
	}
	return wrap(err, "key", k.ID)
}

func (w *writer) UpdateKey(k storage.Key) error {
	return changed(w.db.ExecContext(w.ctx,
		"UPDATE keys SET name = $1, expires_at = $2, revoked_at = $3 WHERE id = $4",
		k.Name, millis(k.ExpiresAt), millis(k.RevokedAt), k.ID))("key", k.ID)
}
