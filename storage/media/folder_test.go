package media

import (
	"context"
	"crypto/sha256"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"vigie/hashing"
	"vigie/storage"
	"vigie/storage/storagetest"
)

func open(t *testing.T, dir string) *Folder {
	t.Helper()
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func digest(data string) hashing.Value {
	sum := sha256.Sum256([]byte(data))
	return hashing.ValueFromBytes(sum[:])
}

func TestFolder(t *testing.T) {
	t.Parallel()
	storagetest.RunBlobs(t, func(t *testing.T) storage.Blobs { return open(t, t.TempDir()) })
}

// TestFlushes checks what is flushed and in which order: the file before it has its name, the folders
// after it has.
func TestFlushes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := open(t, dir)
	sha := digest("a picture")
	_, name := place(sha)
	var flushed []string
	f.flush = func(file *os.File) error {
		path, err := filepath.Rel(dir, file.Name())
		if err != nil {
			return err
		}
		if strings.HasPrefix(path, incoming) {
			path = incoming
			if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the blob has its name before it is flushed: %v", err)
			}
		}
		flushed = append(flushed, path)
		return file.Sync()
	}
	ctx := context.Background()
	yy, xx := filepath.Dir(name), filepath.Dir(filepath.Dir(name))
	for _, step := range []struct {
		do   string
		want []string
	}{
		{"put", []string{".", xx, incoming, yy}},
		{"put", []string{yy}}, // it may have come from a Put that has not flushed yet
		{"delete", []string{yy}},
		{"delete", nil},
		{"put", []string{incoming, yy}},
	} {
		flushed = nil
		var err error
		if step.do == "put" {
			err = f.Put(ctx, sha, []byte("a picture"))
		} else {
			err = f.Delete(ctx, sha)
		}
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(flushed, step.want) {
			t.Errorf("%s flushed %q, want %q", step.do, flushed, step.want)
		}
	}
}

// TestFailedFlush: a Put that could not make its blob durable says so, leaves no draft, and the next
// one starts afresh.
func TestFailedFlush(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for n := range 4 {
		f := open(t, t.TempDir())
		broken := errors.New("broken disk")
		var mu sync.Mutex
		left := n
		f.flush = func(file *os.File) error {
			mu.Lock()
			defer mu.Unlock()
			if left--; left < 0 {
				return broken
			}
			return file.Sync()
		}
		if err := f.Put(ctx, digest("x"), []byte("x")); !errors.Is(err, broken) {
			t.Errorf("flush %d fails: Put gives %v", n, err)
		}
		if drafts, err := os.ReadDir(filepath.Join(f.root.Name(), incoming)); err != nil || len(drafts) > 0 {
			t.Errorf("flush %d fails: drafts left: %v, %v", n, drafts, err)
		}
		f.flush = (*os.File).Sync
		if err := f.Put(ctx, digest("x"), []byte("x")); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenRemovesDrafts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, dir)
	draft := filepath.Join(dir, incoming, "left")
	if err := os.WriteFile(draft, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	if _, err := os.Stat(draft); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("draft is still there: %v", err)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	testList(t, open(t, dir), func(name string) {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	})
}

// testList puts blobs into an empty store, and wants them listed in order; plant puts a stray beside them.
func testList(t *testing.T, s interface {
	storage.Blobs
	List(context.Context) iter.Seq2[Blob, error]
}, plant func(name string),
) {
	t.Helper()
	ctx := context.Background()
	for range s.List(ctx) {
		t.Error("it is not empty")
	}
	var want []string
	for _, data := range []string{"one", "two", "three", "four"} {
		if err := s.Put(ctx, digest(data), []byte(data)); err != nil {
			t.Fatal(err)
		}
		_, name := place(digest(data))
		want = append(want, filepath.Base(name))
	}
	slices.Sort(want)
	_, name := place(digest("one"))
	plant("note.txt")
	plant("00/" + filepath.Base(name))
	var got []string
	strays := 0
	for blob, err := range s.List(ctx) {
		switch {
		case errors.Is(err, ErrStray):
			strays++
		case err != nil:
			t.Error(err)
		default:
			_, name := place(blob.SHA256)
			got = append(got, filepath.Base(name))
			if blob.Size < 3 || blob.Modified.IsZero() {
				t.Errorf("blob %+v", blob)
			}
		}
	}
	if !slices.Equal(got, want) || strays != 2 {
		t.Errorf("got %q and %d strays, want %q and 2", got, strays, want)
	}
	for range s.List(ctx) {
		break
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	var err error
	for _, err = range s.List(ended) {
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
}
