package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/jobs"
	"vigie/storage/journal"
	"vigie/storage/media"
	"vigie/storage/sqlstore"
)

type restoreCmd struct {
	From string `arg:"" help:"A backup, or a folder of backups, of which the newest is taken." placeholder:"BACKUP"`
}

// Run makes a new data folder (--data) of a backup. Every byte is verified on its way, the log's root is recomputed from its
// records; the folder gets its name when all is right and on the disk, so that there is a whole one or none.
func (c *restoreCmd) Run(ctx context.Context, a *app) error {
	if a.Server != "" {
		return usagef("restore makes a data folder on this machine (--data); --server names a node elsewhere")
	}
	if a.Database != "" || a.Media != "" {
		return usagef("restore makes a data folder with its catalogue and its media in it, without --database and --media; vigie copy brings them to PostgreSQL and S3 from there")
	}
	if err := needEmpty(a.Data); err != nil {
		return err
	}
	from, m, err := readManifest(c.From)
	if err != nil {
		return err
	}
	parent, name := filepath.Split(filepath.Clean(a.Data))
	if err := os.MkdirAll(filepath.Join(parent, "."), 0o755); err != nil {
		return err
	}
	draft, err := os.MkdirTemp(filepath.Join(parent, "."), name+".restore-*")
	if err != nil {
		return err
	}
	err = a.restore(ctx, from, m, draft)
	if err == nil {
		err = takePlace(draft, a.Data)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("nothing was restored: %w", err), os.RemoveAll(draft))
	}
	if a.json {
		err = a.object(restored{Backup: from, Data: a.Data, manifest: *m})
	}
	a.say("%s is restored from %s: log %s up to change %d, root %s; %d entries; %d media (%s). The log verifies.",
		a.Data, from, m.LogID, m.Seq, m.Root, m.Rows["entries"], m.Media, humanBytes(m.MediaBytes))
	a.say("What came after change %d is not in it. Whoever has read further in this log (a reader of the feed, a copy, another backup) holds changes that it does not have.", m.Seq)
	if !m.has(jobsFile) {
		a.warn("the backup has no jobs, as those of former versions: what was on its way to webhooks when it was taken is not told any more")
	}
	if len(m.Missing) > 0 {
		a.warn("%d media were missing when the backup was made: its manifest lists them", len(m.Missing))
	}
	return err
}

// restored is what vigie restore --json prints.
type restored struct {
	Backup string `json:"backup"`
	Data   string `json:"data"`
	manifest
}

// needEmpty refuses a place where there is something.
func needEmpty(data string) error {
	files, err := os.ReadDir(data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(files) > 0:
		return usagef("--data: %s is not empty; a backup is restored to a folder that is new or empty", data)
	}
	return nil
}

// maxManifest bounds what is read of a manifest: it grows by the files of the journal and by what was missing.
const maxManifest = 64 << 20

// readManifest finds a backup and reads its manifest.
func readManifest(place string) (dir string, m *manifest, err error) {
	if _, err := os.Stat(filepath.Join(place, manifestFile)); errors.Is(err, fs.ErrNotExist) {
		all, err := filepath.Glob(filepath.Join(escapeGlob(place), "*Z", manifestFile)) // in the order of time
		if _, err := os.Stat(place); errors.Is(err, fs.ErrNotExist) {
			return "", nil, usagef("there is no folder %s", place)
		}
		if err != nil || len(all) == 0 {
			return "", nil, usagef("%s is no backup and has none in it: there is no %s", place, manifestFile)
		}
		place = filepath.Dir(all[len(all)-1])
	}
	f, err := os.Open(filepath.Join(place, manifestFile))
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxManifest))
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err == nil {
		err = m.check()
	}
	if err != nil {
		return "", nil, fmt.Errorf("the backup is damaged: %s: %w", f.Name(), err)
	}
	return place, m, nil
}

// has reports whether the backup has a file.
func (m *manifest) has(name string) bool {
	return slices.ContainsFunc(m.Files, func(f manifestFileEntry) bool { return f.Name == name })
}

// check refuses a manifest that this program does not understand, or that names files where none of a backup are.
func (m *manifest) check() error {
	if m == nil || m.Version != 1 {
		return errors.New("it is not of version 1, the one that this program reads")
	}
	if !m.has(catalogueFile) {
		return fmt.Errorf("it does not name %s", catalogueFile)
	}
	for _, f := range m.Files {
		if f.Name != catalogueFile && f.Name != jobsFile && (path.Dir(f.Name) != journalFolder || !filepath.IsLocal(f.Name) || strings.Contains(f.Name, `\`)) {
			return fmt.Errorf("it names the file %q", f.Name)
		}
	}
	return nil
}

// restore fills the folder draft, and verifies what it fills in.
func (a *app) restore(ctx context.Context, from string, m *manifest, draft string) error {
	for _, f := range m.Files {
		if err := restoreFile(ctx, from, draft, f); err != nil {
			return err
		}
	}
	catalogue := filepath.Join(draft, catalogueFile)
	// As a node opens it: an older catalogue is migrated, a newer one refused.
	store, err := sqlstore.OpenSQLite(ctx, catalogue, storage.Options{})
	if err == nil {
		err = restoreJobs(ctx, m, draft, store)
		if err == nil {
			err = deliverJournal(ctx, filepath.Join(draft, journalFolder), store, func(err error) { a.warn("%v", err) })
		}
		err = errors.Join(err, store.Close())
	}
	if err != nil {
		return err
	}
	s, err := sqlstore.OpenSnapshot(ctx, catalogue)
	if err != nil {
		return err
	}
	err = a.restoreRest(ctx, s, from, m, draft)
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	return flushFolder(draft)
}

// restoreJobs makes the jobs of a backup, and the catalogue's note of what was handed on to jobs, fit each other: events may be told again,
// by the same ids, and none is lost. Backups of former versions have no jobs.
func restoreJobs(ctx context.Context, m *manifest, draft string, store storage.Catalogue) error {
	if !m.has(jobsFile) {
		return nil
	}
	if err := jobs.RenewLocal(ctx, filepath.Join(draft, jobsFile)); err != nil || m.Handed == nil {
		return err
	}
	return store.Update(ctx, func(w storage.Writer) error {
		if err := w.RewindDispatch(storage.Position{Log: m.Handed.Log, Match: m.Handed.Match}); err != nil || m.Handed.Looked == nil {
			return err
		}
		return w.RewindLooked(*m.Handed.Looked)
	})
}

// deliverJournal takes what the journal had not handed on into the catalogue, and removes it: the restored node is to have a new
// journal, with a new identity, since the node of the backup may have given the next numbers to other records.
func deliverJournal(ctx context.Context, dir string, store storage.Catalogue, warn func(error)) error {
	_, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	j, err := journal.Open(dir, journal.Options{Fault: warn})
	if err != nil {
		return fmt.Errorf("open the journal of the backup: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := matcher.New(store, nil, nil, nil, matcher.Options{Events: matcher.Events{Fault: warn}})
	shipped := make(chan error, 1)
	go func() { shipped <- j.Ship(ctx, m.Deliver) }()
	err = j.Flush(ctx)
	cancel()
	<-shipped
	if err = errors.Join(err, j.Close()); err != nil {
		return fmt.Errorf("bring the journal of the backup into the catalogue: %w", err)
	}
	return os.RemoveAll(dir)
}

// restoreRest verifies the log, and copies the media that the catalogue names.
func (a *app) restoreRest(ctx context.Context, s *sqlstore.Snapshot, from string, m *manifest, draft string) error {
	head, err := verifyLog(ctx, a, s)
	if err != nil {
		return fmt.Errorf("%s: its log does not verify: %w", filepath.Join(from, catalogueFile), err)
	}
	if root := hex.EncodeToString(head.Root[:]); head.LogID != m.LogID || head.Seq != m.Seq || root != m.Root {
		return fmt.Errorf("%s says log %s, change %d, root %s; the catalogue has log %s, change %d, root %s: %w",
			manifestFile, m.LogID, m.Seq, m.Root, head.LogID, head.Seq, root, storage.ErrCorrupt)
	}
	live, err := liveMedia(ctx, s)
	if err != nil {
		return err
	}
	into, err := media.OpenFolder(filepath.Join(draft, mediaFolder))
	if err != nil {
		return err
	}
	defer into.Close()
	missing := map[string]bool{}
	for _, sha := range m.Missing {
		missing[sha] = true
	}
	live = slices.DeleteFunc(live, func(row sqlstore.MediaRow) bool { return missing[shaText(row.SHA256)] })
	if len(live) == 0 {
		return nil
	}
	shared := filepath.Join(filepath.Dir(filepath.Clean(from)), mediaFolder)
	stored, err := media.OpenToRead(shared)
	if err != nil {
		return err
	}
	defer stored.Close()
	copied, err := a.copyMedia(ctx, stored, into, live, sizesIn(ctx, into))
	if err == nil && len(copied.lost) > 0 {
		sha := copied.lost[0]
		err = fmt.Errorf("the backup is damaged: %d media, the first of which is %s, are missing or not what their name says",
			len(copied.lost), filepath.Join(shared, sha[:2], sha[2:4], sha))
	}
	return err
}

func shaText(sha hashing.Value) string { return hex.EncodeToString(sha.Bytes(32)) }

// restoreFile copies a file of the backup and verifies what was copied.
func restoreFile(ctx context.Context, from, draft string, f manifestFileEntry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	source, to := filepath.Join(from, filepath.FromSlash(f.Name)), filepath.Join(draft, filepath.FromSlash(f.Name))
	err := os.MkdirAll(filepath.Dir(to), 0o700)
	if err == nil {
		err = copyFile(source, to)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the backup is damaged: %s is not there", source)
	}
	if err != nil {
		return err
	}
	if err := flushFolder(filepath.Dir(to)); err != nil {
		return err
	}
	size, sum, err := sumFile(to)
	if err != nil {
		return err
	}
	if size != f.Size || sum != f.SHA256 {
		return fmt.Errorf("the backup is damaged: %s has %d bytes with SHA-256 %s; %s says %d bytes with %s", source, size, sum, manifestFile, f.Size, f.SHA256)
	}
	return nil
}

// takePlace gives a whole folder its name.
func takePlace(draft, name string) error {
	err := os.Remove(name) // an empty folder: else this fails
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("take the place of the empty folder %s (restore to a new folder in it, if it is where a disk is mounted): %w", name, err)
	}
	if err := os.Rename(draft, name); err != nil {
		return err
	}
	return flushFolder(filepath.Dir(filepath.Clean(name)))
}
