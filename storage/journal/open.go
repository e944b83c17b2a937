package journal

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"vigie/storage"
)

const (
	fileSuffix    = ".journal"
	tempSuffix    = ".tmp"
	damagedSuffix = ".damaged"
)

func fileName(first uint64) string { return fmt.Sprintf("%020d%s", first, fileSuffix) }

// Open opens the journal in a folder, and makes the folder, for its owner only, if there is none. What a former process
// appended and did not hand on is there, but for a record at the end that is not whole, which was not acknowledged.
//
// Damage that leaves no doubt which records are whose is told to Options.Fault, and no error. Errors are those of the disk, and
// storage.ErrCorrupt: files of another node are in the folder, or none says which node this is.
func Open(dir string, o Options) (*Journal, error) {
	j := &Journal{
		dir: dir, o: o.withDefaults(), pending: newGroup(nil), progress: make(chan struct{}),
		wake: make(chan struct{}, 1), stopped: make(chan struct{}), grown: make(chan struct{}, 1), hurry: make(chan struct{}, 1),
	}
	if err := j.load(); err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	go (&writer{j: j}).run()
	return j, nil
}

func (j *Journal) load() error {
	err := os.MkdirAll(j.dir, 0o700)
	if err == nil {
		err = syncDir(filepath.Dir(j.dir), j.o)
	}
	if err != nil {
		return err
	}
	if j.files, err = list(j.dir); err != nil {
		return err
	}
	if err = j.identify(); err != nil {
		return err
	}
	if err = j.findEnd(); err != nil {
		return err
	}
	j.findStart()
	return nil
}

// list returns the files in the order of their numbers, and removes what a crash left on its way into the folder.
func list(dir string) (files []*file, err error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, tempSuffix) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return nil, err
			}
		}
		digits, ours := strings.CutSuffix(name, fileSuffix)
		if !ours {
			continue
		}
		first, err := strconv.ParseUint(digits, 10, 64)
		if err != nil || first == 0 || first >= maxNumber || name != fileName(first) {
			return nil, fmt.Errorf("%w: %s is not the name of a file of the journal, such as %s",
				storage.ErrCorrupt, filepath.Join(dir, name), fileName(1))
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		if n := len(files); n > 0 {
			files[n-1].last = first - 1
		}
		files = append(files, &file{name: name, first: first, end: max(info.Size(), headerSize), off: headerSize, next: first})
	}
	return files, nil
}

// identify reads the mark and the headers, or draws an identity for a new journal.
func (j *Journal) identify() error {
	m, err := readMark(j.dir)
	there := err == nil
	switch {
	case errors.Is(err, storage.ErrCorrupt), errors.Is(err, os.ErrNotExist) && len(j.files) > 0:
		j.o.Fault(fmt.Errorf("journal: %w: the mark is lost: what was handed on already is handed on again: %w", storage.ErrCorrupt, err))
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	}
	for _, f := range j.files {
		path := filepath.Join(j.dir, f.name)
		v, node, first, whole, err := readHeader(path)
		switch {
		case err != nil:
			return err
		case !whole:
			f.damaged = true
			j.o.Fault(fmt.Errorf("journal: %w: %s: its header is damaged; its records are read all the same", storage.ErrCorrupt, path))
			continue
		case v != version:
			return fmt.Errorf("%s has version %d; this program reads %d", path, v, version)
		case first != f.first:
			return fmt.Errorf("%w: %s begins with record %d, as its header says", storage.ErrCorrupt, path, first)
		case m.node != "" && node != m.node:
			return fmt.Errorf("%w: %s is of node %s; this is node %s", storage.ErrCorrupt, path, node, m.node)
		}
		m.node = node
	}
	if !there {
		switch {
		case len(j.files) == 0: // also if the mark was damaged: a new node never gives a number twice
			m.node = drawNode()
		case m.node == "":
			return fmt.Errorf("%w: neither the mark nor a file in %s says which node this is", storage.ErrCorrupt, j.dir)
		default:
			m.shipped = j.files[0].first - 1
			m.handed = m.shipped
		}
		if err := m.create(j.dir, j.o); err != nil {
			return err
		}
	}
	j.mark, j.node, j.shipped, j.there = m, m.node, m.shipped, m.shipped
	return nil
}

func drawNode() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func readHeader(path string) (v uint32, node string, first uint64, whole bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", 0, false, err
	}
	defer f.Close()
	b := make([]byte, headerSize)
	if _, err := f.ReadAt(b, 0); errors.Is(err, io.EOF) {
		return 0, "", 0, false, nil
	} else if err != nil {
		return 0, "", 0, false, err
	}
	v, node, first, whole = parseHeader(b)
	return v, node, first, whole && validNode(node), nil
}

// findEnd finds the last record. What is behind it in its file was on its way when the process ended, and is left where it
// is: the next file begins with the next number. A last file without a record is removed.
func (j *Journal) findEnd() error {
	j.durable = j.mark.handed
	for len(j.files) > 0 {
		f := j.files[len(j.files)-1]
		path := filepath.Join(j.dir, f.name)
		last, end, err := j.scanToEnd(path, f)
		if err != nil {
			return err
		}
		if f.end-end > maxGroup && last >= j.durable { // more than can be on its way
			f.damaged = true
			j.o.Fault(fmt.Errorf("journal: %w: %s at byte %d: what is behind record %d cannot be read", storage.ErrCorrupt, path, end, last))
		}
		if last >= f.first || j.durable >= f.first {
			if last >= j.durable {
				j.durable, f.end = last, end
			}
			f.last = j.durable // those that are missing will be found missing
			break
		}
		if err := f.remove(j.dir); err != nil {
			return err
		}
		j.files = j.files[:len(j.files)-1]
	}
	j.next = j.durable + 1
	return syncDir(j.dir, j.o)
}

// scanToEnd returns the last record of a file, first-1 if there is none, and where it ends. All that is in the file is synced
// before it is relied on: the process that wrote it may not have come to that.
func (j *Journal) scanToEnd(path string, f *file) (last uint64, end int64, err error) {
	in, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer in.Close()
	if err := j.o.sync(in); err != nil {
		return 0, 0, err
	}
	s := newScanner(newFrameReader(), reader{f: in, read: j.o.read}, headerSize, f.end, f.first, math.MaxUint64)
	end = headerSize
	for {
		_, _, err := s.scan()
		if errors.Is(err, io.EOF) {
			return s.next - 1, end, nil
		} else if err != nil {
			return 0, 0, err
		}
		end = s.off
	}
}

// findStart finds what is to be handed on first.
func (j *Journal) findStart() {
	before := j.durable
	if len(j.files) > 0 {
		before = j.files[0].first - 1
	}
	if before > j.shipped {
		j.o.Fault(fmt.Errorf("journal: %w: records %d to %d are in none of the files in %s", storage.ErrCorrupt, j.shipped+1, before, j.dir))
		j.lost += before - j.shipped
		j.shipped = before
	}
	for _, f := range j.files {
		j.bytes += f.end - headerSize
	}
	if len(j.files) > 0 {
		j.oldest = j.firstTime(j.files[0])
	}
}

// firstTime is when the first record of a file was appended; zero if that cannot be told.
func (j *Journal) firstTime(f *file) (at time.Time) {
	in, err := os.Open(filepath.Join(j.dir, f.name))
	if err != nil {
		return at
	}
	defer in.Close()
	r, _, err := newScanner(newFrameReader(), reader{f: in, read: j.o.read}, f.off, f.end, f.next, f.last).scan()
	if err != nil {
		return at
	}
	return r.At
}

// remove removes a file that is not needed any more, or renames it if it is damaged.
func (f *file) remove(dir string) error {
	path := filepath.Join(dir, f.name)
	var err error
	if f.damaged {
		err = os.Rename(path, path+damagedSuffix)
	} else {
		err = os.Remove(path)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// place puts a file into a folder, as a whole or not at all, and returns it open for more.
func place(dir, name string, data []byte, o Options) (*os.File, error) {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path+tempSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = o.write(f, data)
	if err == nil {
		err = o.sync(f)
	}
	if err == nil {
		err = os.Rename(path+tempSuffix, path)
	}
	if err == nil {
		err = syncDir(dir, o)
	}
	if err != nil {
		_ = os.Remove(path + tempSuffix) // which takes room
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func syncDir(dir string, o Options) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(o.sync(d), d.Close())
}
