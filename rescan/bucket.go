package rescan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"vigie/storage"
	"vigie/storage/bucket"
)

// Bucket is an object store, as far as it is read. Implementations are safe for concurrent use.
type Bucket interface {
	// List lists the objects whose keys begin with prefix and come after a key, in the order of their bytes. An error ends it.
	List(ctx context.Context, prefix, after string) iter.Seq2[Object, error]
	// Open reads an object; one that is not there is fs.ErrNotExist, at the latest when it is read. storage.ErrUnavailable: the
	// store is away.
	Open(ctx context.Context, key string) (io.ReadCloser, error)
}

// Object is one in a bucket.
type Object struct {
	Key      string
	Size     int64
	Modified time.Time
}

// Objects is a source: the objects of a bucket below a prefix. It holds one page of their names at a time.
type Objects struct {
	Bucket Bucket
	Prefix string
}

// OpenObjects is the source at s3://bucket/prefix?endpoint=https://host, with the keys of the environment (AWS_ACCESS_KEY_ID,
// AWS_SECRET_ACCESS_KEY).
func OpenObjects(ctx context.Context, location string) (Objects, error) {
	b, prefix, err := SourceConfig{Location: location}.connect(ctx, 0)
	return Objects{b, prefix}, err
}

// errUnsorted: what was listed is between what was planned and what was not, and part of it would be checked never.
var errUnsorted = errors.New("the bucket does not list its objects in the order of the bytes of their keys, as S3 does, so that none can be told from " +
	"those before it: have them listed, as URLs or hashes in a file")

// Items implements [Source]. What keys call folders is left out.
func (o Objects) Items(ctx context.Context, after string) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		last := after
		for object, err := range o.Bucket.List(ctx, o.Prefix, after) {
			if err == nil && object.Key <= last {
				err = hopelessError{errUnsorted}
			}
			if err != nil {
				yield(Item{}, err)
				return
			}
			if last = object.Key; strings.HasSuffix(object.Key, "/") {
				continue
			}
			open := func() (io.ReadCloser, error) { return o.Bucket.Open(ctx, object.Key) }
			if !yield(Item{Name: object.Key, Size: object.Size, Modified: object.Modified, Open: open}, nil) {
				return
			}
		}
	}
}

// alone reports whether err is of one object, and not of the whole bucket: then others can be had.
func (o Objects) alone(ctx context.Context, err error) bool {
	b, ok := o.Bucket.(s3Bucket)
	return ok && bucket.MayBeObject(err) && b.at.Check(ctx) == nil
}

// splitLocation tells the bucket from what is meant in it: a prefix, which need not end where a name does, or a key.
func splitLocation(location string) (address, prefix string, err error) {
	u, err := url.Parse(location)
	if err != nil || u.Scheme != "s3" || u.User != nil || u.Fragment != "" {
		return "", "", errors.New("the location is s3://bucket/prefix?endpoint=https://host, without keys")
	}
	prefix = strings.TrimPrefix(u.Path, "/")
	u.Path, u.RawPath = "", ""
	return u.String(), prefix, bucket.CheckURL(u.String())
}

// bucketTries is how often a request is sent before the store counts as away. Those who ask try again.
const bucketTries = 2

// connect makes the client of a bucket, which asks nothing yet. patience is how long an item may take; 0: long.
func (c SourceConfig) connect(ctx context.Context, patience time.Duration) (b s3Bucket, prefix string, err error) {
	address, prefix, err := splitLocation(c.Location)
	if err != nil {
		return b, "", err
	}
	o := bucket.Options{Tries: bucketTries}
	if patience > 0 { // that the store is away shows before the item is late
		o.Stall = min(15*time.Second, patience/4)
	}
	if c.AccessKeyEnv != "" || c.SecretKeyEnv != "" {
		names := [2]string{cmp.Or(c.AccessKeyEnv, "AWS_ACCESS_KEY_ID"), cmp.Or(c.SecretKeyEnv, "AWS_SECRET_ACCESS_KEY")}
		key, secret := os.Getenv(names[0]), os.Getenv(names[1])
		if key == "" || secret == "" {
			return b, "", fmt.Errorf("no keys found: set %s and %s", names[0], names[1])
		}
		o.Credentials = credentials.NewStaticV4(key, secret, "")
	}
	at, err := bucket.Connect(ctx, address, o)
	return s3Bucket{at}, prefix, err
}

// s3Bucket is a [Bucket] at an S3 server.
type s3Bucket struct{ at *bucket.Bucket }

// List implements [Bucket].
func (b s3Bucket) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for o, err := range b.at.ListAfter(ctx, prefix, after) {
			if err != nil {
				err = fmt.Errorf("list the bucket: %w", err)
			}
			if !yield(Object{o.Name, o.Size, o.Modified}, err) {
				return
			}
		}
	}
}

// Open implements [Bucket].
func (b s3Bucket) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	object, err := b.at.Get(ctx, key)
	return object, missingObject(err)
}

// missingObject marks the error that says that there is no such object.
func missingObject(err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		return fs.ErrNotExist
	}
	return err
}

// File opens an object to be read in parts, all of one version.
func (b s3Bucket) File(ctx context.Context, key string) (file, error) {
	o, err := b.at.Open(ctx, key)
	if err != nil {
		return nil, missingObject(err)
	}
	return s3File{o}, nil
}

type s3File struct{ *bucket.Object }

func (f s3File) size() int64     { return f.Size() }
func (f s3File) version() string { return fmt.Sprintf("%d bytes of %s", f.Size(), f.Version()) }
