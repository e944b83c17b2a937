package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vigie/storage"
)

// tb is what *testing.T, *testing.B and *rapid.T have in common.
type tb interface {
	Helper()
	Context() context.Context
	Cleanup(fn func())
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
}

// catalogue takes what is shipped, as the real one would: a record that it has is passed over. It is an error if one id stands for
// two records, or if records come out of their order.
type catalogue struct {
	tb
	mu   sync.Mutex
	has  map[ID]Record
	last uint64 // delivered
	mark uint64 // records up to here must not come again
	gets int    // deliveries
	fail func() error
}

func newCatalogue(t tb) *catalogue { return &catalogue{tb: t, has: map[ID]Record{}} }

func (c *catalogue) deliver(_ context.Context, records []Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gets++
	size := 0
	for i, r := range records {
		if r.ID.Number <= c.mark {
			c.Errorf("%v comes again, behind the mark at %d", r.ID, c.mark)
		}
		if size += len(r.Body); i > 0 && (r.ID.Number <= records[i-1].ID.Number || size > maxBatchBytes || i == maxBatch) {
			c.Errorf("record %v is number %d of a batch, of %d bytes by then, behind %v", r.ID, i, size, records[i-1].ID)
		}
		if c.fail != nil && i == len(records)/2 {
			if err := c.fail(); err != nil {
				return err // with half of them kept
			}
		}
		old, had := c.has[r.ID]
		if had && (old.Kind != r.Kind || !bytes.Equal(old.Body, r.Body) || !old.At.Equal(r.At)) {
			c.Errorf("%v is %q %v and %q %v", r.ID, old.Kind, old.At, r.Kind, r.At)
		}
		if !had && r.ID.Number < c.last {
			c.Errorf("%v comes after %d", r.ID, c.last)
		}
		c.has[r.ID] = r
		c.last = max(c.last, r.ID.Number)
	}
	return nil
}

// want checks that the catalogue has what was appended, and nothing else unless others are allowed.
func (c *catalogue) want(appended map[ID]string, others bool) {
	c.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, body := range appended {
		if got, ok := c.has[id]; !ok {
			c.Errorf("%v is lost", id)
		} else if string(got.Body) != body {
			c.Errorf("%v is %.80q, want %.80q", id, got.Body, body)
		}
	}
	if !others && len(c.has) != len(appended) {
		c.Errorf("%d records, want %d", len(c.has), len(appended))
	}
}

// faults collects what Options.Fault is told.
type faults struct {
	mu  sync.Mutex
	all []error
}

func (f *faults) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, err)
}

func (f *faults) corrupt() (texts []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, err := range f.all {
		if errors.Is(err, storage.ErrCorrupt) {
			texts = append(texts, err.Error())
		}
	}
	return texts
}

// unsynced are options that do not wait for the disk.
func unsynced(o Options) Options {
	o.sync = func(*os.File) error { return nil }
	return o
}

func open(t tb, dir string, o Options) *Journal {
	t.Helper()
	j, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func add(t tb, j *Journal, body string) ID {
	t.Helper()
	id, err := j.Append(t.Context(), "match", []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// ship ships until the test ends.
func ship(t tb, j *Journal, c *catalogue) {
	var wait sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); wait.Wait() })
	wait.Go(func() {
		if err := j.Ship(ctx, c.deliver); !errors.Is(err, context.Canceled) && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

// drain ships all that is there, and stops.
func drain(t tb, j *Journal, c *catalogue) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- j.Ship(ctx, c.deliver) }()
	patient, enough := context.WithTimeout(ctx, time.Minute)
	if err := j.Flush(patient); err != nil {
		t.Errorf("flush: %v; %+v", err, j.Stats())
	}
	enough()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func names(t tb, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestJournal(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "journal")
	now := time.Date(2026, 11, 22, 6, 0, 0, 123, time.UTC)
	o := Options{Now: func() time.Time { return now }}
	j := open(t, dir, o)
	if s := j.Stats(); s != (Stats{}) {
		t.Errorf("an empty journal: %+v", s)
	}
	for i, body := range []string{`{"a":1}`, `"b"`} {
		if id := add(t, j, body); id != (ID{j.Node(), uint64(i + 1)}) {
			t.Errorf("record %d is %v", i+1, id)
		}
	}
	bytes := int64(2*(fixedSize+len("match")) + 10)
	if s := j.Stats(); s != (Stats{Appended: 2, Backlog: 2, Bytes: bytes, Oldest: now, Syncs: 2}) {
		t.Errorf("two records: %+v", s)
	}
	node := j.Node()
	if err := errors.Join(j.Close(), j.Close()); err != nil {
		t.Error(err)
	}
	if _, err := j.Append(t.Context(), "match", []byte("1")); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if err := j.Ship(t.Context(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if err := j.Flush(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}

	j = open(t, dir, o)
	if s := j.Stats(); j.Node() != node || s != (Stats{Appended: 2, Backlog: 2, Bytes: bytes, Oldest: now}) {
		t.Errorf("opened again: %s, was %s; %+v", j.Node(), node, s)
	}
	if id := add(t, j, "3"); id.Number != 3 {
		t.Errorf("the third is %v", id)
	}
	c := newCatalogue(t)
	drain(t, j, c)
	c.want(map[ID]string{{node, 1}: `{"a":1}`, {node, 2}: `"b"`, {node, 3}: "3"}, false)
	if r := c.has[ID{node, 1}]; r.Kind != "match" || r.At != now {
		t.Errorf("%+v", r)
	}
	if s := j.Stats(); s != (Stats{Appended: 3, Shipped: 3, There: 3, Syncs: 1}) {
		t.Errorf("shipped: %+v", s)
	}
	if got := names(t, dir); !slices.Equal(got, []string{markName}) {
		t.Errorf("what was flushed is still there: %v", got)
	}
	j.Close()

	j = open(t, dir, o)
	if id := add(t, j, "4"); id != (ID{node, 4}) {
		t.Errorf("after all files are gone: %v", id)
	}
}

func TestInvalid(t *testing.T) {
	t.Parallel()
	j := open(t, t.TempDir(), Options{})
	largest := []byte(`"` + strings.Repeat("x", MaxBody-2) + `"`)
	for _, c := range []struct{ kind, body string }{
		{"", "1"},
		{"Match", "1"},
		{"a b", "1"},
		{strings.Repeat("k", 33), "1"},
		{"match", ""},
		{"match", "{"},
		{"match", "1\x00"},
		{"match", string(largest) + " "},
	} {
		if _, err := j.Append(t.Context(), c.kind, []byte(c.body)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q, %.9q: %v", c.kind, c.body, err)
		}
	}
	for range 3 {
		if _, err := j.Append(t.Context(), strings.Repeat("k", 32), largest); err != nil {
			t.Error(err)
		}
	}
	c := newCatalogue(t)
	drain(t, j, c)
	if len(c.has) != 3 || c.gets != 3 {
		t.Errorf("%d records in %d batches", len(c.has), c.gets)
	}

	for _, text := range []string{"a1b2c3d4-1", "00000000-18446744073709551615"} {
		if id, err := ParseID(text); err != nil || id.String() != text {
			t.Errorf("%s: %v, %v", text, id, err)
		}
	}
	for _, text := range []string{"", "-", "a1b2c3d4", "a1b2c3d4-", "a1b2c3d4-0", "a1b2c3d4-01", "a1b2c3d4-+1", "A1b2c3d4-1", "a1b2c3d-1", "a1b2c3d4-1-1", "a1b2c3d4-18446744073709551616"} {
		if _, err := ParseID(text); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestTogether has many append at once, through many small files, while records are shipped to a catalogue that fails at times,
// Ship is stopped and started, and others flush.
func TestTogether(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir, Options{FileBytes: 4096})
	c := newCatalogue(t)
	c.fail = func() error {
		if c.gets%3 == 1 {
			return errors.New("meant")
		}
		return nil
	}
	var mu sync.Mutex
	appended := map[ID]string{}
	var callers, shippers sync.WaitGroup
	for i := range 50 {
		callers.Go(func() {
			for n := range 20 {
				body := fmt.Sprintf("[%d,%d]", i, n)
				id := add(t, j, body)
				mu.Lock()
				if had, twice := appended[id]; twice {
					t.Errorf("%v is %s and %s", id, had, body)
				}
				appended[id] = body
				mu.Unlock()
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	shippers.Go(func() {
		for ctx.Err() == nil {
			some, stop := context.WithCancel(ctx)
			_ = j.Ship(some, func(ctx context.Context, r []Record) error {
				if err := c.deliver(ctx, r); err != nil {
					return err
				}
				if c.gets%4 == 0 {
					stop() // with this batch delivered
				}
				return nil
			})
			stop()
		}
	})
	for range 3 {
		if err := j.Flush(ctx); err != nil {
			t.Error(err)
		}
	}
	callers.Wait()
	if err := j.Flush(ctx); err != nil {
		t.Error(err)
	}
	cancel()
	shippers.Wait()
	c.want(appended, false)
	if s := j.Stats(); len(appended) != 1000 || s.Appended != 1000 || s.Shipped != 1000 || s.Bytes != 0 || s.Syncs > 500 {
		t.Errorf("%d appended, %+v", len(appended), s)
	}
	if got := names(t, dir); !slices.Equal(got, []string{markName}) {
		t.Errorf("files are left: %v", got)
	}
}

// TestReach waits for one record, at most as long as it is wanted, and changes nothing: neither does a file end for it nor is
// a batch cut short. Ids that the journal has not given are refused at once.
func TestReach(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir, Options{})
	first, second := add(t, j, "1"), add(t, j, "2")
	for _, id := range []ID{{"00000000", 1}, {j.Node(), 0}, {j.Node(), 3}, {}} {
		if err := j.Reach(t.Context(), id); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %v", id, err)
		}
	}
	patient, enough := context.WithTimeout(t.Context(), time.Millisecond)
	defer enough()
	if err := j.Reach(patient, first); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody ships: %v", err)
	}
	c := newCatalogue(t)
	ship(t, j, c)
	for range 3 {
		for _, id := range []ID{second, first} {
			if err := j.Reach(t.Context(), id); err != nil {
				t.Error(err)
			}
		}
	}
	add(t, j, "3")
	if want := []string{fileName(1), markName}; !slices.Equal(names(t, dir), want) || j.Stats().Syncs != 3 {
		t.Errorf("there is %v; %+v", names(t, dir), j.Stats())
	}
	j.Close()
	if err := errors.Join(j.Reach(t.Context(), first), j.Reach(t.Context(), second)); err != nil {
		t.Errorf("closed, and they are delivered: %v", err)
	}
}

// TestRenew has what was delivered leave the folder, though nobody waits for it, nor could.
func TestRenew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir, Options{})
	id := add(t, j, "1")
	j.Renew() // returns, though nobody ships
	add(t, j, "2")
	ship(t, j, newCatalogue(t))
	if err := j.Reach(t.Context(), ID{id.Node, 2}); err != nil {
		t.Error(err)
	}
	patient, enough := context.WithTimeout(t.Context(), time.Minute)
	defer enough()
	for want := []string{fileName(2), markName}; !slices.Equal(names(t, dir), want); time.Sleep(time.Millisecond) {
		if patient.Err() != nil {
			t.Fatalf("there is %v, not %v", names(t, dir), want)
		}
	}
	j.Close()
	j.Renew() // closed, which is no harm
}

func TestOneShipper(t *testing.T) {
	t.Parallel()
	j := open(t, t.TempDir(), Options{})
	add(t, j, "1")
	inside, done := make(chan bool), make(chan error)
	go func() {
		done <- j.Ship(t.Context(), func(ctx context.Context, _ []Record) error {
			close(inside)
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	<-inside
	if err := j.Ship(t.Context(), nil); err == nil {
		t.Error("two ship at a time")
	}
	flushed := make(chan error)
	go func() { flushed <- j.Flush(t.Context()) }()
	j.Close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("Ship ends with %v", err)
	}
	if err := <-flushed; !errors.Is(err, ErrClosed) {
		t.Errorf("Flush ends with %v", err)
	}
}

// TestFull: what waits is bounded, and there is room again when it was handed on.
func TestFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := unsynced(Options{MaxBytes: 1000, FileBytes: 300})
	j := open(t, dir, o)
	appended := map[ID]string{}
	fill := func() {
		t.Helper()
		for {
			id, err := j.Append(t.Context(), "match", []byte(`"1234567890"`))
			if errors.Is(err, ErrFull) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			appended[id] = `"1234567890"`
		}
	}
	fill()
	if s := j.Stats(); len(appended) != 1000/42 || s.Bytes != int64(42*len(appended)) {
		t.Errorf("%d records, %+v", len(appended), s)
	}
	j.Close()
	j = open(t, dir, o)
	if _, err := j.Append(t.Context(), "match", []byte(`"1234567890"`)); !errors.Is(err, ErrFull) {
		t.Errorf("opened again: %v", err)
	}
	c := newCatalogue(t)
	drain(t, j, c)
	fill()
	drain(t, j, c)
	c.want(appended, false)
	if len(appended) != 2*(1000/42) {
		t.Errorf("%d records", len(appended))
	}
}

// TestPendingIsBounded: callers wait while the disk does, and take no more memory than a group.
func TestPendingIsBounded(t *testing.T) {
	t.Parallel()
	slow, stuck := make(chan struct{}), make(chan struct{})
	j := open(t, t.TempDir(), Options{write: func(f *os.File, p []byte) (int, error) {
		if len(p) == frameSize("match", []byte("0")) {
			close(stuck)
			<-slow
		}
		return f.Write(p)
	}})
	var callers sync.WaitGroup
	callers.Go(func() { add(t, j, "0") })
	<-stuck
	body := `"` + strings.Repeat("x", MaxBody/2) + `"`
	for range 20 {
		callers.Go(func() { add(t, j, body) })
	}
	for { // until the pending group has all that it takes
		j.mu.Lock()
		n := len(j.pending.buf)
		j.mu.Unlock()
		if n+len(body) > maxGroup {
			break
		}
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := j.Append(ctx, "match", []byte(body)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	j.mu.Lock()
	if len(j.pending.buf) > maxGroup {
		t.Errorf("%d bytes are pending", len(j.pending.buf))
	}
	j.mu.Unlock()
	close(slow)
	callers.Wait()
	if s := j.Stats(); s.Appended != 21 {
		t.Errorf("%+v", s)
	}
}

// TestDeliverFails: the same records come again, the fault is told, and the mark does not move meanwhile.
func TestDeliverFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var told faults
	j := open(t, dir, Options{Fault: told.add})
	appended := map[ID]string{add(t, j, "1"): "1", add(t, j, "2"): "2"}
	meant := errors.New("meant")
	c := newCatalogue(t)
	c.fail = func() error {
		if c.gets > 3 {
			return nil
		}
		if m, err := readMark(dir); err != nil || m.shipped != 0 || m.handed != 2 {
			t.Errorf("the mark is %+v, %v", m, err)
		}
		return meant
	}
	drain(t, j, c)
	c.want(appended, false)
	if len(told.all) != 3 || !errors.Is(told.all[0], meant) {
		t.Errorf("told %v", told.all)
	}
	if m, err := readMark(dir); err != nil || m.shipped != 2 || m.handed != 2 {
		t.Errorf("the mark is %+v, %v", m, err)
	}
}

// TestGoesOn: Ship goes on behind the mark, in the middle of a file, also in another process. What is delivered when Ship is stopped
// is not delivered again.
func TestGoesOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir, Options{})
	c := newCatalogue(t)
	appended := map[ID]string{}
	for n := range 4 {
		for range 2 {
			appended[add(t, j, "1")] = "1"
		}
		ctx, cancel := context.WithCancel(t.Context())
		err := j.Ship(ctx, func(ctx context.Context, r []Record) error {
			cancel()
			return c.deliver(ctx, r)
		})
		if c.mark = j.Stats().Shipped; !errors.Is(err, context.Canceled) || c.mark != uint64(2*n+2) || c.gets != n+1 {
			t.Errorf("%v; shipped up to %d in %d batches", err, c.mark, c.gets)
		}
		if n%2 == 1 {
			j.Close()
			j = open(t, dir, Options{})
		}
	}
	c.want(appended, false)
	if got := names(t, dir); !slices.Equal(got, []string{fileName(5), markName}) {
		t.Errorf("%v", got)
	}
}
