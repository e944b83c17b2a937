package rescan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"vigie/storage"
	"vigie/storage/jobs"
)

// A source is planned some shards ahead of those who work on them, so that neither the catalogue nor the queue ever holds a
// bucket of a billion objects; and a slice of time at a time, from the end of the last shard.

// oldItems is how many times more items than a shard has are passed over at most before it is cut.
const oldItems = 20

// plan is a job: it plans the next shards of a re-scan, and sees to the jobs of those that are not done.
func (r *Runner) plan(ctx context.Context, a args) error {
	var of storage.Rescan
	err := r.o.Catalogue.Update(ctx, func(w storage.Writer) (err error) {
		of, err = w.PlanRescan(a.Rescan)
		return err
	})
	if errors.Is(err, storage.ErrConflict) {
		return r.failed(ctx, a.Rescan) // it has ended
	}
	if err != nil {
		return err
	}
	if of.Attempt > 1 { // shards of an attempt before may have no jobs
		if err := r.revive(ctx, of.ID); err != nil {
			return err
		}
	}
	if of.Planned {
		if err := r.done(ctx, of.ID); err != nil {
			return err
		}
		return jobs.Later(lookAgain)
	}
	source, _, err := r.source(ctx, of)
	if err != nil {
		return err
	}
	p := planner{r: r, of: of, room: r.o.Ahead - (of.Shards - of.ShardsDone), until: time.Now().Add(r.o.Slice), added: time.Now(), at: of.Plan}
	if source.list != nil {
		err = p.list(ctx, source)
	} else {
		err = p.items(ctx, source.items)
	}
	if errors.Is(err, errEnough) {
		err = nil
	}
	if !p.lost { // what was planned is planned, whatever came then
		if addErr := p.add(ctx); addErr != nil {
			return addErr
		}
	}
	switch {
	case err != nil:
		return r.planFailed(of, err)
	case p.at.Planned:
		if err := r.done(ctx, of.ID); err != nil {
			return err
		}
		return jobs.Later(lookAgain)
	case p.room <= 0:
		return jobs.Later(time.Second)
	}
	return jobs.Later(0)
}

// lookAgain is how often a re-scan that is planned is looked after, until it ends: a shard may have lost its job.
const lookAgain = 5 * time.Second

// planFailed makes an attempt that failed the last one if this process has seen several in a row.
func (r *Runner) planFailed(of storage.Rescan, err error) error {
	err = fmt.Errorf("plan source %q: %w", of.Source, err)
	if passing(err) || errors.Is(err, context.Canceled) || errors.Is(err, storage.ErrConflict) { // which says nothing of the source
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.faults[of.ID]++; r.faults[of.ID] < planTries {
		return err
	}
	delete(r.faults, of.ID)
	return hopelessError{err}
}

const planTries = 5

// revive has jobs for all shards that are not done. If one of these has failed for good, so has the re-scan.
func (r *Runner) revive(ctx context.Context, id storage.RescanID) error {
	if err := r.bury(ctx, id); err != nil {
		return err
	}
	for after := 0; ; {
		var page []storage.Shard
		err := r.o.Catalogue.View(ctx, func(rd storage.Reader) (err error) {
			page, err = rd.Shards(id, after, storage.MaxRescanRows, true)
			return err
		})
		if err != nil || len(page) == 0 {
			return err
		}
		if err := r.enqueueShards(ctx, page); err != nil {
			return err
		}
		after = page[len(page)-1].Number
	}
}

// bury looks for jobs of a re-scan's shards that have failed for good.
func (r *Runner) bury(ctx context.Context, id storage.RescanID) error {
	for after := int64(0); ; {
		dead, err := r.o.Engine().DeadOf(ctx, shardKind, args{Rescan: id}.prefix(), after, 1000)
		if err != nil || len(dead) == 0 {
			return err
		}
		for _, d := range dead {
			after = d.ID
			var a args
			if json.Unmarshal(d.Args, &a) != nil {
				continue
			}
			if err := r.o.Engine().Drop(ctx, shardKind, a.key()); err != nil {
				return err
			}
			r.o.Fault(fmt.Errorf("shard %d of re-scan %d: %s", a.Shard, id, d.Error))
			return hopelessError{fmt.Errorf("shard %d failed again and again; the operator of the node can find out why", a.Shard)}
		}
	}
}

func (r *Runner) enqueueShards(ctx context.Context, shards []storage.Shard) error {
	all := make([]args, len(shards))
	for i, s := range shards {
		all[i] = args{Rescan: s.Rescan, Shard: s.Number}
	}
	return r.enqueue(ctx, shardKind, all...)
}

// planner cuts a source into shards.
type planner struct {
	r      *Runner
	of     storage.Rescan
	room   int // shards that may be planned
	until  time.Time
	at     storage.Plan // with the shards below
	shards []storage.Shard
	added  time.Time
	lost   bool // whether the last ones were stored is not known
}

// cut ends a shard at a cursor, if it has any items. errEnough says that this is all for now.
func (p *planner) cut(ctx context.Context, to string, items int64) error {
	if items > 0 {
		p.shards = append(p.shards, storage.Shard{From: p.at.Cursor, To: to, Planned: items})
		p.room--
	}
	p.at.Cursor = to
	if time.Since(p.added) >= p.r.often || len(p.shards) >= storage.MaxRescanRows/4 {
		if err := p.add(ctx); err != nil {
			return err
		}
	}
	if p.room <= 0 || time.Now().After(p.until) {
		return errEnough
	}
	return nil
}

// add stores what is planned, and then has it done.
func (p *planner) add(ctx context.Context) error {
	if p.at == p.of.Plan {
		return nil
	}
	err := p.r.o.Catalogue.Update(ctx, func(w storage.Writer) error {
		return w.AddShards(p.of.ID, p.of.Attempt, p.at, p.shards)
	})
	if err != nil {
		p.lost = true
		return fmt.Errorf("store the plan: %w", err)
	}
	shards := p.shards
	p.of.Plan, p.shards, p.added = p.at, nil, time.Now()
	if len(shards) == 0 {
		return nil
	}
	return p.r.enqueueShards(ctx, shards)
}

// list cuts a list, by its places.
func (p *planner) list(ctx context.Context, source opened) error {
	end, version, err := source.list.extent(ctx)
	if err != nil {
		return err
	}
	if p.at.Version != "" && p.at.Version != version {
		return hopelessError{errChanged}
	}
	p.at.Version = version
	from, err := placeOf(p.at.Cursor)
	if err != nil {
		return err
	}
	for from < end {
		to := min(from+source.step, end)
		items := int64(1) // who knows
		if source.hashes != nil && source.step == parquetRows {
			items = to - from
		}
		from = to
		if p.at.Planned = to == end; p.at.Planned {
			p.shards = append(p.shards, storage.Shard{From: p.at.Cursor, To: placeText(to), Planned: items})
			p.at.Cursor = placeText(to)
			return nil
		}
		if err := p.cut(ctx, placeText(to), items); err != nil {
			return err
		}
	}
	p.at.Planned = true
	return nil
}

var errChanged = errors.New("the list has changed since it was planned; start another re-scan")

// items lists a source and cuts it where a shard is full.
func (p *planner) items(ctx context.Context, source Source) error {
	if p.room <= 0 {
		return errEnough
	}
	last := p.at.Cursor
	var items, bytes, passed int64
	for item, err := range source.Items(ctx, last) {
		if err != nil && item.Name == "" {
			return err
		}
		last = item.at()
		if passed++; wanted(item, p.of) {
			items, bytes = items+1, bytes+item.Size
		}
		full := items >= int64(p.r.o.ShardItems) || bytes >= p.r.o.ShardBytes || passed >= oldItems*int64(p.r.o.ShardItems)
		if full || passed%256 == 0 && time.Now().After(p.until) {
			if err := p.cut(ctx, last, items); err != nil {
				return err
			}
			items, bytes, passed = 0, 0, 0
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if items > 0 {
		p.shards = append(p.shards, storage.Shard{From: p.at.Cursor, To: last, Planned: items})
	}
	p.at.Cursor, p.at.Planned = last, true
	return nil
}

// wanted reports whether an item is new enough. Whose time is not known, is.
func wanted(i Item, of storage.Rescan) bool {
	return i.Modified.IsZero() || of.Options.NewerThan.IsZero() || i.Modified.After(of.Options.NewerThan)
}
