package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"vigie/storage"
)

// Store implements [storage.Catalogue] on an SQL database.
type Store struct {
	dialect dialect
	options storage.Options
	writer  *sql.DB // one connection
	reader  *sql.DB

	// The committer's alone: that connection, nil if it was lost; its prepared statements, nil if the driver sees to them.
	conn     *sql.Conn
	prepared *prepared
	pipe     *pipeline    // nil where statements do not wait for each other
	tree     storage.Tree // of the log, when this store appended to it last

	unfinished atomic.Bool // it is the target of a copy that has not come to its end

	unlisten func() // ends the listening to other processes; nil if there is none

	requests chan *request // to the committer
	stopped  chan struct{} // closed when the committer has ended
	closing  chan struct{} // closed by Close

	mu        sync.Mutex     // guards what follows
	running   sync.WaitGroup // calls that use the database
	closed    bool
	committed chan struct{} // closed by the next commit
}

// start gives a new catalogue its beginning and sets the committer going.
func start(ctx context.Context, writer, reader *sql.DB, d dialect, o storage.Options) (*Store, error) {
	s := &Store{
		dialect: d, options: o, writer: writer, reader: reader,
		requests:  make(chan *request, maxBatch),
		stopped:   make(chan struct{}),
		closing:   make(chan struct{}),
		committed: make(chan struct{}),
	}
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	if err := s.found(ctx); err != nil {
		return nil, errors.Join(err, s.disconnect())
	}
	go s.commitLoop()
	return s, nil
}

// connect makes the writing connection if there is none.
func (s *Store) connect(ctx context.Context) (err error) {
	if s.conn != nil {
		return nil
	}
	if s.conn, err = s.writer.Conn(ctx); err != nil {
		return s.dialect.explain(fmt.Errorf("connect to write: %w", err), nil)
	}
	if s.dialect.prepares {
		s.prepared = newPrepared(s.conn)
	}
	return s.conn.Raw(func(c any) error {
		s.pipe, _ = c.(*pipeline)
		return nil
	})
}

// disconnect gives the writing connection up.
func (s *Store) disconnect() error {
	if s.conn == nil {
		return nil
	}
	if s.prepared != nil {
		s.prepared.close()
	}
	err := s.conn.Close()
	s.conn, s.prepared, s.pipe = nil, nil, nil
	return err
}

// View implements [storage.Catalogue]. The state is that of fn's first read.
func (s *Store) View(ctx context.Context, fn func(storage.Reader) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.running.Done()
	return s.reading(ctx, func(conn *sql.Conn) (bool, error) {
		tx, err := conn.BeginTx(ctx, &s.dialect.view)
		if err != nil {
			return true, fmt.Errorf("begin to read: %w", err)
		}
		defer tx.Rollback()
		return false, fn(&reader{ctx: ctx, db: tx, dialect: s.dialect, options: s.options})
	})
}

// asking is reading for one short question, which is not waited for for ever: whoever follows the log must notice that nobody answers.
func (s *Store) asking(ctx context.Context, fn func(context.Context, *sql.Conn) error) error {
	limited, cancel := ctx, func() {}
	if s.dialect.limit > 0 {
		limited, cancel = context.WithTimeout(ctx, s.dialect.limit)
	}
	defer cancel()
	err := s.reading(limited, func(conn *sql.Conn) (bool, error) { return true, fn(limited, conn) })
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: no answer in %v", storage.ErrUnavailable, s.dialect.limit)
	}
	return err
}

// reading runs fn with a connection for reading. If that was lost, fn runs again with others, as long as it says that
// it may.
func (s *Store) reading(ctx context.Context, fn func(*sql.Conn) (again bool, err error)) error {
	for tries := 1; ; tries++ {
		again, err := s.readingOnce(ctx, fn)
		if err == nil || ctx.Err() != nil || !again || tries == 3 || !errors.Is(err, storage.ErrUnavailable) {
			return err
		}
	}
}

func (s *Store) readingOnce(ctx context.Context, fn func(*sql.Conn) (bool, error)) (again bool, err error) {
	conn, err := s.reader.Conn(ctx)
	if err != nil {
		err = fmt.Errorf("begin to read: %w", err)
		if ctx.Err() == nil {
			err = s.dialect.explain(err, nil)
		}
		return false, err
	}
	defer conn.Close()
	again, err = fn(conn)
	if ctx.Err() == nil {
		err = s.dialect.explain(err, conn)
	}
	return again, err
}

// Close implements [storage.Catalogue]. A second Close does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.closing)
	s.mu.Unlock()

	if s.unlisten != nil {
		s.unlisten()
	}
	s.running.Wait() // after which nobody sends requests
	close(s.requests)
	<-s.stopped
	// The writer goes last: the last connection to close empties the write-ahead log into the file.
	return errors.Join(s.reader.Close(), s.disconnect(), s.writer.Close())
}

// enter counts a call that uses the catalogue; the caller calls s.running.Done at its end.
func (s *Store) enter() error {
	if s.unfinished.Load() {
		return ErrUnfinished
	}
	return s.use()
}

// use is enter for what copies into the catalogue.
func (s *Store) use() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("catalogue: %w", os.ErrClosed)
	}
	s.running.Add(1)
	return nil
}

// Wait implements [storage.Log]. Commits of this process wake it at once, those of others if the database tells of
// them; behind that stands a look every second.
func (s *Store) Wait(ctx context.Context, after uint64) error {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		committed := s.nextCommit()
		head, err := s.Head(ctx)
		if err != nil {
			return err
		}
		if head.Seq > after {
			return nil
		}
		select {
		case <-committed:
		case <-look.C:
		case <-s.closing:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Store) nextCommit() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.committed
}

func (s *Store) announceCommit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.committed)
	s.committed = make(chan struct{})
}
