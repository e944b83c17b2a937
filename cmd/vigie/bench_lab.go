package main

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"vigie/hashing"
	"vigie/index"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/memory"
)

// labSetting is a bank of the lab: what it is called in reports, and how its policy differs from the default.
type labSetting struct {
	name string
	edit matcher.BankEdit
}

// lab is a node in memory, with a bank for each setting. All banks get the same entries, so that one
// run compares policies. What is hashed is hashed once for all of them.
type lab struct {
	matcher *matcher.Matcher
	hasher  matcher.Hasher
	banks   []string
	stop    func()
}

// newLab starts a lab over a hasher. Call stop in the end.
func newLab(ctx context.Context, hasher matcher.Hasher, settings []labSetting) (*lab, error) {
	catalogue, err := memory.New(storage.Options{})
	if err != nil {
		return nil, err
	}
	l := &lab{hasher: hasher}
	l.matcher = matcher.New(catalogue, &memory.Blobs{}, hashedBefore{}, index.New(index.Options{}), matcher.Options{Patience: time.Minute})
	following, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = l.matcher.Follower().Run(following) // it ends with the context
	}()
	l.stop = func() {
		cancel()
		<-ended
		_ = catalogue.Close() // nothing is kept
	}
	for i, s := range settings {
		name := fmt.Sprintf("setting-%d", i)
		s.edit.Name = &name
		if _, err := l.matcher.CreateBank(ctx, matcher.Local(), matcher.NewBank{BankEdit: s.edit}); err != nil {
			l.stop()
			return nil, fmt.Errorf("setting %s: %w", s.name, err)
		}
		l.banks = append(l.banks, name)
	}
	return l, nil
}

// hashedBefore is the lab's hasher as its matcher sees it: the picture was hashed already, and comes
// with the context.
type hashedBefore struct{}

type hashedKey struct{}

func (hashedBefore) Picture(ctx context.Context, _ []byte) (hashing.Picture, error) {
	p, ok := ctx.Value(hashedKey{}).(hashing.Picture)
	if !ok {
		return hashing.Picture{}, errors.New("bench: the picture was not hashed before")
	}
	return p, nil
}

// flag adds a picture to every bank. It returns the entries, and their signals as the first bank has them.
func (l *lab) flag(ctx context.Context, media hashing.Media, p hashing.Picture) ([]storage.EntryID, error) {
	ctx = context.WithValue(ctx, hashedKey{}, p)
	ids := make([]storage.EntryID, len(l.banks))
	for i, bank := range l.banks {
		f, err := l.matcher.Flag(ctx, matcher.Flagging{Bank: bank, Media: &media, Who: matcher.Local()})
		if err != nil {
			return nil, err
		}
		ids[i] = f.Entry.ID
	}
	return ids, nil
}

// answer is what one bank finds.
type answer struct {
	found []matcher.Found
	cut   bool // there is more than a verdict lists
}

// check asks the banks about a picture that was hashed: all at once, or one by one if a verdict cannot
// list what they find together. search is the time of the index for all of them.
func (l *lab) check(ctx context.Context, media hashing.Media, p hashing.Picture) (answers []answer, search time.Duration, err error) {
	ctx = context.WithValue(ctx, hashedKey{}, p)
	answers = make([]answer, len(l.banks))
	all, err := l.matcher.Check(ctx, matcher.Question{Who: matcher.Local(), Media: &media})
	if err != nil {
		return nil, 0, err
	}
	for _, f := range all.Matches {
		a := &answers[slices.Index(l.banks, f.Bank.Name)]
		a.found = append(a.found, f)
	}
	if all.MatchesTotal == len(all.Matches) {
		return answers, all.Timings.Search, nil
	}
	for i, bank := range l.banks {
		one, err := l.matcher.Check(ctx, matcher.Question{Who: matcher.Local(), Media: &media, Banks: []string{bank}})
		if err != nil {
			return nil, 0, err
		}
		answers[i] = answer{one.Matches, one.MatchesTotal > len(one.Matches)}
	}
	return answers, all.Timings.Search, nil
}

// signals are those of an entry.
func (l *lab) signals(ctx context.Context, id storage.EntryID) ([]hashing.Signal, error) {
	e, _, err := l.matcher.Entry(ctx, matcher.Local(), id)
	return e.Signals, err
}

// closest is the least distance between any PDQ query and any of some PDQ rows: what an index without
// any radius would find. With none of either it is more than the bits there are.
func closest(queries []hashing.Query, rows []hashing.Signal) (distance int, query hashing.Query, row hashing.Signal) {
	distance = hashing.PDQ.Bits() + 1
	for i := range queries {
		q := &queries[i].Signal
		if q.Algorithm != hashing.PDQ {
			continue
		}
		for j := range rows {
			r := &rows[j].Value
			d := bits.OnesCount64(q.Value[0]^r[0]) + bits.OnesCount64(q.Value[1]^r[1]) +
				bits.OnesCount64(q.Value[2]^r[2]) + bits.OnesCount64(q.Value[3]^r[3])
			if d < distance {
				distance, query, row = d, queries[i], rows[j]
			}
		}
	}
	return distance, query, row
}
