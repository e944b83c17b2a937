package sqlstore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"vigie/hashing"
	"vigie/storage"
	"vigie/storage/storagetest"
)

// TestCopyMidRun opens copies of the files that were taken while updates were running, as a crash
// would leave them: the log verifies, and every entry has its change.
func TestCopyMidRun(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "c.db")
	s := open(t, path, storage.Options{})
	if err := s.Update(ctx, func(w storage.Writer) error { return w.CreateBank(&storage.Bank{Name: "a"}) }); err != nil {
		t.Fatal(err)
	}
	stop := make(chan bool)
	var wait sync.WaitGroup
	defer func() { close(stop); wait.Wait() }()
	for i := range 4 {
		wait.Go(func() {
			for n := uint64(0); ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				e := storage.Entry{Bank: 1, Note: "n", Labels: []string{"l"}, Signals: []hashing.Signal{storagetest.Signal(hashing.PDQ, n<<8|uint64(i))}}
				meant := errors.New("meant")
				err := s.Update(ctx, func(w storage.Writer) error {
					if err := storagetest.AddEntry(w, &e); err != nil || n%4 == 3 {
						return errors.Join(err, meant)
					}
					return nil
				})
				if err != nil && !errors.Is(err, meant) {
					t.Error(err)
					return
				}
			}
		})
	}
	var last uint64
	for range 8 {
		head, err := s.Head(ctx)
		if err == nil {
			err = s.Wait(ctx, head.Seq+20)
		}
		if err != nil {
			t.Fatal(err)
		}
		acknowledged, err := s.Head(ctx)
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(t.TempDir(), "c.db")
		// The file goes first: pages in the write-ahead log are newer than those in the file, unless
		// the log has begun anew between the two copies.
		s.withoutReset(t, func() {
			for _, suffix := range []string{"", "-wal"} {
				data, err := os.ReadFile(path + suffix)
				if err == nil {
					err = os.WriteFile(copied+suffix, data, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		})
		c := open(t, copied, storage.Options{})
		got, err := storage.VerifyLog(ctx, c, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got.Seq < acknowledged.Seq || got.Seq < last {
			t.Errorf("copy ends at %d, though %d was acknowledged", got.Seq, acknowledged.Seq)
		}
		last = got.Seq
		state := storagetest.Dump(t, c)
		storagetest.CheckPairs(t, state)
		for _, e := range state.Entries {
			if len(e.Signals) != 1 || len(e.Labels) != 1 || len(e.Sources) != 1 || e.Seq == 0 {
				t.Fatalf("half an entry: %+v", e)
			}
		}
		if err := c.Update(ctx, func(w storage.Writer) error {
			return storagetest.AddEntry(w, &storage.Entry{Bank: 1})
		}); err != nil {
			t.Error(err)
		}
	}
}

// withoutReset runs fn while a reader keeps the write-ahead log from beginning anew. Commits go on.
func (s onDisk) withoutReset(t *testing.T, fn func()) {
	t.Helper()
	ctx := context.Background()
	tx, err := s.reader.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := readHead(ctx, tx); err != nil {
		t.Fatal(err)
	}
	fn()
}

// TestTamperedTree: a catalogue whose tree does not fit its head takes no changes any more.
func TestTamperedTree(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := open(t, filepath.Join(t.TempDir(), "c.db"), storage.Options{})
	add := func() error {
		return s.Update(ctx, func(w storage.Writer) error { return w.Append(&storage.Change{Kind: "test"}) })
	}
	for range 3 {
		if err := add(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.conn.ExecContext(ctx, "UPDATE log_hashes SET hash = zeroblob(32) WHERE idx = 2"); err != nil {
		t.Fatal(err)
	}
	s = s.Reopen(t).(onDisk) // who has appended last knows the end of the tree by itself
	if err := add(); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
	if head, err := s.Head(ctx); err != nil || head.Seq != 3 {
		t.Errorf("head is %d, %v", head.Seq, err)
	}
}

// TestCommitFails: when the transaction is lost, every update of the batch is told, and the store goes on.
func TestCommitFails(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := open(t, filepath.Join(t.TempDir(), "c.db"), storage.Options{})
	// A deferred constraint is what fails at a commit without breaking the disk.
	breakCommit := func(w storage.Writer) error {
		inner := w.(*writer)
		return errors.Join(inner.exec("PRAGMA defer_foreign_keys = 1"),
			inner.exec("INSERT INTO entry_labels (entry, ord, label) VALUES (99, 0, 'x')"))
	}
	inside, finish := make(chan bool), make(chan bool)
	var wait sync.WaitGroup
	wait.Go(func() {
		s.Update(ctx, func(storage.Writer) error {
			inside <- true
			<-finish
			return nil
		})
	})
	<-inside
	errs := make(chan error, 9)
	var changes [8]storage.Change
	for i := range changes {
		changes[i].Kind = "test"
		wait.Go(func() {
			errs <- s.Update(ctx, func(w storage.Writer) error { return w.Append(&changes[i]) })
		})
	}
	for len(s.requests) < len(changes) {
		runtime.Gosched()
	}
	wait.Go(func() { errs <- s.Update(ctx, breakCommit) })
	for len(s.requests) < len(changes)+1 {
		runtime.Gosched()
	}
	close(finish)
	wait.Wait()
	for range cap(errs) {
		if err := <-errs; err == nil {
			t.Error("an update succeeded though its commit failed")
		}
	}
	for _, c := range changes {
		if c.Seq != 0 {
			t.Errorf("a change got number %d though its commit failed", c.Seq)
		}
	}
	if head, err := storage.VerifyLog(ctx, s, nil); err != nil || head.Seq != 0 {
		t.Errorf("head is %d, %v", head.Seq, err)
	}
	if err := s.Update(ctx, func(w storage.Writer) error { return w.Append(&changes[0]) }); err != nil || changes[0].Seq != 1 {
		t.Errorf("afterwards: number %d, %v", changes[0].Seq, err)
	}
}

// TestOtherProcessIsSeen: a second store on the same file stands for another process.
func TestOtherProcessIsSeen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "c.db")
	one := open(t, path, storage.Options{})
	two := open(t, path, storage.Options{})
	done := make(chan error)
	go func() { done <- one.Wait(t.Context(), 3) }()
	for _, s := range []onDisk{one, two, one, two} {
		err := s.Update(t.Context(), func(w storage.Writer) error { return w.Append(&storage.Change{Kind: "test"}) })
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if head, err := storage.VerifyLog(t.Context(), one, nil); err != nil || head.Seq != 4 {
		t.Errorf("head is %d, %v", head.Seq, err)
	}
}
