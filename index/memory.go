package index

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"time"

	"vigie/hashing"
	"vigie/index/internal/segment"
)

// ErrFull is wrapped by the errors about rows for which [Options.MemoryLimit] leaves no memory.
var ErrFull = errors.New("the memory limit is reached")

// Memory is what a program with an index takes, in bytes, and may take.
type Memory struct {
	Limit   int64 // [Options.MemoryLimit]; 0: none
	Index   int64 // of the newest snapshot: rows, tables and tombstones
	Retired int64 // of segments that were merged into others, until they are freed: when no snapshot has them
	Process int64 // of the rest of the program: what Go has alive, and needs for itself
	// Merge is what a merge of all rows will take on top, since a new segment is whole before the old ones go, and what
	// the newest rows will take more when they have tables. Sooner or later there is one.
	Merge int64
	// Postponed says that a merge waits for memory. Searches are right meanwhile, but slower.
	Postponed bool
}

// Used is what the program takes now.
func (m Memory) Used() int64 { return m.Index + m.Retired + m.Process }

// Room is what is left for new rows: with them, the next merge of all rows still fits into the limit. It is negative if
// that is no longer so. A sixteenth of the limit is kept free, for rows that come at the same moment, and for the garbage
// of Go's heap. What was merged away is free again before the next merge, or that one waits.
func (m Memory) Room() int64 {
	if m.Limit == 0 {
		return math.MaxInt64
	}
	return m.Limit - m.Limit/16 - m.Index - m.Process - max(m.Retired, m.Merge)
}

// Heap is what is left to Go's heap, merges aside: for [debug.SetMemoryLimit], which does not know what lies outside of
// the heap, as segments do. It is an eighth of the limit at least, since a collector that finds no room
// at all does nothing else but look for it.
func (m Memory) Heap() int64 {
	switch {
	case m.Limit == 0:
		return math.MaxInt64
	case !offHeap:
		return m.Limit
	}
	return max(m.Limit-m.Index-max(m.Retired, m.Merge), m.Limit/8)
}

// offHeap says whether segments lie outside of Go's heap.
const offHeap = runtime.GOOS == "linux"

// Memory measures. It takes some microseconds.
func (x *Index) Memory() Memory {
	s := x.Snapshot()
	m := Memory{Limit: x.o.MemoryLimit, Retired: x.retired.Load(), Process: x.process(), Postponed: x.postponed.Load()}
	live := map[hashing.Algorithm]int{}
	for a := range s.parts {
		of := s.StatsOf(a)
		live[a] = of.Rows
		m.Index += of.Bytes
		for _, p := range s.parts[a] {
			if d, ok := p.rows.(*delta); ok {
				m.Merge += max(segmentBytes(a, d.Len())-d.Bytes(), 0)
			}
		}
	}
	if !offHeap {
		m.Process = max(m.Process-m.Index-m.Retired, 0)
	}
	m.Merge += mergeBytes(live)
	return m
}

// Room returns an error that wraps [ErrFull] if so many more rows, of whatever algorithm, do not fit into
// [Options.MemoryLimit], with the merge that they will bring about. Nothing is reserved: callers that ask at the same
// moment may together get a little more than there is. The index itself does not ask: [Index.Apply] follows
// a log, and what stands there has happened.
func (x *Index) Room(rows int) error {
	m := x.Memory()
	if need := 2 * int64(rows) * rowBytes(hashing.PDQ); need > m.Room() { // once as they come, once more when they are merged
		return fmt.Errorf("%w: of %d MiB, %d are used and %d are kept for the next merge, too little is left for %d more rows",
			ErrFull, m.Limit>>20, m.Used()>>20, (m.Limit/16+max(m.Merge-m.Retired, 0))>>20, rows)
	}
	return nil
}

// rowBytes is the most that a row takes in a segment; see docs/format/segment.md.
func rowBytes(a hashing.Algorithm) int64 {
	n := a.Bits()/8 + 8 + 4 + 1 + 4 // its value; entry, bank, variant and time, if their columns are as wide as can be
	switch {
	case a.Exact():
		n += 4
	case a.Bits() == 256:
		n += numTables(a) * (4 + 4)
	default:
		n += numTables(a) * (8 + 4)
	}
	return int64(n)
}

func numTables(a hashing.Algorithm) int {
	if a.Exact() {
		return 0
	}
	return a.Bits() / 16
}

// segmentBytes is the most that a segment of so many rows takes.
func segmentBytes(a hashing.Algorithm, rows int) int64 {
	directory := int64(4 * min(rows/8, 1<<16)) // at least 8 rows a bucket
	const rest = 16 << 10                      // the header, and what aligns sections
	return int64(rows)*rowBytes(a) + int64(numTables(a))*directory + rest
}

// mergeBytes is the most that merges of all rows take at a time: there are two at most, of different algorithms if they
// are large.
func mergeBytes(live map[hashing.Algorithm]int) int64 {
	var each []int64
	for a, n := range live {
		each = append(each, segmentBytes(a, n))
	}
	slices.Sort(each)
	sum := int64(0)
	for _, n := range each[max(len(each)-2, 0):] {
		sum += n
	}
	return sum
}

// bytes is the most that the segment of a job takes.
func (j job) bytes() int64 {
	rows := 0
	for _, p := range j.parts {
		rows += p.live()
	}
	return segmentBytes(j.algorithm, rows)
}

// work finds the next job. One that does not fit into memory is postponed, and told of once a minute; what is behind
// it is done if that fits. Whoever writes calls it.
func (x *Index) work() (job, bool) {
	left := sync.OnceValue(func() int64 {
		m := x.Memory()
		return m.Limit - m.Used() - x.building
	})
	postponed := false
	j, ok := x.Snapshot().find(x.busy, x.deltaRows, func(j job) bool {
		if x.o.MemoryLimit == 0 || j.bytes() <= left() {
			return true
		}
		if postponed = true; time.Since(x.told) > time.Minute {
			x.told = time.Now()
			x.fault(fmt.Errorf("%w: a merge of %d parts of %s waits: it takes %d MiB, and of %d MiB %d are left; searches are right, but slower",
				ErrFull, len(j.parts), j.algorithm, j.bytes()>>20, x.o.MemoryLimit>>20, left()>>20))
		}
		return false
	})
	x.postponed.Store(postponed)
	return j, ok
}

// retire counts the segments of a job until they are freed.
func (x *Index) retire(j job) {
	for _, p := range j.parts {
		if g, ok := p.rows.(*segment.Segment); ok {
			x.retired.Add(g.Bytes())
			runtime.AddCleanup(g, func(n int64) { x.retired.Add(-n) }, g.Bytes())
		}
	}
}

// loading is changes for [Index.Load], and an error that wraps [ErrFull] as soon as they are too many.
func (x *Index) loading(changes iter.Seq2[Change, error]) iter.Seq2[Change, error] {
	if x.o.MemoryLimit == 0 {
		return changes
	}
	const pile = 120 // bytes that a row takes until it is in its segment, and the collector has taken it away
	return func(yield func(Change, error) bool) {
		all, next := 0, 0
		rows := map[hashing.Algorithm]int{}
		used := x.Memory().Used()
		for c, err := range changes {
			for _, s := range c.Signals {
				rows[s.Algorithm]++
			}
			all += len(c.Signals)
			if err == nil && all >= next {
				next = all + 10_000
				need := used + pile*int64(all)
				for a, n := range maps.All(rows) {
					need += segmentBytes(a, n)
				}
				if need > x.o.MemoryLimit {
					err = fmt.Errorf("%w: the index has more than %d rows, which take %d MiB with all else while they are loaded; the limit is %d MiB",
						ErrFull, all, need>>20, x.o.MemoryLimit>>20)
				}
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
	}
}

// process is the memory of the program but for what lies outside of Go's heap: objects that were alive when they
// were collected last, and what Go needs beside objects.
func (x *Index) process() int64 {
	if x.o.process != nil {
		return x.o.process()
	}
	const live, total = "/gc/heap/live:bytes", "/memory/classes/total:bytes"
	m := []metrics.Sample{
		{Name: live}, {Name: total}, // and what is in the total, but is garbage, free, or alive and counted
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(m)
	n := m[0].Value.Uint64() + m[1].Value.Uint64()
	for _, s := range m[2:] {
		n -= s.Value.Uint64()
	}
	return int64(n)
}
