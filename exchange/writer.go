package exchange

import (
	"bufio"
	"io"
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
// [*RowError] without a place; it is not written, and writing can go on.
func (w *Writer) Write(i Item) error {
	if err := i.check(); err != nil {
		return err
	}
	switch w.format {
	case CSV:
		return w.row(append(appendRecord(nil, cellsOf(i)...), '\n'))
	case NDJSON:
		line, err := jsonText(jsonOf(i))
		if err != nil {
			return err
		}
		return w.row(line)
	default:
		return w.writeTX(i)
	}
}

// Close writes what is buffered; it does not close what the list is written to.
func (w *Writer) Close() error { return w.out.Flush() }

// Lost counts what could not be said so far.
func (w *Writer) Lost() map[Loss]int { return w.lost }

// row writes a row unless it is too long to be read.
func (w *Writer) row(row []byte) error {
	if len(row) > MaxRow {
		return bad(TooLong, "", "%d bytes; accepted are %d", len(row), MaxRow)
	}
	return w.write(row)
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
		more,
	}
}
