package main

import (
	"bytes"
	"fmt"
	"image"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/image/draw"

	v1 "vigie/api/v1"
	"vigie/fixtures"
)

// TestClusterDemo shows three nodes at work (make cluster-demo): what is flagged on one is matched on the others, and how soon.
// VIGIE_CLUSTER_FLAGS is how many flags are timed.
func TestClusterDemo(t *testing.T) {
	if underRace {
		t.Skip("three nodes under the race detector are too slow for each other")
	}
	t.Parallel()
	flags := int(fromEnv(t, "VIGIE_CLUSTER_FLAGS", 40))
	say := func(format string, args ...any) { fmt.Fprintf(t.Output(), format+"\n", args...) }

	dir := t.TempDir()
	c := newCluster(t, 3, func(name string) string { return filepath.Join(dir, name) })
	a, others := c.nodes[0], c.nodes[1:]
	say("Nodes A, B and C run: three processes, each with a folder of its own, on one PostgreSQL and one S3 bucket.")

	const name = "bridge.jpg"
	original := fixtures.Read(name)
	m, _, err := image.Decode(bytes.NewReader(original))
	must(t, err)
	half := image.NewRGBA(image.Rect(0, 0, m.Bounds().Dx()/2, m.Bounds().Dy()/2))
	draw.ApproxBiLinear.Scale(half, half.Rect, m, m.Bounds(), draw.Src, nil)
	small := encoded("jpg", half)
	flagged, err := a.flagPicture(c.admin, original)
	must(t, err)
	say("A flags the picture %s: entry %d, change %d of the log; its bytes are in the bucket.", name, flagged.Entry.Id, flagged.Seq)
	for _, m := range others {
		eventually(t, "the copy is matched", func() bool {
			v, err := postFile[v1.Verdict](m.served, c.platform, "/v1/check", small)
			must(t, err)
			if matchedIn(v, flagged.Entry.Id) {
				say("%s is asked about a copy of half the size: %s, entry %d, %s.", m.name, v.Level, v.Matches[0].Entry, v.Action)
			}
			return matchedIn(v, flagged.Entry.Id)
		})
	}

	say("\nNow %d flags on A, one in twenty a picture. From each answer on, B and C are asked, again and again, until they find it.", flags)
	random := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	var flagging, retracting propagation
	var entries []v1.Entry
	for i := range flags {
		began := time.Now()
		var out v1.Flagged
		var err error
		if i%20 == 0 {
			out, err = a.flagPicture(c.admin, jpegOf(random.Uint64(), 320, 240))
		} else {
			out, err = a.flagSignals(c.admin, randomSignals(random))
		}
		must(t, err)
		flagging.wait(c, others, out.Entry, true, began)
		entries = append(entries, out.Entry)
	}
	for _, e := range entries {
		began := time.Now()
		_, err := a.retract(c.admin, e.Id)
		must(t, err)
		retracting.wait(c, others, e, false, began)
	}
	w := tabwriter.NewWriter(t.Output(), 0, 0, 2, ' ', tabwriter.AlignRight)
	row(w, "MILLISECONDS", "COUNT", "P50", "P90", "P99", "LONGEST", "")
	for _, p := range []struct {
		what string
		took []float64
	}{
		{"flag: its answer", flagging.answer},
		{"from there to a match on B and C", flagging.after},
		{"from the request to a match on B and C", flagging.all},
		{"retraction: its answer", retracting.answer},
		{"from there to no match on B and C", retracting.after},
		{"from the request to no match on B and C", retracting.all},
	} {
		slices.Sort(p.took)
		at := func(q float64) string { return fmt.Sprintf("%.1f", quantile(p.took, q)) }
		row(w, p.what, fmt.Sprint(len(p.took)), at(0.5), at(0.9), at(0.99), at(1), "")
	}
	must(t, w.Flush())
	say("Each time is that of the whole check that found it (or not any more), on the later of the two nodes.")

	digest := c.verified()
	say("\nvigie nodes --verify: A, B, C and the catalogue hold the same entries: digest %.12s.", digest)
	_, out, _ := a.vigie("nodes")
	say("%s", out)
	say("vigie log verify: the log is dense up to change %d, and its root verifies. All as expected.", c.together())
}

// propagation are times of changes on their way, in milliseconds.
type propagation struct{ answer, after, all []float64 }

// wait asks nodes about an entry that was changed on another one, until all say what is right now.
func (p *propagation) wait(c *cluster, nodes []*member, e v1.Entry, matched bool, began time.Time) {
	c.Helper()
	answered := time.Now()
	signals := slices.DeleteFunc(slices.Clone(e.Signals), func(s v1.Signal) bool { return s.Algorithm != v1.Pdq || s.Variant != nil && *s.Variant != "" })
	var asking sync.WaitGroup
	for _, m := range nodes {
		asking.Go(func() {
			for time.Since(answered) < patience {
				v, err := post[v1.Verdict](m.served, c.platform, "/v1/check", v1.CheckSignals{Signals: signals})
				if err != nil {
					c.Errorf("a check on %s: %v", m.name, err)
					return
				}
				if matchedIn(v, e.Id) == matched {
					return
				}
			}
			c.Errorf("entry %d: on %s it is not matched: %v, after %v", e.Id, m.name, matched, patience)
		})
	}
	asking.Wait()
	found := time.Now()
	ms := func(d time.Duration) float64 { return 1e3 * d.Seconds() }
	p.answer = append(p.answer, ms(answered.Sub(began)))
	p.after = append(p.after, ms(found.Sub(answered)))
	p.all = append(p.all, ms(found.Sub(began)))
}

// randomSignals are those of a media that nobody has seen before.
func randomSignals(random *rand.Rand) []v1.Signal {
	hex := func(bytes int) (text string) {
		for range bytes {
			text += fmt.Sprintf("%02x", random.IntN(256))
		}
		return text
	}
	return []v1.Signal{{Algorithm: v1.Pdq, Value: hex(32)}, {Algorithm: v1.Sha256, Value: hex(32)}, {Algorithm: v1.Md5, Value: hex(16)}}
}
