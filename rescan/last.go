package rescan

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"vigie/storage"
)

// A re-scan of what is new since the last one leaves out what that one has looked for. So the last one is one that looked for as much,
// in as much, and could check all of it; and what counts for the party was the same then.

// lastRuns is how many re-scans of a source are looked at for a last one.
const lastRuns = 100

// lastDone is the newest re-scan of the source that a further one may go on from. ErrNoLast if there is none.
func lastDone(r storage.Reader, q Request) (storage.Rescan, error) {
	runs, err := r.Rescans(storage.RescanQuery{Party: q.Who.Party, Source: q.Source, State: storage.RescanDone, Limit: lastRuns})
	if err != nil {
		return storage.Rescan{}, err
	}
	var whole []storage.Rescan // those that leave out nothing, but what others before them had; oldest first
	for _, run := range slices.Backward(runs) {
		before := func(o storage.Rescan) bool { return o.Seq >= run.Options.Since }
		if covers(run, q.Options) && (run.Options.Since == 0 || slices.ContainsFunc(whole, before)) {
			whole = append(whole, run)
		}
	}
	if len(whole) == 0 {
		return storage.Rescan{}, fmt.Errorf("%w as this one, of all banks and items that it is of, without failures: %q", ErrNoLast, q.Source)
	}
	return whole[len(whole)-1], nil
}

// covers reports whether a re-scan has checked all that one with these options is to, against all that it is to.
func covers(run storage.Rescan, o storage.RescanOptions) bool {
	had := run.Options
	banks := len(had.Banks) == 0 || len(o.Banks) > 0
	for _, name := range o.Banks {
		banks = banks && (len(had.Banks) == 0 || slices.Contains(had.Banks, name))
	}
	items := had.NewerThan.IsZero() || !o.NewerThan.IsZero() && !o.NewerThan.Before(had.NewerThan)
	return banks && items && (!had.Upright || o.Upright) && had.FailedOf == 0 && run.Counts.Failed == 0
}

// scope is what is known of what counts for the party of a re-scan: the same from the last one up to a number of the log.
type scope struct {
	last storage.RescanID
	seq  uint64
}

var errMoved = errors.New("the log has moved on")

// scope reads the log from the last re-scan to its head, or from where it was read to. ErrOtherScope.
func (r *Runner) scope(ctx context.Context, q Request, known scope) (scope, error) {
	var last storage.Rescan
	var head storage.Head
	counts := map[storage.BankID]bool{}
	err := r.o.Catalogue.View(ctx, func(rd storage.Reader) (err error) {
		if last, err = lastDone(rd, q); err != nil {
			return err
		}
		if head, err = rd.Head(); err != nil {
			return err
		}
		all, err := rd.Subscriptions()
		for _, s := range all {
			if s.Party == q.Who.Party {
				counts[s.Bank] = true
			}
		}
		return err
	})
	if err != nil {
		return scope{}, err
	}
	if known.last != last.ID {
		known = scope{last.ID, last.Seq}
	}
	for known.seq < head.Seq {
		page, err := r.o.Catalogue.Changes(ctx, known.seq, int(min(1000, head.Seq-known.seq)))
		if err != nil {
			return scope{}, err
		}
		if len(page) == 0 {
			return scope{}, fmt.Errorf("read the log after %d: %w", known.seq, storage.ErrUnavailable)
		}
		for _, c := range page {
			own := c.Party == q.Who.Party && slices.Contains([]storage.Kind{storage.SubscriptionSet, storage.OverlaySet, storage.PartyChanged}, c.Kind)
			bank := counts[c.Bank] && (c.Kind == storage.BankChanged || c.Kind == storage.BankRestored)
			if own || bank {
				return scope{}, fmt.Errorf("%w: by change %d of the log, after re-scan %d", ErrOtherScope, c.Seq, last.ID)
			}
			known.seq = c.Seq
		}
	}
	return known, nil
}
