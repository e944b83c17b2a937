package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/bloom"

	"vigie/storage"
)

// Erase removes uploads of a party, by their content ids, from all three places: from the window, from the journal,
// whose records are sealed for it, and from the files of all nodes, which are written anew without them. Uploads that were acknowledged
// before it was called are gone when it returns nil; whoever gets an error calls it again. [History.Run] is to be running.
//
// The journals and windows of other nodes are theirs: each node is to erase, and so is one that was down, when it is back. Files that nodes
// share ([Options.Shared]) it leaves: whoever is to erase from them calls [History.EraseFile] when all of this has been done. For that it
// waits until those in [Options.Former] are moved; of the party's that could not be, which may have what is to be erased, none is left.
//
// From a file that is damaged nothing can be erased: Options.Fault is told, and it stays until its time has passed or somebody removes it.
func (h *History) Erase(ctx context.Context, party storage.PartyID, contentIDs []string) error {
	ids := setOf(contentIDs)
	return h.erase(ctx, party, h.o.Shared, func(r Record) bool { return r.Party == party && ids[r.ContentID] }, func(f File) error {
		return h.eraseFrom(ctx, f, contentIDs, ids)
	})
}

// EraseFile removes uploads from a file, by their content ids: it is written anew without them, if it has one; a damaged file is told of,
// and left, as by [History.Erase]. Two that erase from one file at the same time may undo each other's work: callers see to it that there is
// one, in all processes.
func (h *History) EraseFile(ctx context.Context, f File, contentIDs []string) error {
	return h.eraseFrom(ctx, f, contentIDs, setOf(contentIDs))
}

func setOf(contentIDs []string) map[string]bool {
	ids := make(map[string]bool, len(contentIDs))
	for _, id := range contentIDs {
		ids[id] = true
	}
	return ids
}

// EraseParty removes all uploads of a party, as [History.Erase] does, and its files, of all nodes.
func (h *History) EraseParty(ctx context.Context, party storage.PartyID) error {
	return h.erase(ctx, party, false, func(r Record) bool { return r.Party == party }, func(f File) error {
		return h.store.Delete(ctx, f.Name())
	})
}

func (h *History) erase(ctx context.Context, party storage.PartyID, leave bool, drop func(Record) bool, from func(File) error) error {
	if party == 0 {
		return fmt.Errorf("%w: erasure for no party", ErrInvalid)
	}
	if err := h.Seal(ctx); err != nil {
		return err
	}
	store := h.store
	if leave { // what is read of files that still have it must not come into the window later
		if err := await(ctx, h.loaded); err != nil {
			return err
		}
		h.settle()
		h.window.erase(drop) // at once: nothing there waits for files that are moved
		if err := await(ctx, h.moved); err != nil {
			return err
		}
		store = h.o.Former // which has what could not be moved
		from = func(f File) error { return store.Delete(ctx, f.Name()) }
	}
	h.files.Lock()
	defer h.files.Unlock()
	h.settle()
	h.window.erase(drop)
	if store == nil {
		return h.dropDamaged()
	}
	var files []File
	for f, err := range listOf(ctx, store, partyFolder(party)) {
		if err != nil {
			return fmt.Errorf("erase uploads: %w", err)
		}
		files = append(files, f)
	}
	for _, f := range files {
		if err := from(f); err != nil {
			return fmt.Errorf("erase uploads: %w", err)
		}
	}
	return h.dropDamaged()
}

func await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settle waits for appends on their way, so that what was sealed is in the window, too.
func (h *History) settle() {
	h.appends.Lock()
	defer h.appends.Unlock()
}

// dropDamaged removes what the journal keeps of damaged files: what could be read of them is sealed, and what could not may
// hold what was to be erased.
func (h *History) dropDamaged() error {
	entries, err := os.ReadDir(h.dir)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".damaged") {
			err = errors.Join(err, os.Remove(filepath.Join(h.dir, e.Name())))
		}
	}
	if err != nil {
		return fmt.Errorf("erase uploads: %w", err)
	}
	return nil
}

// eraseFrom writes a file anew without some content ids, if it has one of them. A file with nothing left stays, so that its
// records do not come back (see seal), until its time has passed.
func (h *History) eraseFrom(ctx context.Context, f File, contentIDs []string, ids map[string]bool) error {
	var rows []row
	before := 0
	err := f.read(ctx, h.store, func(o *opened) error {
		rows, before = nil, 0
		mayHave, err := o.filters()
		if err != nil || !slices.ContainsFunc(contentIDs, mayHave) {
			return err
		}
		return o.rows(func(some []row) error {
			before += len(some)
			for _, r := range some {
				if !ids[r.ContentID] {
					rows = append(rows, r)
				}
			}
			return ctx.Err()
		})
	})
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil
	case errors.Is(err, storage.ErrCorrupt):
		h.o.Fault(fmt.Errorf("erase uploads from a file, which stays as it is until its time has passed, or somebody removes it: %w", err))
		return nil
	case err != nil:
		return err
	case len(rows) == before: // what the file was before, a crash may have left there
		if v, ok := h.store.(versioned); ok {
			return v.DropVersions(ctx, f.Name())
		}
		return nil
	}
	data, err := f.encode(rows)
	if err != nil {
		return err
	}
	return h.store.Put(ctx, f.Name(), data)
}

// versioned is a [Store] that may keep what a file was before it was written anew.
type versioned interface {
	DropVersions(ctx context.Context, name string) error
}

// filters reads the filters of content ids into memory: each question is a look at another place of them. mayHave tells whether the
// file has a content id; in vain at times, but it never misses one.
func (o *opened) filters() (mayHave func(contentID string) bool, err error) {
	var all []*parquet.FileBloomFilter
	for _, g := range o.file.RowGroups() {
		filter, err := g.ColumnChunks()[columnContentID].(*parquet.FileColumnChunk).BloomFilterFrom(o.source)
		if err != nil || filter == nil {
			return nil, o.corrupt(fmt.Errorf("no filter of content ids: %w", err))
		}
		size := filter.Size()
		if size < bloom.BlockSize || size > o.Size() {
			return nil, o.corrupt(fmt.Errorf("a filter of content ids of %d bytes", size))
		}
		bits := make([]byte, size)
		if n, err := filter.ReadAt(bits, 0); n < len(bits) {
			return nil, o.corrupt(err)
		}
		filter.SectionReader = *io.NewSectionReader(bytes.NewReader(bits), 0, size)
		all = append(all, filter)
	}
	return func(contentID string) bool {
		return slices.ContainsFunc(all, func(f *parquet.FileBloomFilter) bool {
			has, err := f.Check(parquet.ByteArrayValue([]byte(contentID)))
			return has || err != nil // which is in memory, and has none
		})
	}, nil
}

// Expire removes what is older than its party keeps it: rows of the window and files, but those that nodes share. 0 keeps nothing that
// is sealed. To be called once an hour, or so.
func (h *History) Expire(ctx context.Context, keep func(storage.PartyID) time.Duration) error {
	now := h.o.Now()
	h.window.erase(func(r Record) bool { return r.At.Before(now.Add(-keep(r.Party))) })
	switch {
	case !h.o.Shared:
		return h.ExpireFiles(ctx, keep)
	case h.o.Former != nil: // which is this node's, and may have what cannot be moved
		return h.expire(ctx, h.o.Former, keep)
	}
	return nil
}

// ExpireFiles removes files, of all nodes, whose hour ended longer ago than their party keeps uploads.
func (h *History) ExpireFiles(ctx context.Context, keep func(storage.PartyID) time.Duration) error {
	return h.expire(ctx, h.store, keep)
}

func (h *History) expire(ctx context.Context, store Store, keep func(storage.PartyID) time.Duration) error {
	h.files.Lock()
	defer h.files.Unlock()
	now := h.o.Now()
	var gone []File
	for f, err := range List(ctx, store) {
		if err != nil {
			return fmt.Errorf("expire uploads: %w", err)
		}
		if !f.Hour.Add(time.Hour + keep(f.Party)).After(now) {
			gone = append(gone, f)
		}
	}
	var err error
	for _, f := range slices.Backward(gone) {
		err = errors.Join(err, store.Delete(ctx, f.Name()))
	}
	if err != nil {
		return fmt.Errorf("expire uploads: %w", err)
	}
	return nil
}
