package journal

import (
	"context"
	"strings"
	"testing"
)

// BenchmarkAppend appends from 256 goroutines per processor while records are shipped, to the disk of the temporary folder.
func BenchmarkAppend(b *testing.B) {
	j := open(b, b.TempDir(), Options{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- j.Ship(ctx, func(context.Context, []Record) error { return nil }) }()
	body := []byte(`{"verdict":"` + strings.Repeat("x", 500) + `"}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	b.SetParallelism(256)
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := j.Append(ctx, "match", body); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	s := j.Stats()
	b.ReportMetric(float64(s.Syncs)/float64(s.Appended), "syncs/record")
	b.ReportMetric(float64(s.Appended)/b.Elapsed().Seconds(), "records/s")
	cancel()
	<-done
}
