package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

// TestMachine holds random histories against what a journal promises: appends by several at a time, disks and catalogues that fail,
// processes that end and are killed, torn and damaged files.
func TestMachine(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		m := &machine{T: r, folder: t.TempDir, dir: t.TempDir(), appended: map[ID]string{}, refused: map[string]bool{}, c: newCatalogue(r)}
		m.open()
		r.Repeat(map[string]func(*rapid.T){
			"append":    func(r *rapid.T) { m.append(rapid.IntRange(1, 6).Draw(r, "records")) },
			"fail":      m.fail,
			"ship":      m.ship,
			"drain":     func(*rapid.T) { m.drain() },
			"reopen":    func(*rapid.T) { m.reopen() },
			"kill":      func(*rapid.T) { m.kill(); m.open() },
			"tear":      m.tear,
			"overwrite": m.overwrite,
			"":          func(*rapid.T) {},
		})
		m.drain()
		m.check()
	})
}

type machine struct {
	*rapid.T
	folder   func() string // makes one
	dir      string
	j        *Journal
	c        *catalogue
	appended map[ID]string   // acknowledged, and not damaged before it was delivered
	refused  map[string]bool // bodies that were not acknowledged; they may be delivered
	bodies   int
	damaged  bool
	told     faults
	failing  atomic.Bool
}

func (m *machine) open() {
	fails := func() error {
		if m.failing.Load() {
			return syscall.EIO
		}
		return nil
	}
	m.j = open(m, m.dir, Options{
		FileBytes: 500, Fault: m.told.add,
		sync: func(*os.File) error { return fails() },
		write: func(f *os.File, b []byte) (int, error) {
			if err := fails(); err != nil {
				n, _ := f.Write(b[:len(b)*2/3])
				return n, err
			}
			return f.Write(b)
		},
	})
	s := m.j.Stats()
	if s.Appended < m.c.last {
		m.Errorf("opened at %d, though %d was delivered", s.Appended, m.c.last)
	}
	m.c.mark = s.Shipped
}

func (m *machine) reopen() {
	before := m.j.Stats().Shipped
	m.j.Close()
	m.open()
	if now := m.j.Stats().Shipped; now < before {
		m.Errorf("opened with %d shipped; it was %d", now, before)
	}
}

func (m *machine) append(n int) {
	var all sync.WaitGroup
	var mu sync.Mutex
	before := m.j.Stats().Appended
	for range n {
		m.bodies++
		body := fmt.Sprintf("[%d,%q]", m.bodies, strings.Repeat("x", rand.IntN(100)))
		all.Go(func() {
			id, err := m.j.Append(context.Background(), "match", []byte(body))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				m.refused[body] = true
				return
			}
			if had, twice := m.appended[id]; twice || id.Number <= before || id.Number > before+uint64(n) {
				m.Errorf("%v, behind %d, was %q", id, before, had)
			}
			m.appended[id] = body
		})
	}
	all.Wait()
}

func (m *machine) fail(*rapid.T) {
	m.failing.Store(true)
	m.append(3)
	m.failing.Store(false)
}

// ship hands on a few batches, some of which fail half-way, and is stopped.
func (m *machine) ship(r *rapid.T) {
	batches, good := rapid.IntRange(1, 2).Draw(r, "batches"), rapid.IntRange(0, 3).Draw(r, "good") > 0
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	flushed := make(chan struct{})
	go func() { // there may be nothing to deliver
		defer close(flushed)
		_ = m.j.Flush(ctx)
		cancel()
	}()
	m.c.fail = func() error {
		if !good {
			return errors.New("meant")
		}
		return nil
	}
	ship := m.j.Ship
	if rapid.Bool().Draw(r, "whole") {
		ship = m.j.ShipFiles
	}
	_ = ship(ctx, func(ctx context.Context, records []Record) error {
		if batches--; batches == 0 {
			cancel()
		}
		return m.c.deliver(ctx, records)
	})
	<-flushed
	m.c.fail = nil
}

func (m *machine) drain() { drain(m, m.j, m.c) }

// kill leaves the folder as a process leaves it that is killed now.
func (m *machine) kill() {
	copied := m.folder()
	if err := os.CopyFS(copied, os.DirFS(m.dir)); err != nil {
		m.Fatal(err)
	}
	m.j.Close()
	m.dir = copied
}

// tear has a group be on its way when the process is killed.
func (m *machine) tear(r *rapid.T) {
	m.append(1) // what is on its way is in the file of the process, which has no such tail yet
	m.kill()
	defer m.open()
	all := m.files()
	if len(all) == 0 {
		return
	}
	number := m.j.Stats().Appended + 1
	tail := rapid.SampledFrom([][]byte{
		make([]byte, 70), bytes.Repeat([]byte{17}, 70), appendFrame(nil, number, m.j.o.Now(), "match", []byte(`"torn"`))[:33],
		appendFrame(nil, number, m.j.o.Now(), "match", []byte(`"whole"`)),
	}).Draw(r, "tail")
	m.refused[`"whole"`] = true
	f, err := os.OpenFile(filepath.Join(m.dir, all[len(all)-1]), os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.Write(tail)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		m.Fatal(err)
	}
}

// overwrite damages bytes of a file, or all up to its end.
func (m *machine) overwrite(r *rapid.T) {
	m.kill()
	defer m.open()
	all := m.files()
	if len(all) == 0 {
		return
	}
	m.damaged = true
	i := rapid.IntRange(0, len(all)-1).Draw(r, "file")
	path := filepath.Join(m.dir, all[i])
	b := readFile(m, path)
	from := rapid.IntRange(0, len(b)).Draw(r, "from")
	to := min(from+rapid.IntRange(1, 50).Draw(r, "bytes"), len(b))
	var first, last uint64 = 0, maxNumber
	_, _ = fmt.Sscanf(all[i], "%d", &first)
	if i+1 < len(all) {
		_, _ = fmt.Sscanf(all[i+1], "%d", &last)
		last--
	}
	cut := rapid.Bool().Draw(r, "cut")
	for _, s := range frames(m, b, first, last) {
		id := ID{m.j.Node(), s.number}
		if _, delivered := m.c.has[id]; !delivered && s.to > int64(from) && (cut || s.from < int64(to)) {
			delete(m.appended, id)
		}
	}
	for n := range b[from:to] {
		b[from+n] ^= 0x55
	}
	if cut {
		b = b[:from]
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		m.Fatal(err)
	}
}

func (m *machine) files() (all []string) {
	for _, name := range names(m, m.dir) {
		if strings.HasSuffix(name, fileSuffix) {
			all = append(all, name)
		}
	}
	return all
}

func (m *machine) check() {
	m.c.want(m.appended, true)
	s := m.j.Stats()
	if s.Backlog != 0 || s.Bytes != 0 || len(m.files()) > 0 {
		m.Errorf("flushed: %+v, %v", s, m.files())
	}
	for id, r := range m.c.has {
		if body := string(r.Body); m.appended[id] != body && !m.refused[body] {
			m.Errorf("%v is %s; appended was %q", id, body, m.appended[id])
		}
	}
	if told := m.told.corrupt(); !m.damaged && (len(told) > 0 || uint64(len(m.c.has)) != s.Appended || m.c.last != s.Appended) {
		m.Errorf("nothing was damaged; %d delivered of %d; %q", len(m.c.has), s.Appended, told)
	}
}

// TestPowerCut looks at what may be on the disk when the power fails, at many moments of a journal that is appended to and shipped:
// all that was synced, and of the rest whatever. What was acknowledged by then is delivered, and nothing that was
// delivered by then has its number given again.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	type image struct {
		dir                 string
		appended, delivered map[ID]string
	}
	var mu sync.Mutex
	var images []image
	appended := map[ID]string{}
	c := newCatalogue(t)
	dir := t.TempDir()
	synced := map[string]int64{} // sizes, by name
	var markSynced []byte
	r := rand.New(rand.NewPCG(1, uint64(os.Getpid())))
	cut := func() {
		im := image{t.TempDir(), maps.Clone(appended), map[ID]string{}}
		for _, name := range names(t, dir) {
			b, err := os.ReadFile(filepath.Join(dir, name))
			size, known := synced[name]
			if errors.Is(err, os.ErrNotExist) || !known && r.IntN(2) == 0 {
				continue // its name is not in the folder yet, or not any more
			}
			if strings.HasSuffix(name, fileSuffix) && int64(len(b)) > size {
				b = b[:size+r.Int64N(int64(len(b))-size+1)]
				for at := size; at < int64(len(b)); at = (at/512 + 1) * 512 {
					if r.IntN(3) == 0 {
						clear(b[at:min((at/512+1)*512, int64(len(b)))])
					}
				}
			}
			if name == markName && !bytes.Equal(b, markSynced) { // in the middle of being written
				copy(b, markSynced[:r.IntN(markSize)])
				copy(b[slotSize:], markSynced[slotSize:slotSize+r.IntN(markSize)])
			}
			if err := os.WriteFile(filepath.Join(im.dir, name), b, 0o600); err != nil {
				t.Error(err)
			}
		}
		// Last: the mark may tell of a delivery that came meanwhile. It was of what was synced before.
		c.mu.Lock()
		for id, r := range c.has {
			im.delivered[id] = string(r.Body)
		}
		c.mu.Unlock()
		images = append(images, im)
	}
	j := open(t, dir, Options{FileBytes: 4000, sync: func(f *os.File) error {
		mu.Lock()
		defer mu.Unlock()
		if _, made := synced[markName]; made && r.IntN(4) == 0 && len(images) < 60 {
			cut()
		}
		info, err := f.Stat()
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(filepath.Base(f.Name()), tempSuffix)
		if !info.IsDir() {
			synced[name] = info.Size()
		}
		if name == markName {
			markSynced, err = os.ReadFile(f.Name())
		}
		return err // what is acknowledged need not be on this machine's disk
	}})
	ship(t, j, c)
	var callers sync.WaitGroup
	for i := range 20 {
		callers.Go(func() {
			for n := range 30 {
				body := fmt.Sprintf("[%d,%d,%q]", i, n, strings.Repeat("x", 10*i))
				id := add(t, j, body)
				mu.Lock()
				appended[id] = body
				mu.Unlock()
			}
		})
	}
	callers.Wait()
	if err := j.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	c.want(appended, false)
	for i, im := range images {
		j := open(t, im.dir, unsynced(Options{}))
		if s := j.Stats(); s.Lost > 0 {
			t.Errorf("%d: files are missing: %+v", i, s)
		}
		id := add(t, j, `"new"`)
		if im.appended[id] != "" || im.delivered[id] != "" {
			t.Errorf("%d: the next is %v, which was %q, %q", i, id, im.appended[id], im.delivered[id])
		}
		got := newCatalogue(t)
		for id, body := range im.delivered { // deliver compares
			got.has[id] = c.has[id]
			if string(c.has[id].Body) != body {
				t.Errorf("%v is another", id)
			}
		}
		drain(t, j, got)
		got.want(im.appended, true)
		for id, r := range got.has {
			if body := string(r.Body); body != appended[id] && body != `"new"` {
				t.Errorf("%d: %v is %s, was %s", i, id, body, appended[id])
			}
		}
		j.Close()
	}
	if len(images) < 20 {
		t.Errorf("only %d images", len(images))
	}
	t.Logf("%d images, up to %d records", len(images), slices.Max(sizes(images, func(i image) int { return len(i.appended) })))
}

func sizes[T any](all []T, size func(T) int) (n []int) {
	for _, x := range all {
		n = append(n, size(x))
	}
	return n
}
