package matcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"vigie/storage"
)

// A poisoned hash matches many pictures that are nothing alike. So what a node counts are the different contents that an
// entry matches perceptually within an hour, for each party that checks; what has the entry's very bytes is no mistake of the
// hash. Beyond the bound of its bank the entry is taken out: for the party at once, by an overlay; for all, if the party is the
// bank's owner or the operator, or if the entry has flooded another party within a day, too. So nobody takes an entry out for
// others alone. Hashes that come without their media can be made up: they count for the party itself, and for all if it is the
// bank's owner.
// Counts are this node's, in memory.

// flow is what contents are counted by.
type flow struct {
	party storage.PartyID
	entry storage.EntryID
	bare  bool // hashes came that can be made up
}

// floods counts contents, the newest: the oldest half is forgotten when there are too many. It is safe for concurrent use.
type floods struct {
	mu       sync.Mutex
	now, old map[flow]contents
	n        int // contents in now
	swept    time.Time
	logs     uint64 // of the states that are counted for: entries of another log are others

	breaker breaker // of updates that take entries out
}

// contents are the times at which each was seen last, in milliseconds.
type contents map[uint64]int64

const (
	floodTime  = time.Hour
	alarmTime  = 24 * time.Hour // in which a second party has to be flooded
	mostFloods = 100_000        // contents in each half, of all flows: some 50 MB at worst; a bound beyond both is none
)

// note counts a content for a flow, and reports whether there are more than bound.
func (f *floods) note(at flow, c content, bound int, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now == nil || f.n >= mostFloods {
		f.old, f.now, f.n = f.now, map[flow]contents{}, 0
	}
	if now.Sub(f.swept) > floodTime/12 {
		f.sweep(now)
	}
	seen, before := f.now[at], f.old[at]
	if seen == nil {
		seen = contents{}
		f.now[at] = seen
	}
	delete(before, c.short())
	_, known := seen[c.short()]
	if !known && len(seen)+len(before) >= bound {
		f.n -= seen.sweep(now)
		before.sweep(now)
	}
	if known || len(seen)+len(before) <= bound { // more need not be remembered
		seen[c.short()] = now.UnixMilli()
		if !known {
			f.n++
		}
	}
	return len(seen)+len(before) > bound
}

// sweep forgets what is older than an hour, and says how many.
func (c contents) sweep(now time.Time) (forgotten int) {
	for id, at := range c {
		if now.UnixMilli()-at > floodTime.Milliseconds() {
			delete(c, id)
			forgotten++
		}
	}
	return forgotten
}

// sweep forgets what is older than an hour.
func (f *floods) sweep(now time.Time) {
	for _, half := range []map[flow]contents{f.now, f.old} {
		for at, seen := range half {
			if seen.sweep(now); len(seen) == 0 {
				delete(half, at)
			}
		}
	}
	f.n, f.swept = 0, now
	for _, seen := range f.now {
		f.n += len(seen)
	}
}

// forget begins anew with the flows for which drop is true.
func (f *floods) forget(drop func(flow) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for at, seen := range f.now {
		if drop(at) {
			f.n -= len(seen)
			delete(f.now, at)
		}
	}
	for at := range f.old {
		if drop(at) {
			delete(f.old, at)
		}
	}
}

// begin begins anew if what was counted is of another log.
func (f *floods) begin(logs uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.logs != logs {
		f.now, f.old, f.n, f.logs = nil, nil, 0, logs
	}
}

// forgetEntry begins anew for an entry, when it is active again.
func (f *floods) forgetEntry(id storage.EntryID) {
	f.forget(func(at flow) bool { return at.entry == id })
}

// bare reports whether hashes come that are not of media that come, too: they can be made up.
func (q Question) bare() bool { return q.Media == nil || len(q.Signals) > 0 }

// dam counts what was found, and takes out what floods: the match that is too many counts for nothing any more.
func (m *Matcher) dam(ctx context.Context, s *State, q Question, found []Found) {
	if q.Past || !m.follower.holds(s) {
		return
	}
	m.floods.begin(s.logs)
	c := contentOf(q.Media, q.Signals)
	for i := range found {
		f := &found[i]
		if f.Bank.Policy.Flood > 0 && !f.exact() && f.Counts() > None {
			f.Flooded = m.flooded(ctx, s.point(), flow{q.Who.Party, f.Entry, q.bare()}, c, f.Bank.Policy.Flood)
		}
	}
}

// floodWords begin the reason of what is quarantined because it floods.
const floodWords = "it matched more than "

// flooded counts a content for an entry, and takes the entry out if that is too many. It reports whether the entry is out: as long as it
// cannot be taken out, it counts.
func (m *Matcher) flooded(ctx context.Context, of point, at flow, c content, bound int) bool {
	if !m.floods.note(at, c, bound, m.o.Now()) {
		return false
	}
	reason := fmt.Sprintf(floodWords+"%d different contents within an hour; that is the bank's bound", bound)
	out, err := brieflyBy(ctx, m, &m.floods.breaker, m.o.Patience, func(ctx context.Context) (takenOut, error) { return m.takeOut(ctx, of, at, reason) })
	if err != nil {
		if !errors.Is(err, errUnasked) {
			m.fault(fmt.Errorf("take out an entry that floods: %w", err))
		}
		return false
	}
	m.settle(ctx, out.seq)
	m.floods.forget(func(f flow) bool { return f.entry == at.entry && (out.forAll || f.party == at.party) })
	if out.seq > 0 && out.forAll && m.o.Events.Quarantined != nil {
		m.o.Events.Quarantined(at.entry)
	}
	return true
}

// takenOut says for whom an entry was taken out, and by which change; 0: it was out already.
type takenOut struct {
	forAll bool
	seq    uint64
}

// takeOut takes an entry of a state that floods a party out: for all, or for the party alone. errOtherLog.
func (m *Matcher) takeOut(ctx context.Context, of point, at flow, reason string) (out takenOut, err error) {
	done, err := m.update(ctx, func(w storage.Writer) (*storage.Change, error) {
		head, err := w.Head()
		if err = cmp.Or(err, of.in(head)); err != nil {
			return nil, err
		}
		e, err := w.Entry(at.entry)
		if err != nil || e.Status != storage.Active {
			return nil, err
		}
		b, err := w.Bank(e.Bank)
		if err != nil {
			return nil, err
		}
		all := at.party == b.Owner || governs(at.party, b) && !at.bare
		if !all && !at.bare {
			alarms, err := w.Alarms(e.ID, m.o.Now().Add(-alarmTime))
			if err != nil {
				return nil, err
			}
			all = slices.ContainsFunc(alarms, func(p storage.PartyID) bool { return p != at.party && heard(w, p, b) })
		}
		if out.forAll = all; all {
			return quarantine(w, e, reason)
		}
		return disable(w, e, at.party, !at.bare, reason)
	})
	out.seq = done.Seq
	return out, err
}

// governs reports whether a party may take a bank's entries out for all: it is its owner's, or runs the node.
func governs(party storage.PartyID, b storage.Bank) bool {
	return party == b.Owner || party == storage.Operator
}

// heard reports whether what a party says of a bank's entries counts for others: it may still read them, and is not suspended.
func heard(r storage.Reader, party storage.PartyID, b storage.Bank) bool {
	p, err := r.Party(party)
	return err == nil && !p.Suspended && (belongs(party, b) || governs(party, b))
}

// quarantine takes an active entry out for all, and drafts the change.
func quarantine(w storage.Writer, e storage.Entry, reason string) (*storage.Change, error) {
	e.Status, e.Reason = storage.Quarantined, reason
	return entryChange(storage.EntryQuarantined, system.Actor, e, private{Reason: reason}), w.UpdateEntry(e)
}

// disable takes an entry out for one party, and drafts the change; nil if it is out for it. An alarm is for others to be heard.
func disable(w storage.Writer, e storage.Entry, party storage.PartyID, alarm bool, reason string) (*storage.Change, error) {
	statuses, err := w.Statuses(party, []storage.EntryID{e.ID})
	if err != nil || statuses[e.ID].Disabled {
		return nil, err
	}
	o, err := w.Disable(party, e.ID, alarm)
	c := storage.Change{Kind: storage.OverlaySet, Actor: system.Actor, Bank: e.Bank, Entry: e.ID, Party: party}
	return draft(c, o, private{Reason: reason}), err
}

// answer has an entry begin anew: what was counted against it is answered, and no rule keeps it from single parties any more.
func (m *Matcher) answer(w storage.Writer, e storage.Entry) error {
	m.floods.forgetEntry(e.ID)
	lifted, err := w.Clear(e.ID)
	for _, o := range lifted {
		if err == nil {
			c := storage.Change{Kind: storage.OverlaySet, Actor: system.Actor, Bank: e.Bank, Entry: e.ID, Party: o.Party}
			err = w.Append(draft(c, o, private{Reason: "the bank's owner has restored the entry"}))
		}
	}
	return err
}

// firsts remembers what came already, some of it: the oldest half is forgotten when there is too much.
type firsts struct {
	mu       sync.Mutex
	now, old map[signIn]bool
}

type signIn struct {
	key, address string
	hour         int64
}

const mostFirsts = 50_000

// first reports whether s comes for the first time.
func (f *firsts) first(s signIn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now[s] || f.old[s] {
		return false
	}
	if f.now == nil || len(f.now) >= mostFirsts {
		f.old, f.now = f.now, map[signIn]bool{}
	}
	f.now[s] = true
	return true
}
