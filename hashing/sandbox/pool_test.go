package sandbox_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/hashing/decode"
	"vigie/hashing/sandbox"
)

// TestMain makes the test binary its own decode child and program child.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == sandbox.ProgramCommand {
		fmt.Fprintln(os.Stderr, sandbox.ProgramChild())
		os.Exit(1)
	}
	if len(os.Args) > 1 && os.Args[1] == "decode-child" {
		o, err := sandbox.ChildOptionsFrom(os.Getenv)
		if err == nil {
			err = sandbox.Child(os.Stdin, os.Stdout, testHash, testCost, o)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// testHash stands for a decoder: the signal is the length of the picture and its first byte.
func testHash(_ context.Context, data []byte) (hashing.Picture, error) {
	if kind := decode.Sniff(data); kind.Class != decode.Unknown { // a real picture
		img, err := decode.Decode(data, hashing.DefaultLimits())
		if err != nil {
			return hashing.Picture{}, err
		}
		if img.Height != 64 {
			return hashing.Picture{Format: img.Format, Width: img.Width, Height: img.Height, Unhashable: hashing.Flat}, nil
		}
		s := hashing.Signal{Algorithm: hashing.PDQ, Version: hashing.PDQ.Version(), Quality: 97, Value: hashing.Value{uint64(img.Width)}}
		return hashing.Picture{
			Format: img.Format, Width: img.Width, Height: img.Height, Signals: []hashing.Signal{s}, Queries: []hashing.Query{{Signal: s}},
		}, nil
	}
	switch {
	case bytes.HasPrefix(data, []byte("corrupt")):
		return hashing.Picture{}, &hashing.MediaError{Kind: hashing.Corrupt, Detail: "bad marker\nat 12"}
	case bytes.HasPrefix(data, []byte("flat")):
		return hashing.Picture{Format: "png", Width: 9, Height: 9, Unhashable: hashing.Flat}, nil
	case bytes.HasPrefix(data, []byte("large")): // below what a busy child gives back at once
		pixels := make([]byte, 100<<20)
		for i := 0; i < len(pixels); i += 4096 {
			pixels[i] = data[0]
		}
		runtime.KeepAlive(pixels)
	case bytes.HasSuffix(data, []byte("slow")):
		time.Sleep(50 * time.Millisecond)
	case bytes.HasSuffix(data, []byte("slower")):
		time.Sleep(400 * time.Millisecond)
	case bytes.HasSuffix(data, []byte("hang")):
		time.Sleep(time.Hour)
	case bytes.HasPrefix(data, []byte("odd")):
		return hashing.Picture{}, errors.New("holds a secret of the picture")
	}
	s := hashing.Signal{
		Algorithm: hashing.PDQ, Variant: hashing.CLI, Version: hashing.PDQ.Version(), Quality: 97,
		Value: hashing.Value{uint64(len(data)), uint64(data[0])},
	}
	return hashing.Picture{
		Format: "jpeg", Width: 640, Height: 480, Signals: []hashing.Signal{s},
		Queries: []hashing.Query{{Signal: s, Transform: hashing.Transverse}},
	}, nil
}

// testCost stands for a header: "cost N ...".
func testCost(data []byte, _ hashing.Limits) (n int64, err error) {
	if _, err := fmt.Sscanf(string(data[:min(len(data), 30)]), "cost %d ", &n); err != nil {
		return 0, err
	}
	return n, nil
}

func newPool(t testing.TB, o sandbox.Options, env ...string) *sandbox.Pool {
	t.Helper()
	before := runtime.NumGoroutine()
	o.Env = append(env, "VIGIE_DECODE_TEST_HOOKS=1")
	p, err := sandbox.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if s := p.Stats(); s.Busy != 0 || s.Started != total(s.Died) {
			t.Errorf("after Close: %+v", s)
		}
		waitFor(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
		if runtime.GOOS == "linux" {
			if left := childrenOf(t, os.Getpid()); len(left) != 0 {
				t.Errorf("children left: %v", left)
			}
		}
	})
	return p
}

func total(died map[sandbox.DeathReason]int64) (n int64) {
	for _, d := range died {
		n += d
	}
	return n
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain waited until %s", what)
		}
	}
}

// childrenOf lists the processes whose parent is pid, zombies included.
func childrenOf(t testing.TB, pid int) (children []string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == fmt.Sprint(pid) {
			children = append(children, path)
		}
	}
	return children
}

func good(t testing.TB, p *sandbox.Pool) {
	t.Helper()
	data := []byte("good picture")
	got, err := p.Picture(t.Context(), data)
	if err != nil {
		t.Errorf("good picture: %v", err)
		return
	}
	want, _ := testHash(t.Context(), data)
	if got.Format != want.Format || got.Width != want.Width || got.Height != want.Height ||
		!slices.Equal(got.Signals, want.Signals) || !slices.Equal(got.Queries, want.Queries) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func frame(s string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func TestOutcomes(t *testing.T) {
	p := newPool(t, sandbox.Options{
		Children: 1, Memory: 900 << 20, Timeout: 6 * time.Second,
		Limits: hashing.Limits{Bytes: 1 << 20, Side: 1000, Pixels: 1e6}, // 3 x 256 + 200 are within, 3 x 256 + 255 are not
	})
	picture := func(format string, width, quality, transform byte) string {
		signal := append([]byte{byte(hashing.PDQ), 0, hashing.PDQ.Version(), quality, 0, 0, 0, 0}, bytes.Repeat([]byte{0x0f}, 32)...)
		b := append([]byte{'p', byte(len(format))}, format...)
		b = append(b, 0, 0, 3, width, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0)
		return string(append(slices.Concat(b, signal, signal), transform, 0))
	}
	garbage := func(s string) string { return "VIGIE-TEST-GARBAGE " + frame(s) }

	for _, test := range []struct {
		name, data string
		kind       hashing.MediaErrorKind // "" is no error
		detail     string                 // contained
		died       sandbox.DeathReason    // "" if the child lives on
	}{
		{"good", "good", "", "", ""},
		{"flat", "flat", "", "", ""},
		{"large", strings.Repeat("x", 1<<20), "", "", ""},
		{"empty", "", hashing.Empty, "", ""},
		{"too large", strings.Repeat("x", 1<<20+1), hashing.TooLarge, "1048577", ""},
		{"corrupt", "corrupt", hashing.Corrupt, "bad marker?at 12", ""},
		{"unknown error", "odd", hashing.Crashed, "unexpected", ""},

		{"hang", "VIGIE-TEST-HANG", hashing.TimedOut, "6s", sandbox.DiedTimeout},
		{"memory", "VIGIE-TEST-MEMORY", hashing.OutOfMemory, "900 MiB", sandbox.DiedMemory},
		{"panic", "VIGIE-TEST-CRASH", hashing.Crashed, "exit status 2", sandbox.DiedCrash},
		{"exit", "VIGIE-TEST-EXIT", hashing.Crashed, "exit status 0", sandbox.DiedCrash},

		{"forged but well-formed", garbage(picture("gif", 200, 90, 1)), "", "", ""},
		{"no answer", garbage("garbage"), hashing.Crashed, "does not hold", sandbox.DiedGarbage},
		{"empty frame", garbage(""), hashing.Crashed, "does not hold", sandbox.DiedGarbage},
		{"two answers in one", garbage(picture("gif", 200, 90, 1) + "p"), hashing.Crashed, "does not hold", sandbox.DiedGarbage},
		{"over the limits", garbage(picture("gif", 255, 90, 1)), hashing.Crashed, "does not hold", sandbox.DiedGarbage},
		{"bad quality", garbage(picture("gif", 200, 101, 1)), hashing.Crashed, "does not hold", sandbox.DiedGarbage},
		{"a need of nothing", garbage("n\x00\x00\x00\x00\x00\x00\x00\x00"), hashing.Crashed, "does not hold", sandbox.DiedGarbage},
		{"a need, and another", garbage("n\x7f\xff\xff\xff\xff\xff\xff\xff") + frame("n\x7f\xff\xff\xff\xff\xff\xff\xff"), hashing.Crashed, "does not hold", sandbox.DiedGarbage},
		{"prints an answer", "VIGIE-TEST-PRINT " + frame(picture("gif", 200, 90, 1)), hashing.Corrupt, "print succeeded", ""},
		{"endless frame", "VIGIE-TEST-GARBAGE \xff\xff\xff\xff", hashing.Crashed, "too long", sandbox.DiedGarbage},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := p.Stats()
			_, err := p.Picture(t.Context(), []byte(test.data))
			media, ok := hashing.AsMediaError(err)
			switch {
			case test.kind == "" && err != nil:
				t.Errorf("unexpected error: %v", err)
			case test.kind != "" && (!ok || media.Kind != test.kind || !strings.Contains(media.Detail, test.detail)):
				t.Errorf("got %v, want %s: ...%s...", err, test.kind, test.detail)
			}
			after := p.Stats()
			if test.died == "" && total(after.Died) != total(before.Died) {
				t.Errorf("a child died: %v", after.Died)
			}
			if test.died != "" && after.Died[test.died] != before.Died[test.died]+1 {
				t.Errorf("no child died of %s: %v", test.died, after.Died)
			}
			if strings.HasPrefix(test.name, "forged") {
				// The hook's child answers twice; its next answer is that of the picture before. Start afresh.
				_, _ = p.Picture(t.Context(), []byte("VIGIE-TEST-EXIT"))
				_, _ = p.Picture(t.Context(), []byte("VIGIE-TEST-EXIT"))
			}
			good(t, p)
		})
	}
}

func TestGoodPicturesAmongHostileOnes(t *testing.T) {
	var mu sync.Mutex
	starts, deaths := 0, 0
	p := newPool(t, sandbox.Options{Children: 3, Memory: 900 << 20, Timeout: 3 * time.Second, Events: sandbox.Events{
		ChildStarted: func(e sandbox.ChildStart) { mu.Lock(); starts++; mu.Unlock() },
		ChildDied:    func(e sandbox.ChildDeath) { mu.Lock(); deaths++; mu.Unlock() },
	}})
	hostile := map[string]hashing.MediaErrorKind{
		"VIGIE-TEST-HANG": hashing.TimedOut, "VIGIE-TEST-MEMORY": hashing.OutOfMemory,
		"VIGIE-TEST-CRASH": hashing.Crashed, "VIGIE-TEST-GARBAGE garbage": hashing.Crashed,
	}
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var wg sync.WaitGroup
	for data, kind := range hostile {
		for range 8 {
			wg.Go(func() {
				_, err := p.Picture(t.Context(), []byte(data))
				// Several that eat memory at a time may be slow enough to reach the deadline.
				if media, ok := hashing.AsMediaError(err); !ok || media.Kind != kind && (kind != hashing.OutOfMemory || media.Kind != hashing.TimedOut) {
					t.Errorf("%s: got %v, want %s", data, err, kind)
				}
			})
			wg.Go(func() { good(t, p) })
			wg.Go(func() { good(t, p) })
		}
	}
	wg.Wait()
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	if grown := int64(after.Sys) - int64(before.Sys); grown > 64<<20 {
		t.Errorf("the parent grew by %d bytes", grown)
	}
	mu.Lock()
	defer mu.Unlock()
	if s := p.Stats(); s.Started != int64(starts) || deaths != 32 || total(s.Died) != 32 {
		t.Errorf("%d starts, %d deaths, %+v; want 32 deaths", starts, deaths, s)
	}
}

func TestCancellation(t *testing.T) {
	p := newPool(t, sandbox.Options{Children: 1, Timeout: time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := p.Picture(ctx, []byte("VIGIE-TEST-HANG")); err != context.Canceled {
			t.Errorf("worked on: %v", err)
		}
	})
	waitFor(t, "the child is busy", func() bool { return p.Stats().Busy == 1 })

	waiting, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err := p.Picture(waiting, []byte("good")); err != context.DeadlineExceeded {
		t.Errorf("in the queue: %v", err)
	}
	if s := p.Stats(); total(s.Died) != 0 {
		t.Errorf("a request that waited killed a child: %v", s.Died)
	}
	cancel()
	wg.Wait()
	if s := p.Stats(); s.Died[sandbox.DiedCancelled] != 1 {
		t.Errorf("died: %v", s.Died)
	}
	if _, err := p.Picture(ctx, []byte("good")); err != context.Canceled {
		t.Errorf("cancelled before: %v", err)
	}
	good(t, p)
}

// A picture behind one that hangs is refused in time, and answered when it comes again.
func TestBusy(t *testing.T) {
	p := newPool(t, sandbox.Options{Children: 1, Timeout: time.Minute, Wait: 50 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = p.Picture(ctx, []byte("VIGIE-TEST-HANG")) })
	waitFor(t, "the child is busy", func() bool { return p.Stats().Busy == 1 })
	if _, err := p.Picture(t.Context(), []byte("good")); !errors.Is(err, hashing.ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	cancel()
	wg.Wait()
	good(t, p)
}

// TestBudget sends pictures of much memory to many children: at no time are more at work than fit.
func TestBudget(t *testing.T) {
	const memory = 200 << 20
	p := newPool(t, sandbox.Options{Children: 4, Budget: 2 * memory})
	var most atomic.Int64
	stop := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for {
			most.Store(max(most.Load(), p.Stats().Granted))
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
			}
		}
	})
	var wg sync.WaitGroup
	for _, data := range []string{"cost %d slow", "cost %d fast"} {
		for range 8 {
			wg.Go(func() {
				_, err := p.Picture(t.Context(), fmt.Appendf(nil, data, memory))
				if err != nil {
					t.Errorf("%s: %v", data, err)
				}
			})
			wg.Go(func() { good(t, p) })
		}
	}
	wg.Go(func() { // more than all there is
		if _, err := p.Picture(t.Context(), []byte("cost 1000000000000 slow")); err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
	close(stop)
	watcher.Wait()
	s := p.Stats()
	if s.Granted != 0 || s.Budget != 2*memory || total(s.Died) != 0 {
		t.Errorf("%+v", s)
	}
	if most.Load() < memory || most.Load() > s.Budget {
		t.Errorf("at most %d bytes were granted at a time", most.Load())
	}
}

// TestBudgetBusy has one picture hold all memory. One that needs some is refused in time, or cancelled, and its child
// lives on; one that needs little passes.
func TestBudgetBusy(t *testing.T) {
	p := newPool(t, sandbox.Options{Children: 2, Budget: 128 << 20, Timeout: time.Minute, Wait: 50 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = p.Picture(ctx, []byte("cost 999999999 hang")) })
	waitFor(t, "the memory is taken", func() bool { return p.Stats().Granted > 0 })
	needs := []byte("cost 100000000 good")
	if _, err := p.Picture(t.Context(), needs); !errors.Is(err, hashing.ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	good(t, p)
	if s := p.Stats(); total(s.Died) != 0 {
		t.Errorf("died: %v", s.Died)
	}
	waiting, stop := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer stop()
	if _, err := p.Picture(waiting, needs); err != context.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	cancel()
	wg.Wait()
	if _, err := p.Picture(t.Context(), needs); err != nil {
		t.Error(err)
	}
	good(t, p)
	if s := p.Stats(); s.Granted != 0 {
		t.Errorf("%+v", s)
	}
}

// TestLargePicturesLeaveAChild sends a crowd of large pictures that hang. Small ones do not wait for them.
func TestLargePicturesLeaveAChild(t *testing.T) {
	p := newPool(t, sandbox.Options{Children: 3, Budget: 4 << 30, Timeout: time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := p.Picture(ctx, []byte("cost 100000000 hang")); err != context.Canceled {
				t.Errorf("got %v", err)
			}
		})
	}
	waitFor(t, "two are at work", func() bool { return p.Stats().Granted == 200_000_000 })
	for range 20 {
		good(t, p)
	}
	cancel()
	wg.Wait()
	for range 4 { // every turn was given back
		if _, err := p.Picture(t.Context(), []byte("cost 100000000 good")); err != nil {
			t.Error(err)
		}
	}
	if s := p.Stats(); s.Granted != 0 || s.Died[sandbox.DiedCancelled] != 2 || total(s.Died) != 2 {
		t.Errorf("%+v", s)
	}
}

// TestDeadlineBeginsWithTheGrant holds the memory for longer than the deadline of those who wait for it.
func TestDeadlineBeginsWithTheGrant(t *testing.T) {
	p := newPool(t, sandbox.Options{Children: 6, Budget: 128 << 20, Timeout: 2 * time.Second})
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() { // 6 x 400 ms, one after the other
			if _, err := p.Picture(t.Context(), []byte("cost 999999999 slower")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	_, err := p.Picture(t.Context(), []byte("cost 999999999 hang"))
	if media, ok := hashing.AsMediaError(err); !ok || media.Kind != hashing.TimedOut {
		t.Errorf("got %v", err)
	}
}

func TestDeadline(t *testing.T) {
	p := newPool(t, sandbox.Options{Children: 1, Timeout: 100 * time.Millisecond})
	begun := time.Now()
	_, err := p.Picture(t.Context(), []byte("VIGIE-TEST-HANG"))
	if media, ok := hashing.AsMediaError(err); !ok || media.Kind != hashing.TimedOut {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begun); took < 100*time.Millisecond || took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestRecycling(t *testing.T) {
	var deaths []sandbox.ChildDeath
	p := newPool(t, sandbox.Options{Children: 1, Recycle: 3, Events: sandbox.Events{
		ChildDied: func(d sandbox.ChildDeath) { deaths = append(deaths, d) },
	}})
	for range 7 {
		good(t, p)
	}
	if s := p.Stats(); s.Started != 3 || s.Died[sandbox.DiedRecycled] != 2 || len(deaths) != 2 || deaths[0].Pictures != 3 {
		t.Errorf("%+v %+v", s, deaths)
	}
}

func TestKilledFromOutside(t *testing.T) {
	var pid int
	p := newPool(t, sandbox.Options{Children: 1, Events: sandbox.Events{
		ChildStarted: func(s sandbox.ChildStart) { pid = s.PID },
	}})
	child, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Kill(); err != nil {
		t.Fatal(err)
	}
	// The pool's own goroutine reaps it.
	waitFor(t, "it is reaped", func() bool { return child.Signal(os.Signal(os.Interrupt)) != nil })
	time.Sleep(10 * time.Millisecond)
	good(t, p)
	if s := p.Stats(); s.Died[sandbox.DiedIdle] != 1 || s.Started != 2 {
		t.Errorf("%+v", s)
	}
}

func TestClose(t *testing.T) {
	p := newPool(t, sandbox.Options{Children: 2, Timeout: time.Minute})
	var wg sync.WaitGroup
	for range 5 { // two at work, three in the queue
		wg.Go(func() {
			if _, err := p.Picture(t.Context(), []byte("VIGIE-TEST-HANG")); err != sandbox.ErrClosed {
				t.Errorf("during Close: %v", err)
			}
		})
	}
	waitFor(t, "two are busy", func() bool { return p.Stats().Busy == 2 })
	for range 2 {
		wg.Go(func() { _ = p.Close() })
	}
	wg.Wait()
	if _, err := p.Picture(t.Context(), []byte("good")); err != sandbox.ErrClosed {
		t.Errorf("after Close: %v", err)
	}
}

func TestNewFails(t *testing.T) {
	before := runtime.NumGoroutine()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		o    sandbox.Options
		want string
	}{
		{"faults", sandbox.Options{Children: -1, Memory: 1}, "least is"},
		{"limits", sandbox.Options{Limits: hashing.Limits{Bytes: 1 << 40, Side: 1, Pixels: 1}}, "the most is"},
		{"no such program", sandbox.Options{Command: []string{"no-such-program"}}, "not found"},
		{"another program", sandbox.Options{Command: []string{exe, "-test.run=^$"}}, "hello"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := sandbox.New(test.o); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want ...%s...", err, test.want)
			}
		})
	}
	waitFor(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
}

func TestChildByHand(t *testing.T) {
	if _, err := sandbox.ChildOptionsFrom(func(string) string { return "" }); err == nil {
		t.Error("no error")
	}
}

// listen returns the address of a server that a child must not reach.
func listen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// BenchmarkHandOver measures what the processes cost: a picture of 1 MB, hashed in no time.
func BenchmarkHandOver(b *testing.B) {
	p, err := sandbox.New(sandbox.Options{Children: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	for _, size := range []int{1 << 10, 100 << 10, 1 << 20, 4 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			data := make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := p.Picture(b.Context(), data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStart measures a fresh process for every picture.
func BenchmarkStart(b *testing.B) {
	p, err := sandbox.New(sandbox.Options{Children: 1, Recycle: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	for b.Loop() {
		if _, err := p.Picture(b.Context(), []byte("good")); err != nil {
			b.Fatal(err)
		}
	}
}
