package text

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/document"
	"github.com/blevesearch/bleve/v2/index/scorch"
	index "github.com/blevesearch/bleve_index_api"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestMapping holds what is indexed of entries against a file: the fields, what is kept of them, and the words that the
// analyzers make, bleve's included. If it fails, raise MappingVersion, and run it with -update.
func TestMapping(t *testing.T) {
	docs := []Document{
		{
			Entry: 1, Bank: 7, Status: "active", Reason: "duplicate of 12",
			Note:      "L’affiche des drapeaux noirs, traduite par l'atelier; œuvre à vérifier",
			Labels:    []string{"behaviour:recruitment", "TLP:Amber"},
			Sources:   []string{"https://www.Example.org:8080/a/b-17?q=é", "case 2026-00017"},
			CreatedAt: time.Date(2026, 3, 14, 23, 59, 59, 123456789, time.FixedZone("", 3600)),
		},
		{Entry: 2, Note: "The crowd's running banners and translations at the market"},
		{Entry: 3, Note: "poster 2026"},
		{Entry: 4, Note: "الكِتَابُ والمدرسةُ الكبيـــرة ١٢٣ آخر مؤسسة"},
		{Entry: 5, Note: "کتاب\u200cهای بزرگ می\u200cرود ۱۲۳ ﻻ"},
		{Entry: 6, Note: "Ελλάς Straße ŁÓDŹ İstanbul ﬁn ½ ①"},
	}
	var b strings.Builder
	fmt.Fprintf(&b, "mapping version %d\n", MappingVersion)
	for _, d := range docs {
		fmt.Fprintf(&b, "\nentry %d: %s\n", d.Entry, d.Note)
		d.bleve().VisitFields(func(f index.Field) {
			fmt.Fprintf(&b, "%-9s %-40s", f.Name(), f.Options())
			if f.Options().IsStored() && !f.Options().IsIndexed() {
				fmt.Fprintf(&b, " %s\n", f.Value())
				return
			}
			for _, w := range f.(*document.TextField).Analyzer().Analyze(f.Value()) {
				fmt.Fprintf(&b, " %s/%d", w.Term, w.Position)
			}
			b.WriteByte('\n')
		})
	}
	const golden = "testdata/mapping.golden"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("what is indexed has changed: raise MappingVersion, and run go test -run TestMapping -update\n%s", b.String())
	}
}

// TestOtherVersion: an index of another mapping version is emptied, and said to be.
func TestOtherVersion(t *testing.T) {
	dir := t.TempDir()
	o := Options{LogID: "log-1", Head: 1}
	x, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Apply(t.Context(), Mark{LogID: "log-1", Seq: 1}, []Document{{Entry: 1, Note: "drapeau"}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := bleve.OpenUsing(filepath.Join(dir, folder), map[string]any{"unsafe_batch": false})
	if err != nil {
		t.Fatal(err)
	}
	older := fmt.Sprintf(`{"log":"log-1","seq":1,"mapping":%d}`, MappingVersion-1)
	if err := b.SetInternal(markKey, []byte(older)); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	x, err = Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	s, err := x.State()
	if err != nil {
		t.Fatal(err)
	}
	if s.Documents != 0 || s.Mark != (Mark{LogID: "log-1"}) || !s.Rebuilding || !strings.Contains(s.Emptied, "version 0") {
		t.Errorf("an index of another mapping version was opened as %+v", s)
	}
}

// TestFaults: what bleve's goroutines complain of shows, and where one has ended, changes are refused rather than
// waiting for ever.
func TestFaults(t *testing.T) {
	dir := t.TempDir()
	x, err := Open(dir, Options{LogID: "log-1"})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	complain := func(kind scorch.ScorchErrorType) {
		scorch.RegistryAsyncErrorCallbacks[callback](scorch.NewScorchError("persister", "no space left", kind), filepath.Join(x.dir, "store"))
	}
	fault := func() string {
		s, err := x.State()
		if err != nil {
			t.Fatal(err)
		}
		return s.Fault
	}
	complain(scorch.ErrPersist)
	if !strings.Contains(fault(), "no space left") {
		t.Errorf("a full disk shows as %q", fault())
	}
	apply := func(seq uint64) error {
		return x.Apply(t.Context(), Mark{LogID: "log-1", Seq: seq}, []Document{{Entry: seq, Note: "drapeau"}}, nil)
	}
	if err := apply(1); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); fault() != ""; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("a batch was saved, and the fault is still %q", fault())
		}
	}
	complain(scorch.ErrAsyncPanic)
	if err := apply(2); !errors.Is(err, ErrDamaged) {
		t.Errorf("a change after the persister's end: %v; want ErrDamaged", err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(dir, Options{LogID: "log-1", Head: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if s, err := again.State(); err != nil || s.Documents != 0 || s.Mark.Seq != 0 || !strings.Contains(s.Emptied, "damaged") {
		t.Errorf("after the persister's end it was opened as %+v, %v; want it empty", s, err)
	}
}

// TestPrepared: what a search reads of segments is made when they come to be, by a merge too, and forgotten with them.
func TestPrepared(t *testing.T) {
	dir := t.TempDir()
	x, err := Open(dir, Options{LogID: "log-1"})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	const batches = 30
	for seq := uint64(1); seq <= batches; seq++ {
		if err := x.Apply(t.Context(), Mark{LogID: "log-1", Seq: seq}, []Document{{Entry: seq, Note: "drapeau"}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	// All but what came after the last merge are there, without a search.
	prepared := func() bool {
		r, err := x.reader()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		x.table.mu.Lock()
		defer x.table.mu.Unlock()
		merged := false
		for _, s := range r.(*scorch.IndexSnapshot).Segments() {
			if s.FullSize() > 1 {
				m := x.table.made[s.Id()]
				if m == nil {
					return false
				}
				merged = true
			}
		}
		return merged
	}
	for deadline := time.Now().Add(10 * time.Second); !prepared(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("segments that were merged are not prepared")
		}
	}
	found, err := x.Search(t.Context(), Query{Sort: Newest, Limit: batches, Facets: Facets()})
	if err != nil || found.Total != batches || found.Facets["bank"].Values[0].Count != batches {
		t.Fatalf("found %+v, %v", found, err)
	}
	r, made, err := x.table.begin(x.reader)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if len(x.table.made) != len(made) {
		t.Fatalf("%d of segments are kept for %d", len(x.table.made), len(made))
	}
}
