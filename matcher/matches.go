package matcher

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"vigie/hashing"
	"vigie/storage"
	"vigie/storage/journal"
)

// What checks find happens too often for the change log: it goes to the node's journal before the verdict is answered, and
// from there to the catalogue. What people decide about it goes through the log.

// Journal keeps records of this node until they are in the catalogue. *journal.Journal is one.
type Journal interface {
	// Append stores a record durably before it returns.
	Append(ctx context.Context, kind string, body []byte) (journal.ID, error)
}

// Kinds of records.
const (
	matchRecord  = "match"
	signInRecord = "signin"
)

// record writes a verdict that found something to the journal, and names it.
func (m *Matcher) record(ctx context.Context, who Principal, v *Verdict) {
	if m.o.Journal == nil || v.MatchesTotal == 0 {
		return
	}
	bare := *v
	bare.Signals, bare.ContentID = nil, ""
	if v.Media != nil {
		media := *v.Media
		media.SHA256 = hashing.Value{}
		bare.Media = &media
	}
	r := storage.MatchRecord{
		Party: who.Party, Key: who.Actor, ContentID: v.ContentID, Level: v.Level.String(), Action: v.Action.String(),
		IndexSeq: v.IndexSeq,
	}
	for _, f := range v.Matches {
		r.Entries = append(r.Entries, storage.MatchEntry{Entry: f.Entry, Bank: f.Bank.ID, Level: f.counts().String(), Exact: f.exact()})
	}
	body, err := m.body(r, bare)
	for err == nil && len(body) > journal.MaxBody && len(bare.Matches) > 1 { // many videos: the strongest are told in full
		bare.Matches = bare.Matches[:len(bare.Matches)/2]
		body, err = m.body(r, bare)
	}
	var id journal.ID
	if err == nil {
		id, err = m.o.Journal.Append(ctx, matchRecord, body)
	}
	if err != nil {
		v.Unrecorded = true
		m.fault(fmt.Errorf("record a match: %w", err))
		return
	}
	v.MatchID = storage.MatchID(id)
}

func (m *Matcher) body(r storage.MatchRecord, bare Verdict) (body []byte, err error) {
	if r.Verdict, err = m.o.Render(bare); err == nil {
		body, err = json.Marshal(r)
	}
	return body, err
}

// SignedIn notes that a key was used from an address, once an hour.
func (m *Matcher) SignedIn(ctx context.Context, who Principal, address string) {
	if m.o.Journal == nil || !m.signIns.first(signIn{who.Actor, address, m.o.Now().Truncate(time.Hour).Unix()}) {
		return
	}
	body, err := json.Marshal(storage.SignIn{Key: who.Actor, Party: who.Party, Address: address})
	if err == nil {
		_, err = m.o.Journal.Append(ctx, signInRecord, body)
	}
	if err != nil {
		m.fault(fmt.Errorf("record a sign-in: %w", err))
	}
}

// Deliver stores records of one node's journal in the catalogue, in one transaction; those that it has already are left
// out. What cannot be read is reported and left out: it would hold up all that follows.
func (m *Matcher) Deliver(ctx context.Context, records []journal.Record) error {
	if len(records) == 0 {
		return nil
	}
	node, last := records[0].ID.Node, records[len(records)-1].ID.Number
	var faults []error
	err := m.catalogue.Update(ctx, func(w storage.Writer) error {
		faults = nil
		shipped, err := w.Shipped(node)
		if err != nil {
			return err
		}
		var matches []storage.MatchRecord
		var signIns []storage.SignIn
		for _, r := range records {
			if r.ID.Number <= shipped {
				continue
			}
			id, fault := storage.MatchID(r.ID), error(nil)
			switch r.Kind {
			case matchRecord:
				var match storage.MatchRecord
				fault = json.Unmarshal(r.Body, &match)
				match.ID, match.At = id, r.At
				if fault = cmp.Or(fault, storage.CheckMatches(node, shipped, []storage.MatchRecord{match})); fault == nil {
					matches = append(matches, match)
				}
			case signInRecord:
				var s storage.SignIn
				fault = json.Unmarshal(r.Body, &s)
				s.ID, s.At = id, r.At
				if fault = cmp.Or(fault, storage.CheckSignIns(node, shipped, []storage.SignIn{s})); fault == nil {
					signIns = append(signIns, s)
				}
			default:
				fault = fmt.Errorf("kind %q is not known", r.Kind)
			}
			if fault != nil {
				faults = append(faults, fmt.Errorf("record %s of the journal: %w", id, fault))
			}
		}
		if err := w.AddMatches(node, matches); err != nil {
			return err
		}
		if err := w.AddSignIns(node, signIns); err != nil {
			return err
		}
		return w.SetShipped(node, max(shipped, last))
	})
	if err != nil {
		return fmt.Errorf("deliver the journal: %w", err)
	}
	for _, f := range faults {
		m.fault(f)
	}
	return nil
}

// MatchView is a match with what was decided about it, oldest first.
type MatchView struct {
	storage.MatchRecord
	Decisions []storage.Decision
}

// Matches lists what who's party was told, newest first; who oversees sees all. For what rested on an entry, its owner sees
// the matches of all parties, without their names for the contents, their decisions' reasons and entries of other parties'
// banks. What the last seconds have brought may be missing: see [journal.Journal.Ship].
func (m *Matcher) Matches(ctx context.Context, who Principal, q storage.MatchQuery) (matches []MatchView, err error) {
	err = m.catalogue.View(ctx, func(r storage.Reader) error {
		ofOwner := false
		if q.Entry != 0 {
			e, b, err := entryFor(r, who, q.Entry)
			if err != nil {
				return err
			}
			ofOwner = b.Owner == who.Party && e.ID == q.Entry
		}
		if !who.oversees() && !ofOwner {
			q.Party = who.Party
		}
		found, err := r.Matches(q)
		if err != nil {
			return err
		}
		matches, err = withDecisions(r, who, found)
		return err
	})
	return matches, err
}

// Match is one match of who's party. ErrUnknownMatch.
func (m *Matcher) Match(ctx context.Context, who Principal, id storage.MatchID) (MatchView, error) {
	v, err := m.match(ctx, who, id)
	if errors.Is(err, ErrUnknownMatch) && m.o.Ship != nil && m.o.Ship(ctx) == nil { // it may be on its way
		v, err = m.match(ctx, who, id)
	}
	return v, err
}

func (m *Matcher) match(ctx context.Context, who Principal, id storage.MatchID) (v MatchView, err error) {
	err = m.catalogue.View(ctx, func(r storage.Reader) error {
		found, err := matchFor(r, who, id)
		if err != nil {
			return err
		}
		views, err := withDecisions(r, who, []storage.MatchRecord{found})
		if err == nil {
			v = views[0]
		}
		return err
	})
	return v, err
}

func matchFor(r storage.Reader, who Principal, id storage.MatchID) (storage.MatchRecord, error) {
	found, err := r.Match(id)
	if err == nil && found.Party != who.Party && !who.oversees() {
		err = storage.ErrNotFound
	}
	return found, translate(err, ErrUnknownMatch, id)
}

func withDecisions(r storage.Reader, who Principal, found []storage.MatchRecord) ([]MatchView, error) {
	ids := make([]storage.MatchID, len(found))
	for i, f := range found {
		ids[i] = f.ID
	}
	decisions, err := r.Decisions(ids)
	views := make([]MatchView, len(found))
	for i, f := range found {
		views[i] = MatchView{f, decisions[f.ID]}
		if f.Party != who.Party && !who.oversees() {
			views[i].redact(r, who)
		}
	}
	return views, err
}

// redact leaves of another party's match what the owner of some of its entries may know.
func (v *MatchView) redact(r storage.Reader, who Principal) {
	v.ContentID, v.Key, v.Verdict = "", "", nil
	v.Entries = slices.DeleteFunc(v.Entries, func(e storage.MatchEntry) bool {
		b, err := r.Bank(e.Bank)
		return err != nil || who.own(b) != nil
	})
	for i := range v.Decisions {
		d := &v.Decisions[i]
		d.Reason, d.Actor = "", ""
		d.Entries = slices.DeleteFunc(d.Entries, func(id storage.EntryID) bool {
			return !slices.ContainsFunc(v.Entries, func(e storage.MatchEntry) bool { return e.Entry == id })
		})
	}
	v.Decisions = slices.DeleteFunc(v.Decisions, func(d storage.Decision) bool { return len(d.Entries) == 0 })
}

// Decision is what a platform did about a match.
type Decision struct {
	Match   storage.MatchID
	Ruling  storage.Ruling
	Entries []storage.EntryID // of the match; none: all that counted
	// MatchCorrect and LabelCorrect are asked apart; nil: not said. A ruling that implies the first says it.
	MatchCorrect, LabelCorrect *bool
	Reason                     string
}

// Decided answers a decision.
type Decided struct {
	storage.Decision
	Seq uint64
	// Quarantined are entries that the decision has taken out, by their banks' bounds on what people overturn.
	Quarantined []storage.EntryID
}

// Decide notes what who's party did about one of its matches, in the place of what it noted before. An entry whose matches
// are overturned beyond the bound of its bank is quarantined with it. ErrUnknownMatch, also for one that is not in the
// catalogue yet; [*InputError].
func (m *Matcher) Decide(ctx context.Context, who Principal, d Decision) (out Decided, err error) {
	if !slices.Contains(storage.Rulings(), d.Ruling) {
		return out, invalid("ruling", "%q; accepted are removed, kept, exempt, wrong_match, bad_hash, restored", d.Ruling)
	}
	if err := checkLength("reason", d.Reason, maxReason); err != nil {
		return out, err
	}
	correct := d.Ruling != storage.WrongMatch
	if d.Ruling == storage.WrongMatch || d.Ruling == storage.Exempt {
		if d.MatchCorrect != nil && *d.MatchCorrect != correct {
			return out, invalid("match_correct", "%t; %s says that it is %t", *d.MatchCorrect, d.Ruling, correct)
		}
		d.MatchCorrect = &correct
	}
	if _, err := m.Match(ctx, who, d.Match); err != nil {
		return out, err
	}
	decision, err := m.update(ctx, func(w storage.Writer) (*storage.Change, error) {
		match, err := matchFor(w, who, d.Match)
		if err == nil && match.Party != who.Party {
			err = fmt.Errorf("%w: match %s", ErrForeign, d.Match)
		}
		if err != nil {
			return nil, err
		}
		out = Decided{Decision: storage.Decision{
			Match: d.Match, Party: who.Party, Ruling: d.Ruling, Entries: d.Entries,
			MatchCorrect: d.MatchCorrect, LabelCorrect: d.LabelCorrect, Reason: d.Reason, Actor: who.Actor,
		}}
		if out.Entries, err = decidedEntries(match, d.Entries); err != nil {
			return nil, err
		}
		if err := w.AddDecision(&out.Decision); err != nil {
			return nil, err
		}
		if d.Ruling.Overturns() {
			if out.Quarantined, err = quarantineOverturned(w, out.Entries); err != nil {
				return nil, err
			}
		}
		body := storage.DecisionBody{
			Match: d.Match.String(), Ruling: d.Ruling, Entries: out.Entries, MatchCorrect: d.MatchCorrect, LabelCorrect: d.LabelCorrect,
		}
		c := storage.Change{Kind: storage.DecisionMade, Actor: who.Actor, Party: who.Party}
		return draft(c, body, private{Reason: d.Reason}), nil
	})
	if err != nil {
		return Decided{}, err
	}
	out.Seq = decision.Seq
	if decision.replayed {
		v, err := m.Match(ctx, who, d.Match)
		if err == nil && len(v.Decisions) > 0 {
			out.Decision = v.Decisions[len(v.Decisions)-1]
		}
		return out, err
	}
	m.settle(ctx, decision.Seq)
	return out, nil
}

// decidedEntries are the entries that a decision is about.
func decidedEntries(match storage.MatchRecord, named []storage.EntryID) (ids []storage.EntryID, err error) {
	for _, e := range match.Entries {
		if len(named) == 0 && e.Level != None.String() || slices.Contains(named, e.Entry) {
			ids = append(ids, e.Entry)
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	for _, id := range named {
		if !slices.Contains(ids, id) {
			return nil, invalid("entries", "%d is none of the match", id)
		}
	}
	if len(ids) == 0 {
		for _, e := range match.Entries { // nothing counted, and yet something is said of it
			ids = append(ids, e.Entry)
		}
	}
	return ids, nil
}

// quarantineOverturned takes out the entries whose matches are overturned beyond the bounds of their banks.
func quarantineOverturned(w storage.Writer, ids []storage.EntryID) (taken []storage.EntryID, err error) {
	counters, err := w.Counters(ids)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		e, err := w.Entry(id)
		if errors.Is(err, storage.ErrNotFound) {
			continue // the journal outlives a catalogue that is restored from a backup
		} else if err != nil {
			return nil, err
		}
		b, err := w.Bank(e.Bank)
		if err != nil {
			return nil, err
		}
		c, bound := counters[id], b.Policy.Overturn
		decided := c.Confirmed + c.Overturned
		if bound.Min == 0 || decided < uint64(bound.Min) || float64(c.Overturned) < bound.Rate*float64(decided) {
			continue
		}
		reason := fmt.Sprintf("%d of %d matches decided about were overturned; the bank's bound is %.3g of at least %d",
			c.Overturned, decided, bound.Rate, bound.Min)
		if done, err := quarantine(w, e, reason); err != nil {
			return nil, err
		} else if done {
			taken = append(taken, id)
		}
	}
	return taken, nil
}

// quarantine takes an active entry out, as part of a transaction.
func quarantine(w storage.Writer, e storage.Entry, reason string) (bool, error) {
	if e.Status != storage.Active {
		return false, nil
	}
	e.Status, e.Reason = storage.Quarantined, reason
	if err := w.UpdateEntry(e); err != nil {
		return false, err
	}
	return true, w.Append(entryChange(storage.EntryQuarantined, system.Actor, e, private{Reason: reason}))
}

// Counters count for entries that who may read.
func (m *Matcher) Counters(ctx context.Context, who Principal, ids []storage.EntryID) (counters map[storage.EntryID]storage.Counters, err error) {
	err = m.catalogue.View(ctx, func(r storage.Reader) (err error) {
		for _, id := range ids {
			if _, _, err := entryFor(r, who, id); err != nil {
				return err
			}
		}
		counters, err = r.Counters(ids)
		return err
	})
	return counters, err
}

// EraseContent takes who's party's name of an upload out of its matches, and says of how many. [*InputError].
func (m *Matcher) EraseContent(ctx context.Context, who Principal, content string) (erased int, err error) {
	if content == "" {
		return 0, invalid("content_id", "none")
	}
	if m.o.Ship != nil {
		if err := m.o.Ship(ctx); err != nil {
			return 0, err
		}
	}
	done, err := m.update(ctx, func(w storage.Writer) (*storage.Change, error) {
		if erased, err = w.EraseContent(who.Party, content); err != nil || erased == 0 {
			return nil, err
		}
		return draft(storage.Change{Kind: storage.ContentErased, Actor: who.Actor, Party: who.Party}, erasure{erased}, private{}), nil
	})
	if err != nil {
		return 0, err
	}
	if done.replayed {
		return m.erasedBefore(ctx, done.Seq)
	}
	m.settle(ctx, done.Seq)
	return erased, nil
}

// erasure is the body of a change that erased a content.
type erasure struct {
	Matches int `json:"matches"`
}

// erasedBefore is what a change erased.
func (m *Matcher) erasedBefore(ctx context.Context, seq uint64) (int, error) {
	changes, err := m.catalogue.Changes(ctx, seq-1, 1)
	if err != nil {
		return 0, err
	}
	var was erasure
	err = json.Unmarshal(changes[0].Body, &was)
	return was.Matches, err
}

// SignIns lists uses of keys of who's party, newest first; who oversees sees all.
func (m *Matcher) SignIns(ctx context.Context, who Principal, q storage.SignInQuery) (list []storage.SignIn, err error) {
	if !who.oversees() {
		q.Party = who.Party
	}
	err = m.catalogue.View(ctx, func(r storage.Reader) (err error) {
		list, err = r.SignIns(q)
		return err
	})
	return list, err
}

// Expire removes matches that are older than their party keeps them, and sign-ins older than the operator's. Some at a time,
// so that nobody waits long for it.
func (m *Matcher) Expire(ctx context.Context) error {
	const some = 500
	var parties []storage.Party
	err := m.catalogue.View(ctx, func(r storage.Reader) (err error) {
		parties, err = r.Parties()
		return err
	})
	for _, p := range parties {
		before := m.o.Now().AddDate(0, 0, -p.KeepMatches)
		for n := some; err == nil && n == some; {
			err = m.catalogue.Update(ctx, func(w storage.Writer) (err error) {
				n, err = w.ExpireMatches(p.ID, before, some)
				return err
			})
		}
		for n := some; p.ID == storage.Operator && err == nil && n == some; {
			err = m.catalogue.Update(ctx, func(w storage.Writer) (err error) {
				n, err = w.ExpireSignIns(before, some)
				return err
			})
		}
	}
	return cmp.Or(err, m.Forget(ctx))
}
