package segment

import (
	"slices"
	"sync"
	"unsafe"
)

// makeTables fills the tables, or the order of digests, on so many processors at a time.
func (s *Segment) makeTables(workers int) {
	for i := range s.byValue {
		s.byValue[i] = uint32(i)
	}
	w := int(s.Width)
	slices.SortFunc(s.byValue, func(x, y uint32) int {
		return slices.Compare(s.words[int(x)*w:(int(x)+1)*w], s.words[int(y)*w:(int(y)+1)*w])
	})
	var todo sync.WaitGroup
	next := make(chan int)
	for range max(workers, 1) {
		todo.Go(func() {
			for t := range next {
				s.makeTable(t)
			}
		})
	}
	for t := range s.tables {
		next <- t
	}
	close(next)
	todo.Wait()
}

// makeTable sorts the rows by chunk t: it counts, sums up, and deals out.
func (s *Segment) makeTable(t int) {
	b := &s.tables[t]
	shift := 16 - s.Prefix
	first := s.chunks(t)
	counts := b.directory[1:]
	for row := range s.Len() {
		counts[first.at(row)>>shift]++
	}
	sum := uint32(0)
	for k, n := range counts {
		counts[k] = sum // where bucket k begins; it ends as where it ends
		sum += n
	}
	if b.values != nil {
		for row, v := range s.words {
			k := first.at(row) >> shift
			at := counts[k]
			counts[k]++
			b.values[at], b.rows[at] = v, uint32(row)
		}
		return
	}
	next, after := s.chunks((t+1)%Chunks), s.chunks((t+2)%Chunks)
	for row := range s.Len() {
		k := first.at(row) >> shift
		at := counts[k]
		counts[k]++
		b.sketches[at], b.rows[at] = uint32(next.at(row))|uint32(after.at(row))<<16, uint32(row)
	}
}

// chunks is one chunk of all values.
type chunks struct {
	words []uint16
	plane bool // in blocks of 8 rows of two words; else one word a row
}

func (s *Segment) chunks(t int) chunks {
	if s.a == nil {
		return chunks{words: shorts(s.words)[min(t, 4*len(s.words)):]}
	}
	plane := s.a
	if t >= 8 {
		plane = s.b
	}
	skip := t%8/4*8*4 + t%4 // the second word of a block stands 8 words behind the first
	return chunks{shorts(plane)[min(skip, 4*len(plane)):], true}
}

func (c chunks) at(row int) uint16 {
	if c.plane {
		return c.words[row/8*64+row%8*4]
	}
	return c.words[row*4]
}

// shorts are the chunks of words, on machines that put the low end first, as all that Vigie runs on do.
func shorts(words []uint64) []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(words))), 4*len(words))
}
