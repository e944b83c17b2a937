package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"vigie/hashing"
)

// OpenToRead opens the folder at dir to be read alone, beside the process that it belongs to. fs.ErrNotExist if there is none.
func OpenToRead(dir string) (*Folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of uploads: %w", err)
	}
	return &Folder{root}, nil
}

// Drafts are the names of what processes that ended were still writing, or that one is writing now; [OpenFolder] removes them.
func (f *Folder) Drafts() (names []string, err error) {
	err = fs.WalkDir(f.root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.HasSuffix(name, draft) {
			names = append(names, name)
		}
		return err
	})
	return names, err
}

// List lists the files of a store. What has another name is none of ours.
func List(ctx context.Context, s Store) iter.Seq2[File, error] { return listOf(ctx, s, "") }

// Describe reads what a file's end says of it: how many uploads and bytes it has. storage.ErrCorrupt if it is not readable, or says that
// it is another one; storage.ErrNotFound if there is none.
func (f File) Describe(ctx context.Context, s Store) (rows, size int64, err error) {
	err = f.read(ctx, s, func(o *opened) error {
		rows, size = o.file.NumRows(), o.Size()
		return o.named()
	})
	return rows, size, err
}

// Verify reads all of a file, and holds it against itself and its name: the sums of its pages, their places, how many rows there are and
// in which order, and what stands in them. Errors are those of [File.Describe].
func (f File) Verify(ctx context.Context, s Store) (rows, size int64, err error) {
	all, err := f.whole(ctx, s) // every byte is looked at, from many sides: a store in a network is asked once
	if err != nil {
		return 0, 0, err
	}
	err = f.read(ctx, all, func(o *opened) error {
		if err := o.named(); err != nil {
			return err
		}
		mayHave, err := o.filters()
		if err != nil {
			return err
		}
		var hashes []byte // as searches read them
		for _, g := range o.file.RowGroups() {
			var all []near
			err := o.hashes(g, func(first int, some []byte) error {
				for i := range len(some) / hashBytes {
					all = append(all, near{first + i, 0, hashing.ValueFromBytes(some[i*hashBytes:][:hashBytes]).Distance(hashing.Value{})})
				}
				hashes = append(hashes, some...)
				return ctx.Err()
			})
			if err == nil {
				err = o.hits(ctx, g, Query{Values: []hashing.Value{{}}, Radius: 256}, all, func(Hit) error { return nil })
			}
			if err != nil {
				return err
			}
		}
		err = o.rows(func(some []row) error {
			for _, r := range some {
				at := int(rows) * hashBytes
				if len(hashes) < at+hashBytes || !slices.Equal(hashes[at:at+hashBytes], r.PDQ[:]) {
					return o.corrupt(fmt.Errorf("the hash of upload %d is not where searches look", r.Number))
				}
				record := r.record(f.Party)
				if err := record.validate(); err != nil {
					return o.corrupt(err)
				}
				if !hourOf(record.At).Equal(f.Hour) {
					return o.corrupt(fmt.Errorf("upload %d is of another hour", r.Number))
				}
				if !mayHave(r.ContentID) {
					return o.corrupt(fmt.Errorf("the filter of content ids does not know upload %d", r.Number))
				}
				rows++
			}
			return ctx.Err()
		})
		if err == nil && rows != o.file.NumRows() {
			err = o.corrupt(fmt.Errorf("it has %d rows, and says %d", rows, o.file.NumRows()))
		}
		size = o.Size()
		return err
	})
	return rows, size, err
}

// oneFile is a store of one file, in memory.
type oneFile struct {
	Store
	data []byte
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

// Open is of [Store].
func (o oneFile) Open(context.Context, string) (Object, error) {
	return inMemory{bytes.NewReader(o.data)}, nil
}

// whole reads a file into memory.
func (f File) whole(ctx context.Context, s Store) (all oneFile, err error) {
	err = f.open(ctx, s, func(o Object) error {
		all.data = make([]byte, o.Size())
		if n, err := o.ReadAt(all.data, 0); n < len(all.data) {
			return fmt.Errorf("read %s: %w", f.Name(), err)
		}
		return nil
	})
	return all, err
}

// named holds what the file says that it is against its name.
func (o *opened) named() error {
	for key, want := range map[string]string{
		"vigie.party": strconv.FormatUint(uint64(o.Party), 10), "vigie.node": o.Node,
		"vigie.first": strconv.FormatUint(o.First, 10), "vigie.last": strconv.FormatUint(o.Last, 10),
	} {
		if got, _ := o.file.Lookup(key); got != want {
			return o.corrupt(fmt.Errorf("its %s is %.20q, and its name says %s", key, got, want))
		}
	}
	return nil
}

// JournalState is what is to be seen of the journal of uploads that are not in files yet.
type JournalState struct {
	Bytes   int64
	Damaged []string // files that could not be read to their end, and were put aside
}

// LookAtJournal looks at the journal of a history in a folder, beside the process that it belongs to. With deep, all of it is read.
func LookAtJournal(dir string, deep bool) (s JournalState, err error) {
	dir = filepath.Join(dir, journalFolder)
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	for _, f := range files {
		name := filepath.Join(dir, f.Name())
		switch filepath.Ext(name) {
		case ".damaged":
			s.Damaged = append(s.Damaged, name)
		case ".journal":
			n, readErr := sizeOf(name, deep)
			if !errors.Is(readErr, fs.ErrNotExist) { // it is sealed, and removed
				err = errors.Join(err, readErr)
			}
			s.Bytes += n
		}
	}
	return s, err
}

// sizeOf is the size of a file that can be opened, or read.
func sizeOf(name string, read bool) (int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if read {
		return io.Copy(io.Discard, f)
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
