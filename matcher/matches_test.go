package matcher_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/journal"
	"vigie/storage/memory"
	"vigie/storage/sqlstore"
	"vigie/storage/storagetest"
)

// ledger is a journal in memory.
type ledger struct {
	mu      sync.Mutex
	records []journal.Record
	down    atomic.Bool
	now     func() time.Time
}

const ledgerNode = "a1b2c3d4"

func (l *ledger) Append(_ context.Context, kind string, body []byte) (journal.ID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down.Load() {
		return journal.ID{}, errDown
	}
	r := journal.Record{ID: journal.ID{Node: ledgerNode, Number: uint64(len(l.records) + 1)}, At: l.now(), Kind: kind, Body: slices.Clone(body)}
	l.records = append(l.records, r)
	return r.ID, nil
}

func (l *ledger) all() []journal.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.records)
}

// recorded is a world that keeps a journal, and ships it when it is asked to.
type recorded struct {
	*world
	ledger *ledger
	clock  *storagetest.Clock
	faults *told[error]
	lazy   bool // nothing is shipped by itself
}

func newRecorded(t testing.TB, c storage.Catalogue, clock *storagetest.Clock) *recorded {
	w := &recorded{ledger: &ledger{now: clock.Now}, clock: clock, faults: &told[error]{}}
	w.world = worldOver(t, c, matcher.Options{
		Now: clock.Now, Journal: w.ledger, Events: matcher.Events{Fault: w.faults.add},
		// All that a verdict has: what must not be recorded has to be taken out of it before.
		Render: func(v matcher.Verdict) ([]byte, error) { return json.Marshal(fmt.Sprintf("%+v", flat(v))) },
		Ship:   func(ctx context.Context) error { return w.ship(ctx) },
		Reach:  func(ctx context.Context, id journal.ID) error { return w.reach(ctx, id) },
	})
	return w
}

// flat is a verdict with what it points to.
func flat(v matcher.Verdict) any {
	return struct {
		matcher.Verdict
		TheMedia storage.MediaInfo
	}{v, value(v.Media)}
}

func (w *recorded) ship(ctx context.Context) error {
	if w.lazy {
		return nil
	}
	return w.Deliver(ctx, w.ledger.all())
}

func (w *recorded) reach(ctx context.Context, id journal.ID) error {
	if id.Node != ledgerNode || id.Number > uint64(len(w.ledger.all())) {
		return journal.ErrInvalid
	}
	return w.ship(ctx)
}

// overRecorded runs a test over each storage, with a clock that stands still.
func overRecorded(t *testing.T, test func(*testing.T, *recorded)) {
	for name := range catalogues {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := storagetest.NewClock()
			var c storage.Catalogue
			var err error
			if o := (storage.Options{Now: clock.Now}); name == "memory" {
				c, err = memory.New(o)
			} else {
				c, err = sqlstore.OpenSQLite(t.Context(), t.TempDir()+"/catalogue.db", o)
			}
			must(t, err)
			test(t, newRecorded(t, c, clock))
		})
	}
}

func oneRecorded(t *testing.T) *recorded {
	clock := storagetest.NewClock()
	c, err := memory.New(storage.Options{Now: clock.Now})
	must(t, err)
	return newRecorded(t, c, clock)
}

// match is the id of what a party's check of a content found.
func (w *recorded) match(party, content string, signals ...hashing.Signal) storage.MatchID {
	w.t.Helper()
	q := w.ask(party, signals...)
	q.ContentID = content
	v := w.check(q)
	if v.MatchID == (storage.MatchID{}) || v.Unrecorded {
		w.t.Fatalf("nothing recorded: %+v", v)
	}
	return v.MatchID
}

func (w *recorded) decide(party string, id storage.MatchID, r storage.Ruling) matcher.Decided {
	w.t.Helper()
	d, err := w.Decide(w.ctx, w.who(party), matcher.Decision{Match: id, Ruling: r})
	must(w.t, err)
	return d
}

func (w *recorded) counters(id storage.EntryID) storage.Counters {
	w.t.Helper()
	c, err := w.Counters(w.ctx, local, []storage.EntryID{id})
	must(w.t, err)
	return c[id]
}

func TestRecord(t *testing.T) {
	t.Parallel()
	w := oneRecorded(t)
	data := pngOf(drawn(1))
	digest := media(data).SHA256
	p, err := pictures.Picture(w.ctx, data)
	must(t, err)
	w.bank("platform", "own", block())
	w.bank("platform", "trial", matcher.NewBank{Kind: storage.TestBank, BankEdit: matcher.BankEdit{Action: ptr("block")}})
	exact := w.entry("own", "exact", "", matcher.Flagging{Media: media(data), ExactOnly: true})
	near := w.of("own", "near", "", away(p.Signals[0], 12))
	trial := w.of("trial", "trial", "", away(p.Signals[0], 20))

	q := matcher.Question{Who: w.who("platform"), Media: media(data), ContentID: "post-4711"}
	v := w.check(q)
	records := w.ledger.all()
	if len(records) != 1 || records[0].Kind != "match" {
		t.Fatalf("recorded %+v", records)
	}
	equal(t, v.MatchID.String(), records[0].ID.String())
	var r storage.MatchRecord
	must(t, json.Unmarshal(records[0].Body, &r))
	verdict := string(r.Verdict)
	r.Verdict = nil
	equal(t, r, storage.MatchRecord{
		Party: w.parties["platform"], Key: "platform", ContentID: "post-4711", Level: "match", Action: "block", IndexSeq: v.IndexSeq,
		Entries: []storage.MatchEntry{
			{Entry: exact, Bank: 1, Level: "match", Exact: true},
			{Entry: near, Bank: 1, Level: "match"},
			{Entry: trial, Bank: 2, Level: "none"},
		},
	})
	for _, at := range []string{"Matches:", "TheMedia:", fmt.Sprint("Bytes:", len(data))} { // the verdict is all there,
		if !strings.Contains(verdict, at) {
			t.Errorf("the verdict lacks %s: %s", at, verdict)
		}
	}
	hidden := []string{ // but for what tells of the upload
		"post-4711", fmt.Sprintf("%x", digest.Bytes(32)), fmt.Sprint(digest), fmt.Sprint(digest.Bytes(32)), fmt.Sprintf("%x", p.Signals[0].Value.Bytes(32)),
	}
	for _, s := range v.Signals {
		hidden = append(hidden, s.String())
	}
	for _, h := range hidden {
		if strings.Contains(verdict, h) {
			t.Errorf("the record's verdict holds %s", h)
		}
	}
	if len(v.Signals) == 0 || v.Media.SHA256 != digest || v.ContentID != "post-4711" {
		t.Errorf("what is answered has lost it too: %+v", v)
	}

	w.check(w.ask("platform", signal(hashing.PDQ, 99)))
	equal(t, len(w.ledger.all()), 1) // of what finds nothing there is no record

	w.ledger.down.Store(true)
	v = w.check(q)
	if !v.Unrecorded || v.MatchID != (storage.MatchID{}) || v.Level != matcher.Match {
		t.Errorf("without a journal: %+v", v)
	}
	faults := w.faults.list()
	if len(faults) != 1 {
		t.Fatalf("faults %v", faults)
	}
	wantErr(t, faults[0], errDown)
}

func TestSignedIn(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		a, b := w.who("a"), w.who("b")
		for range 3 {
			w.SignedIn(w.ctx, a, "192.0.2.0")
			w.SignedIn(w.ctx, a, "192.0.2.1")
			w.SignedIn(w.ctx, b, "192.0.2.0")
		}
		equal(t, len(w.ledger.all()), 3)
		w.clock.Advance(time.Hour)
		w.SignedIn(w.ctx, a, "192.0.2.0")
		must(t, w.ship(w.ctx))
		read := func(p matcher.Principal) (list []string) {
			signIns, err := w.SignIns(w.ctx, p, storage.SignInQuery{Limit: 10})
			must(t, err)
			for _, s := range signIns {
				list = append(list, fmt.Sprintf("%s from %s, %s", s.Key, s.Address, s.At.Format("15:04")))
			}
			return list
		}
		equal(t, read(a), []string{"a from 192.0.2.0, 07:00", "a from 192.0.2.1, 06:00", "a from 192.0.2.0, 06:00"})
		equal(t, read(b), []string{"b from 192.0.2.0, 06:00"})
		equal(t, len(read(local)), 4)
		w.ledger.down.Store(true)
		w.SignedIn(w.ctx, a, "192.0.2.9")
		wantErr(t, w.faults.list()[0], errDown)
	})
}

// TestDeliver hands the records on in pieces, some of them again.
func TestDeliver(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		w.bank("platform", "own", block())
		id := w.at("own", "e", 12)
		for i := range 6 {
			w.match("platform", fmt.Sprint("post-", i))
		}
		records := w.ledger.all()
		records[1].Kind = "a kind to come"
		records[3].Body = []byte("{")
		stored := func() (list []string) {
			matches, err := w.Matches(w.ctx, w.who("platform"), storage.MatchQuery{Limit: 100})
			must(t, err)
			for _, m := range slices.Backward(matches) {
				list = append(list, m.ContentID)
			}
			return list
		}
		must(t, w.Deliver(w.ctx, nil))
		for _, step := range []struct {
			from, to int
			want     []string
			faults   int
		}{
			{0, 2, []string{"post-0"}, 1},
			{0, 2, []string{"post-0"}, 1}, // again, as after a crash before the mark
			{0, 5, []string{"post-0", "post-2", "post-4"}, 2},
			{1, 3, []string{"post-0", "post-2", "post-4"}, 2}, // long past
			{5, 6, []string{"post-0", "post-2", "post-4", "post-5"}, 2},
			{0, 6, []string{"post-0", "post-2", "post-4", "post-5"}, 2},
		} {
			must(t, w.Deliver(w.ctx, records[step.from:step.to]))
			equal(t, stored(), step.want)
			equal(t, len(w.faults.list()), step.faults)
		}
		for i, want := range []string{"a1b2c3d4-2", "a1b2c3d4-4"} {
			if err := w.faults.list()[i]; !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "post-") {
				t.Errorf("fault %v, want it of %s", err, want)
			}
		}
		equal(t, w.counters(id), storage.Counters{Hour: 4, Day: 4, Total: 4})

		// Another node's numbers are its own.
		other := records[:1]
		other[0].ID.Node = "00000001"
		must(t, w.Deliver(w.ctx, other))
		equal(t, len(stored()), 5)

		// What a catalogue that is away has not taken is handed on again.
		w.match("platform", "post-6")
		w.down.down.Store(true)
		wantErr(t, w.Deliver(w.ctx, w.ledger.all()), errDown)
		w.down.down.Store(false)
		must(t, w.Deliver(w.ctx, w.ledger.all()))
		equal(t, stored()[5], "post-6")
	})
}

// Two deliveries of the same records at the same time store each once.
func TestDeliverAtTheSameTime(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		w.bank("platform", "own", block())
		id := w.at("own", "e", 12)
		for range 20 {
			w.match("platform", "")
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for batch := range slices.Chunk(w.ledger.all(), 7) {
					if err := w.Deliver(w.ctx, batch); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		equal(t, w.counters(id).Total, uint64(20))
	})
}

func TestMatches(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		w.list("block")
		w.bank("platform", "secret", block())
		id, hidden := w.at("list", "e", 12), w.at("secret", "s", 5)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{})
		theirs, own := w.match("platform", "post-1"), w.match("source", "case-1")
		must(t, w.ship(w.ctx))
		_, err := w.Decide(w.ctx, w.who("platform"), matcher.Decision{Match: theirs, Ruling: storage.Removed, Reason: "because"})
		must(t, err)

		all := func(p matcher.Principal, q storage.MatchQuery) []matcher.MatchView {
			t.Helper()
			q.Limit = 10
			views, err := w.Matches(w.ctx, p, q)
			must(t, err)
			return views
		}
		names := func(views []matcher.MatchView) (list []string) {
			for _, v := range views {
				list = append(list, v.ID.String()+" "+v.ContentID)
			}
			return list
		}
		first, last := theirs.String()+" post-1", own.String()+" case-1"
		equal(t, names(all(w.who("platform"), storage.MatchQuery{})), []string{first})
		equal(t, names(all(w.who("source"), storage.MatchQuery{})), []string{last})
		equal(t, names(all(local, storage.MatchQuery{})), []string{last, first})
		equal(t, len(all(w.who("stranger"), storage.MatchQuery{})), 0)
		equal(t, names(all(w.who("source"), storage.MatchQuery{Party: w.parties["platform"]})), []string{last}) // its own all the same
		equal(t, names(all(w.who("platform"), storage.MatchQuery{Entry: id})), []string{first})

		// An entry's owner sees that it matched elsewhere and what became of it, but not what, nor why, nor beside what.
		views := all(w.who("source"), storage.MatchQuery{Entry: id})
		equal(t, names(views), []string{last, theirs.String() + " "})
		foreign := views[1]
		if foreign.Key != "" || foreign.Verdict != nil || len(foreign.Decisions) != 1 || foreign.Decisions[0].Ruling != storage.Removed {
			t.Errorf("another's match: %+v", foreign)
		}
		equal(t, []string{foreign.Decisions[0].Reason, foreign.Decisions[0].Actor}, []string{"", ""})
		equal(t, foreign.Entries, []storage.MatchEntry{{Entry: id, Bank: 1, Level: "match"}})
		equal(t, foreign.Decisions[0].Entries, []storage.EntryID{id})
		mine := all(w.who("platform"), storage.MatchQuery{})[0]
		equal(t, []any{len(mine.Entries), mine.Decisions[0].Reason, mine.Decisions[0].Entries}, []any{2, "because", []storage.EntryID{id, hidden}})

		_, err = w.Match(w.ctx, w.who("source"), theirs)
		wantErr(t, err, matcher.ErrUnknownMatch)
		one, err := w.Match(w.ctx, w.who("platform"), theirs)
		must(t, err)
		if one.Verdict == nil || one.ContentID != "post-1" || len(one.Decisions) != 1 {
			t.Errorf("one's own: %+v", one)
		}
		_, err = w.Match(w.ctx, local, theirs)
		must(t, err)
		_, err = w.Match(w.ctx, w.who("platform"), storage.MatchID{Node: ledgerNode, Number: 99})
		wantErr(t, err, matcher.ErrUnknownMatch)
	})
}

func TestDecide(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		w.bank("platform", "own", block())
		w.bank("platform", "trial", matcher.NewBank{Kind: storage.TestBank, BankEdit: matcher.BankEdit{Action: ptr("block")}})
		a, b := w.at("own", "a", 12), w.at("own", "b", 5)
		w.at("trial", "t", 20)
		id := w.match("platform", "post")
		type said struct {
			ruling                storage.Ruling
			entries               []storage.EntryID
			match, label          *bool
			confirmed, overturned [2]uint64 // of a and b, after it
		}
		yes, no := ptr(true), ptr(false)
		both := []storage.EntryID{a, b}
		for i, test := range []struct {
			say  matcher.Decision
			want said
		}{
			{matcher.Decision{Ruling: storage.Removed}, said{storage.Removed, both, nil, nil, [2]uint64{1, 1}, [2]uint64{}}},
			{matcher.Decision{Ruling: storage.WrongMatch}, said{storage.WrongMatch, both, no, nil, [2]uint64{}, [2]uint64{1, 1}}},
			{matcher.Decision{Ruling: storage.Exempt, LabelCorrect: no}, said{storage.Exempt, both, yes, no, [2]uint64{1, 1}, [2]uint64{}}},
			{matcher.Decision{Ruling: storage.BadHash, Entries: []storage.EntryID{b}}, said{storage.BadHash, []storage.EntryID{b}, nil, nil, [2]uint64{1, 0}, [2]uint64{0, 1}}},
			{matcher.Decision{Ruling: storage.Kept, MatchCorrect: yes, LabelCorrect: yes}, said{storage.Kept, both, yes, yes, [2]uint64{}, [2]uint64{}}},
			{matcher.Decision{Ruling: storage.Restored}, said{storage.Restored, both, nil, nil, [2]uint64{}, [2]uint64{}}},
		} {
			test.say.Match, test.say.Reason = id, fmt.Sprint("reason ", i)
			before := len(w.changes())
			d, err := w.Decide(w.ctx, w.who("platform"), test.say)
			must(t, err)
			count := func(of func(storage.Counters) uint64) [2]uint64 {
				return [2]uint64{of(w.counters(a)), of(w.counters(b))}
			}
			got := said{
				d.Ruling, d.Entries, d.MatchCorrect, d.LabelCorrect,
				count(func(c storage.Counters) uint64 { return c.Confirmed }), count(func(c storage.Counters) uint64 { return c.Overturned }),
			}
			if fmt.Sprint(words(got.match), words(got.label)) != fmt.Sprint(words(test.want.match), words(test.want.label)) {
				t.Errorf("%s: correct: match %s, label %s", d.Ruling, words(got.match), words(got.label))
			}
			got.match, got.label, test.want.match, test.want.label = nil, nil, nil, nil
			if fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			c := w.changes()[before]
			if c.Kind != storage.DecisionMade || c.Seq != d.Seq || c.Party != w.parties["platform"] || strings.Contains(string(c.Body), "reason") || !strings.Contains(string(c.Private), test.say.Reason) {
				t.Errorf("change %+v", c)
			}
			v, err := w.Match(w.ctx, w.who("platform"), id)
			must(t, err)
			equal(t, len(v.Decisions), i+1)
			equal(t, v.Decisions[i].Reason, test.say.Reason)
		}

		for field, d := range map[string]matcher.Decision{
			"ruling":        {Match: id, Ruling: "burnt"},
			"entries":       {Match: id, Ruling: storage.Removed, Entries: []storage.EntryID{a, 99}},
			"reason":        {Match: id, Ruling: storage.Removed, Reason: strings.Repeat("r", 2001)},
			"match_correct": {Match: id, Ruling: storage.WrongMatch, MatchCorrect: yes},
		} {
			_, err := w.Decide(w.ctx, w.who("platform"), d)
			wantInput(t, err, field)
		}
		_, err := w.Decide(w.ctx, w.who("platform"), matcher.Decision{Match: id, Ruling: storage.Exempt, MatchCorrect: no})
		wantInput(t, err, "match_correct")
		_, err = w.Decide(w.ctx, w.who("stranger"), matcher.Decision{Match: id, Ruling: storage.Removed})
		wantErr(t, err, matcher.ErrUnknownMatch)
		_, err = w.Decide(w.ctx, local, matcher.Decision{Match: id, Ruling: storage.Removed}) // who may read it
		wantErr(t, err, matcher.ErrForeign)

		// Of a match that counted for nothing, all is decided about.
		quiet := w.match("platform", "quiet", away(upload, 45))
		d := w.decide("platform", quiet, storage.Kept)
		equal(t, d.Entries, []storage.EntryID{w.flagged["t"]})

		// What is not shipped yet is shipped first, or is not known yet.
		w.lazy = true
		late := w.match("platform", "late")
		_, err = w.Decide(w.ctx, w.who("platform"), matcher.Decision{Match: late, Ruling: storage.Removed})
		wantErr(t, err, matcher.ErrUnknownMatch)
		w.lazy = false
		w.decide("platform", late, storage.Removed)
	})
}

func words(b *bool) string {
	if b == nil {
		return "not said"
	}
	return fmt.Sprint(*b)
}

// TestOverturned has people overturn the matches of an entry until its bank's bound takes it out.
func TestOverturned(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		n := block()
		n.Overturn = &storage.Overturn{Rate: 0.5, Min: 4}
		w.bank("platform", "own", n)
		bad, good := w.at("own", "bad", 12), w.at("own", "good", 5)
		posts := 0
		decide := func(r storage.Ruling, about ...storage.EntryID) matcher.Decided {
			t.Helper()
			posts++
			id := w.match("platform", fmt.Sprint("post ", posts))
			d, err := w.Decide(w.ctx, w.who("platform"), matcher.Decision{Match: id, Ruling: r, Entries: about})
			must(t, err)
			return d
		}
		decide(storage.Removed)
		decide(storage.Removed)
		equal(t, len(decide(storage.WrongMatch, bad).Quarantined), 0) // one of three
		var removed []storage.MatchID                                 // what rested on it
		for _, m := range must2(w.Matches(w.ctx, w.who("platform"), storage.MatchQuery{Entry: bad, Standing: true, Limit: 10})) {
			removed = append(removed, m.ID)
		}
		equal(t, len(removed), 2)
		before := len(w.changes())
		d := decide(storage.BadHash, bad) // two of four
		equal(t, d.Quarantined, []storage.EntryID{bad})
		e := w.entryOf("bad")
		if e.Status != storage.Quarantined || !strings.Contains(e.Reason, "2 of 4") {
			t.Errorf("%s: %s", e.Status, e.Reason)
		}
		equal(t, w.entryOf("good").Status, storage.Active)
		changes := w.changes()[before:]
		if len(changes) != 2 || changes[0].Kind != storage.EntryQuarantined || changes[0].Actor != "system" || changes[1].Seq != d.Seq {
			t.Errorf("changes %+v", changes)
		}
		equal(t, matched(w.check(w.ask("platform"))), []storage.EntryID{good})

		// Those are restored, and the entry too.
		for _, id := range removed {
			w.decide("platform", id, storage.Restored)
		}
		equal(t, len(must2(w.Matches(w.ctx, w.who("platform"), storage.MatchQuery{Entry: bad, Standing: true, Limit: 10}))), 0)
		must(t, w.Restore(w.ctx, w.who("platform"), bad, "a test"))
		equal(t, matched(w.check(w.ask("platform"))), []storage.EntryID{good, bad})

		// Fewer than the least number are not judged.
		early := signal(hashing.PDQ, 8)
		w.of("own", "early", "", early)
		for i := range 4 {
			d := w.decide("platform", w.match("platform", fmt.Sprint("post ", i), early), storage.WrongMatch)
			equal(t, len(d.Quarantined) > 0, i == 3)
		}

		// A bank may have no bound.
		none := block()
		none.Overturn = &storage.Overturn{}
		w.bank("platform", "patient", none)
		far := signal(hashing.PDQ, 7)
		w.of("patient", "p", "", far)
		for range 12 {
			w.decide("platform", w.match("platform", "", far), storage.BadHash)
		}
		equal(t, w.entryOf("p").Status, storage.Active)
	})
}

// must2 is the value that comes with no error.
func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A decision on a match of an entry that the catalogue does not have, since it was restored from a backup, is a decision
// all the same.
func TestDecideAboutALostEntry(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		w.bank("platform", "own", block())
		w.at("own", "e", 12)
		w.match("platform", "post")
		records := w.ledger.all()
		var r storage.MatchRecord
		must(t, json.Unmarshal(records[0].Body, &r))
		r.Entries = append(r.Entries, storage.MatchEntry{Entry: 999, Bank: 99, Level: "match"})
		body, err := json.Marshal(r)
		must(t, err)
		records[0].Body = body
		must(t, w.Deliver(w.ctx, records))
		d := w.decide("platform", storage.MatchID(records[0].ID), storage.BadHash)
		equal(t, d.Entries, []storage.EntryID{w.flagged["e"], 999})
	})
}

func TestEraseContent(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		w.list("block")
		w.at("list", "e", 12)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{})
		w.match("platform", "post-1")
		id := w.match("platform", "post-1")
		kept := w.match("platform", "post-2")
		foreign := w.match("source", "post-1")
		before := len(w.changes())
		n, err := w.EraseContent(w.ctx, w.who("platform"), "post-1") // not shipped yet
		must(t, err)
		equal(t, n, 2)
		must(t, w.Deliver(w.ctx, w.ledger.all())) // which the journal still has
		for id, want := range map[storage.MatchID]string{id: "", kept: "post-2", foreign: "post-1"} {
			v, err := w.Match(w.ctx, local, id)
			must(t, err)
			equal(t, v.ContentID, want)
			if strings.Contains(string(v.Verdict), "post-") {
				t.Errorf("the verdict of match %s names the content", id)
			}
		}
		c := w.changes()[before]
		if c.Kind != storage.ContentErased || c.Party != w.parties["platform"] || strings.Contains(string(c.Body)+string(c.Private), "post-") {
			t.Errorf("change %+v", c)
		}
		n, err = w.EraseContent(w.ctx, w.who("platform"), "post-1")
		must(t, err)
		equal(t, []any{n, len(w.changes())}, []any{0, before + 1})
		_, err = w.EraseContent(w.ctx, w.who("platform"), "")
		wantInput(t, err, "content_id")
	})
}

func TestExpire(t *testing.T) {
	t.Parallel()
	overRecorded(t, func(t *testing.T, w *recorded) {
		w.list("block")
		id := w.at("list", "e", 12)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{})
		_, err := w.ChangeParty(w.ctx, local, "platform", matcher.PartyEdit{KeepMatches: ptr(3)})
		must(t, err)
		for range 3 {
			w.match("platform", "post")
		}
		w.match("source", "case")
		w.SignedIn(w.ctx, w.who("platform"), "192.0.2.0")
		must(t, w.ship(w.ctx))
		left := func() [3]int {
			must(t, w.Expire(w.ctx))
			count := func(party string) int {
				return len(must2(w.Matches(w.ctx, w.who(party), storage.MatchQuery{Limit: 10})))
			}
			return [3]int{count("platform"), count("source"), len(must2(w.SignIns(w.ctx, local, storage.SignInQuery{Limit: 10})))}
		}
		day := 24 * time.Hour
		w.clock.Advance(3 * day)
		equal(t, left(), [3]int{3, 1, 1})
		w.clock.Advance(time.Millisecond)
		equal(t, left(), [3]int{0, 1, 1})
		w.clock.Advance(177*day - time.Millisecond)
		equal(t, left(), [3]int{0, 1, 1})
		w.clock.Advance(time.Millisecond)
		equal(t, left(), [3]int{0, 0, 0})
		equal(t, w.counters(id), storage.Counters{Total: 4})
	})
}
