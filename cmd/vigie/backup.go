package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"vigie/hashing"
	"vigie/internal/buildinfo"
	"vigie/storage"
	"vigie/storage/datadir"
	"vigie/storage/jobs"
	"vigie/storage/media"
	"vigie/storage/sqlstore"
)

// A folder of backups holds one folder for each, named by its time, and the media of all of them, once:
//
//	media/ab/cd/abcd...          by SHA-256, as in a data folder
//	20261122T060000.000Z/        a backup: what is not media, and the manifest
//	  catalogue.db
//	  jobs.db
//	  journal/...
//	  manifest.json
//
// A backup is written under another name and renamed when all of it is on the disk: what has its name is whole.
const (
	manifestFile  = "manifest.json"
	journalFolder = "journal"
	backupTime    = "20060102T150405.000Z"
	partialSuffix = ".partial" // of what is being written, or was when the process ended
)

// manifest says what a backup is, and what is in it.
type manifest struct {
	Version int       `json:"version"` // 1
	At      time.Time `json:"at"`
	Vigie   string    `json:"vigie"` // version that wrote it
	LogID   string    `json:"log_id"`
	Seq     uint64    `json:"seq"`
	Root    string    `json:"root"` // of the log at Seq, hexadecimal
	// Rows counts the rows of each table of the catalogue.
	Rows       map[string]int64 `json:"rows"`
	Media      int              `json:"media"` // files, which the catalogue names by their SHA-256
	MediaBytes int64            `json:"media_bytes"`
	// Missing are media that the catalogue names and the data folder did not have whole, by SHA-256: a fault of the data
	// folder, for which a backup of the rest is not refused.
	Missing []string `json:"missing,omitempty"`
	// Handed is how far what happens had been handed on to jobs just before these were copied: what came later is in none, and is handed
	// on again after a restoration. Absent if there are no jobs.
	Handed *handed `json:"handed,omitempty"`
	// Files are all files of the backup but the media and this one.
	Files []manifestFileEntry `json:"files"`
}

type manifestFileEntry struct {
	Name   string `json:"name"` // within the backup, with slashes
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// handed is how far what happens has been handed on to jobs.
type handed struct {
	Log    uint64  `json:"log"`              // to webhooks: up to this change
	Match  uint64  `json:"match"`            // and up to this match
	Looked *uint64 `json:"looked,omitempty"` // to look-backs in files: up to this change; absent if there was none yet
}

type backupCmd struct {
	To string `arg:"" help:"Folder of backups; made if it is not there. Media that an earlier backup has there are not copied again." placeholder:"DIR"`
}

// backedUp is what vigie backup --json prints.
type backedUp struct {
	Backup   string `json:"backup"` // path of the folder
	NewMedia int    `json:"new_media"`
	manifest
}

// Run copies the data folder, whether or not a node runs on it.
//
// It reads beside the node and does not ask it: the copy of the catalogue is one read transaction of SQLite, which is made for
// other processes reading meanwhile; media never change under their name; and so there is no way over the network by which a
// node could be made to write its data somewhere. It works for a node that hangs, too.
func (c *backupCmd) Run(ctx context.Context, a *app) error {
	if err := a.needOwnFolder("backup"); err != nil {
		return err
	}
	if err := c.checkPlace(a.Data); err != nil {
		return err
	}
	lock, err := lockFor(c.To, "another backup is being written to it")
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := removePartial(c.To); err != nil {
		return err
	}
	at := time.Now().UTC().Truncate(time.Millisecond)
	name := at.Format(backupTime)
	final, draft := filepath.Join(c.To, name), filepath.Join(c.To, name+partialSuffix)
	if err := os.Mkdir(draft, 0o700); err != nil {
		return err
	}
	done, err := a.writeBackup(ctx, at, draft, c.To)
	if err == nil {
		err = errors.Join(os.Rename(draft, final), flushFolder(c.To))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("no backup was made: %w", err), os.RemoveAll(draft))
	}
	done.Backup = final
	if a.json {
		err = a.object(done)
	}
	a.say("%s: log %s up to change %d, root %s; %d entries; %d media (%s), %d of them new.",
		final, done.LogID, done.Seq, done.Root, done.Rows["entries"], done.Media, humanBytes(done.MediaBytes), done.NewMedia)
	if len(done.Missing) > 0 {
		a.warn("%d media that the catalogue names are missing or damaged in the data folder, and not in the backup, whose manifest lists them: see vigie doctor --deep", len(done.Missing))
		err = errors.Join(err, errSomeFailed)
	}
	return err
}

// needOwnFolder is for commands that look at a data folder themselves, and not by a node.
func (a *app) needOwnFolder(command string) error {
	if a.Server != "" {
		return usagef("%s works on a data folder of this machine (--data); --server names a node elsewhere", command)
	}
	if a.Database != "" {
		return usagef("%s is for catalogues in a data folder; this one is in PostgreSQL (--database): copy it with pg_dump and pg_restore, see docs/operations.md", command)
	}
	err := needOwn(a.Data)
	if errors.Is(err, errElsewhere) {
		return usageError{err}
	}
	return err
}

// checkPlace refuses places for backups that would be lost with the data, or mixed with it.
func (c *backupCmd) checkPlace(data string) error {
	if needFolder(c.To) == nil {
		return usagef("%s is a data folder; name a folder of its own for backups", c.To)
	}
	from, err := filepath.EvalSymlinks(data)
	if err == nil {
		from, err = filepath.Abs(from)
	}
	to, err2 := filepath.Abs(c.To)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	// The part of the path that is there may lead elsewhere.
	for there := to; ; there = filepath.Dir(there) {
		if real, err := filepath.EvalSymlinks(there); err == nil {
			to = filepath.Join(real, strings.TrimPrefix(to, there))
			break
		}
	}
	if inside, err := filepath.Rel(from, to); err == nil && filepath.IsLocal(inside) {
		return usagef("%s is in the data folder: what destroys the one destroys the other", c.To)
	}
	return nil
}

// lockFor claims a folder, and makes it if it is not there.
func lockFor(dir, taken string) (*datadir.Lock, error) {
	lock, err := datadir.LockFolder(dir)
	if errors.Is(err, storage.ErrLocked) {
		err = fmt.Errorf("%s: %s", dir, taken)
	}
	return lock, err
}

// removePartial removes what backups left that did not come to their end.
func removePartial(dir string) error {
	left, err := filepath.Glob(filepath.Join(escapeGlob(dir), "*"+partialSuffix))
	for _, l := range left {
		err = errors.Join(err, os.RemoveAll(l))
	}
	return err
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// writeBackup writes all of a backup to the folder draft, and its media beside it.
func (a *app) writeBackup(ctx context.Context, at time.Time, draft, to string) (*backedUp, error) {
	done := &backedUp{manifest: manifest{Version: 1, At: at, Vigie: buildinfo.Version()}}
	// Journal and jobs first: what is delivered to the catalogue meanwhile, or done, is in both, and counts once. The other way round it
	// could be in neither.
	names, err := copyJournal(ctx, filepath.Join(a.Data, journalFolder), draft)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(a.Data, jobsFile)); err == nil {
		if done.Handed, err = a.handedOn(ctx); err != nil {
			return nil, err
		}
		if err := jobs.BackupLocal(ctx, filepath.Join(a.Data, jobsFile), filepath.Join(draft, jobsFile)); err != nil {
			return nil, err
		}
		names = append(names, jobsFile)
	} else if !errors.Is(err, fs.ErrNotExist) { // a node that has never run has none
		return nil, err
	}
	catalogue := filepath.Join(draft, catalogueFile)
	if err := a.copyCatalogue(ctx, catalogue); err != nil {
		return nil, err
	}
	if err := a.describe(ctx, catalogue, to, done); err != nil {
		return nil, err
	}
	for _, name := range append([]string{catalogueFile}, names...) {
		size, sum, err := sumFile(filepath.Join(draft, name))
		if err != nil {
			return nil, err
		}
		done.Files = append(done.Files, manifestFileEntry{Name: filepath.ToSlash(name), Size: size, SHA256: sum})
	}
	text, err := json.MarshalIndent(done.manifest, "", "  ")
	if err != nil {
		return nil, err
	}
	err = writeSynced(filepath.Join(draft, manifestFile), strings.NewReader(string(text)+"\n"))
	if err == nil {
		err = flushFolder(draft)
	}
	return done, err
}

// handedOn says how far the catalogue is with it at present.
func (a *app) handedOn(ctx context.Context) (*handed, error) {
	s, err := sqlstore.OpenSnapshot(ctx, filepath.Join(a.Data, catalogueFile))
	if err != nil {
		return nil, err
	}
	h := &handed{}
	err = s.View(ctx, func(r storage.Reader) error {
		d, err := r.Dispatch()
		if err != nil {
			return err
		}
		h.Log, h.Match = d.Log, d.Match
		looked, err := r.Looked("")
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		h.Looked = &looked
		return err
	})
	return h, errors.Join(err, s.Close())
}

func (a *app) copyCatalogue(ctx context.Context, to string) error {
	from := filepath.Join(a.Data, catalogueFile)
	size := int64(0)
	if info, err := os.Stat(from); err == nil {
		size = info.Size()
	}
	m := a.meter("catalogue", size, true)
	watching, stop := context.WithCancel(ctx)
	m.watch(watching, func() int64 {
		info, err := os.Stat(to)
		if err != nil {
			return 0
		}
		return info.Size()
	})
	err := sqlstore.Backup(ctx, from, to)
	stop()
	m.end()
	return err
}

// describe verifies the copy of the catalogue, says in the manifest what it is, and copies the media that it names: a copy whose
// log does not verify must not take the place of an older one that does.
func (a *app) describe(ctx context.Context, catalogue, to string, done *backedUp) (err error) {
	s, err := sqlstore.OpenSnapshot(ctx, catalogue)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	head, err := verifyLog(ctx, a, s)
	if err != nil {
		return fmt.Errorf("the log of the catalogue does not verify (vigie doctor says more): %w", err)
	}
	done.LogID, done.Seq, done.Root = head.LogID, head.Seq, hex.EncodeToString(head.Root[:])
	if done.Rows, err = s.Rows(ctx); err != nil {
		return err
	}
	live, err := liveMedia(ctx, s)
	if err != nil {
		return err
	}
	from, err := a.mediaToRead(ctx)
	if err != nil && (!errors.Is(err, fs.ErrNotExist) || len(live) > 0) {
		return err
	}
	if from != nil {
		defer from.Close()
	}
	into, err := media.OpenFolder(filepath.Join(to, mediaFolder))
	if err != nil {
		return err
	}
	defer into.Close()
	copied, err := a.copyMedia(ctx, from, into, live, sizesIn(ctx, into))
	if err != nil {
		return err
	}
	done.Media, done.MediaBytes, done.NewMedia, done.Missing = copied.there, copied.bytes, copied.written, copied.lost
	return nil
}

// verifyLog verifies a log, with a meter.
func verifyLog(ctx context.Context, a *app, log storage.Log) (storage.Head, error) {
	head, err := log.Head(ctx)
	if err != nil {
		return head, err
	}
	m := a.meter("log", int64(head.Seq), false)
	defer m.end()
	return storage.VerifyLog(ctx, log, func(seq uint64) { m.set(int64(seq)) })
}

// liveMedia are the rows of media that entries have.
func liveMedia(ctx context.Context, s snapshot) ([]sqlstore.MediaRow, error) {
	rows, err := s.Media(ctx)
	return slices.DeleteFunc(rows, func(m sqlstore.MediaRow) bool { return m.State != storage.MediaLive }), err
}

// copiedMedia is what copyMedia did.
type copiedMedia struct {
	there   int // in the other store by now
	bytes   int64
	written int      // of these, those that were not there
	lost    []string // that cannot be read, or are not what their name says: by SHA-256, sorted
}

// mediaCopiers is how many media are copied at a time: each lies in memory meanwhile, and waits for the disk.
const mediaCopiers = 4

// copyMedia copies those blobs that the other store lacks: has says the size that one has there, -1 if it is not there. What is
// copied is hashed; what is there already was, when it came.
func (a *app) copyMedia(ctx context.Context, from, to storage.Blobs, rows []sqlstore.MediaRow, has func(hashing.Value) int64) (done copiedMedia, err error) {
	m := a.meter("media", int64(len(rows)), false)
	defer m.end()
	done.there = len(rows)
	for _, row := range rows {
		done.bytes += row.Size
	}
	var mu sync.Mutex // guards done
	copiers, ctx := errgroup.WithContext(ctx)
	copiers.SetLimit(mediaCopiers)
	for _, row := range rows {
		copiers.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			defer m.add(1)
			if has(row.SHA256) == row.Size {
				return nil
			}
			data, err := readBlob(ctx, from, row)
			if err == nil {
				err = to.Put(ctx, row.SHA256, data)
				if err != nil && !errors.Is(err, storage.ErrCorrupt) {
					return err
				}
			}
			if errors.Is(err, storage.ErrUnavailable) {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				done.lost = append(done.lost, shaText(row.SHA256))
				done.there--
				done.bytes -= row.Size
			} else {
				done.written++
			}
			return nil
		})
	}
	err = copiers.Wait()
	slices.Sort(done.lost)
	return done, err
}

// sizesIn tells the sizes of blobs in a folder; -1 of those that are not there.
func sizesIn(ctx context.Context, f *media.Folder) func(hashing.Value) int64 {
	return func(sha hashing.Value) int64 {
		blob, err := f.Open(ctx, sha)
		if err != nil {
			return -1
		}
		defer blob.Close()
		if file, ok := blob.(*os.File); ok {
			if info, err := file.Stat(); err == nil {
				return info.Size()
			}
		}
		return -1
	}
}

func readBlob(ctx context.Context, from storage.Blobs, row sqlstore.MediaRow) ([]byte, error) {
	blob, err := from.Open(ctx, row.SHA256)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(blob, row.Size+1))
	return data, errors.Join(err, blob.Close())
}

// copyJournal copies the files of a journal, if there is one, and returns their names within the backup. The last one may grow
// meanwhile: a half record at its end is cut off when the journal is opened.
func copyJournal(ctx context.Context, from, draft string) (names []string, err error) {
	files, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	to := filepath.Join(draft, journalFolder)
	if err := os.Mkdir(to, 0o700); err != nil {
		return nil, err
	}
	for _, f := range files {
		if !f.Type().IsRegular() {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		err := copyFile(filepath.Join(from, f.Name()), filepath.Join(to, f.Name()))
		if errors.Is(err, fs.ErrNotExist) { // wholly delivered, and removed: the catalogue has it
			continue
		}
		if err != nil {
			return nil, err
		}
		names = append(names, filepath.Join(journalFolder, f.Name()))
	}
	return names, flushFolder(to)
}

func copyFile(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	return errors.Join(writeSynced(to, f), f.Close())
}

// writeSynced makes a file that is on the disk when it returns.
func writeSynced(path string, content io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Sync(), f.Close())
}

func flushFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// sumFile is the size and the SHA-256 of a file.
func sumFile(path string) (size int64, sum string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return size, hex.EncodeToString(h.Sum(nil)), err
}
