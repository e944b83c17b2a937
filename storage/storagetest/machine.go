package storagetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vigie/hashing"
	"vigie/storage"
	"vigie/storage/memory"
)

// testMachine runs random updates on the catalogue and on the reference in memory, with the same clock
// and the same salts: they must agree on every outcome and, at the end, on everything they hold.
func testMachine(t *testing.T, open Open) {
	rapid.Check(t, func(rt *rapid.T) {
		clock := NewClock()
		reference, err := memory.New(storage.Options{Now: clock.Now, Rand: NewRand(7)})
		if err != nil {
			rt.Fatal(err)
		}
		tested := open(t, storage.Options{Now: clock.Now, Rand: NewRand(7)})
		defer tested.Close()
		both := []storage.Catalogue{reference, tested}

		for range rapid.IntRange(1, 15).Draw(rt, "updates") {
			steps := rapid.SliceOfN(rapid.Custom(drawStep), 1, 6).Draw(rt, "steps")
			fails := rapid.IntRange(0, 4).Draw(rt, "fails") == 0
			clock.Advance(time.Duration(rapid.IntRange(0, 3).Draw(rt, "pass")) * 700 * time.Microsecond)
			outcomes := make([]string, len(both))
			for i, c := range both {
				err := c.Update(t.Context(), func(w storage.Writer) error {
					for _, s := range steps {
						outcomes[i] += s.run(w) + "\n"
					}
					if fails {
						return errMeant
					}
					return nil
				})
				outcomes[i] += class(err)
			}
			if diff := cmp.Diff(outcomes[0], outcomes[1]); diff != "" {
				rt.Fatalf("outcomes differ (-reference +tested):\n%s", diff)
			}
		}
		if diff := cmp.Diff(Dump(t, reference), Dump(t, tested)); diff != "" {
			rt.Fatalf("states differ (-reference +tested):\n%s", diff)
		}
		if _, err := storage.VerifyLog(t.Context(), tested, nil); err != nil {
			rt.Fatal(err)
		}
	})
}

// step is one call on a writer. Its numbers choose among few things, so that steps meet.
type step struct {
	Do   string
	A, B int
}

func drawStep(t *rapid.T) step {
	return step{
		Do: rapid.SampledFrom([]string{
			"bank", "rename", "delete", "restore", "entry", "change", "source", "key", "revoke",
			"append", "pend", "live", "sweep", "gone", "read", "extend", "labels",
		}).Draw(t, "do"),
		A: rapid.IntRange(1, 4).Draw(t, "a"),
		B: rapid.IntRange(1, 4).Draw(t, "b"),
	}
}

// run does the step and tells what came of it.
func (s step) run(w storage.Writer) string {
	name := fmt.Sprint("name", s.B)
	id := storage.BankID(s.A)
	entry := storage.EntryID(s.A)
	sha := Signal(hashing.SHA256, uint64(s.A)).Value
	var result any
	err := func() (err error) {
		switch s.Do {
		case "bank":
			b := storage.Bank{Name: name, Policy: storage.Policy{Action: "hold", Radius: map[hashing.Algorithm]int{hashing.PDQ: s.A}}}
			if err = w.CreateBank(&b); err == nil {
				err = w.Append(&storage.Change{Kind: storage.BankCreated, Bank: b.ID, Body: body(storage.BankBody{Name: name})})
			}
			result = b.Seq
		case "rename", "delete", "restore":
			b, err := w.Bank(id)
			if err != nil {
				return err
			}
			if s.Do == "rename" {
				b.Name = name
			} else {
				b.Deleted = s.Do == "delete"
			}
			return w.UpdateBank(b)
		case "entry":
			e := storage.Entry{
				Bank: id, Labels: []string{name, "l", name}[:s.B-1], Note: name[4:],
				Signals: []hashing.Signal{Signal(hashing.PDQ, uint64(s.A)), Signal(hashing.MD5, uint64(s.B))},
			}
			err = AddEntry(w, &e)
			result = err == nil && e.ID > 0
		case "change":
			e, err := w.Entry(entry)
			if err != nil {
				return err
			}
			e.Status, e.Labels, e.Reason = storage.Retracted, append(e.Labels, name), name
			return w.UpdateEntry(e)
		case "source":
			return w.AddSource(entry, storage.Source{Actor: name})
		case "extend":
			var media storage.MediaInfo
			if s.B > 1 {
				media = storage.MediaInfo{SHA256: sha, Bytes: int64(s.B)}
			}
			more := Signal(hashing.PDQ, uint64(s.B))
			return w.Extend(entry, []hashing.Signal{more, Signal(hashing.MD5, uint64(s.A)), more}, media)
		case "labels":
			result, err = w.Labels([]storage.EntryID{storage.EntryID(s.B), 99, entry, entry + 1})
		case "key":
			return w.CreateKey(&storage.Key{ID: name, Role: storage.Admin, ExpiresAt: NewClock().Now()})
		case "revoke":
			return w.UpdateKey(storage.Key{ID: name, RevokedAt: NewClock().Now().Add(time.Hour)})
		case "append":
			c := &storage.Change{Kind: storage.EntryChanged, Actor: name, Private: body(name)}
			if s.B > 1 {
				c.Entry = entry
			}
			return w.Append(c)
		case "pend":
			result, err = w.MediaPend(sha, 1)
		case "live":
			return w.MediaLive(sha)
		case "sweep":
			result, err = w.MediaSweep(NewClock().Now().Add(time.Duration(s.A*s.B) * time.Millisecond))
		case "gone":
			return w.MediaGone(sha)
		case "read":
			named, err1 := w.BankNamed(name)
			with, err2 := w.EntriesWith(id, Signal(hashing.PDQ, uint64(s.B)))
			listed, err3 := w.Entries(storage.EntryQuery{Label: name, Bank: id, Limit: s.A})
			result = fmt.Sprint(named, with, listed, class(err1), class(err2), class(err3))
		}
		return err
	}()
	return fmt.Sprintf("%+v: %v, %s", s, result, class(err))
}

// class is what a caller can tell of an error.
func class(err error) string {
	for _, known := range []error{storage.ErrNotFound, storage.ErrExists, storage.ErrConflict, errMeant} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	if err != nil {
		return "other error: " + err.Error()
	}
	return "ok"
}
