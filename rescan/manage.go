package rescan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"vigie/matcher"
	"vigie/storage"
)

// A re-scan is its party's own affair, like the matches of its checks: its keys start, end and resume it, and read what it found;
// who oversees the node may read it, too.

// Request asks for a re-scan.
type Request struct {
	Who     matcher.Principal // whose party the source must be
	Source  string
	Options storage.RescanOptions
	// SinceLast sets Options.Since to where the log stood at the last re-scan of the source that was done.
	SinceLast bool
}

// Start begins a re-scan; once, if the context's request has a key ([matcher.WithOnce]). Errors: ErrUnknownSource, ErrNoLast, ErrOtherScope,
// matcher.ErrUnknownBank, *matcher.InputError.
func (r *Runner) Start(ctx context.Context, q Request) (made storage.Rescan, err error) {
	c, ok := r.o.Sources[q.Source]
	if !ok {
		return made, fmt.Errorf("%w: %q", ErrUnknownSource, q.Source)
	}
	if timeless := c.Kind == URLSource || c.Kind == HashSource; timeless && !q.Options.NewerThan.IsZero() {
		return made, &matcher.InputError{Field: "newer_than", Reason: "what is in a list has no time; accepted for sources of kind folder and bucket"}
	}
	for known := (scope{}); ; { // until the log stands still between what is read of it and the transaction
		if q.SinceLast {
			if known, err = r.scope(ctx, q, known); err != nil {
				return made, err
			}
		}
		made, err = r.begin(ctx, c, q, known)
		if !errors.Is(err, errMoved) {
			return made, err
		}
	}
}

func (r *Runner) begin(ctx context.Context, c SourceConfig, q Request, known scope) (storage.Rescan, error) {
	return r.change(ctx, new(int64), func(w storage.Writer) (storage.RescanID, error) {
		owner, err := c.owner(w)
		if err != nil {
			return 0, err
		}
		if owner != q.Who.Party {
			return 0, fmt.Errorf("%w: %q", ErrUnknownSource, q.Source)
		}
		one := storage.Rescan{Party: q.Who.Party, Key: q.Who.Actor, Source: q.Source, Options: q.Options}
		if err := mayAsk(w, q.Who, q.Options.Banks); err != nil {
			return 0, err
		}
		if q.SinceLast {
			last, err := lastDone(w, q)
			if err != nil {
				return 0, err
			}
			if head, err := w.Head(); err != nil {
				return 0, err
			} else if known.last != last.ID || known.seq != head.Seq {
				return 0, errMoved
			}
			one.Options.Since = last.Seq
		}
		if head, err := w.Head(); err != nil {
			return 0, err
		} else if one.Options.Since > head.Seq {
			return 0, &matcher.InputError{Field: "since", Reason: fmt.Sprintf("%d; the log ends with %d", one.Options.Since, head.Seq)}
		}
		err = w.CreateRescan(&one)
		return one.ID, err
	})
}

// Retry begins a re-scan of what another one could not check, as that one would have checked it; once, if the context's request has a key.
// Errors: ErrUnknownRescan, matcher.ErrForeign, ErrUnknownSource, matcher.ErrUnknownBank; *matcher.InputError if it goes on, has no failures,
// or is of a list of hashes, whose lines stay what they are.
func (r *Runner) Retry(ctx context.Context, who matcher.Principal, id storage.RescanID) (storage.Rescan, error) {
	return r.changeOwn(ctx, who, id, func(w storage.Writer, old storage.Rescan) (storage.RescanID, int64, error) {
		c, ok := r.o.Sources[old.Source]
		refused := func(why string) error {
			return &matcher.InputError{Field: "rescan", Reason: fmt.Sprintf("%d %s", id, why)}
		}
		switch owner, err := c.owner(w); {
		case err != nil:
			return 0, 0, err
		case !ok || owner != who.Party:
			return 0, 0, fmt.Errorf("%w: %q", ErrUnknownSource, old.Source)
		case c.Kind == HashSource:
			return 0, 0, refused("is of a list of hashes: what cannot be read in it now cannot be read later; correct the list, and start another")
		case !old.State.Ended():
			return 0, 0, refused("goes on: what it could not check is known when it has ended")
		case old.Counts.Failed == 0:
			return 0, 0, refused("could check all")
		}
		one := storage.Rescan{Party: who.Party, Key: who.Actor, Source: old.Source, Options: old.Options}
		one.Options.FailedOf, one.Options.NewerThan = id, time.Time{} // they were new enough
		err := mayAsk(w, who, one.Options.Banks)
		if err == nil {
			err = w.CreateRescan(&one)
		}
		return one.ID, 0, err
	})
}

// mayAsk reports why who may not ask about banks.
func mayAsk(r storage.Reader, who matcher.Principal, banks []string) error {
	for _, name := range banks {
		if _, err := matcher.NamedBank(r, who, name); err != nil {
			return err
		}
	}
	return nil
}

// owner is whose a source is; one of a party that is not there is nobody's.
func (c SourceConfig) owner(r storage.Reader) (storage.PartyID, error) {
	if c.Party == "" {
		return storage.Operator, nil
	}
	p, err := r.PartyNamed(c.Party)
	if errors.Is(err, storage.ErrNotFound) {
		return 0, nil
	}
	return p.ID, err
}

// Cancel ends a re-scan. What runs of it stops within about a second. To cancel it again does nothing. ErrUnknownRescan,
// matcher.ErrForeign; ErrEnded if it has ended otherwise.
func (r *Runner) Cancel(ctx context.Context, who matcher.Principal, id storage.RescanID) (storage.Rescan, error) {
	return r.changeOwn(ctx, who, id, func(w storage.Writer, _ storage.Rescan) (storage.RescanID, int64, error) {
		_, err := w.EndRescan(id, storage.RescanCancelled, "")
		return id, 0, err
	})
}

// Resume has a re-scan that was cancelled or failed go on where it was; one that goes on does so. ErrUnknownRescan, matcher.ErrForeign;
// ErrEnded if it is done.
func (r *Runner) Resume(ctx context.Context, who matcher.Principal, id storage.RescanID) (storage.Rescan, error) {
	return r.changeOwn(ctx, who, id, func(w storage.Writer, now storage.Rescan) (storage.RescanID, int64, error) {
		if !now.State.Ended() {
			return id, 0, nil
		}
		_, err := w.ResumeRescan(id)
		return id, time.Now().UnixNano(), err
	})
}

// changeOwn is change, of a re-scan of who's party.
func (r *Runner) changeOwn(
	ctx context.Context, who matcher.Principal, id storage.RescanID,
	do func(w storage.Writer, now storage.Rescan) (changed storage.RescanID, again int64, err error),
) (storage.Rescan, error) {
	var again int64
	return r.change(ctx, &again, func(w storage.Writer) (changed storage.RescanID, err error) {
		now, err := rescanFor(w, who, id)
		switch {
		case err != nil:
			return 0, err
		case now.Party != who.Party:
			return 0, fmt.Errorf("%w: re-scan %d", matcher.ErrForeign, id)
		}
		if changed, again, err = do(w, now); errors.Is(err, storage.ErrConflict) {
			err = fmt.Errorf("%w: %d is %s", ErrEnded, id, now.State)
		}
		return changed, err
	})
}

// change changes a re-scan in a transaction, and sees then to its being worked on; again is of its [args].
func (r *Runner) change(ctx context.Context, again *int64, do func(storage.Writer) (storage.RescanID, error)) (now storage.Rescan, err error) {
	err = r.o.Catalogue.Update(ctx, func(w storage.Writer) error {
		id, err := matcher.OnceIn(ctx, w, func() (storage.RescanID, error) { return do(w) })
		if err == nil {
			now, err = w.Rescan(id)
		}
		return err
	})
	if err != nil || now.State.Ended() {
		return now, err
	}
	return now, r.enqueue(ctx, PlanJob, args{Rescan: now.ID, Again: *again})
}

// Rescan is one of who's party, or any for who oversees. ErrUnknownRescan.
func (r *Runner) Rescan(ctx context.Context, who matcher.Principal, id storage.RescanID) (one storage.Rescan, err error) {
	err = r.o.Catalogue.View(ctx, func(rd storage.Reader) (err error) {
		one, err = rescanFor(rd, who, id)
		return err
	})
	return one, err
}

func rescanFor(r storage.Reader, who matcher.Principal, id storage.RescanID) (storage.Rescan, error) {
	one, err := r.Rescan(id)
	if err == nil && one.Party != who.Party && !who.Oversees() {
		err = storage.ErrNotFound
	}
	if errors.Is(err, storage.ErrNotFound) {
		err = fmt.Errorf("%w: %d", ErrUnknownRescan, id)
	}
	return one, err
}

// Rescans lists those of who's party, or all for who oversees, newest first. q.Limit is at most [storage.MaxRescanRows].
func (r *Runner) Rescans(ctx context.Context, who matcher.Principal, q storage.RescanQuery) (all []storage.Rescan, err error) {
	if !who.Oversees() {
		q.Party = who.Party
	}
	err = r.o.Catalogue.View(ctx, func(rd storage.Reader) (err error) {
		all, err = rd.Rescans(q)
		return err
	})
	return all, err
}

// Progress is a re-scan with how much of what is planned of it is done, from 0 to 1; more may be planned until it is Planned.
func (r *Runner) Progress(ctx context.Context, who matcher.Principal, id storage.RescanID) (one storage.Rescan, share float64, err error) {
	var open []storage.Shard
	err = r.o.Catalogue.View(ctx, func(rd storage.Reader) (err error) {
		if one, err = rescanFor(rd, who, id); err == nil {
			open, err = rd.Shards(id, 0, storage.MaxRescanRows, true)
		}
		return err
	})
	return one, r.share(one, open), err
}

// Share is how much of what is planned is done, from 0 to 1, counted by whole shards.
func Share(of storage.Rescan) float64 {
	switch {
	case of.State == storage.RescanDone:
		return 1
	case of.Shards == 0:
		return 0
	}
	return float64(of.ShardsDone) / float64(of.Shards)
}

func (r *Runner) share(of storage.Rescan, open []storage.Shard) float64 {
	if len(open) == 0 {
		return Share(of)
	}
	done := float64(of.ShardsDone)
	kind := r.o.Sources[of.Source].Kind
	list := (kind == URLSource || kind == HashSource) && of.Options.FailedOf == 0
	for _, s := range open {
		if list {
			from, at, to := place(s.From), place(s.Cursor), place(s.To)
			done += min(max((at-from)/max(to-from, 1), 0), 1)
		} else if s.Planned > 0 {
			done += min(float64(s.Counts.Items)/float64(s.Planned), 1)
		}
	}
	return min(done/float64(of.Shards), 1)
}

func place(cursor string) float64 {
	at, _ := placeOf(cursor) // the cursors of a list are places
	return float64(at)
}

// Named is a source with its name, and whose it is; 0: of a party that is not there.
type Named struct {
	Name  string
	Owner storage.PartyID
	SourceConfig
}

// Sources lists those that who may re-scan, or all for who oversees, by name.
func (r *Runner) Sources(ctx context.Context, who matcher.Principal) (all []Named, err error) {
	err = r.o.Catalogue.View(ctx, func(rd storage.Reader) error {
		all = nil
		for _, name := range slices.Sorted(maps.Keys(r.o.Sources)) {
			c := r.o.Sources[name]
			owner, err := c.owner(rd)
			if err != nil {
				return err
			}
			if owner == who.Party || who.Oversees() {
				all = append(all, Named{name, owner, c})
			}
		}
		return nil
	})
	return all, err
}

// Expire removes what is stored of re-scans that ended longer ago than their parties keep what checks found.
func (r *Runner) Expire(ctx context.Context, now time.Time) error {
	const some = 500 // rows in a transaction
	var parties []storage.Party
	err := r.o.Catalogue.View(ctx, func(rd storage.Reader) (err error) {
		parties, err = rd.Parties()
		return err
	})
	for _, p := range parties {
		for n := some; err == nil && n == some; {
			err = r.o.Catalogue.Update(ctx, func(w storage.Writer) (err error) {
				n, err = w.ExpireRescans(p.ID, now.AddDate(0, 0, -p.KeepMatches), some)
				return err
			})
		}
	}
	return err
}
