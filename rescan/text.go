package rescan

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// text is a file of lines. A line's place is the offset of its first byte, plus one: so a range of places (after, to] holds the
// lines that begin at an offset from after on and before to, wherever the range is cut. Its memory is a line and a buffer.
type text struct {
	open opener
	most int // bytes of a line
}

const textBuffer = 1 << 20 // what is asked of a bucket at a time

var errLongLine = errors.New("the line is too long")

// extent implements [extended].
func (t text) extent(ctx context.Context) (int64, string, error) {
	f, err := t.open(ctx)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	return f.size(), f.version(), nil
}

// lines calls fn with each line whose place is in (after, to], without its end. A line that is too long comes as nil, with
// errLongLine. An error of fn ends it. The line is fn's until it returns.
func (t text) lines(ctx context.Context, f file, after, to int64, fn func(place int64, line []byte, err error) error) error {
	at := max(after-1, 0)
	r := bufio.NewReaderSize(io.NewSectionReader(f, at, max(f.size()-at, 0)), textBuffer)
	if after > 0 { // to the first line that begins at after or later
		n, err := discardLine(r)
		if at += n; err != nil {
			return endOf(err)
		}
	}
	var long []byte
	for at < to {
		if err := ctx.Err(); err != nil {
			return err
		}
		long = long[:0]
		place, tooLong := at+1, false
		for {
			part, err := r.ReadSlice('\n')
			at += int64(len(part))
			whole := !errors.Is(err, bufio.ErrBufferFull)
			if err != nil && whole && !errors.Is(err, io.EOF) {
				return err
			}
			line := part
			if !whole || len(long) > 0 {
				if !tooLong {
					long = append(long, part...)
				}
				line = long
			}
			if tooLong = tooLong || len(line) > t.most+2; !whole { // 2: for its end
				continue
			}
			if len(line) == 0 && !tooLong {
				return nil // the file ends with the line before
			}
			line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
			if tooLong || len(line) > t.most {
				err2 := fmt.Errorf("%w: accepted are %d bytes", errLongLine, t.most)
				if err2 = fn(place, nil, err2); err2 != nil {
					return err2
				}
			} else if err2 := fn(place, line, nil); err2 != nil {
				return err2
			}
			if err != nil {
				return nil // the file ends
			}
			break
		}
	}
	return nil
}

func discardLine(r *bufio.Reader) (n int64, err error) {
	for {
		part, err := r.ReadSlice('\n')
		n += int64(len(part))
		if !errors.Is(err, bufio.ErrBufferFull) {
			return n, err
		}
	}
}

func endOf(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// placeText is a place as a cursor: its order is that of its bytes.
func placeText(place int64) string { return fmt.Sprintf("%019d", place) }

// placeOf is the place that a cursor stands for; the empty one is before all.
func placeOf(cursor string) (int64, error) {
	if cursor == "" {
		return 0, nil
	}
	place, err := strconv.ParseInt(cursor, 10, 64)
	if err != nil || place < 0 {
		return 0, errors.New("the cursor is not one of a list")
	}
	return place, nil
}
