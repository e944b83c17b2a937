package history

import (
	"context"
	"fmt"
	"iter"

	"vigie/storage/bucket"
)

// Bucket is a [Store] in a bucket. Any number of nodes may have one.
type Bucket struct{ objects *bucket.Bucket }

// OpenBucket makes a store of a place in a bucket that is for it alone: [bucket.Uploads]. Closing the place is the caller's.
func OpenBucket(b *bucket.Bucket) Bucket { return Bucket{b} }

// Put implements [Store]. Where the bucket has versions, what the file was before is removed: it may have been written anew to
// erase some of it. What a crash leaves of that is removed when it is erased from again, or with the file.
func (b Bucket) Put(ctx context.Context, name string, data []byte) error {
	err := b.objects.Put(ctx, name, data)
	if err == nil {
		err = b.objects.DropVersions(ctx, name)
	}
	if err != nil {
		return fmt.Errorf("write a file of uploads: %w", err)
	}
	return nil
}

// DropVersions removes what a file was before.
func (b Bucket) DropVersions(ctx context.Context, name string) error {
	if err := b.objects.DropVersions(ctx, name); err != nil {
		return fmt.Errorf("remove what a file of uploads was before: %w", err)
	}
	return nil
}

// Open implements [Store]. ctx is for reading, too.
func (b Bucket) Open(ctx context.Context, name string) (Object, error) {
	o, err := b.objects.Open(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("open a file of uploads: %w", err)
	}
	return o, nil
}

// List implements [Store].
func (b Bucket) List(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for o, err := range b.objects.List(ctx, prefix) {
			if err != nil {
				yield("", fmt.Errorf("list the files of uploads: %w", err))
				return
			}
			if !yield(o.Name, nil) {
				return
			}
		}
	}
}

// Delete implements [Store].
func (b Bucket) Delete(ctx context.Context, name string) error {
	if err := b.objects.Delete(ctx, name); err != nil {
		return fmt.Errorf("delete a file of uploads: %w", err)
	}
	return nil
}
