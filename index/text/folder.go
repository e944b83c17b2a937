package text

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"

	"github.com/blevesearch/bleve/v2"
	"github.com/blevesearch/bleve/v2/index/scorch"
	index "github.com/blevesearch/bleve_index_api"
)

// The folder holds one folder more, which is bleve's and is removed as a whole: nothing else is ever deleted.
const folder = "bleve"

// settings of bleve: batches are introduced in memory and written behind, in order; a snapshot reaches the disk whole
// or not at all. A locked folder is an error after a second rather than a wait.
func settings() map[string]any {
	return map[string]any{"unsafe_batch": true, "bolt_timeout": "1s", "asyncErrorCallbackName": callback, "eventCallbackName": callback}
}

// Open opens the index in a folder, or makes it there. A folder of another log, of another mapping, or that is damaged
// is emptied, and [State] says why: that is no error. Errors are faults of the disk, and [ErrLocked].
//
// Every file is read once and held against its checksum.
func Open(dir string, o Options) (*Index, error) {
	x := &Index{dir: filepath.Join(dir, folder), head: o.Head, unsaved: make(chan struct{}, unsavedBatches), table: newTable()}
	x.fault.broken = make(chan struct{})
	listen(x.folder(), x)
	err := x.open(o)
	if err == nil {
		x.scorch, err = x.bleve.Advanced()
	}
	if err != nil {
		deaf(x.folder(), x)
		return nil, fmt.Errorf("open the text index: %w", err)
	}
	listen(x.scorch, x)
	x.prepare()
	return x, nil
}

func (x *Index) open(o Options) error {
	unfit := x.load(o)
	if unfit == nil {
		return nil
	}
	var reason misfit
	switch {
	case errors.Is(unfit, fs.ErrNotExist) && notThere(x.dir):
	case errors.As(unfit, &reason):
		x.emptied = reason.Error()
	default:
		return unfit
	}
	if err := os.RemoveAll(x.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(x.dir, 0o700); err != nil {
		return err
	}
	var err error
	if x.bleve, err = bleve.NewUsing(x.dir, bleve.NewIndexMapping(), scorch.Name, scorch.Name, settings()); err != nil {
		return err
	}
	b := x.bleve.NewBatch()
	setMark(b, Mark{LogID: o.LogID})
	return x.bleve.Batch(b)
}

func notThere(dir string) bool {
	_, err := os.Lstat(dir)
	return errors.Is(err, fs.ErrNotExist)
}

// misfit is why a folder is emptied.
type misfit struct{ error }

// load opens what is in the folder. Its error is a misfit if the folder should be emptied.
func (x *Index) load(o Options) (err error) {
	if notThere(x.dir) {
		return fs.ErrNotExist
	}
	// bleve maps files into memory: one that was cut off faults where it is read.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = misfit{fmt.Errorf("damaged: %v", r)}
		}
		if err != nil && x.bleve != nil {
			_ = x.bleve.Close()
			x.bleve = nil
		}
	}()
	if err := verifyCatalogue(filepath.Join(x.dir, "store", "root.bolt")); err != nil {
		return err
	}
	if x.bleve, err = bleve.OpenUsing(x.dir, settings()); err != nil {
		x.bleve = nil
		return classify(err)
	}
	r, err := x.reader()
	if err != nil {
		return classify(err)
	}
	defer r.Close()
	m, err := readMark(r)
	if err != nil {
		return misfit{fmt.Errorf("damaged: %w", err)}
	}
	switch {
	case m.Mapping != MappingVersion:
		return misfit{fmt.Errorf("its mapping is version %d; this program's is %d", m.Mapping, MappingVersion)}
	case m.LogID != o.LogID:
		return misfit{errors.New("it is of another log")}
	case m.Seq > o.Head:
		return misfit{fmt.Errorf("it goes to change %d, and the log to %d: the log is of another history", m.Seq, o.Head)}
	}
	if err := verify(r); err != nil {
		return err
	}
	x.saved.Store(m.Seq)
	return nil
}

// classify tells faults of the system, which stay errors, from everything else that bleve says about what is in a
// folder. The lock of another process is known by its text alone: bleve does not pass the type on.
func classify(err error) error {
	var system *fs.PathError
	switch {
	case err.Error() == "timeout":
		return ErrLocked
	case errors.As(err, &system) && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return misfit{fmt.Errorf("damaged: %w", err)}
}

// verifyCatalogue checks that the file of bolt in which bleve lists its segments has all pages that it counts. Where one
// is missing, the goroutine that writes would fault. A file begins with two pages, each a header of 16 bytes and a
// description that ends in its checksum; the one with the higher transaction number holds.
func verifyCatalogue(path string) error {
	damaged := misfit{errors.New("damaged: its catalogue is cut off")}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return misfit{errors.New("damaged: it has no catalogue")}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	const header, summed = 16, 56
	page := int64(os.Getpagesize())
	var pages, newest uint64
	for i := range int64(2) {
		var meta [summed + 8]byte
		if _, err := f.ReadAt(meta[:], i*page+header); err != nil {
			return damaged
		}
		sum := fnv.New64a()
		sum.Write(meta[:summed])
		if sum.Sum64() != binary.NativeEndian.Uint64(meta[summed:]) {
			continue
		}
		if txid := binary.NativeEndian.Uint64(meta[48:]); pages == 0 || txid > newest {
			newest, pages = txid, binary.NativeEndian.Uint64(meta[40:])
		}
	}
	info, err := f.Stat() // last: in use by another process, the file grows
	if err != nil {
		return err
	}
	if pages == 0 || pages > uint64(info.Size()/page) {
		return damaged
	}
	return nil
}

// verify reads the segment files that the index consists of, and compares each with the checksum at its end.
func verify(r index.IndexReader) error {
	s, ok := r.(*scorch.IndexSnapshot)
	if !ok {
		return misfit{errors.New("damaged: it is no index of segments")}
	}
	for _, seg := range s.Segments() {
		file, ok := seg.Segment().(interface{ Path() string })
		if !ok {
			continue // in memory
		}
		if err := verifyFile(file.Path()); err != nil {
			return err
		}
	}
	return nil
}

func verifyFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return classify(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	const sumBytes = 4
	sum := crc32.NewIEEE()
	var want [sumBytes]byte
	if info.Size() < sumBytes {
		return misfit{fmt.Errorf("damaged: %s is cut off", filepath.Base(path))}
	}
	if _, err := io.CopyN(sum, f, info.Size()-sumBytes); err != nil {
		return err
	}
	if _, err := io.ReadFull(f, want[:]); err != nil {
		return err
	}
	if sum.Sum32() != binary.BigEndian.Uint32(want[:]) {
		return misfit{fmt.Errorf("damaged: %s does not have its checksum", filepath.Base(path))}
	}
	return nil
}

// stored is the mark as it lies in the index.
type stored struct {
	Mark
	Mapping int `json:"mapping"`
}

var markKey = []byte("vigie-mark")

func setMark(b *bleve.Batch, m Mark) {
	text, err := json.Marshal(stored{m, MappingVersion})
	if err != nil {
		panic(err) // strings and numbers have a form in JSON
	}
	b.SetInternal(markKey, text)
}

func readMark(r index.IndexReader) (stored, error) {
	var m stored
	text, err := r.GetInternal(markKey)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("its mark does not read: %w", err)
	}
	return m, nil
}

// recovered turns a panic into ErrDamaged: bleve reads its files without checking each number in them. It is called at
// once and its result deferred.
func recovered(err *error) func() {
	before := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(before)
		if r := recover(); r != nil {
			*err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}
}

// faults keeps what bleve's goroutines, which write and merge behind, have to complain of.
type faults struct {
	mu     sync.Mutex
	last   string
	broken chan struct{} // closed when one of them has ended
	once   sync.Once
}

func (f *faults) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

func (f *faults) isBroken() bool {
	select {
	case <-f.broken:
		return true
	default:
		return false
	}
}

func (f *faults) mend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.isBroken() {
		f.last = ""
	}
}

func (f *faults) report(err error) {
	f.mu.Lock()
	f.last = err.Error()
	f.mu.Unlock()
	if errors.Is(err, scorch.ErrAsyncPanic) {
		f.once.Do(func() { close(f.broken) })
	}
}

// bleve knows callbacks by a name for the whole program, and tells them the folder, or itself.
const callback = "vigie"

var listening sync.Map // of *Index, by folder and by *scorch.Scorch

func (x *Index) folder() string { return filepath.Join(x.dir, "store") }

func listen(key any, x *Index) { listening.Store(key, x) }
func deaf(key any, x *Index)   { listening.CompareAndDelete(key, x) }

func init() {
	scorch.RegistryAsyncErrorCallbacks[callback] = func(err error, folder string) {
		if x, ok := listening.Load(folder); ok {
			x.(*Index).fault.report(err)
		}
	}
	scorch.RegistryEventCallbacks[callback] = func(e scorch.Event) bool {
		if x, ok := listening.Load(e.Scorch); ok && e.Kind == scorch.EventKindMergeTaskIntroduction {
			x.(*Index).prepare()
		}
		return true
	}
}
