package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A process that does jobs says so all the time: it counts up a number of its own, in a table beside River's, whatever its handlers are
// about. The others watch the numbers; whoever has seen one stand still for long enough has the jobs of that process attempted
// again.
//
// What each has seen counts, by a clock of its own that is never set; the database's says nothing. Who could not look for a while, since
// the database was away or he stood still himself, begins to watch anew: others could not write then, either.
//
// So a process that has died is noticed after at most silence + 2*beat = 28 s: its last number is seen within one beat, stands still for
// silence, and is looked at again within another. One that lives is taken for dead only if it does not get to five numbers in
// a row; then its jobs are done twice, which their attempts tell apart.
const (
	beat    = 4 * time.Second
	silence = 20 * time.Second
	// aliveTable has no foreign key and no index but its own: it has a row for each process.
	aliveTable = "CREATE TABLE IF NOT EXISTS " + schema + ".vigie_alive (id text PRIMARY KEY, beats bigint NOT NULL)"
)

// watch is what a process has seen of the others.
type watch struct {
	beat, silence time.Duration
	seen          map[string]sighting // since it looks without a gap
	last          time.Time           // when it last looked
}

// sighting is a number, and since when it stands there.
type sighting struct {
	beats int64
	since time.Time
}

// look takes note of the numbers, by the process, as they were at some time between the question and the answer, and says who has not moved
// for long, for all that is known.
func (w *watch) look(asked, answered time.Time, beats map[string]int64) (silent []string) {
	if answered.Sub(w.last) > w.silence/2 {
		w.seen = nil
	}
	w.last = answered
	before := w.seen
	w.seen = make(map[string]sighting, len(beats))
	for id, n := range beats {
		s, ok := before[id]
		if !ok || s.beats != n {
			s = sighting{n, answered}
		}
		w.seen[id] = s
		if asked.Sub(s.since) >= w.silence {
			silent = append(silent, id)
		}
	}
	return silent
}

// beatOnce counts up the number of this process, and looks at the others'.
func (e *riverEngine) beatOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, e.watch.silence/2)
	defer cancel()
	asked, beats := time.Now(), map[string]int64{}
	batch := &pgx.Batch{}
	batch.Queue("INSERT INTO vigie_alive (id, beats) VALUES ($1, 1) ON CONFLICT (id) DO UPDATE SET beats = vigie_alive.beats + 1", e.id)
	batch.Queue("SELECT id, beats FROM vigie_alive").Query(func(rows pgx.Rows) error {
		var id string
		var n int64
		_, err := pgx.ForEachRow(rows, []any{&id, &n}, func() error { beats[id] = n; return nil })
		return err
	})
	if err := e.pool.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("say that this process does jobs: %w", mapError(ctx, err))
	}
	if silent := e.watch.look(asked, time.Now(), beats); len(silent) > 0 {
		if err := e.takeOver(ctx, silent); err != nil {
			return fmt.Errorf("take over the jobs of dead processes: %w", mapError(ctx, err))
		}
	}
	return nil
}

// takeOver has the jobs of dead processes attempted again, and forgets them.
func (e *riverEngine) takeOver(ctx context.Context, dead []string) error {
	batch := &pgx.Batch{}
	batch.Queue(again+` WHERE state = 'running' AND queue = ANY($2) AND attempted_by[array_upper(attempted_by, 1)] = ANY($3)`,
		"the process that did it has died", e.kinds(), dead)
	batch.Queue("DELETE FROM vigie_alive WHERE id = ANY($1)", dead)
	return e.pool.SendBatch(ctx, batch).Close() // one transaction
}

// stayAlive goes on saying that this process does jobs, until ctx ends.
func (e *riverEngine) stayAlive(ctx context.Context) {
	tick := time.NewTicker(e.watch.beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := e.beatOnce(ctx); err != nil && ctx.Err() == nil {
			e.fault(err)
		}
	}
}

// leave says that this process does no jobs any more.
func (e *riverEngine) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, silence/2)
	defer cancel()
	if _, err := e.pool.Exec(ctx, "DELETE FROM vigie_alive WHERE id = $1", e.id); err != nil {
		e.fault(fmt.Errorf("say that this process does no jobs any more: %w", mapError(ctx, err)))
	}
}
