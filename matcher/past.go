package matcher

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"vigie/hashing"
	"vigie/index"
	"vigie/storage"
	"vigie/storage/history"
)

// A past upload matches an entry if a check of its hash would say so now: by the subscriptions of its party, by the same
// rules. Of an upload there is one hash, so what is looked for are the forms of the entry's: a search that is turned about, and
// exact, since to turn or mirror a hash moves and inverts bits, which changes no distance between two that are turned alike.

// pastSearch looks for past uploads of some entries.
type pastSearch struct {
	m       *Matcher
	state   *State
	entries map[storage.EntryID]bool
	query   history.Query
	told    sync.Map // [telling] -> Found: what the catalogue knows of an entry, and the party of it
}

// sought is an entry that is looked for.
type sought struct {
	entry storage.EntryID
	bank  storage.BankID
}

type telling struct {
	party storage.PartyID
	entry storage.EntryID
}

// maxPast bounds the past uploads that one search finds, in the window or in a file. What matches more is no picture that many have
// posted, but a hash that says nothing.
const maxPast = 100_000

// pastBounds are what a matcher knows of it.
type pastBounds struct {
	most int           // 0: maxPast
	cuts atomic.Uint64 // searches that found more
}

// LookbackCuts is how many searches for past uploads, in the window or in a file, have found more than are told.
func (m *Matcher) LookbackCuts() uint64 { return m.past.cuts.Load() }

// searchPast prepares a search for uploads from before a time. ok is false if there is nothing to search for: the entries do not match,
// or are videos, of which the history has none, or nobody's uploads are kept.
func (m *Matcher) searchPast(state *State, entries []sought, until time.Time) (s *pastSearch, ok bool) {
	s = &pastSearch{m: m, state: state, entries: map[storage.EntryID]bool{}, query: history.Query{Until: until}}
	if m.o.History == nil || !state.keepsUploads() {
		return s, false
	}
	for _, e := range entries {
		radius, ok := state.Banks[e.bank].Policy.Radius[hashing.PDQ] // subscriptions cap it
		rows := state.Snapshot.Values(hashing.PDQ, index.EntryID(e.entry))
		if !ok || len(rows) == 0 || timed(rows) || s.entries[e.entry] {
			continue
		}
		s.entries[e.entry], s.query.Radius = true, max(s.query.Radius, radius)
		for _, r := range rows {
			s.query.Values = appendTransformed(s.query.Values, r.Value, allTransforms())
		}
	}
	return s, len(s.query.Values) > 0
}

// keepsUploads reports whether any party has its uploads kept.
func (s *State) keepsUploads() bool {
	for id := range s.Parties {
		if s.keepsUploadsOf(id) {
			return true
		}
	}
	return false
}

// keepsUploadsOf reports whether a party has its uploads kept.
func (s *State) keepsUploadsOf(id storage.PartyID) bool {
	p := s.Parties[id]
	return p.HistoryDays > 0 && !p.Suspended
}

// crowdError says that a search has found more than are told.
type crowdError struct{ most int }

func (e crowdError) Error() string {
	return fmt.Sprintf("more than %d past uploads are near it, of which the first are told", e.most)
}

func isCrowd(err error) bool {
	_, ok := errors.AsType[crowdError](err)
	return ok
}

// window collects what the window of this node has.
func (s *pastSearch) window(ctx context.Context) ([]history.Hit, error) {
	return s.collect(func(found func(history.Hit) error) error { return s.m.o.History.Search(ctx, s.query, found) })
}

// file collects what a file has.
func (s *pastSearch) file(ctx context.Context, f history.File) ([]history.Hit, error) {
	return s.collect(func(found func(history.Hit) error) error { return s.m.o.History.SearchFile(ctx, f, s.query, found) })
}

// collect returns what a search finds, up to the bound; beyond it, with a crowdError.
func (s *pastSearch) collect(search func(func(history.Hit) error) error) (hits []history.Hit, err error) {
	most := cmp.Or(s.m.past.most, maxPast)
	err = search(func(h history.Hit) error {
		if !s.state.keepsUploadsOf(h.Party) {
			return nil
		}
		if len(hits) == most {
			s.m.past.cuts.Add(1)
			return crowdError{most}
		}
		hits = append(hits, h)
		return nil
	})
	return hits, err
}

// judge is what a check of an upload's hash would find now, of the entries that are searched for: a verdict for each.
func (s *pastSearch) judge(ctx context.Context, h history.Hit) (verdicts []Verdict, err error) {
	signal := hashing.Signal{Algorithm: hashing.PDQ, Version: hashing.PDQ.Version(), Value: h.PDQ, Quality: h.Quality}
	if poor(signal) != nil {
		return nil, nil
	}
	asks := askSignals([]hashing.Signal{signal}, false)
	w := newWatch(s.state, s.state.scope(h.Party).sampled(contentOf(nil, []hashing.Signal{signal})))
	if err := w.add(ctx, asks); err != nil {
		return nil, err
	}
	for _, f := range w.found(trackOf(asks)) {
		if !s.entries[f.Entry] || f.Counts() == None {
			continue
		}
		if f.Labels, f.Tally, err = s.explain(ctx, h.Party, f, w); err != nil {
			return nil, err
		}
		v := Verdict{
			ContentID: h.ContentID, Past: &storage.PastUpload{Upload: storage.MatchID(h.ID), At: h.At},
			Matches: []Found{f}, MatchesTotal: 1, Staleness: s.m.follower.Staleness(),
		}
		v.about(s.state, w.scope)
		v.weigh(nil, v.Matches)
		verdicts = append(verdicts, v)
	}
	return verdicts, nil
}

// explain is what the catalogue knows of an entry, as the party has it; it is asked once.
func (s *pastSearch) explain(ctx context.Context, party storage.PartyID, f Found, w *watch) ([]string, Tally, error) {
	at := telling{party, f.Entry}
	if known, ok := s.told.Load(at); ok {
		return known.(Found).Labels, known.(Found).Tally, nil
	}
	one := []Found{f}
	if _, err := s.m.explain(ctx, one, w); err != nil {
		return nil, Tally{}, err
	}
	s.told.Store(at, one[0])
	return one[0].Labels, one[0].Tally, nil
}

// tell judges hits, and has those that match in the journal when it returns nil, once more for each time that it is called: the catalogue
// keeps one match of an entry and an upload.
func (s *pastSearch) tell(ctx context.Context, hits []history.Hit) (told int, err error) {
	const atATime = 64 // which the journal syncs together
	var mu sync.Mutex
	g, some := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	for _, h := range hits {
		if some.Err() != nil {
			break
		}
		verdicts, err := s.judge(some, h)
		if err != nil {
			err = errors.Join(err, g.Wait())
			return told, err
		}
		for _, v := range verdicts {
			g.Go(func() error {
				err := s.m.recordPast(some, h, v)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					told++
				}
				return err
			})
		}
	}
	err = g.Wait()
	return told, cmp.Or(err, ctx.Err())
}

// lookbackKey is in the place of the key that asked.
const lookbackKey = "lookback"

// recordPast writes what a look-back found to the journal.
func (m *Matcher) recordPast(ctx context.Context, h history.Hit, v Verdict) error {
	f := v.Matches[0]
	r := storage.MatchRecord{
		Party: h.Party, Key: lookbackKey, ContentID: h.ContentID, Level: v.Level.String(), Action: v.Action.String(), IndexSeq: v.IndexSeq,
		Bare: true, // whether its media came then is not known any more
		Past: v.Past, Entries: []storage.MatchEntry{{Entry: f.Entry, Bank: f.Bank.ID, Level: f.Counts().String()}},
	}
	v.ContentID = ""
	var err error
	if r.Verdict, err = m.o.Render(v); err != nil {
		return fmt.Errorf("render a past upload: %w", err)
	}
	body, err := json.Marshal(newJournaled(r, v))
	if err == nil {
		_, err = m.o.Journal.Append(ctx, matchRecord, body)
	}
	if err != nil {
		return fmt.Errorf("record a past upload: %w", err)
	}
	return nil
}

// PastUploads are what a look-back finds at once: past uploads in the window of this node that match an entry. Those of other nodes and
// of older files are told as they are found, in the list of matches.
type PastUploads struct {
	Own      []PastHit // of the party that asks, nearest first, at most [MaxPastHits]
	OwnTotal int
	Others   int       // of other parties; 0 for who may not know
	Since    time.Time // when the window begins; zero: it is empty
	// Partial: there are more, or there was no time to look at all.
	Partial bool
	// Complete: the window was searched to its end. It is not if that took too long, which the search behind it is not kept from; or
	// if so many are near the entry that this one stops, too: then CutAt says at how many, and not all that match will come as matches.
	Complete bool
	CutAt    int
}

// PastHit is a past upload that matches.
type PastHit struct {
	ContentID string
	At        time.Time
	Distance  int
}

const (
	// MaxPastHits bounds the past uploads that are listed at once.
	MaxPastHits   = 100
	maxPastAtOnce = 2000 // that are judged while somebody waits
	pastPatience  = 2 * time.Second
)

// PastUploads looks for an entry in this node's window, as its follower has the entry now. nil if nothing can be looked for: the
// entry matches nothing here or is a video, or nobody's uploads are kept. To be asked after the entry has become active. Counts of other
// parties are for the owner of the bank, and for who oversees. ErrUnknownEntry.
func (m *Matcher) PastUploads(ctx context.Context, who Principal, id storage.EntryID) (*PastUploads, error) {
	state, err := m.loaded(ctx)
	if err != nil {
		return nil, err
	}
	until := m.o.Now()
	if m.o.History == nil || !state.keepsUploads() {
		return nil, nil
	}
	_, bank, err := m.Entry(ctx, who, id)
	if err != nil {
		return nil, err
	}
	s, ok := m.searchPast(state, []sought{{id, bank.ID}}, until)
	if !ok {
		return nil, nil
	}
	bounded, cancel := context.WithTimeout(ctx, pastPatience)
	defer cancel()
	hits, err := s.window(bounded)
	out := &PastUploads{Own: []PastHit{}, Since: m.o.History.Stats().Window.Since, Partial: err != nil, Complete: err == nil}
	if crowd, ok := errors.AsType[crowdError](err); ok {
		out.CutAt = crowd.most
	} else if err != nil && bounded.Err() == nil {
		return nil, err
	}
	slices.SortFunc(hits, func(a, b history.Hit) int { return cmp.Or(cmp.Compare(a.Distance, b.Distance), b.At.Compare(a.At)) })
	for i, h := range hits {
		if i == maxPastAtOnce || bounded.Err() != nil {
			out.Partial = true
			break
		}
		if err := s.count(bounded, out, h, who, who.own(bank) == nil || who.Oversees()); err != nil && bounded.Err() == nil {
			return nil, err
		}
	}
	return out, ctx.Err()
}

// count adds a hit to what is answered, if it matches.
func (s *pastSearch) count(ctx context.Context, out *PastUploads, h history.Hit, who Principal, all bool) error {
	own := h.Party == who.Party
	if !own && !all {
		return nil
	}
	verdicts, err := s.judge(ctx, h)
	if err != nil || len(verdicts) == 0 {
		return err
	}
	if !own {
		out.Others++
		return nil
	}
	if out.OwnTotal++; len(out.Own) < MaxPastHits {
		out.Own = append(out.Own, PastHit{h.ContentID, h.At, verdicts[0].Matches[0].Distance})
	}
	return nil
}
