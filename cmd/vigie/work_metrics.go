package main

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"vigie/api"
	"vigie/rescan"
	"vigie/storage"
	"vigie/storage/jobs"
	"vigie/webhook"
)

// workCounts count what this process has done in the background.
type workCounts struct {
	none, review, likely, match, unchecked atomic.Int64 // items of re-scans
	delivered, undelivered                 atomic.Int64 // requests to webhooks
}

func (c *workCounts) saved(n storage.RescanCounts) {
	c.none.Add(n.None)
	c.review.Add(n.Review)
	c.likely.Add(n.Likely)
	c.match.Add(n.Match)
	c.unchecked.Add(n.Failed)
}

func (c *workCounts) sent(s webhook.Sent) {
	if s.Err == nil {
		c.delivered.Add(1)
	} else {
		c.undelivered.Add(1)
	}
}

// Looks at the jobs for metrics: few, however many scrape, and never longer than a scrape may take.
const (
	jobsLook     = 5 * time.Second
	jobsPatience = 2 * time.Second
)

// gauges adds metrics: of the jobs of the whole database, of which every node on it says the same, and of what this process has done. While
// the jobs cannot be asked, nothing is said of them.
func (w *work) gauges(m *api.Metrics) {
	var mu sync.Mutex
	var stats map[string]jobs.Stats
	var behind uint64
	var at time.Time
	look := func() (map[string]jobs.Stats, uint64) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(at) < jobsLook {
			return stats, behind
		}
		ctx, cancel := context.WithTimeout(context.Background(), jobsPatience)
		defer cancel()
		var err error
		if stats, err = w.engine.Stats(ctx); err == nil {
			behind, err = w.hooks.Lag(ctx)
		}
		if err != nil {
			stats = nil
		}
		at = time.Now()
		return stats, behind
	}
	each := func(name, help string, read func(jobs.Stats) float64) {
		m.Gauges(name, help, "kind", func() map[string]float64 {
			all := map[string]float64{}
			stats, _ := look()
			for kind, s := range stats {
				all[kind] = read(s)
			}
			return all
		})
	}
	each("vigie_jobs_waiting", "Jobs to be done now or later, of all nodes.", func(s jobs.Stats) float64 { return float64(s.Waiting) })
	each("vigie_jobs_running", "Jobs that are being done, by any node.", func(s jobs.Stats) float64 { return float64(s.Running) })
	each("vigie_jobs_dead", "Jobs that have failed for good, and are kept.", func(s jobs.Stats) float64 { return float64(s.Dead) })
	each("vigie_jobs_oldest_seconds", "How long the first of the jobs that wait could have been done; 0: there is none.", func(s jobs.Stats) float64 {
		if s.Oldest.IsZero() {
			return 0
		}
		return max(0, time.Since(s.Oldest).Seconds())
	})
	known := func(read func(stats map[string]jobs.Stats, behind uint64) float64) func() float64 {
		return func() float64 {
			stats, behind := look()
			if stats == nil {
				return math.NaN()
			}
			return read(stats, behind)
		}
	}
	m.Gauge("vigie_rescans_running", "Re-scans that go on, of all nodes: each has a job that looks after it.", known(func(stats map[string]jobs.Stats, _ uint64) float64 {
		plan := stats[rescan.PlanJob]
		return float64(plan.Waiting + plan.Running)
	}))
	m.Gauge("vigie_webhook_lag_changes", "Changes of the log that are not handed on to webhooks yet, by any node; what is handed on waits as jobs of kind webhook.",
		known(func(_ map[string]jobs.Stats, behind uint64) float64 { return float64(behind) }))
	m.Counters("vigie_rescan_items_total", "Items of re-scans that this process has checked, by the level of the verdict, or failed.", "level", func() map[string]float64 {
		c := &w.counts
		return map[string]float64{
			"none": float64(c.none.Load()), "review": float64(c.review.Load()), "likely": float64(c.likely.Load()),
			"match": float64(c.match.Load()), "failed": float64(c.unchecked.Load()),
		}
	})
	m.Counters("vigie_webhook_requests_total", "Requests of this process to webhooks, by whether they were delivered.", "outcome", func() map[string]float64 {
		return map[string]float64{"delivered": float64(w.counts.delivered.Load()), "failed": float64(w.counts.undelivered.Load())}
	})
}
