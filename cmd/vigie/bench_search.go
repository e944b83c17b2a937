package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"vigie/hashing"
	"vigie/index"
)

type searchBenchCmd struct {
	Rows    []int         `help:"Rows in the index; several numbers are measured one after the other." default:"1000000"`
	Like    string        `help:"Draw them after the bits and clusters of the PDQ hashes in this file, the first word of each line (or of each row of a CSV file); else all bits are chance. To make one: vigie hash --json PICTURE... | jq -r '.signals[]? | select(.algorithm == \"pdq\" and .variant == \"\").value'" placeholder:"FILE" type:"existingfile"`
	State   string        `help:"fresh: one segment, as it was made; steady: rows that came bit by bit, saved (to a temporary folder) and loaded again, 1 % of them dead, and a filter on banks." enum:"fresh,steady" default:"fresh"`
	Radii   string        `help:"Radii, in bits, and ranges of them, such as 0-64." default:"0,8,15,20,31,40,47,63"`
	Queries int           `help:"Queries that are timed at each radius, as far as they take no longer than two seconds: half of them are near nothing, half near a row; 0: none." default:"20000"`
	Check   int           `help:"Queries, spread over the radii, whose answers are compared with those of a plain loop over all rows." default:"100"`
	Join    int           `help:"Values of a list that is joined with the rows at radius 31, and asked for one by one; 0: none." default:"0"`
	Live    time.Duration `help:"For so long, insert, delete and search at the same time; 0: do not." default:"0"`
	Inserts int           `help:"Rows inserted a second, with --live." default:"20000"`
	Deletes int           `help:"Rows deleted a second, with --live." default:"2000"`
	Pace    int           `help:"Searches a second, with --live and when the index is idle afterwards." default:"500"`
	Seed    uint64        `help:"Seed of the rows and queries." default:"1"`
	SVGDir  string        `name:"svg-dir" help:"Write charts to this folder: latency by radius, by rows, and over time." placeholder:"DIR"`
	benchFiles
}

// joinRadius is the radius of joins, of live searches and of the chart by rows: that of a match.
const joinRadius = 31

// Run measures one number of rows after the other, prints, and fails if an answer was wrong.
func (c *searchBenchCmd) Run(ctx context.Context, a *app) error {
	radii, err := c.validate()
	if err != nil {
		return err
	}
	rows, err := newRowSource(c.Like, c.Seed)
	if err != nil {
		return err
	}
	var report searchReport
	empty := settledBytes()
	for _, n := range c.Rows {
		b := &searchBench{searchBenchCmd: c, app: a, n: n, rows: rows, radii: radii, empty: empty, search: (*index.Snapshot).Search}
		if err := b.run(ctx); err != nil {
			return err
		}
		report = append(report, &b.report)
	}
	if err := c.publish(a.printer, report); err != nil {
		return err
	}
	return report.verdict()
}

func (c *searchBenchCmd) validate() (radii []int, err error) {
	if len(c.Rows) == 0 || slices.Min(c.Rows) < 1 {
		return nil, usagef("--rows: %d; accepted are numbers above 0, with commas between them", c.Rows)
	}
	switch {
	case c.Queries != 0 && c.Queries < 2:
		return nil, usagef("--queries: %d; accepted are 0 and what is above 1", c.Queries)
	case c.Check < 0 || c.Join < 0:
		return nil, usagef("--check and --join: %d and %d; they must not be negative", c.Check, c.Join)
	case c.Live < 0 || c.Live > 0 && (c.Inserts < 0 || c.Deletes < 0 || c.Pace < 1):
		return nil, usagef("--live %v, --inserts %d, --deletes %d: they must not be negative; --pace %d: it must be 1 at least", c.Live, c.Inserts, c.Deletes, c.Pace)
	}
	for _, part := range strings.Split(c.Radii, ",") {
		low, high, ranged := strings.Cut(part, "-")
		if !ranged {
			high = low
		}
		from, errFrom := strconv.Atoi(low)
		to, errTo := strconv.Atoi(high)
		if errFrom != nil || errTo != nil || from < 0 || to < from || to > 256 {
			return nil, usagef("--radii: %q; accepted are numbers from 0 to 256 and ranges such as 0-64, with commas between them", part)
		}
		for r := from; r <= to; r++ {
			radii = append(radii, r)
		}
	}
	slices.Sort(radii)
	return slices.Compact(radii), nil
}

// searchBench measures an index of n rows.
type searchBench struct {
	*searchBenchCmd
	app    *app
	n      int
	rows   *rowSource
	radii  []int
	empty  int64 // resident bytes of this process before it made anything
	report searchRun
	search func(*index.Snapshot, context.Context, index.Query) (index.Result, error) // what is measured and checked
}

// benchBanks is the number of banks among which the rows are dealt out.
const benchBanks = 4

func (b *searchBench) steady() bool { return b.State == "steady" }

// alive reports whether one of the first n rows is not dead.
func (b *searchBench) alive(row int) bool { return !b.steady() || row%100 != 50 }

// banks is the filter of a query: in a steady index, three of four banks.
func (b *searchBench) banks(radius int) map[index.BankID]int {
	if !b.steady() {
		return nil
	}
	return map[index.BankID]int{0: radius, 1: radius, 2: radius}
}

// state is what a row's entry becomes. It holds the first of signals, and is valid until that changes.
func state(row int, v hashing.Value, signals []hashing.Signal) index.Change {
	signals[0] = hashing.Signal{Algorithm: hashing.PDQ, Value: v}
	return index.Change{Bank: bankOf(row), Entry: entryOf(row), Signals: signals[:1:1]}
}

func entryOf(row int) index.EntryID { return index.EntryID(row + 1) }
func bankOf(row int) index.BankID   { return index.BankID(row % benchBanks) }

func (b *searchBench) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "vigie-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := &b.report
	*r = searchRun{Kernel: index.Kernel(), Processors: runtime.GOMAXPROCS(0), N: b.n, Data: "uniform", Hashes: len(b.rows.known), State: b.State}
	if b.Like != "" {
		r.Data = "like " + filepath.Base(b.Like)
	}
	x, err := b.build(ctx, dir)
	if err != nil {
		return err
	}
	r.Resident = b.perRow(settledBytes() - b.empty)
	if err := b.still(ctx, x.Snapshot()); err != nil {
		return err
	}
	if b.Live > 0 {
		r.Live, err = b.live(ctx, x)
	}
	runtime.KeepAlive(x)
	return err
}
