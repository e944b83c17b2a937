package rescan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/jobs"
)

const (
	maxSave   = 4 << 20 // bytes of verdicts saved at once
	tries     = 3       // of an item that could not be fetched or checked
	suspicion = 3       // a shard that is taken so often without having been saved has an item that kills
)

// shard is a job: it works on a shard for a slice of time.
func (r *Runner) shard(ctx context.Context, a args) error {
	s := &session{r: r, until: time.Now().Add(r.o.Slice)}
	err := r.o.Catalogue.Update(ctx, func(w storage.Writer) (err error) {
		s.of, s.shard, err = w.TakeShard(a.Rescan, a.Shard)
		return err
	})
	if errors.Is(err, storage.ErrConflict) {
		return r.done(ctx, a.Rescan) // it is done, or nothing is to be done any more
	}
	if err != nil {
		return err
	}
	s.at, s.saved = s.shard.Cursor, time.Now()
	if err := r.full(s.of); err != nil {
		return err
	}
	err = r.while(ctx, a.Rescan, s.work)
	finished := err == nil && !s.cut
	if !s.lost { // what was done is done, whatever came then; and be it nothing: the worker has not died
		if saveErr := s.save(ctx, finished); saveErr != nil {
			return saveErr
		}
	}
	switch {
	case err != nil:
		return err
	case finished:
		return r.done(ctx, a.Rescan)
	}
	return jobs.Later(0)
}

// while has something done until the re-scan has ended: there may be minutes between what is stored of it.
func (r *Runner) while(ctx context.Context, id storage.RescanID, do func(context.Context) error) error {
	working, stop := context.WithCancelCause(ctx)
	var looking sync.WaitGroup
	defer looking.Wait()
	defer stop(nil)
	looking.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-working.Done():
				return
			case <-tick.C:
			}
			var now storage.Rescan
			err := r.o.Catalogue.View(working, func(rd storage.Reader) (err error) {
				now, err = rd.Rescan(id)
				return err
			})
			if err == nil && now.State.Ended() {
				stop(nil)
			}
		}
	})
	return do(working)
}

// full reports that no more is to be stored of what a re-scan finds and cannot check.
func (r *Runner) full(of storage.Rescan) error {
	c := of.Counts
	switch {
	case of.Planned && of.ShardsDone == of.Shards: // there will be no more
	case c.Match+c.Likely+c.Review > r.o.MaxFound:
		return hopelessError{fmt.Errorf("more than %d of its items match: narrow it, to some banks or newer items; what it has found up to then is kept", r.o.MaxFound)}
	case c.Failed > r.o.MaxFound:
		return hopelessError{fmt.Errorf("more than %d of its items could not be checked: see why, and narrow its source", r.o.MaxFound)}
	}
	return nil
}

// work does what is to be done in the session.
func (s *session) work(ctx context.Context) error {
	source, limit, err := s.r.source(ctx, s.of)
	if err != nil {
		return err
	}
	if source.list != nil {
		_, version, err := source.list.extent(ctx)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return hopelessError{fmt.Errorf("open source %q: %w", s.of.Source, err)}
		case err != nil:
			return err
		case version != s.of.Version:
			return hopelessError{errChanged}
		}
	}
	if source.hashes != nil {
		return s.hashes(ctx, source.hashes, limit)
	}
	s.alone, _ = source.items.(oneByOne)
	return s.items(ctx, source.items, limit)
}

// oneByOne is a source that tells whether it is away, or cannot give one item alone.
type oneByOne interface {
	alone(ctx context.Context, err error) bool
}

// session is an attempt at a shard.
type session struct {
	r     *Runner
	of    storage.Rescan
	shard storage.Shard
	until time.Time // begin nothing new after it
	cut   bool      // it ended because of that
	alone oneByOne  // the source, if it is one
	lost  bool      // what could not be saved: whether it was stored is not known, or another has taken the shard
	most  int       // hashes that are joined at a time while nobody asks for anything

	begun sync.Map // cursors of items that are being checked, or have been, and are not noted yet

	// What is done since the last save.
	at       string // up to this cursor
	counts   storage.RescanCounts
	hits     []storage.RescanHit
	failures []storage.RescanFailure
	size     int
	saved    time.Time
}

// save stores what is done, with the cursor. It is done even when ctx has ended.
func (s *session) save(ctx context.Context, done bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if done {
		s.at = s.shard.To
	}
	var now storage.Rescan
	err := s.r.o.Catalogue.Update(ctx, func(w storage.Writer) error {
		err := w.SaveShard(storage.ShardProgress{
			Rescan: s.of.ID, Shard: s.shard.Number, Attempt: s.shard.Attempt, Cursor: s.at, Done: done,
			Counts: s.counts, Hits: s.hits, Failures: s.failures,
		})
		if err == nil {
			now, err = w.Rescan(s.of.ID)
		}
		return err
	})
	if err != nil {
		s.lost = true
		return fmt.Errorf("save shard %d: %w", s.shard.Number, err)
	}
	s.r.o.Saved(s.counts)
	s.counts, s.hits, s.failures, s.size, s.saved = storage.RescanCounts{}, nil, nil, 0, time.Now()
	return s.r.full(now)
}

// note counts an item, and saves when it is time to.
func (s *session) note(ctx context.Context, item Item, v Verdict, err error) error {
	s.at = item.at()
	s.begun.Delete(s.at)
	s.counts.Items++
	s.counts.Bytes += item.Size
	switch v.Level {
	case "match":
		s.counts.Match++
	case "likely":
		s.counts.Likely++
	case "review":
		s.counts.Review++
	}
	name := item.Name[:min(len(item.Name), storage.MaxRescanItem)]
	switch {
	case err != nil:
		s.counts.Failed++
		s.failures = append(s.failures, storage.RescanFailure{Item: name, Error: told(err)})
	case v.Level == "none":
		s.counts.None++
	default:
		s.hits = append(s.hits, storage.RescanHit{Item: name, Level: v.Level, Action: v.Action, Verdict: v.Whole, Entries: v.Entries})
		s.size += len(v.Whole)
	}
	return s.saveWhenDue(ctx)
}

// passed counts so many items in which nothing was found, of which the last stands at a cursor.
func (s *session) passed(ctx context.Context, n int, at string) error {
	s.at = at
	s.counts.Items += int64(n)
	s.counts.None += int64(n)
	return s.saveWhenDue(ctx)
}

func (s *session) saveWhenDue(ctx context.Context) error {
	if len(s.hits)+len(s.failures) >= storage.MaxRescanRows || s.size >= maxSave || time.Since(s.saved) >= s.r.often {
		return s.save(ctx, false)
	}
	return nil
}

// items checks the items of the shard. If workers die of it, it goes one by one, and saves what is done before each, so that the
// next attempt knows of which: that one is set aside.
func (s *session) items(ctx context.Context, source Source, limit *rate.Limiter) error {
	ranged := ranged{source, s, limit}
	if s.shard.Tries >= suspicion {
		aside := s.shard.Tries > suspicion
		alone := 8 * s.r.o.Workers // more than those that are begun beyond the cursor
		for item, err := range ranged.Items(ctx, s.at) {
			var v Verdict
			switch {
			case err != nil && item.Name == "":
				return err
			case err == nil && aside:
				err = fmt.Errorf("it is set aside: %d processes have died, the last of them while it was checked", s.shard.Tries-1)
			case err == nil:
				v, err = s.check(ctx, item)
			}
			if passing(err) || ctx.Err() != nil {
				return errors.Join(ctx.Err(), err)
			}
			if hopeless(err) {
				return hopelessError{err}
			}
			if err := s.note(ctx, item, v, err); err != nil {
				return err
			}
			if err := s.save(ctx, false); err != nil {
				return err
			}
			if aside = false; alone == 0 {
				break
			}
			alone--
		}
		if s.cut {
			return nil
		}
	}
	scan := Scan[Verdict]{
		Source: ranged, Workers: s.r.o.Workers, Checkpoint: &Checkpoint{Cursor: s.at},
		Check: s.check, Level: func(v Verdict) string { return v.Level },
		Emit: func(result Result[Verdict]) error {
			if passing(result.Err) {
				return result.Err
			}
			if hopeless(result.Err) {
				return hopelessError{result.Err}
			}
			return s.note(ctx, result.Item, result.Verdict, result.Err)
		},
	}
	_, err := scan.Run(ctx)
	return err
}

// ranged is the part of a source that is the shard's and wanted, as far as there is time.
type ranged struct {
	Source
	s     *session
	limit *rate.Limiter
}

// Items implements [Source].
func (r ranged) Items(ctx context.Context, after string) iter.Seq2[Item, error] {
	before := func(a, b string) bool { return a < b }
	if o, ok := r.Source.(Ordered); ok {
		before = o.Before
	}
	return func(yield func(Item, error) bool) {
		begun := false // so that there is some progress
		for item, err := range r.Source.Items(ctx, after) {
			if err != nil && item.Name == "" {
				yield(item, err)
				return
			}
			if before(r.s.shard.To, item.at()) {
				return
			}
			if err == nil && !wanted(item, r.s.of) {
				continue
			}
			if begun && time.Now().After(r.s.until) {
				r.s.cut = true
				return
			}
			begun = true
			if err := r.limit.Wait(ctx); err != nil {
				yield(Item{}, err)
				return
			}
			if !yield(item, err) {
				return
			}
		}
	}
}

// check fetches an item and has it checked, some times if need be.
func (s *session) check(ctx context.Context, item Item) (v Verdict, err error) {
	b := &budget{left: s.r.fetchTime(item.Size)}
	for try := 1; ; try++ {
		v, err = s.checkOnce(ctx, item, b)
		if fetch := (fetchError{}); errors.As(err, &fetch) && passing(err) && s.alone != nil && s.alone.alone(ctx, err) {
			err = errLost // of this item alone: to wait for it would stop the shard
		}
		switch {
		case errors.Is(err, errGrew):
			b.left += s.r.fetchTime(0) - s.r.fetchTime(item.Size)
			item.Size = 0 // there is room for all that is accepted
			continue
		case err == nil || passing(err) || hopeless(err) || err == errLate || try == tries || forGood(err):
			return v, err
		}
		pause := 100 * time.Millisecond << (2 * try)
		if b.left -= pause; b.left <= 0 {
			return v, errLate
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return v, ctx.Err()
		}
	}
}

// budget is the time that an item has. To wait for room, or for a decoder, is no part of it.
type budget struct {
	left  time.Duration
	video bool // it has that of a video
}

var errLate = errors.New("it could not be fetched and checked in time")

// within has something done in the time that is left.
func (b *budget) within(ctx context.Context, do func(context.Context) error) error {
	part, cancel := context.WithTimeoutCause(ctx, b.left, errLate)
	defer cancel()
	began := time.Now()
	err := do(part)
	if !errors.Is(err, hashing.ErrBusy) {
		b.left -= time.Since(began)
	}
	if err != nil && ctx.Err() == nil && context.Cause(part) == errLate {
		err = errLate
	}
	return err
}

// checkOnce is one try.
func (s *session) checkOnce(ctx context.Context, item Item, b *budget) (v Verdict, err error) {
	room := s.r.o.MaxBytes
	if item.Size > 0 {
		room = min(item.Size, room)
	}
	if err := s.r.memory.Acquire(ctx, room); err != nil {
		return v, err
	}
	defer s.r.memory.Release(room)
	var media hashing.Media
	err = b.within(ctx, func(ctx context.Context) error {
		body, err := item.Open()
		if err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { body.Close() }) // which ends the reading
		defer body.Close()
		defer stop()
		media, err = hashing.ReadMedia(body, room)
		return err
	})
	if passing(err) {
		err = fetchError{err}
	}
	if bad, ok := hashing.AsMediaError(err); ok && bad.Kind == hashing.TooLarge && room < s.r.o.MaxBytes {
		return v, errGrew
	}
	if err != nil {
		return v, err
	}
	if !b.video && s.r.o.IsVideo(media.Data) {
		b.video, b.left = true, b.left+s.r.o.VideoTimeout
	}
	// Long items have the decoders, and the room, for as long as they take. They may be others of this session, which would be thrown away
	// with it: so the item waits here, unless it could not end within the time of the job any more.
	for {
		v, err = s.checkMedia(ctx, item, media, b)
		end, bounded := ctx.Deadline()
		waits := errors.Is(err, hashing.ErrBusy) || errors.Is(err, errNoRoom) && s.wouldLose()
		if !waits || bounded && time.Until(end) < b.left+ending {
			return v, err
		}
		select {
		case <-time.After(pauseForRoom):
		case <-ctx.Done():
			return v, ctx.Err()
		}
	}
}

const (
	pauseForRoom = 500 * time.Millisecond
	ending       = 10 * time.Second // of the time of a job, for what is to be stored at its end
)

// checkMedia has an item checked when there is room.
func (s *session) checkMedia(ctx context.Context, item Item, media hashing.Media, b *budget) (v Verdict, err error) {
	release, _, err := s.room(ctx)
	if err != nil {
		return v, err
	}
	defer release()
	s.begun.Store(item.at(), true)
	err = b.within(ctx, func(ctx context.Context) (err error) {
		v, err = s.r.o.Check(ctx, s.of, Upload{item.Name, media})
		return err
	})
	if err != nil {
		s.begun.Delete(item.at())
	}
	return v, err
}

// wouldLose reports whether there are items that would have to be checked anew if the session ended now.
func (s *session) wouldLose() (yes bool) {
	s.begun.Range(func(any, any) bool {
		yes = true
		return false
	})
	return yes
}

// fetchError is of fetching an item.
type fetchError struct{ error }

func (e fetchError) Unwrap() error { return e.error }

// fetchTime is how long fetching and checking an item of so many bytes may take, but for what videos take. If its size is not known (0),
// it may be as large as any.
func (r *Runner) fetchTime(size int64) time.Duration {
	if size <= 0 || size > r.o.MaxBytes {
		size = r.o.MaxBytes
	}
	return r.o.ItemTimeout + time.Duration(size>>20)*time.Second
}

// errGrew: it has more bytes than when it was listed.
var errGrew = errors.New("it grew while it was read")

var errLost = errors.New("the object store has it, and cannot give it")

// roomTimeout is how much longer than its slice of time a session waits for room.
const roomTimeout = 5 * time.Second

var errNoRoom = errors.New("those who wait for an answer leave no room")

// room waits for room, until it is better to try again later.
func (s *session) room(ctx context.Context) (release func(), alone bool, err error) {
	waiting, cancel := context.WithTimeout(ctx, max(time.Until(s.until), 0)+roomTimeout)
	defer cancel()
	release, alone, err = s.r.o.Idle(waiting)
	if err != nil && ctx.Err() == nil {
		err = errNoRoom
	}
	return release, alone, err
}

// hopeless reports that what is asked is no question any more: a bank was deleted, or is not the party's to ask about.
func hopeless(err error) bool {
	return errors.Is(err, matcher.ErrUnknownBank) || errors.Is(err, matcher.ErrAmbiguous)
}

// forGood reports that a further try would not help.
func forGood(err error) bool {
	_, media := hashing.AsMediaError(err)
	return media || errors.As(err, new(refusedError)) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
}

// joinRows is how many hashes are joined at a time, and turnedRows how many of those that are turned as well, for each of which the
// index is asked nine times: the more, the quicker, since a join goes through all buckets of the index, however few they are. So it is
// broken off when somebody asks for something, and they are few while there are others.
const (
	joinRows   = 1 << 20
	turnedRows = 1 << 17
	fewRows    = 1 << 12
)

// hashes joins the hashes of the shard.
func (s *session) hashes(ctx context.Context, list hashList, limit *rate.Limiter) error {
	after, err := placeOf(s.at)
	if err != nil {
		return err
	}
	to, err := placeOf(s.shard.To)
	if err != nil {
		return err
	}
	size := turnedRows
	if s.of.Options.Upright {
		size = joinRows
	}
	size = min(size, limit.Burst())
	s.most = size
	ctx, stop := context.WithCancel(ctx)
	batches, read := s.read(ctx, list, after, to, size)
	defer read()
	defer stop()
	begun := false
	for rows := range batches {
		if s.cut || begun && time.Now().After(s.until) {
			s.cut = true
			return nil
		}
		begun = true
		if err := limit.WaitN(ctx, len(rows)); err != nil {
			return err
		}
		if err := s.join(ctx, rows); err != nil {
			return err
		}
	}
	return read()
}

// read reads a list while what it has read is worked on: it sends a batch when the one before is done with. The function waits until it
// has ended, and tells its error; whoever receives no more cancels ctx.
func (s *session) read(ctx context.Context, list hashList, after, to int64, size int) (<-chan []hashRow, func() error) {
	batches, ended := make(chan []hashRow), make(chan struct{})
	var err error
	go func() {
		defer close(ended)
		defer close(batches)
		defer func() {
			if fault := recover(); fault != nil { // nobody above this goroutine would
				err = fmt.Errorf("read the list: %v", fault)
			}
		}()
		err = list.rows(ctx, after, to, size, func(rows []hashRow) error {
			select {
			case batches <- rows:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return batches, func() error {
		<-ended
		return err
	}
}

// join joins some rows, as far as there is time.
func (s *session) join(ctx context.Context, rows []hashRow) error {
	signals := make([]hashing.Signal, 0, len(rows))
	of := make([]int, 0, len(rows)) // which row a signal is of
	for i, row := range rows {
		if row.err == nil {
			signals, of = append(signals, row.hash), append(of, i)
		}
	}
	next := 0
	note := func(until int) error { // the rows without a hit
		for next < until {
			from := next
			for next < until && rows[next].err == nil {
				next++
			}
			var err error
			if next > from {
				err = s.passed(ctx, next-from, rows[next-1].item().at())
			} else {
				err = s.note(ctx, rows[next].item(), Verdict{}, rows[next].err)
				next++
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	for at := 0; at < len(signals); {
		n, err := s.joinSome(ctx, signals[at:], func(i int, v Verdict) error {
			if err := note(of[at+i]); err != nil {
				return err
			}
			next++
			return s.note(ctx, rows[of[at+i]].item(), v, nil)
		})
		if err == errAsked {
			done, _ := slices.BinarySearch(of, next) // what it had told of is noted
			at = max(at, done)
			continue
		}
		if hopeless(err) {
			return hopelessError{err}
		}
		if err != nil {
			return err
		}
		if at += n; at < len(signals) && time.Now().After(s.until) {
			s.cut = true
			return note(of[at])
		}
	}
	return note(len(rows))
}

// joinSome joins as many of the hashes as there is room for now, and says how many. If somebody asks for something while it joins more than a
// few, it breaks off with errAsked, and takes less at a time until that has gone well: else whoever asks every few seconds would have it begin
// for ever.
func (s *session) joinSome(ctx context.Context, signals []hashing.Signal, found func(int, Verdict) error) (n int, err error) {
	release, alone, err := s.room(ctx)
	if err != nil {
		return 0, err
	}
	defer release()
	if !alone || s.most <= fewRows {
		n = min(len(signals), fewRows)
		err = s.r.o.Join(ctx, s.of, signals[:n], found)
	} else {
		n = min(len(signals), s.most)
		err = s.untilAsked(ctx, func(ctx context.Context) error { return s.r.o.Join(ctx, s.of, signals[:n], found) })
	}
	switch {
	case err == errAsked:
		s.most = n / 4
	case err == nil && alone && n >= s.most:
		s.most = min(2*max(s.most, fewRows), joinRows)
	}
	return n, err
}

// lookForOthers is how often it is seen whether somebody asks.
const lookForOthers = 20 * time.Millisecond

var errAsked = errors.New("somebody has asked for something")

// untilAsked has something done in a room that is its alone, until somebody asks for something: then it returns errAsked.
func (s *session) untilAsked(ctx context.Context, do func(context.Context) error) error {
	working, stop := context.WithCancelCause(ctx)
	var looking sync.WaitGroup
	defer looking.Wait()
	defer stop(nil)
	looking.Go(func() {
		tick := time.NewTicker(lookForOthers)
		defer tick.Stop()
		for {
			select {
			case <-working.Done():
				return
			case <-tick.C:
			}
			soon, cancel := context.WithTimeout(working, lookForOthers)
			release, alone, err := s.r.o.Idle(soon) // while nobody asks, there is more room
			cancel()
			if err == nil {
				release()
			}
			if !alone {
				stop(errAsked)
			}
		}
	})
	err := do(working)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil && context.Cause(working) == errAsked {
		err = errAsked
	}
	return err
}

func (r hashRow) item() Item { return Item{Name: r.id, Place: placeText(r.place)} }
