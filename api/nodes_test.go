package api_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"vigie/api"
	v1 "vigie/api/v1"
	"vigie/storage"
)

// TestListNodes lists what nodes have reported, compared, and the catalogue's digest.
func TestListNodes(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.bank("bank")
	n.flag("bank", nil, digest(1))
	f := n.matcher.Follower()
	head, err := n.catalogue.Head(t.Context())
	must(t, err)
	must(t, f.Await(t.Context(), head.Seq))
	state := f.State()
	sums := []storage.NodeSum{{Seq: state.Seq, Digest: state.Snapshot.Kept().String()}}
	now := time.Now()
	report := func(r storage.NodeReport) {
		t.Helper()
		must(t, n.catalogue.Update(t.Context(), func(w storage.Writer) error { return w.ReportNode(r) }))
	}
	right := storage.NodeReport{
		ID: "aaaaaaaa", Name: "a:1", Version: "v", StartedAt: now, At: now, Ready: true, LogID: state.LogID, Seq: state.Seq, Head: state.Seq,
		Staleness: 1500 * time.Millisecond, Backlog: 3, Sums: sums,
	}
	wrong, gone, elsewhere := right, right, right
	wrong.ID, wrong.Sums = "bbbbbbbb", []storage.NodeSum{{Seq: state.Seq, Digest: "00"}}
	gone.ID, gone.At, gone.Seq = "cccccccc", now.Add(-time.Hour), state.Seq-1
	elsewhere.ID, elsewhere.LogID = "dddddddd", "another"
	for _, r := range []storage.NodeReport{right, wrong, gone, elsewhere} {
		report(r)
	}

	out, err := n.as("auditor").ListNodesWithResponse(t.Context(), &v1.ListNodesParams{Verify: new(true)})
	must(t, err)
	if out.JSON200 == nil {
		t.Fatalf("%d: %s", out.StatusCode(), out.Body)
	}
	var states []string
	for _, node := range out.JSON200.Nodes {
		states = append(states, string(node.State))
	}
	equal(t, "states", fmt.Sprint(states), "[live live silent live]")
	a, d := out.JSON200.Nodes[0], out.JSON200.Nodes[3]
	equal(t, "contradicts", fmt.Sprint(a.Contradicts), "[bbbbbbbb]")
	equal(t, "others", len(a.Agrees)+len(a.Uncompared)+len(d.Agrees)+len(d.Contradicts), 0)
	equal(t, "numbers", fmt.Sprint(a.StalenessMs, a.Backlog, a.Lag, out.JSON200.Nodes[2].Lag), "1500 3 0 1")
	if d.OtherLog == nil || !*d.OtherLog || a.Digest == nil || *a.Digest != sums[0].Digest {
		t.Errorf("%s", out.Body)
	}
	v := out.JSON200.Verified
	equal(t, "verified", fmt.Sprint(v.Agree, v.Differ), "[aaaaaaaa] [bbbbbbbb]")
	equal(t, "digest", v.Digest, sums[0].Digest)
}

// TestMaxStaleness: a node whose catalogue is away stays ready for as long as the operator allows; and verdicts tell.
func TestMaxStaleness(t *testing.T) {
	t.Parallel()
	for allowed, want := range map[time.Duration]int{0: http.StatusOK, time.Nanosecond: http.StatusServiceUnavailable, time.Hour: http.StatusOK} {
		n := newNode(t, setup{api: api.Options{MaxStaleness: allowed}})
		n.bank("bank")
		n.stop() // it looks no more
		time.Sleep(2 * time.Millisecond)
		out, err := n.as("admin").ReadyWithResponse(context.Background())
		must(t, err)
		if out.StatusCode() != want || n.api.IsReady() != (want == http.StatusOK) {
			t.Errorf("%v: %d %s", allowed, out.StatusCode(), out.Body)
		}
		v, err := n.as("platform").CheckWithResponse(t.Context(), v1.CheckJSONRequestBody{Signals: v1.Signals{digest(1)}})
		must(t, err)
		if v.JSON200 == nil || v.JSON200.StalenessMs == nil || *v.JSON200.StalenessMs < 2 {
			t.Errorf("%d: %s", v.StatusCode(), v.Body)
		}
	}
}
