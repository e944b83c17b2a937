package memory

import (
	"cmp"
	"slices"

	"vigie/storage"
)

func (r *reader) Due(limit int) (ids []storage.EntryID, err error) {
	if err := storage.CheckDue(limit); err != nil {
		return nil, err
	}
	var due []storage.Entry
	for _, e := range r.entries {
		if e.Status == storage.Active && !e.ExpiresAt.IsZero() && !e.ExpiresAt.After(r.options.Time()) {
			due = append(due, e)
		}
	}
	slices.SortStableFunc(due, func(a, b storage.Entry) int {
		return cmp.Or(a.ExpiresAt.Compare(b.ExpiresAt), cmp.Compare(a.ID, b.ID))
	})
	for _, e := range due[:min(len(due), limit)] {
		ids = append(ids, e.ID)
	}
	return ids, nil
}

func (w *writer) Expire(limit int) (expired []storage.Entry, err error) {
	ids, err := w.Due(limit)
	slices.Sort(ids)
	for _, id := range ids {
		e, err := w.entry(id)
		if err != nil {
			return nil, err
		}
		e.Status, e.Reason = storage.Expired, ""
		expired = append(expired, cloneEntry(*e))
	}
	return expired, err
}
