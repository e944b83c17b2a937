package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vigie/hashing"
	"vigie/storage"
	"vigie/storage/sqlstore"
)

// mediaFaults are what is wrong with media, by its kind.
type mediaFaults struct {
	missing, size, content, unknown, stray, stuck []string
	away                                          error // why they could not be looked through
}

// unswept is how long media may wait for their entry, or for their removal: the sweep comes each hour, and takes what is older than
// one.
const unswept = 3 * time.Hour

// checkMedia: each blob that the catalogue has is there, whole, and no other.
func checkMedia(ctx context.Context, x *examination) (found []finding) {
	if x.rows == nil {
		return unchecked("the catalogue cannot be read")
	}
	rows, err := x.catalog.Media(ctx)
	if err != nil {
		return []finding{fault("it is not known which media are kept", useBackup, "%v", err)}
	}
	var f mediaFaults
	if unkept, err := x.catalog.Unkept(ctx); err != nil {
		return []finding{fault("it is not known which media are kept", useBackup, "%v", err)}
	} else if len(unkept) > 0 {
		found = append(found, fault("their bytes are lost, or will be", "flag them again, or restore a backup", "%d entries keep media that have no row, the first is entry %d", len(unkept), unkept[0]))
	}
	store, err := x.mediaToRead(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(rows) == 0:
		return or(found, "none are kept")
	case err != nil:
		return append(found, fault("the media are lost, or their disk is not mounted", "mount it, or restore a backup", "%v", err))
	}
	defer store.Close()
	live := x.compareMedia(ctx, store, rows, &f)
	if f.away != nil {
		return append(found, fault("media can be neither kept nor looked at; checks go on", "start it, or mend the way to it and the settings of --media", "%s", oneLine(f.away)))
	}
	x.leftovers(&f)

	const again = "flag them again, or restore a backup"
	for _, k := range []struct {
		list      []string
		level     level
		what      string
		means, do string
	}{
		{f.missing, faulty, "missing", "their bytes are lost; they still match, but nobody can look at them", again},
		{f.size, faulty, "not of the size that the catalogue says", "they are damaged", again},
		{f.content, faulty, "not what their name says (SHA-256)", "they are damaged: the disk has altered them, or somebody has", again + "; examine the disk"},
		{f.stuck, warned, "waiting to be finished or removed for hours", "the sweep does not come to its end", "see the log of the node for: sweep media"},
		{f.unknown, warned, "in no row of the catalogue", "they take room; perhaps the catalogue is older than the media (a backup that was copied over it)", "nothing, if they are few; they may be moved away"},
		{f.stray, warned, "in the folder without being media", "somebody else wrote there, or a node was interrupted", "move them away; the next start of the node empties media/tmp"},
	} {
		if n := len(k.list); n > 0 {
			found = append(found, finding{Level: k.level, Means: k.means, Do: k.do, Says: fmt.Sprintf("%d files are %s, the first is %s", n, k.what, k.list[0])})
		}
	}
	how := "their sizes are right"
	if x.deep {
		how = "all are what their name says"
	}
	return or(found, "%d files are kept; %s", live, how)
}

// compareMedia holds rows and files against each other. The rows are older: what came since is too young to be missed.
func (x *examination) compareMedia(ctx context.Context, store mediaStore, rows []sqlstore.MediaRow, f *mediaFaults) (live int) {
	known := make(map[hashing.Value]sqlstore.MediaRow, len(rows))
	for _, r := range rows {
		known[r.SHA256] = r
		if r.State != storage.MediaLive && x.now.Sub(r.At) > unswept {
			f.stuck = append(f.stuck, shaText(r.SHA256))
		}
	}
	m := x.meter("media", int64(len(rows)), false)
	defer m.end()
	for blob, err := range store.List(ctx) {
		row, ok := known[blob.SHA256]
		switch {
		case errors.Is(err, storage.ErrUnavailable):
			f.away = err
			return live
		case err != nil:
			f.stray = append(f.stray, err.Error())
		case !ok:
			if x.now.Sub(blob.Modified) > time.Hour {
				f.unknown = append(f.unknown, shaText(blob.SHA256))
			}
		case row.State == storage.MediaLive:
			delete(known, blob.SHA256)
			live++
			m.add(1)
			if blob.Size != row.Size {
				f.size = append(f.size, shaText(blob.SHA256))
			} else if x.deep && !wholeBlob(ctx, store, blob.SHA256) {
				f.content = append(f.content, shaText(blob.SHA256))
			}
		}
	}
	for _, r := range rows {
		if _, missed := known[r.SHA256]; missed && r.State == storage.MediaLive {
			f.missing = append(f.missing, shaText(r.SHA256))
		}
	}
	return live
}

// wholeBlob says whether a blob can be read and is what its name says.
func wholeBlob(ctx context.Context, store storage.Blobs, sha hashing.Value) bool {
	blob, err := store.Open(ctx, sha)
	if err != nil {
		return false
	}
	defer blob.Close()
	h := sha256.New()
	_, err = io.Copy(h, blob)
	return err == nil && hashing.ValueFromBytes(h.Sum(nil)) == sha
}

// leftovers are files that were on their way in when their node ended. Those of a node that runs are young.
func (x *examination) leftovers(f *mediaFaults) {
	files, _ := os.ReadDir(filepath.Join(x.mediaFolder(), "tmp")) // not there: none
	for _, file := range files {
		if info, err := file.Info(); err == nil && x.now.Sub(info.ModTime()) > time.Hour {
			f.stray = append(f.stray, "tmp/"+file.Name())
		}
	}
}

// checkJournal: what matched is handed on to the catalogue, and nothing of it was damaged.
func checkJournal(ctx context.Context, x *examination) (found []finding) {
	const much, long = 1 << 30, 24 * time.Hour
	files, err := os.ReadDir(x.path(journalFolder))
	if errors.Is(err, fs.ErrNotExist) {
		return fine("there is none yet")
	}
	if err != nil {
		return []finding{fault("what matched may be lost", "run as the user of the node", "%v", err)}
	}
	var size int64
	var damaged []string
	waiting := 0
	for i, file := range files {
		info, err := file.Info()
		if err != nil { // handed on and removed
			continue
		}
		switch name := file.Name(); {
		case strings.HasSuffix(name, ".damaged"):
			damaged = append(damaged, name)
		case strings.HasSuffix(name, ".journal"):
			size += info.Size()
			last := i+1 == len(files) || !strings.HasSuffix(files[i+1].Name(), ".journal") // which the node may be writing
			if !last && x.now.Sub(info.ModTime()) > long {
				waiting++
			}
		}
	}
	if len(damaged) > 0 {
		found = append(found, fault("matches may be missing in the catalogue", "examine the disk; keep the files: docs/format/journal.md says how to read them",
			"%d files could not be read to their end and were put aside, the first is %s", len(damaged), damaged[0]))
	}
	if was, err := x.formerLog(ctx); err == nil && was != "" && x.rows != nil && was != x.head.LogID {
		found = append(found, warning("what it has not handed on is kept for that one; if there is any, the node does not start", "name the catalogue that belongs to this data folder with --database; or another folder with --data",
			"it is for the catalogue with log %s, and this one has log %s", was, x.head.LogID))
	}
	if size > much || waiting > 0 {
		found = append(found, warning("what matched is not handed on to the catalogue, or too slowly", "see that a node runs, and its log", "%s wait, of them %d files for more than a day", humanBytes(size), waiting))
	}
	return or(found, "%s", humanBytes(size))
}
