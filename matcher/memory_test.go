package matcher_test

import (
	"errors"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/index"
	"vigie/matcher"
	"vigie/storage"
)

// TestMemoryLimit restarts a node with less memory than it takes, and then with enough. Whatever brings rows is refused
// before it is in the log; all else goes on.
func TestMemoryLimit(t *testing.T) {
	c := catalogues["sqlite"](t)
	defer c.Close()
	dir := filepath.Join(t.TempDir(), "index")
	restart := func(limit int64) *node {
		t.Helper()
		x, err := matcher.OpenIndex(t.Context(), c, dir, index.Options{MemoryLimit: limit})
		must(t, err)
		n := followWith(t, c, x, matcher.Options{Patience: patience})
		must(t, n.Follower().Await(n.ctx, 0))
		return n
	}
	x := index.New(index.Options{})
	n := followWith(t, c, x, matcher.Options{Patience: patience})
	must(t, n.Follower().Await(n.ctx, 0))
	n.bank("bank", "block", nil)
	active, retracted := n.flagSignals("bank", signal(hashing.MD5, 1)), n.flagSignals("bank", signal(hashing.MD5, 2))
	n.retract(retracted.Entry.ID)
	_, err := n.Follower().Save(n.ctx, dir)
	must(t, err)
	n.stop()

	n = restart(1)
	before := len(n.changes())
	for what, err := range map[string]error{
		"a new flag": func() error {
			_, err := n.Flag(n.ctx, matcher.Flagging{Bank: "bank", Signals: []hashing.Signal{signal(hashing.MD5, 3)}})
			return err
		}(),
		"a flag of what is there": func() error {
			_, err := n.Flag(n.ctx, matcher.Flagging{Bank: "bank", Signals: []hashing.Signal{signal(hashing.MD5, 1)}})
			return err
		}(),
		"a flag of a picture": func() error {
			_, err := n.Flag(n.ctx, matcher.Flagging{Bank: "bank", Media: media([]byte("never decoded"))})
			return err
		}(),
		"a restore": n.Restore(n.ctx, local, retracted.Entry.ID, "a test"),
	} {
		if !errors.Is(err, matcher.ErrFull) || !strings.Contains(err.Error(), "retract") {
			t.Errorf("%s is answered %v", what, err)
		}
	}
	equal(t, len(n.changes()), before)
	equal(t, matched(n.checkSignals(signal(hashing.MD5, 1))), ids(active))
	n.changeBank("bank", matcher.BankEdit{Description: ptr("still of use")})
	n.retract(active.Entry.ID)
	n.retract(retracted.Entry.ID) // once more, which changes nothing
	equal(t, len(n.checkSignals(signal(hashing.MD5, 1)).Matches), 0)
	equal(t, len(n.changes()), before+2)
	n.stop()

	n = restart(1 << 40)
	n.restore(active.Entry.ID)
	n.restore(retracted.Entry.ID)
	added := n.flagSignals("bank", signal(hashing.MD5, 3))
	equal(t, matched(n.checkSignals(signal(hashing.MD5, 1), signal(hashing.MD5, 2), signal(hashing.MD5, 3))), ids(active, retracted, added))
	n.stop()
}

// TestMemoryLimitOfAVideo has memory left for a picture, but not for the frames of a video. It is not parallel, and
// nothing is collected: both would change what the process takes.
func TestMemoryLimitOfAVideo(t *testing.T) {
	const frames, row = 10_000, 177
	video := make([]hashing.Signal, frames)
	for i := range video {
		video[i] = signal(hashing.PDQ, uint64(i))
		for w := range video[i].Value {
			video[i].Value[w] = uint64(i+1) * 0x9e3779b97f4a7c15 * uint64(2*w+1)
		}
		video[i].Time = uint32(i * 250)
	}
	c := catalogues["memory"](t)
	warm := start(t, c, matcher.Options{})
	warm.bank("bank", "block", nil)
	warm.changeBank("bank", matcher.BankEdit{MaxFrames: ptr(frames)})
	warm.stop()

	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	least := index.New(index.Options{}).Memory().Used()
	x := index.New(index.Options{MemoryLimit: (least + 2*frames*row*3/4) * 16 / 15}) // three quarters of what the video asks for
	n := followWith(t, c, x, matcher.Options{Patience: patience})
	defer n.stop()
	must(t, n.Follower().Await(n.ctx, 0))
	_, err := n.Flag(n.ctx, matcher.Flagging{Bank: "bank", Signals: video})
	if wantErr(t, err, matcher.ErrFull); err == nil || !strings.Contains(err.Error(), "for 10000 more rows") {
		t.Error(err)
	}
	n.flagSignals("bank", video[:10]...)
}

// TestTooLargeToLoad starts a node whose catalogue does not fit: it is not ready, says why, and entries can be retracted.
func TestTooLargeToLoad(t *testing.T) {
	c := catalogues["memory"](t)
	defer c.Close()
	n := follow(t, c, matcher.Options{Patience: patience})
	must(t, n.Follower().Await(n.ctx, 0))
	n.bank("bank", "block", nil)
	id := n.flagSignals("bank", signal(hashing.MD5, 1)).Entry.ID
	n.stop()

	faults := make(chan error, 1)
	n = followWith(t, c, index.New(index.Options{MemoryLimit: 1}), matcher.Options{
		Patience: 10 * time.Millisecond, Events: matcher.Events{Fault: func(err error) {
			select {
			case faults <- err:
			default: // the first is enough
			}
		}},
	})
	defer n.stop()
	wantErr(t, <-faults, matcher.ErrFull)
	for deadline := time.Now().Add(patience); !n.Follower().Full() && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if !n.Follower().Full() || n.Follower().State() != nil {
		t.Errorf("full %t, state %v", n.Follower().Full(), n.Follower().State())
	}
	_, err := n.Check(n.ctx, matcher.Question{Signals: []hashing.Signal{signal(hashing.MD5, 1)}})
	wantErr(t, err, matcher.ErrNotReady)
	n.retract(id)
	if kinds := n.kinds(); !slices.Contains(kinds, storage.EntryRetracted) {
		t.Error(kinds)
	}
}
