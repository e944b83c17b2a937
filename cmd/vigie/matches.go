package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	v1 "vigie/api/v1"
)

type matchesCmd struct {
	List   matchesListCmd `cmd:"" default:"withargs" help:"List what checks found, newest first."`
	Show   matchShowCmd   `cmd:"" help:"Show a match, with its verdict and the decisions."`
	Decide decideCmd      `cmd:"" help:"Say what you did about a match; it replaces what you said before."`
	Erase  eraseCmd       `cmd:"" help:"Erase the name of an upload from all matches; they stay."`
}

type matchesListCmd struct {
	period
	Bank     *string   `help:"Only with an entry of this bank." placeholder:"NAME"`
	Entry    *int64    `help:"Only with this entry; of an entry of yours, also what other parties' checks found." placeholder:"ENTRY"`
	Level    *v1.Level `help:"Only verdicts of this level: review, likely or match." placeholder:"LEVEL"`
	Content  *string   `help:"Only of this upload." placeholder:"CONTENT_ID"`
	Standing bool      `help:"Only those removed because of the entry (or the bank, or any) and not put back: what to put back if it was wrong."`
	Limit    int       `help:"At most so many; 0: all." default:"0"`
}

// Run lists matches, page after page.
func (c *matchesListCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	p := v1.ListMatchesParams{Bank: c.Bank, Entry: c.Entry, Level: c.Level, ContentId: c.Content, Standing: &c.Standing}
	p.From, p.Until = c.bounds()
	found := pages(c.Limit, 500, func(cursor *string, limit *int) ([]v1.RecordedMatch, *string, error) {
		p.Cursor, p.Limit = cursor, limit
		type page struct {
			Matches []v1.RecordedMatch
			Next    *string
		}
		out, err := ask[page](node.ListMatches(ctx, &p))
		return out.Matches, out.Next, err
	})
	header := []string{"MATCH", "AT", "PARTY", "LEVEL", "ACTION", "ENTRIES", "DECISION", "CONTENT"}
	return stream(a.printer, found, header, func(m v1.RecordedMatch) []string {
		return []string{
			m.Id, m.At.Local().Format(stamp), m.Party, string(m.Level), string(value(m.Action)), matchedWords(m.Entries), standingDecision(m), contentWords(m),
		}
	})
}

// contentWords name the upload, and say if a look-back found it.
func contentWords(m v1.RecordedMatch) string {
	if m.Past == nil {
		return value(m.ContentId)
	}
	return strings.TrimSpace(value(m.ContentId) + " (past upload)")
}

// matchedWords name the strongest few entries of a match.
func matchedWords(entries []v1.MatchedEntry) string {
	const few = 3
	var words []string
	for _, e := range entries[:min(few, len(entries))] {
		word := fmt.Sprintf("%d of %s", e.Entry, value(e.Bank))
		if e.Out != nil {
			word += fmt.Sprintf(" (%s)", *e.Out)
		}
		words = append(words, word)
	}
	if more := len(entries) - few; more > 0 {
		words = append(words, fmt.Sprintf("%d more", more))
	}
	return strings.Join(words, ", ")
}

// standingDecision is the decision that counts; empty if there is none.
func standingDecision(m v1.RecordedMatch) string {
	if len(m.Decisions) == 0 {
		return ""
	}
	return string(m.Decisions[len(m.Decisions)-1].Ruling)
}

type matchShowCmd struct {
	Match string `arg:"" help:"The match's id, as the verdict has it."`
}

// Run shows a match.
func (c *matchShowCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	m, err := ask[v1.RecordedMatch](node.GetMatch(ctx, c.Match))
	if err != nil {
		return err
	}
	if a.json {
		return a.object(m)
	}
	if p := m.Past; p != nil {
		a.say("match %s, found %s by a look-back: a past upload of %s, uploaded %s", m.Id, m.At.Local().Format(stamp), m.Party, p.UploadedAt.Local().Format(stamp))
	} else {
		a.say("match %s, found %s by a check of %s", m.Id, m.At.Local().Format(stamp), m.Party)
	}
	what := "upload"
	if id := value(m.ContentId); id != "" {
		what = id
	}
	var v v1.Verdict
	if len(m.Verdict) == 0 { // of another party's check the owner of an entry sees that it was found
		a.say("%s, %s: %s", strings.ToUpper(string(m.Level)), value(m.Action), matchedWords(m.Entries))
	} else if err := json.Unmarshal(m.Verdict, &v); err != nil {
		return fmt.Errorf("the verdict on record is not as the contract says: %w", err)
	} else if err := showVerdict(a.printer, checkedFile{what, v}); err != nil {
		return err
	}
	for _, d := range m.Decisions {
		a.say("decided %s: %s", d.At.Local().Format(stamp), decisionWords(d))
	}
	return nil
}

func decisionWords(d v1.Decision) string {
	words := string(d.Ruling)
	if d.Actor != nil {
		words += " by " + *d.Actor
	}
	for i, e := range d.Entries {
		words += fmt.Sprintf("%s %d", map[bool]string{true: ", about entry", false: " and"}[i == 0], e)
	}
	for _, answer := range []struct {
		right *bool
		about string
	}{{d.MatchCorrect, "match"}, {d.LabelCorrect, "labels"}} {
		if answer.right != nil {
			words += ", " + answer.about + map[bool]string{true: " right", false: " wrong"}[*answer.right]
		}
	}
	if r := value(d.Reason); r != "" {
		words += ": " + printable(r)
	}
	return words
}

type decideCmd struct {
	Match        string    `arg:"" help:"The match's id, as the verdict has it."`
	Ruling       v1.Ruling `arg:"" help:"removed; kept; exempt (the match is right, and the context allows it); wrong_match (it shows something else); bad_hash (the entry should not be there); restored."`
	Reason       *string   `help:"Why." placeholder:"TEXT"`
	Entry        []int64   `help:"Only about this entry of the match; may be repeated." placeholder:"ENTRY"`
	MatchCorrect *bool     `help:"It is the same media." negatable:""`
	LabelCorrect *bool     `help:"The entry's labels fit." negatable:""`
}

// Run decides about a match.
func (c *decideCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	request := v1.NewDecision{Ruling: c.Ruling, Reason: c.Reason, MatchCorrect: c.MatchCorrect, LabelCorrect: c.LabelCorrect}
	if len(c.Entry) > 0 {
		request.Entries = &c.Entry
	}
	d, err := ask[v1.Decided](node.Decide(ctx, c.Match, request))
	if err != nil {
		return err
	}
	if a.json {
		return a.object(d)
	}
	a.say("match %s: %s (change %d)", d.Match, decisionWords(d.Decision), d.Seq)
	for _, e := range d.Quarantined {
		a.say("entry %d is quarantined by it; what rested on it: vigie matches --entry %d --standing", e, e)
	}
	for _, e := range d.Disabled {
		a.say("entry %d is disabled for your party by it; what rested on it: vigie matches --entry %d --standing", e, e)
	}
	for _, e := range d.Inactive {
		a.say("entry %d matched nobody any more before it", e)
	}
	return nil
}

type eraseCmd struct {
	Content string `arg:"" name:"content-id" help:"Your name of the upload, as the check had it."`
}

// Run erases the name of an upload.
func (c *eraseCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	out, err := ask[v1.Erased](node.EraseContent(ctx, v1.ContentName{ContentId: c.Content}))
	if err != nil {
		return err
	}
	if a.json {
		return a.object(out)
	}
	if out.Matches == 1 {
		a.say("erased from 1 match or item of a re-scan")
	} else {
		a.say("erased from %d matches and items of re-scans", out.Matches)
	}
	return nil
}
