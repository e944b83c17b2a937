package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"vigie/storage"
)

// Head implements [storage.Log].
func (s *Store) Head(ctx context.Context) (h storage.Head, err error) {
	if err := s.enter(); err != nil {
		return storage.Head{}, err
	}
	defer s.running.Done()
	err = s.asking(ctx, func(ctx context.Context, conn *sql.Conn) error {
		h, err = readHead(ctx, conn)
		return err
	})
	return h, err
}

func (r *reader) Head() (storage.Head, error) { return readHead(r.ctx, r.db) }

func readHead(ctx context.Context, db queryer) (h storage.Head, err error) {
	return scanHead(db.QueryRowContext(ctx, selectHead))
}

const selectHead = "SELECT log_id, seq, root FROM log_head"

func scanHead(row scanner) (h storage.Head, err error) {
	err = row.Scan(&h.LogID, &h.Seq, hashColumn{&h.Root})
	if err != nil {
		return storage.Head{}, fmt.Errorf("read the head of the log: %w", err)
	}
	if h.LogID == unfinished {
		return storage.Head{}, ErrUnfinished
	}
	return h, nil
}

// Changes implements [storage.Log].
func (s *Store) Changes(ctx context.Context, after uint64, limit int) (changes []storage.Change, err error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.running.Done()
	err = s.asking(ctx, func(ctx context.Context, conn *sql.Conn) error {
		changes, err = readChanges(ctx, conn, after, limit)
		return err
	})
	return changes, err
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
	_, err := readHead(ctx, s.conn)
	if errors.Is(err, ErrUnfinished) {
		s.unfinished.Store(true)
		return nil
	}
	o := storage.NewOperator(s.options)
	_, err = s.conn.ExecContext(ctx, `
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

// appender writes the end of the log within one transaction, which has the head of the log for itself. It has
// to read the edge of the tree once; then each request continues from where the last one that succeeded
// has stopped.
type appender struct {
	out
	dialect dialect
	options storage.Options
	head    storage.Head    // as the transaction found it
	tree    storage.Tree    // as this store left it; somebody else may have appended since
	sealer  *storage.Sealer // nil until the first append; what it points to is never altered
}

// takeHead begins to write: no other transaction does until this one ends, and this one sees all that the ones
// before it did.
func (s *Store) takeHead(ctx context.Context, tx *sql.Tx) (*appender, error) {
	a := &appender{out: out{context: ctx, to: tx, pipe: s.pipe}, dialect: s.dialect, options: s.options, tree: s.tree}
	if s.prepared != nil {
		a.to = s.prepared
	}
	var err error
	a.head, err = scanHead(a.to.QueryRowContext(ctx, selectHead+s.dialect.takeHead))
	return a, err
}

// sealed is a change in its place, not yet shown to who gave it.
type sealed struct {
	given  *storage.Change
	change storage.Change
}

// append seals the changes of one request.
func (a *appender) append(given []*storage.Change) ([]sealed, error) {
	if len(given) == 0 {
		return nil, nil
	}
	sealer, err := a.end()
	if err != nil {
		return nil, fmt.Errorf("find the end of the log: %w", err)
	}
	changes := make([]sealed, len(given))
	numbers := numbers{}
	for i, g := range given {
		changes[i] = sealed{given: g, change: cloneChange(*g)}
		c := &changes[i].change
		nodes, err := sealer.Seal(c)
		if err != nil {
			return nil, err
		}
		if err := a.store(*c, nodes); err != nil {
			return nil, fmt.Errorf("append change %d: %w", c.Seq, err)
		}
		numbers.add(*c)
	}
	if err := a.number(numbers); err != nil {
		return nil, err
	}
	root := sealer.Tree.Root()
	if err := a.exec("UPDATE log_head SET seq = $1, root = $2", sealer.Tree.Size(), root[:]); err != nil {
		return nil, err
	}
	a.sealer = &sealer
	return changes, nil
}

// end returns a sealer that stands at the end of the log.
func (a *appender) end() (storage.Sealer, error) {
	if a.sealer != nil {
		return *a.sealer, nil
	}
	h := a.head
	if a.tree.Size() == h.Seq && a.tree.Root() == h.Root {
		return storage.Sealer{LogID: h.LogID, Tree: a.tree, Options: a.options}, nil
	}
	tree, err := storage.LoadTree(h.Seq, func(indexes []int64) ([]storage.Hash, error) {
		return list(a.context, a.to, func(row scanner) (h storage.Hash, err error) {
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

// store writes a sealed change and its nodes.
func (a *appender) store(c storage.Change, nodes []storage.Hash) error {
	err := a.insert(logTable, c.Seq, c.At.UnixMilli(), string(c.Kind), c.Actor, c.Bank, c.Entry, c.Key, c.Party,
		c.Record, []byte(c.Private), c.Salt, c.Root[:])
	first := tlog.StoredHashIndex(0, int64(c.Seq)-1)
	for i, node := range nodes {
		if err == nil {
			err = a.insert(hashesTable, first+int64(i), node[:])
		}
	}
	return err
}

// numbers are the last changes of subjects, by what they are and their id: a uint64 or a string.
type numbers map[string]map[any]uint64

func (n numbers) add(c storage.Change) {
	id := map[string]any{"entry": uint64(c.Entry), "key": c.Key, "bank": uint64(c.Bank), "party": uint64(c.Party)}[c.Kind.Subject()]
	if id == nil {
		return
	}
	if n[c.Kind.Subject()] == nil {
		n[c.Kind.Subject()] = map[any]uint64{}
	}
	n[c.Kind.Subject()][id] = c.Seq
}

// subjects are the tables of what changes number, and the type of its id.
var subjects = map[string]struct{ table, id string }{
	"entry": {"entries", "bigint"}, "key": {"keys", "text"}, "bank": {"banks", "bigint"}, "party": {"parties", "bigint"},
}

// number gives subjects the numbers of their last changes.
func (a *appender) number(n numbers) error {
	for _, what := range slices.Sorted(maps.Keys(n)) {
		t := subjects[what]
		if !a.dialect.arrays {
			for id, seq := range n[what] {
				if err := a.execChecked(hits(what, id, 1), "UPDATE "+t.table+" SET seq = $1 WHERE id = $2", seq, id); err != nil {
					return err
				}
			}
			continue
		}
		var ids, seqs []any
		for id, seq := range n[what] {
			if what == "entry" && a.pipe.number(id.(uint64), seq) {
				continue
			}
			ids, seqs = append(ids, id), append(seqs, seq)
		}
		if len(ids) == 0 {
			continue
		}
		// Not a join, for which a planner might read the whole table.
		err := a.execChecked(hits(what, ids[0], int64(len(ids))), fmt.Sprintf(
			"UPDATE %s SET seq = ($2::bigint[])[array_position($1::%[2]s[], id)] WHERE id = ANY($1::%[2]s[])", t.table, t.id), ids, seqs)
		if err != nil {
			return err
		}
	}
	return nil
}

// hits makes sure that an UPDATE has found its n rows.
func hits(what string, id any, n int64) func(rows int64) error {
	return func(rows int64) error {
		switch {
		case rows == n:
			return nil
		case n == 1:
			return fmt.Errorf("%s %v: %w", what, id, storage.ErrNotFound)
		}
		return fmt.Errorf("%d of %d: %s: %w", n-rows, n, what, storage.ErrNotFound)
	}
}

// note gives what the request remembers the number of its last change.
func (a *appender) note(noted []storage.Remembered, seq uint64) error {
	for _, r := range noted {
		if err := a.exec("UPDATE remembered SET seq = $1 WHERE scope = $2 AND key = $3", seq, r.Scope, r.Key); err != nil {
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
