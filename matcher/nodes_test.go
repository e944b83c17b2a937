package matcher_test

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vigie/hashing"
	"vigie/index"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/journal"
	"vigie/storage/memory"
	"vigie/storage/storagetest"
)

// shelf is a journal as a reporter sees it.
type shelf struct {
	node    string
	shipped atomic.Uint64
	again   told[uint64]
}

func (s *shelf) Node() string { return s.node }
func (s *shelf) Stats() journal.Stats {
	return journal.Stats{There: s.shipped.Load(), Appended: s.shipped.Load(), Backlog: 2}
}
func (s *shelf) Again(after uint64, _ journal.Stats) { s.again.add(after) }

// reporting has a node report until stop.
func reporting(n *node, j *shelf) (stop func()) {
	ctx, cancel := context.WithCancel(n.ctx)
	ended := make(chan error)
	r := &matcher.Reporter{Matcher: n.Matcher, Journal: j, Name: "name of " + j.node, Version: "v1", Ready: func() bool { return true }}
	go func() { ended <- r.Run(ctx) }()
	return func() { cancel(); <-ended }
}

// TestNodes: three nodes on one catalogue report; one of them has read something else.
func TestNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := catalogues["memory"](t)
		n := start(t, c, matcher.Options{})
		stopA := reporting(n, &shelf{node: "aaaaaaaa"})
		n.bank("bank", "block", nil)
		n.flagSignals("bank", signal(hashing.PDQ, 1))
		b := follow(t, c, matcher.Options{Patience: patience})
		defer b.stop()
		stopB := reporting(b, &shelf{node: "bbbbbbbb"})
		time.Sleep(6 * time.Second)
		byID := func() (views map[string]matcher.NodeView) {
			t.Helper()
			all, err := n.Nodes(n.ctx, local)
			must(t, err)
			views = map[string]matcher.NodeView{}
			for _, v := range all.Nodes {
				views[v.ID] = v
			}
			return views
		}
		all := byID()
		a := all["aaaaaaaa"]
		if a.State != matcher.NodeLive || !a.Ready || a.Name != "name of aaaaaaaa" || a.Seq != 2 || a.Head != 2 || a.Lag != 0 || a.Backlog != 2 ||
			a.Staleness > time.Second || a.LogID == "" {
			t.Errorf("%+v", a)
		}
		equal(t, a.Agrees, []string{"bbbbbbbb"})
		verified, err := n.VerifyNodes(n.ctx, local)
		must(t, err)
		equal(t, verified.Agree, []string{"aaaaaaaa", "bbbbbbbb"})
		if len(verified.Differ)+len(verified.Unknown) != 0 || verified.Catalogue.Seq != 2 {
			t.Errorf("%+v", verified)
		}
		_, err = n.Nodes(n.ctx, matcher.Principal{Party: 2, Role: storage.Admin})
		wantErr(t, err, matcher.ErrOperator)
		_, err = n.VerifyNodes(n.ctx, matcher.Principal{Party: 2, Role: storage.Admin})
		wantErr(t, err, matcher.ErrOperator)

		// A node whose index lacks what a change brought.
		x := index.New(index.Options{})
		wrong := followWith(t, &badLog{Catalogue: c}, x, matcher.Options{Patience: patience})
		defer wrong.stop()
		must(t, wrong.Follower().Await(n.ctx, 2))
		must(t, x.Apply(n.ctx, 3, nil))
		n.flagSignals("bank", signal(hashing.PDQ, 2))
		stopC := reporting(wrong, &shelf{node: "cccccccc"})
		time.Sleep(6 * time.Second)
		all = byID()
		equal(t, all["aaaaaaaa"].Contradicts, []string{"cccccccc"})
		equal(t, all["aaaaaaaa"].Agrees, []string{"bbbbbbbb"})
		verified, err = n.VerifyNodes(n.ctx, local)
		must(t, err)
		equal(t, verified.Differ, []string{"cccccccc"})
		stopC()
		stopB()
		all = byID()
		if s := all["bbbbbbbb"]; s.State != matcher.NodeStopped || s.Ready || len(all["aaaaaaaa"].Agrees) != 0 {
			t.Errorf("%+v", s)
		}

		// Who falls silent is listed for a month.
		silent := func(id string, since time.Duration) {
			must(t, c.Update(n.ctx, func(w storage.Writer) error {
				return w.ReportNode(storage.NodeReport{ID: id, At: time.Now().Add(-since)})
			}))
		}
		silent("dddddddd", 31*time.Second)
		silent("eeeeeeee", 31*24*time.Hour)
		equal(t, byID()["dddddddd"].State, matcher.NodeSilent)
		stopA()
		stop := reporting(n, &shelf{node: "aaaaaaaa"})
		time.Sleep(time.Second)
		all = byID()
		if _, there := all["eeeeeeee"]; there || all["dddddddd"].State != matcher.NodeSilent {
			t.Errorf("listed are %v", all)
		}
		stop()
	})
}

// reported is a node with a bank and an entry, which has told of both.
func reported(t *testing.T, c storage.Catalogue) (n *node, stop func()) {
	n = start(t, c, matcher.Options{})
	n.bank("bank", "block", nil)
	n.flagSignals("bank", signal(hashing.PDQ, 1))
	stop = reporting(n, &shelf{node: "aaaaaaaa"})
	time.Sleep(6 * time.Second)
	return n, stop
}

// TestVerifyNodesTwice: a report that was under way while the database was set back has the digest of a change that is another one
// now. No node differs for that.
func TestVerifyNodesTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := catalogues["memory"](t)
		n, stop := reported(t, c)
		defer stop()
		must(t, c.Update(n.ctx, func(w storage.Writer) error {
			nodes, err := w.Nodes()
			late := nodes[0]
			late.At = late.At.Add(time.Millisecond) // another one follows within 5 seconds
			for i := range late.Sums {
				late.Sums[i].Digest = strings.Repeat("0", len(late.Sums[i].Digest))
			}
			return errors.Join(err, w.ReportNode(late))
		}))
		v, err := n.VerifyNodes(n.ctx, local)
		must(t, err)
		equal(t, v.Agree, []string{"aaaaaaaa"})
		equal(t, len(v.Differ), 0)
	})
}

// TestVerifyNodesPast: a node that differs, and has passed the change when it tells again, differs.
func TestVerifyNodesPast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := catalogues["memory"](t)
		n, stop := reported(t, c)
		stop()
		report := func(seq uint64) {
			must(t, c.Update(n.ctx, func(w storage.Writer) error {
				nodes, err := w.Nodes()
				wrong := nodes[0]
				wrong.At, wrong.Stopped, wrong.Seq = time.Now(), false, seq
				wrong.Sums = []storage.NodeSum{{Seq: seq, Digest: strings.Repeat("0", 64)}}
				return errors.Join(err, w.ReportNode(wrong))
			}))
		}
		report(2)
		verified := make(chan struct{})
		var writing sync.WaitGroup
		writing.Go(func() {
			for seq := uint64(3); ; seq++ {
				select {
				case <-time.After(2 * time.Second):
					n.flagSignals("bank", signal(hashing.PDQ, seq))
					report(seq)
				case <-verified:
					return
				}
			}
		})
		v, err := n.VerifyNodes(n.ctx, local)
		close(verified)
		writing.Wait()
		must(t, err)
		equal(t, v.Differ, []string{"aaaaaaaa"})
		equal(t, len(v.Unknown), 0)
	})
}

// TestReporterNoticesARestore: the catalogue has less of a journal than was delivered.
func TestReporterNoticesARestore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		same := func() storage.Catalogue { // always the same log
			c, err := memory.New(storage.Options{Rand: storagetest.NewRand(1)})
			must(t, err)
			return c
		}
		c := &replaced{}
		c.is(same())
		head, err := c.Head(t.Context())
		must(t, err)
		n := start(t, c, matcher.Options{JournalOf: head.LogID, Events: matcher.Events{Fault: func(error) {}}})
		set := func(shipped uint64) {
			must(t, c.Update(n.ctx, func(w storage.Writer) error { return w.SetShipped("aaaaaaaa", shipped) }))
		}
		set(10)
		j := &shelf{node: "aaaaaaaa"}
		j.shipped.Store(10)
		defer reporting(n, j)()
		time.Sleep(time.Minute)
		c.is(catalogues["memory"](t)) // of another log: its journals are others
		time.Sleep(time.Minute)
		equal(t, len(j.again.list()), 0)
		c.is(same())
		set(4)
		time.Sleep(6 * time.Second)
		if got := j.again.list(); len(got) == 0 || got[0] != 4 {
			t.Errorf("handed on again: %v", got)
		}
	})
}

// TestClocksDiffer: nodes whose clocks are minutes off are live as long as they report, and silent soon after; those that fell silent are
// missed where all are held against the catalogue.
func TestClocksDiffer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := catalogues["memory"](t)
		n := start(t, c, matcher.Options{})
		defer reporting(n, &shelf{node: "aaaaaaaa"})()
		n.bank("bank", "block", nil)
		var stops []func()
		for id, off := range map[string]time.Duration{"bbbbbbbb": -10 * time.Minute, "cccccccc": 10 * time.Minute} {
			o := follow(t, c, matcher.Options{Patience: patience, Now: func() time.Time { return time.Now().Add(off) }})
			defer o.stop()
			j := &shelf{node: id}
			ctx, cancel := context.WithCancel(o.ctx)
			ended := make(chan error)
			go func() {
				ended <- (&matcher.Reporter{Matcher: o.Matcher, Journal: j, Name: id, Ready: func() bool { return ctx.Err() == nil }}).Run(ctx)
			}()
			stops = append(stops, func() { cancel(); <-ended })
		}
		state := func() map[string]string {
			all, err := n.Nodes(n.ctx, local)
			must(t, err)
			states := map[string]string{}
			for _, v := range all.Nodes {
				states[v.ID] = v.State
			}
			return states
		}
		time.Sleep(time.Minute)
		equal(t, state(), map[string]string{"aaaaaaaa": matcher.NodeLive, "bbbbbbbb": matcher.NodeLive, "cccccccc": matcher.NodeLive})
		v, err := n.VerifyNodes(n.ctx, local)
		must(t, err)
		equal(t, v.Agree, []string{"aaaaaaaa", "bbbbbbbb", "cccccccc"})
		var last []storage.NodeReport
		must(t, c.View(n.ctx, func(r storage.Reader) (err error) {
			last, err = r.Nodes()
			return err
		}))
		for _, stop := range stops {
			stop()
		}
		must(t, c.Update(n.ctx, func(w storage.Writer) error { // as if they had been killed
			return errors.Join(w.ReportNode(last[1]), w.ReportNode(last[2]))
		}))
		time.Sleep(time.Minute)
		equal(t, state(), map[string]string{"aaaaaaaa": matcher.NodeLive, "bbbbbbbb": matcher.NodeSilent, "cccccccc": matcher.NodeSilent})
		v, err = n.VerifyNodes(n.ctx, local)
		must(t, err)
		equal(t, v.Agree, []string{"aaaaaaaa"})
		equal(t, v.Unknown, []string{"bbbbbbbb", "cccccccc"})
	})
}

// TestTwoOfOneIdentity: a data folder was copied, and both are to run. The second one waits, and is told that the first one is at work; if that one
// stands still, the second one gets the identity, and what the first one does then is not written, and ends it.
func TestTwoOfOneIdentity(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := catalogues["memory"](t)
		ctx := t.Context()
		waited := 0
		await := func(place string) (storage.NodeClaim, error) {
			return matcher.AwaitIdentity(ctx, c, "aaaaaaaa", place, func(storage.NodeReport) { waited++ })
		}
		// begin claims the identity as the process in a place does, and starts its node.
		begin := func(place string) (*node, *matcher.Reporter) {
			t.Helper()
			last, err := await(place)
			must(t, err)
			claim, err := matcher.ClaimIdentity(ctx, c, storage.NodeReport{ID: "aaaaaaaa", At: time.Now(), Claim: storage.NodeClaim{Place: place}}, last)
			must(t, err)
			n := start(t, c, matcher.Options{Claim: claim})
			return n, &matcher.Reporter{Matcher: n.Matcher, Journal: &shelf{node: "aaaaaaaa"}, Name: place, Ready: func() bool { return true }}
		}
		run := func(r *matcher.Reporter) (stop func() error) {
			running, cancel := context.WithCancel(ctx)
			ended := make(chan error, 1)
			go func() { ended <- r.Run(running) }()
			return func() error { cancel(); return <-ended }
		}
		sign := func(number uint64) []journal.Record {
			return []journal.Record{{ID: journal.ID{Node: "aaaaaaaa", Number: number}, At: time.Now(), Kind: "signin", Body: []byte(`{"Key":"k"}`)}}
		}
		shipped := func() (n uint64) {
			must(t, c.View(ctx, func(r storage.Reader) (err error) {
				n, err = r.Shipped("aaaaaaaa")
				return err
			}))
			return n
		}
		one, first := begin("one")
		stop := run(first)
		time.Sleep(time.Minute)
		began := time.Now()
		if _, err := await("two"); !errors.Is(err, matcher.ErrIdentityTaken) || waited != 1 || time.Since(began) > 10*time.Second {
			t.Errorf("while it is at work, %v after %v, waited %d", err, time.Since(began), waited)
		}
		must(t, one.Deliver(ctx, sign(1)))
		stop()

		// Where it was before there is no other, and nobody waits for who has ended.
		began = time.Now()
		one, first = begin("one")
		if waited != 1 || !began.Equal(time.Now()) {
			t.Errorf("the same again has waited, %v", time.Since(began))
		}
		stop = run(first)
		time.Sleep(time.Minute)
		must(t, one.Deliver(ctx, sign(2)))

		// It stands still: its reports do not come.
		var last storage.NodeReport
		must(t, c.View(ctx, func(r storage.Reader) error {
			all, err := r.Nodes()
			last = all[0]
			return err
		}))
		stop()
		must(t, c.Update(ctx, func(w storage.Writer) error { return w.ReportNode(last) })) // as if it had not ended in order
		began = time.Now()
		two, second := begin("two")
		if waited != 2 || time.Since(began) < 25*time.Second {
			t.Errorf("waited %d, %v", waited, time.Since(began))
		}
		stop = run(second)
		must(t, two.Deliver(ctx, sign(3)))
		if err := one.Deliver(ctx, sign(3)); !errors.Is(err, matcher.ErrIdentityTaken) {
			t.Errorf("delivered all the same: %v", err)
		}
		if err := one.Deliver(ctx, sign(4)); !errors.Is(err, matcher.ErrIdentityTaken) || shipped() != 3 {
			t.Errorf("delivered all the same: %v, up to %d", err, shipped())
		}
		soon, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := first.Run(soon); !errors.Is(err, matcher.ErrIdentityTaken) {
			t.Errorf("it runs on: %v", err)
		}
		must(t, two.Deliver(ctx, sign(4)))
		time.Sleep(time.Minute) // the second one's reports go well
		if err := stop(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}

		// An older state of the catalogue has an older claim, which is no later one.
		must(t, c.Update(ctx, func(w storage.Writer) error { return w.ReportNode(last) }))
		stop = run(second)
		time.Sleep(time.Minute)
		if err := stop(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		// Two start at the same time.
		same, err := await("two")
		must(t, err)
		own := storage.NodeReport{ID: "aaaaaaaa", At: time.Now(), Claim: storage.NodeClaim{Place: "three"}}
		_, err = matcher.ClaimIdentity(ctx, c, own, same)
		must(t, err)
		if _, err = matcher.ClaimIdentity(ctx, c, own, same); err != nil {
			t.Errorf("claimed again, as after an answer that was lost: %v", err)
		}
		own.Claim.Place = "four"
		if _, err = matcher.ClaimIdentity(ctx, c, own, same); !errors.Is(err, matcher.ErrIdentityTaken) {
			t.Errorf("both have it: %v", err)
		}
	})
}

// TestForeignRecords: the catalogue has records of a node that it has not written.
func TestForeignRecords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := catalogues["memory"](t)
		var faults told[error]
		n := start(t, c, matcher.Options{Events: matcher.Events{Fault: faults.add}})
		must(t, c.Update(n.ctx, func(w storage.Writer) error { return w.SetShipped("aaaaaaaa", 9) }))
		stop := reporting(n, &shelf{node: "aaaaaaaa"})
		time.Sleep(time.Second)
		stop()
		if len(faults.list()) != 1 {
			t.Errorf("told %v", faults.list())
		}
	})
}

// TestMemoryIsCounted: what lies in memory is not what the saved index says of itself; the node says so, and the others hear it.
func TestMemoryIsCounted(t *testing.T) {
	t.Parallel()
	c := catalogues["memory"](t)
	logOf(t, c, 1, 2)
	dir := filepath.Join(t.TempDir(), "index")
	n := follow(t, c, matcher.Options{Patience: patience})
	must(t, n.Follower().Await(n.ctx, 3))
	_, err := n.Follower().Save(n.ctx, dir)
	must(t, err)
	kept := n.Follower().State().Snapshot.Kept().String()
	n.stop()
	path := filepath.Join(dir, index.ManifestName)
	text, err := os.ReadFile(path)
	must(t, err)
	_, body, _ := strings.Cut(string(text), "\n")
	body = strings.TrimSuffix(strings.Replace(body, kept, strings.Repeat("0", 63)+"1", 1), "\n")
	must(t, os.WriteFile(path, fmt.Appendf(nil, "%08x\n%s\n", crc32.Checksum([]byte(body), crc32.MakeTable(crc32.Castagnoli)), body), 0o600))
	x, err := matcher.OpenIndex(t.Context(), c, dir, index.Options{})
	must(t, err)
	var faults told[error]
	n = followWith(t, c, x, matcher.Options{Patience: patience, Events: matcher.Events{Fault: faults.add}})
	defer n.stop()
	must(t, n.Follower().Await(n.ctx, 3))
	defer reporting(n, &shelf{node: "aaaaaaaa"})()
	within(t, "that it counts", func() bool { return len(faults.list()) > 0 })
	v, err := n.VerifyNodes(n.ctx, local)
	must(t, err)
	equal(t, v.Agree, []string{"aaaaaaaa"}) // for it holds the right rows, and tells the truth
	if len(faults.list()) != 1 || !strings.Contains(faults.list()[0].Error(), "DOES NOT HOLD") {
		t.Errorf("told %v", faults.list())
	}
}
