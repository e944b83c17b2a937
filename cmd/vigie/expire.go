package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// expireEvery is how often a node looks for entries whose time has come.
const expireEvery = 30 * time.Second

// expire takes out entries whose time has come, now and then, until ctx ends. All nodes of a database look: the first does it.
func (n *node) expire(ctx context.Context, log *slog.Logger) {
	for ; ctx.Err() == nil; sleep(ctx, expireEvery) {
		n.expireNow(ctx, log)
	}
}

func (n *node) expireNow(ctx context.Context, log *slog.Logger) {
	expired, err := n.matcher.ExpireEntries(ctx)
	if expired > 0 {
		log.Info("entries have expired", "entries", expired)
	}
	if err != nil && ctx.Err() == nil {
		log.Error("the next look tries it again", "error", err)
	}
}

// expiry is when something is to end, as a flag has it: after a time (720h), on a day (2027-05-01, here), or at a time of RFC 3339.
type expiry struct{ at time.Time }

// UnmarshalText reads the flag's value.
func (e *expiry) UnmarshalText(text []byte) error {
	value := string(text)
	after, err := time.ParseDuration(value)
	if err == nil && after > 0 {
		e.at = time.Now().Add(after)
	} else if e.at, err = time.Parse(time.RFC3339, value); err != nil {
		if e.at, err = time.ParseInLocation(time.DateOnly, value, time.Local); err != nil {
			return fmt.Errorf("%.64q; accepted are a time to last such as 720h, a day such as 2027-05-01, or 2027-05-01T06:00:00Z", value)
		}
	}
	e.at = e.at.UTC()
	return nil
}

// some is nil if the flag was not given.
func (e expiry) some() *time.Time {
	if e.at.IsZero() {
		return nil
	}
	return &e.at
}
