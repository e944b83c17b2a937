package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"vigie/storage"
)

// reader implements [storage.Reader] inside a transaction, whose context it carries because the
// methods have none.
type reader struct {
	ctx     context.Context
	db      queryer
	dialect dialect
	options storage.Options
}

// writer implements [storage.Writer].
type writer struct {
	reader
	out
	appended []*storage.Change
	noted    []storage.Remembered // by this update, which will know their Seq
}

// Append notes the change; the committer seals it once the request has succeeded.
func (w *writer) Append(c *storage.Change) error {
	if err := c.CheckText(); err != nil {
		return err
	}
	w.appended = append(w.appended, c)
	return nil
}

// row runs a query for one row.
func (r *reader) row(query string, args ...any) *sql.Row {
	return r.db.QueryRowContext(r.ctx, query, args...)
}

// exists asks whether a query gives a row.
func (r *reader) exists(query string, args ...any) (there bool, err error) {
	err = r.row("SELECT EXISTS ("+query+")", args...).Scan(&there)
	return there, err
}

// wrap names the thing that could not be read; a missing row is storage.ErrNotFound.
func wrap(err error, what string, id any) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("%s %v: %w", what, id, storage.ErrNotFound)
	}
	return fmt.Errorf("%s %v: %w", what, id, err)
}

// existsAlready names the thing that is in the way, unless err tells why that could not be found out.
func existsAlready(err error, what string, id any) error {
	if err == nil {
		err = storage.ErrExists
	}
	return fmt.Errorf("%s %v: %w", what, id, err)
}
