package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"vigie/hashing"
	"vigie/index"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/memory"
)

// checkIndex: what was saved of the index is whole and of this log; with --deep, it has the rows that the catalogue gives.
func checkIndex(ctx context.Context, x *examination) []finding {
	if x.log == nil {
		return unchecked("there is no log that verifies to compare it with")
	}
	const anew = "nothing is lost: stop the node, remove the folder index, start the node, and it is made of the catalogue again"
	dir := x.path(indexFolder)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return fine("none was saved: the node makes it of the catalogue at its start")
	}
	saved, err := x.openIndex(ctx, dir)
	if err != nil {
		return []finding{fault("the node refuses it at its start, and takes longer", anew, "the saved index is of no use: %v", err)}
	}
	seq := saved.Snapshot().Seq()
	if seq == 0 {
		return fine("none was saved: the node makes it of the catalogue at its start")
	}
	stats := saved.Snapshot().Stats()
	if !x.deep {
		return fine("saved as of change %d: %d entries; checksums and log agree", seq, stats.Entries)
	}
	different, err := x.compareIndex(ctx, saved)
	switch {
	case err != nil:
		return []finding{fault("the node may not come up", anew, "the index cannot be made of the catalogue: %v", err)}
	case len(different) > 0:
		return []finding{fault("uploads that should match are missed, or others match", anew+", and report this", "saved, it has other rows than made of the catalogue: %s", firstOf(different))}
	}
	return fine("saved as of change %d: %d entries; carried on to change %d it is what the catalogue gives", seq, stats.Entries, x.head.Seq)
}

// openIndex opens what was saved. A node may be saving meanwhile: then files go, and the index may be ahead of what the doctor has
// seen of the log, so it looks again.
func (x *examination) openIndex(ctx context.Context, dir string) (saved *index.Index, err error) {
	for range 3 {
		var now snapshot
		if now, err = x.look(ctx); err != nil {
			return nil, err
		}
		saved, err = matcher.OpenIndex(ctx, now, dir, index.Options{})
		if err = errors.Join(err, now.Close()); err == nil {
			return saved, nil
		}
	}
	return nil, err
}

// compareIndex carries a saved index on to the head, makes another of the catalogue, and says where they differ.
func (x *examination) compareIndex(ctx context.Context, saved *index.Index) (different []string, err error) {
	if saved.Snapshot().Seq() > x.head.Seq {
		return nil, nil // saved since
	}
	a, err := x.follow(ctx, saved)
	if err != nil {
		return nil, err
	}
	b, err := x.follow(ctx, index.New(index.Options{}))
	if err != nil {
		return nil, err
	}
	err = x.catalog.View(ctx, func(r storage.Reader) error {
		for after := storage.EntryID(0); ; {
			page, err := r.Entries(storage.EntryQuery{After: after, Limit: 500})
			if err != nil || len(page) == 0 {
				return err
			}
			for _, e := range page {
				after = e.ID
				for _, alg := range hashing.Algorithms() {
					if !slices.Equal(a.Values(alg, index.EntryID(e.ID)), b.Values(alg, index.EntryID(e.ID))) {
						different = append(different, fmt.Sprintf("entry %d has other rows of %s", e.ID, alg))
					}
				}
			}
		}
	})
	for _, alg := range hashing.Algorithms() {
		if was, is := a.StatsOf(alg).Rows, b.StatsOf(alg).Rows; was != is {
			different = append(different, fmt.Sprintf("%d rows of %s, not %d", was, alg, is))
		}
	}
	return different, err
}

// follow carries an index on to the head of what the doctor sees of the log.
func (x *examination) follow(ctx context.Context, ix *index.Index) (*index.Snapshot, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	events := matcher.Events{Fault: func(err error) { stop(err) }} // a node would try again
	follower := matcher.New(x.catalog, &memory.Blobs{}, nil, ix, matcher.Options{Events: events}).Follower()
	ended := make(chan error, 1)
	go func() { ended <- follower.Run(ctx) }()
	err := follower.Await(ctx, x.head.Seq)
	if err != nil {
		err = context.Cause(ctx)
	}
	stop(nil)
	<-ended
	if err != nil {
		return nil, err
	}
	return follower.State().Snapshot, nil
}
