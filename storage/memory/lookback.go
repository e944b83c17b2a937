package memory

import (
	"slices"
	"time"

	"vigie/storage"
)

func (r *reader) Looked(node string) (uint64, error) {
	seq, there := r.looked[node]
	if !there {
		return 0, missing("look-back of node", node)
	}
	return seq, nil
}

func (w *writer) SetLooked(node string, seq uint64) error {
	if err := storage.CheckText("node", node); err != nil {
		return err
	}
	w.looked[node] = max(w.looked[node], seq)
	return nil
}

func (w *writer) RewindLooked(seq uint64) error {
	for node, at := range w.looked {
		w.looked[node] = min(at, seq)
	}
	return nil
}

// hasPast reports whether an entry has a match of a past upload.
func (s *state) hasPast(entry storage.EntryID, upload storage.MatchID) bool {
	return slices.ContainsFunc(s.matches, func(m storage.MatchRecord) bool {
		return m.Past != nil && m.Past.Upload == upload && m.Entries[0].Entry == entry
	})
}

func (r *reader) Erasures(after uint64, limit int) (page []storage.Erasure, err error) {
	if err := storage.CheckRemoved(limit); err != nil {
		return nil, err
	}
	for _, e := range r.erasures {
		if e.ID > after && len(page) < limit {
			page = append(page, e)
		}
	}
	return page, nil
}

func (r *reader) Erased(node string) (uint64, error) { return r.erased[node], nil }

func (w *writer) AddErasure(e *storage.Erasure) error {
	if err := storage.CheckText("erasure", e.ContentID); err != nil {
		return err
	}
	if _, err := w.party(e.Party); err != nil {
		return err
	}
	w.lastErasure++
	e.ID, e.At = w.lastErasure, w.options.Time()
	w.erasures = append(w.erasures, *e)
	return nil
}

func (w *writer) SetErased(node string, id uint64) error {
	if err := storage.CheckText("node", node); err != nil {
		return err
	}
	w.erased[node] = max(w.erased[node], id)
	return nil
}

func (w *writer) ExpireErasures(before time.Time, limit int) (int, error) {
	if err := storage.CheckRemoved(limit); err != nil {
		return 0, err
	}
	n := 0
	w.erasures = slices.DeleteFunc(w.erasures, func(e storage.Erasure) bool { // in the order of their times
		gone := n < limit && e.At.Before(storage.KeptTime(before))
		n += int(one(gone))
		return gone
	})
	return n, nil
}
