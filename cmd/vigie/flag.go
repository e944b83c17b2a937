package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	v1 "vigie/api/v1"
	"vigie/hashing"
)

type flagCmd struct {
	Bank             string   `required:"" help:"Bank to flag into." placeholder:"NAME"`
	Label            []string `help:"Label of the entries; may be repeated." placeholder:"LABEL"`
	Note             string   `help:"Note on the entries."`
	Origin           string   `help:"Where they come from: a URL, a case number."`
	Expires          expiry   `help:"When they are to match no more: after a time such as 720h, or on a day such as 2027-05-01." placeholder:"WHEN"`
	ExactOnly        bool     `help:"Take the files by their digests alone."`
	DespiteKnownGood bool     `help:"Also what is near a known-good entry."`
	Signal           []string `help:"Flag a signal instead of files: pdq:<64 hex>, md5:<32 hex>, ...; repeat for more signals of one entry." placeholder:"SIGNAL"`
	VPDQ             string   `name:"vpdq" help:"Flag a list of the hashes of a video's frames, as vPDQ writes it (text or JSON), instead of files; - is standard input." placeholder:"FILE"`
	Files            []string `arg:"" optional:"" name:"file" help:"Pictures and videos."`
}

// flaggedFile is one line of vigie flag --json.
type flaggedFile struct {
	File        string              `json:"file,omitempty"`
	Entry       int64               `json:"entry"`
	Seq         int64               `json:"seq"`
	Created     bool                `json:"created"`
	Matchable   bool                `json:"matchable"`
	Proposed    bool                `json:"proposed,omitempty"`
	ExpiresAt   *time.Time          `json:"expires_at,omitempty"`
	Frames      *v1.StoredFrames    `json:"frames,omitempty"`
	Retracted   []v1.RetractedEntry `json:"retracted"`
	Neighbours  []v1.Neighbour      `json:"neighbours"`
	PastUploads *v1.PastUploads     `json:"past_uploads,omitempty"`
}

// Run flags each file, or the signals given.
func (c *flagCmd) Run(ctx context.Context, a *app) error {
	if sources := oneIf(len(c.Files) > 0) + oneIf(len(c.Signal) > 0) + oneIf(c.VPDQ != ""); sources != 1 {
		return usagef("flag files, or signals with --signal, or a list with --vpdq: one of them")
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
		labels := append(v1.Labels{}, c.Label...) // none is an empty list: the contract knows no null
		body := v1.FlagSignals{Signals: signals, Labels: &labels, Note: &c.Note, Origin: &c.Origin, ExpiresAt: c.Expires.some(), DespiteKnownGood: &c.DespiteKnownGood}
		out, err := ask[v1.Flagged](node.Flag(ctx, c.Bank, body))
		if err != nil {
			return err
		}
		return c.show(a.printer, flaggedOf("", out))
	}
	fields := map[string][]string{
		"labels": c.Label, "note": {c.Note}, "origin": {c.Origin}, "exact_only": {fmt.Sprint(c.ExactOnly)},
		"despite_known_good": {fmt.Sprint(c.DespiteKnownGood)},
	}
	if at := c.Expires.some(); at != nil {
		fields["expires_at"] = []string{at.Format(time.RFC3339Nano)}
	}
	shown := a.longWork(c.Files)
	defer shown.wait()
	work := func(ctx context.Context, file string) (flaggedFile, error) {
		open := func() (io.ReadCloser, error) {
			f, err := openRegular(file)
			if err != nil {
				return nil, err
			}
			return shown.sending(f), nil
		}
		out, err := node.flag(ctx, c.Bank, open, fields)
		return flaggedOf(file, out), err
	}
	return eachFile(ctx, shown.printer, c.Files, work, func(f flaggedFile) error { return c.show(shown.printer, f) })
}

func flaggedOf(file string, f v1.Flagged) flaggedFile {
	return flaggedFile{file, f.Entry.Id, f.Seq, f.Created, f.Matchable, f.Entry.Status == v1.Proposed, f.Entry.ExpiresAt, f.Frames, f.Retracted, f.Neighbours, f.PastUploads}
}

func (c *flagCmd) show(a printer, f flaggedFile) error {
	if a.json {
		return a.object(f)
	}
	what := "flagged as entry %d (change %d)"
	if !f.Created {
		what = "the bank had it as entry %d; the source was added (change %d)"
	}
	prefix := ""
	if f.File != "" {
		prefix = printable(f.File) + ": "
	}
	a.say("%s"+what, prefix, f.Entry, f.Seq)
	if n := f.Frames; n != nil {
		cut := ""
		if n.Cut {
			cut = "; the video was not decoded to its end"
		}
		a.say("  %s stored, %d dropped%s", plural(n.Kept, "frame"), n.Dropped, cut)
	}
	if !f.Created && (len(c.Label) > 0 || c.Note != "") {
		a.say("  its labels and note stay as they are; change them with vigie entries change %d", f.Entry)
	}
	if at := f.ExpiresAt; at != nil {
		a.say("  it expires %s; change that with vigie entries change %d", at.Local().Format(stamp), f.Entry)
	} else if !c.Expires.at.IsZero() {
		a.say("  it does not expire, as before; change that with vigie entries change %d", f.Entry)
	}
	if f.Proposed {
		a.say("  it matches when somebody else confirms it: vigie entries confirm %d", f.Entry)
	}
	for _, r := range f.Retracted {
		a.say("  the same media was retracted as entry %d: %s", r.Entry, printable(r.Reason))
	}
	for _, n := range f.Neighbours {
		a.say("  near entry %d of %s: %s distance %d%s", n.Entry, n.Bank, signalName(n.Algorithm, n.Variant), n.Distance, turnedBy(n.Transform))
	}
	if p := f.PastUploads; p != nil {
		a.say("  %s", pastWords(*p, f.Entry))
	}
	return nil
}

// pastWords tell how many past uploads match an entry, as far as was searched.
func pastWords(p v1.PastUploads, entry int64) string {
	words := fmt.Sprintf("past uploads that match: %d of yours, %d of others", p.OwnTotal, p.Others)
	switch {
	case p.CutAt != nil:
		words += fmt.Sprintf(", and more: the search stopped at %d near it", *p.CutAt)
	case p.Partial || !p.Complete:
		words += ", and perhaps more"
	}
	return fmt.Sprintf("%s; they come as matches: vigie matches --entry %d", words, entry)
}

// signalName is "pdq", or "pdq/cli" for another variant than the plain one.
func signalName(a v1.Algorithm, v v1.Variant) string {
	if v == "" {
		return string(a)
	}
	return string(a) + "/" + string(v)
}

func turnedBy(t v1.Transform) string {
	if t == v1.TransformNone {
		return ""
	}
	return ", " + string(t)
}

// parseSignals reads signals from the command line.
func parseSignals(texts []string) ([]v1.Signal, error) {
	var out []v1.Signal
	for _, text := range texts {
		s, err := hashing.Parse(strings.TrimSpace(text))
		if err != nil {
			return nil, usagef("--signal: %w", err)
		}
		variant := v1.Variant(s.Variant.String())
		out = append(out, v1.Signal{Algorithm: v1.Algorithm(s.Algorithm.String()), Variant: &variant, Value: s.Hex()})
	}
	return out, nil
}
