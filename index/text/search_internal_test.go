package text

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	index "github.com/blevesearch/bleve_index_api"
)

// opened opens an index of documents, each a batch.
func opened(t *testing.T, docs ...Document) *Index {
	t.Helper()
	x, err := Open(t.TempDir(), Options{LogID: "log-1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	for i := range docs {
		docs[i].Entry = uint64(i) + 1
		if err := x.Apply(t.Context(), Mark{LogID: "log-1", Seq: uint64(i) + 1}, docs[i:i+1], nil); err != nil {
			t.Fatal(err)
		}
	}
	return x
}

// standing is a word that stands at some places of every document.
type standing struct {
	index.TermFieldReader
	vectors []*index.TermFieldVector
}

func (s standing) Advance(_ index.IndexInternalID, into *index.TermFieldDoc) (*index.TermFieldDoc, error) {
	into.Vectors = s.vectors
	return into, nil
}

// TestPhraseCount: however bleve orders the places of words, a phrase is counted as often as it stands in the values.
func TestPhraseCount(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		row := make([]string, 2+rnd.IntN(3))
		for i := range row {
			row[i] = string('a' + rune(rnd.IntN(2)))
		}
		want := 0
		places := map[string][]*index.TermFieldVector{}
		for value := range uint64(1 + rnd.IntN(3)) {
			words := make([]string, rnd.IntN(20))
			for i := range words {
				words[i] = string('a' + rune(rnd.IntN(2)))
				places[words[i]] = append(places[words[i]], &index.TermFieldVector{ArrayPositions: []uint64{value}, Pos: uint64(i) + 1})
			}
			for i := range words {
				if i+len(row) <= len(words) && slices.Equal(words[i:i+len(row)], row) {
					want++
				}
			}
		}
		p := &phrase{ctx: t.Context()}
		for _, w := range slices.Compact(slices.Sorted(slices.Values(row))) {
			word := phraseWord{TermFieldReader: standing{vectors: places[w]}}
			for i := range row {
				if row[i] == w {
					word.offsets = append(word.offsets, i)
				}
			}
			rnd.Shuffle(len(places[w]), func(i, j int) { places[w][i], places[w][j] = places[w][j], places[w][i] })
			p.words = append(p.words, word)
		}
		if got, err := p.count(nil); err != nil || got != want {
			t.Fatalf("%v stands %d times, %v; want %d", row, got, err, want)
		}
	}
}

// counting is an index that counts the readers of words that are open, and fails to open one more than it may.
type counting struct {
	index.IndexReader
	left, open int
}

type counted struct {
	index.TermFieldReader
	of *counting
}

func (c *counting) TermFieldReader(ctx context.Context, word []byte, field string, freq, norm, vectors bool) (index.TermFieldReader, error) {
	if c.left--; c.left < 0 {
		return nil, errors.New("no more")
	}
	r, err := c.IndexReader.TermFieldReader(ctx, word, field, freq, norm, vectors)
	c.open++
	return &counted{r, c}, err
}

func (c *counted) Close() error {
	c.of.open--
	return c.TermFieldReader.Close()
}

// TestReadersAreClosed: whichever reader of a query is the first that cannot be opened, those before it are closed.
func TestReadersAreClosed(t *testing.T) {
	x := opened(t, Document{Bank: 1, Note: "les drapeaux noirs", Sources: []string{"https://www.example.org/b-17"}})
	r, err := x.reader()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	q := Query{Banks: []uint32{1, 2}, Status: "active"}
	for _, sort := range []Sort{ByScore, Newest} {
		for _, text := range []string{
			`drapeau -"en vente" -b-17 les`, `"les drapeaux noirs" www.example.org`, `drap* drapeaux~`, `source:example.org -noir`,
		} {
			for left, whole := 0, false; !whole; left++ {
				clauses, err := parse(text)
				if err != nil {
					t.Fatal(err)
				}
				c := &counting{IndexReader: r, left: left}
				s, err := (&plan{ctx: t.Context(), reader: c, dict: r, scored: sort == ByScore}).query(q, clauses)
				if whole = err == nil; whole {
					err = s.Close()
				}
				if c.open != 0 || whole && (err != nil || left < 4) {
					t.Errorf("%s: of %d readers, %d are open: %v", text, left, c.open, err)
				}
			}
		}
	}
}

// TestCountsWhatIsAsked: nothing is kept of facets that nobody asked for, and counting ends with the context.
func TestCountsWhatIsAsked(t *testing.T) {
	d := Document{Bank: 7, Status: "active", Sources: []string{"https://example.org/"}}
	for i := range 50 {
		d.Labels = append(d.Labels, fmt.Sprint("label ", i))
	}
	x := opened(t, d, d)
	r, made, err := x.table.begin(x.reader)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	parts, err := partsOf(t.Context(), r, made)
	if err != nil {
		t.Fatal(err)
	}
	q := Query{Limit: 1, Facets: []string{"bank", "status"}}
	p, err := q.page()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.scan(t.Context(), parts, nil); err != nil {
		t.Fatal(err)
	}
	if len(p.counts) != 2 || p.counts[bankKey(7)] != 2 || p.counts[key(keyStatus, "active")] != 2 {
		t.Errorf("counted %v", p.counts)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.add(ctx, parts[0], p.counter(parts[0])); !errors.Is(err, context.Canceled) {
		t.Errorf("counting beyond its time: %v", err)
	}
}

// unreadable is an index of which something does not read.
type unreadable struct {
	index.IndexReader
	values, visit, name error
}

func (u unreadable) DocValueReader(fields []string) (index.DocValueReader, error) {
	r, err := u.IndexReader.DocValueReader(fields)
	return unreadableValues{r, u.visit}, errors.Join(err, u.values)
}

func (u unreadable) ExternalID(id index.IndexInternalID) (string, error) {
	name, err := u.IndexReader.ExternalID(id)
	return name, errors.Join(err, u.name)
}

type unreadableValues struct {
	index.DocValueReader
	err error
}

func (u unreadableValues) VisitDocValues(id index.IndexInternalID, visit index.DocValueVisitor) error {
	return errors.Join(u.DocValueReader.VisitDocValues(id, visit), u.err)
}

// TestUnreadableIsDamaged: what bleve cannot read of a document is told as damage, for which the index is made again.
func TestUnreadableIsDamaged(t *testing.T) {
	x := opened(t, Document{Bank: 1})
	r, err := x.reader()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if c, err := readColumns(unreadable{IndexReader: r}, 0, 1, nil); err != nil || c.entries[0] != 1 {
		t.Fatal(c, err)
	}
	bad := errors.New("failed to read the chunk")
	for i, u := range []unreadable{{values: bad}, {visit: bad}, {name: bad}} {
		u.IndexReader = r
		if _, err := readColumns(u, 0, 1, nil); !errors.Is(err, ErrDamaged) || !errors.Is(err, bad) {
			t.Errorf("%d: %v; want ErrDamaged", i, err)
		}
	}
	quit := make(chan struct{})
	close(quit)
	if _, err := readColumns(r, 0, 1, quit); !errors.Is(err, ErrClosed) || errors.Is(err, ErrDamaged) {
		t.Errorf("while it is closed: %v; want ErrClosed", err)
	}
}

// TestOlderSnapshot: a search that took its snapshot before changes, and comes to use it after another took one with them,
// does not let the columns of the new segments be forgotten.
func TestOlderSnapshot(t *testing.T) {
	x := opened(t, Document{Bank: 1})
	taken, proceed, older, newer := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
	begin := func(take func() (index.IndexReader, error), done chan struct{}) {
		defer close(done)
		r, _, err := x.table.begin(take)
		if err != nil {
			t.Error(err)
			return
		}
		_ = r.Close()
	}
	go begin(func() (index.IndexReader, error) {
		defer func() { <-proceed }()
		defer close(taken)
		return x.reader()
	}, older)
	<-taken
	if err := x.Apply(t.Context(), Mark{LogID: "log-1", Seq: 2}, []Document{{Entry: 2, Bank: 1}}, nil); err != nil {
		t.Fatal(err)
	}
	go begin(x.reader, newer)
	select {
	case <-newer: // it did not wait for the older one
	case <-time.After(20 * time.Millisecond):
	}
	close(proceed)
	<-older
	<-newer
	entries := 0
	x.table.mu.Lock()
	defer x.table.mu.Unlock()
	for _, m := range x.table.made {
		<-m.done
		entries += len(m.columns.entries)
	}
	if entries != 2 {
		t.Errorf("columns of %d entries are kept; want 2", entries)
	}
}
