package matcher

import (
	"context"
	"fmt"
	"time"

	"vigie/storage"
)

// mostExpired bounds the entries of one transaction of [Matcher.ExpireEntries]. Nobody else writes meanwhile.
const mostExpired = 500

// ExpireEntries takes out the entries whose time has come, and says how many: each becomes a change of the log, which all nodes
// follow. Any node may call it at any time, and several at once: an entry expires once. Where nothing is due it only reads. After an
// error, n entries have expired, and the rest does next time.
func (m *Matcher) ExpireEntries(ctx context.Context) (n int, err error) {
	pace, left := firstListed, true
	err = m.catalogue.View(ctx, func(r storage.Reader) error {
		due, err := r.Due(1)
		left = len(due) > 0
		return err
	})
	for err == nil && left {
		var expired []storage.Entry
		var begun time.Time
		err = m.catalogue.Update(ctx, func(w storage.Writer) (err error) {
			begun = time.Now()
			if expired, err = w.Expire(pace); err != nil {
				return err
			}
			for _, e := range expired {
				if err := w.Append(entryChange(storage.EntryExpired, system.Actor, e, private{})); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil {
			n, left = n+len(expired), len(expired) == pace
			pace = min(nextPace(pace, time.Since(begun)), mostExpired)
		}
	}
	if err != nil {
		return n, fmt.Errorf("expire entries: %w", err)
	}
	return n, nil
}

// checkExpiry refuses a time that has come already: zero is none.
func (m *Matcher) checkExpiry(at time.Time) error {
	switch {
	case at.IsZero():
	case !at.After(m.o.Now()):
		return invalid("expires_at", "%s has passed; accepted are later times", at.UTC().Format(time.RFC3339))
	case storage.CheckExpiry(at) != nil:
		return invalid("expires_at", "accepted are times up to the year 9999")
	}
	return nil
}

// later reports whether an expiry lets an entry match longer than another.
func later(a, b time.Time) bool {
	return !b.IsZero() && (a.IsZero() || a.After(b))
}

// prolongs reports whether a flag of what a bank has lets that match longer: it names a later time. Under dual control that is
// no effect of a flag, but of an edit, which a second person confirms.
func prolongs(b storage.Bank, had, e storage.Entry) bool {
	return !b.Dual && !e.ExpiresAt.IsZero() && later(e.ExpiresAt, had.ExpiresAt)
}

// otherExpiryNeedsSecond reports whether an edit of when an entry expires needs a second person: to match longer is like being
// restored, to match less like being retracted.
func otherExpiryNeedsSecond(b storage.Bank, before, after storage.Entry) bool {
	switch {
	case before.ExpiresAt.Equal(after.ExpiresAt):
		return false
	case later(after.ExpiresAt, before.ExpiresAt):
		return needsSecond(b, storage.EntryRestored)
	}
	return needsSecond(b, storage.EntryRetracted)
}
