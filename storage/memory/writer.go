package memory

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"vigie/hashing"
	"vigie/storage"
)

// writer changes a copy of the state, which nobody else sees.
type writer struct {
	reader
	appended []*storage.Change
	noted    []request // remembered by this update
}

func (w *writer) Append(c *storage.Change) error {
	if err := c.CheckText(); err != nil {
		return err
	}
	w.appended = append(w.appended, c)
	return nil
}

func (w *writer) CreateBank(b *storage.Bank) error {
	if err := b.CheckText(); err != nil {
		return err
	}
	n := b.Normal()
	n.ID = 0
	if err := w.nameIsFree(n); err != nil {
		return err
	}
	if _, err := w.party(n.Owner); err != nil {
		return err
	}
	b.Owner, b.Kind = n.Owner, n.Kind
	b.ID, b.CreatedAt, b.Seq = storage.BankID(len(w.banks)+1), w.options.Time(), 0
	w.banks = append(w.banks, b.Normal())
	return nil
}

func (w *writer) UpdateBank(b storage.Bank) error {
	if err := b.CheckText(); err != nil {
		return err
	}
	stored, err := w.bank(b.ID)
	if err != nil {
		return err
	}
	b.Owner, b.Kind, b.CreatedAt, b.Seq = stored.Owner, stored.Kind, stored.CreatedAt, stored.Seq
	if err := w.nameIsFree(b); err != nil {
		return err
	}
	*stored = b.Normal()
	return nil
}

// nameIsFree looks for another bank of that owner and name, if neither is deleted.
func (w *writer) nameIsFree(b storage.Bank) error {
	for _, o := range w.banks {
		if o.Owner == b.Owner && o.Name == b.Name && !o.Deleted && !b.Deleted && o.ID != b.ID {
			return fmt.Errorf("bank %q: %w", b.Name, storage.ErrExists)
		}
	}
	return nil
}

func (w *writer) CreateEntry(e *storage.Entry) error {
	if err := e.Check(); err != nil {
		return err
	}
	if _, err := w.bank(e.Bank); err != nil {
		return err
	}
	e.ID, e.CreatedAt, e.Seq = storage.EntryID(len(w.entries)+1), w.options.Time(), 0
	e.ExpiresAt = storage.KeptTime(e.ExpiresAt)
	for i := range e.Sources {
		e.Sources[i].At = w.options.TimeOr(e.Sources[i].At, e.CreatedAt)
	}
	stored := cloneEntry(*e)
	stored.Labels = storage.DistinctLabels(e.Labels)
	w.entries = append(w.entries, stored)
	return nil
}

func (w *writer) CreateEntries(entries []*storage.Entry) error {
	if err := storage.CheckNewEntries(entries); err != nil {
		return err
	}
	for _, e := range entries {
		if _, err := w.bank(e.Bank); err != nil {
			return err
		}
	}
	for _, e := range entries {
		if err := w.CreateEntry(e); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) UpdateEntry(e storage.Entry) error {
	if err := errors.Join(e.CheckText(), storage.CheckExpiry(e.ExpiresAt)); err != nil {
		return err
	}
	stored, err := w.entry(e.ID)
	if err != nil {
		return err
	}
	stored.Status, stored.Labels, stored.Note, stored.Reason = e.Status, storage.DistinctLabels(e.Labels), e.Note, e.Reason
	stored.Proposal, stored.ExpiresAt = e.Proposal.Normal(), storage.KeptTime(e.ExpiresAt)
	return nil
}

func (w *writer) Extend(id storage.EntryID, signals []hashing.Signal, media storage.MediaInfo) error {
	if err := errors.Join(storage.CheckSignals(signals), storage.CheckText("format", media.Format)); err != nil {
		return err
	}
	stored, err := w.entry(id)
	if err != nil {
		return err
	}
	for _, s := range signals {
		if !slices.ContainsFunc(stored.Signals, func(o hashing.Signal) bool { return sameSignal(o, s) && o.Time == s.Time }) {
			stored.Signals = append(slices.Clip(stored.Signals), s)
		}
	}
	if stored.Media == (storage.MediaInfo{}) {
		stored.Media = media
	}
	return nil
}

func (w *writer) AddSource(id storage.EntryID, s storage.Source) error {
	if err := s.CheckText(); err != nil {
		return err
	}
	stored, err := w.entry(id)
	if err != nil {
		return err
	}
	s.At = w.options.TimeOr(s.At, w.options.Time())
	stored.Sources = append(slices.Clip(stored.Sources), s)
	return nil
}

func (w *writer) CreateKey(k *storage.Key) error {
	if err := k.CheckText(); err != nil {
		return err
	}
	if _, err := w.key(k.ID); err == nil {
		return fmt.Errorf("key %s: %w", k.ID, storage.ErrExists)
	}
	party := cmp.Or(k.Party, storage.Operator)
	if _, err := w.party(party); err != nil {
		return err
	}
	k.Party, k.CreatedAt, k.Seq = party, w.options.Time(), 0
	w.keys = append(w.keys, *k)
	return w.UpdateKey(*k)
}

func (w *writer) UpdateKey(k storage.Key) error {
	if err := storage.CheckText("key", k.Name); err != nil {
		return err
	}
	stored, err := w.key(k.ID)
	if err != nil {
		return err
	}
	stored.Name, stored.ExpiresAt, stored.RevokedAt = k.Name, storage.KeptTime(k.ExpiresAt), storage.KeptTime(k.RevokedAt)
	return nil
}

func (w *writer) MediaPend(sha hashing.Value, size int64) (live bool, err error) {
	row, there := w.media[sha]
	switch {
	case !there:
		row = mediaRow{size: size, state: storage.MediaPending}
	case row.state == storage.MediaDeleting:
		return false, conflict(sha, row.state)
	}
	row.at = w.options.Time()
	w.media[sha] = row
	return row.state == storage.MediaLive, nil
}

func (w *writer) MediaLive(sha hashing.Value) error {
	row := w.media[sha]
	if row.state != storage.MediaPending && row.state != storage.MediaLive {
		return conflict(sha, row.state)
	}
	row.state = storage.MediaLive
	w.media[sha] = row
	return nil
}

func (w *writer) MediaSweep(before time.Time) (deleting []hashing.Value, err error) {
	for sha, row := range w.media {
		if row.state == storage.MediaPending && row.at.Before(storage.KeptTime(before)) {
			row.state = storage.MediaDeleting
			w.media[sha] = row
		}
		if row.state == storage.MediaDeleting {
			deleting = append(deleting, sha)
		}
	}
	slices.SortFunc(deleting, func(a, b hashing.Value) int { return slices.Compare(a[:], b[:]) })
	return deleting, nil
}

func (w *writer) MediaGone(sha hashing.Value) error {
	if row, there := w.media[sha]; there && row.state != storage.MediaDeleting {
		return conflict(sha, row.state)
	}
	delete(w.media, sha)
	return nil
}

func conflict(sha hashing.Value, state storage.MediaState) error {
	return fmt.Errorf("media %x is %q: %w", sha.Bytes(32), state, storage.ErrConflict)
}
