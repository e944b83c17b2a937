package matcher_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vigie/hashing"
	"vigie/index"
	"vigie/index/text"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/sqlstore"
)

// reading is a text index that runs.
type reading struct {
	*matcher.Texts
	faults told[error]
	stop   func()
}

func read(t testing.TB, c storage.Catalogue, dir string) *reading {
	r := &reading{}
	r.Texts = matcher.NewTexts(c, dir, r.faults.add)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		wantErr(t, <-ended, context.Canceled)
	})
	return r
}

// library is a node that has a text index.
type library struct {
	*node
	reading *reading
}

func openLibrary(t testing.TB, c storage.Catalogue, r *reading, o matcher.Options) *library {
	if o.Patience == 0 {
		o.Patience = patience
	}
	o.Texts = r.Texts
	l := &library{followWith(t, c, index.New(index.Options{}), o), r}
	must(t, l.Follower().Await(l.ctx, 0))
	return l
}

func (l *library) close() { l.reading.stop(); l.stop() }

// newLibrary has a bank named "bank". It is closed at the end of the test.
func newLibrary(t testing.TB, c storage.Catalogue) *library {
	l := openLibrary(t, c, read(t, c, t.TempDir()), matcher.Options{})
	t.Cleanup(func() { l.close(); must(t, c.Close()) })
	l.bank("bank", "block", nil)
	return l
}

// note flags something new with a note.
func (l *library) note(number uint64, note string) matcher.Flagged {
	l.t.Helper()
	return l.flag(matcher.Flagging{Signals: []hashing.Signal{signal(hashing.SHA256, number)}, Note: note})
}

func (l *library) search(who matcher.Principal, q matcher.TextQuery) (matcher.TextFound, error) {
	if q.Text.Limit == 0 {
		q.Text.Limit = text.MaxLimit
	}
	return l.SearchText(l.ctx, who, q)
}

// words finds entries by a text, as of now.
func (l *library) words(words string) []storage.EntryID {
	l.t.Helper()
	found, err := l.search(local, matcher.TextQuery{Text: text.Query{Text: words, Sort: text.Newest}, MinSeq: l.head()})
	must(l.t, err)
	return hits(found)
}

func (l *library) head() uint64 {
	l.t.Helper()
	h, err := l.catalogue.Head(l.ctx)
	must(l.t, err)
	return h.Seq
}

func hits(f matcher.TextFound) []storage.EntryID {
	ids := []storage.EntryID{}
	for _, h := range f.Hits {
		ids = append(ids, storage.EntryID(h.Entry))
	}
	return ids
}

// textWords are what is written of entries in these tests. All are of small letters without accents, so that to find
// them is to compare strings.
var textWords = strings.Fields("bridge river market garden poster letter school window")

// textsOf are the texts of an entry by the field that a query names.
func textsOf(e storage.Entry) map[string][]string {
	texts := map[string][]string{"note": {e.Note}, "label": e.Labels, "reason": {e.Reason}}
	for _, s := range e.Sources {
		texts["source"] = append(texts["source"], s.Origin, s.Actor, s.List, s.Foreign)
	}
	return texts
}

// holds reports whether a word stands in an entry, in a field or in any ("").
func holds(e storage.Entry, field, word string) bool {
	for f, values := range textsOf(e) {
		for _, v := range values {
			apart := strings.FieldsFunc(v, func(r rune) bool { return strings.ContainsRune(" -:/.", r) })
			if (field == "" || f == field) && slices.Contains(apart, word) {
				return true
			}
		}
	}
	return false
}

// textAnswer is what a search should find.
type textAnswer struct {
	Entries []storage.EntryID // newest first
	Facets  map[string]map[string]uint64
}

var textFacets = []string{"bank", "status", "label", "source", "month"}

// expected goes through all entries of the catalogue. What it takes is a plain filter.
func (l *library) expected(take func(storage.Entry) bool) textAnswer {
	l.t.Helper()
	a := textAnswer{Entries: []storage.EntryID{}, Facets: map[string]map[string]uint64{}}
	for _, f := range textFacets {
		a.Facets[f] = map[string]uint64{}
	}
	must(l.t, l.catalogue.View(l.ctx, func(r storage.Reader) error {
		all, err := r.Entries(storage.EntryQuery{Limit: 10_000})
		for _, e := range slices.Backward(all) {
			if !take(e) {
				continue
			}
			a.Entries = append(a.Entries, e.ID)
			a.Facets["bank"][fmt.Sprint(e.Bank)]++
			a.Facets["status"][string(e.Status)]++
			a.Facets["month"][e.CreatedAt.Format("2006-01")]++
			for _, label := range e.Labels {
				a.Facets["label"][label]++
			}
			hosts := map[string]bool{}
			for _, s := range textsOf(e)["source"] {
				if u, err := url.Parse(s); err == nil && u.Host != "" {
					hosts[u.Host] = true
				} else if s != "" {
					hosts["other"] = true
				}
			}
			for h := range hosts {
				a.Facets["source"][h]++
			}
		}
		return err
	}))
	return a
}

func answerOf(f matcher.TextFound) textAnswer {
	a := textAnswer{Entries: hits(f), Facets: map[string]map[string]uint64{}}
	for name, facet := range f.Facets {
		a.Facets[name] = map[string]uint64{}
		for _, v := range facet.Values {
			a.Facets[name][v.Value] = v.Count
		}
	}
	return a
}

// failer is a *testing.T or a *rapid.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// compare holds searches against the catalogue: every word, anywhere and in each field; every status; everything.
func (l *library) compare(t failer) {
	t.Helper()
	head := l.head()
	ask := func(q text.Query, take func(storage.Entry) bool) {
		t.Helper()
		q.Sort, q.Facets, q.Limit = text.Newest, textFacets, 700
		found, err := l.search(local, matcher.TextQuery{Text: q, MinSeq: head})
		got, want := answerOf(found), l.expected(take)
		for err == nil && found.Next != "" {
			q.Cursor = found.Next
			found, err = l.search(local, matcher.TextQuery{Text: q, MinSeq: head})
			got.Entries = append(got.Entries, hits(found)...)
		}
		if err != nil {
			t.Fatalf("search for %+v: %v", q, err)
		}
		if !slices.Equal(got.Entries, want.Entries) || found.Total != uint64(len(want.Entries)) || found.Seq < head {
			t.Fatalf("%+v as of %d found %d: %.300v, want as of %d: %.300v", q, found.Seq, found.Total, fmt.Sprint(got.Entries), head, fmt.Sprint(want.Entries))
		}
		for f, values := range want.Facets {
			if !maps.Equal(got.Facets[f], values) {
				t.Fatalf("%+v: facet %s: %v, want %v", q, f, got.Facets[f], values)
			}
		}
	}
	ask(text.Query{}, func(storage.Entry) bool { return true })
	for _, s := range storage.Statuses() {
		ask(text.Query{Status: string(s)}, func(e storage.Entry) bool { return e.Status == s })
	}
	for _, w := range textWords {
		ask(text.Query{Text: `"` + w + `"`}, func(e storage.Entry) bool { return holds(e, "", w) })
		for _, f := range []string{"note", "label", "source", "reason"} {
			ask(text.Query{Text: f + `:"` + w + `"`}, func(e storage.Entry) bool { return holds(e, f, w) })
		}
	}
	if s, ok := l.reading.State(); !ok || s.Documents != uint64(len(l.expected(func(storage.Entry) bool { return true }).Entries)) || s.Rebuilding {
		t.Fatalf("the index stands so: %+v", s)
	}
}

// quarantine takes an entry out as a rule of its bank would.
func (l *library) quarantine(id storage.EntryID) {
	l.t.Helper()
	must(l.t, l.catalogue.Update(l.ctx, func(w storage.Writer) error {
		e, err := w.Entry(id)
		if err != nil {
			return err
		}
		e.Status, e.Reason = storage.Quarantined, "poster matched too much"
		return errors.Join(w.UpdateEntry(e), w.Append(entryChange(storage.EntryQuarantined, e)))
	}))
}

func entryChange(kind storage.Kind, e storage.Entry) *storage.Change {
	body := storage.EntryBody{Status: e.Status, Labels: e.Labels}
	for _, s := range e.Signals {
		body.Signals = append(body.Signals, storage.BodyOf(s))
	}
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return &storage.Change{Kind: kind, Actor: "system", Bank: e.Bank, Entry: e.ID, Body: text}
}

// TestTextsMachine lives through random histories, restarts and crashes; whenever it is asked, the index answers what
// the catalogue holds.
func TestTextsMachine(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		c := catalogues["memory"](t)
		defer c.Close()
		dir := t.TempDir()
		l := openLibrary(t, c, read(t, c, dir), matcher.Options{})
		defer func() { l.close() }()
		other := matcher.Principal{Actor: "other", Role: storage.Analyst}
		p, err := l.CreateParty(l.ctx, local, matcher.PartyEdit{Name: ptr("other")})
		must(t, err)
		other.Party = p.ID
		for _, name := range []string{"a", "b"} {
			_, err := l.CreateBank(l.ctx, local, matcher.NewBank{BankEdit: matcher.BankEdit{Name: &name, Open: ptr(true), Dual: ptr(name == "b")}})
			must(t, err)
		}
		word := rapid.SampledFrom(textWords)
		entry := func(rt *rapid.T) storage.EntryID {
			n := len(l.expected(func(storage.Entry) bool { return true }).Entries)
			if n == 0 {
				rt.Skip("no entries")
			}
			return storage.EntryID(rapid.IntRange(1, n).Draw(rt, "entry"))
		}
		labels := func(rt *rapid.T) []string {
			return rapid.SliceOfN(rapid.Map(word, func(w string) string { return "tag:" + w }), 0, 2).Draw(rt, "labels")
		}
		text := func(rt *rapid.T) string { return strings.Join(rapid.SliceOfN(word, 0, 3).Draw(rt, "text"), " ") }
		// What the matcher refuses is no change, and must not be one here.
		either := func(error) {}
		rt.Repeat(map[string]func(*rapid.T){
			"": func(rt *rapid.T) {
				if rapid.IntRange(0, 7).Draw(rt, "compare") == 0 {
					l.compare(rt)
				}
			},
			"flag": func(rt *rapid.T) {
				_, err := l.Flag(l.ctx, matcher.Flagging{
					Bank: rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "bank"), Labels: labels(rt), Note: text(rt),
					Signals: []hashing.Signal{signal(hashing.SHA256, rapid.Uint64Range(1, 8).Draw(rt, "media"))},
					Origin:  rapid.SampledFrom([]string{"", "https://example.org/river", "case market"}).Draw(rt, "origin"),
				})
				either(err)
			},
			"edit": func(rt *rapid.T) {
				note, labels := text(rt), labels(rt)
				must(t, l.Edit(l.ctx, local, entry(rt), matcher.EntryEdit{Note: &note, Labels: &labels}))
			},
			"retract":    func(rt *rapid.T) { either(l.Retract(l.ctx, local, entry(rt), word.Draw(rt, "reason"))) },
			"restore":    func(rt *rapid.T) { either(l.Restore(l.ctx, local, entry(rt), word.Draw(rt, "reason"))) },
			"confirm":    func(rt *rapid.T) { either(l.Confirm(l.ctx, someone, entry(rt))) },
			"reject":     func(rt *rapid.T) { either(l.Reject(l.ctx, someone, entry(rt), word.Draw(rt, "reason"))) },
			"quarantine": func(rt *rapid.T) { l.quarantine(entry(rt)) },
			"overlay":    func(rt *rapid.T) { must(t, l.Overlay(l.ctx, other, entry(rt), true, labels(rt), text(rt))) },
			"opinion": func(rt *rapid.T) {
				must(t, l.Opine(l.ctx, other, entry(rt), storage.Disagree, word.Draw(rt, "reason")))
			},
			"delete bank": func(*rapid.T) {
				_, err := l.DeleteBank(l.ctx, local, "a")
				either(err)
			},
			"restore bank": func(*rapid.T) {
				_, err := l.RestoreBank(l.ctx, local, "a")
				either(err)
			},
			"restart": func(rt *rapid.T) {
				if rapid.IntRange(0, 3).Draw(rt, "restart") > 0 {
					rt.Skip("it waits for the disk each time")
				}
				if rapid.Bool().Draw(rt, "crash") {
					dir = copied(t, dir)
				}
				l.close()
				l = openLibrary(t, c, read(t, c, dir), matcher.Options{})
			},
		})
		l.compare(rt)
	})
}

// copied is a folder as a crash would leave it: a copy while somebody writes there.
func copied(t testing.TB, dir string) string {
	t.Helper()
	for {
		to := filepath.Join(t.TempDir(), "copy")
		err := os.CopyFS(to, os.DirFS(dir))
		if err == nil {
			return to
		}
		if !errors.Is(err, fs.ErrNotExist) { // merged away meanwhile
			t.Fatal(err)
		}
	}
}

// gate is a catalogue that lets readers through one at a time, while it is shut.
type gate struct {
	storage.Catalogue
	mu   sync.Mutex
	pass chan struct{} // nil: it is open
}

func (g *gate) shut() { g.mu.Lock(); g.pass = make(chan struct{}); g.mu.Unlock() }
func (g *gate) open() { g.mu.Lock(); close(g.pass); g.pass = nil; g.mu.Unlock() }

// let lets one reader through, which waits for that, or will.
func (g *gate) let() { g.pass <- struct{}{} }

func (g *gate) View(ctx context.Context, fn func(storage.Reader) error) error {
	g.mu.Lock()
	pass := g.pass
	g.mu.Unlock()
	if pass != nil {
		select {
		case <-pass:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return g.Catalogue.View(ctx, fn)
}

// many adds entries to bank 1 in one transaction.
func (l *library) many(n int) {
	l.t.Helper()
	must(l.t, l.catalogue.Update(l.ctx, func(w storage.Writer) error {
		for i := range n {
			e := storage.Entry{
				Bank: 1, Status: storage.Active, Note: textWords[i%len(textWords)] + " " + textWords[i%5],
				Signals: []hashing.Signal{signal(hashing.SHA256, uint64(1000+i))}, Sources: []storage.Source{{Actor: "local"}},
			}
			if err := w.CreateEntry(&e); err != nil {
				return err
			}
			if err := w.Append(entryChange(storage.EntryAdded, e)); err != nil {
				return err
			}
		}
		return nil
	}))
	must(l.t, l.Follower().Await(l.ctx, l.head()))
}

// eventually polls until something holds.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so after %v: %s", patience, what)
		}
	}
}

// While the index is filled for the first time it answers nothing, entries change, and it is copied as a crash would
// leave it. Both the copy and the original come to hold what the catalogue holds.
func TestTextsFirstFill(t *testing.T) {
	t.Parallel()
	c := catalogues["memory"](t)
	writer := openLibrary(t, c, read(t, c, t.TempDir()), matcher.Options{})
	t.Cleanup(func() { writer.close(); must(t, c.Close()) })
	writer.bank("bank", "block", nil)
	writer.many(1200)

	g := &gate{Catalogue: c}
	g.shut()
	dir := t.TempDir()
	l := openLibrary(t, c, read(t, g, dir), matcher.Options{Patience: 20 * time.Millisecond})
	t.Cleanup(l.close)
	unready := func(who matcher.Principal) {
		t.Helper()
		found, err := l.search(who, matcher.TextQuery{})
		if wantErr(t, err, matcher.ErrNotReady); found.Total > 0 || len(found.Hits) > 0 {
			t.Errorf("found %d of a part", found.Total)
		}
	}
	unready(local) // this makes it begin
	documents := func() uint64 { s, _ := l.reading.State(); return s.Documents }
	for page := range uint64(2) {
		g.let()
		eventually(t, "a page is in", func() bool { return documents() == (page+1)*500 })
		unready(local)
		if s, ok := l.reading.State(); !ok || !s.Rebuilding || s.Mark.Seq != 0 {
			t.Errorf("in the middle: %+v", s)
		}
		// One entry of each page, before and behind where the reader is.
		for _, id := range []storage.EntryID{storage.EntryID(3 + page), storage.EntryID(503 + page), storage.EntryID(1103 + page)} {
			must(t, writer.Edit(l.ctx, local, id, matcher.EntryEdit{Note: ptr("window")}))
		}
		must(t, writer.Retract(l.ctx, local, storage.EntryID(7+page), "garden"))
		writer.note(5000+page, "bridge market")
	}
	crashed := copied(t, dir)
	g.open()
	head := writer.head()
	eventually(t, "it is whole", func() bool { s, _ := l.reading.State(); return s.Mark.Seq >= head && !s.Rebuilding })
	l.compare(t)
	restored := openLibrary(t, c, read(t, c, crashed), matcher.Options{})
	t.Cleanup(restored.close)
	restored.compare(t)
}

// A crash between two batches leaves an index that is used: it goes to the batch before, and follows from there.
func TestTextsCrash(t *testing.T) {
	t.Parallel()
	c := catalogues["memory"](t)
	dir := t.TempDir()
	l := openLibrary(t, c, read(t, c, dir), matcher.Options{})
	t.Cleanup(func() { l.close(); must(t, c.Close()) })
	l.bank("bank", "block", nil)
	l.many(40)
	l.compare(t)
	for i := range uint64(3) {
		l.note(i, "river")
		l.compare(t)
		eventually(t, "it is on disk", func() bool { s, _ := l.reading.State(); return s.Saved == l.head() })
		at, crashed := l.head(), copied(t, dir)
		l.note(10+i, "garden")
		l.retract(storage.EntryID(i + 1))
		l.compare(t)

		again := openLibrary(t, c, read(t, c, crashed), matcher.Options{})
		again.compare(t)
		if s, _ := again.reading.State(); s.Emptied != "" || s.Mark.Seq < at {
			t.Errorf("%+v", s)
		}
		equal(t, len(again.reading.faults.list()), 0)
		again.close()
	}
}

// What is in the folder is of no use: it is emptied, says why, and comes to hold what the catalogue holds.
func TestTextsRebuilt(t *testing.T) {
	t.Parallel()
	one := func(id uint64) text.Document {
		return text.Document{Entry: id, Bank: 1, Note: "bridge", Status: "active"}
	}
	write := func(t *testing.T, dir, log string, seq uint64, docs ...text.Document) {
		t.Helper()
		x, err := text.Open(dir, text.Options{LogID: log, Head: seq})
		must(t, err)
		must(t, x.Apply(t.Context(), text.Mark{LogID: log, Seq: seq}, docs, nil))
		must(t, x.Close())
	}
	for _, test := range []struct {
		name   string
		harm   func(t *testing.T, l *library, dir string)
		damage bool   // of a good index
		says   string // State.Emptied
		told   string // a fault
	}{
		{
			"another log",
			func(t *testing.T, l *library, dir string) { write(t, dir, "other", 3, one(1), one(99)) }, false, "another log", "",
		},
		{
			"an earlier rule",
			func(t *testing.T, l *library, dir string) {
				h, err := l.catalogue.Head(l.ctx)
				must(t, err)
				write(t, dir, h.LogID+" texts 0", h.Seq, one(1), one(99))
			}, false, "another log", "",
		},
		{
			"another state of the log",
			func(t *testing.T, l *library, dir string) {
				h, err := l.catalogue.Head(l.ctx)
				must(t, err)
				write(t, dir, h.LogID+" texts 1", h.Seq-1, one(1), one(99))
			}, false, "another history", "another state of the log",
		},
		{
			"a longer log",
			func(t *testing.T, l *library, dir string) {
				h, err := l.catalogue.Head(l.ctx)
				must(t, err)
				write(t, dir, h.LogID+" texts 1", h.Seq+1, one(1), one(99))
			}, false, "another history", "",
		},
		{
			"a damaged file",
			func(t *testing.T, l *library, dir string) {
				for _, name := range must2(filepath.Glob(filepath.Join(dir, "bleve", "store", "*.zap"))) {
					data, err := os.ReadFile(name)
					must(t, err)
					data[len(data)/2] ^= 1
					must(t, os.WriteFile(name, data, 0o600))
				}
			}, true, "checksum", "",
		},
		{
			"a file that is gone",
			func(t *testing.T, l *library, dir string) {
				for _, name := range must2(filepath.Glob(filepath.Join(dir, "bleve", "store", "*.zap"))) {
					must(t, os.Remove(name))
				}
			}, true, "", "", // bleve goes back to what it had before there were files
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLibrary(t, catalogues["memory"](t))
			l.note(1, "river market")
			l.retract(l.note(2, "garden").Entry.ID)
			dir := t.TempDir()
			if test.damage {
				good := openLibrary(t, l.catalogue, read(t, l.catalogue, dir), matcher.Options{})
				good.compare(t)
				good.close()
			}
			test.harm(t, l, dir)
			again := openLibrary(t, l.catalogue, read(t, l.catalogue, dir), matcher.Options{})
			defer again.close()
			again.compare(t)
			if s, _ := again.reading.State(); !strings.Contains(s.Emptied, test.says) {
				t.Errorf("emptied because %q, want %q", s.Emptied, test.says)
			}
			if faults := again.reading.faults.list(); len(faults) > 1 || (len(faults) == 1) != (test.told != "") ||
				len(faults) == 1 && !strings.Contains(faults[0].Error(), test.told) {
				t.Errorf("told %v, want %q", faults, test.told)
			}
		})
	}
}

// An older backup of the catalogue is put back, and grows beyond what the index had seen.
func TestTextsAfterAnOlderBackup(t *testing.T) {
	t.Parallel()
	dir, texts := t.TempDir(), t.TempDir()
	file, backup := filepath.Join(dir, "catalogue.db"), filepath.Join(t.TempDir(), "catalogue.db")
	live := func(work func(l *library)) {
		c, err := sqlstore.OpenSQLite(t.Context(), file, storage.Options{})
		must(t, err)
		l := openLibrary(t, c, read(t, c, texts), matcher.Options{})
		work(l)
		l.compare(t)
		l.close()
		must(t, c.Close())
	}
	live(func(l *library) {
		l.bank("bank", "block", nil)
		l.note(1, "bridge")
	})
	data, err := os.ReadFile(file)
	must(t, err)
	must(t, os.WriteFile(backup, data, 0o600))
	live(func(l *library) {
		l.note(2, "river")
		must(t, l.Edit(l.ctx, local, 1, matcher.EntryEdit{Note: ptr("garden")}))
	})
	must(t, os.Rename(backup, file))
	live(func(l *library) {
		for i := range uint64(4) {
			l.note(3+i, "market")
		}
	})
}

// A file is cut off under an open index. Whoever searches is told to wait, and the index is made again.
func TestTextsDamagedWhileOpen(t *testing.T) {
	t.Parallel()
	c := catalogues["memory"](t)
	dir := t.TempDir()
	l := openLibrary(t, c, read(t, c, dir), matcher.Options{})
	t.Cleanup(func() { l.close(); must(t, c.Close()) })
	l.bank("bank", "block", nil)
	l.many(200)
	l.compare(t)
	eventually(t, "it is on disk", func() bool { s, _ := l.reading.State(); return s.Saved == l.head() })
	for _, name := range must2(filepath.Glob(filepath.Join(dir, "bleve", "store", "*.zap"))) {
		must(t, os.Truncate(name, 0))
	}
	var told int
	eventually(t, "it answers again", func() bool {
		found, err := l.search(local, matcher.TextQuery{Text: text.Query{Text: "bridge"}})
		if err != nil {
			told++
			wantErr(t, err, matcher.ErrNotReady)
			return false
		}
		return found.Total > 0
	})
	l.compare(t)
	faults := l.reading.faults.list()
	if told == 0 || len(faults) == 0 || !errors.Is(faults[0], text.ErrDamaged) {
		t.Errorf("refused %d times, faults %v", told, faults)
	}
	// Whether Open empties the folder, and says so, is bleve's luck: it goes back to what it had before there were files, if
	// it still has that on record.
	if s, _ := l.reading.State(); s.Emptied != "" && !strings.Contains(s.Emptied, "damaged") {
		t.Errorf("emptied because %q", s.Emptied)
	}
}

// While the catalogue is down, what there is answers; what it does not have yet is asked for in vain. Afterwards it is
// read on.
func TestTextsFaults(t *testing.T) {
	t.Parallel()
	c := catalogues["memory"](t)
	down := &faulty{Catalogue: c}
	l := openLibrary(t, c, read(t, down, t.TempDir()), matcher.Options{Patience: 50 * time.Millisecond})
	t.Cleanup(func() { l.close(); must(t, c.Close()) })
	l.bank("bank", "block", nil)
	old := l.note(1, "bridge")
	l.reading.Want()
	eventually(t, "the first is in", func() bool { s, _ := l.reading.State(); return s.Mark.Seq == old.Seq })
	down.down.Store(true)
	missed := l.note(2, "bridge")
	found, err := l.search(local, matcher.TextQuery{Text: text.Query{Text: "bridge"}})
	must(t, err)
	equal(t, hits(found), ids(old))
	equal(t, found.Seq, old.Seq)
	_, err = l.search(local, matcher.TextQuery{MinSeq: missed.Seq})
	wantErr(t, err, matcher.ErrIndexBehind)
	_, err = l.search(local, matcher.TextQuery{MinSeq: missed.Seq + 1})
	wantErr(t, err, matcher.ErrBeyondHead)
	eventually(t, "it is tried again", func() bool { return len(l.reading.faults.list()) > 2 })
	for _, fault := range l.reading.faults.list() {
		wantErr(t, fault, errDown)
	}
	down.down.Store(false)
	eventually(t, "it is read on", func() bool { s, _ := l.reading.State(); return s.Mark.Seq == missed.Seq })
	l.compare(t)
}

// A log that contradicts itself is told, and not followed; what there is answers.
func TestTextsOfACorruptLog(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func([]storage.Change) []storage.Change{
		"a gap":          func(c []storage.Change) []storage.Change { return c[1:] },
		"no end":         func(c []storage.Change) []storage.Change { return nil },
		"a change twice": func(c []storage.Change) []storage.Change { return append(c[:1:1], c...) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := catalogues["memory"](t)
			bad := &badLog{Catalogue: c, harm: harm}
			l := openLibrary(t, c, read(t, bad, t.TempDir()), matcher.Options{})
			t.Cleanup(func() { l.close(); must(t, c.Close()) })
			l.bank("bank", "block", nil)
			old := l.note(1, "bridge")
			equal(t, l.words("bridge"), ids(old))
			bad.bad.Store(true)
			l.note(2, "river")
			l.note(3, "river")
			eventually(t, "it is told", func() bool { return len(l.reading.faults.list()) > 1 })
			for _, fault := range l.reading.faults.list() {
				wantErr(t, fault, storage.ErrCorrupt)
			}
			found, err := l.search(local, matcher.TextQuery{Text: text.Query{Text: "bridge"}})
			must(t, err)
			equal(t, hits(found), ids(old))
			bad.bad.Store(false)
			eventually(t, "it is read on", func() bool { s, _ := l.reading.State(); return s.Mark.Seq == l.head() })
			l.compare(t)
		})
	}
}

// A search that asks for a change waits for it, and is answered as of it or a later one.
func TestTextsWait(t *testing.T) {
	t.Parallel()
	c := catalogues["memory"](t)
	g := &gate{Catalogue: c}
	l := openLibrary(t, c, read(t, g, t.TempDir()), matcher.Options{})
	t.Cleanup(func() { l.close(); must(t, c.Close()) })
	l.bank("bank", "block", nil)
	l.compare(t)
	g.shut()
	a := l.note(1, "bridge")
	answered := make(chan matcher.TextFound)
	go func() {
		found, err := l.search(local, matcher.TextQuery{Text: text.Query{Text: "bridge"}, MinSeq: a.Seq})
		if err != nil {
			t.Error(err)
		}
		answered <- found
	}()
	select {
	case found := <-answered:
		t.Errorf("answered as of %d", found.Seq)
	case <-time.After(20 * time.Millisecond):
	}
	ctx, cancel := context.WithCancel(l.ctx)
	cancel()
	_, err := l.SearchText(ctx, local, matcher.TextQuery{Text: text.Query{Limit: 1}, MinSeq: a.Seq})
	wantErr(t, err, context.Canceled)
	g.open()
	if found := <-answered; found.Seq != a.Seq || found.Total != 1 {
		t.Errorf("%d found as of %d, want 1 as of %d", found.Total, found.Seq, a.Seq)
	}
}

// A search that takes longer than it may is ended, and the next is answered.
func TestTextsTakeTooLong(t *testing.T) {
	t.Parallel()
	c := catalogues["memory"](t)
	r := read(t, c, t.TempDir())
	r.LimitSearches(time.Nanosecond)
	l := openLibrary(t, c, r, matcher.Options{})
	t.Cleanup(func() { l.close(); must(t, c.Close()) })
	l.bank("bank", "block", nil)
	l.note(1, "bridge")
	for _, q := range []text.Query{{}, {Text: "bridge"}, {Sort: text.Newest, Facets: textFacets}} {
		found, err := l.search(local, matcher.TextQuery{Text: q, MinSeq: l.head()})
		if wantErr(t, err, context.DeadlineExceeded); found.Total > 0 || len(found.Hits) > 0 || l.ctx.Err() != nil {
			t.Errorf("found %d of a part", found.Total)
		}
	}
	r.LimitSearches(patience)
	equal(t, len(l.words("bridge")), 1)
}

// clocked notes when a catalogue is read.
type clocked struct {
	storage.Catalogue
	views told[time.Time]
}

func (c *clocked) View(ctx context.Context, fn func(storage.Reader) error) error {
	c.views.add(time.Now())
	return c.Catalogue.View(ctx, fn)
}

// Changes that come in a stream are gathered, and all of them are found; also those of entries that do not follow each
// other.
func TestTextsOfAStream(t *testing.T) {
	t.Parallel()
	c := catalogues["memory"](t)
	watched := &clocked{Catalogue: c}
	l := openLibrary(t, c, read(t, watched, t.TempDir()), matcher.Options{})
	t.Cleanup(func() { l.close(); must(t, c.Close()) })
	l.bank("bank", "block", nil)
	equal(t, l.words("bridge"), []storage.EntryID{})
	l.many(100)
	eventually(t, "the stream began", func() bool { s, _ := l.reading.State(); return s.Mark.Seq == l.head() })
	begun := len(watched.views.list())
	for _, id := range []storage.EntryID{2, 3, 5, 8, 9, 100} {
		must(t, l.Edit(l.ctx, local, id, matcher.EntryEdit{Note: ptr("a note of now")}))
	}
	equal(t, l.words(`"note of now"`), []storage.EntryID{100, 9, 8, 5, 3, 2})
	views := watched.views.list()
	if rest := views[begun].Sub(views[begun-1]); rest < 250*time.Millisecond {
		t.Errorf("what came after a stream was read %v after it", rest)
	}
	l.compare(t)
}

// sized notes how many entries are asked for at once.
type sized struct {
	storage.Catalogue
	runs told[int]
}

type sizedReader struct {
	storage.Reader
	of *sized
}

func (s *sized) View(ctx context.Context, fn func(storage.Reader) error) error {
	return s.Catalogue.View(ctx, func(r storage.Reader) error { return fn(sizedReader{r, s}) })
}

func (r sizedReader) Entries(q storage.EntryQuery) ([]storage.Entry, error) {
	r.of.runs.add(q.Limit)
	return r.Reader.Entries(q)
}

// Entries are read in short runs, as each may have the signals of a long video: at first, also where their number is one of
// whole runs, and when many come at once.
func TestTextsInRuns(t *testing.T) {
	t.Parallel()
	c := catalogues["memory"](t)
	watched := &sized{Catalogue: c}
	l := openLibrary(t, c, read(t, watched, t.TempDir()), matcher.Options{})
	t.Cleanup(func() { l.close(); must(t, c.Close()) })
	l.bank("bank", "block", nil)
	l.many(600)
	l.compare(t)
	begun := len(watched.runs.list())
	l.many(120)
	l.compare(t)
	runs := watched.runs.list()
	if begun < 12 || len(runs) < begun+3 || slices.Max(runs) > 50 {
		t.Errorf("read in runs of %v; at first %d, want all of at most 50", runs, begun)
	}
}

// Hits are of the index, and their entries of now.
func TestTextsEntriesAreOfNow(t *testing.T) {
	t.Parallel()
	c := catalogues["memory"](t)
	g := &gate{Catalogue: c}
	l := openLibrary(t, c, read(t, g, t.TempDir()), matcher.Options{})
	t.Cleanup(func() { l.close(); must(t, c.Close()) })
	l.bank("bank", "block", nil)
	a := l.note(1, "bridge").Entry.ID
	l.compare(t)
	g.shut()
	must(t, l.Edit(l.ctx, local, a, matcher.EntryEdit{Note: ptr("river")}))
	l.retract(a)
	found, err := l.search(local, matcher.TextQuery{Text: text.Query{Text: "bridge", Status: "active"}})
	must(t, err)
	if len(found.Entries) != 1 || found.Entries[0].Note != "river" || found.Entries[0].Status != storage.Retracted {
		t.Errorf("found %+v", found.Entries)
	}
	g.open()
	l.compare(t)
}

// Of an empty catalogue there is nothing to find, and then something.
func TestTextsOfNothing(t *testing.T) {
	t.Parallel()
	c := catalogues["memory"](t)
	l := openLibrary(t, c, read(t, c, t.TempDir()), matcher.Options{})
	t.Cleanup(func() { l.close(); must(t, c.Close()) })
	equal(t, l.words("bridge"), []storage.EntryID{})
	l.compare(t)
	l.bank("bank", "block", nil)
	a := l.note(1, "bridge")
	equal(t, l.words("bridge"), ids(a))
}

// A node without a text index, or whose index does not run, says so.
func TestTextsAreNotThere(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	_, err := n.SearchText(n.ctx, local, matcher.TextQuery{})
	wantErr(t, err, matcher.ErrNotReady)
	still := openLibrary(t, n.catalogue, &reading{Texts: matcher.NewTexts(n.catalogue, t.TempDir(), nil), stop: func() {}},
		matcher.Options{Patience: time.Millisecond})
	defer still.close()
	_, err = still.search(local, matcher.TextQuery{})
	wantErr(t, err, matcher.ErrNotReady)
	if s, ok := still.reading.State(); ok {
		t.Errorf("it stands so: %+v", s)
	}
}

// TestTextsRights lets parties search banks of each other. Whatever they ask, no part of the answer is of an entry in a
// bank that they may not read: it is what it would be if there were no such bank.
func TestTextsRights(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	one := func(from []string) string { return from[rng.IntN(len(from))] }
	l := newLibrary(t, catalogues["memory"](t)) // its bank is the operator's
	parties := []string{"operator", "north", "south", "east"}
	as := map[string]matcher.Principal{"operator": {Actor: "operator", Party: storage.Operator, Role: storage.Analyst}}
	for _, name := range parties[1:] {
		p, err := l.CreateParty(l.ctx, local, matcher.PartyEdit{Name: &name})
		must(t, err)
		as[name] = matcher.Principal{Actor: name, Party: p.ID, Role: storage.Analyst}
	}
	readers := map[string][]string{"bank": {"operator"}} // of each bank
	owners := map[string]string{"bank": "operator"}
	number := map[storage.BankID]string{1: "bank"}
	for i := range 7 {
		name, owner := fmt.Sprint("bank", i), parties[i%4]
		edit := matcher.BankEdit{Name: &name, Open: ptr(i == 5), Members: &[]string{}}
		readers[name], owners[name] = []string{owner}, owner
		for _, p := range parties {
			if p != owner && rng.IntN(4) == 0 {
				*edit.Members = append(*edit.Members, p)
			}
		}
		if readers[name] = append(readers[name], *edit.Members...); *edit.Open {
			readers[name] = parties
		}
		b, err := l.CreateBank(l.ctx, as[owner], matcher.NewBank{BankEdit: edit})
		must(t, err)
		number[b.ID] = name
	}
	banks := slices.Sorted(maps.Keys(owners))
	for i := range uint64(60) {
		bank := one(banks)
		l.flag(matcher.Flagging{
			Bank: bank, Who: as[owners[bank]], Signals: []hashing.Signal{signal(hashing.SHA256, i)}, DespiteKnownGood: true,
			Note: one(textWords) + " secret-of-" + bank, Labels: []string{"tag:" + one(textWords)}, Origin: "https://" + bank + ".example/" + one(textWords),
		})
	}
	_, err := l.DeleteBank(l.ctx, as[owners["bank3"]], "bank3")
	must(t, err)

	search := func(who matcher.Principal, mayRead func(bank string) bool) {
		t.Helper()
		word, bank := one(textWords), ""
		q := matcher.TextQuery{
			MinSeq: l.head(), Text: text.Query{Sort: text.Newest, Facets: textFacets, Highlight: true},
		}
		take := func(e storage.Entry) bool { return mayRead(number[e.Bank]) && (bank == "" || number[e.Bank] == bank) }
		also := func(is func(storage.Entry) bool) {
			before := take
			take = func(e storage.Entry) bool { return before(e) && is(e) }
		}
		switch rng.IntN(6) {
		case 0:
		case 1:
			q.Text.Text = word
			also(func(e storage.Entry) bool { return holds(e, "", word) })
		case 2:
			q.Text.Text = "-" + word
			also(func(e storage.Entry) bool { return !holds(e, "", word) })
		case 3:
			q.Text.Text = "secret*"
		case 4:
			other := one(banks)
			q.Text.Text = `"secret of ` + other + `"`
			also(func(e storage.Entry) bool { return number[e.Bank] == other })
		case 5:
			q.Text.Label = "tag:" + word
			also(func(e storage.Entry) bool { return slices.Contains(e.Labels, q.Text.Label) })
		}
		if rng.IntN(3) == 0 {
			bank = one(banks)
			q.Bank = bank
			found, err := l.search(who, q)
			if bank == "bank3" || !mayRead(bank) {
				if wantErr(t, err, matcher.ErrUnknownBank); found.Total > 0 || found.Facets != nil {
					t.Errorf("a bank that may not be read answers %+v", found)
				}
				return
			}
		}
		if rng.IntN(4) == 0 {
			q.Text.Banks = []uint32{1 + rng.Uint32N(8)} // which is not for callers to say
		}
		found, err := l.search(who, q)
		must(t, err)
		got, want := answerOf(found), l.expected(take)
		for f, values := range got.Facets {
			if !maps.Equal(values, want.Facets[f]) {
				t.Errorf("%s asks %+v: facet %s: %v, want %v", who.Actor, q, f, values, want.Facets[f])
			}
		}
		if !slices.Equal(got.Entries, want.Entries) || found.Total != uint64(len(want.Entries)) {
			t.Errorf("%s asks %+v: %d: %v, want %v", who.Actor, q, found.Total, got.Entries, want.Entries)
		}
		for i, h := range found.Hits {
			if e := found.Entries[i]; uint64(e.ID) != h.Entry || !mayRead(number[e.Bank]) {
				t.Errorf("%s is shown entry %d for hit %d", who.Actor, e.ID, h.Entry)
			}
			for field, fragments := range h.Fragments {
				for _, f := range fragments {
					if !slices.ContainsFunc(textsOf(found.Entries[i])[field], func(s string) bool { return strings.Contains(s, f.Text) }) {
						t.Errorf("%s is shown %q, which is not of entry %d", who.Actor, f.Text, h.Entry)
					}
				}
			}
		}
	}
	ask := func() {
		for range 150 {
			party := one(parties)
			search(as[party], func(bank string) bool { return slices.Contains(readers[bank], party) })
		}
		for i := range 30 {
			overseer := []matcher.Principal{local, {Actor: "auditor", Party: storage.Operator, Role: storage.Auditor}}[i%2]
			search(overseer, func(string) bool { return true })
		}
		search(matcher.Principal{Actor: "north's admin", Party: as["north"].Party, Role: storage.Admin},
			func(bank string) bool { return slices.Contains(readers[bank], "north") })
	}
	ask()
	// Members come and go: whoever has seen the change that took them out sees no more of the bank.
	for _, name := range banks {
		if rng.IntN(2) == 0 && name != "bank3" && name != "bank5" {
			owner, member := owners[name], one(parties)
			_, err := l.ChangeBank(l.ctx, as[owner], name, matcher.BankEdit{Members: &[]string{member}})
			must(t, err)
			readers[name] = []string{owner, member}
		}
	}
	ask()
}
