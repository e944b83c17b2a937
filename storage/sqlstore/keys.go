package sqlstore

import (
	"cmp"
	"database/sql"
	"strconv"

	"vigie/storage"
)

const selectKeys = "SELECT id, name, party, role, hash, created_at, expires_at, revoked_at, seq FROM keys "

func scanKey(row scanner) (k storage.Key, err error) {
	err = row.Scan(&k.ID, &k.Name, &k.Party, &k.Role, hashColumn{(*storage.Hash)(&k.Hash)},
		timeColumn{&k.CreatedAt}, timeColumn{&k.ExpiresAt}, timeColumn{&k.RevokedAt}, &k.Seq)
	return k, err
}

func (r *reader) Key(id string) (storage.Key, error) {
	if !storage.IsText(id) {
		return storage.Key{}, wrap(sql.ErrNoRows, "key", strconv.Quote(id))
	}
	k, err := scanKey(r.row(selectKeys+"WHERE id = $1", id))
	return k, wrap(err, "key", id)
}

func (r *reader) Keys() ([]storage.Key, error) {
	keys, err := list(r.ctx, r.db, scanKey, selectKeys+"ORDER BY ord")
	return keys, wrap(err, "keys", "all")
}

func (w *writer) CreateKey(k *storage.Key) error {
	if err := k.CheckText(); err != nil {
		return err
	}
	if taken, err := w.exists("SELECT 1 FROM keys WHERE id = $1", k.ID); err != nil || taken {
		return existsAlready(err, "key", k.ID)
	}
	party := cmp.Or(k.Party, storage.Operator)
	if err := w.partyExists(party); err != nil {
		return err
	}
	k.Party, k.CreatedAt, k.Seq = party, w.options.Time(), 0
	return wrap(w.exec(`
		INSERT INTO keys (id, name, party, role, hash, created_at, expires_at, revoked_at, seq)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)`,
		k.ID, k.Name, k.Party, k.Role, k.Hash[:], millis(k.CreatedAt), millis(k.ExpiresAt), millis(k.RevokedAt)), "key", k.ID)
}

func (w *writer) UpdateKey(k storage.Key) error {
	if err := storage.CheckText("key", k.Name); err != nil {
		return err
	}
	if !storage.IsText(k.ID) {
		return wrap(sql.ErrNoRows, "key", strconv.Quote(k.ID))
	}
	return changed(w.db.ExecContext(w.ctx,
		"UPDATE keys SET name = $1, expires_at = $2, revoked_at = $3 WHERE id = $4",
		k.Name, millis(k.ExpiresAt), millis(k.RevokedAt), k.ID))("key", k.ID)
}
