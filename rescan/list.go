package rescan

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"vigie/hashing"
)

// HashFile is a source: a list of hashes in a file of this machine, as CSV, NDJSON or Parquet. Each of its items is some of its rows,
// at most so many as OpenHashFile was told. A file that changes meanwhile ends the listing.
type HashFile struct {
	list    hashList
	most    int
	end     int64
	version string
}

// HashRow is one hash of a list.
type HashRow struct {
	ID   string         // what the list calls it; else where it stands
	Hash hashing.Signal // a plain PDQ
	Err  error          // why there is none
}

// OpenHashFile looks at a list, whose format is told by the end of its name, and whose columns have their usual names ([Columns]).
func OpenHashFile(ctx context.Context, path string, most int) (HashFile, error) {
	o, err := SourceConfig{Kind: HashSource, Location: path}.open(ctx, nil, 0)
	if err != nil {
		return HashFile{}, err
	}
	f := HashFile{list: o.hashes, most: most}
	if f.end, f.version, err = o.list.extent(ctx); err == nil {
		err = f.list.rows(ctx, 0, 0, 1, func([]hashRow) error { return nil }) // which looks for the columns
	}
	return f, err
}

// Version changes when the file does.
func (f HashFile) Version() string { return f.version }

// Share is how much of the list comes before a cursor, from 0 to 1.
func (f HashFile) Share(cursor string) float64 { return min(place(cursor)/max(float64(f.end), 1), 1) }

// Items implements [Source].
func (f HashFile) Items(ctx context.Context, after string) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		from, err := placeOf(after)
		if err == nil {
			err = f.list.rows(ctx, from, f.end, f.most, func(rows []hashRow) error {
				item := Item{Place: placeText(rows[len(rows)-1].place), Hashes: make([]HashRow, len(rows))}
				for i, row := range rows {
					item.Hashes[i] = HashRow{row.id, row.hash, row.err}
				}
				item.Name = fmt.Sprintf("%d hashes up to %s", len(rows), item.Hashes[len(rows)-1].ID)
				if !yield(item, nil) {
					return errEnough
				}
				return nil
			})
		}
		if err == nil {
			var version string
			_, version, err = f.list.extent(ctx)
			if err == nil && version != f.version {
				err = errors.New("the list has changed while it was read")
			}
		}
		if err != nil && !errors.Is(err, errEnough) {
			yield(Item{}, err)
		}
	}
}
