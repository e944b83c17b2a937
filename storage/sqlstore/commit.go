package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"vigie/storage"
)

// The committer is one goroutine that owns the writing connection. Each update runs in the goroutine
// of its caller, when the committer hands it its turn, so that a panic in it is the caller's and
// leaves the committer alone.

// maxBatch is how many updates share one commit at most.
const maxBatch = 128

// request is an update on its way. turn and ran have no buffer: either both sides meet, or the
// context ends first and both sides see that.
type request struct {
	ctx  context.Context // of the caller, while it waits for its turn
	turn chan *writer    // the caller may run its function now
	ran  chan error      // what came of it
	done chan error      // what came of the commit
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
	waiting, cancel := ctx, func() {}
	if s.dialect.turn > 0 {
		waiting, cancel = context.WithTimeout(ctx, s.dialect.turn)
	}
	defer cancel()
	r := &request{ctx: waiting, turn: make(chan *writer), ran: make(chan error), done: make(chan error, 1)}
	select {
	case s.requests <- r:
	case <-waiting.Done():
		return s.unserved(ctx)
	}
	select {
	case w := <-r.turn:
		r.run(w, fn)
		return <-r.done
	case err := <-r.done: // the transaction failed before the turn came
		if waiting.Err() != nil {
			return s.unserved(ctx)
		}
		return err
	case <-waiting.Done():
		return s.unserved(ctx)
	}
}

// unserved is the outcome of an update whose turn did not come.
func (s *Store) unserved(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: no turn to write within %v", storage.ErrUnavailable, s.dialect.turn)
}

// run runs fn, and hands the turn back whatever happens.
func (r *request) run(w *writer, fn func(storage.Writer) error) {
	err := errAbandoned
	defer func() { r.ran <- err }()
	err = fn(w)
}

// commitLoop serves requests until their channel is closed.
func (s *Store) commitLoop() {
	defer close(s.stopped)
	var batch []*request
	for {
		if len(batch) == 0 {
			first, open := <-s.requests
			if !open {
				return
			}
			batch = append(batch, first)
		}
		batch = s.commit(batch)
	}
}

// gather adds the requests that wait to a batch.
func (s *Store) gather(batch []*request) []*request {
	for len(batch) < maxBatch {
		select {
		case r, open := <-s.requests:
			if !open {
				return batch
			}
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// commit runs a batch, and what waits besides, in one transaction and answers its requests. It returns those
// that it did not get to within the dialect's time. Callers' contexts do not reach the statements: one caller that goes away
// must not fail the others.
func (s *Store) commit(batch []*request) (rest []*request) {
	ctx := context.Background()
	if s.dialect.limit > 0 {
		limited, cancel := context.WithTimeout(ctx, s.dialect.limit)
		defer cancel()
		ctx = limited
	}
	tx, log, err := s.begin(ctx) // log.to is the transaction
	batch = s.gather(batch)
	var ran []*request // whose savepoint is released
	var changes []sealed
	if err == nil {
		batch, rest, ran, changes, err = s.runAll(ctx, log, batch)
		if err == nil && len(ran) > 0 {
			err = s.finish(ctx, tx, log, len(changes) > 0)
		}
		tx.Rollback() // does nothing after a commit
	}
	switch {
	case err == nil:
		for _, c := range changes {
			*c.given = c.change
		}
		if log.sealer != nil {
			s.tree = log.sealer.Tree
		}
		if len(ran) > 0 {
			s.announceCommit()
		}
		batch = ran // the others have their answer
	case errors.Is(err, storage.ErrUnavailable):
		s.disconnect()
	}
	for _, r := range batch {
		select {
		case r.done <- err:
		default: // it has an answer already
		}
	}
	return rest
}

// begin begins to write. A connection that is found to be lost is replaced once: nothing has run on it yet.
func (s *Store) begin(ctx context.Context) (*sql.Tx, *appender, error) {
	for {
		fresh := s.conn == nil
		if err := s.connect(ctx); err != nil {
			return nil, nil, err
		}
		tx, err := begin(ctx, s.conn, s.pipe)
		var log *appender
		if err == nil {
			if log, err = s.takeHead(ctx, tx); err == nil {
				return tx, log, nil
			}
			tx.Rollback()
		}
		err = s.explain(ctx, fmt.Errorf("begin to write: %w", err))
		if fresh || s.dialect.lost == nil || !s.dialect.lost(s.conn) {
			return nil, nil, err
		}
		s.disconnect()
	}
}

// runAll runs requests until the dialect's time is over, and answers those that fail. Those that it got to are in reached, and
// in ran if they wait for the commit. err means that the whole transaction is lost.
func (s *Store) runAll(ctx context.Context, log *appender, batch []*request) (reached, rest, ran []*request, changes []sealed, err error) {
	begun := time.Now()
	for i, r := range batch {
		if i > 0 && s.dialect.hold > 0 && time.Since(begun) > s.dialect.hold {
			return batch[:i], batch[i:], ran, changes, nil
		}
		if err := r.ctx.Err(); err != nil { // nobody waits for it any more
			r.done <- err
			continue
		}
		var c []sealed
		var outcome error
		if len(batch) == 1 { // the transaction is its own: SQLite need not keep the pages that it changes
			c, outcome = s.run(ctx, log, r)
		} else if c, outcome, err = s.runSaved(ctx, log, r); err != nil {
			return batch, nil, nil, nil, s.explain(ctx, err)
		}
		if outcome == nil {
			ran = append(ran, r)
			changes = append(changes, c...)
		} else {
			r.done <- s.explain(ctx, outcome)
		}
	}
	return batch, nil, ran, changes, nil
}

// finish commits.
func (s *Store) finish(ctx context.Context, tx *sql.Tx, log *appender, changed bool) error {
	if changed && s.dialect.notify != "" {
		if err := log.exec(s.dialect.notify); err != nil {
			return s.explain(ctx, fmt.Errorf("notify: %w", err))
		}
	}
	if _, err := log.flush(); err != nil {
		return s.explain(ctx, err)
	}
	if s.dialect.lost != nil && s.dialect.lost(s.conn) {
		return fmt.Errorf("commit: %w", storage.ErrUnavailable)
	}
	err := tx.Commit()
	switch {
	case err == nil:
		return nil
	case s.dialect.undecided != nil && s.dialect.undecided(err):
		return fmt.Errorf("commit: %w: %w", storage.ErrUnknownOutcome, err)
	}
	return s.explain(ctx, fmt.Errorf("commit: %w", err))
}

// explain is the dialect's, for an error of a transaction; that its time is over is the database's fault, too.
func (s *Store) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) && !errors.Is(err, storage.ErrUnavailable) {
		return fmt.Errorf("%w: the transaction takes longer than %v", storage.ErrUnavailable, s.dialect.limit)
	}
	return s.dialect.explain(err, s.conn)
}

// runSaved runs one request inside a savepoint. err means that the whole transaction is lost.
func (s *Store) runSaved(ctx context.Context, log *appender, r *request) (changes []sealed, outcome, err error) {
	if err := log.exec(savepoint); err != nil {
		return nil, nil, err
	}
	end := log.sealer
	changes, outcome = s.run(ctx, log, r)
	if outcome == nil {
		if outcome = release(ctx, log.out); outcome == nil {
			return changes, nil, nil
		}
	}
	log.sealer = end
	log.forget()
	for _, undo := range []string{"ROLLBACK TO SAVEPOINT request", "RELEASE SAVEPOINT request"} {
		if _, err := log.to.ExecContext(ctx, undo); err != nil {
			return nil, outcome, errors.Join(err, outcome)
		}
	}
	return nil, outcome, nil
}

// savepoint begins a request.
const savepoint = "SAVEPOINT request"

// release ends a savepoint. PostgreSQL refuses that if a statement has failed, though the request made nothing of it.
func release(ctx context.Context, o out) error {
	const statement = "RELEASE SAVEPOINT request"
	works, err := o.flush()
	if err != nil {
		return err
	}
	if works { // then nothing has failed before, either
		return o.exec(statement)
	}
	_, err = o.to.ExecContext(ctx, statement)
	return err
}

// run runs one request and seals what it appended. outcome is the request's own; what it did must be undone then.
func (s *Store) run(ctx context.Context, log *appender, r *request) (changes []sealed, outcome error) {
	w := &writer{reader: reader{ctx: ctx, db: log.to, dialect: s.dialect, options: s.options}, out: log.out}
	select {
	case r.turn <- w:
		outcome = <-r.ran
		w.reader.db, w.out = nil, out{} // a Writer that is kept fails loudly
	case <-r.ctx.Done():
		outcome = r.ctx.Err()
	}
	if outcome == nil {
		changes, outcome = log.append(w.appended)
	}
	if outcome == nil && len(changes) > 0 {
		outcome = log.note(w.noted, changes[len(changes)-1].change.Seq)
	}
	return changes, outcome
}

// queryer is what a transaction of readers and the prepared statements of the writer have in common.
type queryer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// prepared runs statements on one connection and keeps them prepared, for a driver that does not do so by itself. The texts are
// few and fixed.
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
