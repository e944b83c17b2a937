package matcher_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"vigie/hashing"
	"vigie/index"
	"vigie/internal/testproxy"
	"vigie/internal/tests3"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/bucket"
)

// leftovers is a bucket with snapshots.
type leftovers struct {
	t      *testing.T
	server *tests3.Server
	bucket string

	mu   sync.Mutex
	told []string
}

func newShelf(t *testing.T) *leftovers {
	server := tests3.Start(t)
	return &leftovers{t: t, server: server, bucket: server.Bucket(t, false)}
}

// at are the snapshots as a node has them; each node has its own.
func (s *leftovers) at(address string, o bucket.Options) *matcher.Snapshots {
	s.t.Helper()
	o.Credentials = credentials.NewStaticV4(tests3.AccessKey, tests3.SecretKey, "")
	b, err := bucket.Open(s.t.Context(), s.server.Via(address, s.bucket), o)
	must(s.t, err)
	s.t.Cleanup(func() { b.Close() })
	return matcher.NewSnapshots(b.Folder(bucket.Snapshots), func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.told = append(s.told, err.Error())
	}).AtOnce()
}

func (s *leftovers) snapshots() *matcher.Snapshots {
	return s.at(s.server.Address(), bucket.Options{})
}

// heard is what was told since it was asked last.
func (s *leftovers) heard() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := strings.Join(s.told, "\n")
	s.told = nil
	return all
}

// keys are the names of all objects.
func (s *leftovers) keys() (all []string) {
	s.t.Helper()
	for o := range s.server.Client().ListObjectsIter(s.t.Context(), s.bucket, minio.ListObjectsOptions{Recursive: true}) {
		must(s.t, o.Err)
		all = append(all, o.Key)
	}
	return all
}

// whole are the folders of snapshots that are, in order, and fails if there is anything that belongs to none.
func (s *leftovers) whole() []string {
	s.t.Helper()
	folders := map[string]bool{}
	for _, key := range s.keys() {
		folders[path.Dir(key)] = folders[path.Dir(key)] || path.Base(key) == "MANIFEST"
	}
	for folder, is := range folders {
		if !is {
			s.t.Errorf("%s is no whole snapshot", folder)
		}
	}
	return slices.Sorted(maps.Keys(folders))
}

// saver is a node whose index is saved in a folder.
type saver struct {
	*node
	index *index.Index
	dir   string
}

func newSaver(t *testing.T, c storage.Catalogue) *saver {
	x := index.New(index.Options{})
	n := &saver{followWith(t, c, x, matcher.Options{Patience: patience}), x, filepath.Join(t.TempDir(), "index")}
	t.Cleanup(n.stop)
	must(t, n.Follower().Await(n.ctx, 0))
	return n
}

// flag adds entries of many algorithms, of both sorts.
func (n *saver) flag(from, to uint64) {
	for i := from; i < to; i++ {
		n.flagSignals("bank", signal(hashing.PDQ, i), signal(hashing.MD5, i))
	}
}

func (n *saver) save() uint64 {
	n.t.Helper()
	seq, err := n.Follower().Save(n.ctx, n.dir)
	must(n.t, err)
	return seq
}

// opened opens the index of another node, which has a folder of its own, and sees that it comes to have what n has.
func (n *saver) opened(s *matcher.Snapshots, dir string, want uint64) matcher.Copied {
	n.t.Helper()
	x, got, err := s.Open(n.ctx, n.catalogue, dir, index.Options{})
	must(n.t, err)
	equal(n.t, x.Snapshot().Seq(), want)
	other := followWith(n.t, n.catalogue, x, matcher.Options{Patience: patience})
	defer other.stop()
	must(n.t, other.Follower().Await(n.ctx, n.Follower().Seq()))
	has, err := x.Snapshot().Digest(n.ctx)
	must(n.t, err)
	all, err := n.index.Snapshot().Digest(n.ctx)
	must(n.t, err)
	equal(n.t, has, all)
	if _, err := os.Lstat(dir + ".partial"); !errors.Is(err, os.ErrNotExist) {
		n.t.Errorf("what was fetched in part is left: %v", err)
	}
	return got
}

func (n *saver) leave(s *matcher.Snapshots) matcher.Copied {
	n.t.Helper()
	left, err := s.Leave(n.ctx, n.catalogue, n.dir)
	must(n.t, err)
	return left
}

// TestSnapshots: a node leaves its saved index, and a new one begins with it; the newest two are kept.
func TestSnapshots(t *testing.T) {
	t.Parallel()
	shelf := newShelf(t)
	a := newSaver(t, catalogues["memory"](t))
	s := shelf.snapshots()
	fresh := func() string { return filepath.Join(t.TempDir(), "index") }
	equal(t, a.leave(s), matcher.Copied{}) // nothing is saved yet
	a.opened(s, fresh(), 0)
	a.bank("bank", "block", nil)
	a.flag(1, 20)
	seq := a.save()
	left := a.leave(s)
	equal(t, left.Seq, seq)
	if left.Bytes < 1000 {
		t.Errorf("%d bytes", left.Bytes)
	}
	a.flag(20, 30)
	equal(t, a.opened(s, fresh(), seq).Seq, seq)
	equal(t, a.leave(s), matcher.Copied{}) // it is there
	equal(t, a.leave(shelf.snapshots()), matcher.Copied{})

	var seqs []uint64
	for i := range uint64(3) {
		a.flag(30+i, 31+i)
		seqs = append(seqs, a.save())
		equal(t, a.leave(shelf.snapshots()).Seq, seqs[i])
	}
	if all := shelf.whole(); len(all) != 2 || !strings.Contains(all[1], "-") {
		t.Errorf("left: %v", all)
	}
	dir := fresh()
	equal(t, a.opened(s, dir, seqs[2]).Seq, seqs[2])
	equal(t, a.opened(s, dir, seqs[2]), matcher.Copied{}) // it has it now
	a.flag(40, 41)
	next := a.save()
	a.leave(s)
	equal(t, a.opened(s, dir, next).Seq, next) // which is far enough, here
	equal(t, shelf.heard(), "")
}

// TestSnapshotsDamaged: what is not as it was left, or is of another log, is told and passed over for an older one.
func TestSnapshotsDamaged(t *testing.T) {
	t.Parallel()
	shelf := newShelf(t)
	client := shelf.server.Client()
	a := newSaver(t, catalogues["memory"](t))
	a.bank("bank", "block", nil)
	a.flag(1, 10)
	older := a.save()
	a.leave(shelf.snapshots())
	good := shelf.whole()[0]
	put := func(key, data string) {
		t.Helper()
		_, err := client.PutObject(t.Context(), shelf.bucket, key, strings.NewReader(data), int64(len(data)), minio.PutObjectOptions{})
		must(t, err)
	}
	read := func(key string) string {
		t.Helper()
		o, err := client.GetObject(t.Context(), shelf.bucket, key, minio.GetObjectOptions{})
		must(t, err)
		data, err := io.ReadAll(o)
		must(t, err)
		return string(data)
	}
	b := newSaver(t, catalogues["memory"](t))
	b.bank("bank", "block", nil)
	b.flag(1, 10)
	b.flag(100, 110)
	b.save()
	b.leave(shelf.snapshots())
	foreign := slices.DeleteFunc(shelf.whole(), func(f string) bool { return f == good })[0]

	for what, damage := range map[string]func(folder, segment string){
		"cut short": func(_, segment string) { put(segment, read(segment)[:100]) },
		"one bit": func(_, segment string) {
			data := []byte(read(segment))
			data[len(data)/2] ^= 4
			put(segment, string(data))
		},
		"empty": func(_, segment string) { put(segment, "") },
		"no segment": func(_, segment string) {
			must(t, client.RemoveObject(t.Context(), shelf.bucket, segment, minio.RemoveObjectOptions{}))
		},
		"manifest": func(folder, _ string) {
			put(folder+"/MANIFEST", strings.Replace(read(folder+"/MANIFEST"), `"seq"`, `"sea"`, 1))
		},
		"no manifest": func(folder, _ string) {
			must(t, client.RemoveObject(t.Context(), shelf.bucket, folder+"/MANIFEST", minio.RemoveObjectOptions{}))
		},
		"not a number": func(folder, _ string) { put(folder+"/MANIFEST", "") },
		"another log's": func(folder, _ string) {
			for _, key := range shelf.keys() {
				if path.Dir(key) == foreign {
					put(folder+"/"+path.Base(key), read(key))
				}
			}
		},
	} {
		a.flag(a.Follower().Seq()+100, a.Follower().Seq()+101)
		newer := a.save()
		equal(t, a.leave(shelf.snapshots()).Seq, newer)
		var folder, segment string
		for _, key := range shelf.keys() {
			if f := path.Dir(key); f != good && f != foreign {
				folder = f
				if path.Ext(key) == ".seg" {
					segment = key
				}
			}
		}
		damage(folder, segment)
		a.opened(shelf.snapshots(), filepath.Join(t.TempDir(), "index"), older)
		if told := shelf.heard(); (told == "") != (what == "no manifest") || strings.Contains(told, path.Base(folder)) {
			t.Errorf("%s: told %q", what, told)
		}
		for _, key := range shelf.keys() {
			if path.Dir(key) == folder {
				must(t, client.RemoveObject(t.Context(), shelf.bucket, key, minio.RemoveObjectOptions{}))
			}
		}
	}
}

// TestSnapshotsRestored: when an older backup has taken the database's place, snapshots of how its log went on before are of no use
// and in nobody's way.
func TestSnapshotsRestored(t *testing.T) {
	t.Parallel()
	shelf := newShelf(t)
	file := filepath.Join(t.TempDir(), "catalogue.db")
	c := sqlite(t, file)
	a := newSaver(t, c)
	a.bank("bank", "block", nil)
	a.flag(1, 10)
	older := a.save()
	a.leave(shelf.snapshots())
	a.stop()
	must(t, c.Close())
	data, err := os.ReadFile(file)
	must(t, err)
	c = sqlite(t, file)
	b := newSaver(t, c)
	b.flag(10, 20)
	b.save()
	b.leave(shelf.snapshots())
	b.stop()
	must(t, c.Close())
	must(t, os.WriteFile(file, data, 0o600))

	after := newSaver(t, sqlite(t, file))
	after.flag(30, 33)
	after.opened(shelf.snapshots(), filepath.Join(t.TempDir(), "index"), older)
	after.flag(33, 50)
	after.opened(shelf.snapshots(), filepath.Join(t.TempDir(), "index"), older)
	if told := shelf.heard(); !strings.Contains(told, "another log") {
		t.Errorf("told: %q", told)
	}
	seq := after.save()
	equal(t, after.leave(shelf.snapshots()).Seq, seq)
	after.opened(shelf.snapshots(), filepath.Join(t.TempDir(), "index"), seq)
	equal(t, len(shelf.whole()), 3)
}

// TestSnapshotsBrokenOff: what was broken off half-way, in either direction, is not taken for whole, and is done the next time.
func TestSnapshotsBrokenOff(t *testing.T) {
	t.Parallel()
	shelf := newShelf(t)
	a := newSaver(t, catalogues["memory"](t))
	a.bank("bank", "block", nil)
	for i := range uint64(300) {
		a.flagSignals("bank", signal(hashing.PDQ, i), signal(hashing.MD5, i), signal(hashing.SHA256, i), signal(hashing.PHash, i))
	}
	seq := a.save()
	p := testproxy.Start(t, "tcp", shelf.server.Address())
	s := shelf.at(p.Address(), bucket.Options{Stall: 200 * time.Millisecond, Tries: 1})
	fresh := filepath.Join(t.TempDir(), "index")
	// through has it fail after more and more bytes, until it comes through.
	through := func(do func() bool) {
		t.Helper()
		for broken, at := 0, int64(3000); ; at += 4000 {
			must(t, p.Set(testproxy.Fault{Cut: at}))
			if do() {
				if broken < 3 {
					t.Errorf("it was broken off %d times", broken)
				}
				must(t, p.Set(testproxy.Fault{}))
				return
			}
			if broken++; broken > 100 {
				t.Fatal("it never comes through")
			}
		}
	}
	through(func() bool {
		left, err := s.Leave(a.ctx, a.catalogue, a.dir)
		if err != nil {
			for _, key := range shelf.keys() {
				if path.Base(key) == "MANIFEST" && !errors.Is(err, storage.ErrUnavailable) {
					t.Errorf("%v, but it is there", err)
				}
			}
			a.opened(shelf.snapshots(), filepath.Join(t.TempDir(), "index"), 0)
			return false
		}
		return left.Seq == seq
	})
	shelf.heard()
	through(func() bool {
		x, got, err := s.Open(a.ctx, a.catalogue, fresh, index.Options{})
		must(t, err)
		if got.Seq == 0 {
			if told := shelf.heard(); told == "" {
				t.Error("it was not told")
			}
			equal(t, x.Snapshot().Seq(), uint64(0))
			if files, _ := filepath.Glob(fresh + "*"); files != nil {
				t.Errorf("left: %v", files)
			}
			return false
		}
		return x.Snapshot().Seq() == seq
	})
	a.opened(s, fresh, seq)

	ctx, cancel := context.WithCancel(a.ctx)
	cancel()
	a.flag(1000, 1010)
	a.save()
	if _, err := s.Leave(ctx, a.catalogue, a.dir); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
