package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"vigie/storage"
)

// ErrUnfinished: a copy into the catalogue has not come to its end. Nothing can be done with it but to copy anew.
var ErrUnfinished = errors.New("an unfinished copy of a catalogue; copy it anew")

// unfinished is in the place of the log's identity while a catalogue is copied into.
const unfinished = "unfinished copy"

// So many rows, or bytes of them, are written in one transaction.
const copiedRows, copiedBytes = 2000, 4 << 20

// CopyOptions are what a copy tells on its way, in the same goroutine. The zero value is usable.
type CopyOptions struct {
	// Progress is called now and then with how many of a table's rows are copied.
	Progress func(table string, rows, of int64)
	// Begun copies what belongs to the catalogue and lies elsewhere: the target is known to be empty, the moment of the copy is
	// fixed, and nobody gets to use the target before it has returned nil.
	Begun func(ctx context.Context) error
}

// Copy copies a whole catalogue as it is at one moment into an empty one, on SQLite or PostgreSQL each: all tables of the schema, the
// log with its identity, and the numbers that come next. from may be used meanwhile; to must not. It is verified: the rows of each table
// are counted, and the log is read and held against its root.
//
// The error is [storage.ErrExists] if to is not empty. When Copy fails, or its process dies, to refuses everything with
// [ErrUnfinished] but another Copy into it, which begins anew.
func Copy(ctx context.Context, from, to *Store, o CopyOptions) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("copy the catalogue: %w", err)
		}
	}()
	if err := from.enter(); err != nil {
		return err
	}
	defer from.running.Done()
	if err := to.use(); err != nil {
		return err
	}
	defer to.running.Done()
	source, err := from.reader.BeginTx(ctx, &from.dialect.view)
	if err != nil {
		return from.dialect.explain(err, nil)
	}
	defer source.Rollback()
	c := &copying{ctx: ctx, to: to, source: source, from: from.dialect, counts: map[string]int64{}, progress: o.Progress}
	if c.progress == nil {
		c.progress = func(string, int64, int64) {}
	}
	for _, setting := range from.dialect.schema.long {
		if _, err := source.ExecContext(ctx, setting); err != nil {
			return err
		}
	}
	head, err := readHead(ctx, source)
	if err != nil {
		return err
	}
	if c.tables, err = c.plan(); err != nil {
		return err
	}
	// Beside the committer's connection, which has nothing to do.
	to.writer.SetMaxOpenConns(2)
	defer to.writer.SetMaxOpenConns(1)
	if c.conn, err = to.writer.Conn(ctx); err != nil {
		return to.dialect.explain(err, nil)
	}
	defer c.conn.Close()
	err = c.conn.Raw(func(conn any) error {
		c.pipe, _ = conn.(*pipeline)
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.write(c.begin); err != nil {
		return err
	}
	to.unfinished.Store(true)
	if o.Begun != nil {
		if err := o.Begun(ctx); err != nil {
			return err
		}
	}
	for _, t := range c.tables {
		if err := c.rows(t); err != nil {
			return fmt.Errorf("table %s: %w", t.name, err)
		}
	}
	if err := c.write(func(tx *sql.Tx, o out) error { return c.finish(tx, o, head) }); err != nil {
		return err
	}
	to.unfinished.Store(false)
	to.announceCommit()
	// For the planners, which can do without, and get them in time anyway: without them the copy is none the less finished.
	_ = c.write(func(_ *sql.Tx, o out) error { return o.exec("ANALYZE") })
	return nil
}

// copying is one copy on its way.
type copying struct {
	ctx      context.Context
	source   *sql.Tx
	from     dialect
	to       *Store
	conn     *sql.Conn // to write
	pipe     *pipeline
	tables   []*table // what others refer to before them; but for log_head, which stands for the whole
	bools    map[string]map[string]bool
	counts   map[string]int64 // rows of the source's tables, of those that are copied
	progress func(table string, rows, of int64)
}

// write runs fn in a transaction of the target, however long it takes.
func (c *copying) write(fn func(tx *sql.Tx, o out) error) error {
	tx, err := begin(c.ctx, c.conn, c.pipe)
	if err != nil {
		return c.to.dialect.explain(err, c.conn)
	}
	defer tx.Rollback()
	o := out{context: c.ctx, to: tx, pipe: c.pipe}
	for _, setting := range c.to.dialect.schema.long {
		if err := o.exec(setting); err != nil {
			return err
		}
	}
	if err = fn(tx, o); err == nil {
		_, err = o.flush()
	}
	if err == nil {
		err = tx.Commit()
	}
	return c.to.dialect.explain(err, c.conn)
}

// plan lists the tables, which both catalogues must have with the same columns.
func (c *copying) plan() ([]*table, error) {
	there, err := c.from.schemaOf(c.ctx, c.source)
	if err != nil {
		return nil, err
	}
	var here map[string]shape
	target, err := c.to.reader.Conn(c.ctx)
	if err == nil {
		defer target.Close()
		here, err = c.to.dialect.schemaOf(c.ctx, target)
	}
	if err != nil {
		return nil, c.to.dialect.explain(err, nil)
	}
	c.bools = map[string]map[string]bool{}
	var tables []*table
	for len(here) > 0 {
		before := len(here)
		for _, name := range slices.Sorted(maps.Keys(here)) {
			s := here[name]
			if slices.ContainsFunc(s.refers, func(other string) bool { _, waits := here[other]; return waits && other != name }) {
				continue // it is the turn of what it refers to
			}
			delete(here, name)
			if name == "log_head" {
				continue
			}
			if !slices.Equal(slices.Sorted(maps.Keys(s.columns)), slices.Sorted(maps.Keys(there[name].columns))) {
				return nil, fmt.Errorf("table %s is not the same in both: the columns are %v and %v", name,
					slices.Sorted(maps.Keys(there[name].columns)), slices.Sorted(maps.Keys(s.columns)))
			}
			var columns []string
			c.bools[name] = map[string]bool{}
			for _, column := range slices.Sorted(maps.Keys(s.columns)) {
				columns = append(columns, column+" "+s.columns[column])
				c.bools[name][column] = s.columns[column] == "boolean"
			}
			tables = append(tables, newTable(name, true, columns...))
		}
		if len(here) == before {
			return nil, fmt.Errorf("tables %v refer to each other", slices.Sorted(maps.Keys(here)))
		}
	}
	for name := range there {
		if name != "log_head" && !slices.ContainsFunc(tables, func(t *table) bool { return t.name == name }) {
			return nil, fmt.Errorf("table %s has no counterpart", name)
		}
	}
	return tables, nil
}

// begin marks the target, and empties what a former copy has left.
func (c *copying) begin(tx *sql.Tx, o out) error {
	var id string
	var seq uint64
	if err := tx.QueryRowContext(c.ctx, "SELECT log_id, seq FROM log_head"+c.to.dialect.takeHead).Scan(&id, &seq); err != nil {
		return err
	}
	if id != unfinished {
		if err := c.empty(tx, seq); err != nil {
			return err
		}
	}
	if err := o.exec("UPDATE log_head SET log_id = $1, seq = 0", unfinished); err != nil {
		return err
	}
	var names []string
	for _, t := range slices.Backward(c.tables) {
		names = append(names, t.name)
	}
	for _, statement := range c.to.dialect.schema.empty(names) {
		if err := o.exec(statement); err != nil {
			return err
		}
	}
	return nil
}

// empty is [storage.ErrExists] if the target has more than a new catalogue, which may have one row of a table: what there is one of, and
// the operator.
func (c *copying) empty(tx *sql.Tx, seq uint64) error {
	if seq > 0 {
		return fmt.Errorf("the log of the target has %d changes: %w", seq, storage.ErrExists)
	}
	arriving := []string{"matches", "sign_ins", "decisions"} // which no change of the log tells of
	for _, t := range c.tables {
		var there int
		if err := tx.QueryRowContext(c.ctx, "SELECT count(*) FROM (SELECT 1 FROM "+t.name+" LIMIT 2) x").Scan(&there); err != nil {
			return err
		}
		if there > 1 || there == 1 && slices.Contains(arriving, t.name) {
			return fmt.Errorf("table %s of the target has rows: %w", t.name, storage.ErrExists)
		}
	}
	return nil
}

// rows copies a table.
func (c *copying) rows(t *table) error {
	of, err := count(c.ctx, c.source, t.name)
	if err != nil {
		return err
	}
	c.counts[t.name] = of
	var names []string
	for _, column := range t.columns {
		name, _, _ := strings.Cut(column, " ")
		names = append(names, name)
	}
	rows, err := c.source.QueryContext(c.ctx, "SELECT "+strings.Join(names, ", ")+" FROM "+t.name)
	if err != nil {
		return err
	}
	defer rows.Close()
	copied, more := int64(0), true
	for more {
		err := c.write(func(_ *sql.Tx, o out) error {
			for n, size := 0, 0; n < copiedRows && size < copiedBytes; n++ {
				if more = rows.Next(); !more {
					return rows.Err()
				}
				row, bytes, err := c.scan(rows, t.name, names)
				if err == nil {
					err = o.insert(t, row...)
				}
				if err != nil {
					return err
				}
				copied, size = copied+1, size+bytes
			}
			return nil
		})
		if err != nil {
			return err
		}
		c.progress(t.name, copied, of)
	}
	return nil
}

// scan reads a row in the types of the target, and about how many bytes it has.
func (c *copying) scan(rows *sql.Rows, table string, names []string) (row []any, size int, err error) {
	row, at := make([]any, len(names)), make([]any, len(names))
	for i := range row {
		at[i] = &row[i]
	}
	if err := rows.Scan(at...); err != nil {
		return nil, 0, err
	}
	for i, v := range row {
		switch v := v.(type) {
		case int64:
			if c.bools[table][names[i]] {
				row[i] = v != 0
			}
		case string:
			size += len(v)
		case []byte:
			row[i], size = append([]byte{}, v...), size+len(v) // never nil, which is NULL
		}
	}
	return row, size + 8*len(row), nil
}

// finish sets the numbers that come next, verifies the copy, and gives it the head.
func (c *copying) finish(tx *sql.Tx, o out, head storage.Head) error {
	last, err := c.from.lastNumbers(c.ctx, c.source)
	if err == nil {
		err = c.to.dialect.setLast(c.ctx, tx, last)
	}
	if err != nil {
		return fmt.Errorf("numbers that come next: %w", err)
	}
	for _, t := range c.tables {
		want := c.counts[t.name]
		if got, err := count(c.ctx, tx, t.name); err != nil || got != want {
			return errors.Join(err, fmt.Errorf("table %s has %d rows, the copy %d: %w", t.name, want, got, storage.ErrCorrupt))
		}
	}
	if err := o.exec("UPDATE log_head SET log_id = $1, seq = $2, root = $3", head.LogID, head.Seq, head.Root[:]); err != nil {
		return err
	}
	verified, err := storage.VerifyLog(c.ctx, &Snapshot{tx: tx}, func(seq uint64) { c.progress("verified", int64(seq), int64(head.Seq)) })
	if err != nil {
		return err
	}
	if verified != head {
		return fmt.Errorf("the head is %d of %s, that of the copy %d of %s: %w", head.Seq, head.LogID, verified.Seq, verified.LogID, storage.ErrCorrupt)
	}
	_, err = (&appender{out: o, dialect: c.to.dialect, head: head}).end() // the stored tree
	return err
}

func count(ctx context.Context, db queryer, table string) (n int64, err error) {
	err = db.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&n)
	return n, err
}

// shape is a table: its columns, with their types in PostgreSQL's words where the database is that, and the tables that it refers to.
type shape struct {
	columns map[string]string
	refers  []string
}

// schemaOf reads the tables of a catalogue.
func (d dialect) schemaOf(ctx context.Context, db queryer) (map[string]shape, error) {
	shapes := map[string]shape{}
	_, err := list(ctx, db, func(row scanner) (_ struct{}, err error) {
		var table, column, kind string
		if err = row.Scan(&table, &column, &kind); err == nil && table != "goose_db_version" {
			if shapes[table].columns == nil {
				shapes[table] = shape{columns: map[string]string{}}
			}
			shapes[table].columns[column] = kind
		}
		return struct{}{}, err
	}, d.schema.columns)
	if err != nil {
		return nil, err
	}
	_, err = list(ctx, db, func(row scanner) (_ struct{}, err error) {
		var table, other string
		err = row.Scan(&table, &other)
		s := shapes[table]
		s.refers = append(s.refers, other)
		shapes[table] = s
		return struct{}{}, err
	}, d.schema.references)
	return shapes, err
}

// lastNumbers are the highest numbers that were given to rows, by table, where the database remembers them.
func (d dialect) lastNumbers(ctx context.Context, db queryer) (map[string]int64, error) {
	last := map[string]int64{}
	_, err := list(ctx, db, func(row scanner) (_ struct{}, err error) {
		var table string
		var n int64
		err = row.Scan(&table, &n)
		last[table] = n
		return struct{}{}, err
	}, d.schema.last)
	return last, err
}

// setLast has the next rows get numbers beyond these, and beyond those of the rows that are there.
func (d dialect) setLast(ctx context.Context, db queryer, last map[string]int64) error {
	type numbered struct{ table, column string }
	all, err := list(ctx, db, func(row scanner) (n numbered, err error) {
		err = row.Scan(&n.table, &n.column)
		return n, err
	}, d.schema.numbered)
	for _, n := range all {
		var highest int64
		if err = db.QueryRowContext(ctx, fmt.Sprintf("SELECT COALESCE(MAX(%s), 0) FROM %s", n.column, n.table)).Scan(&highest); err != nil {
			return err
		}
		if highest = max(highest, last[n.table]); highest == 0 {
			continue
		}
		for _, statement := range d.schema.setLast {
			if _, err := db.ExecContext(ctx, fmt.Sprintf(statement, n.table, n.column, highest)); err != nil {
				return err
			}
		}
	}
	return err
}

// schemaQueries are how a dialect tells of its tables. The names in them are those of the schema itself.
type schemaQueries struct {
	long       []string // what lets a transaction read for hours
	columns    string   // table, column, type
	references string   // table, table that it refers to
	numbered   string   // table, column that numbers its rows, of those whose numbers the database remembers
	last       string   // table, last number
	setLast    []string // for table, column and number
	// empty are the statements that remove all rows of tables, of which each is before those that it refers to.
	empty func(tables []string) []string
}

var sqliteSchema = schemaQueries{
	columns:    "SELECT t.name, c.name, lower(c.type) FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'",
	references: `SELECT DISTINCT t.name, f."table" FROM sqlite_master t JOIN pragma_foreign_key_list(t.name) f WHERE t.type = 'table'`,
	numbered: `SELECT t.name, c.name FROM sqlite_master t JOIN pragma_table_info(t.name) c
		WHERE t.type = 'table' AND t.sql LIKE '%AUTOINCREMENT%' AND c.pk = 1`,
	last: "SELECT name, seq FROM sqlite_sequence",
	setLast: []string{
		"DELETE FROM sqlite_sequence WHERE name = '%[1]s' AND '%[2]s' <> '' AND %[3]d > 0",
		"INSERT INTO sqlite_sequence (name, seq) SELECT '%[1]s', %[3]d WHERE '%[2]s' <> ''",
	},
	empty: func(tables []string) (each []string) {
		for _, t := range tables {
			each = append(each, "DELETE FROM "+t)
		}
		return each
	},
}

var postgresSchema = schemaQueries{
	long: []string{"SET LOCAL statement_timeout = 0", "SET LOCAL idle_in_transaction_session_timeout = 0"},
	columns: `SELECT CAST(c.relname AS TEXT), CAST(a.attname AS TEXT), format_type(a.atttypid, a.atttypmod)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE n.nspname = '` + schema + `' AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped`,
	references: `SELECT DISTINCT CAST(c.relname AS TEXT), CAST(o.relname AS TEXT)
		FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_class o ON o.oid = f.confrelid
		JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = '` + schema + `' AND f.contype = 'f'`,
	numbered: `SELECT CAST(c.relname AS TEXT), CAST(a.attname AS TEXT)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE n.nspname = '` + schema + `' AND c.relkind = 'r' AND a.attidentity <> ''`,
	last: `SELECT CAST(c.relname AS TEXT), q.last_value
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
		JOIN pg_sequences q ON q.schemaname || '.' || q.sequencename = pg_get_serial_sequence(q.schemaname || '.' || c.relname, a.attname)
		WHERE n.nspname = '` + schema + `' AND q.schemaname = n.nspname AND c.relkind = 'r' AND a.attidentity <> '' AND q.last_value IS NOT NULL`,
	setLast: []string{"SELECT setval(pg_get_serial_sequence('" + schema + ".%[1]s', '%[2]s'), %[3]d)"},
	// DELETE would look at what refers to each row.
	empty: func(tables []string) []string { return []string{"TRUNCATE " + strings.Join(tables, ", ")} },
}
