// Package segment holds rows that never change, and finds those near a value: multi-index hashing in
// Hamming space, exact at every radius.
//
// A segment is one stretch of memory, laid out as docs/format/segment.md says; in a file it is the
// same bytes. [Builder] makes one of rows, [Open] maps one from a file.
//
// # How a row is found
//
// A 256-bit value is 16 chunks d of 16 bits; for each chunk t there is a table, a directory of buckets
// by the chunk's value. Let d[t] be the number of bits in which chunk t of a row differs from that of
// the query, and let the radius be r. Thresholds T[t] are chosen for each query so that their sum is r+1.
//
// If the distance, the sum of all d[t], is at most r, there is a chunk t from which on, around the ring,
// all sums stay small: d[t] < T[t], d[t]+d[t+1] < T[t]+T[t+1], and so on, indices modulo 16 (the strong
// form of the pigeonring principle: Qin and Xiao, "Pigeonring: A Principle for Faster Thresholded
// Similarity Search", VLDB 2018).
//
// Proof. Let x[t] = T[t]-d[t]; the sum of all x is at least r+1-r = 1. Let S[k] be the sum of the first k of
// them, read on around the ring, so that S[k+16] >= S[k]+1. Take the last k in 0..15 where S[k] is
// least. Every later sum is larger: in the same round because k is the last of the least, and in the
// next one because each grew by 1 or more. Hence all sums of x from k on are positive, which is the claim
// for t = k.
//
// So it is enough to look, in table t, at the buckets whose chunk differs from the query's in fewer than
// T[t] bits, and there at rows whose next two chunks keep the sums of three small. These two chunks
// stand beside the row's number in the bucket, as a sketch of 32 bits: 16 rows are decided by one
// instruction, and hardly a row passes that is not within the radius. What passes is compared in full.
// A row that passes at several chunks counts at the first of them.
package segment

import (
	"fmt"
	"math/bits"
	"runtime"
	"sort"
	"sync/atomic"
	"unsafe"

	"vigie/hashing"
)

// Chunks is the number of chunks, and tables, of a 256-bit value; of a 64-bit one it is a quarter.
const Chunks = 16

// MaxRows is the most rows of a segment.
const MaxRows = 1<<31 - 1

// Segment is rows of one algorithm, ordered by entry. It is immutable; any number of goroutines may
// read it. Its memory is freed when nothing refers to it any more.
type Segment struct {
	header
	memory  []byte
	cleanup runtime.Cleanup // releases the memory

	a, b      []uint64 // planes of 256-bit values; see kernel.Flat256
	words     []uint64 // other values, width words each, one after the other
	columns   [numColumns]column
	tables    []table
	byValue   []uint32 // of digests: the numbers of the rows, ordered by value
	algorithm hashing.Algorithm
}

// The columns of a segment.
const (
	colEntry = iota
	colBank
	colVariant
	colTime
	numColumns
)

// table finds rows by one chunk. Buckets are by the first bits of the chunk; see header.Prefix.
type table struct {
	directory []uint32 // bucket k is at positions directory[k] to directory[k+1]
	sketches  []uint32 // by position, of 256-bit values: the next chunk, and the one after it in the upper half
	values    []uint64 // by position, of 64-bit values: the value
	rows      []uint32 // by position
}

// Row is a row as callers give and get it. The value is as stored: see [Permute].
type Row struct {
	Value   Value
	Entry   uint64
	Bank    uint32
	Variant uint8
	Time    uint32
}

// Algorithm is that of all rows; Len their number; Bytes the memory they take.
func (s *Segment) Algorithm() hashing.Algorithm { return s.algorithm }
func (s *Segment) Len() int                     { return int(s.Rows) }
func (s *Segment) Bytes() int64                 { return int64(len(s.memory)) }

// Free frees the memory at once, of a segment that nobody uses any more and that was not read from a file.
func (s *Segment) Free() {
	s.cleanup.Stop()
	release(s.memory)
}

// Row returns a row, from 0 to Len()-1.
func (s *Segment) Row(row int) Row {
	defer runtime.KeepAlive(s)
	return Row{
		Value: s.value(row), Entry: s.columns[colEntry].at(row), Bank: uint32(s.columns[colBank].at(row)),
		Variant: uint8(s.columns[colVariant].at(row)), Time: uint32(s.columns[colTime].at(row)),
	}
}

// Bank is the bank of a row.
func (s *Segment) Bank(row int) uint32 {
	defer runtime.KeepAlive(s)
	return uint32(s.columns[colBank].at(row))
}

// Spans are the least and the largest numbers of the columns.
func (s *Segment) Spans() Spans {
	var sp Spans
	for i := range sp {
		sp[i] = Span{s.Columns[i].Min, s.Columns[i].Max}
	}
	return sp
}

// Find returns the rows of an entry: from the first number to the one before the second.
func (s *Segment) Find(entry uint64) (from, to int) {
	defer runtime.KeepAlive(s)
	c := s.columns[colEntry]
	from = sort.Search(s.Len(), func(i int) bool { return c.at(i) >= entry })
	for to = from; to < s.Len() && c.at(to) == entry; to++ {
	}
	return from, to
}

func (s *Segment) value(row int) (v Value) {
	if s.a != nil {
		at := row/8*16 + row%8
		return Value{s.a[at], s.a[at+8], s.b[at], s.b[at+8]}
	}
	w := int(s.Width)
	copy(v[:], s.words[row*w:(row+1)*w])
	return v
}

// Spans are those of the columns: entry, bank, variant, time.
type Spans [numColumns]Span

// NoSpans are the spans of no rows.
func NoSpans() Spans { return Spans{Empty, Empty, Empty, Empty} }

// With are the spans that have a row too.
func (s Spans) With(r Row) Spans {
	return Spans{s[colEntry].With(r.Entry), s[colBank].With(uint64(r.Bank)), s[colVariant].With(uint64(r.Variant)), s[colTime].With(uint64(r.Time))}
}

// Join are the spans of both.
func (s Spans) Join(o Spans) Spans {
	for i := range s {
		s[i] = s[i].Join(o[i])
	}
	return s
}

// Builder makes a segment. Different rows may be set by different goroutines; all else is for one of them.
type Builder struct {
	s *Segment
	n atomic.Int64 // rows that were set
}

// New prepares a segment of n rows, whose columns lie within the spans. The caller sets all n, each
// once, and finishes.
func New(a hashing.Algorithm, n int, spans Spans) (*Builder, error) {
	if n < 0 || n > MaxRows {
		return nil, fmt.Errorf("a segment of %d rows; accepted are at most %d", n, MaxRows)
	}
	h := newHeader(a, n, spans)
	memory, err := allocate(int(h.Size))
	if err != nil {
		return nil, fmt.Errorf("memory for %d rows, %d bytes: %w", n, h.Size, err)
	}
	s, err := over(memory, h)
	if err != nil {
		release(memory)
		return nil, err
	}
	s.cleanup = runtime.AddCleanup(s, release, memory)
	return &Builder{s: s}, nil
}

// Set sets consecutive rows, from the number first on. Rows are in the order of their entries.
func (b *Builder) Set(first int, rows ...Row) {
	s := b.s
	for i := range rows {
		r, row := &rows[i], first+i
		if s.a != nil {
			at := row/8*16 + row%8
			s.a[at], s.a[at+8], s.b[at], s.b[at+8] = r.Value[0], r.Value[1], r.Value[2], r.Value[3]
		} else {
			w := int(s.Width)
			copy(s.words[row*w:(row+1)*w], r.Value[:w])
		}
		s.columns[colEntry].set(row, r.Entry)
		s.columns[colBank].set(row, uint64(r.Bank))
		s.columns[colVariant].set(row, uint64(r.Variant))
		s.columns[colTime].set(row, uint64(r.Time))
	}
	b.n.Add(int64(len(rows)))
}

// Finish makes the tables, on so many processors at a time, and returns the segment.
func (b *Builder) Finish(workers int) *Segment {
	if n := b.n.Load(); n != int64(b.s.Len()) {
		panic(fmt.Sprintf("segment: %d rows were set of %d", n, b.s.Len()))
	}
	b.s.makeTables(workers)
	return b.s
}

// of makes a slice of a part of memory. Parts are aligned to 64 bytes.
func of[T any](memory []byte) []T {
	var t T
	if len(memory) == 0 {
		return []T{}
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(memory))), len(memory)/int(unsafe.Sizeof(t)))
}

// prefixFor is the width of the tables' directories in bits, for n rows: some 16 rows a bucket, so that a
// small segment costs little.
func prefixFor(n int) uint32 { return uint32(min(max(bits.Len(uint(n/16)), 1), 16)) }
