package segment

import (
	"encoding/binary"
	"math/bits"
)

// Span is the least and the largest number of a column; Empty has none yet.
type Span struct{ Min, Max uint64 }

// Empty is the span of no numbers.
var Empty = Span{Min: ^uint64(0)}

// With is the span that has n too.
func (s Span) With(n uint64) Span { return Span{min(s.Min, n), max(s.Max, n)} }

// Join is the span of both.
func (s Span) Join(o Span) Span { return Span{min(s.Min, o.Min), max(s.Max, o.Max)} }

// width is how many bytes a number of the span takes, from its least one on: 0, 1, 2, 4 or 8.
func (s Span) width() int {
	if s.Max <= s.Min {
		return 0
	}
	switch n := bits.Len64(s.Max - s.Min); {
	case n <= 8:
		return 1
	case n <= 16:
		return 2
	case n <= 32:
		return 4
	}
	return 8
}

// column is one number of each row, counted from the least one, in as few bytes as all of them need:
// none if all are equal (frame of reference; Goldstein et al., ICDE 1998).
type column struct {
	base  uint64
	width int    // bytes: 0, 1, 2, 4 or 8
	data  []byte // little-endian
}

func (c column) at(row int) uint64 {
	switch c.width {
	case 0:
		return c.base
	case 1:
		return c.base + uint64(c.data[row])
	case 2:
		return c.base + uint64(binary.LittleEndian.Uint16(c.data[2*row:]))
	case 4:
		return c.base + uint64(binary.LittleEndian.Uint32(c.data[4*row:]))
	}
	return c.base + binary.LittleEndian.Uint64(c.data[8*row:])
}

func (c column) set(row int, n uint64) {
	n -= c.base
	switch c.width {
	case 1:
		c.data[row] = byte(n)
	case 2:
		binary.LittleEndian.PutUint16(c.data[2*row:], uint16(n))
	case 4:
		binary.LittleEndian.PutUint32(c.data[4*row:], uint32(n))
	case 8:
		binary.LittleEndian.PutUint64(c.data[8*row:], n)
	}
}
