// Package text is the analysts' full-text search over entries: their notes, labels, sources and reasons, in French,
// Arabic and English, with filters, facets and highlights.
//
// An [Index] is a projection: it holds nothing that the log of its caller does not. Each batch of changes is stored
// together with the [Mark] that it carries, in one step, so that what is on disk always says as of which change it is.
// Whatever makes a folder unfit (another log, another version of the mapping, damage) empties it, and the caller fills it
// again from [Index.Mark].
//
//	x, err := text.Open(dir, text.Options{LogID: id, Head: head})
//	// ...
//	err = x.Apply(ctx, text.Mark{LogID: id, Seq: 17}, []text.Document{{Entry: 42, Bank: 7, Note: "drapeaux noirs"}}, nil)
//	r, err := x.Search(ctx, text.Query{Text: `drapeau -"en vente"`, Limit: 20})
//
// # Which entries are found
//
// A text is cut into words, and words are folded ([Fold]): case, accents, Arabic vowel marks and the letters that
// differ between Arabic, Persian and Urdu keyboards make no difference. An entry matches a word if the folded word
// stands in its note, its labels, its sources or its reason, or if the word has the same stem as one of the
// note in a language of the note. That set is exact; the score merely orders it, and depends on no other entry.
package text

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blevesearch/bleve/v2"
	index "github.com/blevesearch/bleve_index_api"
)

// Document is what is searched of an entry. Of each text the first 64 KiB count.
type Document struct {
	Entry  uint64
	Bank   uint32
	Status string
	Note   string
	Labels []string
	// Sources are origins, such as URLs and case numbers, and who brought them, as given.
	Sources   []string
	Reason    string
	CreatedAt time.Time // kept to the microsecond
}

// Mark says up to which change of which log an index goes.
type Mark struct {
	LogID string `json:"log"`
	Root  string `json:"root,omitempty"` // the log's root at Seq, for the caller to compare; may be empty
	Seq   uint64 `json:"seq"`
}

// Options are what an index is opened for.
type Options struct {
	// LogID is the log that the index projects. An index of another one is emptied.
	LogID string
	// Head is the number of the log's last change. An index that goes beyond is of another history, and emptied.
	Head uint64
}

// State is how an index stands.
type State struct {
	Mark      Mark   // of what a search sees
	Saved     uint64 // the change up to which it would stand after a crash
	Documents uint64
	Bytes     int64 // on disk
	Mapping   int   // MappingVersion
	// Rebuilding is true until the index has reached the head that the log had when the index was opened.
	Rebuilding bool
	// Emptied says why Open emptied the folder; "" if it did not.
	Emptied string
	// Fault is what keeps changes from the disk, such as a full one; "" while there is nothing.
	Fault string
}

var (
	// ErrDamaged says that files of the index are not what they were. The caller closes it and opens it again, which
	// empties it.
	ErrDamaged = errors.New("the text index is damaged")
	// ErrClosed is the answer of an index after Close.
	ErrClosed = errors.New("the text index is closed")
	// ErrLocked says that another process, or another Index of this one, has the folder open.
	ErrLocked = errors.New("the text index is in use by another process")
)

// unsavedBatches is how many batches may be in memory alone; the next one waits for the disk.
const unsavedBatches = 16

// Index is a text index in a folder. Searches run concurrently with each other and with changes; each sees the index as
// it was between two batches.
type Index struct {
	dir     string
	head    uint64
	emptied string

	applying sync.Mutex // one batch at a time
	unsaved  chan struct{}

	using  sync.RWMutex // held to write by Close
	closed bool
	bleve  bleve.Index
	scorch index.Index // what bleve makes of it
	table  *table

	saved atomic.Uint64
	fault faults
}

// Apply takes one batch of changes: the documents are indexed, in place of what their entries had, then the entries that
// are gone are deleted, and the mark is kept, all at one stroke. It is searchable on return, and on disk shortly after: a
// crash loses whole batches, from the end. A batch of about a thousand documents is quickest. Concurrent calls queue.
//
// The mark is of the log that the index was opened for, and does not go back. If ctx ends, nothing was applied.
func (x *Index) Apply(ctx context.Context, mark Mark, docs []Document, gone []uint64) (err error) {
	x.using.RLock()
	defer x.using.RUnlock()
	if x.closed {
		return ErrClosed
	}
	x.applying.Lock()
	defer x.applying.Unlock()
	defer recovered(&err)()

	before := x.markNow()
	if mark.LogID != before.LogID {
		return fmt.Errorf("the text index is of log %q; changes of log %q are of no use to it", before.LogID, mark.LogID)
	}
	if mark.Seq < before.Seq {
		return fmt.Errorf("the text index stands at change %d; it does not go back to %d", before.Seq, mark.Seq)
	}
	b := x.bleve.NewBatch()
	for i := range docs {
		if err := b.IndexAdvanced(docs[i].bleve()); err != nil {
			return fmt.Errorf("index entry %d: %w", docs[i].Entry, err)
		}
	}
	for _, e := range gone {
		b.Delete(entryKey(e))
	}
	setMark(b, mark)
	select {
	case x.unsaved <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait for the disk: %w", ctx.Err())
	case <-x.fault.broken:
	}
	if x.fault.isBroken() { // nobody would take the batch
		return fmt.Errorf("%w: %s", ErrDamaged, x.fault.String())
	}
	b.SetPersistedCallback(func(err error) {
		if err == nil {
			x.saved.Store(mark.Seq)
			x.fault.mend()
		}
		<-x.unsaved
	})
	if err := x.bleve.Batch(b); err != nil {
		<-x.unsaved
		return fmt.Errorf("apply changes to the text index: %w", err)
	}
	return nil
}

// Mark returns up to which change the index goes: changes after it are applied next.
func (x *Index) Mark() Mark {
	x.using.RLock()
	defer x.using.RUnlock()
	return x.markNow()
}

// markNow returns the mark, the zero one if there is none to be read.
func (x *Index) markNow() Mark {
	if x.closed {
		return Mark{}
	}
	r, err := x.reader()
	if err != nil {
		return Mark{}
	}
	defer r.Close()
	m, _ := readMark(r)
	return m.Mark
}

// State says how the index stands.
func (x *Index) State() (State, error) {
	x.using.RLock()
	defer x.using.RUnlock()
	if x.closed {
		return State{}, ErrClosed
	}
	s := State{Saved: x.saved.Load(), Mapping: MappingVersion, Emptied: x.emptied, Fault: x.fault.String()}
	r, err := x.reader()
	if err != nil {
		return State{}, err
	}
	defer r.Close()
	m, err := readMark(r)
	if err != nil {
		return State{}, err
	}
	s.Mark, s.Rebuilding = m.Mark, m.Seq < x.head
	if s.Documents, err = r.DocCount(); err != nil {
		return State{}, err
	}
	err = filepath.WalkDir(x.dir, func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // merged away meanwhile
		}
		if err != nil || e.IsDir() {
			return err
		}
		if info, err := e.Info(); err == nil {
			s.Bytes += info.Size()
		}
		return nil
	})
	return s, err
}

// Close waits for searches and changes under way, and shortly for the disk, and lets go of the folder. A folder that
// turned out to be damaged is emptied.
func (x *Index) Close() error {
	x.using.Lock()
	defer x.using.Unlock()
	if x.closed {
		return nil
	}
	x.closed = true
	defer deaf(x.folder(), x)
	defer deaf(x.scorch, x)
	x.table.close()
	timeout := time.After(5 * time.Second)
	for saved := 0; saved < unsavedBatches && !x.fault.isBroken(); {
		select {
		case x.unsaved <- struct{}{}:
			saved++
		case <-x.fault.broken:
		case <-timeout: // what is not on disk is read from the log again
			saved = unsavedBatches
		}
	}
	if x.fault.isBroken() {
		// A goroutine of bleve ended where it stood, maybe with a lock that its Close waits for. The files are of no
		// further use. An empty folder, rather than none, says to Open that it was damaged.
		go func() { _ = x.bleve.Close() }()
		if err := os.RemoveAll(x.dir); err != nil {
			return err
		}
		return os.MkdirAll(x.dir, 0o700)
	}
	return x.bleve.Close()
}

// reader returns the index as it is now, for the caller to close.
func (x *Index) reader() (index.IndexReader, error) {
	i, err := x.bleve.Advanced()
	if err != nil {
		return nil, err
	}
	return i.Reader()
}
