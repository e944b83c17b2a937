package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"vigie/storage"
)

// Store implements [storage.Catalogue] on an SQL database.
type Store struct {
	dialect dialect
	options storage.Options
	writer  *sql.DB   // one connection
	conn    *sql.Conn // that connection; the committer's alone
	reader  *sql.DB

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
	var err error
	if s.conn, err = writer.Conn(ctx); err != nil {
		return nil, err
	}
	if err := s.found(ctx); err != nil {
		return nil, errors.Join(err, s.conn.Close())
	}
	go s.commitLoop(newPrepared(s.conn))
	return s, nil
}

// View implements [storage.Catalogue]. The state is that of fn's first read.
func (s *Store) View(ctx context.Context, fn func(storage.Reader) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.running.Done()
	tx, err := s.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelSerializable})
	if err != nil {
		return fmt.Errorf("begin to read: %w", err)
	}
	defer tx.Rollback()
	return fn(&reader{ctx: ctx, db: tx, dialect: s.dialect, options: s.options})
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

	s.running.Wait() // after which nobody sends requests
	close(s.requests)
	<-s.stopped
	// The writer goes last: the last connection to close empties the write-ahead log into the file.
	return errors.Join(s.reader.Close(), s.conn.Close(), s.writer.Close())
}

// enter counts a call that uses the database; the caller calls s.running.Done at its end.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("catalogue: %w", os.ErrClosed)
	}
	s.running.Add(1)
	return nil
}

// Wait implements [storage.Log]. Commits of this process wake it at once; those of others, a
// look every second.
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
