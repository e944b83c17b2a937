package memory

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"vigie/storage"
)

// rescans is what is kept of re-scans.
type rescans struct {
	jobs     []storage.Rescan // by ID, ascending
	last     storage.RescanID
	shards   map[storage.RescanID][]storage.Shard // number 1 is [0]
	hits     []storage.RescanHit                  // by ID, ascending
	failures []storage.RescanFailure              // by ID, ascending
	lastHit  uint64
	lastFail uint64
}

func (s rescans) clone() rescans {
	s.jobs, s.hits, s.failures = slices.Clone(s.jobs), slices.Clone(s.hits), slices.Clone(s.failures)
	s.shards = maps.Clone(s.shards)
	for id, shards := range s.shards {
		s.shards[id] = slices.Clone(shards)
	}
	return s
}

// rescan is the one to be changed.
func (s *rescans) rescan(id storage.RescanID) (*storage.Rescan, error) {
	i, ok := slices.BinarySearchFunc(s.jobs, id, func(r storage.Rescan, id storage.RescanID) int { return cmp.Compare(r.ID, id) })
	if !ok {
		return nil, missing("re-scan", id)
	}
	return &s.jobs[i], nil
}

// going is one that has not ended.
func (s *rescans) going(id storage.RescanID) (*storage.Rescan, error) {
	r, err := s.rescan(id)
	if err == nil && r.State.Ended() {
		return nil, fmt.Errorf("re-scan %d is %s: %w", id, r.State, storage.ErrConflict)
	}
	return r, err
}

// open is a shard that is not done, of a re-scan that has not ended.
func (s *rescans) open(id storage.RescanID, number int) (*storage.Rescan, *storage.Shard, error) {
	shards := s.shards[id]
	i := slices.IndexFunc(shards, func(s storage.Shard) bool { return s.Number == number })
	if i < 0 {
		return nil, nil, missing("shard", fmt.Sprintf("%d of re-scan %d", number, id))
	}
	r, err := s.going(id)
	if err != nil {
		return nil, nil, err
	}
	shard := &shards[i]
	if shard.Done {
		return nil, nil, fmt.Errorf("shard %d of re-scan %d is done: %w", number, id, storage.ErrConflict)
	}
	return r, shard, nil
}

func cloneRescan(r storage.Rescan) storage.Rescan {
	r.Options.Banks = slices.Clone(r.Options.Banks)
	return r
}

func (r *reader) Rescan(id storage.RescanID) (storage.Rescan, error) {
	found, err := r.rescans.rescan(id)
	if err != nil {
		return storage.Rescan{}, err
	}
	return cloneRescan(*found), nil
}

func (r *reader) Rescans(q storage.RescanQuery) (page []storage.Rescan, err error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	for _, one := range slices.Backward(r.rescans.jobs) {
		if len(page) < q.Limit && (q.Before == 0 || one.ID < q.Before) && (q.Party == 0 || one.Party == q.Party) &&
			(q.Source == "" || one.Source == q.Source) && (q.State == "" || one.State == q.State) {
			page = append(page, cloneRescan(one))
		}
	}
	return page, nil
}

func (r *reader) Shards(id storage.RescanID, after, limit int, open bool) (page []storage.Shard, err error) {
	if err := storage.CheckRescanRows(limit); err != nil {
		return nil, err
	}
	if _, err := r.rescans.rescan(id); err != nil {
		return nil, err
	}
	for _, s := range r.rescans.shards[id] {
		if s.Number > after && len(page) < limit && (!open || !s.Done) {
			page = append(page, s)
		}
	}
	return page, nil
}

func (r *reader) RescanHits(id storage.RescanID, after uint64, limit int) (page []storage.RescanHit, err error) {
	if err := storage.CheckRescanRows(limit); err != nil {
		return nil, err
	}
	if _, err := r.rescans.rescan(id); err != nil {
		return nil, err
	}
	for _, h := range r.rescans.hits {
		if h.Rescan == id && h.ID > after && len(page) < limit {
			h.Verdict, h.Entries = slices.Clone(h.Verdict), nil
			page = append(page, h)
		}
	}
	return page, nil
}

func (r *reader) RescanHitsOf(party storage.PartyID, entry storage.EntryID, after uint64, limit int) (page []storage.RescanHit, err error) {
	if err := storage.CheckRescanRows(limit); err != nil {
		return nil, err
	}
	for _, h := range r.rescans.hits {
		if h.ID <= after || len(page) == limit || !slices.Contains(h.Entries, entry) {
			continue
		}
		one, err := r.rescans.rescan(h.Rescan)
		if err != nil {
			return nil, err
		}
		if one.Party == party {
			h.Verdict, h.Entries = nil, nil
			page = append(page, h)
		}
	}
	return page, nil
}

func (r *reader) RescanFailures(id storage.RescanID, after uint64, limit int) (page []storage.RescanFailure, err error) {
	if err := storage.CheckRescanRows(limit); err != nil {
		return nil, err
	}
	if _, err := r.rescans.rescan(id); err != nil {
		return nil, err
	}
	for _, f := range r.rescans.failures {
		if f.Rescan == id && f.ID > after && len(page) < limit {
			page = append(page, f)
		}
	}
	return page, nil
}

func (w *writer) CreateRescan(r *storage.Rescan) error {
	if err := r.CheckText(); err != nil {
		return err
	}
	if _, err := w.Party(r.Party); err != nil {
		return err
	}
	head, err := w.Head()
	if err != nil {
		return err
	}
	w.rescans.last++
	*r = storage.Rescan{
		ID: w.rescans.last, Party: r.Party, Key: r.Key, Source: r.Source, State: storage.RescanPlanning,
		Options: r.Options, Seq: head.Seq, CreatedAt: w.options.Time(),
	}
	r.Options.NewerThan = storage.KeptTime(r.Options.NewerThan)
	w.rescans.jobs = append(w.rescans.jobs, cloneRescan(*r))
	return nil
}

func (w *writer) PlanRescan(id storage.RescanID) (storage.Rescan, error) {
	r, err := w.rescans.going(id)
	if err != nil {
		return storage.Rescan{}, err
	}
	r.Attempt++
	if r.StartedAt.IsZero() {
		r.StartedAt = w.options.Time()
	}
	return cloneRescan(*r), nil
}

func (w *writer) AddShards(id storage.RescanID, attempt int, p storage.Plan, shards []storage.Shard) error {
	if err := cmp.Or(storage.CheckText("source of a re-scan", p.Version), storage.CheckShards(p, shards)); err != nil {
		return err
	}
	r, err := w.rescans.going(id)
	if err != nil {
		return err
	}
	if r.Planned || r.Attempt != attempt {
		return fmt.Errorf("attempt %d at planning re-scan %d: %w", attempt, id, storage.ErrConflict)
	}
	for i, s := range shards {
		s = storage.Shard{Rescan: id, Number: r.Shards + i + 1, From: s.From, To: s.To, Planned: s.Planned, Cursor: s.From}
		shards[i] = s
		w.rescans.shards[id] = append(w.rescans.shards[id], s)
	}
	r.Plan, r.Shards, r.State = p, r.Shards+len(shards), p.Going()
	return nil
}

func (w *writer) TakeShard(id storage.RescanID, number int) (storage.Rescan, storage.Shard, error) {
	r, s, err := w.rescans.open(id, number)
	if err != nil {
		return storage.Rescan{}, storage.Shard{}, err
	}
	s.Attempt++
	s.Tries++
	if s.StartedAt.IsZero() {
		s.StartedAt = w.options.Time()
	}
	return cloneRescan(*r), *s, nil
}

func (w *writer) SaveShard(p storage.ShardProgress) error {
	if err := cmp.Or(p.CheckText(), p.Check()); err != nil {
		return err
	}
	r, s, err := w.rescans.open(p.Rescan, p.Shard)
	if err != nil {
		return err
	}
	if s.Attempt != p.Attempt {
		return fmt.Errorf("attempt %d at shard %d of re-scan %d: %w", p.Attempt, p.Shard, p.Rescan, storage.ErrConflict)
	}
	s.Cursor, s.Done, s.Tries = p.Cursor, p.Done, 0
	s.Counts.Add(p.Counts, 1)
	r.Counts.Add(p.Counts, 1)
	if p.Done {
		s.From, s.To, s.Cursor = "", "", ""
		s.FinishedAt = w.options.Time()
		r.ShardsDone++
	}
	for _, h := range p.Hits {
		w.rescans.lastHit++
		h.ID, h.Rescan, h.Shard, h.Verdict = w.rescans.lastHit, p.Rescan, p.Shard, slices.Clone(h.Verdict)
		h.Entries = slices.Clone(h.Entries)
		if len(h.Verdict) == 0 {
			h.Verdict = nil
		}
		w.rescans.hits = append(w.rescans.hits, h)
	}
	for _, f := range p.Failures {
		w.rescans.lastFail++
		f.ID, f.Rescan, f.Shard, f.Error = w.rescans.lastFail, p.Rescan, p.Shard, storage.RescanError(f.Error)
		w.rescans.failures = append(w.rescans.failures, f)
	}
	return nil
}

func (w *writer) EndRescan(id storage.RescanID, as storage.RescanState, reason string) (storage.Rescan, error) {
	r, err := w.rescans.rescan(id)
	if err != nil {
		return storage.Rescan{}, err
	}
	if again, err := r.CheckEnd(as); again || err != nil {
		return cloneRescan(*r), err
	}
	r.State, r.Error, r.FinishedAt = as, storage.RescanError(reason), w.options.Time()
	if as == storage.RescanDone {
		r.Cursor = ""
	}
	return cloneRescan(*r), nil
}

func (w *writer) ResumeRescan(id storage.RescanID) (storage.Rescan, error) {
	r, err := w.rescans.rescan(id)
	if err != nil {
		return storage.Rescan{}, err
	}
	if r.State != storage.RescanCancelled && r.State != storage.RescanFailed {
		return storage.Rescan{}, fmt.Errorf("re-scan %d is %s: %w", id, r.State, storage.ErrConflict)
	}
	r.State, r.Error, r.FinishedAt = r.Going(), "", time.Time{}
	for i := range w.rescans.shards[id] {
		w.rescans.shards[id][i].Tries = 0
	}
	return cloneRescan(*r), nil
}

// eraseItem takes the name of an item out of what the party's re-scans keep of it.
func (w *writer) eraseItem(party storage.PartyID, item string) (erased int) {
	erase := func(id storage.RescanID, name *string) {
		if r, err := w.rescans.rescan(id); err == nil && r.Party == party && item != "" && *name == item {
			*name = ""
			erased++
		}
	}
	for i := range w.rescans.hits {
		erase(w.rescans.hits[i].Rescan, &w.rescans.hits[i].Item)
	}
	for i := range w.rescans.failures {
		erase(w.rescans.failures[i].Rescan, &w.rescans.failures[i].Item)
	}
	return erased
}

func (w *writer) ExpireRescans(party storage.PartyID, before time.Time, limit int) (removed int, err error) {
	if err := storage.CheckRemoved(limit); err != nil {
		return 0, err
	}
	old := slices.DeleteFunc(slices.Clone(w.rescans.jobs), func(r storage.Rescan) bool {
		return r.Party != party || !r.State.Ended() || !r.FinishedAt.Before(storage.KeptTime(before))
	})
	slices.SortStableFunc(old, func(a, b storage.Rescan) int { return a.FinishedAt.Compare(b.FinishedAt) })
	gone := func(yes bool) bool {
		if yes = yes && removed < limit; yes {
			removed++
		}
		return yes
	}
	for _, r := range old {
		w.rescans.hits = slices.DeleteFunc(w.rescans.hits, func(h storage.RescanHit) bool { return gone(h.Rescan == r.ID) })
		w.rescans.failures = slices.DeleteFunc(w.rescans.failures, func(f storage.RescanFailure) bool { return gone(f.Rescan == r.ID) })
		w.rescans.shards[r.ID] = slices.DeleteFunc(w.rescans.shards[r.ID], func(storage.Shard) bool { return gone(true) })
		w.rescans.jobs = slices.DeleteFunc(w.rescans.jobs, func(one storage.Rescan) bool { return gone(one.ID == r.ID) })
	}
	return removed, nil
}
