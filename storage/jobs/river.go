package jobs

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"

	"vigie/internal/pgdial"
	"vigie/storage"
)

const (
	// schema is River's own, beside that of the catalogue, which has its one to itself.
	schema = "vigie_jobs"
	// migrating is the advisory lock of who migrates it.
	migrating = 0x5649474a
	// connections is how many a process has at most: one listens, the others fetch, write what was done, and elect a leader.
	connections = 6
	// answering is how long the database has for what is asked of it; River has limits of its own.
	answering = 30 * time.Second
)

// The states of River's jobs, as Vigie uses them. A dead job was discarded by River or cancelled by its handler; what
// was dropped while it ran is cancelled, too, and marked.
const (
	waiting = `state IN ('available', 'scheduled', 'retryable', 'pending')`
	dropped = `(state = 'cancelled' AND metadata ? 'cancel_attempted_at')`
	dead    = `(state IN ('cancelled', 'discarded') AND NOT ` + dropped + `)`
)

// riverEngine is an engine on PostgreSQL. Each kind has a queue of its name.
//
// River counts attempts back when a job is put off or its process ends, so its number does not fence. Each attempt takes one from the
// job's metadata before it begins, which only ever grows ("runs"). What a late attempt then reports may have the job tried
// once more, never once less. Nor does River tell a dead process from one that takes long, and discards what the process that looks does
// not know: Vigie looks itself (alive.go, rescue).
type riverEngine struct {
	*handlers
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx]
	id     string // of this process, for one Run
	watch  watch
	limit  time.Duration // answering
}

// OpenRiver opens the jobs in the database that the URL names, beside the catalogue, in the schema vigie_jobs; it makes the tables if
// there are none, and migrates older ones, one process at a time. Any number of processes may have it open. Of several hosts the first is taken
// that can be written to, now and each time that a connection is made.
func OpenRiver(ctx context.Context, url string, of map[string]Handler, o Options) (_ Engine, err error) {
	hs, err := newHandlers(of, o)
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(url) // its error shows no password
	if err != nil {
		return nil, fmt.Errorf("open jobs: %w", err)
	}
	defer func() {
		if err != nil {
			c := config.ConnConfig
			err = fmt.Errorf("open jobs in database %s at %s: %w", c.Database, net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))), err)
		}
	}()
	config.MaxConns, config.MinConns = connections, 0
	// With less, a server that crashes forgets jobs that were acknowledged.
	for name, value := range map[string]string{
		"application_name":                    "vigie jobs",
		"search_path":                         schema + ", pg_temp",
		"synchronous_commit":                  "on",
		"client_encoding":                     "UTF8",
		"default_transaction_isolation":       "read committed",
		"default_transaction_read_only":       "off",
		"idle_in_transaction_session_timeout": "10s",
		"lock_timeout":                        "10s",
		"statement_timeout":                   "2min", // longer than anybody waits for an answer: the longest is River's reindexer, a minute
		"jit":                                 "off",
	} {
		config.ConnConfig.RuntimeParams[name] = value
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	config.ConnConfig.DialFunc = pgdial.Dial
	config.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary // else the next host of the URL is tried

	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), config) // it lives until Close
	if err != nil {
		return nil, err
	}
	e := &riverEngine{handlers: hs, pool: pool, id: rand.Text(), watch: watch{beat: beat, silence: silence}, limit: answering}
	if err = e.migrate(ctx, config.Copy()); err == nil {
		e.client, err = river.NewClient(riverpgxv5.New(pool), e.config())
	}
	if err != nil {
		pool.Close()
		return nil, mapError(ctx, err)
	}
	return e, nil
}

// migrate takes as long as it takes: it has sessions of its own.
func (e *riverEngine) migrate(ctx context.Context, config *pgxpool.Config) error {
	config.ConnConfig.RuntimeParams["statement_timeout"] = "0"
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	lock, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	conn := lock.Hijack() // to be closed, which unlocks, whatever happens
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "SET lock_timeout = 0"); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(migrating)); err != nil {
		return fmt.Errorf("wait for other processes to migrate: %w", err)
	}
	var there bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)", schema).Scan(&there); err != nil {
		return err
	}
	if !there { // else it needs no right to create one
		if _, err := conn.Exec(ctx, "CREATE SCHEMA "+schema); err != nil {
			return err
		}
	}
	m, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Schema: schema, Logger: tell(e.fault)})
	if err != nil {
		return err
	}
	if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if _, err := conn.Exec(ctx, deadByKey); err != nil {
		return fmt.Errorf("index dead jobs: %w", err)
	}
	if _, err := conn.Exec(ctx, aliveTable); err != nil {
		return fmt.Errorf("make the table of processes: %w", err)
	}
	return nil
}

func (e *riverEngine) config() *river.Config {
	c := &river.Config{
		ID:                e.id,
		Schema:            schema,
		Queues:            map[string]river.QueueConfig{},
		Workers:           river.NewWorkers(),
		Logger:            tell(e.fault),
		FetchCooldown:     10 * time.Millisecond, // between two looks for jobs: a queue does at most Parallel in that time
		FetchPollInterval: time.Second,           // when no notification came
		SoftStopTimeout:   grace,
		// Dead jobs are kept; done ones for a day.
		CancelledJobRetentionPeriod: -1,
		DiscardedJobRetentionPeriod: -1,
		CompletedJobRetentionPeriod: 24 * time.Hour,
		RescueStuckJobsAfter:        100 * 365 * 24 * time.Hour, // never: see rescue
		JobStuckHandler: func(context.Context, river.JobStuckHandlerParams) river.JobStuckHandlerResult {
			return river.JobStuckHandlerResult{AddWorkerSlot: true}
		},
	}
	longest := time.Duration(0)
	for kind, h := range e.of {
		river.AddWorkerArgs(c.Workers, payload{kind: kind}, river.Worker[payload](&worker{engine: e, Handler: h}))
		longest = max(longest, h.Timeout)
	}
	c.JobTimeout, c.JobStuckThreshold = max(longest, time.Second), max(longest/2, time.Second)
	for _, kind := range e.only {
		c.Queues[kind] = river.QueueConfig{MaxWorkers: e.of[kind].Parallel}
	}
	return c
}

// payload is what River keeps as the arguments of a job. Args is text, so that it stays as it was, which jsonb does not promise.
type payload struct {
	kind string
	Key  string `json:"key,omitempty" river:"unique"`
	Args string `json:"args,omitempty"`
}

// Kind is for River.
func (p payload) Kind() string { return p.kind }

// worker lets River use a handler.
type worker struct {
	river.WorkerDefaults[payload]
	Handler
	engine *riverEngine
}

// Timeout is for River.
func (w *worker) Timeout(*river.Job[payload]) time.Duration { return w.Handler.Timeout }

// NextRetry is for River.
func (w *worker) NextRetry(j *river.Job[payload]) time.Time {
	return time.Now().Add(max(0, w.Backoff(j.Attempt)))
}

// Work is for River.
func (w *worker) Work(ctx context.Context, j *river.Job[payload]) error {
	run, err := w.engine.begin(ctx, j)
	if err != nil { // it has not begun, and not failed
		w.engine.fault(fmt.Errorf("begin job %d: %w", j.ID, mapError(ctx, err)))
		return river.JobSnooze(time.Second)
	}
	err = w.engine.do(ctx, j.Kind, run)
	switch v, after := w.judge(ctx, err, j.Attempt); v {
	case done:
		return nil
	case postpone:
		return river.JobSnooze(after)
	case die:
		return river.JobCancel(errors.New(text(err)))
	default:
		return errors.New(text(err)) // after as NextRetry has it
	}
}

// begin numbers an attempt; see riverEngine.
func (e *riverEngine) begin(ctx context.Context, j *river.Job[payload]) (Run, error) {
	ctx, cancel := e.within(ctx)
	defer cancel()
	r := Run{ID: j.ID, Args: json.RawMessage(j.Args.Args), Created: j.CreatedAt.UTC()}
	err := e.pool.QueryRow(ctx, `UPDATE river_job
		SET metadata = jsonb_set(metadata, '{runs}', to_jsonb(COALESCE((metadata->>'runs')::int, 0) + 1))
		WHERE id = $1 AND state = 'running' RETURNING (metadata->>'runs')::int`, j.ID).Scan(&r.Attempt)
	if errors.Is(err, pgx.ErrNoRows) {
		err = errors.New("it was taken from this process before it began")
	}
	return r, err
}

// Enqueue is for Engine.
func (e *riverEngine) Enqueue(ctx context.Context, jobs ...Job) error {
	jobs, err := e.check(jobs)
	if err != nil || len(jobs) == 0 {
		return err
	}
	params := make([]river.InsertManyParams, len(jobs))
	for i, j := range jobs {
		params[i] = e.insertion(j)
	}
	ctx, cancel := e.within(ctx)
	defer cancel()
	tx, err := e.pool.Begin(ctx)
	if err != nil {
		return mapError(ctx, err)
	}
	defer tx.Rollback(ctx) // nothing if it has committed; if ctx has ended, the connection does
	if _, err := e.client.InsertManyTx(ctx, tx, params); err != nil {
		return mapError(ctx, err)
	}
	// Who gives up now would not know whether it has happened.
	committing, end := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer end()
	err = tx.Commit(committing)
	if answer, ok := errors.AsType[*pgconn.PgError](err); err == nil || ok && answer.SeverityUnlocalized == "ERROR" || errors.Is(err, pgx.ErrTxCommitRollback) {
		return mapError(committing, err)
	}
	return fmt.Errorf("enqueue: %w: %w", storage.ErrUnknownOutcome, err)
}

// insertion is how River is given a job.
func (e *riverEngine) insertion(j Job) river.InsertManyParams {
	o := &river.InsertOpts{Queue: j.Kind, MaxAttempts: e.of[j.Kind].Attempts, ScheduledAt: j.At}
	if j.Key != "" {
		o.UniqueOpts = river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
			rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
			rivertype.JobStateRunning, rivertype.JobStateScheduled,
		}}
	}
	return river.InsertManyParams{Args: payload{kind: j.Kind, Key: j.Key, Args: string(j.Args)}, InsertOpts: o}
}

// Run is for Engine.
func (e *riverEngine) Run(ctx context.Context) error {
	if len(e.only) == 0 {
		<-ctx.Done()
		return nil
	}
	for {
		err := e.beatOnce(ctx) // before it takes a job: else nobody would miss it
		if err == nil {
			err = e.client.Start(ctx)
		}
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil
		}
		e.fault(fmt.Errorf("start to do jobs: %w", mapError(ctx, err)))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
	stopped := e.client.Stopped()
	lives, die := context.WithCancel(context.WithoutCancel(ctx)) // a little longer: its jobs end yet
	var beating sync.WaitGroup
	beating.Go(func() { e.stayAlive(lives) })
	defer beating.Wait()
	defer die()
	e.rescue(ctx)
	select {
	case <-stopped:
		die()
		beating.Wait()
		e.leave(context.WithoutCancel(ctx))
		return nil
	case <-time.After(grace + ending):
		return errors.New("jobs have not ended in time; other processes will do them again")
	}
}

// again has jobs attempted again whose attempts have failed without a word.
const again = `UPDATE river_job SET
	state = (CASE WHEN metadata ? 'cancel_attempted_at' THEN 'cancelled' WHEN attempt >= max_attempts THEN 'discarded' ELSE 'available' END)::river_job_state,
	finalized_at = CASE WHEN metadata ? 'cancel_attempted_at' OR attempt >= max_attempts THEN now() END,
	scheduled_at = now(),
	errors = array_append(errors, jsonb_build_object('at', now(), 'attempt', attempt, 'error', $1::text, 'trace', ''))`

// rescue looks, until ctx ends, for attempts that have not ended long after their time, and has the jobs attempted again. It goes by
// the clock of the database alone.
func (e *riverEngine) rescue(ctx context.Context) {
	shortest := 40 * time.Second
	for _, h := range e.of {
		shortest = min(shortest, h.Timeout)
	}
	tick := time.NewTicker(max(shortest/4, 50*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		e.rescueOnce(ctx)
	}
}

func (e *riverEngine) rescueOnce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	batch := &pgx.Batch{}
	for kind, h := range e.of {
		batch.Queue(again+" WHERE state = 'running' AND queue = $2 AND attempted_at < now() - $3::interval",
			fmt.Sprintf("its handler has said nothing for %v", h.patience()), kind, h.patience())
	}
	batch.Queue("DELETE FROM river_job WHERE queue = ANY($1) AND "+dropped, e.kinds())
	if err := e.pool.SendBatch(ctx, batch).Close(); err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		e.fault(fmt.Errorf("look for jobs that do not end: %w", mapError(ctx, err)))
	}
}

// Dead is for Engine.
func (e *riverEngine) Dead(ctx context.Context, kind string, after int64, limit int) ([]Dead, error) {
	if err := checkPage(limit); err != nil {
		return nil, err
	}
	return e.dead(ctx, kind, after, limit, "")
}

// dead lists those that a further condition, in which arguments begin at $4, is true of.
func (e *riverEngine) dead(ctx context.Context, kind string, after int64, limit int, where string, args ...any) ([]Dead, error) {
	ctx, cancel := e.within(ctx)
	defer cancel()
	rows, err := e.pool.Query(ctx, `SELECT id, COALESCE(args->>'args', ''), COALESCE(errors[array_upper(errors, 1)]->>'error', ''),
		COALESCE((metadata->>'runs')::int, 0), created_at, finalized_at
		FROM river_job WHERE queue = $1 AND id > $2 AND `+dead+where+` ORDER BY id LIMIT $3`, append([]any{kind, after, limit}, args...)...)
	if err != nil {
		return nil, mapError(ctx, err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Dead, error) {
		d := Dead{Kind: kind}
		var args string
		err := row.Scan(&d.ID, &args, &d.Error, &d.Attempts, &d.Created, &d.Died)
		d.Args, d.Created, d.Died = json.RawMessage(args), d.Created.UTC(), d.Died.UTC()
		d.Error = causeOf(d.Error)
		return d, err
	})
	return all, mapError(ctx, err)
}

// causeOf is what a handler said that had its job die.
func causeOf(text string) string { return strings.TrimPrefix(text, "JobCancelError: ") }

// Replay is for Engine.
func (e *riverEngine) Replay(ctx context.Context, id int64) error {
	ctx, cancel := e.within(ctx)
	defer cancel()
	tag, err := e.pool.Exec(ctx, `UPDATE river_job SET state = 'available', attempt = 0, finalized_at = NULL, scheduled_at = now(), created_at = now()
		WHERE id = $1 AND `+dead, id)
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok && answer.Code == "23505" {
		return fmt.Errorf("replay job %d: another one with its key waits or runs: %w", id, storage.ErrExists)
	}
	if err == nil && tag.RowsAffected() == 0 {
		return fmt.Errorf("replay job %d: no dead job has this id: %w", id, storage.ErrNotFound)
	}
	return mapError(ctx, err)
}

// Drop is for Engine.
func (e *riverEngine) Drop(ctx context.Context, kind, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	with, err := json.Marshal(payload{Key: key})
	if err != nil {
		return err
	}
	ctx, cancel := e.within(ctx)
	defer cancel()
	const those = ` FROM river_job WHERE queue = $1 AND args @> $2::jsonb AND `
	if _, err := e.pool.Exec(ctx, "DELETE"+those+"("+waiting+" OR "+dead+")", kind, string(with)); err != nil {
		return mapError(ctx, err)
	}
	// What runs, its process is told of; what has failed just now, is cancelled on the spot.
	rows, err := e.pool.Query(ctx, "SELECT id"+those+"(state = 'running' OR "+waiting+")", kind, string(with))
	if err != nil {
		return mapError(ctx, err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	for _, id := range ids {
		if _, err2 := e.client.JobCancel(ctx, id); !errors.Is(err2, rivertype.ErrNotFound) {
			err = errors.Join(err, err2)
		}
	}
	return mapError(ctx, err)
}

// Stats is for Engine.
func (e *riverEngine) Stats(ctx context.Context) (map[string]Stats, error) {
	ctx, cancel := e.within(ctx)
	defer cancel()
	rows, err := e.pool.Query(ctx, `SELECT queue, count(*) FILTER (WHERE `+waiting+`), count(*) FILTER (WHERE state = 'running'),
		count(*) FILTER (WHERE `+dead+`), min(scheduled_at) FILTER (WHERE `+waiting+` AND scheduled_at <= now())
		FROM river_job WHERE state IN ('available', 'scheduled', 'retryable', 'pending', 'running', 'cancelled', 'discarded') AND queue = ANY($1)
		GROUP BY queue`, e.kinds()) // by the index, which leaves out the many that are done
	if err != nil {
		return nil, mapError(ctx, err)
	}
	all := map[string]Stats{}
	for _, kind := range e.kinds() {
		all[kind] = Stats{}
	}
	var kind string
	var s Stats
	var oldest *time.Time
	_, err = pgx.ForEachRow(rows, []any{&kind, &s.Waiting, &s.Running, &s.Dead, &oldest}, func() error {
		if s.Oldest = (time.Time{}); oldest != nil {
			s.Oldest = oldest.UTC()
		}
		all[kind] = s
		return nil
	})
	if err != nil {
		return nil, mapError(ctx, err)
	}
	return all, nil
}

// Close is for Engine.
func (e *riverEngine) Close() error {
	e.pool.Close()
	return nil
}

// within is a context that ends when the database has been asked for long enough.
func (e *riverEngine) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, e.limit, errSilent)
}

var errSilent = errors.New("the database has not answered in time")

// mapError tells a database that is away from one that answers what is wrong.
func mapError(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil && context.Cause(ctx) != errSilent {
		return err
	}
	answer, ok := errors.AsType[*pgconn.PgError](err)
	if _, connecting := errors.AsType[*pgconn.ConnectError](err); ok && !connecting {
		switch answer.Code[:2] {
		case "08", "40", "53", "57", "58": // connections, deadlocks, no room, shut down or starting, its disk
		default:
			switch answer.Code {
			case "25006", "25P03", "55P03": // not the primary, idle or waiting for a lock for too long
			default:
				return err
			}
		}
	}
	return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
}
