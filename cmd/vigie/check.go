package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	v1 "vigie/api/v1"
)

type checkCmd struct {
	Bank   []string `help:"Only this bank; may be repeated." placeholder:"NAME"`
	MinSeq int64    `help:"Answer only from an index that has seen this change." placeholder:"SEQ"`
	Signal []string `help:"Check a signal instead of files: pdq:<64 hex>, md5:<32 hex>, ...; repeat for more signals of one media." placeholder:"SIGNAL"`
	Files  []string `arg:"" optional:"" name:"file" help:"Pictures."`
}

// checkedFile is one line of vigie check --json and vigie scan --json: the verdict, and the file's name.
type checkedFile struct {
	File string `json:"file,omitempty"`
	v1.Verdict
}

// Run checks each file, or the signals given.
func (c *checkCmd) Run(ctx context.Context, a *app) error {
	if (len(c.Files) == 0) == (len(c.Signal) == 0) {
		return usagef("check files, or signals with --signal: one of both")
	}
	signals, err := parseSignals(c.Signal)
	if err != nil {
		return err
	}
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	if len(signals) > 0 {
		body := v1.CheckSignals{Signals: signals, MinSeq: &c.MinSeq}
		if len(c.Bank) > 0 {
			body.Banks = &c.Bank
		}
		verdict, err := ask[v1.Verdict](node.Check(ctx, body))
		if err != nil {
			return err
		}
		return showVerdict(a.printer, checkedFile{Verdict: verdict})
	}
	fields := checkFields(c.Bank, c.MinSeq)
	work := func(ctx context.Context, file string) (checkedFile, error) {
		verdict, err := node.check(ctx, func() (io.ReadCloser, error) { return openRegular(file) }, fields)
		return checkedFile{file, verdict}, err
	}
	return eachFile(ctx, a.printer, c.Files, work, func(v checkedFile) error { return showVerdict(a.printer, v) })
}

func checkFields(banks []string, minSeq int64) map[string][]string {
	fields := map[string][]string{}
	if len(banks) > 0 {
		fields["banks"] = banks
	}
	if minSeq > 0 {
		fields["min_seq"] = []string{fmt.Sprint(minSeq)}
	}
	return fields
}

// showVerdict prints a verdict: a line of JSON, or the level with a line for each match.
func showVerdict(p printer, v checkedFile) error {
	if p.json {
		return p.object(v)
	}
	name := v.File
	if name == "" {
		name = "signals"
	}
	if v.Banks == 0 {
		p.warn("there is no bank to check against: nothing can match")
	}
	p.say("%s: %s%s", printable(name), verdictWords(v.Verdict), unhashableWords(v.Unhashable))
	for _, m := range v.Matches {
		p.say("  entry %d of %s: %s%s", m.Entry, m.Bank, matchWords(m), labelWords(m.Labels))
	}
	if more := v.MatchesTotal - len(v.Matches); more > 0 {
		p.say("  and %d more", more)
	}
	return nil
}

func verdictWords(v v1.Verdict) string {
	if v.Level == v1.LevelNone {
		return "none"
	}
	return fmt.Sprintf("%s, %s", strings.ToUpper(string(v.Level)), v.Action)
}

func unhashableWords(u *v1.Unhashable) string {
	if u == nil {
		return ""
	}
	return fmt.Sprintf(" (no perceptual hash: %s; its digests were checked)", u.Reason)
}

// matchWords explain a match: "pdq distance 12 of 31, mirror".
func matchWords(m v1.Match) string {
	name := signalName(m.Algorithm, m.Variant)
	if m.Radius == 0 && m.Distance == 0 {
		return "the same bytes (" + name + ")"
	}
	return fmt.Sprintf("%s distance %d of %d%s", name, m.Distance, m.Radius, turnedBy(m.Transform))
}

func labelWords(labels []string) string {
	if len(labels) == 0 {
		return ""
	}
	return " [" + strings.Join(labels, ", ") + "]"
}
