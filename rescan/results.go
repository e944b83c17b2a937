package rescan

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"vigie/storage"
)

// Hits are those of a re-scan, in the order in which they were found, read from the catalogue page by page.
func Hits(ctx context.Context, c storage.Catalogue, id storage.RescanID) iter.Seq2[storage.RescanHit, error] {
	return pages(ctx, c, 0, func(r storage.Reader, after uint64) ([]storage.RescanHit, error) {
		return r.RescanHits(id, after, storage.MaxRescanRows)
	}, func(h storage.RescanHit) uint64 { return h.ID })
}

// Failures are the items that a re-scan has set aside, likewise.
func Failures(ctx context.Context, c storage.Catalogue, id storage.RescanID) iter.Seq2[storage.RescanFailure, error] {
	return failures(ctx, c, id, 0)
}

func failures(ctx context.Context, c storage.Catalogue, id storage.RescanID, after uint64) iter.Seq2[storage.RescanFailure, error] {
	return pages(ctx, c, after, func(r storage.Reader, after uint64) ([]storage.RescanFailure, error) {
		return r.RescanFailures(id, after, storage.MaxRescanRows)
	}, func(f storage.RescanFailure) uint64 { return f.ID })
}

func pages[T any](
	ctx context.Context, c storage.Catalogue, from uint64, read func(r storage.Reader, after uint64) ([]T, error), id func(T) uint64,
) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for after := from; ; {
			var page []T
			err := c.View(ctx, func(r storage.Reader) (err error) {
				page, err = read(r, after)
				return err
			})
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			if len(page) == 0 {
				return
			}
			for _, one := range page {
				if after = id(one); !yield(one, nil) {
					return
				}
			}
		}
	}
}

// hitRow is a hit as it is written. Names that are not UTF-8 have the sign for what is no character in its place.
type hitRow struct {
	Item    string          `json:"item" parquet:"item"`
	Level   string          `json:"level" parquet:"level,dict"`
	Action  string          `json:"action" parquet:"action,dict"`
	Shard   int32           `json:"shard" parquet:"shard"`
	Verdict json.RawMessage `json:"verdict,omitempty" parquet:"verdict,json,zstd"`
}

func rowOf(h storage.RescanHit) hitRow {
	return hitRow{strings.ToValidUTF8(h.Item, "\ufffd"), h.Level, h.Action, int32(h.Shard), h.Verdict}
}

// WriteHits writes hits to w: as NDJSON, an object in each line; as CSV, with a row of names, where the verdict is JSON in a cell; or
// as Parquet.
func WriteHits(w io.Writer, f ListFormat, hits iter.Seq2[storage.RescanHit, error]) error {
	switch f {
	case NDJSON:
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return each(hits, func(h hitRow) error { return enc.Encode(h) })
	case CSV:
		c := csv.NewWriter(w)
		if err := c.Write([]string{"item", "level", "action", "shard", "verdict"}); err != nil {
			return err
		}
		err := each(hits, func(h hitRow) error {
			return c.Write([]string{h.Item, h.Level, h.Action, strconv.Itoa(int(h.Shard)), string(h.Verdict)})
		})
		c.Flush()
		return errors.Join(err, c.Error())
	case Parquet:
		p := parquet.NewGenericWriter[hitRow](w, parquet.MaxRowsPerRowGroup(50_000)) // whose memory is held
		if err := each(hits, func(h hitRow) error {
			_, err := p.Write([]hitRow{h})
			return err
		}); err != nil {
			return err
		}
		return p.Close()
	}
	return fmt.Errorf("format %q is not known; accepted are ndjson, csv, parquet", f)
}

func each(hits iter.Seq2[storage.RescanHit, error], write func(hitRow) error) error {
	for h, err := range hits {
		if err != nil {
			return err
		}
		if err := write(rowOf(h)); err != nil {
			return err
		}
	}
	return nil
}

// SummaryOf is what a re-scan has done so far.
func SummaryOf(r storage.Rescan, now time.Time) Summary {
	s := Summary{Items: r.Counts.Items, Failed: r.Counts.Failed, Bytes: r.Counts.Bytes, Levels: map[string]int64{}}
	for level, n := range map[string]int64{"none": r.Counts.None, "review": r.Counts.Review, "likely": r.Counts.Likely, "match": r.Counts.Match} {
		if n > 0 {
			s.Levels[level] = n
		}
	}
	if !r.FinishedAt.IsZero() {
		now = r.FinishedAt
	}
	if !r.StartedAt.IsZero() {
		s.Took = now.Sub(r.StartedAt)
	}
	return s
}
