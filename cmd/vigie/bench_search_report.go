package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"vigie/internal/chart"
)

// searchReport is what vigie bench search finds: a run for each number of rows.
type searchReport []*searchRun

// searchRun is about one number of rows. With --json it is printed after its radii, as the line that has no radius.
// Bytes a row are of live and dead rows alike; those that the system counts are 0 where it does not say.
type searchRun struct {
	Kernel     string        `json:"kernel"`
	Processors int           `json:"processors"`
	N          int           `json:"n"`
	Data       string        `json:"data"`
	Hashes     int           `json:"like_hashes,omitempty"` // in the file of --like
	State      string        `json:"state"`
	Alive      int           `json:"live_rows"`
	Segments   int           `json:"segments"`
	BytesARow  float64       `json:"bytes_per_row"`      // as the index states them
	Resident   float64       `json:"resident_per_row"`   // as the system counts them, less those of the process before it made anything
	PeakBuild  float64       `json:"peak_build_per_row"` // at most, while Build went on, without the rows in memory
	PeakMerge  float64       `json:"peak_merge_per_row"` // at most, while rows came and merged
	Build      float64       `json:"build_s"`            // from rows in memory to an index that can be searched; steady: of the first 45 %
	Grow       float64       `json:"grow_s"`             // while the rest came
	Save       float64       `json:"save_s"`
	Load       float64       `json:"load_s"` // to the first answer, which is the right one; the file is in the system's cache
	Radii      []radiusTimes `json:"-"`
	Join       *joinReport   `json:"join,omitempty"`
	Live       *liveReport   `json:"live,omitempty"`
}

// radiusTimes are those of one radius.
type radiusTimes struct {
	N      int       `json:"n"`
	Data   string    `json:"data"`
	State  string    `json:"state"`
	Radius int       `json:"radius"`
	Engine latency   `json:"engine"` // of queries that are near nothing
	Hits   quantiles `json:"hits"`   // of those near a row
	Flat   struct {
		P50 float64 `json:"p50_us"`
		GBs float64 `json:"gb_per_s"`
	} `json:"flat_simd"`
	Scalar struct {
		P50 float64 `json:"p50_us"`
	} `json:"flat_scalar"`
	Scaling     float64     `json:"scaling"` // qps_all over qps_1
	Many        []manyTimes `json:"many,omitempty"`
	Checked     int         `json:"checked"`
	Differences int         `json:"differences"`
	BytesARow   float64     `json:"bytes_per_row"`
	Resident    float64     `json:"resident_per_row"`
	Build       float64     `json:"build_s"`
	Load        float64     `json:"load_s"`
}

// tell counts an answer that was compared with another one.
func (t *radiusTimes) tell(different bool) {
	t.Checked++
	if different {
		t.Differences++
	}
}

// latency is of one query at a time, by one goroutine and by one on each processor.
type latency struct {
	quantiles
	OneQPS float64 `json:"qps_1"`
	AllQPS float64 `json:"qps_all"`
}

// quantiles are those of some times, in microseconds.
type quantiles struct {
	P50 float64 `json:"p50_us"`
	P99 float64 `json:"p99_us"`
	Max float64 `json:"max_us"`
}

func quantilesOf(took []float64) quantiles {
	took = slices.Sorted(slices.Values(took))
	return quantiles{quantile(took, .5), quantile(took, .99), quantile(took, 1)}
}

// manyTimes is of queries that are asked so many at a time.
type manyTimes struct {
	Queries int     `json:"queries"`
	Each    float64 `json:"us_per_query"`
}

type joinReport struct {
	Values      int     `json:"values"`
	Rate        float64 `json:"values_per_second"`
	Hits        int     `json:"hits"`
	Differences int     `json:"differences"` // values for which a single query finds something else
}

type liveReport struct {
	Duration      float64      `json:"duration_s"`
	AskedInserts  int          `json:"asked_inserts_per_s"`
	AskedDeletes  int          `json:"asked_deletes_per_s"`
	Inserts       float64      `json:"inserts_per_s"`
	Deletes       float64      `json:"deletes_per_s"`
	KeptUp        bool         `json:"kept_up"` // at least 99 % of both
	LongestChange float64      `json:"longest_change_ms"`
	Pace          int          `json:"pace"`
	Searches      int          `json:"searches"`
	Live          quantiles    `json:"live"`              // from when a search was due to its answer
	Idle          quantiles    `json:"idle"`              // the same, afterwards, at the same pace
	LiveAlone     quantiles    `json:"live_search_alone"` // without the waiting
	IdleAlone     quantiles    `json:"idle_search_alone"`
	Ratio         float64      `json:"p99_ratio"`
	Visible       quantiles    `json:"visible"` // from an insert's begin to the first search that finds the row
	Checked       int          `json:"checked"`
	Differences   int          `json:"differences"`
	Rows          int          `json:"rows"` // alive at the end
	Segments      int          `json:"segments"`
	Seconds       []liveSecond `json:"by_second"`
}

type liveSecond struct {
	Second   int       `json:"second"`
	Search   quantiles `json:"search"`
	Visible  quantiles `json:"visible"`
	Rows     int       `json:"rows"`
	Segments int       `json:"segments"`
	Resident int64     `json:"resident_bytes"`
}

// verdict is an error if an answer was wrong.
func (r searchReport) verdict() error {
	checked, wrong := 0, 0
	for _, run := range r {
		for _, t := range run.Radii {
			checked, wrong = checked+t.Checked, wrong+t.Differences
		}
		if run.Join != nil {
			checked, wrong = checked+run.Join.Values, wrong+run.Join.Differences
		}
		if run.Live != nil {
			checked, wrong = checked+run.Live.Checked, wrong+run.Live.Differences
		}
	}
	if wrong > 0 {
		return fmt.Errorf("WRONG ANSWERS: %d of %d differ from what a plain loop finds", wrong, checked)
	}
	return nil
}

// publish prints, and writes the files that were asked for.
func (c *searchBenchCmd) publish(p printer, r searchReport) error {
	if c.SVGDir != "" {
		if err := os.MkdirAll(c.SVGDir, 0o777); err != nil {
			return err
		}
		for name, drawn := range r.charts() {
			var b bytes.Buffer
			if err := drawn.WriteSVG(&b); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(c.SVGDir, name), b.Bytes(), 0o666); err != nil {
				return err
			}
		}
	}
	if p.json {
		for _, run := range r {
			for _, t := range run.Radii {
				if err := p.object(t); err != nil {
					return err
				}
			}
			if err := p.object(run); err != nil {
				return err
			}
		}
		p = printer{streams: streams{out: io.Discard, err: p.err}} // the lines are printed; files are not written yet
	}
	return c.benchFiles.publish(p, r)
}

// bench names the report by what tells it from others that stand in the same page.
func (r searchReport) bench() string {
	name, sep := "search --rows", " "
	for _, run := range r {
		name += fmt.Sprint(sep, run.N)
		sep = ","
	}
	first := r[0]
	for _, part := range []struct {
		there bool
		flag  string
	}{{first.Hashes > 0, " --like"}, {first.State != "fresh", " --state " + first.State}, {!first.timed(), " --queries 0"}, {first.Live != nil, " --live"}} {
		if part.there {
			name += part.flag
		}
	}
	return name
}

func (r *searchRun) timed() bool { return r.Radii[0].Engine.P50 > 0 }

func (r searchReport) about() string {
	first := r[0]
	text := fmt.Sprintf("Kernel %s, %s.", first.Kernel, plural(first.Processors, "processor"))
	if first.Hashes > 0 {
		text += fmt.Sprintf(" Rows are drawn after %d hashes of a file.", first.Hashes)
	}
	for _, run := range r {
		text += "\n" + run.about()
	}
	return text
}

func (r *searchRun) about() string {
	checked, wrong, least, most := 0, 0, 256, 0
	for _, t := range r.Radii {
		checked, wrong, least, most = checked+t.Checked, wrong+t.Differences, min(least, t.Radius), max(most, t.Radius)
	}
	text := fmt.Sprintf("%s in %s. %s at radii from %d to %d compared with a plain loop's: %d differ.",
		r.name(), plural(r.Segments, "part"), plural(checked, "answer"), least, most, wrong)
	if j := r.Join; j != nil {
		text += fmt.Sprintf(" %.0f values a second are joined at radius %d: %d values, %d hits; compared with single queries, %d differ.", j.Rate, joinRadius, j.Values, j.Hits, j.Differences)
	}
	return text
}

// name says what was measured.
func (r *searchRun) name() string {
	return fmt.Sprintf("%s rows, %s, %s,", millions(r.N), r.Data, r.State)
}

func millions(n int) string {
	if n%1_000_000 == 0 {
		return fmt.Sprintf("%d million", n/1_000_000)
	}
	return fmt.Sprint(n)
}

func (r searchReport) sheets() []sheet {
	decimal := func(v float64) string { return fmt.Sprintf("%.1f", v) }
	whole := func(v float64) string { return fmt.Sprintf("%.0f", v) }
	sheets := []sheet{{
		title: "Memory and time",
		note: "Bytes a row: as the index states them, as the system counts them for the process when nothing else is left, and at most, while the index " +
			"was built and while rows came and merged. Seconds: to build an index of rows in memory (steady: of the first 45 %), for the rest to come, " +
			"to save, and to load and verify up to the first right answer.",
		head: []string{"rows", "data", "state", "bytes stated", "resident", "peak, build", "peak, merges", "build s", "rest s", "save s", "load s"},
		rows: rowsOf(r, func(run *searchRun) []string {
			seconds := func(v float64) string { return fmt.Sprintf("%.2f", v) }
			return []string{
				millions(run.N), run.Data, run.State, decimal(run.BytesARow), decimal(run.Resident), decimal(run.PeakBuild), decimal(run.PeakMerge),
				seconds(run.Build), seconds(run.Grow), seconds(run.Save), seconds(run.Load),
			}
		}),
	}}
	for _, run := range r {
		if !run.timed() {
			continue
		}
		sheets = append(sheets, sheet{
			title: fmt.Sprintf("One query among %s in microseconds", run.name()),
			note:  "Misses are near nothing, hits near a row. Flat: all rows compared, by vector instructions, and the plain loop: both in turn with the others.",
			head:  []string{"radius", "miss p50", "p99", "hit p50", "p99", "a second, 1 thread", "all", "all / 1", "flat", "GB/s", "plain loop", "flat / miss", "loop / miss", "checked", "differences"},
			rows: rowsOf(run.Radii, func(t radiusTimes) []string {
				return []string{
					fmt.Sprint(t.Radius), decimal(t.Engine.P50), decimal(t.Engine.P99), decimal(t.Hits.P50), decimal(t.Hits.P99),
					whole(t.Engine.OneQPS), whole(t.Engine.AllQPS), fmt.Sprintf("%.2f", t.Scaling), decimal(t.Flat.P50), decimal(t.Flat.GBs), decimal(t.Scalar.P50),
					whole(t.Flat.P50 / t.Engine.P50), whole(t.Scalar.P50 / t.Engine.P50), fmt.Sprint(t.Checked), fmt.Sprint(t.Differences),
				}
			}),
		}, sheet{
			title: fmt.Sprintf("Many queries at a time among %s microseconds a query", run.name()),
			head:  []string{"radius", "1", "8", "32", "256"},
			rows: rowsOf(run.Radii, func(t radiusTimes) []string {
				cells := []string{fmt.Sprint(t.Radius), decimal(1e6 / t.Engine.OneQPS)}
				for _, m := range t.Many {
					cells = append(cells, decimal(m.Each))
				}
				return cells
			}),
		})
	}
	for _, run := range r {
		if l := run.Live; l != nil {
			sheets = append(sheets, l.sheet(run))
		}
	}
	return sheets
}

func (l *liveReport) sheet(run *searchRun) sheet {
	keeping := "Changes kept up"
	if !l.KeptUp {
		keeping = "CHANGES DID NOT KEEP UP"
	}
	row := func(name string, s quantiles) []string {
		return []string{name, fmt.Sprintf("%.1f", s.P50), fmt.Sprintf("%.1f", s.P99), fmt.Sprintf("%.1f", s.Max)}
	}
	return sheet{
		title: fmt.Sprintf("Searches while %s change, in microseconds", strings.TrimSuffix(run.name(), ",")),
		note: fmt.Sprintf("%.0f inserts and %.0f deletes a second for %.0f s, of %d and %d asked. %s; the longest took %.1f ms. %d searches at radius %d, "+
			"%d a second, from when they were due; idle is the same pace afterwards, among %d rows in %s. p99 live is %.1f times p99 idle. "+
			"%d answers were checked, %d were wrong.",
			l.Inserts, l.Deletes, l.Duration, l.AskedInserts, l.AskedDeletes, keeping, l.LongestChange, l.Searches, joinRadius,
			l.Pace, l.Rows, plural(l.Segments, "part"), l.Ratio, l.Checked, l.Differences),
		head: []string{"", "p50", "p99", "longest"},
		rows: [][]string{row("answer, live", l.Live), row("answer, idle", l.Idle), row("search alone, live", l.LiveAlone), row("search alone, idle", l.IdleAlone), row("insert to visible", l.Visible)},
	}
}

// chart is the medians of the last run, which has the most to show.
func (r searchReport) chart() chart.Bars {
	run := r[len(r)-1]
	var bars []chart.Bar
	for _, t := range run.Radii {
		bars = append(bars, chart.Bar{Label: fmt.Sprintf("radius %d", t.Radius), Values: []float64{t.Engine.P50}, Note: fmt.Sprintf("%.1f", t.Engine.P50)})
	}
	return chart.Bars{
		Title: fmt.Sprintf("A search among %s rows, in microseconds", millions(run.N)), Unit: "us", Description: r.about(),
		Series: []chart.Series{{Name: "median", Colour: chart.Palette[0]}}, Groups: []chart.Group{{Bars: bars}},
	}
}

// charts are drawn to files of these names: for each run by radius and over time, and for all of them by rows.
func (r searchReport) charts() map[string]chart.Lines {
	charts := map[string]chart.Lines{}
	var byRows []radiusTimes
	for _, run := range r {
		name := func(what string) string {
			data := ""
			if run.Hashes > 0 {
				data = "-like"
			}
			return fmt.Sprintf("%s-%s%s-%d.svg", what, run.State, data, run.N)
		}
		if run.timed() {
			charts[name("radius")] = methods("A search by radius, among "+millions(run.N)+" rows", r.about(), chart.Axis{Name: "radius, in bits"},
				run.Radii, func(t radiusTimes) float64 { return float64(t.Radius) })
			for _, t := range run.Radii {
				if t.Radius == joinRadius {
					byRows = append(byRows, t)
				}
			}
		}
		if run.Live != nil {
			charts[name("live")], charts[name("live-memory")] = run.Live.charts(run)
		}
	}
	if len(byRows) > 1 {
		charts["rows-"+r[0].State+".svg"] = methods(fmt.Sprintf("A search at radius %d, by the number of rows", joinRadius), r.about(),
			chart.Axis{Name: "rows", Log: true}, byRows, func(t radiusTimes) float64 { return float64(t.N) })
	}
	return charts
}

// methods is a chart of the ways to search.
func methods(title, about string, x chart.Axis, all []radiusTimes, at func(radiusTimes) float64) chart.Lines {
	c := chart.Lines{Title: title, Description: about, X: x, Y: chart.Axis{Name: "microseconds, median of queries that find nothing", Log: true}}
	for i, method := range []struct {
		name string
		p50  func(radiusTimes) float64
	}{
		{"tables", func(t radiusTimes) float64 { return t.Engine.P50 }},
		{"flat, vector instructions", func(t radiusTimes) float64 { return t.Flat.P50 }},
		{"flat, plain loop", func(t radiusTimes) float64 { return t.Scalar.P50 }},
	} {
		line := chart.Line{Name: method.name, Colour: chart.Palette[i]}
		for _, t := range all {
			line.Points = append(line.Points, chart.Point{X: at(t), Y: method.p50(t)})
		}
		c.Lines = append(c.Lines, line)
	}
	return c
}

// charts are the times of every second, and the memory.
func (l *liveReport) charts(run *searchRun) (times, memory chart.Lines) {
	seconds := chart.Axis{Name: "seconds"}
	line := func(name string, colour int, value func(liveSecond) float64) chart.Line {
		line := chart.Line{Name: name, Colour: chart.Palette[colour]}
		for _, s := range l.Seconds {
			line.Points = append(line.Points, chart.Point{X: float64(s.Second), Y: value(s)})
		}
		return line
	}
	load := fmt.Sprintf("%.0f inserts and %.0f deletes a second", l.Inserts, l.Deletes)
	return chart.Lines{
			Title: "Searches during " + load, Description: run.about(), X: seconds, Y: chart.Axis{Name: "microseconds", Log: true},
			Lines: []chart.Line{
				line("search, p50", 0, func(s liveSecond) float64 { return s.Search.P50 }),
				line("search, p99", 1, func(s liveSecond) float64 { return s.Search.P99 }),
				line("insert to visible, p50", 2, func(s liveSecond) float64 { return s.Visible.P50 }),
			},
		}, chart.Lines{
			Title: "Memory during " + load, Description: run.about(), X: seconds, Y: chart.Axis{Name: "MB"},
			Lines: []chart.Line{
				line("resident MB", 0, func(s liveSecond) float64 { return float64(s.Resident) / 1e6 }),
			},
		}
}
