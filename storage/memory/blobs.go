package memory

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"sync"

	"vigie/hashing"
	"vigie/storage"
)

// Blobs implements [storage.Blobs]. The zero value is empty and ready.
type Blobs struct{ blobs sync.Map } // hashing.Value -> []byte, never written into

// Put implements [storage.Blobs].
func (b *Blobs) Put(ctx context.Context, sha hashing.Value, data []byte) error {
	if sum := sha256.Sum256(data); hashing.ValueFromBytes(sum[:]) != sha {
		return fmt.Errorf("put blob %x: data has SHA-256 %x: %w", sha.Bytes(32), sum, storage.ErrCorrupt)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	b.blobs.Store(sha, bytes.Clone(data))
	return nil
}

// Open implements [storage.Blobs].
func (b *Blobs) Open(ctx context.Context, sha hashing.Value) (io.ReadCloser, error) {
	data, there := b.blobs.Load(sha)
	if !there {
		return nil, missing("blob", fmt.Sprintf("%x", sha.Bytes(32)))
	}
	return io.NopCloser(bytes.NewReader(data.([]byte))), ctx.Err()
}

// Delete implements [storage.Blobs].
func (b *Blobs) Delete(ctx context.Context, sha hashing.Value) error {
	b.blobs.Delete(sha)
	return ctx.Err()
}
