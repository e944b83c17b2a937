package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vigie/storage"
	"vigie/storage/media"
	"vigie/storage/sqlstore"
)

// A node keeps its catalogue and its media in its data folder, unless --database and --media say otherwise. Lock, socket,
// journal and the saved indexes are in the folder in any case: they are the node's own.

// Files of a data folder.
const (
	catalogueFile = "catalogue.db"
	mediaFolder   = "media"
	cacheFolder   = "media-cache" // of media that lie elsewhere; may be removed when no process owns the folder
	indexFolder   = "index"       // likewise: it is made of the catalogue again
	textFolder    = "text"        // likewise
	logFile       = "log-id"      // of the catalogue that the journal's records are for
	databaseFile  = "database"    // where the catalogue is of a node that serves, if it is elsewhere
	socketFile    = "vigie.sock"
)

// errNoFolder says that there is nothing to ask: a mistyped --data must not be answered with "none".
var errNoFolder = errors.New("there is no data folder")

// errElsewhere says that the node's catalogue is in a database, which the command was not told.
var errElsewhere = errors.New("name its database with --database or VIGIE_DATABASE, as for the node")

// needFolder is errNoFolder if the folder holds no catalogue, or errElsewhere if it is that of a node all the same.
func needFolder(data string) error {
	err := needOneOf(data, catalogueFile)
	if errors.Is(err, errNoFolder) && needOneOf(data, logFile, databaseFile) == nil {
		return fmt.Errorf("the catalogue of %s is not in it: %w", data, errElsewhere)
	}
	return err
}

// needOwn is needFolder, and errElsewhere if the catalogue that the folder holds is not the one that its node works on: vigie copy
// has left it there.
func needOwn(data string) error {
	if err := needFolder(data); err != nil {
		return err
	}
	place, err := os.ReadFile(filepath.Join(data, databaseFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("the node of %s works on %s, and not on the %s in it: %w; if it does not any more, remove %s",
		data, strings.TrimSpace(string(place)), catalogueFile, errElsewhere, filepath.Join(data, databaseFile))
}

// markDatabase leaves in the folder of a node that serves where its catalogue is, if that is elsewhere; once it has been reached, and the
// folder is found to be its. vigie copy to the folder removes the mark.
func (c *Config) markDatabase() error {
	if c.Database == "" {
		return nil
	}
	place, err := sqlstore.PlaceOf(string(c.Database))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.Data, databaseFile), []byte(place+"\n"), 0o600)
}

// needNode is errNoFolder if no node has been in the folder.
func needNode(data string) error { return needOneOf(data, catalogueFile, logFile, socketFile) }

func needOneOf(data string, names ...string) error {
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(data, name)); !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("%w at %s; vigie serve, vigie worker, vigie banks create, vigie parties create and vigie keys create make one", errNoFolder, data)
}

// Database is the URL of a catalogue in PostgreSQL; empty: it is in the data folder. Printed, it has no password.
type Database string

// Validate refuses what is no URL, without repeating it; and one of which programs differ in what is the password and what the host.
func (d Database) Validate() error {
	u, err := url.Parse(string(d))
	if d != "" && (err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || d.ambiguous()) {
		return errors.New("--database: accepted is a URL such as postgres://user@host:5432/vigie; what in it is no letter or digit, such as in a password, is written as %40 and the like")
	}
	return nil
}

// ambiguous reports whether a password may go on where the host, or what follows it, seems to be.
func (d Database) ambiguous() bool {
	_, rest, _ := strings.Cut(string(d), "://")
	before, behind, user := strings.Cut(rest, "@")
	return strings.Contains(rest, "#") || strings.Contains(behind, "@") || user && strings.ContainsAny(before, "/?")
}

// secretParameters are those of a database's URL that must not be shown.
var secretParameters = []string{"password", "sslpassword"}

func (d Database) String() string {
	if d == "" {
		return ""
	}
	u, err := url.Parse(string(d))
	if err != nil {
		return "****"
	}
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), "****")
	}
	query := u.Query()
	for _, name := range secretParameters {
		if query.Has(name) {
			query.Set(name, "****")
		}
	}
	u.RawQuery = query.Encode()
	return strings.ReplaceAll(u.String(), "%2A%2A%2A%2A", "****")
}

// openCatalogue opens the catalogue, makes it if there is none, and migrates an older one.
func (c *Config) openCatalogue(ctx context.Context) (storage.Catalogue, error) {
	var s *sqlstore.Store
	var err error
	if c.Database != "" {
		s, err = sqlstore.OpenPostgres(ctx, string(c.Database), storage.Options{})
	} else if err = needOwn(c.Data); !errors.Is(err, errElsewhere) {
		s, err = sqlstore.OpenSQLite(ctx, filepath.Join(c.Data, catalogueFile), storage.Options{})
	}
	if errors.Is(err, sqlstore.ErrPooler) {
		return nil, usageError{err}
	}
	if err != nil {
		return nil, err
	}
	if _, err := s.Head(ctx); errors.Is(err, sqlstore.ErrUnfinished) {
		return nil, errors.Join(errors.New("the catalogue is what a vigie copy has left that did not come to its end; run that copy again, to the same place"), s.Close())
	}
	return s, nil
}

// longestAway is how long a node that waits for its database waits between two looks.
const longestAway = 5 * time.Second

// awaitCatalogue is openCatalogue for a node that serves: it waits for a database that is away. meanwhile is called once, when
// it begins to wait.
func (c *Config) awaitCatalogue(ctx context.Context, log *slog.Logger, meanwhile func() error) (storage.Catalogue, error) {
	for wait := 250 * time.Millisecond; ; wait = min(2*wait, longestAway) {
		s, err := c.openCatalogue(ctx)
		if err == nil || c.Database == "" || ctx.Err() != nil || !sqlstore.Passing(err) {
			return s, err
		}
		log.Warn("the database is away, and the node waits for it", "error", oneLine(err), "again_in", wait.String())
		if meanwhile != nil {
			if err := meanwhile(); err != nil {
				return nil, err
			}
			meanwhile = nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// blobs is a media store that is to be closed.
type blobs interface {
	storage.Blobs
	io.Closer
}

// inS3 reports whether a place of media is a bucket.
func inS3(place string) bool { return strings.HasPrefix(place, "s3://") }

// openMedia opens the media store.
func (c *Config) openMedia(ctx context.Context, log *slog.Logger) (blobs, error) {
	if inS3(c.Media) {
		return c.openBucket(ctx, log)
	}
	if c.Database != "" {
		log.Warn("MEDIA ARE KEPT IN A FOLDER OF THIS NODE: other nodes on the same database cannot read them, nor this node theirs; with more than one node name a bucket by --media s3://...")
	}
	if err := c.removeCopies(); err != nil {
		return nil, err
	}
	folder, err := media.OpenFolder(c.mediaFolder())
	if err != nil {
		return nil, fmt.Errorf("open the media folder: %w", err)
	}
	return folder, nil
}

// removeCopies removes the cache of a former start, of which nobody else would drop what is erased.
func (c *Config) removeCopies() error { return os.RemoveAll(filepath.Join(c.Data, cacheFolder)) }

// mediaStore is a media store that can be looked through.
type mediaStore interface {
	blobs
	// List yields all blobs; an error stands for one of them, unless it is ctx's.
	List(ctx context.Context) iter.Seq2[media.Blob, error]
}

// mediaToRead opens the media store beside the node that it belongs to, to be read alone.
func (c *Config) mediaToRead(ctx context.Context) (mediaStore, error) {
	if inS3(c.Media) {
		return asStore(media.OpenS3(ctx, c.Media, media.S3Options{}))
	}
	return asStore(media.OpenToRead(c.mediaFolder()))
}

// mediaToWrite opens the media store to be filled, past the node.
func (c *Config) mediaToWrite(ctx context.Context) (mediaStore, error) {
	if inS3(c.Media) {
		return asStore(media.OpenS3(ctx, c.Media, media.S3Options{}))
	}
	return asStore(media.OpenFolder(c.mediaFolder()))
}

// asStore is s, or nil with an error.
func asStore[S mediaStore](s S, err error) (mediaStore, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// bucket is one with copies of what was read of it in a folder.
type bucket struct {
	*media.Cache
	behind *media.S3
}

// Close releases both.
func (b bucket) Close() error { return errors.Join(b.Cache.Close(), b.behind.Close()) }

// openBucket opens the bucket. A wrong key, name or right ends the start; a server that is away does not, as checks need no media.
func (c *Config) openBucket(ctx context.Context, log *slog.Logger) (blobs, error) {
	s, err := media.OpenS3(ctx, c.Media, media.S3Options{Away: func(err error) {
		log.Warn("S3 does not answer: until it does, media can be neither kept nor looked at; checks go on", "error", oneLine(err))
	}})
	if err != nil {
		return nil, usageError{err}
	}
	if c.MediaCache == 0 {
		return s, c.removeCopies()
	}
	cache, err := media.OpenCache(ctx, filepath.Join(c.Data, cacheFolder), int64(c.MediaCache), s)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return bucket{cache, s}, nil
}

// mediaFolder is where media are, unless they are in S3.
func (c *Config) mediaFolder() string {
	if c.Media != "" {
		return c.Media
	}
	return filepath.Join(c.Data, mediaFolder)
}

// belongs makes sure that the journal is of the catalogue whose log this is, and notes that: what one catalogue has not got yet
// must not be shipped to another. waiting are the journal's records that were not shipped.
func (c *Config) belongs(ctx context.Context, logID string, waiting uint64) error {
	was, err := c.formerLog(ctx)
	if err != nil {
		return fmt.Errorf("find out which catalogue the data folder is of: %w", err)
	}
	if was == logID {
		return nil
	}
	if was != "" && waiting > 0 {
		journal := filepath.Join(c.Data, journalFolder)
		return fmt.Errorf("the journal in %s has %d records for the catalogue with log %s, and this one has log %s: start the node once with that catalogue, which gets them then; or move %s away, and they are in no catalogue",
			journal, waiting, was, logID, journal)
	}
	path := filepath.Join(c.Data, logFile)
	draft := path + partialSuffix
	if err := os.Remove(draft); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	err = writeSynced(draft, strings.NewReader(logID+"\n"))
	if err == nil {
		err = os.Rename(draft, path)
	}
	return errors.Join(err, flushFolder(c.Data))
}

// formerLog is the log of the catalogue that the data folder was used with last; empty: with none. Folders of former versions
// do not say so, and have their catalogue with them.
func (c *Config) formerLog(ctx context.Context) (string, error) {
	text, err := os.ReadFile(filepath.Join(c.Data, logFile))
	if !errors.Is(err, os.ErrNotExist) {
		return strings.TrimSpace(string(text)), err
	}
	if needFolder(c.Data) != nil {
		return "", nil
	}
	own := *c
	own.Database = ""
	s, err := own.look(ctx)
	if err != nil {
		return "", err
	}
	head, err := s.Head(ctx)
	return head.LogID, errors.Join(err, s.Close())
}

// snapshot is a catalogue as it is at one moment, to be looked at beside the nodes that have it open.
type snapshot interface {
	storage.Catalogue
	Integrity(context.Context) ([]string, error)
	Rows(context.Context) (map[string]int64, error)
	SignalCounts(context.Context) (map[string]int64, error)
	Media(context.Context) ([]sqlstore.MediaRow, error)
	Unkept(context.Context) ([]storage.EntryID, error)
	Nodes(ctx context.Context, from int64, n int) ([]storage.Hash, error)
}

// look opens the catalogue as of now, to be read alone.
func (c *Config) look(ctx context.Context) (snapshot, error) {
	if c.Database != "" {
		s, err := sqlstore.SnapshotPostgres(ctx, string(c.Database))
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	s, err := sqlstore.OpenSnapshot(ctx, filepath.Join(c.Data, catalogueFile))
	if err != nil {
		return nil, err
	}
	return s, nil
}
