package sqlstore

import (
	"errors"
	"fmt"

	"vigie/hashing"
	"vigie/storage"
)

// Entries are read in pages: one query for the entries, and one each for the signals, labels and
// sources of the whole page.

const selectEntries = `SELECT e.id, e.bank, e.status, e.exact_only, e.note, e.reason,
	e.sha256, e.bytes, e.format, e.width, e.height, e.duration_ms, e.kept, e.created_at, e.seq FROM `

func scanEntry(row scanner) (e storage.Entry, err error) {
	err = row.Scan(&e.ID, &e.Bank, &e.Status, &e.ExactOnly, &e.Note, &e.Reason,
		valueColumn{&e.Media.SHA256}, &e.Media.Bytes, &e.Media.Format, &e.Media.Width, &e.Media.Height, &e.Media.Duration, &e.Media.Kept,
		timeColumn{&e.CreatedAt}, &e.Seq)
	return e, err
}

func (r *reader) Entry(id storage.EntryID) (storage.Entry, error) {
	e, err := scanEntry(r.row(selectEntries+"entries e WHERE e.id = $1", id))
	if err != nil {
		return storage.Entry{}, wrap(err, "entry", id)
	}
	page := []storage.Entry{e}
	err = r.fill(page)
	return page[0], wrap(err, "entry", id)
}

func (r *reader) Entries(q storage.EntryQuery) ([]storage.Entry, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	query, args := listing(q)
	page, err := list(r.ctx, r.db, scanEntry, query, args...)
	if err == nil {
		err = r.fill(page)
	}
	if err != nil {
		return nil, fmt.Errorf("entries after %d: %w", q.After, err)
	}
	return page, nil
}

// listing is the query for a page. The filters are few, so are the texts.
func listing(q storage.EntryQuery) (query string, args []any) {
	from, conditions, order := "entries e", "e.id > $1", "e.id"
	if q.Label != "" {
		// Labels are rarer than banks are large: SQLite takes a CROSS JOIN in the order in which it is written.
		from, conditions, order = "entry_labels l CROSS JOIN entries e", "e.id = l.entry AND l.entry > $1", "l.entry"
	}
	args = []any{q.After}
	filter := func(condition string, value any) {
		args = append(args, value)
		conditions += fmt.Sprintf(" AND %s = $%d", condition, len(args))
	}
	if q.Bank != 0 {
		filter("e.bank", q.Bank)
	}
	if q.Status != "" {
		filter("e.status", q.Status)
	}
	if q.Label != "" {
		filter("l.label", q.Label)
	}
	args = append(args, q.Limit)
	return fmt.Sprintf("%s %s WHERE %s ORDER BY %s LIMIT $%d", selectEntries, from, conditions, order, len(args)), args
}

// fill adds the parts of a page of entries, which is in the order of ids.
func (r *reader) fill(page []storage.Entry) error {
	if len(page) == 0 {
		return nil
	}
	ids := make([]storage.EntryID, len(page))
	for i, e := range page {
		ids[i] = e.ID
	}
	list := jsonList(ids)
	return errors.Join(
		fillPart(r, page, list, "entry_signals", "algorithm, variant, version, quality, time_ms, value", scanSignal,
			func(e *storage.Entry) *[]hashing.Signal { return &e.Signals }),
		fillPart(r, page, list, "entry_labels", "label", scanLabel,
			func(e *storage.Entry) *[]string { return &e.Labels }),
		fillPart(r, page, list, "entry_sources", "at, actor, origin", scanSource,
			func(e *storage.Entry) *[]storage.Source { return &e.Sources }),
	)
}

// fillPart reads the rows of one table for a page and appends each to the part of its entry. Rows and
// page are both in the order of ids.
func fillPart[T any](r *reader, page []storage.Entry, ids, table, columns string,
	scan func(row scanner, entry *storage.EntryID) (T, error), part func(*storage.Entry) *[]T,
) error {
	rows, err := r.db.QueryContext(r.ctx, fmt.Sprintf(
		"SELECT entry, %s FROM %s WHERE entry IN (%s) ORDER BY entry, ord", columns, table, r.dialect.idList), ids)
	if err != nil {
		return fmt.Errorf("%s: %w", table, err)
	}
	defer rows.Close()
	at := 0
	for rows.Next() {
		var id storage.EntryID
		value, err := scan(rows, &id)
		if err != nil {
			return fmt.Errorf("%s: %w", table, err)
		}
		for page[at].ID != id {
			at++
		}
		values := part(&page[at])
		*values = append(*values, value)
	}
	return rows.Err()
}

func scanSignal(row scanner, entry *storage.EntryID) (s hashing.Signal, err error) {
	var algorithm, variant string
	if err := row.Scan(entry, &algorithm, &variant, &s.Version, &s.Quality, &s.Time, valueColumn{&s.Value}); err != nil {
		return s, err
	}
	if s.Algorithm, err = hashing.ParseAlgorithm(algorithm); err != nil {
		return s, fmt.Errorf("entry %d: %v: %w", *entry, err, storage.ErrCorrupt)
	}
	if s.Variant, err = hashing.ParseVariant(variant); err != nil {
		return s, fmt.Errorf("entry %d: %v: %w", *entry, err, storage.ErrCorrupt)
	}
	return s, nil
}

func scanLabel(row scanner, entry *storage.EntryID) (label string, err error) {
	err = row.Scan(entry, &label)
	return label, err
}

func scanSource(row scanner, entry *storage.EntryID) (s storage.Source, err error) {
	err = row.Scan(entry, timeColumn{&s.At}, &s.Actor, &s.Origin)
	return s, err
}

// selectEntriesWith starts from the signal, which is rare, and not from the bank, which is large.
const selectEntriesWith = `
	SELECT id FROM entries WHERE bank = $4 AND id IN (
		SELECT entry FROM entry_signals WHERE algorithm = $1 AND value = $2 AND variant = $3
	) ORDER BY id`

func (r *reader) EntriesWith(bank storage.BankID, s hashing.Signal) ([]storage.EntryID, error) {
	ids, err := list(r.ctx, r.db, func(row scanner) (id storage.EntryID, err error) {
		err = row.Scan(&id)
		return id, err
	}, selectEntriesWith, s.Algorithm.String(), signalBytes(s), s.Variant.String(), bank)
	if err != nil {
		return nil, fmt.Errorf("entries with %s: %w", s, err)
	}
	return ids, nil
}

func (r *reader) Labels(ids []storage.EntryID) (map[storage.EntryID][]string, error) {
	if err := storage.CheckLabels(ids); err != nil {
		return nil, err
	}
	labels := map[storage.EntryID][]string{}
	_, err := list(r.ctx, r.db, func(row scanner) (_ struct{}, err error) {
		var id storage.EntryID
		label, err := scanLabel(row, &id)
		if err == nil {
			labels[id] = append(labels[id], label)
		}
		return struct{}{}, err
	}, "SELECT entry, label FROM entry_labels WHERE entry IN ("+r.dialect.idList+") ORDER BY entry, ord", jsonList(ids))
	if err != nil {
		return nil, fmt.Errorf("labels of %d entries: %w", len(ids), err)
	}
	return labels, nil
}

func signalBytes(s hashing.Signal) []byte { return s.Value.Bytes(s.Algorithm.Bits() / 8) }

func (w *writer) CreateEntry(e *storage.Entry) error {
	if err := e.Check(); err != nil {
		return err
	}
	known, err := w.exists("SELECT 1 FROM banks WHERE id = $1", e.Bank)
	if err != nil {
		return wrap(err, "bank", e.Bank)
	}
	if !known {
		return fmt.Errorf("bank %d: %w", e.Bank, storage.ErrNotFound)
	}
	e.CreatedAt, e.Seq = w.options.Time(), 0
	err = w.row(`
		INSERT INTO entries (bank, status, exact_only, note, reason, sha256, bytes, format, width, height, duration_ms, kept, created_at, seq)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0) RETURNING id`,
		e.Bank, e.Status, e.ExactOnly, e.Note, e.Reason,
		shaBytes(e.Media.SHA256), e.Media.Bytes, e.Media.Format, e.Media.Width, e.Media.Height, e.Media.Duration, e.Media.Kept,
		millis(e.CreatedAt)).Scan(&e.ID)
	if err != nil {
		return fmt.Errorf("create entry: %w", err)
	}
	for i, s := range e.Signals {
		if err := w.insertSignal(e.ID, i, s); err != nil {
			return err
		}
	}
	if err := w.insertLabels(*e); err != nil {
		return err
	}
	for i := range e.Sources {
		e.Sources[i].At = e.CreatedAt
		if err := w.insertSource(e.ID, i, e.Sources[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) UpdateEntry(e storage.Entry) error {
	err := changed(w.db.ExecContext(w.ctx,
		"UPDATE entries SET status = $1, note = $2, reason = $3 WHERE id = $4",
		e.Status, e.Note, e.Reason, e.ID))("entry", e.ID)
	if err != nil {
		return err
	}
	if err := w.exec("DELETE FROM entry_labels WHERE entry = $1", e.ID); err != nil {
		return wrap(err, "labels of entry", e.ID)
	}
	return w.insertLabels(e)
}

// insertLabels drops repeated labels.
func (w *writer) insertLabels(e storage.Entry) error {
	for i, label := range e.Labels {
		err := w.exec("INSERT INTO entry_labels (entry, ord, label) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", e.ID, i, label)
		if err != nil {
			return wrap(err, "labels of entry", e.ID)
		}
	}
	return nil
}

func (w *writer) insertSignal(id storage.EntryID, ord int, s hashing.Signal) error {
	err := w.exec(`
		INSERT INTO entry_signals (entry, ord, algorithm, variant, version, quality, time_ms, value)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		id, ord, s.Algorithm.String(), s.Variant.String(), s.Version, s.Quality, s.Time, signalBytes(s))
	if err != nil {
		return fmt.Errorf("signal %d of entry %d: %w", ord, id, err)
	}
	return nil
}

// selectSignalOf asks whether an entry has a signal. It starts from the signal, as there may be many
// signals of the entry.
const selectSignalOf = "SELECT 1 FROM entry_signals WHERE algorithm = $1 AND value = $2 AND entry = $3 AND variant = $4 AND time_ms = $5"

func (w *writer) Extend(id storage.EntryID, signals []hashing.Signal, media storage.MediaInfo) error {
	if err := storage.CheckSignals(signals); err != nil {
		return err
	}
	next, err := w.nextOrd("entry_signals", id)
	if err != nil {
		return err
	}
	for _, s := range signals {
		has, err := w.exists(selectSignalOf, s.Algorithm.String(), signalBytes(s), id, s.Variant.String(), s.Time)
		if err != nil {
			return wrap(err, "signals of entry", id)
		}
		if has {
			continue
		}
		if err := w.insertSignal(id, next, s); err != nil {
			return err
		}
		next++
	}
	if media == (storage.MediaInfo{}) {
		return nil
	}
	return wrap(w.exec(`
		UPDATE entries SET sha256 = $1, bytes = $2, format = $3, width = $4, height = $5, duration_ms = $6, kept = $7
		WHERE id = $8 AND length(sha256) = 0 AND bytes = 0 AND format = '' AND width = 0 AND height = 0 AND duration_ms = 0 AND kept = 0`,
		shaBytes(media.SHA256), media.Bytes, media.Format, media.Width, media.Height, media.Duration, media.Kept, id), "media of entry", id)
}

func (w *writer) AddSource(id storage.EntryID, s storage.Source) error {
	next, err := w.nextOrd("entry_sources", id)
	if err != nil {
		return err
	}
	s.At = w.options.Time()
	return w.insertSource(id, next, s)
}

// nextOrd is the number after the last row of an entry in a table of parts, found by its primary key;
// ErrNotFound if there is no such entry.
func (w *writer) nextOrd(table string, id storage.EntryID) (next int, err error) {
	known, err := w.exists("SELECT 1 FROM entries WHERE id = $1", id)
	if err != nil {
		return 0, wrap(err, "entry", id)
	}
	if !known {
		return 0, fmt.Errorf("entry %d: %w", id, storage.ErrNotFound)
	}
	err = w.row("SELECT COALESCE(MAX(ord), -1) + 1 FROM "+table+" WHERE entry = $1", id).Scan(&next)
	return next, wrap(err, table+" of entry", id)
}

func (w *writer) insertSource(id storage.EntryID, ord int, s storage.Source) error {
	return wrap(w.exec("INSERT INTO entry_sources (entry, ord, at, actor, origin) VALUES ($1, $2, $3, $4, $5)",
		id, ord, millis(s.At), s.Actor, s.Origin), "source of entry", id)
}
