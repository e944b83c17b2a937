// Package journal keeps what a node writes down thousands of times a second and what therefore does not go through the
// change log: matches, sign-ins. [Journal.Append] returns when the record is on the disk; callers share syncs.
// [Journal.Ship] hands the records on, in order and in batches, to where they are looked up: each at least once, so that
// whoever takes them tells by [ID] what it has already.
//
//	mark                            who the node is, and up to where records were handed on
//	00000000000000000001.journal    records 1 to 4711
//	00000000000000004712.journal    records from 4712 on
//
// A file ends where the next one begins: what it holds beyond that was never acknowledged. So nothing is ever cut off or
// overwritten. Each process begins a file of its own, and so does whoever meets an error of the disk: a file that could not
// be written or synced once is not written again. docs/format/journal.md describes the files.
//
// # What holds
//
//   - Numbers are given from 1, without gaps, in the order of the records.
//   - A record that was acknowledged is handed on, whatever happened to the process or the power meanwhile.
//   - A record that was not may be handed on as well, if it reached the disk. Its number is given again only if it
//     was not handed on: a number never stands for two records.
//   - What the disk has damaged is reported, and passed over. The file is kept, as NAME.damaged, for people to look at.
//
// A folder belongs to one process (see vigie/storage/datadir), and to one node: a copy of it that is written to gives the
// same numbers again. A node that is restored from a backup begins with an empty folder, and has a new identity; where a folder
// turns out to be an older copy of itself, [Journal.Renumber] keeps numbers from standing for two records.
package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Sentinels that callers test with errors.Is. Damage is storage.ErrCorrupt.
var (
	// ErrFull: as many bytes as Options.MaxBytes allows wait to be handed on.
	ErrFull = errors.New("journal is full: its records are not handed on")
	// ErrInvalid: a kind, a body or an id is not what it must be.
	ErrInvalid = errors.New("invalid")
	// ErrClosed: the journal was closed.
	ErrClosed = errors.New("journal is closed")
)

// ID names a record among those of all nodes. Its text is "a1b2c3d4-17".
type ID struct {
	Node   string // 8 lower-case hexadecimal digits, drawn when the folder was made
	Number uint64 // from 1
}

func (i ID) String() string { return i.Node + "-" + strconv.FormatUint(i.Number, 10) }

// ParseID reads what [ID.String] writes, and nothing else. Errors are [ErrInvalid].
func ParseID(text string) (ID, error) {
	node, digits, _ := strings.Cut(text, "-")
	number, err := strconv.ParseUint(digits, 10, 64)
	id := ID{node, number}
	if err != nil || number == 0 || !validNode(node) || id.String() != text {
		return ID{}, fmt.Errorf("%w: an id is 8 lower-case hexadecimal digits, a hyphen and a number from 1, such as a1b2c3d4-17", ErrInvalid)
	}
	return id, nil
}

func validNode(node string) bool {
	return len(node) == 8 && strings.Trim(node, "0123456789abcdef") == ""
}

// Record is what was appended.
type Record struct {
	ID   ID
	At   time.Time // when it was appended, by the node's clock; UTC
	Kind string    // what Body is: "match", "signin"
	Body []byte    // JSON
	// Gap is how many records right before the first one of a delivery the journal does not have, of those that are not
	// known to be delivered: they are damaged, or were removed.
	Gap uint64
}

// Options adjust a journal. The zero value is what everyone wants.
type Options struct {
	// MaxBytes is how many bytes of records may wait to be handed on; beyond it [Journal.Append] answers [ErrFull].
	// 0: 8 GiB. The folder takes some two files more.
	MaxBytes int64
	// FileBytes is the size at which the next file is begun. 0: 64 MiB.
	FileBytes int64
	// Fault, if not nil, is told what went wrong in the background: deliveries that failed, damage (storage.ErrCorrupt,
	// with file and offset). Errors of [Journal.Append] go to its callers alone. It may be called by several goroutines.
	Fault func(error)
	// Now is the clock. nil: time.Now.
	Now func() time.Time

	// For tests; nil: what the system does.
	write func(*os.File, []byte) (int, error)
	sync  func(*os.File) error
	read  func(f *os.File, p []byte, off int64) (int, error)
}

func (o Options) withDefaults() Options {
	if o.MaxBytes <= 0 {
		o.MaxBytes = 8 << 30
	}
	if o.FileBytes <= 0 {
		o.FileBytes = 64 << 20
	}
	if o.Fault == nil {
		o.Fault = func(error) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.write == nil {
		o.write = (*os.File).Write
	}
	if o.sync == nil {
		o.sync = (*os.File).Sync
	}
	if o.read == nil {
		o.read = (*os.File).ReadAt
	}
	return o
}

// Journal is an open folder. Its methods may be called from any number of goroutines.
type Journal struct {
	dir  string
	o    Options
	node string

	mu       sync.Mutex
	closed   bool
	pending  *group        // what callers have put; the writer takes it as a whole
	spare    []byte        // the buffer of a group that is done
	next     uint64        // number of the next record to be put
	durable  uint64        // of the last record that is on the disk
	shipped  uint64        // of the last record that was handed on, or passed over: no file has one before that is to be handed on
	there    uint64        // of the last record that is known to be where they go
	rewinds  uint64        // how often Ship went back
	files    []*file       // oldest first, none of them empty; in the last one the writer may be writing
	bytes    int64         // of records that were put and not handed on
	oldest   time.Time     // when the first of them was put, or a little earlier
	lost     uint64        // records that could not be read
	syncs    uint64        // of groups
	renew    bool          // the writer is to leave its file
	again    *uint64       // Ship is to go back to there
	progress chan struct{} // closed and replaced when something was handed on or removed
	stopShip context.CancelCauseFunc

	wake    chan struct{} // to the writer: something is pending; closed by Close, so that it is sent under mu
	stopped chan struct{} // closed when the writer has ended
	grown   chan struct{} // to Ship: there is more on the disk, or a file is complete
	hurry   chan struct{} // to Ship: somebody waits in Flush

	shipping sync.Mutex // held while Ship runs; of what is below, too
	mark     mark       // as it is on the disk
}

// Node is the node's identity: that of all its records.
func (j *Journal) Node() string { return j.node }

// Stats is the state of a journal at a moment.
type Stats struct {
	Appended uint64    // records ever acknowledged; the number of the last one
	Shipped  uint64    // of these, how many were handed on or are lost
	There    uint64    // number of the last record that is known to be where they go
	Rewinds  uint64    // how often it was found since then that some are not there any more; see [Journal.Again]
	Backlog  uint64    // records on the disk that are not handed on yet
	Bytes    int64     // of the backlog, and of records on their way to the disk
	Oldest   time.Time // when the first record of the backlog was appended, or a little earlier; zero: there is none
	Lost     uint64    // records that were found damaged since the journal was opened
	Syncs    uint64    // syncs of records since then
}

// Stats returns the state of the journal.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := Stats{
		Appended: j.durable, Shipped: j.shipped, Backlog: j.durable - j.shipped,
		There: j.there, Rewinds: j.rewinds, Bytes: j.bytes, Lost: j.lost, Syncs: j.syncs,
	}
	if s.Backlog > 0 {
		s.Oldest = j.oldest
	}
	return s
}

// Close lets the appends on their way end, stops [Journal.Ship] and waits for it. What was not handed on is when the folder is
// opened again; see [Journal.Flush].
func (j *Journal) Close() error {
	j.mu.Lock()
	if !j.closed {
		j.closed = true
		close(j.wake)
		if j.stopShip != nil {
			j.stopShip(ErrClosed)
		}
	}
	j.mu.Unlock()
	<-j.stopped
	j.shipping.Lock()
	defer j.shipping.Unlock()
	return nil
}

// signal leaves a hint in a channel that has room for one.
func signal(hint chan<- struct{}) {
	select {
	case hint <- struct{}{}:
	default:
	}
}

// advanced tells those who wait in Flush that there is progress. mu is held.
func (j *Journal) advanced() {
	close(j.progress)
	j.progress = make(chan struct{})
}
