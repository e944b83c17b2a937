package storage

import (
	"bytes"
	"context"
	"fmt"
)

// VerifyLog reads the whole log up to its present head and checks that it is what was written: the
// numbers have no gap, every record is canonical and says what its change says, every root is that
// of the records up to it, private data that is not erased is what was committed to, and the last
// root is the head's. It returns that head. What differs is told in an error that wraps [ErrCorrupt].
//
// Of changes that are redacted, only the place in the tree is verified.
//
// The log may grow meanwhile. progress, if not nil, is called now and then with the last number
// verified, in the same goroutine.
func VerifyLog(ctx context.Context, log Log, progress func(seq uint64)) (Head, error) {
	const page = 1000
	head, err := log.Head(ctx)
	if err != nil {
		return Head{}, err
	}
	var tree Tree
	for tree.Size() < head.Seq {
		changes, err := log.Changes(ctx, tree.Size(), int(min(page, head.Seq-tree.Size())))
		if err != nil {
			return Head{}, fmt.Errorf("read changes after %d: %w", tree.Size(), err)
		}
		if len(changes) == 0 {
			return Head{}, fmt.Errorf("change %d: missing, though the head is %d: %w", tree.Size()+1, head.Seq, ErrCorrupt)
		}
		for _, c := range changes {
			seq := tree.Size() + 1
			if c.Seq != seq {
				return Head{}, fmt.Errorf("change %d: missing, the next is %d: %w", seq, c.Seq, ErrCorrupt)
			}
			if c.Leaf != nil { // its contents are not for this reader, but its place is
				tree, _ = tree.AppendLeaf(*c.Leaf)
				if c.Root != tree.Root() {
					return Head{}, fmt.Errorf("change %d: root is stored as %x, the records give %x: %w", seq, c.Root, tree.Root(), ErrCorrupt)
				}
				continue
			}
			tree, _ = tree.Append(c.Record)
			if err := verifyChange(head.LogID, c, tree.Root()); err != nil {
				return Head{}, fmt.Errorf("change %d: %w", seq, err)
			}
		}
		if progress != nil {
			progress(tree.Size())
		}
	}
	if tree.Root() != head.Root {
		return Head{}, fmt.Errorf("head %d: root is %x, the records give %x: %w", head.Seq, head.Root, tree.Root(), ErrCorrupt)
	}
	return head, nil
}

func verifyChange(logID string, c Change, root Hash) error {
	written, err := ParseRecord(c.Record)
	if err != nil {
		return err
	}
	if canonical, err := written.encode(); err != nil || !bytes.Equal(canonical, c.Record) {
		return fmt.Errorf("record is not in canonical form: %w", ErrCorrupt)
	}
	if (c.Private == nil) != (c.Salt == nil) {
		return fmt.Errorf("private data and its salt are not both there: %w", ErrCorrupt)
	}
	stored, err := recordOf(logID, c)
	if err != nil {
		return fmt.Errorf("%v: %w", err, ErrCorrupt)
	}
	if c.Private == nil { // there was none, or it is erased: only the commitment can say
		stored.Private = written.Private
	}
	for _, f := range []struct {
		name            string
		stored, written any
	}{
		{"log", stored.Log, written.Log},
		{"seq", stored.Seq, written.Seq},
		{"at", stored.At, written.At},
		{"kind", stored.Kind, written.Kind},
		{"actor", stored.Actor, written.Actor},
		{"bank", stored.Bank, written.Bank},
		{"entry", stored.Entry, written.Entry},
		{"key", stored.Key, written.Key},
		{"party", stored.Party, written.Party},
		{"body", string(stored.Body), string(written.Body)},
		{"private", stored.Private, written.Private},
		{"root", c.Root, root},
	} {
		if f.stored != f.written {
			return fmt.Errorf("%s is stored as %v, the records give %v: %w", f.name, f.stored, f.written, ErrCorrupt)
		}
	}
	return nil
}
