package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"vigie/hashing"
	"vigie/storage/bucket"
)

// S3 implements [storage.Blobs] in a bucket of a server that speaks S3: a blob is an object, its name the path of its place.
// The folders [bucket.Uploads] and [bucket.Snapshots] may lie beside them.
//
// What is read is hashed again. Faults are those of package bucket. Any number of processes may use one bucket at a time.
type S3 struct{ objects *bucket.Bucket }

// S3Options are what does not stand in the URL of a bucket.
type S3Options = bucket.Options

// LockedError: a blob cannot be deleted, as its lock lasts.
type LockedError = bucket.LockedError

// OpenS3 opens the place in a bucket that a URL names, as [bucket.Open] does.
func OpenS3(ctx context.Context, address string, o S3Options) (*S3, error) {
	b, err := bucket.Open(ctx, address, o)
	if err != nil {
		return nil, fmt.Errorf("media: %w", err)
	}
	return &S3{b}, nil
}

// Check asks the server whether these keys may list the bucket, and whether it has the object lock that the URL asks for.
func (s *S3) Check(ctx context.Context) error { return s.objects.Check(ctx) }

// Close ends connections that are idle.
func (s *S3) Close() error { return s.objects.Close() }

func name(sha hashing.Value) string {
	_, name := place(sha)
	return name
}

// Put implements [storage.Blobs]. What is there is read, and not sent again if it is the blob; under a lock, it is locked for
// as long as a new one would be.
func (s *S3) Put(ctx context.Context, sha hashing.Value, data []byte) error {
	err := check(sha, data)
	if err == nil {
		var there bool
		if there, err = s.objects.Holds(ctx, name(sha), bytes.NewReader(data), int64(len(data))); !there && err == nil {
			err = s.objects.Put(ctx, name(sha), data)
		}
	}
	if err != nil {
		return fmt.Errorf("put blob %s: %w", called(sha), err)
	}
	return nil
}

// Open implements [storage.Blobs]. The bytes come from the server as they are read, while ctx lasts, and are hashed on
// their way: of a damaged object, the last Read fails with [storage.ErrCorrupt] in place of io.EOF, so that whoever
// relies on the bytes reads to the end first. A connection that breaks ends reading with [storage.ErrUnavailable].
func (s *S3) Open(ctx context.Context, sha hashing.Value) (io.ReadCloser, error) {
	body, err := s.objects.Get(ctx, name(sha))
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", called(sha), err)
	}
	return verify(body, sha), nil
}

// Delete implements [storage.Blobs]. Of a bucket with versions, all versions of the blob go, not only its name. A locked
// blob stays, and the error is a [*LockedError].
func (s *S3) Delete(ctx context.Context, sha hashing.Value) error {
	if err := s.objects.Delete(ctx, name(sha)); err != nil {
		return fmt.Errorf("delete blob %s: %w", called(sha), err)
	}
	return nil
}

// unfinished is how old an upload is that will not come to its end: the longest takes minutes.
const unfinished = 24 * time.Hour

// Tidy removes what uploads have left that began a day ago or before and did not come to their end: of blobs, and of what lies beside
// them. Any number of processes may do so.
func (s *S3) Tidy(ctx context.Context) error {
	_, err := s.objects.AbortUploads(ctx, time.Now().Add(-unfinished), func(name string) bool {
		_, err := placed(name)
		return err == nil || beside(name)
	})
	if err != nil {
		return fmt.Errorf("remove uploads from S3 that did not come to their end: %w", err)
	}
	return nil
}

// beside reports whether an object lies in one of the folders beside the blobs.
func beside(name string) bool {
	folder, _, _ := strings.Cut(name, "/")
	return folder == bucket.Uploads || folder == bucket.Snapshots
}

// List yields all blobs under the prefix in the order of their SHA-256. Blobs that come or go meanwhile may be missed. An ErrStray
// stands for one object and does not end the listing; any other error does.
func (s *S3) List(ctx context.Context) iter.Seq2[Blob, error] {
	return func(yield func(Blob, error) bool) {
		for o, err := range s.objects.List(ctx, "") {
			if err != nil {
				if !errors.Is(err, ctx.Err()) {
					err = fmt.Errorf("list media in S3: %w", err)
				}
				yield(Blob{}, err)
				return
			}
			if beside(o.Name) {
				continue
			}
			sha, err := placed(o.Name)
			blob := Blob{sha, o.Size, o.Modified}
			if err != nil {
				blob = Blob{}
			}
			if !yield(blob, err) {
				return
			}
		}
	}
}
