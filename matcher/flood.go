package matcher

import (
	"context"
	"fmt"
	"sync"
	"time"

	"vigie/storage"
)

// A poisoned hash matches many pictures that are nothing alike. So what a node counts are the different contents that an
// entry matches perceptually within an hour; what has the entry's very bytes is no mistake of the hash. Beyond the bound of
// its bank the entry is quarantined. Counts are this node's, in memory.

// floods counts contents by entry. It is safe for concurrent use.
type floods struct {
	mu      sync.Mutex
	entries map[storage.EntryID]map[uint64]time.Time // the last time of each content
	swept   time.Time
}

const floodTime = time.Hour

// note counts a content for an entry, and reports whether there are more than bound.
func (f *floods) note(entry storage.EntryID, c content, bound int, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.entries == nil {
		f.entries = map[storage.EntryID]map[uint64]time.Time{}
	}
	if now.Sub(f.swept) > floodTime/12 {
		f.sweep(now)
	}
	seen := f.entries[entry]
	if seen == nil {
		seen = map[uint64]time.Time{}
		f.entries[entry] = seen
	}
	if len(seen) <= bound { // more need not be remembered
		seen[c.short()] = now
	}
	if len(seen) <= bound {
		return false
	}
	for c, at := range seen {
		if now.Sub(at) > floodTime {
			delete(seen, c)
		}
	}
	return len(seen) > bound
}

// sweep forgets what is older than an hour.
func (f *floods) sweep(now time.Time) {
	for id, seen := range f.entries {
		for c, at := range seen {
			if now.Sub(at) > floodTime {
				delete(seen, c)
			}
		}
		if len(seen) == 0 {
			delete(f.entries, id)
		}
	}
	f.swept = now
}

// forget begins anew for an entry, when it is active again.
func (f *floods) forget(id storage.EntryID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.entries, id)
}

// dam counts what was found, and takes out what floods: the match that is too many counts for nothing any more.
func (m *Matcher) dam(ctx context.Context, found []Found, c content) {
	for i := range found {
		f := &found[i]
		bound := f.Bank.Policy.Flood
		if bound == 0 || f.exact() || f.counts() == None || !m.floods.note(f.Entry, c, bound, m.o.Now()) {
			continue
		}
		f.Flooded = true
		reason := fmt.Sprintf("it matched more than %d different contents within an hour; that is the bank's bound", bound)
		done, err := m.update(ctx, func(w storage.Writer) (*storage.Change, error) {
			e, err := w.Entry(f.Entry)
			if err != nil || e.Status != storage.Active {
				return nil, err
			}
			e.Status, e.Reason = storage.Quarantined, reason
			return entryChange(storage.EntryQuarantined, system.Actor, e, private{Reason: reason}), w.UpdateEntry(e)
		})
		if err != nil {
			m.fault(fmt.Errorf("quarantine an entry that floods: %w", err))
			continue
		}
		m.settle(ctx, done.Seq)
		m.floods.forget(f.Entry)
		if done.Seq > 0 && m.o.Events.Quarantined != nil {
			m.o.Events.Quarantined(f.Entry)
		}
	}
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
