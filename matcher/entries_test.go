package matcher_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/index"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/memory"
	"vigie/storage/storagetest"
)

func TestRetractAndRestore(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		data := pngOf(drawn(1))
		out := n.flagMedia(data)
		id := out.Entry.ID
		for _, step := range []struct {
			name   string
			do     func(ctx context.Context, who matcher.Principal, id storage.EntryID, reason string) error
			status storage.Status
			level  matcher.Level
			kinds  int
		}{
			{"restored what is active", n.Restore, storage.Active, matcher.Match, 1},
			{"retracted", n.Retract, storage.Retracted, matcher.None, 2},
			{"retracted again", n.Retract, storage.Retracted, matcher.None, 2},
			{"restored", n.Restore, storage.Active, matcher.Match, 3},
			{"retracted after all", n.Retract, storage.Retracted, matcher.None, 4},
		} {
			must(t, step.do(n.ctx, someone, id, step.name))
			e := n.entry(id)
			if e.Status != step.status || len(n.kinds()) != step.kinds {
				t.Errorf("%s: status %s, changes %v", step.name, e.Status, n.kinds())
			}
			if v := n.checkMedia(data); v.Level != step.level {
				t.Errorf("%s: level %s", step.name, v.Level)
			}
		}
		last := n.changes()[4]
		if last.Kind != storage.EntryRetracted || last.Actor != "someone" || string(last.Private) != `{"reason":"retracted after all"}` || n.entry(id).Reason != "retracted after all" {
			t.Errorf("change: %+v", last)
		}
	})
}

func TestRetractRefuses(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	id := n.flagSignals("bank", signal(hashing.PDQ, 1)).Entry.ID
	wantErr(t, n.Retract(n.ctx, local, 7, "why"), matcher.ErrUnknownEntry)
	wantErr(t, n.Restore(n.ctx, local, 0, "why"), matcher.ErrUnknownEntry)
	wantInput(t, n.Retract(n.ctx, local, id, ""), "reason")
	wantInput(t, n.Retract(n.ctx, local, id, strings.Repeat("r", 2001)), "reason")
	_, _, err := n.Entry(n.ctx, local, 7)
	wantErr(t, err, matcher.ErrUnknownEntry)
}

func TestRestoreConflicts(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		data := pngOf(drawn(1))
		first := n.flagMedia(data)
		n.retract(first.Entry.ID)
		second := n.flagMedia(data)
		wantErr(t, n.Restore(n.ctx, local, first.Entry.ID, "why"), matcher.ErrDuplicate)
		equal(t, n.entry(first.Entry.ID).Status, storage.Retracted)
		equal(t, matched(n.checkMedia(data)), ids(second))
		n.retract(second.Entry.ID)
		n.restore(first.Entry.ID)
		equal(t, matched(n.checkMedia(data)), ids(first))

		// One that is matched by its digests alone is no rival.
		n.retract(first.Entry.ID)
		exact := n.flag(matcher.Flagging{Media: media(data), ExactOnly: true})
		n.restore(first.Entry.ID)
		equal(t, matched(n.checkMedia(data)), ids(first, exact))
		n.retract(exact.Entry.ID)
		wantErr(t, n.Restore(n.ctx, local, exact.Entry.ID, "why"), matcher.ErrDuplicate)
	})
}

func TestEdit(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		id := n.flag(matcher.Flagging{Signals: []hashing.Signal{signal(hashing.PDQ, 1)}, Labels: []string{"old"}, Note: "old"}).Entry.ID
		for _, step := range []struct {
			name   string
			edit   matcher.EntryEdit
			labels []string
			note   string
			kinds  int
		}{
			{"nothing", matcher.EntryEdit{}, []string{"old"}, "old", 1},
			{"the same", matcher.EntryEdit{Labels: &[]string{"old"}, Note: ptr("old")}, []string{"old"}, "old", 1},
			{"labels", matcher.EntryEdit{Labels: &[]string{"b", "a", "b"}}, []string{"a", "b"}, "old", 2},
			{"note", matcher.EntryEdit{Note: ptr("new")}, []string{"a", "b"}, "new", 3},
			{"away with both", matcher.EntryEdit{Labels: &[]string{}, Note: ptr("")}, nil, "", 4},
		} {
			must(t, n.Edit(n.ctx, local, id, step.edit))
			e := n.entry(id)
			if len(n.kinds()) != step.kinds || e.Note != step.note {
				t.Errorf("%s: note %q, changes %v", step.name, e.Note, n.kinds())
			}
			equal(t, e.Labels, step.labels)
			equal(t, n.checkSignals(signal(hashing.PDQ, 1)).Matches[0].Labels, step.labels)
		}
		wantErr(t, n.Edit(n.ctx, local, 9, matcher.EntryEdit{}), matcher.ErrUnknownEntry)
		wantInput(t, n.Edit(n.ctx, local, id, matcher.EntryEdit{Labels: &[]string{""}}), "labels")
		wantInput(t, n.Edit(n.ctx, local, id, matcher.EntryEdit{Note: ptr(strings.Repeat("n", 10_001))}), "note")
	})
}

func TestSweep(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		waits   time.Duration
		stuck   error // of the first
		removed int
		left    int // blobs
	}{
		{"what is an hour old goes", time.Hour + time.Millisecond, nil, 2, 0},
		{"what is younger stays", time.Hour, nil, 0, 2},
		{"one that is stuck does not keep the others", 2 * time.Hour, errDown, 1, 1},
		{"who is away is not asked again", 2 * time.Hour, storage.ErrUnavailable, 0, 2},
		{"what is retained is none of ours any more", 2 * time.Hour, storage.ErrRetained, 2, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			clock := storagetest.NewClock()
			c, err := memory.New(storage.Options{Now: clock.Now})
			must(t, err)
			n := start(t, c, matcher.Options{})
			n.bank("bank", "block", nil)
			n.changeBank("bank", matcher.BankEdit{KeepMedia: ptr(true)})
			blobs := &stuckBlobs{Blobs: n.blobs}
			m := matcher.New(c, blobs, pictures, index.New(index.Options{}), matcher.Options{Now: clock.Now})

			live := n.flagMedia(pngOf(drawn(1))).Entry.Media.SHA256
			orphans := []*hashing.Media{media([]byte("one")), media([]byte("two"))}
			slices.SortFunc(orphans, func(a, b *hashing.Media) int { return slices.Compare(a.SHA256[:], b.SHA256[:]) }) // as they are swept
			for _, o := range orphans {
				must(t, c.Update(n.ctx, func(w storage.Writer) error {
					_, err := w.MediaPend(o.SHA256, 3)
					return err
				}))
				must(t, n.blobs.Put(n.ctx, o.SHA256, o.Data))
			}
			clock.Advance(test.waits)
			if test.stuck != nil {
				blobs.stuck, blobs.fault = &orphans[0].SHA256, test.stuck
			}
			removed, err := m.Sweep(n.ctx)
			retained := errors.Is(test.stuck, storage.ErrRetained)
			if test.stuck != nil && !retained {
				wantErr(t, err, test.stuck)
			} else {
				must(t, err)
			}
			there := 0
			for _, o := range orphans {
				if _, err := n.blobs.Open(n.ctx, o.SHA256); err == nil {
					there++
				}
			}
			if removed != test.removed || there != test.left {
				t.Errorf("%d removed, %d still there", removed, there)
			}
			if _, err := n.blobs.Open(n.ctx, live); err != nil {
				t.Errorf("what an entry has is gone: %v", err)
			}
			blobs.stuck = nil
			if again, err := m.Sweep(n.ctx); err != nil || test.stuck != nil && removed+again != 2 {
				t.Errorf("the next sweep removed %d: %v", again, err)
			}
			if retained { // whose bytes come back
				must(t, c.Update(n.ctx, func(w storage.Writer) error {
					_, err := w.MediaPend(orphans[0].SHA256, 3)
					return err
				}))
			}
		})
	}
}

type stuckBlobs struct {
	storage.Blobs
	stuck *hashing.Value
	fault error
}

func (b *stuckBlobs) Delete(ctx context.Context, sha hashing.Value) error {
	if b.stuck != nil && *b.stuck == sha {
		return b.fault
	}
	return b.Blobs.Delete(ctx, sha)
}

func TestSweepIsCancelled(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	ctx, cancel := context.WithCancel(n.ctx)
	cancel()
	_, err := n.Sweep(ctx)
	wantErr(t, err, context.Canceled)
}
