package sqlstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// out is where a transaction that writes sends statements whose result is not wanted.
type out struct {
	context context.Context
	to      queryer
	pipe    *pipeline // nil: they are run at once
}

// exec runs a statement, now or before the next answer that is waited for.
func (o out) exec(query string, args ...any) error { return o.execChecked(nil, query, args...) }

// execChecked has check look at how many rows the statement has changed.
func (o out) execChecked(check func(rows int64) error, query string, args ...any) error {
	if o.pipe != nil {
		o.pipe.later(check, query, args...)
		return nil
	}
	result, err := o.to.ExecContext(o.context, query, args...)
	if err != nil || check == nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil {
		err = check(n)
	}
	return err
}

// flush has everything run that was to be run; sent tells whether there was anything.
func (o out) flush() (sent bool, err error) {
	if o.pipe == nil {
		return false, nil
	}
	return o.pipe.flush(o.context)
}

// forget drops what the request was to have run and has not.
func (o out) forget() {
	if o.pipe != nil {
		o.pipe.forget()
	}
}

// insert adds a row: its values are in the order of the table's columns.
func (o out) insert(t *table, row ...any) error {
	if o.pipe != nil {
		o.pipe.insert(t, row)
		return nil
	}
	// Statements of many rows are slower: SQLite keeps what they change until it knows that none fails.
	return o.exec(t.values, row...)
}

// table is one that many rows go into.
type table struct {
	name    string
	columns []string // "name type of PostgreSQL"
	parts   bool     // its rows refer to rows of those that are not parts, which must be there first
	values  string   // the statement for a row
	unnest  string   // the statement for many rows, an array for each column
}

func newTable(name string, parts bool, columns ...string) *table {
	return newCount(name, parts, "", columns...)
}

// newCount is newTable, with what is to be done if there is such a row already: two rows of one statement must not be such.
func newCount(name string, parts bool, conflict string, columns ...string) *table {
	t := &table{name: name, columns: columns, parts: parts}
	var names, places, arrays []string
	for i, c := range columns {
		column, kind, _ := strings.Cut(c, " ")
		names, places = append(names, column), append(places, fmt.Sprintf("$%d", i+1))
		arrays = append(arrays, fmt.Sprintf("$%d::%s[]", i+1, kind))
	}
	into := fmt.Sprintf("INSERT INTO %s (%s) ", name, strings.Join(names, ", "))
	t.values = into + "VALUES (" + strings.Join(places, ", ") + ")" + conflict
	t.unnest = into + "SELECT * FROM unnest(" + strings.Join(arrays, ", ") + ")" + conflict
	return t
}

var (
	entriesTable = newTable("entries", false, "id bigint", "bank bigint", "status text", "exact_only boolean", "note text", "reason text",
		"sha256 bytea", "bytes bigint", "format text", "width bigint", "height bigint", "duration_ms bigint", "kept boolean", "proposal text",
		"created_at bigint", "seq bigint", "expires_at bigint")
	signalsTable = newTable("entry_signals", true, "entry bigint", "ord integer", "algorithm text", "variant text", "version smallint",
		"quality smallint", "time_ms bigint", "value bytea")
	labelsTable  = newTable("entry_labels", true, "entry bigint", "ord integer", "label text", "bank bigint")
	sourcesTable = newTable("entry_sources", true, "entry bigint", "ord integer", "at bigint", "actor text", "origin text", "list text", "foreign_id text")

	logTable = newTable("log", true, "seq bigint", "at bigint", "kind text", "actor text", "bank bigint", "entry bigint", "key text",
		"party bigint", "record bytea", "private bytea", "salt bytea", "root bytea")
	hashesTable = newTable("log_hashes", true, "idx bigint", "hash bytea")

	matchesTable = newTable("matches", false, "ord bigint", "node text", "number bigint", "at bigint", "party bigint", "key text",
		"content text", "level text", "action text", "index_seq bigint", "bare boolean")
	verdictsTable     = newTable("match_verdicts", true, "ord bigint", "verdict text")
	matchEntriesTable = newTable("match_entries", true, "ord bigint", "place integer", "party bigint", "entry bigint", "bank bigint",
		"level text", "exact boolean", "lead boolean")
	pastUploadsTable = newTable("past_uploads", true, "ord bigint", "entry bigint", "node text", "number bigint", "at bigint")
	// A tally has each step of an entry once, and each update one tally.
	countsTable = newCount("match_counts", true, " ON CONFLICT (entry, step) DO UPDATE SET n = match_counts.n + excluded.n",
		"entry bigint", "step bigint", "n bigint")
	totalsTable = newCount("match_totals", true, " ON CONFLICT (entry) DO UPDATE SET total = match_totals.total + excluded.total",
		"entry bigint", "total bigint", "confirmed bigint", "overturned bigint")
	signInsTable = newTable("sign_ins", false, "ord bigint", "node text", "number bigint", "at bigint", "key text", "party bigint", "address text")
)

// place finds where a row of the table belongs among what is kept: with rows of the same table, if nothing but rows came since; at
// is -1 if there are none, and new ones go to end. What others refer to goes before them.
func (t *table) place(all []kept) (at, end int) {
	start := len(all)
	for start > 0 && all[start-1].table != nil {
		start--
	}
	for i := start; i < len(all); i++ {
		if all[i].table == t {
			return i, i
		}
	}
	if !t.parts {
		return -1, start
	}
	return -1, len(all)
}

// newIDs draws n numbers for rows of a table, ascending. On a database where numbers are those of the rows that are there, they must be used
// before the next are drawn.
func (w *writer) newIDs(t *table, n int) ([]int64, error) {
	ids, err := list(w.ctx, w.db, scanID[int64], w.dialect.newIDs[t], n)
	if err != nil || len(ids) != n {
		return nil, fmt.Errorf("number %d rows of %s: got %d: %w", n, t.name, len(ids), err)
	}
	slices.Sort(ids)
	return ids, nil
}

// sequence is newIDs on PostgreSQL.
func sequence(table, column string) string {
	return fmt.Sprintf("SELECT nextval('%s.%s_%s_seq') FROM generate_series(1, $1::integer)", schema, table, column)
}

// following is newIDs on SQLite: the numbers behind a last one.
func following(last string) string {
	return "WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < $1) SELECT COALESCE((" + last + "), 0) + id FROM n"
}
