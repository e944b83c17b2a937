package matcher_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vigie/hashing"
	"vigie/hashing/fingerprint"
	"vigie/index"
	"vigie/matcher"
	"vigie/storage"
)

func TestFlagMedia(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		data := pngOf(drawn(1))
		out := n.flag(matcher.Flagging{
			Media: media(data), Signals: []hashing.Signal{signal(hashing.PHash, 1)},
			Labels: []string{"b", "a", "b"}, Note: "a note", Origin: "https://example.org/1",
		})
		if !out.Created || out.Bank.Name != "bank" || out.Seq != 2 || len(out.Neighbours) != 0 {
			t.Errorf("flagged: %+v", out)
		}
		equal(t, n.entry(out.Entry.ID), out.Entry)
		e := out.Entry
		equal(t, e.Labels, []string{"a", "b"})
		if e.Status != storage.Active || e.ExactOnly || e.Note != "a note" || e.Seq != 2 || e.CreatedAt.IsZero() {
			t.Errorf("entry: %+v", e)
		}
		equal(t, e.Media, storage.MediaInfo{SHA256: media(data).SHA256, Bytes: int64(len(data)), Format: "png", Width: 320, Height: 320})
		equal(t, e.Sources, []storage.Source{{At: e.CreatedAt, Actor: "local", Origin: "https://example.org/1"}})
		p, err := pictures.Picture(n.ctx, data)
		must(t, err)
		want := append(media(data).Digests(), fingerprint.Stored(p)...)
		equal(t, e.Signals, append(want, signal(hashing.PHash, 1)))

		// What the log tells everybody, and what it keeps to itself.
		c := n.changes()[1]
		if c.Kind != storage.EntryAdded || c.Actor != "local" || c.Entry != e.ID || c.Bank != out.Bank.ID {
			t.Errorf("change: %+v", c)
		}
		var body storage.EntryBody
		must(t, json.Unmarshal(c.Body, &body))
		if len(body.Signals) != len(e.Signals) || strings.Contains(string(c.Body), "note") || strings.Contains(string(c.Body), "example.org") {
			t.Errorf("body: %s", c.Body)
		}
		equal(t, string(c.Private), `{"note":"a note","origin":"https://example.org/1"}`)
	})
}

func TestFlagWhatTheBankHas(t *testing.T) {
	t.Parallel()
	picture := media(pngOf(drawn(1)))
	hashed, err := pictures.Picture(t.Context(), picture.Data)
	must(t, err)
	plain := hashed.Signals[0]
	sha, md := picture.Digests()[0], picture.Digests()[1]
	phash := signal(hashing.PHash, 1)
	cli := plain
	cli.Variant = hashing.CLI
	other := media(pngOf(drawn(2)))
	for _, test := range []struct {
		name          string
		first, second matcher.Flagging
		had           bool
	}{
		{"the same bytes", matcher.Flagging{Media: picture}, matcher.Flagging{Media: picture}, true},
		{"other bytes", matcher.Flagging{Media: picture}, matcher.Flagging{Media: other}, false},
		{"the same PDQ, of a list", matcher.Flagging{Media: picture}, matcher.Flagging{Signals: []hashing.Signal{plain}}, true},
		{"the file behind a PDQ", matcher.Flagging{Signals: []hashing.Signal{plain}}, matcher.Flagging{Media: picture}, true},
		{"PDQ 1 bit away", matcher.Flagging{Signals: []hashing.Signal{plain}}, matcher.Flagging{Signals: []hashing.Signal{away(plain, 1)}}, false},
		{"SHA-256 alone", matcher.Flagging{Media: picture}, matcher.Flagging{Signals: []hashing.Signal{sha}}, true},
		{"MD5 alone, of a file", matcher.Flagging{Media: picture}, matcher.Flagging{Signals: []hashing.Signal{md}}, true},
		{"MD5 alone, twice", matcher.Flagging{Signals: []hashing.Signal{md}}, matcher.Flagging{Signals: []hashing.Signal{md}}, true},
		{"pHash alone, twice", matcher.Flagging{Signals: []hashing.Signal{phash}}, matcher.Flagging{Signals: []hashing.Signal{phash}}, true},
		{"a variant alone, twice", matcher.Flagging{Signals: []hashing.Signal{cli}}, matcher.Flagging{Signals: []hashing.Signal{cli}}, true},
		{"pHash, and then MD5 with it", matcher.Flagging{Signals: []hashing.Signal{phash}}, matcher.Flagging{Signals: []hashing.Signal{phash, md}}, false},
		{"exact only, twice", matcher.Flagging{Media: picture, ExactOnly: true}, matcher.Flagging{Media: picture, ExactOnly: true}, true},
		{"exact only what is had in full", matcher.Flagging{Media: picture}, matcher.Flagging{Media: picture, ExactOnly: true}, true},
		{"in full what is had exact only", matcher.Flagging{Media: picture, ExactOnly: true}, matcher.Flagging{Media: picture}, false},
		{"the file of a digest", matcher.Flagging{Signals: []hashing.Signal{sha}}, matcher.Flagging{Media: picture}, false},
		{"the file of a digest and a pHash", matcher.Flagging{Signals: []hashing.Signal{sha, phash}}, matcher.Flagging{Media: picture}, true},
		{"MD5, and then SHA-256 with it", matcher.Flagging{Signals: []hashing.Signal{md}}, matcher.Flagging{Signals: []hashing.Signal{sha, md}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			test.first.Labels, test.first.Origin = []string{"first"}, "first"
			test.second.Labels, test.second.Note, test.second.Origin = []string{"second"}, "second", "second"
			first := n.flag(test.first)
			second := n.flag(test.second)
			if second.Created == test.had {
				t.Fatalf("created: %t", second.Created)
			}
			last := n.changes()[2]
			if !test.had {
				if second.Entry.ID == first.Entry.ID || last.Kind != storage.EntryAdded {
					t.Errorf("entry %d, change %s", second.Entry.ID, last.Kind)
				}
				return
			}
			equal(t, n.entry(first.Entry.ID), second.Entry)
			equal(t, second.Entry.Labels, []string{"first"})
			if s := second.Entry.Sources; len(s) != 2 || s[1].Origin != "second" || second.Entry.Note != "" {
				t.Errorf("entry: %+v", second.Entry)
			}
			if last.Kind != storage.EntrySourced || second.Seq != last.Seq || string(last.Private) != `{"origin":"second"}` {
				t.Errorf("change: %+v", last)
			}
			// A retracted entry does not count as had.
			n.retract(first.Entry.ID)
			if third := n.flag(test.second); !third.Created {
				t.Error("the retracted entry was sourced")
			}
		})
	}
}

func TestFlagInAnotherBankIsAnotherEntry(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		n.bank("other", "log", nil)
		a := n.flagMedia(pngOf(drawn(1)))
		b := n.flag(matcher.Flagging{Bank: "other", Media: media(pngOf(drawn(1)))})
		if !b.Created || len(b.Neighbours) != 1 || b.Neighbours[0].Entry != a.Entry.ID || b.Neighbours[0].Algorithm != hashing.SHA256 {
			t.Errorf("flagged: %+v", b)
		}
	})
}

func TestFlagNamesNeighbours(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	s := signal(hashing.PDQ, 1)
	near, far := n.flagSignals("bank", away(s, 10)), n.flagSignals("bank", away(s, 31))
	n.flagSignals("bank", away(s, 32))
	out := n.flagSignals("bank", s)
	var got []storage.EntryID
	for _, f := range out.Neighbours {
		got = append(got, f.Entry)
	}
	equal(t, got, ids(near, far))

	// It is not its own neighbour when it is there already.
	again := n.flagSignals("bank", s)
	if again.Created || len(again.Neighbours) != 2 {
		t.Errorf("again: %+v", again)
	}
	for i := range uint64(25) {
		more := away(s, 20)
		more.Value[3] ^= i // up to 5 bits more
		n.flagSignals("bank", more)
	}
	if again := n.flagSignals("bank", s); len(again.Neighbours) != 20 || again.Neighbours[0].Entry != near.Entry.ID {
		t.Errorf("%d neighbours", len(again.Neighbours))
	}
}

func TestFlagRefuses(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.bank("gone", "block", nil)
	_, err := n.DeleteBank(n.ctx, local, "gone")
	must(t, err)
	good := []hashing.Signal{signal(hashing.PDQ, 1)}
	bare := func(a hashing.Algorithm, v hashing.Value, q hashing.Quality) matcher.Flagging {
		return matcher.Flagging{Signals: []hashing.Signal{{Algorithm: a, Value: v, Quality: q}}}
	}
	ones := ^uint64(0)
	flat, text := media(pngOf(image.NewGray(image.Rect(0, 0, 64, 64)))), media([]byte("text"))
	tiny := media(pngOf(image.NewGray(image.Rect(0, 0, 1, 1))))
	picture := media(pngOf(drawn(1)))
	for _, test := range []struct {
		name string
		f    matcher.Flagging
		want any // an error, the field of an InputError, a hashing.Reason, a hashing.MediaErrorKind
	}{
		{"nothing", matcher.Flagging{}, "signals"},
		{"65 signals", matcher.Flagging{Signals: make([]hashing.Signal, 65)}, "signals"},
		{"no algorithm", bare(0, hashing.Value{1}, 100), "signals"},
		{"bits beyond the algorithm's", bare(hashing.PHash, hashing.Value{1, 1}, 100), "signals"},
		{"quality over 100", bare(hashing.PHash, hashing.Value{1}, 101), "signals"},
		{"exact_only without a file", matcher.Flagging{Signals: good, ExactOnly: true}, "exact_only"},
		{"the digest of another file", matcher.Flagging{Media: picture, Signals: []hashing.Signal{signal(hashing.MD5, 1)}}, "signals"},
		{"label", matcher.Flagging{Signals: good, Labels: []string{"Not So"}}, "labels"},
		{"33 labels", matcher.Flagging{Signals: good, Labels: labels(33)}, "labels"},
		{"note", matcher.Flagging{Signals: good, Note: strings.Repeat("n", 10_001)}, "note"},
		{"origin", matcher.Flagging{Signals: good, Origin: strings.Repeat("n", 2001)}, "origin"},
		{"unknown bank", matcher.Flagging{Bank: "other", Signals: good}, matcher.ErrUnknownBank},
		{"deleted bank", matcher.Flagging{Bank: "gone", Signals: good}, matcher.ErrUnknownBank},
		{"low quality", bare(hashing.PDQ, signal(hashing.PDQ, 1).Value, 49), hashing.LowQuality},
		{"pdq of zeros", bare(hashing.PDQ, hashing.Value{}, hashing.QualityUnknown), hashing.Flat},
		{"pdq of ones", bare(hashing.PDQ, hashing.Value{ones, ones, ones, ones}, 100), hashing.Flat},
		{"pdq with 63 ones", bare(hashing.PDQ, hashing.Value{ones >> 1}, 100), hashing.Flat},
		{"pdq with 193 ones", bare(hashing.PDQ, hashing.Value{ones, ones, ones, 1}, 100), hashing.Flat},
		{"phash of zeros", bare(hashing.PHash, hashing.Value{}, 100), hashing.Flat},
		{"dhash of ones", bare(hashing.DHash, hashing.Value{ones}, 100), hashing.Flat},
		{"flat picture", matcher.Flagging{Media: flat}, hashing.Flat},
		{"flat picture with a good signal", matcher.Flagging{Media: flat, Signals: good}, hashing.Flat},
		{"tiny picture", matcher.Flagging{Media: tiny}, hashing.Tiny},
		{"no picture", matcher.Flagging{Media: text}, hashing.Unsupported},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.f.Bank == "" {
				test.f.Bank = "bank"
			}
			_, err := n.Flag(n.ctx, test.f)
			switch want := test.want.(type) {
			case error:
				wantErr(t, err, want)
			case string:
				wantInput(t, err, want)
			case hashing.Reason:
				if u, ok := errors.AsType[*matcher.UnhashableError](err); !ok || u.Reason != want || u.Detail == "" {
					t.Errorf("got error %v, want %s", err, want)
				}
			case hashing.MediaErrorKind:
				if bad, ok := hashing.AsMediaError(err); !ok || bad.Kind != want {
					t.Errorf("got error %v, want %s", err, want)
				}
			}
		})
	}
	t.Cleanup(func() {
		if got := n.kinds(); len(got) != 2 { // those of the bank that is gone
			t.Errorf("refused flags left changes: %v", got)
		}
	})

	t.Run("before the first load", func(t *testing.T) {
		m := matcher.New(n.catalogue, n.blobs, pictures, index.New(index.Options{}), matcher.Options{})
		_, err := m.Flag(n.ctx, matcher.Flagging{Bank: "bank", Signals: good})
		wantErr(t, err, matcher.ErrNotReady)
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(n.ctx)
		cancel()
		_, err := n.Flag(ctx, matcher.Flagging{Bank: "bank", Signals: good})
		wantErr(t, err, context.Canceled)
	})
}

func labels(count int) (all []string) {
	for i := range count {
		all = append(all, fmt.Sprint("label", i))
	}
	return all
}

// At the rims of what is refused.
func TestFlagAccepts(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.changeBank("bank", matcher.BankEdit{Radius: &radii{hashing.PDQ: 31, hashing.PHash: 4}})
	ones := ^uint64(0)
	for _, s := range []hashing.Signal{
		{Algorithm: hashing.PDQ, Quality: 50, Value: hashing.Value{ones}},
		{Algorithm: hashing.PDQ, Quality: hashing.QualityUnknown, Value: hashing.Value{ones, ones, ones}},
		{Algorithm: hashing.PHash, Quality: 100, Value: hashing.Value{1}},
		{Algorithm: hashing.MD5, Quality: 100},
		{Algorithm: hashing.SHA256, Value: hashing.Value{ones, ones, ones, ones}},
	} {
		out := n.flag(matcher.Flagging{Signals: []hashing.Signal{s, s}, Labels: labels(32), Note: strings.Repeat("n", 10_000), Origin: strings.Repeat("o", 2000)})
		if out.Entry.ExactOnly != s.Algorithm.Exact() || len(out.Entry.Signals) != 1 {
			t.Errorf("%s: %+v", s, out.Entry)
		}
		equal(t, matched(n.checkSignals(s)), ids(out))
	}
}

// Eight clients flag the same media at the same time: one entry, with a source of each.
func TestFlagRaced(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		n.changeBank("bank", matcher.BankEdit{KeepMedia: ptr(true)})
		data := pngOf(drawn(1))
		var wg sync.WaitGroup
		created := make(chan storage.EntryID, 64)
		for range 8 {
			wg.Go(func() {
				for range 4 {
					out, err := n.Flag(n.ctx, matcher.Flagging{Bank: "bank", Media: media(data)})
					if err != nil {
						t.Error(err)
					} else if out.Created {
						created <- out.Entry.ID
					}
				}
			})
		}
		wg.Wait()
		if len(created) != 1 {
			t.Fatalf("%d were created", len(created))
		}
		if e := n.entry(<-created); len(e.Sources) != 32 || !e.Media.Kept {
			t.Errorf("%d sources, kept: %t", len(e.Sources), e.Media.Kept)
		}
		if v := n.checkMedia(data); v.MatchesTotal != 1 {
			t.Errorf("%d matches", v.MatchesTotal)
		}
	})
}

func TestFlagKeepsMediaIfTheBankWantsThem(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		data := pngOf(drawn(1))
		sha := media(data).SHA256
		if out := n.flagMedia(data); out.Entry.Media.Kept {
			t.Error("a bank that keeps no media kept them")
		}
		_, err := n.blobs.Open(n.ctx, sha)
		wantErr(t, err, storage.ErrNotFound)

		_, err = n.CreateBank(n.ctx, local, matcher.NewBank{BankEdit: matcher.BankEdit{Name: ptr("keeps"), KeepMedia: ptr(true)}})
		must(t, err)
		out := n.flag(matcher.Flagging{Bank: "keeps", Media: media(data)})
		if !out.Entry.Media.Kept {
			t.Error("not kept")
		}
		blob, err := n.blobs.Open(n.ctx, sha)
		must(t, err)
		kept, err := io.ReadAll(blob)
		must(t, err)
		equal(t, string(kept) == string(data), true)
		if out := n.flag(matcher.Flagging{Bank: "keeps", Signals: []hashing.Signal{signal(hashing.PDQ, 1)}}); out.Entry.Media.Kept {
			t.Error("signals were kept as media")
		}
	})
}

func TestFlagWhenMediaCannotBeStored(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.changeBank("bank", matcher.BankEdit{KeepMedia: ptr(true)})
	m := matcher.New(n.catalogue, noBlobs{n.blobs}, pictures, index.New(index.Options{}), matcher.Options{})
	ctx, cancel := context.WithCancel(n.ctx)
	defer cancel()
	go m.Follower().Run(ctx)
	must(t, m.Follower().Await(ctx, 0))
	_, err := m.Flag(ctx, matcher.Flagging{Bank: "bank", Media: media(pngOf(drawn(1))), Who: local})
	wantErr(t, err, errDown)
	equal(t, n.kinds(), []storage.Kind{storage.BankChanged})
}

type noBlobs struct{ storage.Blobs }

func (noBlobs) Put(context.Context, hashing.Value, []byte) error { return errDown }

// The media of a flag that meets the sweeper at work are stored after it.
func TestFlagWaitsForTheSweeper(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		sweeps time.Duration
		err    error
	}{
		{"which ends", 300 * time.Millisecond, nil},
		{"which does not", time.Hour, storage.ErrConflict},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t)
				n.changeBank("bank", matcher.BankEdit{KeepMedia: ptr(true)})
				picture := media(pngOf(drawn(1)))
				mark := func(fn func(storage.Writer) error) { must(t, n.catalogue.Update(n.ctx, fn)) }
				mark(func(w storage.Writer) error {
					_, err := w.MediaPend(picture.SHA256, 1)
					return err
				})
				time.Sleep(time.Minute)
				mark(func(w storage.Writer) error {
					_, err := w.MediaSweep(time.Now())
					return err
				})
				time.AfterFunc(test.sweeps, func() {
					mark(func(w storage.Writer) error { return w.MediaGone(picture.SHA256) })
				})
				begin := time.Now()
				out, err := n.Flag(n.ctx, matcher.Flagging{Bank: "bank", Media: picture})
				wantErr(t, err, test.err)
				if took := time.Since(begin); took < 300*time.Millisecond || took > 3*time.Second {
					t.Errorf("it took %s", took)
				}
				if err == nil && !out.Entry.Media.Kept {
					t.Error("not kept")
				}
				time.Sleep(test.sweeps) // lets the sweep end before the bubble does
			})
		})
	}
}

// meddler does something between what a flag reads and what it writes.
type meddler struct {
	storage.Catalogue
	between func()
}

func (m *meddler) View(ctx context.Context, fn func(storage.Reader) error) error {
	defer m.between()
	return m.Catalogue.View(ctx, fn)
}

// The entry that had the media is retracted after the flag saw it: the new entry has its media kept.
func TestFlagKeepsMediaWhoseEntryWentAway(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.changeBank("bank", matcher.BankEdit{KeepMedia: ptr(true)})
	picture := media(pngOf(drawn(1)))
	first := n.flag(matcher.Flagging{Media: picture})
	var once sync.Once
	c := &meddler{Catalogue: n.catalogue, between: func() {}}
	other := follow(t, c, matcher.Options{Patience: time.Minute})
	defer other.stop()
	must(t, other.Follower().Await(n.ctx, 3))
	c.between = func() { once.Do(func() { n.retract(first.Entry.ID) }) }
	out := other.flag(matcher.Flagging{Media: picture})
	if !out.Created || !out.Entry.Media.Kept {
		t.Errorf("created: %t, kept: %t", out.Created, out.Entry.Media.Kept)
	}
}

func TestFlagThatIsNotSeenInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told []bool
		n := start(t, catalogues["memory"](t), matcher.Options{
			Patience: 2 * time.Second, Events: matcher.Events{Flagged: func(created bool) { told = append(told, created) }},
		})
		n.bank("bank", "block", nil)
		n.stop()
		begin := time.Now()
		f := matcher.Flagging{Bank: "bank", Signals: []hashing.Signal{signal(hashing.PDQ, 1)}}
		for _, created := range []bool{true, false} {
			out, err := n.Flag(n.ctx, f)
			must(t, err)
			if out.Matchable || out.Created != created {
				t.Errorf("flagged: %+v", out)
			}
			equal(t, n.entry(out.Entry.ID), out.Entry)
		}
		if took := time.Since(begin); took != 4*time.Second {
			t.Errorf("it took %s", took)
		}
		equal(t, told, []bool{true, false})

		// Whoever cannot wait goes without: the flag stands.
		ctx, cancel := context.WithTimeout(n.ctx, time.Second)
		defer cancel()
		out, err := n.Flag(ctx, f)
		must(t, err)
		if out.Matchable || time.Since(begin) != 5*time.Second {
			t.Errorf("flagged: %+v after %s", out, time.Since(begin))
		}
	})
}

// What people took back may be flagged again, but nobody does it unknowingly.
func TestFlagNamesWhatWasRetracted(t *testing.T) {
	overEach(t, func(t *testing.T, n *node) {
		n.bank("b", "block", nil)
		data := pngOf(drawn(1))
		first := n.flagMedia(data)
		must(t, n.Retract(n.ctx, local, first.Entry.ID, "a news photograph"))
		again := n.flagMedia(data)
		if !again.Created || len(again.Retracted) != 1 || again.Retracted[0].ID != first.Entry.ID || again.Retracted[0].Reason != "a news photograph" {
			t.Fatalf("created %v, retracted %+v", again.Created, again.Retracted)
		}
		if had := n.flagMedia(data); had.Created || had.Retracted != nil {
			t.Errorf("flagged while active: created %v, retracted %+v", had.Created, had.Retracted)
		}
	})
}

// Whatever the bank has already, what is flagged matches afterwards: an entry that came as a bare hash,
// or with a digest that belongs to another picture, takes up what the file brings.
func TestFlagIsNeverWithoutEffect(t *testing.T) {
	overEach(t, func(t *testing.T, n *node) {
		n.bank("b", "block", nil)
		n.changeBank("b", matcher.BankEdit{KeepMedia: ptr(true)})
		picture := media(pngOf(drawn(1)))
		hashed, err := pictures.Picture(t.Context(), picture.Data)
		must(t, err)
		first := n.flagSignals("b", picture.Digests()[0], signal(hashing.PDQ, 1))
		again := n.flag(matcher.Flagging{Bank: "b", Media: picture})
		if again.Created || again.Entry.ID != first.Entry.ID || !again.Entry.Media.Kept {
			t.Fatalf("created %v, entry %d, kept %v", again.Created, again.Entry.ID, again.Entry.Media.Kept)
		}
		for _, s := range append(hashed.Stored(), picture.Digests()...) {
			if s.Algorithm.Bits() == 64 {
				continue // most have no radius
			}
			if v := n.checkSignals(s); v.Level != matcher.Match {
				t.Errorf("%v: %s", s, v.Level)
			}
		}
		must(t, n.Retract(n.ctx, local, first.Entry.ID, "a test"))
		must(t, n.Restore(n.ctx, local, first.Entry.ID, "a test"))
		equal(t, n.checkMedia(picture.Data).Level, matcher.Match)
	})
}
