package matcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vigie/hashing"
	"vigie/storage"
)

// Entry reads an entry and its bank. ErrUnknownEntry.
func (m *Matcher) Entry(ctx context.Context, id storage.EntryID) (e storage.Entry, b storage.Bank, err error) {
	err = m.catalogue.View(ctx, func(r storage.Reader) (err error) {
		if e, err = r.Entry(id); err != nil {
			return translate(err, ErrUnknownEntry, id)
		}
		b, err = r.Bank(e.Bank)
		return err
	})
	return e, b, err
}

// Retract makes an entry stop matching, in this node's next snapshot. Retracting what is retracted
// changes nothing and is no error. ErrUnknownEntry, [*InputError].
func (m *Matcher) Retract(ctx context.Context, actor string, id storage.EntryID, reason string) error {
	return m.setStatus(ctx, actor, id, storage.Retracted, storage.EntryRetracted, reason)
}

// Restore makes a retracted entry match again. Restoring what is active changes nothing and is no
// error. ErrDuplicate if another active entry of the bank has the same media; ErrFull, since its rows come
// anew; ErrUnknownEntry, [*InputError].
func (m *Matcher) Restore(ctx context.Context, actor string, id storage.EntryID, reason string) error {
	return m.setStatus(ctx, actor, id, storage.Active, storage.EntryRestored, reason)
}

func (m *Matcher) setStatus(ctx context.Context, actor string, id storage.EntryID, to storage.Status, kind storage.Kind, reason string) error {
	if reason == "" {
		return invalid("reason", "none; say why in 1 to %d bytes", maxReason)
	}
	if err := checkLength("reason", reason, maxReason); err != nil {
		return err
	}
	return m.changeEntry(ctx, id, func(w storage.Writer, e *storage.Entry) (*storage.Change, error) {
		if e.Status == to {
			return nil, nil
		}
		if to == storage.Active {
			had, _, err := sameMedia(w, e.Bank, *e)
			if err != nil {
				return nil, err
			}
			if had != nil {
				return nil, fmt.Errorf("%w: entry %d", ErrDuplicate, had.ID)
			}
			if err := m.room(len(e.Signals)); err != nil {
				return nil, err
			}
		}
		e.Status, e.Reason = to, reason
		return entryChange(kind, actor, *e, private{Reason: reason}), nil
	})
}

// EntryEdit changes what is not nil.
type EntryEdit struct {
	Labels *[]string
	Note   *string
}

// Edit changes labels or note of an entry. An edit that changes nothing is no error.
// ErrUnknownEntry, [*InputError].
func (m *Matcher) Edit(ctx context.Context, actor string, id storage.EntryID, edit EntryEdit) error {
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
	return m.changeEntry(ctx, id, func(_ storage.Writer, e *storage.Entry) (*storage.Change, error) {
		before := *e
		if edit.Labels != nil {
			e.Labels = labels
		}
		set(&e.Note, edit.Note)
		if e.Note == before.Note && slices.Equal(e.Labels, before.Labels) {
			return nil, nil
		}
		return entryChange(storage.EntryChanged, actor, *e, p), nil
	})
}

// changeEntry reads an entry, lets fn alter it and draft the change, and stores both; it returns when
// this node has applied the change, or after the patience.
func (m *Matcher) changeEntry(ctx context.Context, id storage.EntryID, fn func(storage.Writer, *storage.Entry) (*storage.Change, error)) error {
	seq, err := m.update(ctx, func(w storage.Writer) (*storage.Change, error) {
		e, err := w.Entry(id)
		if err != nil {
			return nil, translate(err, ErrUnknownEntry, id)
		}
		change, err := fn(w, &e)
		if err != nil || change == nil {
			return nil, err
		}
		return change, w.UpdateEntry(e)
	})
	if err != nil {
		return err
	}
	m.settle(ctx, seq)
	return nil
}

// sweepAge is how long media may wait for their entry. A flag takes a minute at most.
const sweepAge = time.Hour

// Sweep removes media whose flag was never finished. It cannot take what a new flag is about to use: a
// row is marked in a transaction before its file goes, and a flag that meets the mark waits. What
// could not be removed is tried again by the next sweep.
func (m *Matcher) Sweep(ctx context.Context) (removed int, err error) {
	var orphans []hashing.Value
	err = m.catalogue.Update(ctx, func(w storage.Writer) (err error) {
		orphans, err = w.MediaSweep(m.o.Now().Add(-sweepAge))
		return err
	})
	for _, sha := range orphans {
		fault := m.blobs.Delete(ctx, sha)
		if fault == nil {
			fault = m.catalogue.Update(ctx, func(w storage.Writer) error { return w.MediaGone(sha) })
		}
		if fault == nil {
			removed++
		}
		err = errors.Join(err, fault)
		if ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return removed, fmt.Errorf("sweep media: %w", err)
	}
	return removed, nil
}
