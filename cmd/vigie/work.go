package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"vigie/api"
	"vigie/internal/buildinfo"
	"vigie/internal/guard"
	"vigie/matcher"
	"vigie/rescan"
	"vigie/storage"
	"vigie/storage/jobs"
	"vigie/webhook"
)

// jobsFile has the jobs of a node whose catalogue is in its data folder. It goes with the catalogue.
const jobsFile = "jobs.db"

// work is what is done in the background, by whichever node has time for it: jobs, and what makes them.
type work struct {
	engine  jobs.Engine
	hooks   *webhook.Service
	rescans *rescan.Runner
	out     []*guard.Guard // what requests to others go through
	counts  workCounts
}

// openWork wires the jobs of a node. Nothing is done of them until [work.run]; they can be asked for.
func (c *Config) openWork(ctx context.Context, m *matcher.Matcher, store storage.Catalogue, admission *api.Admission, metrics *api.Metrics, log *slog.Logger) (*work, error) {
	outgoing := func(o guard.Options) *guard.Guard {
		o.Allow, o.UserAgent = c.AllowOutgoing, "vigie/"+buildinfo.Version()
		return guard.New(o)
	}
	toHooks := outgoing(guard.Options{Secure: true})
	toLists := outgoing(guard.Options{Redirects: 3, MaxBody: int64(c.MaxVideoBytes), Timeout: itemTimeout})
	w := &work{out: []*guard.Guard{toHooks, toLists}}
	if log.Enabled(ctx, slog.LevelWarn) { // a node, which does not wait for a file system that is away
		go func() {
			for name, err := range c.Sources.Unreadable() {
				log.Warn("a source cannot be read on this machine: re-scans of it fail here", "source", name, "error", err)
			}
		}()
	}

	fault := seldom(time.Minute, func(err error) { log.Error("jobs", "error", err) })
	sender := webhook.NewSender(m, store, toHooks, webhook.Options{
		Fault: fault,
		Sent: func(s webhook.Sent) {
			w.counts.sent(s)
			if s.Err != nil {
				log.Warn("webhook", "webhook", s.Webhook, "events", s.Events, "status", s.Status, "took", s.Took, "error", s.Err)
			}
		},
	})
	rescans := rescan.Options{
		Catalogue: store, Engine: func() jobs.Engine { return w.engine }, Sources: c.Sources, Client: toLists.Client(),
		Idle: admission.Idle, Workers: 2 * runtime.GOMAXPROCS(0), Finished: w.finished, Saved: w.counts.saved, Fault: fault, MaxBytes: int64(c.MaxVideoBytes),
		ItemTimeout: itemTimeout, VideoTimeout: c.VideoTimeout, Slice: 15 * time.Second,
	}
	rescan.Matcher(&rescans, m, api.RenderVerdict)
	w.rescans = rescan.New(rescans)

	of := jobHandlers(sender, m, w.rescans)
	var err error
	if c.Database != "" {
		w.engine, err = jobs.OpenRiver(ctx, string(c.Database), of, jobs.Options{Fault: fault})
	} else {
		w.engine, err = jobs.OpenLocal(ctx, filepath.Join(c.Data, jobsFile), of, jobs.Options{Fault: fault})
	}
	if err != nil {
		return nil, fmt.Errorf("open the jobs: %w", err)
	}
	w.hooks = webhook.New(w.engine, sender)
	w.gauges(metrics)
	return w, nil
}

// jobHandlers are those of all jobs there are, by kind.
func jobHandlers(sender *webhook.Sender, m *matcher.Matcher, rescans *rescan.Runner) map[string]jobs.Handler {
	of := map[string]jobs.Handler{webhook.Job: sender.Handler(), matcher.LookbackJob: m.LookbackHandler(), matcher.UploadsJob: m.UploadsHandler()}
	maps.Copy(of, rescans.Handlers())
	return of
}

// itemTimeout is how long a re-scan takes for a picture: what takes longer is set aside. Videos have as long as a check of them has, besides.
const itemTimeout = time.Minute

// dispatch makes jobs of what happens, until ctx ends.
func (w *work) dispatch(ctx context.Context) { _ = w.hooks.Run(ctx) }

// run does jobs until ctx ends, and waits then for those under way, a few seconds.
func (w *work) run(ctx context.Context, log *slog.Logger) {
	var recovering sync.WaitGroup
	defer recovering.Wait()
	recovering.Go(func() {
		for ctx.Err() == nil {
			pause := time.Minute
			if w.rescans.Recover(ctx) != nil { // the database is away
				pause = 5 * time.Second
			}
			sleep(ctx, pause)
		}
	})
	if err := w.engine.Run(ctx); err != nil && ctx.Err() == nil {
		log.Error("jobs are not done any more", "error", err)
	}
}

// finished tells the party of a re-scan that it has ended.
func (w *work) finished(ctx context.Context, r storage.Rescan) error {
	return w.hooks.Tell(ctx, r.Party, webhook.Event{
		ID: fmt.Sprintf("rescan:%d:%d", r.ID, r.FinishedAt.UnixNano()), Kind: matcher.EventRescan, At: r.FinishedAt, Data: api.EndOf(r),
	})
}

// Close lets go of the jobs. What ran has ended.
func (w *work) Close() error {
	for _, g := range w.out {
		g.Close()
	}
	return w.engine.Close()
}

// seldom passes on an error unless one with the same text was within a period: what is tried again and again fails again and
// again. It is safe for concurrent use.
func seldom(period time.Duration, tell func(error)) func(error) {
	var mu sync.Mutex
	told := map[string]time.Time{}
	return func(err error) {
		mu.Lock()
		maps.DeleteFunc(told, func(_ string, at time.Time) bool { return time.Since(at) >= period })
		_, recently := told[err.Error()]
		if !recently {
			told[err.Error()] = time.Now()
		}
		mu.Unlock()
		if !recently {
			tell(err)
		}
	}
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
