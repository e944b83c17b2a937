package rescan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"vigie/storage"
)

// failed is a source: what another re-scan could not check, in the order in which it was set aside. An item's place is the number of the
// failure. Names that were erased meanwhile are left out.
type failed struct {
	catalogue storage.Catalogue
	of        storage.RescanID
	source    Source // a named one
}

// named is a source that gives an item by its name.
type named interface {
	named(ctx context.Context, name string) (io.ReadCloser, error)
}

// Items implements [Source].
func (f failed) Items(ctx context.Context, after string) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		from, err := placeOf(after)
		source, ok := f.source.(named)
		if err == nil && !ok {
			err = errors.New("nothing can be had of the source by its name")
		}
		if err != nil {
			yield(Item{}, err)
			return
		}
		for one, err := range failures(ctx, f.catalogue, f.of, uint64(from)) {
			if errors.Is(err, storage.ErrNotFound) {
				err = hopelessError{fmt.Errorf("what re-scan %d could not check is stored no more", f.of)}
			}
			if err != nil {
				yield(Item{}, err)
				return
			}
			if one.Item == "" {
				continue
			}
			open := func() (io.ReadCloser, error) { return source.named(ctx, one.Item) }
			if !yield(Item{Name: one.Item, Place: placeText(int64(one.ID)), Open: open}, nil) {
				return
			}
		}
	}
}

// alone implements [oneByOne].
func (f failed) alone(ctx context.Context, err error) bool {
	source, ok := f.source.(oneByOne)
	return ok && source.alone(ctx, err)
}

// named opens a file. A folder that could not be listed is no item, now that it can be.
func (f Folder) named(_ context.Context, name string) (io.ReadCloser, error) {
	file, err := f.FS.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = refusedError{"it is a folder, or no regular file; what is in folders that could not be read is checked by another re-scan of the whole source"}
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func (o Objects) named(ctx context.Context, name string) (io.ReadCloser, error) {
	return o.Bucket.Open(ctx, name)
}

func (u urls) named(ctx context.Context, name string) (io.ReadCloser, error) {
	return u.fetch(ctx, name)
}

var _ = []named{Folder{}, Objects{}, urls{}}
