package text

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"

	"github.com/blevesearch/bleve/v2/index/scorch"
	index "github.com/blevesearch/bleve_index_api"
)

// columns are what a search reads of each document that it finds: numbers in memory, some 50 bytes a document. bleve keeps
// the same as text, which takes ten times as long to read and to count. They are of one segment of the index, and document
// i is the one that bleve numbers so there, deleted or not.
type columns struct {
	entries []uint64
	times   []int64  // of creation, in microseconds
	starts  []uint32 // the keys of document i are keys[starts[i]:starts[i+1]]
	keys    []uint32 // places in names
	names   []string // the values of the field key but times, each once
}

// of returns the keys of a document, as places in names.
func (c *columns) of(doc int) []uint32 { return c.keys[c.starts[doc]:c.starts[doc+1]] }

// part is a segment as a snapshot of the index has it.
type part struct {
	*columns
	first   uint64 // the number of its first document in the snapshot
	segment *scorch.SegmentSnapshot
}

// table keeps the columns of the segments, which do not change, so that they are made once for each.
type table struct {
	mu     sync.Mutex
	made   map[uint64]*making // by the number of the segment
	makers sync.WaitGroup
	quit   chan struct{}
}

// making are columns once done is closed.
type making struct {
	done    chan struct{}
	columns *columns
	err     error
}

func newTable() *table { return &table{made: map[uint64]*making{}, quit: make(chan struct{})} }

// close waits for what is being made. Nothing is begun any more.
func (t *table) close() {
	close(t.quit)
	t.makers.Wait()
}

// begin takes a snapshot of the index, for the caller to close, lets the columns of its segments be made that are not, and
// forgets those of others. Both at one stroke: a snapshot that is older than another does not come after it, and forget
// what is new.
func (t *table) begin(take func() (index.IndexReader, error)) (*scorch.IndexSnapshot, []*making, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	taken, err := take()
	if err != nil {
		return nil, nil, err
	}
	r, ok := taken.(*scorch.IndexSnapshot)
	if !ok {
		_ = taken.Close()
		return nil, nil, fmt.Errorf("%w: it is no index of segments", ErrDamaged)
	}
	before := t.made
	t.made = make(map[uint64]*making, len(r.Segments()))
	all := make([]*making, len(r.Segments()))
	first := uint64(0)
	for i, s := range r.Segments() {
		n := uint64(s.FullSize())
		m, ok := before[s.Id()]
		if ok {
			select {
			case <-m.done:
				ok = m.err == nil
			default:
			}
		}
		if !ok {
			m = &making{done: make(chan struct{})}
			r.AddRef()
			from := first
			t.makers.Go(func() {
				defer close(m.done)
				defer r.Close()
				m.columns, m.err = readColumns(r, from, n, t.quit)
			})
		}
		t.made[s.Id()], all[i] = m, m
		first += n
	}
	return r, all, nil
}

// partsOf returns the segments of a snapshot, in the order of their documents, once their columns are made.
func partsOf(ctx context.Context, r *scorch.IndexSnapshot, made []*making) ([]part, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	first := uint64(0)
	parts := make([]part, len(made))
	for i, m := range made {
		select {
		case <-m.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if m.err != nil {
			return nil, m.err
		}
		parts[i] = part{m.columns, first, r.Segments()[i]}
		first += uint64(len(m.columns.entries))
	}
	return parts, nil
}

// prepare begins to make the columns of segments that are new, be it by a merge, so that no search has to wait for large
// ones.
func (x *Index) prepare() {
	if !x.using.TryRLock() {
		return // it is being closed
	}
	defer x.using.RUnlock()
	if x.closed {
		return
	}
	if r, _, err := x.table.begin(x.reader); err == nil {
		_ = r.Close()
	}
}

var errTooMany = fmt.Errorf("a segment of the text index has more than %d keys", uint32(math.MaxUint32))

// readColumns makes the columns of n documents of a snapshot. What bleve cannot read is damaged: nothing else is asked of
// it here than what it has written.
func readColumns(r index.IndexReader, first, n uint64, quit <-chan struct{}) (c *columns, err error) {
	defer recovered(&err)()
	defer func() {
		if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrClosed) && !errors.Is(err, errTooMany) {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}()
	values, err := r.DocValueReader([]string{fieldKey})
	if err != nil {
		return nil, err
	}
	c = &columns{entries: make([]uint64, n), times: make([]int64, n), starts: make([]uint32, n+1)}
	places := map[string]uint32{}
	doc := 0
	visit := func(_ string, key []byte) {
		if key[0] == keyTime[0] {
			at, fault := strconv.ParseUint(string(key[1:]), 16, 64)
			if c.times[doc] = int64(at ^ 1<<63); fault != nil {
				err = fmt.Errorf("%w: a document is of the time %q", ErrDamaged, key)
			}
			return
		}
		place, ok := places[string(key)]
		if !ok {
			place = uint32(len(c.names))
			c.names = append(c.names, string(key))
			places[string(key)] = place
		}
		c.keys = append(c.keys, place)
	}
	var id index.IndexInternalID
	for doc = range c.entries {
		if doc%1024 == 0 {
			select {
			case <-quit:
				return nil, ErrClosed
			default:
			}
		}
		id = index.NewIndexInternalID(id, first+uint64(doc))
		name, fault := r.ExternalID(id)
		if fault != nil {
			return nil, fault
		}
		if c.entries[doc], fault = strconv.ParseUint(name, 16, 64); fault != nil {
			return nil, fmt.Errorf("%w: a document has the name %q", ErrDamaged, name)
		}
		if fault := values.VisitDocValues(id, visit); fault != nil {
			return nil, fault
		}
		if len(c.keys) > math.MaxUint32 {
			return nil, errTooMany
		}
		c.starts[doc+1] = uint32(len(c.keys))
	}
	return c, err
}
