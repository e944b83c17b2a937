package storagetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vigie/storage"
)

// Cluster is a catalogue that several processes may have open.
type Cluster interface {
	// Open opens the catalogue as one more process does, and sees to its being closed at the end of the test.
	Open(t testing.TB) storage.Catalogue
	// Cut ends all sessions of all that have it open, in the middle of whatever they do, and returns how many those were.
	Cut(t testing.TB) int
}

// RunCluster runs the suite of catalogues that several processes write. empty makes a cluster whose catalogue is not
// there yet.
func RunCluster(t *testing.T, empty func(t testing.TB) Cluster) {
	for name, test := range map[string]func(*testing.T, Cluster){
		"opened at once":        openedAtOnce,
		"seen by the others":    seenByOthers,
		"writers leave no gap":  writersOfTwo,
		"cut in the middle":     cutInTheMiddle,
		"updates wait in line":  updatesWait,
		"waiters outlive a cut": waitersOutliveCut,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, empty(t))
		})
	}
}

// openedAtOnce: processes that start together make one catalogue.
func openedAtOnce(t *testing.T, c Cluster) {
	heads := make([]storage.Head, 4)
	var wait sync.WaitGroup
	for i := range heads {
		wait.Go(func() {
			var err error
			if heads[i], err = c.Open(t).Head(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	for _, h := range heads {
		if h != heads[0] || len(h.LogID) != 32 {
			t.Errorf("heads are %v", heads)
		}
	}
}

func seenByOthers(t *testing.T, c Cluster) {
	one := &fixture{t, c.Open(t), t.Context(), NewClock()}
	two := &fixture{t, c.Open(t), t.Context(), one.clock}
	for i, f := range []*fixture{one, two, one, two} {
		woken := make(chan error)
		other := []*fixture{two, one}[i%2]
		go func() { woken <- other.Wait(other.ctx, uint64(i)) }()
		b := f.bank(fmt.Sprint(i))
		one.must(<-woken)
		other.sameBank(bankOf(f, b.ID))
		if head := other.verify(); head.Seq != uint64(i)+1 {
			t.Errorf("head is %d after %d changes", head.Seq, i+1)
		}
	}
}

func bankOf(f *fixture, id storage.BankID) (b storage.Bank) {
	f.view(func(r storage.Reader) (err error) {
		b, err = r.Bank(id)
		return err
	})
	return b
}

// ledger is what writers know of what they wrote.
type ledger struct {
	mu           sync.Mutex
	acknowledged map[string]uint64 // seq by note
	failed       map[string]bool   // nothing has happened
	unknown      map[string]bool
}

// write adds an entry of that note, which may be meant to fail, and notes what came of it.
func (l *ledger) write(t *testing.T, c storage.Catalogue, note string, fails bool) {
	var change storage.Change
	err := c.Update(context.Background(), func(w storage.Writer) error {
		e := storage.Entry{Bank: 1, Status: storage.Active, Note: note}
		if err := w.CreateEntry(&e); err != nil {
			return err
		}
		change = storage.Change{Kind: storage.EntryAdded, Entry: e.ID, Bank: 1, Private: body(note)}
		if err := w.Append(&change); err != nil {
			return err
		}
		if fails {
			return errMeant
		}
		return nil
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil && !fails:
		l.acknowledged[note] = change.Seq
	case errors.Is(err, storage.ErrUnknownOutcome):
		l.unknown[note] = true
	case fails && err == errMeant || errors.Is(err, storage.ErrUnavailable):
		l.failed[note] = true
	default:
		t.Errorf("%s: got %v", note, err)
	}
}

// check compares what the writers know with what is there.
func (l *ledger) check(t *testing.T, catalogues ...storage.Catalogue) {
	var first storage.Head
	for i, c := range catalogues {
		head, err := storage.VerifyLog(t.Context(), c, nil)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = head
		}
		if head != first {
			t.Errorf("two heads: %v and %v", first, head)
		}
	}
	s := Dump(t, catalogues[0])
	CheckPairs(t, s)
	seen := map[string]uint64{}
	for _, e := range s.Entries {
		if seen[e.Note] != 0 {
			t.Errorf("%s is there twice", e.Note)
		}
		seen[e.Note] = e.Seq
		if l.acknowledged[e.Note] == 0 && !l.unknown[e.Note] {
			t.Errorf("%s is there, though its update failed", e.Note)
		}
	}
	for note, seq := range l.acknowledged {
		if seen[note] != seq {
			t.Errorf("%s was acknowledged as %d, and is there as %d", note, seq, seen[note])
		}
	}
	for note := range l.failed {
		if seen[note] != 0 {
			t.Errorf("%s is there, though nothing was to have happened", note)
		}
	}
}

func newLedger() *ledger {
	return &ledger{acknowledged: map[string]uint64{}, failed: map[string]bool{}, unknown: map[string]bool{}}
}

// writersOfTwo: writers of two processes at once; the log is dense, in commit order, and the same for both.
func writersOfTwo(t *testing.T, c Cluster) {
	nodes := []storage.Catalogue{c.Open(t), c.Open(t)}
	(&fixture{t, nodes[0], t.Context(), NewClock()}).bank("a")
	l := newLedger()
	const writers, each = 8, 20
	var wait sync.WaitGroup
	for i := range writers {
		wait.Go(func() {
			for n := range each {
				l.write(t, nodes[i%2], fmt.Sprint(i, "-", n), (n+i)%3 == 0)
			}
		})
	}
	wait.Wait()
	if len(l.unknown) > 0 || len(l.acknowledged)+len(l.failed) != writers*each {
		t.Errorf("%d of unknown outcome, %d acknowledged, %d failed", len(l.unknown), len(l.acknowledged), len(l.failed))
	}
	l.check(t, nodes...)
}

// cutInTheMiddle ends all sessions again and again while two processes write. Whatever was acknowledged is there once, what
// failed is not, and both go on by themselves.
func cutInTheMiddle(t *testing.T, c Cluster) {
	nodes := []storage.Catalogue{c.Open(t), c.Open(t)}
	(&fixture{t, nodes[0], t.Context(), NewClock()}).bank("a")
	l := newLedger()
	var stop atomic.Bool
	var wait sync.WaitGroup
	for i := range 6 {
		wait.Go(func() {
			for n := 0; !stop.Load(); n++ {
				l.write(t, nodes[i%2], fmt.Sprint(i, "-", n), (n+i)%4 == 0)
			}
		})
	}
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.acknowledged)
	}
	cut := 0
	for range 10 {
		before := count()
		for deadline := time.Now().Add(time.Minute); count() < before+5; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nothing is written any more")
			}
		}
		cut += c.Cut(t)
	}
	stop.Store(true)
	wait.Wait()
	for i, n := range nodes { // and a last one each, that must succeed
		deadline := time.Now().Add(time.Minute)
		note := fmt.Sprint("last of ", i)
		for k := 0; l.acknowledged[note] == 0; k++ {
			note = fmt.Sprint("last of ", i, "-", k)
			if l.write(t, n, note, false); time.Now().After(deadline) {
				t.Fatal("it does not come back")
			}
		}
	}
	if cut < 20 {
		t.Errorf("only %d sessions were cut", cut)
	}
	t.Logf("%d sessions cut; %d updates acknowledged, %d failed, %d of unknown outcome", cut, len(l.acknowledged), len(l.failed), len(l.unknown))
	l.check(t, nodes...)
}

// updatesWait: while one process is inside an update, another one's waits; it reads what the first has written.
func updatesWait(t *testing.T, c Cluster) {
	one, two := c.Open(t), c.Open(t)
	f := &fixture{t, one, t.Context(), NewClock()}
	f.bank("a")
	inside, finish := make(chan bool), make(chan bool)
	var order []string
	var wait sync.WaitGroup
	wait.Go(func() {
		err := one.Update(t.Context(), func(w storage.Writer) error {
			inside <- true
			<-finish
			order = append(order, "one")
			b, err := w.Bank(1)
			b.Description += "one"
			return errors.Join(err, w.UpdateBank(b))
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-inside
	wait.Go(func() {
		err := two.Update(t.Context(), func(w storage.Writer) error {
			order = append(order, "two") // the race detector would see it run at the same time
			b, err := w.Bank(1)
			b.Description += "two"
			return errors.Join(err, w.UpdateBank(b))
		})
		if err != nil {
			t.Error(err)
		}
	})
	f.sameBank(bankOf(f, 1)) // readers do not wait
	close(finish)
	wait.Wait()
	f.same("onetwo", bankOf(f, 1).Description)
	f.same([]string{"one", "two"}, order)
}

// waitersOutliveCut: who waits for a change hears of it, though its connections were cut before.
func waitersOutliveCut(t *testing.T, c Cluster) {
	one, two := c.Open(t), c.Open(t)
	f := &fixture{t, one, t.Context(), NewClock()}
	f.bank("a")
	woken := make(chan error)
	go func() {
		for {
			err := two.Wait(t.Context(), 1)
			if !errors.Is(err, storage.ErrUnavailable) {
				woken <- err
				return
			}
		}
	}()
	c.Cut(t)
	for {
		err := one.Update(t.Context(), func(w storage.Writer) error { return addBank(w, "b", new(storage.Bank)) })
		if err == nil {
			break
		}
		f.want(err, storage.ErrUnavailable)
	}
	select {
	case err := <-woken:
		f.must(err)
	case <-time.After(10 * time.Second):
		t.Fatal("the waiter was not woken")
	}
}
