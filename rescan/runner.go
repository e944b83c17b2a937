package rescan

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/jobs"
)

// Options of a [Runner].
type Options struct {
	Catalogue storage.Catalogue
	// Engine does the jobs: it is made with [Runner.Handlers], and asked for when it is needed.
	Engine func() jobs.Engine
	// Sources are those that this process knows. Every process that does shards has to know the same.
	Sources Sources
	// Client fetches what is in lists of URLs; nil: there are no such sources.
	Client *http.Client
	// Check answers for one item of a re-scan, Join for a list of hashes, as [Matcher] makes them.
	Check func(ctx context.Context, r storage.Rescan, u Upload) (Verdict, error)
	// IsVideo reports whether an item, by its first bytes, is one that Check takes longer for; nil: none is.
	IsVideo func(data []byte) bool
	Join    func(ctx context.Context, r storage.Rescan, hashes []hashing.Signal, found func(i int, v Verdict) error) error
	// Idle waits until there is room for work that nobody waits for, and returns what gives the room back; nil: there always is.
	// alone says that nothing else is to be done at present: else little is done at a time. An item's bytes have been fetched by then.
	Idle func(ctx context.Context) (release func(), alone bool, err error)
	// Finished is told of a re-scan that is done or has failed, at least once; its error has it told again. May be nil.
	Finished func(ctx context.Context, r storage.Rescan) error
	// Saved is told of what this process has checked, when it is stored; it must be quick. May be nil.
	Saved func(storage.RescanCounts)
	// Fault is told why re-scans failed, in more words than their parties, or begin parts anew; nil: nobody is.
	Fault func(error)
	// Workers is how many items of a shard are checked at a time; default 4. Parallel is how many shards this process does at a
	// time; default 1.
	Workers, Parallel int
	// MaxBytes bounds an item; default 128 MiB. All that are being checked have at most four times as many.
	MaxBytes int64
	// ItemTimeout bounds the fetching of an item, and its check; default 30 s. Fetching a large one may take longer, a second for each
	// MiB, of MaxBytes if its size is not known; and checking a video, by VideoTimeout. To wait for a decoder is no part of it.
	ItemTimeout, VideoTimeout time.Duration
	// MaxFound bounds what is stored of one re-scan: with more hits, or failures, it fails; default 1,000,000.
	MaxFound int64
	// Slice is how long an attempt at a job begins something new; default 25 s. Then it is continued, perhaps elsewhere.
	Slice time.Duration
	// ShardItems and ShardBytes bound what is planned into a shard; default 2000 items and 512 MiB. Ahead is how many shards are
	// planned and not done yet; default 200.
	ShardItems int
	ShardBytes int64
	Ahead      int
}

// Upload is an item to be checked.
type Upload struct {
	Name  string
	Media hashing.Media
}

// Verdict is what a check says of an item.
type Verdict struct {
	Level  string          // none, review, likely or match
	Action string          // recommended
	Whole  json.RawMessage // kept with a hit
	// Entries are those that match, each once.
	Entries []storage.EntryID
}

// Errors of a [Runner].
var (
	// ErrUnknownSource: no source of that name is configured for the party.
	ErrUnknownSource = errors.New("no such source")
	// ErrUnknownRescan: there is none of that number, or it is another party's.
	ErrUnknownRescan = errors.New("no such re-scan")
	// ErrEnded: it has ended, in another way than what is asked for would have it.
	ErrEnded = errors.New("the re-scan has ended")
	// ErrNoLast: a re-scan of what is new since the last one was asked for, and there is none that was done.
	ErrNoLast = errors.New("no re-scan of that source has been done")
	// ErrOtherScope: since the last one, what counts for the party has changed: its subscriptions, or how their banks match. It is an
	// ErrNoLast.
	ErrOtherScope = fmt.Errorf("%w since what counts for the party has changed; start one of all entries", ErrNoLast)
)

// Runner does re-scans as jobs. Its methods are safe for concurrent use, by any number of processes on one catalogue and engine.
type Runner struct {
	o      Options
	memory *semaphore.Weighted // for items
	often  time.Duration       // how often what is done is stored: after so long

	mu     sync.Mutex
	limits map[string]*rate.Limiter // by source
	opened map[string]opened        // sources, whose connections are kept
	faults map[storage.RescanID]int // attempts at planning, in a row
	looked map[storage.RescanID]int // attempts at planning when Recover last looked; nil: it has not
}

// New makes a runner, which does nothing by itself: the engine calls its handlers.
func New(o Options) *Runner {
	o.Workers, o.Parallel, o.Ahead = cmp.Or(o.Workers, 4), cmp.Or(o.Parallel, 1), cmp.Or(o.Ahead, 200)
	o.MaxBytes, o.ShardBytes = cmp.Or(o.MaxBytes, 128<<20), cmp.Or(o.ShardBytes, 512<<20)
	o.ItemTimeout, o.Slice = cmp.Or(o.ItemTimeout, 30*time.Second), cmp.Or(o.Slice, 25*time.Second)
	o.ShardItems, o.MaxFound = cmp.Or(o.ShardItems, 2000), cmp.Or(o.MaxFound, 1_000_000)
	if o.IsVideo == nil {
		o.IsVideo = func([]byte) bool { return false }
	}
	if o.Idle == nil {
		o.Idle = func(context.Context) (func(), bool, error) { return func() {}, true, nil }
	}
	if o.Finished == nil {
		o.Finished = func(context.Context, storage.Rescan) error { return nil }
	}
	if o.Saved == nil {
		o.Saved = func(storage.RescanCounts) {}
	}
	if o.Fault == nil {
		o.Fault = func(error) {}
	}
	return &Runner{o: o, memory: semaphore.NewWeighted(4 * o.MaxBytes), often: saveEvery, limits: map[string]*rate.Limiter{}, opened: map[string]opened{}, faults: map[storage.RescanID]int{}}
}

// PlanJob is the kind of the jobs that look after re-scans, from beginning to end.
const PlanJob = "rescan-plan"

const (
	shardKind  = "rescan-shard"
	finishKind = "rescan-finish"
	attempts   = 20
	longest    = time.Minute // between two attempts
)

// args name what a job is about.
type args struct {
	Rescan storage.RescanID `json:"rescan"`
	Shard  int              `json:"shard,omitempty"`
	// Again tells the planning of a re-scan that is resumed from the one before, which may be about to end.
	Again int64 `json:"again,omitempty"`
}

// key is what there is one job of at a time.
func (a args) key() string {
	key := a.prefix() + strconv.Itoa(a.Shard)
	if a.Again != 0 {
		key += "/" + strconv.FormatInt(a.Again, 10)
	}
	return key
}

// prefix is what the keys of the jobs of a re-scan begin with.
func (a args) prefix() string { return strconv.FormatUint(uint64(a.Rescan), 10) + "/" }

// Handlers do the jobs of re-scans, by kind.
func (r *Runner) Handlers() map[string]jobs.Handler {
	// What is begun at the end of the slice may have to wait for another item.
	whole := r.o.Slice + roomTimeout + 2*(r.fetchTime(r.o.MaxBytes)+r.o.VideoTimeout) + ending
	return map[string]jobs.Handler{
		PlanJob:    r.handler(r.plan, r.o.Slice+r.o.ItemTimeout+10*time.Second, 1),
		shardKind:  r.handler(r.shard, whole, r.o.Parallel),
		finishKind: r.handler(r.finish, 30*time.Second, 1),
	}
}

// handler reads the arguments, and tells errors apart.
func (r *Runner) handler(do func(context.Context, args) error, timeout time.Duration, parallel int) jobs.Handler {
	return jobs.Handler{Timeout: timeout, Attempts: attempts, Parallel: parallel, Backoff: backoff, Do: func(ctx context.Context, run jobs.Run) error {
		var a args
		if err := json.Unmarshal(run.Args, &a); err != nil {
			return jobs.Never(fmt.Errorf("arguments: %w", err))
		}
		err := do(ctx, a)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			return nil // it has been removed since
		case passing(err) && ctx.Err() == nil:
			if errors.Is(err, hashing.ErrBusy) { // all the time that there was
				r.o.Fault(fmt.Errorf("re-scan %d: shard %d is begun anew: %w", a.Rescan, a.Shard, err))
			}
			return jobs.Later(time.Second)
		case errors.As(err, new(hopelessError)):
			return r.fail(ctx, a.Rescan, err)
		}
		return err
	}}
}

func backoff(attempt int) time.Duration { return min(time.Second<<min(attempt-1, 10), longest) }

// hopelessError ends a re-scan: trying again does not help.
type hopelessError struct{ error }

func (e hopelessError) Unwrap() error { return e.error }

// passing reports errors that say nothing of an item, and will pass: the database is away, the index is loading or behind, all decoders
// are busy.
func passing(err error) bool {
	for _, known := range []error{errNoRoom, hashing.ErrBusy, storage.ErrUnavailable, matcher.ErrNotReady, matcher.ErrIndexBehind, matcher.ErrBeyondHead} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// fail ends a re-scan for a reason, which its party reads.
func (r *Runner) fail(ctx context.Context, id storage.RescanID, why error) error {
	r.o.Fault(fmt.Errorf("re-scan %d: %w", id, why))
	err := r.o.Catalogue.Update(ctx, func(w storage.Writer) error {
		_, err := w.EndRescan(id, storage.RescanFailed, told(why))
		return err
	})
	if errors.Is(err, storage.ErrConflict) || errors.Is(err, storage.ErrNotFound) {
		return nil // it has ended otherwise
	}
	if err != nil {
		return err
	}
	return r.enqueue(ctx, finishKind, args{Rescan: id})
}

// failed has a re-scan told of if it has failed: whoever ended it may not have come to that.
func (r *Runner) failed(ctx context.Context, id storage.RescanID) error {
	var now storage.Rescan
	err := r.o.Catalogue.View(ctx, func(rd storage.Reader) (err error) {
		now, err = rd.Rescan(id)
		return err
	})
	if err != nil || now.State != storage.RescanFailed {
		return err
	}
	return r.enqueue(ctx, finishKind, args{Rescan: id})
}

func (r *Runner) enqueue(ctx context.Context, kind string, all ...args) error {
	list := make([]jobs.Job, len(all))
	for i, a := range all {
		text, err := json.Marshal(a)
		if err != nil {
			return err
		}
		list[i] = jobs.Job{Kind: kind, Args: text, Key: a.key()}
	}
	if err := r.o.Engine().Enqueue(ctx, list...); err != nil {
		return fmt.Errorf("enqueue %s: %w", kind, err)
	}
	return nil
}

// Recover sees to it that there are jobs for every re-scan that goes on: after a crash between a re-scan and its jobs, or with an
// engine that has lost them. To be called when a process starts, and then every minute: by that time the job of one that has it has
// begun an attempt, and is left alone.
func (r *Runner) Recover(ctx context.Context) error {
	r.mu.Lock()
	before := r.looked
	r.mu.Unlock()
	var lost []args
	now := map[storage.RescanID]int{}
	err := r.o.Catalogue.View(ctx, func(rd storage.Reader) error {
		lost = nil
		for _, state := range []storage.RescanState{storage.RescanPlanning, storage.RescanRunning} {
			for last := storage.RescanID(0); ; {
				page, err := rd.Rescans(storage.RescanQuery{State: state, Before: last, Limit: storage.MaxRescanRows})
				if err != nil {
					return err
				}
				if len(page) == 0 {
					break
				}
				for _, one := range page {
					last, now[one.ID] = one.ID, one.Attempt
					if then, known := before[one.ID]; before == nil || known && then == one.Attempt {
						lost = append(lost, args{Rescan: one.ID})
					}
				}
			}
		}
		return nil
	})
	if err == nil && len(lost) > 0 {
		err = r.enqueue(ctx, PlanJob, lost...)
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looked = now
	return nil
}

// source opens the source of a re-scan.
func (r *Runner) source(ctx context.Context, of storage.Rescan) (opened, *rate.Limiter, error) {
	c, ok := r.o.Sources[of.Source]
	if !ok {
		return opened{}, nil, hopelessError{fmt.Errorf("%w: %q is not configured any more", ErrUnknownSource, of.Source)}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	o, ok := r.opened[of.Source]
	if !ok {
		var err error
		if o, err = c.open(ctx, r.o.Client, r.o.ItemTimeout); err != nil {
			return o, nil, hopelessError{fmt.Errorf("open source %q: %w", of.Source, err)}
		}
		r.opened[of.Source] = o
	}
	limit := r.limits[of.Source]
	if limit == nil {
		most, burst := rate.Inf, 1
		if c.PerSecond > 0 {
			most = rate.Limit(c.PerSecond)
		}
		if c.Kind == HashSource { // which are taken many at a time: those of a second
			burst = int(min(max(most, 1), joinRows))
		}
		limit = rate.NewLimiter(most, burst)
		r.limits[of.Source] = limit
	}
	if of.Options.FailedOf != 0 {
		o = opened{items: failed{r.o.Catalogue, of.Options.FailedOf, o.items}}
	}
	return o, limit, nil
}

// finish ends a re-scan whose shards are done, and tells of its end.
func (r *Runner) finish(ctx context.Context, a args) error {
	var ended storage.Rescan
	err := r.o.Catalogue.Update(ctx, func(w storage.Writer) (err error) {
		if ended, err = w.Rescan(a.Rescan); err != nil || ended.State.Ended() {
			return err
		}
		ended, err = w.EndRescan(a.Rescan, storage.RescanDone, "")
		return err
	})
	if errors.Is(err, storage.ErrConflict) {
		return nil // it was resumed meanwhile: its shards will call again
	}
	if err != nil || ended.State == storage.RescanCancelled {
		return err
	}
	return r.o.Finished(ctx, ended)
}

// done has a re-scan finished if nothing of it is left to do.
func (r *Runner) done(ctx context.Context, id storage.RescanID) error {
	var now storage.Rescan
	err := r.o.Catalogue.View(ctx, func(rd storage.Reader) (err error) {
		now, err = rd.Rescan(id)
		return err
	})
	if err != nil || now.State.Ended() || !now.Planned || now.ShardsDone < now.Shards {
		return err
	}
	return r.enqueue(ctx, finishKind, args{Rescan: id})
}
