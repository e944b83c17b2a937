// Package storagetest is the conformance suite of the storage: what every implementation of
// [storage.Catalogue] and [storage.Blobs] has to do, one file per noun. An implementation's own test
// is a call of [Run] or [RunBlobs].
package storagetest

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/storage"
)

// Open makes an empty catalogue that uses the options, and sees to its being closed at the end of the test.
type Open func(t testing.TB, o storage.Options) storage.Catalogue

// Reopener is a catalogue that outlives its process: Reopen closes it and opens it again.
type Reopener interface {
	Reopen(t testing.TB) storage.Catalogue
}

// Rewinder is a catalogue that leaves a gap in its numbers where an update failed. What Rewind returns takes what came of
// the next update and closes the gap, so that its numbers can be compared with those of another catalogue.
type Rewinder interface {
	Rewind(t testing.TB) func(outcome error)
}

// Run runs the suite.
func Run(t *testing.T, open Open) {
	for _, part := range []struct {
		name string
		test func(*testing.T, Open)
	}{
		{"Banks", testBanks},
		{"Entries", testEntries},
		{"Keys", testKeys},
		{"Log", testLog},
		{"Media", testMedia},
		{"Texts", testTexts},
		{"Parties", testParties},
		{"Requests", testRequests},
		{"Matches", testMatches},
		{"Counters", testCounters},
		{"Judgements", testJudgements},
		{"Rescans", testRescans},
		{"Webhooks", testWebhooks},
		{"Lookback", testLookback},
		{"Expiry", testExpiry},
		{"Reports", testReports},
		{"Updates", testUpdates},
		{"Reopen", testReopen},
		{"Machine", testMachine},
	} {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			part.test(t, open)
		})
	}
}

// group runs the tests of a part, each on a catalogue of its own.
func group(t *testing.T, open Open, tests map[string]func(*fixture)) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(setup(t, open))
		})
	}
}

// fixture is a catalogue with short ways to use it. Errors end the test.
type fixture struct {
	testing.TB
	storage.Catalogue
	ctx   context.Context
	clock *Clock
}

func setup(t testing.TB, open Open) *fixture {
	clock := NewClock()
	return &fixture{t, open(t, storage.Options{Now: clock.Now, Rand: NewRand(1)}), t.Context(), clock}
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) want(err, want error) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Errorf("got error %v, want %v", err, want)
	}
}

func (f *fixture) update(fn func(w storage.Writer) error) {
	f.Helper()
	f.must(f.Update(f.ctx, fn))
}

func (f *fixture) view(fn func(r storage.Reader) error) {
	f.Helper()
	f.must(f.View(f.ctx, fn))
}

// bank makes a bank with its change.
func (f *fixture) bank(name string) (b storage.Bank) {
	f.Helper()
	f.update(func(w storage.Writer) error { return addBank(w, name, &b) })
	return b
}

func addBank(w storage.Writer, name string, b *storage.Bank) error {
	*b = storage.Bank{Name: name, Policy: storage.Policy{Action: "review"}}
	if err := w.CreateBank(b); err != nil {
		return err
	}
	return w.Append(&storage.Change{Kind: storage.BankCreated, Actor: "local", Bank: b.ID, Body: body(storage.BankBody{Name: name, Policy: b.Policy})})
}

// entry makes an entry with its change.
func (f *fixture) entry(e storage.Entry) storage.Entry {
	f.Helper()
	f.update(func(w storage.Writer) error { return AddEntry(w, &e) })
	f.view(func(r storage.Reader) (err error) {
		e, err = r.Entry(e.ID)
		return err
	})
	return e
}

// AddEntry stores an entry and appends its change, as a matcher does.
func AddEntry(w storage.Writer, e *storage.Entry) error {
	furnishEntry(e)
	if err := w.CreateEntry(e); err != nil {
		return err
	}
	return w.Append(addedEntry(e))
}

// AddEntries is AddEntry for many.
func AddEntries(w storage.Writer, entries []*storage.Entry) error {
	for _, e := range entries {
		furnishEntry(e)
	}
	if err := w.CreateEntries(entries); err != nil {
		return err
	}
	for _, e := range entries {
		if err := w.Append(addedEntry(e)); err != nil {
			return err
		}
	}
	return nil
}

func furnishEntry(e *storage.Entry) {
	if e.Status == "" {
		e.Status = storage.Active
	}
	if len(e.Sources) == 0 {
		e.Sources = []storage.Source{{Actor: "local"}}
	}
}

func addedEntry(e *storage.Entry) *storage.Change {
	var signals []storage.SignalBody
	for _, s := range e.Signals {
		signals = append(signals, storage.BodyOf(s))
	}
	c := &storage.Change{
		Kind: storage.EntryAdded, Actor: "local", Bank: e.Bank, Entry: e.ID,
		Body: body(storage.EntryBody{Status: e.Status, Labels: e.Labels, Signals: signals}),
	}
	if e.Note != "" {
		c.Private = body(map[string]string{"note": e.Note})
	}
	return c
}

func body(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// Signal is the n-th of a row of different signals.
func Signal(a hashing.Algorithm, n uint64) hashing.Signal {
	r := rand.New(rand.NewPCG(uint64(a), n))
	s := hashing.Signal{Algorithm: a, Version: a.Version(), Quality: hashing.MaxQuality}
	b := make([]byte, a.Bits()/8)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	s.Value = hashing.ValueFromBytes(b)
	return s
}

// Clock is a clock that stands still until it is moved.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock starts in 2026.
func NewClock() *Clock {
	return &Clock{now: time.Date(2026, 11, 22, 6, 0, 0, 123_456_789, time.UTC)}
}

// Now is the time on the clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Rand gives the same bytes for the same seed. It is safe for concurrent use.
type Rand struct {
	mu     sync.Mutex
	source *rand.ChaCha8
}

// NewRand starts a row of bytes.
func NewRand(seed byte) *Rand { return &Rand{source: rand.NewChaCha8([32]byte{seed})} }

// Read implements io.Reader.
func (r *Rand) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.source.Read(b)
}

// State is all that a catalogue shows.
type State struct {
	Head    storage.Head
	Banks   []storage.Bank
	Entries []storage.Entry
	Keys    []storage.Key
	Changes []storage.Change

	Parties       []storage.Party
	Subscriptions []storage.Subscription
	Overlays      []storage.Overlay
	Opinions      map[storage.EntryID][]storage.Opinion
	Matches       []storage.MatchRecord
	Decisions     map[storage.MatchID][]storage.Decision
	Counters      map[storage.EntryID]storage.Counters // of the entries, and of those in matches
	SignIns       []storage.SignIn
}

// Dump reads the whole of a catalogue that nobody is writing.
func Dump(t testing.TB, c storage.Catalogue) (s State) {
	t.Helper()
	ctx := context.Background()
	err := c.View(ctx, func(r storage.Reader) (err error) {
		if s.Head, err = r.Head(); err != nil {
			return err
		}
		if s.Banks, err = r.Banks(); err != nil {
			return err
		}
		if s.Keys, err = r.Keys(); err != nil {
			return err
		}
		if s.Entries, err = AllEntries(r, 7); err != nil {
			return err
		}
		return s.dumpParties(r)
	})
	for err == nil && uint64(len(s.Changes)) < s.Head.Seq {
		var page []storage.Change
		if page, err = c.Changes(ctx, uint64(len(s.Changes)), 5); err == nil && len(page) == 0 {
			err = errors.New("the log ends before its head")
		}
		s.Changes = append(s.Changes, page...)
	}
	if err != nil {
		t.Fatalf("dump: %v", err)
	}
	return s
}

// dumpParties reads what parties say and what the journals brought.
func (s *State) dumpParties(r storage.Reader) (err error) {
	var entries []storage.EntryID
	for _, e := range s.Entries {
		entries = append(entries, e.ID)
	}
	if s.Matches, err = AllMatches(r, storage.MatchQuery{Limit: 7}); err != nil {
		return err
	}
	var matches []storage.MatchID
	for i, m := range s.Matches {
		if s.Matches[i], err = r.Match(m.ID); err != nil {
			return err
		}
		matches = append(matches, m.ID)
		for _, e := range m.Entries {
			entries = append(entries, e.Entry)
		}
	}
	var errs [4]error
	s.Parties, errs[0] = r.Parties()
	s.Subscriptions, errs[1] = r.Subscriptions()
	s.Overlays, errs[2] = r.Overlays()
	s.SignIns, errs[3] = r.SignIns(storage.SignInQuery{Limit: storage.MaxMatches})
	s.Opinions, s.Counters = map[storage.EntryID][]storage.Opinion{}, map[storage.EntryID]storage.Counters{}
	for ids := range slices.Chunk(entries, storage.MaxLabels) {
		opinions, err1 := r.Opinions(ids)
		counters, err2 := r.Counters(ids)
		maps.Copy(s.Opinions, opinions)
		maps.Copy(s.Counters, counters)
		err = errors.Join(err, err1, err2)
	}
	s.Decisions = map[storage.MatchID][]storage.Decision{}
	for ids := range slices.Chunk(matches, storage.MaxMatches) {
		decisions, err1 := r.Decisions(ids)
		maps.Copy(s.Decisions, decisions)
		err = errors.Join(err, err1)
	}
	return errors.Join(append(errs[:], err)...)
}

// AllMatches reads all matches of a query in pages.
func AllMatches(r storage.Reader, q storage.MatchQuery) (all []storage.MatchRecord, err error) {
	for {
		page, err := r.Matches(q)
		if err != nil || len(page) == 0 {
			return all, err
		}
		all = append(all, page...)
		q.Before = all[len(all)-1].Ord
	}
}

// AllEntries reads all entries in pages.
func AllEntries(r storage.Reader, page int) (all []storage.Entry, err error) {
	q := storage.EntryQuery{Limit: page}
	for {
		entries, err := r.Entries(q)
		if err != nil || len(entries) == 0 {
			return all, err
		}
		all = append(all, entries...)
		q.After = all[len(all)-1].ID
	}
}
