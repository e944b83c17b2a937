package segment

import (
	"runtime"
	"slices"
	"sync"
	"unsafe"
)

// makeTables fills the tables, or the order of digests, on so many processors at a time.
func (s *Segment) makeTables(workers int) {
	for i := range s.byValue {
		s.byValue[i] = uint32(i)
	}
	w, step := int(s.Width), 0
	slices.SortFunc(s.byValue, func(x, y uint32) int {
		step++
		Polite(step)
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

// Polite lets others go first, at every so many steps of some nanoseconds each. Segments are made in the background, and a
// search that waits for a processor should not wait the 10 milliseconds that Go gives a goroutine.
func Polite(step int) {
	if step%4096 == 0 {
		runtime.Gosched()
	}
}

// makeTable sorts the rows by chunk t: it counts, sums up, and deals out.
func (s *Segment) makeTable(t int) {
	b := &s.tables[t]
	shift := 16 - s.Prefix
	first := s.chunks(t)
	counts := b.directory[1:]
	for row := range s.Len() {
		Polite(row)
		counts[first.at(row)>>shift]++
	}
	sum := uint32(0)
	for k, n := range counts {
		counts[k] = sum // where bucket k begins; it ends as where it ends
		sum += n
	}
	if b.values != nil {
		for row, v := range s.words {
			Polite(row)
			k := first.at(row) >> shift
			at := counts[k]
			counts[k]++
			b.values[at], b.rows[at] = v, uint32(row)
		}
		return
	}
	next, after := s.chunks((t+1)%Chunks), s.chunks((t+2)%Chunks)
	sketch := func(row int) uint32 { return uint32(next.at(row)) | uint32(after.at(row))<<16 }
	if s.Prefix == 16 {
		b.dealTwice(first, sketch, s.Len())
		return
	}
	for row := range s.Len() {
		Polite(row)
		k := first.at(row) >> shift
		at := counts[k]
		counts[k]++
		b.sketches[at], b.rows[at] = sketch(row), uint32(row)
	}
}

// dealTwice deals out n rows by the upper half of the chunk, and each of these 256 heaps by the lower half. To deal
// them out to 65,536 buckets at once would miss the cache with each row: a few times slower at 10 million.
func (b *table) dealTwice(key chunks, sketch func(int) uint32, n int) {
	ends := b.directory[1:] // of the buckets: as yet where they begin
	var heaps [257]uint32   // where they begin
	for h := range 256 {
		heaps[h] = ends[h<<8]
	}
	heaps[256] = uint32(n)
	low, to := make([]uint8, n), heaps
	for row := range n {
		Polite(row)
		k := key.at(row)
		at := to[k>>8]
		to[k>>8]++
		b.sketches[at], b.rows[at], low[at] = sketch(row), uint32(row), uint8(k)
	}
	var sketches, rows []uint32
	for h := range 256 {
		from, to := heaps[h], heaps[h+1]
		sketches = append(sketches[:0], b.sketches[from:to]...)
		rows = append(rows[:0], b.rows[from:to]...)
		ends := ends[h<<8 : h<<8+256]
		for i, k := range low[from:to] {
			Polite(i)
			at := ends[k]
			ends[k]++
			b.sketches[at], b.rows[at] = sketches[i], rows[i]
		}
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
