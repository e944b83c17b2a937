// Package media keeps blobs, each named by the SHA-256 of its bytes, 64 hexadecimal digits:
//
//	ab/cd/abcd...  the blob
//
// [Folder] keeps them in a folder of this machine, [S3] under a prefix of a bucket. [Cache] holds copies of what
// was read from far away in a folder.
package media

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"time"

	"vigie/hashing"
	"vigie/storage"
)

// Blob is one that a List has found.
type Blob struct {
	SHA256   hashing.Value
	Size     int64 // in bytes
	Modified time.Time
}

// ErrStray is what a List yields for a file or an object that no Put has put where it is.
var ErrStray = errors.New("not a blob in its place")

// place is where a blob lies: its folder, and its path.
func place(sha hashing.Value) (dir, name string) {
	digits := hex.EncodeToString(sha.Bytes(sha256.Size))
	dir = path.Join(digits[:2], digits[2:4])
	return dir, path.Join(dir, digits)
}

// placed is the blob whose place a path is; ErrStray if it is none's.
func placed(name string) (hashing.Value, error) {
	digest, err := hex.DecodeString(path.Base(name))
	sha := hashing.ValueFromBytes(digest)
	if _, right := place(sha); err != nil || len(digest) != sha256.Size || name != right {
		return hashing.Value{}, fmt.Errorf("%s: %w", name, ErrStray)
	}
	return sha, nil
}

// called is what errors call a blob: enough to find it, not enough to look for it elsewhere.
func called(sha hashing.Value) string { return hex.EncodeToString(sha.Bytes(sha256.Size)[:6]) + "..." }

// check compares data with the SHA-256 that they are said to have.
func check(sha hashing.Value, data []byte) error {
	if sum := sha256.Sum256(data); hashing.ValueFromBytes(sum[:]) != sha {
		return fmt.Errorf("data has SHA-256 %x...: %w", sum[:6], storage.ErrCorrupt)
	}
	return nil
}

// verifying reads a blob and hashes it on its way: the end of other bytes is ErrCorrupt, not EOF.
type verifying struct {
	io.ReadCloser
	sha  hashing.Value
	hash hash.Hash
	err  error // that ended it
}

func verify(r io.ReadCloser, sha hashing.Value) *verifying {
	return &verifying{ReadCloser: r, sha: sha, hash: sha256.New()}
}

func (v *verifying) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.ReadCloser.Read(p)
	v.hash.Write(p[:n])
	if err == io.EOF && !bytes.Equal(v.hash.Sum(nil), v.sha.Bytes(sha256.Size)) {
		err = fmt.Errorf("read blob %s: %w", called(v.sha), storage.ErrCorrupt)
	}
	v.err = err
	return n, err
}
