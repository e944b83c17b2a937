package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// An update on PostgreSQL holds the head of the log, and each statement that it waits for is a round trip. So statements
// of which nothing is wanted but that they work are kept, and go with the next one whose answer is wanted: one
// round trip for all of them, in their order. If one fails, so does that next one; the transaction is lost, as it would be anyway.
// Rows for the same table that follow each other become one statement.

// session gives the embedded field another name than its method.
type session = stdlib.Conn

// pipeline is a connection that keeps statements. It is for one goroutine at a time, and passes by database/sql's lock: hence [begin].
type pipeline struct {
	*session
	ctx  context.Context // of the transaction
	kept []kept
	// numbers are those of the last changes of the entries among what is kept: most entries are new with the change that they
	// belong to, and need not be written twice.
	numbers map[uint64]*uint64
}

// kept is a statement, or rows of a table.
type kept struct {
	query   string
	args    []any
	table   *table
	columns [][]any                // of table
	check   func(rows int64) error // of the rows that it changed; nil: any number
}

// pipelines makes such connections.
type pipelines struct{ driver.Connector }

// Connect implements [driver.Connector].
func (p pipelines) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := p.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &pipeline{session: conn.(*stdlib.Conn)}, nil
}

// later keeps a statement.
func (p *pipeline) later(check func(rows int64) error, query string, args ...any) {
	p.kept = append(p.kept, kept{query: query, args: args, check: check})
}

// insert keeps a row.
func (p *pipeline) insert(t *table, row []any) {
	at, end := t.place(p.kept)
	if at < 0 {
		at = end
		p.kept = slices.Insert(p.kept, at, kept{table: t, columns: make([][]any, len(t.columns))})
	}
	for i, v := range row {
		p.kept[at].columns[i] = append(p.kept[at].columns[i], plain(v))
	}
}

// numbered is the value of an entry's column seq: a number that may come later.
func (p *pipeline) numbered(entry uint64) *uint64 {
	if p.numbers == nil {
		p.numbers = map[uint64]*uint64{}
	}
	p.numbers[entry] = new(uint64)
	return p.numbers[entry]
}

// number sets it, and tells whether it could.
func (p *pipeline) number(entry, seq uint64) bool {
	n := p.numbers[entry]
	if n != nil {
		*n = seq
	}
	return n != nil
}

// plain is a value of an array: nothing in the place of a pointer or bytes that are nil.
func plain(v any) any {
	if b, ok := v.([]byte); ok && b == nil {
		return nil
	}
	return v
}

// take returns a batch of what is kept, and keeps nothing any more.
func (p *pipeline) take() (*pgx.Batch, []kept) {
	taken := p.kept
	p.kept, p.numbers = nil, nil
	b := &pgx.Batch{}
	for _, k := range taken {
		if k.table == nil {
			b.Queue(k.query, k.args...)
			continue
		}
		arrays := make([]any, len(k.columns))
		for i := range arrays {
			arrays[i] = k.columns[i]
		}
		b.Queue(k.table.unnest, arrays...)
	}
	return b, taken
}

// forget drops what is kept since the last savepoint, and leaves the savepoint.
func (p *pipeline) forget() {
	n := len(p.kept)
	for n > 0 && p.kept[n-1].query != savepoint {
		n--
	}
	p.kept, p.numbers = p.kept[:n], nil
}

// settle reads the answers to what was kept.
func settle(results pgx.BatchResults, taken []kept) error {
	var faults []error
	for _, k := range taken {
		tag, err := results.Exec()
		if err != nil {
			return errors.Join(append(faults, err)...) // the others were not run
		}
		if k.check != nil {
			faults = append(faults, k.check(tag.RowsAffected()))
		}
	}
	return errors.Join(faults...)
}

// flush runs what is kept, and tells whether there was anything.
func (p *pipeline) flush(ctx context.Context) (sent bool, err error) {
	b, taken := p.take()
	if len(taken) == 0 {
		return false, nil
	}
	results := p.Conn().SendBatch(ctx, b)
	err = settle(results, taken)
	return true, errors.Join(err, results.Close())
}

// ExecContext implements [driver.ExecerContext].
func (p *pipeline) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	b, taken := p.take()
	b.Queue(query, values(args)...)
	results := p.Conn().SendBatch(ctx, b)
	defer results.Close()
	if err := settle(results, taken); err != nil {
		return nil, err
	}
	tag, err := results.Exec()
	if err != nil {
		return nil, err
	}
	return driver.RowsAffected(tag.RowsAffected()), results.Close()
}

// QueryContext implements [driver.QueryerContext].
func (p *pipeline) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	b, taken := p.take()
	b.Queue(query, values(args)...)
	results := p.Conn().SendBatch(ctx, b)
	if err := settle(results, taken); err != nil {
		return nil, errors.Join(err, results.Close())
	}
	rows, err := results.Query()
	if err != nil {
		rows.Close()
		return nil, errors.Join(err, results.Close())
	}
	return &pipedRows{rows: rows, results: results}, nil
}

func values(args []driver.NamedValue) []any {
	all := make([]any, len(args))
	for i, a := range args {
		all[i] = a.Value
	}
	return all
}

// begin begins a transaction on the connection behind a pipeline; nil: on any other. ctx bounds what is asked of the server, up to the COMMIT.
// database/sql does not see it end: it would roll back at once, in a goroutine of its own, beside the one that works with the connection.
func begin(ctx context.Context, conn *sql.Conn, p *pipeline) (*sql.Tx, error) {
	if p == nil {
		return conn.BeginTx(ctx, nil)
	}
	p.ctx = ctx
	return conn.BeginTx(context.WithoutCancel(ctx), nil)
}

// BeginTx implements [driver.ConnBeginTx]: what begins the transaction goes with its first statement. Its options are those of the
// session. Only [begin] calls it.
func (p *pipeline) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) {
	if p.Conn().IsClosed() {
		return nil, driver.ErrBadConn
	}
	p.kept, p.numbers = []kept{{query: "begin"}}, nil
	return &pipedTx{p, p.ctx}, nil
}

type pipedTx struct {
	p   *pipeline
	ctx context.Context
}

// errUnsent: there was no COMMIT, so that the transaction has certainly not happened.
var errUnsent = errors.New("COMMIT was not sent")

// Commit implements [driver.Tx]. What is kept goes before; if that fails, or the time is over, it is errUnsent.
func (t *pipedTx) Commit() error {
	_, err := t.p.flush(t.ctx)
	if err == nil {
		err = t.ctx.Err()
	}
	if err != nil {
		return errors.Join(errUnsent, err, t.Rollback())
	}
	tag, err := t.p.Conn().Exec(t.ctx, "commit")
	if err == nil && tag.String() == "ROLLBACK" {
		err = pgx.ErrTxCommitRollback
	}
	return t.over(err)
}

// Rollback implements [driver.Tx].
func (t *pipedTx) Rollback() error {
	t.p.take()
	_, err := t.p.Conn().Exec(t.ctx, "rollback") // without a transaction, a warning
	return t.over(err)
}

// over gives a connection up that is not known to be out of the transaction.
func (t *pipedTx) over(err error) error {
	if err != nil && t.p.Conn().PgConn().TxStatus() != 'I' {
		return errors.Join(err, driver.ErrBadConn)
	}
	return err
}

// pipedRows are the rows of the last statement of a batch.
type pipedRows struct {
	rows    pgx.Rows
	results pgx.BatchResults
}

// Columns implements [driver.Rows].
func (r *pipedRows) Columns() []string {
	fields := r.rows.FieldDescriptions()
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	return names
}

// Close implements [driver.Rows].
func (r *pipedRows) Close() error {
	r.rows.Close()
	return r.results.Close()
}

// Next implements [driver.Rows].
func (r *pipedRows) Next(to []driver.Value) error {
	if !r.rows.Next() {
		r.rows.Close()
		if err := r.rows.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	row, err := r.rows.Values()
	if err != nil {
		return err
	}
	for i, v := range row {
		if to[i], err = driverValue(v); err != nil {
			return err
		}
	}
	return nil
}

// driverValue has the types that database/sql knows.
func driverValue(v any) (driver.Value, error) {
	switch v := v.(type) {
	case driver.Valuer:
		return v.Value()
	case int16:
		return int64(v), nil
	case int32:
		return int64(v), nil
	case float32:
		return float64(v), nil
	}
	if !driver.IsValue(v) {
		return nil, fmt.Errorf("a column of type %s is not read here", reflect.TypeOf(v))
	}
	return v, nil
}
