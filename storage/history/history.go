// Package history keeps what was uploaded, so that a picture that becomes known today is found among those of last week: of
// each upload its plain PDQ hash and the name that the platform has for it, nothing else.
//
//	h, err := history.Open(dir, store, history.Options{Scan: index.ScanFlat})
//	go h.Run(ctx)
//	id, err := h.Append(ctx, history.Record{Party: 7, At: now, ContentID: "post/4711", PDQ: v, Quality: 90})
//	err = h.Search(ctx, history.Query{Values: values, Radius: 31}, found) // at once
//	for f, err := range h.Files(ctx, q) { ... h.SearchFile(ctx, f, q, found) } // as a job
//
// # Three places
//
// A record is appended to a journal of its own (vigie/storage/journal), and acknowledged when it is on the disk. It is in the
// window then: the recent uploads of this node, in memory. An hour later at most it is sealed: in a Parquet file of its
// party, node and hour, in a folder or in S3 (see [Store]); docs/format/uploads.md describes the files, which any engine
// can read. Only then the journal lets go of it.
//
// # What holds
//
//   - A record that was acknowledged is sealed, once, whatever happened to the process meanwhile. One that was not may be.
//   - It is found: at any time it is in the window, in a file, or in both. Who asks for the window first and then for the list of
//     files misses nothing, and tells by node and number what he was told twice. What waits to be sealed stays in the window,
//     however small that is to be.
//   - An erased record is found nowhere any more. See [History.Erase].
//
// The window of a node holds what this node was given: each node asks its own. Files are everybody's: in a store that nodes share
// ([Options.Shared]), any of them searches all, and what becomes of them is done once ([History.EraseFile], [History.ExpireFiles]).
// Who loses a node's disk loses of its uploads what was not sealed, which is an hour's at most.
//
// # What a search finds
//
// There is one hash of a past upload, and its bytes are gone, so that all transforms have to be on the side of what is asked
// for: [Query] takes many values, and one pass compares them all. Where the flagged media is at hand, these are what a
// check of it would ask for: its renderings (plain, trimmed, flattened) in their eight orientations. That
// finds past uploads that are turned or mirrored, or of which the flagged media is a framed copy. It does not find past
// uploads that are framed copies themselves, though a check, which has their pixels, would: only the flagged media's own frame can be
// cut off now. Where only a hash is known, pdq.DihedralOf estimates the orientations, within some bits. The
// negative's hash is the complement.
package history

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"vigie/hashing"
	"vigie/storage/journal"
)

// ErrInvalid: a record or a query is not what it must be.
var ErrInvalid = errors.New("invalid")

// Scan compares rows of 32 bytes, which are values as [hashing.Value.Bytes] has them, with all queries, and calls found for
// each pair within the radius, in any order. It is called by several goroutines at a time.
type Scan func(ctx context.Context, queries []hashing.Value, radius int, rows []byte, found func(query, row, distance int)) error

// Options adjust a history. Scan is needed; the rest may be zero.
type Options struct {
	// Scan is how rows are compared.
	Scan Scan
	// WindowBytes is how much memory the window takes, about; 0: 1 GiB, which is some 15 million uploads.
	WindowBytes int64
	// WindowAge is how long uploads stay in the window; 0: 24 h.
	WindowAge time.Duration
	// FileBytes is how many bytes of the journal become files at the latest, if the hour has not ended before; 0: 128 MiB, about
	// a million uploads. They are in memory while they are sealed.
	FileBytes int64
	// JournalBytes is how much may wait to be sealed, in the journal and so in memory; beyond it, while the store is away,
	// [History.Append] answers journal.ErrFull. 0: 2 GiB.
	JournalBytes int64
	// Shared says that other nodes have the store, too. Then [History.Erase] and [History.Expire] leave the files alone, for which
	// somebody calls [History.EraseFile] and [History.ExpireFiles] on behalf of all.
	Shared bool
	// Former, if not nil, is where this history had its files before it had the store. They are read there, and [History.Run] moves
	// them into the store.
	Former Store
	// Fault, if not nil, is told what went wrong in the background: a store that is away, damage. By several goroutines.
	Fault func(error)
	// Now is the clock. nil: time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.WindowBytes <= 0 {
		o.WindowBytes = 1 << 30
	}
	if o.WindowAge <= 0 {
		o.WindowAge = 24 * time.Hour
	}
	if o.FileBytes <= 0 {
		o.FileBytes = 128 << 20
	}
	if o.JournalBytes <= 0 {
		o.JournalBytes = 2 << 30
	}
	if o.Fault == nil {
		o.Fault = func(error) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// History is an open history. Its methods may be called from any number of goroutines.
type History struct {
	dir     string
	o       Options
	store   Store
	journal *journal.Journal
	window  *window

	appends sync.RWMutex // held by Append for reading, so that Erase can wait for those on their way
	files   sync.Mutex   // held while files are written or removed

	moved  chan struct{} // closed when the store has all files
	loaded chan struct{} // closed when Run has filled the window

	began  uint64 // the last number of the journal when it was opened
	behind uint64 // the last number that this node has sealed before its folder was set back to an older one; 0: it was not
	looked bool   // whether behind is known; both are files's
}

// journalFolder is the folder of the journal within that of the history.
const journalFolder = "uploads"

// Open opens the history in a folder, which belongs to one process. What was not sealed is in the window when it
// returns; what was, as far as the window goes back, when [History.Run] has read it.
func Open(dir string, store Store, o Options) (*History, error) {
	if o.Scan == nil {
		return nil, fmt.Errorf("open the upload history: %w: Options.Scan is nil", ErrInvalid)
	}
	h := &History{
		dir: filepath.Join(dir, journalFolder), o: o.withDefaults(), store: store, moved: make(chan struct{}), loaded: make(chan struct{}),
	}
	if o.Former != nil {
		h.store = both{store, o.Former}
	} else {
		close(h.moved)
	}
	var err error
	h.journal, err = journal.Open(h.dir, journal.Options{
		MaxBytes: h.o.JournalBytes, FileBytes: h.o.FileBytes, Fault: h.o.Fault, Now: h.o.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("open the upload history: %w", err)
	}
	now := h.journal.Stats()
	h.began = now.Appended
	h.window = newWindow(h.o.WindowBytes, now.Shipped)
	for j, err := range h.journal.Backlog() {
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open the upload history: %w", err), h.journal.Close())
		}
		if r, err := parseBody(j.Body); err == nil { // else it is told of when it is to be sealed
			h.window.add(j.ID.Number, r)
		}
	}
	return h, nil
}

// Node is the node's identity in names of files and in hits: 8 hexadecimal digits.
func (h *History) Node() string { return h.journal.Node() }

// Append takes an upload in. When it returns nil the record is on the disk, and [History.Search] finds it; the id names it
// among those of all nodes. Errors are [ErrInvalid], journal.ErrFull, journal.ErrClosed, ctx's, and those of the disk; after the last
// two the record may be there all the same.
func (h *History) Append(ctx context.Context, r Record) (journal.ID, error) {
	if err := r.validate(); err != nil {
		return journal.ID{}, err
	}
	h.appends.RLock()
	defer h.appends.RUnlock()
	id, err := h.journal.Append(ctx, recordKind, r.appendBody(make([]byte, 0, 160)))
	if err != nil {
		return journal.ID{}, fmt.Errorf("append to the upload history: %w", err)
	}
	h.window.add(id.Number, r)
	return id, nil
}

// Shared is [Options.Shared].
func (h *History) Shared() bool { return h.o.Shared }

// Moved reports whether the store has all of this node's files: none is left in [Options.Former], where nobody else sees it.
func (h *History) Moved() bool {
	select {
	case <-h.moved:
		return true
	default:
		return false
	}
}

// tick is how often the clock is looked at.
const tick = 10 * time.Second

// Run seals, and fills the window from the newest files, until ctx ends or the history is closed; it returns ctx's error, or
// journal.ErrClosed. It is to be running once.
func (h *History) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var todo sync.WaitGroup
	defer todo.Wait()
	defer cancel()
	todo.Go(func() { h.keepTime(ctx) })
	todo.Go(func() {
		defer close(h.loaded)
		if err := h.load(ctx); err != nil && ctx.Err() == nil {
			h.o.Fault(fmt.Errorf("fill the window of the upload history: %w", err))
		}
	})
	todo.Go(func() { h.move(ctx) })
	return h.journal.ShipFiles(ctx, h.seal)
}

// keepTime has files end with the hour, and the window forget.
func (h *History) keepTime(ctx context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	hour := hourOf(h.o.Now())
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now := h.o.Now()
		if !hourOf(now).Equal(hour) { // before or behind: a clock may be set
			hour = hourOf(now)
			h.journal.Renew()
		}
		h.window.forget(now.Add(-h.o.WindowAge))
	}
}

// Seal returns when all that was acknowledged before is in files, while [History.Run] runs. It makes files smaller than they need
// be: for erasure, for tests, and before a node is given up.
func (h *History) Seal(ctx context.Context) error {
	if err := h.journal.Flush(ctx); err != nil {
		return fmt.Errorf("seal the upload history: %w", err)
	}
	return nil
}

// Stats is the state of a history at a moment.
type Stats struct {
	Journal journal.Stats // Backlog: records that wait to be sealed
	Window  WindowStats
}

// WindowStats is the state of the window.
type WindowStats struct {
	Rows  int
	Bytes int64     // of memory
	Since time.Time // of the oldest upload, or a little earlier; zero: there is none
}

// Stats returns the state of the history.
func (h *History) Stats() Stats {
	return Stats{Journal: h.journal.Stats(), Window: h.window.stats()}
}

// Close ends [History.Run] and waits for what is being appended. What is not sealed is when the folder is opened again.
func (h *History) Close() error { return h.journal.Close() }

// hourOf is the hour that a time is in.
func hourOf(t time.Time) time.Time { return t.UTC().Truncate(time.Hour) }
