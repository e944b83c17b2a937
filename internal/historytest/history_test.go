package historytest

import (
	"cmp"
	"context"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"vigie/hashing"
	"vigie/index"
	"vigie/storage/history"
)

const party = 7

func upload(r *rand.Rand, n int) history.Record {
	return history.Record{
		Party: party, At: time.Now(), ContentID: fmt.Sprintf("%019d", 1_795_000_000_000_000_000+uint64(n)*4_194_304+r.Uint64N(4096)),
		Quality: 100, PDQ: hashing.Value{r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()},
	}
}

// fixture is a history that runs, in a folder of its own.
type fixture struct {
	*history.History
	dir string
}

func open(b testing.TB) fixture {
	b.Helper()
	dir := b.TempDir()
	folder, err := history.OpenFolder(filepath.Join(dir, "files"))
	if err != nil {
		b.Fatal(err)
	}
	h, err := history.Open(dir, folder, history.Options{
		Scan: index.ScanFlat, WindowBytes: 8 << 30, JournalBytes: 16 << 30, Fault: func(err error) { b.Error(err) },
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		<-done
		if err := h.Close(); err != nil {
			b.Error(err)
		}
	})
	return fixture{h, dir}
}

// fill appends n uploads from many callers, and returns how long that took.
func (f fixture) fill(b testing.TB, n, callers int) time.Duration {
	b.Helper()
	start := time.Now()
	var g errgroup.Group
	for i := range callers {
		r := rand.New(rand.NewPCG(uint64(i), uint64(n)))
		g.Go(func() error {
			for k := i; k < n; k += callers {
				if _, err := f.Append(context.Background(), upload(r, k)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

func rows(b testing.TB) int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("VIGIE_HISTORY_ROWS"), "2000000"))
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkAppend appends from 64 callers, while what they append is sealed beside; each append returns when it is on the disk.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{64, 1024} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			f := open(b)
			n := 0
			for b.Loop() {
				f.fill(b, 200_000, callers)
				n += 200_000
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "uploads/s")
			b.ReportMetric(float64(n)/float64(f.Stats().Journal.Syncs), "uploads/sync")
		})
	}
}

// BenchmarkHistory fills a history, seals it, and asks for the eight orientations of a picture: in the window, in files, and by
// the loop over values in a slice that one would write without all this.
func BenchmarkHistory(b *testing.B) {
	f, n := open(b), rows(b)
	f.fill(b, n, 1024)
	start := time.Now()
	backlog := f.Stats().Journal.Backlog
	if err := f.Seal(context.Background()); err != nil {
		b.Fatal(err)
	}
	sealed := time.Since(start)

	r := rand.New(rand.NewPCG(1, 2))
	q := history.Query{Party: party, Radius: 31}
	for range 8 {
		q.Values = append(q.Values, upload(r, 0).PDQ)
	}
	planted := upload(r, n)
	planted.PDQ = q.Values[3]
	if _, err := f.Append(context.Background(), planted); err != nil {
		b.Fatal(err)
	}
	if err := f.Seal(context.Background()); err != nil {
		b.Fatal(err)
	}
	rate := func(b *testing.B) {
		b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
	}
	hit := func(b *testing.B, found int64) {
		if found != int64(b.N) {
			b.Errorf("found %d in %d searches", found, b.N)
		}
	}
	b.Run("window", func(b *testing.B) {
		found := int64(0)
		for b.Loop() {
			if err := f.Search(b.Context(), q, func(history.Hit) error { found++; return nil }); err != nil {
				b.Fatal(err)
			}
		}
		hit(b, found)
		rate(b)
		b.ReportMetric(float64(f.Stats().Window.Bytes)/float64(n), "bytes/row")
	})
	b.Run("files", func(b *testing.B) {
		var found atomic.Int64
		for b.Loop() {
			var g errgroup.Group
			g.SetLimit(runtime.GOMAXPROCS(0))
			for file, err := range f.Files(b.Context(), q) {
				if err != nil {
					b.Fatal(err)
				}
				g.Go(func() error {
					return f.SearchFile(b.Context(), file, q, func(history.Hit) error { found.Add(1); return nil })
				})
			}
			if err := g.Wait(); err != nil {
				b.Fatal(err)
			}
		}
		hit(b, found.Load())
		rate(b)
		var size, files int64
		_ = filepath.WalkDir(filepath.Join(f.dir, "files"), func(_ string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				info, _ := e.Info()
				size, files = size+info.Size(), files+1
			}
			return err
		})
		b.ReportMetric(float64(size)/float64(n), "bytes/row")
		b.ReportMetric(float64(files), "files")
		if backlog > 0 {
			b.ReportMetric(float64(backlog)/sealed.Seconds(), "sealed/s")
		}
	})
	b.Run("loop", func(b *testing.B) {
		values := make([]hashing.Value, min(n, 2_000_000))
		for i := range values {
			values[i] = hashing.Value{r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()}
		}
		found := 0
		for b.Loop() {
			var all sync.WaitGroup
			for half := range 2 {
				all.Go(func() {
					for _, v := range values[half*len(values)/2 : (half+1)*len(values)/2] {
						for _, w := range q.Values {
							if bits.OnesCount64(v[0]^w[0])+bits.OnesCount64(v[1]^w[1])+bits.OnesCount64(v[2]^w[2])+bits.OnesCount64(v[3]^w[3]) <= 31 {
								found++
							}
						}
					}
				})
			}
			all.Wait()
		}
		b.ReportMetric(float64(len(values))*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
		_ = found
	})
}
