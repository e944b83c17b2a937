package matcher

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"vigie/index"
	"vigie/storage"
	"vigie/storage/bucket"
)

// Snapshots are saved indexes that nodes leave for nodes to come, which load the newest and read of the log what came since,
// instead of all entries of the catalogue. They lie in a place of a bucket:
//
//	LOG/SEQ-ROOT-RANDOM/     one of them: the log, as of which change, the log's root then
//	    00000001.seg ...     its segments
//	    MANIFEST             comes last: without it, it is none
//
// An index is a projection of the log, and a snapshot is held against the log before it is used, and verified as whatever was saved is: one
// that is damaged, or of another log, is passed over. Who may write to the bucket is trusted.
type Snapshots struct {
	at   *bucket.Bucket
	told func(error)

	enough, far uint64 // changes
	rest        time.Duration
	known       uint64 // the newest one in the bucket, when it was looked at last
}

const (
	// enoughChanges make a saved index worth to be left, or fetched where there is none. They are read in about a second.
	enoughChanges = 10_000
	// farChanges are how far a node's own saved index is behind when a snapshot is fetched in its place.
	farChanges = 100_000
	// snapshotRest is the least time between two snapshots, of all nodes.
	snapshotRest = 5 * time.Minute
	// snapshotsKept are the newest ones.
	snapshotsKept = 2
	// strayAge is how long what is no snapshot of the log is left alone: it may be on its way.
	strayAge = 24 * time.Hour
	// fetchTime is how long fetching is tried; the catalogue has all that a snapshot has.
	fetchTime = 10 * time.Minute
	// maxManifest bounds the memory for one, in bytes: that of a billion rows of which many are dead.
	maxManifest = 512 << 20
)

// NewSnapshots makes the snapshots of a place in a bucket that is for them alone. told hears of those that are passed over, and why.
func NewSnapshots(at *bucket.Bucket, told func(error)) *Snapshots {
	return &Snapshots{at: at, told: told, enough: enoughChanges, far: farChanges, rest: snapshotRest}
}

// Close ends connections that are idle.
func (s *Snapshots) Close() error { return s.at.Close() }

// Copied is what was copied from or to the bucket; zero: nothing.
type Copied struct {
	Seq   uint64
	Bytes int64
}

// snapshot is what lies under one name.
type snapshot struct {
	name     string
	seq      uint64
	root     string
	files    []bucket.Info
	modified time.Time
	whole    bool
}

// Open is [OpenIndex], but first puts a snapshot into the folder if it has nothing of this log, or something far older. A bucket that is
// away is told and does without. What is fetched lies beside the folder until it is whole and verified.
func (s *Snapshots) Open(ctx context.Context, c storage.Catalogue, dir string, o index.Options) (*index.Index, Copied, error) {
	x, err := OpenIndex(ctx, c, dir, o)
	if errors.Is(err, storage.ErrUnavailable) || ctx.Err() != nil {
		return x, Copied{}, err
	}
	least := s.enough
	if seq := x.Snapshot().Seq(); seq > 0 {
		least = seq + s.far
	}
	soon, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	got, fetchErr := s.fetch(soon, c, dir, least)
	if fetchErr != nil {
		s.told(fmt.Errorf("fetch a snapshot of the index: %w", fetchErr))
	}
	if got.Seq == 0 {
		return x, Copied{}, err
	}
	x, err = OpenIndex(ctx, c, dir, o)
	return x, got, err
}

// fetch puts the newest snapshot into the folder that is of this log, as of change least or later.
func (s *Snapshots) fetch(ctx context.Context, c storage.Catalogue, dir string, least uint64) (Copied, error) {
	head, err := c.Head(ctx)
	if err != nil || head.Seq < least {
		return Copied{}, err
	}
	all, err := s.list(ctx, head.LogID)
	if err != nil {
		return Copied{}, err
	}
	partial := dir + ".partial"
	defer os.RemoveAll(partial)
	for _, one := range all {
		if !one.whole || one.seq < least {
			continue
		}
		if err := os.RemoveAll(partial); err != nil {
			return Copied{}, err
		}
		bytes, err := s.download(ctx, c, one, partial)
		if err == nil {
			_, err = OpenIndex(ctx, c, partial, index.Options{}) // which is only to verify it
		}
		if err == nil {
			if err = errors.Join(os.RemoveAll(dir), os.Rename(partial, dir)); err != nil {
				return Copied{}, err
			}
			return Copied{one.seq, bytes}, nil
		}
		if ctx.Err() != nil || errors.Is(err, storage.ErrUnavailable) {
			return Copied{}, err
		}
		s.told(fmt.Errorf("the snapshot of the index as of change %d is passed over: %w", one.seq, err))
	}
	return Copied{}, nil
}

// list lists what is there for a log, the newest first.
func (s *Snapshots) list(ctx context.Context, logID string) (all []snapshot, err error) {
	for o, err := range s.at.List(ctx, logID+"/") {
		if err != nil {
			return nil, err
		}
		name, file := path.Split(o.Name)
		words := strings.Split(path.Base(name), "-")
		seq, err := strconv.ParseUint(words[0], 10, 64)
		if err != nil || len(words) != 3 || strings.Count(name, "/") != 2 {
			continue // somebody else's
		}
		if len(all) == 0 || all[len(all)-1].name != name {
			all = append(all, snapshot{name: name, seq: seq, root: words[1]})
		}
		one := &all[len(all)-1]
		one.files = append(one.files, o)
		one.whole = one.whole || file == index.ManifestName
		if o.Modified.After(one.modified) {
			one.modified = o.Modified
		}
	}
	slices.SortStableFunc(all, func(a, b snapshot) int { return cmp.Compare(b.seq, a.seq) })
	return all, nil
}

// download copies a snapshot of the catalogue's log into a new folder.
func (s *Snapshots) download(ctx context.Context, c storage.Catalogue, one snapshot, dir string) (bytes int64, err error) {
	want, err := markOf(ctx, c, one.seq)
	if err != nil {
		return 0, err
	}
	if one.root != want.Root {
		return 0, errOtherLog
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return 0, err
	}
	if bytes, err = s.copy(ctx, one.name+index.ManifestName, filepath.Join(dir, index.ManifestName), maxManifest); err != nil {
		return 0, err
	}
	saved, err := index.ReadSaved(dir)
	if err != nil {
		return 0, err
	}
	if saved.Seq != one.seq || saved.Mark != want {
		return 0, fmt.Errorf("%w, or rows made by another rule: %s as of change %d", errOtherLog, saved.Mark.Log, saved.Seq)
	}
	for _, file := range saved.Files {
		if file == index.ManifestName {
			continue
		}
		n, err := s.copy(ctx, one.name+file, filepath.Join(dir, file), 1<<40)
		if err != nil {
			return 0, err
		}
		bytes += n
	}
	return bytes, nil
}

// copy copies an object to a new file, by several requests at a time. It is not synced: whatever a crash leaves is verified when
// it is opened.
func (s *Snapshots) copy(ctx context.Context, name, to string, most int64) (int64, error) {
	const piece, atATime = 16 << 20, 4
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atATime)
	from, err := s.at.Open(ctx, name)
	if err != nil {
		return 0, err
	}
	if from.Size() > most {
		return 0, fmt.Errorf("a file of %d bytes; at most %d are accepted", from.Size(), most)
	}
	file, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	for at := int64(0); at < from.Size(); at += piece {
		g.Go(func() error {
			buf := make([]byte, min(piece, from.Size()-at))
			_, err := from.ReadAt(buf, at)
			if err == nil {
				_, err = file.WriteAt(buf, at)
			}
			return err
		})
	}
	return from.Size(), errors.Join(g.Wait(), file.Close())
}

// Leave copies the index that was saved in a folder to the bucket, if the newest snapshot there is older by enough, and then removes those
// that are too many. One that is saved anew meanwhile does no harm. It is for one goroutine, which calls it now and then; any number of nodes may.
func (s *Snapshots) Leave(ctx context.Context, c storage.Catalogue, dir string) (Copied, error) {
	saved, err := index.ReadSaved(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && saved.Seq < s.known+s.enough { // and nobody need be asked
		return Copied{}, nil
	}
	if err != nil {
		return Copied{}, err
	}
	saved, files, err := index.OpenSaved(dir)
	if err != nil {
		return Copied{}, err
	}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	want, err := markOf(ctx, c, saved.Seq)
	if err != nil || saved.Mark != want {
		return Copied{}, err // what was saved is of a log that is gone, and soon is saved anew
	}
	logID, _, _ := strings.Cut(saved.Mark.Log, " ")
	all, strays, err := s.sift(ctx, c, logID)
	if err != nil {
		return Copied{}, err
	}
	if s.known = 0; len(all) > 0 {
		s.known = all[0].seq
		if saved.Seq < s.known+s.enough || time.Since(all[0].modified) < s.rest {
			return Copied{}, nil
		}
	}
	name := fmt.Sprintf("%s/%020d-%s-%s/", logID, saved.Seq, saved.Mark.Root, rand.Text())
	bytes, err := s.upload(ctx, name, saved.Files, files)
	if err != nil {
		return Copied{}, err
	}
	s.known = saved.Seq
	if len(all) >= snapshotsKept {
		strays = append(strays, all[snapshotsKept-1:]...)
	}
	for _, one := range strays {
		if err := s.remove(ctx, one); err != nil {
			return Copied{}, fmt.Errorf("remove an old snapshot: %w", err)
		}
	}
	return Copied{saved.Seq, bytes}, nil
}

// sift lists the whole snapshots of the catalogue's log, the newest first, and apart what else there is that is old enough to be removed:
// uploads that were broken off, and snapshots of how the log went on before an older backup took its place.
func (s *Snapshots) sift(ctx context.Context, c storage.Catalogue, logID string) (all, strays []snapshot, err error) {
	head, err := c.Head(ctx)
	if err != nil {
		return nil, nil, err
	}
	listed, err := s.list(ctx, logID)
	if err != nil {
		return nil, nil, err
	}
	for _, one := range listed {
		ours := one.whole && one.seq <= head.Seq
		if ours {
			want, err := markOf(ctx, c, one.seq)
			if err != nil {
				return nil, nil, err
			}
			ours = one.root == want.Root
		}
		if ours {
			all = append(all, one)
		} else if time.Since(one.modified) > strayAge {
			strays = append(strays, one)
		}
	}
	return all, strays, nil
}

// upload copies files to the bucket, the manifest last. What is there of them if it fails is no snapshot.
func (s *Snapshots) upload(ctx context.Context, name string, names []string, files []*os.File) (bytes int64, err error) {
	for i, f := range files {
		info, err := f.Stat()
		if err == nil {
			err = s.at.PutFrom(ctx, name+names[i], f, info.Size())
		}
		if err != nil {
			return 0, err
		}
		bytes += info.Size()
	}
	return bytes, nil
}

// remove removes a snapshot, its manifest first, which is the last one in the order of names.
func (s *Snapshots) remove(ctx context.Context, one snapshot) error {
	for _, o := range slices.Backward(one.files) {
		if err := s.at.Delete(ctx, o.Name); err != nil {
			return err
		}
	}
	return nil
}
