package sqlstore

import (
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"vigie/storage"
)

const selectBanks = `SELECT id, name, description, owner, kind, members, open, dual, policy, proposal,
	deleted, created_at, seq FROM banks `

func scanBank(row scanner) (b storage.Bank, err error) {
	err = row.Scan(&b.ID, &b.Name, &b.Description, &b.Owner, &b.Kind, jsonColumn{&b.Members}, &b.Open, &b.Dual,
		jsonColumn{&b.Policy}, jsonColumn{&b.Proposal}, &b.Deleted, timeColumn{&b.CreatedAt}, &b.Seq)
	return b, err
}

func (r *reader) Bank(id storage.BankID) (storage.Bank, error) {
	b, err := scanBank(r.row(selectBanks+"WHERE id = $1", id))
	return b, wrap(err, "bank", id)
}

func (r *reader) BankNamed(owner storage.PartyID, name string) (storage.Bank, error) {
	if !storage.IsText(name) {
		return storage.Bank{}, wrap(sql.ErrNoRows, "bank", strconv.Quote(name))
	}
	b, err := scanBank(r.row(selectBanks+"WHERE owner = $1 AND name = $2 ORDER BY deleted, seq DESC, id DESC LIMIT 1", owner, name))
	return b, wrap(err, "bank", name)
}

func (r *reader) Banks() ([]storage.Bank, error) {
	banks, err := list(r.ctx, r.db, scanBank, selectBanks+"ORDER BY id")
	return banks, wrap(err, "banks", "all")
}

// bankColumns are the parts of a bank that are stored as JSON.
func bankColumns(b storage.Bank) (members, policy, proposal any, err error) {
	members, err1 := jsonText(b.Members)
	policy, err2 := jsonText(b.Policy)
	proposal, err3 := jsonText(b.Proposal)
	return members, policy, proposal, errors.Join(err1, err2, err3)
}

func (w *writer) CreateBank(b *storage.Bank) error {
	if err := b.CheckText(); err != nil {
		return err
	}
	n := b.Normal()
	members, policy, proposal, err := bankColumns(n)
	if err != nil {
		return fmt.Errorf("bank %q: %w", b.Name, err)
	}
	if taken, err := w.exists("SELECT 1 FROM banks WHERE owner = $1 AND name = $2 AND NOT deleted", n.Owner, b.Name); err != nil || taken {
		return existsAlready(err, "bank", b.Name)
	}
	if err := w.partyExists(n.Owner); err != nil {
		return err
	}
	b.Owner, b.Kind, b.CreatedAt, b.Seq = n.Owner, n.Kind, w.options.Time(), 0
	err = w.row(`
		INSERT INTO banks (name, description, owner, kind, members, open, dual, policy, proposal, deleted, created_at, seq)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0) RETURNING id`,
		b.Name, b.Description, b.Owner, b.Kind, members, b.Open, b.Dual, policy, proposal, b.Deleted, millis(b.CreatedAt)).Scan(&b.ID)
	return wrap(err, "bank", b.Name)
}

func (w *writer) UpdateBank(b storage.Bank) error {
	if err := b.CheckText(); err != nil {
		return err
	}
	members, policy, proposal, err := bankColumns(b.Normal())
	if err != nil {
		return fmt.Errorf("bank %d: %w", b.ID, err)
	}
	if !b.Deleted {
		// The unique index stands behind this question; asking first keeps the transaction whole.
		taken, err := w.exists(`
			SELECT 1 FROM banks WHERE owner = (SELECT owner FROM banks WHERE id = $1) AND name = $2 AND NOT deleted AND id <> $1`, b.ID, b.Name)
		if err != nil {
			return wrap(err, "bank", b.ID)
		}
		if taken {
			return existsAlready(nil, "bank", b.Name)
		}
	}
	return changed(w.db.ExecContext(w.ctx, `
		UPDATE banks SET name = $1, description = $2, members = $3, open = $4, dual = $5, policy = $6, proposal = $7, deleted = $8
		WHERE id = $9`,
		b.Name, b.Description, members, b.Open, b.Dual, policy, proposal, b.Deleted, b.ID))("bank", b.ID)
}
