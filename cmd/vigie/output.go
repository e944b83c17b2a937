package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
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
	if p.json {
		for _, item := range items {
			if err := p.object(item); err != nil {
				return err
			}
		}
		return nil
	}
	w := p.table(header...)
	for _, item := range items {
		row(w, cells(item)...)
	}
	return w.Flush()
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
