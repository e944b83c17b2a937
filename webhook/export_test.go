package webhook

import (
	"context"
	"strings"
	"time"

	"vigie/storage"
)

// Pass hands on all that there is.
func (s *Service) Pass(ctx context.Context) error {
	for {
		if more, _, err := s.pass(ctx); err != nil || !more {
			return err
		}
	}
}

// For tests.
const (
	PerHook  = perHook
	PerParty = perParty
	Parallel = parallel
	Breaks   = breaks
	Hold     = hold
	Attempts = attempts
)

// Backoff is how long is waited after so many failures.
var Backoff = backoff

// Holds is who hands on.
func (s *Service) Holds(ctx context.Context) string {
	var d storage.Dispatch
	_ = s.catalogue.View(ctx, func(r storage.Reader) (err error) {
		d, err = r.Dispatch()
		return err
	})
	return d.Holder
}

// Enter asks for a place at a webhook: leave gives it back; nil: there is none, and one is to come again after a while.
func (s *Sender) Enter(h storage.Webhook) (leave func(), after time.Duration) {
	leave, err := s.enter(h, true)
	if err != nil {
		text := strings.TrimSuffix(strings.TrimPrefix(err.Error(), "not before "), " from now")
		after, _ = time.ParseDuration(text)
	}
	return leave, after
}
