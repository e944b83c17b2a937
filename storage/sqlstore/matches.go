package sqlstore

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"vigie/storage"
)

const selectMatches = `SELECT ord, node, number, at, party, key, content, level, action, index_seq, bare FROM matches `

func scanMatch(row scanner) (m storage.MatchRecord, err error) {
	err = row.Scan(&m.Ord, &m.ID.Node, &m.ID.Number, timeColumn{&m.At}, &m.Party, &m.Key, &m.ContentID, &m.Level, &m.Action, &m.IndexSeq, &m.Bare)
	return m, err
}

func (r *reader) Match(id storage.MatchID) (storage.MatchRecord, error) {
	m, err := scanMatch(r.row(selectMatches+"WHERE node = $1 AND number = $2", id.Node, id.Number))
	if err != nil {
		return storage.MatchRecord{}, wrap(err, "match", id)
	}
	page := []storage.MatchRecord{m}
	if err := r.fillMatches(page); err != nil {
		return storage.MatchRecord{}, wrap(err, "match", id)
	}
	var verdict string
	err = r.row("SELECT verdict FROM match_verdicts WHERE ord = $1", m.Ord).Scan(&verdict)
	if err == nil {
		page[0].Verdict = json.RawMessage(verdict)
	}
	return page[0], wrap(ignore(err, sql.ErrNoRows), "verdict of match", id)
}

func (r *reader) Matches(q storage.MatchQuery) ([]storage.MatchRecord, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	if !storage.IsText(q.Content) || !storage.IsText(q.Level) {
		return nil, nil
	}
	ords, err := r.matchOrds(q)
	if err != nil || len(ords) == 0 {
		return nil, wrap(err, "matches before", q.Before)
	}
	page, err := list(r.ctx, r.db, scanMatch, selectMatches+"WHERE ord IN ("+r.dialect.ids("$1")+") ORDER BY ord DESC", jsonList(ords))
	if err == nil {
		err = r.fillMatches(page)
	}
	if err != nil {
		return nil, fmt.Errorf("matches before %d: %w", q.Before, err)
	}
	return page, nil
}

// fillMatches adds their entries to matches, which are in the order of Ord, newest first.
func (r *reader) fillMatches(page []storage.MatchRecord) error {
	ords := make([]uint64, len(page))
	for i, m := range page {
		ords[i] = m.Ord
	}
	at := 0
	_, err := list(r.ctx, r.db, func(row scanner) (_ struct{}, err error) {
		var ord uint64
		var e storage.MatchEntry
		if err := row.Scan(&ord, &e.Entry, &e.Bank, &e.Level, &e.Exact); err != nil {
			return struct{}{}, err
		}
		for page[at].Ord != ord {
			at++
		}
		page[at].Entries = append(page[at].Entries, e)
		return struct{}{}, nil
	}, "SELECT ord, entry, bank, level, exact FROM match_entries WHERE ord IN ("+r.dialect.ids("$1")+") ORDER BY ord DESC, place", jsonList(ords))
	if err == nil {
		err = r.fillPast(page, ords)
	}
	return err
}

// matchParties is the query for the parties that have matches. It leaps from one to the next.
const matchParties = `
	WITH RECURSIVE p (id) AS (
		SELECT MIN(party) FROM matches
		UNION ALL
		SELECT (SELECT MIN(party) FROM matches WHERE party > p.id) FROM p WHERE p.id IS NOT NULL
	) SELECT id FROM p WHERE id IS NOT NULL`

// matchOrds returns the numbers of a page.
func (r *reader) matchOrds(q storage.MatchQuery) ([]int64, error) {
	l := matchListing(r.dialect, q)
	before, some, err := r.bound(&l, "match", q.Before, q.From, q.Until)
	switch {
	case err != nil || !some:
		return nil, err
	case q.Party != 0 || l.group == "":
		return r.ofGroup(l, int64(q.Party), before, q.Limit)
	}
	return r.merged(l, matchParties, nil, before, q.Limit)
}

// matchListing walks the index in which the fewest matches of a party lie beside those that are asked for.
func matchListing(d dialect, q storage.MatchQuery) listed {
	l := listed{from: "matches m", id: "m.ord", group: "m.party", descending: true}
	if q.Content == "" && (q.Entry != 0 || q.Bank != 0) {
		return matchesOfEntries(d, q)
	}
	if q.Content != "" {
		l.where("m.content", "=", q.Content)
		l.conditions += " AND m.content <> ''"
	}
	if q.Standing {
		l.conditions += " AND m.standing" + d.isSet
	}
	l.ofMatch(q)
	stands := ""
	if q.Standing {
		stands = " AND x.standing" + d.isSet
	}
	if q.Entry != 0 {
		l.conditions += fmt.Sprintf(" AND EXISTS (SELECT 1 FROM match_entries x WHERE x.ord = m.ord AND x.entry = %s%s)", l.arg(q.Entry), stands)
		stands = ""
	}
	if q.Bank != 0 {
		l.conditions += fmt.Sprintf(" AND EXISTS (SELECT 1 FROM match_entries x WHERE x.ord = m.ord AND x.bank = %s%s)", l.arg(q.Bank), stands)
	}
	if q.Party == 0 && q.Content == "" && !q.Standing && q.Level == "" {
		l.group = "" // all, or all of a time
	}
	return l
}

// matchesOfEntries is matchListing by entry or bank.
func matchesOfEntries(d dialect, q storage.MatchQuery) listed {
	l := listed{from: "match_entries x", id: "x.ord", group: "x.party", descending: true}
	stands := " AND x.standing" + d.isSet
	if q.Entry != 0 {
		l.where("x.entry", "=", q.Entry)
	} else {
		l.where("x.bank", "=", q.Bank)
		l.conditions += " AND x.lead" + d.isSet
		stands = " AND x.bank_standing" + d.isSet
	}
	if q.Standing {
		l.conditions += stands
	}
	if q.Entry != 0 && q.Bank != 0 {
		l.conditions += fmt.Sprintf(" AND EXISTS (SELECT 1 FROM match_entries y WHERE y.ord = x.ord AND y.bank = %s)", l.arg(q.Bank))
	}
	outer := l.conditions
	l.conditions = ""
	l.ofMatch(q)
	if l.conditions != "" {
		outer += fmt.Sprintf(" AND EXISTS (SELECT 1 FROM matches m WHERE m.ord = x.ord%s)", l.conditions)
	}
	l.conditions = outer
	return l
}

// ofMatch adds the conditions on level and time.
func (l *listed) ofMatch(q storage.MatchQuery) {
	if q.Level != "" {
		l.where("m.level", "=", q.Level)
	}
	l.within("m.at", q.From, q.Until)
}

// within adds the conditions on a time. Zero bounds do not bound.
func (l *listed) within(column string, from, until time.Time) {
	if !from.IsZero() {
		l.where(column, ">=", millis(from))
	}
	if !until.IsZero() {
		l.where(column, "<", millis(until))
	}
}

// bound limits a listing of what arrived to the numbers that a time can have, and returns the one before which it begins.
// some is false if there is nothing of that time.
func (r *reader) bound(l *listed, what string, before uint64, from, until time.Time) (_ int64, some bool, err error) {
	start := int64(math.MaxInt64)
	if before > 0 && before < math.MaxInt64 {
		start = int64(before)
	}
	if from.IsZero() && until.IsZero() {
		return start, true, nil
	}
	first, last := int64(math.MinInt64), int64(math.MaxInt64)
	if !from.IsZero() {
		first = hourOf(from)
	}
	if !until.IsZero() {
		last = hourOf(until)
	}
	var lowest, highest sql.NullInt64
	err = r.row("SELECT MIN(first), MAX(last) FROM arrivals WHERE what = $1 AND hour >= $2 AND hour <= $3", what, first, last).Scan(&lowest, &highest)
	if err != nil || !lowest.Valid {
		return 0, false, err
	}
	l.where(l.id, ">=", lowest.Int64)
	return min(start, highest.Int64+1), true, nil
}

func hourOf(t time.Time) int64 { return millis(t) / time.Hour.Milliseconds() }

// arrived notes the numbers that things of some hours got.
func (w *writer) arrived(what string, hours map[int64][2]uint64) error {
	for hour, ords := range hours {
		err := w.exec(`
			INSERT INTO arrivals (what, hour, first, last) VALUES ($1, $2, $3, $4)
			ON CONFLICT (what, hour) DO UPDATE SET last = excluded.last`, what, hour, ords[0], ords[1])
		if err != nil {
			return fmt.Errorf("hour of arrival: %w", err)
		}
	}
	return nil
}

// span widens the numbers of an hour by one that is larger than they are.
func span(hours map[int64][2]uint64, at time.Time, ord uint64) {
	hour := hourOf(at)
	ords, there := hours[hour]
	if !there {
		ords[0] = ord
	}
	hours[hour] = [2]uint64{ords[0], ord}
}

func (w *writer) AddMatches(node string, matches []storage.MatchRecord) error {
	shipped, err := w.Shipped(node)
	if err != nil {
		return err
	}
	if err := storage.CheckMatches(node, shipped, matches); err != nil {
		return err
	}
	if err := w.areNew("matches", node, len(matches), func(i int) uint64 { return matches[i].ID.Number }); err != nil {
		return err
	}
	matches, err = w.unseen(matches)
	if err != nil || len(matches) == 0 {
		return err
	}
	erasures, err := w.erasuresOf(matches)
	if err != nil {
		return err
	}
	hours := map[int64][2]uint64{}
	tally := tally{}
	now := w.options.Time()
	ords, err := w.newIDs(matchesTable, len(matches))
	if err != nil {
		return err
	}
	for i, m := range matches {
		m.At, m.Ord = storage.KeptTime(m.At), uint64(ords[i])
		if slices.ContainsFunc(erasures, m.ErasedBy) {
			m.ContentID = ""
		}
		if err := w.addMatch(m); err != nil {
			return fmt.Errorf("match %s: %w", m.ID, err)
		}
		span(hours, m.At, m.Ord)
		tally.add(m, now)
	}
	if err := w.arrived("match", hours); err != nil {
		return err
	}
	return w.count(tally, now)
}

// areNew is ErrExists if a table has one of n numbers of a node, which ascend.
func (w *writer) areNew(table, node string, n int, number func(int) uint64) error {
	if n == 0 {
		return nil
	}
	numbers := make(map[uint64]bool, n)
	for i := range n {
		numbers[number(i)] = true
	}
	there, err := list(w.ctx, w.db, scanID[uint64], "SELECT number FROM "+table+" WHERE node = $1 AND number >= $2 AND number <= $3 ORDER BY number",
		node, number(0), number(n-1))
	if err != nil {
		return fmt.Errorf("records of the node %s: %w", node, err)
	}
	for _, t := range there {
		if numbers[t] {
			return existsAlready(nil, "record", storage.MatchID{Node: node, Number: t})
		}
	}
	return nil
}

func (w *writer) addMatch(m storage.MatchRecord) error {
	err := w.insert(matchesTable, m.Ord, m.ID.Node, m.ID.Number, millis(m.At), m.Party, m.Key, m.ContentID, string(m.Level), string(m.Action), m.IndexSeq, m.Bare)
	if err != nil {
		return err
	}
	if m.Past != nil {
		err := w.insert(pastUploadsTable, m.Ord, m.Entries[0].Entry, m.Past.Upload.Node, m.Past.Upload.Number, millis(m.Past.At))
		if err != nil {
			return err
		}
	}
	if len(m.Verdict) > 0 {
		if err := w.insert(verdictsTable, m.Ord, string(m.Verdict)); err != nil {
			return err
		}
	}
	seen := map[storage.BankID]bool{}
	for i, e := range m.Entries {
		err := w.insert(matchEntriesTable, m.Ord, i, m.Party, e.Entry, e.Bank, string(e.Level), e.Exact, !seen[e.Bank])
		if err != nil {
			return err
		}
		seen[e.Bank] = true
	}
	return nil
}

const eraseContent = "UPDATE matches SET content = '' WHERE party = $1 AND content = $2 AND content <> ''"

func (w *writer) EraseContent(party storage.PartyID, content string) (erased int, err error) {
	if content == "" {
		return 0, nil
	}
	erase := func(statement string, args ...any) error {
		result, err := w.db.ExecContext(w.ctx, statement, args...)
		if err != nil {
			return fmt.Errorf("erase the name of an upload: %w", err)
		}
		n, err := result.RowsAffected()
		erased += int(n)
		return err
	}
	if storage.IsText(content) { // names of items need not be
		err = erase(eraseContent, party, content)
	}
	for _, statement := range []string{eraseRescanHits, eraseRescanFailures} {
		if err == nil {
			err = erase(statement, party, []byte(content), []byte{})
		}
	}
	return erased, err
}

// removeMatches takes along what refers to them.
const removeMatches = "DELETE FROM matches WHERE ord IN (SELECT ord FROM matches WHERE at < $1 AND party = $3 ORDER BY at, ord LIMIT $2)"

func (w *writer) ExpireMatches(party storage.PartyID, before time.Time, limit int) (int, error) {
	return w.remove(removeMatches, before, limit, party)
}

// Journals.

func (r *reader) Shipped(node string) (shipped uint64, err error) {
	err = r.row("SELECT COALESCE(MAX(shipped), 0) FROM journals WHERE node = $1", node).Scan(&shipped)
	return shipped, wrap(err, "journal of node", node)
}

func (w *writer) SetShipped(node string, number uint64) error {
	shipped, err := w.Shipped(node)
	if err != nil {
		return err
	}
	if number < shipped {
		return fmt.Errorf("journal of node %s is shipped up to %d, not %d: %w", node, shipped, number, storage.ErrConflict)
	}
	return wrap(w.exec(`
		INSERT INTO journals (node, shipped) VALUES ($1, $2)
		ON CONFLICT (node) DO UPDATE SET shipped = excluded.shipped`, node, number), "journal of node", node)
}
