package matcher

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"vigie/hashing"
	"vigie/hashing/pdq"
	"vigie/index"
	"vigie/storage"
)

// Question is what a check asks about: Media, Signals of it, or both.
type Question struct {
	Media     *hashing.Media
	Signals   []hashing.Signal
	ContentID string   // opaque; comes back in the verdict
	Banks     []string // only these; all if empty
	MinSeq    uint64   // answer only from an index that has seen this change
}

// Check answers whether something is near a known entry. It needs the catalogue only for the labels
// of what matches: without them the verdict is [Verdict.Unexplained].
//
// Media that cannot be decoded are a [*hashing.MediaError], unless their exact bytes are known.
// Other errors: [*InputError], ErrUnknownBank, ErrIndexBehind, ErrBeyondHead, ErrNotReady.
func (m *Matcher) Check(ctx context.Context, q Question) (Verdict, error) {
	start := m.o.Now()
	if _, _, err := m.known(ctx, q); err != nil {
		return Verdict{}, err // before the work of hashing
	}
	v := Verdict{ContentID: q.ContentID}
	queries, mediaErr, err := m.ask(ctx, q, &v)
	if err != nil {
		return Verdict{}, err
	}
	hashed := m.o.Now()
	state, banks, err := m.known(ctx, q) // what was flagged while it was hashed counts
	if err != nil {
		return Verdict{}, err
	}
	v.IndexSeq, v.LogID, v.Banks = state.Seq, state.LogID, len(banks)
	found, err := search(ctx, state, queries, banks)
	if err != nil {
		return Verdict{}, err
	}
	if mediaErr != nil && len(found) == 0 {
		return Verdict{}, mediaErr
	}
	searched := m.o.Now()

	v.MatchesTotal = len(found)
	for _, f := range found {
		v.Level, v.Action = max(v.Level, f.Level), max(v.Action, f.Action)
	}
	v.Matches = found[:min(len(found), MaxMatches)]
	if err := m.explain(ctx, v.Matches); ctx.Err() != nil {
		return Verdict{}, ctx.Err()
	} else if err != nil {
		v.Unexplained = true
		m.fault(err)
	}
	end := m.o.Now()
	v.Timings = Timings{Hash: hashed.Sub(start), Search: searched.Sub(hashed), Explain: end.Sub(searched), Total: end.Sub(start)}
	if m.o.Events.Checked != nil {
		m.o.Events.Checked(v)
	}
	return v, nil
}

// known is what a question is asked of: the newest state that has seen its MinSeq, and its banks.
func (m *Matcher) known(ctx context.Context, q Question) (*State, []storage.Bank, error) {
	state, err := m.stateAt(ctx, q.MinSeq)
	if err != nil {
		return nil, nil, err
	}
	banks, err := state.scope(q.Banks)
	return state, banks, err
}

// stateAt is the newest state, once it has seen minSeq.
func (m *Matcher) stateAt(ctx context.Context, minSeq uint64) (*State, error) {
	state, err := m.loaded(ctx)
	if err != nil || minSeq <= state.Seq {
		return state, err
	}
	// Without the catalogue nobody can say whether there is such a change; it may be on its way.
	if head, err := m.catalogue.Head(ctx); err == nil && minSeq > head.Seq {
		return nil, fmt.Errorf("%w: %d is asked for, the last change is %d", ErrBeyondHead, minSeq, head.Seq)
	}
	if err := m.await(ctx, minSeq); err != nil {
		return nil, err
	}
	return m.state()
}

// scope is the banks of these names; without any, all that are not deleted.
func (s *State) scope(names []string) ([]storage.Bank, error) {
	if len(names) == 0 {
		deleted := func(b storage.Bank) bool { return b.Deleted }
		return slices.DeleteFunc(slices.Collect(maps.Values(s.Banks)), deleted), nil
	}
	banks := make([]storage.Bank, 0, len(names))
	for _, name := range names {
		b, ok := s.bank(name)
		if !ok {
			return nil, fmt.Errorf("%w: %s", ErrUnknownBank, name)
		}
		banks = append(banks, b)
	}
	return banks, nil
}

// ask turns the question into queries and notes in the verdict what was computed. The second result
// is why media could not be hashed; their digests are asked for all the same.
func (m *Matcher) ask(ctx context.Context, q Question, v *Verdict) (queries []hashing.Query, mediaErr, err error) {
	if err := checkSignals(q.Signals); err != nil {
		return nil, nil, err
	}
	if q.Media == nil && len(q.Signals) == 0 {
		return nil, nil, noSignals()
	}
	if q.Media != nil {
		if queries, mediaErr, err = m.askMedia(ctx, *q.Media, v); err != nil {
			return nil, nil, err
		}
	}
	v.Signals = append(v.Signals, q.Signals...)
	for _, s := range q.Signals {
		if err := poor(s); err == nil {
			queries = append(queries, turned(s)...)
		} else if v.Unhashable == nil {
			v.Unhashable = &Unhashable{Reason: string(hashing.LowQuality), Detail: "not searched: " + err.Error()}
		}
	}
	return queries, mediaErr, nil
}

func (m *Matcher) askMedia(ctx context.Context, media hashing.Media, v *Verdict) (queries []hashing.Query, mediaErr, err error) {
	v.Media = &storage.MediaInfo{SHA256: media.SHA256, Bytes: int64(len(media.Data))}
	v.Signals = media.Digests()
	queries = plain(v.Signals)
	p, err := m.hasher.Picture(ctx, media.Data)
	if bad, ok := hashing.AsMediaError(err); ok {
		v.Unhashable = &Unhashable{Reason: string(bad.Kind), Detail: bad.Detail}
		return queries, err, nil
	}
	if err != nil {
		return nil, nil, err
	}
	v.Media.Format, v.Media.Width, v.Media.Height = p.Format, p.Width, p.Height
	v.Signals = append(v.Signals, p.Signals...)
	if p.Unhashable != "" {
		v.Unhashable = &Unhashable{Reason: string(p.Unhashable), Detail: whyUnhashable[p.Unhashable]}
	}
	return append(queries, p.Queries...), nil, nil
}

var whyUnhashable = map[hashing.Reason]string{
	hashing.Flat:       "the picture is of one colour; only its exact bytes can be matched",
	hashing.Tiny:       "a side is shorter than 5 pixels; only its exact bytes can be matched",
	hashing.LowQuality: "the picture has too little detail (PDQ quality under 50); only its exact bytes can be matched",
}

// plain are the queries for signals as they are.
func plain(signals []hashing.Signal) []hashing.Query {
	queries := make([]hashing.Query, len(signals))
	for i, s := range signals {
		queries[i].Signal = s
	}
	return queries
}

// turned are the queries for a signal that came without its picture. The turned and mirrored forms
// of a PDQ hash follow from its bits up to a few (see [pdq.DihedralOf]).
func turned(s hashing.Signal) []hashing.Query {
	if s.Algorithm != hashing.PDQ {
		return plain([]hashing.Signal{s})
	}
	queries := make([]hashing.Query, 0, hashing.Orientations)
	for t, h := range pdq.DihedralOf(pdq.Hash(s.Value)) {
		turned := s
		turned.Value = hashing.Value(h)
		queries = append(queries, hashing.Query{Signal: turned, Transform: hashing.Transform(t)})
	}
	return queries
}

// search asks the index for all queries at once.
func search(ctx context.Context, s *State, queries []hashing.Query, banks []storage.Bank) ([]Found, error) {
	scopes := map[hashing.Algorithm]map[index.BankID]int{}
	asked := make([]index.Query, len(queries))
	for i, q := range queries {
		a := q.Signal.Algorithm
		if scopes[a] == nil {
			scopes[a] = scope(banks, a)
		}
		asked[i] = index.Query{Algorithm: a, Value: q.Signal.Value, Banks: scopes[a]}
	}
	results, err := s.Snapshot.SearchMany(ctx, asked)
	if err != nil {
		return nil, err
	}
	return gather(queries, results, s.Banks), nil
}

// explain adds what the catalogue knows of the entries found, as of now. Without any it asks nothing.
func (m *Matcher) explain(ctx context.Context, found []Found) error {
	if len(found) == 0 {
		return nil
	}
	err := m.catalogue.View(ctx, func(r storage.Reader) error {
		ids := make([]storage.EntryID, len(found))
		for i, f := range found {
			ids[i] = f.Entry
		}
		labels, err := r.Labels(ids)
		for i, f := range found {
			found[i].Labels = labels[f.Entry]
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read the entries that match: %w", err)
	}
	return nil
}
