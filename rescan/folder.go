package rescan

import (
	"context"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Folder is a source: all regular files below a folder, in the order of their paths, name by name.
// Links are not followed. A folder or file that cannot be read is an error of that item alone. It
// holds one folder's names at a time for each level that it is in, not those of the whole tree.
type Folder struct {
	FS fs.FS
	// Without is the path of a folder that is left out with all it holds; "" leaves out none.
	Without string
}

// Dir is the folder at a path of this machine. Unlike [os.DirFS] it reads files whatever their names:
// names need not be UTF-8.
func Dir(path string) Folder { return Folder{FS: dir(path)} }

type dir string

func (d dir) Open(name string) (fs.File, error) { return os.Open(filepath.Join(string(d), name)) }

func (d dir) ReadDir(name string) ([]fs.DirEntry, error) {
	return os.ReadDir(filepath.Join(string(d), name))
}

// Items lists files whose paths come after a path.
func (f Folder) Items(ctx context.Context, after string) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		err := fs.WalkDir(f.FS, ".", func(name string, d fs.DirEntry, err error) error {
			done := after != "" && !before(after, name)
			var item Item
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case name == ".":
				return err
			case err == nil && d.IsDir():
				if name == f.Without || done && !strings.HasPrefix(after+"/", name+"/") {
					return fs.SkipDir // not wanted; or done, and so was all below it
				}
				return nil
			case done, err == nil && !d.Type().IsRegular():
				return nil
			case err != nil:
				item = Item{Name: name}
			default:
				item = f.item(name, d)
			}
			if !yield(item, err) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(Item{}, err)
		}
	}
}

func (f Folder) item(name string, d fs.DirEntry) Item {
	item := Item{Name: name, Open: func() (io.ReadCloser, error) { return f.FS.Open(name) }}
	if info, err := d.Info(); err == nil { // else it is gone, as Open will tell
		item.Size, item.Modified = info.Size(), info.ModTime()
	}
	return item
}

// Before implements [Ordered].
func (f Folder) Before(a, b string) bool { return before(a, b) }

// before reports whether a walk visits a before b: it compares name by name, as fs.WalkDir does.
func before(a, b string) bool {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	return slices.Compare(as, bs) < 0
}
