package exchange

import (
	"bufio"
	"io"
	"sort"
	"strconv"
	"strings"
)

// Writer writes items as a list. It is for one goroutine.
type Writer struct {
	out    *bufio.Writer
	format Format
	lost   map[Loss]int
}

// NewWriter begins a list. The error is a [*ListError] if there is no such format. Errors of out show at the
// latest at [Writer.Close].
func NewWriter(out io.Writer, f Format) (*Writer, error) {
	if _, err := ParseFormat(string(f)); err != nil {
		return nil, err
	}
	w := &Writer{out: bufio.NewWriterSize(out, 64<<10), format: f, lost: map[Loss]int{}}
	switch f {
	case CSV:
		w.write(append(appendRecord(nil, ownColumns...), '\n'))
	case TXCSV:
		w.write([]byte("signal_type,signal_str,collab,category,tags\r\n"))
	}
	return w, nil
}

// Write adds an item. An item that cannot be read back, or whose row would be longer than [MaxRow], is a
// [*RowError] without a place; it is not written, and writing can go on. But no item is lost to its further sources: those that
// make its row too long are left out, as [LostSource].
func (w *Writer) Write(i Item) error {
	if err := i.check(); err != nil {
		return err
	}
	if w.format == TXCSV || w.format == LocalFile {
		return w.writeTX(i)
	}
	all := i.More
	row := func(sources int) []byte {
		i.More = all[:sources]
		return w.rowOf(i)
	}
	sources := min(len(all), maxMore)
	whole := row(sources)
	if len(whole) > MaxRow {
		// The first number that is too many; a row without any is refused below if it is too long still.
		sources = max(0, sort.Search(sources, func(n int) bool { return len(row(n)) > MaxRow })-1)
		whole = row(sources)
	}
	if len(whole) > MaxRow {
		return tooLong(len(whole))
	}
	if sources < len(all) {
		w.lost[LostSource]++
	}
	return w.write(whole)
}

// rowOf is an item in one of Vigie's own formats, with its line end.
func (w *Writer) rowOf(i Item) []byte {
	if w.format == CSV {
		return append(appendRecord(nil, cellsOf(i)...), '\n')
	}
	line, _ := jsonText(jsonOf(i)) // texts and numbers alone
	return line
}

// Close writes what is buffered; it does not close what the list is written to.
func (w *Writer) Close() error { return w.out.Flush() }

// Lost counts what could not be said so far.
func (w *Writer) Lost() map[Loss]int { return w.lost }

func tooLong(bytes int) *RowError {
	return bad(TooLong, "", "%d bytes; accepted are %d", bytes, MaxRow)
}

func (w *Writer) write(row []byte) error {
	_, err := w.out.Write(row)
	return err
}

// cellsOf is a row of Vigie's CSV, in the order of ownColumns.
func cellsOf(i Item) []string {
	var signals []byte
	for n, s := range i.Signals {
		if n > 0 {
			signals = append(signals, ' ')
		}
		signals = appendSignal(signals, s)
	}
	number := func(n int64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatInt(n, 10)
	}
	exact := ""
	if i.ExactOnly {
		exact = "true"
	}
	more := ""
	if len(i.More) > 0 {
		text, _ := jsonText(jsonSources(i.More)) // texts alone
		more = strings.TrimSuffix(string(text), "\n")
	}
	return []string{
		string(signals), strings.Join(i.Labels, " "), i.Note, i.Origin, i.Source, i.Foreign, formatTime(i.CreatedAt), i.Status, exact,
		i.Media.Format, number(int64(i.Media.Width)), number(int64(i.Media.Height)), number(i.Media.Bytes), number(i.Media.DurationMS),
		more, formatTime(i.ExpiresAt),
	}
}
