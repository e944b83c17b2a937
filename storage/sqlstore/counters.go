package sqlstore

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"vigie/storage"
)

// keptSteps is how many steps a count is kept: an hour more than anybody asks for.
const keptSteps = storage.DaySteps + storage.HourSteps

// tally counts the matches of one batch, so that an entry that floods costs one row and not thousands.
type tally map[storage.EntryID]map[int64]uint64 // by step

func (t tally) add(m storage.MatchRecord, now time.Time) {
	for _, e := range m.Entries {
		if t[e.Entry] == nil {
			t[e.Entry] = map[int64]uint64{}
		}
		t[e.Entry][storage.StepOf(m.At, now)]++
	}
}

// count adds a tally to what is counted, and removes as many old counts as it may have added, and some more.
func (w *writer) count(t tally, now time.Time) error {
	oldest := storage.StepOf(now, now) - keptSteps
	added := 0
	for _, entry := range slices.Sorted(maps.Keys(t)) {
		total := uint64(0)
		for step, n := range t[entry] {
			total += n
			if step < oldest {
				continue
			}
			added++
			if err := w.insert(countsTable, entry, step, n); err != nil {
				return fmt.Errorf("count matches of entry %d: %w", entry, err)
			}
		}
		if err := w.insert(totalsTable, entry, total, 0, 0); err != nil {
			return fmt.Errorf("count matches of entry %d: %w", entry, err)
		}
	}
	return wrap(w.exec(sweepCounts, oldest, 2*added+10), "counts before step", oldest)
}

const sweepCounts = `
	DELETE FROM match_counts WHERE (entry, step) IN (
		SELECT entry, step FROM match_counts WHERE step < $1 ORDER BY step, entry LIMIT $2)`

func (r *reader) Counters(ids []storage.EntryID) (map[storage.EntryID]storage.Counters, error) {
	if err := storage.CheckLabels(ids); err != nil {
		return nil, err
	}
	now := r.options.Time()
	present := storage.StepOf(now, now)
	counters := map[storage.EntryID]storage.Counters{}
	_, err := list(r.ctx, r.db, func(row scanner) (_ struct{}, err error) {
		var id storage.EntryID
		var c storage.Counters
		err = row.Scan(&id, &c.Total, &c.Confirmed, &c.Overturned, &c.Hour, &c.Day)
		counters[id] = c
		return struct{}{}, err
	}, selectCounters(r.dialect), jsonList(ids), present-storage.HourSteps, present-storage.DaySteps)
	if err != nil {
		return nil, fmt.Errorf("counters of %d entries: %w", len(ids), err)
	}
	return counters, nil
}

func selectCounters(d dialect) string {
	return `SELECT t.entry, t.total, t.confirmed, t.overturned,
		(SELECT COALESCE(SUM(c.n), 0) FROM match_counts c WHERE c.entry = t.entry AND c.step > $2),
		(SELECT COALESCE(SUM(c.n), 0) FROM match_counts c WHERE c.entry = t.entry AND c.step > $3)
		FROM match_totals t WHERE t.entry IN (` + d.ids("$1") + ")"
}

// judgedOf is what Judgements count of an entry's matches.
const judgedOf = `x.entry = $1 AND x.judged > 0 AND x.level <> 'none'
	AND x.judged > COALESCE((SELECT cleared FROM match_totals WHERE entry = $1), 0)`

const selectJudgements = `
	SELECT x.judged, m.node, m.number, m.party, m.content, m.bare, x.ruling
	FROM match_entries x CROSS JOIN matches m WHERE m.ord = x.ord AND x.party = $2 AND ` + judgedOf + `
	ORDER BY x.judged DESC LIMIT $3`

func (r *reader) Judgements(entry storage.EntryID, party storage.PartyID, limit int) ([]storage.Judgement, error) {
	if err := storage.CheckJudgements(limit); err != nil {
		return nil, err
	}
	judgements, err := list(r.ctx, r.db, func(row scanner) (j storage.Judgement, err error) {
		var ruling storage.Ruling
		err = row.Scan(&j.Decision, &j.Match.Node, &j.Match.Number, &j.Party, &j.ContentID, &j.Bare, &ruling)
		j.Wrong = ruling.Overturns()
		return j, err
	}, selectJudgements, entry, party, limit)
	return judgements, wrap(err, "judgements of entry", entry)
}

// selectJudges leaps from one party to the next.
const selectJudges = `
	WITH RECURSIVE p (id) AS (
		SELECT MIN(party) FROM match_entries WHERE entry = $1 AND judged > 0 AND level <> 'none'
		UNION ALL
		SELECT (SELECT MIN(party) FROM match_entries WHERE entry = $1 AND party > p.id AND judged > 0 AND level <> 'none')
		FROM p WHERE p.id IS NOT NULL
	) SELECT id FROM p WHERE EXISTS (SELECT 1 FROM match_entries x WHERE x.party = p.id AND ` + judgedOf + `)`

func (r *reader) Judges(entry storage.EntryID) ([]storage.PartyID, error) {
	parties, err := list(r.ctx, r.db, scanPartyID, selectJudges, entry)
	return parties, wrap(err, "judges of entry", entry)
}

func scanPartyID(row scanner) (p storage.PartyID, err error) {
	err = row.Scan(&p)
	return p, err
}

func selectTaken(d dialect) string {
	return "SELECT party, entry, labels FROM overlays WHERE entry = $1 AND taken" + d.isSet + " ORDER BY party"
}

func (w *writer) Clear(entry storage.EntryID) ([]storage.Overlay, error) {
	lifted, err := list(w.ctx, w.db, func(row scanner) (o storage.Overlay, err error) {
		err = row.Scan(&o.Party, &o.Entry, jsonColumn{&o.Labels})
		return o, err
	}, selectTaken(w.dialect), entry)
	for _, o := range lifted {
		if err == nil {
			err = w.SetOverlay(o)
		}
	}
	if err == nil {
		err = w.exec("UPDATE overlays SET alarm = 0 WHERE entry = $1 AND alarm > 0", entry)
	}
	if err == nil {
		err = w.exec("UPDATE match_totals SET cleared = (SELECT COALESCE(MAX(id), 0) FROM decisions) WHERE entry = $1", entry)
	}
	return lifted, wrap(err, "clear entry", entry)
}

const selectStatuses = `
	SELECT e.id, e.status, e.reason, b.deleted, COALESCE(o.disabled, FALSE)
	FROM entries e JOIN banks b ON b.id = e.bank LEFT JOIN overlays o ON o.party = $2 AND o.entry = e.id WHERE e.id IN (`

func (r *reader) Statuses(party storage.PartyID, ids []storage.EntryID) (map[storage.EntryID]storage.EntryStatus, error) {
	if err := storage.CheckLabels(ids); err != nil {
		return nil, err
	}
	statuses := map[storage.EntryID]storage.EntryStatus{}
	_, err := list(r.ctx, r.db, func(row scanner) (_ struct{}, err error) {
		var id storage.EntryID
		var s storage.EntryStatus
		err = row.Scan(&id, &s.Status, &s.Reason, &s.BankDeleted, &s.Disabled)
		statuses[id] = s
		return struct{}{}, err
	}, selectStatuses+r.dialect.ids("$1")+")", jsonList(ids), party)
	if err != nil {
		return nil, fmt.Errorf("status of %d entries: %w", len(ids), err)
	}
	return statuses, nil
}

// recount moves an entry's match from what one ruling says of it to what another says.
func (w *writer) recount(entry storage.EntryID, before, after storage.Ruling) error {
	difference := func(says func(storage.Ruling) bool) int {
		one := map[bool]int{true: 1}
		return one[says(after)] - one[says(before)]
	}
	confirmed, overturned := difference(storage.Ruling.Confirms), difference(storage.Ruling.Overturns)
	if cmp.Or(confirmed, overturned) == 0 {
		return nil
	}
	return wrap(w.exec("UPDATE match_totals SET confirmed = confirmed + $1, overturned = overturned + $2 WHERE entry = $3",
		confirmed, overturned, entry), "counters of entry", entry)
}
