package sqlstore

import (
	"fmt"
	"time"

	"vigie/storage"
)

// What parties say: subscriptions to banks, overlays and opinions on entries.

func (r *reader) Subscriptions() ([]storage.Subscription, error) {
	all, err := list(r.ctx, r.db, func(row scanner) (s storage.Subscription, err error) {
		err = row.Scan(&s.Party, &s.Bank, &s.On, jsonColumn{&s.Cap}, &s.Action, &s.Link)
		return s, err
	}, "SELECT party, bank, is_on, cap, action, link FROM subscriptions ORDER BY party, bank")
	return all, wrap(err, "subscriptions", "all")
}

func (w *writer) SetSubscription(s storage.Subscription) error {
	if err := s.CheckText(); err != nil {
		return err
	}
	if err := w.partyExists(s.Party); err != nil {
		return err
	}
	if err := w.bankExists(s.Bank); err != nil {
		return err
	}
	caps, err := jsonText(s.Normal().Cap)
	if err == nil {
		err = w.exec(`
			INSERT INTO subscriptions (party, bank, is_on, cap, action, link) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (party, bank) DO UPDATE SET is_on = excluded.is_on, cap = excluded.cap, action = excluded.action, link = excluded.link`,
			s.Party, s.Bank, s.On, caps, s.Action, s.Link)
	}
	return wrap(err, "subscription to bank", s.Bank)
}

func (r *reader) Overlays() ([]storage.Overlay, error) {
	all, err := list(r.ctx, r.db, func(row scanner) (o storage.Overlay, err error) {
		err = row.Scan(&o.Party, &o.Entry, &o.Disabled, jsonColumn{&o.Labels})
		return o, err
	}, "SELECT party, entry, disabled, labels FROM overlays ORDER BY party, entry")
	return all, wrap(err, "overlays", "all")
}

func (w *writer) SetOverlay(o storage.Overlay) error {
	if err := storage.CheckText("overlay", o.Labels...); err != nil {
		return err
	}
	if err := w.partyExists(o.Party); err != nil {
		return err
	}
	if err := w.entryExists(o.Entry); err != nil {
		return err
	}
	if o.Empty() {
		return wrap(w.exec("DELETE FROM overlays WHERE party = $1 AND entry = $2", o.Party, o.Entry), "overlay on entry", o.Entry)
	}
	labels, err := jsonText(o.Normal().Labels)
	if err == nil {
		err = w.exec(`
			INSERT INTO overlays (party, entry, disabled, labels) VALUES ($1, $2, $3, $4)
			ON CONFLICT (party, entry) DO UPDATE SET
				disabled = excluded.disabled, labels = excluded.labels, taken = FALSE,
				alarm = CASE WHEN excluded.disabled THEN overlays.alarm ELSE 0 END`,
			o.Party, o.Entry, o.Disabled, labels)
	}
	return wrap(err, "overlay on entry", o.Entry)
}

func (w *writer) Disable(party storage.PartyID, entry storage.EntryID, alarm bool) (o storage.Overlay, err error) {
	if err := w.partyExists(party); err != nil {
		return o, err
	}
	if err := w.entryExists(entry); err != nil {
		return o, err
	}
	at := int64(0)
	if alarm {
		at = millis(w.options.Time())
	}
	err = w.row(`
		INSERT INTO overlays (party, entry, disabled, taken, alarm) VALUES ($1, $2, TRUE, TRUE, $3)
		ON CONFLICT (party, entry) DO UPDATE SET
			disabled = TRUE, taken = overlays.taken OR NOT overlays.disabled,
			alarm = CASE WHEN excluded.alarm > overlays.alarm THEN excluded.alarm ELSE overlays.alarm END
		RETURNING party, entry, disabled, labels`, party, entry, at).Scan(&o.Party, &o.Entry, &o.Disabled, jsonColumn{&o.Labels})
	return o, wrap(err, "overlay on entry", entry)
}

const selectAlarms = "SELECT party FROM overlays WHERE entry = $1 AND alarm > 0 AND alarm >= $2 ORDER BY party"

func (r *reader) Alarms(entry storage.EntryID, since time.Time) ([]storage.PartyID, error) {
	parties, err := list(r.ctx, r.db, scanPartyID, selectAlarms, entry, millis(since))
	return parties, wrap(err, "alarms of entry", entry)
}

func (r *reader) Opinions(ids []storage.EntryID) (map[storage.EntryID][]storage.Opinion, error) {
	if err := storage.CheckLabels(ids); err != nil {
		return nil, err
	}
	opinions := map[storage.EntryID][]storage.Opinion{}
	_, err := list(r.ctx, r.db, func(row scanner) (_ struct{}, err error) {
		var o storage.Opinion
		err = row.Scan(&o.Entry, &o.Party, &o.Stance, &o.Reason, &o.Actor, timeColumn{&o.At})
		opinions[o.Entry] = append(opinions[o.Entry], o)
		return struct{}{}, err
	}, "SELECT entry, party, stance, reason, actor, at FROM opinions WHERE entry IN ("+r.dialect.ids("$1")+") ORDER BY at, party", jsonList(ids))
	if err != nil {
		return nil, fmt.Errorf("opinions on %d entries: %w", len(ids), err)
	}
	return opinions, nil
}

func (w *writer) SetOpinion(o storage.Opinion) error {
	if err := o.CheckText(); err != nil {
		return err
	}
	if err := w.partyExists(o.Party); err != nil {
		return err
	}
	if err := w.entryExists(o.Entry); err != nil {
		return err
	}
	return wrap(w.exec(`
		INSERT INTO opinions (entry, party, stance, reason, actor, at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (entry, party) DO UPDATE SET stance = excluded.stance, reason = excluded.reason, actor = excluded.actor, at = excluded.at`,
		o.Entry, o.Party, o.Stance, o.Reason, o.Actor, millis(w.options.Time())), "opinion on entry", o.Entry)
}
