package sqlstore

import (
	"database/sql"
	"strconv"

	"vigie/storage"
)

const selectParties = "SELECT id, name, kind, keep_matches, history_days, suspended, created_at, seq FROM parties "

func scanParty(row scanner) (p storage.Party, err error) {
	err = row.Scan(&p.ID, &p.Name, &p.Kind, &p.KeepMatches, &p.HistoryDays, &p.Suspended, timeColumn{&p.CreatedAt}, &p.Seq)
	return p, err
}

func (r *reader) Party(id storage.PartyID) (storage.Party, error) {
	p, err := scanParty(r.row(selectParties+"WHERE id = $1", id))
	return p, wrap(err, "party", id)
}

func (r *reader) PartyNamed(name string) (storage.Party, error) {
	if !storage.IsText(name) {
		return storage.Party{}, wrap(sql.ErrNoRows, "party", strconv.Quote(name))
	}
	p, err := scanParty(r.row(selectParties+"WHERE name = $1", name))
	return p, wrap(err, "party", name)
}

func (r *reader) Parties() ([]storage.Party, error) {
	parties, err := list(r.ctx, r.db, scanParty, selectParties+"ORDER BY id")
	return parties, wrap(err, "parties", "all")
}

func (w *writer) CreateParty(p *storage.Party) error {
	if err := p.CheckText(); err != nil {
		return err
	}
	if err := w.partyIsNew(p.Name, 0); err != nil {
		return err
	}
	p.CreatedAt, p.Seq = w.options.Time(), 0
	err := w.row(`
		INSERT INTO parties (name, kind, keep_matches, history_days, suspended, created_at, seq)
		VALUES ($1, $2, $3, $4, $5, $6, 0) RETURNING id`,
		p.Name, p.Kind, p.KeepMatches, p.HistoryDays, p.Suspended, millis(p.CreatedAt)).Scan(&p.ID)
	return wrap(err, "party", p.Name)
}

func (w *writer) UpdateParty(p storage.Party) error {
	if err := p.CheckText(); err != nil {
		return err
	}
	if err := w.partyExists(p.ID); err != nil {
		return err
	}
	if err := w.partyIsNew(p.Name, p.ID); err != nil {
		return err
	}
	return wrap(w.exec("UPDATE parties SET name = $1, kind = $2, keep_matches = $3, history_days = $4, suspended = $5 WHERE id = $6",
		p.Name, p.Kind, p.KeepMatches, p.HistoryDays, p.Suspended, p.ID), "party", p.ID)
}

// partyIsNew looks for another party of that name.
func (w *writer) partyIsNew(name string, except storage.PartyID) error {
	taken, err := w.exists("SELECT 1 FROM parties WHERE name = $1 AND id <> $2", name, except)
	if err != nil || taken {
		return existsAlready(err, "party", name)
	}
	return nil
}

// partyExists, bankExists and entryExists are ErrNotFound if there is no such thing.

func (w *writer) partyExists(id storage.PartyID) error {
	return w.must("SELECT 1 FROM parties WHERE id = $1", "party", id)
}

func (w *writer) bankExists(id storage.BankID) error {
	return w.must("SELECT 1 FROM banks WHERE id = $1", "bank", id)
}

func (w *writer) entryExists(id storage.EntryID) error {
	return w.must("SELECT 1 FROM entries WHERE id = $1", "entry", id)
}

func (w *writer) must(query, what string, id any) error {
	var one int
	return wrap(w.row(query, id).Scan(&one), what, id)
}
