package memory

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"vigie/storage"
)

func (r *reader) Party(id storage.PartyID) (storage.Party, error) {
	p, err := r.party(id)
	if err != nil {
		return storage.Party{}, err
	}
	return *p, nil
}

func (r *reader) PartyNamed(name string) (storage.Party, error) {
	for _, p := range r.parties {
		if p.Name == name {
			return p, nil
		}
	}
	return storage.Party{}, missing("party", name)
}

func (r *reader) Parties() ([]storage.Party, error) { return slices.Clone(r.parties), nil }

func (w *writer) CreateParty(p *storage.Party) error {
	if err := p.CheckText(); err != nil {
		return err
	}
	if err := w.partyIsNew(p.Name, 0); err != nil {
		return err
	}
	p.ID, p.CreatedAt, p.Seq = storage.PartyID(len(w.parties)+1), w.options.Time(), 0
	w.parties = append(w.parties, *p)
	return nil
}

func (w *writer) UpdateParty(p storage.Party) error {
	if err := p.CheckText(); err != nil {
		return err
	}
	stored, err := w.party(p.ID)
	if err != nil {
		return err
	}
	if err := w.partyIsNew(p.Name, p.ID); err != nil {
		return err
	}
	p.CreatedAt, p.Seq = stored.CreatedAt, stored.Seq
	*stored = p
	return nil
}

// partyIsNew looks for another party of that name.
func (w *writer) partyIsNew(name string, except storage.PartyID) error {
	if other, err := w.PartyNamed(name); err == nil && other.ID != except {
		return fmt.Errorf("party %q: %w", name, storage.ErrExists)
	}
	return nil
}

func (r *reader) Subscriptions() (all []storage.Subscription, err error) {
	for _, s := range r.subscriptions {
		all = append(all, s.Normal())
	}
	slices.SortFunc(all, func(a, b storage.Subscription) int {
		return cmp.Or(cmp.Compare(a.Party, b.Party), cmp.Compare(a.Bank, b.Bank))
	})
	return all, nil
}

func (w *writer) SetSubscription(s storage.Subscription) error {
	if err := s.CheckText(); err != nil {
		return err
	}
	if _, err := w.party(s.Party); err != nil {
		return err
	}
	if _, err := w.bank(s.Bank); err != nil {
		return err
	}
	w.subscriptions[subscriber{s.Party, s.Bank}] = s.Normal()
	return nil
}

func (r *reader) Overlays() (all []storage.Overlay, err error) {
	for _, o := range r.overlays {
		all = append(all, o.Normal())
	}
	slices.SortFunc(all, func(a, b storage.Overlay) int {
		return cmp.Or(cmp.Compare(a.Party, b.Party), cmp.Compare(a.Entry, b.Entry))
	})
	return all, nil
}

func (w *writer) SetOverlay(o storage.Overlay) error {
	if err := storage.CheckText("overlay", o.Labels...); err != nil {
		return err
	}
	if err := w.partyAndEntry(o.Party, o.Entry); err != nil {
		return err
	}
	if o.Empty() {
		delete(w.overlays, holder{o.Party, o.Entry})
	} else {
		w.overlays[holder{o.Party, o.Entry}] = o.Normal()
	}
	at := holder{o.Party, o.Entry}
	if t := w.taken[at]; o.Disabled && !t.alarm.IsZero() {
		w.taken[at] = taking{alarm: t.alarm}
	} else {
		delete(w.taken, at)
	}
	return nil
}

func (w *writer) Disable(party storage.PartyID, entry storage.EntryID, alarm bool) (storage.Overlay, error) {
	if err := w.partyAndEntry(party, entry); err != nil {
		return storage.Overlay{}, err
	}
	at := holder{party, entry}
	o, t := w.overlays[at].Normal(), w.taken[at]
	t.own = t.own || !o.Disabled
	if alarm {
		t.alarm = w.options.Time()
	}
	w.taken[at] = t
	o.Party, o.Entry, o.Disabled = party, entry, true
	w.overlays[at] = o.Normal()
	return o, nil
}

func (r *reader) Alarms(entry storage.EntryID, since time.Time) (parties []storage.PartyID, err error) {
	for at, t := range r.taken {
		if at.entry == entry && !t.alarm.IsZero() && !t.alarm.Before(storage.KeptTime(since)) {
			parties = append(parties, at.party)
		}
	}
	slices.Sort(parties)
	return parties, nil
}

func (w *writer) partyAndEntry(party storage.PartyID, entry storage.EntryID) error {
	if _, err := w.party(party); err != nil {
		return err
	}
	_, err := w.entry(entry)
	return err
}

func (r *reader) Opinions(ids []storage.EntryID) (map[storage.EntryID][]storage.Opinion, error) {
	if err := storage.CheckLabels(ids); err != nil {
		return nil, err
	}
	opinions := map[storage.EntryID][]storage.Opinion{}
	for _, o := range r.opinions {
		if slices.Contains(ids, o.Entry) {
			opinions[o.Entry] = append(opinions[o.Entry], o)
		}
	}
	for _, of := range opinions {
		slices.SortFunc(of, func(a, b storage.Opinion) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Party, b.Party)) })
	}
	return opinions, nil
}

func (w *writer) SetOpinion(o storage.Opinion) error {
	if err := o.CheckText(); err != nil {
		return err
	}
	if err := w.partyAndEntry(o.Party, o.Entry); err != nil {
		return err
	}
	o.At = w.options.Time()
	w.opinions[holder{o.Party, o.Entry}] = o
	return nil
}

func (r *reader) Remembered(scope, key string) (storage.Remembered, error) {
	found, there := r.remembered[request{scope, key}]
	if !there {
		return storage.Remembered{}, missing("outcome of request", key)
	}
	return found.Normal(), nil
}

func (w *writer) Remember(r storage.Remembered) error {
	if err := r.Check(); err != nil {
		return err
	}
	id := request{r.Scope, r.Key}
	if _, there := w.remembered[id]; there {
		return fmt.Errorf("outcome of request %s: %w", r.Key, storage.ErrExists)
	}
	r.At, r.Seq = w.options.Time(), 0
	w.remembered[id] = r.Normal()
	w.noted = append(w.noted, id)
	return nil
}

func (w *writer) Forget(before time.Time, limit int) (int, error) {
	if err := storage.CheckRemoved(limit); err != nil {
		return 0, err
	}
	ids := slices.Collect(maps.Keys(w.remembered))
	ids = slices.DeleteFunc(ids, func(id request) bool { return !w.remembered[id].At.Before(storage.KeptTime(before)) })
	slices.SortFunc(ids, func(a, b request) int {
		return cmp.Or(w.remembered[a].At.Compare(w.remembered[b].At), cmp.Compare(a.scope, b.scope), cmp.Compare(a.key, b.key))
	})
	ids = ids[:min(limit, len(ids))]
	for _, id := range ids {
		delete(w.remembered, id)
		w.noted = slices.DeleteFunc(w.noted, func(n request) bool { return n == id })
	}
	return len(ids), nil
}
