package sqlstore

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"vigie/hashing"
	"vigie/storage"
)

// Entries are read in pages: one query for the entries, and one each for the signals, labels and
// sources of the whole page.

const selectEntries = `SELECT e.id, e.bank, e.status, e.exact_only, e.note, e.reason,
	e.sha256, e.bytes, e.format, e.width, e.height, e.duration_ms, e.kept, e.proposal, e.created_at, e.seq, e.expires_at FROM entries e `

func scanEntry(row scanner) (e storage.Entry, err error) {
	err = row.Scan(&e.ID, &e.Bank, &e.Status, &e.ExactOnly, &e.Note, &e.Reason,
		valueColumn{&e.Media.SHA256}, &e.Media.Bytes, &e.Media.Format, &e.Media.Width, &e.Media.Height, &e.Media.Duration, &e.Media.Kept,
		jsonColumn{&e.Proposal}, timeColumn{&e.CreatedAt}, &e.Seq, timeColumn{&e.ExpiresAt})
	return e, err
}

func (r *reader) Entry(id storage.EntryID) (storage.Entry, error) {
	e, err := scanEntry(r.row(selectEntries+"WHERE e.id = $1", id))
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
	if !storage.IsText(q.Label) || !storage.IsText(string(q.Status)) {
		return nil, nil
	}
	ids, err := r.entryIDs(q)
	if err != nil || len(ids) == 0 {
		return nil, wrap(err, "entries after", q.After)
	}
	page, err := r.page(jsonList(ids))
	if err != nil {
		return nil, fmt.Errorf("entries after %d: %w", q.After, err)
	}
	return page, nil
}

// page reads entries, in the order of their ids.
func (r *reader) page(ids string) ([]storage.Entry, error) {
	page, err := list(r.ctx, r.db, scanEntry, selectEntries+"WHERE e.id IN ("+r.dialect.ids("$1")+") ORDER BY e.id", ids)
	if err == nil {
		err = r.fill(page)
	}
	return page, err
}

// entryIDs returns the ids of a page.
func (r *reader) entryIDs(q storage.EntryQuery) ([]int64, error) {
	l := entryListing(q)
	after := int64(min(q.After, math.MaxInt64))
	switch {
	case q.Bank != 0 && q.Banks != nil && !slices.Contains(q.Banks, q.Bank):
		return nil, nil
	case q.Bank != 0 || l.group == "":
		return r.ofGroup(l, int64(q.Bank), after, q.Limit)
	case q.Banks != nil:
		return r.merged(l, r.dialect.idList, jsonList(q.Banks), after, q.Limit)
	}
	return r.merged(l, "SELECT id FROM banks", nil, after, q.Limit)
}

// entryListing walks the index in which the fewest entries of a bank lie beside those that are asked for.
func entryListing(q storage.EntryQuery) listed {
	l := listed{from: "entries e", id: "e.id", group: "e.bank"}
	usual := q.Status == "" || q.Status == storage.Active
	switch {
	case q.Waiting: // few
		l.conditions = " AND e.proposal IS NOT NULL"
	case q.Label != "" && usual:
		l = listed{from: "entry_labels l", id: "l.entry", group: "l.bank"}
		l.where("l.label", "=", q.Label)
		if q.Status != "" {
			l.conditions += fmt.Sprintf(" AND EXISTS (SELECT 1 FROM entries e WHERE e.id = l.entry AND e.status = %s)", l.arg(q.Status))
		}
		return l
	case q.Bank == 0 && q.Banks == nil && usual: // all, as a node reads them when it starts
		l.group = ""
	}
	if q.Status != "" && q.Waiting {
		l.conditions += " AND NOT e.status <> " + l.arg(q.Status) // said so that its index is left alone
	} else if q.Status != "" {
		l.where("e.status", "=", q.Status)
	}
	if q.Label != "" {
		l.conditions += fmt.Sprintf(" AND EXISTS (SELECT 1 FROM entry_labels l WHERE l.entry = e.id AND l.label = %s)", l.arg(q.Label))
	}
	return l
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
		fillPart(r, page, list, "entry_sources", "at, actor, origin, list, foreign_id", scanSource,
			func(e *storage.Entry) *[]storage.Source { return &e.Sources }),
	)
}

// fillPart reads the rows of one table for a page and appends each to the part of its entry. Rows and
// page are both in the order of ids.
func fillPart[T any](r *reader, page []storage.Entry, ids, table, columns string,
	scan func(row scanner, entry *storage.EntryID) (T, error), part func(*storage.Entry) *[]T,
) error {
	rows, err := r.db.QueryContext(r.ctx, fmt.Sprintf(
		"SELECT entry, %s FROM %s WHERE entry IN (%s) ORDER BY entry, ord", columns, table, r.dialect.ids("$1")), ids)
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
	err = row.Scan(entry, timeColumn{&s.At}, &s.Actor, &s.Origin, &s.List, &s.Foreign)
	return s, err
}

// selectEntriesWith starts from the signal, which is rare, and not from the bank, which is large. It is said so that no
// planner can do otherwise, whatever it believes of a table that has just been filled.
const selectEntriesWith = `
	SELECT DISTINCT entry FROM entry_signals s WHERE algorithm = $1 AND value = $2 AND variant = $3
		AND (SELECT bank FROM entries e WHERE e.id = s.entry) = $4 ORDER BY entry`

func (r *reader) EntriesWith(bank storage.BankID, s hashing.Signal) ([]storage.EntryID, error) {
	ids, err := list(r.ctx, r.db, scanID[storage.EntryID], selectEntriesWith, s.Algorithm.String(), signalBytes(s), s.Variant.String(), bank)
	if err != nil {
		return nil, fmt.Errorf("entries with %s: %w", s, err)
	}
	return ids, nil
}

// selectEntriesWithAny is selectEntriesWith for many signals, by their place among them.
var selectEntriesWithAny = `
	SELECT CAST(u.ord - 1 AS BIGINT), f.entry FROM unnest($1::text[], $2::bytea[], $3::text[]) WITH ORDINALITY AS u (algorithm, value, variant, ord)
	CROSS JOIN LATERAL (
		SELECT DISTINCT entry FROM entry_signals s WHERE s.algorithm = u.algorithm AND s.value = u.value AND s.variant = u.variant
			AND (SELECT bank FROM entries e WHERE e.id = s.entry) = $4
	) f ORDER BY u.ord, f.entry`

func (r *reader) EntriesWithAny(bank storage.BankID, signals []hashing.Signal) ([][]storage.EntryID, error) {
	if err := storage.CheckAsked(signals); err != nil {
		return nil, err
	}
	found := make([][]storage.EntryID, len(signals))
	if !r.dialect.arrays {
		for i, s := range signals {
			ids, err := r.EntriesWith(bank, s)
			if err != nil {
				return nil, err
			}
			found[i] = ids
		}
		return found, nil
	}
	algorithms, variants, values := make([]string, len(signals)), make([]string, len(signals)), make([][]byte, len(signals))
	for i, s := range signals {
		algorithms[i], variants[i], values[i] = s.Algorithm.String(), s.Variant.String(), signalBytes(s)
	}
	_, err := list(r.ctx, r.db, func(row scanner) (_ struct{}, err error) {
		var i int
		var id storage.EntryID
		if err = row.Scan(&i, &id); err == nil {
			found[i] = append(found[i], id)
		}
		return struct{}{}, err
	}, selectEntriesWithAny, algorithms, values, variants, bank)
	if err != nil {
		return nil, fmt.Errorf("entries with %d signals: %w", len(signals), err)
	}
	return found, nil
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
	}, "SELECT entry, label FROM entry_labels WHERE entry IN ("+r.dialect.ids("$1")+") ORDER BY entry, ord", jsonList(ids))
	if err != nil {
		return nil, fmt.Errorf("labels of %d entries: %w", len(ids), err)
	}
	return labels, nil
}

func signalBytes(s hashing.Signal) []byte { return s.Value.Bytes(s.Algorithm.Bits() / 8) }

func (w *writer) CreateEntry(e *storage.Entry) error { return w.CreateEntries([]*storage.Entry{e}) }

func (w *writer) CreateEntries(entries []*storage.Entry) error {
	if err := storage.CheckNewEntries(entries); err != nil || len(entries) == 0 {
		return err
	}
	proposals := make([]any, len(entries))
	banks := map[storage.BankID]bool{}
	for i, e := range entries {
		if !banks[e.Bank] {
			if err := w.bankExists(e.Bank); err != nil {
				return err
			}
			banks[e.Bank] = true
		}
		var err error
		if proposals[i], err = jsonText(e.Proposal.Normal()); err != nil {
			return fmt.Errorf("proposal: %w", err)
		}
	}
	ids, err := w.newIDs(entriesTable, len(entries))
	if err != nil {
		return err
	}
	for i, e := range entries {
		e.ID, e.CreatedAt, e.Seq = storage.EntryID(ids[i]), w.options.Time(), 0
		e.ExpiresAt = storage.KeptTime(e.ExpiresAt)
		if err := w.insertEntry(e, proposals[i]); err != nil {
			return fmt.Errorf("create entry: %w", err)
		}
	}
	return nil
}

func (w *writer) insertEntry(e *storage.Entry, proposal any) error {
	m := e.Media
	var seq any = 0
	if w.pipe != nil {
		seq = w.pipe.numbered(uint64(e.ID))
	}
	err := w.insert(entriesTable, e.ID, e.Bank, string(e.Status), e.ExactOnly, e.Note, e.Reason,
		shaBytes(m.SHA256), m.Bytes, m.Format, m.Width, m.Height, m.Duration, m.Kept, proposal, millis(e.CreatedAt), seq, millis(e.ExpiresAt))
	if err != nil {
		return err
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
		e.Sources[i].At = w.options.TimeOr(e.Sources[i].At, e.CreatedAt)
		if err := w.insertSource(e.ID, i, e.Sources[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) UpdateEntry(e storage.Entry) error {
	if err := errors.Join(e.CheckText(), storage.CheckExpiry(e.ExpiresAt)); err != nil {
		return err
	}
	proposal, err := jsonText(e.Proposal.Normal())
	if err != nil {
		return fmt.Errorf("proposal on entry %d: %w", e.ID, err)
	}
	err = w.row("UPDATE entries SET status = $1, note = $2, reason = $3, proposal = $4, expires_at = $5 WHERE id = $6 RETURNING bank",
		e.Status, e.Note, e.Reason, proposal, millis(e.ExpiresAt), e.ID).Scan(&e.Bank)
	if err != nil {
		return wrap(err, "entry", e.ID)
	}
	if err := w.exec("DELETE FROM entry_labels WHERE entry = $1", e.ID); err != nil {
		return wrap(err, "labels of entry", e.ID)
	}
	return w.insertLabels(e)
}

// insertLabels drops repeated labels.
func (w *writer) insertLabels(e storage.Entry) error {
	for i, label := range storage.DistinctLabels(e.Labels) {
		if err := w.insert(labelsTable, e.ID, i, label, e.Bank); err != nil {
			return wrap(err, "labels of entry", e.ID)
		}
	}
	return nil
}

func (w *writer) insertSignal(id storage.EntryID, ord int, s hashing.Signal) error {
	err := w.insert(signalsTable, id, ord, s.Algorithm.String(), s.Variant.String(), s.Version, uint8(s.Quality), s.Time, signalBytes(s))
	if err != nil {
		return fmt.Errorf("signal %d of entry %d: %w", ord, id, err)
	}
	return nil
}

// selectSignalOf asks whether an entry has a signal. It starts from the signal, as there may be many
// signals of the entry.
const selectSignalOf = "SELECT 1 FROM entry_signals WHERE algorithm = $1 AND value = $2 AND entry = $3 AND variant = $4 AND time_ms = $5"

func (w *writer) Extend(id storage.EntryID, signals []hashing.Signal, media storage.MediaInfo) error {
	if err := errors.Join(storage.CheckSignals(signals), storage.CheckText("format", media.Format)); err != nil {
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
		WHERE id = $8 AND length(sha256) = 0 AND bytes = 0 AND format = '' AND width = 0 AND height = 0 AND duration_ms = 0 AND NOT kept`,
		shaBytes(media.SHA256), media.Bytes, media.Format, media.Width, media.Height, media.Duration, media.Kept, id), "media of entry", id)
}

func (w *writer) AddSource(id storage.EntryID, s storage.Source) error {
	if err := s.CheckText(); err != nil {
		return err
	}
	next, err := w.nextOrd("entry_sources", id)
	if err != nil {
		return err
	}
	s.At = w.options.TimeOr(s.At, w.options.Time())
	return w.insertSource(id, next, s)
}

// nextOrd is the number after the last row of an entry in a table of parts, found by its primary key;
// ErrNotFound if there is no such entry.
func (w *writer) nextOrd(table string, id storage.EntryID) (next int, err error) {
	if err := w.entryExists(id); err != nil {
		return 0, err
	}
	err = w.row("SELECT COALESCE(MAX(ord), -1) + 1 FROM "+table+" WHERE entry = $1", id).Scan(&next)
	return next, wrap(err, table+" of entry", id)
}

func (w *writer) insertSource(id storage.EntryID, ord int, s storage.Source) error {
	return wrap(w.insert(sourcesTable, id, ord, millis(s.At), s.Actor, s.Origin, s.List, s.Foreign), "source of entry", id)
}
