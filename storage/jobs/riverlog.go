package jobs

import (
	"context"
	"errors"
	"log/slog"
	"strings"
)

// tell is a logger that passes on what River says only by logging: that it cannot reach the database, that it failed to
// write what became of a job. What it says of single jobs it says below the level of a warning.
func tell(fault func(error)) *slog.Logger { return slog.New(&teller{fault: fault}) }

type teller struct {
	slog.Handler // nil: nothing else is called
	fault        func(error)
}

// Enabled is for slog.
func (t *teller) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle is for slog. Of what stands beside the message it passes on the error alone. That jobs were cut short when a process ends is
// no fault: they are done again.
func (t *teller) Handle(_ context.Context, r slog.Record) error {
	s := r.Message
	if strings.Contains(s, "Soft stop timeout") {
		return nil
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "err" || a.Key == "error" {
			s += ": " + a.Value.String()
		}
		return true
	})
	t.fault(errors.New(s))
	return nil
}

// WithAttrs is for slog.
func (t *teller) WithAttrs([]slog.Attr) slog.Handler { return t }

// WithGroup is for slog.
func (t *teller) WithGroup(string) slog.Handler { return t }
