package main

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestPhaseOf sums up four requests.
func TestPhaseOf(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	p := phaseOf("x", 2, 2*time.Second, 2*time.Second, []shot{
		{kind: ofSignals, key: 0, due: 0, sent: 1 * ms, done: 3 * ms, status: 200},
		{kind: ofPicture, key: 1, due: 100 * ms, sent: 100 * ms, done: 1150 * ms, status: 200},
		{kind: ofPicture, key: 1, due: 200 * ms, sent: 200 * ms, done: 201 * ms, status: 503},
		{kind: ofSignals, key: 0, due: 300 * ms, sent: 300 * ms, done: 300 * ms},
	}, 2, []loadSecond{{Second: 0, Resident: 7}, {Second: 1, Resident: 9}})
	want := loadPhase{
		Name: "x", Duration: 2, Offered: 2, Sent: 4, Accepted: 1, Shed: .5, Statuses: map[string]int{"200": 2, "503": 1, "0": 1}, Last: 2,
		Kinds: [kinds]ofKind{
			{Kind: "signals", Accepted: 1, Due: quantiles{3000, 3000, 3000}, Sent: quantiles{2000, 2000, 2000}},
			{Kind: "picture", Accepted: 1, Shed: 1, Due: quantiles{1.05e6, 1.05e6, 1.05e6}, Sent: quantiles{1.05e6, 1.05e6, 1.05e6}, ShedTook: quantiles{1000, 1000, 1000}},
		},
		ByKey:   []ofKey{{2, 1}, {2, 1}},
		Seconds: []loadSecond{{Second: 0, Accepted: 1, Shed: 1, Resident: 7}, {Second: 1, Accepted: 1, Resident: 9}},
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := p.failed(); got != 1 {
		t.Errorf("%d failed", got)
	}
	if got := p.peak(); got != 9 {
		t.Errorf("peak %d", got)
	}
	if err := (&loadReport{Phases: []loadPhase{p}}).verdict(); err == nil {
		t.Error("a request without an answer is passed over")
	}
}

func TestResidentOf(t *testing.T) {
	t.Parallel()
	own, other := residentOf(os.Getpid()), residentBytes()
	if other > 0 && own < other/2 {
		t.Errorf("%d bytes with children, %d without", own, other)
	}
}
