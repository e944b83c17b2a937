package rescan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"vigie/storage"
)

// Sources are what may be re-scanned, by name: a caller names one, and only the operator says what is behind the name.
type Sources map[string]SourceConfig

// SourceConfig says what is behind a name.
type SourceConfig struct {
	// Kind is folder, bucket, urls (a file with a URL in each line) or hashes (a file of hashes: CSV, NDJSON or Parquet).
	Kind SourceKind `json:"kind"`
	// Location is a path on this machine, or s3://bucket/prefix?endpoint=https://host: a prefix of a bucket, or the key of a file.
	Location string `json:"location"`
	// AccessKeyEnv and SecretKeyEnv name the variables of the environment that hold the keys for an s3 location; default
	// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
	AccessKeyEnv string `json:"access_key_env,omitempty"`
	SecretKeyEnv string `json:"secret_key_env,omitempty"`
	// Party names who may re-scan it, and whose subscriptions count; empty: the operator.
	Party string `json:"party,omitempty"`
	// PerSecond bounds the items taken from it, for each process that works on it; 0: no bound, else at least 0.1.
	PerSecond float64 `json:"per_second,omitempty"`
	// Format of hashes: csv, ndjson or parquet; empty: by the end of the location's name.
	Format  ListFormat `json:"format,omitempty"`
	Columns Columns    `json:"columns,omitzero"`
}

// SourceKind is what a source is made of.
type SourceKind string

// The kinds of sources.
const (
	FolderSource SourceKind = "folder"
	BucketSource SourceKind = "bucket"
	URLSource    SourceKind = "urls"
	HashSource   SourceKind = "hashes"
)

// Ordered is a source whose names are not in the order of their bytes.
type Ordered interface{ Before(a, b string) bool }

// extended is a list: a source whose places are numbers up to an end.
type extended interface {
	// extent is the last place, and the version of the list.
	extent(ctx context.Context) (end int64, version string, err error)
}

// opened is a source to work on: of items, or of hashes.
type opened struct {
	items  Source
	hashes hashList
	list   extended // nil: the source is listed to be planned
	step   int64    // places of a list in one shard
}

// Check tells what is wrong with a configuration.
func (s Sources) Check() error {
	var faults []error
	for name, c := range s {
		if err := c.check(); err != nil || name == "" || len(name) > 100 {
			faults = append(faults, fmt.Errorf("source %q: %w", name, errors.Join(err, nameFault(name))))
		}
	}
	return errors.Join(faults...)
}

// Unreadable yields the sources that are to be on this machine, and are not, or are not to be read: another machine may have them. It
// does not look into buckets.
func (s Sources) Unreadable() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, name := range slices.Sorted(maps.Keys(s)) {
			c := s[name]
			if _, bucket := c.bucket(); bucket {
				continue
			}
			info, err := os.Stat(c.Location)
			switch {
			case err != nil:
			case info.IsDir() && c.Kind != FolderSource:
				err = fmt.Errorf("%s is a folder, and a source of kind %s is a file", c.Location, c.Kind)
			case !info.IsDir() && c.Kind == FolderSource:
				err = fmt.Errorf("%s is not a folder", c.Location)
			case info.IsDir() || info.Mode().IsRegular(): // another kind of file might not open before somebody writes to it
				var f *os.File
				if f, err = os.Open(c.Location); err == nil {
					_ = f.Close()
				}
			}
			if err != nil && !yield(name, err) {
				return
			}
		}
	}
}

func nameFault(name string) error {
	if name == "" || len(name) > 100 {
		return errors.New("a name has 1 to 100 bytes")
	}
	return nil
}

func (c SourceConfig) check() error {
	_, bucket := c.bucket()
	kinds := []SourceKind{FolderSource, BucketSource, URLSource, HashSource}
	switch {
	case !slices.Contains(kinds, c.Kind):
		return fmt.Errorf("kind %q is not known; accepted are folder, bucket, urls, hashes", c.Kind)
	case c.Location == "":
		return errors.New("it has no location")
	case c.Kind == FolderSource && bucket:
		return errors.New("its location is a bucket, and its kind folder: say kind bucket")
	case c.Kind == BucketSource && !bucket:
		return errors.New("its location is no s3:// URL")
	case c.PerSecond != 0 && !(c.PerSecond >= 0.1):
		return fmt.Errorf("per_second is %v; accepted are 0 for no bound, or 0.1 and more", c.PerSecond)
	case c.Kind != HashSource && (c.Format != "" || c.Columns != Columns{}):
		return errors.New("format and columns belong to kind hashes")
	}
	if c.Kind == HashSource {
		if _, err := c.format(); err != nil {
			return err
		}
	}
	if bucket {
		_, _, err := splitLocation(c.Location)
		return err
	}
	return nil
}

func (c SourceConfig) bucket() (string, bool) { return strings.CutPrefix(c.Location, "s3://") }

// Sizes of the shards of lists.
const (
	urlBytes    = 64 << 10  // some thousand URLs
	textBytes   = 256 << 20 // of a list of hashes
	parquetRows = 4 << 20
)

// open makes a source of its configuration, of whose items each may take so long. URLs are fetched by client.
func (c SourceConfig) open(ctx context.Context, client *http.Client, patience time.Duration) (o opened, err error) {
	switch c.Kind {
	case FolderSource:
		return opened{items: Dir(c.Location)}, nil
	case BucketSource:
		b, prefix, err := c.connect(ctx, patience)
		return opened{items: Objects{b, prefix}}, err
	}
	read, err := c.reader(ctx)
	if err != nil {
		return o, err
	}
	if c.Kind == URLSource {
		list := urls{text: text{open: read, most: storage.MaxRescanItem}, client: client}
		return opened{items: list, list: list, step: urlBytes}, nil
	}
	format, err := c.format()
	if err != nil {
		return o, err
	}
	if format == Parquet {
		list := parquetList{open: read, columns: c.Columns}
		return opened{hashes: list, list: list, step: parquetRows}, nil
	}
	list := textHashes{text: text{open: read, most: maxHashLine}, format: format, columns: c.Columns}
	return opened{hashes: list, list: list, step: textBytes}, nil
}

// file is a list's file, read in parts. Each version of it stays as it is while it is read, or reading it fails.
type file interface {
	io.ReaderAt
	io.Closer
	size() int64
	version() string
}

type opener func(ctx context.Context) (file, error)

// reader is how the file of a list is opened.
func (c SourceConfig) reader(ctx context.Context) (opener, error) {
	if _, bucket := c.bucket(); bucket {
		b, key, err := c.connect(ctx, 0)
		if err == nil && key == "" {
			err = errors.New("the location names a bucket, and no file in it")
		}
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) (file, error) { return b.File(ctx, key) }, nil
	}
	return func(context.Context) (file, error) { return openLocal(c.Location) }, nil
}

// localFile is one on this machine.
type localFile struct {
	*os.File
	info os.FileInfo
}

func openLocal(path string) (file, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return localFile{f, info}, nil
}

func (l localFile) size() int64 { return l.info.Size() }

func (l localFile) version() string {
	return fmt.Sprintf("%d bytes of %d", l.info.Size(), l.info.ModTime().UnixNano())
}
