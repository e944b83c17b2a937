package exchange

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Report counts what became of the rows of a list. It holds nothing of their content. Its JSON form is read
// back, so that a resumed import goes on counting.
type Report struct {
	Read    int64               `json:"read"`
	OK      int64               `json:"ok"`
	Skipped map[Reason]*Skipped `json:"skipped,omitempty"`
}

// Skipped are the rows that were skipped for one reason.
type Skipped struct {
	Rows     int64     `json:"rows"`
	Examples []Example `json:"examples"` // the first ones
}

// Example says where a row stands, and what of it does not hold.
type Example struct {
	Line   int    `json:"line"`
	Column string `json:"column,omitempty"`
}

// maxExamples bounds the examples of one reason.
const maxExamples = 5

// Add counts a row that was taken.
func (r *Report) Add() {
	r.Read++
	r.OK++
}

// Skip counts a row that was skipped. Its reason may be one of the caller's own. It is no example without a line.
func (r *Report) Skip(e *RowError) {
	r.Read++
	if r.Skipped == nil {
		r.Skipped = map[Reason]*Skipped{}
	}
	s := r.Skipped[e.Reason]
	if s == nil {
		s = &Skipped{}
		r.Skipped[e.Reason] = s
	}
	s.Rows++
	if e.Line > 0 && len(s.Examples) < maxExamples {
		s.Examples = append(s.Examples, Example{e.Line, e.Column})
	}
}

// String is the report for people: a line of counts, and one for each reason, the most frequent first.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d rows: %d taken, %d skipped", r.Read, r.OK, r.Read-r.OK)
	reasons := slices.SortedFunc(maps.Keys(r.Skipped), func(x, y Reason) int {
		return cmp.Or(cmp.Compare(r.Skipped[y].Rows, r.Skipped[x].Rows), cmp.Compare(x, y))
	})
	for _, reason := range reasons {
		s := r.Skipped[reason]
		fmt.Fprintf(&b, "\n  %s: %d", reason, s.Rows)
		for i, e := range s.Examples {
			if i == 0 {
				b.WriteString(", at line")
			} else {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, " %d", e.Line)
			if e.Column != "" {
				fmt.Fprintf(&b, " (%s)", e.Column)
			}
		}
		if s.Rows > int64(len(s.Examples)) {
			b.WriteString(", ...")
		}
	}
	return b.String()
}
