package webhook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/memory"
	"vigie/webhook"
)

// grown is a catalogue whose log goes on after its end, with entries that were imported.
type grown struct {
	storage.Catalogue
	imported atomic.Uint64
}

type grownReader struct {
	storage.Reader
	head storage.Head
}

func (r grownReader) Head() (storage.Head, error) { return r.head, nil }

func (r grownReader) Present() (storage.Position, error) {
	p, err := r.Reader.Present()
	p.Log = r.head.Seq
	return p, err
}

func (r grownReader) ChangeSizes(after uint64, limit int) (sizes []int64, err error) {
	for seq := after; seq < r.head.Seq && len(sizes) < limit; seq++ {
		sizes = append(sizes, 1)
	}
	return sizes, nil
}

func (g *grown) Head(ctx context.Context) (storage.Head, error) {
	head, err := g.Catalogue.Head(ctx)
	head.Seq += g.imported.Load()
	return head, err
}

func (g *grown) View(ctx context.Context, fn func(storage.Reader) error) error {
	return g.Catalogue.View(ctx, func(r storage.Reader) error {
		head, err := r.Head()
		if err != nil {
			return err
		}
		head.Seq += g.imported.Load()
		return fn(grownReader{r, head})
	})
}

func (g *grown) Changes(ctx context.Context, after uint64, limit int) ([]storage.Change, error) {
	page, err := g.Catalogue.Changes(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	head, err := g.Head(ctx)
	for seq := after + uint64(len(page)) + 1; seq <= head.Seq && len(page) < limit; seq++ {
		page = append(page, storage.Change{Seq: seq, Root: head.Root, At: time.Unix(0, 0), Kind: storage.EntryAdded, Bank: 1, Entry: storage.EntryID(seq), Body: json.RawMessage(`{"status":"active","signals":[]}`)})
	}
	return page, err
}

func (g *grown) Wait(ctx context.Context, after uint64) error {
	head, err := g.Head(ctx)
	if err != nil || head.Seq > after {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Millisecond):
		return nil
	}
}

// TestImport: a million entries that come at once are told each once, in a number of requests that is small.
func TestImport(t *testing.T) {
	t.Parallel()
	million := uint64(1_000_000)
	if testing.Short() || racing {
		million = 50_000
	}
	c := &clock{now: time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC)}
	store, err := memory.New(storage.Options{Now: c.Now})
	must(t, err)
	g := &grown{Catalogue: store}
	w := worldOver(t, c, g)
	owner, other := w.party("owner"), w.party("other")
	w.bank(owner, "b", matcher.BankEdit{})
	r, sparse, none := w.receiver(nil), w.receiver(nil), w.receiver(nil)
	w.hook(owner, r, every...)
	w.hook(owner, sparse, matcher.EventRetracted)
	w.hook(other, none, every...)
	g.imported.Store(million)
	w.match(owner.Party, "a check meanwhile")
	head, err := g.Head(w.ctx)
	must(t, err)
	must(t, w.matcher.Follower().Await(w.ctx, head.Seq))
	must(t, w.service.Pass(w.ctx))

	requests := len(w.engine.waiting)
	if most := int(million/webhook.MaxEvents) + int(million/10_000) + 2; requests > most {
		t.Errorf("%d entries are told in %d requests, more than %d", million, requests, most)
	}
	bytes := 0
	for _, j := range w.engine.waiting {
		bytes += len(j.Args)
	}
	if bytes > 150*requests {
		t.Errorf("%d jobs hold %d bytes", requests, bytes)
	}
	w.engine.all(w.ctx, time.Hour)
	told := map[uint64]bool{}
	matches, twice := 0, 0
	for _, d := range r.take() {
		if len(d.Events) > webhook.MaxEvents {
			t.Fatalf("a delivery of %d events", len(d.Events))
		}
		for i, e := range d.Events {
			if e.Kind == matcher.EventMatch {
				matches++
				continue
			}
			if told[e.Seq] {
				twice++
			}
			if told[e.Seq] = true; i > 0 && e.Seq <= d.Events[i-1].Seq {
				t.Fatalf("%d follows %d within a delivery", e.Seq, d.Events[i-1].Seq)
			}
		}
	}
	equal(t, "told", fmt.Sprint(len(told), twice, matches), fmt.Sprint(million, 0, 1))
	equal(t, "who wants retractions", sparse.kinds(), "")
	equal(t, "who may not read the bank", none.kinds(), "")
	t.Logf("%d entries in %d requests; %d bytes of jobs", million, requests, bytes)
}
