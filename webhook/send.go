package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"vigie/internal/guard"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/jobs"
	"vigie/webhook/signature"
)

// How deliveries are made.
const (
	sendTime = 10 * time.Second // from the lookup of the name to the answer
	parallel = 32               // deliveries that a node makes at a time
	perParty = 8                // of them to the webhooks of one party
	perHook  = 4                // and to one webhook
	patience = 24 * time.Hour   // for a receiver that asks to wait
	oldest   = 26 * time.Hour   // is what is sent: what a receiver is too slow for has an end
	longest  = time.Hour        // between attempts

	// Between attempts lie 5 s, doubled each time up to an hour: 33 of them are about a day.
	firstPause = 5 * time.Second
	attempts   = 34

	// When so many requests to a webhook have failed in a row, one in so long is made, and what else is due fails without.
	breaks     = 5
	breakTime  = 5 * time.Second // doubled with each that fails
	breakLimit = time.Minute
)

// Options of a [Sender]. The zero value is usable.
type Options struct {
	// Sent is told of each request, for metrics; Fault of what goes wrong with dispatching. Neither is given a URL or what was sent.
	Sent  func(Sent)
	Fault func(error)
	// Now is for tests.
	Now func() time.Time
}

// Sent is a request that was made.
type Sent struct {
	Webhook storage.WebhookID
	Events  int
	Status  int   // 0: there was no answer
	Err     error // why it has failed, for the operator: it may say what the node's network is like; nil: it has not
	Took    time.Duration
}

// Sender makes requests to webhooks. It is safe for concurrent use.
type Sender struct {
	matcher   *matcher.Matcher
	catalogue storage.Catalogue
	out       *guard.Guard
	o         Options

	mu    sync.Mutex
	doors map[storage.WebhookID]*door
	open  map[storage.PartyID]int // requests
}

// door bounds what goes to one webhook.
type door struct {
	open   int           // requests
	failed int           // requests in a row
	broken time.Time     // until then, what is due fails
	paused time.Time     // until then, what is due waits, as the receiver has asked for it
	next   time.Time     // when whoever finds it full is to come again
	took   time.Duration // a request, lately
}

// NewSender makes a sender that lets requests out through a guard, which should follow no redirects.
func NewSender(m *matcher.Matcher, c storage.Catalogue, out *guard.Guard, o Options) *Sender {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Sender{matcher: m, catalogue: c, out: out, o: o, doors: map[storage.WebhookID]*door{}, open: map[storage.PartyID]int{}}
}

// Handler does the jobs of the kind [Job].
func (s *Sender) Handler() jobs.Handler {
	return jobs.Handler{Do: s.do, Timeout: 3 * sendTime, Attempts: attempts, Backoff: backoff, Parallel: parallel}
}

func backoff(failed int) time.Duration {
	pause := min(firstPause<<min(failed-1, 20), longest)
	return pause - pause/8 + rand.N(pause/4+1) // so that what failed together does not come together again
}

// Errors of deliveries, as the owner of the webhook is told of them.
var (
	errGone     = errors.New("answered 410: the webhook is disabled")
	errBroken   = errors.New("not sent: the requests before have failed")
	errDisabled = errors.New("not sent: the webhook is disabled")
	errSuspend  = errors.New("not sent: the party is suspended")
	errReplaced = errors.New("not sent: the database was replaced meanwhile")
	errForeign  = errors.New("not sent: the webhook is another party's")
	errOld      = errors.New("not sent: for a day there was no room for it, as the receiver is slow, or asks to wait")
	errStay     = errors.New("answered 410, and the webhook could not be disabled yet")
)

// do makes one attempt at a delivery.
func (s *Sender) do(ctx context.Context, r jobs.Run) error {
	var a args
	if err := json.Unmarshal(r.Args, &a); err != nil {
		return jobs.Never(errors.New("the job cannot be read"))
	}
	var h storage.Webhook
	err := s.catalogue.View(ctx, func(r storage.Reader) (err error) {
		h, err = r.Webhook(a.Webhook)
		return err
	})
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil // nobody is there to be told
	case err != nil:
		return jobs.Later(period) // the database is away: that is not the receiver's fault
	case h.Disabled != "":
		return jobs.Never(errDisabled)
	case a.Source == fromArgs && h.Party != a.Party:
		return jobs.Never(errForeign) // the number was given anew, by a database that was restored
	}
	state := s.matcher.Follower().State()
	age := s.o.Now().Sub(r.Created)
	switch {
	case age > oldest:
		return jobs.Never(errOld)
	case state == nil || a.Source == fromLog && state.LogID == a.Log && state.Seq < a.Until:
		return jobs.Later(period) // what it is about is not here yet
	case state.LogID != a.Log && a.Source != fromArgs:
		return jobs.Never(errReplaced)
	case state.Parties[h.Party].Suspended:
		return jobs.Never(errSuspend)
	}
	leave, err := s.enter(h, age < patience)
	if err != nil {
		return err
	}
	defer leave()
	events, err := s.events(ctx, state, h, a)
	if err != nil {
		return jobs.Later(period)
	}
	if len(events) == 0 {
		return nil // it may read nothing of it any more, or it is gone
	}
	return s.send(ctx, h, delivery{Delivery: a.name(), Webhook: h.ID, Events: events}, r.Created)
}

func (s *Sender) fault(err error) {
	if s.o.Fault != nil {
		s.o.Fault(err)
	}
}

// enter counts a request to a webhook until it leaves, or says that it is not to be made now. A receiver that asks to wait is waited
// for if patient.
func (s *Sender) enter(h storage.Webhook, patient bool) (leave func(), err error) {
	now := s.o.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.doors[h.ID]
	if d == nil {
		d = &door{}
		s.doors[h.ID] = d
	}
	switch {
	case patient && now.Before(d.paused):
		return nil, jobs.Later(d.paused.Sub(now) + rand.N(period))
	case d.failed >= breaks && (now.Before(d.broken) || d.open > 0):
		return nil, errBroken
	case d.open >= perHook || s.open[h.Party] >= perParty:
		return nil, jobs.Later(d.turnAway(now))
	}
	d.open++
	s.open[h.Party]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.open[h.Party]--; s.open[h.Party] == 0 {
			delete(s.open, h.Party)
		}
		end := s.o.Now()
		d.took = (3*d.took + end.Sub(now)) / 4
		if d.open--; d.open == 0 && d.failed == 0 && !d.paused.After(end) && !d.next.After(end) {
			delete(s.doors, h.ID)
		}
	}, nil
}

// turnAway says in how long to come again to a door that is full: one after the other, as fast as the receiver has been lately. Were
// all to come again soon, thousands that wait for a slow one would come for nothing all the time.
func (d *door) turnAway(now time.Time) time.Duration {
	const soon, late = period / 2, 10 * time.Minute
	d.next = d.next.Add(max(d.took/perHook, period/20))
	if first := now.Add(soon); d.next.Before(first) {
		d.next = first
	} else if last := now.Add(late); d.next.After(last) {
		d.next = last
	}
	return d.next.Sub(now)
}

// noted counts what came of a request, and notes until when the receiver wants to be left alone.
func (s *Sender) noted(id storage.WebhookID, good bool, pause time.Duration) {
	now := s.o.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.doors[id] // which enter has made
	if pause > 0 {
		d.paused = now.Add(pause)
		return
	}
	if good {
		d.failed, d.broken = 0, time.Time{}
		return
	}
	if d.failed++; d.failed >= breaks {
		d.broken = now.Add(min(breakTime<<min(d.failed-breaks, 10), breakLimit))
	}
}

// send makes a request, and says what its job has to know of it.
func (s *Sender) send(ctx context.Context, h storage.Webhook, d delivery, created time.Time) error {
	status, after, err := s.post(ctx, h, d)
	asks := status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
	switch {
	case err == nil:
		s.noted(h.ID, true, 0)
		return nil
	case status == http.StatusGone:
		if err := s.matcher.StopWebhook(ctx, h.ID, errGone.Error()); err != nil {
			s.fault(fmt.Errorf("disable webhook %d, whose receiver answered 410: %w", h.ID, err))
			return errStay
		}
		return jobs.Never(errGone)
	case asks && after > 0 && s.o.Now().Sub(created) < patience:
		s.noted(h.ID, false, after)
		return jobs.Later(after)
	}
	s.noted(h.ID, false, 0)
	return err
}

// post makes a request. Its error is as the owner of the webhook is told of it. after is how long the receiver asks to wait; 0: it does not.
func (s *Sender) post(ctx context.Context, h storage.Webhook, d delivery) (status int, after time.Duration, err error) {
	body, err := json.Marshal(d)
	if err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return 0, 0, errors.New("the URL cannot be read")
	}
	now := s.o.Now()
	secrets := []string{h.Secret}
	if h.OldSecret != "" && now.Before(h.OldUntil) {
		secrets = append(secrets, h.OldSecret)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(signature.Event, kindsOf(d.Events))
	r.Header.Set(signature.Delivery, d.Delivery)
	r.Header.Set(signature.Timestamp, strconv.FormatInt(now.Unix(), 10))
	r.Header.Set(signature.Header, signature.Sign(body, now, secrets...))
	answer, err := s.out.Client().Do(r)
	sent := Sent{Webhook: h.ID, Events: len(d.Events)}
	if err == nil {
		_, _ = io.CopyN(io.Discard, answer.Body, 4<<10) // what is short is read, so that the connection can be used again
		_ = answer.Body.Close()
		sent.Status = answer.StatusCode
		after = retryAfter(answer.Header.Get("Retry-After"), now)
	}
	told := err
	switch {
	case err != nil:
		var with *url.Error
		if errors.As(err, &with) {
			err = with.Err // without the URL
		}
		told = errors.New(guard.Told(err))
	case sent.Status >= 300 && sent.Status < 400:
		err = fmt.Errorf("answered %d: redirects are not followed; give the webhook the URL where it is now", sent.Status)
		told = err
	case sent.Status < 200 || sent.Status >= 300:
		err = fmt.Errorf("answered %d", sent.Status)
		told = err
	}
	if sent.Err, sent.Took = err, s.o.Now().Sub(now); s.o.Sent != nil {
		s.o.Sent(sent)
	}
	return sent.Status, after, told
}

// retryAfter reads the header of that name (RFC 9110, 10.2.3): seconds, or a date.
func retryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(n)*time.Second, longest)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, min(at.Sub(now), longest))
	}
	return 0
}
