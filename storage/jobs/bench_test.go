package jobs_test

import (
	"context"
	"sync/atomic"
	"testing"

	"vigie/storage/jobs"
)

// BenchmarkJobs enqueues jobs, 100 at a time, and does them, 16 at a time. The handler does nothing. PostgreSQL is the one of the tests,
// which syncs nothing.
//
//	go test -run - -bench Jobs -benchtime 10000x ./storage/jobs
func BenchmarkJobs(b *testing.B) {
	for name, where := range wheres {
		b.Run(name, func(b *testing.B) {
			var left atomic.Int64
			left.Store(int64(b.N))
			all := make(chan struct{})
			e, err := openAt(b.Context(), where(b), map[string]jobs.Handler{"work": {Parallel: 16, Do: func(context.Context, jobs.Run) error {
				if left.Add(-1) == 0 {
					close(all)
				}
				return nil
			}}}, jobs.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer e.Close()
			ctx, cancel := context.WithCancel(b.Context())
			ended := make(chan error)
			go func() { ended <- e.Run(ctx) }()
			b.ResetTimer()
			for n := 0; n < b.N; n += 100 {
				batch := make([]jobs.Job, min(100, b.N-n))
				for i := range batch {
					batch[i] = jobs.Job{Kind: "work", Args: []byte(`{"a": 1}`)}
				}
				if err := e.Enqueue(b.Context(), batch...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "enqueued/s")
			<-all
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "done/s")
			cancel()
			if err := <-ended; err != nil {
				b.Fatal(err)
			}
		})
	}
}
