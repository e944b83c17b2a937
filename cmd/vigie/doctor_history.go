package main

import (
	"context"
	"errors"

	"vigie/storage"
	"vigie/storage/history"
)

// checkHistory: the files of the upload history say at their end what they are, the journal of what is not in files yet can be opened;
// with --deep, all of both is read. In a bucket, too.
func checkHistory(ctx context.Context, x *examination) (found []finding) {
	const missed = "a look-back does not find what was posted then"
	journal, err := history.LookAtJournal(x.Data, x.deep)
	if err != nil {
		found = append(found, fault("uploads that are not in files yet may be lost", "run as the user of the node; examine the disk", "the journal of uploads: %v", err))
	}
	if n := len(journal.Damaged); n > 0 {
		found = append(found, fault(missed, "examine the disk; then remove them: what could be read of them is in files", "%d files of the journal of uploads could not be read to their end and were put aside, the first is %s", n, journal.Damaged[0]))
	}
	places, err := x.uploadsToRead(ctx)
	if err != nil {
		return append(found, fault("past uploads are not searched, and new ones wait in the journal", "see that it can be reached, as the user of the node", "the files of past uploads: %v", err))
	}
	defer places.Close()
	look := history.File.Describe
	if x.deep {
		look = history.File.Verify
	}
	var all keptUploads
	damaged, first := 0, error(nil)
	for _, s := range places.stores() {
		for f, err := range history.List(ctx, s) {
			var rows, bytes int64
			if err == nil {
				rows, bytes, err = look(f, ctx, s)
			}
			switch {
			case ctx.Err() != nil:
				return nil
			case err == nil:
				all.add(f, rows, bytes)
			case errors.Is(err, storage.ErrCorrupt):
				if damaged++; damaged == 1 {
					first = err
				}
			case !errors.Is(err, storage.ErrNotFound): // which its time may have ended, or it was moved
				return append(found, fault("past uploads are not searched", "see that it can be reached, as the user of the node", "the files of past uploads: %v", err))
			}
		}
	}
	if damaged > 0 {
		found = append(found, fault(missed, "vigie history verify names them all; put back a copy, or remove them", "%d files of past uploads are damaged, the first: %v", damaged, first))
	}
	if places.former != nil && x.ownerPID == 0 {
		drafts, err := places.former.Drafts()
		if err == nil && len(drafts) > 0 {
			found = append(found, warning("they take room until the node starts again", "nothing: they go then", "%d files of past uploads were being written when the node ended, the first is %s", len(drafts), drafts[0]))
		}
	}
	if all.Files == 0 && journal.Bytes == 0 {
		return or(found, "there is none yet")
	}
	return or(found, "%d uploads in %s, %s; %s not in files yet", all.Uploads, plural(all.Files, "file"), humanBytes(all.Bytes), humanBytes(journal.Bytes))
}
