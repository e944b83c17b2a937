package matcher_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
)

// silent is a catalogue that does not answer as long as it is hushed, whatever its caller's context says: a half-open connection.
type silent struct {
	storage.Catalogue
	mu     sync.Mutex
	hushed chan struct{} // closed when it speaks again; nil: it answers
	asked  int           // while hushed
}

func (s *silent) hush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hushed = make(chan struct{})
}

func (s *silent) speak() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.hushed)
	s.hushed = nil
}

func (s *silent) wait() {
	s.mu.Lock()
	hushed := s.hushed
	if hushed != nil {
		s.asked++
	}
	s.mu.Unlock()
	if hushed != nil {
		<-hushed
	}
}

func (s *silent) Head(ctx context.Context) (storage.Head, error) {
	s.wait()
	return s.Catalogue.Head(ctx)
}

func (s *silent) View(ctx context.Context, fn func(storage.Reader) error) error {
	s.wait()
	return s.Catalogue.View(ctx, fn)
}

func (s *silent) Update(ctx context.Context, fn func(storage.Writer) error) error {
	s.wait()
	return s.Catalogue.Update(ctx, fn)
}

// TestChecksDoNotWaitForASilentCatalogue: three checks find out, each within the bound; then none waits, but for one in two
// seconds that tries; and when the catalogue is back, verdicts are whole again.
func TestChecksDoNotWaitForASilentCatalogue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const brief = 250 * time.Millisecond
		c := &silent{Catalogue: catalogues["memory"](t)}
		var mu sync.Mutex
		var faults []error
		n := start(t, c, matcher.Options{Brief: brief, Events: matcher.Events{Fault: func(err error) {
			mu.Lock()
			defer mu.Unlock()
			faults = append(faults, err)
		}}})
		n.bank("bank", "block", nil)
		s := signal(hashing.PDQ, 1)
		flagged := n.flag(matcher.Flagging{Signals: []hashing.Signal{s}, Labels: []string{"label"}})
		check := func(what string, explained bool, want time.Duration) {
			t.Helper()
			began := time.Now()
			v := n.checkSignals(s)
			if took := time.Since(began); took != want {
				t.Errorf("%s: took %v, want %v", what, took, want)
			}
			equal(t, matched(v), ids(flagged))
			action := matcher.ActionHold
			if explained {
				action = matcher.ActionBlock
			}
			if v.Level != matcher.Match || v.Unexplained == explained || v.Action != action {
				t.Errorf("%s: level %s, action %s, unexplained %t", what, v.Level, v.Action, v.Unexplained)
			}
		}
		check("before", true, 0)
		c.hush()
		for range 3 {
			check("finding out", false, brief)
		}
		if !n.Away() {
			t.Error("the catalogue does not count as away")
		}
		for range 1000 {
			check("away", false, 0)
		}
		time.Sleep(2 * time.Second)
		check("trying", false, brief)
		for range 1000 {
			check("still away", false, 0)
		}
		c.mu.Lock()
		if c.asked > 10 { // the follower, too
			t.Errorf("it was asked %d times", c.asked)
		}
		c.mu.Unlock()
		c.speak()
		check("nobody has asked yet", false, 0)
		time.Sleep(2 * time.Second)
		check("it is back", true, 0)
		check("and stays", true, 0)
		if n.Away() {
			t.Error("the catalogue still counts as away")
		}
		mu.Lock()
		defer mu.Unlock()
		told := 0
		for _, err := range faults {
			if errors.Is(err, storage.ErrUnavailable) {
				told++
			}
		}
		if told != 4 {
			t.Errorf("%d faults were told, want those of the 4 checks that asked: %v", told, faults)
		}
	})
}

// TestSilenceOfTheCaller: a caller who hangs up says nothing of the catalogue.
func TestSilenceOfTheCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &silent{Catalogue: catalogues["memory"](t)}
		n := start(t, c, matcher.Options{Brief: time.Second})
		n.bank("bank", "block", nil)
		s := signal(hashing.PDQ, 1)
		n.flagSignals("bank", s)
		c.hush()
		for range 10 {
			ctx, cancel := context.WithTimeout(n.ctx, time.Millisecond)
			_, err := n.Check(ctx, matcher.Question{Signals: []hashing.Signal{s}})
			wantErr(t, err, context.DeadlineExceeded)
			cancel()
		}
		if n.Away() {
			t.Error("the catalogue counts as away")
		}
		c.speak()
	})
}

// TestFloodsDoNotWaitForASilentCatalogue: what floods is to be taken out, and cannot be; the check is answered all the same.
func TestFloodsDoNotWaitForASilentCatalogue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &silent{Catalogue: catalogues["memory"](t)}
		n := start(t, c, matcher.Options{Brief: 250 * time.Millisecond, Patience: 2 * time.Second})
		block := "block"
		_, err := n.CreateBank(n.ctx, local, matcher.NewBank{BankEdit: matcher.BankEdit{Name: ptr("bank"), Action: &block, Flood: ptr(2)}})
		must(t, err)
		s := signal(hashing.PDQ, 1)
		flagged := n.flagSignals("bank", s)
		c.hush()
		for bit := range 20 {
			began := time.Now()
			v := n.checkSignals(away(s, bit))
			equal(t, matched(v), ids(flagged))
			if took := time.Since(began); took > 2250*time.Millisecond || bit > 5 && took > 0 {
				t.Errorf("check %d took %v", bit, took)
			}
			if v.Matches[0].Flooded {
				t.Errorf("check %d does not count what was not taken out", bit)
			}
		}
		c.speak()
		time.Sleep(time.Minute)
		if v := n.checkSignals(away(s, 20)); !v.Matches[0].Flooded {
			t.Error("it is not taken out when the catalogue is back")
		}
	})
}

// slowToWrite is a catalogue that answers questions, and takes no updates while it is hushed.
type slowToWrite struct{ *silent }

func (s slowToWrite) Head(ctx context.Context) (storage.Head, error) { return s.Catalogue.Head(ctx) }

func (s slowToWrite) View(ctx context.Context, fn func(storage.Reader) error) error {
	return s.Catalogue.View(ctx, fn)
}

// TestFloodsDoNotSilenceExplanations: what cannot be taken out says nothing of whether questions are answered.
func TestFloodsDoNotSilenceExplanations(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := slowToWrite{&silent{Catalogue: catalogues["memory"](t)}}
		n := start(t, c, matcher.Options{Brief: 250 * time.Millisecond, Patience: 2 * time.Second})
		block := "block"
		_, err := n.CreateBank(n.ctx, local, matcher.NewBank{BankEdit: matcher.BankEdit{Name: ptr("bank"), Action: &block, Flood: ptr(2)}})
		must(t, err)
		s := signal(hashing.PDQ, 1)
		n.flagSignals("bank", s)
		c.hush()
		for bit := range 10 {
			if v := n.checkSignals(away(s, bit)); v.Unexplained || n.Away() {
				t.Errorf("check %d: unexplained %t, away %t", bit, v.Unexplained, n.Away())
			}
		}
		c.mu.Lock()
		if c.asked != 3 {
			t.Errorf("%d updates were tried, want 3 and then none for a while", c.asked)
		}
		c.mu.Unlock()
		c.speak()
		time.Sleep(time.Minute)
	})
}

// TestFlagsDoNotWaitForASilentCatalogue: a flag whose caller waits for ever is refused after five seconds, with its key or without, and
// is taken when the catalogue is back.
func TestFlagsDoNotWaitForASilentCatalogue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &silent{Catalogue: catalogues["memory"](t)}
		n := start(t, c, matcher.Options{Brief: 250 * time.Millisecond})
		n.bank("bank", "block", nil)
		f := matcher.Flagging{Bank: "bank", Signals: []hashing.Signal{signal(hashing.PDQ, 1)}}
		once := matcher.WithOnce(n.ctx, matcher.Once{Scope: "key", Key: "one"})
		c.hush()
		for what, ctx := range map[string]context.Context{"without a key": n.ctx, "with one": once} {
			began := time.Now()
			if _, err := n.Flag(ctx, f); !errors.Is(err, storage.ErrUnavailable) || time.Since(began) > 6*time.Second {
				t.Errorf("%s: %v, after %v", what, err, time.Since(began))
			}
		}
		c.speak()
		if _, err := n.Flag(once, f); err != nil {
			t.Error(err)
		}
	})
}
