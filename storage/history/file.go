package history

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"vigie/hashing"
	"vigie/internal/parquetvet"
	"vigie/storage"
	"vigie/storage/bucket"
)

// File is a sealed file, as its name tells: records of a party, of the hour in which they were checked, and of a node, whose
// numbers are within First to Last. No other file of this party, hour and node has numbers in that range.
type File struct {
	Party       storage.PartyID
	Hour        time.Time // its begin, UTC
	Node        string
	First, Last uint64
}

const (
	hourLayout = "2006-01-02T15"
	fileSuffix = ".parquet"
)

// folder is where files of a party and hour are. Engines take "party" and "hour" for columns.
func folder(party storage.PartyID, hour time.Time) string {
	return partyFolder(party) + "hour=" + hour.UTC().Format(hourLayout) + "/"
}

func partyFolder(party storage.PartyID) string { return fmt.Sprintf("party=%d/", party) }

// covers reports whether a number is in the file's range.
func (f File) covers(number int64) bool { return uint64(number) >= f.First && uint64(number) <= f.Last }

// Name is the file's name in the store: party=7/hour=2026-11-22T10/a1b2c3d4-1-4711.parquet
func (f File) Name() string {
	return folder(f.Party, f.Hour) + fmt.Sprintf("%s-%d-%d%s", f.Node, f.First, f.Last, fileSuffix)
}

// ParseFile reads what [File.Name] writes, and nothing else. Errors are [ErrInvalid].
func ParseFile(name string) (File, error) {
	var f File
	party, rest, _ := strings.Cut(name, "/")
	hour, base, _ := strings.Cut(rest, "/")
	parts := strings.Split(strings.TrimSuffix(base, fileSuffix), "-")
	number, err := strconv.ParseUint(strings.TrimPrefix(party, "party="), 10, 32)
	if err == nil && len(parts) == 3 {
		f.Party, f.Node = storage.PartyID(number), parts[0]
		f.Hour, err = time.Parse(hourLayout, strings.TrimPrefix(hour, "hour="))
		for i, n := range []*uint64{&f.First, &f.Last} {
			if err == nil {
				*n, err = strconv.ParseUint(parts[i+1], 10, 63)
			}
		}
	}
	if err != nil || f.Name() != name || strings.Trim(f.Node, "0123456789abcdef") != "" || f.First > f.Last {
		return File{}, fmt.Errorf("%w: not the name of a file of uploads, such as party=7/hour=2026-11-22T10/a1b2c3d4-1-4711.parquet", ErrInvalid)
	}
	return f, nil
}

// row is a record in a file. docs/format/uploads.md says why the columns are as they are.
type row struct {
	Number    int64           `parquet:"number,delta"`
	At        int64           `parquet:"checked_at,timestamp(millisecond:utc),delta"`
	PDQ       [hashBytes]byte `parquet:"pdq,plain,uncompressed"`
	Quality   int32           `parquet:"quality,delta"`
	ContentID string          `parquet:"content_id,zstd"`
}

// The columns, by their places in a row.
const (
	columnNumber = iota
	columnAt
	columnPDQ
	columnQuality
	columnContentID
	columns
)

func (r Record) row(number uint64) row {
	return row{
		int64(number), r.At.UnixMilli(), [hashBytes]byte(r.PDQ.Bytes(hashBytes)), int32(r.Quality), r.ContentID,
	}
}

func (r row) record(party storage.PartyID) Record {
	return Record{party, time.UnixMilli(r.At).UTC(), r.ContentID, hashing.ValueFromBytes(r.PDQ[:]), hashing.Quality(r.Quality)}
}

const (
	formatVersion = "1"
	// pageBytes is how large a page is before compression: 8192 hashes.
	pageBytes = 256 << 10
	// bloomBits are the bits a record takes in the filter of content ids: one file of a hundred is read in vain.
	bloomBits = 10
	// maxFileBytes and maxRows bound what is read into memory.
	maxFileBytes, maxRows = 1 << 30, 16 << 20
)

// encode makes the bytes of a file. The same rows make the same bytes.
func (f File) encode(rows []row) ([]byte, error) {
	var b bytes.Buffer
	w := parquet.NewGenericWriter[row](&b,
		parquet.CreatedBy("vigie", formatVersion, ""),
		parquet.DataPageVersion(1), parquet.PageBufferSize(pageBytes), parquet.SkipPageBounds("pdq"), parquet.SkipPageBounds("content_id"),
		parquet.BloomFilters(parquet.SplitBlockFilter(bloomBits, "content_id")),
		parquet.SortingWriterConfig(parquet.SortingColumns(parquet.Ascending("number"))),
		parquet.KeyValueMetadata("vigie.uploads", formatVersion),
		parquet.KeyValueMetadata("vigie.party", strconv.FormatUint(uint64(f.Party), 10)),
		parquet.KeyValueMetadata("vigie.node", f.Node),
		parquet.KeyValueMetadata("vigie.first", strconv.FormatUint(f.First, 10)),
		parquet.KeyValueMetadata("vigie.last", strconv.FormatUint(f.Last, 10)),
	)
	_, err := w.Write(rows)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("encode a file of uploads: %w", err)
	}
	return b.Bytes(), nil
}

// opened is a file that is read.
type opened struct {
	File
	*source
	file *parquet.File
}

var schema = parquet.SchemaOf(row{})

// maxReplaced is how often a file is read anew, since something is erased from it meanwhile.
const maxReplaced = 5

// open opens a file, and does something with it; that begins anew when the file is replaced under it.
func (f File) open(ctx context.Context, store Store, do func(Object) error) (err error) {
	for range maxReplaced {
		if err = f.openOnce(ctx, store, do); !errors.Is(err, bucket.ErrReplaced) {
			break
		}
	}
	return err
}

func (f File) openOnce(ctx context.Context, store Store, do func(Object) error) (err error) {
	o, err := store.Open(ctx, f.Name())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	if o.Size() > maxFileBytes {
		return f.corrupt(fmt.Errorf("it has %d bytes; at most %d are accepted", o.Size(), maxFileBytes))
	}
	return do(o)
}

// read opens a file and has something read of it, which may begin anew (see open). Whatever is wrong with its bytes is
// storage.ErrCorrupt: the library that reads them is not trusted with bytes that nobody vouches for.
func (f File) read(ctx context.Context, store Store, do func(*opened) error) error {
	return f.open(ctx, store, func(o Object) error { return f.parse(ctx, &source{Object: o}, do) })
}

func (f File) parse(ctx context.Context, o *source, do func(*opened) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = f.corrupt(fmt.Errorf("%v", p))
		}
		if err != nil && o.err != nil {
			err = fmt.Errorf("read %s: %w", f.Name(), o.err)
		}
	}()
	file, err := parquetvet.Open(o, o.Size())
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return f.corrupt(err)
	}
	if v, _ := file.Lookup("vigie.uploads"); v != formatVersion {
		return f.corrupt(fmt.Errorf("it has version %.10q; this program reads %s", v, formatVersion))
	}
	if !parquet.SameNodes(file.Schema(), schema) || file.NumRows() < 0 || file.NumRows() > maxRows {
		return f.corrupt(errors.New("it has other columns, or too many rows"))
	}
	return do(&opened{f, o, file})
}

// source remembers that the store failed: what the library makes of that looks like damage.
type source struct {
	Object
	err error
}

func (s *source) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > s.Size() { // which the file says, and not the store
		return 0, errPage
	}
	n, err := s.Object.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// corrupt says what is wrong with a file.
func (f File) corrupt(err error) error {
	return fmt.Errorf("%w: %s: %w", storage.ErrCorrupt, f.Name(), err)
}

// aheadBytes is how much of a column is read at a time: a store in a network answers few large requests sooner than many small
// ones.
const aheadBytes = 4 << 20

var aheads = sync.Pool{New: func() any { return new(make([]byte, 0, aheadBytes)) }}

// hashes goes through the hashes of a row group: do gets the number of the first, and as many as are in a page, as they lie in
// the file, to look at until it returns.
func (o *opened) hashes(g parquet.RowGroup, do func(first int, hashes []byte) error) error {
	offsets, err := g.ColumnChunks()[columnPDQ].(*parquet.FileColumnChunk).OffsetIndex()
	if err != nil {
		return o.corrupt(err)
	}
	buf := aheads.Get().(*[]byte)
	defer aheads.Put(buf)
	pages, row := offsets.NumPages(), int64(0)
	for i := 0; i < pages; {
		from, to, next := offsets.Offset(i), offsets.Offset(i), i
		for ; next < pages && offsets.Offset(next) == to; next++ {
			size := offsets.CompressedPageSize(next)
			if size <= 0 || size > o.Size()-to || next > i && to+size-from > aheadBytes {
				break
			}
			to += size
		}
		if next == i || from < 0 {
			return o.corrupt(errors.New("its pages are not where they should be"))
		}
		*buf = slices.Grow((*buf)[:0], int(to-from))[:to-from]
		if n, err := o.ReadAt(*buf, from); n < len(*buf) {
			return o.corrupt(err)
		}
		for rest := *buf; i < next; i++ {
			end := g.NumRows()
			if i+1 < pages {
				end = offsets.FirstRowIndex(i + 1)
			}
			size := offsets.CompressedPageSize(i)
			hashes, err := pageOfHashes(rest[:size], end-row)
			if err != nil || offsets.FirstRowIndex(i) != row {
				return o.corrupt(fmt.Errorf("page %d of hashes: %w", i, cmp.Or(err, errPage)))
			}
			if err := do(int(row), hashes); err != nil {
				return err
			}
			rest, row = rest[size:], end
		}
	}
	if row != g.NumRows() {
		return o.corrupt(errPage)
	}
	return nil
}

var errPage = errors.New("it is not what its header and the index say")

// pageOfHashes returns the rows of a page: all of it that is behind its header. Everything the header says is
// checked, which its checksum does not cover.
func pageOfHashes(page []byte, rows int64) ([]byte, error) {
	if rows < 1 || rows > int64(len(page)/hashBytes) {
		return nil, errPage
	}
	size := int(rows) * hashBytes
	hashes := page[len(page)-size:]
	var h format.PageHeader
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), page[:len(page)-size], &h); err != nil {
		return nil, err
	}
	if d := h.DataPageHeader.V; h.Type != format.DataPage || !h.DataPageHeader.Valid || d.Encoding != format.Plain || int64(d.NumValues) != rows ||
		int(h.CompressedPageSize) != size || int(h.UncompressedPageSize) != size || uint32(h.CRC) != crc32.ChecksumIEEE(hashes) {
		return nil, errPage
	}
	return hashes, nil
}

// vet looks at the pages of a column that hold the rows [from, until), before the library unpacks what they claim to be.
func (o *opened) vet(g parquet.RowGroup, column int, from, until int64) error {
	i := slices.Index(o.file.RowGroups(), g)
	index, err := g.ColumnChunks()[column].OffsetIndex()
	if err == nil {
		err = parquetvet.Pages(o, o.Size(), &o.file.Metadata().RowGroups[i].Columns[column].MetaData, index, from, until)
	}
	if err != nil {
		return o.corrupt(err)
	}
	return nil
}

// rows reads all rows, in their order, some at a time.
func (o *opened) rows(do func([]row) error) error {
	for _, g := range o.file.RowGroups() {
		if err := o.vet(g, columnContentID, 0, g.NumRows()); err != nil { // the one that is compressed
			return err
		}
	}
	r := parquet.NewGenericReader[row](o.file)
	defer r.Close()
	buf, number := make([]row, 1024), int64(0)
	for {
		n, err := r.Read(buf)
		if err != nil && !errors.Is(err, io.EOF) {
			return o.corrupt(err)
		}
		for _, r := range buf[:n] {
			if r.Number <= number || !o.covers(r.Number) {
				return o.corrupt(fmt.Errorf("upload %d is in it behind %d", r.Number, number))
			}
			number = r.Number
		}
		if doErr := do(buf[:n]); doErr != nil {
			return doErr
		}
		if err != nil {
			return nil
		}
	}
}
