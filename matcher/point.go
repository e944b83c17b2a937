package matcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vigie/storage"
)

// point is how far a projection of the log has come: a change, and what the log was up to it. Every root stands for all that
// was before, so that a point is held against a log by one root.
type point struct {
	logID string
	seq   uint64
	root  storage.Hash // of seq; of no account at 0
}

// errOtherLog: what a projection was made of is not how the catalogue's log begins: a database was restored from a backup,
// or another one has taken its place.
var errOtherLog = errors.New("the catalogue has another log than the one that was read here")

// head is that of a log which ends there.
func (p point) head() storage.Head { return storage.Head{LogID: p.logID, Seq: p.seq, Root: p.root} }

// errStrange is a [storage.ErrUnavailable], too: the numbers of a state name other things in the catalogue, which has another log.
// [Follower.Run] has told of it, or will within a second.
var errStrange = fmt.Errorf("%w, and is not read yet: %w", errOtherLog, storage.ErrUnavailable)

const (
	lookEvery = time.Second     // however quiet the catalogue is
	lookLimit = 5 * time.Second // after which it is taken not to answer
)

// look waits for changes beyond the point, at most a second, and returns where the log ends; waited is called between the
// two. errOtherLog.
func (p point) look(ctx context.Context, c storage.Catalogue, waited func()) (storage.Head, error) {
	waiting, cancel := context.WithTimeout(ctx, lookEvery)
	err := c.Wait(waiting, p.seq)
	late := waiting.Err() != nil
	cancel()
	if err != nil && (ctx.Err() != nil || !late) {
		return storage.Head{}, err
	}
	waited()
	asking, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	head, err := c.Head(asking)
	if err != nil {
		return head, err
	}
	return head, p.in(head)
}

// in is errOtherLog if a log with this head cannot have been at the point.
func (p point) in(head storage.Head) error {
	switch {
	case head.LogID != p.logID:
		return fmt.Errorf("%w: it is log %s, and was %s", errOtherLog, head.LogID, p.logID)
	case head.Seq < p.seq:
		return fmt.Errorf("%w: it ends with change %d, and change %d was there", errOtherLog, head.Seq, p.seq)
	case head.Seq == p.seq && p.seq > 0 && head.Root != p.root:
		return fmt.Errorf("%w: up to change %d it is not the same", errOtherLog, p.seq)
	}
	return nil
}

// changes reads at most limit of those that follow, together with the one at the point, which tells whether they do.
// errOtherLog.
func (p point) changes(ctx context.Context, c storage.Catalogue, limit int) ([]storage.Change, error) {
	if p.seq == 0 {
		return c.Changes(ctx, 0, limit)
	}
	page, err := c.Changes(ctx, p.seq-1, limit+1)
	switch {
	case err != nil:
		return nil, err
	case len(page) == 0 || page[0].Seq != p.seq:
		return nil, fmt.Errorf("%w: change %d is not in the log", storage.ErrCorrupt, p.seq)
	case page[0].Root != p.root:
		return nil, fmt.Errorf("%w: up to change %d it is not the same", errOtherLog, p.seq)
	}
	return page[1:], nil
}
