package matcher_test

import (
	"os"
	"path/filepath"
	"testing"

	"vigie/hashing"
	"vigie/index"
	"vigie/matcher"
)

// TestSavedIndex restarts a node with a saved index: what changed since is read from the log, and what is damaged, or of
// another log, is made of the catalogue again.
func TestSavedIndex(t *testing.T) {
	dir := t.TempDir()
	c := catalogues["sqlite"](t)
	defer c.Close()
	n := follow(t, c, matcher.Options{Patience: patience})
	must(t, n.Follower().Await(n.ctx, 0))
	n.bank("bank", "block", nil)
	kept := n.flagSignals("bank", signal(hashing.MD5, 1)).Entry.ID
	gone := n.flagSignals("bank", signal(hashing.MD5, 2)).Entry.ID
	n.stop()

	open := func() (*index.Index, error) {
		t.Helper()
		x, err := matcher.OpenIndex(t.Context(), c, dir, index.Options{})
		if x == nil {
			t.Fatal("no index")
		}
		return x, err
	}
	wantAll := func(x *index.Index, ids ...int64) {
		t.Helper()
		n := followWith(t, c, x, matcher.Options{Patience: patience})
		defer n.stop()
		must(t, n.Follower().Await(n.ctx, 0))
		equal(t, n.Follower().State().Snapshot.Stats().Entries, len(ids))
	}
	x, err := open()
	must(t, err)
	n = followWith(t, c, x, matcher.Options{Patience: patience})
	must(t, n.Follower().Await(n.ctx, 0))
	seq, err := n.Follower().Save(n.ctx, dir)
	must(t, err)
	equal(t, seq, n.Follower().Seq())
	n.retract(gone)
	added := n.flagSignals("bank", signal(hashing.MD5, 3)).Entry.ID
	n.stop()

	x, err = open()
	must(t, err)
	equal(t, x.Snapshot().Seq(), seq)
	wantAll(x, int64(kept), int64(added))

	files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	must(t, err)
	for _, damage := range []func() error{
		func() error { return os.Truncate(files[0], 100) },
		func() error { return os.Remove(files[0]) },
	} {
		must(t, damage())
		x, err = open()
		wantErr(t, err, index.ErrDamaged)
		equal(t, x.Snapshot().Seq(), uint64(0))
		wantAll(x, int64(kept), int64(added))
	}

	must(t, os.RemoveAll(dir))
	n = followWith(t, c, x, matcher.Options{Patience: patience})
	must(t, n.Follower().Await(n.ctx, 0))
	_, err = n.Follower().Save(n.ctx, dir)
	must(t, err)
	n.stop()
	other := catalogues["sqlite"](t)
	defer other.Close()
	if x, err := matcher.OpenIndex(t.Context(), other, dir, index.Options{}); err == nil || x.Snapshot().Seq() != 0 {
		t.Errorf("an index of another log was opened: %v", err)
	}
}
