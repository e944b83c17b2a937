package rescan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"vigie/internal/parquetvet"
	"vigie/storage"
)

// parquetList is a list of hashes in a Parquet file. A place is a row's number, from 1. It reads the pages of the columns it needs,
// one of each at a time, and refuses those that would take too much memory before it unpacks them.
type parquetList struct {
	open    opener
	columns Columns
}

// extent implements [extended].
func (l parquetList) extent(ctx context.Context) (rows int64, version string, err error) {
	err = l.with(ctx, func(f file, p *parquet.File) error {
		if _, err := l.find(p); err != nil {
			return err
		}
		rows, version = p.NumRows(), f.version()
		return nil
	})
	return rows, version, err
}

// with opens the file. A fault in the file that the library did not expect is an error like others.
func (l parquetList) with(ctx context.Context, fn func(f file, p *parquet.File) error) (err error) {
	f, err := l.open(ctx)
	if err != nil {
		return err
	}
	defer f.Close()
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("the Parquet file is damaged: %v", fault)
		}
	}()
	p, err := parquetvet.Open(f, f.size(), parquet.ReadBufferSize(textBuffer))
	if err != nil {
		return err
	}
	return fn(f, p)
}

// find returns the columns of hash, id and quality by number.
func (l parquetList) find(p *parquet.File) (at [3]int, err error) {
	fields := p.Root().Columns()
	names := make([]string, len(fields))
	for i, c := range fields {
		names[i] = c.Name()
	}
	if at, err = l.columns.find(names); err != nil {
		return at, err
	}
	for i, of := range at {
		if of < 0 {
			continue
		}
		c := fields[of]
		if !c.Leaf() || c.Repeated() {
			return at, fmt.Errorf("column %q holds more than one value in a row", c.Name())
		}
		at[i] = c.Index()
	}
	return at, nil
}

// rows implements [hashList].
func (l parquetList) rows(ctx context.Context, after, to int64, size int, fn func([]hashRow) error) error {
	return l.with(ctx, func(f file, p *parquet.File) error {
		at, err := l.find(p)
		if err != nil {
			return err
		}
		b := batch{rows: make([]hashRow, 0, min(int64(size), max(to-after, 0))), most: size, fn: fn}
		first := int64(0)
		for n, g := range p.RowGroups() {
			from, until := max(after-first, 0), min(to-first, g.NumRows())
			if from < until {
				if err := l.group(ctx, f, g, p.Metadata().RowGroups[n].Columns, at, first, from, until, &b); err != nil {
					return err
				}
			}
			first += g.NumRows()
		}
		return b.flush()
	})
}

// group reads the rows [from, until) of a row group, whose first one has so many before it.
func (l parquetList) group(
	ctx context.Context, f file, g parquet.RowGroup, meta []format.ColumnChunk, at [3]int, before, from, until int64, b *batch,
) error {
	var columns [3]*column
	for i, n := range at {
		if n < 0 {
			continue
		}
		c, err := openColumn(f, g.ColumnChunks()[n], &meta[n].MetaData, from, until)
		if err != nil {
			return fmt.Errorf("column %d: %w", n, err)
		}
		defer c.close()
		columns[i] = c
	}
	for row := from; row < until; row++ {
		if row%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		var cells [3]parquet.Value
		for i, c := range columns {
			if c != nil {
				var err error
				if cells[i], err = c.next(); err != nil {
					return fmt.Errorf("row %d: %w", before+row+1, err)
				}
			}
		}
		if err := b.add(parquetRow(before+row+1, cells)); err != nil {
			return err
		}
	}
	return nil
}

func parquetRow(place int64, cells [3]parquet.Value) hashRow {
	r := hashRow{place: place}
	id, quality := cellText(cells[1]), cellText(cells[2])
	if raw := cells[0]; isBytes(raw) && len(raw.ByteArray()) == 32 {
		r.id, r.hash, r.err = signalOf(id, raw.ByteArray(), quality)
	} else {
		r.id, r.hash, r.err = parseHash(id, cellText(raw), quality)
	}
	if r.id == "" {
		r.id = fmt.Sprintf("row %d", place)
	}
	return r
}

func isBytes(v parquet.Value) bool {
	return v.Kind() == parquet.ByteArray || v.Kind() == parquet.FixedLenByteArray
}

// cellText is a value as text; of one that is too long for anything here, its beginning.
func cellText(v parquet.Value) string {
	switch {
	case v.IsNull():
		return ""
	case isBytes(v):
		b := v.ByteArray()
		return string(b[:min(len(b), storage.MaxRescanItem+1)])
	case v.Kind() == parquet.Int32, v.Kind() == parquet.Int64:
		return strconv.FormatInt(v.Int64(), 10)
	}
	return v.String()
}

// column reads a column of a row group, value by value.
type column struct {
	pages  parquet.Pages
	page   parquet.Page
	values parquet.ValueReader
	buffer [1024]parquet.Value
	have   []parquet.Value
}

func openColumn(f file, chunk parquet.ColumnChunk, meta *format.ColumnMetaData, from, until int64) (*column, error) {
	index, err := chunk.OffsetIndex()
	if err != nil && !errors.Is(err, parquet.ErrMissingOffsetIndex) {
		return nil, err
	}
	if err != nil {
		index = nil
	}
	if err := parquetvet.Pages(f, f.size(), meta, index, from, until); err != nil {
		return nil, err
	}
	pages := chunk.Pages()
	if err := pages.SeekToRow(from); err != nil {
		return nil, errors.Join(err, pages.Close())
	}
	return &column{pages: pages}, nil
}

func (c *column) close() {
	if c.page != nil {
		parquet.Release(c.page)
	}
	_ = c.pages.Close()
}

func (c *column) next() (v parquet.Value, err error) {
	for len(c.have) == 0 {
		if c.values == nil {
			if c.page != nil {
				parquet.Release(c.page)
			}
			if c.page, err = c.pages.ReadPage(); err != nil {
				c.page = nil
				return v, noEOF(err)
			}
			c.values = c.page.Values()
		}
		n, err := c.values.ReadValues(c.buffer[:])
		c.have = c.buffer[:n]
		if errors.Is(err, io.EOF) {
			c.values = nil
		} else if err != nil {
			return v, err
		}
	}
	v, c.have = c.have[0], c.have[1:]
	return v, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
