package sqlstore

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"vigie/storage"
)

const selectBanks = "SELECT id, name, description, policy, deleted, created_at, seq FROM banks "

func scanBank(row scanner) (b storage.Bank, err error) {
	err = row.Scan(&b.ID, &b.Name, &b.Description, jsonColumn{&b.Policy}, &b.Deleted, timeColumn{&b.CreatedAt}, &b.Seq)
	return b, err
}

func (r *reader) Bank(id storage.BankID) (storage.Bank, error) {
	b, err := scanBank(r.row(selectBanks+"WHERE id = $1", id))
	return b, wrap(err, "bank", id)
}

func (r *reader) BankNamed(name string) (storage.Bank, error) {
	b, err := scanBank(r.row(selectBanks+"WHERE name = $1 ORDER BY deleted, seq DESC, id DESC LIMIT 1", name))
	return b, wrap(err, "bank", name)
}

func (r *reader) Banks() ([]storage.Bank, error) {
	banks, err := list(r.ctx, r.db, scanBank, selectBanks+"ORDER BY id")
	return banks, wrap(err, "banks", "all")
}

func (w *writer) CreateBank(b *storage.Bank) error {
	policy, err := json.Marshal(b.Policy)
	if err != nil {
		return fmt.Errorf("policy of bank %s: %w", b.Name, err)
	}
	b.CreatedAt, b.Seq = w.options.Time(), 0
	err = w.row(`
		INSERT INTO banks (name, description, policy, deleted, created_at, seq)
		VALUES ($1, $2, $3, $4, $5, 0)
		ON CONFLICT DO NOTHING RETURNING id`,
		b.Name, b.Description, string(policy), b.Deleted, millis(b.CreatedAt)).Scan(&b.ID)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("bank %q: %w", b.Name, storage.ErrExists)
	}
	return wrap(err, "bank", b.Name)
}

func (w *writer) UpdateBank(b storage.Bank) error {
	policy, err := json.Marshal(b.Policy)
	if err != nil {
		return fmt.Errorf("policy of bank %d: %w", b.ID, err)
	}
	if !b.Deleted {
		// The unique index stands behind this question; asking first keeps the transaction whole.
		taken, err := w.exists("SELECT 1 FROM banks WHERE name = $1 AND NOT deleted AND id <> $2", b.Name, b.ID)
		if err != nil {
			return wrap(err, "bank", b.ID)
		}
		if taken {
			if _, err := w.Bank(b.ID); err != nil {
				return err
			}
			return fmt.Errorf("bank %q: %w", b.Name, storage.ErrExists)
		}
	}
	return changed(w.db.ExecContext(w.ctx, `
		UPDATE banks SET name = $1, description = $2, policy = $3, deleted = $4 WHERE id = $5`,
		b.Name, b.Description, string(policy), b.Deleted, b.ID))("bank", b.ID)
}
