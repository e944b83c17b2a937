package main

import (
	"fmt"

	"vigie/internal/chart"
)

// textReport is what vigie bench text finds. Bytes of memory are those that the system counts, files mapped included,
// less those of the process before it made anything; 0 where it does not say.
type textReport struct {
	Docs        int         `json:"docs"`
	Processors  int         `json:"processors"`
	Fill        float64     `json:"fill_s"` // until all was on disk
	Bytes       int64       `json:"disk_bytes"`
	Peak        int64       `json:"peak_fill_bytes"`
	Resident    int64       `json:"resident_bytes"` // after the queries
	Open        float64     `json:"open_s"`         // with all checksums; the files are in the system's cache
	Rebuild     float64     `json:"rebuild_s"`      // with a restart half-way
	Compared    int         `json:"compared"`       // answers, of two pages each
	Differences int         `json:"differences"`
	All         quantiles   `json:"all"`
	Times       []textTimes `json:"times"`
}

// textTimes are those of one kind of query in one language.
type textTimes struct {
	Language string `json:"language"`
	Kind     string `json:"kind"`
	Hits     uint64 `json:"hits"` // of the query with the most
	Timed    int    `json:"timed"`
	quantiles
}

func (textReport) bench() string { return "text" }

func (r textReport) about() string {
	return fmt.Sprintf("%d entries in French, English, Arabic and Persian, %s. All queries: half within %s ms, 99 %% within %s ms. "+
		"Made a second time, with a restart half-way: %d of %s differ.",
		r.Docs, plural(r.Processors, "processor"), inMilliseconds(r.All.P50), inMilliseconds(r.All.P99), r.Differences, plural(r.Compared, "answer"))
}

func (r textReport) sheets() []sheet {
	mb := func(bytes int64) string { return fmt.Sprintf("%.0f", float64(bytes)/1e6) }
	seconds := func(v float64) string { return fmt.Sprintf("%.1f", v) }
	return []sheet{
		{
			title: "Text index",
			note: "Seconds until all is on disk, the first time and the second, and to open what is there. Megabytes on disk, at most in memory " +
				"while it was filled, and in memory after the queries, files mapped included.",
			head: []string{"entries", "fill s", "again s", "open s", "disk MB", "peak MB", "resident MB"},
			rows: [][]string{{
				fmt.Sprint(r.Docs), seconds(r.Fill), seconds(r.Rebuild), fmt.Sprintf("%.2f", r.Open), mb(r.Bytes), mb(r.Peak), mb(r.Resident),
			}},
		},
		{
			title: "Searches",
			note:  "Milliseconds for the first 20 hits, one query at a time. Hits are those of the query with the most.",
			head:  []string{"query", "language", "hits", "p50", "p99", "max"},
			rows: rowsOf(r.Times, func(t textTimes) []string {
				return []string{t.Kind, t.Language, fmt.Sprint(t.Hits), inMilliseconds(t.P50), inMilliseconds(t.P99), inMilliseconds(t.Max)}
			}),
		},
	}
}

func inMilliseconds(microseconds float64) string { return fmt.Sprintf("%.1f", microseconds/1000) }

func (r textReport) chart() chart.Bars {
	c := chart.Bars{
		Title: fmt.Sprintf("Text search over %d entries", r.Docs), Description: "Times of searches, by language and kind of query: the median and the 99th percentile.",
		Unit: "ms", Series: []chart.Series{{Name: "p99", Colour: "#4e79a7"}},
	}
	for _, t := range r.Times {
		if n := len(c.Groups); n == 0 || c.Groups[n-1].Name != t.Language {
			c.Groups = append(c.Groups, chart.Group{Name: t.Language})
		}
		g := &c.Groups[len(c.Groups)-1]
		g.Bars = append(g.Bars, chart.Bar{Label: t.Kind, Values: []float64{t.P99 / 1000}})
	}
	return c
}
