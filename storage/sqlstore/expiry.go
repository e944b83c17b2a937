package sqlstore

import (
	"fmt"

	"vigie/storage"
)

// selectDue reads from the index of what is active and expires, which holds few of all entries.
const selectDue = "SELECT id FROM entries WHERE status = 'active' AND expires_at > 0 AND expires_at <= $1 ORDER BY expires_at, id LIMIT $2"

func (r *reader) Due(limit int) ([]storage.EntryID, error) {
	if err := storage.CheckDue(limit); err != nil {
		return nil, err
	}
	now, err := r.clock()
	var ids []storage.EntryID
	if err == nil {
		ids, err = list(r.ctx, r.db, scanID[storage.EntryID], selectDue, now, limit)
	}
	return ids, wrap(err, "entries that expire, at most", limit)
}

// clock is the present in milliseconds, as all that use the database have it.
func (r *reader) clock() (now int64, err error) {
	if r.dialect.clock == "" || r.options.Now != nil {
		return millis(r.options.Time()), nil
	}
	err = r.row(r.dialect.clock).Scan(&now)
	return now, err
}

func (w *writer) Expire(limit int) ([]storage.Entry, error) {
	ids, err := w.Due(limit)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	err = w.exec("UPDATE entries SET status = 'expired', reason = '' WHERE id IN ("+w.dialect.ids("$1")+")", jsonList(ids))
	var expired []storage.Entry
	if err == nil {
		expired, err = w.page(jsonList(ids))
	}
	if err != nil {
		return nil, fmt.Errorf("expire %d entries: %w", len(ids), err)
	}
	return expired, nil
}
