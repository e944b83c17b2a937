package main

import (
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// printer prints what commands find: tables for people, or JSON, one object a line.
type printer struct {
	json bool
	streams
}

// object prints one JSON object on a line.
func (p printer) object(v any) error {
	enc := json.NewEncoder(p.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// say prints a line for people; with --json it is left out.
func (p printer) say(format string, args ...any) {
	if !p.json {
		fmt.Fprintf(p.out, format+"\n", args...)
	}
}

// warn prints a line to standard error.
func (p printer) warn(format string, args ...any) { fmt.Fprintf(p.err, "vigie: "+format+"\n", args...) }

// table starts a table with a header; Flush ends it.
func (p printer) table(header ...string) *tabwriter.Writer {
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	row(w, header...)
	return w
}

func row(w *tabwriter.Writer, cells ...string) {
	for i, c := range cells {
		cells[i] = printable(c)
	}
	fmt.Fprintln(w, strings.Join(cells, "\t"))
}

// list prints items as JSON lines or as a table.
func list[T any](p printer, items []T, header []string, cells func(T) []string) error {
	return stream(p, func(yield func(T, error) bool) {
		for _, item := range items {
			if !yield(item, nil) {
				return
			}
		}
	}, header, cells)
}

// stream is list for items that come page by page. It ends with the first error.
func stream[T any](p printer, items iter.Seq2[T, error], header []string, cells func(T) []string) error {
	show := func(item T) error { return p.object(item) }
	end := func() error { return nil }
	if !p.json {
		w := p.table(header...)
		show, end = func(item T) error { row(w, cells(item)...); return nil }, w.Flush
	}
	for item, err := range items {
		if err == nil {
			err = show(item)
		}
		if err != nil {
			return err
		}
	}
	return end()
}

// pages lists items page by page, at most so many; 0: all.
func pages[T any](most, size int, page func(cursor *string, limit *int) (items []T, next *string, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var cursor *string
		for shown := 0; ; {
			limit := size
			if most > 0 {
				limit = min(limit, most-shown)
			}
			items, next, err := page(cursor, &limit)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			shown += len(items)
			if cursor = next; cursor == nil || shown == most {
				return
			}
		}
	}
}

// stamp is how times are shown to people: in the zone of the machine, which it names.
const stamp = "2006-01-02 15:04:05 MST"

// printable keeps what others wrote (file names, notes) from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}

// moment is a point in time as flags take it.
type moment struct{ time.Time }

// UnmarshalText reads a day, which begins at midnight here, or a time as JSON has it.
func (m *moment) UnmarshalText(text []byte) (err error) {
	if m.Time, err = time.ParseInLocation(time.DateOnly, string(text), time.Local); err != nil {
		m.Time, err = time.Parse(time.RFC3339, string(text))
	}
	if err != nil {
		return fmt.Errorf("%q is not a time; accepted are 2026-01-31 and 2026-01-31T10:00:00Z", text)
	}
	return nil
}

// period bounds a listing in time.
type period struct {
	From  *moment `help:"Not before this day or time." placeholder:"TIME"`
	Until *moment `help:"Before this day or time." placeholder:"TIME"`
}

func (p period) bounds() (from, until *time.Time) {
	if p.From != nil {
		from = &p.From.Time
	}
	if p.Until != nil {
		until = &p.Until.Time
	}
	return from, until
}
