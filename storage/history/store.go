package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"strings"

	"vigie/storage"
)

// Store is where sealed files are: a folder, or a prefix of a bucket. Its methods may be called from many goroutines, and several
// processes may have one. Names are relative, with slashes.
type Store interface {
	// Put writes a file whole and durably before it returns, or not at all; one of that name is replaced at once. data is
	// the caller's again afterwards.
	Put(ctx context.Context, name string, data []byte) error
	// Open opens a file to read ranges of it. storage.ErrNotFound if there is none. A file that is replaced or deleted meanwhile is
	// read as it was, or fails.
	Open(ctx context.Context, name string) (Object, error)
	// List yields the names that begin with a prefix, which ends with a slash or is empty, in any order. It ends with the first error.
	List(ctx context.Context, prefix string) iter.Seq2[string, error]
	// Delete removes a file durably. That there is none is no error.
	Delete(ctx context.Context, name string) error
}

// Object is an open file of a [Store].
type Object interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Folder is a [Store] on a disk.
type Folder struct{ root *os.Root }

// draft ends the names of files on their way.
const draft = ".tmp"

// OpenFolder opens the folder at dir, and makes it, for its owner only, if there is none. Nothing that a former process was still
// writing is left there. One process may write to it.
func OpenFolder(dir string) (*Folder, error) {
	err := os.MkdirAll(dir, 0o700)
	if err != nil {
		return nil, fmt.Errorf("make the folder of uploads: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of uploads: %w", err)
	}
	err = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(name, draft) {
			err = root.Remove(name)
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("clear the folder of uploads: %w", err), root.Close())
	}
	return &Folder{root}, nil
}

// Close releases the folder. Files that are open stay readable.
func (f *Folder) Close() error { return f.root.Close() }

// Put implements [Store]: by a file beside, synced and renamed, and its folders synced.
func (f *Folder) Put(ctx context.Context, name string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := f.makeFolders(path.Dir(name))
	if err == nil {
		err = f.write(name+draft, data)
	}
	if err == nil {
		err = f.root.Rename(name+draft, name)
	}
	if err == nil {
		err = f.syncFolder(path.Dir(name))
	}
	if err != nil {
		return fmt.Errorf("write a file of uploads: %w", err)
	}
	return nil
}

func (f *Folder) write(name string, data []byte) error {
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// makeFolders makes a folder and those above it, durably. One that is there may not be durable yet: it is synced all the same.
func (f *Folder) makeFolders(dir string) error {
	if dir == "." {
		return nil
	}
	above := path.Dir(dir)
	if err := f.makeFolders(above); err != nil {
		return err
	}
	if err := f.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return f.syncFolder(above)
}

func (f *Folder) syncFolder(dir string) error {
	d, err := f.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Open implements [Store].
func (f *Folder) Open(_ context.Context, name string) (Object, error) {
	file, err := f.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("file of uploads: %w", storage.ErrNotFound)
	} else if err != nil {
		return nil, fmt.Errorf("open a file of uploads: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open a file of uploads: %w", err), file.Close())
	}
	return object{file, info.Size()}, nil
}

type object struct {
	*os.File
	size int64
}

func (o object) Size() int64 { return o.size }

// List implements [Store].
func (f *Folder) List(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		stopped := errors.New("stopped")
		err := fs.WalkDir(f.root.FS(), path.Clean("./"+prefix), func(name string, e fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist): // none, or gone meanwhile
				return nil
			case err != nil:
				return err
			case ctx.Err() != nil:
				return ctx.Err()
			case e.IsDir() || strings.HasSuffix(name, draft):
				return nil
			case !yield(name, nil):
				return stopped
			}
			return nil
		})
		if err != nil && !errors.Is(err, stopped) {
			yield("", fmt.Errorf("list the folder of uploads: %w", err))
		}
	}
}

// Delete implements [Store].
func (f *Folder) Delete(_ context.Context, name string) error {
	err := f.root.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = f.syncFolder(path.Dir(name))
	}
	for dir := path.Dir(name); err == nil && dir != "."; dir = path.Dir(dir) {
		if f.root.Remove(dir) != nil { // it is not empty
			break
		}
	}
	if err != nil {
		return fmt.Errorf("delete a file of uploads: %w", err)
	}
	return nil
}
