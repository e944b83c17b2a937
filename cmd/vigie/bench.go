package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"vigie/hashing"
	"vigie/internal/chart"
)

type benchCmd struct {
	Accuracy accuracyCmd    `cmd:"" help:"Make edited copies of pictures and count which are found."`
	Hash     hashBenchCmd   `cmd:"" help:"Time the hashing of pictures and videos, stage by stage."`
	Search   searchBenchCmd `cmd:"" help:"Time searches in the index, beside plain scans, and check their answers."`
	Load     loadBenchCmd   `cmd:"" help:"Find how much a node can do, and offer it twice of that."`
	Text     textBenchCmd   `cmd:"" help:"Time searches for words, and make the text index twice."`
	Import   importBenchCmd `cmd:"" help:"Import and export a long list, beside flags and checks, with kills, and compare."`
}

// countdown is a progress bar for a known number of things, if a person is watching; otherwise it does
// nothing.
type countdown struct {
	container *mpb.Progress
	bar       *mpb.Bar
}

func (a *app) countdown(total int, things string) *countdown {
	c := &countdown{}
	screen, ok := a.err.(*os.File)
	if a.json || !ok || !term.IsTerminal(int(screen.Fd())) {
		return c
	}
	c.container = mpb.New(mpb.WithOutput(screen), mpb.WithWidth(48))
	c.bar = c.container.AddBar(int64(total),
		mpb.PrependDecorators(decor.CountersNoUnit("%d of %d "+things+" ")),
		mpb.AppendDecorators(decor.Percentage(), decor.Name("  "), decor.AverageSpeed(0, "%.1f/s  "), decor.AverageETA(decor.ET_STYLE_GO)))
	return c
}

// done counts one thing; any goroutine may call it.
func (c *countdown) done() {
	if c.bar != nil {
		c.bar.Increment()
	}
}

// end leaves the bar as it stands.
func (c *countdown) end() {
	if c.bar != nil {
		c.bar.Abort(false)
		c.container.Wait()
	}
}

// sheet is a table of a report, as it is printed and as Markdown.
type sheet struct {
	title string
	note  string
	head  []string
	rows  [][]string
}

func rowsOf[T any](items []T, cells func(T) []string) [][]string {
	rows := make([][]string, len(items))
	for i, item := range items {
		rows[i] = cells(item)
	}
	return rows
}

// skippedFile is a file that a bench leaves out.
type skippedFile struct {
	File   string `json:"file"`
	Reason string `json:"reason"`
}

func leftOut(files []skippedFile) sheet {
	return sheet{
		title: "Files left out",
		head:  []string{"file", "reason"},
		rows:  rowsOf(files, func(s skippedFile) []string { return []string{s.File, s.Reason} }),
	}
}

// fileFault says what is wrong with a file that was read or hashed. ok is false if err is nil, or not the file's.
func fileFault(err error) (why string, ok bool) {
	if bad, ok := hashing.AsMediaError(err); ok {
		return string(bad.Kind), true
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error(), true
	}
	return "", false
}

// benchReport is what a bench found. It is a JSON object as well.
type benchReport interface {
	bench() string // name of the command
	about() string // what was measured, in a sentence
	sheets() []sheet
	chart() chart.Bars
}

// benchFiles is where a report goes besides the terminal.
type benchFiles struct {
	SVG      string `name:"svg" help:"Write a chart to this file." placeholder:"FILE"`
	Markdown string `help:"Write the tables to this file; if it has the marks for them, between these." placeholder:"FILE"`
}

// publish writes the files that were asked for, and prints the report.
func (f benchFiles) publish(p printer, r benchReport) error {
	if f.SVG != "" {
		var b bytes.Buffer
		if err := r.chart().WriteSVG(&b); err != nil {
			return err
		}
		if err := os.WriteFile(f.SVG, b.Bytes(), 0o666); err != nil {
			return err
		}
	}
	if f.Markdown != "" {
		text, err := os.ReadFile(f.Markdown)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(f.Markdown, []byte(markdown(r, string(text))), 0o666); err != nil {
			return err
		}
	}
	if p.json {
		return p.object(r)
	}
	p.say("%s", r.about())
	for _, s := range r.sheets() {
		p.say("\n%s", s.title)
		if s.note != "" {
			p.say("%s", s.note)
		}
		p.say("")
		w := p.table(s.head...)
		for _, cells := range s.rows {
			row(w, cells...)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// markdown is text with the tables of a report between its marks; the tables alone, with marks, if it
// has none.
func markdown(r benchReport, text string) string {
	begin, end := "<!-- vigie bench "+r.bench()+": begin -->\n", "<!-- vigie bench "+r.bench()+": end -->\n"
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.about())
	escape := strings.NewReplacer("|", `\|`, "<", "&lt;", "_", `\_`, "~", `\~`, "`", "\\`", "*", `\*`)
	for _, s := range r.sheets() {
		fmt.Fprintf(&b, "\n## %s\n\n", s.title)
		if s.note != "" {
			fmt.Fprintf(&b, "%s\n\n", s.note)
		}
		put := func(cells []string) {
			for _, c := range cells {
				fmt.Fprintf(&b, "| %s ", escape.Replace(printable(c)))
			}
			b.WriteString("|\n")
		}
		put(s.head)
		fmt.Fprintf(&b, "|---%s|\n", strings.Repeat("|--:", len(s.head)-1))
		for _, cells := range s.rows {
			put(cells)
		}
	}
	before, rest, begun := strings.Cut(text, begin)
	_, after, ended := strings.Cut(rest, end)
	if !begun || !ended {
		before, after = "", ""
	}
	return before + begin + "\n" + b.String() + "\n" + end + after
}
