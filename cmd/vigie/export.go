package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	v1 "vigie/api/v1"
	"vigie/exchange"
	"vigie/hashing"
)

type exportCmd struct {
	Bank   string `required:"" help:"Bank to export." placeholder:"NAME"`
	Out    string `short:"o" help:"File to write; standard output if left out." placeholder:"FILE"`
	Format string `help:"csv, ndjson, tx-csv or local-file." default:"csv" enum:"csv,ndjson,tx-csv,local-file" placeholder:"FORMAT"`
	Label  string `help:"Only entries with this label." placeholder:"LABEL"`
	All    bool   `help:"Also entries that are not active, with their status."`
}

// exportSummary is what vigie export --json prints to standard error's place: the list itself has standard output.
type exportSummary struct {
	Entries int            `json:"entries"`
	Lost    map[string]int `json:"lost,omitempty"`
	Skipped int            `json:"skipped,omitempty"`
}

// Run writes the entries of a bank as a list, by entry number: the same bank gives the same list.
func (c *exportCmd) Run(ctx context.Context, a *app) (err error) {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	out, done, err := c.create(a)
	if err != nil {
		return err
	}
	defer func() { err = done(err) }()
	w, err := exchange.NewWriter(out, exchange.Format(c.Format))
	if err != nil {
		return err
	}
	var summary exportSummary
	for page, err := range entryPages(ctx, node, c.params(), 0) {
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if e.SignalsTotal != nil { // a listing cuts long ones
				if e, err = ask[v1.Entry](node.GetEntry(ctx, e.Id)); err != nil {
					return err
				}
			}
			item, err := itemOf(e)
			if err != nil {
				return fmt.Errorf("entry %d: %w", e.Id, err)
			}
			var bad *exchange.RowError
			if err := w.Write(item); errors.As(err, &bad) {
				summary.Skipped++
				a.warn("entry %d cannot be written: %s", e.Id, bad.Detail)
			} else if err != nil {
				return err
			} else {
				summary.Entries++
			}
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.tell(a, summary, w.Lost())
}

func (c *exportCmd) params() v1.ListEntriesParams {
	p := v1.ListEntriesParams{Bank: &c.Bank}
	if !c.All {
		active := v1.Active
		p.Status = &active
	}
	if c.Label != "" {
		p.Label = &c.Label
	}
	return p
}

// create opens what the list is written to. done closes it: a file has its name only when the list is whole.
func (c *exportCmd) create(a *app) (out io.Writer, done func(error) error, err error) {
	if c.Out == "" {
		return a.out, func(err error) error { return err }, nil
	}
	f, err := os.Create(c.Out + ".part")
	if err != nil {
		return nil, nil, usageError{err}
	}
	return f, func(err error) error {
		if err == nil {
			err = f.Sync()
		}
		err = errors.Join(err, f.Close())
		if err == nil {
			err = os.Rename(f.Name(), c.Out)
		}
		if err != nil {
			_ = os.Remove(f.Name())
		}
		return err
	}, nil
}

func (c *exportCmd) tell(a *app, s exportSummary, lost map[exchange.Loss]int) error {
	var words []string
	for _, l := range slices.Sorted(maps.Keys(lost)) {
		if s.Lost == nil {
			s.Lost = map[string]int{}
		}
		s.Lost[string(l)] = lost[l]
		words = append(words, fmt.Sprintf("%s %d", l, lost[l]))
	}
	if len(words) > 0 {
		instead := "; csv and ndjson can"
		if f := exchange.Format(c.Format); f == exchange.CSV || f == exchange.NDJSON {
			instead = "" // the sources of an entry are longer than a row
		}
		a.warn("the format cannot say all of it: %s%s", strings.Join(words, ", "), instead)
	}
	if c.Out == "" {
		return nil
	}
	if a.json {
		return a.object(s)
	}
	a.say("%d entries of %s in %s", s.Entries, c.Bank, c.Out)
	return nil
}

// itemOf is an entry as lists have it.
func itemOf(e v1.Entry) (exchange.Item, error) {
	item := exchange.Item{ExactOnly: e.ExactOnly, Labels: e.Labels, Note: e.Note}
	for _, s := range e.Signals {
		signal, err := signalOf(s)
		if err != nil {
			return item, err
		}
		item.Signals = append(item.Signals, signal)
	}
	if e.Status != v1.Active {
		item.Status = string(e.Status)
	}
	if e.ExpiresAt != nil {
		item.ExpiresAt = e.ExpiresAt.UTC()
	}
	if m := e.Media; m != nil {
		item.Media = exchange.Media{
			Format: value(m.Format), Width: value(m.Width), Height: value(m.Height), Bytes: m.Bytes, DurationMS: value(m.DurationMs),
		}
	}
	for i, s := range e.Sources {
		// Who flagged it is not told: keys are of people, and mean nothing to other nodes.
		source := exchange.Source{Origin: value(s.Origin), List: value(s.List), Foreign: value(s.ForeignId), CreatedAt: s.At.UTC()}
		if i > 0 {
			item.More = append(item.More, source)
			continue
		}
		item.Origin, item.Source, item.Foreign, item.CreatedAt = source.Origin, source.List, source.Foreign, source.CreatedAt
	}
	return item, nil
}

// signalOf reads a signal of the contract.
func signalOf(s v1.Signal) (hashing.Signal, error) {
	variant := ""
	if s.Variant != nil {
		variant = string(*s.Variant)
	}
	signal, err := hashing.ParseParts(string(s.Algorithm), variant, s.Value)
	if err != nil {
		return signal, err
	}
	signal.Quality = hashing.QualityUnknown
	if signal.Algorithm.Exact() {
		signal.Quality = hashing.MaxQuality
	}
	if s.Quality != nil {
		signal.Quality = hashing.Quality(*s.Quality)
	}
	if s.TimeMs != nil {
		signal.Time = uint32(*s.TimeMs)
	}
	return signal, nil
}

// value is what a pointer points to, or nothing.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
