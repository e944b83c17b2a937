package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"vigie/hashing"
	"vigie/matcher"
	"vigie/rescan"
	"vigie/storage"
	"vigie/storage/datadir"
	"vigie/storage/jobs"
	"vigie/storage/media"
	"vigie/storage/sqlstore"
	"vigie/webhook"
)

type copyCmd struct {
	From      string `arg:"" help:"A data folder, the file of its catalogue, or the URL of a database in PostgreSQL." placeholder:"FROM"`
	To        string `arg:"" help:"The same; with no catalogue there yet, or what a copy left that did not come to its end." placeholder:"TO"`
	MediaTo   string `help:"Copy the media, too: to this folder, or bucket (s3://...)." placeholder:"DIR|URL"`
	MediaFrom string `help:"Where the media are; by default in the data folder FROM." placeholder:"DIR|URL"`
}

// copied is what vigie copy --json prints.
type copied struct {
	From       string           `json:"from"`
	To         string           `json:"to"`
	LogID      string           `json:"log_id"`
	Seq        uint64           `json:"seq"`
	Root       string           `json:"root"` // of the log at Seq, hexadecimal
	Rows       map[string]int64 `json:"rows"` // of each table
	Jobs       int              `json:"jobs"` // that are to be done, such as webhooks
	DeadJobs   int              `json:"dead_jobs"`
	Media      int              `json:"media,omitempty"`
	NewMedia   int              `json:"new_media,omitempty"` // of these, those that were not there
	MediaBytes int64            `json:"media_bytes,omitempty"`
	Missing    []string         `json:"missing,omitempty"` // media that cannot be read whole, by SHA-256
}

// Run copies a whole catalogue from one kind of database to another, with its jobs, and verifies the copy: the rows of each table, and the
// log's root, recomputed of its records. It is the same log there. Nothing may run on a data folder meanwhile.
func (c *copyCmd) Run(ctx context.Context, a *app) (err error) {
	if a.Server != "" {
		return usagef("copy works on catalogues themselves; --server names a node elsewhere")
	}
	if c.MediaTo == "" && c.MediaFrom != "" {
		return usagef("--media-from says where media are; --media-to where to copy them is missing")
	}
	from, err := endOf("FROM", c.From, true)
	if err != nil {
		return err
	}
	to, err := endOf("TO", c.To, false)
	if err != nil {
		return err
	}
	if c.MediaTo != "" && c.MediaFrom == "" {
		if from.folder == "" || from.database != "" {
			return usagef("--media-to: say by --media-from where the media are: FROM is no data folder")
		}
		c.MediaFrom = filepath.Join(from.folder, mediaFolder)
	}
	if from.database == "" && to.database == "" && sameFolder(from.folder, to.folder) {
		return usagef("FROM and TO are the same folder: %s", to.folder)
	}
	defer func() { err = errors.Join(err, from.close(), to.close()) }()
	if err := from.open(ctx); err != nil {
		return err
	}
	if err := to.open(ctx); err != nil {
		return err
	}
	done := copied{From: from.name, To: to.name}
	if err := c.copyCatalogue(ctx, a, from, to, &done); err != nil {
		return fmt.Errorf("copy %s to %s: %w", from.name, to.name, err)
	}
	if to.database == "" && filepath.Base(to.file) == catalogueFile { // a node of this folder need not look elsewhere any more
		if err := os.Remove(filepath.Join(to.folder, databaseFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	s, err := to.look(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	head, err := s.Head(ctx)
	if err == nil {
		done.LogID, done.Seq, done.Root = head.LogID, head.Seq, hex.EncodeToString(head.Root[:])
		done.Rows, err = s.Rows(ctx)
	}
	if err == nil && c.MediaTo != "" {
		err = c.copyMedia(ctx, a, s, &done)
	}
	if err != nil {
		return err
	}
	if a.json {
		err = a.object(done)
	}
	a.say("%s is copied to %s: log %s up to change %d, root %s; %d entries, %d banks, %d keys. The log verifies.",
		done.From, done.To, done.LogID, done.Seq, done.Root, done.Rows["entries"], done.Rows["banks"], done.Rows["keys"])
	a.say("%d jobs that are to be done (webhooks, re-scans, look-backs) and %d that were given up are copied, too.", done.Jobs, done.DeadJobs)
	if c.MediaTo != "" {
		a.say("%d media (%s) are there, %d of them new.", done.Media, humanBytes(done.MediaBytes), done.NewMedia)
	}
	if len(done.Missing) > 0 {
		a.warn("%d media that the catalogue names are missing or damaged in %s, and not copied; the first is %s", len(done.Missing), c.MediaFrom, done.Missing[0])
		err = errors.Join(err, errSomeFailed)
	}
	return err
}

func (c *copyCmd) copyCatalogue(ctx context.Context, a *app, from, to *end, done *copied) error {
	m, stage := &meter{}, ""
	defer func() { m.end() }()
	return sqlstore.Copy(ctx, from.store, to.store, sqlstore.CopyOptions{
		Progress: func(table string, rows, of int64) {
			if table != stage {
				m.end()
				m, stage = a.meter(table, of, false), table
			}
			m.set(rows)
		},
		// The jobs after the moment that is copied: what is handed on from then on is handed on again by whoever goes on with the copy.
		Begun: func(ctx context.Context) error { return copyJobs(ctx, a, from, to, done) },
	})
}

// copyJobs copies what is still to be done, and what was given up.
func copyJobs(ctx context.Context, a *app, from, to *end, done *copied) (err error) {
	source, err := from.jobs(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := to.jobs(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	n, err := jobs.Copy(ctx, source, target)
	done.Jobs, done.DeadJobs = n.Waiting, n.Dead
	if n.Unknown > 0 {
		a.warn("%d jobs are of kinds that this version does not know, and not copied", n.Unknown)
	}
	return err
}

// copyMedia copies the media that a catalogue names, those that are there already apart.
func (c *copyCmd) copyMedia(ctx context.Context, a *app, s snapshot, done *copied) (err error) {
	live, err := liveMedia(ctx, s)
	if err != nil {
		return err
	}
	there, here := a.Config, a.Config
	there.Media, here.Media = c.MediaTo, c.MediaFrom
	source, err := here.mediaToRead(ctx)
	if errors.Is(err, fs.ErrNotExist) && len(live) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := there.mediaToWrite(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	had := map[hashing.Value]int64{}
	for blob, err := range target.List(ctx) {
		switch {
		case err == nil:
			had[blob.SHA256] = blob.Size
		case !errors.Is(err, media.ErrStray):
			return err
		}
	}
	sent, err := a.copyMedia(ctx, source, target, live, func(sha hashing.Value) int64 {
		if size, ok := had[sha]; ok {
			return size
		}
		return -1
	})
	done.Media, done.MediaBytes, done.NewMedia, done.Missing = sent.there, sent.bytes, sent.written, sent.lost
	return err
}

// end is one of the two of a copy.
type end struct {
	name     string // for people; it has no password
	database Database
	folder   string // of the file; it is locked
	file     string
	lock     *datadir.Lock
	store    *sqlstore.Store
}

// endOf says what an argument names. A source must be there.
func endOf(argument, text string, source bool) (*end, error) {
	if strings.Contains(text, "://") {
		e := &end{database: Database(text)}
		if err := e.database.Validate(); err != nil {
			return nil, usagef("%s: accepted are a data folder, the file of its catalogue, or a URL such as postgres://user@host:5432/vigie", argument)
		}
		var err error
		e.name, err = sqlstore.PlaceOf(text)
		return e, err
	}
	e := &end{name: text, folder: text, file: filepath.Join(text, catalogueFile)}
	info, err := os.Stat(text)
	if err == nil && !info.IsDir() {
		e.folder, e.file = filepath.Dir(text), text
	}
	if source && err == nil && info.IsDir() {
		if err = needOwn(text); errors.Is(err, errElsewhere) {
			err = usagef("%s: the catalogue of %s is not in it: name it by the URL of its database", argument, text)
		}
	}
	if !source && errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return e, err
}

// sameFolder reports whether both are there, and one.
func sameFolder(one, other string) bool {
	a, err := os.Stat(one)
	b, err2 := os.Stat(other)
	return err == nil && err2 == nil && os.SameFile(a, b)
}

func (e *end) open(ctx context.Context) (err error) {
	if e.database != "" {
		e.store, err = sqlstore.OpenPostgres(ctx, string(e.database), storage.Options{})
		return err
	}
	if e.lock, err = lockFor(e.folder, "a node or a command is at work there: end it first"); err != nil {
		return err
	}
	e.store, err = sqlstore.OpenSQLite(ctx, e.file, storage.Options{})
	return err
}

// jobs opens the jobs beside the catalogue.
func (e *end) jobs(ctx context.Context) (jobs.Engine, error) {
	of := jobHandlers(new(webhook.Sender), new(matcher.Matcher), rescan.New(rescan.Options{})) // which say how often one is attempted
	if e.database != "" {
		return jobs.OpenRiver(ctx, string(e.database), of, jobs.Options{})
	}
	return jobs.OpenLocal(ctx, filepath.Join(e.folder, jobsFile), of, jobs.Options{})
}

func (e *end) look(ctx context.Context) (snapshot, error) {
	if e.database != "" {
		return sqlstore.SnapshotPostgres(ctx, string(e.database))
	}
	return sqlstore.OpenSnapshot(ctx, e.file)
}

func (e *end) close() error {
	var faults []error
	if e.store != nil {
		faults = append(faults, e.store.Close())
	}
	if e.lock != nil {
		faults = append(faults, e.lock.Close())
	}
	return errors.Join(faults...)
}
