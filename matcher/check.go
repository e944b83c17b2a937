package matcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vigie/hashing"
	"vigie/index"
	"vigie/storage"
)

// Question is what a check asks about: Media, Signals of it, or both.
type Question struct {
	Who       Principal // whose subscriptions count
	Media     *hashing.Media
	Signals   []hashing.Signal
	ContentID string   // opaque; comes back in the verdict
	Banks     []string // only these; all if empty
	Context   []string // what the platform says of the surroundings: news, education, art, research, counter_terror
	MinSeq    uint64   // answer only from an index that has seen this change
	Since     uint64   // only entries that have changed after this number of the log count; 0: all
	// Past says that it is no upload of now, but one of many that are gone through again: it is not kept in the history, its match is
	// recorded by who asks, and it is no part of a flood.
	Past bool
	// Band asks for hits beyond PDQ's radius for Signals too, as far as the bank's second vote goes. They
	// are Review, unless a pHash or dHash of the same variant is among Signals and agrees; the far ones
	// count only with one that does. For Media
	// they are always asked for.
	Band bool
	// Video chooses the frames of a video. StopAtFirst ends its decoding at the first match. VPDQ are the
	// thresholds of [VideoMatch.VPDQ]; nil: [DefaultVPDQ].
	Video       hashing.VideoOptions
	StopAtFirst bool
	VPDQ        *VPDQ
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
	if err := cmp.Or(checkVPDQ(q.VPDQ), checkContext(q.Context)); err != nil {
		return Verdict{}, err
	}
	if m.container(q.Media) != "" || q.Media == nil && timed(q.Signals) {
		return m.checkVideo(ctx, q, start)
	}
	v := Verdict{ContentID: q.ContentID}
	picture, mediaErr, err := m.look(ctx, q, &v)
	if err != nil {
		return Verdict{}, err
	}
	m.keepUpload(ctx, q, picture, &v)
	hashed := m.o.Now()
	state, sc, err := m.known(ctx, q) // what was flagged while it was hashed counts
	if err != nil {
		return Verdict{}, err
	}
	v.about(state, sc)
	asks, w := asksOf(q, picture, sc.banks, &v), newWatch(state, sc)
	if err := w.add(ctx, asks); err != nil {
		return Verdict{}, err
	}
	found := w.found(trackOf(asks))
	if mediaErr != nil && len(found) == 0 {
		return Verdict{}, mediaErr
	}
	v.Timings = Timings{Hash: hashed.Sub(start), Search: m.o.Now().Sub(hashed)}
	return m.conclude(ctx, q, v, w, trackOf(asks), found, start)
}

// about notes what answers.
func (v *Verdict) about(s *State, sc *Scope) {
	v.IndexSeq, v.LogID, v.LogRoot, v.Banks, v.Skipped = s.Seq, s.LogID, s.Root, sc.asked(), sc.skipped
}

// conclude completes a verdict by what was found, and records it.
func (m *Matcher) conclude(ctx context.Context, q Question, v Verdict, w *watch, upload Track, found []Found, start time.Time) (Verdict, error) {
	searched := start.Add(v.Timings.Hash + v.Timings.Search)
	found, err := m.since(ctx, w.state, found, q.Since, nil)
	if err != nil {
		return Verdict{}, err
	}
	v.MatchesTotal, v.Staleness = len(found), m.follower.staleness(searched)
	v.Matches = foremost(found)
	durations, err := m.explain(ctx, v.Matches, w)
	w.align(v.Matches, upload, durations, q.VPDQ)
	if ctx.Err() != nil {
		return Verdict{}, ctx.Err()
	} else if err != nil {
		v.Unexplained = true
		if !errors.Is(err, errUnasked) && !errors.Is(err, errStrange) { // of which others have told
			m.fault(err)
		}
	}
	good := suppressors(found)
	m.dam(ctx, w.state, q, found)
	m.dam(ctx, w.state, q, good)
	heed(found, good)
	v.weigh(q.Context, found)
	m.record(ctx, q, &v)
	end := m.o.Now()
	v.Timings.Explain, v.Timings.Total = end.Sub(searched), end.Sub(start)
	if m.o.Events.Checked != nil {
		m.o.Events.Checked(v)
	}
	return v, nil
}

// weigh makes level and action of what was found, which begins with v.Matches.
func (v *Verdict) weigh(context []string, found []Found) {
	for i := range found {
		f := &found[i]
		f.weigh(context, i < len(v.Matches) && !v.Unexplained)
		v.Level = max(v.Level, f.Counts())
		if f.Counts() > None && f.Action > v.Action {
			v.Action, v.Link = f.Action, ""
			if f.Action == ActionRedirect {
				v.Link = f.Bank.Policy.Link
			}
		}
	}
}

// known is what a question is asked of: the newest state that has seen its MinSeq, and what of it counts.
func (m *Matcher) known(ctx context.Context, q Question) (*State, *Scope, error) {
	state, err := m.stateAt(ctx, q.MinSeq)
	if err != nil {
		return nil, nil, err
	}
	sc, err := state.scope(q.Who.Party).named(q.Banks)
	if err != nil {
		return nil, nil, err
	}
	return state, sc.sampled(contentOf(q.Media, q.Signals)), nil
}

// stateAt is the newest state, once it has seen minSeq.
func (m *Matcher) stateAt(ctx context.Context, minSeq uint64) (*State, error) {
	state, err := m.loaded(ctx)
	if err != nil || m.follower.Has(minSeq) {
		return state, err
	}
	// Without the catalogue nobody can say whether there is such a change; it may be on its way.
	if head, err := briefly(ctx, m, m.o.Brief, m.catalogue.Head); err == nil && minSeq > head.Seq {
		return nil, fmt.Errorf("%w: %d is asked for, the last change is %d", ErrBeyondHead, minSeq, head.Seq)
	}
	if err := m.await(ctx, minSeq); err != nil {
		return nil, err
	}
	return m.state()
}

// look hashes the media of a question, if there are any, and notes in the verdict what they are. The
// second result is why they could not be hashed; their digests are asked for all the same.
func (m *Matcher) look(ctx context.Context, q Question, v *Verdict) (p hashing.Picture, mediaErr, err error) {
	if err := cmp.Or(checkSignals(q.Signals), checkTimes(q.Signals)); err != nil {
		return p, nil, err
	}
	if q.Media == nil {
		if len(q.Signals) == 0 {
			return p, nil, noSignals()
		}
		return p, nil, nil
	}
	v.Media = &storage.MediaInfo{SHA256: q.Media.SHA256, Bytes: int64(len(q.Media.Data))}
	p, err = m.hasher.Picture(ctx, q.Media.Data)
	if bad, ok := hashing.AsMediaError(err); ok {
		v.Unhashable = &Unhashable{Reason: string(bad.Kind), Detail: bad.Detail}
		return hashing.Picture{}, err, nil
	}
	if err != nil {
		return p, nil, err
	}
	v.Media.Format, v.Media.Width, v.Media.Height, v.Graphic = p.Format, p.Width, p.Height, p.Graphic
	if p.Unhashable != "" {
		v.Unhashable = &Unhashable{Reason: string(p.Unhashable), Detail: whyUnhashable[p.Unhashable]}
	}
	return p, nil, nil
}

// asksOf turns a question into queries, and notes in the verdict which signals they are of.
func asksOf(q Question, p hashing.Picture, banks []storage.Bank, v *Verdict) (asks []ask) {
	if q.Media != nil {
		digests, short := q.Media.Digests(), shortAlone(p, banks)
		v.Signals = slices.Concat(digests, p.Signals, short)
		asks = slices.Concat(askPlain(digests), askPicture(p, true), askPlain(short))
	}
	v.Signals = append(v.Signals, q.Signals...)
	var rich []hashing.Signal
	for _, s := range q.Signals {
		if err := poor(s); err == nil {
			rich = append(rich, s)
		} else if v.Unhashable == nil {
			v.Unhashable = &Unhashable{Reason: string(hashing.LowQuality), Detail: "not searched: " + err.Error()}
		}
	}
	return append(asks, askSignals(rich, q.Band)...)
}

// shortAlone are the 64-bit hashes of a picture that a bank wants to be searched by themselves. Most
// banks want none, and it costs nothing.
func shortAlone(p hashing.Picture, banks []storage.Bank) []hashing.Signal {
	wanted := func(s hashing.Signal) bool {
		return slices.ContainsFunc(banks, func(b storage.Bank) bool { _, ok := b.Policy.Radius[s.Algorithm]; return ok })
	}
	short := slices.DeleteFunc(
		[]hashing.Signal{{Algorithm: hashing.PHash}, {Algorithm: hashing.DHash}, {Algorithm: hashing.AHash}},
		func(s hashing.Signal) bool { return !wanted(s) })
	if len(short) == 0 {
		return nil
	}
	short = shortOfThumbs(p.Thumbs)(hashing.Plain, hashing.Identity)
	return slices.DeleteFunc(slices.Clone(short), func(s hashing.Signal) bool { return !wanted(s) })
}

var whyUnhashable = map[hashing.Reason]string{
	hashing.Flat:       "the picture is of one colour; only its exact bytes can be matched",
	hashing.Tiny:       "a side is shorter than 5 pixels; only its exact bytes can be matched",
	hashing.LowQuality: "the picture has too little detail (PDQ quality under 50); only its exact bytes can be matched",
}

// find asks the index.
func find(ctx context.Context, s *State, asks []ask, banks []storage.Bank) ([]index.Result, error) {
	type kind struct { // of queries that reach equally far
		algorithm              hashing.Algorithm
		votable, band, graphic bool
		quality                hashing.Quality // where a bank has a floor
	}
	floored := slices.ContainsFunc(banks, func(b storage.Bank) bool { return b.Policy.MinQuality > 0 })
	scopes := map[kind]map[index.BankID]int{}
	queries := make([]index.Query, len(asks))
	for i, a := range asks {
		k := kind{algorithm: a.Signal.Algorithm, votable: a.votable(), band: a.band, graphic: a.Graphic}
		if floored {
			k.quality = a.Signal.Quality
		}
		if scopes[k] == nil {
			scopes[k] = a.scope(banks)
		}
		queries[i] = index.Query{Algorithm: k.algorithm, Value: a.Signal.Value, Banks: scopes[k]}
	}
	return s.Snapshot.SearchMany(ctx, queries)
}

// recalled is what the catalogue knows of entries.
type recalled struct {
	labels    map[storage.EntryID][]string
	opinions  map[storage.EntryID][]storage.Opinion
	durations map[storage.EntryID]uint32 // of those asked for, in milliseconds
	strange   bool                       // nothing was read: it has another log than the state
}

// recall reads what the catalogue knows of entries of a state, and how long some of them last. Of an error, what was read before
// it counts.
func (m *Matcher) recall(ctx context.Context, of point, ids, lasting []storage.EntryID) (k recalled, err error) {
	k.durations = map[storage.EntryID]uint32{}
	err = m.catalogue.View(ctx, func(r storage.Reader) (err error) {
		head, err := r.Head()
		if k.strange = err == nil && of.in(head) != nil; k.strange || err != nil {
			return err
		}
		if k.labels, err = r.Labels(ids); err != nil {
			return err
		}
		if k.opinions, err = r.Opinions(ids); err != nil {
			return err
		}
		for _, id := range lasting {
			e, err := r.Entry(id)
			if err != nil {
				return err
			}
			k.durations[id] = e.Media.Duration
		}
		return nil
	})
	return k, err
}

// explain adds what the catalogue knows of the entries found, as of now, and what the party holds of them; it returns how
// long those of several frames last, in milliseconds. Without any it asks nothing.
func (m *Matcher) explain(ctx context.Context, found []Found, w *watch) (durations map[storage.EntryID]uint32, err error) {
	if len(found) == 0 {
		return nil, nil
	}
	var ids, lasting []storage.EntryID
	for _, f := range found {
		ids = append(ids, f.Entry)
		if len(w.timesOf(f.Entry)) > 1 {
			lasting = append(lasting, f.Entry)
		}
	}
	k, err := recalled{strange: true}, error(nil)
	if of := w.state.point(); m.follower.holds(w.state) {
		k, err = briefly(ctx, m, m.o.Brief, func(ctx context.Context) (recalled, error) { return m.recall(ctx, of, ids, lasting) })
	}
	if k.strange {
		err = errStrange
	}
	for i, f := range found {
		if found[i].Labels = k.labels[f.Entry]; k.opinions != nil {
			found[i].Tally = tally(k.opinions[f.Entry], f.Bank.Owner)
		}
		if o := w.scope.overlays.of(f.Entry); o.Labels != nil {
			found[i].Labels = o.Labels
		}
	}
	if err != nil {
		return k.durations, fmt.Errorf("read the entries that match: %w", err)
	}
	return k.durations, nil
}
