package rescan_test

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"vigie/internal/tests3"
	"vigie/matcher"
	"vigie/rescan"
	"vigie/storage"
)

// TestBucketIsAway: a bucket that is away has what is in it checked when it is back.
func TestBucketIsAway(t *testing.T) {
	t.Parallel()
	server := tests3.Start(t)
	bucket := server.Bucket(t, false)
	s := newSite(t, nil)
	for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
		_, err := server.Client().PutObject(t.Context(), bucket, key, strings.NewReader("match"), 5, minio.PutObjectOptions{})
		must(t, err)
	}
	s.o.Sources["old"] = rescan.SourceConfig{Kind: rescan.BucketSource, Location: server.URL(bucket)}
	s.o.Workers, s.o.Slice = 1, time.Minute
	check := s.o.Check
	var once sync.Once
	s.o.Check = func(ctx context.Context, r storage.Rescan, u rescan.Upload) (rescan.Verdict, error) {
		once.Do(func() { server.Stop(t, syscall.SIGKILL) })
		return check(ctx, r, u)
	}
	r := s.start(rescan.Request{})
	_ = s.do(s.process(), 0)
	for range 3 {
		if err := s.do(s.process(), 1); err == nil {
			t.Fatal("the shard is done")
		}
	}
	server.Restart(t)
	s.rest()
	hits, failed := s.found(r.ID)
	equal(t, hits, []string{"a match", "b match", "c match", "d match", "e match", "f match"})
	equal(t, len(failed), 0)
}

// TestListIsAway: an outage is not taken for processes that died of an item.
func TestListIsAway(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("match")) }))
	defer server.Close()
	s := newSite(t, nil)
	path := filepath.Join(s.dir, "urls")
	must(t, writeFile(path, server.URL+"/a\n"+server.URL+"/b\n"))
	s.o.Sources["old"] = rescan.SourceConfig{Kind: rescan.URLSource, Location: path}
	s.o.Client = server.Client()
	r := s.start(rescan.Request{})
	_ = s.do(s.process(), 0)
	must(t, os.Rename(path, path+".away"))
	must(t, os.Mkdir(path, 0o700)) // which is no file
	for range 5 {
		if s.do(s.process(), 1) == nil {
			t.Fatal("the shard is done")
		}
	}
	must(t, os.Remove(path))
	must(t, os.Rename(path+".away", path))
	s.rest()
	hits, failed := s.found(r.ID)
	equal(t, hits, []string{server.URL + "/a match", server.URL + "/b match"})
	equal(t, len(failed), 0)
}

// walked is a bucket that lists as a walk of folders does.
type walked struct{ objects }

func (w walked) List(_ context.Context, _, after string) iter.Seq2[rescan.Object, error] {
	return func(yield func(rescan.Object, error) bool) {
		for _, key := range []string{"a/1", "a/2", "a-b", "b"} {
			if key > after && !yield(rescan.Object{Key: key}, nil) {
				return
			}
		}
	}
}

func TestUnsortedBucket(t *testing.T) {
	t.Parallel()
	var last error
	n := 0
	for _, err := range (rescan.Objects{Bucket: walked{}}).Items(t.Context(), "") {
		last = err
		n++
	}
	if last == nil || !strings.Contains(last.Error(), "order of the bytes") || n != 3 {
		t.Errorf("%d items, then %v", n-1, last)
	}
}

// TestSinceLast goes on from a re-scan only if that has looked for as much.
func TestSinceLast(t *testing.T) {
	t.Parallel()
	long := time.Unix(0, 0)
	for what, c := range map[string]struct {
		first, then storage.RescanOptions
		change      *storage.Change
		poor        bool
		covered     bool
	}{
		"the same":        {covered: true},
		"an overlay":      {change: &storage.Change{Kind: storage.OverlaySet, Party: 1, Entry: 1, Actor: "local", Body: json.RawMessage("{}")}},
		"a subscription":  {change: &storage.Change{Kind: storage.SubscriptionSet, Party: 1, Bank: 1, Actor: "local", Body: json.RawMessage("{}")}},
		"another's":       {change: &storage.Change{Kind: storage.SubscriptionSet, Party: 2, Bank: 1, Actor: "local", Body: json.RawMessage("{}")}, covered: true},
		"failures":        {poor: true},
		"upright":         {first: storage.RescanOptions{Upright: true}},
		"upright, both":   {first: storage.RescanOptions{Upright: true}, then: storage.RescanOptions{Upright: true}, covered: true},
		"less upright":    {then: storage.RescanOptions{Upright: true}, covered: true},
		"newer items":     {first: storage.RescanOptions{NewerThan: long}},
		"still newer":     {first: storage.RescanOptions{NewerThan: long}, then: storage.RescanOptions{NewerThan: long.Add(1)}, covered: true},
		"older":           {first: storage.RescanOptions{NewerThan: long}, then: storage.RescanOptions{NewerThan: long.Add(-1)}},
		"since by itself": {first: storage.RescanOptions{Since: 1}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, map[string]string{"a": "match"})
			if c.poor {
				s.write("b", "poor")
			}
			must(t, s.c.Update(t.Context(), func(w storage.Writer) error {
				return w.Append(&storage.Change{Kind: storage.PartyChanged, Actor: "local", Party: 1, Body: json.RawMessage("{}")})
			}))
			first := s.start(rescan.Request{Options: c.first})
			s.rest()
			if c.change != nil {
				must(t, s.c.Update(t.Context(), func(w storage.Writer) error { return w.Append(c.change) }))
			}
			next, err := s.runner(s.process()).Start(t.Context(), rescan.Request{Who: matcher.Local(), Source: "old", Options: c.then, SinceLast: true})
			if !c.covered {
				wantErr(t, err, rescan.ErrNoLast)
				return
			}
			must(t, err)
			equal(t, next.Options.Since, first.Seq)
			s.rest()
			third := s.start(rescan.Request{Options: c.then, SinceLast: true})
			equal(t, third.Options.Since, next.Seq)
		})
	}
}

// TestFailedIsTold: a re-scan that failed is told of, also if the queue was away when it did.
func TestFailedIsTold(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	path := filepath.Join(s.dir, "urls")
	must(t, writeFile(path, "http://a/\n"))
	s.o.Sources["old"] = rescan.SourceConfig{Kind: rescan.URLSource, Location: path}
	r := s.start(rescan.Request{})
	_ = s.do(s.process(), 0)
	must(t, os.Remove(path))
	p := &process{Catalogue: s.c, queue: s.q}
	p.dieAt, p.after = 3, true // after the end is stored
	_ = s.do(p, 1)
	equal(t, s.rescan(r.ID).State, storage.RescanFailed)
	s.rest()
	if len(s.finished) == 0 {
		t.Error("nobody is told")
	}
	if e := s.rescan(r.ID).Error; strings.Contains(e, s.dir) || e == "" {
		t.Error(e)
	}
}

// TestRecover: what has lost its jobs while the process runs gets others; what goes on is left alone.
func TestRecover(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{"a": "match"})
	s.sameRunner()
	r := s.start(rescan.Request{})
	must(t, s.same.Recover(t.Context()))
	_ = s.do(s.process(), 0)
	s.q.jobs, s.q.ids = nil, nil
	must(t, s.same.Recover(t.Context())) // it has gone on since
	equal(t, len(s.q.jobs), 0)
	must(t, s.same.Recover(t.Context()))
	s.rest()
	equal(t, s.rescan(r.ID).State, storage.RescanDone)
}
