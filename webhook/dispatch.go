package webhook

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/jobs"
)

const (
	pageSize = 500           // changes read at a time
	maxPages = 20            // of changes, and of matches, before the place is moved on
	maxWidth = 10 * pageSize // changes, or matches, that the stretch of one delivery spans
	maxBytes = 1 << 20       // of changes, read at a time: one may hold a whole video
	keepDead = 30 * 24 * time.Hour
	tidying  = time.Hour        // between looks for what has been dead for so long
	period   = time.Second      // events of which are collected
	hold     = 30 * time.Second // after which a dispatcher that says nothing is taken for dead
	headPage = 2000             // matches read at a time
	enqueued = 500              // jobs at a time
)

// Service dispatches what happens, and makes and tests webhooks. Its methods are safe for concurrent use.
type Service struct {
	*Sender
	jobs   jobs.Engine
	holder string    // this process
	tidied time.Time // by Run
	pings  pings
}

// New makes a service over the engine that has the sender's handler.
func New(engine jobs.Engine, sender *Sender) *Service {
	return &Service{Sender: sender, jobs: engine, holder: rand.Text(), pings: pings{of: map[storage.PartyID]int{}}}
}

// Run dispatches until ctx ends, and returns its error. Of the processes that run it on one catalogue, one does at a time; the
// others look now and then whether it still does. To be called once.
func (s *Service) Run(ctx context.Context) error {
	defer s.leave(ctx)
	for wait := time.Duration(0); ; {
		began := s.o.Now()
		more, seen, err := s.pass(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch {
		case err != nil:
			if !errors.Is(err, storage.ErrConflict) { // another process was quicker
				s.fault(fmt.Errorf("hand events on to webhooks: %w", err))
			}
			wait = min(max(2*wait, period), 30*period)
		case more:
			wait = 0
		default:
			wait = max(0, period-s.o.Now().Sub(began)) // what comes meanwhile is collected
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		if err == nil && !more { // matches do not show in the log, so that it is only waited for so long
			waiting, cancel := context.WithTimeout(ctx, period)
			_ = s.catalogue.Wait(waiting, seen)
			cancel()
		}
	}
}

// leave lets another process take over at once, as far as the catalogue answers.
func (s *Service) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*period)
	defer cancel()
	var d storage.Dispatch
	err := s.catalogue.View(ctx, func(r storage.Reader) (err error) {
		d, err = r.Dispatch()
		return err
	})
	if err == nil && d.Holder == s.holder {
		_ = s.catalogue.Update(ctx, func(w storage.Writer) error { return w.LeaveDispatch(s.holder) })
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// pass hands on what there is, up to a bound: more tells that there is more. seen is the last change of which nothing is left to do.
func (s *Service) pass(ctx context.Context) (more bool, seen uint64, err error) {
	state := s.matcher.Follower().State()
	if state == nil {
		return false, 0, nil
	}
	l, err := s.look(ctx)
	if err != nil {
		return false, 0, err
	}
	if l.logID != state.LogID {
		return false, l.present.Log, nil // the database was replaced, and the follower is to notice
	}
	until := storage.Position{Log: min(l.present.Log, state.Seq), Match: l.present.Match} // rights are known as of the state
	from := ahead(l.dispatch.Position, l.hooks)
	others := l.dispatch.HeldBeside(s.holder, s.o.Now(), hold)
	if len(l.hooks) == 0 || others || !from.Behind(until) {
		return false, l.present.Log, nil
	}
	// From here on this process is the one, unless it stands still for too long: then Dispatched fails.
	d := l.dispatch
	if d.Holder != s.holder || d.Until.Sub(s.o.Now()) < hold/2 {
		err = s.catalogue.Update(ctx, func(w storage.Writer) (err error) {
			d, err = w.TakeDispatch(s.holder, hold)
			return err
		})
		if err != nil {
			return false, l.present.Log, err
		}
	}
	s.tidy(ctx)
	b := batches{log: state.LogID, of: map[key]*args{}}
	to := ahead(d.Position, l.hooks)
	if to.Log, err = s.changes(ctx, state, l.hooks, to.Log, until.Log, &b); err != nil {
		return false, l.present.Log, err
	}
	if to.Match, err = s.matches(ctx, state, l.hooks, to.Match, until.Match, &b); err != nil {
		return false, l.present.Log, err
	}
	for some := range slices.Chunk(b.jobs(), enqueued) {
		if err := s.jobs.Enqueue(ctx, some...); err != nil {
			return false, l.present.Log, err
		}
	}
	err = s.catalogue.Update(ctx, func(w storage.Writer) error { return w.Dispatched(s.holder, to, hold) })
	return to.Behind(until), to.Log, err
}

// tidy removes what has been dead for long, now and then.
func (s *Service) tidy(ctx context.Context) {
	now := s.o.Now()
	if now.Sub(s.tidied) < tidying {
		return
	}
	s.tidied = now
	if err := s.jobs.Expire(ctx, Job, now.Add(-keepDead)); err != nil {
		s.fault(fmt.Errorf("remove deliveries that were given up long ago: %w", err))
	}
}

// ahead is a place, moved on to where the first webhook begins: nobody is told of what came before.
func ahead(at storage.Position, hooks []storage.Webhook) storage.Position {
	if len(hooks) == 0 {
		return at
	}
	first := hooks[0].Since
	for _, h := range hooks {
		first.Log, first.Match = min(first.Log, h.Since.Log), min(first.Match, h.Since.Match)
	}
	return storage.Position{Log: max(at.Log, first.Log), Match: max(at.Match, first.Match)}
}

// looked is what is to be done, as of one moment.
type looked struct {
	hooks    []storage.Webhook // that are on
	dispatch storage.Dispatch
	logID    string
	// present is as far as one may go: beyond it there may be webhooks that are not among these.
	present storage.Position
}

func (s *Service) look(ctx context.Context) (l looked, err error) {
	err = s.catalogue.View(ctx, func(r storage.Reader) (err error) {
		if l.hooks, err = r.Webhooks(); err != nil {
			return err
		}
		l.hooks = slices.DeleteFunc(l.hooks, func(h storage.Webhook) bool { return h.Disabled != "" })
		head, err := r.Head()
		if err != nil {
			return err
		}
		l.logID = head.LogID
		if l.dispatch, err = r.Dispatch(); err != nil {
			return err
		}
		l.present, err = r.Present()
		return err
	})
	return l, err
}

// changes goes through the log, and returns how far.
func (s *Service) changes(ctx context.Context, state *matcher.State, hooks []storage.Webhook, at, until uint64, b *batches) (uint64, error) {
	for range maxPages {
		changes, err := s.page(ctx, at, until)
		if err != nil || len(changes) == 0 {
			return at, err
		}
		for _, c := range changes {
			for _, h := range hooks {
				if c.Seq > h.Since.Log && tells(state, h, c) {
					b.add(h.ID, fromLog, c.Seq)
				}
			}
			at = c.Seq
		}
	}
	return at, nil
}

// page reads the next changes of a stretch, at most [pageSize], and no more than [maxBytes], unless a single one has more.
func (s *Sender) page(ctx context.Context, after, until uint64) ([]storage.Change, error) {
	if after >= until {
		return nil, nil
	}
	var sizes []int64
	err := s.catalogue.View(ctx, func(r storage.Reader) (err error) {
		sizes, err = r.ChangeSizes(after, int(min(pageSize, until-after)))
		return err
	})
	if err != nil || len(sizes) == 0 {
		return nil, err
	}
	n, sum := 1, sizes[0]
	for n < len(sizes) && sum+sizes[n] <= maxBytes {
		sum += sizes[n]
		n++
	}
	return s.catalogue.Changes(ctx, after, n)
}

// matches goes through the matches up to a place, and returns how far.
func (s *Service) matches(ctx context.Context, state *matcher.State, hooks []storage.Webhook, at, until uint64, b *batches) (uint64, error) {
	for page := 0; page < maxPages && at < until; page++ {
		var heads []storage.MatchHead
		err := s.catalogue.View(ctx, func(r storage.Reader) (err error) {
			heads, err = r.MatchHeads(at, headPage)
			return err
		})
		if err != nil {
			return at, err
		}
		for _, m := range heads {
			if m.Ord > until {
				break
			}
			for _, h := range hooks {
				if m.Party == h.Party && m.Ord > h.Since.Match && wants(h, matchKind(m.Past)) && !state.Parties[h.Party].Suspended {
					b.add(h.ID, fromMatches, m.Ord)
				}
			}
			at = m.Ord
		}
		if len(heads) == 0 || heads[len(heads)-1].Ord >= until {
			return max(at, until), nil
		}
	}
	return at, nil
}

// batches collects events into deliveries.
type batches struct {
	log  string
	of   map[key]*args // not full yet
	full []args
}

type key struct {
	webhook storage.WebhookID
	source  source
}

func (b *batches) add(webhook storage.WebhookID, s source, place uint64) {
	k := key{webhook, s}
	a := b.of[k]
	if a != nil && (a.Count == MaxEvents || place-a.After > maxWidth) {
		b.full, a = append(b.full, *a), nil
	}
	if a == nil {
		a = &args{Webhook: webhook, Source: s, Log: b.log, After: place - 1}
		b.of[k] = a
	}
	a.Until = place
	a.Count++
}

// jobs are all that was collected: first what is about matches, on which people wait.
func (b *batches) jobs() (all []jobs.Job) {
	collected := b.full
	for _, a := range b.of {
		collected = append(collected, *a)
	}
	slices.SortFunc(collected, func(a, b args) int {
		switch {
		case a.Source != b.Source && a.Source == fromMatches:
			return -1
		case a.Source != b.Source:
			return 1
		case a.After != b.After:
			return int(int64(a.After) - int64(b.After))
		}
		return int(int64(a.Webhook) - int64(b.Webhook))
	})
	for _, a := range collected {
		all = append(all, a.job())
	}
	return all
}

func (a args) job() jobs.Job {
	text, _ := json.Marshal(a) // plain structs: cannot fail
	return jobs.Job{Kind: Job, Key: a.key(), Args: text}
}

// Tell tells a party's webhooks of events that neither the log nor the matches show; it returns when that is durable. Their ids name
// them for all times, in at most 150 bytes: told again under the same id while it is on its way, an event is told once. A job holds one
// ([jobs.MaxArgs]).
func (s *Service) Tell(ctx context.Context, party storage.PartyID, events ...Event) error {
	var hooks []storage.Webhook
	err := s.catalogue.View(ctx, func(r storage.Reader) (err error) {
		hooks, err = r.Webhooks()
		return err
	})
	if err != nil {
		return err
	}
	var all []jobs.Job
	for _, h := range hooks {
		if h.Party != party || h.Disabled != "" {
			continue
		}
		for _, e := range events {
			if !wants(h, e.Kind) {
				continue
			}
			job := args{Webhook: h.ID, Source: fromArgs, Party: party, Count: 1, Events: []Event{e}}.job()
			if len(job.Args) > jobs.MaxArgs {
				return fmt.Errorf("event %s is told with %d bytes, accepted are %d", e.ID, len(job.Args), jobs.MaxArgs)
			}
			all = append(all, job)
		}
	}
	for some := range slices.Chunk(all, enqueued) {
		if err := s.jobs.Enqueue(ctx, some...); err != nil {
			return err
		}
	}
	return nil
}
