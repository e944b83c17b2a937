package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	v1 "vigie/api/v1"
)

type entriesSearchCmd struct {
	Words  []string   `arg:"" optional:"" help:"All are looked for. In quotation marks of their own: in a row. -without, begin*, misspelt~; label:, source:, note:, reason: before any of these. Put -- before words that begin with a dash."`
	Bank   *string    `help:"Only of this bank." placeholder:"NAME"`
	Status *v1.Status `help:"Only proposed, active, quarantined, retracted or expired ones." placeholder:"STATUS"`
	Label  *string    `help:"Only with this label." placeholder:"LABEL"`
	Source *string    `help:"Only of this source, as the facet names it." placeholder:"SOURCE"`
	period
	Sort   *v1.ListEntriesParamsSort    `help:"score: what fits best first, as without it; newest." placeholder:"ORDER"`
	Facets []v1.ListEntriesParamsFacets `help:"Count all hits by these: bank, label, source, status, month, day." placeholder:"FACET,..."`
	Limit  int                          `help:"At most so many; 0: all." default:"20"`
}

// foundEntry is a line of vigie entries search --json; the last line is a searchSummary.
type foundEntry struct {
	v1.Entry
	Found v1.FoundText `json:"found"`
}

type searchSummary struct {
	Total    int64               `json:"total"`
	IndexSeq int64               `json:"index_seq"`
	Facets   map[string]v1.Facet `json:"facets,omitempty"`
}

// Run searches, page after page, and shows where the words are.
func (c *entriesSearchCmd) Run(ctx context.Context, a *app) error {
	highlight := true
	p := v1.ListEntriesParams{
		Bank: c.Bank, Status: c.Status, Label: c.Label, Source: c.Source, Sort: c.Sort, Highlight: &highlight,
	}
	p.From, p.Until = c.bounds()
	if q := strings.Join(c.Words, " "); q != "" {
		p.Q = &q
	}
	if len(c.Facets) > 0 {
		p.Facets = &c.Facets
	}
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	if node.ends() { // its text index is as the command before left it: what was done since is to be found too
		one := 1
		log, err := ask[v1.Changes](node.ListChanges(ctx, &v1.ListChangesParams{Limit: &one}))
		if err != nil {
			return err
		}
		p.MinSeq = &log.Head.Seq
	}
	var summary *searchSummary
	hits := pages(c.Limit, 100, func(cursor *string, limit *int) ([]foundEntry, *string, error) {
		p.Cursor, p.Limit = cursor, limit
		page, err := searchPage(ctx, a, node, p)
		if err == nil && summary == nil {
			summary = &searchSummary{value(page.Total), value(page.IndexSeq), value(page.Facets)}
		}
		out := make([]foundEntry, len(page.Entries))
		for i, e := range page.Entries {
			out[i].Entry = e
			if found := value(page.Found); i < len(found) {
				out[i].Found = found[i]
			}
		}
		return out, page.Next, err
	})
	shown := 0
	for hit, err := range hits {
		if err != nil {
			return err
		}
		if err := a.showHit(hit); err != nil {
			return err
		}
		shown++
	}
	if a.json {
		return a.object(map[string]any{"summary": summary})
	}
	a.say("%d of %d found", shown, summary.Total)
	return a.showFacets(summary.Facets)
}

// tooSlow is the Retry-After from which on an overloaded node means the search itself, which would take as long again.
const tooSlow = 30 * time.Second

// textPatience is how long a search waits for a node that is making its text index, or is behind with it.
const textPatience = 10 * time.Minute

// searchPage asks for a page, again while the node is busy.
func searchPage(ctx context.Context, a *app, node *client, p v1.ListEntriesParams) (v1.Entries, error) {
	var last error
	page, err := insist(ctx, func() (page v1.Entries, err error) {
		page, err = readyPage(ctx, a, node, p)
		var problem *problemError
		if last = err; errors.As(err, &problem) && (problem.after == 0 || problem.after >= tooSlow) {
			err = nil // which ends it
		}
		return page, err
	})
	if err == nil {
		err = last
	}
	return page, err
}

// readyPage asks for a page, again and again while the node is not ready to search.
func readyPage(ctx context.Context, a *app, node *client, p v1.ListEntriesParams) (v1.Entries, error) {
	told := false
	for deadline := time.Now().Add(textPatience); ; {
		page, err := ask[v1.Entries](node.ListEntries(ctx, &p))
		var problem *problemError
		if !errors.As(err, &problem) || !slices.Contains([]string{"/problems/not-ready", "/problems/index-behind"}, problem.Type) || time.Now().After(deadline) {
			return page, err
		}
		if !told {
			a.warn("%s; waiting, %v at most", problem, textPatience)
			told = true
		}
		select {
		case <-ctx.Done():
			return page, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// showHit prints an entry that was found, with the pieces of its text that hold the words.
func (p printer) showHit(e foundEntry) error {
	if p.json {
		return p.object(e)
	}
	p.say("entry %d of %s: %s, flagged %s%s", e.Id, e.Bank, entryState(e.Entry), e.CreatedAt.Local().Format(stamp), labelWords(e.Labels))
	screen, ok := p.out.(*os.File)
	bold := ok && term.IsTerminal(int(screen.Fd()))
	fragments := value(e.Found.Fragments)
	for _, field := range slices.Sorted(maps.Keys(fragments)) {
		for _, f := range fragments[field] {
			p.say("  %s: %s", printable(field), fragmentWords(f, bold))
		}
	}
	return nil
}

// fragmentWords is a piece of text; what was searched for is bold on a terminal.
func fragmentWords(f v1.Fragment, bold bool) string {
	var text strings.Builder
	if value(f.CutBefore) {
		text.WriteString("…")
	}
	for _, part := range f.Parts {
		words := printable(part.Text)
		if part.Hit && bold {
			words = "\x1b[1m" + words + "\x1b[0m"
		}
		text.WriteString(words)
	}
	if value(f.CutAfter) {
		text.WriteString("…")
	}
	return text.String()
}

func (p printer) showFacets(facets map[string]v1.Facet) error {
	for _, name := range slices.Sorted(maps.Keys(facets)) {
		p.say("")
		w := p.table(strings.ToUpper(name), "ENTRIES")
		for _, v := range facets[name].Values {
			row(w, v.Value, fmt.Sprint(v.Count))
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if other := facets[name].Other; other > 0 {
			p.say("and %s", plural(other, "more value"))
		}
	}
	return nil
}
