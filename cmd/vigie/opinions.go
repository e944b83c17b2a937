package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	v1 "vigie/api/v1"
)

// What a party says of entries: to others by opinions, for itself by an overlay.

type opineCmd struct {
	entryID
	Stance v1.Stance `arg:"" help:"agree, disagree, or saw: met it too, and say nothing of its rightness."`
	Reason *string   `help:"Why; needed to disagree. The owner of the bank reads it." placeholder:"TEXT"`
}

// Run gives an opinion, in place of the one before.
func (c *opineCmd) Run(ctx context.Context, a *app) error {
	return c.showOpinions(ctx, a, func(n *client) (*http.Response, error) {
		return n.SetOpinion(ctx, c.Entry, v1.NewOpinion{Stance: c.Stance, Reason: c.Reason})
	})
}

type opinionsCmd struct{ entryID }

// Run shows what is said of an entry.
func (c *opinionsCmd) Run(ctx context.Context, a *app) error {
	return c.showOpinions(ctx, a, func(n *client) (*http.Response, error) { return n.ListOpinions(ctx, c.Entry) })
}

func (id entryID) showOpinions(ctx context.Context, a *app, request func(*client) (*http.Response, error)) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	out, err := ask[v1.Opinions](request(node))
	if err != nil {
		return err
	}
	if a.json {
		return a.object(out)
	}
	a.say("entry %d: %s", id.Entry, tallyWords(out.Tally))
	if len(out.Opinions) == 0 {
		return nil
	}
	return list(a.printer, out.Opinions, []string{"PARTY", "SAYS", "AT", "BY", "WHY"}, func(o v1.Opinion) []string {
		return []string{o.Party, string(o.Stance), o.At.Local().Format(stamp), o.Actor, value(o.Reason)}
	})
}

func tallyWords(t v1.Tally) string {
	return fmt.Sprintf("%s (%d agree, %d disagree, %d saw it)", t.Standing, t.Agree, t.Disagree, t.Saw)
}

func overlayWords(o v1.Overlay) string {
	var words []string
	if o.Disabled {
		words = append(words, "disabled")
	}
	if o.Labels != nil {
		labels := "no labels"
		if len(*o.Labels) > 0 {
			labels = "labels " + strings.Join(*o.Labels, ", ")
		}
		words = append(words, labels)
	}
	return strings.Join(words, ", ")
}

// overlay changes one thing of what the party holds of an entry for itself; the rest of it stays.
func (id entryID) overlay(ctx context.Context, a *app, change func(*v1.NewOverlay)) error {
	return id.ask(ctx, a, func(n *client) (*http.Response, error) {
		e, err := ask[v1.Entry](n.GetEntry(ctx, id.Entry))
		if err != nil {
			return nil, err
		}
		var o v1.NewOverlay
		if e.Overlay != nil {
			o.Disabled, o.Labels = &e.Overlay.Disabled, e.Overlay.Labels
		}
		change(&o)
		return n.SetOverlay(ctx, id.Entry, o)
	})
}

// whyOverlay is a reason that need not be given: the overlay concerns nobody else.
type whyOverlay struct {
	Reason *string `help:"Why; it stays in the log." placeholder:"TEXT"`
}

type disableCmd struct {
	entryID
	whyOverlay
}

// Run lets an entry match nothing for the party.
func (c *disableCmd) Run(ctx context.Context, a *app) error {
	disabled := true
	return c.overlay(ctx, a, func(o *v1.NewOverlay) { o.Disabled, o.Reason = &disabled, c.Reason })
}

type enableCmd struct {
	entryID
	whyOverlay
}

// Run lets an entry match again for the party.
func (c *enableCmd) Run(ctx context.Context, a *app) error {
	return c.overlay(ctx, a, func(o *v1.NewOverlay) { o.Disabled, o.Reason = nil, c.Reason })
}

type relabelCmd struct {
	entryID
	Label    []string `help:"Labels in place of the entry's; may be repeated." placeholder:"LABEL"`
	NoLabels bool     `help:"None."`
	Undo     bool     `help:"The entry's own again."`
	whyOverlay
}

// Run gives an entry other labels for the party.
func (c *relabelCmd) Run(ctx context.Context, a *app) error {
	if oneIf(len(c.Label) > 0)+oneIf(c.NoLabels)+oneIf(c.Undo) != 1 {
		return usagef("name the labels: --label, --no-labels or --undo")
	}
	return c.overlay(ctx, a, func(o *v1.NewOverlay) {
		o.Labels, o.Reason = nil, c.Reason
		if !c.Undo {
			labels := append(v1.Labels{}, c.Label...)
			o.Labels = &labels
		}
	})
}
