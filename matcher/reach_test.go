package matcher_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/journal"
	"vigie/storage/memory"
	"vigie/storage/storagetest"
)

// A match that is on its way to the catalogue is waited for, as long as the patience. Who asks for one that is not there has
// nothing shipped, however often.
func TestMatchOnItsWay(t *testing.T) {
	t.Parallel()
	clock := storagetest.NewClock()
	c, err := memory.New(storage.Options{Now: clock.Now})
	must(t, err)
	l := &ledger{now: clock.Now}
	arrives, reached := make(chan struct{}), 0
	w := worldOver(t, c, matcher.Options{
		Now: clock.Now, Journal: l, Patience: time.Second,
		Render: func(matcher.Verdict) ([]byte, error) { return json.Marshal("") },
		Ship:   func(context.Context) error { t.Error("the journal is shipped"); return nil },
		Reach: func(ctx context.Context, _ journal.ID) error {
			reached++
			select {
			case <-arrives:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	})
	w.bank("platform", "own", block())
	w.at("own", "e", 0)
	v := w.check(w.ask("platform", upload))
	began := time.Now()
	_, err = w.Match(w.ctx, w.who("platform"), v.MatchID)
	wantErr(t, err, matcher.ErrUnknownMatch)
	if took := time.Since(began); took < time.Second {
		t.Errorf("it waited only %v", took)
	}
	must(t, w.Deliver(w.ctx, l.all()))
	close(arrives)
	_, err = w.Match(w.ctx, w.who("platform"), v.MatchID)
	must(t, err)
	equal(t, reached, 1)
	_, err = w.Match(w.ctx, w.who("stranger"), v.MatchID)
	wantErr(t, err, matcher.ErrUnknownMatch)
}
