package bucket

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"time"

	"github.com/minio/minio-go/v7"

	"vigie/storage"
)

// LockedError: an object cannot be deleted, as its lock lasts.
type LockedError struct {
	Until time.Time // zero if it is a legal hold, which somebody has to lift
}

// Error implements error.
func (e *LockedError) Error() string {
	if e.Until.IsZero() {
		return "the object is under a legal hold"
	}
	return "the object is locked until " + e.Until.UTC().Format(time.RFC3339)
}

// Is makes it a [storage.ErrRetained].
func (e *LockedError) Is(target error) bool { return target == storage.ErrRetained }

// Holds reports whether an object is there and has these bytes, the first size of src, and sees to it that it is locked for as long as a
// new one would be. It is read for that, which costs no more than to send it: what a server says of an object's content it says also
// when its disk has altered it. One that cannot be read is not taken to have them.
func (b *Bucket) Holds(ctx context.Context, name string, src io.ReaderAt, size int64) (bool, error) {
	body, info, err := b.get(ctx, name, minio.GetObjectOptions{})
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer body.Close()
	if info.Size != size {
		return false, nil
	}
	want, _, err := sumOf(io.NewSectionReader(src, 0, size))
	if err != nil {
		return false, fault(ctx, err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, body); err != nil || hex.EncodeToString(h.Sum(nil)) != want {
		return false, ctx.Err()
	}
	if b.at.lock == "" {
		return true, nil
	}
	if info, err = b.core.StatObject(ctx, b.at.bucket, b.key(name), minio.StatObjectOptions{VersionID: info.VersionID}); err != nil {
		return false, fault(ctx, err)
	}
	until := time.Now().Add(b.at.lockFor)
	mode, locked := retention(info) // which not every server tells with the content
	if locked.After(until.Add(-24 * time.Hour)) {
		return true, nil
	}
	if mode != minio.Compliance { // which is never weakened
		mode = b.at.lock
	}
	err = b.core.PutObjectRetention(ctx, b.at.bucket, b.key(name), minio.PutObjectRetentionOptions{
		Mode: &mode, RetainUntilDate: &until, VersionID: info.VersionID,
	})
	return err == nil, fault(ctx, err)
}

// lockOf is why an object cannot be deleted; nil if it is not for a lock.
func (b *Bucket) lockOf(ctx context.Context, name, version string) error {
	info, err := b.core.StatObject(ctx, b.at.bucket, b.key(name), minio.StatObjectOptions{VersionID: version})
	if err != nil {
		return nil // then it is the refusal that counts
	}
	if info.Headers.Get("X-Amz-Object-Lock-Legal-Hold") == "ON" {
		return &LockedError{}
	}
	if _, until := retention(info); until.After(time.Now()) {
		return &LockedError{Until: until}
	}
	return nil
}

// retention is the lock that an object has.
func retention(info minio.ObjectInfo) (minio.RetentionMode, time.Time) {
	until, _ := time.Parse(time.RFC3339, info.Headers.Get("X-Amz-Object-Lock-Retain-Until-Date")) // zero if there is none
	return minio.RetentionMode(info.Headers.Get("X-Amz-Object-Lock-Mode")), until
}
