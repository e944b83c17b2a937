package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vigie/storage"
)

// FuzzOpen opens whatever is in the files. If it opens, it ships what it finds there in order, and takes a new record, whose number
// is beyond all that it shipped; nothing hangs. If it does not open, it says that something is wrong with the files.
func FuzzOpen(f *testing.F) {
	one, two := appendHeader(nil, "a1b2c3d4", 1), appendHeader(nil, "a1b2c3d4", 4)
	at := time.Unix(1_800_000_000, 0)
	for n := range uint64(3) {
		one = appendFrame(one, n+1, at, "match", fmt.Appendf(nil, `{"n":%d}`, n))
		two = appendFrame(two, n+4, at, "signin", []byte(`"x"`))
	}
	slot := func(m mark) []byte { return append(m.append(nil), make([]byte, 2*slotSize-markSize)...) }
	good := slot(mark{"a1b2c3d4", 0, 1, 2})
	f.Add(one, two, good)
	f.Add(one[:len(one)-9], two[:40], good)
	f.Add(append(one[:50:50], one[51:]...), append(two, make([]byte, 99)...), []byte{})
	f.Add(one, two, slot(mark{"a1b2c3d4", 7, 100, 200}))
	f.Add(one, two, slot(mark{"00000000", 7, 0, maxNumber - 1}))
	f.Add([]byte{}, []byte{}, good)
	f.Fuzz(func(t *testing.T, one, two, mark []byte) {
		dir := t.TempDir()
		for name, b := range map[string][]byte{fileName(1): one, fileName(4): two, markName: mark} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		j, err := Open(dir, unsynced(Options{}))
		if err != nil {
			if !errors.Is(err, storage.ErrCorrupt) && !strings.Contains(err.Error(), "this program reads") {
				t.Errorf("%v", err)
			}
			return
		}
		defer j.Close()
		id, err := j.Append(t.Context(), "match", []byte("1"))
		if err != nil {
			t.Fatal(err)
		}
		last := uint64(0)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		done := make(chan error)
		go func() {
			done <- j.Ship(ctx, func(_ context.Context, all []Record) error {
				for _, r := range all {
					if r.ID.Number <= last || r.ID.Number > id.Number || r.ID.Node != j.Node() || r.Kind == "" || len(r.Body) == 0 {
						t.Errorf("%+v after %d", r, last)
					}
					last = r.ID.Number
				}
				return nil
			})
		}()
		if err := j.Flush(ctx); err != nil || last != id.Number {
			t.Errorf("shipped up to %d of %d: %v; %+v", last, id.Number, err, j.Stats())
		}
		cancel()
		<-done
		if s := j.Stats(); s.Bytes != 0 || s.Backlog != 0 {
			t.Errorf("%+v", s)
		}
	})
}
