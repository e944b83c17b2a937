package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"vigie/internal/chart"
)

// loadReport is what vigie bench load finds.
type loadReport struct {
	Processors    int         `json:"processors"`
	Own           bool        `json:"own_node"`        // on this machine
	Apart         int         `json:"node_processors"` // that it has for itself; 0: it shares them with what sends, or is elsewhere
	Keys          int         `json:"keys"`
	Pictures      int         `json:"pictures_percent"`
	Entries       int         `json:"entries"`
	Ramp          []rampStep  `json:"ramp"`
	Capacity      float64     `json:"capacity_per_s"`
	Phases        []loadPhase `json:"phases"`
	Recovery      float64     `json:"recovery_s"` // from the end of the load
	ResidentAfter int64       `json:"resident_after_bytes"`
}

// rampStep is so many who ask and wait for the answer, again and again.
type rampStep struct {
	Workers int     `json:"workers"`
	Rate    float64 `json:"accepted_per_s"`
}

// loadPhase is some time under one load.
type loadPhase struct {
	Name     string         `json:"name"`
	Duration float64        `json:"duration_s"`
	Offered  float64        `json:"offered_per_s"` // as asked for
	Sent     int            `json:"sent"`
	Accepted float64        `json:"accepted_per_s"`
	Shed     float64        `json:"shed_per_s"`
	Statuses map[string]int `json:"statuses"` // 0: no answer
	Last     float64        `json:"last_answer_s"`
	Kinds    [kinds]ofKind  `json:"kinds"`
	ByKey    []ofKey        `json:"by_key"`
	Seconds  []loadSecond   `json:"by_second"`
}

// ofKind is about the checks of one kind.
type ofKind struct {
	Kind     string    `json:"kind"`
	Accepted int       `json:"accepted"`
	Shed     int       `json:"shed"`
	Due      quantiles `json:"accepted_from_due"`  // from when it was to be sent
	Sent     quantiles `json:"accepted_from_sent"` // from when it was
	ShedTook quantiles `json:"shed_from_sent"`
}

type ofKey struct {
	Sent     int `json:"sent"`
	Accepted int `json:"accepted"`
}

type loadSecond struct {
	Second   int   `json:"second"`
	Accepted int   `json:"accepted"`
	Shed     int   `json:"shed"`
	UnderWay int   `json:"under_way"`
	Resident int64 `json:"resident_bytes"` // of the node and its children
}

// phaseOf sums up.
func phaseOf(name string, rate float64, length, took time.Duration, shots []shot, keys int, seconds []loadSecond) loadPhase {
	p := loadPhase{
		Name: name, Duration: length.Seconds(), Offered: rate, Sent: len(shots), Statuses: map[string]int{},
		Last: took.Seconds(), ByKey: make([]ofKey, keys), Seconds: seconds,
	}
	var due, sent, shed [kinds][]float64
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
	for _, s := range shots {
		p.Statuses[strconv.Itoa(s.status)]++
		p.ByKey[s.key].Sent++
		second := &loadSecond{}
		if at := int(s.done / time.Second); at < len(seconds) {
			second = &seconds[at]
		}
		k := &p.Kinds[s.kind]
		switch s.status {
		case http.StatusOK:
			k.Accepted++
			p.ByKey[s.key].Accepted++
			second.Accepted++
			due[s.kind], sent[s.kind] = append(due[s.kind], us(s.done-s.due)), append(sent[s.kind], us(s.done-s.sent))
		case http.StatusServiceUnavailable, http.StatusTooManyRequests:
			k.Shed++
			second.Shed++
			shed[s.kind] = append(shed[s.kind], us(s.done-s.sent))
		}
	}
	for i := range p.Kinds {
		k := &p.Kinds[i]
		k.Kind, k.Due, k.Sent, k.ShedTook = kindOf(i).String(), quantilesOf(due[i]), quantilesOf(sent[i]), quantilesOf(shed[i])
		p.Accepted += float64(k.Accepted) / took.Seconds()
		p.Shed += float64(k.Shed) / took.Seconds()
	}
	return p
}

// failed are the requests that were neither accepted nor shed.
func (p loadPhase) failed() int {
	accepted, shed := 0, 0
	for _, k := range p.Kinds {
		accepted, shed = accepted+k.Accepted, shed+k.Shed
	}
	return p.Sent - accepted - shed
}

// peak is the most memory that the node took.
func (p loadPhase) peak() (most int64) {
	for _, s := range p.Seconds {
		most = max(most, s.Resident)
	}
	return most
}

// verdict is an error if a request got no proper answer.
func (r *loadReport) verdict() error {
	var faults []error
	for _, p := range r.Phases {
		if n := p.failed(); n > 0 {
			faults = append(faults, fmt.Errorf("%s: %d of %d requests were neither answered nor refused properly; statuses %v", p.Name, n, p.Sent, p.Statuses))
		}
	}
	return errors.Join(faults...)
}

func (*loadReport) bench() string { return "load" }

func (r *loadReport) about() string {
	where := "a node elsewhere"
	switch {
	case r.Apart > 0:
		where = fmt.Sprintf("a node on %d of %d processors, beside what sends on the others,", r.Apart, r.Processors)
	case r.Own:
		where = fmt.Sprintf("a node that shares %d processors with what sends", r.Processors)
	}
	return fmt.Sprintf("%.0f checks a second is what %s can do, %d %% of them pictures, %d entries; %d keys. After twice of that it was itself again within %.1f s.",
		r.Capacity, where, r.Pictures, r.Entries, r.Keys, r.Recovery)
}

func (r *loadReport) sheets() []sheet {
	ms := func(us float64) string { return fmt.Sprintf("%.1f", us/1000) }
	mib := func(bytes int64) string { return fmt.Sprintf("%d", bytes>>20) }
	phases := sheet{
		title: "Load",
		note: "Requests a second. Offered: sent at times that are chance, whether or not those before were answered. Heavy: the key that sends " +
			"half of the load; quiet: the one that sends a request a second.",
		head: []string{"load", "seconds", "offered", "accepted", "shed", "no answer", "heavy key", "quiet key", "RSS first MiB", "RSS most", "RSS last"},
		rows: rowsOf(r.Phases, func(p loadPhase) []string {
			share := func(k ofKey) string { return fmt.Sprintf("%.0f %%", 100*float64(k.Accepted)/float64(max(1, k.Sent))) }
			first, last := int64(0), int64(0)
			if n := len(p.Seconds); n > 0 {
				first, last = p.Seconds[0].Resident, p.Seconds[n-1].Resident
			}
			return []string{
				p.Name, fmt.Sprintf("%.0f", p.Duration), fmt.Sprintf("%.0f", p.Offered), fmt.Sprintf("%.0f", p.Accepted), fmt.Sprintf("%.0f", p.Shed),
				fmt.Sprint(p.failed()), share(p.ByKey[0]), share(p.ByKey[len(p.ByKey)-1]), mib(first), mib(p.peak()), mib(last),
			}
		}),
	}
	times := sheet{
		title: "Latency, in milliseconds",
		note:  "Of accepted requests, from when they were due, and from when they were sent; and how soon others were refused.",
		head:  []string{"load", "of", "accepted", "due p50", "p99", "sent p50", "p99", "most", "shed", "p50", "p99"},
	}
	for _, p := range r.Phases {
		for _, k := range p.Kinds {
			times.rows = append(times.rows, []string{
				p.Name, k.Kind, fmt.Sprint(k.Accepted), ms(k.Due.P50), ms(k.Due.P99), ms(k.Sent.P50), ms(k.Sent.P99), ms(k.Sent.Max),
				fmt.Sprint(k.Shed), ms(k.ShedTook.P50), ms(k.ShedTook.P99),
			})
		}
	}
	ramp := sheet{
		title: "Capacity", note: "So many ask, wait for the answer, and ask again.", head: []string{"at a time", "accepted a second"},
		rows: rowsOf(r.Ramp, func(s rampStep) []string { return []string{fmt.Sprint(s.Workers), fmt.Sprintf("%.0f", s.Rate)} }),
	}
	return slices.Concat([]sheet{phases, times, ramp})
}

// chart shows the latency of accepted requests under either load.
func (r *loadReport) chart() chart.Bars {
	c := chart.Bars{
		Title: "Accepted checks under load", Unit: "ms",
		Description: "Two bars for each kind of check and load: the median and the 99th percentile of the time from sending to the answer.",
		Series:      []chart.Series{{Name: "p50", Colour: chart.Palette[0]}, {Name: "p99", Colour: chart.Palette[1]}},
	}
	for kind := range kinds {
		g := chart.Group{Name: strings.ToUpper(kind.String()[:1]) + kind.String()[1:]}
		for _, p := range r.Phases {
			k := p.Kinds[kind]
			g.Bars = append(g.Bars,
				chart.Bar{Label: p.Name + ", p50", Values: []float64{k.Sent.P50 / 1000, 0}, Note: fmt.Sprintf("%.1f ms", k.Sent.P50/1000)},
				chart.Bar{Label: p.Name + ", p99", Values: []float64{0, k.Sent.P99 / 1000}, Note: fmt.Sprintf("%.1f ms", k.Sent.P99/1000)})
		}
		c.Groups = append(c.Groups, g)
	}
	return c
}
