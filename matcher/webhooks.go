package matcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"vigie/storage"
)

// A webhook is where a party wants to be told of what happens. What is done to one goes through the log, without its URL, which may
// hold what only the party should know, and its secret. Who is told what, and how, is package webhook's.

// Kinds of events.
const (
	EventMatch       = "match"             // a check found something
	EventAdded       = "entry.added"       // an entry matches
	EventRetracted   = "entry.retracted"   // it does not match any more, as people took it back
	EventRestored    = "entry.restored"    // it matches again
	EventQuarantined = "entry.quarantined" // it does not match any more, by a rule of its bank
	EventExpired     = "entry.expired"     // it does not match any more, as its time has come
	EventBankGone    = "bank.deleted"      // no entry of a bank matches any more
	EventBankBack    = "bank.restored"     // those that are active match again
	EventRescan      = "rescan.finished"   // a re-scan has come to its end
	EventLookback    = "lookback.hit"      // past uploads match a new entry
)

// EventKinds lists the kinds of events.
func EventKinds() []string {
	return []string{EventMatch, EventAdded, EventRetracted, EventRestored, EventQuarantined, EventExpired, EventBankGone, EventBankBack, EventRescan, EventLookback}
}

var (
	// ErrUnknownWebhook: there is none of that number, or it is another party's.
	ErrUnknownWebhook = errors.New("no such webhook")
	// ErrTooManyWebhooks: the party has [MaxWebhooks].
	ErrTooManyWebhooks = fmt.Errorf("a party has at most %d webhooks; delete one first", MaxWebhooks)
)

// Bounds of webhooks.
const (
	MaxWebhooks    = 20                 // of a party
	MaxOldSecret   = 7 * 24 * time.Hour // how long a secret may sign beside its successor
	webhookSecret  = "whsec_"           // begins every secret
	offByOwner     = "switched off"
	maxWebhookText = 200 // of the reason why one is disabled
)

// WebhookEdit changes what is not nil.
type WebhookEdit struct {
	URL   *string // checked by the caller: see package guard
	Kinds *[]string
	On    *bool
}

func (e WebhookEdit) apply(h *storage.Webhook) error {
	set(&h.URL, e.URL)
	set(&h.Kinds, e.Kinds)
	if e.On != nil && *e.On {
		h.Disabled = ""
	} else if e.On != nil && h.Disabled == "" {
		h.Disabled = offByOwner
	}
	if len(h.Kinds) == 0 {
		return invalid("kinds", "none; accepted are some of %s", strings.Join(EventKinds(), ", "))
	}
	for _, k := range h.Kinds {
		if !slices.Contains(EventKinds(), k) {
			return invalid("kinds", "%.64q; accepted are %s", k, strings.Join(EventKinds(), ", "))
		}
	}
	return nil
}

// Webhooks are those of who's party, or all for who oversees, by id.
func (m *Matcher) Webhooks(ctx context.Context, who Principal) (own []storage.Webhook, err error) {
	err = m.catalogue.View(ctx, func(r storage.Reader) error {
		all, err := r.Webhooks()
		own = slices.DeleteFunc(all, func(h storage.Webhook) bool { return h.Party != who.Party && !who.Oversees() })
		return err
	})
	return own, err
}

// Webhook is one of who's party, or any for who oversees. ErrUnknownWebhook.
func (m *Matcher) Webhook(ctx context.Context, who Principal, id storage.WebhookID) (h storage.Webhook, err error) {
	err = m.catalogue.View(ctx, func(r storage.Reader) (err error) {
		h, err = webhookFor(r, who, id)
		return err
	})
	return h, err
}

func webhookFor(r storage.Reader, who Principal, id storage.WebhookID) (storage.Webhook, error) {
	h, err := r.Webhook(id)
	if err == nil && h.Party != who.Party && !who.Oversees() {
		err = storage.ErrNotFound
	}
	return h, translate(err, ErrUnknownWebhook, id)
}

// OwnWebhook is one of who's party. ErrUnknownWebhook; ErrForeign for another's that who may read.
func (m *Matcher) OwnWebhook(ctx context.Context, who Principal, id storage.WebhookID) (storage.Webhook, error) {
	h, err := m.Webhook(ctx, who, id)
	if err == nil {
		err = ownWebhook(h, who)
	}
	return h, err
}

func ownWebhook(h storage.Webhook, who Principal) error {
	if h.Party != who.Party {
		return fmt.Errorf("%w: webhook %d", ErrForeign, h.ID)
	}
	return nil
}

// CreateWebhook makes a webhook of who's party, with a secret. If the context's request comes again, the secret was shown: it is
// empty then. ErrTooManyWebhooks, [*InputError].
func (m *Matcher) CreateWebhook(ctx context.Context, who Principal, edit WebhookEdit) (storage.Webhook, error) {
	secret, err := m.newWebhookSecret()
	if err != nil {
		return storage.Webhook{}, err
	}
	return m.changeWebhook(ctx, who, storage.WebhookCreated, func(w storage.Writer) (storage.Webhook, storage.WebhookBody, error) {
		h := storage.Webhook{Party: who.Party, Secret: secret}
		all, err := w.Webhooks()
		if err == nil {
			err = edit.apply(&h)
		}
		if err != nil {
			return h, storage.WebhookBody{}, err
		}
		own := slices.DeleteFunc(all, func(h storage.Webhook) bool { return h.Party != who.Party })
		if len(own) >= MaxWebhooks {
			return h, storage.WebhookBody{}, ErrTooManyWebhooks
		}
		return h, storage.WebhookBody{}, w.CreateWebhook(&h)
	})
}

// ChangeWebhook edits a webhook. One that is switched on again is told of what happens from then on. ErrUnknownWebhook,
// ErrForeign, [*InputError].
func (m *Matcher) ChangeWebhook(ctx context.Context, who Principal, id storage.WebhookID, edit WebhookEdit) (storage.Webhook, error) {
	return m.changeWebhook(ctx, who, storage.WebhookChanged, func(w storage.Writer) (h storage.Webhook, body storage.WebhookBody, err error) {
		before, err := ownWebhookIn(w, who, id)
		if err != nil {
			return h, body, err
		}
		h = before
		if err := edit.apply(&h); err != nil {
			return h, body, err
		}
		if h = h.Normal(); h.URL == before.URL && h.Disabled == before.Disabled && slices.Equal(h.Kinds, before.Kinds) {
			return h, body, errUnchanged
		}
		body.Moved = h.URL != before.URL
		return h, body, w.UpdateWebhook(h)
	})
}

// RotateWebhook gives a webhook another secret; the one that it has signs beside it for a while. If the context's request comes
// again, the secret was shown: it is empty then. ErrUnknownWebhook, ErrForeign, [*InputError].
func (m *Matcher) RotateWebhook(ctx context.Context, who Principal, id storage.WebhookID, keep time.Duration) (storage.Webhook, error) {
	if keep < 0 || keep > MaxOldSecret {
		return storage.Webhook{}, invalid("keep", "%v; accepted are 0 to %v", keep, MaxOldSecret)
	}
	secret, err := m.newWebhookSecret()
	if err != nil {
		return storage.Webhook{}, err
	}
	return m.changeWebhook(ctx, who, storage.WebhookChanged, func(w storage.Writer) (h storage.Webhook, body storage.WebhookBody, err error) {
		if h, err = ownWebhookIn(w, who, id); err != nil {
			return h, body, err
		}
		h.OldSecret, h.OldUntil = h.Secret, milliseconds(m.o.Now().Add(keep))
		if keep == 0 {
			h.OldSecret, h.OldUntil = "", time.Time{}
		}
		h.Secret, body.Rotated = secret, true
		return h, body, w.UpdateWebhook(h)
	})
}

// DeleteWebhook removes a webhook; the operator may remove all. ErrUnknownWebhook, ErrForeign.
func (m *Matcher) DeleteWebhook(ctx context.Context, who Principal, id storage.WebhookID) error {
	_, err := m.changeWebhook(ctx, who, storage.WebhookDeleted, func(w storage.Writer) (storage.Webhook, storage.WebhookBody, error) {
		h, err := webhookFor(w, who, id)
		if err == nil && !who.runs() {
			err = ownWebhook(h, who)
		}
		if err != nil {
			return h, storage.WebhookBody{}, err
		}
		return h, storage.WebhookBody{}, w.DeleteWebhook(id)
	})
	return err
}

// StopWebhook disables a webhook because of what its receiver says; one that is disabled or deleted stays so.
func (m *Matcher) StopWebhook(ctx context.Context, id storage.WebhookID, why string) error {
	_, err := m.changeWebhook(ctx, system, storage.WebhookChanged, func(w storage.Writer) (storage.Webhook, storage.WebhookBody, error) {
		h, err := w.Webhook(id)
		if errors.Is(err, storage.ErrNotFound) || err == nil && h.Disabled != "" {
			return h, storage.WebhookBody{}, errUnchanged
		}
		if err != nil {
			return h, storage.WebhookBody{}, err
		}
		h.Disabled = why[:min(len(why), maxWebhookText)]
		return h, storage.WebhookBody{}, w.UpdateWebhook(h)
	})
	return err
}

func ownWebhookIn(r storage.Reader, who Principal, id storage.WebhookID) (storage.Webhook, error) {
	h, err := webhookFor(r, who, id)
	if err == nil {
		err = ownWebhook(h, who)
	}
	return h, err
}

// changeWebhook makes one change of a webhook, which fn makes and returns as it is then.
func (m *Matcher) changeWebhook(ctx context.Context, who Principal, kind storage.Kind, fn func(storage.Writer) (storage.Webhook, storage.WebhookBody, error)) (h storage.Webhook, err error) {
	done, err := m.update(ctx, func(w storage.Writer) (_ *storage.Change, err error) {
		var body storage.WebhookBody
		if h, body, err = fn(w); errors.Is(err, errUnchanged) {
			return &storage.Change{Party: h.Party}, nil
		} else if err != nil {
			return nil, err
		}
		h = h.Normal()
		body.ID, body.Kinds, body.Disabled = h.ID, h.Kinds, h.Disabled
		return draft(storage.Change{Kind: kind, Actor: who.Actor, Party: h.Party}, body, private{}), nil
	})
	if err != nil || !done.replayed || kind == storage.WebhookDeleted {
		return h, err
	}
	return m.webhookOf(ctx, done.Seq)
}

// webhookOf is the webhook that a change was about, as it is now; without its secret.
func (m *Matcher) webhookOf(ctx context.Context, seq uint64) (h storage.Webhook, err error) {
	changes, err := m.catalogue.Changes(ctx, seq-1, 1)
	if err != nil || seq == 0 || len(changes) == 0 {
		return h, err
	}
	var body storage.WebhookBody
	if err := json.Unmarshal(changes[0].Body, &body); err != nil {
		return h, fmt.Errorf("%w: body of change %d: %w", storage.ErrCorrupt, seq, err)
	}
	err = m.catalogue.View(ctx, func(r storage.Reader) (err error) {
		h, err = r.Webhook(body.ID)
		return err
	})
	h.Secret, h.OldSecret = "", ""
	return h, translate(err, ErrUnknownWebhook, body.ID)
}

func (m *Matcher) newWebhookSecret() (string, error) {
	random := make([]byte, secretBytes)
	if _, err := io.ReadFull(m.o.Rand, random); err != nil {
		return "", fmt.Errorf("draw a secret: %w", err)
	}
	return webhookSecret + keyText.EncodeToString(random), nil
}
