package rescan_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/parquet-go/parquet-go"

	"vigie/hashing"
	"vigie/internal/tests3"
	"vigie/rescan"
	"vigie/storage"
)

func TestMain(m *testing.M) { os.Exit(tests3.Main(m)) }

// objects is a bucket in memory.
type objects map[string]string

func (o objects) List(_ context.Context, prefix, after string) iter.Seq2[rescan.Object, error] {
	return func(yield func(rescan.Object, error) bool) {
		keys := []string{}
		for key := range o {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for _, key := range keys {
			if strings.HasPrefix(key, prefix) && key > after && !yield(rescan.Object{Key: key, Size: int64(len(o[key]))}, nil) {
				return
			}
		}
		yield(rescan.Object{}, errMeant)
	}
}

func (o objects) Open(_ context.Context, key string) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(o[key])), nil
}

// TestUnreadable: what is to be on this machine and is not, or is something else, is named.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := filepath.Join(folder, "list.csv")
	must(t, os.WriteFile(file, nil, 0o600))
	all := rescan.Sources{
		"a": {Kind: rescan.FolderSource, Location: folder},
		"b": {Kind: rescan.FolderSource, Location: file},
		"c": {Kind: rescan.HashSource, Location: file},
		"d": {Kind: rescan.URLSource, Location: folder},
		"e": {Kind: rescan.HashSource, Location: filepath.Join(folder, "none.csv")},
		"f": {Kind: rescan.BucketSource, Location: "s3://bucket?endpoint=https://nowhere.test"},
	}
	var got []string
	for name, err := range all.Unreadable() {
		got = append(got, name+": "+strings.ReplaceAll(err.Error(), folder, "DIR"))
	}
	want := []string{"b: DIR/list.csv is not a folder", "d: DIR is a folder, and a source of kind urls is a file", "e: stat DIR/none.csv: no such file or directory"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestObjects(t *testing.T) {
	t.Parallel()
	o := rescan.Objects{Bucket: objects{"p/a": "1", "p/b/": "", "p/b/c": "22", "q": ""}, Prefix: "p/"}
	for after, want := range map[string][]string{"": {"p/a", "p/b/c"}, "p/a": {"p/b/c"}, "z": nil} {
		var names []string
		var last error
		for item, err := range o.Items(t.Context(), after) {
			if last = err; err == nil {
				names = append(names, item.Name)
			}
		}
		equal(t, names, want)
		wantErr(t, last, errMeant)
	}
}

// TestRescanOfABucket re-scans a real bucket, and a list of hashes in it.
func TestRescanOfABucket(t *testing.T) {
	t.Parallel()
	location := tests3.Bucket(t)
	at := must1(t, func() (*http.Request, error) { return http.NewRequest(http.MethodGet, location, nil) })
	endpoint := strings.TrimPrefix(strings.TrimPrefix(at.URL.Query().Get("endpoint"), "http://"), "https://")
	client, err := minio.New(endpoint, &minio.Options{Creds: credentials.NewStaticV4(tests3.AccessKey, tests3.SecretKey, ""), Region: tests3.Region})
	must(t, err)
	put := func(key, text string) {
		key = strings.TrimPrefix(at.URL.Path+"/"+key, "/")
		_, err := client.PutObject(t.Context(), at.URL.Host, key, strings.NewReader(text), int64(len(text)), minio.PutObjectOptions{})
		must(t, err)
	}
	s := newSite(t, nil)
	files, hits, failed, counts := planted(30)
	for name, level := range files {
		put("posts/"+name, level)
	}
	base, query, _ := strings.Cut(location, "?")
	s.o.Sources["old"] = rescan.SourceConfig{Kind: rescan.BucketSource, Location: base + "/posts/?" + query}
	must(t, s.o.Sources.Check())
	r := s.start(rescan.Request{})
	s.rest()
	gotHits, gotFailed := s.found(r.ID)
	prefix := strings.TrimPrefix(at.URL.Path+"/posts/", "/")
	for i := range hits {
		hits[i] = prefix + hits[i]
	}
	for i := range failed {
		failed[i] = prefix + failed[i]
	}
	equal(t, gotHits, hits)
	equal(t, gotFailed, failed)
	equal(t, s.rescan(r.ID).Counts, counts)

	list := "id,pdq\n" + strings.Repeat("x,"+strings.Repeat("0", 64)+"\n", 9) + "hit," + strings.Repeat("5a", 32) + "\nbad,1\n"
	put("list.csv", list)
	s.o.Sources["old"] = rescan.SourceConfig{Kind: rescan.HashSource, Location: base + "/list.csv?" + query}
	s.o.Join = joinOf
	r = s.start(rescan.Request{})
	_ = s.do(s.process(), 0)
	put("list.csv", list+"more,1\n") // planned as it was
	s.rest()
	if now := s.rescan(r.ID); now.State != storage.RescanFailed || !strings.Contains(now.Error, "has changed") {
		t.Errorf("%+v", now)
	}
	r = s.start(rescan.Request{})
	s.rest()
	gotHits, gotFailed = s.found(r.ID)
	equal(t, gotHits, []string{"hit match"})
	equal(t, gotFailed, []string{"bad", "more"})
	equal(t, s.rescan(r.ID).Counts, storage.RescanCounts{Items: 12, None: 9, Match: 1, Failed: 2})
}

func must1[T any](t testing.TB, fn func() (T, error)) T {
	t.Helper()
	v, err := fn()
	must(t, err)
	return v
}

// joinOf finds hashes that begin with 5a.
func joinOf(_ context.Context, _ storage.Rescan, hashes []hashing.Signal, found func(int, rescan.Verdict) error) error {
	for i, s := range hashes {
		if s.Value.Bytes(1)[0] == 0x5a {
			if err := found(i, rescan.Verdict{Level: "match", Action: "block"}); err != nil {
				return err
			}
		}
	}
	return nil
}

// hashesOf is a site with a list of n hashes, of which every hundredth is found, and what is to be found.
func hashesOf(t *testing.T, n int, perSecond float64) (s *site, hits []string) {
	t.Helper()
	s = newSite(t, nil)
	path := filepath.Join(t.TempDir(), "list.csv")
	var text strings.Builder
	fmt.Fprintln(&text, "id,pdq")
	for i := range n {
		hash := "00"
		if i%100 == 50 {
			hash = "5a"
			hits = append(hits, fmt.Sprintf("%06d match", i))
		}
		fmt.Fprintf(&text, "%06d,%s\n", i, strings.Repeat(hash, 32))
	}
	must(t, writeFile(path, text.String()))
	s.o.Sources["old"] = rescan.SourceConfig{Kind: rescan.HashSource, Location: path, PerSecond: perSecond}
	s.o.Join = joinOf
	return s, hits
}

// TestHashesPerSecond: hashes are joined no quicker than the source has it, whether a shard is done in one go or in several.
func TestHashesPerSecond(t *testing.T) {
	t.Parallel()
	const n, rate = 3000, 2000
	for _, slice := range []time.Duration{time.Minute, time.Nanosecond} {
		s, hits := hashesOf(t, n, rate)
		s.o.Slice = slice
		began, joined := time.Now(), 0
		s.o.Join = func(ctx context.Context, r storage.Rescan, hashes []hashing.Signal, found func(int, rescan.Verdict) error) error {
			joined += len(hashes)
			if most := rate * (1 + time.Since(began).Seconds()); float64(joined) > most {
				t.Errorf("%d are joined when there may be %.0f", joined, most)
			}
			return joinOf(ctx, r, hashes, found)
		}
		s.sameRunner() // which bounds it
		r := s.start(rescan.Request{})
		s.rest()
		got, _ := s.found(r.ID)
		equal(t, got, hits)
		equal(t, s.rescan(r.ID).Counts, storage.RescanCounts{Items: n, None: n - int64(len(hits)), Match: int64(len(hits))})
	}
}

// TestHashesGiveWay: hashes that are joined while nobody asks for anything are left when somebody does, and found once each nevertheless.
func TestHashesGiveWay(t *testing.T) {
	t.Parallel()
	const n = 20_000
	s, hits := hashesOf(t, n, 0)
	var asked atomic.Bool
	s.o.Idle = func(ctx context.Context) (func(), bool, error) {
		return func() {}, !asked.Load(), nil
	}
	broken := 0
	s.o.Join = func(ctx context.Context, r storage.Rescan, hashes []hashing.Signal, found func(int, rescan.Verdict) error) error {
		if len(hashes) <= 4096 {
			asked.Store(false)
			return joinOf(ctx, r, hashes, found)
		}
		asked.Store(true)
		broken++
		must(t, joinOf(ctx, r, hashes[:1000], found)) // some are told of by then
		select {
		case <-ctx.Done():
			return fmt.Errorf("join: %w", ctx.Err())
		case <-time.After(time.Minute):
			t.Error("it is not told to end")
			return joinOf(ctx, r, hashes[1000:], func(i int, v rescan.Verdict) error { return found(1000+i, v) })
		}
	}
	r := s.start(rescan.Request{})
	s.rest()
	got, _ := s.found(r.ID)
	equal(t, got, hits)
	equal(t, s.rescan(r.ID).Counts, storage.RescanCounts{Items: n, None: n - int64(len(hits)), Match: int64(len(hits))})
	if broken == 0 {
		t.Error("all were joined at once")
	}
}

// TestHashesInTime: a shard of hashes that may be joined a few at a time only is gone on with later when its time is over.
func TestHashesInTime(t *testing.T) {
	t.Parallel()
	s, hits := hashesOf(t, 10_000, 0)
	s.o.Idle = func(context.Context) (func(), bool, error) { return func() {}, false, nil }
	r := s.start(rescan.Request{})
	for s.rescan(r.ID).Counts.Items == 0 {
		_ = s.do(s.process(), len(s.q.jobs)-1)
	}
	if now := s.rescan(r.ID); now.Counts.Items != 4096 {
		t.Errorf("%d are joined in no time", now.Counts.Items)
	}
	s.rest()
	got, _ := s.found(r.ID)
	equal(t, got, hits)
}

// TestRescanOfURLs fetches what a list names; what passes is tried again, what does not is not.
func TestRescanOfURLs(t *testing.T) {
	t.Parallel()
	asked := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		asked[q.URL.Path]++ // one at a time
		switch n := asked[q.URL.Path]; {
		case q.URL.Path == "/gone":
			w.WriteHeader(http.StatusGone)
		case q.URL.Path == "/busy" && n < 3:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			fmt.Fprint(w, "match")
		}
	}))
	defer server.Close()
	s := newSite(t, nil)
	path := filepath.Join(s.dir, "urls")
	list := "# old posts\n\nURL/a\nURL/gone\nfile:///etc/passwd\nURL/busy\n" + strings.Repeat("x", 5000) + "\nURL/last"
	must(t, writeFile(path, strings.ReplaceAll(list, "URL", server.URL)))
	s.o.Sources["old"] = rescan.SourceConfig{Kind: rescan.URLSource, Location: path}
	s.o.Client, s.o.Workers = server.Client(), 1
	r := s.start(rescan.Request{})
	s.rest()
	hits, failed := s.found(r.ID)
	equal(t, hits, []string{server.URL + "/a match", server.URL + "/busy match", server.URL + "/last match"})
	slices.Sort(failed)
	equal(t, len(failed), 3)
	equal(t, asked, map[string]int{"/a": 1, "/busy": 3, "/gone": 1, "/last": 1})
	equal(t, s.rescan(r.ID).Counts.Items, int64(6))
}

func TestSourcesAreChecked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]rescan.SourceConfig{
		"kind":       {Kind: "x", Location: "y"},
		"location":   {Kind: rescan.FolderSource},
		"bucket":     {Kind: rescan.BucketSource, Location: "/posts"},
		"folder":     {Kind: rescan.FolderSource, Location: "s3://posts"},
		"keys":       {Kind: rescan.BucketSource, Location: "s3://key:secret@posts"},
		"parameter":  {Kind: rescan.BucketSource, Location: "s3://posts?x=y"},
		"endpoint":   {Kind: rescan.BucketSource, Location: "s3://posts?endpoint=ftp://x"},
		"rate":       {Kind: rescan.FolderSource, Location: "/", PerSecond: 0.01},
		"format":     {Kind: rescan.HashSource, Location: "/posts.txt"},
		"columns":    {Kind: rescan.FolderSource, Location: "/", Columns: rescan.Columns{ID: "x"}},
		"":           {Kind: rescan.FolderSource, Location: "/"},
		"\xff/'\n\"": {Kind: rescan.FolderSource},
	} {
		if err := (rescan.Sources{name: c}).Check(); err == nil {
			t.Errorf("%q is accepted", name)
		}
	}
	must(t, rescan.Sources{
		"a": {Kind: rescan.FolderSource, Location: "/", PerSecond: 5}, "b": {Kind: rescan.BucketSource, Location: "s3://posts/p?endpoint=https://x:1&region=r"},
		"c": {Kind: rescan.HashSource, Location: "s3://posts/list.jsonl?path-style=true", Columns: rescan.Columns{ID: "x"}},
	}.Check())
}

// TestWriteHits: what is written is read again, by other readers.
func TestWriteHits(t *testing.T) {
	t.Parallel()
	hits := []storage.RescanHit{
		{Item: "a,\"b\"", Level: "match", Action: "block", Shard: 3, Verdict: []byte(`{"x": "<é>"}`)},
		{Item: "\xff", Level: "review", Action: "review"},
	}
	all := func(yield func(storage.RescanHit, error) bool) {
		for _, h := range hits {
			if !yield(h, nil) {
				return
			}
		}
	}
	written := func(f rescan.ListFormat) []byte {
		var b bytes.Buffer
		must(t, rescan.WriteHits(&b, f, all))
		return b.Bytes()
	}
	equal(t, string(written(rescan.NDJSON)), `{"item":"a,\"b\"","level":"match","action":"block","shard":3,"verdict":{"x":"<é>"}}
{"item":"�","level":"review","action":"review","shard":0}
`)
	rows, err := csv.NewReader(bytes.NewReader(written(rescan.CSV))).ReadAll()
	must(t, err)
	equal(t, rows, [][]string{{"item", "level", "action", "shard", "verdict"}, {"a,\"b\"", "match", "block", "3", `{"x": "<é>"}`}, {"�", "review", "review", "0", ""}})
	type row struct {
		Item    string `parquet:"item"`
		Level   string `parquet:"level"`
		Shard   int32  `parquet:"shard"`
		Verdict string `parquet:"verdict"`
	}
	data := written(rescan.Parquet)
	read, err := parquet.Read[row](bytes.NewReader(data), int64(len(data)))
	must(t, err)
	equal(t, read, []row{{"a,\"b\"", "match", 3, `{"x": "<é>"}`}, {"�", "review", 0, ""}})
	wantErr(t, rescan.WriteHits(io.Discard, rescan.CSV, func(yield func(storage.RescanHit, error) bool) { yield(storage.RescanHit{}, errMeant) }), errMeant)
	if rescan.WriteHits(io.Discard, "x", all) == nil {
		t.Error("an unknown format is written")
	}
}
