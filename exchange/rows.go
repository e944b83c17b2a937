package exchange

import (
	"bytes"
	"errors"
	"io"
)

// MaxRow is the greatest length of a row in bytes, its line end included: room for a video of 10,000 frames.
const MaxRow = 2 << 20

const bom = "\ufeff"

// Position is a place between two rows of a list.
type Position struct {
	Offset int64 `json:"offset"` // bytes before it
	Line   int   `json:"line"`   // lines before it
}

// rows cuts a list into rows: lines, or records of CSV, which go on over line ends within quotes. A record
// ends at the first line end that has an even number of quotes before it: RFC 4180 doubles a quote that is
// content.
//
// A quote that does not end within MaxRow is held for a stray one: its line alone is bad, and the next row
// begins on the next line; so it is when the parser refuses a record (see onlyLine). Nothing is looked at
// more than twice for that: the lines that are handed out anew have an even number of quotes each, but for
// the one that ended the record, and end where they stand.
type rows struct {
	in     io.Reader
	quoted bool

	buf   []byte // what was read and not yet passed over, within store
	store []byte
	err   error // of in; io.EOF at its end

	from, to Position // of the row that was handed out last
	held     int      // its bytes in buf
	line     int      // those of its first line
}

// next returns the next row without its line end; it is valid until the next call. A row that cannot be
// handed out has a reason instead. The error is that of the input, io.EOF at its end.
func (r *rows) next() (row []byte, why Reason, err error) {
	r.buf = r.buf[r.held:]
	r.from, r.held, r.line = r.to, 0, 0
	for end, lines, quotes := 0, 0, 0; ; {
		begin := end
		end, err = r.lineEnd(begin)
		switch {
		case err == errLong && lines == 0:
			return nil, TooLong, r.passLine()
		case lines > 0 && (err == errLong || err == io.EOF):
			r.onlyLine()
			return nil, OpenQuote, nil
		case err != nil:
			return nil, "", err
		}
		lines++
		if lines == 1 {
			r.line = end
		}
		if r.quoted {
			quotes += bytes.Count(r.buf[begin:end], []byte{'"'})
		}
		if quotes%2 == 0 {
			r.hand(end, lines)
			return bytes.TrimSuffix(bytes.TrimSuffix(r.buf[:end], []byte{'\n'}), []byte{'\r'}), "", nil
		}
	}
}

// onlyLine makes of the row that was handed out last its first line; what follows is handed out anew.
func (r *rows) onlyLine() { r.hand(r.line, 1) }

func (r *rows) hand(bytes, lines int) {
	r.held, r.to = bytes, Position{r.from.Offset + int64(bytes), r.from.Line + lines}
}

var errLong = errors.New("the row is longer than MaxRow")

// lineEnd finds the end of the line that begins at buf[begin]: behind its line end, or where the input
// ends. Its error is io.EOF if nothing is left, errLong, or that of the input.
func (r *rows) lineEnd(begin int) (int, error) {
	for seen := begin; ; {
		n := bytes.IndexByte(r.buf[seen:], '\n')
		switch {
		case n >= 0 && seen+n+1 <= MaxRow:
			return seen + n + 1, nil
		case n >= 0 || len(r.buf) > MaxRow:
			return 0, errLong
		}
		seen = len(r.buf)
		if !r.fill() {
			if r.err == io.EOF && seen > begin {
				return seen, nil
			}
			return 0, r.err
		}
	}
}

// passLine passes over a line of any length without keeping it.
func (r *rows) passLine() error {
	r.to.Line++
	for {
		n := bytes.IndexByte(r.buf, '\n') + 1
		if n == 0 {
			r.to.Offset += int64(len(r.buf))
			r.buf = r.buf[len(r.buf):]
			if r.fill() {
				continue
			}
			if r.err != io.EOF {
				r.to = r.from
				return r.err
			}
			return nil
		}
		r.to.Offset += int64(n)
		r.buf = r.buf[n:]
		return nil
	}
}

// pass goes on at a later offset. It returns io.EOF if the input ends before.
func (r *rows) pass(to Position) error {
	left := to.Offset - r.to.Offset
	r.buf = r.buf[r.held:]
	r.held = 0
	for left > int64(len(r.buf)) {
		left -= int64(len(r.buf))
		r.buf = r.buf[len(r.buf):]
		if !r.fill() {
			return r.err
		}
	}
	r.buf = r.buf[left:]
	r.to = to
	return nil
}

// fill reads more behind what buf holds, at most MaxRow and a little; false when the input has ended.
func (r *rows) fill() bool {
	if r.err != nil {
		return false
	}
	if len(r.buf) == cap(r.buf) {
		if r.store == nil || 2*len(r.buf) > len(r.store) {
			r.store = make([]byte, max(64<<10, 2*len(r.store)))
		}
		r.buf = r.store[:copy(r.store, r.buf)]
	}
	for range 100 {
		var n int
		n, r.err = r.in.Read(r.buf[len(r.buf):cap(r.buf)])
		r.buf = r.buf[:len(r.buf)+n]
		if n > 0 {
			return true
		}
		if r.err != nil {
			return false
		}
	}
	r.err = io.ErrNoProgress
	return false
}
