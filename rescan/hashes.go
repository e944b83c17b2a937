package rescan

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"vigie/hashing"
	"vigie/storage"
)

// ListFormat is how a list of hashes is written.
type ListFormat string

// The formats of lists.
const (
	CSV     ListFormat = "csv"
	NDJSON  ListFormat = "ndjson"
	Parquet ListFormat = "parquet"
)

// Columns names what a list of hashes has. What is empty is looked for by its usual names.
type Columns struct {
	Hash    string `json:"hash,omitempty"`    // PDQ: 64 hexadecimal digits, in Parquet also 32 bytes; else pdq, hash, pdq_hash, hash_value
	ID      string `json:"id,omitempty"`      // what the platform calls the upload; else content_id, id, name, path, url
	Quality string `json:"quality,omitempty"` // 0 to 100; else quality, pdq_quality
}

var usual = [3][]string{
	{"pdq", "hash", "pdq_hash", "hash_value"},
	{"content_id", "id", "name", "path", "url"},
	{"quality", "pdq_quality"},
}

// find returns where the columns are among names: of hash, id and quality; -1: there is none. Only a hash must be there.
func (c Columns) find(names []string) (at [3]int, err error) {
	what := [3]string{"hash", "id", "quality"}
	for i, asked := range [3]string{c.Hash, c.ID, c.Quality} {
		wanted := usual[i]
		if asked != "" {
			wanted = []string{asked}
		}
		at[i] = -1
		for _, w := range wanted {
			if at[i] = slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, w) }); at[i] >= 0 {
				break
			}
		}
		if at[i] < 0 && (asked != "" || i == 0) {
			return at, fmt.Errorf("the list has no column for the %s; looked for: %s", what[i], strings.Join(wanted, ", "))
		}
	}
	return at, nil
}

func (c SourceConfig) format() (ListFormat, error) {
	name, _, _ := strings.Cut(c.Location, "?")
	f := cmp.Or(c.Format, ListFormat(strings.ToLower(strings.TrimPrefix(path.Ext(name), "."))))
	switch f {
	case "jsonl":
		return NDJSON, nil
	case CSV, NDJSON, Parquet:
		return f, nil
	}
	return "", fmt.Errorf("format %q of a list of hashes is not known; accepted are csv, ndjson, parquet", f)
}

// hashRow is a row of a list of hashes.
type hashRow struct {
	place int64
	id    string // what the platform calls it; else where it stands
	hash  hashing.Signal
	err   error // why there is no hash; the row is set aside
}

// hashList is a list of hashes.
type hashList interface {
	extended
	// rows calls fn with the rows whose places are in (after, to], in order, at most size at a time. An error of fn ends it. The
	// rows are fn's until it has been called once more and has returned: so one batch can be joined while the next one is read.
	rows(ctx context.Context, after, to int64, size int, fn func([]hashRow) error) error
}

const (
	maxHashLine = 64 << 10
	maxColumns  = 1000
)

// maxBatch is how many bytes of ids are gathered at most.
const maxBatch = 64 << 20

// batch gathers rows, at most so many.
type batch struct {
	rows []hashRow
	last []hashRow // those that fn was called with last, which has them still
	most int
	size int // of their ids
	fn   func([]hashRow) error
}

func (b *batch) add(r hashRow) error {
	b.size += len(r.id)
	if b.rows == nil {
		b.rows = make([]hashRow, 0, cap(b.last))
	}
	if b.rows = append(b.rows, r); len(b.rows) == b.most || b.size >= maxBatch {
		return b.flush()
	}
	return nil
}

func (b *batch) flush() error {
	if len(b.rows) == 0 {
		return nil
	}
	if err := b.fn(b.rows); err != nil {
		return err // who has the last ones may not be done with them
	}
	clear(b.last) // and their ids with them
	b.rows, b.last, b.size = b.last[:0], b.rows, 0
	return nil
}

// textHashes is a list as CSV or NDJSON. Each record is one line. A CSV begins with the names of its columns; it is separated by
// commas, semicolons or tabs.
type textHashes struct {
	text
	format  ListFormat
	columns Columns
}

// rows implements [hashList].
func (l textHashes) rows(ctx context.Context, after, to int64, size int, fn func([]hashRow) error) error {
	f, err := l.open(ctx)
	if err != nil {
		return err
	}
	defer f.Close()
	parse := l.record
	if l.format == CSV {
		head, err := l.header(ctx, f)
		if err != nil {
			return err
		}
		parse = head.record
	}
	b := batch{most: size, fn: fn}
	err = l.lines(ctx, f, after, to, func(place int64, line []byte, err error) error {
		if l.format == CSV && place == 1 || err == nil && len(bytes.TrimSpace(line)) == 0 {
			return nil
		}
		row := hashRow{place: place, err: err}
		if err == nil {
			row.id, row.hash, row.err = parse(line)
		}
		if row.id == "" {
			row.id = fmt.Sprintf("the line at byte %d", place-1)
		}
		return b.add(row)
	})
	if err != nil {
		return err
	}
	return b.flush()
}

// csvHeader is where the columns of a CSV are.
type csvHeader struct {
	comma rune
	at    [3]int
	width int
}

func (l textHashes) header(ctx context.Context, f file) (h csvHeader, err error) {
	err = l.lines(ctx, f, 0, 1, func(_ int64, line []byte, err error) error {
		if err != nil {
			return fmt.Errorf("the first line: %w", err)
		}
		line = bytes.TrimPrefix(line, []byte("\ufeff"))
		var bad error
		for _, comma := range ",;\t" {
			h.comma = comma
			names, err := h.split(line)
			if err == nil && len(names) > maxColumns {
				err = fmt.Errorf("the list has more than %d columns", maxColumns)
			}
			for i := range names {
				names[i] = strings.TrimSpace(names[i])
			}
			if h.width = len(names); err == nil {
				h.at, err = l.columns.find(names)
			}
			if err == nil {
				return nil
			}
			bad = cmp.Or(bad, err)
		}
		return bad
	})
	if err == nil && h.width == 0 {
		err = errors.New("the list is empty: a CSV begins with the names of its columns")
	}
	return h, err
}

func (h csvHeader) split(line []byte) ([]string, error) {
	if bytes.IndexByte(line, '"') < 0 {
		return strings.Split(string(line), string(h.comma)), nil
	}
	r := csv.NewReader(bytes.NewReader(line))
	r.Comma = h.comma
	cells, err := r.Read()
	if err != nil {
		return nil, errors.New("its quotes do not close in the same line")
	}
	return cells, nil
}

func (h csvHeader) record(line []byte) (id string, s hashing.Signal, err error) {
	cells, err := h.split(line)
	if err == nil && len(cells) != h.width {
		err = fmt.Errorf("it has %d cells, and the header %d", len(cells), h.width)
	}
	if err != nil {
		return "", s, err
	}
	if h.at[1] >= 0 {
		id = cells[h.at[1]]
	}
	quality := ""
	if h.at[2] >= 0 {
		quality = cells[h.at[2]]
	}
	return parseHash(id, strings.TrimSpace(cells[h.at[0]]), strings.TrimSpace(quality))
}

// record reads an object.
func (l textHashes) record(line []byte) (id string, s hashing.Signal, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(line, &fields); err != nil || fields == nil {
		return "", s, errors.New("it is no JSON object")
	}
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	columns := l.columns
	columns.ID, columns.Quality = "", "" // which a record may lack
	at, err := columns.find(names)
	if err != nil {
		return "", s, err
	}
	cell := func(i int, asked string) string {
		if asked != "" {
			at[i] = slices.Index(names, asked)
		}
		if at[i] < 0 {
			return ""
		}
		var word string
		raw := fields[names[at[i]]]
		if json.Unmarshal(raw, &word) != nil {
			word = string(raw) // a number
		}
		return word
	}
	return parseHash(cell(1, l.columns.ID), cell(0, ""), cell(2, l.columns.Quality))
}

// parseHash makes a signal of a row's cells.
func parseHash(id, hash, quality string) (string, hashing.Signal, error) {
	raw, err := parsePDQ(hash)
	if err != nil {
		return id, hashing.Signal{}, err
	}
	q, err := parseQuality(quality)
	if err != nil {
		return id, hashing.Signal{}, err
	}
	return signalOf(id, raw[:], q)
}

func parsePDQ(text string) (raw [32]byte, err error) {
	text = strings.TrimPrefix(text, "pdq:")
	if n, err := hex.Decode(raw[:], []byte(text[:min(len(text), 64)])); err != nil || n != len(raw) || len(text) != 64 {
		return raw, fmt.Errorf("its hash has %d characters; a PDQ hash has 64 hexadecimal digits", len(text))
	}
	return raw, nil
}

// parseQuality reads a quality; there may be none.
func parseQuality(text string) (hashing.Quality, error) {
	if text == "" {
		return hashing.QualityUnknown, nil
	}
	q, err := strconv.ParseFloat(text, 64)
	if err != nil || !(q >= 0 && q <= float64(hashing.MaxQuality)) {
		return 0, fmt.Errorf("its quality is not a number from 0 to %d", hashing.MaxQuality)
	}
	return hashing.Quality(q), nil
}

// signalOf is the signal of a hash of 32 bytes.
func signalOf(id string, raw []byte, q hashing.Quality) (string, hashing.Signal, error) {
	if len(id) > storage.MaxRescanItem {
		return "", hashing.Signal{}, fmt.Errorf("its id has %d bytes; accepted are %d", len(id), storage.MaxRescanItem)
	}
	return id, hashing.Signal{Algorithm: hashing.PDQ, Version: hashing.PDQ.Version(), Quality: q, Value: hashing.ValueFromBytes(raw)}, nil
}
