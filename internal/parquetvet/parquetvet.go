// Package parquetvet opens Parquet files that nobody vouches for. The library that reads them makes room for whatever the bytes of a
// file claim to hold, and a process that asks for too much memory cannot recover: so what is claimed is looked at before.
//
//	file, err := parquetvet.Open(r, size)
//	err = parquetvet.Pages(r, size, &chunk, index, from, until) // before the pages of these rows are read
//
// What is damaged in other ways may still have the library panic, which callers recover.
package parquetvet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// Bounds of a file.
const (
	maxFooter         = 16 << 20 // bytes
	maxFooterElements = 1 << 18  // columns of row groups, with all that is said of each
	maxIndex          = 64 << 20 // bytes, of each of both indexes of pages
	maxIndexElements  = 1 << 21
	maxSchema         = 10_000  // columns and groups of them
	maxChunks         = 1 << 20 // those in all row groups

	// MaxPage is how many bytes a page may have, unpacked, and MaxPageValues how many values.
	MaxPage       = 64 << 20
	MaxPageValues = 8 << 20

	maxPageHeader         = 1 << 20
	maxPageHeaderElements = 1 << 10
)

// tailBytes is what is read of the end of a file at once: the footer and the indexes of most.
const tailBytes = 64 << 10

// Open opens a file after its footer and its indexes have been looked at. What of them is in memory by then is not read again.
func Open(r io.ReaderAt, size int64, options ...parquet.FileOption) (*parquet.File, error) {
	s := &sections{ReaderAt: r}
	if err := s.vet(size); err != nil {
		return nil, err
	}
	file, err := parquet.OpenFile(s, size, append([]parquet.FileOption{parquet.SkipBloomFilters(true)}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("open the Parquet file: %w", err)
	}
	return file, nil
}

// sections is a file of which some parts are in memory.
type sections struct {
	io.ReaderAt
	have []section
}

type section struct {
	at   int64
	data []byte
}

// ReadAt implements io.ReaderAt.
func (s *sections) ReadAt(p []byte, at int64) (int, error) {
	for _, h := range s.have {
		if at >= h.at && int64(len(p)) <= h.at+int64(len(h.data))-at {
			return copy(p, h.data[at-h.at:]), nil
		}
	}
	return s.ReaderAt.ReadAt(p, at)
}

// read reads a part, and keeps it.
func (s *sections) read(at, n int64) ([]byte, error) {
	data := make([]byte, n)
	if got, err := s.ReadAt(data, at); int64(got) < n {
		return nil, fmt.Errorf("read the Parquet file: %w", noEOF(err))
	}
	s.have = append(s.have, section{at, data})
	return data, nil
}

func noEOF(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

const magic = "PAR1"

var errNot = errors.New("it is no Parquet file, or its footer is too large")

func (s *sections) vet(size int64) error {
	if size < int64(len(magic)+8) {
		return errNot
	}
	tail, err := s.read(size-min(size, tailBytes), min(size, tailBytes))
	if err != nil {
		return err
	}
	end := tail[len(tail)-8:]
	n := int64(binary.LittleEndian.Uint32(end))
	if string(end[4:]) != magic || n > min(size-8, maxFooter) {
		return errNot
	}
	footer, err := s.read(size-8-n, n)
	if err != nil {
		return err
	}
	elements := int64(maxFooterElements)
	if _, err := structure(footer, &elements); err != nil {
		return fmt.Errorf("the footer of the Parquet file: %w", err)
	}
	var meta format.FileMetaData
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), footer, &meta); err != nil {
		return fmt.Errorf("the footer of the Parquet file: %w", err)
	}
	if err := vetShape(&meta); err != nil {
		return err
	}
	if err := s.vetIndex(&meta, size, func(c *format.ColumnChunk) (int64, int32) { return c.ColumnIndexOffset, c.ColumnIndexLength }); err != nil {
		return err
	}
	return s.vetIndex(&meta, size, func(c *format.ColumnChunk) (int64, int32) { return c.OffsetIndexOffset, c.OffsetIndexLength })
}

func vetShape(meta *format.FileMetaData) error {
	if len(meta.Schema) > maxSchema {
		return fmt.Errorf("the Parquet file has %d columns; accepted are %d", len(meta.Schema), maxSchema)
	}
	if len(meta.Schema)*len(meta.RowGroups) > maxChunks {
		return fmt.Errorf("the Parquet file has %d columns in %d row groups; accepted are %d together", len(meta.Schema), len(meta.RowGroups), maxChunks)
	}
	for _, g := range meta.RowGroups {
		if len(g.Columns) == 0 || len(g.Columns) != len(meta.RowGroups[0].Columns) {
			return errors.New("the row groups of the Parquet file have different columns")
		}
	}
	return nil
}

// vetIndex looks at one of both indexes of pages, where it is: those of all chunks, one after the other.
func (s *sections) vetIndex(meta *format.FileMetaData, size int64, where func(*format.ColumnChunk) (at int64, n int32)) error {
	bad := errors.New("the index of pages of the Parquet file is not where the footer says, or too large")
	var first, total int64
	for i, g := range meta.RowGroups {
		for j := range g.Columns {
			at, n := where(&g.Columns[j])
			if i == 0 && j == 0 {
				first = at
			}
			if total += int64(n); n < 0 || total > maxIndex {
				return bad
			}
		}
	}
	if total == 0 || first <= 0 {
		return nil
	}
	if first > size-total {
		return bad
	}
	all, err := s.read(first, total)
	if err != nil {
		return err
	}
	elements := int64(maxIndexElements)
	for _, g := range meta.RowGroups {
		for j := range g.Columns {
			at, n := where(&g.Columns[j])
			if at <= 0 {
				continue
			}
			if at -= first; at < 0 || at > total-int64(n) {
				return bad
			}
			if _, err := structure(all[at:at+int64(n)], &elements); err != nil {
				return fmt.Errorf("the index of pages of the Parquet file: %w", err)
			}
		}
	}
	return nil
}

// Pages reads the headers of the pages of a column that hold the rows [from, until), before any of them is unpacked: a few bytes may
// say that they are gigabytes. It begins where the library will, and goes on from page to page as that does. index may be nil.
func Pages(r io.ReaderAt, size int64, meta *format.ColumnMetaData, index parquet.OffsetIndex, from, until int64) error {
	base, at, row := meta.DataPageOffset, meta.DataPageOffset, int64(0)
	if meta.DictionaryPageOffset != 0 {
		base = meta.DictionaryPageOffset
		if _, _, err := page(r, size, base); err != nil {
			return err
		}
	}
	if index != nil && index.NumPages() > 0 {
		i := sort.Search(index.NumPages(), func(i int) bool { return index.FirstRowIndex(i) > from }) - 1
		if i < 0 {
			return errPage
		}
		at, row = index.Offset(i), index.FirstRowIndex(i)
	}
	for end := min(base+meta.TotalCompressedSize, size); row < until && at < end; {
		bytes, values, err := page(r, size, at)
		if err != nil {
			return err
		}
		at, row = at+bytes, row+values
	}
	return nil
}

var errPage = errors.New("a page of the Parquet file is damaged, or not of a kind that is read here")

// page returns how long a page is with its header, and how many values of rows it has.
func page(r io.ReaderAt, size, at int64) (bytes, values int64, err error) {
	if at < 0 || at >= size {
		return 0, 0, errPage
	}
	h, read, err := pageHeader(r, size, at)
	if err != nil {
		return 0, 0, err
	}
	var n int32
	var encoding format.Encoding
	switch {
	case h.DataPageHeader.Valid:
		n, encoding = h.DataPageHeader.V.NumValues, h.DataPageHeader.V.Encoding
		values = int64(n)
	case h.DataPageHeaderV2.Valid:
		n, encoding = h.DataPageHeaderV2.V.NumValues, h.DataPageHeaderV2.V.Encoding
		values = int64(n)
	case h.DictionaryPageHeader.Valid:
		n, encoding = h.DictionaryPageHeader.V.NumValues, h.DictionaryPageHeader.V.Encoding
	default:
		return 0, 0, errPage
	}
	switch {
	case n < 0 || h.CompressedPageSize < 0 || h.UncompressedPageSize < 0:
		return 0, 0, errPage
	case h.UncompressedPageSize > MaxPage || h.CompressedPageSize > MaxPage || n > MaxPageValues:
		return 0, 0, fmt.Errorf("a page of the Parquet file has %d bytes and %d values; accepted are %d and %d",
			max(h.UncompressedPageSize, h.CompressedPageSize), n, MaxPage, MaxPageValues)
	case encoding == format.DeltaByteArray: // whose values may be far longer together than the page
		return 0, 0, errors.New("a page of the Parquet file is in the encoding DELTA_BYTE_ARRAY, which is not read here")
	}
	return read + int64(h.CompressedPageSize), values, nil
}

// pageHeader reads the header of a page, which says nothing of its own length.
func pageHeader(r io.ReaderAt, size, at int64) (h format.PageHeader, n int64, err error) {
	for _, most := range []int64{1 << 10, maxPageHeader} {
		data := make([]byte, min(most, size-at))
		if got, err := r.ReadAt(data, at); got < len(data) {
			return h, 0, fmt.Errorf("read a page of the Parquet file: %w", noEOF(err))
		}
		elements := int64(maxPageHeaderElements)
		size, err := structure(data, &elements)
		if errors.Is(err, errShort) && most < maxPageHeader {
			continue
		}
		if err == nil {
			err = thrift.Unmarshal(new(thrift.CompactProtocol), data[:size], &h)
		}
		if err != nil {
			return h, 0, fmt.Errorf("%w: its header: %w", errPage, err)
		}
		return h, int64(size), nil
	}
	return h, 0, errPage
}
