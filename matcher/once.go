package matcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"vigie/storage"
)

// A request that changes something may come again, because its answer was lost. If it carries a key, it does its work once:
// the outcome is stored in the transaction of the change, and a repetition is answered from there.

// Once marks a request that is to do its work once.
type Once struct {
	Scope  string // who asks for what: key id and route
	Key    string // the caller's name of the request
	Digest storage.Hash
}

// RememberFor is how long an outcome is kept at least.
const RememberFor = 24 * time.Hour

type onceKey struct{}

// WithOnce makes the change that is made under the context happen once.
func WithOnce(ctx context.Context, o Once) context.Context {
	return context.WithValue(ctx, onceKey{}, o)
}

// done is what an update did, or had done when it was asked for before.
type done struct {
	Kind     storage.Kind    `json:"kind,omitempty"` // none: nothing had to be changed of what is named
	Bank     storage.BankID  `json:"bank,omitempty"`
	Entry    storage.EntryID `json:"entry,omitempty"`
	Key      string          `json:"key,omitempty"`
	Party    storage.PartyID `json:"party,omitempty"`
	Decision uint64          `json:"decision,omitempty"`
	Seq      uint64          `json:"-"` // 0: nothing had to be changed
	replayed bool
}

// remembered is what was done under the context's key; nil if nothing was, or it has none. ErrKeyReused if it was for
// another request.
func remembered(ctx context.Context, r storage.Reader) (*done, error) {
	once, ok := ctx.Value(onceKey{}).(Once)
	if !ok {
		return nil, nil
	}
	had, err := r.Remembered(once.Scope, once.Key)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case had.Digest != once.Digest:
		return nil, ErrKeyReused
	}
	d := &done{Seq: had.Seq, replayed: true}
	if err := json.Unmarshal(had.Outcome, d); err != nil {
		return nil, fmt.Errorf("%w: outcome of a request: %w", storage.ErrCorrupt, err)
	}
	return d, nil
}

// remember stores what was done under the context's key.
func remember(ctx context.Context, w storage.Writer, d done) error {
	once, ok := ctx.Value(onceKey{}).(Once)
	if !ok {
		return nil
	}
	outcome, _ := json.Marshal(d) // plain struct: cannot fail
	return w.Remember(storage.Remembered{Scope: once.Scope, Key: once.Key, Digest: once.Digest, Outcome: outcome})
}

// replay is what was done under the context's key before, or nil: for work that is long before it comes to its transaction.
func (m *Matcher) replay(ctx context.Context) (*done, error) {
	if ctx.Value(onceKey{}) == nil {
		return nil, nil
	}
	return soon(ctx, m, func(ctx context.Context) (d *done, err error) {
		err = m.catalogue.View(ctx, func(r storage.Reader) (err error) {
			d, err = remembered(ctx, r)
			return err
		})
		return d, err
	})
}

// Replayed reports whether the context's request was done before; see [WithOnce].
func (m *Matcher) Replayed(ctx context.Context) (bool, error) {
	d, err := m.replay(ctx)
	return d != nil, err
}

// Forget drops outcomes that are older than [RememberFor].
func (m *Matcher) Forget(ctx context.Context) error {
	const some = 1000
	for {
		var n int
		err := m.catalogue.Update(ctx, func(w storage.Writer) (err error) {
			n, err = w.Forget(m.o.Now().Add(-RememberFor), some)
			return err
		})
		if err != nil || n < some {
			return err
		}
	}
}

// OnceIn makes something in a transaction that is not this package's, once if the context's request has a key: then a repetition gets
// what was made before. It is kept as JSON: what names the thing. ErrKeyReused if the key was used for another request.
func OnceIn[T any](ctx context.Context, w storage.Writer, do func() (T, error)) (made T, err error) {
	once, ok := ctx.Value(onceKey{}).(Once)
	if !ok {
		return do()
	}
	type outcome struct {
		Made T `json:"made"`
	}
	switch had, err := w.Remembered(once.Scope, once.Key); {
	case err == nil && had.Digest != once.Digest:
		return made, ErrKeyReused
	case err == nil:
		var o outcome
		if err := json.Unmarshal(had.Outcome, &o); err != nil {
			return made, fmt.Errorf("%w: outcome of a request: %w", storage.ErrCorrupt, err)
		}
		return o.Made, nil
	case !errors.Is(err, storage.ErrNotFound):
		return made, err
	}
	if made, err = do(); err != nil {
		return made, err
	}
	text, err := json.Marshal(outcome{made})
	if err != nil {
		return made, err
	}
	return made, w.Remember(storage.Remembered{Scope: once.Scope, Key: once.Key, Digest: once.Digest, Outcome: text})
}
