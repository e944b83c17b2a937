package media

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"vigie/hashing"
	"vigie/storage"
)

// Cache implements [storage.Blobs] by another one that is far away, and keeps copies of what was read in a folder of this
// machine, of which it drops those read longest ago when they are more than a number of bytes, and each one a day after it was
// fetched. Blobs of which there is a copy are read also while the other is away.
//
// A copy is hashed before it is handed out, and fetched again if it is damaged: the folder may be lost, or left
// by a crash in whatever state. It belongs to one process, like that of [Folder]. What another process deletes
// from the blobs behind is here for at most a day, and then until [Cache.Tidy]: whether a blob may be read is for the catalogue
// to say.
type Cache struct {
	behind storage.Blobs
	copies *Folder
	limit  int64

	mu      sync.Mutex
	order   *list.List // of Blob, the one read last in front; Modified is when it was fetched
	at      map[hashing.Value]*list.Element
	bytes   int64
	fetches map[hashing.Value]*fetch
}

// keepCopies is how long a copy is kept, so that what is erased elsewhere is gone here in the end, however often it is read.
const keepCopies = 24 * time.Hour

// OpenCache opens the cache in a folder, and makes it if there is none. Its copies are at most limit bytes together; a blob that
// is larger is never kept.
func OpenCache(ctx context.Context, dir string, limit int64, behind storage.Blobs) (*Cache, error) {
	if limit < 1 {
		return nil, fmt.Errorf("media cache of %d bytes: it has at least one", limit)
	}
	f, err := OpenFolder(dir)
	if err != nil {
		return nil, err
	}
	f.flush = func(*os.File) error { return nil } // what a crash takes is fetched again
	c := &Cache{behind: behind, copies: f, limit: limit, order: list.New(), at: map[hashing.Value]*list.Element{}, fetches: map[hashing.Value]*fetch{}}
	var had []Blob
	for blob, err := range f.List(ctx) {
		switch {
		case errors.Is(err, ErrStray): // somebody else's
		case err != nil:
			return nil, errors.Join(fmt.Errorf("open media cache: %w", err), f.Close())
		default:
			had = append(had, blob)
		}
	}
	slices.SortFunc(had, func(a, b Blob) int { return a.Modified.Compare(b.Modified) })
	for _, blob := range had { // nobody else has c
		c.keep(blob)
	}
	c.dropOld()
	return c, nil
}

// Close releases the folder. Blobs that are open stay readable; the blobs behind stay open.
func (c *Cache) Close() error { return c.copies.Close() }

// Put implements [storage.Blobs]. What is put is kept here when it is first read.
func (c *Cache) Put(ctx context.Context, sha hashing.Value, data []byte) error {
	return c.behind.Put(ctx, sha, data)
}

// Open implements [storage.Blobs]. A blob that is not here is fetched whole before its first byte is read, once for all who
// ask for it at the time. If it cannot be kept here, it is read from behind.
func (c *Cache) Open(ctx context.Context, sha hashing.Value) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r := c.copyOf(sha); r != nil {
		return r, nil
	}
	err := c.fetch(ctx, sha)
	for errors.Is(err, context.Canceled) && ctx.Err() == nil { // those who waited for it before have left
		err = c.fetch(ctx, sha)
	}
	var local *keepError
	if err != nil && !errors.As(err, &local) {
		return nil, err
	}
	if r := c.copyOf(sha); r != nil {
		return r, nil
	}
	return c.behind.Open(ctx, sha)
}

// Delete implements [storage.Blobs]. The copy goes first, so that none outlives its blob, and once more afterwards, as
// somebody may have fetched it meanwhile.
func (c *Cache) Delete(ctx context.Context, sha hashing.Value) error {
	c.forget(sha)
	err := c.behind.Delete(ctx, sha)
	c.forget(sha)
	return err
}

// Tidy drops the copies that were fetched a day ago or before, and tidies the blobs behind, if they can be.
func (c *Cache) Tidy(ctx context.Context) error {
	c.mu.Lock()
	c.dropOld()
	c.mu.Unlock()
	if behind, ok := c.behind.(interface{ Tidy(context.Context) error }); ok {
		return behind.Tidy(ctx)
	}
	return nil
}

// dropOld drops what is not kept any longer; the caller holds the lock.
func (c *Cache) dropOld() {
	for e := c.order.Front(); e != nil; {
		this := e
		if e = e.Next(); old(this) {
			c.drop(this)
		}
	}
}

// old reports whether a copy is not kept any longer. One from the future was fetched by a clock that was ahead.
func old(e *list.Element) bool {
	age := time.Since(e.Value.(Blob).Modified)
	return age < 0 || age >= keepCopies
}

// copyOf opens the copy of a blob; nil if there is none that is whole.
func (c *Cache) copyOf(sha hashing.Value) io.ReadCloser {
	c.mu.Lock()
	e := c.at[sha]
	if e != nil && old(e) {
		c.drop(e)
		e = nil
	}
	if e != nil {
		c.order.MoveToFront(e)
	}
	c.mu.Unlock()
	if e == nil {
		return nil
	}
	_, name := place(sha)
	file, err := c.copies.root.Open(name)
	if err == nil {
		if _, err = io.Copy(io.Discard, verify(file, sha)); err == nil {
			_, err = file.Seek(0, io.SeekStart)
		}
		if err == nil {
			return file
		}
		file.Close()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at[sha] == e {
		c.drop(e)
	}
	return nil
}

// keep notes a copy that is in the folder, as the one read last, and drops others until all fit; the caller holds the lock.
func (c *Cache) keep(blob Blob) {
	if c.at[blob.SHA256] != nil {
		return
	}
	c.at[blob.SHA256] = c.order.PushFront(blob)
	for c.bytes += blob.Size; c.bytes > c.limit; {
		c.drop(c.order.Back())
	}
}

// forget drops the copy of a blob, if there is one, also one that is on its way.
func (c *Cache) forget(sha hashing.Value) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.fetches[sha]; f != nil {
		f.stale = true
	}
	if e := c.at[sha]; e != nil {
		c.drop(e)
	}
}

// drop removes a copy; the caller holds the lock. Whoever reads it reads on. A file that cannot be removed is taken for a
// copy again by the next start.
func (c *Cache) drop(e *list.Element) {
	blob := c.order.Remove(e).(Blob)
	delete(c.at, blob.SHA256)
	c.bytes -= blob.Size
	_, name := place(blob.SHA256)
	_ = c.copies.root.Remove(name)
}

// fetch is one on its way, for all who wait for it.
type fetch struct {
	waiting int  // it is given up when nobody is left
	stale   bool // what it brings was forgotten meanwhile
	cancel  context.CancelFunc
	done    chan struct{} // closed when err is set
	err     error
}

// keepError: the blob is there, but not kept here.
type keepError struct{ why error }

func (e *keepError) Error() string { return "keep a copy: " + e.why.Error() }
func (e *keepError) Unwrap() error { return e.why }

// fetch copies a blob into the folder, or waits for somebody who does.
func (c *Cache) fetch(ctx context.Context, sha hashing.Value) error {
	c.mu.Lock()
	f := c.fetches[sha]
	if f == nil {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &fetch{done: make(chan struct{}), cancel: cancel}
		c.fetches[sha] = f
		go c.run(own, sha, f)
	}
	f.waiting++
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if f.waiting--; f.waiting == 0 {
			f.cancel()
		}
	}()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Cache) run(ctx context.Context, sha hashing.Value, f *fetch) {
	size, err := c.store(ctx, sha)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.fetches, sha)
	if err == nil {
		c.keep(Blob{SHA256: sha, Size: size, Modified: time.Now()})
		if e := c.at[sha]; e != nil && f.stale {
			c.drop(e)
		}
	}
	f.err = err
	close(f.done)
}

// store writes a copy of a blob into the folder, and says how large it is.
func (c *Cache) store(ctx context.Context, sha hashing.Value) (size int64, err error) {
	from, err := c.behind.Open(ctx, sha)
	if err != nil {
		return 0, err
	}
	defer from.Close()
	dir, name := place(sha)
	v := verify(from, sha)
	counted := &countingReader{Reader: v, left: c.limit}
	if err = c.copies.makeFolders(dir); err == nil {
		err = c.copies.write(name, counted)
	}
	if v.err != nil && v.err != io.EOF {
		return 0, v.err
	}
	if err != nil {
		return 0, &keepError{err}
	}
	return c.limit - counted.left, nil
}

// errLarge: a blob is larger than the cache.
var errLarge = errors.New("larger than the cache")

// countingReader reads at most so many bytes.
type countingReader struct {
	io.Reader
	left int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if r.left -= int64(n); r.left < 0 {
		return 0, errLarge
	}
	return n, err
}
