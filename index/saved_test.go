package index_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"vigie/hashing"
	"vigie/index"
)

// TestOpenSaved copies an index again and again while it is saved anew: each copy is whole, and is one that was saved.
func TestOpenSaved(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "index")
	if _, _, err := index.OpenSaved(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing is saved: %v", err)
	}
	x := index.New(index.Options{})
	save := func(seq uint64) {
		s := hashing.Signal{Algorithm: hashing.MD5, Version: hashing.MD5.Version(), Quality: hashing.MaxQuality, Value: hashing.Value{seq, 1}}
		err := x.Apply(t.Context(), seq, []index.Change{{Bank: 1, Entry: index.EntryID(seq), Signals: []hashing.Signal{s}}})
		if err == nil {
			_, err = x.Save(t.Context(), dir, func(uint64) (index.Mark, error) { return index.Mark{Log: "log"}, nil })
		}
		if err != nil {
			t.Error(err)
		}
	}
	save(1)
	ctx, stop := context.WithCancel(t.Context())
	var saving sync.WaitGroup
	saving.Go(func() {
		for seq := uint64(2); ctx.Err() == nil; seq++ {
			save(seq)
		}
	})
	for last := uint64(1); last < 50; {
		saved, files, err := index.OpenSaved(dir)
		if err != nil {
			t.Fatal(err)
		}
		copied := t.TempDir()
		for i, f := range files {
			to, err := os.Create(filepath.Join(copied, saved.Files[i]))
			if err == nil {
				_, err = io.Copy(to, f)
			}
			if err = errors.Join(err, to.Close(), f.Close()); err != nil {
				t.Fatal(err)
			}
		}
		y, mark, err := index.Open(copied, index.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if s := y.Snapshot(); s.Seq() != saved.Seq || mark != saved.Mark || s.Stats().Entries != int(saved.Seq) || saved.Seq < last {
			t.Fatalf("change %d after %d, of %+v: %+v", s.Seq(), last, saved, s.Stats())
		}
		last = saved.Seq
	}
	stop()
	saving.Wait()
	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	if err := os.Remove(names[0]); err != nil {
		t.Fatal(err)
	}
	if _, _, err := index.OpenSaved(dir); !errors.Is(err, index.ErrDamaged) {
		t.Errorf("without a segment: %v", err)
	}
}
