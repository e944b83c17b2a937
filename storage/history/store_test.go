package history

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"vigie/internal/testproxy"
	"vigie/internal/tests3"
	"vigie/storage"
	"vigie/storage/bucket"
	"vigie/storage/journal"
)

func TestMain(m *testing.M) { os.Exit(tests3.Main(m)) }

func openBucket(t *testing.T, address string, o bucket.Options) Bucket {
	t.Helper()
	b, err := bucket.Open(t.Context(), address, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return OpenBucket(b.Folder(bucket.Uploads))
}

// stores make an empty one.
var stores = map[string]func(t *testing.T) Store{
	"folder": func(t *testing.T) Store { return newPlace(t).folder },
	"bucket": func(t *testing.T) Store { return openBucket(t, tests3.Bucket(t), bucket.Options{}) },
	"bucket with versions, where media are locked": func(t *testing.T) Store {
		server := tests3.Shared(t)
		return openBucket(t, server.URL(server.Bucket(t, true))+"&lock=compliance:180d", bucket.Options{})
	},
}

// TestStore is what every store does.
func TestStore(t *testing.T) {
	t.Parallel()
	for what, test := range map[string]func(*testing.T, Store){
		"round trip": func(t *testing.T, s Store) {
			for i, data := range [][]byte{{}, []byte("x"), random(1 << 20), random(20 << 20)} {
				name := fmt.Sprintf("p/%d.parquet", i)
				given := bytes.Clone(data)
				put(t, s, name, given)
				clear(given) // which is the caller's again
				if got := whole(t, s, name); !bytes.Equal(got, data) {
					t.Errorf("%d bytes come back as %d", len(data), len(got))
				}
			}
		},
		"ranges": func(t *testing.T, s Store) {
			data := random(100_000)
			put(t, s, "a", data)
			o := open(t, s, "a")
			if o.Size() != int64(len(data)) {
				t.Errorf("size %d", o.Size())
			}
			for _, r := range [][2]int{{0, 1}, {0, 100_000}, {99_999, 1}, {50_000, 0}, {1234, 4321}, {99_000, 2000}, {100_000, 5}, {200_000, 5}} {
				p := make([]byte, r[1])
				n, err := o.ReadAt(p, int64(r[0]))
				want := data[min(r[0], len(data)):min(r[0]+r[1], len(data))]
				short := r[0]+r[1] > len(data)
				if !bytes.Equal(p[:n], want) || short != errors.Is(err, io.EOF) || !short && err != nil {
					t.Errorf("%d bytes at %d: %d, %v", r[1], r[0], n, err)
				}
			}
			if _, err := o.ReadAt(make([]byte, 1), -1); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("at -1: %v", err)
			}
			var readers sync.WaitGroup
			for i := range 8 {
				readers.Go(func() {
					p := make([]byte, 10_000)
					if _, err := o.ReadAt(p, int64(i*10_000)); err != nil || !bytes.Equal(p, data[i*10_000:][:10_000]) {
						t.Errorf("reader %d: %v", i, err)
					}
				})
			}
			readers.Wait()
		},
		"missing": func(t *testing.T, s Store) {
			if _, err := s.Open(t.Context(), "a/b"); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("open: %v", err)
			}
			if err := s.Delete(t.Context(), "a/b"); err != nil {
				t.Errorf("delete: %v", err)
			}
			if got := names(t, s, "a/"); got != nil {
				t.Errorf("list: %v", got)
			}
		},
		"replaced while it is open": func(t *testing.T, s Store) {
			before, after := random(100_000), random(100_000)
			put(t, s, "a", before)
			o := open(t, s, "a")
			put(t, s, "a", after)
			p := make([]byte, len(before))
			if _, err := o.ReadAt(p, 0); err == nil && !bytes.Equal(p, before) || errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("it is read as another one, %v", err)
			}
			if !bytes.Equal(whole(t, s, "a"), after) {
				t.Error("opened again it is not the new one")
			}
		},
		"deleted while it is open": func(t *testing.T, s Store) {
			data := random(1000)
			put(t, s, "a", data)
			o := open(t, s, "a")
			if err := s.Delete(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			p := make([]byte, len(data))
			if _, err := o.ReadAt(p, 0); err == nil && !bytes.Equal(p, data) || err != nil && !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("%v", err)
			}
			if _, err := s.Open(t.Context(), "a"); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("opened again: %v", err)
			}
		},
		"list": func(t *testing.T, s Store) {
			for _, name := range []string{"a/b/1", "a/b/2", "a/bc/3", "b/4", "5"} {
				put(t, s, name, []byte(name))
			}
			for prefix, want := range map[string][]string{
				"": {"5", "a/b/1", "a/b/2", "a/bc/3", "b/4"}, "a/": {"a/b/1", "a/b/2", "a/bc/3"}, "a/b/": {"a/b/1", "a/b/2"}, "c/": nil,
			} {
				if got := names(t, s, prefix); !slices.Equal(got, want) {
					t.Errorf("%q: %v, want %v", prefix, got, want)
				}
			}
			for range s.List(t.Context(), "") {
				break
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			last := error(nil)
			for _, last = range s.List(ctx, "") {
			}
			if !errors.Is(last, context.Canceled) {
				t.Errorf("cancelled: %v", last)
			}
			if err := s.Put(ctx, "a", nil); !errors.Is(err, context.Canceled) {
				t.Errorf("put, cancelled: %v", err)
			}
		},
		"whole": func(t *testing.T, s Store) { // whoever reads while somebody writes sees all of one of both
			a, b := bytes.Repeat([]byte("a"), 1<<20), bytes.Repeat([]byte("b"), 1<<19)
			put(t, s, "x", a)
			ctx, stop := context.WithCancel(t.Context())
			var writer sync.WaitGroup
			writer.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					if err := s.Put(t.Context(), "x", [][]byte{a, b}[i%2]); err != nil {
						t.Error(err)
					}
				}
			})
			for range 20 {
				o, err := s.Open(t.Context(), "x")
				if err != nil {
					t.Error(err)
					break
				}
				p := make([]byte, o.Size())
				_, err = o.ReadAt(p, 0)
				whole := bytes.Equal(p, a) || bytes.Equal(p, b)
				if _, bucket := s.(Bucket); bucket { // the S3 server of the tests compares the tag first, and opens the file then: of the other
					whole = whole || bytes.Equal(p, a[:len(b)])
				}
				if err == nil && !whole {
					t.Errorf("%d bytes of %.1q and %.1q", len(p), p, p[len(p)-1:])
				}
				o.Close()
			}
			stop()
			writer.Wait()
		},
		"history": func(t *testing.T, s Store) {
			p := place{dir: t.TempDir()}
			h, stop := p.open(t, s, Options{Now: func() time.Time { return noon.Add(2 * time.Hour) }})
			defer stop()
			want := map[journal.ID]Record{}
			for n := range 300 {
				want[add(t, h, upload(n))] = upload(n)
			}
			seal(t, h)
			same(t, "files", inFiles(t, h, everything), want)
			if err := h.Erase(t.Context(), 2, []string{upload(1).ContentID, upload(4).ContentID}); err != nil {
				t.Fatal(err)
			}
			for id, r := range want {
				if r == upload(1) || r == upload(4) {
					delete(want, id)
				}
			}
			same(t, "files", inFiles(t, h, everything), want)
			if err := h.EraseParty(t.Context(), 3); err != nil {
				t.Fatal(err)
			}
			for id, r := range want {
				if r.Party == 3 {
					delete(want, id)
				}
			}
			same(t, "files", inFiles(t, h, everything), want)
		},
	} {
		for name, make := range stores {
			t.Run(name+"/"+what, func(t *testing.T) {
				t.Parallel()
				test(t, make(t))
			})
		}
	}
}

func random(n int) []byte {
	p := make([]byte, n)
	var seed [32]byte
	binary.NativeEndian.PutUint64(seed[:], rand.Uint64())
	_, _ = rand.NewChaCha8(seed).Read(p)
	return p
}

func put(t *testing.T, s Store, name string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), name, data); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, s Store, name string) Object {
	t.Helper()
	o, err := s.Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

func whole(t *testing.T, s Store, name string) []byte {
	t.Helper()
	o := open(t, s, name)
	data, err := io.ReadAll(io.NewSectionReader(o, 0, o.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func names(t *testing.T, s Store, prefix string) (all []string) {
	t.Helper()
	for name, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// TestBucketVersions: what is erased from a file is in none of its versions, and nothing is left of one that is deleted.
func TestBucketVersions(t *testing.T) {
	t.Parallel()
	server := tests3.Shared(t)
	name := server.Bucket(t, true)
	s := openBucket(t, server.URL(name), bucket.Options{})
	versions := func() (all []string) {
		t.Helper()
		for o := range server.Client().ListObjectsIter(t.Context(), name, minio.ListObjectsOptions{WithVersions: true, Recursive: true}) {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
			all = append(all, fmt.Sprint(filepath.Base(o.Key), " ", o.Size))
		}
		slices.Sort(all)
		return all
	}
	put(t, s, "a/bc", random(9))
	for size := range 3 {
		put(t, s, "a/b", random(size+1))
	}
	if got := versions(); !slices.Equal(got, []string{"b 3", "bc 9"}) {
		t.Errorf("%v", got)
	}
	if err := s.Delete(t.Context(), "a/b"); err != nil {
		t.Fatal(err)
	}
	if got := versions(); !slices.Equal(got, []string{"bc 9"}) {
		t.Errorf("deleted: %v", got)
	}
}

// TestBucketAway: a server that is away is said to be, and damages nothing.
func TestBucketAway(t *testing.T) {
	t.Parallel()
	server := tests3.Shared(t)
	data, other := random(3<<20), random(3<<20)
	for name, fault := range map[string]testproxy.Fault{
		"refused":      {Refuse: true},
		"half-open":    {HoldRequests: true, HoldAnswers: true},
		"cut half-way": {Cut: 100_000},
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
			at := server.Bucket(t, false)
			s := openBucket(t, server.Via(p.Address(), at), bucket.Options{Stall: 200 * time.Millisecond, Tries: 2})
			direct := openBucket(t, server.URL(at), bucket.Options{})
			put(t, s, "a", data)
			o := open(t, s, "a")
			set(fault)
			errs := map[string]error{"put": s.Put(t.Context(), "a", other)}
			if fault.Cut == 0 { // else small ones pass, and large ones piece by piece
				_, errs["read"] = o.ReadAt(make([]byte, len(data)), 0)
				_, errs["open"] = s.Open(t.Context(), "a")
				errs["delete"] = s.Delete(t.Context(), "a")
				for _, errs["list"] = range s.List(t.Context(), "") {
				}
			}
			for what, err := range errs {
				if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrNotFound) {
					t.Errorf("%s gives %v, want ErrUnavailable", what, err)
				}
			}
			if got := whole(t, direct, "a"); !bytes.Equal(got, data) && !bytes.Equal(got, other) { // which may have arrived after all
				t.Error("what was there is not any more, nor what was to be")
			}
			set(testproxy.Fault{})
			put(t, s, "a", other)
			if !bytes.Equal(whole(t, s, "a"), other) {
				t.Error("what was put afterwards is not there")
			}
		})
	}
	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		p := testproxy.Start(t, "tcp", server.Address())
		s := openBucket(t, server.Via(p.Address(), server.Bucket(t, false)), bucket.Options{Stall: 5 * time.Second})
		if err := p.Set(testproxy.Fault{Rate: 400_000, Delay: 5 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		data := data[:300_000]
		put(t, s, "a", data)
		if !bytes.Equal(whole(t, s, "a"), data) {
			t.Error("it is not what it was")
		}
		ctx, cancel := context.WithCancel(t.Context())
		o, err := s.Open(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := o.ReadAt(make([]byte, 1), 0); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

// TestBucketReadsOn: a range whose connections are cut again and again is read piece by piece, and is right.
func TestBucketReadsOn(t *testing.T) {
	t.Parallel()
	server := tests3.Shared(t)
	at := server.Bucket(t, false)
	data := random(2 << 20)
	direct := openBucket(t, server.URL(at), bucket.Options{})
	put(t, direct, "a", data)
	p := testproxy.Start(t, "tcp", server.Address())
	s := openBucket(t, server.Via(p.Address(), at), bucket.Options{Tries: 2})
	o := open(t, s, "a")
	if err := p.Set(testproxy.Fault{Cut: 600_000}); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(data)-10)
	if n, err := o.ReadAt(got, 10); err != nil || !bytes.Equal(got, data[10:]) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if p.WasCut() < 3 {
		t.Errorf("it was cut %d times", p.WasCut())
	}
	// Another file in its place is not read on.
	if err := p.Set(testproxy.Fault{Cut: 600_000}); err != nil {
		t.Fatal(err)
	}
	cut := p.WasCut()
	var replaced sync.WaitGroup
	replaced.Go(func() {
		for p.WasCut() == cut {
			time.Sleep(time.Millisecond)
		}
		if err := direct.Put(t.Context(), "a", random(2<<20)); err != nil {
			t.Error(err)
		}
	})
	for range 50 { // until it was replaced between two pieces
		if _, err := o.ReadAt(got, 10); errors.Is(err, bucket.ErrReplaced) {
			break
		} else if err != nil || !bytes.Equal(got, data[10:]) {
			t.Errorf("it is read as another one, %v", err)
		}
	}
	replaced.Wait()
	if _, err := o.ReadAt(got, 10); !errors.Is(err, bucket.ErrReplaced) {
		t.Errorf("replaced: %v", err)
	}
}
