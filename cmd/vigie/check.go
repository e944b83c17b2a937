package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	v1 "vigie/api/v1"
)

type checkCmd struct {
	Bank      []string `help:"Only this bank; may be repeated." placeholder:"NAME"`
	Context   []string `help:"What you know of the surroundings, heeded by entries with a label context: news, education, art, research, counter_terror." placeholder:"CONTEXT,..."`
	ContentID string   `help:"Your name of the upload, for a single one; matches can be listed by it." placeholder:"CONTENT_ID"`
	MinSeq    int64    `help:"Answer only from an index that has seen this change." placeholder:"SEQ"`
	Signal    []string `help:"Check a signal instead of files: pdq:<64 hex>, md5:<32 hex>, ...; repeat for more signals of one media." placeholder:"SIGNAL"`
	Band      bool     `help:"With --signal: search also beyond the radius, as far as the banks' second vote goes. It costs more; for files it is always done."`
	VPDQ      string   `name:"vpdq" help:"Check a list of the hashes of a video's frames, as vPDQ writes it (text or JSON), instead of files; - is standard input." placeholder:"FILE"`
	videoFields
	QueryPercent  *float32 `help:"vPDQ calls it a match from so many percent of the upload's frames (80)." placeholder:"PERCENT"`
	TargetPercent *float32 `help:"And of the entry's frames (0)." placeholder:"PERCENT"`
	Files         []string `arg:"" optional:"" name:"file" help:"Pictures and videos."`
}

// checkedFile is one line of vigie check --json and vigie scan --json: the verdict, and the file's name.
type checkedFile struct {
	File string `json:"file,omitempty"`
	v1.Verdict
}

// Run checks each file, or the signals given.
func (c *checkCmd) Run(ctx context.Context, a *app) error {
	if sources := oneIf(len(c.Files) > 0) + oneIf(len(c.Signal) > 0) + oneIf(c.VPDQ != ""); sources != 1 {
		return usagef("check files, or signals with --signal, or a list with --vpdq: one of them")
	}
	if c.Band && len(c.Signal) == 0 {
		return usagef("--band is for --signal; files are always checked so")
	}
	if c.ContentID != "" && len(c.Files) > 1 {
		return usagef("--content-id names one upload; check the files one by one")
	}
	signals, err := parseSignals(c.Signal)
	if c.VPDQ != "" {
		signals, err = a.readVPDQ(c.VPDQ)
	}
	if err != nil {
		return err
	}
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	if len(signals) > 0 {
		body := v1.CheckSignals{
			Signals: signals, MinSeq: &c.MinSeq, Band: &c.Band,
			StopAtFirst: &c.StopAtFirst, Video: thresholds(c.QueryPercent, c.TargetPercent),
		}
		if len(c.Bank) > 0 {
			body.Banks = &c.Bank
		}
		if len(c.Context) > 0 {
			known := make([]v1.Context, len(c.Context))
			for i, word := range c.Context {
				known[i] = v1.Context(word)
			}
			body.Context = &known
		}
		if c.ContentID != "" {
			body.ContentId = &c.ContentID
		}
		verdict, err := ask[v1.Verdict](node.Check(ctx, body))
		if err != nil {
			return err
		}
		return showVerdict(a.printer, checkedFile{Verdict: verdict})
	}
	fields := checkFields(c.Bank, c.MinSeq)
	c.add(fields)
	if len(c.Context) > 0 {
		fields["context"] = []string{strings.Join(c.Context, ",")}
	}
	if c.ContentID != "" {
		fields["content_id"] = []string{c.ContentID}
	}
	for name, p := range map[string]*float32{"query_percent": c.QueryPercent, "target_percent": c.TargetPercent} {
		if p != nil {
			fields[name] = []string{fmt.Sprint(*p)}
		}
	}
	shown := a.longWork(c.Files)
	defer shown.wait()
	work := func(ctx context.Context, file string) (checkedFile, error) {
		open := func() (io.ReadCloser, error) {
			f, err := openRegular(file)
			if err != nil {
				return nil, err
			}
			return shown.sending(f), nil
		}
		verdict, err := node.check(ctx, open, fields)
		return checkedFile{file, verdict}, err
	}
	return eachFile(ctx, shown.printer, c.Files, work, func(v checkedFile) error { return showVerdict(shown.printer, v) })
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
	p.say("%s: %s%s%s%s", printable(name), verdictWords(v.Verdict), graphicWords(v.Graphic), framesWords(v.Frames), unhashableWords(v.Unhashable))
	if value(v.Unrecorded) {
		p.warn("%s: what was found could not be recorded: there is no match to decide about", printable(name))
	}
	if value(v.Unexplained) {
		p.warn("%s: the catalogue could not be read: labels and opinions are missing", printable(name))
	}
	if skipped := value(v.Skipped); len(skipped) > 0 {
		p.say("  not asked, by their enabled ratio: %s", strings.Join(skipped, ", "))
	}
	for _, m := range v.Matches {
		level := ""
		if m.Level != v.Level {
			level = string(m.Level) + ", "
		}
		p.say("  entry %d of %s: %s%s%s%s", m.Entry, m.Bank, level, matchWords(m), labelWords(m.Labels), limitWords(m))
		for _, line := range videoLines(m) {
			p.say("    %s", line)
		}
	}
	if more := v.MatchesTotal - len(v.Matches); more > 0 {
		p.say("  and %d more", more)
	}
	if id := value(v.Match); id != "" {
		p.say("  recorded as match %s", id)
	}
	return nil
}

func verdictWords(v v1.Verdict) string {
	if v.Level == v1.LevelNone {
		return "none"
	}
	link := ""
	if l := value(v.Link); l != "" {
		link = " to " + printable(l)
	}
	return fmt.Sprintf("%s, %s%s", strings.ToUpper(string(v.Level)), v.Action, link)
}

// limitReasons say why a match recommends less than its bank does, or nothing. That it is not a full match, its level says.
var limitReasons = map[v1.Limit]string{
	v1.ByContext:     "its context rule",
	v1.ByOpinion:     "what parties say of it",
	v1.ByUnexplained: "its labels cannot be read",
	v1.ByFlood:       "it floods, and was quarantined",
	v1.ByTest:        "a test bank",
}

// limitWords tell what a match recommends, and why not more.
func limitWords(m v1.Match) string {
	if s := m.SuppressedBy; s != nil {
		return fmt.Sprintf("; does not count: entry %d of %s, which is known to be good, is nearer, %s distance %d", s.Entry, s.Bank, s.Algorithm, s.Distance)
	}
	var why []string
	for _, l := range value(m.Limits) {
		if reason := limitReasons[l]; reason != "" {
			why = append(why, reason)
		}
	}
	if len(why) == 0 {
		return ""
	}
	return fmt.Sprintf("; %s, for %s", m.Action, strings.Join(why, " and "))
}

func unhashableWords(u *v1.Unhashable) string {
	if u == nil {
		return ""
	}
	return fmt.Sprintf(" (no perceptual hash: %s; its digests were checked)", u.Reason)
}

func graphicWords(graphic *bool) string {
	if graphic == nil || !*graphic {
		return ""
	}
	return " (a graphic: it must be nearer than other pictures)"
}

// matchWords explain a match: "pdq distance 12 of 31, mirror", "pdq distance 40 of 47, phash 3 of 8 agrees".
func matchWords(m v1.Match) string {
	name := signalName(m.Algorithm, m.Variant)
	if m.Algorithm == v1.Sha256 || m.Algorithm == v1.Md5 {
		return "the same bytes (" + name + ")"
	}
	return fmt.Sprintf("%s distance %d of %d%s%s", name, m.Distance, m.Radius, turnedBy(m.Transform), voteWords(m))
}

// voteWords tell how a second vote came out, or that a hit of pdq was left open without one.
func voteWords(m v1.Match) string {
	switch {
	case m.Vote != nil && m.Vote.Agrees:
		return fmt.Sprintf(", %s %d of %d agrees", m.Vote.Algorithm, m.Vote.Distance, m.Vote.Radius)
	case m.Vote != nil:
		return fmt.Sprintf(", %s %d of %d does not agree", m.Vote.Algorithm, m.Vote.Distance, m.Vote.Radius)
	case m.Algorithm == v1.Pdq && m.Level != v1.LevelMatch && m.Video == nil:
		return ", without a second vote"
	}
	return ""
}

func labelWords(labels []string) string {
	if len(labels) == 0 {
		return ""
	}
	return " [" + strings.Join(labels, ", ") + "]"
}

func oneIf(b bool) int {
	if b {
		return 1
	}
	return 0
}
