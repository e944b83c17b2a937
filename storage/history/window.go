package history

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"vigie/hashing"
	"vigie/storage"
)

// window is the recent uploads in memory, oldest first, in chunks. Hashes are read without a lock while others are appended:
// a hash is written before the chunk's count says that it is there, and not again. What else is known of a row is
// looked at only for hits, under the chunk's lock.
type window struct {
	budget  int64
	erasing sync.Mutex // held by erase, which looks at chunks before it replaces them; before mu
	opened  uint64     // what was sealed when the window was made; later rows are added when they come, earlier ones by load

	mu     sync.Mutex // of appending and removing
	chunks atomic.Pointer[[]*chunk]
	tail   *chunk // what is appended to
	head   *chunk // what load adds to, at the other end
	sealed uint64
}

// chunkRows is how many rows a chunk has room for.
const chunkRows = 16 << 10

// chunk is some rows.
type chunk struct {
	hashes []byte       // 32 bytes a row
	n      atomic.Int64 // rows of which hashes may be read

	mu     sync.RWMutex
	rows   []meta
	ids    []byte // content ids, one after the other
	number uint64 // what those of rows are counted from
	at     int64  // likewise, in milliseconds

	last           uint64 // the largest number
	oldest, newest int64  // in milliseconds
}

// meta is what a row has besides its hash and its id, in 16 bytes: differences to the chunk's, and where its id ends.
type meta struct {
	number, at, party uint32
	end               uint32 // in the upper 24 bits; quality below
}

const metaBytes = 16

func newWindow(budget int64, shipped uint64) *window {
	w := &window{budget: budget, opened: shipped, sealed: shipped}
	w.chunks.Store(new([]*chunk))
	return w
}

// add adds a row that was just acknowledged.
func (w *window) add(number uint64, r Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tail == nil || !w.tail.add(number, r) {
		w.tail = newChunk(number, r)
		w.tail.add(number, r)
		w.replace(append(slices.Clone(*w.chunks.Load()), w.tail))
		w.shrink(math.MinInt64)
	}
}

// addOld adds a row that was there before the window was, older than all that are in it. It reports whether there is room for more.
func (w *window) addOld(number uint64, r Record) (room bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.head == nil || !w.head.add(number, r) {
		if w.bytes()+newChunkBytes > w.budget {
			return false
		}
		w.head = newChunk(number, r)
		w.head.add(number, r)
		w.replace(append([]*chunk{w.head}, *w.chunks.Load()...))
	}
	return true
}

// replace publishes other chunks. mu is held.
func (w *window) replace(chunks []*chunk) { w.chunks.Store(&chunks) }

// seal says that records up to a number are in files, and may leave the window.
func (w *window) seal(number uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sealed = max(w.sealed, number)
	w.shrink(math.MinInt64)
}

// forget drops chunks whose rows are all older than a time.
func (w *window) forget(before time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shrink(before.UnixMilli())
}

// shrink drops chunks that are too old, or too many; but none with a row that is not sealed. mu is held.
func (w *window) shrink(before int64) {
	chunks, bytes := *w.chunks.Load(), w.bytes()
	n := 0
	for ; n < len(chunks); n++ {
		c := chunks[n]
		if c.last > w.sealed || c.newest >= before && (bytes <= w.budget || c == w.tail) {
			break
		}
		bytes -= c.bytes()
		if c == w.tail {
			w.tail = nil
		}
		if c == w.head {
			w.head = nil
		}
	}
	if n > 0 {
		w.replace(slices.Clone(chunks[n:]))
	}
}

// bytes is the memory that all chunks take. mu is held.
func (w *window) bytes() (sum int64) {
	for _, c := range *w.chunks.Load() {
		sum += c.bytes()
	}
	return sum
}

func (w *window) stats() (s WindowStats) {
	w.mu.Lock()
	defer w.mu.Unlock()
	oldest := int64(math.MaxInt64)
	for _, c := range *w.chunks.Load() {
		s.Rows += len(c.rows)
		s.Bytes += c.bytes()
		oldest = min(oldest, c.oldest)
	}
	if s.Rows > 0 {
		s.Since = time.UnixMilli(oldest).UTC()
	}
	return s
}

// erase drops rows. Chunks that have one are copied without it, so that searches on their way go on with what they have.
func (w *window) erase(drop func(Record) bool) {
	w.erasing.Lock()
	defer w.erasing.Unlock()
	for _, c := range *w.chunks.Load() {
		if !c.has(drop) {
			continue
		}
		w.mu.Lock()
		chunks := slices.Clone(*w.chunks.Load())
		if i := slices.Index(chunks, c); i >= 0 { // it was not dropped meanwhile
			chunks[i] = c.without(drop)
			if c == w.tail {
				w.tail = chunks[i]
			}
			if c == w.head {
				w.head = chunks[i]
			}
			w.replace(chunks)
		}
		w.mu.Unlock()
	}
}

// Numbers and times of a chunk are counted from what is half their range before its first row's.
const half = 1 << 31

const newChunkBytes = chunkRows * (hashBytes + metaBytes)

// newChunk makes room for rows like this one.
func newChunk(number uint64, r Record) *chunk {
	return &chunk{
		hashes: make([]byte, chunkRows*hashBytes), rows: make([]meta, 0, chunkRows),
		number: number - half, at: r.At.UnixMilli() - half, oldest: math.MaxInt64, newest: math.MinInt64,
	}
}

// add adds a row, unless there is no room for it. The window's mu is held.
func (c *chunk) add(number uint64, r Record) bool {
	at := r.At.UnixMilli()
	i, n, t := len(c.rows), number-c.number, at-c.at // n may wrap around, below half
	if i == chunkRows || n > math.MaxUint32 || t < 0 || t > math.MaxUint32 {
		return false
	}
	copy(c.hashes[i*hashBytes:], r.PDQ.Bytes(hashBytes))
	c.mu.Lock()
	c.ids = append(c.ids, r.ContentID...)
	c.rows = append(c.rows, meta{uint32(n), uint32(t), uint32(r.Party), uint32(len(c.ids))<<8 | uint32(r.Quality)})
	if i+1 == chunkRows {
		c.ids = slices.Clone(c.ids) // without what it had room for
	}
	c.last, c.oldest, c.newest = max(c.last, number), min(c.oldest, at), max(c.newest, at)
	c.mu.Unlock()
	c.n.Store(int64(i + 1))
	return true
}

// bytes is the memory that a chunk takes. The window's mu is held.
func (c *chunk) bytes() int64 {
	return int64(cap(c.hashes) + metaBytes*cap(c.rows) + cap(c.ids))
}

// row is a row as it was added. c.mu is held.
func (c *chunk) row(i int) (number uint64, r Record) {
	m, from := c.rows[i], uint32(0)
	if i > 0 {
		from = c.rows[i-1].end >> 8
	}
	return c.number + uint64(m.number), Record{
		Party: storage.PartyID(m.party), At: time.UnixMilli(c.at + int64(m.at)).UTC(),
		ContentID: string(c.ids[from : m.end>>8]),
		PDQ:       hashing.ValueFromBytes(c.hashes[i*hashBytes : (i+1)*hashBytes]), Quality: hashing.Quality(m.end),
	}
}

// has reports whether one of the rows is such.
func (c *chunk) has(such func(Record) bool) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for i := range c.rows {
		if _, r := c.row(i); such(r) {
			return true
		}
	}
	return false
}

// without is a copy of a chunk but for some rows, with as much room. The window's mu is held.
func (c *chunk) without(drop func(Record) bool) *chunk {
	kept := &chunk{
		hashes: make([]byte, len(c.hashes)), rows: make([]meta, 0, chunkRows), number: c.number, at: c.at,
		oldest: math.MaxInt64, newest: math.MinInt64,
	}
	for i := range c.rows {
		if number, r := c.row(i); !drop(r) {
			kept.add(number, r)
		}
	}
	kept.last = c.last // what is in between is not there any more, and needs no sealing
	return kept
}
