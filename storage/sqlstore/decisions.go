package sqlstore

import (
	"fmt"

	"vigie/storage"
)

func (r *reader) Decisions(ids []storage.MatchID) (map[storage.MatchID][]storage.Decision, error) {
	if err := storage.CheckMatchIDs(ids); err != nil {
		return nil, err
	}
	numbers := map[string][]uint64{}
	for _, id := range ids {
		numbers[id.Node] = append(numbers[id.Node], id.Number)
	}
	decisions := map[storage.MatchID][]storage.Decision{}
	for node, of := range numbers { // nodes are few
		all, err := list(r.ctx, r.db, scanDecision, selectDecisions(r.dialect), node, jsonList(of))
		if err != nil {
			return nil, fmt.Errorf("decisions on %d matches: %w", len(ids), err)
		}
		for _, d := range all {
			decisions[d.Match] = append(decisions[d.Match], d)
		}
	}
	return decisions, nil
}

func selectDecisions(d dialect) string {
	return `SELECT d.id, m.node, m.number, d.party, d.ruling, d.entries, d.match_correct, d.label_correct, d.reason, d.actor, d.at
		FROM matches m CROSS JOIN decisions d WHERE m.node = $1 AND m.number IN (` + d.ids("$2") + ") AND d.match = m.ord ORDER BY d.id"
}

func scanDecision(row scanner) (d storage.Decision, err error) {
	err = row.Scan(&d.ID, &d.Match.Node, &d.Match.Number, &d.Party, &d.Ruling, jsonColumn{&d.Entries},
		&d.MatchCorrect, &d.LabelCorrect, &d.Reason, &d.Actor, timeColumn{&d.At})
	return d, err
}

func (w *writer) AddDecision(d *storage.Decision) error {
	if err := d.Check(); err != nil {
		return err
	}
	var ord int64
	err := w.row("SELECT ord FROM matches WHERE node = $1 AND number = $2", d.Match.Node, d.Match.Number).Scan(&ord)
	if err != nil {
		return wrap(err, "match", d.Match)
	}
	before, err := w.rulings(ord)
	if err != nil {
		return wrap(err, "match", d.Match)
	}
	for _, id := range d.Entries {
		if _, there := before[id]; !there {
			return fmt.Errorf("entry %d of match %s: %w", id, d.Match, storage.ErrNotFound)
		}
	}
	entries, err := jsonText(d.Entries)
	if err != nil {
		return err
	}
	d.At = w.options.Time()
	err = w.row(`
		INSERT INTO decisions (match, party, ruling, entries, match_correct, label_correct, reason, actor, at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id`,
		ord, d.Party, d.Ruling, entries, d.MatchCorrect, d.LabelCorrect, d.Reason, d.Actor, millis(d.At)).Scan(&d.ID)
	if err != nil {
		return fmt.Errorf("decision on match %s: %w", d.Match, err)
	}
	for _, id := range d.Entries {
		if err := w.rule(ord, id, before[id], d); err != nil {
			return err
		}
	}
	for _, statement := range []string{
		`UPDATE match_entries SET bank_standing = EXISTS (
			SELECT 1 FROM match_entries y WHERE y.ord = match_entries.ord AND y.bank = match_entries.bank AND y.standing)
			WHERE ord = $1 AND lead`,
		"UPDATE matches SET standing = EXISTS (SELECT 1 FROM match_entries y WHERE y.ord = matches.ord AND y.standing) WHERE ord = $1",
	} {
		if err := w.exec(statement, ord); err != nil {
			return fmt.Errorf("decision on match %s: %w", d.Match, err)
		}
	}
	return nil
}

// rule has a decision count for one entry of a match.
func (w *writer) rule(ord int64, id storage.EntryID, before storage.Ruling, d *storage.Decision) error {
	err := w.exec("UPDATE match_entries SET standing = $1 WHERE ord = $2 AND entry = $3", d.Ruling == storage.Removed, ord, id)
	if err != nil || d.Ruling.After(before) != d.Ruling {
		return wrap(err, "decision on match", d.Match)
	}
	judged := uint64(0)
	if d.Ruling.Confirms() || d.Ruling.Overturns() {
		judged = d.ID
	}
	err = w.exec("UPDATE match_entries SET ruling = $1, judged = $2 WHERE ord = $3 AND entry = $4", d.Ruling, judged, ord, id)
	if err != nil {
		return wrap(err, "decision on match", d.Match)
	}
	return w.recount(id, before, d.Ruling)
}

// rulings are those that count for the entries of a match; empty where there is none.
func (w *writer) rulings(ord int64) (map[storage.EntryID]storage.Ruling, error) {
	rulings := map[storage.EntryID]storage.Ruling{}
	_, err := list(w.ctx, w.db, func(row scanner) (_ struct{}, err error) {
		var id storage.EntryID
		var ruling storage.Ruling
		err = row.Scan(&id, &ruling)
		rulings[id] = ruling
		return struct{}{}, err
	}, "SELECT entry, ruling FROM match_entries WHERE ord = $1", ord)
	return rulings, err
}
