package jobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// loop does the jobs of a kind from a table. It takes turns: in one transaction, with one sync, it writes what has become of the
// attempts that have ended since, and takes jobs for the places that are free.
type loop struct {
	*localEngine
	kind    string
	h       Handler
	running map[*attempt]bool
	ended   chan outcome  // of running, and of those that were given up
	left    chan struct{} // closed when nobody takes from ended any more
	settled []outcome     // to be written
	unsure  bool          // whether the last turn has happened
}

// attempt is a handler at work.
type attempt struct {
	Run
	kind   string
	failed int // how often the job will have failed if this does
	began  time.Time
	cancel context.CancelFunc
}

// outcome is how an attempt ended.
type outcome struct {
	*attempt
	verdict verdict
	after   time.Duration
	err     error
}

// outcome judges what the handler answered that was given ctx.
func (a *attempt) outcome(ctx context.Context, h Handler, err error) outcome {
	v, after := h.judge(ctx, err, a.failed)
	return outcome{attempt: a, verdict: v, after: after, err: err}
}

// Run is for Engine.
func (e *localEngine) Run(ctx context.Context) error {
	ends := make(chan error)
	for _, kind := range e.only {
		l := &loop{localEngine: e, kind: kind, h: e.of[kind], running: map[*attempt]bool{}, left: make(chan struct{})}
		l.ended = make(chan outcome, l.h.Parallel)
		go func() { ends <- l.run(ctx) }()
	}
	if len(e.only) == 0 {
		<-ctx.Done()
	}
	var err error
	for range e.only {
		err = errors.Join(err, <-ends)
	}
	return err
}

// run takes turns until ctx ends, and then until the handlers have ended.
func (l *loop) run(ctx context.Context) error {
	defer close(l.left)
	work, stop := context.WithCancel(context.WithoutCancel(ctx)) // for the handlers: it ends a little later
	defer stop()
	told, patience := ctx.Done(), (<-chan time.Time)(nil)
	for stopping := false; ; {
		free := l.h.Parallel - len(l.running)
		if stopping {
			free = 0
		}
		claimed, wait, err := l.turn(context.WithoutCancel(ctx), free)
		if err != nil {
			l.fault(fmt.Errorf("jobs of kind %s: %w", l.kind, err))
			wait = time.Second
		}
		if stopping && len(l.running)+len(l.settled) == 0 {
			return nil
		}
		for _, a := range claimed {
			l.start(work, a)
		}
		timer := time.NewTimer(l.giveUp(work, wait))
		select {
		case o := <-l.ended:
			l.settle(o)
			for len(l.ended) > 0 {
				l.settle(<-l.ended)
			}
		case <-l.wake[l.kind]:
		case <-timer.C:
		case <-told:
			stopping, told, patience = true, nil, time.After(grace)
		case <-patience:
			if work.Err() != nil {
				return fmt.Errorf("%d jobs of kind %s have not ended in time; they will be done again", len(l.running)+len(l.settled), l.kind)
			}
			stop()
			patience = time.After(ending)
		}
		timer.Stop()
	}
}

// start has the handler make an attempt.
func (l *loop) start(work context.Context, a *attempt) {
	ctx, cancel := context.WithTimeout(work, l.h.Timeout)
	a.began, a.cancel = time.Now(), cancel
	l.running[a] = true
	l.mu.Lock()
	l.localEngine.running[a.ID] = a
	l.mu.Unlock()
	go func() {
		err := l.do(ctx, l.kind, a.Run)
		o := a.outcome(ctx, l.h, err)
		cancel()
		select {
		case l.ended <- o:
		case <-l.left:
		}
	}()
}

// settle takes note of the end of an attempt.
func (l *loop) settle(o outcome) {
	l.settled = append(l.settled, o)
	delete(l.running, o.attempt)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.localEngine.running[o.ID] == o.attempt {
		delete(l.localEngine.running, o.ID)
	}
}

// giveUp settles the attempts that should have ended long ago, and says when to look again, at most wait from now.
func (l *loop) giveUp(work context.Context, wait time.Duration) time.Duration {
	for a := range l.running {
		left := l.h.patience() - time.Since(a.began)
		if left <= 0 {
			l.settle(a.outcome(context.WithoutCancel(work), l.h, fmt.Errorf("its handler has said nothing for %v", l.h.patience())))
		}
		wait = min(wait, max(left, 0))
	}
	return wait
}

// turn writes what is settled and claims at most free jobs. It says how long there will be nothing to claim, at most a minute: the
// clock may be set meanwhile.
func (l *loop) turn(ctx context.Context, free int) (claimed []*attempt, wait time.Duration, err error) {
	wait = time.Minute
	if len(l.settled) == 0 && free <= 0 {
		return nil, wait, nil
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	now := look()
	err = l.transact(ctx, func(tx *sql.Tx) error {
		if err := setBack(ctx, tx, now.behind(l.seen)); err != nil {
			return err
		}
		for _, o := range l.settled {
			if err := settle(ctx, tx, o); err != nil {
				return err
			}
		}
		if l.unsure {
			if err := l.unclaim(ctx, tx); err != nil {
				return err
			}
		}
		if free <= 0 {
			return nil
		}
		var err error
		claimed, err = collect(tx.QueryContext(ctx, `UPDATE job SET state = 'running', runs = runs + 1, failed = failed + 1
			WHERE id IN (SELECT id FROM job WHERE kind = $1 AND state = 'waiting' AND at <= $2 ORDER BY at, id LIMIT $3)
			RETURNING id, runs, failed, args, created, kind`, l.kind, micros(time.Now()), free))
		if err != nil || len(claimed) == free {
			return err
		}
		var next sql.NullInt64
		err = tx.QueryRowContext(ctx, "SELECT min(at) FROM job WHERE kind = $1 AND state = 'waiting'", l.kind).Scan(&next)
		if next.Valid {
			wait = min(wait, max(0, time.Until(fromMicros(next.Int64))))
		}
		return err
	})
	if l.unsure = err != nil; l.unsure {
		return nil, wait, err
	}
	l.seen, l.settled = now, l.settled[:0]
	return claimed, wait, nil
}

// unclaim lets go of jobs that a turn has claimed whose commit failed, and was there all the same.
func (l *loop) unclaim(ctx context.Context, tx *sql.Tx) error {
	mine := map[int64]int{}
	for a := range l.running {
		mine[a.ID] = a.Attempt
	}
	all, err := collect(tx.QueryContext(ctx, "SELECT id, runs, failed, args, created, kind FROM job WHERE kind = $1 AND state = 'running'", l.kind))
	for _, a := range all {
		if err == nil && mine[a.ID] != a.Attempt {
			err = settle(ctx, tx, outcome{attempt: a, verdict: postpone})
		}
	}
	return err
}

// clock is a look at the clock of the day, and at one that is never set.
type clock struct{ day, steady time.Time }

func look() clock {
	now := time.Now()
	return clock{now.Round(0), now}
}

// behind is how far the clock of the day was set back since another look.
func (c clock) behind(before clock) time.Duration {
	return c.steady.Sub(before.steady) - c.day.Sub(before.day)
}

// setBack has jobs wait for as long as they would have if the clock of the day had not been set back so far: else they would wait until
// it shows once more what it showed. What is corrected all the time, and by little, is left.
func setBack(ctx context.Context, tx *sql.Tx, by time.Duration) error {
	if by < time.Second {
		return nil
	}
	_, err := tx.ExecContext(ctx, "UPDATE job SET at = at - $1, created = min(created, $2) WHERE state = 'waiting' AND at > $2", by.Microseconds(), micros(time.Now()))
	return err
}

// settle writes what becomes of a job; nothing if a later attempt has begun, or the job is gone.
func settle(ctx context.Context, tx *sql.Tx, o outcome) (err error) {
	const mine = " WHERE id = $1 AND runs = $2 AND state = 'running'"
	at := micros(time.Now().Add(o.after))
	switch o.verdict {
	case done:
		_, err = tx.ExecContext(ctx, "DELETE FROM job"+mine, o.ID, o.Attempt)
	case postpone:
		_, err = tx.ExecContext(ctx, "UPDATE job SET state = 'waiting', at = $3, failed = failed - 1"+mine, o.ID, o.Attempt, at)
	case retry:
		_, err = tx.ExecContext(ctx, "UPDATE job SET state = 'waiting', at = $3, error = $4"+mine, o.ID, o.Attempt, at, text(o.err))
	case die:
		_, err = tx.ExecContext(ctx, "UPDATE job SET state = 'dead', died = $3, error = $4"+mine, o.ID, o.Attempt, at, text(o.err))
	}
	return err
}

// collect reads id, runs, failed, args, created, kind of jobs.
func collect(rows *sql.Rows, err error) (all []*attempt, _ error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		a := &attempt{}
		var args []byte
		var created int64
		if err := rows.Scan(&a.ID, &a.Attempt, &a.failed, &args, &created, &a.kind); err != nil {
			return nil, err
		}
		a.Args, a.Created = args, fromMicros(created)
		all = append(all, a)
	}
	return all, rows.Err()
}
