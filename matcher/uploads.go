package matcher

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"vigie/hashing"
	"vigie/storage/history"
)

var errNotLooking = errors.New("this node does not look back, or has just begun")

// keepUpload puts an upload into the history, if its party wants that. It does so before the question is asked of a state: what becomes
// known after that state looks for it in the history, and finds it there. A check goes on without; its verdict says so.
//
// What has no plain PDQ hash that tells anything cannot be found again, and is not kept; so are videos, which are many hashes.
func (m *Matcher) keepUpload(ctx context.Context, q Question, p hashing.Picture, v *Verdict) {
	if q.ContentID == "" || q.Past {
		return
	}
	s, ok := plainOf(q, p)
	state := m.follower.State()
	if !ok || state == nil || !state.keepsUploadsOf(q.Who.Party) {
		return
	}
	err := errNotLooking
	if _, looks := m.Looked(); looks {
		_, err = m.o.History.Append(ctx, history.Record{
			Party: q.Who.Party, At: m.o.Now(), ContentID: q.ContentID, PDQ: s.Value, Quality: s.Quality,
		})
	}
	if err != nil {
		v.Unkept = true
		m.fault(fmt.Errorf("keep an upload in the history: %w", err))
	}
}

// plainOf is the hash by which an upload is found again.
func plainOf(q Question, p hashing.Picture) (hashing.Signal, bool) {
	signals := q.Signals
	if q.Media != nil {
		signals = p.Signals
	}
	i := slices.IndexFunc(signals, func(s hashing.Signal) bool {
		return s.Algorithm == hashing.PDQ && s.Variant == hashing.Plain && s.Time == 0 && poor(s) == nil
	})
	if i < 0 {
		return hashing.Signal{}, false
	}
	return signals[i], true
}
