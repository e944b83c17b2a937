package rescan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"vigie/hashing"
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
	var ids idText
	for row := from; row < until; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := int(min(until-row, cellsAtOnce))
		for _, c := range columns {
			if c == nil {
				continue
			}
			if err := c.fill(); err != nil {
				return fmt.Errorf("row %d: %w", before+row+1, err)
			}
			n = min(n, len(c.have))
		}
		var cells [3][]parquet.Value
		for i, c := range columns {
			if c != nil {
				cells[i], c.have = c.have[:n], c.have[n:]
			}
		}
		names := ids.of(cells[1])
		for i, hash := range cells[0] {
			r := hashRow{place: before + row + int64(i) + 1}
			id, quality := "", parquet.NullValue()
			if cells[1] != nil {
				id = names[i]
			}
			if cells[2] != nil {
				quality = cells[2][i]
			}
			if r.id, r.hash, r.err = parquetSignal(id, hash, quality); r.id == "" {
				r.id = fmt.Sprintf("row %d", r.place)
			}
			if err := b.add(r); err != nil {
				return err
			}
		}
		row += int64(n)
	}
	return nil
}

// parquetSignal makes a signal of a row's cells: of most without making texts of them.
func parquetSignal(id string, hash, quality parquet.Value) (string, hashing.Signal, error) {
	q, err := hashing.QualityUnknown, error(nil)
	if k := quality.Kind(); k == parquet.Int32 && uint32(quality.Int32()) <= uint32(hashing.MaxQuality) {
		q = hashing.Quality(quality.Int32())
	} else if q, err = parseQuality(cellText(quality)); err != nil {
		return id, hashing.Signal{}, err
	}
	if isBytes(hash) && len(hash.ByteArray()) == 32 {
		return signalOf(id, hash.ByteArray(), q)
	}
	raw, err := parsePDQ(cellText(hash))
	if err != nil {
		return id, hashing.Signal{}, err
	}
	return signalOf(id, raw[:], q)
}

// idText makes texts of cells, all in one piece of memory: there are millions, and each by itself costs more than its hash.
type idText struct {
	all   []byte
	ends  [cellsAtOnce]int
	texts [cellsAtOnce]string
}

// of returns the texts of some cells, which are the caller's until the next call; of one that is too long for anything here, its beginning.
func (t *idText) of(cells []parquet.Value) []string {
	t.all = t.all[:0]
	for i, v := range cells {
		if isBytes(v) {
			b := v.ByteArray()
			t.all = append(t.all, b[:min(len(b), storage.MaxRescanItem+1)]...)
		} else {
			t.all = append(t.all, cellText(v)...)
		}
		t.ends[i] = len(t.all)
	}
	all, from := string(t.all), 0
	for i := range cells {
		t.texts[i], from = all[from:t.ends[i]], t.ends[i]
	}
	return t.texts[:len(cells)]
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

// cellsAtOnce is how many values of a column are unpacked at a time.
const cellsAtOnce = 1024

// column reads a column of a row group, some values at a time.
type column struct {
	pages  parquet.Pages
	page   parquet.Page
	values parquet.ValueReader
	buffer [cellsAtOnce]parquet.Value
	have   []parquet.Value // of the page
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

// fill sees to it that it has a value.
func (c *column) fill() (err error) {
	for len(c.have) == 0 {
		if c.values == nil {
			if c.page != nil {
				parquet.Release(c.page)
			}
			if c.page, err = c.pages.ReadPage(); err != nil {
				c.page = nil
				return noEOF(err)
			}
			c.values = c.page.Values()
		}
		n, err := c.values.ReadValues(c.buffer[:])
		c.have = c.buffer[:n]
		if errors.Is(err, io.EOF) {
			c.values = nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
