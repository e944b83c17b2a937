package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	v1 "vigie/api/v1"
)

type entriesCmd struct {
	List    entriesListCmd  `cmd:"" default:"withargs" help:"List entries."`
	Show    entryShowCmd    `cmd:"" help:"Show an entry."`
	Change  entryChangeCmd  `cmd:"" help:"Change an entry's labels or note."`
	Retract entryRetractCmd `cmd:"" help:"Retract an entry: it stops matching. It can be restored."`
	Restore entryRestoreCmd `cmd:"" help:"Restore a retracted entry."`
}

type entriesListCmd struct {
	Bank   *string    `help:"Only of this bank." placeholder:"NAME"`
	Status *v1.Status `help:"Only active or retracted ones." placeholder:"STATUS"`
	Label  *string    `help:"Only with this label." placeholder:"LABEL"`
	Limit  int        `help:"At most so many; 0: all." default:"0"`
}

// Run lists entries, page after page.
func (c *entriesListCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	table := a.table
	var show func(v1.Entry) error
	end := func() error { return nil }
	if a.json {
		show = func(e v1.Entry) error { return a.object(e) }
	} else {
		w := table("ENTRY", "BANK", "STATUS", "SIGNALS", "LABELS", "FLAGGED", "NOTE")
		show = func(e v1.Entry) error { row(w, entryRow(e)...); return nil }
		end = w.Flush
	}
	shown := 0
	for cursor := (*string)(nil); ; {
		limit := 1000
		if c.Limit > 0 {
			limit = min(limit, c.Limit-shown)
		}
		type page struct {
			Entries []v1.Entry
			Next    *string
		}
		out, err := ask[page](node.ListEntries(ctx, &v1.ListEntriesParams{
			Bank: c.Bank, Status: c.Status, Label: c.Label, Cursor: cursor, Limit: &limit,
		}))
		if err != nil {
			return err
		}
		for _, e := range out.Entries {
			if err := show(e); err != nil {
				return err
			}
			shown++
		}
		if cursor = out.Next; cursor == nil || shown == c.Limit {
			return end()
		}
	}
}

func entryRow(e v1.Entry) []string {
	note := e.Note
	if len([]rune(note)) > 40 {
		note = string([]rune(note)[:39]) + "…"
	}
	return []string{
		fmt.Sprint(e.Id), e.Bank, entryState(e), fmt.Sprint(signalsOf(e)),
		strings.Join(e.Labels, ","), e.CreatedAt.Local().Format(stamp), note,
	}
}

// signalsOf is how many signals an entry has, whatever a listing shows.
func signalsOf(e v1.Entry) int {
	if e.SignalsTotal != nil {
		return *e.SignalsTotal
	}
	return len(e.Signals)
}

// entryState is the status, and whether the bank is deleted.
func entryState(e v1.Entry) string {
	if e.BankDeleted != nil && *e.BankDeleted {
		return string(e.Status) + " (bank deleted)"
	}
	return string(e.Status)
}

type entryID struct {
	Entry int64 `arg:"" help:"Number of the entry."`
}

// ask sends one request about an entry and shows the entry that is answered.
func (id entryID) ask(ctx context.Context, a *app, request func(*client) (*http.Response, error)) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	e, err := ask[v1.Entry](request(node))
	if err != nil {
		return err
	}
	if a.json {
		return a.object(e)
	}
	a.say("entry %d of %s: %s%s", e.Id, e.Bank, entryState(e), map[bool]string{true: ", by its digests alone"}[e.ExactOnly])
	if e.Reason != nil {
		a.say("reason: %s", printable(*e.Reason))
	}
	if e.Note != "" {
		a.say("note: %s", printable(e.Note))
	}
	if len(e.Labels) > 0 {
		a.say("labels: %s", strings.Join(e.Labels, ", "))
	}
	if m := e.Media; m != nil && m.Format != nil && m.Width != nil && m.Height != nil {
		duration := ""
		if m.DurationMs != nil {
			duration = durationWords(*m.DurationMs)
		}
		a.say("media: %s, %d x %d%s, %d bytes", *m.Format, *m.Width, *m.Height, duration, m.Bytes)
	}
	for _, s := range e.Signals {
		name := string(s.Algorithm)
		if s.Variant != nil && *s.Variant != "" {
			name += "/" + string(*s.Variant)
		}
		at := ""
		if s.TimeMs != nil {
			at = "  at " + exactly(*s.TimeMs)
		}
		a.say("  %s:%s%s", name, s.Value, at)
	}
	for _, s := range e.Sources {
		origin := ""
		if s.Origin != nil {
			origin = ", from " + printable(*s.Origin)
		}
		a.say("flagged %s by %s%s", s.At.Local().Format(stamp), s.Actor, origin)
	}
	return nil
}

type entryShowCmd struct{ entryID }

// Run shows an entry.
func (c *entryShowCmd) Run(ctx context.Context, a *app) error {
	return c.ask(ctx, a, func(n *client) (*http.Response, error) { return n.GetEntry(ctx, c.Entry) })
}

type entryChangeCmd struct {
	entryID
	Label    []string `help:"New labels, instead of all old ones; may be repeated." placeholder:"LABEL"`
	NoLabels bool     `help:"Remove all labels."`
	Note     *string  `help:"New note."`
}

// Run changes labels or note.
func (c *entryChangeCmd) Run(ctx context.Context, a *app) error {
	change := v1.EntryChange{Note: c.Note}
	if len(c.Label) > 0 || c.NoLabels {
		labels := append(v1.Labels{}, c.Label...)
		change.Labels = &labels
	}
	if change == (v1.EntryChange{}) || len(c.Label) > 0 && c.NoLabels {
		return usagef("name what to change: --label or --no-labels, --note")
	}
	return c.ask(ctx, a, func(n *client) (*http.Response, error) { return n.ChangeEntry(ctx, c.Entry, change) })
}

type reason struct {
	Reason string `required:"" help:"Why; it stays in the log."`
}

type entryRetractCmd struct {
	entryID
	reason
}

// Run retracts an entry.
func (c *entryRetractCmd) Run(ctx context.Context, a *app) error {
	return c.ask(ctx, a, func(n *client) (*http.Response, error) { return n.Retract(ctx, c.Entry, v1.Reason{Reason: c.Reason}) })
}

type entryRestoreCmd struct {
	entryID
	reason
}

// Run restores an entry.
func (c *entryRestoreCmd) Run(ctx context.Context, a *app) error {
	return c.ask(ctx, a, func(n *client) (*http.Response, error) { return n.Restore(ctx, c.Entry, v1.Reason{Reason: c.Reason}) })
}
