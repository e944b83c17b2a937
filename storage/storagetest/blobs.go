package storagetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"vigie/hashing"
	"vigie/storage"
)

// RunBlobs runs the suite of blobs; open makes an empty store.
func RunBlobs(t *testing.T, open func(t *testing.T) storage.Blobs) {
	ctx := context.Background()
	sum := func(data []byte) hashing.Value {
		digest := sha256.Sum256(data)
		return hashing.ValueFromBytes(digest[:])
	}
	read := func(t *testing.T, b storage.Blobs, sha hashing.Value) []byte {
		r, err := b.Open(ctx, sha)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for name, test := range map[string]func(*testing.T, storage.Blobs){
		"round trip": func(t *testing.T, b storage.Blobs) {
			for _, data := range [][]byte{{}, []byte("x"), bytes.Repeat([]byte("long"), 1<<18)} {
				given := bytes.Clone(data)
				for range 2 {
					if err := b.Put(ctx, sum(data), given); err != nil {
						t.Fatal(err)
					}
				}
				clear(given) // it is the caller's again
				if got := read(t, b, sum(data)); !bytes.Equal(got, data) {
					t.Errorf("%d bytes come back as %d others", len(data), len(got))
				}
			}
		},
		"other bytes are refused": func(t *testing.T, b storage.Blobs) {
			sha := sum([]byte("x"))
			if err := b.Put(ctx, sha, []byte("y")); !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("got %v, want ErrCorrupt", err)
			}
			if _, err := b.Open(ctx, sha); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("got %v, want ErrNotFound", err)
			}
		},
		"delete": func(t *testing.T, b storage.Blobs) {
			data := []byte("x")
			for range 2 {
				if err := b.Delete(ctx, sum(data)); err != nil {
					t.Fatal(err)
				}
				if _, err := b.Open(ctx, sum(data)); !errors.Is(err, storage.ErrNotFound) {
					t.Errorf("got %v, want ErrNotFound", err)
				}
				if err := b.Put(ctx, sum(data), data); err != nil {
					t.Fatal(err)
				}
			}
		},
		"a context that has ended": func(t *testing.T, b storage.Blobs) {
			ended, cancel := context.WithCancel(ctx)
			cancel()
			if err := b.Put(ended, sum([]byte("x")), []byte("x")); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want Canceled", err)
			}
			if _, err := b.Open(ctx, sum([]byte("x"))); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("got %v, want ErrNotFound", err)
			}
		},
		"one blob at once": func(t *testing.T, b storage.Blobs) {
			data := bytes.Repeat([]byte("one"), 100_000)
			var wait sync.WaitGroup
			for range 16 {
				wait.Go(func() {
					if err := b.Put(ctx, sum(data), data); err != nil {
						t.Error(err)
						return
					}
					if got := read(t, b, sum(data)); !bytes.Equal(got, data) {
						t.Error("read something else")
					}
				})
			}
			wait.Wait()
			if err := b.Delete(ctx, sum(data)); err != nil {
				t.Error(err)
			}
			if _, err := b.Open(ctx, sum(data)); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("put 16 times and deleted once: got %v, want ErrNotFound", err)
			}
		},
		"large": func(t *testing.T, b storage.Blobs) {
			data := make([]byte, 40<<20+1)
			rand.NewChaCha8([32]byte{}).Read(data)
			for range 2 {
				if err := b.Put(ctx, sum(data), data); err != nil {
					t.Fatal(err)
				}
			}
			if got := read(t, b, sum(data)); !bytes.Equal(got, data) {
				t.Error("read something else")
			}
		},
		// Whoever reads a blob while it is deleted reads all of it or gets an error, never a part for the whole.
		"deleted while it is read": func(t *testing.T, b storage.Blobs) {
			data := make([]byte, 4<<20)
			if err := b.Put(ctx, sum(data), data); err != nil {
				t.Fatal(err)
			}
			r, err := b.Open(ctx, sum(data))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			if err := b.Delete(ctx, sum(data)); err != nil {
				t.Fatal(err)
			}
			if rest, err := io.Copy(io.Discard, r); err == nil && rest != int64(len(data)-1000) {
				t.Errorf("%d bytes of %d and no error", rest+1000, len(data))
			}
			if _, err := b.Open(ctx, sum(data)); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("got %v, want ErrNotFound", err)
			}
		},
		"at once": func(t *testing.T, b storage.Blobs) {
			var wait sync.WaitGroup
			for i := range 32 {
				wait.Go(func() {
					data := bytes.Repeat([]byte{byte(i % 4)}, 1000)
					if err := b.Put(ctx, sum(data), data); err != nil {
						t.Error(err)
						return
					}
					if got := read(t, b, sum(data)); !bytes.Equal(got, data) {
						t.Error("read something else")
					}
				})
			}
			wait.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}
