package matcher

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"vigie/index"
	"vigie/storage"
)

// OpenIndex returns the index that [Follower.Save] left in a folder, if it is of this catalogue's log, and else a new
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

// rowsRule is the rule by which signals become rows: entryRows, poor, and what they call. Who changes which rows an entry
// has raises it, so that an index that was saved by an earlier rule is not taken for right: rows would be missing.
const rowsRule = 1

// markOf is the log, with the rule, and its root as of a change.
func markOf(ctx context.Context, c storage.Catalogue, seq uint64) (index.Mark, error) {
	head, err := c.Head(ctx)
	if err != nil {
		return index.Mark{}, err
	}
	if seq == 0 {
		return markAt(point{logID: head.LogID}), nil
	}
	changes, err := c.Changes(ctx, seq-1, 1)
	if err != nil {
		return index.Mark{}, err
	}
	if len(changes) == 0 || changes[0].Seq != seq {
		return index.Mark{}, fmt.Errorf("the log ends with change %d, before change %d", head.Seq, seq)
	}
	return markAt(point{head.LogID, seq, changes[0].Root}), nil
}

func markAt(p point) index.Mark {
	m := index.Mark{Log: fmt.Sprintf("%s rows %d", p.logID, rowsRule)}
	if p.seq > 0 {
		m.Root = fmt.Sprintf("%x", p.root)
	}
	return m
}

// openedAt is the point that an index was opened as of, if that is known, and it has not moved since.
func openedAt(x *index.Index) (p point) {
	if x == nil {
		return p
	}
	saved := x.Opened()
	log, rows, _ := strings.Cut(saved.Mark.Log, " ")
	root, err := hex.DecodeString(saved.Mark.Root)
	if err != nil || len(root) != len(p.root) || rows != fmt.Sprintf("rows %d", rowsRule) || saved.Seq == 0 || saved.Seq != x.Snapshot().Seq() {
		return point{}
	}
	return point{log, saved.Seq, storage.Hash(root)}
}
