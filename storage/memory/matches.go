package memory

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"vigie/storage"
)

func (r *reader) Match(id storage.MatchID) (storage.MatchRecord, error) {
	m, err := r.match(id)
	if err != nil {
		return storage.MatchRecord{}, err
	}
	return m.Normal(), nil
}

func (s *state) match(id storage.MatchID) (*storage.MatchRecord, error) {
	i := slices.IndexFunc(s.matches, func(m storage.MatchRecord) bool { return m.ID == id })
	if i < 0 {
		return nil, missing("match", id)
	}
	return &s.matches[i], nil
}

func (r *reader) Matches(q storage.MatchQuery) ([]storage.MatchRecord, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	var page []storage.MatchRecord
	for _, m := range slices.Backward(r.matches) {
		if len(page) < q.Limit &&
			(q.Before == 0 || m.Ord < q.Before) &&
			(q.Party == 0 || m.Party == q.Party) &&
			within(m.At, q.From, q.Until) &&
			(q.Bank == 0 || slices.ContainsFunc(m.Entries, func(e storage.MatchEntry) bool { return e.Bank == q.Bank })) &&
			(q.Entry == 0 || slices.ContainsFunc(m.Entries, func(e storage.MatchEntry) bool { return e.Entry == q.Entry })) &&
			(q.Level == "" || m.Level == q.Level) &&
			(q.Content == "" || m.ContentID == q.Content) &&
			(!q.Standing || r.stands(m, q)) {
			m = m.Normal()
			m.Verdict = nil
			page = append(page, m)
		}
	}
	return page, nil
}

// within compares a time that is kept with bounds, of which a zero one does not bound.
func within(at, from, until time.Time) bool {
	from, until = storage.KeptTime(from), storage.KeptTime(until)
	return (from.IsZero() || !at.Before(from)) && (until.IsZero() || at.Before(until))
}

// stands reports whether the last decision about one of the entries asked for removed the content.
func (s *state) stands(m storage.MatchRecord, q storage.MatchQuery) bool {
	return slices.ContainsFunc(m.Entries, func(e storage.MatchEntry) bool {
		ruling := storage.Ruling("")
		for _, d := range s.decisions {
			if d.Match == m.ID && slices.Contains(d.Entries, e.Entry) {
				ruling = d.Ruling
			}
		}
		asked := e.Entry == q.Entry || q.Entry == 0 && (q.Bank == 0 || e.Bank == q.Bank)
		return asked && ruling == storage.Removed
	})
}

func (r *reader) Decisions(ids []storage.MatchID) (map[storage.MatchID][]storage.Decision, error) {
	if err := storage.CheckMatchIDs(ids); err != nil {
		return nil, err
	}
	decisions := map[storage.MatchID][]storage.Decision{}
	for _, d := range r.decisions {
		if slices.Contains(ids, d.Match) {
			decisions[d.Match] = append(decisions[d.Match], d.Normal())
		}
	}
	return decisions, nil
}

func (r *reader) Counters(ids []storage.EntryID) (map[storage.EntryID]storage.Counters, error) {
	if err := storage.CheckLabels(ids); err != nil {
		return nil, err
	}
	now := r.options.Time()
	present := storage.StepOf(now, now)
	counters := map[storage.EntryID]storage.Counters{}
	for _, id := range ids {
		c, there := r.totals[id]
		if !there {
			continue
		}
		for at, n := range r.counts {
			if at.entry == id && at.step > present-storage.HourSteps {
				c.Hour += n
			}
			if at.entry == id && at.step > present-storage.DaySteps {
				c.Day += n
			}
		}
		counters[id] = c
	}
	return counters, nil
}

func (r *reader) Shipped(node string) (uint64, error) { return r.shipped[node], nil }

func (w *writer) SetShipped(node string, number uint64) error {
	if number < w.shipped[node] {
		return fmt.Errorf("journal of node %s is shipped up to %d, not %d: %w", node, w.shipped[node], number, storage.ErrConflict)
	}
	w.shipped[node] = number
	return nil
}

func (w *writer) AddMatches(node string, matches []storage.MatchRecord) error {
	if err := storage.CheckMatches(node, w.shipped[node], matches); err != nil {
		return err
	}
	for _, m := range matches {
		if _, err := w.match(m.ID); err == nil {
			return fmt.Errorf("match %s: %w", m.ID, storage.ErrExists)
		}
	}
	for _, m := range storage.Unseen(matches, w.hasPast) {
		w.lastMatch++
		m.Ord = w.lastMatch
		if slices.ContainsFunc(w.erasures, m.ErasedBy) {
			m.ContentID = ""
		}
		w.matches = append(w.matches, m.Normal())
		for _, e := range m.Entries {
			w.counts[step{e.Entry, storage.StepOf(m.At, w.options.Time())}]++
			total := w.totals[e.Entry]
			total.Total++
			w.totals[e.Entry] = total
		}
	}
	return nil
}

func (w *writer) AddDecision(d *storage.Decision) error {
	if err := d.Check(); err != nil {
		return err
	}
	m, err := w.match(d.Match)
	if err != nil {
		return err
	}
	for _, id := range d.Entries {
		if !slices.ContainsFunc(m.Entries, func(e storage.MatchEntry) bool { return e.Entry == id }) {
			return fmt.Errorf("match %s: %w", d.Match, missing("entry", id))
		}
	}
	for _, id := range d.Entries {
		total := w.totals[id]
		before, _ := w.rulingOn(d.Match, id)
		after := d.Ruling.After(before)
		total.Confirmed += one(after.Confirms()) - one(before.Confirms())
		total.Overturned += one(after.Overturns()) - one(before.Overturns())
		w.totals[id] = total
	}
	w.lastRuled++
	d.ID, d.At = w.lastRuled, w.options.Time()
	w.decisions = append(w.decisions, d.Normal())
	return nil
}

// rulingOn is the one that counts for an entry of a match, and the decision that it is of.
func (s *state) rulingOn(id storage.MatchID, entry storage.EntryID) (ruling storage.Ruling, decision uint64) {
	for _, d := range s.decisions {
		if d.Match == id && slices.Contains(d.Entries, entry) {
			if d.Ruling.After(ruling) == d.Ruling {
				ruling, decision = d.Ruling, d.ID
			}
		}
	}
	return ruling, decision
}

func (r *reader) Judgements(entry storage.EntryID, party storage.PartyID, limit int) ([]storage.Judgement, error) {
	if err := storage.CheckJudgements(limit); err != nil {
		return nil, err
	}
	judgements := slices.DeleteFunc(r.judgements(entry), func(j storage.Judgement) bool { return j.Party != party })
	return judgements[:min(limit, len(judgements))], nil
}

func (r *reader) Judges(entry storage.EntryID) (parties []storage.PartyID, err error) {
	for _, j := range r.judgements(entry) {
		parties = append(parties, j.Party)
	}
	slices.Sort(parties)
	return slices.Compact(parties), nil
}

// judgements are those of all parties, newest first.
func (s *state) judgements(entry storage.EntryID) (judgements []storage.Judgement) {
	for _, m := range s.matches {
		ruling, decision := s.rulingOn(m.ID, entry)
		counted := slices.ContainsFunc(m.Entries, func(e storage.MatchEntry) bool { return e.Entry == entry && e.Level != "none" })
		if counted && decision > s.cleared[entry] && (ruling.Confirms() || ruling.Overturns()) {
			judgements = append(judgements, storage.Judgement{
				Decision: decision, Match: m.ID, Party: m.Party, ContentID: m.ContentID, Bare: m.Bare, Wrong: ruling.Overturns(),
			})
		}
	}
	slices.SortFunc(judgements, func(a, b storage.Judgement) int { return cmp.Compare(b.Decision, a.Decision) })
	return judgements
}

func (w *writer) Clear(entry storage.EntryID) (lifted []storage.Overlay, err error) {
	w.cleared[entry] = w.lastRuled
	for at, t := range w.taken {
		if at.entry != entry {
			continue
		}
		delete(w.taken, at)
		if o := w.overlays[at].Normal(); t.own {
			o.Disabled = false
			lifted = append(lifted, o)
			if err := w.SetOverlay(o); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(lifted, func(a, b storage.Overlay) int { return cmp.Compare(a.Party, b.Party) })
	return lifted, nil
}

func (r *reader) Statuses(party storage.PartyID, ids []storage.EntryID) (map[storage.EntryID]storage.EntryStatus, error) {
	if err := storage.CheckLabels(ids); err != nil {
		return nil, err
	}
	statuses := map[storage.EntryID]storage.EntryStatus{}
	for _, id := range ids {
		if e, err := r.Entry(id); err == nil {
			statuses[id] = storage.EntryStatus{
				Status: e.Status, Reason: e.Reason, BankDeleted: r.banks[e.Bank-1].Deleted, Disabled: r.overlays[holder{party, id}].Disabled,
			}
		}
	}
	return statuses, nil
}

func one(yes bool) uint64 {
	if yes {
		return 1
	}
	return 0
}

func (w *writer) EraseContent(party storage.PartyID, content string) (erased int, err error) {
	for i, m := range w.matches {
		if content != "" && m.Party == party && m.ContentID == content {
			w.matches[i].ContentID = ""
			erased++
		}
	}
	return erased + w.eraseItem(party, content), nil
}

func (w *writer) ExpireMatches(party storage.PartyID, before time.Time, limit int) (int, error) {
	if err := storage.CheckRemoved(limit); err != nil {
		return 0, err
	}
	old := slices.DeleteFunc(slices.Clone(w.matches), func(m storage.MatchRecord) bool {
		return m.Party != party || !m.At.Before(storage.KeptTime(before))
	})
	slices.SortStableFunc(old, func(a, b storage.MatchRecord) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Ord, b.Ord)) })
	old = old[:min(limit, len(old))]
	gone := map[storage.MatchID]bool{}
	for _, m := range old {
		gone[m.ID] = true
	}
	w.matches = slices.DeleteFunc(w.matches, func(m storage.MatchRecord) bool { return gone[m.ID] })
	w.decisions = slices.DeleteFunc(w.decisions, func(d storage.Decision) bool { return gone[d.Match] })
	return len(old), nil
}

func (r *reader) SignIns(q storage.SignInQuery) ([]storage.SignIn, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	var page []storage.SignIn
	for _, s := range slices.Backward(r.signIns) {
		if len(page) < q.Limit && (q.Before == 0 || s.Ord < q.Before) && (q.Party == 0 || s.Party == q.Party) && within(s.At, q.From, q.Until) {
			page = append(page, s)
		}
	}
	return page, nil
}

func (w *writer) AddSignIns(node string, signIns []storage.SignIn) error {
	if err := storage.CheckSignIns(node, w.shipped[node], signIns); err != nil {
		return err
	}
	for _, s := range signIns {
		if slices.ContainsFunc(w.signIns, func(o storage.SignIn) bool { return o.ID == s.ID }) {
			return fmt.Errorf("sign-in %s: %w", s.ID, storage.ErrExists)
		}
	}
	for _, s := range signIns {
		w.lastSign++
		s.Ord, s.At = w.lastSign, storage.KeptTime(s.At)
		w.signIns = append(w.signIns, s)
	}
	return nil
}

func (w *writer) ExpireSignIns(before time.Time, limit int) (int, error) {
	if err := storage.CheckRemoved(limit); err != nil {
		return 0, err
	}
	old := slices.DeleteFunc(slices.Clone(w.signIns), func(s storage.SignIn) bool { return !s.At.Before(storage.KeptTime(before)) })
	slices.SortStableFunc(old, func(a, b storage.SignIn) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Ord, b.Ord)) })
	old = old[:min(limit, len(old))]
	gone := map[storage.MatchID]bool{}
	for _, s := range old {
		gone[s.ID] = true
	}
	w.signIns = slices.DeleteFunc(w.signIns, func(s storage.SignIn) bool { return gone[s.ID] })
	return len(old), nil
}
