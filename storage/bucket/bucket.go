// Package bucket keeps objects under a prefix of a bucket of a server that speaks S3: what media, uploads and snapshots have in
// common there.
//
//	b, err := bucket.Open(ctx, "s3://bucket/prefix?endpoint=https://s3.example", bucket.Options{})
//	err = b.Folder(bucket.Uploads).Put(ctx, "a/name", data)
//
// What is sent is signed with its SHA-256, so that the server refuses what was damaged on the way, and keeps the sum with
// the object. Requests are repeated with growing pauses while the server is away or overloaded, until ctx ends or their tries are spent;
// then they fail with [storage.ErrUnavailable]. So does a connection on which nothing moves. An object that is missing is
// [storage.ErrNotFound]. No error names an object.
package bucket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"vigie/storage"
)

// Folders beside the media, which lie in the bucket's prefix itself.
const (
	Uploads   = "uploads"   // files of past uploads (vigie/storage/history)
	Snapshots = "snapshots" // saved indexes, for new nodes
)

// Bucket is a place in a bucket. Names of its objects are relative to it, with slashes. Its methods are safe for concurrent use, and any
// number of processes may use one place at a time.
type Bucket struct {
	at        location
	core      minio.Core
	transport *http.Transport
	tries     int
}

// Options are what does not stand in the URL of a bucket.
type Options struct {
	// Credentials are the keys; nil takes those of the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
	// AWS_SESSION_TOKEN), else of the shared file (~/.aws/credentials), else of the machine's or the container's role.
	Credentials *credentials.Credentials
	// Stall is how long nothing may move on a connection before it is given up; 15 s if it is 0.
	Stall time.Duration
	// Tries is how often a request is sent at most, with pauses of at most a second; 6 if it is 0.
	Tries int
	// Away is told why a server does not answer that is opened all the same. May be nil.
	Away func(error)
}

const (
	defaultTries = 6
	// openTime is how long Open tries to reach the server.
	openTime = 5 * time.Second
)

// Open opens the place in a bucket that a URL names, s3://bucket/prefix?parameter=value, with the parameters
//
//   - endpoint: https://host:port, or http:// where nothing is encrypted on the way; Amazon's if it is missing;
//   - region: asked of the server if it is missing;
//   - path-style: true if the bucket stands in the path of requests, false if in the name of the host; found out by
//     the endpoint if it is missing;
//   - encryption: sse-s3 or sse-kms:KEY, by which the server encrypts what it stores;
//   - lock: governance:180d or compliance:180d, for how many days nobody can delete what is put.
//
// Keys never stand in the URL. A server that is away now is no error, as it may be back later; wrong keys, a bucket that is missing or
// lacks the object lock that is asked for are errors: see [Bucket.Check].
func Open(ctx context.Context, address string, o Options) (*Bucket, error) {
	b, err := Connect(ctx, address, o)
	if err != nil {
		return nil, err
	}
	soon, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	err = b.Check(soon)
	away := errors.Is(err, storage.ErrUnavailable) || soon.Err() != nil && ctx.Err() == nil
	if err != nil && !away {
		return nil, errors.Join(err, b.Close())
	}
	if err != nil && o.Away != nil {
		o.Away(err)
	}
	return b, nil
}

// CheckURL tells what is wrong with the URL of a bucket.
func CheckURL(address string) error {
	_, err := parseLocation(address)
	return err
}

// Connect is [Open] without asking the server anything: the keys may be for some objects alone.
func Connect(ctx context.Context, address string, o Options) (*Bucket, error) {
	at, err := parseLocation(address)
	if err != nil {
		return nil, fmt.Errorf("object store: %w", err)
	}
	keys := o.Credentials
	if keys == nil {
		keys = credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{}})
	}
	transport, err := newTransport(at.secure, o.Stall)
	if err != nil {
		return nil, err
	}
	asking := &credentials.CredContext{Client: &http.Client{Transport: transport, Timeout: openTime}, Context: ctx}
	if v, err := keys.GetWithContext(asking); err != nil || v.SignerType.IsAnonymous() { // minio-go would go on without keys
		return nil, errors.New("object store: no keys found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, " +
			"or have them in ~/.aws/credentials, or in the role of the machine")
	}
	b := &Bucket{at: at, transport: transport, tries: cmp.Or(o.Tries, defaultTries)}
	core, err := minio.NewCore(at.host, &minio.Options{
		Creds: keys, Secure: at.secure, Transport: transport, Region: at.region, BucketLookup: at.lookup, MaxRetries: b.tries,
	})
	if err != nil {
		return nil, fmt.Errorf("object store: %w", err)
	}
	b.core = *core
	return b, nil
}

// Folder is a place below. What is put there is not locked: it is the node's to replace. It is closed with b.
func (b *Bucket) Folder(name string) *Bucket {
	below := *b
	below.at.prefix = path.Join(b.at.prefix, name)
	below.at.lock = ""
	return &below
}

// Check asks the server whether these keys may list the bucket, and whether it has the object lock that the URL asks for.
func (b *Bucket) Check(ctx context.Context) error {
	err := b.check(ctx)
	if err != nil {
		err = fmt.Errorf("bucket %s at %s: %w", b.at.bucket, b.at.host, err)
	}
	return err
}

func (b *Bucket) check(ctx context.Context) error {
	for _, err := range b.List(ctx, "") {
		if err != nil {
			return err
		}
		break
	}
	if b.at.lock == "" {
		return nil
	}
	lock, _, _, _, err := b.core.GetObjectLockConfig(ctx, b.at.bucket)
	if isCode(err, "ObjectLockConfigurationNotFoundError") || err == nil && lock != "Enabled" {
		return errors.New("the bucket has no object lock: it is given to a bucket when it is made")
	}
	return fault(ctx, err)
}

// Close ends connections that are idle.
func (b *Bucket) Close() error {
	b.transport.CloseIdleConnections()
	return nil
}

// key is the key of an object, as it is: that of somebody else's may have empty parts or dots.
func (b *Bucket) key(name string) string {
	if b.at.prefix == "" {
		return name
	}
	return b.at.prefix + "/" + name
}

// Info is what the server says of an object.
type Info struct {
	Name     string
	Size     int64 // in bytes
	Modified time.Time
}

// List yields all objects whose names begin with prefix, in the order of their names. Objects that come or go meanwhile may be missed.
// It ends with the first error.
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return b.ListAfter(ctx, prefix, "")
}

// ListAfter is [Bucket.List] of the names that come after one; "" is before all.
func (b *Bucket) ListAfter(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		folder := ""
		if b.at.prefix != "" {
			folder = b.at.prefix + "/"
		}
		options := minio.ListObjectsOptions{Prefix: folder + prefix}
		if after != "" {
			options.StartAfter = folder + after
		}
		for o, err := range b.list(ctx, options) {
			if err != nil {
				yield(Info{}, err)
				return
			}
			if after != "" && o.Key <= folder+after { // a server that does not know how to begin there
				continue
			}
			if !yield(Info{strings.TrimPrefix(o.Key, folder), o.Size, o.LastModified}, nil) {
				return
			}
		}
	}
}

func (b *Bucket) list(ctx context.Context, options minio.ListObjectsOptions) iter.Seq2[minio.ObjectInfo, error] {
	return func(yield func(minio.ObjectInfo, error) bool) {
		owner := false
		options.Recursive, options.FetchOwner = true, &owner
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // which ends the listing
		for o := range b.core.ListObjectsIter(ctx, b.at.bucket, options) {
			if err := fault(ctx, o.Err); !yield(o, err) || err != nil {
				return
			}
		}
		if err := ctx.Err(); err != nil { // a listing that ends with ctx may not say so
			yield(minio.ObjectInfo{}, err)
		}
	}
}

// Delete removes an object; that there is none is no error. Of a bucket with versions, all of them go, not only the name. One that is
// locked stays, and the error is a [*LockedError].
func (b *Bucket) Delete(ctx context.Context, name string) error {
	for {
		more, err := b.deleteVersion(ctx, name)
		if err != nil || !more {
			return err
		}
	}
}

// deleteVersion deletes the newest version of an object, and reports whether there may be others.
func (b *Bucket) deleteVersion(ctx context.Context, name string) (more bool, err error) {
	// It is not asked by HEAD, which cannot tell a missing object from a proxy that knows nothing of it.
	body, info, err := b.get(ctx, name, minio.GetObjectOptions{})
	if errors.Is(err, storage.ErrNotFound) {
		return false, b.dropVersions(ctx, name, func(minio.ObjectInfo) bool { return true }) // below a mark that says that it is deleted
	}
	if err != nil {
		return false, err
	}
	body.Close()
	return info.VersionID != "", b.remove(ctx, name, info.VersionID)
}

func (b *Bucket) remove(ctx context.Context, name, version string) error {
	err := b.core.RemoveObject(ctx, b.at.bucket, b.key(name), minio.RemoveObjectOptions{VersionID: version})
	if isCode(err, minio.AccessDenied) || isCode(err, "ObjectLocked") {
		if locked := b.lockOf(ctx, name, version); locked != nil {
			return locked
		}
	}
	return fault(ctx, err)
}
