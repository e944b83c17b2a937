package matcher_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"vigie/hashing"
	"vigie/hashing/pdq"
	"vigie/index"
	"vigie/internal/tests3"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/bucket"
	"vigie/storage/history"
	"vigie/storage/jobs"
	"vigie/storage/journal"
)

// looker is a node that keeps uploads and looks back.
type looker struct {
	*world
	history *history.History
	journal *journal.Journal
	engine  jobs.Engine
	faults  *told[error]
	end     func()
}

// place is what nodes share, and what stays of one that ends.
type place struct {
	t         testing.TB
	catalogue storage.Catalogue
	store     history.Store
	index     *index.Index  // of its only node; nil: each has one of its own
	shared    bool          // the store
	former    history.Store // of the node that is started next
}

func newPlace(t testing.TB, c storage.Catalogue) *place {
	store, err := history.OpenFolder(t.TempDir())
	must(t, err)
	t.Cleanup(func() {
		must(t, store.Close())
		must(t, c.Close())
	})
	return &place{t: t, catalogue: c, store: store}
}

// inBucket has the files in a bucket.
func (p *place) inBucket() *place {
	server := tests3.Start(p.t)
	b, err := bucket.Open(p.t.Context(), server.URL(server.Bucket(p.t, false)), bucket.Options{
		Credentials: credentials.NewStaticV4(tests3.AccessKey, tests3.SecretKey, ""),
	})
	must(p.t, err)
	p.t.Cleanup(func() { must(p.t, b.Close()) })
	p.store, p.shared = history.OpenBucket(b.Folder(bucket.Uploads)), true
	return p
}

// node starts a node in a folder, whose history has a window of so many bytes. With an engine of another node it uses that one.
func (p *place) node(dir string, window int64, shared jobs.Engine) *looker {
	t := p.t
	l := &looker{faults: &told[error]{}, engine: shared}
	var err error
	l.history, err = history.Open(dir, p.store, history.Options{Scan: index.ScanFlat, WindowBytes: window, Shared: p.shared, Former: p.former, Fault: l.faults.add})
	must(t, err)
	l.journal, err = journal.Open(dir+"/journal", journal.Options{Fault: l.faults.add})
	must(t, err)
	l.world = &world{
		parties: map[string]storage.PartyID{"operator": storage.Operator}, owners: map[string]string{}, flagged: map[string]storage.EntryID{},
	}
	x := p.index
	if x == nil {
		x = index.New(index.Options{})
	}
	l.node = followWith(t, p.catalogue, x, matcher.Options{
		Patience: patience, Journal: l.journal, History: l.history, Events: matcher.Events{Fault: l.faults.add},
		Render: func(v matcher.Verdict) ([]byte, error) { return json.Marshal(v.Level.String()) },
		Ship:   l.journal.Flush, Reach: l.journal.Reach,
	})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	run := func(f func(context.Context) error) { running.Go(func() { _ = f(ctx) }) }
	if shared == nil {
		l.engine, err = jobs.OpenLocal(ctx, dir+"/jobs.db", map[string]jobs.Handler{
			matcher.LookbackJob: l.LookbackHandler(), matcher.UploadsJob: l.UploadsHandler(),
		}, jobs.Options{Fault: l.faults.add})
		must(t, err)
		run(l.engine.Run)
	}
	run(l.history.Run)
	run(func(ctx context.Context) error { return l.journal.Ship(ctx, l.Deliver) })
	run(func(ctx context.Context) error { return l.LookBack(ctx, l.engine) })
	l.end = sync.OnceFunc(func() {
		stop()
		running.Wait()
		l.stop()
		if shared == nil {
			must(t, l.engine.Close())
		}
		must(t, errors.Join(l.history.Close(), l.journal.Close()))
	})
	t.Cleanup(l.end)
	must(t, l.Follower().Await(l.ctx, 0))
	l.soon(func() bool { _, ok := l.Looked(); return ok })
	return l
}

func (l *looker) soon(is func() bool) {
	l.t.Helper()
	for end := time.Now().Add(3 * patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			l.t.Fatalf("not within %v; faults: %v", 3*patience, l.faults.list())
		}
	}
}

// done waits until all that is in the log has been looked for, and what was found is in the catalogue.
func (l *looker) done() {
	l.t.Helper()
	head, err := l.catalogue.Head(l.ctx)
	must(l.t, err)
	l.soon(func() bool { seq, _ := l.Looked(); return seq >= head.Seq })
	l.soon(func() bool {
		s, err := l.engine.Stats(l.ctx)
		must(l.t, err)
		left := 0
		for _, kind := range []string{matcher.LookbackJob, matcher.UploadsJob} {
			equal(l.t, 0, s[kind].Dead)
			left += s[kind].Waiting + s[kind].Running
		}
		return left == 0
	})
	must(l.t, l.journal.Flush(l.ctx))
}

// keeps has a party's uploads kept for some days.
func (l *looker) keeps(party string, days int) {
	l.t.Helper()
	l.who(party)
	_, err := l.ChangeParty(l.ctx, local, party, matcher.PartyEdit{HistoryDays: &days})
	must(l.t, err)
}

// post checks a hash under a content id.
func (l *looker) post(party, content string, s ...hashing.Signal) matcher.Verdict {
	l.t.Helper()
	v, err := l.Check(l.ctx, matcher.Question{Who: l.who(party), Signals: s, ContentID: content})
	must(l.t, err)
	return v
}

// past are the content ids of a party's matches by look-back, sorted.
func (l *looker) past(party string) []string {
	l.t.Helper()
	found := []string{}
	ms, err := l.Matches(l.ctx, l.who(party), storage.MatchQuery{Party: l.parties[party], Limit: storage.MaxMatches})
	must(l.t, err)
	for _, m := range ms {
		if m.Past != nil {
			found = append(found, m.ContentID)
		}
	}
	slices.Sort(found)
	return found
}

// kept are the content ids that the history has in its window, sorted.
func (l *looker) kept() []string {
	l.t.Helper()
	found := []string{}
	must(l.t, l.history.Search(l.ctx, history.Query{Values: []hashing.Value{{}}, Radius: 256}, func(h history.Hit) error {
		found = append(found, h.ContentID)
		return nil
	}))
	slices.Sort(found)
	return found
}

// turned is a PDQ hash with some bits flipped, turned or inverted by a number from 0 to 8.
func turned(s hashing.Signal, bits, turn int) hashing.Signal {
	s = away(s, bits)
	if turn == 8 {
		for i := range s.Value {
			s.Value[i] = ^s.Value[i]
		}
		return s
	}
	s.Value = hashing.Value(pdq.DihedralOf(pdq.Hash(s.Value))[turn])
	return s
}

func TestKeptUploads(t *testing.T) {
	t.Parallel()
	l := newPlace(t, catalogues["memory"](t)).node(t.TempDir(), 0, nil)
	poor := upload
	poor.Quality = hashing.MinQuality - 1
	frame := upload
	frame.Time = 5000
	cli := upload
	cli.Variant = hashing.CLI
	l.post("keeps", "before", upload)
	l.keeps("keeps", 30)
	for content, s := range map[string]hashing.Signal{"": upload, "poor": poor, "frame": frame, "cli": cli, "md5": signal(hashing.MD5, 1), "kept": upload} {
		if v := l.post("keeps", content, s); v.Unkept {
			t.Errorf("%s is said not to be kept", content)
		}
	}
	l.post("another", "another's", upload)
	v, err := l.Check(l.ctx, matcher.Question{Who: l.who("keeps"), Media: media(pngOf(drawn(1))), ContentID: "picture"})
	must(t, err)
	equal(t, l.kept(), []string{"kept", "picture"})
	plain := slices.IndexFunc(v.Signals, func(s hashing.Signal) bool { return s.Algorithm == hashing.PDQ && s.Variant == hashing.Plain })
	must(t, l.history.Search(l.ctx, history.Query{Values: []hashing.Value{v.Signals[plain].Value}, Radius: 0}, func(h history.Hit) error {
		equal(t, h.ContentID, "picture")
		return nil
	}))
	l.keeps("keeps", 0)
	l.post("keeps", "after", upload)
	equal(t, l.kept(), []string{"kept", "picture"})
	must(t, l.Expire(l.ctx)) // of one who keeps none any more, all goes
	equal(t, l.kept(), []string{})
	equal(t, len(l.faults.list()), 0)

	// What cannot be kept fails no check.
	l.keeps("keeps", 30)
	l.bank("keeps", "bank", matcher.NewBank{})
	flagged, err := l.Flag(l.ctx, matcher.Flagging{Who: l.who("keeps"), Bank: "bank", Signals: []hashing.Signal{upload}})
	must(t, err)
	if v := l.post("keeps", string(make([]byte, 257)), upload); !v.Unkept || v.Level != matcher.Match {
		t.Errorf("an upload with a long name: %+v", v)
	}
	must(t, l.history.Close())
	if v := l.post("keeps", "x", upload); !v.Unkept || v.Level != matcher.Match || !slices.Equal(matched(v), ids(flagged)) {
		t.Errorf("an upload that cannot be kept: %+v", v)
	}
	if n := len(l.faults.list()); n < 2 {
		t.Errorf("%d faults told", n)
	}
}

// TestLookback: what a look-back finds is what checks of the same hashes find now, for parties that make different things of
// a bank, wherever the uploads are.
func TestLookback(t *testing.T) {
	for _, where := range []string{"window", "files", "both"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			p, dir := newPlace(t, catalogues["sqlite"](t)), t.TempDir()
			l := p.node(dir, 0, nil)
			parties := []string{"owner", "reader", "caps", "disables", "outsider", "keeps-nothing"}
			l.bank("owner", "bank", shared("block"))
			for _, party := range parties {
				l.keeps(party, 30)
			}
			l.keeps("keeps-nothing", 0)
			for party, edit := range map[string]matcher.SubscriptionEdit{
				"reader": {}, "disables": {}, "keeps-nothing": {}, "caps": {Cap: &radii{hashing.PDQ: 12}},
			} {
				_, err := l.Subscribe(l.ctx, l.who(party), "owner:bank", edit)
				must(t, err)
			}
			// A known-good entry is nearer to some.
			l.bank("owner", "good", matcher.NewBank{Kind: storage.KnownGood})
			good, err := l.Flag(l.ctx, matcher.Flagging{Who: l.who("owner"), Bank: "good", Signals: []hashing.Signal{away(upload, 40)}, DespiteKnownGood: true})
			must(t, err)
			must(t, l.Confirm(l.ctx, l.colleague("owner"), good.Entry.ID))
			posts := map[string]hashing.Signal{}
			rng := rand.New(rand.NewPCG(1, 2))
			for i := range 60 {
				posts[fmt.Sprintf("post %d", i)] = turned(upload, rng.IntN(40), rng.IntN(9))
				posts[fmt.Sprintf("noise %d", i)] = signal(hashing.PDQ, uint64(100+i))
			}
			for content, s := range posts {
				for _, party := range parties {
					if v := l.post(party, content, s); v.MatchesTotal > 0 || v.Unkept {
						t.Fatalf("%s of %s is known already: %+v", content, party, v)
					}
				}
			}
			switch where {
			case "files": // in which the window of the next node begins empty
				must(t, l.history.Seal(l.ctx))
				known := l.world
				l.end()
				l = p.node(dir, 1, nil)
				l.parties = known.parties
				equal(t, l.kept(), []string{})
			case "both":
				must(t, l.history.Seal(l.ctx))
			}
			flagged, err := l.Flag(l.ctx, matcher.Flagging{Who: l.who("owner"), Bank: "bank", Signals: []hashing.Signal{upload}, DespiteKnownGood: true})
			must(t, err)
			must(t, l.Overlay(l.ctx, l.who("disables"), flagged.Entry.ID, true, nil, ""))
			at, err := l.PastUploads(l.ctx, l.who("owner"), flagged.Entry.ID)
			must(t, err)
			l.done()
			l.restart(flagged.Entry.ID) // looks again
			others := 0
			for _, party := range parties {
				want := map[string]int{}
				for content, s := range posts {
					v := l.check(matcher.Question{Who: l.who(party), Signals: []hashing.Signal{s}})
					if v.Level > matcher.None && slices.Contains(matched(v), flagged.Entry.ID) {
						want[content] = v.Matches[slices.Index(matched(v), flagged.Entry.ID)].Distance
					}
				}
				if party == "keeps-nothing" {
					clear(want)
				}
				if (party == "owner" || party == "reader") != (len(want) > 20) || party == "caps" && len(want) == 0 {
					t.Errorf("%d uploads of %s match: the test shows nothing", len(want), party)
				}
				if party == "disables" { // it was looked for before or after the overlay
					continue
				}
				equal(t, l.past(party), append([]string{}, slices.Sorted(maps.Keys(want))...))
				if party == "owner" && where != "files" {
					got := map[string]int{}
					for i, h := range at.Own {
						got[h.ContentID] = h.Distance
						if i > 0 && h.Distance < at.Own[i-1].Distance {
							t.Error("the nearest are not first")
						}
					}
					equal(t, got, want)
					equal(t, at.OwnTotal, len(want))
				} else {
					others += len(want)
				}
			}
			if where != "files" && (at.Partial || at.Since.IsZero() || at.Others < others) {
				t.Errorf("at once: %+v; %d of others", at, others)
			}
			if asked, err := l.PastUploads(l.ctx, l.who("reader"), flagged.Entry.ID); err != nil || where != "files" && (asked.Others != 0 || asked.OwnTotal == 0) {
				t.Errorf("to a reader of the bank: %+v, %v", asked, err)
			}
			equal(t, len(l.faults.list()), 0)
		})
	}
}

// restart has an entry looked for once more.
func (l *looker) restart(id storage.EntryID) {
	l.t.Helper()
	must(l.t, l.Retract(l.ctx, l.who("owner"), id, "x"))
	must(l.t, l.Restore(l.ctx, l.who("owner"), id, "x"))
	l.done()
}

// TestLookbackMatch: what a match by look-back says.
func TestLookbackMatch(t *testing.T) {
	t.Parallel()
	l := newPlace(t, catalogues["sqlite"](t)).node(t.TempDir(), 0, nil)
	b := l.bank("owner", "bank", shared("block"))
	l.keeps("owner", 30)
	before := time.Now()
	l.post("owner", "post 7", away(upload, 5))
	after := time.Now()
	flagged, err := l.Flag(l.ctx, matcher.Flagging{Who: l.who("owner"), Bank: "bank", Signals: []hashing.Signal{upload}, Labels: []string{"x"}})
	must(t, err)
	l.done()
	ms, err := l.Matches(l.ctx, l.who("owner"), storage.MatchQuery{Entry: flagged.Entry.ID, Limit: 10})
	must(t, err)
	if len(ms) != 1 {
		t.Fatalf("%d matches", len(ms))
	}
	m, err := l.Match(l.ctx, l.who("owner"), ms[0].ID)
	must(t, err)
	if at := m.Past.At; at.Before(before.Truncate(time.Millisecond)) || at.After(after) || m.Past.Upload.Node != l.history.Node() {
		t.Errorf("uploaded: %+v, between %v and %v", m.Past, before, after)
	}
	equal(t, m.Entries, []storage.MatchEntry{{Entry: flagged.Entry.ID, Bank: b.ID, Level: "match"}})
	equal(t, []any{m.ContentID, m.Level, m.Action, m.Key, m.Bare, string(m.Verdict)}, []any{"post 7", "match", "block", "lookback", true, `"match"`})
	// It is decided about and erased like others.
	_, err = l.Decide(l.ctx, l.who("owner"), matcher.Decision{Match: m.ID, Ruling: storage.Removed})
	must(t, err)
	standing, err := l.Matches(l.ctx, l.who("owner"), storage.MatchQuery{Entry: flagged.Entry.ID, Standing: true, Limit: 10})
	must(t, err)
	equal(t, len(standing), 1)

	// Uploads that were checked when the entry was known are told by their checks alone.
	if v := l.post("owner", "post 8", away(upload, 5)); len(v.Matches) != 1 {
		t.Fatalf("the entry is not found: %+v", v)
	}
	l.done()
	equal(t, l.past("owner"), []string{"post 7"})
}

// TestLookbackWanted: lists are not looked for, and neither is what does not become active.
func TestLookbackWanted(t *testing.T) {
	t.Parallel()
	l := newPlace(t, catalogues["memory"](t)).node(t.TempDir(), 0, nil)
	l.bank("owner", "bank", shared("block"))
	l.keeps("owner", 30)
	l.post("owner", "of a list", upload)
	l.post("owner", "of a proposal", signal(hashing.PDQ, 2))
	out, _, err := l.FlagList(l.ctx, l.who("owner"), "bank", []matcher.Listed{{Signals: []hashing.Signal{upload}}}, matcher.ListOptions{})
	must(t, err)
	l.done()
	equal(t, l.past("owner"), []string{})
	must(t, l.Retract(l.ctx, l.who("owner"), out[0].Entry, "x"))
	must(t, l.Restore(l.ctx, l.who("owner"), out[0].Entry, "x")) // by a person
	l.done()
	equal(t, l.past("owner"), []string{"of a list"})

	_, err = l.ChangeBank(l.ctx, l.who("owner"), "bank", matcher.BankEdit{Dual: ptr(true)})
	must(t, err)
	flagged, err := l.Flag(l.ctx, matcher.Flagging{Who: l.who("owner"), Bank: "bank", Signals: []hashing.Signal{signal(hashing.PDQ, 2)}})
	must(t, err)
	l.done()
	equal(t, l.past("owner"), []string{"of a list"})
	must(t, l.Confirm(l.ctx, l.colleague("owner"), flagged.Entry.ID))
	l.done()
	equal(t, l.past("owner"), []string{"of a list", "of a proposal"})
}

// TestLookbackMeetsChecks: of an upload that is checked while its entry is flagged, the check or the look-back tells.
func TestLookbackMeetsChecks(t *testing.T) {
	t.Parallel()
	l := newPlace(t, catalogues["memory"](t)).node(t.TempDir(), 0, nil)
	l.bank("owner", "bank", shared("block"))
	l.keeps("owner", 30)
	who := l.who("owner")
	const workers, rounds = 8, 10
	for round := range rounds {
		s := signal(hashing.PDQ, uint64(1000+round))
		var mu sync.Mutex
		var posting sync.WaitGroup
		all, told := map[string]bool{}, map[string]bool{}
		began := make(chan struct{}, workers)
		stop := make(chan struct{})
		for worker := range workers {
			posting.Go(func() {
				for i := 0; ; i++ {
					content := fmt.Sprintf("%d-%d-%d", round, worker, i)
					v, err := l.Check(l.ctx, matcher.Question{Who: who, Signals: []hashing.Signal{s}, ContentID: content})
					if err != nil || v.Unkept {
						t.Errorf("check: %v, %+v", err, v)
						return
					}
					mu.Lock()
					all[content] = true
					if len(v.Matches) > 0 {
						told[content] = true
					}
					mu.Unlock()
					if i == 0 {
						began <- struct{}{}
					}
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
		for range workers {
			<-began
		}
		_, err := l.Flag(l.ctx, matcher.Flagging{Who: who, Bank: "bank", Signals: []hashing.Signal{s}})
		must(t, err)
		close(stop)
		posting.Wait()
		l.done()
		err = l.catalogue.View(l.ctx, func(r storage.Reader) error {
			for before := uint64(0); ; {
				page, err := r.Matches(storage.MatchQuery{Party: who.Party, Before: before, Limit: storage.MaxMatches})
				for _, m := range page {
					if m.Past != nil {
						told[m.ContentID] = true
					}
					before = m.Ord
				}
				if err != nil || len(page) == 0 {
					return err
				}
			}
		})
		must(t, err)
		for content := range all {
			if !told[content] {
				t.Fatalf("round %d: of %d uploads, nobody tells of %s", round, len(all), content)
			}
		}
	}
}

// seal has the uploads of a node that has ended sealed.
func (p *place) seal(t *testing.T, dir string, o history.Options) {
	t.Helper()
	o.Scan = index.ScanFlat
	h, err := history.Open(dir, p.store, o)
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	must(t, h.Seal(ctx))
	stop()
	<-ended
	must(t, h.Close())
}

// TestLookbackOfNodes: each node looks among its uploads, also one that was away when the entry was flagged, and has its uploads sealed
// since.
func TestLookbackOfNodes(t *testing.T) {
	for name, sealed := range map[string]bool{"in its journal": false, "in files": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, catalogues["sqlite"](t))
			a := p.node(t.TempDir(), 0, nil)
			a.bank("owner", "bank", shared("block"))
			a.keeps("owner", 30)
			dirs := []string{t.TempDir(), t.TempDir()}
			var others []*looker
			for i, dir := range dirs {
				b := p.node(dir, 0, a.engine)
				b.parties = a.parties
				b.post("owner", fmt.Sprintf("on %d", i), upload)
				others = append(others, b)
			}
			a.post("owner", "on a", upload)
			others[1].end() // is away
			flagged, err := a.Flag(a.ctx, matcher.Flagging{Who: a.who("owner"), Bank: "bank", Signals: []hashing.Signal{upload}})
			must(t, err)
			a.done()
			others[0].done()
			equal(t, a.past("owner"), []string{"on 0", "on a"})
			must(t, a.Retract(a.ctx, a.who("owner"), flagged.Entry.ID, "x")) // and what happened meanwhile counts as it stands
			must(t, a.Restore(a.ctx, a.who("owner"), flagged.Entry.ID, "x"))
			a.done()

			window := int64(0)
			if sealed {
				p.seal(t, dirs[1], history.Options{})
				window = 1
			}
			back := p.node(dirs[1], window, a.engine)
			back.parties = a.parties
			back.done()
			a.done() // which does the jobs
			equal(t, a.past("owner"), []string{"on 0", "on 1", "on a"})
			for _, l := range []*looker{a, others[0], back} {
				equal(t, len(l.faults.list()), 0)
			}
		})
	}
}

// TestErasedUploads: what a party has erased is in no node's history, also of one that was down.
func TestErasedUploads(t *testing.T) {
	t.Parallel()
	p := newPlace(t, catalogues["sqlite"](t))
	dirs := []string{t.TempDir(), t.TempDir()}
	a, b := p.node(dirs[0], 0, nil), (*looker)(nil)
	b = p.node(dirs[1], 0, a.engine)
	b.parties = a.parties
	parties, contents := []string{"erases", "another"}, []string{"gone", "stays"}
	for _, party := range parties {
		a.keeps(party, 30)
	}
	b.done() // knows that they keep uploads
	for _, party := range parties {
		for _, content := range contents {
			a.post(party, content, upload)
			b.post(party, content, upload)
		}
	}
	b.end()
	n, err := a.EraseContent(a.ctx, a.who("erases"), "gone")
	must(t, err)
	equal(t, n, 0) // no match had it
	a.soon(func() bool { return len(a.kept()) == 3 })
	equal(t, a.kept(), []string{"gone", "stays", "stays"})
	b = p.node(dirs[1], 0, a.engine)
	b.soon(func() bool { return len(b.kept()) == 3 })
	equal(t, b.kept(), []string{"gone", "stays", "stays"})
	erased := func(l *looker) (id uint64) {
		must(t, p.catalogue.View(a.ctx, func(r storage.Reader) (err error) {
			id, err = r.Erased(l.history.Node())
			return err
		}))
		return id
	}
	for _, l := range []*looker{a, b} {
		l.soon(func() bool { return erased(l) == 1 })
	}
}

// TestPastQuestion: what is asked about things that were posted long ago is answered as ever, and leaves nothing behind.
func TestPastQuestion(t *testing.T) {
	t.Parallel()
	l := newPlace(t, catalogues["sqlite"](t)).node(t.TempDir(), 0, nil)
	flooded := shared("block")
	flooded.Flood = ptr(2)
	l.bank("owner", "bank", flooded)
	l.keeps("owner", 30)
	_, err := l.Flag(l.ctx, matcher.Flagging{Who: l.who("owner"), Bank: "bank", Signals: []hashing.Signal{upload}})
	must(t, err)
	l.done()
	ask := func(past bool, n int) matcher.Verdict {
		v, err := l.Check(l.ctx, matcher.Question{
			Who: l.who("owner"), Signals: []hashing.Signal{away(upload, 1+n)}, ContentID: fmt.Sprintf("%v %d", past, n), Past: past,
		})
		must(t, err)
		return v
	}
	for n := range 5 {
		equal(t, ask(true, n).Level, matcher.Match)
	}
	equal(t, len(l.kept()), 0)
	equal(t, ask(false, 6).Level, matcher.Match)
	l.done()
	l.soon(func() bool { return slices.Equal(l.kept(), []string{"false 6"}) })
	ms, err := l.Matches(l.ctx, l.who("owner"), storage.MatchQuery{Party: l.parties["owner"], Limit: 10})
	must(t, err)
	equal(t, len(ms), 1)
	equal(t, ask(false, 7).Matches[0].Flooded, false)
	equal(t, ask(false, 8).Matches[0].Flooded, true)
}

// TestLookbackCut: when more past uploads are near an entry than are told, the answer says so and at how many; of the window and of each file that
// many are told, and the node counts what was cut.
func TestLookbackCut(t *testing.T) {
	t.Parallel()
	l := newPlace(t, catalogues["sqlite"](t)).node(t.TempDir(), 0, nil)
	l.TellAtMost(10)
	l.bank("owner", "bank", shared("block"))
	l.keeps("owner", 30)
	flag := func(n, posts int) *matcher.PastUploads {
		s := signal(hashing.PDQ, uint64(1000+n))
		for i := range posts {
			l.post("owner", fmt.Sprintf("%d-%d", n, i), s)
		}
		flagged, err := l.Flag(l.ctx, matcher.Flagging{Who: l.who("owner"), Bank: "bank", Signals: []hashing.Signal{s}})
		must(t, err)
		past, err := l.PastUploads(l.ctx, l.who("owner"), flagged.Entry.ID)
		must(t, err)
		l.done()
		return past
	}
	said := func(p *matcher.PastUploads) string {
		return fmt.Sprintf("complete %v, cut at %d, partial %v, %d", p.Complete, p.CutAt, p.Partial, p.OwnTotal)
	}
	equal(t, said(flag(1, 10)), "complete true, cut at 0, partial false, 10")
	equal(t, []int{len(l.past("owner")), int(l.LookbackCuts()), len(l.faults.list())}, []int{10, 0, 0})
	equal(t, said(flag(2, 11)), "complete false, cut at 10, partial true, 10")
	equal(t, len(l.past("owner")), 20)
	if l.LookbackCuts() == 0 || len(l.faults.list()) == 0 {
		t.Error("it is told nowhere")
	}
}
