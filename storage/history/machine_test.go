package history

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vigie/storage"
	"vigie/storage/journal"
)

// TestMachine holds random histories against what is promised: appends, files that cannot be written or are though it was said that they are
// not, restarts, erasure. At any time what was acknowledged and not erased is in the window or in a file, as it was, and nothing
// else is.
func TestMachine(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		m := &machine{T: r, place: place{dir: t.TempDir()}, want: map[journal.ID]Record{}}
		m.store = &faulty{Store: &memory{}}
		m.reopen(r)
		r.Repeat(map[string]func(*rapid.T){
			"append": m.append,
			"fail":   func(r *rapid.T) { m.store.fails.Store(rapid.Int32Range(1, 2).Draw(r, "how")) },
			"seal":   func(r *rapid.T) { seal(r, m.h) },
			"erase":  m.erase,
			"erase a party": func(r *rapid.T) {
				party := storage.PartyID(rapid.IntRange(1, 3).Draw(r, "party"))
				m.untilDone(r, func() error { return m.h.EraseParty(context.Background(), party) })
				maps.DeleteFunc(m.want, func(_ journal.ID, u Record) bool { return u.Party == party })
			},
			"reopen": m.reopen,
			"":       m.check,
		})
		seal(r, m.h)
		same(r, "files in the end", inFiles(r, m.h, everything), m.want)
		m.stop()
	})
}

type machine struct {
	*rapid.T
	place
	store *faulty
	h     *History
	stop  func()
	n     int
	want  map[journal.ID]Record
}

// faulty is a store that says once that it could not write, having written or not.
type faulty struct {
	Store
	fails atomic.Int32 // 1: not written; 2: written
}

func (f *faulty) Put(ctx context.Context, name string, data []byte) error {
	fails := f.fails.Swap(0)
	if fails != 1 {
		if err := f.Store.Put(ctx, name, data); err != nil {
			return err
		}
	}
	if fails != 0 {
		return errors.New("meant")
	}
	return nil
}

// memory is a store that forgets.
type memory struct{ files sync.Map }

type memoryObject struct{ *bytes.Reader }

func (memoryObject) Close() error { return nil }

func (m *memory) Put(_ context.Context, name string, data []byte) error {
	m.files.Store(name, bytes.Clone(data))
	return nil
}

func (m *memory) Open(_ context.Context, name string) (Object, error) {
	data, ok := m.files.Load(name)
	if !ok {
		return nil, storage.ErrNotFound
	}
	return memoryObject{bytes.NewReader(data.([]byte))}, nil
}

func (m *memory) List(_ context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for name := range m.files.Range {
			if strings.HasPrefix(name.(string), prefix) && !yield(name.(string), nil) {
				return
			}
		}
	}
}

func (m *memory) Delete(_ context.Context, name string) error {
	m.files.Delete(name)
	return nil
}

func (m *machine) reopen(r *rapid.T) {
	if m.stop != nil {
		m.stop()
	}
	// The smallest window: what is sealed leaves it when it can. Files of a few records.
	window := rapid.SampledFrom([]int64{1, 1 << 30}).Draw(r, "window")
	m.h, m.stop = m.open(r, m.store, Options{
		WindowBytes: window, FileBytes: 1000, Now: func() time.Time { return noon.Add(2 * time.Hour) },
	})
}

func (m *machine) append(r *rapid.T) {
	n := rapid.IntRange(1, 10).Draw(r, "uploads")
	ids := make([]journal.ID, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { ids[i] = add(r, m.h, upload(m.n+i)) })
	}
	all.Wait()
	for i, id := range ids {
		m.want[id] = upload(m.n + i)
	}
	m.n += n
}

func (m *machine) erase(r *rapid.T) {
	party := storage.PartyID(rapid.IntRange(1, 3).Draw(r, "party"))
	ids := []string{"unknown"}
	for id, u := range m.want {
		if id.Number%3 == uint64(len(ids))%3 {
			ids = append(ids, u.ContentID)
			if u.Party == party {
				delete(m.want, id)
			}
		}
	}
	m.untilDone(r, func() error { return m.h.Erase(context.Background(), party, ids) })
}

// untilDone does something until it goes well, as is asked of those who erase.
func (m *machine) untilDone(r *rapid.T, do func() error) {
	if err := do(); err != nil {
		if err := do(); err != nil {
			r.Fatal(err)
		}
	}
}

// check asks as look-back does: first the window, then the files.
func (m *machine) check(r *rapid.T) {
	got := inWindow(r, m.h, everything)
	for id, u := range inFiles(r, m.h, everything) {
		if had, ok := got[id]; ok && had != u {
			r.Errorf("%v is %+v in the window, and %+v in a file", id, had, u)
		}
		got[id] = u
	}
	same(r, "window and files", got, m.want)
}
