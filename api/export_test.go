package api

import (
	"context"
	"time"

	"vigie/matcher"
)

// Question reads a line of a batch.
func (s *Server) Question(line []byte) (matcher.Question, error) { return s.question(line) }

// ProblemTypes lists the types of problems with their statuses.
func ProblemTypes() map[string]int {
	out := map[string]int{}
	for _, p := range problemTypes {
		out[p.Type()] = p.Status
	}
	return out
}

// ProblemOf is the type of the problem that an error becomes, and its detail.
func ProblemOf(err error) (string, string) {
	p := document(err, "")
	return p.Type, or(p.Detail, "")
}

// LineBytes is the longest line of a batch.
const LineBytes = lineBytes

// The nodes of these tests share one process, and keep it busy together: that is no crowd of any of them.
func init() {
	lateness = func() func() (time.Duration, bool) {
		return func() (time.Duration, bool) { return 0, false }
	}
}

// Behind makes the admission take goroutines for so late.
func (a *Admission) Behind(wait func() time.Duration) {
	a.crowd.wait = func() (time.Duration, bool) { d := wait(); return d, d > 0 }
}

// SetFeedScan sets how many changes a reader of one bank looks at in one go.
func (s *Server) SetFeedScan(n int) { s.feedScan = n }

// FillText takes all turns of the gate for searches of text, until it leaves.
func (a *Admission) FillText(ctx context.Context) (leave func()) {
	leave = func() {}
	for range a.text.slots {
		one, err := a.text.enter(ctx, claim{own: true})
		if err != nil {
			panic(err)
		}
		others := leave
		leave = func() { one(); others() }
	}
	return leave
}
