package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"vigie/storage"
)

// The committer is one goroutine that owns the writing connection. Each update runs in the goroutine
// of its caller, when the committer hands it its turn, so that a panic in it is the caller's and
// leaves the committer alone.

// maxBatch is how many updates share one commit at most.
const maxBatch = 128

// request is an update on its way. turn and ran have no buffer: either both sides meet, or the
// caller's context ends first and both sides see that.
type request struct {
	ctx  context.Context
	turn chan *writer // the caller may run its function now
	ran  chan error   // what came of it
	done chan error   // what came of the commit
}

// errAbandoned is the outcome of a function that panicked or ended its goroutine.
var errAbandoned = errors.New("update was abandoned")

// Update implements [storage.Catalogue]. fn runs in the calling goroutine.
func (s *Store) Update(ctx context.Context, fn func(storage.Writer) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.running.Done()
	if err := ctx.Err(); err != nil {
		return err
	}
	r := &request{ctx: ctx, turn: make(chan *writer), ran: make(chan error), done: make(chan error, 1)}
	select {
	case s.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case w := <-r.turn:
		if err := r.run(w, fn); err != nil {
			return err
		}
		return <-r.done
	case err := <-r.done: // the transaction failed before the turn came
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run runs fn, and hands the turn back whatever happens.
func (r *request) run(w *writer, fn func(storage.Writer) error) error {
	err := errAbandoned
	defer func() { r.ran <- err }()
	err = fn(w)
	return err
}

// commitLoop serves requests until their channel is closed.
func (s *Store) commitLoop(db *prepared) {
	defer close(s.stopped)
	defer db.close()
	for first := range s.requests {
		batch := []*request{first}
		for len(batch) < maxBatch {
			select {
			case r, open := <-s.requests:
				if open {
					batch = append(batch, r)
					continue
				}
			default:
			}
			break
		}
		s.commit(db, batch)
	}
}

// commit runs a batch in one transaction and answers its requests. Callers' contexts do not reach the
// statements: one caller that goes away must not fail the others.
func (s *Store) commit(db *prepared, batch []*request) {
	ctx := context.Background()
	var ran []*request // whose savepoint is released
	var changes []sealed
	err := func() error {
		tx, err := s.conn.BeginTx(ctx, nil)
		if err != nil {
			return fmt.Errorf("begin to write: %w", err)
		}
		defer tx.Rollback()
		log := &appender{db: db, dialect: s.dialect, options: s.options}
		for _, r := range batch {
			var c []sealed
			var outcome error
			if len(batch) == 1 { // the transaction is its own: SQLite need not keep the pages that it changes
				c, outcome = s.run(ctx, db, log, r)
			} else if c, outcome, err = s.runSaved(ctx, db, log, r); err != nil {
				return err
			}
			if outcome == nil {
				ran = append(ran, r)
				changes = append(changes, c...)
			} else {
				r.done <- outcome
			}
		}
		if len(ran) == 0 {
			return nil
		}
		if err := tx.Commit(); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		return nil
	}()
	if err == nil {
		for _, c := range changes {
			*c.given = c.change
		}
		s.announceCommit()
		batch = ran // the others have their answer
	}
	for _, r := range batch {
		select {
		case r.done <- err:
		default: // it has an answer already
		}
	}
}

// runSaved runs one request inside a savepoint. err means that the whole transaction is lost.
func (s *Store) runSaved(ctx context.Context, db *prepared, log *appender, r *request) (changes []sealed, outcome, err error) {
	if _, err := db.ExecContext(ctx, "SAVEPOINT request"); err != nil {
		return nil, nil, err
	}
	changes, outcome = s.run(ctx, db, log, r)
	if outcome != nil {
		if _, err := db.ExecContext(ctx, "ROLLBACK TO SAVEPOINT request"); err != nil {
			return nil, outcome, errors.Join(err, outcome)
		}
	}
	_, err = db.ExecContext(ctx, "RELEASE SAVEPOINT request")
	return changes, outcome, err
}

// run runs one request and seals what it appended. outcome is the request's own; what it did must be undone then.
func (s *Store) run(ctx context.Context, db *prepared, log *appender, r *request) (changes []sealed, outcome error) {
	w := &writer{reader: reader{ctx: ctx, db: db, dialect: s.dialect, options: s.options}}
	select {
	case r.turn <- w:
		outcome = <-r.ran
		w.db = nil // a Writer that is kept fails loudly
	case <-r.ctx.Done():
		outcome = r.ctx.Err()
	}
	if outcome == nil {
		changes, outcome = log.append(ctx, w.appended)
	}
	if outcome == nil && len(changes) > 0 {
		outcome = log.note(ctx, w.noted, changes[len(changes)-1].change.Seq)
	}
	return changes, outcome
}

// queryer is what a transaction of readers and the prepared statements of the writer have in common.
type queryer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// prepared runs statements on one connection and keeps them prepared. The texts are few and fixed.
type prepared struct {
	conn       *sql.Conn
	statements map[string]*sql.Stmt
}

func newPrepared(conn *sql.Conn) *prepared { return &prepared{conn, map[string]*sql.Stmt{}} }

func (p *prepared) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if s := p.statements[query]; s != nil {
		return s, nil
	}
	s, err := p.conn.PrepareContext(ctx, query)
	if err == nil {
		p.statements[query] = s
	}
	return s, err
}

func (p *prepared) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	s, err := p.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, args...)
}

func (p *prepared) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := p.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

func (p *prepared) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	s, err := p.prepare(ctx, query)
	if err != nil {
		return p.conn.QueryRowContext(ctx, query, args...) // which tells the error
	}
	return s.QueryRowContext(ctx, args...)
}

func (p *prepared) close() {
	for _, s := range p.statements {
		s.Close()
	}
}
