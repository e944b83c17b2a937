package matcher

import (
	"context"
	"slices"
	"sync"

	"vigie/index"
	"vigie/storage"
)

// Sum is the digest of what an index held as of a change.
type Sum struct {
	Seq    uint64
	Digest index.Digest
}

// sums are the newest digests of a node. Nodes publish states at changes of their own; but each of them stops at the
// multiples of pageSize, so that there are changes of which all have the digest, however much comes.
type sums struct {
	mu           sync.Mutex
	last, common []Sum
}

// note keeps a digest. Those of another log are forgotten.
func (s *sums) note(state *State, anew bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if anew {
		s.last, s.common = nil, nil
	}
	const most = storage.MaxNodeSums / 2
	keep := func(list *[]Sum) {
		*list = append(slices.Clone((*list)[max(0, len(*list)-most+1):]), Sum{state.Seq, state.Snapshot.Kept()})
	}
	if state.Seq%pageSize == 0 {
		keep(&s.common)
	} else {
		keep(&s.last)
	}
}

// list is what there is, by Seq, ascending.
func (s *sums) list() []Sum {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Concat(s.common, s.last)
	slices.SortFunc(all, func(a, b Sum) int { return int(int64(a.Seq) - int64(b.Seq)) })
	return all
}

// CatalogueDigest is the digest that an index of the catalogue has, by the same rule (entryRows), and as of which change. It
// reads all entries: some seconds for a million.
func CatalogueDigest(ctx context.Context, r storage.Reader) (Sum, error) {
	head, err := r.Head()
	if err != nil {
		return Sum{}, err
	}
	banks, err := r.Banks()
	if err != nil {
		return Sum{}, err
	}
	sum := Sum{Seq: head.Seq}
	for c, err := range everything(r, banks) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return Sum{}, err
		}
		sum.Digest.Add(c)
	}
	return sum, nil
}
