package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"vigie/internal/guard"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/jobs"
)

// ErrUnknownDelivery: no delivery of that number is dead.
var ErrUnknownDelivery = errors.New("no such dead delivery")

// ErrOff: what was given up of a webhook that is switched off would be given up again.
var ErrOff = errors.New("the webhook is off")

// ErrBusy: too many webhooks of the party are tested at the moment.
var ErrBusy = errors.New("other webhooks of your party are being tested")

// mostPings are made at a time for a party.
const mostPings = 2

// pings are those under way.
type pings struct {
	mu sync.Mutex
	of map[storage.PartyID]int
}

func (p *pings) begin(party storage.PartyID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of[party] == mostPings {
		return false
	}
	p.of[party]++
	return true
}

func (p *pings) end(party storage.PartyID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of[party]--; p.of[party] == 0 {
		delete(p.of, party)
	}
}

// Create makes a webhook of who's party; see [matcher.Matcher.CreateWebhook]. The URL is refused by its form; where it leads is seen
// when it is called.
func (s *Service) Create(ctx context.Context, who matcher.Principal, edit matcher.WebhookEdit) (storage.Webhook, error) {
	if err := s.checkURL(edit); err != nil {
		return storage.Webhook{}, err
	}
	return s.matcher.CreateWebhook(ctx, who, edit)
}

// Change edits a webhook; see [matcher.Matcher.ChangeWebhook].
func (s *Service) Change(ctx context.Context, who matcher.Principal, id storage.WebhookID, edit matcher.WebhookEdit) (storage.Webhook, error) {
	if err := s.checkURL(edit); err != nil {
		return storage.Webhook{}, err
	}
	return s.matcher.ChangeWebhook(ctx, who, id, edit)
}

// Delete removes a webhook, and what was on its way to it or given up; see [matcher.Matcher.DeleteWebhook].
func (s *Service) Delete(ctx context.Context, who matcher.Principal, id storage.WebhookID) error {
	if err := s.matcher.DeleteWebhook(ctx, who, id); err != nil {
		return err
	}
	if err := s.jobs.DropOf(ctx, Job, prefix(id)); err != nil { // deleted it is all the same; what is left ends by itself
		s.fault(fmt.Errorf("drop the deliveries of webhook %d, which is deleted: %w", id, err))
	}
	return nil
}

func (s *Service) checkURL(edit matcher.WebhookEdit) error {
	if edit.URL == nil {
		return nil
	}
	if _, err := s.out.Check(*edit.URL); err != nil {
		return &matcher.InputError{Field: "url", Reason: guard.Told(err)}
	}
	return nil
}

// Pinged is what came of a test. How long it took is not told: it would tell apart what Err does not.
type Pinged struct {
	Status int   // of the answer; 0: there was none
	Err    error // why it has failed, as the webhook's owner may know it; nil: it has not
}

// Ping sends a [Ping] to a webhook of who's party, once, also if it is disabled. matcher.ErrUnknownWebhook, matcher.ErrForeign, ErrBusy.
func (s *Service) Ping(ctx context.Context, who matcher.Principal, id storage.WebhookID) (p Pinged, err error) {
	h, err := s.matcher.OwnWebhook(ctx, who, id)
	if err != nil {
		return p, err
	}
	if !s.pings.begin(h.Party) {
		return p, ErrBusy
	}
	defer s.pings.end(h.Party)
	now := s.o.Now()
	name := "ping:" + strconv.FormatInt(now.UnixNano(), 36)
	d := delivery{Delivery: fmt.Sprintf("%d-%s", id, name), Webhook: id, Events: []Event{{ID: name, Kind: Ping, At: now.UTC().Truncate(time.Millisecond), Data: struct{}{}}}}
	p.Status, _, p.Err = s.post(ctx, h, d)
	return p, nil
}

// Dead is a delivery that was given up.
type Dead struct {
	ID       int64
	Delivery string
	Events   int // when it was made
	Error    string
	Attempts int
	Created  time.Time
	Died     time.Time
}

// Dead lists those of a webhook, oldest first, at most limit (1..1000) with numbers beyond after; next is where to go on, 0 at the
// end. They are kept for 30 days. matcher.ErrUnknownWebhook.
func (s *Service) Dead(ctx context.Context, who matcher.Principal, id storage.WebhookID, after int64, limit int) (dead []Dead, next int64, err error) {
	if _, err := s.matcher.Webhook(ctx, who, id); err != nil {
		return nil, 0, err
	}
	page, err := s.jobs.DeadOf(ctx, Job, prefix(id), after, limit)
	if err != nil {
		return nil, 0, err
	}
	for _, j := range page {
		var a args
		_ = json.Unmarshal(j.Args, &a) // written here
		dead = append(dead, Dead{ID: j.ID, Delivery: a.name(), Events: a.Count, Error: j.Error, Attempts: j.Attempts, Created: j.Created, Died: j.Died})
	}
	if len(page) == limit {
		next = page[limit-1].ID
	}
	return dead, next, nil
}

// Pending sums up what is still to be delivered, by webhook; whoever may read a webhook may read what is about it.
func (s *Service) Pending(ctx context.Context) (map[storage.WebhookID]jobs.Pending, error) {
	all, err := s.jobs.Pending(ctx, Job)
	of := make(map[storage.WebhookID]jobs.Pending, len(all))
	for beginning, p := range all {
		if id, err := strconv.ParseUint(beginning, 10, 64); err == nil { // see prefix
			of[storage.WebhookID(id)] = p
		}
	}
	return of, err
}

// own is a webhook of who's party to which deliveries can be tried.
func (s *Service) own(ctx context.Context, who matcher.Principal, id storage.WebhookID) error {
	h, err := s.matcher.OwnWebhook(ctx, who, id)
	if err == nil && h.Disabled != "" {
		err = fmt.Errorf("%w (%s); switch it on first", ErrOff, h.Disabled)
	}
	return err
}

// Replay has a dead delivery of a webhook of who's party tried anew. matcher.ErrUnknownWebhook, matcher.ErrForeign, ErrOff,
// ErrUnknownDelivery.
func (s *Service) Replay(ctx context.Context, who matcher.Principal, id storage.WebhookID, job int64) error {
	if err := s.own(ctx, who, id); err != nil {
		return err
	}
	page, err := s.jobs.DeadOf(ctx, Job, prefix(id), job-1, 1)
	if err == nil && (len(page) == 0 || page[0].ID != job) {
		err = storage.ErrNotFound
	}
	if err == nil {
		err = s.jobs.Replay(ctx, job)
	}
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return fmt.Errorf("%w: %d", ErrUnknownDelivery, job)
	case errors.Is(err, storage.ErrExists):
		return nil // it is on its way
	}
	return err
}

// ReplayAll has all dead deliveries of a webhook of who's party tried anew, and returns how many. matcher.ErrUnknownWebhook,
// matcher.ErrForeign, ErrOff.
func (s *Service) ReplayAll(ctx context.Context, who matcher.Principal, id storage.WebhookID) (int, error) {
	if err := s.own(ctx, who, id); err != nil {
		return 0, err
	}
	return s.jobs.ReplayOf(ctx, Job, prefix(id))
}

// Stats counts deliveries that wait, run and are dead, of all webhooks.
func (s *Service) Stats(ctx context.Context) (jobs.Stats, error) {
	all, err := s.jobs.Stats(ctx)
	return all[Job], err
}

// Lag is how many changes of the log are not handed on to webhooks yet, by any process; 0 if there are no webhooks.
func (s *Service) Lag(ctx context.Context) (changes uint64, err error) {
	l, err := s.look(ctx)
	if from := ahead(l.dispatch.Position, l.hooks); err == nil && len(l.hooks) > 0 && from.Log < l.present.Log {
		changes = l.present.Log - from.Log
	}
	return changes, err
}
