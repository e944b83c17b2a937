package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"

	"vigie/hashing"
)

// headerSize is the bytes before the first section.
const headerSize = 4096

// tail is the bytes behind the last section: kernels read so far beyond what they report.
const tail = 64

const version = 1

var magic = [8]byte{'V', 'I', 'G', 'I', 'E', 'S', 'E', 'G'}

// header is the first bytes of a segment, little-endian, without padding. The numbers that follow it
// (reserved) are 0. Sum is the CRC32C of the header with Sum itself 0.
type header struct {
	Magic     [8]byte
	Version   uint32
	Sum       uint32
	Size      uint64   // of all, in bytes
	Rows      uint64   // at most MaxRows
	Algorithm [16]byte // its name, filled up with zeros
	Width     uint32   // 64-bit words in a value
	Prefix    uint32   // bits of a directory's index: bucket k has the chunks whose first bits (the highest) are k
	Columns   [numColumns]struct {
		Min, Max uint64 // of what stands in it; both bounds may be wider than need be
	}
	Sections [maxSections]section
}

// section is a part of a segment: where it is, and its CRC32C.
type section struct {
	Offset, Length uint64
	Sum            uint32
	_              uint32
}

// The sections, in the order of the file. Each begins at a multiple of 64 bytes; those that an algorithm does
// not have are empty.
const (
	secA       = iota // plane A
	secB              // plane B
	secWords          // values that are not in planes
	secColumns        // one for each column
	secByValue = secColumns + numColumns
	secTables  = secByValue + 1 // directory, sketches or values, rows of each table

	maxSections = secTables + 3*Chunks
)

// numTables is how many tables an algorithm has.
func numTables(a hashing.Algorithm) int {
	if a.Exact() {
		return 0
	}
	return a.Bits() / 16
}

// newHeader lays a segment out.
func newHeader(a hashing.Algorithm, n int, spans Spans) header {
	h := header{Magic: magic, Version: version, Rows: uint64(n), Width: uint32(a.Bits() / 64), Prefix: prefixFor(n)}
	copy(h.Algorithm[:], a.String())
	var lengths [maxSections]int
	switch {
	case a.Exact():
		lengths[secWords], lengths[secByValue] = n*int(h.Width)*8, n*4
	case a.Bits() == 256:
		lengths[secA] = (n + 7) / 8 * 16 * 8
		lengths[secB] = lengths[secA]
	default:
		lengths[secWords] = n * int(h.Width) * 8
	}
	for i, s := range spans {
		if n == 0 {
			s = Span{}
		}
		h.Columns[i].Min, h.Columns[i].Max = s.Min, s.Max
		lengths[secColumns+i] = n * s.width()
	}
	for t := range numTables(a) {
		lengths[secTables+3*t] = (1<<h.Prefix + 1) * 4
		lengths[secTables+3*t+1] = n * 4
		if a.Bits() == 64 {
			lengths[secTables+3*t+1] = n * 8
		}
		lengths[secTables+3*t+2] = n * 4
	}
	at := uint64(headerSize)
	for i, n := range lengths {
		h.Sections[i].Offset, h.Sections[i].Length = at, uint64(n)
		at += uint64(n+63) &^ 63
	}
	h.Size = at + tail
	return h
}

// over reads memory as a segment with a header. What it says of the layout must be what newHeader makes of
// its rows and columns, so that no length can be wrong.
func over(memory []byte, h header) (*Segment, error) {
	a, err := hashing.ParseAlgorithm(string(bytes.TrimRight(h.Algorithm[:], "\x00")))
	switch {
	case h.Magic != magic:
		return nil, errors.New("it is no segment")
	case h.Version != version:
		return nil, fmt.Errorf("version %d; this program reads %d", h.Version, version)
	case err != nil:
		return nil, err
	case h.Rows > MaxRows:
		return nil, fmt.Errorf("%d rows", h.Rows)
	}
	spans := Spans{}
	for i, c := range h.Columns {
		spans[i] = Span{c.Min, c.Max}
	}
	want := newHeader(a, int(h.Rows), spans)
	for i := range want.Sections {
		want.Sections[i].Sum = h.Sections[i].Sum
	}
	want.Sum = h.Sum
	if h != want || uint64(len(memory)) != h.Size {
		return nil, errors.New("its layout is not that of its rows")
	}
	s := &Segment{header: h, memory: memory, algorithm: a}
	part := func(i int) []byte {
		at := h.Sections[i].Offset
		return memory[at : at+h.Sections[i].Length : at+h.Sections[i].Length]
	}
	if a.Bits() == 256 && !a.Exact() {
		s.a, s.b = of[uint64](part(secA)), of[uint64](part(secB))
	}
	s.words, s.byValue = of[uint64](part(secWords)), of[uint32](part(secByValue))
	for i := range s.columns {
		s.columns[i] = column{spans[i].Min, spans[i].width(), part(secColumns + i)}
	}
	s.tables = make([]table, numTables(a))
	for t := range s.tables {
		s.tables[t].directory, s.tables[t].rows = of[uint32](part(secTables+3*t)), of[uint32](part(secTables+3*t+2))
		if a.Bits() == 64 {
			s.tables[t].values = of[uint64](part(secTables + 3*t + 1))
		} else {
			p := part(secTables + 3*t + 1)
			s.tables[t].sketches = of[uint32](memory[h.Sections[secTables+3*t+1].Offset:][:len(p)+tail])[:len(p)/4] // kernels read on
		}
	}
	return s, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode is the header's bytes, its own checksum included.
func (h header) encode() []byte {
	h.Sum = 0
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, h) // memory does not fail
	out := make([]byte, headerSize)
	copy(out, b.Bytes())
	h.Sum = crc32.Checksum(out, castagnoli)
	binary.LittleEndian.PutUint32(out[12:], h.Sum)
	return out
}

// decodeHeader reads what encode wrote.
func decodeHeader(b []byte) (h header, err error) {
	if len(b) < headerSize {
		return h, fmt.Errorf("%d bytes are no header", len(b))
	}
	_ = binary.Read(bytes.NewReader(b), binary.LittleEndian, &h) // headerSize is enough
	if !bytes.Equal(h.encode(), b[:headerSize]) {
		return h, errors.New("the checksum of its header is wrong")
	}
	return h, nil
}

// maskSets holds, for each width of a directory, the masks that flip bits of its index, ordered by how many;
// masks.below[w] is how many flip fewer than w bits.
type maskSet struct {
	masks []uint16
	below [18]int
}

var maskSets = func() (sets [17]maskSet) {
	for width := range sets {
		s := &sets[width]
		for w := range 17 {
			s.below[w] = len(s.masks)
			for x := range 1 << width {
				if bits.OnesCount(uint(x)) == w {
					s.masks = append(s.masks, uint16(x<<(16-width)))
				}
			}
		}
		s.below[17] = len(s.masks)
	}
	return sets
}()
