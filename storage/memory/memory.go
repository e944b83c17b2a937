// Package memory is the reference implementation of the storage: a catalogue and blobs that live in
// memory and are gone with the process. It is made to be obviously right, not fast: every update
// works on a copy of the whole state, which replaces the state if the update succeeds. The
// conformance suite compares the other implementations with it; tests of other rooms use it too.
package memory

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"vigie/hashing"
	"vigie/storage"
)

// Catalogue implements [storage.Catalogue].
type Catalogue struct {
	options storage.Options
	update  sync.Mutex // one update at a time

	mu        sync.Mutex // guards what follows
	state     state
	committed chan struct{} // closed by the next commit
	closed    chan struct{} // closed by Close
}

// state is never changed once it is the catalogue's: updates change a copy. Values within its slices
// may share memory with earlier states; they are replaced, never written into.
type state struct {
	seal    storage.Sealer
	banks   []storage.Bank  // BankID 1 is banks[0]
	entries []storage.Entry // EntryID 1 is entries[0]
	keys    []storage.Key   // by creation
	changes []storage.Change
	media   map[hashing.Value]mediaRow

	parties       []storage.Party // PartyID 1 is parties[0]
	subscriptions map[subscriber]storage.Subscription
	overlays      map[holder]storage.Overlay
	opinions      map[holder]storage.Opinion
	remembered    map[request]storage.Remembered

	shipped   map[string]uint64          // by node
	matches   []storage.MatchRecord      // by Ord, ascending
	lastMatch uint64                     // Ord
	decisions []storage.Decision         // by ID, ascending
	lastRuled uint64                     // ID of the last decision
	taken     map[holder]taking          // of overlays that stand
	cleared   map[storage.EntryID]uint64 // ID of the last decision before it
	counts    map[step]uint64
	totals    map[storage.EntryID]storage.Counters // but for Hour and Day
	signIns   []storage.SignIn                     // by Ord, ascending
	lastSign  uint64                               // Ord
	nodes     map[string]storage.NodeReport        // by id
	rescans   rescans

	webhooks    map[storage.WebhookID]storage.Webhook
	lastWebhook storage.WebhookID
	dispatch    storage.Dispatch
	looked      map[string]uint64 // by node
	erasures    []storage.Erasure // by id
	lastErasure uint64
	erased      map[string]uint64 // by node
}

// What the maps are by.
type (
	subscriber struct {
		party storage.PartyID
		bank  storage.BankID
	}
	holder struct {
		party storage.PartyID
		entry storage.EntryID
	}
	// taking is what Disable did.
	taking struct {
		own   bool      // the overlay disables the entry because of it, and the party has not said so itself
		alarm time.Time // zero: none
	}
	request struct{ scope, key string }
	step    struct {
		entry storage.EntryID
		step  int64 // storage.StepOf
	}
)

type mediaRow struct {
	size  int64
	state storage.MediaState
	at    time.Time
}

func (s state) clone() state {
	s.banks = slices.Clone(s.banks)
	s.entries = slices.Clone(s.entries)
	s.keys = slices.Clone(s.keys)
	s.changes = slices.Clip(s.changes)
	s.media = maps.Clone(s.media)
	s.parties = slices.Clone(s.parties)
	s.subscriptions = maps.Clone(s.subscriptions)
	s.overlays = maps.Clone(s.overlays)
	s.opinions = maps.Clone(s.opinions)
	s.remembered = maps.Clone(s.remembered)
	s.shipped = maps.Clone(s.shipped)
	s.matches = slices.Clone(s.matches)
	s.decisions = slices.Clone(s.decisions)
	s.taken = maps.Clone(s.taken)
	s.cleared = maps.Clone(s.cleared)
	s.counts = maps.Clone(s.counts)
	s.totals = maps.Clone(s.totals)
	s.signIns = slices.Clone(s.signIns)
	s.nodes = maps.Clone(s.nodes)
	s.rescans = s.rescans.clone()
	s.webhooks = maps.Clone(s.webhooks)
	s.looked = maps.Clone(s.looked)
	s.erasures = slices.Clone(s.erasures)
	s.erased = maps.Clone(s.erased)
	return s
}

// New makes an empty catalogue with a log of its own.
func New(o storage.Options) (*Catalogue, error) {
	id, err := o.NewLogID()
	if err != nil {
		return nil, err
	}
	return &Catalogue{
		options: o,
		state: state{
			seal:          storage.Sealer{LogID: id, Options: o},
			media:         map[hashing.Value]mediaRow{},
			parties:       []storage.Party{storage.NewOperator(o)},
			subscriptions: map[subscriber]storage.Subscription{},
			overlays:      map[holder]storage.Overlay{},
			opinions:      map[holder]storage.Opinion{},
			remembered:    map[request]storage.Remembered{},
			shipped:       map[string]uint64{},
			taken:         map[holder]taking{},
			cleared:       map[storage.EntryID]uint64{},
			counts:        map[step]uint64{},
			totals:        map[storage.EntryID]storage.Counters{},
			nodes:         map[string]storage.NodeReport{},
			rescans:       rescans{shards: map[storage.RescanID][]storage.Shard{}},
			webhooks:      map[storage.WebhookID]storage.Webhook{},
			looked:        map[string]uint64{},
			erased:        map[string]uint64{},
		},
		committed: make(chan struct{}),
		closed:    make(chan struct{}),
	}, nil
}

// now returns the present state, and the channel that its successor closes.
func (c *Catalogue) now() (state, <-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.closed:
		return state{}, nil, os.ErrClosed
	default:
		return c.state, c.committed, nil
	}
}

// Close implements [storage.Catalogue]. A second Close does nothing.
func (c *Catalogue) Close() error {
	c.update.Lock()
	defer c.update.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	return nil
}

// View implements [storage.Catalogue]. It never waits.
func (c *Catalogue) View(ctx context.Context, fn func(storage.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s, _, err := c.now()
	if err != nil {
		return err
	}
	return fn(&reader{s, c.options})
}

// Update implements [storage.Catalogue].
func (c *Catalogue) Update(ctx context.Context, fn func(storage.Writer) error) error {
	c.update.Lock()
	defer c.update.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	s, _, err := c.now()
	if err != nil {
		return err
	}
	w := &writer{reader: reader{s.clone(), c.options}}
	if err := fn(w); err != nil {
		return err
	}
	sealed := make([]storage.Change, len(w.appended))
	for i, change := range w.appended {
		sealed[i] = cloneChange(*change)
		if _, err := w.state.seal.Seal(&sealed[i]); err != nil {
			return err
		}
		w.changes = append(w.changes, sealed[i])
	}
	for _, change := range sealed {
		if err := w.number(change); err != nil {
			return err
		}
	}
	if n := len(sealed); n > 0 {
		for _, id := range w.noted {
			r := w.remembered[id]
			r.Seq = sealed[n-1].Seq
			w.remembered[id] = r
		}
	}
	for i, change := range w.appended {
		*change = cloneChange(sealed[i])
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = w.state
	close(c.committed)
	c.committed = make(chan struct{})
	return nil
}

// number marks the subject of a change.
func (w *writer) number(c storage.Change) error {
	switch c.Kind.Subject() {
	case "entry":
		e, err := w.entry(c.Entry)
		if err != nil {
			return err
		}
		e.Seq = c.Seq
	case "key":
		k, err := w.key(c.Key)
		if err != nil {
			return err
		}
		k.Seq = c.Seq
	case "bank":
		b, err := w.bank(c.Bank)
		if err != nil {
			return err
		}
		b.Seq = c.Seq
	case "party":
		p, err := w.party(c.Party)
		if err != nil {
			return err
		}
		p.Seq = c.Seq
	}
	return nil
}

// Head implements [storage.Log].
func (c *Catalogue) Head(ctx context.Context) (h storage.Head, err error) {
	err = c.View(ctx, func(r storage.Reader) error {
		h, err = r.Head()
		return err
	})
	return h, err
}

// Changes implements [storage.Log].
func (c *Catalogue) Changes(ctx context.Context, after uint64, limit int) ([]storage.Change, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, _, err := c.now()
	if err != nil {
		return nil, err
	}
	var page []storage.Change
	for i := after; i < uint64(len(s.changes)) && len(page) < limit; i++ {
		page = append(page, cloneChange(s.changes[i]))
	}
	return page, nil
}

// Wait implements [storage.Log].
func (c *Catalogue) Wait(ctx context.Context, after uint64) error {
	for {
		s, committed, err := c.now()
		if err != nil {
			return err
		}
		if uint64(len(s.changes)) > after {
			return nil
		}
		select {
		case <-committed:
		case <-c.closed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func cloneChange(c storage.Change) storage.Change {
	c.Body, c.Private = slices.Clone(c.Body), slices.Clone(c.Private)
	c.Salt, c.Record = slices.Clone(c.Salt), slices.Clone(c.Record)
	return c
}

// missing is the error for a thing that is not there.
func missing(what string, id any) error {
	return fmt.Errorf("%s %v: %w", what, id, storage.ErrNotFound)
}
