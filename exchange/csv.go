package exchange

import (
	"fmt"
	"slices"
	"strings"

	"vigie/hashing"
)

// ownColumns are the columns of Vigie's CSV, in their order.
var ownColumns = []string{
	"signals", "labels", "note", "origin", "source", "foreign_id", "created_at", "status", "exact_only",
	"format", "width", "height", "bytes", "duration_ms", "more_sources", "expires_at",
}

// aliases are names of columns in other lists for what Vigie has a column for.
var aliases = map[string]string{
	"hash_digest": "hash", "hash_value": "hash", "signal_str": "hash", "indicator": "hash",
	"signal_type": "algorithm", "hash_type": "algorithm", "type": "algorithm",
	"collab": "source", "file_type": "format", "id": "foreign_id", "created_on": "created_at", "added_on": "created_at",
	"expires_on": "expires_at", "expire_time": "expires_at", "expiration": "expires_at",
	"pdq_quality": "quality", "tlp": "share_level", "sha_256": "sha256",
}

// labelColumns are columns of other lists whose cells become labels, behind the column's name.
var labelColumns = []string{"ideology", "severity", "confidence", "precision", "review_status"}

// hashColumns are named like the algorithm whose values they hold.
var hashColumns = []string{"pdq", "phash", "dhash", "ahash", "md5", "sha256", "vpdq"}

// setter reads a cell, which is not empty, into a row.
type setter func(d *draft, cell string) *RowError

// column is what to do with the cells of one column.
type column struct {
	name string // Vigie's
	set  setter // nil: not read
}

// draft is a row that is being read.
type draft struct {
	Item
	format    Format
	algorithm hashing.Algorithm // of hash, if the row does not say its kind
	kind      string
	hash      string
	quality   string   // of the perceptual signals whose own is unknown
	remarks   []string // for the note: what has no other place
}

var setters = map[string]setter{
	"signals": func(d *draft, cell string) *RowError {
		for text := range strings.FieldsSeq(cell) {
			s, err := parseSignal(text)
			if err != nil {
				return err
			}
			d.Signals = append(d.Signals, s)
		}
		return nil
	},
	"labels":     setLabels,
	"note":       func(d *draft, cell string) *RowError { d.Note = cell; return nil },
	"origin":     func(d *draft, cell string) *RowError { d.Origin = cell; return nil },
	"source":     func(d *draft, cell string) *RowError { d.Source = cell; return nil },
	"foreign_id": func(d *draft, cell string) *RowError { d.Foreign = cell; return nil },
	"created_at": func(d *draft, cell string) (bad *RowError) { d.CreatedAt, bad = parseTime(trim(cell)); return bad },
	"expires_at": func(d *draft, cell string) (bad *RowError) { d.ExpiresAt, bad = parseTime(trim(cell)); return bad },
	"status":     setStatus,
	"exact_only": func(d *draft, cell string) (bad *RowError) { d.ExactOnly, bad = parseBool(trim(cell)); return bad },
	"format":     func(d *draft, cell string) *RowError { d.Media.Format = cell; return nil },
	"width":      func(d *draft, cell string) *RowError { return setSide(&d.Media.Width, cell) },
	"height":     func(d *draft, cell string) *RowError { return setSide(&d.Media.Height, cell) },
	"bytes": func(d *draft, cell string) (bad *RowError) {
		d.Media.Bytes, bad = parseSize(trim(cell), 63)
		return bad
	},
	"duration_ms": func(d *draft, cell string) (bad *RowError) {
		d.Media.DurationMS, bad = parseSize(trim(cell), 63)
		return bad
	},
	"more_sources": func(d *draft, cell string) *RowError {
		t := tokensOf(cell)
		if err := t.sources(d); err != nil {
			return err
		}
		return t.end()
	},

	"hash":      func(d *draft, cell string) *RowError { d.hash = trim(cell); return nil },
	"algorithm": func(d *draft, cell string) *RowError { d.kind = trim(cell); return nil },
	"quality":   func(d *draft, cell string) *RowError { d.quality = trim(cell); return nil },
	"tags":      setTags,
	"category":  setCategory,
	"share_level": func(d *draft, cell string) *RowError {
		d.named("tlp", "share_level", cell)
		return nil
	},
	"deleted": func(d *draft, cell string) *RowError {
		deleted, err := parseBool(trim(cell))
		if deleted {
			d.Status = Retracted
		}
		return err
	},
}

// setterOf is what to do with a column; nil if it is not known.
func setterOf(name string) setter {
	switch {
	case slices.Contains(labelColumns, name):
		return func(d *draft, cell string) *RowError {
			d.named(name, name, cell)
			return nil
		}
	case slices.Contains(hashColumns, name):
		return func(d *draft, cell string) *RowError { return d.add(parseKind(name), trim(cell)) }
	}
	return setters[name]
}

func trim(cell string) string { return strings.TrimSpace(cell) }

func setSide(side *int, cell string) *RowError {
	n, err := parseSize(trim(cell), 31)
	*side = int(n)
	return err
}

// setStatus reads Vigie's words, and those by which ThreatExchange says how bad something is.
func setStatus(d *draft, cell string) *RowError {
	cell = trim(cell)
	switch cell {
	case "MALICIOUS", "SUSPICIOUS", "UNKNOWN":
		d.remark("status", cell, d.label("status:"+cell))
		return nil
	case "NON_MALICIOUS":
		return bad(NegativeOpinion, "", "the list says that it must not match")
	}
	s, err := parseStatus(strings.ToLower(cell))
	if err == nil && d.Status == "" {
		d.Status = s
	}
	return err
}

func setCategory(d *draft, cell string) *RowError {
	label, err := parseCategory(trim(cell))
	if err == nil {
		d.Labels = append(d.Labels, label)
	}
	return err
}

func (d *draft) add(k kind, text string) *RowError {
	signals, err := k.signals(text)
	d.Signals = append(d.Signals, signals...)
	return err
}

// finish puts together what stood in several columns.
func (d *draft) finish() (Item, *RowError) {
	if d.hash != "" {
		k := kind{algorithm: d.algorithm}
		if d.kind != "" {
			k = parseKind(d.kind)
		}
		if !k.algorithm.Valid() {
			_, err := k.signals("")
			return Item{}, in("algorithm", err)
		}
		if err := d.add(k, d.hash); err != nil {
			return Item{}, in("hash", err)
		}
	}
	if len(d.Signals) == 0 {
		return Item{}, bad(NoSignal, "", "none of the columns of signals holds one")
	}
	if d.quality != "" {
		for i := range d.Signals {
			if d.Signals[i].Quality != hashing.QualityUnknown {
				continue
			}
			if err := setQuality(&d.Signals[i], d.quality); err != nil {
				return Item{}, in("quality", err)
			}
		}
	}
	d.Note = annotated(d.Note, d.remarks)
	return d.Item, nil
}

func in(column string, err *RowError) *RowError {
	if err.Column == "" {
		err.Column = column
	}
	return err
}

// header is the first row of a CSV: what its columns mean.
type header struct {
	format   Format
	columns  []column
	warnings []string
}

// readHeader reads the names of columns. Named says that signals whose algorithm no column tells have one.
func readHeader(cells []string, f Format, named bool) (header, error) {
	h := header{format: f}
	has := map[string]bool{}
	for i, cell := range cells {
		name := strings.NewReplacer(" ", "_", "-", "_").Replace(strings.ToLower(trim(cell)))
		if alias := aliases[name]; alias != "" {
			name = alias
		}
		set := setterOf(name)
		h.columns = append(h.columns, column{name, set})
		switch {
		case set == nil:
			h.warn(i, cell)
		case has[name]:
			return h, &ListError{DuplicateColumn, fmt.Sprintf("column %d is a second one of %s", i+1, name)}
		}
		has[name] = set != nil
	}
	signals := has["signals"] || has["hash"] && (has["algorithm"] || named) ||
		slices.ContainsFunc(hashColumns, func(name string) bool { return has[name] })
	switch {
	case f == TXCSV && !(has["hash"] && has["algorithm"]):
		return h, noHeader("tx-csv has the columns signal_type, signal_str, collab, category, tags")
	case !signals:
		return h, noHeader("the first row names no column of signals; accepted are signals, hash with algorithm, " +
			"or the names of algorithms: pdq, phash, dhash, ahash, md5, sha256, vpdq")
	}
	return h, nil
}

// maxWarnings bounds the warnings of one list.
const maxWarnings = 20

func (h *header) warn(i int, name string) {
	switch n := len(h.warnings); {
	case n < maxWarnings:
		h.warnings = append(h.warnings, fmt.Sprintf("column %d, %.40q, is not known and not read", i+1, name))
	case n == maxWarnings:
		h.warnings = append(h.warnings, "and further columns")
	}
}

// parse reads a record.
func (h *header) parse(record string, delimiter byte, bare hashing.Algorithm) (Item, *RowError) {
	cells, err := split(record, delimiter, maxColumns)
	if err != nil {
		return Item{}, err
	}
	if len(cells) != len(h.columns) {
		return Item{}, bad(WrongCells, "", "%d cells, and the header has %d", len(cells), len(h.columns))
	}
	d := draft{format: h.format, algorithm: bare}
	for i, c := range h.columns {
		if c.set == nil || cells[i] == "" {
			continue
		}
		err := checkText(c.name, cells[i])
		if err == nil {
			err = c.set(&d, cells[i])
		}
		if err != nil {
			return Item{}, in(c.name, err)
		}
	}
	return d.finish()
}
