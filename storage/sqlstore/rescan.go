package sqlstore

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"vigie/storage"
)

const (
	// rescanCounts are the columns of [storage.RescanCounts], in its order.
	rescanCounts = "items, bytes, failed, none, review, likely, matched"
	addCounts    = "items = items + $1, bytes = bytes + $2, failed = failed + $3, none = none + $4, review = review + $5, " +
		"likely = likely + $6, matched = matched + $7"

	selectRescans = "SELECT id, party, key, source, state, options, seq, version, cursor, planned, attempt, shards, shards_done, " +
		rescanCounts + ", error, created_at, started_at, finished_at FROM rescans "
	selectShards = "SELECT rescan, number, begins, ends, planned, todo, attempt, tries, cursor, " +
		rescanCounts + ", started_at, finished_at FROM rescan_shards "
	selectRescanHits   = "SELECT id, rescan, shard, item, level, action, verdict FROM rescan_hits WHERE rescan = $1 AND id > $2 ORDER BY id LIMIT $3"
	selectRescanHitsOf = "SELECT h.id, h.rescan, h.shard, h.item, h.level, h.action, NULL FROM rescan_hit_entries e JOIN rescan_hits h ON h.id = e.hit " +
		"WHERE e.party = $1 AND e.entry = $2 AND e.hit > $3 ORDER BY e.hit LIMIT $4"
	selectRescanFailures = "SELECT id, rescan, shard, item, error FROM rescan_failures WHERE rescan = $1 AND id > $2 ORDER BY id LIMIT $3"
)

func scanRescan(row scanner) (r storage.Rescan, err error) {
	c := &r.Counts
	err = row.Scan(&r.ID, &r.Party, &r.Key, &r.Source, &r.State, jsonColumn{&r.Options}, &r.Seq, &r.Version, &r.Cursor, &r.Planned,
		&r.Attempt, &r.Shards, &r.ShardsDone, &c.Items, &c.Bytes, &c.Failed, &c.None, &c.Review, &c.Likely, &c.Match,
		&r.Error, timeColumn{&r.CreatedAt}, timeColumn{&r.StartedAt}, timeColumn{&r.FinishedAt})
	return r, err
}

func scanShard(row scanner) (s storage.Shard, err error) {
	var todo *int64
	c := &s.Counts
	err = row.Scan(&s.Rescan, &s.Number, &s.From, &s.To, &s.Planned, &todo, &s.Attempt, &s.Tries, &s.Cursor,
		&c.Items, &c.Bytes, &c.Failed, &c.None, &c.Review, &c.Likely, &c.Match, timeColumn{&s.StartedAt}, timeColumn{&s.FinishedAt})
	s.Done = todo == nil
	return s, err
}

func (r *reader) Rescan(id storage.RescanID) (storage.Rescan, error) {
	found, err := scanRescan(r.row(selectRescans+"WHERE id = $1", id))
	return found, wrap(err, "re-scan", id)
}

func (r *reader) Rescans(q storage.RescanQuery) ([]storage.Rescan, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	if !storage.IsText(q.Source) || !storage.IsText(string(q.State)) {
		return nil, nil
	}
	before := int64(q.Before)
	if before <= 0 {
		before = 1<<63 - 1
	}
	where, args := "WHERE id < $1", []any{before}
	filter := func(column string, v any) {
		args = append(args, v)
		where += fmt.Sprintf(" AND %s = $%d", column, len(args))
	}
	if q.Party != 0 {
		filter("party", q.Party)
	}
	if q.Source != "" {
		filter("source", q.Source)
	}
	if q.State != "" {
		filter("state", q.State)
	}
	args = append(args, q.Limit)
	page, err := list(r.ctx, r.db, scanRescan, selectRescans+where+fmt.Sprintf(" ORDER BY id DESC LIMIT $%d", len(args)), args...)
	return page, wrap(err, "re-scans before", q.Before)
}

func selectShardsOf(open bool) string {
	number := "number"
	if open {
		number = "todo"
	}
	return selectShards + "WHERE rescan = $1 AND " + number + " > $2 ORDER BY " + number + " LIMIT $3"
}

func (r *reader) Shards(id storage.RescanID, after, limit int, open bool) ([]storage.Shard, error) {
	return rowsOf(r, scanShard, selectShardsOf(open), id, uint64(max(after, 0)), limit)
}

func (r *reader) RescanHits(id storage.RescanID, after uint64, limit int) ([]storage.RescanHit, error) {
	return rowsOf(r, scanRescanHit, selectRescanHits, id, after, limit)
}

func (r *reader) RescanHitsOf(party storage.PartyID, entry storage.EntryID, after uint64, limit int) ([]storage.RescanHit, error) {
	if err := storage.CheckRescanRows(limit); err != nil {
		return nil, err
	}
	page, err := list(r.ctx, r.db, scanRescanHit, selectRescanHitsOf, party, entry, after, limit)
	return page, wrap(err, "hits of re-scans on entry", entry)
}

func scanRescanHit(row scanner) (h storage.RescanHit, err error) {
	var verdict *string
	err = row.Scan(&h.ID, &h.Rescan, &h.Shard, &h.Item, &h.Level, &h.Action, &verdict)
	if verdict != nil {
		h.Verdict = json.RawMessage(*verdict)
	}
	return h, err
}

func (r *reader) RescanFailures(id storage.RescanID, after uint64, limit int) ([]storage.RescanFailure, error) {
	return rowsOf(r, func(row scanner) (f storage.RescanFailure, err error) {
		err = row.Scan(&f.ID, &f.Rescan, &f.Shard, &f.Item, &f.Error)
		return f, err
	}, selectRescanFailures, id, after, limit)
}

// rowsOf reads a page of what belongs to a re-scan.
func rowsOf[T any](r *reader, scan func(scanner) (T, error), query string, id storage.RescanID, after uint64, limit int) ([]T, error) {
	if err := storage.CheckRescanRows(limit); err != nil {
		return nil, err
	}
	if after > 1<<63-1 {
		after = 1<<63 - 1
	}
	if _, err := r.Rescan(id); err != nil {
		return nil, err
	}
	page, err := list(r.ctx, r.db, scan, query, id, after, limit)
	return page, wrap(err, "what belongs to re-scan", id)
}

func (w *writer) CreateRescan(r *storage.Rescan) error {
	if err := r.CheckText(); err != nil {
		return err
	}
	if err := w.partyExists(r.Party); err != nil {
		return err
	}
	head, err := w.Head()
	if err != nil {
		return err
	}
	*r = storage.Rescan{
		Party: r.Party, Key: r.Key, Source: r.Source, State: storage.RescanPlanning,
		Options: r.Options, Seq: head.Seq, CreatedAt: w.options.Time(),
	}
	r.Options.NewerThan = storage.KeptTime(r.Options.NewerThan)
	options, err := json.Marshal(r.Options)
	if err != nil {
		return fmt.Errorf("options of a re-scan: %w", err)
	}
	err = w.row(`
		INSERT INTO rescans (party, key, source, state, options, seq, version, cursor, planned, attempt, shards, shards_done,
			`+rescanCounts+`, error, created_at, started_at, finished_at)
		VALUES ($1, $2, $3, $4, $5, $6, '', $7, FALSE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '', $8, 0, 0) RETURNING id`,
		r.Party, r.Key, r.Source, r.State, string(options), r.Seq, []byte{}, millis(r.CreatedAt)).Scan(&r.ID)
	return wrap(err, "re-scan of", r.Source)
}

// going is a re-scan that has not ended.
func (w *writer) going(id storage.RescanID) (storage.Rescan, error) {
	r, err := w.Rescan(id)
	if err == nil && r.State.Ended() {
		err = fmt.Errorf("re-scan %d is %s: %w", id, r.State, storage.ErrConflict)
	}
	return r, err
}

// openShard is a shard that is not done, of a re-scan that has not ended.
func (w *writer) openShard(id storage.RescanID, number int) (storage.Rescan, storage.Shard, error) {
	s, err := scanShard(w.row(selectShards+"WHERE rescan = $1 AND number = $2", id, number))
	if err != nil {
		return storage.Rescan{}, s, wrap(err, "shard", fmt.Sprintf("%d of re-scan %d", number, id))
	}
	r, err := w.going(id)
	if err == nil && s.Done {
		err = fmt.Errorf("shard %d of re-scan %d is done: %w", number, id, storage.ErrConflict)
	}
	return r, s, err
}

func (w *writer) PlanRescan(id storage.RescanID) (storage.Rescan, error) {
	r, err := w.going(id)
	if err != nil {
		return storage.Rescan{}, err
	}
	r.Attempt++
	if r.StartedAt.IsZero() {
		r.StartedAt = w.options.Time()
	}
	return r, wrap(w.exec("UPDATE rescans SET attempt = $1, started_at = $2 WHERE id = $3", r.Attempt, millis(r.StartedAt), id), "re-scan", id)
}

func (w *writer) AddShards(id storage.RescanID, attempt int, p storage.Plan, shards []storage.Shard) error {
	if err := cmp.Or(storage.CheckText("source of a re-scan", p.Version), storage.CheckShards(p, shards)); err != nil {
		return err
	}
	r, err := w.going(id)
	if err != nil {
		return err
	}
	if r.Planned || r.Attempt != attempt {
		return fmt.Errorf("attempt %d at planning re-scan %d: %w", attempt, id, storage.ErrConflict)
	}
	for i, s := range shards {
		s = storage.Shard{Rescan: id, Number: r.Shards + i + 1, From: s.From, To: s.To, Planned: s.Planned, Cursor: s.From}
		shards[i] = s
		err := w.exec(`
			INSERT INTO rescan_shards (rescan, number, begins, ends, planned, todo, attempt, tries, cursor, `+rescanCounts+`, started_at, finished_at)
			VALUES ($1, $2, $3, $4, $5, $2, 0, 0, $3, 0, 0, 0, 0, 0, 0, 0, 0, 0)`, id, s.Number, []byte(s.From), []byte(s.To), s.Planned)
		if err != nil {
			return fmt.Errorf("shard %d of re-scan %d: %w", s.Number, id, err)
		}
	}
	return wrap(w.exec("UPDATE rescans SET version = $1, cursor = $2, planned = $3, shards = $4, state = $5 WHERE id = $6",
		p.Version, []byte(p.Cursor), p.Planned, r.Shards+len(shards), p.Going(), id), "re-scan", id)
}

func (w *writer) TakeShard(id storage.RescanID, number int) (storage.Rescan, storage.Shard, error) {
	r, s, err := w.openShard(id, number)
	if err != nil {
		return storage.Rescan{}, storage.Shard{}, err
	}
	s.Attempt++
	s.Tries++
	if s.StartedAt.IsZero() {
		s.StartedAt = w.options.Time()
	}
	err = w.exec("UPDATE rescan_shards SET attempt = $1, tries = $2, started_at = $3 WHERE rescan = $4 AND number = $5",
		s.Attempt, s.Tries, millis(s.StartedAt), id, number)
	return r, s, wrap(err, "shard", number)
}

func (w *writer) SaveShard(p storage.ShardProgress) error {
	if err := cmp.Or(p.CheckText(), p.Check()); err != nil {
		return err
	}
	r, s, err := w.openShard(p.Rescan, p.Shard)
	if err != nil {
		return err
	}
	if s.Attempt != p.Attempt {
		return fmt.Errorf("attempt %d at shard %d of re-scan %d: %w", p.Attempt, p.Shard, p.Rescan, storage.ErrConflict)
	}
	c, todo, finished, done := p.Counts, &p.Shard, int64(0), 0
	s.Cursor = p.Cursor
	if p.Done {
		todo, finished, done = nil, millis(w.options.Time()), 1
		s.From, s.To, s.Cursor = "", "", ""
	}
	err = w.exec("UPDATE rescan_shards SET "+addCounts+", begins = $8, ends = $9, cursor = $10, todo = $11, tries = 0, finished_at = $12 WHERE rescan = $13 AND number = $14",
		c.Items, c.Bytes, c.Failed, c.None, c.Review, c.Likely, c.Match, []byte(s.From), []byte(s.To), []byte(s.Cursor), todo, finished, p.Rescan, p.Shard)
	if err == nil {
		err = w.exec("UPDATE rescans SET "+addCounts+", shards_done = shards_done + $8 WHERE id = $9",
			c.Items, c.Bytes, c.Failed, c.None, c.Review, c.Likely, c.Match, done, p.Rescan)
	}
	for i := 0; err == nil && i < len(p.Hits); i++ {
		h := p.Hits[i]
		err = w.exec("INSERT INTO rescan_hits (rescan, shard, item, level, action, verdict) VALUES ($1, $2, $3, $4, $5, $6)",
			p.Rescan, p.Shard, []byte(h.Item), h.Level, h.Action, nullText(h.Verdict))
		for k := 0; err == nil && k < len(h.Entries); k++ { // of that hit, the re-scan's last; its number is not asked for, as that is a round trip
			err = w.exec("INSERT INTO rescan_hit_entries (hit, entry, party) SELECT max(id), $2, $3 FROM rescan_hits WHERE rescan = $1", p.Rescan, h.Entries[k], r.Party)
		}
	}
	for i := 0; err == nil && i < len(p.Failures); i++ {
		f := p.Failures[i]
		err = w.exec("INSERT INTO rescan_failures (rescan, shard, item, error) VALUES ($1, $2, $3, $4)",
			p.Rescan, p.Shard, []byte(f.Item), storage.RescanError(f.Error))
	}
	return wrap(err, "shard", p.Shard)
}

func (w *writer) EndRescan(id storage.RescanID, as storage.RescanState, reason string) (storage.Rescan, error) {
	r, err := w.Rescan(id)
	if err != nil {
		return storage.Rescan{}, err
	}
	if again, err := r.CheckEnd(as); again || err != nil {
		return r, err
	}
	r.State, r.Error, r.FinishedAt = as, storage.RescanError(reason), w.options.Time()
	if as == storage.RescanDone {
		r.Cursor = ""
	}
	return r, w.setState(r)
}

func (w *writer) ResumeRescan(id storage.RescanID) (storage.Rescan, error) {
	r, err := w.Rescan(id)
	if err != nil {
		return storage.Rescan{}, err
	}
	if r.State != storage.RescanCancelled && r.State != storage.RescanFailed {
		return storage.Rescan{}, fmt.Errorf("re-scan %d is %s: %w", id, r.State, storage.ErrConflict)
	}
	r.State, r.Error, r.FinishedAt = r.Going(), "", time.Time{}
	if err := w.exec("UPDATE rescan_shards SET tries = 0 WHERE rescan = $1 AND todo > 0 AND tries > 0", id); err != nil {
		return storage.Rescan{}, wrap(err, "re-scan", id)
	}
	return r, w.setState(r)
}

func (w *writer) setState(r storage.Rescan) error {
	return wrap(w.exec("UPDATE rescans SET state = $1, error = $2, finished_at = $3, cursor = $4 WHERE id = $5",
		r.State, r.Error, millis(r.FinishedAt), []byte(r.Cursor), r.ID), "re-scan", r.ID)
}

// What EraseContent runs: by the name, of which there are few.
const (
	eraseRescanHits     = "UPDATE rescan_hits SET item = $3 WHERE item = $2 AND EXISTS (SELECT 1 FROM rescans r WHERE r.id = rescan_hits.rescan AND r.party = $1)"
	eraseRescanFailures = "UPDATE rescan_failures SET item = $3 WHERE item = $2 AND EXISTS (SELECT 1 FROM rescans r WHERE r.id = rescan_failures.rescan AND r.party = $1)"
)

// What ExpireRescans runs, for the oldest re-scan that is to go.
const (
	selectOldRescan    = "SELECT id FROM rescans WHERE party = $1 AND finished_at > 0 AND finished_at < $2 ORDER BY finished_at, id LIMIT 1"
	removeHitEntries   = "DELETE FROM rescan_hit_entries WHERE hit IN (SELECT id FROM rescan_hits WHERE rescan = $1 ORDER BY id LIMIT $2)"
	removeRescanHits   = "DELETE FROM rescan_hits WHERE id IN (SELECT id FROM rescan_hits WHERE rescan = $1 ORDER BY id LIMIT $2)"
	removeRescanFails  = "DELETE FROM rescan_failures WHERE id IN (SELECT id FROM rescan_failures WHERE rescan = $1 ORDER BY id LIMIT $2)"
	removeRescanShards = "DELETE FROM rescan_shards WHERE rescan = $1 AND number IN (SELECT number FROM rescan_shards WHERE rescan = $1 ORDER BY number LIMIT $2)"
	removeRescan       = "DELETE FROM rescans WHERE id = $1 AND $2 > 0"
)

func (w *writer) ExpireRescans(party storage.PartyID, before time.Time, limit int) (removed int, err error) {
	if err := storage.CheckRemoved(limit); err != nil {
		return 0, err
	}
	for removed < limit {
		old, err := list(w.ctx, w.db, func(row scanner) (id storage.RescanID, err error) { return id, row.Scan(&id) },
			selectOldRescan, party, millis(before))
		if err != nil || len(old) == 0 {
			return removed, wrap(err, "old re-scans of party", party)
		}
		if err := w.exec(removeHitEntries, old[0], limit-removed); err != nil { // of those that are next; no rows of their own
			return removed, wrap(err, "old re-scan", old[0])
		}
		for _, statement := range []string{removeRescanHits, removeRescanFails, removeRescanShards, removeRescan} {
			if removed == limit {
				break
			}
			result, err := w.db.ExecContext(w.ctx, statement, old[0], limit-removed)
			if err != nil {
				return removed, wrap(err, "old re-scan", old[0])
			}
			n, err := result.RowsAffected()
			if err != nil {
				return removed, err
			}
			removed += int(n)
		}
	}
	return removed, nil
}
