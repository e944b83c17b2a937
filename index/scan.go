package index

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"vigie/hashing"
	"vigie/index/internal/segment"
)

// scanRow is the bytes of a row of [ScanFlat].
const scanRow = 32

// scanPiece is how many rows are dealt into planes at a time: they stay in the processor's cache while all queries are
// compared with them.
const scanPiece = 8 << 10

// scanner is memory for one scan at a time.
type scanner struct {
	segment.Searcher
	a, b    []uint64
	queries []segment.Value
}

var scanners = sync.Pool{New: func() any {
	return &scanner{a: make([]uint64, 2*scanPiece), b: make([]uint64, 2*scanPiece)}
}}

// ScanFlat compares every query with 256-bit rows that lie one after the other, as [hashing.Value.Bytes] has them, such as a
// column of PDQ hashes in a file. It calls found for each pair within the radius, with the numbers of query and row, in no
// order, in the calling goroutine. Rows are read once for all queries.
//
// rows are not kept, and may be anything that is not written meanwhile; a length that is no multiple of 32 is
// [ErrInvalid]. A negative radius finds nothing, one of 256 everything. If ctx ends, the error is ctx's. It may be called by
// many goroutines, each with a part of the rows.
func ScanFlat(ctx context.Context, queries []hashing.Value, radius int, rows []byte, found func(query, row, distance int)) error {
	if len(rows)%scanRow != 0 {
		return fmt.Errorf("%w: %d bytes of rows; a row has %d", ErrInvalid, len(rows), scanRow)
	}
	s := scanners.Get().(*scanner)
	defer scanners.Put(s)
	s.queries = s.queries[:0]
	for _, q := range queries {
		s.queries = append(s.queries, words(q.Bytes(scanRow)))
	}
	total := len(rows) / scanRow
	for first := 0; first < total; first += scanPiece {
		n := min(scanPiece, total-first)
		blocks := s.deal(rows[first*scanRow : (first+n)*scanRow])
		err := s.Planes(ctx, s.a[:16*blocks], s.b[:16*blocks], first, total, s.queries, radius, func(pairs []segment.Pair) {
			for _, p := range pairs {
				found(int(p.Query), int(p.Row), int(p.Distance))
			}
		})
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// words reads a row by its bytes as they lie in memory of this kind of processor: their order does not matter to a distance, as
// long as it is the same in rows and queries.
func words(row []byte) segment.Value {
	r := (*[scanRow]byte)(row)
	return segment.Value{
		binary.LittleEndian.Uint64(r[:8]), binary.LittleEndian.Uint64(r[8:16]),
		binary.LittleEndian.Uint64(r[16:24]), binary.LittleEndian.Uint64(r[24:]),
	}
}

// deal puts rows into the planes that kernels read, and returns how many blocks of eight they fill. What was in the last one
// before remains where there is no row.
func (s *scanner) deal(rows []byte) (blocks int) {
	for ; len(rows) > 0; blocks++ {
		a, b := (*[16]uint64)(s.a[16*blocks:]), (*[16]uint64)(s.b[16*blocks:])
		for i := range min(8, len(rows)/scanRow) {
			v := words(rows[i*scanRow:])
			a[i], a[i+8], b[i], b[i+8] = v[0], v[1], v[2], v[3]
		}
		rows = rows[min(8*scanRow, len(rows)):]
	}
	return blocks
}
