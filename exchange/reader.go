package exchange

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"vigie/hashing"
)

// Reader reads the items of a list. It is for one goroutine.
type Reader struct {
	rows     rows
	o        ReadOptions
	parse    func(row string) (Item, *RowError)
	warnings []string
	unread   bool // sources, which is warned of once
}

// ReadOptions say what a list does not.
type ReadOptions struct {
	// Algorithm is that of signals whose list names none; invalid if there are none such.
	Algorithm hashing.Algorithm
	// From is where reading is resumed: a [Reader.Position] of the same list. The header is read again.
	From Position
}

// NewReader begins to read a list, and reads its header if the format has one. A list that cannot be read
// as this format at all is a [*ListError]; errors of in are returned as they are.
//
// Lines end in "\n" or "\r\n", and may be empty; a byte order mark is passed over. At most 4 MiB of the
// list are held at a time.
func NewReader(in io.Reader, f Format, o ReadOptions) (*Reader, error) {
	if _, err := ParseFormat(string(f)); err != nil {
		return nil, err
	}
	r := &Reader{rows: rows{in: in, quoted: f == CSV || f == TXCSV}, o: o}
	if err := r.begin(); err != nil {
		return nil, err
	}
	switch f {
	case NDJSON:
		r.parse = parseJSON
	case LocalFile:
		r.parse = r.parseLine
	default:
		if err := r.header(f); err != nil {
			return nil, err
		}
	}
	if o.From == (Position{}) {
		return r, nil
	}
	if o.From.Offset < r.rows.to.Offset || o.From.Line < r.rows.to.Line {
		return nil, &ListError{BadPosition, "reading was to be resumed within the header"}
	}
	if err := r.rows.pass(o.From); err == io.EOF {
		return nil, &ListError{BadPosition, "reading was to be resumed behind the end of the list"}
	} else if err != nil {
		return nil, err
	}
	return r, nil
}

// textBytes is how much of a list shows that it is no text at all: no row is shorter.
const textBytes = 16

// begin looks at the first bytes.
func (r *Reader) begin() error {
	for len(r.rows.buf) < textBytes && r.rows.fill() {
		continue
	}
	if err := r.rows.err; err != nil && err != io.EOF {
		return err
	}
	if isBinary(r.rows.buf) {
		return binary()
	}
	if bytes.HasPrefix(r.rows.buf, []byte(bom)) {
		return r.rows.pass(Position{Offset: int64(len(bom))})
	}
	return nil
}

// Next returns the next item. A row that does not hold is a [*RowError]: the next call goes on behind it.
// At the end the error is io.EOF; errors of the input are returned as they are, and end the list.
func (r *Reader) Next() (Item, error) {
	for {
		row, why, err := r.rows.next()
		switch {
		case err != nil:
			return Item{}, err
		case why == TooLong:
			return Item{}, r.at(bad(why, "", "more than %d bytes", MaxRow))
		case why == OpenQuote:
			return Item{}, r.at(bad(why, "", "a quote that does not end"))
		case len(bytes.TrimSpace(row)) == 0:
			continue
		}
		item, bad := r.parse(string(row))
		if bad == nil {
			if item.Unread > 0 && !r.unread {
				r.unread = true
				r.warnings = append(r.warnings, fmt.Sprintf("line %d has more than %d sources, the most that are read; there may be further such lines", r.Line(), 1+maxMore))
			}
			return item, nil
		}
		if r.rows.quoted && (bad.Reason == BadQuote || bad.Reason == WrongCells) {
			r.rows.onlyLine()
		}
		return Item{}, r.at(bad)
	}
}

func (r *Reader) at(e *RowError) error {
	e.Line, e.Offset = r.Line(), r.rows.from.Offset
	return e
}

// Line is the first line of the row that Next read last, from 1.
func (r *Reader) Line() int { return r.rows.from.Line + 1 }

// Position is the place behind the row that Next read last, from which another Reader can go on.
func (r *Reader) Position() Position { return r.rows.to }

// Warnings say what of the list is not read: columns of the header, and sources beyond the 200 that an entry keeps.
func (r *Reader) Warnings() []string { return r.warnings }

// header reads the columns of a CSV.
func (r *Reader) header(f Format) error {
	for {
		row, why, err := r.rows.next()
		switch {
		case err == io.EOF:
			return noHeader("the list is empty")
		case err != nil:
			return err
		case why != "":
			return noHeader(fmt.Sprintf("the first row does not end within %d bytes", MaxRow))
		case len(bytes.TrimSpace(row)) == 0:
			continue
		}
		if err := checkText("", string(row)); err != nil {
			return noHeader(err.Detail)
		}
		delimiter := delimiterOf(string(row))
		cells, bad := split(string(row), delimiter, maxColumns)
		if bad != nil {
			return noHeader(bad.Detail)
		}
		h, err := readHeader(cells, f, r.o.Algorithm.Valid())
		if err != nil {
			return err
		}
		r.warnings = h.warnings
		r.parse = func(row string) (Item, *RowError) { return h.parse(row, delimiter, r.o.Algorithm) }
		return nil
	}
}

func noHeader(detail string) *ListError { return &ListError{NoHeader, detail} }

// parseLine reads a line of a local file: "<type> <signal>", or the signal alone.
func (r *Reader) parseLine(row string) (Item, *RowError) {
	if err := checkText("", row); err != nil {
		return Item{}, err
	}
	row = strings.TrimSpace(row)
	k := kind{algorithm: r.o.Algorithm}
	if word, rest, typed := strings.Cut(row, " "); typed {
		if named := parseKind(word); named.algorithm.Valid() || !k.algorithm.Valid() {
			k, row = named, strings.TrimSpace(rest)
		}
	}
	signals, err := k.signals(row)
	if err != nil {
		err.Column = "signal"
		return Item{}, err
	}
	return Item{Signals: signals}, nil
}
