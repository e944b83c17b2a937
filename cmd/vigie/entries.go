package main

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"strings"

	v1 "vigie/api/v1"
)

type entriesCmd struct {
	List     entriesListCmd   `cmd:"" default:"withargs" help:"List entries."`
	Search   entriesSearchCmd `cmd:"" help:"Search entries for words in notes, labels, sources and reasons."`
	Show     entryShowCmd     `cmd:"" help:"Show an entry."`
	Change   entryChangeCmd   `cmd:"" help:"Change an entry's labels, note or expiry."`
	Retract  entryRetractCmd  `cmd:"" help:"Retract an entry: it stops matching. It can be restored."`
	Restore  entryRestoreCmd  `cmd:"" help:"Restore a retracted, quarantined or expired entry."`
	Confirm  entryConfirmCmd  `cmd:"" help:"Carry out what somebody else proposed of an entry."`
	Reject   entryRejectCmd   `cmd:"" help:"Drop what is proposed of an entry."`
	Opine    opineCmd         `cmd:"" help:"Say what your party thinks of an entry."`
	Opinions opinionsCmd      `cmd:"" help:"Show what is said of an entry."`
	Disable  disableCmd       `cmd:"" help:"Let an entry match nothing for your party alone."`
	Enable   enableCmd        `cmd:"" help:"Let an entry match again for your party."`
	Relabel  relabelCmd       `cmd:"" help:"Give an entry other labels for your party alone."`
}

type entriesListCmd struct {
	Bank    *string    `help:"Only of this bank." placeholder:"NAME"`
	Status  *v1.Status `help:"Only proposed, active, quarantined, retracted or expired ones." placeholder:"STATUS"`
	Label   *string    `help:"Only with this label." placeholder:"LABEL"`
	Waiting *bool      `help:"Only those of which something is proposed."`
	Limit   int        `help:"At most so many; 0: all." default:"0"`
}

// Run lists entries, page after page.
func (c *entriesListCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	p := v1.ListEntriesParams{Bank: c.Bank, Status: c.Status, Label: c.Label, Waiting: c.Waiting}
	entries := func(yield func(v1.Entry, error) bool) {
		for page, err := range entryPages(ctx, node, p, c.Limit) {
			if err != nil {
				yield(v1.Entry{}, err)
				return
			}
			for _, e := range page.Entries {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
	return stream(a.printer, entries, []string{"ENTRY", "BANK", "STATUS", "SIGNALS", "LABELS", "FLAGGED", "NOTE"}, entryRow)
}

// entryPages lists entries page by page, at most so many; 0: all.
func entryPages(ctx context.Context, node *client, p v1.ListEntriesParams, most int) iter.Seq2[v1.Entries, error] {
	return func(yield func(v1.Entries, error) bool) {
		for shown := 0; ; {
			limit := 1000
			if most > 0 {
				limit = min(limit, most-shown)
			}
			p.Limit = &limit
			page, err := ask[v1.Entries](node.ListEntries(ctx, &p))
			if !yield(page, err) || err != nil {
				return
			}
			shown += len(page.Entries)
			if p.Cursor = page.Next; p.Cursor == nil || shown == most {
				return
			}
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

// entryState is the status, whether the bank is deleted, and what is proposed.
func entryState(e v1.Entry) string {
	state := string(e.Status)
	if value(e.BankDeleted) {
		state += " (bank deleted)"
	}
	if e.Proposal != nil && e.Status != v1.Proposed {
		_, what, _ := strings.Cut(e.Proposal.Kind, ".")
		state += " (to be " + what + ")"
	}
	return state
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
	if p := e.Proposal; p != nil {
		a.say("%s; waits for: vigie entries confirm %d", proposalWords(*p), e.Id)
	}
	if at := e.ExpiresAt; at != nil {
		a.say("%s %s", map[bool]string{true: "expired", false: "expires"}[e.Status == v1.Expired], at.Local().Format(stamp))
	}
	if p := e.PastUploads; p != nil {
		a.say("%s", pastWords(*p, e.Id))
	}
	if r := e.ToRestore; r != nil {
		atLeast := map[bool]string{true: " at least"}
		if r.Count > 0 {
			a.say("to restore, since they were removed because of it: %s%s; vigie matches --entry %d --standing", plural(r.Count, "upload"), atLeast[r.More], e.Id)
		}
		if found := value(r.Rescans); found.Count > 0 {
			a.say("to look through, since re-scans have found them because of it: %s%s; vigie rescans hits --entry %d", plural(found.Count, "item"), atLeast[found.More], e.Id)
		}
	}
	if e.Note != "" {
		a.say("note: %s", printable(e.Note))
	}
	if len(e.Labels) > 0 {
		a.say("labels: %s", strings.Join(e.Labels, ", "))
	}
	if o := e.Overlay; o != nil {
		a.say("for your party alone: %s", overlayWords(*o))
	}
	if t := e.Opinions; t != nil {
		a.say("opinions: %s", tallyWords(*t))
	}
	if c := e.Counters; c != nil {
		a.say("matches: %d in the last hour, %d in the last day, %d in all; %d confirmed, %d overturned", c.Hour, c.Day, c.Total, c.Confirmed, c.Overturned)
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
		a.say("flagged %s by %s%s", s.At.Local().Format(stamp), s.Actor, sourceWords(s))
	}
	return nil
}

// sourceWords say where an entry comes from, as far as that is known.
func sourceWords(s v1.Source) string {
	words := ""
	if o := value(s.Origin); o != "" {
		words += ", from " + printable(o)
	}
	if l := value(s.List); l != "" {
		words += ", by the list " + printable(l)
	}
	if id := value(s.ForeignId); id != "" {
		words += ", there " + printable(id)
	}
	return words
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
	Expires  expiry   `help:"When it is to match no more: after a time such as 720h, or on a day such as 2027-05-01." placeholder:"WHEN"`
	NoExpiry bool     `help:"Let it match for ever."`
}

// Run changes labels, note or expiry.
func (c *entryChangeCmd) Run(ctx context.Context, a *app) error {
	change := v1.EntryChange{Note: c.Note, ExpiresAt: c.Expires.some()}
	if c.NoExpiry {
		change.NeverExpires = &c.NoExpiry
	}
	if len(c.Label) > 0 || c.NoLabels {
		labels := append(v1.Labels{}, c.Label...)
		change.Labels = &labels
	}
	if change == (v1.EntryChange{}) || len(c.Label) > 0 && c.NoLabels || change.ExpiresAt != nil && c.NoExpiry {
		return usagef("name what to change: --label or --no-labels, --note, --expires or --no-expiry")
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

type entryConfirmCmd struct{ entryID }

// Run carries out what is proposed.
func (c *entryConfirmCmd) Run(ctx context.Context, a *app) error {
	return c.ask(ctx, a, func(n *client) (*http.Response, error) { return n.ConfirmEntry(ctx, c.Entry) })
}

type entryRejectCmd struct {
	entryID
	reason
}

// Run drops what is proposed.
func (c *entryRejectCmd) Run(ctx context.Context, a *app) error {
	return c.ask(ctx, a, func(n *client) (*http.Response, error) {
		return n.RejectEntry(ctx, c.Entry, v1.Reason{Reason: c.Reason})
	})
}
