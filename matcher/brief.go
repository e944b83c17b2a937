package matcher

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"vigie/storage"
)

// A check is answered from memory. What it asks the catalogue for besides, it can do without, and must: a database that is away,
// or that takes requests and never answers, is to cost a check nothing. So such a question has a bound, and after a few that
// were not answered none are asked for some seconds.

const (
	trips     = 3 // questions in a row without an answer
	unaskedIn = 2 * time.Second
)

// errUnasked is a [storage.ErrUnavailable], too: the question was not asked, since those before were not answered.
var errUnasked = fmt.Errorf("not asked, since it did not answer a moment ago: %w", storage.ErrUnavailable)

// breaker remembers that the catalogue does not answer. It is safe for concurrent use; the zero value lets all through.
type breaker struct {
	mu     sync.Mutex
	failed int       // in a row
	next   time.Time // when one may ask again
}

// open reports whether nobody asks.
func (b *breaker) open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed >= trips
}

// ask reports whether a question may be asked. While the breaker is open, that is one in a while.
func (b *breaker) ask(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed < trips {
		return true
	}
	if now.Before(b.next) {
		return false
	}
	b.next = now.Add(unaskedIn)
	return true
}

// told notes whether a question was answered.
func (b *breaker) told(answered bool, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if answered {
		b.failed = 0
		return
	}
	if b.failed++; b.failed >= trips {
		b.next = now.Add(unaskedIn)
	}
}

// Away reports that checks do without the catalogue at present, since it does not answer.
func (m *Matcher) Away() bool { return m.breaker.open() }

// briefly asks the catalogue for what a check can do without, for at most a time. If that has passed, ask goes on behind its
// back, so it must not touch what its caller has. The error is ErrUnavailable then; or the context's, if that has ended.
// Without [Options.Brief] the catalogue may take its time.
func briefly[T any](ctx context.Context, m *Matcher, most time.Duration, ask func(context.Context) (T, error)) (answer T, err error) {
	return brieflyBy(ctx, m, &m.breaker, most, ask)
}

// soon asks the catalogue for something small that a change cannot do without. A connection that takes questions and never answers must not
// hold whoever waits for the change until its context ends: an upload may take many minutes.
func soon[T any](ctx context.Context, m *Matcher, ask func(context.Context) (T, error)) (T, error) {
	return brieflyBy(ctx, m, new(breaker), soonTime, ask)
}

const soonTime = 5 * time.Second

// brieflyBy is briefly with another breaker: updates queue, and that they are late says nothing of questions.
func brieflyBy[T any](ctx context.Context, m *Matcher, b *breaker, most time.Duration, ask func(context.Context) (T, error)) (answer T, err error) {
	if m.o.Brief == 0 {
		return ask(ctx)
	}
	if !b.ask(m.o.Now()) {
		return answer, errUnasked
	}
	bounded, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	type outcome struct {
		answer T
		err    error
		panic  any // which is the caller's
	}
	came := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			o.panic = recover()
			came <- o
		}()
		o.answer, o.err = ask(bounded)
	}()
	select {
	case o := <-came:
		if o.panic != nil {
			panic(o.panic)
		}
		answer, err = o.answer, o.err
	case <-bounded.Done():
		err = bounded.Err()
	}
	if ctx.Err() != nil {
		return answer, ctx.Err() // which says nothing of the catalogue
	}
	late := bounded.Err() != nil && err != nil
	if late && !errors.Is(err, storage.ErrUnavailable) {
		err = fmt.Errorf("no answer within %v: %w", most, storage.ErrUnavailable)
	}
	b.told(!errors.Is(err, storage.ErrUnavailable), m.o.Now())
	return answer, err
}
