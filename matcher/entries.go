package matcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vigie/hashing"
	"vigie/storage"
)

// Entry reads an entry and its bank. ErrUnknownEntry.
func (m *Matcher) Entry(ctx context.Context, who Principal, id storage.EntryID) (e storage.Entry, b storage.Bank, err error) {
	err = m.catalogue.View(ctx, func(r storage.Reader) (err error) {
		e, b, err = entryFor(r, who, id)
		return err
	})
	return e, b, err
}

// Retract makes an entry stop matching, in this node's next snapshot. Retracting what is retracted
// changes nothing and is no error. Of a known-good bank it is proposed, unless the entry was never active.
// ErrUnknownEntry, ErrForeign, ErrPending, [*InputError].
func (m *Matcher) Retract(ctx context.Context, who Principal, id storage.EntryID, reason string) error {
	return m.setStatus(ctx, who, id, storage.Retracted, storage.EntryRetracted, reason)
}

// Restore makes a retracted, quarantined or expired entry match again, for all for whom a rule of its bank took it out. It answers what
// was counted against the entry, also the alarm of a party that an active one floods. Restoring what is active and has no alarm
// changes nothing and is no error. An expiry that has come is none any more. Under dual control it is proposed. ErrDuplicate if another active entry of the bank has the same media; ErrFull,
// since its rows come anew; ErrUnknownEntry, ErrForeign, ErrPending, [*InputError].
func (m *Matcher) Restore(ctx context.Context, who Principal, id storage.EntryID, reason string) error {
	return m.setStatus(ctx, who, id, storage.Active, storage.EntryRestored, reason)
}

func checkReason(reason string) error {
	if reason == "" {
		return invalid("reason", "none; say why in 1 to %d bytes", maxReason)
	}
	return checkLength("reason", reason, maxReason)
}

func (m *Matcher) setStatus(ctx context.Context, who Principal, id storage.EntryID, to storage.Status, kind storage.Kind, reason string) error {
	if err := checkReason(reason); err != nil {
		return err
	}
	return m.changeEntry(ctx, who, id, func(w storage.Writer, e *storage.Entry, b storage.Bank) (*storage.Change, error) {
		if e.Status == to {
			alarms, err := w.Alarms(id, time.Time{})
			if err != nil || to != storage.Active || len(alarms) == 0 {
				return nil, err
			}
		}
		fresh := e.Status == storage.Proposed
		switch {
		case fresh && to == storage.Active:
			return nil, fmt.Errorf("%w: entry %d is new", ErrPending, id)
		case e.Proposal != nil && !fresh && (kind != storage.EntryRetracted || needsSecond(b, kind)):
			return nil, fmt.Errorf("%w: entry %d", ErrPending, id)
		case !fresh && needsSecond(b, kind):
			e.Proposal = &storage.Proposal{Kind: kind, Actor: who.Actor, At: milliseconds(m.o.Now()), Reason: reason}
			return entryChange(storage.EntryProposed, who.Actor, *e, private{Reason: reason}), nil
		}
		e.Proposal = nil
		return m.turn(w, e, kind, who, reason)
	})
}

// needsSecond reports whether a change of an entry needs a second person: under dual control whatever makes it count, and
// of a known-good bank what makes it count no more, since that makes others match again.
func needsSecond(b storage.Bank, kind storage.Kind) bool {
	return b.Dual && (kind != storage.EntryRetracted || b.Kind == storage.KnownGood)
}

// turn gives an entry the status that a kind of change stands for, and drafts the change.
func (m *Matcher) turn(w storage.Writer, e *storage.Entry, kind storage.Kind, who Principal, reason string) (*storage.Change, error) {
	was := e.Status
	e.Status, e.Reason = storage.Active, reason
	if kind == storage.EntryRetracted {
		e.Status = storage.Retracted
		return entryChange(kind, who.Actor, *e, private{Reason: reason}), nil
	}
	if was != storage.Active {
		if err := m.fits(w, *e, kind); err != nil {
			return nil, err
		}
	}
	if kind == storage.EntryRestored {
		if !e.ExpiresAt.After(m.o.Now()) {
			e.ExpiresAt = time.Time{}
		}
		if err := m.answer(w, *e); err != nil {
			return nil, err
		}
	}
	return lookedFor(entryChange(kind, who.Actor, *e, private{Reason: reason}), was != storage.Active), nil
}

// fits refuses an entry that its bank has already, or for whose rows there is no memory.
func (m *Matcher) fits(r storage.Reader, e storage.Entry, kind storage.Kind) error {
	had, _, err := sameMedia(r, e.Bank, e)
	if err != nil {
		return err
	}
	// What a new one has beyond that is the very thing that is confirmed.
	more := kind == storage.EntryConfirmed && had != nil && !includes(had.Signals, e.Signals)
	if had != nil && had.Status == storage.Active && !more {
		return fmt.Errorf("%w: entry %d", ErrDuplicate, had.ID)
	}
	return m.room(len(e.Signals))
}

// Confirm carries out what somebody else has proposed of an entry: to add it, to restore it, to retract it, to change its labels or expiry.
// ErrUnknownEntry, ErrForeign, ErrNothingProposed, ErrSecondPerson, ErrDuplicate, ErrFull.
func (m *Matcher) Confirm(ctx context.Context, who Principal, id storage.EntryID) error {
	return m.changeEntry(ctx, who, id, func(w storage.Writer, e *storage.Entry, _ storage.Bank) (*storage.Change, error) {
		p := e.Proposal
		if p == nil {
			return nil, fmt.Errorf("%w: entry %d", ErrNothingProposed, id)
		}
		if err := who.seconds(w, p); err != nil {
			return nil, err
		}
		e.Proposal = nil
		if p.Kind == storage.EntryChanged {
			e.Labels, e.ExpiresAt = p.Labels, p.ExpiresAt
			return entryChange(p.Kind, who.Actor, *e, private{}), nil
		}
		return m.turn(w, e, p.Kind, who, p.Reason)
	})
}

// Reject drops what is proposed of an entry; the proposer may, too. An entry that was never active is retracted.
// ErrUnknownEntry, ErrForeign, ErrNothingProposed, [*InputError].
func (m *Matcher) Reject(ctx context.Context, who Principal, id storage.EntryID, reason string) error {
	if err := checkReason(reason); err != nil {
		return err
	}
	return m.changeEntry(ctx, who, id, func(_ storage.Writer, e *storage.Entry, _ storage.Bank) (*storage.Change, error) {
		if e.Proposal == nil {
			return nil, fmt.Errorf("%w: entry %d", ErrNothingProposed, id)
		}
		e.Proposal = nil
		if e.Status == storage.Proposed {
			e.Status, e.Reason = storage.Retracted, reason
		}
		return entryChange(storage.EntryRejected, who.Actor, *e, private{Reason: reason}), nil
	})
}

// EntryEdit changes what is not nil.
type EntryEdit struct {
	Labels *[]string
	Note   *string
	// ExpiresAt is in the future; zero: the entry never expires.
	ExpiresAt *time.Time
}

// Edit changes labels, note or expiry of an entry. An edit that changes nothing is no error. Under dual control labels that change
// its context rule are proposed, since that has a say about the action, and an expiry that is later, or of a known-good bank any other;
// what further edits change until then is in the proposal, too.
// ErrUnknownEntry, ErrForeign, ErrPending, [*InputError].
func (m *Matcher) Edit(ctx context.Context, who Principal, id storage.EntryID, edit EntryEdit) error {
	var p private
	if edit.Note != nil {
		if err := checkLength("note", *edit.Note, maxNote); err != nil {
			return err
		}
		p.Note = *edit.Note
	}
	var labels []string
	if edit.Labels != nil {
		var err error
		if labels, err = cleanLabels(*edit.Labels); err != nil {
			return err
		}
	}
	return m.changeEntry(ctx, who, id, func(_ storage.Writer, e *storage.Entry, b storage.Bank) (*storage.Change, error) {
		before, after := *e, *e
		if edit.Labels != nil {
			after.Labels = labels
		}
		set(&after.ExpiresAt, edit.ExpiresAt)
		after.ExpiresAt = milliseconds(after.ExpiresAt)
		if !after.ExpiresAt.Equal(e.ExpiresAt) {
			if err := m.checkExpiry(after.ExpiresAt); err != nil {
				return nil, err
			}
		}
		set(&e.Note, edit.Note)
		if b.Dual && !sameContext(after.Labels, e.Labels) || otherExpiryNeedsSecond(b, *e, after) {
			if e.Proposal != nil {
				return nil, fmt.Errorf("%w: entry %d", ErrPending, id)
			}
			e.Proposal = &storage.Proposal{
				Kind: storage.EntryChanged, Actor: who.Actor, At: milliseconds(m.o.Now()), Labels: after.Labels, ExpiresAt: after.ExpiresAt,
			}
			return entryChange(storage.EntryProposed, who.Actor, *e, p), nil
		}
		if p := e.Proposal; p != nil && p.Kind == storage.EntryChanged {
			// Else whoever confirms it would take this edit back.
			waiting := *p
			var err error
			if waiting.Labels, err = merged(p.Labels, e.Labels, after.Labels); err != nil {
				return nil, err
			}
			if p.ExpiresAt.Equal(e.ExpiresAt) {
				waiting.ExpiresAt = after.ExpiresAt
			}
			e.Proposal = &waiting
		}
		e.Labels, e.ExpiresAt = after.Labels, after.ExpiresAt
		if e.Note == before.Note && slices.Equal(e.Labels, before.Labels) && e.ExpiresAt.Equal(before.ExpiresAt) {
			return nil, nil
		}
		return entryChange(storage.EntryChanged, who.Actor, *e, p), nil
	})
}

// merged are labels with what an edit of others has changed.
func merged(labels, before, after []string) ([]string, error) {
	kept := slices.DeleteFunc(slices.Clone(labels), func(l string) bool {
		return slices.Contains(before, l) && !slices.Contains(after, l)
	})
	fresh := slices.DeleteFunc(slices.Clone(after), func(l string) bool { return slices.Contains(before, l) })
	return cleanLabels(slices.Concat(kept, fresh))
}

// changeEntry reads an entry of who's party, lets fn alter it and draft the change, and stores both; it returns when
// this node has applied the change, or after the patience.
func (m *Matcher) changeEntry(ctx context.Context, who Principal, id storage.EntryID, fn func(storage.Writer, *storage.Entry, storage.Bank) (*storage.Change, error)) error {
	done, err := m.update(ctx, func(w storage.Writer) (*storage.Change, error) {
		e, b, err := entryFor(w, who, id)
		if err = cmp.Or(err, who.own(b)); err != nil {
			return nil, err
		}
		change, err := fn(w, &e, b)
		if err != nil || change == nil {
			return nil, err
		}
		return change, w.UpdateEntry(e)
	})
	if err != nil {
		return err
	}
	m.settle(ctx, done.Seq)
	return nil
}

// sweepAge is how long media may wait for their entry. A flag takes a minute at most.
const sweepAge = time.Hour

// Sweep removes media whose flag was never finished. It cannot take what a new flag is about to use: a
// row is marked in a transaction before its file goes, and a flag that meets the mark waits. What
// could not be removed is tried again by the next sweep. Bytes that are retained lose their row alone: they can be flagged again.
func (m *Matcher) Sweep(ctx context.Context) (removed int, err error) {
	var orphans []hashing.Value
	err = m.catalogue.Update(ctx, func(w storage.Writer) (err error) {
		orphans, err = w.MediaSweep(m.o.Now().Add(-sweepAge))
		return err
	})
	for _, sha := range orphans {
		fault := m.blobs.Delete(ctx, sha)
		if fault == nil || errors.Is(fault, storage.ErrRetained) {
			fault = m.catalogue.Update(ctx, func(w storage.Writer) error { return w.MediaGone(sha) })
		}
		if fault == nil {
			removed++
		}
		err = errors.Join(err, fault)
		if ctx.Err() != nil || errors.Is(fault, storage.ErrUnavailable) { // the others would fare no better
			break
		}
	}
	if err != nil {
		return removed, fmt.Errorf("sweep media: %w", err)
	}
	return removed, nil
}
