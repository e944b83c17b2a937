package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// records is where records go: it wants them without a gap, but for what the journal lacks too.
type records struct {
	tb
	has  []uint64
	gaps []uint64
}

func (r *records) shipped() uint64 {
	if len(r.has) == 0 {
		return 0
	}
	return r.has[len(r.has)-1]
}

func (r *records) deliver(_ context.Context, batch []Record) error {
	if first := batch[0]; first.ID.Number-1-first.Gap > r.shipped() {
		return fmt.Errorf("deliver: %w", &Behind{r.shipped()})
	} else if first.Gap > 0 {
		r.gaps = append(r.gaps, first.Gap)
	}
	for _, rec := range batch {
		if rec.ID.Number > r.shipped() {
			r.has = append(r.has, rec.ID.Number)
		}
	}
	return nil
}

// shipAll ships until a record is there.
func (r *records) shipAll(j *Journal, last uint64) {
	r.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	reached := make(chan struct{}, 100)
	go func() {
		ended <- j.Ship(ctx, func(ctx context.Context, batch []Record) error {
			err := r.deliver(ctx, batch)
			if r.shipped() >= last {
				signal(reached)
			}
			return err
		})
	}()
	select {
	case <-reached:
	case <-time.After(time.Minute):
		r.Errorf("not shipped up to %d", last)
	}
	cancel()
	<-ended
}

func from(first, last uint64) (all []uint64) {
	for n := first; n <= last; n++ {
		all = append(all, n)
	}
	return all
}

// TestBehind restores what the records go to from a backup: what the folder still has is handed on again, before what comes
// next; of the rest it is said how much it is. Once as the next record comes, once as somebody notices it before.
func TestBehind(t *testing.T) {
	t.Parallel()
	for _, noticed := range []bool{false, true} {
		dir := t.TempDir()
		var told faults
		j := open(t, dir, Options{Fault: told.add})
		r := &records{tb: t}
		for range 20 {
			add(t, j, "1")
		}
		r.shipAll(j, 20)
		j.Renew()
		for range 10 {
			add(t, j, "1")
		}
		r.shipAll(j, 30) // and the file of the first twenty is gone
		if got := names(t, dir); !slices.Equal(got, []string{fileName(21), markName}) {
			t.Fatalf("%v", got)
		}
		r.has = r.has[:12]
		last := uint64(30)
		if noticed {
			j.Again(12, j.Stats())
		} else {
			add(t, j, "1")
			last++
		}
		r.shipAll(j, last)
		if want := append(from(1, 12), from(21, last)...); !slices.Equal(r.has, want) || !slices.Equal(r.gaps, []uint64{8}) {
			t.Errorf("noticed %t: it has %v, with gaps of %v", noticed, r.has, r.gaps)
		}
		if len(told.all) != 1 || !strings.Contains(told.all[0].Error(), "records 13 to 30") ||
			!strings.Contains(told.all[0].Error(), "10 of them are in ") || !strings.Contains(told.all[0].Error(), "8 are not") {
			t.Errorf("told %v", told.all)
		}
		if s := j.Stats(); s.Backlog != 0 || s.Shipped != last || s.Bytes < 0 {
			t.Errorf("%+v", s)
		}
		j.Close() // and the next process goes on from there
		j = open(t, dir, Options{Fault: told.add})
		add(t, j, "1")
		r.shipAll(j, last+1)
		if len(told.all) != 1 {
			t.Errorf("told %v", told.all[1:])
		}
		r.has = nil // all of it is gone
		add(t, j, "1")
		r.shipAll(j, last+2)
		if !slices.Equal(r.has, from(uint64(r.has[0]), last+2)) {
			t.Errorf("it has %v", r.has)
		}
	}
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for until := time.Now().Add(time.Minute); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// shipping ships in the background until the test ends.
func shipping(t *testing.T, j *Journal, deliver func(context.Context, []Record) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- j.Ship(ctx, deliver) }()
	t.Cleanup(func() { cancel(); <-ended })
}

// TestBehindOfWhatIsGone: what is missing where records go is in no file any more. Nobody waits for it, and what comes later goes on.
func TestBehindOfWhatIsGone(t *testing.T) {
	t.Parallel()
	var told faults
	j := open(t, t.TempDir(), Options{Fault: told.add})
	defer j.Close()
	for range 20 {
		add(t, j, "1")
	}
	r := &records{tb: t}
	shipping(t, j, r.deliver)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	flush := func() {
		t.Helper()
		if err := j.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	flush()
	r.has = r.has[:10]
	j.Again(10, j.Stats())
	eventually(t, "that it goes back", func() bool { return j.Stats().Rewinds == 1 })
	flush()
	if s := j.Stats(); s.Backlog != 0 || s.Bytes != 0 || s.There != 10 || s.Shipped != 20 {
		t.Errorf("%+v", s)
	}
	j.Again(10, j.Stats()) // as the next report finds
	add(t, j, "1")
	flush()
	if want := append(from(1, 10), 21); !slices.Equal(r.has, want) || !slices.Equal(r.gaps, []uint64{10}) {
		t.Errorf("it has %v, with gaps of %v", r.has, r.gaps)
	}
	if len(told.all) != 1 || !strings.Contains(told.all[0].Error(), "0 of them are in ") || j.Stats().Rewinds != 1 {
		t.Errorf("told %v", told.all)
	}
}

// TestDamageAtTheEnd: the last record is damaged, so that where they go never has it. That is no reason to hand on anything again,
// and it is lost once, also if others are handed on again.
func TestDamageAtTheEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var told faults
	j := open(t, dir, Options{Fault: told.add})
	defer j.Close()
	for range 20 {
		add(t, j, `{"a":"bbbbbbbbbbbb"}`)
	}
	path := filepath.Join(dir, fileName(1))
	b := readFile(t, path)
	b[len(b)-6] ^= 0xff
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	has := make(chan uint64, 100)
	shipping(t, j, func(_ context.Context, batch []Record) error {
		has <- batch[len(batch)-1].ID.Number
		return nil
	})
	if last := <-has; last != 19 {
		t.Errorf("delivered up to %d", last)
	}
	eventually(t, "that the hole is passed", func() bool { return j.Stats().Shipped == 20 })
	for range 3 { // reports
		j.Again(19, j.Stats())
	}
	j.Again(5, j.Stats()) // the last of them finds a restore
	if last := <-has; last != 19 {
		t.Errorf("delivered again up to %d", last)
	}
	eventually(t, "that the hole is passed", func() bool { return j.Stats().Shipped == 20 })
	if s := j.Stats(); s.Lost != 1 || s.Rewinds != 1 || len(told.corrupt()) != 1 || len(told.all) != 2 {
		t.Errorf("%+v; told %v", s, told.all)
	}
}

// TestAgainComesLate: what a report found was noticed by Ship itself since.
func TestAgainComesLate(t *testing.T) {
	t.Parallel()
	var told faults
	j := open(t, t.TempDir(), Options{Fault: told.add})
	defer j.Close()
	for range 10 {
		add(t, j, "1")
	}
	r := &records{tb: t}
	r.shipAll(j, 10)
	seen := j.Stats()
	r.has = r.has[:4]
	add(t, j, "1")
	r.shipAll(j, 11)
	j.Again(4, seen)
	add(t, j, "1")
	r.shipAll(j, 12)
	if s := j.Stats(); s.Rewinds != 1 || len(told.all) != 1 || !slices.Equal(r.has, from(1, 12)) {
		t.Errorf("%+v; told %v; it has %v", s, told.all, r.has)
	}
}

// TestRenumber opens a folder that is an older copy: its next numbers stand for other records already.
func TestRenumber(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir, Options{})
	for range 5 {
		add(t, j, "1")
	}
	r := &records{tb: t}
	r.shipAll(j, 5)
	add(t, j, "1") // shipped by the folder of which this is a copy
	j.Close()
	r.has = from(1, 30)
	var told faults
	reopened := func() {
		t.Helper()
		j.Close()
		j = open(t, dir, Options{Fault: told.add})
	}
	reopened()
	if err := j.Renumber(30, nil); err != nil {
		t.Fatal(err)
	}
	if s := j.Stats(); s.Backlog != 0 || s.Appended != 30 || s.There != 30 {
		t.Errorf("%+v", s)
	}
	reopened() // as if it had crashed
	if id := add(t, j, "1"); id.Number != 31 {
		t.Errorf("the next one is %s", id)
	}
	if err := j.Renumber(100, nil); err == nil {
		t.Error("raised, though a record has a number")
	}
	reopened()
	if err := j.Renumber(30, nil); err != nil || j.Stats().Appended != 31 {
		t.Errorf("%v, %+v", err, j.Stats())
	}
	r.shipAll(j, 31)
	if !slices.Equal(r.has, from(1, 31)) || len(told.all) > 0 || j.Stats().Bytes != 0 {
		t.Errorf("it has %v; told %v; %+v", r.has, told.all, j.Stats())
	}
	j.Close()
}

// TestRenumberedWhole: records that get other numbers keep what they are, and their times; and whatever the disk refuses on the way, each is
// in the folder afterwards, under the old number, the new one, or both, and may be given a new one then.
func TestRenumberedWhole(t *testing.T) {
	t.Parallel()
	for _, to := range []uint64{4, 6, 30} { // before the end of the folder, at its end, and behind it
		for step := 1; ; step++ {
			dir := t.TempDir()
			j := open(t, dir, Options{})
			for n := range 3 {
				add(t, j, fmt.Sprint(n))
			}
			(&records{tb: t}).shipAll(j, 3)
			for n := range 3 {
				add(t, j, fmt.Sprint("\"own ", n, "\""))
			}
			waiting := func(j *Journal) (all []Record) {
				t.Helper()
				for r, err := range j.Backlog() {
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, r)
				}
				return all
			}
			had := waiting(j)
			again := had[:min(to, 6)-3] // none of them was handed on
			j.Close()

			refused, steps := errors.New("refused"), -1000 // to open it takes some, too
			j = open(t, dir, Options{sync: func(f *os.File) error {
				if steps++; steps == step {
					return refused
				}
				return f.Sync()
			}})
			steps = 0
			err := j.Renumber(to, again)
			done := step > steps // all of them went well
			if done != (err == nil) || err != nil && !errors.Is(err, refused) {
				t.Fatalf("to %d, step %d of %d: %v", to, step, steps, err)
			}
			j.Close()

			var told faults
			j = open(t, dir, Options{Fault: told.add})
			times := map[string]int{}
			for _, r := range waiting(j) {
				times[fmt.Sprintf("%s %s %s", r.At, r.Kind, r.Body)]++
				if r.ID.Number > 6 && r.ID.Number <= to {
					t.Errorf("to %d, step %d: %s is another's number", to, step, r.ID)
				}
			}
			for _, r := range had {
				if n := times[fmt.Sprintf("%s %s %s", r.At, r.Kind, r.Body)]; n != 1 && (done || n != 2) {
					t.Errorf("to %d, step %d: %s is there %d times", to, step, r.Body, n)
				}
			}
			last := max(to, 6) + uint64(len(again))
			if s := j.Stats(); done && (s.Appended != last || s.Backlog != last-max(to, 3) || len(told.all) > 0) {
				t.Errorf("to %d: %+v, told %v", to, s, told.all)
			}
			if done {
				r := &records{tb: t, has: from(1, to)}
				add(t, j, "1")
				if r.shipAll(j, last+1); !slices.Equal(r.has, from(1, last+1)) || len(told.all) > 0 || j.Stats().Bytes != 0 {
					t.Errorf("to %d: it has %v, told %v, %+v", to, r.has, told.all, j.Stats())
				}
				break
			}
			j.Close()
		}
	}
}
