package memory

import (
	"cmp"
	"slices"
	"time"

	"vigie/storage"
)

func (r *reader) Webhook(id storage.WebhookID) (storage.Webhook, error) {
	w, there := r.webhooks[id]
	if !there {
		return storage.Webhook{}, missing("webhook", id)
	}
	return w.Normal(), nil
}

func (r *reader) Webhooks() (all []storage.Webhook, err error) {
	for _, w := range r.webhooks {
		all = append(all, w.Normal())
	}
	slices.SortFunc(all, func(a, b storage.Webhook) int { return cmp.Compare(a.ID, b.ID) })
	return all, nil
}

func (r *reader) Dispatch() (storage.Dispatch, error) { return r.dispatch, nil }

func (r *reader) MatchHeads(after uint64, limit int) (heads []storage.MatchHead, err error) {
	if err := storage.CheckHeads(limit); err != nil {
		return nil, err
	}
	for _, m := range r.matches {
		if m.Ord > after && len(heads) < limit {
			heads = append(heads, storage.MatchHead{Ord: m.Ord, Party: m.Party, Past: m.Past != nil})
		}
	}
	return heads, nil
}

func (r *reader) MatchesAfter(s storage.MatchStretch) (page []storage.MatchRecord, err error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	for _, m := range r.matches {
		if m.Party == s.Party && m.Ord > s.After && m.Ord <= s.Until && (s.Past == nil || *s.Past == (m.Past != nil)) && len(page) < s.Limit {
			m = m.Normal()
			m.Verdict = nil
			page = append(page, m)
		}
	}
	return page, nil
}

func (r *reader) ChangeSizes(after uint64, limit int) (sizes []int64, err error) {
	if err := storage.CheckHeads(limit); err != nil {
		return nil, err
	}
	for _, c := range r.changes[min(after, uint64(len(r.changes))):] {
		if len(sizes) < limit {
			sizes = append(sizes, int64(len(c.Record)+len(c.Private)))
		}
	}
	return sizes, nil
}

func (r *reader) Present() (storage.Position, error) { return r.present(), nil }

func (s *state) present() storage.Position {
	return storage.Position{Log: uint64(len(s.changes)), Match: s.lastMatch}
}

func (w *writer) CreateWebhook(h *storage.Webhook) error {
	if err := h.CheckText(); err != nil {
		return err
	}
	if _, err := w.party(h.Party); err != nil {
		return err
	}
	w.lastWebhook++
	h.ID, h.CreatedAt, h.Since = w.lastWebhook, w.options.Time(), w.present()
	w.webhooks[h.ID] = h.Normal()
	return nil
}

func (w *writer) UpdateWebhook(h storage.Webhook) error {
	if err := h.CheckText(); err != nil {
		return err
	}
	stored, err := w.Webhook(h.ID)
	if err != nil {
		return err
	}
	h.Party, h.CreatedAt, h.Since = stored.Party, stored.CreatedAt, stored.Since
	if stored.Disabled != "" && h.Disabled == "" {
		h.Since = w.present()
	}
	w.webhooks[h.ID] = h.Normal()
	return nil
}

func (w *writer) DeleteWebhook(id storage.WebhookID) error {
	_, err := w.Webhook(id)
	delete(w.webhooks, id)
	return err
}

func (w *writer) TakeDispatch(holder string, period time.Duration) (storage.Dispatch, error) {
	if err := storage.CheckText("holder", holder); err != nil {
		return storage.Dispatch{}, err
	}
	d, err := w.dispatch.TakenBy(holder, w.options.Time(), period)
	w.dispatch = d
	return d, err
}

func (w *writer) Dispatched(holder string, to storage.Position, period time.Duration) error {
	d, err := w.dispatch.MovedBy(holder, to, w.options.Time(), period)
	w.dispatch = d
	return err
}

func (w *writer) LeaveDispatch(holder string) error {
	w.dispatch = w.dispatch.LeftBy(holder)
	return nil
}

func (w *writer) RewindDispatch(to storage.Position) error {
	w.dispatch = w.dispatch.Rewound(to)
	return nil
}
