package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vigie/hashing"
	"vigie/internal/tests3"
	"vigie/storage"
	"vigie/storage/memory"
	"vigie/storage/storagetest"
)

func openCache(t *testing.T, dir string, limit int64, behind storage.Blobs) *Cache {
	t.Helper()
	c, err := OpenCache(t.Context(), dir, limit, behind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestCache(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]int64{"roomy": 1 << 30, "tiny": 2000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storagetest.RunBlobs(t, func(t *testing.T) storage.Blobs { return openCache(t, t.TempDir(), limit, &memory.Blobs{}) })
		})
	}
	t.Run("over S3", func(t *testing.T) {
		t.Parallel()
		storagetest.RunBlobs(t, func(t *testing.T) storage.Blobs {
			return openCache(t, t.TempDir(), 1<<30, openS3(t, tests3.Bucket(t), S3Options{}))
		})
	})
}

// far is blobs that count how often they are opened, and can be away.
type far struct {
	memory.Blobs
	opened atomic.Int64
	away   atomic.Bool
	wait   chan struct{} // if not nil, Open waits for it, or for the end of its context
	linger chan struct{} // if not nil, it waits for that, too, when its context has ended
	delete func()        // if not nil, is called before something is deleted
	tidied atomic.Int64
}

func (f *far) Tidy(context.Context) error {
	f.tidied.Add(1)
	return nil
}

func (f *far) Delete(ctx context.Context, sha hashing.Value) error {
	if f.delete != nil {
		f.delete()
	}
	return f.Blobs.Delete(ctx, sha)
}

func (f *far) Open(ctx context.Context, sha hashing.Value) (io.ReadCloser, error) {
	f.opened.Add(1)
	if f.wait != nil {
		select {
		case <-f.wait:
		case <-ctx.Done():
			if f.linger != nil {
				<-f.linger
			}
			return nil, ctx.Err()
		}
	}
	if f.away.Load() {
		return nil, storage.ErrUnavailable
	}
	return f.Blobs.Open(ctx, sha)
}

func (f *far) put(t *testing.T, data string) hashing.Value {
	t.Helper()
	if err := f.Put(t.Context(), digest(data), []byte(data)); err != nil {
		t.Fatal(err)
	}
	return digest(data)
}

// TestCacheKeeps: what was read is kept, the one read longest ago is dropped first; by another process that opens the
// same folder, the one fetched longest ago; and what is kept is read while the blobs behind are away.
func TestCacheKeeps(t *testing.T) {
	t.Parallel()
	behind := &far{}
	dir := t.TempDir()
	var c *Cache
	// read reads blobs of 10 bytes, and wants each to come from here or from behind.
	read := func(want int64, numbers ...int) {
		t.Helper()
		for _, n := range numbers {
			data := fmt.Sprintf("blob %5d", n)
			before := behind.opened.Load()
			if got, err := readAll(t, c, behind.put(t, data)); got != data || err != nil {
				t.Fatalf("blob %d: %q, %v", n, got, err)
			}
			if got := behind.opened.Load() - before; got != want {
				t.Errorf("blob %d was fetched %d times, want %d", n, got, want)
			}
			if size := sizeOf(t, dir); size > 30 || size != c.bytes {
				t.Errorf("%d bytes in the folder, %d counted, at most 30 wanted", size, c.bytes)
			}
		}
	}
	c = openCache(t, dir, 30, behind)
	read(1, 1, 2, 3)
	read(0, 1, 2, 3, 1)
	read(1, 4) // in the place of 2
	read(0, 3, 1, 4)
	read(1, 2) // in the place of 3
	read(0, 1)
	c.Close()
	c = openCache(t, dir, 30, behind)
	read(1, 3) // in the place of 1, fetched longest ago
	read(0, 2, 4, 3)
	read(1, 1) // in the place of 2
	behind.away.Store(true)
	read(0, 1, 4, 3)
	if _, err := readAll(t, c, digest("blob     2")); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("what is not here, while behind is away: %v", err)
	}
	c.Close()
	if c = openCache(t, dir, 10, behind); c.bytes != 10 || sizeOf(t, dir) != 10 {
		t.Errorf("with less room: %d bytes", c.bytes)
	}
	read(0, 1)
}

// TestCacheForgets: what another process deletes is gone here a day after it was fetched, however often it is read meanwhile: from the
// disk, when the cache is tidied or opened again, and for who asks for it, at once.
func TestCacheForgets(t *testing.T) {
	t.Parallel()
	dir, late := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		behind := &far{}
		c, unread := openCache(t, dir, 1000, behind), openCache(t, late, 1000, behind)
		sha := behind.put(t, "a picture")
		read := func(c *Cache, fetches int64, want error) {
			t.Helper()
			before := behind.opened.Load()
			if got, err := readAll(t, c, sha); !errors.Is(err, want) || want == nil && got != "a picture" || behind.opened.Load()-before != fetches {
				t.Errorf("%q, %v, fetched %d times, want %v and %d", got, err, behind.opened.Load()-before, want, fetches)
			}
		}
		left := func(want int64) {
			t.Helper()
			for at, c := range map[string]*Cache{dir: c, late: unread} {
				if err := c.Tidy(t.Context()); err != nil {
					t.Fatal(err)
				}
				if size := sizeOf(t, at); size != want || c.bytes != want {
					t.Errorf("%d bytes in the folder, %d counted, want %d", size, c.bytes, want)
				}
			}
		}
		read(c, 1, nil)
		read(unread, 1, nil)
		if err := behind.Delete(t.Context(), sha); err != nil { // by another node
			t.Fatal(err)
		}
		time.Sleep(24*time.Hour - time.Nanosecond)
		left(9)
		read(c, 0, nil)
		time.Sleep(time.Nanosecond)
		read(c, 1, storage.ErrNotFound)
		left(0)
		// What is still there is fetched again.
		sha = behind.put(t, "a picture")
		read(c, 1, nil)
		time.Sleep(24 * time.Hour)
		read(c, 1, nil)
		read(c, 0, nil)
		if n := behind.tidied.Load(); n != 4 {
			t.Errorf("the blobs behind were tidied %d times, want 4", n)
		}
	})
	behind := &far{}
	for age, want := range map[time.Duration]int64{23 * time.Hour: 9, 25 * time.Hour: 0, -time.Hour: 0} {
		dir := t.TempDir()
		c := openCache(t, dir, 1000, behind)
		sha := behind.put(t, "a picture")
		_, err := readAll(t, c, sha)
		_, name := place(sha)
		at := time.Now().Add(-age)
		if err = errors.Join(err, c.Close(), os.Chtimes(filepath.Join(dir, name), at, at)); err != nil {
			t.Fatal(err)
		}
		if c := openCache(t, dir, 1000, behind); c.bytes != want || sizeOf(t, dir) != want {
			t.Errorf("opened %v after it was fetched: %d bytes, want %d", age, c.bytes, want)
		}
	}
}

// sizeOf is how many bytes the files of a folder have.
func sizeOf(t *testing.T, dir string) (size int64) {
	t.Helper()
	err := filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// TestCacheDamage: a copy that is not what it was is never handed out; nor is a blob behind kept that is not.
func TestCacheDamage(t *testing.T) {
	t.Parallel()
	behind := &far{}
	dir := t.TempDir()
	c := openCache(t, dir, 1000, behind)
	sha := behind.put(t, "a picture")
	_, name := place(sha)
	name = filepath.Join(dir, name)
	for what, damage := range map[string]func() error{
		"other bytes": func() error { return os.WriteFile(name, []byte("a pixture"), 0o600) },
		"cut off":     func() error { return os.Truncate(name, 4) },
		"longer":      func() error { return os.WriteFile(name, []byte("a picture."), 0o600) },
		"gone":        func() error { return os.Remove(name) },
		"a folder":    func() error { return errors.Join(os.Remove(name), os.Mkdir(name, 0o700)) },
	} {
		if _, err := readAll(t, c, sha); err != nil {
			t.Fatal(err)
		}
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(t, c, sha); got != "a picture" || err != nil {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	bad := openCache(t, t.TempDir(), 1000, corrupt{})
	if got, err := readAll(t, bad, sha); got != "" || !errors.Is(err, storage.ErrCorrupt) || bad.bytes != 0 {
		t.Errorf("damaged behind: %q, %v, %d bytes kept", got, err, bad.bytes)
	}
}

type corrupt struct{ storage.Blobs }

func (corrupt) Open(context.Context, hashing.Value) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("a pixture")), nil
}

// TestCacheFetchesOnce: who reads a blob that is on its way waits for it, and may leave; when all have left, it is given
// up, and fetched anew for the next.
func TestCacheFetchesOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		behind := &far{wait: make(chan struct{})}
		c := openCache(t, dir, 1000, behind)
		sha := behind.put(t, "a picture")
		var wait sync.WaitGroup
		leaving, leave := context.WithCancel(t.Context())
		for i := range 10 {
			wait.Go(func() {
				ctx := t.Context()
				if i < 5 {
					ctx = leaving
				}
				r, err := c.Open(ctx, sha)
				if i < 5 {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("who left got %v", err)
					}
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Close()
				if got, err := io.ReadAll(r); string(got) != "a picture" || err != nil {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
		synctest.Wait()
		leave()
		synctest.Wait()
		close(behind.wait)
		wait.Wait()
		if got := behind.opened.Load(); got != 1 {
			t.Errorf("fetched %d times", got)
		}

		behind.wait = make(chan struct{})
		other := behind.put(t, "another picture")
		alone, leave := context.WithCancel(t.Context())
		wait.Go(func() { c.Open(alone, other) })
		synctest.Wait()
		leave()
		wait.Wait()
		synctest.Wait()
		if len(c.fetches) != 0 {
			t.Error("a fetch goes on for nobody")
		}

		// Who comes when all have left, and the fetch has not ended yet, has it fetched anew.
		behind.linger = make(chan struct{})
		alone, leave = context.WithCancel(t.Context())
		wait.Go(func() { c.Open(alone, other) })
		synctest.Wait()
		leave()
		wait.Wait()
		wait.Go(func() {
			if got, err := readAll(t, c, other); got != "another picture" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		})
		synctest.Wait()
		close(behind.linger)
		synctest.Wait()
		close(behind.wait)
		wait.Wait()
	})
}

// TestCacheDeletes: what is deleted while it is fetched is not kept.
func TestCacheDeletes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		opened := make(chan struct{})
		behind := &far{}
		slow := &slowBlobs{far: behind, let: opened}
		c := openCache(t, dir, 1000, slow)
		sha := behind.put(t, "a picture")
		var wait sync.WaitGroup
		wait.Go(func() {
			if r, err := c.Open(t.Context(), sha); err == nil {
				r.Close()
			}
		})
		synctest.Wait() // the blob is open behind, and not read yet
		if err := c.Delete(t.Context(), sha); err != nil {
			t.Fatal(err)
		}
		close(opened)
		wait.Wait()
		if _, err := c.Open(t.Context(), sha); !errors.Is(err, storage.ErrNotFound) || c.bytes != 0 {
			t.Errorf("got %v and %d bytes kept, want ErrNotFound and none", err, c.bytes)
		}
	})
}

// TestCacheDeletesMeanwhile: what is read while it is deleted behind is not kept.
func TestCacheDeletesMeanwhile(t *testing.T) {
	t.Parallel()
	behind := &far{}
	c := openCache(t, t.TempDir(), 1000, behind)
	sha := behind.put(t, "a picture")
	behind.delete = func() {
		if got, err := readAll(t, c, sha); got != "a picture" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	if err := c.Delete(t.Context(), sha); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Open(t.Context(), sha); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

// slowBlobs open a blob at once and let it be read later.
type slowBlobs struct {
	*far
	let chan struct{}
}

func (s *slowBlobs) Open(ctx context.Context, sha hashing.Value) (io.ReadCloser, error) {
	r, err := s.far.Open(ctx, sha)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{readerFunc(func(p []byte) (int, error) {
		<-s.let
		return r.Read(p)
	}), r}, nil
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestCacheFull: what cannot be kept is read from behind.
func TestCacheFull(t *testing.T) {
	t.Parallel()
	behind := &far{}
	dir := t.TempDir()
	c := openCache(t, dir, 8, behind)
	sha := behind.put(t, "a picture") // 9 bytes
	check := func(what string) {
		t.Helper()
		for range 2 {
			if got, err := readAll(t, c, sha); got != "a picture" || err != nil || sizeOf(t, dir) != 0 {
				t.Errorf("%s: %q, %v, %d bytes in the folder", what, got, err, sizeOf(t, dir))
			}
		}
	}
	check("larger than the cache")
	c.limit = 1000
	c.copies.flush = func(*os.File) error { return errors.New("no space left on device") }
	check("a disk that is full")
	if _, err := c.Open(t.Context(), digest("missing")); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("missing: %v", err)
	}
}
