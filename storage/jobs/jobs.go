// Package jobs does durable work: what was enqueued is done, however often a process dies meanwhile.
//
//	engine, err := jobs.OpenRiver(ctx, url, map[string]jobs.Handler{"webhook": {Do: deliver, Attempts: 20}}, jobs.Options{})
//	err = engine.Enqueue(ctx, jobs.Job{Kind: "webhook", Key: "17", Args: args})
//	err = engine.Run(ctx)
//
// On PostgreSQL ([OpenRiver]), River hands the jobs to the processes that run an engine on one database. With SQLite
// ([OpenLocal]) the one process that owns the folder does the same work from a table. A [Handler] does not know which; the suite
// jobstest holds both to the same.
//
// # What holds
//
//   - A job whose Enqueue returned nil is done at least once: until its handler returns nil, or it has failed Attempts times.
//   - It may be done more than once, and by two processes at a time, if one of them stood still: the handler is given the
//     number of the attempt ([Run]), and writes what it did together with a look at whether a later one has begun.
//   - A job that failed for good is kept, with its error, until somebody replays or drops it.
package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Job is work to be done.
type Job struct {
	Kind string // names its Handler
	// Args is what the handler is told, JSON or nothing, at most MaxArgs bytes. It gets the same bytes.
	Args json.RawMessage
	// Key: of the jobs of a kind that have the same one, only one waits or runs at a time; to enqueue another does nothing, and this
	// is so until shortly after the handler has returned. So a key suits work that is named by it as a whole ("deliver
	// event 17"). It does not suit "look whether there is something to do": what came while the handler was about to return,
	// nobody would look at. At most 200 bytes. Empty: as many as one likes.
	Key string
	At  time.Time // not before; zero: at once
}

// MaxArgs bounds the arguments of a job: they name what to do, and do not hold it.
const MaxArgs = 64 << 10

// Run is one attempt at a job.
type Run struct {
	ID int64 // of the job
	// Attempt grows from 1 with every attempt at the job that begins, be it after a failure, after [Later], after the end of a process
	// or after a replay: of two attempts that overlap, the one with the larger number counts.
	Attempt int
	Args    json.RawMessage
	Created time.Time // when it was enqueued, or replayed
}

// Handler does the jobs of a kind. All processes on one database give the same ones.
type Handler struct {
	// Do does one job. nil: it is done; [Later]: not yet; [Never]: it cannot be done; any other error, and a panic: it is tried
	// again. The error is kept with the job, cut to 1 kB: it holds nothing that must not be stored.
	//
	// ctx ends after Timeout, when the job is dropped, and a few seconds after Run was told to end; Do returns soon
	// then. An attempt that the end of Run cut short does not count as failed.
	Do func(ctx context.Context, r Run) error
	// Timeout bounds one attempt; default 60 s. After half as long again, a handler that has still not returned is given up: the
	// job is attempted again, the attempt counts as failed, and no longer against Parallel. That its process has died is noticed
	// long before: on PostgreSQL within half a minute, whatever Timeout is; with SQLite when the next one starts. It counts as failed,
	// too.
	Timeout time.Duration
	// Attempts is how often a job may fail; default 25, at most 1000.
	Attempts int
	// Backoff is how long to wait after so many failed attempts (from 1); default 1 s, doubled each time, at most an hour.
	Backoff func(failed int) time.Duration
	// Parallel is how many jobs of the kind a process does at a time; default 1.
	Parallel int
}

// Options of an engine.
type Options struct {
	// Only names the kinds that Run does; nil: all that have handlers. What the others' jobs need is known
	// to every process all the same: Enqueue takes them, and those of dead processes are found.
	Only []string
	// Fault is told of what went wrong where nobody waits for an answer: a panic, a database that is away. Calls may be concurrent. May
	// be nil.
	Fault func(error)
}

// Dead is a job that failed for good.
type Dead struct {
	ID       int64
	Kind     string
	Args     json.RawMessage
	Error    string    // of the last attempt
	Attempts int       // that have begun
	Created  time.Time // when it was enqueued, or replayed
	Died     time.Time
}

// Pending are jobs that wait or run.
type Pending struct {
	Jobs    int
	Failing int       // of them, those that have failed before
	Oldest  time.Time // when the first of them was enqueued, or replayed; zero: there is none
	Error   string    // of the last attempt of the oldest that has failed
}

// Stats count the jobs of a kind.
type Stats struct {
	Waiting int // to be done now or later
	Running int
	Dead    int
	Oldest  time.Time // since when the first of those waiting could have been done; zero: none
}

// Engine keeps jobs and does them. Its methods are safe for concurrent use. If the database is away they fail with
// storage.ErrUnavailable.
type Engine interface {
	// Enqueue returns when the jobs are durable: all of them, or none. ErrInvalid if there is no such kind, or a job is not what it must
	// be. After storage.ErrUnknownOutcome they may be there; jobs with keys are simply enqueued again.
	Enqueue(ctx context.Context, jobs ...Job) error
	// Run does jobs until ctx ends, and then waits for those under way, a few seconds: an error says that some have not
	// returned. A database that is away it waits for. To be called once; without it the engine only enqueues.
	Run(ctx context.Context) error
	// Dead lists jobs of a kind that failed for good, by id, ascending, at most limit (1..1000) beyond an id.
	Dead(ctx context.Context, kind string, after int64, limit int) ([]Dead, error)
	// Replay has a dead job tried anew, with all its attempts; storage.ErrNotFound if there is none of that id,
	// storage.ErrExists if another one with its key waits or runs.
	Replay(ctx context.Context, id int64) error
	// Drop removes the jobs of a kind that have the key, and wait or are dead; for those that run, the handler's context ends, and they
	// are not tried again. It is no error if there are none.
	Drop(ctx context.Context, kind, key string) error
	// Pending sums up those of a kind that wait or run, by what stands before the first hyphen of their keys. It reads all of them.
	Pending(ctx context.Context, kind string) (map[string]Pending, error)
	// DeadOf, ReplayOf and DropOf are about the jobs of a kind whose keys begin with a prefix, such as those of one webhook. They
	// do not read the others.
	//
	// DeadOf lists them as Dead does.
	DeadOf(ctx context.Context, kind, prefix string, after int64, limit int) ([]Dead, error)
	// ReplayOf replays all of them that are dead, but those beside which another one with their key waits or runs; replayed is how many.
	ReplayOf(ctx context.Context, kind, prefix string) (replayed int, err error)
	// DropOf removes those that wait or are dead; what runs goes on.
	DropOf(ctx context.Context, kind, prefix string) error
	// Expire removes the jobs of a kind that died before a time.
	Expire(ctx context.Context, kind string, before time.Time) error
	// Stats counts the jobs of each kind that has a handler.
	Stats(ctx context.Context) (map[string]Stats, error)
	// Close lets go of the database. Run has returned before.
	Close() error
}

// ErrInvalid: a job is not what it must be.
var ErrInvalid = errors.New("invalid job")

// later and never are what handlers answer; see [Later] and [Never].
type (
	later struct{ after time.Duration }
	never struct{ err error }
)

// Later is the answer of a handler that has to wait: the job is done again after this time, and the attempt does not count
// as a failure.
func Later(after time.Duration) error { return later{after} }

// Never is the answer of a handler to a job that no further attempt will do: it is dead at once.
func Never(err error) error {
	if err == nil {
		err = errors.New("it cannot be done")
	}
	return never{err}
}

func (l later) Error() string { return fmt.Sprintf("not before %v from now", l.after) }
func (n never) Error() string { return n.err.Error() }
func (n never) Unwrap() error { return n.err }
