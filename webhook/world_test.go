package webhook_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/index"
	"vigie/internal/guard"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/memory"
	"vigie/webhook"
	"vigie/webhook/signature"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a node that tells parties what happens, and the receivers.
type world struct {
	t       testing.TB
	ctx     context.Context
	clock   *clock
	store   *faulty
	matcher *matcher.Matcher
	engine  *engine
	sender  *webhook.Sender
	service *webhook.Service
	out     *guard.Guard
	sent    []webhook.Sent
	matches uint64
	free    []net.Listener

	mu sync.Mutex
}

// faulty is a catalogue whose updates may be kept from happening.
type faulty struct {
	storage.Catalogue
	update func() error // nil: it works
}

func (f *faulty) Update(ctx context.Context, fn func(storage.Writer) error) error {
	if f.update != nil {
		if err := f.update(); err != nil {
			return err
		}
	}
	return f.Catalogue.Update(ctx, fn)
}

func newWorld(t testing.TB) *world {
	return newWorldIn(t, func(c storage.Catalogue) storage.Catalogue { return c })
}

// newWorldIn is a world whose catalogue is wrapped in something.
func newWorldIn(t testing.TB, wrap func(storage.Catalogue) storage.Catalogue) *world {
	c := &clock{now: time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC)}
	store, err := memory.New(storage.Options{Now: c.Now})
	must(t, err)
	return worldOver(t, c, wrap(store))
}

func worldOver(t testing.TB, c *clock, store storage.Catalogue) *world {
	w := &world{t: t, ctx: t.Context(), clock: c, store: &faulty{Catalogue: store}}
	w.matcher = matcher.New(w.store, nil, nil, index.New(index.Options{}), matcher.Options{Now: c.Now, Events: matcher.Events{Fault: func(err error) { t.Logf("fault: %v", err) }}})
	following, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = w.matcher.Follower().Run(following) })
	t.Cleanup(func() { stop(); running.Wait() })
	w.out = guard.New(guard.Options{Secure: true, Allow: w.places(8), Timeout: 2 * time.Second})
	t.Cleanup(w.out.Close)
	w.sender = webhook.NewSender(w.matcher, w.store, w.out, webhook.Options{Now: c.Now, Sent: func(s webhook.Sent) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.sent = append(w.sent, s)
	}})
	w.engine = &engine{clock: c, handler: w.sender.Handler()}
	w.service = webhook.New(w.engine, w.sender)
	must(t, w.matcher.Follower().Await(w.ctx, 0))
	return w
}

// places makes listeners on this machine, to which requests are let out.
func (w *world) places(n int) (rules []guard.Rule) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(w.t, err)
		w.free = append(w.free, l)
		r, err := guard.ParseRule(l.Addr().String())
		must(w.t, err)
		rules = append(rules, r)
	}
	w.t.Cleanup(func() {
		for _, l := range w.free {
			_ = l.Close()
		}
	})
	return rules
}

// party makes a party, and says who acts for it.
func (w *world) party(name string) matcher.Principal {
	w.t.Helper()
	p, err := w.matcher.CreateParty(w.ctx, matcher.Local(), matcher.PartyEdit{Name: &name})
	must(w.t, err)
	return matcher.Principal{Actor: name, Party: p.ID, Role: storage.Admin}
}

func (w *world) bank(who matcher.Principal, name string, edit matcher.BankEdit) {
	w.t.Helper()
	edit.Name = &name
	_, err := w.matcher.CreateBank(w.ctx, who, matcher.NewBank{BankEdit: edit})
	must(w.t, err)
}

func (w *world) flag(who matcher.Principal, bank string, n int, labels ...string) storage.Entry {
	w.t.Helper()
	s, err := hashing.Parse(fmt.Sprintf("sha256:%064x", n))
	must(w.t, err)
	f, err := w.matcher.Flag(w.ctx, matcher.Flagging{Who: who, Bank: bank, Signals: []hashing.Signal{s}, Labels: labels})
	must(w.t, err)
	return f.Entry
}

// video flags one by its frames.
func (w *world) video(who matcher.Principal, bank string, n, frames int) {
	w.t.Helper()
	var all []hashing.Signal
	for i := range frames {
		s, err := hashing.Parse(fmt.Sprintf("pdq:%x", sha256.Sum256([]byte(fmt.Sprint(n, " ", i)))))
		must(w.t, err)
		s.Time, s.Quality, s.Version = uint32(i*250), 90, hashing.PDQ.Version()
		all = append(all, s)
	}
	_, err := w.matcher.Flag(w.ctx, matcher.Flagging{Who: who, Bank: bank, Signals: all})
	must(w.t, err)
}

// match brings a match of a party.
func (w *world) match(party storage.PartyID, content string, entries ...storage.MatchEntry) {
	w.t.Helper()
	w.matches++
	must(w.t, w.store.Catalogue.Update(w.ctx, func(wr storage.Writer) error {
		return wr.AddMatches("aaaaaaaa", []storage.MatchRecord{{
			ID: storage.MatchID{Node: "aaaaaaaa", Number: w.matches}, At: w.clock.Now(), Party: party, ContentID: content, Level: "match",
			Action: "block", IndexSeq: 7, Entries: entries,
		}})
	}))
}

func (w *world) hook(who matcher.Principal, r *receiver, kinds ...string) storage.Webhook {
	w.t.Helper()
	target := r.URL + "/in?token=secret-token"
	h, err := w.service.Create(w.ctx, who, matcher.WebhookEdit{URL: &target, Kinds: &kinds})
	must(w.t, err)
	r.mu.Lock()
	r.secrets = []string{h.Secret}
	r.mu.Unlock()
	return h
}

// tell hands on all that there is, and delivers it.
func (w *world) tell() {
	w.t.Helper()
	head, err := w.store.Head(w.ctx)
	must(w.t, err)
	must(w.t, w.matcher.Follower().Await(w.ctx, head.Seq))
	must(w.t, w.service.Pass(w.ctx))
	w.engine.due(w.ctx)
}

// got is a delivery as a receiver sees it.
type got struct {
	Delivery string `json:"delivery"`
	Webhook  int    `json:"webhook"`
	Events   []struct {
		ID   string         `json:"id"`
		Kind string         `json:"kind"`
		At   time.Time      `json:"at"`
		Seq  uint64         `json:"seq"`
		Data map[string]any `json:"data"`
	} `json:"events"`
	header http.Header
}

// receiver takes deliveries. It answers what answer says, by the number of the request, from 1.
type receiver struct {
	*httptest.Server
	t       testing.TB
	clock   *clock
	answer  func(n int, w http.ResponseWriter)
	mu      sync.Mutex
	secrets []string
	all     []got // answered in any way
	asked   int
}

func (w *world) receiver(answer func(n int, w http.ResponseWriter)) *receiver {
	r := &receiver{t: w.t, clock: w.clock, answer: answer}
	r.Server = &httptest.Server{Listener: w.free[0], Config: &http.Server{Handler: r, ReadHeaderTimeout: time.Minute}}
	w.free = w.free[1:]
	r.Start()
	w.t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	r.mu.Lock()
	r.asked++
	n, secrets := r.asked, slices.Clone(r.secrets)
	r.mu.Unlock()
	if err != nil || req.Method != http.MethodPost || req.Header.Get("Content-Type") != "application/json" {
		r.t.Errorf("%s of %q: %v", req.Method, req.Header.Get("Content-Type"), err)
	}
	if err := signature.Verify(req.Header, body, r.clock.Now(), secrets...); err != nil {
		r.t.Errorf("the signature of a delivery: %v", err)
	}
	var g got
	if err := json.Unmarshal(body, &g); err != nil {
		r.t.Errorf("%v: %.200s", err, body)
	}
	if g.header = req.Header.Clone(); g.header.Get("Vigie-Delivery") != g.Delivery {
		r.t.Errorf("the header says delivery %s, the body %s", g.header.Get("Vigie-Delivery"), g.Delivery)
	}
	r.mu.Lock()
	r.all = append(r.all, g)
	r.mu.Unlock()
	if r.answer != nil {
		r.answer(n, w)
	}
}

// take returns what has come since it was last asked.
func (r *receiver) take() []got {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = nil
	return all
}

// kinds are those of the events that have come, in their order.
func (r *receiver) kinds() string {
	var kinds []string
	for _, g := range r.take() {
		for _, e := range g.Events {
			kinds = append(kinds, e.Kind)
		}
	}
	return strings.Join(kinds, " ")
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
