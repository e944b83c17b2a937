package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"vigie/hashing"
	"vigie/internal/testproxy"
	"vigie/internal/tests3"
	"vigie/storage"
	"vigie/storage/storagetest"
)

func TestMain(m *testing.M) { os.Exit(tests3.Main(m)) }

func openS3(t *testing.T, address string, o S3Options) *S3 {
	t.Helper()
	s, err := OpenS3(t.Context(), address, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// with adds a prefix and parameters to the URL of a bucket.
func with(t *testing.T, address, prefix, parameters string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = prefix
	u.RawQuery += parameters
	return u.String()
}

func TestS3(t *testing.T) {
	t.Parallel()
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		storagetest.RunBlobs(t, func(t *testing.T) storage.Blobs { return openS3(t, tests3.Bucket(t), S3Options{}) })
	})
	t.Run("prefix", func(t *testing.T) {
		t.Parallel()
		storagetest.RunBlobs(t, func(t *testing.T) storage.Blobs {
			return openS3(t, with(t, tests3.Bucket(t), "/a/b c", ""), S3Options{})
		})
	})
	t.Run("versions", func(t *testing.T) {
		t.Parallel()
		server := tests3.Shared(t)
		storagetest.RunBlobs(t, func(t *testing.T) storage.Blobs {
			return openS3(t, server.URL(server.Bucket(t, true)), S3Options{})
		})
	})
}

// TestS3Objects: a blob is one object under the key that the folder would give it, with its SHA-256 kept by the server.
func TestS3Objects(t *testing.T) {
	t.Parallel()
	server := tests3.Shared(t)
	bucket := server.Bucket(t, false)
	s := openS3(t, with(t, server.URL(bucket), "/media/", ""), S3Options{})
	for _, data := range []string{"a picture", strings.Repeat("a video ", 16<<20/8+1)} {
		sha := digest(data)
		if err := s.Put(t.Context(), sha, []byte(data)); err != nil {
			t.Fatal(err)
		}
		_, name := place(sha)
		info, err := server.Client().StatObject(t.Context(), bucket, "media/"+name, minio.StatObjectOptions{Checksum: true})
		if err != nil || info.Size != int64(len(data)) || info.ChecksumSHA256 == "" {
			t.Errorf("size %d, SHA-256 %q, %v", info.Size, info.ChecksumSHA256, err)
		}
	}
}

// TestS3PutsOnce: what is there is not sent again, unless it is something else: cut off, or of the same size, be it that the disk of the
// server has altered it, which the server does not know, or that somebody has put it there.
func TestS3PutsOnce(t *testing.T) {
	t.Parallel()
	server := tests3.Shared(t)
	bucket := server.Bucket(t, false)
	s := openS3(t, server.URL(bucket), S3Options{})
	small, large := "a picture", strings.Repeat("a video ", 16<<20/8+1) // in two parts
	for what, c := range map[string]struct {
		data   string
		damage func(key string) error
	}{
		"cut off": {small, func(key string) error { return os.Truncate(server.Path(bucket, key), 3) }},
		"altered": {small, func(key string) error { return alter(server.Path(bucket, key), "a pixture") }},
		"replaced": {small, func(key string) error {
			_, err := server.Client().PutObject(t.Context(), bucket, key, strings.NewReader("a pixture"), 9, minio.PutObjectOptions{})
			return err
		}},
		"altered in a part": {large, func(key string) error { return alter(server.Path(bucket, key), "A") }},
	} {
		sha := digest(c.data)
		_, key := place(sha)
		modified := func() time.Time {
			info, err := os.Stat(server.Path(bucket, key))
			if err != nil {
				t.Fatal(err)
			}
			return info.ModTime()
		}
		put := func() {
			t.Helper()
			if err := s.Put(t.Context(), sha, []byte(c.data)); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
		put()
		before := modified()
		if put(); !modified().Equal(before) {
			t.Errorf("%s: it was sent again before it was", what)
		}
		if err := c.damage(key); err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(t, s, sha); got == c.data || !errors.Is(err, storage.ErrCorrupt) {
			t.Fatalf("%s: it is not: %v", what, err)
		}
		put()
		if got, err := readAll(t, s, sha); got != c.data || err != nil {
			t.Errorf("%s, and put again: %d bytes, %v", what, len(got), err)
		}
	}
}

// alter writes over the beginning of a file.
func alter(path, beginning string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(beginning)
	return errors.Join(err, f.Close())
}

// TestS3Tidy: uploads that were begun a day ago and not finished go, of what is Vigie's under the prefix; younger ones and others'
// stay, and so does every object.
func TestS3Tidy(t *testing.T) {
	t.Parallel()
	server := tests3.Shared(t)
	bucket := server.Bucket(t, false)
	s := openS3(t, with(t, server.URL(bucket), "/media", ""), S3Options{})
	sha := digest("a picture")
	if err := s.Put(t.Context(), sha, []byte("a picture")); err != nil {
		t.Fatal(err)
	}
	_, name := place(sha)
	old := []string{"media/" + name, "media/uploads/a/file", "media/snapshots/b/file", "media/" + name} // twice
	others := []string{"elsewhere/file", "media-too/file", "media/note.txt", name}
	for _, key := range append(old, others...) {
		server.Abandon(t, bucket, key, 25*time.Hour)
	}
	server.Abandon(t, bucket, "media/"+name, 23*time.Hour)
	want := append(others, "media/"+name)
	slices.Sort(want)
	for range 2 {
		if err := s.Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left := server.Abandoned(t, bucket); !slices.Equal(left, want) {
			t.Errorf("left are %v, want %v", left, want)
		}
	}
	if got, err := readAll(t, s, sha); got != "a picture" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func readAll(t *testing.T, b storage.Blobs, sha hashing.Value) (string, error) {
	t.Helper()
	r, err := b.Open(t.Context(), sha)
	if err != nil {
		return "", err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	return string(data), err
}

// TestS3Damage: other bytes under the key are given out with ErrCorrupt at their end.
func TestS3Damage(t *testing.T) {
	t.Parallel()
	server := tests3.Shared(t)
	bucket := server.Bucket(t, false)
	s := openS3(t, server.URL(bucket), S3Options{})
	for _, data := range []string{"a pixture", "", "a picture and more"} {
		_, name := place(digest("a picture"))
		if _, err := server.Client().PutObject(t.Context(), bucket, name, strings.NewReader(data), int64(len(data)), minio.PutObjectOptions{}); err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(t, s, digest("a picture")); got != data || !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%q is read as %q, %v", data, got, err)
		}
	}
}

func TestS3List(t *testing.T) {
	t.Parallel()
	server := tests3.Shared(t)
	bucket := server.Bucket(t, false)
	plant := func(t *testing.T, key string) {
		if _, err := server.Client().PutObject(t.Context(), bucket, key, strings.NewReader("x"), 1, minio.PutObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	plant(t, "elsewhere/note.txt")
	plant(t, "media-too/note.txt")
	plant(t, "media/uploads/party/file")
	plant(t, "media/snapshots/log/file")
	testList(t, openS3(t, with(t, server.URL(bucket), "/media", ""), S3Options{}), func(name string) { plant(t, "media/"+name) })
	t.Run("pages", func(t *testing.T) { // of a thousand
		s := openS3(t, with(t, server.URL(bucket), "/pages", ""), S3Options{})
		const n = 1001
		var wait sync.WaitGroup
		for i := range 8 {
			wait.Go(func() {
				for j := i; j < n; j += 8 {
					data := fmt.Sprint(j)
					if err := s.Put(t.Context(), digest(data), []byte(data)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wait.Wait()
		count, last := 0, ""
		for blob, err := range s.List(t.Context()) {
			_, name := place(blob.SHA256)
			if err != nil || name <= last {
				t.Fatalf("%s after %s, %v", name, last, err)
			}
			last = name
			count++
		}
		if count != n {
			t.Errorf("%d of %d blobs", count, n)
		}
	})
}

func TestS3Lock(t *testing.T) {
	t.Parallel()
	server := tests3.Shared(t)
	bucket := server.Bucket(t, true)
	plain := openS3(t, server.URL(bucket), S3Options{})
	locked := func(lock string) *S3 { return openS3(t, with(t, server.URL(bucket), "", "&lock="+lock), S3Options{}) }
	sha := digest("evidence")
	// until tries to delete, and is how many days the lock lasts.
	until := func(s *S3) int {
		t.Helper()
		var e *LockedError
		if err := s.Delete(t.Context(), sha); !errors.As(err, &e) || !strings.Contains(err.Error(), "locked until "+e.Until.UTC().Format("2006-")) {
			t.Fatalf("delete gives %v, want that it is locked", err)
		}
		if got, err := readAll(t, s, sha); got != "evidence" || err != nil {
			t.Fatalf("after delete: %q, %v", got, err)
		}
		return int(time.Until(e.Until).Hours()/24 + 0.5)
	}
	put := func(s *S3) {
		t.Helper()
		if err := s.Put(t.Context(), sha, []byte("evidence")); err != nil {
			t.Fatal(err)
		}
	}
	put(plain)
	if err := plain.Delete(t.Context(), sha); err != nil {
		t.Fatal(err)
	}
	put(locked("governance:10d"))
	if got := until(plain); got != 10 {
		t.Errorf("locked for %d days, want 10", got)
	}
	put(plain)
	if got := until(plain); got != 10 {
		t.Errorf("put without a lock: locked for %d days, want 10", got)
	}
	put(locked("governance:180d")) // there already, and locked for longer from now on
	if got := until(locked("governance:1d")); got != 180 {
		t.Errorf("put again: locked for %d days, want 180", got)
	}
	put(locked("governance:1d"))
	if got := until(plain); got != 180 {
		t.Errorf("put for less: locked for %d days, want 180", got)
	}
	sha = digest("held")
	if err := plain.Put(t.Context(), sha, []byte("held")); err != nil {
		t.Fatal(err)
	}
	on, off := minio.LegalHoldEnabled, minio.LegalHoldDisabled
	_, name := place(sha)
	if err := server.Client().PutObjectLegalHold(t.Context(), bucket, name, minio.PutObjectLegalHoldOptions{Status: &on}); err != nil {
		t.Fatal(err)
	}
	if err := plain.Delete(t.Context(), sha); err == nil || !strings.Contains(err.Error(), "legal hold") {
		t.Errorf("under a legal hold: %v", err)
	}
	if err := server.Client().PutObjectLegalHold(t.Context(), bucket, name, minio.PutObjectLegalHoldOptions{Status: &off}); err != nil {
		t.Fatal(err)
	}
	if err := plain.Delete(t.Context(), sha); err != nil {
		t.Error(err)
	}
	if _, err := OpenS3(t.Context(), with(t, tests3.Bucket(t), "", "&lock=governance:10d"), S3Options{}); err == nil || !strings.Contains(err.Error(), "no object lock") {
		t.Errorf("a bucket without lock: %v", err)
	}
}

// TestS3Versions: what is deleted is gone in all its versions.
func TestS3Versions(t *testing.T) {
	t.Parallel()
	server := tests3.Shared(t)
	bucket := server.Bucket(t, true)
	s := openS3(t, server.URL(bucket), S3Options{})
	sha := digest("a picture")
	_, name := place(sha)
	for range 3 {
		if _, err := server.Client().PutObject(t.Context(), bucket, name, strings.NewReader("a picture"), 9, minio.PutObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete(t.Context(), sha); err != nil {
		t.Fatal(err)
	}
	for o := range server.Client().ListObjectsIter(t.Context(), bucket, minio.ListObjectsOptions{WithVersions: true, Recursive: true}) {
		t.Errorf("left: version %q, %d bytes, %v", o.VersionID, o.Size, o.Err)
	}
}

// TestS3Marked: what is deleted is gone also when somebody else has deleted its name before, in a bucket that keeps versions.
func TestS3Marked(t *testing.T) {
	t.Parallel()
	server := tests3.Shared(t)
	bucket := server.Bucket(t, true)
	s := openS3(t, server.URL(bucket), S3Options{})
	for _, text := range []string{"a picture", "another"} {
		if err := s.Put(t.Context(), digest(text), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	_, name := place(digest("a picture"))
	if err := server.Client().RemoveObject(t.Context(), bucket, name, minio.RemoveObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), digest("a picture")); err != nil {
		t.Fatal(err)
	}
	left := 0
	for o := range server.Client().ListObjectsIter(t.Context(), bucket, minio.ListObjectsOptions{WithVersions: true, Recursive: true}) {
		if left++; o.Key == name || o.Err != nil {
			t.Errorf("left: version %q, %d bytes, %v", o.VersionID, o.Size, o.Err)
		}
	}
	if left != 1 {
		t.Errorf("%d are left, not the other one", left)
	}
}

// TestS3Answers: a blob is missing when the server says so; what a proxy says in its place is another matter.
func TestS3Answers(t *testing.T) {
	t.Parallel()
	const missing = `<?xml version="1.0"?><Error><Code>NoSuchKey</Code><Message>gone</Message></Error>`
	for _, test := range []struct {
		status             int
		body               string
		missing, available bool
	}{
		{http.StatusNotFound, missing, true, true},
		{http.StatusNotFound, "", false, true},
		{http.StatusNotFound, "<html>not found</html>", false, true},
		{http.StatusNotFound, strings.Replace(missing, "Key", "Bucket", 1), false, true},
		{http.StatusForbidden, strings.Replace(missing, "NoSuchKey", "AccessDenied", 1), false, true},
		{http.StatusServiceUnavailable, strings.Replace(missing, "NoSuchKey", "SlowDown", 1), false, false},
		{http.StatusBadGateway, "<html>bad gateway</html>", false, false},
		{http.StatusInternalServerError, missing[:40], false, false},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("list-type") {
				fmt.Fprint(w, `<ListBucketResult></ListBucketResult>`)
				return
			}
			w.WriteHeader(test.status)
			fmt.Fprint(w, test.body)
		}))
		defer server.Close()
		s := openS3(t, "s3://bucket?region=x&path-style=true&endpoint="+server.URL, S3Options{Tries: 1})
		_, err := s.Open(t.Context(), digest("a picture"))
		if errors.Is(err, storage.ErrNotFound) != test.missing || errors.Is(err, storage.ErrUnavailable) == test.available {
			t.Errorf("%d %q: open gives %v", test.status, test.body, err)
		}
		if err := s.Delete(t.Context(), digest("a picture")); (err == nil) != test.missing || errors.Is(err, storage.ErrUnavailable) == test.available {
			t.Errorf("%d %q: delete gives %v", test.status, test.body, err)
		}
		if err := s.Put(t.Context(), digest("a picture"), []byte("a picture")); err == nil || errors.Is(err, storage.ErrUnavailable) == test.available {
			t.Errorf("%d %q: put gives %v", test.status, test.body, err)
		}
	}
}

// TestS3Away: while the server is away, requests fail as unavailable and name no key, also those that were on their
// way; when it is back, all go on, and what was acknowledged is there.
func TestS3Away(t *testing.T) {
	t.Parallel()
	server := tests3.Shared(t)
	large := bytes.Repeat([]byte("large"), 1<<20)
	for name, fault := range map[string]testproxy.Fault{
		"refused":         {Refuse: true},
		"cut half-way":    {Cut: 100_000},
		"half-open":       {HoldRequests: true, HoldAnswers: true},
		"no answer":       {HoldAnswers: true},
		"nothing arrives": {HoldRequests: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := testproxy.Start(t, "tcp", server.Address())
			set := func(f testproxy.Fault) {
				t.Helper()
				if err := p.Set(f); err != nil {
					t.Fatal(err)
				}
			}
			bucket := server.Bucket(t, false)
			o := S3Options{Stall: 200 * time.Millisecond, Tries: 2}
			s := openS3(t, server.Via(p.Address(), bucket), o)
			direct := openS3(t, server.URL(bucket), S3Options{})
			before := digest(string(large))
			if err := s.Put(t.Context(), before, large); err != nil {
				t.Fatal(err)
			}
			reading, err := s.Open(t.Context(), before)
			if err != nil {
				t.Fatal(err)
			}
			defer reading.Close()
			set(fault)
			other := append([]byte("other"), large...)
			errs := map[string]error{"put": s.Put(t.Context(), digest(string(other)), other)}
			if fault != (testproxy.Fault{HoldRequests: true}) { // its request has arrived
				_, errs["read"] = io.ReadAll(reading)
			}
			if fault.Cut == 0 { // small requests pass
				_, errs["open"] = s.Open(t.Context(), before)
				errs["delete"] = s.Delete(t.Context(), before)
				for _, errs["list"] = range s.List(t.Context()) {
				}
				errs["check"] = s.Check(t.Context())
			}
			for what, err := range errs {
				if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrNotFound) || strings.Contains(err.Error(), fmt.Sprintf("%x", before.Bytes(32))) || strings.Contains(err.Error(), "http:") {
					t.Errorf("%s gives %v, want ErrUnavailable", what, err)
				}
			}
			if _, err := OpenS3(t.Context(), server.Via(p.Address(), bucket), o); err != nil {
				t.Errorf("a server that is away is no reason not to start: %v", err)
			}
			if got, err := readAll(t, direct, digest(string(other))); err == nil && got != string(other) || err != nil && !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("the put that failed left %d bytes, %v", len(got), err)
			}
			set(testproxy.Fault{})
			if err := s.Put(t.Context(), digest(string(other)), other); err != nil {
				t.Error(err)
			}
			for _, want := range []string{string(large), string(other)} {
				if got, err := readAll(t, s, digest(want)); got != want || err != nil {
					t.Errorf("afterwards: %d bytes, %v", len(got), err)
				}
			}
		})
	}
	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		p := testproxy.Start(t, "tcp", server.Address())
		s := openS3(t, server.Via(p.Address(), server.Bucket(t, false)), S3Options{Stall: 5 * time.Second})
		if err := p.Set(testproxy.Fault{Rate: 400_000, Delay: 5 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		data := strings.Repeat("s", 300_000)
		if err := s.Put(t.Context(), digest(data), []byte(data)); err != nil {
			t.Error(err)
		}
		if got, err := readAll(t, s, digest(data)); got != data || err != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := s.Put(ctx, digest(data+"t"), []byte(data+"t")); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("a deadline gives %v", err)
		}
	})
}

// TestS3ReTries: a put whose connection is cut succeeds by itself.
func TestS3Retries(t *testing.T) {
	t.Parallel()
	server := tests3.Shared(t)
	p := testproxy.Start(t, "tcp", server.Address())
	s := openS3(t, server.Via(p.Address(), server.Bucket(t, false)), S3Options{})
	data := strings.Repeat("0123456789", 2<<20) // two parts
	if err := p.Set(testproxy.Fault{Cut: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for p.WasCut() == 0 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		if err := p.Set(testproxy.Fault{}); err != nil {
			t.Error(err)
		}
	}()
	if err := s.Put(t.Context(), digest(data), []byte(data)); err != nil {
		t.Error(err)
	}
	end()
	<-done
	if p.WasCut() == 0 {
		t.Error("nothing was cut")
	}
	if got, err := readAll(t, s, digest(data)); got != data || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestS3Killed: what Put has acknowledged is there after the server was killed, at whatever time that was.
func TestS3Killed(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("kills a server four times")
	}
	server := tests3.Start(t)
	s := openS3(t, server.URL(server.Bucket(t, false)), S3Options{Tries: 1})
	blob := func(worker, n int) string { return strings.Repeat(fmt.Sprint(worker, " ", n, " "), 1+n%7*20_000) }
	var acknowledged [4][]int // numbers of blobs, by worker
	n := 0
	for range 4 {
		var wait sync.WaitGroup
		enough := make(chan struct{})
		for w := range acknowledged {
			wait.Go(func() {
				for i := n; ; i++ {
					data := blob(w, i)
					if err := s.Put(t.Context(), digest(data), []byte(data)); err != nil {
						return // the server is gone
					}
					acknowledged[w] = append(acknowledged[w], i)
					if w == 0 && i == n+5 {
						close(enough)
					}
				}
			})
		}
		<-enough
		server.Stop(t, syscall.SIGKILL)
		wait.Wait()
		for w := range acknowledged {
			n = max(n, acknowledged[w][len(acknowledged[w])-1]+1)
		}
		server.Restart(t)
		for w := range acknowledged {
			for _, i := range acknowledged[w] {
				if got, err := readAll(t, s, digest(blob(w, i))); got != blob(w, i) || err != nil {
					t.Errorf("blob %d of %d was acknowledged: %d bytes, %v", i, w, len(got), err)
				}
			}
		}
	}
}
