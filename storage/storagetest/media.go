package storagetest

import (
	"testing"
	"time"

	"vigie/hashing"
	"vigie/storage"
)

func testMedia(t *testing.T, open Open) {
	a, b := Signal(hashing.SHA256, 1).Value, Signal(hashing.SHA256, 2).Value
	group(t, open, map[string]func(*fixture){
		"pending, live": func(f *fixture) {
			f.pend(a, false)
			f.pend(a, false)
			f.update(func(w storage.Writer) error { return w.MediaLive(a) })
			f.update(func(w storage.Writer) error { return w.MediaLive(a) })
			f.pend(a, true)
			f.clock.Advance(time.Hour)
			f.sweep(0) // nothing: a is live
			f.want(f.Update(f.ctx, func(w storage.Writer) error { return w.MediaLive(b) }), storage.ErrConflict)
			f.want(f.Update(f.ctx, func(w storage.Writer) error { return w.MediaGone(a) }), storage.ErrConflict)
			f.pend(a, true)
		},
		"the sweeper takes orphans": func(f *fixture) {
			f.pend(a, false)
			f.pend(b, false)
			f.sweep(0) // both are fresh
			f.clock.Advance(time.Hour)
			f.pend(b, false) // touched
			f.sweep(time.Minute, a)
			f.sweep(time.Minute, a) // still to be removed
			for range 2 {
				f.want(f.Update(f.ctx, func(w storage.Writer) error { _, err := w.MediaPend(a, 1); return err }), storage.ErrConflict)
				f.want(f.Update(f.ctx, func(w storage.Writer) error { return w.MediaLive(a) }), storage.ErrConflict)
			}
			f.want(f.Update(f.ctx, func(w storage.Writer) error { return w.MediaGone(b) }), storage.ErrConflict)
			f.update(func(w storage.Writer) error { return w.MediaGone(a) })
			f.update(func(w storage.Writer) error { return w.MediaGone(a) }) // a missing one is no error
			f.pend(a, false)
			f.update(func(w storage.Writer) error { return w.MediaLive(b) })
			f.clock.Advance(time.Hour)
			f.sweep(time.Minute, a)
		},
	})
}

func (f *fixture) pend(sha hashing.Value, live bool) {
	f.Helper()
	f.update(func(w storage.Writer) error {
		got, err := w.MediaPend(sha, 5)
		if got != live {
			f.Errorf("live is %v, want %v", got, live)
		}
		return err
	})
}

// sweep sweeps what is older than age, and compares what is to be removed.
func (f *fixture) sweep(age time.Duration, want ...hashing.Value) {
	f.Helper()
	f.update(func(w storage.Writer) error {
		got, err := w.MediaSweep(f.clock.Now().Add(-age))
		f.same(want, got)
		return err
	})
}
