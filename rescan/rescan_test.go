package rescan_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vigie/rescan"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
}

func equal(t testing.TB, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

var errMeant = errors.New("meant to fail")

// list is a source of items in the order given, which is that of their names; each has 10 bytes.
type list []string

func (l list) Items(_ context.Context, after string) iter.Seq2[rescan.Item, error] {
	return func(yield func(rescan.Item, error) bool) {
		for _, name := range l {
			if name > after && !yield(rescan.Item{Name: name, Size: 10}, nil) {
				return
			}
		}
	}
}

func numbered(n int) (l list) {
	for i := range n {
		l = append(l, fmt.Sprintf("%06d", i))
	}
	return l
}

// scanOf is a scan that gives every item its name as its verdict, and tells emitted the names.
func scanOf(source rescan.Source, workers int, emitted *[]string) *rescan.Scan[string] {
	return &rescan.Scan[string]{
		Source:  source,
		Workers: workers,
		Check:   func(_ context.Context, item rescan.Item) (string, error) { return item.Name, nil },
		Level:   func(string) string { return "none" },
		Emit: func(r rescan.Result[string]) error {
			if r.Err == nil && r.Verdict != r.Item.Name {
				return fmt.Errorf("item %s has the verdict of %s", r.Item.Name, r.Verdict)
			}
			*emitted = append(*emitted, r.Item.Name)
			return nil
		},
	}
}

func TestScanEmitsInOrder(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ items, workers int }{
		{0, 4}, {1, 1}, {3, 8}, {50, 1}, {50, 0}, {50, -1}, {200, 7},
	} {
		t.Run(fmt.Sprintf("%d items, %d workers", test.items, test.workers), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var emitted []string
				source := numbered(test.items)
				s := scanOf(source, test.workers, &emitted)
				var running, most atomic.Int64
				s.Check = func(_ context.Context, item rescan.Item) (string, error) {
					most.Store(max(most.Load(), running.Add(1)))
					defer running.Add(-1)
					time.Sleep(time.Duration(item.Name[5]*37%13) * time.Millisecond)
					return item.Name, nil
				}
				summary, err := s.Run(t.Context())
				must(t, err)
				equal(t, emitted, []string(source))
				want := map[string]int64{}
				if test.items > 0 {
					want["none"] = int64(test.items)
				}
				equal(t, summary.Levels, want)
				if summary.Items != int64(test.items) || summary.Bytes != int64(10*test.items) || summary.Failed != 0 {
					t.Errorf("summary %+v", summary)
				}
				if limit := min(max(test.workers, 1), test.items); most.Load() != int64(limit) {
					t.Errorf("%d at a time, want %d", most.Load(), limit)
				}
			})
		})
	}
}

func TestScanCountsLevelsAndFailures(t *testing.T) {
	t.Parallel()
	var emitted []string
	s := scanOf(list{"a", "b", "c", "d"}, 2, &emitted)
	s.Check = func(_ context.Context, item rescan.Item) (string, error) {
		if item.Name == "b" {
			return "", errMeant
		}
		return item.Name, nil
	}
	s.Level = func(v string) string { return map[string]string{"a": "match", "c": "none", "d": "none"}[v] }
	var failed []string
	emit := s.Emit
	s.Emit = func(r rescan.Result[string]) error {
		if r.Err != nil {
			wantErr(t, r.Err, errMeant)
			failed = append(failed, r.Item.Name)
		}
		return emit(r)
	}
	summary, err := s.Run(t.Context())
	must(t, err)
	equal(t, emitted, []string{"a", "b", "c", "d"})
	equal(t, failed, []string{"b"})
	summary.Took = 0
	equal(t, summary, rescan.Summary{Items: 4, Failed: 1, Bytes: 40, Levels: map[string]int64{"match": 1, "none": 2}})
}

// withErrors is a source with errors at some names; "end" ends it.
type withErrors struct {
	list
	bad []string
}

func (w withErrors) Items(ctx context.Context, after string) iter.Seq2[rescan.Item, error] {
	return func(yield func(rescan.Item, error) bool) {
		for item := range w.list.Items(ctx, after) {
			switch {
			case item.Name == "end":
				yield(rescan.Item{}, errMeant)
				return
			case slices.Contains(w.bad, item.Name):
				if !yield(item, errMeant) {
					return
				}
			case !yield(item, nil):
				return
			}
		}
	}
}

func TestScanOfASourceWithErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		source  list
		err     error
		emitted []string
		failed  int64
	}{
		{"of one item", list{"a", "bad", "c"}, nil, []string{"a", "bad", "c"}, 1},
		{"of the listing", list{"a", "bad", "c", "end", "f"}, errMeant, []string{"a", "bad", "c"}, 1},
		{"of the listing at once", list{"end"}, errMeant, nil, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var emitted []string
				summary, err := scanOf(withErrors{test.source, []string{"bad"}}, 2, &emitted).Run(t.Context())
				wantErr(t, err, test.err)
				if test.err == nil && err != nil {
					t.Error(err)
				}
				equal(t, emitted, test.emitted)
				if summary.Failed != test.failed {
					t.Errorf("summary %+v", summary)
				}
			})
		})
	}
}

// An error of Emit ends the scan before the item is counted: it comes again.
func TestScanStopsWhenEmitFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var emitted []string
		s := scanOf(numbered(1000), 4, &emitted)
		checkpoint := &rescan.Checkpoint{}
		s.Checkpoint = checkpoint
		emit := s.Emit
		s.Emit = func(r rescan.Result[string]) error {
			if r.Item.Name == "000007" {
				return errMeant
			}
			return emit(r)
		}
		summary, err := s.Run(t.Context())
		wantErr(t, err, errMeant)
		if summary.Items != 7 || checkpoint.Cursor != "000006" || !checkpoint.Begun() {
			t.Errorf("summary %+v, cursor %q", summary, checkpoint.Cursor)
		}
		s.Emit = emit
		summary, err = s.Run(t.Context())
		must(t, err)
		equal(t, emitted, []string(numbered(1000)))
		equal(t, summary.Items, int64(1000))
	})
}

// A scan that is stopped leaves no goroutines behind, wherever it is: synctest sees to that.
func TestScanIsCancelled(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		after time.Duration
		deaf  bool // checks do not look at their context
	}{
		{"before it begins", -1, false},
		{"during the first checks", time.Millisecond, false},
		{"on its way", 105 * time.Millisecond, false},
		{"with checks that go on", 105 * time.Millisecond, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				if test.after < 0 {
					cancel()
				} else {
					time.AfterFunc(test.after, cancel)
				}
				var emitted []string
				s := scanOf(numbered(10_000), 5, &emitted)
				s.Check = func(ctx context.Context, item rescan.Item) (string, error) {
					if test.deaf {
						time.Sleep(10 * time.Millisecond)
						return item.Name, nil
					}
					select {
					case <-ctx.Done():
						return "", ctx.Err()
					case <-time.After(10 * time.Millisecond):
						return item.Name, nil
					}
				}
				failed := 0
				emit := s.Emit
				s.Emit = func(r rescan.Result[string]) error {
					if r.Err != nil {
						failed++
					}
					return emit(r)
				}
				summary, err := s.Run(ctx)
				wantErr(t, err, context.Canceled)
				if failed > 0 {
					t.Errorf("%d items failed because the scan was stopped", failed)
				}
				if want := max(0, 5*int(test.after/(10*time.Millisecond))); len(emitted) != want || summary.Items != int64(want) {
					t.Errorf("%d emitted, %d counted, want %d", len(emitted), summary.Items, want)
				}
				cancel()
			})
		})
	}
}

// However many items there are, few are under way at a time, even when nobody takes the results.
func TestScanHoldsFewItems(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const workers = 3
		var emitted []string
		var listed atomic.Int64
		endless := sourceFunc(func(yield func(rescan.Item, error) bool) {
			for yield(rescan.Item{Name: fmt.Sprintf("%09d", listed.Add(1))}, nil) {
			}
		})
		s := scanOf(endless, workers, &emitted)
		s.Emit = func(rescan.Result[string]) error {
			emitted = append(emitted, "")
			time.Sleep(time.Second)
			if ahead := int(listed.Load()) - len(emitted); ahead > 6*workers {
				t.Errorf("%d items are listed ahead", ahead)
			}
			if len(emitted) == 100 {
				return errMeant
			}
			return nil
		}
		_, err := s.Run(t.Context())
		wantErr(t, err, errMeant)
	})
}

type sourceFunc iter.Seq2[rescan.Item, error]

func (f sourceFunc) Items(context.Context, string) iter.Seq2[rescan.Item, error] {
	return iter.Seq2[rescan.Item, error](f)
}

// Wherever a scan is stopped, by whatever means, the next one goes on with the next item.
func TestScanResumes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		path := fmt.Sprintf("%s/%d.json", dir, n)
		source := numbered(rapid.IntRange(0, 40).Draw(rt, "items"))
		var emitted []string
		for runs := 0; ; runs++ {
			checkpoint, err := rescan.OpenCheckpoint(path)
			must(t, err)
			equal(t, checkpoint.Begun(), len(emitted) > 0)
			s := scanOf(source, rapid.IntRange(1, 6).Draw(rt, "workers"), &emitted)
			s.Checkpoint = checkpoint
			stopAt := len(emitted) + rapid.IntRange(0, 15).Draw(rt, "stop after")
			ctx, cancel := context.WithCancel(t.Context())
			byContext := rapid.Bool().Draw(rt, "by context")
			emit := s.Emit
			s.Emit = func(r rescan.Result[string]) error {
				if len(emitted) == stopAt && !byContext {
					return errMeant
				}
				err := emit(r)
				if len(emitted) == stopAt && byContext {
					cancel()
				}
				return err
			}
			summary, err := s.Run(ctx)
			cancel()
			if summary.Items != int64(len(emitted)) {
				rt.Fatalf("%d counted, %d emitted", summary.Items, len(emitted))
			}
			if err == nil {
				break
			}
			if !errors.Is(err, errMeant) && !errors.Is(err, context.Canceled) {
				rt.Fatal(err)
			}
		}
		if !slices.Equal(emitted, source) {
			rt.Fatalf("emitted %v\nof %v", emitted, source)
		}
	})
}

// After a crash the file is older than what was emitted: that comes again, and nothing is skipped.
func TestScanResumesAfterACrash(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/below/checkpoint.json"
	synctest.Test(t, func(t *testing.T) {
		var emitted []string
		s := scanOf(numbered(30), 2, &emitted)
		var err error
		s.Checkpoint, err = rescan.OpenCheckpoint(path)
		must(t, err)
		var crashed *rescan.Checkpoint
		emit := s.Emit
		s.Emit = func(r rescan.Result[string]) error {
			time.Sleep(300 * time.Millisecond)
			if r.Item.Name == "000010" { // what another process would find if this one died here
				crashed, err = rescan.OpenCheckpoint(path)
				must(t, err)
			}
			return emit(r)
		}
		_, err = s.Run(t.Context())
		must(t, err)
		// It is saved each second, when an item is emitted: after the 4th, the 8th ...
		equal(t, crashed.Cursor, "000007")
		equal(t, crashed.Summary, rescan.Summary{Items: 8, Bytes: 80, Levels: map[string]int64{"none": 8}, Took: 2400 * time.Millisecond})
		fresh, err := rescan.OpenCheckpoint(path)
		must(t, err)
		if fresh.Begun() {
			t.Error("the checkpoint of a finished scan is still there")
		}

		emitted = nil
		s.Checkpoint, s.Emit = crashed, emit
		summary, err := s.Run(t.Context())
		must(t, err)
		equal(t, emitted, []string(numbered(30)[8:]))
		equal(t, summary.Items, int64(30))
		equal(t, summary.Took, 2400*time.Millisecond) // the second run took none, by this clock
	})
}

func TestScanWhoseCheckpointCannotBeSaved(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/folder"
	checkpoint, err := rescan.OpenCheckpoint(path + "/checkpoint.json")
	must(t, err)
	must(t, writeFile(path, "a file is where the folder should be"))
	var emitted []string
	s := scanOf(numbered(9), 1, &emitted)
	s.Checkpoint = checkpoint
	s.Emit = func(r rescan.Result[string]) error {
		if r.Item.Name == "000003" {
			return errMeant
		}
		return nil
	}
	_, err = s.Run(t.Context())
	wantErr(t, err, errMeant) // which says more
	synctest.Test(t, func(t *testing.T) {
		s.Emit = func(rescan.Result[string]) error { time.Sleep(time.Second); return nil }
		s.Checkpoint, err = rescan.OpenCheckpoint(path + "s/checkpoint.json")
		must(t, err)
		must(t, writeFile(path+"s", ""))
		if _, err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "save the checkpoint") {
			t.Errorf("error %v", err)
		}
	})
}

func TestOpenCheckpointRefusesGarbage(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/checkpoint.json"
	must(t, writeFile(path, `{"cursor":`))
	if _, err := rescan.OpenCheckpoint(path); err == nil {
		t.Error("garbage was read")
	}
	if _, err := rescan.OpenCheckpoint(t.TempDir()); err == nil {
		t.Error("a folder was read")
	}
}

// Many scans at once, for the race detector.
func TestScansAreIndependent(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var emitted []string
			if _, err := scanOf(numbered(500), 4, &emitted).Run(t.Context()); err != nil || len(emitted) != 500 {
				t.Errorf("%d emitted: %v", len(emitted), err)
			}
		})
	}
	wg.Wait()
}
