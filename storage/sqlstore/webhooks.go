package sqlstore

import (
	"slices"
	"time"

	"vigie/storage"
)

const selectWebhooks = `SELECT id, party, url, kinds, secret, old_secret, old_until, disabled, created_at, since_log, since_match FROM webhooks `

func scanWebhook(row scanner) (h storage.Webhook, err error) {
	err = row.Scan(&h.ID, &h.Party, &h.URL, jsonColumn{&h.Kinds}, &h.Secret, &h.OldSecret, timeColumn{&h.OldUntil}, &h.Disabled,
		timeColumn{&h.CreatedAt}, &h.Since.Log, &h.Since.Match)
	return h, err
}

func (r *reader) Webhook(id storage.WebhookID) (storage.Webhook, error) {
	h, err := scanWebhook(r.row(selectWebhooks+"WHERE id = $1", id))
	return h, wrap(err, "webhook", id)
}

func (r *reader) Webhooks() ([]storage.Webhook, error) {
	all, err := list(r.ctx, r.db, scanWebhook, selectWebhooks+"ORDER BY id")
	return all, wrap(err, "webhooks", "all")
}

func (w *writer) CreateWebhook(h *storage.Webhook) error {
	if err := h.CheckText(); err != nil {
		return err
	}
	if err := w.partyExists(h.Party); err != nil {
		return err
	}
	n := h.Normal()
	kinds, err := jsonText(n.Kinds)
	if err == nil {
		n.Since, err = w.Present()
	}
	n.CreatedAt = w.options.Time()
	if err == nil {
		err = w.row(`
			INSERT INTO webhooks (party, url, kinds, secret, old_secret, old_until, disabled, created_at, since_log, since_match)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id`,
			n.Party, n.URL, kinds, n.Secret, n.OldSecret, millis(n.OldUntil), n.Disabled, millis(n.CreatedAt), n.Since.Log, n.Since.Match).Scan(&n.ID)
	}
	if err == nil {
		h.ID, h.CreatedAt, h.Since = n.ID, n.CreatedAt, n.Since
	}
	return wrap(err, "webhook of party", h.Party)
}

func (w *writer) UpdateWebhook(h storage.Webhook) error {
	if err := h.CheckText(); err != nil {
		return err
	}
	stored, err := w.Webhook(h.ID)
	if err != nil {
		return err
	}
	n := h.Normal()
	n.Since = stored.Since
	if stored.Disabled != "" && n.Disabled == "" {
		if n.Since, err = w.Present(); err != nil {
			return wrap(err, "webhook", h.ID)
		}
	}
	kinds, err := jsonText(n.Kinds)
	if err == nil {
		err = w.exec(`
			UPDATE webhooks SET url = $1, kinds = $2, secret = $3, old_secret = $4, old_until = $5, disabled = $6, since_log = $7, since_match = $8
			WHERE id = $9`,
			n.URL, kinds, n.Secret, n.OldSecret, millis(n.OldUntil), n.Disabled, n.Since.Log, n.Since.Match, n.ID)
	}
	return wrap(err, "webhook", h.ID)
}

func (w *writer) DeleteWebhook(id storage.WebhookID) error {
	if err := w.must("SELECT 1 FROM webhooks WHERE id = $1", "webhook", id); err != nil {
		return err
	}
	return wrap(w.exec("DELETE FROM webhooks WHERE id = $1", id), "webhook", id)
}

func (r *reader) Dispatch() (d storage.Dispatch, err error) {
	err = r.row("SELECT log, match, holder, until FROM dispatch").Scan(&d.Log, &d.Match, &d.Holder, timeColumn{&d.Until})
	return d, wrap(err, "dispatch", "of events")
}

func (w *writer) TakeDispatch(holder string, period time.Duration) (storage.Dispatch, error) {
	if err := storage.CheckText("holder", holder); err != nil {
		return storage.Dispatch{}, err
	}
	d, err := w.Dispatch()
	if err == nil {
		d, err = d.TakenBy(holder, w.options.Time(), period)
	}
	if err != nil {
		return d, err
	}
	return d, w.setDispatch(d)
}

func (w *writer) Dispatched(holder string, to storage.Position, period time.Duration) error {
	d, err := w.Dispatch()
	if err == nil {
		d, err = d.MovedBy(holder, to, w.options.Time(), period)
	}
	if err != nil {
		return err
	}
	return w.setDispatch(d)
}

func (w *writer) LeaveDispatch(holder string) error {
	d, err := w.Dispatch()
	if err != nil || d.Holder != holder {
		return err
	}
	return w.setDispatch(d.LeftBy(holder))
}

func (w *writer) RewindDispatch(to storage.Position) error {
	d, err := w.Dispatch()
	if err != nil {
		return err
	}
	return w.setDispatch(d.Rewound(to))
}

func (w *writer) setDispatch(d storage.Dispatch) error {
	return wrap(w.exec("UPDATE dispatch SET log = $1, match = $2, holder = $3, until = $4", d.Log, d.Match, d.Holder, millis(d.Until)), "dispatch", "of events")
}

const selectMatchHeads = `
	SELECT m.ord, m.party, EXISTS (SELECT 1 FROM past_uploads p WHERE p.ord = m.ord)
	FROM matches m WHERE m.ord > $1 ORDER BY m.ord LIMIT $2`

func (r *reader) MatchHeads(after uint64, limit int) ([]storage.MatchHead, error) {
	if err := storage.CheckHeads(limit); err != nil {
		return nil, err
	}
	heads, err := list(r.ctx, r.db, func(row scanner) (h storage.MatchHead, err error) {
		err = row.Scan(&h.Ord, &h.Party, &h.Past)
		return h, err
	}, selectMatchHeads, after, limit)
	return heads, wrap(err, "matches after", after)
}

// selectMatchesAfter counts, rather than to ask whether there is one: of that a planner might make a join with all past uploads.
func selectMatchesAfter(past *bool) string {
	where := ""
	if past != nil {
		where = " AND (SELECT COUNT(*) FROM past_uploads p WHERE p.ord = m.ord) = 0"
		if *past {
			where = " AND (SELECT COUNT(*) FROM past_uploads p WHERE p.ord = m.ord) > 0"
		}
	}
	return "SELECT ord FROM matches m WHERE party = $1 AND ord > $2 AND ord <= $3" + where + " ORDER BY ord LIMIT $4"
}

func (r *reader) MatchesAfter(s storage.MatchStretch) ([]storage.MatchRecord, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	ords, err := list(r.ctx, r.db, scanID[int64], selectMatchesAfter(s.Past), s.Party, s.After, s.Until, s.Limit)
	if err != nil || len(ords) == 0 {
		return nil, wrap(err, "matches after", s.After)
	}
	page, err := list(r.ctx, r.db, scanMatch, selectMatches+"WHERE ord IN ("+r.dialect.ids("$1")+") ORDER BY ord DESC", jsonList(ords))
	if err == nil {
		err = r.fillMatches(page)
	}
	slices.Reverse(page)
	return page, wrap(err, "matches after", s.After)
}

// selectChangeSizes reads no record: both databases know how long one is.
const selectChangeSizes = "SELECT LENGTH(record) + COALESCE(LENGTH(private), 0) FROM log WHERE seq > $1 ORDER BY seq LIMIT $2"

func (r *reader) ChangeSizes(after uint64, limit int) ([]int64, error) {
	if err := storage.CheckHeads(limit); err != nil {
		return nil, err
	}
	sizes, err := list(r.ctx, r.db, scanID[int64], selectChangeSizes, after, limit)
	return sizes, wrap(err, "changes after", after)
}

func (r *reader) Present() (p storage.Position, err error) {
	head, err := r.Head()
	if err != nil {
		return p, err
	}
	p.Log = head.Seq
	err = r.row("SELECT COALESCE(MAX(ord), 0) FROM matches").Scan(&p.Match)
	return p, wrap(err, "matches", "all")
}
