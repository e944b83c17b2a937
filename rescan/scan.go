package rescan

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"time"

	"golang.org/x/sync/errgroup"
)

// Item is one thing to check.
type Item struct {
	Name string // unique in its source; the order of names is the order of the scan
	Size int64  // bytes; 0 if it is not known
	Open func() (io.ReadCloser, error)
	// Modified is when it was last changed; zero if that is not known.
	Modified time.Time
	// Place is where it stands, in a source whose order is not that of names: a list. Then that is what Items goes by.
	Place string
	// Hashes are the item, instead of what Open reads, in a list of hashes.
	Hashes []HashRow
}

// at is the cursor that stands for the item.
func (i Item) at() string { return cmp.Or(i.Place, i.Name) }

// Source lists items after a name, ascending by name; "" is before all. The same source lists the
// same order again, apart from items that came or went. An error ends the listing if it comes with a
// zero Item; with an Item it is about that item alone.
type Source interface {
	Items(ctx context.Context, after string) iter.Seq2[Item, error]
}

// Result is what became of one item.
type Result[V any] struct {
	Item    Item
	Verdict V     // of Check
	Err     error // of this item alone; the scan goes on
}

// Summary counts what a scan did, earlier runs included if it was resumed.
type Summary struct {
	Items  int64            `json:"items"`
	Failed int64            `json:"failed"`
	Bytes  int64            `json:"bytes"`
	Levels map[string]int64 `json:"levels"` // items by the level of their verdict
	Took   time.Duration    `json:"-"`
}

// Scan checks all items of a source.
type Scan[V any] struct {
	Source Source
	// Check answers for one item. It is called from several goroutines.
	Check func(context.Context, Item) (V, error)
	// Level names the verdict in the summary.
	Level func(V) string
	// Count, if not nil, counts a result in the summary instead: one that is of more than one thing.
	Count func(*Summary, Result[V])
	// Emit is called with every result, in the order of the source, from one goroutine. Its error
	// ends the scan.
	Emit func(Result[V]) error
	// Workers is how many items are checked at a time; default 1.
	Workers int
	// Checkpoint, if not nil, is where the scan begins, and is saved as it goes on.
	Checkpoint *Checkpoint
}

// Run scans to the end of the source, or until ctx ends; then the checkpoint stands at the last item
// that was emitted, and ctx's error is returned with the summary so far.
func (s *Scan[V]) Run(ctx context.Context) (Summary, error) {
	start := time.Now()
	cp := s.Checkpoint
	if cp == nil {
		cp = &Checkpoint{}
	}
	if cp.Summary.Levels == nil {
		cp.Summary.Levels = map[string]int64{}
	}
	before := cp.Summary.Took
	err := s.run(ctx, cp, func() { cp.Summary.Took = before + time.Since(start) })
	cp.Summary.Took = before + time.Since(start)
	if saveErr := cp.save(err == nil); err == nil {
		err = saveErr
	}
	return cp.Summary, err
}

// run pipelines: one goroutine lists, workers check, this one emits in order.
func (s *Scan[V]) run(ctx context.Context, cp *Checkpoint, clock func()) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	workers := max(s.Workers, 1)
	pending := make(chan chan Result[V], 4*workers)
	var group errgroup.Group
	group.Go(func() error {
		defer close(pending)
		return s.list(ctx, cp.Cursor, workers, pending)
	})
	emitErr := func() error {
		for result := range pending {
			r := <-result
			if ctx.Err() != nil { // which may be all that is wrong with it
				return ctx.Err()
			}
			if err := s.Emit(r); err != nil {
				return err
			}
			s.note(cp, r)
			if cp.due() {
				clock()
				if err := cp.save(false); err != nil {
					return err
				}
			}
		}
		return nil
	}()
	stop()
	for range pending { // lets the lister end
	}
	listErr := group.Wait()
	if emitErr != nil {
		return emitErr
	}
	return listErr
}

// note counts a result that was emitted.
func (s *Scan[V]) note(cp *Checkpoint, r Result[V]) {
	cp.Cursor = r.Item.at()
	if s.Count != nil {
		s.Count(&cp.Summary, r)
		return
	}
	cp.Summary.Items++
	cp.Summary.Bytes += r.Item.Size
	if r.Err != nil {
		cp.Summary.Failed++
	} else {
		cp.Summary.Levels[s.Level(r.Verdict)]++
	}
}

// list starts a worker for each item, and hands its result channel on in order.
func (s *Scan[V]) list(ctx context.Context, after string, workers int, pending chan<- chan Result[V]) error {
	var pool errgroup.Group
	pool.SetLimit(workers)
	defer func() { _ = pool.Wait() }()
	for item, err := range s.Source.Items(ctx, after) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && item.Name == "" {
			return fmt.Errorf("list: %w", err)
		}
		result := make(chan Result[V], 1)
		select {
		case pending <- result:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err != nil {
			result <- Result[V]{Item: item, Err: err}
			continue
		}
		pool.Go(func() error {
			v, err := s.Check(ctx, item)
			result <- Result[V]{Item: item, Verdict: v, Err: err}
			return nil
		})
	}
	return ctx.Err()
}
