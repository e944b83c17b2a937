package matcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"vigie/hashing"
	"vigie/hashing/pdq"
	"vigie/index"
	"vigie/storage"
)

// A platform that kept the hashes of what was posted asks about all of them at once. They are joined with the index, which is far
// quicker than one search after the other; what is found goes the way of a check from there, so that the verdicts are the same.

// HashList says how many hashes are asked about.
type HashList struct {
	Who    Principal
	Banks  []string // only these; all if empty
	MinSeq uint64   // answer only from an index that has seen this change
	Since  uint64   // only entries that have changed after this number of the log count; 0: all
	// Upright: the hashes are looked up as they are, and not turned, mirrored or inverted: in a ninth of the time.
	Upright bool
}

// maxJoined bounds the hits that are held at a time: some 50 MB. Where hashes have more, fewer of them are joined at a time.
const maxJoined = 1 << 20

var errCrowded = errors.New("too many hits at a time")

// JoinHashes answers for each PDQ hash of a list what [Matcher.Check] answers for it alone, and calls found, in the order of the
// list, with the place of each whose level is not None, and its verdict. Nothing is recorded, and no floods are counted. The
// hashes must be plain ones without a time, and may number a million, or a hundred thousand if they
// are turned: for each and each of its queries, some hundred bytes are held.
//
// Errors are those of Check, found's own, and ErrUnavailable if the catalogue cannot be asked about what matches: without that
// it would not be known what is recommended.
func (m *Matcher) JoinHashes(ctx context.Context, q HashList, hashes []hashing.Signal, found func(i int, v Verdict) error) error {
	for i, s := range hashes {
		switch {
		case s.Algorithm != hashing.PDQ || s.Variant != hashing.Plain || s.Time != 0:
			return invalid("hashes", "number %d is no plain pdq of a picture", i)
		case s.Quality > hashing.MaxQuality && s.Quality != hashing.QualityUnknown:
			return invalid("hashes", "number %d: quality %d; accepted are 0 to %d", i, s.Quality, hashing.MaxQuality)
		}
	}
	state, err := m.stateAt(ctx, q.MinSeq)
	if err != nil {
		return err
	}
	sc, err := state.scope(q.Who.Party).named(q.Banks)
	if err != nil {
		return err
	}
	j := join{
		m: m, q: q, state: state, scope: sc, found: found, known: map[storage.EntryID]reel{}, seqs: map[storage.EntryID]uint64{},
		drawn: slices.ContainsFunc(sc.banks, func(b storage.Bank) bool { return b.Policy.EnabledRatio != nil }),
	}
	if err := j.run(ctx, 0, hashes); err != nil {
		return err
	}
	return j.flush(ctx)
}

// join is one JoinHashes.
type join struct {
	m       *Matcher
	q       HashList
	state   *State
	scope   *Scope
	drawn   bool // some bank is asked about a part of all contents
	found   func(int, Verdict) error
	known   map[storage.EntryID]reel
	seqs    map[storage.EntryID]uint64 // of the last change of entries, as far as they were asked for
	pending []joined                   // not explained yet, in the order of the list
	waiting int                        // matches of these, as many as are told
}

// joined is a hash that was found near something.
type joined struct {
	i     int
	watch *watch
	track Track
	found []Found
	v     Verdict
}

// near is one hit of a hash, by one of the queries that a check makes of it.
type near struct {
	row int32
	ask int8
	index.Hit
}

// run joins hashes of which the first is number first of the list.
func (j *join) run(ctx context.Context, first int, hashes []hashing.Signal) error {
	hits, err := j.search(ctx, hashes)
	if half := len(hashes) / 2; errors.Is(err, errCrowded) {
		if err := j.run(ctx, first, hashes[:half]); err != nil {
			return err
		}
		return j.run(ctx, first+half, hashes[half:])
	}
	if err != nil {
		return err
	}
	for len(hits) > 0 {
		row := hits[0].row
		n := slices.IndexFunc(hits, func(h near) bool { return h.row != row })
		if n < 0 {
			n = len(hits)
		}
		if err := j.judge(ctx, first+int(row), hashes[row], hits[:n]); err != nil {
			return err
		}
		hits = hits[n:]
	}
	return nil
}

// search finds all hits of all queries, in the order of hashes, queries and [index.Result].
func (j *join) search(ctx context.Context, hashes []hashing.Signal) (hits []near, err error) {
	var rows []int32
	for i, s := range hashes {
		if poor(s) == nil {
			rows = append(rows, int32(i))
		}
	}
	query := index.Query{Algorithm: hashing.PDQ, Banks: ask{Query: hashing.Query{Signal: hashing.Signal{
		Algorithm: hashing.PDQ, Quality: hashing.MaxQuality,
	}}}.scope(j.scope.banks)}
	// All queries at a time: the more values, the less a join takes for each.
	transforms := j.transforms()
	values := make([]hashing.Value, 0, len(rows)*len(transforms))
	for _, row := range rows {
		values = appendTransformed(values, hashes[row].Value, transforms)
	}
	err = j.state.Snapshot.Join(ctx, query, values, func(n int, h index.Hit) error {
		if len(hits) >= maxJoined && len(hashes) > 1 {
			return errCrowded
		}
		hits = append(hits, near{rows[n/len(transforms)], int8(n % len(transforms)), h})
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(hits, func(a, b near) int {
		return cmp.Or(cmp.Compare(a.row, b.row), cmp.Compare(a.ask, b.ask), cmp.Compare(a.Distance, b.Distance),
			cmp.Compare(a.Entry, b.Entry), cmp.Compare(a.Variant, b.Variant), cmp.Compare(a.Hit.Time, b.Hit.Time))
	})
	return hits, nil
}

// transforms are those of a hash's queries, in the order of [askSignals].
func (j *join) transforms() []hashing.Transform {
	if j.q.Upright {
		return []hashing.Transform{hashing.Identity}
	}
	return allTransforms()
}

func allTransforms() []hashing.Transform {
	all := []hashing.Transform{hashing.Inverted}
	for t := hashing.Identity; t < hashing.Orientations; t++ {
		all = append(all, t)
	}
	return all
}

// appendTransformed appends a PDQ value under some transforms; if it is one alone, that is Identity.
func appendTransformed(to []hashing.Value, v hashing.Value, transforms []hashing.Transform) []hashing.Value {
	if len(transforms) == 1 {
		return append(to, v)
	}
	turned := pdq.DihedralOf(pdq.Hash(v))
	for _, t := range transforms {
		if t == hashing.Inverted {
			to = append(to, inverse(v))
		} else {
			to = append(to, hashing.Value(turned[t]))
		}
	}
	return to
}

// inverse is the PDQ value of the negative.
func inverse(v hashing.Value) hashing.Value {
	for i := range v {
		v[i] = ^v[i]
	}
	return v
}

// judge takes the hits of one hash for what a check would have found.
func (j *join) judge(ctx context.Context, i int, s hashing.Signal, hits []near) error {
	sc := j.scope
	if j.drawn {
		sc = sc.sampled(contentOf(nil, []hashing.Signal{s}))
	}
	asks := askSignals([]hashing.Signal{s}, false)
	if j.q.Upright {
		asks = slices.DeleteFunc(asks, func(a ask) bool { return a.Transform != hashing.Identity })
	}
	results := make([]index.Result, len(asks))
	reach := asks[0].scope(sc.banks) // of this hash: the same for all its queries
	for _, h := range hits {
		if r, ok := reach[h.Bank]; ok && h.Distance <= r {
			results[h.ask].Hits = append(results[h.ask].Hits, h.Hit)
		}
	}
	one := joined{i: i, watch: newWatch(j.state, sc), track: trackOf(asks), v: Verdict{Signals: []hashing.Signal{s}}}
	one.watch.known = j.known
	one.watch.take(asks, results)
	if one.found = one.watch.found(one.track); len(one.found) == 0 {
		return nil
	}
	one.v.about(j.state, sc)
	if j.waiting+min(len(one.found), MaxMatches) > storage.MaxLabels {
		if err := j.flush(ctx); err != nil {
			return err
		}
	}
	j.pending = append(j.pending, one)
	j.waiting += min(len(one.found), MaxMatches)
	return nil
}

// flush concludes what is pending, with one question to the catalogue.
func (j *join) flush(ctx context.Context) error {
	var told []Found
	for n := range j.pending {
		p := &j.pending[n]
		var err error
		if p.found, err = j.m.since(ctx, j.state, p.found, j.q.Since, j.seqs); err != nil {
			return err
		}
		p.v.MatchesTotal, p.v.Matches = len(p.found), foremost(p.found)
		told = append(told, p.v.Matches...)
	}
	if len(told) > 0 {
		durations, err := j.m.explain(ctx, told, j.pending[0].watch)
		if err = cmp.Or(ctx.Err(), err); err != nil {
			return err
		}
		for _, p := range j.pending {
			told = told[copy(p.v.Matches, told):]
			p.watch.align(p.v.Matches, p.track, durations, nil)
			p.v.weigh(nil, p.found)
			if p.v.Level > None {
				if err := j.found(p.i, p.v); err != nil {
					return err
				}
			}
		}
	}
	clear(j.pending)
	j.pending, j.waiting = j.pending[:0], 0
	return nil
}

// since leaves of what was found in a state the entries that have changed after a number of the log, if it is not 0. What it learns, it
// notes in seqs, if that is not nil.
func (m *Matcher) since(ctx context.Context, s *State, found []Found, after uint64, seqs map[storage.EntryID]uint64) ([]Found, error) {
	if after == 0 || len(found) == 0 {
		return found, nil
	}
	if seqs == nil {
		seqs = map[storage.EntryID]uint64{}
	}
	if !m.follower.holds(s) {
		return nil, errStrange
	}
	err := m.catalogue.View(ctx, func(r storage.Reader) error {
		if head, err := r.Head(); err != nil {
			return err
		} else if s.point().in(head) != nil {
			return errStrange
		}
		for _, f := range found {
			if _, ok := seqs[f.Entry]; ok {
				continue
			}
			e, err := r.Entry(f.Entry)
			if err != nil {
				return err
			}
			seqs[f.Entry] = e.Seq
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read when the entries that match were changed: %w", err)
	}
	return slices.DeleteFunc(found, func(f Found) bool { return seqs[f.Entry] <= after }), nil
}
