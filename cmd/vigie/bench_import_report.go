package main

import (
	"fmt"
	"strings"

	"vigie/exchange"
	"vigie/internal/chart"
)

// importBenchReport is what vigie bench import finds.
type importBenchReport struct {
	Processors int                       `json:"processors"`
	Rows       int                       `json:"rows"`
	ListBytes  int64                     `json:"list_bytes"`
	Planted    map[exchange.Reason]int64 `json:"planted"`               // bad rows of the list
	Import     importBenchRun            `json:"import"`                // of the list
	Resident   int64                     `json:"resident"`              // bytes, at most while it was imported
	TextBehind float64                   `json:"text_behind_s"`         // until words of the last row were found
	Idle       *importBenchLoad          `json:"load_before,omitempty"` // with --with-load
	Live       *importBenchLoad          `json:"load_meanwhile,omitempty"`
	Export     importBenchExport         `json:"export"`
	Again      importBenchRun            `json:"again"` // import of the export into another bank, in three runs
	Kills      int                       `json:"kills"`
	Changes    int64                     `json:"changes"` // of the log, while it was imported again: one for each entry
	Equal      bool                      `json:"equal"`   // what was exported from both banks
	Sizes      struct {
		Catalogue int64 `json:"catalogue"` // with the log
		Text      int64 `json:"text"`
		Index     int64 `json:"index"`
	} `json:"bytes"`
}

// importBenchRun is an import; its time is with what the programs take to start.
type importBenchRun struct {
	Seconds float64      `json:"seconds"`
	Report  importReport `json:"report"`
}

func (r importBenchRun) rate() float64 { return float64(r.Report.Read) / max(r.Seconds, 0.001) }

type importBenchExport struct {
	Seconds float64 `json:"seconds"`
	Entries int     `json:"entries"`
	Bytes   int64   `json:"bytes"`
	SHA256  string  `json:"sha256"`
}

// of is e, but for the time that it took.
func (e importBenchExport) of(other importBenchExport) importBenchExport {
	e.Seconds = other.Seconds
	return e
}

func (r *importBenchReport) bench() string { return "import" }

func (r *importBenchReport) about() string {
	return fmt.Sprintf("A list of %s rows (%s), %d of them bad, into a node on SQLite, on %d processors: %.0f rows a second.",
		millions(r.Rows), humanBytes(r.ListBytes), r.bad(), r.Processors, r.Import.rate())
}

func (r *importBenchReport) bad() (n int64) {
	for _, rows := range r.Planted {
		n += rows
	}
	return n
}

// faults are what differs from what must be.
func (r *importBenchReport) faults() (faults []string) {
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	good := int64(r.Rows) - r.bad()
	report := r.Import.Report
	fault(report.Read != int64(r.Rows), "the report has %d rows, the list %d", report.Read, r.Rows)
	fault(int64(report.Created) != good, "%d entries were made of %d good rows", report.Created, good)
	for reason, n := range r.Planted {
		if s := report.Skipped[reason]; s == nil || s.Rows != n {
			fault(true, "%d rows were made bad by %s, the report has others", n, reason)
		}
	}
	fault(len(report.Skipped) != len(r.Planted), "the report has %d reasons, the list %d", len(report.Skipped), len(r.Planted))
	fault(int64(r.Export.Entries) != good, "%d entries were exported of %d", r.Export.Entries, good)
	again := r.Again.Report
	fault(again.Read != good || again.OK != good || again.Sourced != 0, "of what was exported, %d rows, %d were read again, %d taken, %d as new sources",
		good, again.Read, again.OK, again.Sourced)
	fault(r.Changes != good, "the second import made %d changes for %d entries", r.Changes, good)
	fault(!r.Equal, "what was exported from both banks differs")
	for _, l := range []*importBenchLoad{r.Idle, r.Live} {
		fault(l != nil && l.Failed+l.Wrong > 0, "of the flags and checks beside it some failed, or checks were wrong")
	}
	return faults
}

func (r *importBenchReport) verdict() error {
	if f := r.faults(); len(f) > 0 {
		return fmt.Errorf("bench: %s", strings.Join(f, "; "))
	}
	return nil
}

func (r *importBenchReport) sheets() []sheet {
	seconds := func(s float64) string { return fmt.Sprintf("%.1f s", s) }
	all := []sheet{{
		title: "Import and export",
		note:  fmt.Sprintf("The second import is of what was exported, into another bank; the importer was killed after a third, the node after two thirds (%d rows were sent twice).", r.Again.Report.Same),
		head:  []string{"what", "time", "rows a second", "result"},
		rows: [][]string{
			{"import", seconds(r.Import.Seconds), fmt.Sprintf("%.0f", r.Import.rate()), fmt.Sprintf("%d new, %d skipped", r.Import.Report.Created, r.Import.Report.Read-r.Import.Report.OK)},
			{"until words of it are found", seconds(r.TextBehind), "", ""},
			{"export", seconds(r.Export.Seconds), fmt.Sprintf("%.0f", float64(r.Export.Entries)/r.Export.Seconds), humanBytes(r.Export.Bytes)},
			{"import again, killed and resumed", seconds(r.Again.Seconds), fmt.Sprintf("%.0f", r.Again.rate()), fmt.Sprintf("%d changes", r.Changes)},
			{"export again", "", "", map[bool]string{true: "equal, byte for byte", false: "DIFFERENT"}[r.Equal]},
		},
	}}
	if r.Idle != nil && r.Live != nil {
		ms := func(us float64) string { return fmt.Sprintf("%.1f ms", us/1000) }
		cells := func(name string, n int, q quantiles) []string {
			return []string{name, fmt.Sprint(n), ms(q.P50), ms(q.P99), ms(q.Max)}
		}
		all = append(all, sheet{
			title: "Flags and checks beside it", note: "From when one was due, at a fixed pace.",
			head: []string{"what", "number", "p50", "p99", "most"},
			rows: [][]string{
				cells("flags, idle node", r.Idle.Number.Flags, r.Idle.Flags), cells("flags, during the import", r.Live.Number.Flags, r.Live.Flags),
				cells("checks, idle node", r.Idle.Number.Checks, r.Idle.Checks), cells("checks, during the import", r.Live.Number.Checks, r.Live.Checks),
			},
		})
	}
	return append(all, sheet{
		title: "Sizes", note: "In the end: of both banks.",
		head: []string{"what", "size"},
		rows: [][]string{
			{"catalogue and log", humanBytes(r.Sizes.Catalogue)},
			{"text index", humanBytes(r.Sizes.Text)},
			{"saved index", humanBytes(r.Sizes.Index)},
			{"memory of the node, at most during the first import", humanBytes(r.Resident)},
		},
	})
}

func (r *importBenchReport) chart() chart.Bars {
	c := chart.Bars{
		Title: "Flags and checks beside an import", Unit: "ms",
		Description: "The median and the 99th percentile of the time from when a flag or a check was due, on an idle node and during an import.",
		Series:      []chart.Series{{Name: "p50", Colour: chart.Palette[0]}, {Name: "p99", Colour: chart.Palette[1]}},
	}
	if r.Idle == nil || r.Live == nil {
		return c
	}
	for _, g := range []struct {
		name       string
		idle, live quantiles
	}{{"Flags", r.Idle.Flags, r.Live.Flags}, {"Checks", r.Idle.Checks, r.Live.Checks}} {
		bar := func(label string, q quantiles) []chart.Bar {
			return []chart.Bar{
				{Label: label + ", p50", Values: []float64{q.P50 / 1000, 0}, Note: fmt.Sprintf("%.1f ms", q.P50/1000)},
				{Label: label + ", p99", Values: []float64{0, q.P99 / 1000}, Note: fmt.Sprintf("%.1f ms", q.P99/1000)},
			}
		}
		c.Groups = append(c.Groups, chart.Group{Name: g.name, Bars: append(bar("idle", g.idle), bar("import", g.live)...)})
	}
	return c
}
