package matcher_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/index"
	"vigie/matcher"
	"vigie/storage/history"
)

// BenchmarkChecksBesideUploads has checks of hashes come at a fixed rate, among a million entries, without and with 20,000 uploads a second
// that are put into the history of the same node beside, each acknowledged when it is on the disk. It tells how long the checks took, from
// when each was due.
func BenchmarkChecksBesideUploads(b *testing.B) {
	const entries, checks, uploads, lasts = 1_000_000, 500, 20_000, 10 * time.Second
	p := newPlace(b, catalogues["sqlite"](b))
	p.index = index.New(index.Options{})
	l := p.node(b.TempDir(), 0, nil)
	l.bank("owner", "bank", shared("block"))
	l.keeps("owner", 30)
	flag := func(n uint64) {
		_, err := l.Flag(l.ctx, matcher.Flagging{Who: l.who("owner"), Bank: "bank", Signals: []hashing.Signal{signal(hashing.PDQ, n)}})
		must(b, err)
	}
	flag(1 << 40)
	changes := make([]index.Change, entries) // which come with the next change
	for i := range changes {
		changes[i] = index.Change{Bank: 1, Entry: index.EntryID(10 + i), Signals: []hashing.Signal{signal(hashing.PDQ, uint64(i))}}
	}
	head, err := l.catalogue.Head(l.ctx)
	must(b, err)
	must(b, p.index.Apply(l.ctx, head.Seq+1, changes))
	must(b, p.index.Settle(l.ctx))
	flag(1 << 41)

	who := l.who("owner")
	come := func(ctx context.Context) (took []time.Duration) {
		var mu sync.Mutex
		var under sync.WaitGroup
		began := time.Now()
		for n := 0; ctx.Err() == nil; n++ {
			due := began.Add(time.Duration(n) * time.Second / checks)
			time.Sleep(time.Until(due))
			under.Go(func() {
				_, err := l.Check(l.ctx, matcher.Question{Who: who, Signals: []hashing.Signal{signal(hashing.PDQ, uint64(1<<30+n))}})
				must(b, err)
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(due))
			})
		}
		under.Wait()
		slices.Sort(took)
		return took
	}
	post := func(ctx context.Context) int64 {
		var posted, claimed atomic.Int64
		var posting sync.WaitGroup
		began := time.Now()
		for range 256 {
			posting.Go(func() {
				for ctx.Err() == nil {
					n := claimed.Add(1)
					time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / uploads)))
					_, err := l.history.Append(l.ctx, history.Record{
						Party: who.Party, At: time.Now(), ContentID: fmt.Sprint("post-", n), PDQ: signal(hashing.PDQ, uint64(1<<35+n)).Value, Quality: 100,
					})
					must(b, err)
					posted.Add(1)
				}
			})
		}
		posting.Wait()
		return posted.Load()
	}
	report := func(what string, took []time.Duration) {
		for _, share := range []float64{.5, .99} {
			b.ReportMetric(float64(took[int(share*float64(len(took)-1))].Microseconds()), fmt.Sprintf("p%.0f-%s-µs", 100*share, what))
		}
	}
	for b.Loop() {
		alone, stop := context.WithTimeout(l.ctx, lasts)
		report("idle", come(alone))
		stop()
		beside, stop := context.WithTimeout(l.ctx, lasts)
		var posted int64
		var posting sync.WaitGroup
		posting.Go(func() { posted = post(beside) })
		report("beside", come(beside))
		posting.Wait()
		stop()
		b.ReportMetric(float64(posted)/lasts.Seconds(), "uploads/s")
	}
	if faults := l.faults.list(); len(faults) > 0 {
		b.Error(faults)
	}
}
