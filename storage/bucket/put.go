package bucket

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"vigie/storage"
)

const (
	partSize = 16 << 20 // bytes; what is larger is sent in parts of that size
	// abortTime is how long the rest of an upload that failed is tried to be removed.
	abortTime = 5 * time.Second
)

// Put writes an object whole before it returns, or not at all; one of that name is replaced at once, and is a version of
// it afterwards where the bucket has versions: see [Bucket.DropVersions].
func (b *Bucket) Put(ctx context.Context, name string, data []byte) error {
	return b.PutFrom(ctx, name, bytes.NewReader(data), int64(len(data)))
}

// PutFrom is [Bucket.Put] of the first size bytes of src, which is read twice or more, some at a time.
func (b *Bucket) PutFrom(ctx context.Context, name string, src io.ReaderAt, size int64) error {
	var err error
	if size <= partSize {
		err = b.putWhole(ctx, name, io.NewSectionReader(src, 0, size))
	} else {
		err = b.putParts(ctx, name, src, size)
	}
	if isCode(err, minio.NoSuchUpload) { // it was completed, and the answer got lost
		if there, err2 := b.Holds(ctx, name, src, size); there || err2 != nil {
			return err2
		}
	}
	return fault(ctx, err)
}

// options are those of an upload. The sum of the content is its signature's, too: minio-go's own checksums are not taken,
// as it cannot repeat a request that has one.
func (b *Bucket) options(checksum map[string]string) minio.PutObjectOptions {
	o := minio.PutObjectOptions{UserMetadata: checksum, ServerSideEncryption: b.at.encryption, DisableContentSha256: true}
	if b.at.lock != "" {
		o.Mode, o.RetainUntilDate = b.at.lock, time.Now().Add(b.at.lockFor)
	}
	return o
}

const (
	checksumHeader    = "X-Amz-Checksum-Sha256"
	checksumAlgorithm = "X-Amz-Checksum-Algorithm"
)

// sumOf is the SHA-256 of a piece, as the signature and as the checksum have it.
func sumOf(piece *io.SectionReader) (signed, kept string, err error) {
	h := sha256.New()
	if n, err := io.Copy(h, io.NewSectionReader(piece, 0, piece.Size())); err != nil || n < piece.Size() {
		return "", "", sourceError{fmt.Errorf("read what is to be sent, %d of %d bytes: %w", n, piece.Size(), cmp.Or(err, io.ErrUnexpectedEOF))}
	}
	sum := h.Sum(nil)
	return hex.EncodeToString(sum), base64.StdEncoding.EncodeToString(sum), nil
}

func (b *Bucket) putWhole(ctx context.Context, name string, all *io.SectionReader) error {
	signed, kept, err := sumOf(all)
	if err == nil {
		_, err = b.core.PutObject(ctx, b.at.bucket, b.key(name), all, all.Size(), "", signed, b.options(map[string]string{checksumHeader: kept}))
	}
	return err
}

// putParts sends one part after the other. What a process that was killed has sent stays with the server, unseen, until
// [Bucket.AbortUploads].
func (b *Bucket) putParts(ctx context.Context, name string, src io.ReaderAt, size int64) (err error) {
	key := b.key(name)
	id, err := b.core.NewMultipartUpload(ctx, b.at.bucket, key, b.options(map[string]string{checksumAlgorithm: minio.ChecksumSHA256.String()}))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
			defer cancel()
			_ = b.core.AbortMultipartUpload(ctx, b.at.bucket, key, id) // what is left is for AbortUploads
		}
	}()
	var parts []minio.CompletePart
	for at := int64(0); at < size; at += partSize {
		part := io.NewSectionReader(src, at, min(size-at, partSize))
		signed, kept, err := sumOf(part)
		if err != nil {
			return err
		}
		sent, err := b.core.PutObjectPart(ctx, b.at.bucket, key, id, len(parts)+1, part, part.Size(), minio.PutObjectPartOptions{
			Sha256Hex: signed, DisableContentSha256: true, CustomHeader: http.Header{checksumHeader: {kept}},
		})
		if err != nil {
			return err
		}
		parts = append(parts, minio.CompletePart{PartNumber: len(parts) + 1, ETag: sent.ETag, ChecksumSHA256: kept})
	}
	_, err = b.core.CompleteMultipartUpload(ctx, b.at.bucket, key, id, parts, minio.PutObjectOptions{})
	return err
}

// AbortUploads removes what was sent of objects whose uploads began before a time and did not come to their end, of those names that ours
// picks. aborted is how many uploads that were.
func (b *Bucket) AbortUploads(ctx context.Context, before time.Time, ours func(name string) bool) (aborted int, err error) {
	var old []minio.ObjectMultipartInfo
	for u := range b.core.ListIncompleteUploads(ctx, b.at.bucket, b.key(""), true) { // to its end, or it would leave a goroutine
		switch {
		case u.Err != nil:
			err = fault(ctx, u.Err)
		case u.Initiated.Before(before) && ours(strings.TrimPrefix(u.Key, b.key(""))):
			old = append(old, u)
		}
	}
	for _, u := range old {
		refused := b.core.AbortMultipartUpload(ctx, b.at.bucket, u.Key, u.UploadID)
		if isCode(refused, minio.NoSuchUpload) { // another process was quicker
			continue
		}
		if err = errors.Join(err, fault(ctx, refused)); refused == nil {
			aborted++
		}
	}
	return aborted, err
}

// DropVersions removes what an object was before it was replaced, where the bucket keeps that.
func (b *Bucket) DropVersions(ctx context.Context, name string) error {
	return b.dropVersions(ctx, name, func(o minio.ObjectInfo) bool { return !o.IsLatest })
}

// dropVersions removes some versions of an object: with "null" for its number, one from before the bucket had versions.
func (b *Bucket) dropVersions(ctx context.Context, name string, drop func(minio.ObjectInfo) bool) error {
	var old []string
	for o, err := range b.list(ctx, minio.ListObjectsOptions{Prefix: b.key(name), WithVersions: true}) {
		if away := (awayError{}); errors.Is(err, storage.ErrNotFound) || errors.As(err, &away) && away.status == http.StatusNotImplemented {
			return nil // a server without versions
		}
		if err != nil {
			return err
		}
		if o.Key > b.key(name) {
			break
		}
		if o.Key == b.key(name) && o.VersionID != "" && drop(o) {
			old = append(old, o.VersionID)
		}
	}
	for _, version := range old {
		if err := b.remove(ctx, name, version); err != nil {
			return err
		}
	}
	return nil
}
