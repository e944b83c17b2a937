package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"sync"
	"time"

	"vigie/hashing"
	"vigie/storage"
)

// Folder implements [storage.Blobs] in a folder, where beside the blobs there is
//
//	tmp/           blobs on their way in
//
// A blob is written to tmp, flushed to the disk, renamed into its place, and the folders on its path
// are flushed, before [Folder.Put] returns: what is at its place is whole, and stays there when the
// power fails. The folder belongs to one process; see vigie/storage/datadir.
type Folder struct {
	root *os.Root
	// durable holds the folders that are known to survive a power cut: their parents are flushed.
	durable sync.Map // path -> struct{}
	// flush is (*os.File).Sync, but for tests.
	flush func(*os.File) error
}

const incoming = "tmp"

// OpenFolder opens the folder at dir, and makes it, for its owner only, if there is none. Blobs that
// a former process was still writing are removed.
func OpenFolder(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make media folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open media folder: %w", err)
	}
	f := &Folder{root: root, flush: (*os.File).Sync}
	err = root.RemoveAll(incoming)
	if err == nil {
		err = root.Mkdir(incoming, 0o700)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("clear media folder: %w", err), root.Close())
	}
	return f, nil
}

// Close releases the folder. Blobs that are open stay readable.
func (f *Folder) Close() error { return f.root.Close() }

// Put implements [storage.Blobs]. A file of another size at the blob's place is replaced.
func (f *Folder) Put(ctx context.Context, sha hashing.Value, data []byte) error {
	dir, name := place(sha)
	if err := check(sha, data); err != nil {
		return fmt.Errorf("put blob %s: %w", path.Base(name), err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err := f.makeFolders(dir)
	if err == nil {
		// A blob that is there already may have been renamed but not flushed yet: flushing its folder
		// is needed either way.
		if info, statErr := f.root.Stat(name); statErr != nil || info.Size() != int64(len(data)) {
			err = f.write(name, bytes.NewReader(data))
		}
	}
	if err == nil {
		err = f.flushFolder(dir)
	}
	if err != nil {
		return fmt.Errorf("put blob %s: %w", path.Base(name), err)
	}
	return nil
}

// write puts all that is read as a whole, flushed file at name.
func (f *Folder) write(name string, from io.Reader) (err error) {
	draft, file, err := f.createDraft()
	if err != nil {
		return err
	}
	_, err = io.Copy(file, from)
	if err == nil {
		err = f.flush(file)
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = f.root.Rename(draft, name)
	}
	if err != nil {
		return errors.Join(err, f.root.Remove(draft))
	}
	return nil
}

// createDraft makes a file in tmp that nobody else writes.
func (f *Folder) createDraft() (name string, file *os.File, err error) {
	for n := 0; ; n++ {
		name = fmt.Sprintf("%s/%x-%d", incoming, time.Now().UnixNano(), n)
		file, err = f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			return name, file, err
		}
	}
}

// makeFolders makes dir and its parents, and flushes the parent of each before relying on it, also
// when somebody else has made it.
func (f *Folder) makeFolders(dir string) error {
	if _, known := f.durable.Load(dir); known || dir == "." {
		return nil
	}
	parent := path.Dir(dir)
	if err := f.makeFolders(parent); err != nil {
		return err
	}
	if err := f.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := f.flushFolder(parent); err != nil {
		return err
	}
	f.durable.Store(dir, struct{}{})
	return nil
}

func (f *Folder) flushFolder(dir string) error {
	d, err := f.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.flush(d), d.Close())
}

// Open implements [storage.Blobs]. It does not hash the bytes again: whether they are still what their
// name says is for a check of the whole folder, by [Folder.List], to find out.
func (f *Folder) Open(ctx context.Context, sha hashing.Value) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	_, name := place(sha)
	file, err := f.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = storage.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", path.Base(name), err)
	}
	return file, nil
}

// Delete implements [storage.Blobs]. It is durable when it returns.
func (f *Folder) Delete(ctx context.Context, sha hashing.Value) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	dir, name := place(sha)
	err := f.root.Remove(name)
	if err == nil {
		err = f.flushFolder(dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete blob %s: %w", path.Base(name), err)
	}
	return nil
}

// List yields all blobs in the order of their SHA-256. Blobs that come or go meanwhile may be missed.
// An error stands for one file or folder and does not end the listing, unless it is ctx's.
func (f *Folder) List(ctx context.Context) iter.Seq2[Blob, error] {
	return func(yield func(Blob, error) bool) {
		fs.WalkDir(f.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
			if ctx.Err() != nil {
				yield(Blob{}, ctx.Err())
				return fs.SkipAll
			}
			if err == nil && entry.IsDir() {
				if name == incoming {
					return fs.SkipDir
				}
				return nil
			}
			var blob Blob
			if err == nil {
				blob, err = describe(name, entry)
			}
			if errors.Is(err, fs.ErrNotExist) || yield(blob, err) {
				return nil
			}
			return fs.SkipAll
		})
	}
}

func describe(name string, entry fs.DirEntry) (Blob, error) {
	sha, err := placed(name)
	if err != nil {
		return Blob{}, err
	}
	if !entry.Type().IsRegular() {
		return Blob{}, fmt.Errorf("%s: %w", name, ErrStray)
	}
	info, err := entry.Info()
	if err != nil {
		return Blob{}, err
	}
	return Blob{sha, info.Size(), info.ModTime()}, nil
}
