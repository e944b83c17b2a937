package parquetvet

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

type line struct {
	ID   string `parquet:"id,zstd"`
	Rank int64  `parquet:"rank,delta"`
}

func written(tb testing.TB, rows int) []byte {
	tb.Helper()
	var raw bytes.Buffer
	w := parquet.NewGenericWriter[line](&raw, parquet.PageBufferSize(1<<10), parquet.KeyValueMetadata("key", "value"))
	for i := range rows {
		if _, err := w.Write([]line{{strings.Repeat("i", i%50), int64(i)}}); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return raw.Bytes()
}

func footerOf(file []byte) []byte {
	n := int(binary.LittleEndian.Uint32(file[len(file)-8:]))
	return file[len(file)-8-n : len(file)-8]
}

// withFooter is a file with another footer.
func withFooter(body, footer []byte) []byte {
	file := append(bytes.Clone(body), footer...)
	file = binary.LittleEndian.AppendUint32(file, uint32(len(footer)))
	return append(file, magic...)
}

// claim is a struct whose field is a list of structs that claims to have n elements, and has none.
func claim(field byte, n uint64) []byte {
	return append(binary.AppendUvarint([]byte{field<<4 | typeList, 0xf0 | typeStruct}, n), 0)
}

// bounded fails if do takes much memory.
func bounded(t *testing.T, do func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 16 {
		t.Errorf("it took %d MB", took)
	}
}

func TestOpen(t *testing.T) {
	for _, rows := range []int{0, 1, 20_000} {
		raw := written(t, rows)
		file, err := Open(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			t.Fatalf("%d rows: %v", rows, err)
		}
		if file.NumRows() != int64(rows) {
			t.Errorf("%d rows of %d", file.NumRows(), rows)
		}
		got, r := 0, parquet.NewGenericReader[line](file)
		for buf := make([]line, 100); ; {
			n, err := r.Read(buf)
			for _, l := range buf[:n] {
				if want := (line{strings.Repeat("i", got%50), int64(got)}); l != want {
					t.Fatalf("row %d is %v, not %v", got, l, want)
				}
				got++
			}
			if err != nil {
				break
			}
		}
		if got != rows {
			t.Errorf("read %d rows of %d", got, rows)
		}
	}
}

// A few bytes that claim to be many are refused before there is room made for them.
func TestClaims(t *testing.T) {
	raw := written(t, 1000)
	body := raw[:len(raw)-8-len(footerOf(raw))]
	var meta format.FileMetaData
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), footerOf(raw), &meta); err != nil {
		t.Fatal(err)
	}
	c := &meta.RowGroups[0].Columns[0]
	bomb := claim(1, 2_000_000)
	at := int64(len(body))
	meta.RowGroups[0].Columns[0].OffsetIndexOffset, c.OffsetIndexLength = at, int32(len(bomb))
	meta.RowGroups[0].Columns[1].OffsetIndexOffset, meta.RowGroups[0].Columns[1].OffsetIndexLength = 0, 0
	index, err := thrift.Marshal(new(thrift.CompactProtocol), meta)
	if err != nil {
		t.Fatal(err)
	}
	c.OffsetIndexLength = 1 << 30
	far, err := thrift.Marshal(new(thrift.CompactProtocol), meta)
	if err != nil {
		t.Fatal(err)
	}
	for what, file := range map[string][]byte{
		"a list in the footer":   withFooter([]byte(magic), append([]byte{0x15, 0x02}, claim(1, 2_000_000)...)),
		"a string in the footer": withFooter([]byte(magic), append(binary.AppendUvarint([]byte{0x68}, 1<<28), 0)),
		"a list in an index":     withFooter(append(bytes.Clone(body), bomb...), index),
		"a long index":           withFooter(append(bytes.Clone(body), bomb...), far),
		"a long footer":          append(binary.LittleEndian.AppendUint32([]byte(magic), 1<<31), magic...),
		"no footer":              []byte(magic),
	} {
		t.Run(what, func(t *testing.T) {
			bounded(t, func() {
				if _, err := Open(bytes.NewReader(file), int64(len(file))); err == nil {
					t.Error("it is accepted")
				}
			})
		})
	}
	// The statistics of a page's header.
	page := append([]byte{0x15, 0, 0x15, 2, 0x15, 2, 0x2c, 0x15, 2, 0x15, 0, 0x15, 0, 0x15, 0, 0x1c, 0x18}, binary.AppendUvarint(nil, 1<<28)...)
	page = append(page, 0, 0, 0)
	t.Run("a string in a page", func(t *testing.T) {
		bounded(t, func() {
			if err := Pages(bytes.NewReader(page), int64(len(page)), &format.ColumnMetaData{TotalCompressedSize: int64(len(page))}, nil, 0, 1); err == nil {
				t.Error("it is accepted")
			}
		})
	})
	// So many elements that their bytes are there, but what the library makes of each is far larger.
	many := append(binary.AppendUvarint([]byte{0x49, 0xf0 | typeStruct}, maxFooterElements+1), make([]byte, maxFooterElements+2)...)
	t.Run("many elements", func(t *testing.T) {
		file := withFooter([]byte(magic), many)
		if _, err := Open(bytes.NewReader(file), int64(len(file))); err == nil {
			t.Error("it is accepted")
		}
	})
	deep := bytes.Repeat([]byte{0x1c}, maxDepth+2)
	if _, err := structure(append(deep, make([]byte, 100)...), new(int64)); err == nil {
		t.Error("a deep nest is accepted")
	}
}

// FuzzStructure: what is walked over is what the library reads, to the byte.
func FuzzStructure(f *testing.F) {
	f.Add(footerOf(written(f, 10)))
	f.Add(claim(1, 1<<30))
	f.Add([]byte{0x1b, 2, 0x85, 1, 'a', 2, 1, 'b', 4, 0x11, 0x12, 0x17, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		elements := int64(1000)
		size, err := structure(data, &elements)
		if err != nil {
			return
		}
		for _, v := range []any{new(format.FileMetaData), new(format.PageHeader), new(format.OffsetIndex), new(struct{})} {
			r := new(thrift.CompactProtocol).NewReaderFromBytes(data)
			if err := thrift.NewDecoder(r).Decode(v); err == nil && r.BytesRead() != size {
				t.Fatalf("%T: %d bytes, and the library reads %d", v, size, r.BytesRead())
			}
		}
	})
}
