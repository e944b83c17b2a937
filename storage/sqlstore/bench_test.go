package sqlstore

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/internal/testpg"
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
	for name, catalogue := range bothDatabases {
		for _, clients := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("%s/clients=%d", name, clients), func(b *testing.B) {
				s := catalogue(b)
				var next atomic.Int64
				var wait sync.WaitGroup
				took := make([]time.Duration, b.N)
				b.ResetTimer()
				for range clients {
					wait.Go(func() {
						for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
							e := typical(uint64(n))
							begun := time.Now()
							if err := s.Update(context.Background(), func(w storage.Writer) error { return storagetest.AddEntry(w, &e) }); err != nil {
								b.Error(err)
								return
							}
							took[n-1] = time.Since(begun)
						}
					})
				}
				wait.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
				slices.Sort(took)
				for _, percent := range []int{50, 99} {
					b.ReportMetric(float64(took[len(took)*percent/100].Microseconds())/1000, fmt.Sprintf("ms/p%d", percent))
				}
			})
		}
	}
}

// urls are of the stores on PostgreSQL.
var urls = map[*Store]string{}

// bothDatabases make a catalogue with one bank that survives a loss of power.
var bothDatabases = map[string]func(b *testing.B) *Store{
	"sqlite": func(b *testing.B) *Store { return withBank(b).Store },
	"postgres": func(b *testing.B) *Store {
		s := openPostgres(b, testpg.Start(b).URL("postgres"), storage.Options{})
		urls[s.Store] = s.url
		if err := s.Update(context.Background(), func(w storage.Writer) error { return w.CreateBank(&storage.Bank{Name: "a"}) }); err != nil {
			b.Fatal(err)
		}
		return s.Store
	},
}

// BenchmarkImport adds entries as an import does, 250 in an update, asked for by their two signals before; meanwhile somebody else
// (on PostgreSQL, from another node) flags one every 20 ms. Run it with -benchtime=1000000x for the time of a million.
func BenchmarkImport(b *testing.B) {
	const size = 250
	for name, catalogue := range bothDatabases {
		b.Run(name, func(b *testing.B) {
			s := catalogue(b)
			stop := flagging(b, s)
			b.ResetTimer()
			var holds []time.Duration
			for at := 0; at < b.N; at += size {
				var begun time.Time
				err := s.Update(context.Background(), func(w storage.Writer) error {
					begun = time.Now()
					return importing(w, at, min(at+size, b.N))
				})
				if err != nil {
					b.Fatal(err)
				}
				holds = append(holds, time.Since(begun))
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
			slices.Sort(holds)
			b.ReportMetric(float64(holds[len(holds)*99/100].Microseconds())/1000, "ms/hold-p99")
			if flags := stop(); len(flags) > 0 {
				b.ReportMetric(float64(flags[len(flags)/2].Microseconds())/1000, "ms/flag-p50")
				b.ReportMetric(float64(flags[len(flags)*99/100].Microseconds())/1000, "ms/flag-p99")
			}
		})
	}
}

// importing adds some entries in an update.
func importing(w storage.Writer, from, to int) error {
	var entries []*storage.Entry
	var signals []hashing.Signal
	for n := uint64(from); n < uint64(to); n++ {
		e := storage.Entry{Bank: 1, Labels: []string{"daesh", "banner"}, Signals: []hashing.Signal{
			storagetest.Signal(hashing.PDQ, n), storagetest.Signal(hashing.MD5, n),
		}}
		entries, signals = append(entries, &e), append(signals, e.Signals...)
	}
	with, err := w.EntriesWithAny(1, signals)
	for _, ids := range with {
		if len(ids) > 0 {
			return fmt.Errorf("entries %d are there", ids)
		}
	}
	if err != nil {
		return err
	}
	return storagetest.AddEntries(w, entries)
}

// flagging flags until it is stopped; then it says how long each flag took, sorted.
func flagging(b *testing.B, s *Store) (stop func() []time.Duration) {
	if url, ok := urls[s]; ok {
		s = openPostgres(b, url, storage.Options{}).Store
	}
	ctx, cancel := context.WithCancel(context.Background())
	var took []time.Duration
	var ended sync.WaitGroup
	ended.Go(func() {
		for n := uint64(1 << 40); ctx.Err() == nil; n++ {
			next := time.Now().Add(20 * time.Millisecond)
			e := typical(n)
			begun := time.Now()
			if err := s.Update(context.Background(), func(w storage.Writer) error { return storagetest.AddEntry(w, &e) }); err != nil {
				b.Error(err)
			}
			took = append(took, time.Since(begun))
			time.Sleep(time.Until(next))
		}
	})
	return func() []time.Duration {
		cancel()
		ended.Wait()
		slices.Sort(took)
		return took
	}
}

// BenchmarkMatches adds matches with a verdict of 2 kB on two entries, 500 in a transaction, as a journal ships them.
func BenchmarkMatches(b *testing.B) {
	for name, catalogue := range bothDatabases {
		b.Run(name, func(b *testing.B) {
			s := catalogue(b)
			verdict := []byte(`"` + strings.Repeat("v", 2000) + `"`)
			b.ResetTimer()
			for at := 0; at < b.N; at += 500 {
				var matches []storage.MatchRecord
				for n := at; n < min(at+500, b.N); n++ {
					matches = append(matches, storage.MatchRecord{
						ID: storage.MatchID{Node: "0000000a", Number: uint64(n + 1)}, At: time.Now(), Party: 1, ContentID: fmt.Sprint(n), Level: "match",
						Entries: []storage.MatchEntry{{Entry: storage.EntryID(1 + n*7919%10000), Bank: 1}, {Entry: storage.EntryID(20000 + n%100), Bank: 2}}, Verdict: verdict,
					})
				}
				err := s.Update(context.Background(), func(w storage.Writer) error { return w.AddMatches("0000000a", matches) })
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "matches/s")
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

// BenchmarkListing reads pages of 100 entries that lie in 1,000 of 2,000 banks, after a random place.
func BenchmarkListing(b *testing.B) {
	s := withBank(b)
	const banks, size = 2000, 100_000
	for at := 0; at < size; at += 10_000 {
		err := s.Update(context.Background(), func(w storage.Writer) error {
			for n := 0; at == 0 && n < banks; n++ {
				if err := w.CreateBank(&storage.Bank{Name: fmt.Sprint(n)}); err != nil {
					return err
				}
			}
			for n := at; n < at+10_000; n++ {
				e := storage.Entry{Bank: storage.BankID(2 + n*7919%banks), Status: storage.Active, Labels: []string{"x"}}
				if err := w.CreateEntry(&e); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	var odd []storage.BankID
	for id := storage.BankID(3); id < banks+2; id += 2 {
		odd = append(odd, id)
	}
	for name, q := range map[string]storage.EntryQuery{
		"banks": {}, "label": {Label: "x"}, "status": {Status: storage.Active}, "none": {Status: storage.Quarantined},
	} {
		b.Run(name, func(b *testing.B) {
			q.Banks, q.Limit = odd, 100
			for b.Loop() {
				q.After = (q.After + 7919) % (size * 9 / 10)
				err := s.View(context.Background(), func(r storage.Reader) error {
					page, err := r.Entries(q)
					if len(page) != 100 && q.Status != storage.Quarantined {
						b.Errorf("%d entries", len(page))
					}
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func withBank(b *testing.B) onDisk {
	s := open(b, filepath.Join(b.TempDir(), "c.db"), storage.Options{})
	err := s.Update(context.Background(), func(w storage.Writer) error { return w.CreateBank(&storage.Bank{Name: "a"}) })
	if err != nil {
		b.Fatal(err)
	}
	return s
}
