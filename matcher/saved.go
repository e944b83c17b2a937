package matcher

import (
	"context"
	"errors"
	"fmt"
	"os"

	"vigie/index"
	"vigie/storage"
)

// OpenIndex returns the index that [SaveIndex] left in a folder, if it is of this catalogue's log, and else a new
// one, with the reason: what was saved is damaged, or the log is another one since, such as that of an older backup. Where
// nothing was saved there is no reason. An index is a projection of the log, and made of it again at any time.
func OpenIndex(ctx context.Context, c storage.Catalogue, dir string, o index.Options) (*index.Index, error) {
	x, mark, err := index.Open(dir, o)
	if err == nil {
		var want index.Mark
		if want, err = markOf(ctx, c, x.Snapshot().Seq()); err == nil && mark != want {
			err = fmt.Errorf("the index in %s is of another log, or of another state of this one, as of change %d", dir, x.Snapshot().Seq())
		}
	}
	switch {
	case err == nil:
		return x, nil
	case errors.Is(err, os.ErrNotExist):
		return index.New(o), nil
	}
	return index.New(o), err
}

// SaveIndex saves an index that follows the catalogue's log, and returns as of which change.
func SaveIndex(ctx context.Context, c storage.Catalogue, x *index.Index, dir string) (uint64, error) {
	return x.Save(ctx, dir, func(seq uint64) (index.Mark, error) { return markOf(ctx, c, seq) })
}

// rowsRule is the rule by which signals become rows: entryRows, poor, and what they call. Who changes which rows an entry
// has raises it, so that an index that was saved by an earlier rule is not taken for right: rows would be missing.
const rowsRule = 1

// markOf is the log, with the rule, and its root as of a change.
func markOf(ctx context.Context, c storage.Catalogue, seq uint64) (index.Mark, error) {
	head, err := c.Head(ctx)
	if err != nil {
		return index.Mark{}, err
	}
	log := fmt.Sprintf("%s rows %d", head.LogID, rowsRule)
	if seq == 0 {
		return index.Mark{Log: log}, nil
	}
	changes, err := c.Changes(ctx, seq-1, 1)
	if err != nil {
		return index.Mark{}, err
	}
	if len(changes) == 0 || changes[0].Seq != seq {
		return index.Mark{}, fmt.Errorf("the log ends with change %d, before change %d", head.Seq, seq)
	}
	return index.Mark{Log: log, Root: fmt.Sprintf("%x", changes[0].Root)}, nil
}
