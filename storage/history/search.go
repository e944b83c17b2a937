package history

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/parquet-go/parquet-go"
	"golang.org/x/sync/errgroup"

	"vigie/hashing"
	"vigie/storage"
	"vigie/storage/journal"
)

// Query asks for past uploads near one of some values.
type Query struct {
	Party  storage.PartyID // whose uploads; 0: everybody's
	Values []hashing.Value // PDQ hashes: of one picture in all its orientations, or of many
	Radius int             // the largest distance that counts, 0 to 256
	// From and Until bound when they were uploaded: not before From, and before Until. Zero: unbounded. What is later than the present
	// was uploaded before, by a clock that was ahead: it counts, too.
	From, Until time.Time

	now time.Time // set by what searches
}

func (q Query) validate() error {
	if len(q.Values) == 0 || q.Radius < 0 || q.Radius > 256 {
		return fmt.Errorf("%w: a query for %d values within a radius of %d; accepted are 1 or more, and 0 to 256", ErrInvalid, len(q.Values), q.Radius)
	}
	return nil
}

// asks reports whether an upload of this party and time counts.
func (q Query) asks(party storage.PartyID, at time.Time) bool {
	return (q.Party == 0 || q.Party == party) && !at.Before(q.From) && (q.Until.IsZero() || at.Before(q.Until) || at.After(q.now))
}

// Hit is a past upload within the radius: an upload is one hit, however many values it is near.
type Hit struct {
	ID journal.ID // of the upload among those of all nodes
	Record
	Value    int // which of Query.Values is nearest, the first of them
	Distance int // to that one
}

// Search finds past uploads in the window: those of this node that are recent, and all that are not sealed yet. It calls found for each, in
// no order, not at the same time; an error of found ends it, as ctx does. Uploads that are appended meanwhile may be found.
//
// All processors share the work: 20 million uploads take two of them a tenth of a second.
func (h *History) Search(ctx context.Context, q Query, found func(Hit) error) error {
	if err := q.validate(); err != nil {
		return err
	}
	q.now = h.o.Now()
	var mu sync.Mutex
	var stopped error
	g, some := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, c := range *h.window.chunks.Load() {
		if some.Err() != nil {
			break
		}
		g.Go(func() error {
			near, err := h.scan(some, q, c.hashes[:c.n.Load()*hashBytes])
			if err != nil || len(near) == 0 {
				return err
			}
			hits := make([]Hit, 0, len(near))
			c.mu.RLock()
			for _, n := range near {
				number, r := c.row(n.row)
				if q.asks(r.Party, r.At) {
					hits = append(hits, Hit{journal.ID{Node: h.Node(), Number: number}, r, n.value, n.distance})
				}
			}
			c.mu.RUnlock()
			mu.Lock()
			defer mu.Unlock()
			for _, hit := range hits {
				if stopped == nil {
					stopped = found(hit)
				}
			}
			return stopped
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// near is a row and the value that is nearest to it.
type near struct{ row, value, distance int }

// scan compares rows with all values, and returns the nearest one of each row that is near any, in the order of rows.
func (h *History) scan(ctx context.Context, q Query, rows []byte) ([]near, error) {
	var best []near // of each row; made when the first is near. A popular picture may be near each of a thousand values.
	err := h.o.Scan(ctx, q.Values, q.Radius, rows, func(value, row, distance int) {
		if best == nil {
			best = make([]near, len(rows)/hashBytes)
			for i := range best {
				best[i].row = none
			}
		}
		if b := &best[row]; b.row == none || distance < b.distance || distance == b.distance && value < b.value {
			*b = near{row, value, distance}
		}
	})
	return slices.DeleteFunc(best, func(n near) bool { return n.row == none }), err
}

// none is the row of a place where there is none.
const none = -1

// Files lists the files that may hold what a query asks for, of all nodes, each a shard for [History.SearchFile]. What is
// appended or sealed meanwhile may be missing: it is in the window of its node.
func (h *History) Files(ctx context.Context, q Query) iter.Seq2[File, error] {
	prefix, now := "", h.o.Now()
	if q.Party != 0 {
		prefix = partyFolder(q.Party)
	}
	return func(yield func(File, error) bool) {
		for f, err := range h.list(ctx, prefix) {
			end := f.Hour.Add(time.Hour)
			if err == nil && (!end.After(q.From) || !q.Until.IsZero() && !f.Hour.Before(q.Until) && !end.After(now)) {
				continue
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

// list lists this history's files.
func (h *History) list(ctx context.Context, prefix string) iter.Seq2[File, error] {
	return listOf(ctx, h.store, prefix)
}

func listOf(ctx context.Context, s Store, prefix string) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		for name, err := range s.List(ctx, prefix) {
			if err != nil {
				yield(File{}, err)
				return
			}
			if f, err := ParseFile(name); err == nil && !yield(f, nil) {
				return
			}
		}
	}
}

// SearchFile finds past uploads in a file, in their order, as [History.Search] does in the window. It uses one processor: callers search
// several files at a time. It reads the hashes, and of the rest what belongs to hits. A file that is not there any more, since its time
// has passed or its party was erased, has no hits. storage.ErrCorrupt says that it is damaged; hits before may have been told.
func (h *History) SearchFile(ctx context.Context, f File, q Query, found func(Hit) error) error {
	if err := q.validate(); err != nil {
		return err
	}
	q.now = h.o.Now()
	told := uint64(0) // up to which upload
	err := f.read(ctx, h.store, func(o *opened) error {
		before := told // it is read anew
		fresh := func(hit Hit) error {
			if hit.ID.Number <= before {
				return nil
			}
			told = hit.ID.Number
			return found(hit)
		}
		for _, g := range o.file.RowGroups() {
			var all []near
			err := o.hashes(g, func(first int, hashes []byte) error {
				some, err := h.scan(ctx, q, hashes)
				for _, n := range some {
					n.row += first
					all = append(all, n)
				}
				return err
			})
			if err == nil {
				err = o.hits(ctx, g, q, all, fresh)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}

// hitsAtATime bounds the hits that are in memory.
const hitsAtATime = 4096

// hits reads what belongs to rows of a row group, and tells of those that are asked for.
func (o *opened) hits(ctx context.Context, g parquet.RowGroup, q Query, rows []near, found func(Hit) error) error {
	for some := range slices.Chunk(rows, hitsAtATime) {
		hits := make([]row, len(some))
		for column, set := range map[int]func(*row, parquet.Value){
			columnNumber:    func(r *row, v parquet.Value) { r.Number = v.Int64() },
			columnAt:        func(r *row, v parquet.Value) { r.At = v.Int64() },
			columnPDQ:       func(r *row, v parquet.Value) { copy(r.PDQ[:], v.ByteArray()) },
			columnQuality:   func(r *row, v parquet.Value) { r.Quality = v.Int32() },
			columnContentID: func(r *row, v parquet.Value) { r.ContentID = string(v.ByteArray()) },
		} {
			if err := o.values(g, column, some, func(i int, v parquet.Value) { set(&hits[i], v) }); err != nil {
				return err
			}
		}
		for i, n := range some {
			r := hits[i].record(o.Party)
			if err := ctx.Err(); err != nil {
				return err
			}
			if !o.covers(hits[i].Number) || r.PDQ.Distance(q.Values[n.value]) != n.distance {
				return o.corrupt(fmt.Errorf("row %d is not what it was", n.row))
			}
			if !q.asks(r.Party, r.At) {
				continue
			}
			id := journal.ID{Node: o.Node, Number: uint64(hits[i].Number)}
			if err := found(Hit{id, r, n.value, n.distance}); err != nil {
				return err
			}
		}
	}
	return nil
}

// values reads a column of some rows, which are in order: only the pages that they are in.
func (o *opened) values(g parquet.RowGroup, column int, rows []near, set func(i int, v parquet.Value)) error {
	pages := g.ColumnChunks()[column].Pages()
	defer pages.Close()
	var page parquet.Page
	defer func() {
		if page != nil {
			parquet.Release(page)
		}
	}()
	first, value := int64(0), make([]parquet.Value, 1)
	for i, n := range rows {
		at := int64(n.row)
		if page == nil || at >= first+page.NumRows() {
			if err := o.vet(g, column, at, at+1); err != nil {
				return err
			}
			if err := pages.SeekToRow(at); err != nil {
				return o.corrupt(err)
			}
			next, err := pages.ReadPage()
			if err != nil {
				return o.corrupt(err)
			}
			if page != nil {
				parquet.Release(page)
			}
			page, first = next, at
		}
		one := page.Slice(at-first, at-first+1)
		if k, err := one.Values().ReadValues(value); k != 1 {
			return o.corrupt(fmt.Errorf("no value of column %d in row %d: %w", column, at, err))
		}
		set(i, value[0])
		parquet.Release(one)
	}
	return nil
}
