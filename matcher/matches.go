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

// journaled is a match as the journal has it: with the point of the log that the numbers of its entries are of. IndexSeq is the
// point's, too. Records of before there was one have none.
type journaled struct {
	storage.MatchRecord
	LogID string       `json:",omitempty"`
	Root  storage.Hash `json:",omitzero"`
}

func newJournaled(r storage.MatchRecord, v Verdict) journaled {
	return journaled{r, v.LogID, v.LogRoot}
}

func (j journaled) point() point { return point{j.LogID, j.IndexSeq, j.Root} }

// record writes a verdict that found something to the journal, and names it.
func (m *Matcher) record(ctx context.Context, q Question, v *Verdict) {
	if m.o.Journal == nil || v.MatchesTotal == 0 || q.Past {
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
		Party: q.Who.Party, Key: q.Who.Actor, ContentID: v.ContentID, Level: v.Level.String(), Action: v.Action.String(),
		IndexSeq: v.IndexSeq, Bare: q.bare(),
	}
	for _, f := range v.Matches {
		r.Entries = append(r.Entries, storage.MatchEntry{Entry: f.Entry, Bank: f.Bank.ID, Level: f.Counts().String(), Exact: f.exact()})
	}
	for _, f := range suppressors(v.Matches) { // what rests on them is found by them
		r.Entries = append(r.Entries, storage.MatchEntry{Entry: f.Entry, Bank: f.Bank.ID, Level: None.String(), Exact: f.exact()})
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
		body, err = json.Marshal(newJournaled(r, bare))
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

// MatchOf is the match that a record of the journal is, but for its number and its time; ok is false if it is none, or cannot be read.
func MatchOf(r journal.Record) (m storage.MatchRecord, ok bool) {
	if r.Kind != matchRecord {
		return m, false
	}
	var match journaled
	err := json.Unmarshal(r.Body, &match)
	return match.MatchRecord, err == nil
}

// Deliver stores records of one node's journal in the catalogue, in one transaction; those that it has already are left
// out. What cannot be read is reported and left out: it would hold up all that follows. If the catalogue lacks some from before,
// since it was restored from a backup, it answers [*journal.Behind], and keeps none. Matches that were found in what the log was
// before are kept, and count for no entry: the number is another one's now. A catalogue of another log than Options.JournalOf gets nothing,
// and none does if another process has claimed the node's identity ([ErrIdentityTaken]).
func (m *Matcher) Deliver(ctx context.Context, records []journal.Record) error {
	if len(records) == 0 {
		return nil
	}
	node, last := records[0].ID.Node, records[len(records)-1].ID.Number
	gone, err := m.gone(ctx, records)
	if err != nil {
		return fmt.Errorf("deliver the journal: %w", err)
	}
	var faults []error
	strange := 0
	err = m.catalogue.Update(ctx, func(w storage.Writer) error {
		faults, strange = nil, 0
		head, err := w.Head()
		if err != nil {
			return err
		}
		if of := m.o.JournalOf; of != "" && of != head.LogID {
			return fmt.Errorf("the journal is for the catalogue with log %s, and the database has log %s now: its records are kept; restart the node, which tells what to do", of, head.LogID)
		}
		nodes, err := w.Nodes()
		if err != nil {
			return err
		}
		if err := held(nodes, node, m.o.Claim); err != nil {
			return err
		}
		shipped, err := w.Shipped(node)
		if err != nil {
			return err
		}
		if first := records[0]; first.ID.Number-1-first.Gap > shipped {
			return &journal.Behind{Shipped: shipped}
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
				var match journaled
				fault = json.Unmarshal(r.Body, &match)
				match.ID, match.At = id, r.At
				if fault == nil && (gone[match.point()] || match.IndexSeq > head.Seq) {
					if match.Past != nil {
						fault = errors.New("a past upload was found in what the log was before a restore")
					}
					match.Entries = nil
					strange++
				}
				if fault = cmp.Or(fault, storage.CheckMatches(node, shipped, []storage.MatchRecord{match.MatchRecord})); fault == nil {
					matches = append(matches, match.MatchRecord)
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
	if strange > 0 {
		faults = append(faults, fmt.Errorf("%d matches of the journal were found in what the log was before a restore: they are kept, and count for no entry", strange))
	}
	for _, f := range faults {
		m.fault(f)
	}
	return nil
}

// gone are the points that records are of at which the log never was, as it is now.
func (m *Matcher) gone(ctx context.Context, records []journal.Record) (map[point]bool, error) {
	head, err := m.catalogue.Head(ctx)
	if err != nil {
		return nil, err
	}
	gone := map[point]bool{}
	for _, r := range records {
		var match journaled
		if r.Kind != matchRecord || json.Unmarshal(r.Body, &match) != nil {
			continue
		}
		at := match.point()
		if _, known := gone[at]; known || at.logID == "" || at.seq == 0 {
			continue
		}
		err := at.in(head)
		if err == nil {
			_, err = at.changes(ctx, m.catalogue, 0)
		}
		if gone[at] = errors.Is(err, errOtherLog); err != nil && !gone[at] {
			return nil, err
		}
	}
	return gone, nil
}

// MatchView is a match with what was decided about it, oldest first.
type MatchView struct {
	storage.MatchRecord
	Decisions []storage.Decision
	Now       map[storage.EntryID]Present
}

// Matches lists what who's party was told, newest first; who oversees sees all. For what rested on an entry, its owner sees
// the matches of all parties, without their names for the contents, their decisions' reasons, entries of other parties'
// banks and what came of these; but for a content, a level or another bank only its own: a filter by what is not shown would
// show it. What the last seconds have brought may be missing: see [journal.Journal.Ship].
func (m *Matcher) Matches(ctx context.Context, who Principal, q storage.MatchQuery) (matches []MatchView, err error) {
	err = m.catalogue.View(ctx, func(r storage.Reader) error {
		ofOwner := false
		if q.Entry != 0 {
			e, b, err := entryFor(r, who, q.Entry)
			if err != nil {
				return err
			}
			shown := q.Content == "" && q.Level == "" && (q.Bank == 0 || q.Bank == e.Bank)
			ofOwner = b.Owner == who.Party && shown
		}
		if !who.Oversees() && !ofOwner {
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

// Match is one match of who's party. If this node has just answered it, it may be on its way to the catalogue: that is
// waited for, within the patience. ErrUnknownMatch.
func (m *Matcher) Match(ctx context.Context, who Principal, id storage.MatchID) (MatchView, error) {
	v, err := m.match(ctx, who, id)
	if !errors.Is(err, ErrUnknownMatch) || m.o.Reach == nil {
		return v, err
	}
	waiting, cancel := context.WithTimeout(ctx, m.o.Patience)
	defer cancel()
	if m.o.Reach(waiting, journal.ID(id)) == nil {
		return m.match(ctx, who, id)
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
	if err == nil && found.Party != who.Party && !who.Oversees() {
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
		views[i] = MatchView{MatchRecord: f, Decisions: decisions[f.ID]}
		if f.Party != who.Party && !who.Oversees() {
			views[i].redact(r, who)
		}
	}
	return views, cmp.Or(err, locate(r, who, views))
}

// redact leaves of another party's match what the owner of some of its entries may know.
func (v *MatchView) redact(r storage.Reader, who Principal) {
	v.ContentID, v.Key, v.Verdict, v.Action = "", "", nil, ""
	v.Entries = slices.DeleteFunc(v.Entries, func(e storage.MatchEntry) bool {
		b, err := r.Bank(e.Bank)
		return err != nil || who.own(b) != nil
	})
	v.Level = None.String()
	for _, level := range []Level{Review, Likely, Match} { // of what is left, not of the verdict
		if slices.ContainsFunc(v.Entries, func(e storage.MatchEntry) bool { return e.Level == level.String() }) {
			v.Level = level.String()
		}
	}
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
	// Quarantined and Disabled are entries that the decision has taken out, for all and for the party, by their banks' bounds
	// on what people overturn. Inactive are those that matched nobody any more.
	Quarantined, Disabled, Inactive []storage.EntryID
}

// Decide notes what who's party did about one of its matches, in the place of what it noted before. An entry whose matches
// are overturned beyond the bound of its bank is taken out with it, for all or for the party. Decided again by the same
// request ([WithOnce]), it answers the same. ErrUnknownMatch, also for one that is not in the catalogue yet; [*InputError].
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
	// What was decided before is answered before the match is looked for: it may have expired since.
	if before, err := m.replay(ctx); err != nil || before != nil {
		if err != nil {
			return out, err
		}
		return m.decided(ctx, before.Seq)
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
		if out.Entries, err = decidedEntries(w, match, d.Entries); err != nil {
			return nil, err
		}
		if err := w.AddDecision(&out.Decision); err != nil {
			return nil, err
		}
		if err := out.takeOut(w); err != nil {
			return nil, err
		}
		body := storage.DecisionBody{
			ID: out.ID, Match: d.Match.String(), Ruling: d.Ruling, Entries: out.Entries, MatchCorrect: d.MatchCorrect, LabelCorrect: d.LabelCorrect,
			Quarantined: out.Quarantined, Disabled: out.Disabled, Inactive: out.Inactive,
		}
		c := storage.Change{Kind: storage.DecisionMade, Actor: who.Actor, Party: who.Party}
		return draft(c, body, private{Reason: d.Reason}), nil
	})
	if err != nil {
		return Decided{}, err
	}
	if decision.replayed {
		return m.decided(ctx, decision.Seq)
	}
	out.Seq = decision.Seq
	m.settle(ctx, decision.Seq)
	return out, nil
}

// decidedEntries are the entries that a decision is about: those named, or all that counted. If none did, those that were
// shown as a test; what was suppressed must be named.
func decidedEntries(r storage.Reader, match storage.MatchRecord, named []storage.EntryID) (ids []storage.EntryID, err error) {
	var trial []storage.EntryID
	for _, e := range match.Entries {
		switch {
		case len(named) > 0:
			if slices.Contains(named, e.Entry) {
				ids = append(ids, e.Entry)
			}
		case e.Level != None.String():
			ids = append(ids, e.Entry)
		default:
			if b, err := r.Bank(e.Bank); err == nil && b.Kind == storage.TestBank {
				trial = append(trial, e.Entry)
			}
		}
	}
	if len(ids) == 0 && len(named) == 0 {
		ids = trial
	}
	slices.Sort(ids)
	for _, id := range named {
		if !slices.Contains(ids, id) {
			return nil, invalid("entries", "%d is none of the match", id)
		}
	}
	if len(ids) == 0 {
		return nil, invalid("entries", "none, and all of the match were suppressed; name those that it is about")
	}
	return ids, nil
}

// decided is the answer to a decision that was made before, as the log has it.
func (m *Matcher) decided(ctx context.Context, seq uint64) (d Decided, err error) {
	changes, err := m.catalogue.Changes(ctx, seq-1, 1)
	if err != nil {
		return d, err
	}
	c := changes[0]
	var body storage.DecisionBody
	var p private
	err = json.Unmarshal(c.Body, &body)
	if err == nil && c.Private != nil {
		err = json.Unmarshal(c.Private, &p)
	}
	id, err2 := storage.ParseMatchID(body.Match)
	if err = cmp.Or(err, err2); err != nil {
		return d, fmt.Errorf("%w: decision of change %d: %w", storage.ErrCorrupt, seq, err)
	}
	d = Decided{
		Decision: storage.Decision{
			ID: body.ID, Match: id, Party: c.Party, Ruling: body.Ruling, Entries: body.Entries, MatchCorrect: body.MatchCorrect,
			LabelCorrect: body.LabelCorrect, Reason: p.Reason, Actor: c.Actor, At: c.At,
		},
		Seq: seq, Quarantined: body.Quarantined, Disabled: body.Disabled, Inactive: body.Inactive,
	}
	err = m.catalogue.View(ctx, func(r storage.Reader) error {
		of, err := r.Decisions([]storage.MatchID{id})
		for _, on := range of[id] {
			if on.ID == d.ID {
				d.Decision = on // its time is a little before that of the change
			}
		}
		return err
	})
	return d, err
}

// Counters are those of entries that who may read, as [CountersOf]. ErrUnknownEntry.
func (m *Matcher) Counters(ctx context.Context, who Principal, ids []storage.EntryID) (counters map[storage.EntryID]storage.Counters, err error) {
	err = m.catalogue.View(ctx, func(r storage.Reader) (err error) {
		entries := make([]storage.Entry, len(ids))
		for i, id := range ids {
			if entries[i], _, err = entryFor(r, who, id); err != nil {
				return err
			}
		}
		counters, err = CountersOf(r, who, entries)
		return err
	})
	return counters, err
}

// CountersOf are the counters of those of these entries whose bank is who's party's; of all, if who oversees. What all
// parties' checks found is nobody else's: others count their own matches by listing them.
func CountersOf(r storage.Reader, who Principal, entries []storage.Entry) (map[storage.EntryID]storage.Counters, error) {
	banks, err := r.Banks()
	if err != nil {
		return nil, err
	}
	own := map[storage.BankID]bool{}
	for _, b := range banks {
		own[b.ID] = b.Owner == who.Party
	}
	var ids []storage.EntryID
	for _, e := range entries {
		if own[e.Bank] || who.Oversees() {
			ids = append(ids, e.ID)
		}
	}
	return r.Counters(ids)
}

// EraseContent takes who's party's name of an upload out of its matches, and says of how many; nodes erase the upload from their histories
// within some seconds, one that is down when it is back. [*InputError].
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
		if err := w.AddErasure(&storage.Erasure{Party: who.Party, ContentID: content}); err != nil {
			return nil, err
		}
		if erased, err = w.EraseContent(who.Party, content); err != nil || erased == 0 {
			return nil, err
		}
		return draft(storage.Change{Kind: storage.ContentErased, Actor: who.Actor, Party: who.Party}, erasure{erased}, private{}), nil
	})
	if err != nil {
		return 0, err
	}
	if done.replayed && done.Seq > 0 {
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
	if !who.Oversees() {
		q.Party = who.Party
	}
	err = m.catalogue.View(ctx, func(r storage.Reader) (err error) {
		list, err = r.SignIns(q)
		return err
	})
	return list, err
}

// Expire removes matches and uploads that are older than their party keeps them, and sign-ins older than the operator's. Some at a time,
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
	for n := some; err == nil && n == some; {
		err = m.catalogue.Update(ctx, func(w storage.Writer) (err error) {
			n, err = w.ExpireErasures(m.o.Now().Add(-keepErasures), some)
			return err
		})
	}
	return cmp.Or(err, m.Forget(ctx), m.expireUploads(ctx))
}
