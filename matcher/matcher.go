package matcher

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"vigie/hashing"
	"vigie/index"
	"vigie/storage"
	"vigie/storage/history"
	"vigie/storage/journal"
)

// Hasher turns the bytes of a picture into signals. *sandbox.Pool is one. A picture that cannot be
// decoded is a [*hashing.MediaError].
type Hasher interface {
	Picture(ctx context.Context, data []byte) (hashing.Picture, error)
}

// Options of a [Matcher]. The zero value is usable.
type Options struct {
	// Patience is how long a check waits for min_seq or for the first load, and whoever makes a change
	// for it to become visible here. Default 2 s.
	Patience time.Duration
	// Brief is how long a check waits for what the catalogue knows of the entries found; then it answers without
	// ([Verdict.Unexplained]). It is for a catalogue that is elsewhere. 0: as long as that takes.
	Brief time.Duration
	// Now and Rand are for tests.
	Now  func() time.Time
	Rand io.Reader
	// Videos hashes videos. Without it they are left to the Hasher, which knows pictures.
	Videos Videos
	// Journal keeps what checks found. Without it they go unrecorded, and nothing can be decided about them.
	Journal Journal
	// JournalOf is the identity of the log that the journal's records are for, as they are about its parties and entries; empty:
	// of any.
	JournalOf string
	// Claim is this process's to the journal's identity; see [ClaimIdentity]. Zero: nobody else can have it.
	Claim storage.NodeClaim
	// Render writes a verdict as its caller reads it; needed with Journal.
	Render func(Verdict) ([]byte, error)
	// Ship brings all that the journal has into the catalogue at once, and out of the node; nil: it gets there by itself.
	Ship func(context.Context) error
	// Reach waits until a record of the journal is in the catalogue; it fails at once for an id that the journal has not
	// given. nil: nobody waits.
	Reach func(context.Context, journal.ID) error
	// History keeps the uploads of parties that want that, and finds them again; needs Journal. nil: none are kept.
	History *history.History
	// Texts answers searches for words; nil: none can be made.
	Texts *Texts
	// Events are told what happens; see [Events].
	Events Events
}

// Events are optional functions that observe the matcher, for metrics and logs. They are called
// synchronously, from several goroutines, and must be quick. None of them is given media, notes or hashes.
type Events struct {
	Checked func(Verdict)
	Flagged func(created bool)
	// Quarantined tells of an entry that was taken out for all because it matched too much.
	Quarantined func(storage.EntryID)
	// Applied tells that changes up to seq are in the index, and how long after the first of them was committed.
	Applied func(seq uint64, changes int, lag time.Duration)
	// Diverged tells that the catalogue's log is another one than was read so far, such as that of a restored backup: the index
	// is made of it anew. Rebuilt tells that it was. Without Diverged, it is a Fault.
	Diverged func(why error)
	Rebuilt  func(Rebuilt)
	// Fault tells of something that went wrong without an error to its caller: the follower could not
	// read on, and tries again; a verdict lacks its labels.
	Fault func(error)
}

// Matcher answers checks and makes changes. Its methods are safe for concurrent use.
type Matcher struct {
	catalogue storage.Catalogue
	blobs     storage.Blobs
	hasher    Hasher
	follower  *Follower
	floods    floods
	signIns   firsts
	breaker   breaker
	heard     hearings
	looked    atomic.Uint64 // see Looked; one more
	past      pastBounds
	o         Options
}

// New makes a matcher over a catalogue, a media store and a hasher. Run its [Matcher.Follower], or no
// change will ever match.
func New(c storage.Catalogue, b storage.Blobs, h Hasher, ix *index.Index, o Options) *Matcher {
	if o.Patience == 0 {
		o.Patience = 2 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	return &Matcher{catalogue: c, blobs: b, hasher: h, follower: newFollower(c, ix, o), o: o}
}

// Follower carries the log into this node's memory.
func (m *Matcher) Follower() *Follower { return m.follower }

// state is what the follower has read so far, or ErrNotReady before the first load.
func (m *Matcher) state() (*State, error) {
	if s := m.follower.State(); s != nil {
		return s, nil
	}
	return nil, ErrNotReady
}

// loaded is state, once the first load is done: it waits for that as long as the patience.
func (m *Matcher) loaded(ctx context.Context) (*State, error) {
	if s := m.follower.State(); s != nil {
		return s, nil
	}
	if err := m.await(ctx, 0); errors.Is(err, ErrIndexBehind) {
		return nil, ErrNotReady
	} else if err != nil {
		return nil, err
	}
	return m.state()
}

// update makes one change: fn does the work and returns the draft of the change; without a kind, or nil, if there is
// nothing to change. It says what was done once that is durable; or what was done before, if the context's request comes
// again, and then fn is not run: what found nothing to change finds nothing again, whatever others have done meanwhile.
func (m *Matcher) update(ctx context.Context, fn func(storage.Writer) (*storage.Change, error)) (done, error) {
	var draft *storage.Change
	var before *done
	seen := m.follower.Seq()
	err := m.catalogue.Update(ctx, func(w storage.Writer) (err error) {
		draft = nil
		if before, err = remembered(ctx, w); err != nil || before != nil {
			return err // without an error, for what was done may wait for the same commit as this
		}
		if draft, err = fn(w); err != nil {
			return err
		}
		if draft != nil && draft.Kind != "" {
			if err := w.Append(draft); err != nil {
				return err
			}
		}
		return remember(ctx, w, doneBy(draft))
	})
	switch {
	case err != nil:
		return done{}, err
	case before != nil:
		return *before, nil
	}
	noteChanged(ctx)
	if d := doneBy(draft); d.Seq > 0 && d.Seq <= seen {
		m.follower.doubt()
	}
	return doneBy(draft), nil
}

func doneBy(c *storage.Change) done {
	if c == nil {
		return done{}
	}
	return done{Kind: c.Kind, Bank: c.Bank, Entry: c.Entry, Key: c.Key, Party: c.Party, Seq: c.Seq}
}

// room refuses rows for which the index has no memory, before they come into the log: ErrFull. Whatever comes into the
// log is followed.
func (m *Matcher) room(rows int) error {
	if err := m.follower.index.Room(rows); err != nil {
		return fmt.Errorf("%w; retract entries that are not needed, or give the node more memory", err)
	}
	return nil
}

// settle waits until this node has applied a change, so that whoever made it sees it; it reports
// whether that came to pass. A change stands even if it did not.
func (m *Matcher) settle(ctx context.Context, seq uint64) bool {
	return m.await(ctx, seq) == nil
}

// Await waits for a change to be applied here: ErrIndexBehind if it is not within the patience.
func (m *Matcher) Await(ctx context.Context, seq uint64) error { return m.await(ctx, seq) }

// await waits for a change to be applied here: ErrIndexBehind if it is not within the patience.
func (m *Matcher) await(ctx context.Context, seq uint64) error {
	waiting, cancel := context.WithTimeout(ctx, m.o.Patience)
	defer cancel()
	if err := m.follower.Await(waiting, seq); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w: change %d is asked for, %d is here", ErrIndexBehind, seq, m.follower.Seq())
	}
	return nil
}

func (m *Matcher) fault(err error) {
	if m.o.Events.Fault != nil {
		m.o.Events.Fault(err)
	}
}

// translate maps the storage's not-found to the matcher's word for the thing that was asked for.
func translate(err, notFound error, name any) error {
	if errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("%w: %v", notFound, name)
	}
	return err
}
