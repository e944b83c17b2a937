package rescan_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vigie/hashing"
	"vigie/matcher"
	"vigie/rescan"
	"vigie/storage"
	"vigie/storage/jobs"
)

func (s *site) retry(id storage.RescanID) (storage.Rescan, error) {
	return s.runner(s.process()).Retry(s.t.Context(), matcher.Local(), id)
}

// TestRetry: what could not be checked is checked again, and nothing else; what was erased meanwhile is not.
func TestRetry(t *testing.T) {
	t.Parallel()
	files, _, failed, _ := planted(60)
	s := newSite(t, files)
	s.sameRunner()
	since := storage.RescanOptions{NewerThan: time.Now().Add(-time.Hour), Upright: true}
	r := s.start(rescan.Request{Options: since})
	var refused *matcher.InputError
	if _, err := s.retry(r.ID); !errors.As(err, &refused) || !strings.Contains(err.Error(), "goes on") {
		t.Errorf("of one that goes on: %v", err)
	}
	s.rest()
	equal(t, s.rescan(r.ID).State, storage.RescanDone)
	if len(failed) < 5 {
		t.Fatal(failed)
	}
	still, erased, gone := failed[1], failed[2], failed[3]
	var hits []string
	for _, name := range failed {
		if name != still {
			s.write(name, "match")
			if name != erased && name != gone {
				hits = append(hits, name+" match")
			}
		}
	}
	long := time.Now().Add(-24 * time.Hour) // they were new enough when they were listed
	must(t, os.Chtimes(filepath.Join(s.dir, failed[0]), long, long))
	must(t, os.Remove(filepath.Join(s.dir, gone)))
	must(t, s.c.Update(t.Context(), func(w storage.Writer) error {
		_, err := w.EraseContent(storage.Operator, erased)
		return err
	}))
	second, err := s.retry(r.ID)
	must(t, err)
	equal(t, second.Options, storage.RescanOptions{FailedOf: r.ID, Upright: true})
	s.rest()
	now := s.rescan(second.ID)
	equal(t, now.State, storage.RescanDone)
	equal(t, now.Counts, storage.RescanCounts{Items: int64(len(failed) - 1), Failed: 2, Match: int64(len(hits)), Bytes: 0})
	gotHits, gotFailed := s.found(second.ID)
	equal(t, gotHits, hits)
	equal(t, gotFailed, []string{still, gone})

	// Again, until nothing is left. A re-scan of failures is none of all since when there may be another.
	s.write(still, "none")
	s.write(gone, "none")
	third, err := s.retry(second.ID)
	must(t, err)
	s.rest()
	equal(t, s.rescan(third.ID).Counts, storage.RescanCounts{Items: 2, None: 2})
	if _, err := s.retry(third.ID); !errors.As(err, &refused) || !strings.Contains(err.Error(), "could check all") {
		t.Errorf("of one without failures: %v", err)
	}
	if _, err := s.retry(99); !errors.Is(err, rescan.ErrUnknownRescan) {
		t.Errorf("of one that is not there: %v", err)
	}
	if _, err := s.runner(s.process()).Start(t.Context(), rescan.Request{Who: matcher.Local(), Source: "old", SinceLast: true}); !errors.Is(err, rescan.ErrNoLast) {
		t.Errorf("since the last one: %v", err)
	}

	// What they are read from may be removed meanwhile.
	fourth, err := s.retry(second.ID)
	must(t, err)
	must(t, s.c.Update(t.Context(), func(w storage.Writer) error {
		_, err := w.ExpireRescans(storage.Operator, time.Now().Add(time.Hour), 1000)
		return err
	}))
	s.rest()
	if now := s.rescan(fourth.ID); now.State != storage.RescanFailed || !strings.Contains(now.Error, "stored no more") {
		t.Errorf("%+v", now)
	}
}

// TestRetryOfURLs: those of a list are had by name, be the list there or not.
func TestRetryOfURLs(t *testing.T) {
	t.Parallel()
	var away atomic.Bool
	away.Store(true)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() && r.URL.Path != "/1" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, "match")
	}))
	t.Cleanup(server.Close)
	s := newSite(t, nil)
	list := filepath.Join(t.TempDir(), "list")
	must(t, os.WriteFile(list, fmt.Appendf(nil, "%[1]s/1\n%[1]s/2\n\n%[1]s/3\n", server.URL), 0o600))
	s.o.Sources["old"], s.o.Client = rescan.SourceConfig{Kind: rescan.URLSource, Location: list}, server.Client()
	s.sameRunner()
	r := s.start(rescan.Request{})
	s.rest()
	equal(t, s.rescan(r.ID).Counts.Failed, int64(2))
	away.Store(false)
	must(t, os.Remove(list))
	second, err := s.retry(r.ID)
	must(t, err)
	s.rest()
	hits, failed := s.found(second.ID)
	equal(t, hits, []string{server.URL + "/2 match", server.URL + "/3 match"})
	equal(t, len(failed), 0)

	s.o.Sources["old"] = rescan.SourceConfig{Kind: rescan.HashSource, Location: "x.csv"}
	var refused *matcher.InputError
	if _, err := s.retry(r.ID); !errors.As(err, &refused) || !strings.Contains(err.Error(), "list of hashes") {
		t.Errorf("of a list of hashes: %v", err)
	}
}

// TestFull: a re-scan that finds more than is stored of one fails, and nothing that was found is lost.
func TestFull(t *testing.T) {
	t.Parallel()
	for level, why := range map[string]string{"match": "more than 10 of its items match", "poor": "more than 10 of its items could not be checked"} {
		files := map[string]string{}
		for i := range 60 {
			files[fmt.Sprintf("%03d", i)] = level
		}
		s := newSite(t, files)
		s.o.MaxFound, s.often = 10, 0 // all is saved at once
		s.sameRunner()
		r := s.start(rescan.Request{})
		s.rest()
		now := s.rescan(r.ID)
		if now.State != storage.RescanFailed || !strings.Contains(now.Error, why) {
			t.Errorf("%+v", now)
		}
		equal(t, now.Counts.Items, int64(11))
		hits, failed := s.found(r.ID)
		equal(t, len(hits)+len(failed), 11)
		equal(t, len(s.finished), 1)

		// It stays so, unless more may be found.
		_, err := s.same.Resume(t.Context(), matcher.Local(), r.ID)
		must(t, err)
		s.rest()
		now = s.rescan(r.ID)
		equal(t, []any{now.State, now.Counts.Items}, []any{storage.RescanFailed, int64(11)})
		s.same, s.o.MaxFound = nil, 60
		s.sameRunner()
		_, err = s.same.Resume(t.Context(), matcher.Local(), r.ID)
		must(t, err)
		s.rest()
		now = s.rescan(r.ID)
		equal(t, []any{now.State, now.Counts.Items}, []any{storage.RescanDone, int64(60)})
	}
}

// TestGrown: a file that has more bytes than when it was listed is read as it is.
func TestGrown(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"a": "none", "b": "none"})
	s.o.Workers = 1
	s.o.Slice = time.Minute
	check := s.o.Check
	s.o.Check = func(ctx context.Context, r storage.Rescan, u rescan.Upload) (rescan.Verdict, error) {
		if u.Name == "a" { // by then the next one is listed, or it is not: both are right
			s.write("b", "match"+strings.Repeat(" ", 1000))
			time.Sleep(10 * time.Millisecond)
		}
		u.Media.Data = []byte(strings.TrimSpace(string(u.Media.Data)))
		return check(ctx, r, u)
	}
	s.sameRunner()
	r := s.start(rescan.Request{})
	s.rest()
	hits, failed := s.found(r.ID)
	equal(t, hits, []string{"b match"})
	equal(t, len(failed), 0)
}

// TestLongItems: a video has the time that a check of it may take, and others have theirs; decoders that are busy cost no item its time.
func TestLongItems(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"film": "video", "picture": "slow", "waits": "busy"})
	s.o.ItemTimeout, s.o.VideoTimeout, s.o.Slice = 300*time.Millisecond, time.Minute, time.Minute
	s.o.IsVideo = func(data []byte) bool { return string(data) == "video" }
	var busy atomic.Int64
	s.o.Check = func(ctx context.Context, _ storage.Rescan, u rescan.Upload) (rescan.Verdict, error) {
		until, ok := ctx.Deadline()
		switch string(u.Media.Data) {
		case "video":
			if left := time.Until(until); !ok || left < 50*time.Second {
				t.Errorf("a video has %v", left)
			}
			return rescan.Verdict{Level: "match"}, nil
		case "busy":
			if busy.Add(1) <= 5 {
				return rescan.Verdict{}, hashing.ErrBusy
			}
			return rescan.Verdict{Level: "likely"}, nil
		}
		<-ctx.Done()
		return rescan.Verdict{}, ctx.Err()
	}
	s.sameRunner()
	if timeout := s.same.Handlers()["rescan-shard"].Timeout; timeout < 2*time.Minute {
		t.Errorf("a shard has %v", timeout)
	}
	r := s.start(rescan.Request{})
	s.rest()
	hits, failed := s.found(r.ID)
	equal(t, hits, []string{"film match", "waits likely"})
	equal(t, failed, []string{"picture"})
}

// TestCancelOfALongItem: a re-scan that has ended leaves what takes long.
func TestCancelOfALongItem(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"film": "video"})
	s.o.ItemTimeout, s.o.Slice = time.Hour, time.Hour
	began := make(chan bool, 10)
	s.o.Check = func(ctx context.Context, _ storage.Rescan, _ rescan.Upload) (rescan.Verdict, error) {
		began <- true
		<-ctx.Done()
		return rescan.Verdict{}, ctx.Err()
	}
	s.sameRunner()
	r := s.start(rescan.Request{})
	_ = s.do(s.process(), 0)
	at := slices.IndexFunc(s.q.jobs, func(j jobs.Job) bool { return j.Kind == "rescan-shard" })
	ended := make(chan error, 1)
	go func() { ended <- s.do(s.process(), at) }()
	<-began
	_, err := s.same.Cancel(t.Context(), matcher.Local(), r.ID)
	must(t, err)
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("it goes on")
	}
	s.rest()
	equal(t, s.rescan(r.ID).State, storage.RescanCancelled)
	equal(t, s.rescan(r.ID).Counts, storage.RescanCounts{})
}

// slow has a shard of n videos done, each of which takes five minutes, on a node like those of cmd/vigie, and fails unless each
// is checked once. The first one is late for its turn. turn waits for a turn, and returns what ends it.
func slow(t *testing.T, n int, set func(o *rescan.Options), turn func(context.Context) (func(), error)) {
	t.Helper()
	s := newSite(t, map[string]string{"a": "late"})
	want := []string{"a match"}
	for i := 1; i < n; i++ {
		name := string(rune('a' + i))
		s.write(name, "film")
		want = append(want, name+" match")
	}
	s.o.Workers, s.o.Slice, s.o.ItemTimeout, s.o.VideoTimeout = 4, 15*time.Second, time.Minute, 10*time.Minute
	s.o.IsVideo = func(data []byte) bool {
		if string(data) == "late" {
			time.Sleep(time.Second)
		}
		return true
	}
	var begun atomic.Int64
	s.o.Check = func(ctx context.Context, _ storage.Rescan, _ rescan.Upload) (rescan.Verdict, error) {
		end, err := turn(ctx)
		if err != nil {
			return rescan.Verdict{}, err
		}
		defer end()
		begun.Add(1)
		select {
		case <-time.After(5 * time.Minute):
			return rescan.Verdict{Level: "match"}, nil
		case <-ctx.Done():
			return rescan.Verdict{}, ctx.Err()
		}
	}
	set(&s.o)
	s.sameRunner()
	r := s.start(rescan.Request{})
	_ = s.do(s.process(), 0)
	if err := s.attempt(); err != nil {
		t.Errorf("the shard: %v", err)
	}
	hits, failed := s.found(r.ID)
	equal(t, hits, want)
	equal(t, failed, []string(nil))
	equal(t, begun.Load(), int64(n))
}

// attempt has a shard done in the time that there is for it.
func (s *site) attempt() error {
	at := slices.IndexFunc(s.q.jobs, func(j jobs.Job) bool { return j.Kind == "rescan-shard" })
	h := s.same.Handlers()["rescan-shard"]
	ctx, cancel := context.WithTimeout(s.t.Context(), h.Timeout)
	defer cancel()
	return h.Do(ctx, jobs.Run{Attempt: 1, Args: s.q.jobs[at].Args})
}

// one is room for one at a time, for which callers wait.
type one chan struct{}

func (o one) wait(ctx context.Context) (func(), error) {
	select {
	case o <- struct{}{}:
		return func() { <-o }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestBusyDecoders: items that wait for a decoder longer than a session begins anything new, because others of the session have it, end
// none of these, and have their own time.
func TestBusyDecoders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		decoder := make(one, 1)
		slow(t, 4, func(*rescan.Options) {}, func(ctx context.Context) (func(), error) {
			patient, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			end, err := decoder.wait(patient)
			if err != nil && ctx.Err() == nil {
				err = hashing.ErrBusy
			}
			return end, err
		})
	})
}

// TestNoRoomBesideLongItems: nor does an item that waits for room while others have it, and when these have been checked and come after it.
func TestNoRoomBesideLongItems(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		room := make(one, 1)
		set := func(o *rescan.Options) {
			o.Idle = func(ctx context.Context) (func(), bool, error) {
				end, err := room.wait(ctx)
				return func() { time.AfterFunc(time.Minute, end) }, false, err // it has had its share of the time
			}
		}
		slow(t, 2, set, func(context.Context) (func(), error) { return func() {}, nil })
	})
}

// TestNoRoom: what has nothing to lose waits no longer than it begins anything new: another node may have room.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	for level, done := range map[string]int64{"match": 1, "busy": 0} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, map[string]string{"a": level, "b": "match"})
			check := s.o.Check
			s.o.Check = func(ctx context.Context, r storage.Rescan, u rescan.Upload) (rescan.Verdict, error) {
				if string(u.Media.Data) == "busy" {
					return rescan.Verdict{}, hashing.ErrBusy
				}
				return check(ctx, r, u)
			}
			room := make(one, 1)
			s.o.Workers, s.o.Slice = 1, 15*time.Second
			s.o.Idle = func(ctx context.Context) (func(), bool, error) {
				_, err := room.wait(ctx)
				return func() {}, false, err // there is room for one
			}
			s.sameRunner()
			r := s.start(rescan.Request{})
			_ = s.do(s.process(), 0)
			began := time.Now()
			err := s.attempt()
			if took := time.Since(began); err == nil || err.Error() != jobs.Later(time.Second).Error() || took.Round(time.Second) != 20*time.Second {
				t.Errorf("%s: %v after %v", level, err, took)
			}
			equal(t, s.rescan(r.ID).Counts.Items, done)
		})
	}
}

// TestBusyForEver: a session ends when what waits for a decoder could not end in time, with a word of why; and begins anew.
func TestBusyForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, map[string]string{"a": "match"})
		s.o.Check = func(context.Context, storage.Rescan, rescan.Upload) (rescan.Verdict, error) {
			return rescan.Verdict{}, hashing.ErrBusy
		}
		var faults []error
		s.o.Fault = func(err error) { faults = append(faults, err) }
		s.sameRunner()
		r := s.start(rescan.Request{})
		_ = s.do(s.process(), 0)
		timeout, began := s.same.Handlers()["rescan-shard"].Timeout, time.Now()
		err := s.attempt()
		if took := time.Since(began); err == nil || err.Error() != jobs.Later(time.Second).Error() || took < timeout/3 || took >= timeout {
			t.Errorf("%v after %v of %v", err, took, timeout)
		}
		if len(faults) != 1 || !errors.Is(faults[0], hashing.ErrBusy) {
			t.Errorf("told of %v", faults)
		}
		equal(t, s.rescan(r.ID).Counts, storage.RescanCounts{})
	})
}

// TestTimeOfUnknownSizes: an item whose size is not known has the time of the largest: one that is tried again, and one that grew.
func TestTimeOfUnknownSizes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, timeOfUnknownSizes)
}

func timeOfUnknownSizes(t *testing.T) {
	s := newSite(t, map[string]string{"a": "poor", "b": "match"})
	s.o.Workers, s.o.Slice, s.o.ItemTimeout, s.o.MaxBytes = 1, time.Minute, time.Minute, 100<<20
	var fail atomic.Bool
	fail.Store(true)
	s.o.Check = func(ctx context.Context, _ storage.Rescan, u rescan.Upload) (rescan.Verdict, error) {
		until, _ := ctx.Deadline()
		left := time.Until(until)
		switch {
		case fail.Load() && u.Name == "a":
			equal(t, left, time.Minute)
			synctest.Wait() // until the next one is listed
			s.write("b", strings.Repeat("x", 100))
			return rescan.Verdict{}, &hashing.MediaError{Kind: hashing.Corrupt}
		default:
			equal(t, left, 160*time.Second)
		}
		return rescan.Verdict{Level: "match"}, nil
	}
	s.sameRunner()
	r := s.start(rescan.Request{})
	s.rest()
	_, failed := s.found(r.ID)
	equal(t, failed, []string{"a"})
	fail.Store(false)
	second, err := s.retry(r.ID)
	must(t, err)
	s.rest()
	hits, _ := s.found(second.ID)
	equal(t, hits, []string{"a match"})
}
