package matcher

import (
	"context"
	"sync/atomic"
)

// Whoever makes a change and then fails, because what it was to answer could not be read any more, must not say that nothing has
// happened.

type changedKey struct{}

// WithChanged returns a context, and what tells whether a change was made under it. Both are safe for concurrent use.
func WithChanged(ctx context.Context) (context.Context, func() bool) {
	var changed atomic.Bool
	return context.WithValue(ctx, changedKey{}, &changed), changed.Load
}

// noteChanged notes that a change is durable.
func noteChanged(ctx context.Context) {
	if changed, ok := ctx.Value(changedKey{}).(*atomic.Bool); ok {
		changed.Store(true)
	}
}
