package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"vigie/matcher"
	"vigie/storage"
)

// Metrics are what /metrics serves. Labels come from fixed sets; nothing of a request is among them.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
	checks   *prometheus.CounterVec
	stages   *prometheus.HistogramVec
	flags    *prometheus.CounterVec
	applied  prometheus.Counter
	lag      prometheus.Histogram
	faults   prometheus.Counter
	unkept   prometheus.Counter
	videos   *prometheus.CounterVec
	decoded  prometheus.Counter
	shadows  *prometheus.CounterVec
	waits    *prometheus.HistogramVec
	shed     *prometheus.CounterVec
	limited  *prometheus.CounterVec
	commits  prometheus.Histogram
}

// NewMetrics makes the metrics of one node, on a registry of their own.
func NewMetrics() *Metrics {
	fast := prometheus.ExponentialBuckets(0.0005, 2, 16) // 0.5 ms to 16 s
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "vigie_http_request_seconds", Help: "Time to answer a request.", Buckets: fast,
		}, []string{"method", "route", "status"}),
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vigie_checks_total", Help: "Checks answered, by level of the verdict and what was asked about: media (pictures), video, signals.",
		}, []string{"level", "asked"}),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "vigie_check_stage_seconds", Help: "Time of a check by stage: hash (decode and hash), search, explain.", Buckets: fast,
		}, []string{"stage"}),
		flags: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vigie_flags_total", Help: "Flags committed, by whether they made a new entry.",
		}, []string{"created"}),
		applied: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vigie_changes_applied_total", Help: "Changes of the log applied to this node's index.",
		}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "vigie_apply_lag_seconds", Help: "From the commit of a change to its being matchable here.", Buckets: fast,
		}),
		faults: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vigie_follower_faults_total", Help: "Times that following the log failed and was tried again.",
		}),
	}
	m.unkept = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "vigie_uploads_unkept_total", Help: "Uploads that belong into the history and could not be put there: no look-back will find them.",
	})
	m.videos = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vigie_videos_total", Help: "Videos decoded, by how that ended: whole, cut, stopped, or the kind of error.",
	}, []string{"outcome"})
	m.decoded = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "vigie_video_seconds_total", Help: "Seconds of video decoded, by the time of the videos.",
	})
	m.shadows = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vigie_shadow_searches_total", Help: "Searches that were repeated by a plain loop over all rows, by whether the answers were the same.",
	}, []string{"same"})
	m.waits = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "vigie_wait_seconds", Help: "Time that admitted work waited for its turn, by its kind.", Buckets: fast,
	}, []string{"work"})
	m.shed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vigie_shed_total", Help: "Requests refused as there was too much work, by its kind and why: late (it would wait, or waited, too long), full (no room to wait), way (it made way for another), crowd (of any work: there was no processor left for it).",
	}, []string{"work", "reason"})
	m.limited = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "vigie_limited_total", Help: "Requests answered 429: beyond the rate of their key, without a good key again and again, or one reader of changes too many.",
	}, []string{"limit"})
	m.commits = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "vigie_commit_seconds", Help: "Time of a transaction that changes the catalogue, from its being asked for until it is on disk.", Buckets: fast,
	})
	m.registry.MustRegister(m.unkept, m.waits, m.shed, m.limited, m.commits)
	m.shadows.WithLabelValues("false") // at 0 from the start, so that an alarm can be set on it
	m.registry.MustRegister(m.requests, m.checks, m.stages, m.flags, m.applied, m.lag, m.faults, m.videos, m.decoded, m.shadows,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Gauge adds a value that is read when it is asked for.
func (m *Metrics) Gauge(name, help string, read func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
}

// Gauges adds a value for each of a fixed set of labels, read when it is asked for.
func (m *Metrics) Gauges(name, help, label string, read func() map[string]float64) {
	m.registry.MustRegister(readings{prometheus.NewDesc(name, help, []string{label}, nil), prometheus.GaugeValue, read})
}

// Counters likewise adds counts that only grow.
func (m *Metrics) Counters(name, help, label string, read func() map[string]float64) {
	m.registry.MustRegister(readings{prometheus.NewDesc(name, help, []string{label}, nil), prometheus.CounterValue, read})
}

// readings is a prometheus.Collector.
type readings struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func() map[string]float64
}

func (r readings) Describe(all chan<- *prometheus.Desc) { all <- r.desc }

func (r readings) Collect(all chan<- prometheus.Metric) {
	for label, v := range r.read() {
		all <- prometheus.MustNewConstMetric(r.desc, r.kind, v, label)
	}
}

// Counter adds a count that only grows, and is read when it is asked for.
func (m *Metrics) Counter(name, help string, read func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, read))
}

// Watch makes the matcher's events counted, besides what o has already.
func (m *Metrics) Watch(o matcher.Events) matcher.Events {
	had := o
	o.Checked = func(v matcher.Verdict) {
		if had.Checked != nil {
			had.Checked(v)
		}
		asked := "signals"
		if v.Media != nil {
			asked = "media"
			if v.Frames != nil {
				asked = "video"
			}
			m.stages.WithLabelValues("hash").Observe(v.Timings.Hash.Seconds())
		}
		m.checks.WithLabelValues(v.Level.String(), asked).Inc()
		if v.Unkept {
			m.unkept.Inc()
		}
		m.stages.WithLabelValues("search").Observe(v.Timings.Search.Seconds())
		m.stages.WithLabelValues("explain").Observe(v.Timings.Explain.Seconds())
	}
	o.Flagged = func(created bool) {
		if had.Flagged != nil {
			had.Flagged(created)
		}
		m.flags.WithLabelValues(strconv.FormatBool(created)).Inc()
	}
	o.Applied = func(seq uint64, changes int, lag time.Duration) {
		if had.Applied != nil {
			had.Applied(seq, changes, lag)
		}
		m.applied.Add(float64(changes))
		m.lag.Observe(lag.Seconds())
	}
	o.Fault = func(err error) {
		if had.Fault != nil {
			had.Fault(err)
		}
		m.faults.Inc()
	}
	return o
}

// Shadow counts a search that was repeated.
func (m *Metrics) Shadow(same bool) { m.shadows.WithLabelValues(strconv.FormatBool(same)).Inc() }

// Video counts a video that was decoded, or not. The outcome is of a fixed set.
func (m *Metrics) Video(outcome string, decoded time.Duration) {
	m.videos.WithLabelValues(outcome).Inc()
	m.decoded.Add(decoded.Seconds())
}

func (m *Metrics) request(method, route string, status int, took time.Duration) {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete:
	default:
		method = "other"
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Observe(took.Seconds())
}

// watchGate counts what a gate does.
func (m *Metrics) watchGate(work string, g *gate) {
	wait := m.waits.WithLabelValues(work)
	g.waited = func(d time.Duration) { wait.Observe(d.Seconds()) }
	shed := map[refusalCause]prometheus.Counter{}
	for _, why := range []refusalCause{causeLate, causeFull, causeWay} {
		shed[why] = m.shed.WithLabelValues(work, string(why))
	}
	g.shed = func(why refusalCause) { shed[why].Inc() }
	m.Gauge("vigie_"+work+"_running", "Requests that run, or are decoded: "+work+".", func() float64 {
		running, _ := g.load()
		return float64(running)
	})
	m.Gauges("vigie_"+work+"_waiting", "Requests that wait for their turn, by how urgent they are: "+work+".", "lane", func() map[string]float64 {
		_, waiting := g.load()
		all := map[string]float64{}
		for l, n := range waiting {
			all[lane(l).String()] = float64(n)
		}
		return all
	})
}

// Catalogue times the transactions of a catalogue that change something.
func (m *Metrics) Catalogue(c storage.Catalogue) storage.Catalogue { return timed{c, m.commits} }

type timed struct {
	storage.Catalogue
	took prometheus.Observer
}

func (t timed) Update(ctx context.Context, fn func(storage.Writer) error) error {
	began := time.Now()
	err := t.Catalogue.Update(ctx, fn)
	if err == nil {
		t.took.Observe(time.Since(began).Seconds())
	}
	return err
}

// Handler answers with all metrics, in Prometheus' text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
