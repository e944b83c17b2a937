package history

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"vigie/storage"
)

// both is a store, and the one from which files are moved into it. A file is in the former, in both, or in the store: it is written to the
// store before it leaves the former, so that a crash in between has it moved again, over itself.
type both struct{ Store, former Store }

// Put implements [Store].
func (b both) Put(ctx context.Context, name string, data []byte) error {
	if err := b.Store.Put(ctx, name, data); err != nil {
		return err
	}
	return b.former.Delete(ctx, name)
}

// Open implements [Store].
func (b both) Open(ctx context.Context, name string) (o Object, err error) {
	for _, s := range []Store{b.Store, b.former, b.Store} { // it may be moved meanwhile
		if o, err = s.Open(ctx, name); !errors.Is(err, storage.ErrNotFound) {
			break
		}
	}
	return o, err
}

// List implements [Store].
func (b both) List(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		told := map[string]bool{}
		for _, s := range []Store{b.former, b.Store} { // in the order in which they have it
			for name, err := range s.List(ctx, prefix) {
				if err == nil && told[name] {
					continue
				}
				if told[name] = true; !yield(name, err) || err != nil {
					return
				}
			}
		}
	}
}

// Delete implements [Store].
func (b both) Delete(ctx context.Context, name string) error {
	return errors.Join(b.former.Delete(ctx, name), b.Store.Delete(ctx, name))
}

// DropVersions is [Bucket.DropVersions].
func (b both) DropVersions(ctx context.Context, name string) error {
	if v, ok := b.Store.(versioned); ok {
		return v.DropVersions(ctx, name)
	}
	return nil
}

// move moves the former store's files into the store, and tries again while that is away.
func (h *History) move(ctx context.Context) {
	for !h.Moved() {
		err := h.moveFiles(ctx)
		switch {
		case err == nil:
			close(h.moved)
			return
		case ctx.Err() != nil:
			return
		}
		h.o.Fault(fmt.Errorf("move the files of the upload history: %w", err))
		select {
		case <-time.After(tick):
		case <-ctx.Done():
		}
	}
}

func (h *History) moveFiles(ctx context.Context) error {
	var files []File
	for f, err := range List(ctx, h.o.Former) {
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	var faults error
	for _, f := range files {
		err := h.moveFile(ctx, f)
		if ctx.Err() != nil || errors.Is(err, storage.ErrUnavailable) {
			return err
		}
		faults = errors.Join(faults, err) // one does not keep the others
	}
	return faults
}

// moveFile moves a file. One that cannot be read stays: it keeps nobody waiting, and the next start tries again.
func (h *History) moveFile(ctx context.Context, f File) error {
	h.files.Lock()
	defer h.files.Unlock()
	all, err := f.whole(ctx, h.o.Former)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, storage.ErrNotFound): // it has expired, or was written anew
		return nil
	case err != nil:
		h.o.Fault(fmt.Errorf("move the files of the upload history: %s stays where it is, and is not searched: %w", f.Name(), err))
		return nil
	}
	return h.store.Put(ctx, f.Name(), all.data)
}
