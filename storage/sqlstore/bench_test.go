package sqlstore

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"vigie/hashing"
	"vigie/storage"
	"vigie/storage/storagetest"
)

// typical is an entry as a flag stores it: four signals, two labels, one source.
func typical(n uint64) storage.Entry {
	cli := storagetest.Signal(hashing.PDQ, n)
	cli.Variant = hashing.CLI
	return storage.Entry{
		Bank: 1, Note: "seen on a channel", Labels: []string{"daesh", "banner"},
		Media: storage.MediaInfo{SHA256: storagetest.Signal(hashing.SHA256, n).Value, Bytes: 1 << 16, Format: "jpeg", Width: 800, Height: 600},
		Signals: []hashing.Signal{
			storagetest.Signal(hashing.PDQ, n), cli, storagetest.Signal(hashing.PHash, n), storagetest.Signal(hashing.MD5, n),
		},
	}
}

// BenchmarkUpdate adds one typical entry with its change per update, durably.
func BenchmarkUpdate(b *testing.B) {
	for _, clients := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			s := withBank(b)
			var next atomic.Int64
			var wait sync.WaitGroup
			b.ResetTimer()
			for range clients {
				wait.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						e := typical(uint64(n))
						if err := s.Update(context.Background(), func(w storage.Writer) error { return storagetest.AddEntry(w, &e) }); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wait.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
		})
	}
}

// BenchmarkLoad reads all entries and all changes, as a node does that starts without a snapshot.
func BenchmarkLoad(b *testing.B) {
	const size = 50_000
	s := withBank(b)
	for at := 0; at < size; at += 1000 {
		err := s.Update(context.Background(), func(w storage.Writer) error {
			for i := range 1000 {
				e := typical(uint64(at + i))
				if err := storagetest.AddEntry(w, &e); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.Run("entries", func(b *testing.B) {
		for b.Loop() {
			err := s.View(context.Background(), func(r storage.Reader) error {
				all, err := storagetest.AllEntries(r, storage.MaxEntries)
				if len(all) != size {
					b.Errorf("%d entries", len(all))
				}
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "entries/s")
	})
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			if _, err := storage.VerifyLog(context.Background(), s, nil); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "changes/s")
	})
	b.Run("with", func(b *testing.B) {
		n := uint64(0)
		for b.Loop() {
			n = (n + 7919) % size
			err := s.View(context.Background(), func(r storage.Reader) error {
				ids, err := r.EntriesWith(1, storagetest.Signal(hashing.PDQ, n))
				if len(ids) != 1 {
					b.Errorf("%d entries", len(ids))
				}
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

func withBank(b *testing.B) onDisk {
	s := open(b, filepath.Join(b.TempDir(), "c.db"), storage.Options{})
	err := s.Update(context.Background(), func(w storage.Writer) error { return w.CreateBank(&storage.Bank{Name: "a"}) })
	if err != nil {
		b.Fatal(err)
	}
	return s
}
