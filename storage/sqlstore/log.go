package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"vigie/storage"
)

// Head implements [storage.Log].
func (s *Store) Head(ctx context.Context) (storage.Head, error) {
	if err := s.enter(); err != nil {
		return storage.Head{}, err
	}
	defer s.running.Done()
	return readHead(ctx, s.reader)
}

func (r *reader) Head() (storage.Head, error) { return readHead(r.ctx, r.db) }

func readHead(ctx context.Context, db queryer) (h storage.Head, err error) {
	err = db.QueryRowContext(ctx, "SELECT log_id, seq, root FROM log_head").Scan(&h.LogID, &h.Seq, hashColumn{&h.Root})
	if err != nil {
		return storage.Head{}, fmt.Errorf("read the head of the log: %w", err)
	}
	return h, nil
}

// Changes implements [storage.Log].
func (s *Store) Changes(ctx context.Context, after uint64, limit int) ([]storage.Change, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.running.Done()
	return readChanges(ctx, s.reader, after, limit)
}

func readChanges(ctx context.Context, db queryer, after uint64, limit int) ([]storage.Change, error) {
	changes, err := list(ctx, db, scanChange, `
		SELECT seq, at, kind, actor, bank, entry, key, party, record, private, salt, root
		FROM log WHERE seq > $1 ORDER BY seq LIMIT $2`, after, max(limit, 0))
	if err != nil {
		return nil, fmt.Errorf("read changes after %d: %w", after, err)
	}
	return changes, nil
}

func scanChange(row scanner) (c storage.Change, err error) {
	var private []byte
	err = row.Scan(&c.Seq, timeColumn{&c.At}, &c.Kind, &c.Actor, &c.Bank, &c.Entry, &c.Key, &c.Party,
		&c.Record, &private, &c.Salt, hashColumn{&c.Root})
	if err != nil {
		return storage.Change{}, err
	}
	c.Private = private
	r, err := storage.ParseRecord(c.Record)
	if err != nil {
		return storage.Change{}, fmt.Errorf("change %d: %w", c.Seq, err)
	}
	c.Body = r.Body
	return c, nil
}

// found writes the head of a new log, and the operator where there is none yet.
func (s *Store) found(ctx context.Context) error {
	o := storage.NewOperator(s.options)
	_, err := s.conn.ExecContext(ctx, `
		INSERT INTO parties (id, name, kind, keep_matches, suspended, created_at, seq) VALUES ($1, $2, $3, $4, $5, $6, 0)
		ON CONFLICT (id) DO NOTHING`, o.ID, o.Name, o.Kind, o.KeepMatches, o.Suspended, millis(o.CreatedAt))
	if err != nil {
		return err
	}
	var there bool
	if err := s.conn.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM log_head)").Scan(&there); err != nil || there {
		return err
	}
	id, err := s.options.NewLogID()
	if err != nil {
		return err
	}
	root := storage.Tree{}.Root()
	_, err = s.conn.ExecContext(ctx, `
		INSERT INTO log_head (one, log_id, seq, root) VALUES (1, $1, 0, $2)
		ON CONFLICT DO NOTHING`, id, root[:])
	return err
}

// appender writes the end of the log within one transaction. It has to read the edge of the tree
// once; then each request continues from where the last one that succeeded has stopped.
type appender struct {
	db      queryer
	dialect dialect
	options storage.Options
	sealer  *storage.Sealer // nil until the first append
}

// sealed is a change in its place, not yet shown to who gave it.
type sealed struct {
	given  *storage.Change
	change storage.Change
}

// append seals the changes of one request. In a database with several writers, its first statement
// makes them queue: from there to the commit, this transaction alone hands out numbers.
func (a *appender) append(ctx context.Context, given []*storage.Change) ([]sealed, error) {
	if len(given) == 0 {
		return nil, nil
	}
	sealer, err := a.take(ctx, len(given))
	if err != nil {
		return nil, fmt.Errorf("take the head of the log: %w", err)
	}
	changes := make([]sealed, len(given))
	for i, g := range given {
		changes[i] = sealed{given: g, change: cloneChange(*g)}
		c := &changes[i].change
		nodes, err := sealer.Seal(c)
		if err != nil {
			return nil, err
		}
		if err := a.store(ctx, *c, nodes); err != nil {
			return nil, fmt.Errorf("append change %d: %w", c.Seq, err)
		}
	}
	root := sealer.Tree.Root()
	if _, err := a.db.ExecContext(ctx, "UPDATE log_head SET root = $1", root[:]); err != nil {
		return nil, err
	}
	a.sealer = &sealer
	return changes, nil
}

// take moves the head by n and returns a sealer that stands where it was.
func (a *appender) take(ctx context.Context, n int) (storage.Sealer, error) {
	var seq uint64
	h := storage.Head{}
	err := a.db.QueryRowContext(ctx, "UPDATE log_head SET seq = seq + $1 RETURNING log_id, seq, root", n).
		Scan(&h.LogID, &seq, hashColumn{&h.Root})
	if err != nil {
		return storage.Sealer{}, err
	}
	if a.sealer != nil {
		return *a.sealer, nil
	}
	tree, err := storage.LoadTree(seq-uint64(n), func(indexes []int64) ([]storage.Hash, error) {
		return list(ctx, a.db, func(row scanner) (h storage.Hash, err error) {
			err = row.Scan(hashColumn{&h})
			return h, err
		}, "SELECT hash FROM log_hashes WHERE idx IN ("+a.dialect.ids("$1")+") ORDER BY idx", jsonList(indexes))
	})
	if err != nil {
		return storage.Sealer{}, err
	}
	if tree.Root() != h.Root {
		return storage.Sealer{}, fmt.Errorf("head %d: root is %x, the tree gives %x: %w", tree.Size(), h.Root, tree.Root(), storage.ErrCorrupt)
	}
	return storage.Sealer{LogID: h.LogID, Tree: tree, Options: a.options}, nil
}

// store writes a sealed change, its nodes, and its number to its subject.
func (a *appender) store(ctx context.Context, c storage.Change, nodes []storage.Hash) error {
	_, err := a.db.ExecContext(ctx, `
		INSERT INTO log (seq, at, kind, actor, bank, entry, key, party, record, private, salt, root)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		c.Seq, c.At.UnixMilli(), c.Kind, c.Actor, c.Bank, c.Entry, c.Key, c.Party,
		c.Record, []byte(c.Private), c.Salt, c.Root[:])
	if err != nil {
		return err
	}
	first := tlog.StoredHashIndex(0, int64(c.Seq)-1)
	for i, node := range nodes {
		_, err := a.db.ExecContext(ctx, "INSERT INTO log_hashes (idx, hash) VALUES ($1, $2)", first+int64(i), node[:])
		if err != nil {
			return err
		}
	}
	number := func(table string, id any) error {
		return changed(a.db.ExecContext(ctx, "UPDATE "+table+" SET seq = $1 WHERE id = $2", c.Seq, id))(c.Kind.Subject(), id)
	}
	switch c.Kind.Subject() {
	case "entry":
		return number("entries", c.Entry)
	case "key":
		return number("keys", c.Key)
	case "bank":
		return number("banks", c.Bank)
	case "party":
		return number("parties", c.Party)
	}
	return nil
}

// note gives what the request remembers the number of its last change.
func (a *appender) note(ctx context.Context, noted []storage.Remembered, seq uint64) error {
	for _, r := range noted {
		_, err := a.db.ExecContext(ctx, "UPDATE remembered SET seq = $1 WHERE scope = $2 AND key = $3", seq, r.Scope, r.Key)
		if err != nil {
			return fmt.Errorf("remember a request: %w", err)
		}
	}
	return nil
}

func cloneChange(c storage.Change) storage.Change {
	c.Body, c.Private = append([]byte(nil), c.Body...), append([]byte(nil), c.Private...)
	return c
}

// changed turns the result of an UPDATE that must hit a row into an error.
func changed(result sql.Result, err error) func(what string, id any) error {
	return func(what string, id any) error {
		if err != nil {
			return fmt.Errorf("update %s %v: %w", what, id, err)
		}
		if n, err := result.RowsAffected(); err != nil || n > 0 {
			return err
		}
		return fmt.Errorf("%s %v: %w", what, id, storage.ErrNotFound)
	}
}

// millis is how a time is stored; a zero time is 0.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
