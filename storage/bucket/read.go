package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"

	"vigie/storage"
)

// ErrReplaced: an object is another one than when it was opened.
var ErrReplaced = errors.New("the object was replaced while it was read")

// Get returns an object, which comes from the server as it is read, while ctx lasts. A connection that breaks ends reading with
// [storage.ErrUnavailable].
func (b *Bucket) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	body, _, err := b.get(ctx, name, minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}
	return &tellingReader{body, ctx}, nil
}

func (b *Bucket) get(ctx context.Context, name string, o minio.GetObjectOptions) (io.ReadCloser, minio.ObjectInfo, error) {
	body, info, _, err := b.core.GetObject(ctx, b.at.bucket, b.key(name), o)
	return body, info, fault(ctx, err)
}

// tellingReader reads the body of an answer, and says what its errors mean.
type tellingReader struct {
	io.ReadCloser
	ctx context.Context //nolint:containedctx // it is that of the request, which ends with the body
}

func (r *tellingReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = fault(r.ctx, err)
	}
	return n, err
}

// Object is an object to read ranges of, at any time while the context of its opening lasts, from any number of goroutines. It is as it
// was when it was opened, or reading fails: with [ErrReplaced], or [storage.ErrNotFound] if it was deleted.
type Object struct {
	in   *Bucket
	ctx  context.Context //nolint:containedctx // io.ReaderAt takes none
	name string
	size int64
	etag string
}

// Open opens an object to read ranges of it.
func (b *Bucket) Open(ctx context.Context, name string) (*Object, error) {
	info, err := b.core.StatObject(ctx, b.at.bucket, b.key(name), minio.StatObjectOptions{})
	if minio.ToErrorResponse(err).StatusCode == http.StatusNotFound { // whose word that is, GET tells
		var body io.ReadCloser
		if body, info, err = b.get(ctx, name, minio.GetObjectOptions{}); err == nil {
			body.Close()
		}
	} else {
		err = fault(ctx, err)
	}
	if err != nil {
		return nil, err
	}
	return &Object{b, ctx, name, info.Size, info.ETag}, nil
}

// Size is in bytes.
func (o *Object) Size() int64 { return o.size }

// Version tells the object from those that were or will be of that name.
func (o *Object) Version() string { return o.etag }

// Close implements io.Closer. There is nothing to release.
func (o *Object) Close() error { return nil }

// ReadAt implements io.ReaderAt by one request, and by others for the rest when its connection breaks.
func (o *Object) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("read an object at %d", off)
	}
	if off >= o.size {
		return 0, io.EOF
	}
	whole := p[:min(int64(len(p)), o.size-off)]
	const shortest = 50 * time.Millisecond
	pause := shortest
	for try := 1; n < len(whole); try++ {
		got, broken, err := o.read(whole[n:], off+int64(n))
		n += got
		if got > 0 {
			try, pause = 1, shortest
		}
		if err != nil && (!broken || try >= o.in.tries) {
			return n, err
		}
		if !broken {
			continue
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, time.Second)
		case <-o.ctx.Done():
			return n, o.ctx.Err()
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// read reads a range by one request, which is repeated until its answer begins. broken says that the answer has no end.
func (o *Object) read(p []byte, off int64) (n int, broken bool, err error) {
	var options minio.GetObjectOptions
	err = errors.Join(options.SetRange(off, off+int64(len(p))-1), options.SetMatchETag(o.etag))
	if err != nil {
		return 0, false, err
	}
	body, info, err := o.in.get(o.ctx, o.name, options)
	if err != nil {
		return 0, false, err
	}
	defer body.Close()
	if info.ETag != o.etag { // a server that does not know conditions
		return 0, false, ErrReplaced
	}
	n, err = io.ReadFull(body, p)
	err = fault(o.ctx, err)
	return n, errors.Is(err, storage.ErrUnavailable), err
}
