package matcher

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"vigie/hashing"
	"vigie/index"
	"vigie/storage"
)

// State is what a node knows as of one change: a snapshot of the index with the banks and keys that
// belong to it. It is immutable.
type State struct {
	LogID    string
	Seq      uint64
	Snapshot *index.Snapshot
	Banks    map[storage.BankID]storage.Bank // as the log tells them; deleted ones included
	Keys     map[string]storage.Key
	Parties  map[storage.PartyID]storage.Party

	Subscriptions map[seat]storage.Subscription
	Overlays      map[storage.PartyID]*overlays

	scopes   *sync.Map     // Scope by party; made when they are asked for
	replaced chan struct{} // closed when a newer state is published
}

// Follower reads the change log in order and applies it to the index, the banks and the keys in
// memory. One goroutine, [Follower.Run], does the work; everyone else reads the published [State]
// without a lock.
type Follower struct {
	catalogue storage.Catalogue
	index     *index.Index
	o         Options
	state     atomic.Pointer[State]
	loaded    chan struct{} // closed after the first load
	full      atomic.Bool
	once      sync.Once
}

// pageSize bounds what is read from the catalogue at once. A video is some 100 kB.
const pageSize = 500

func newFollower(c storage.Catalogue, ix *index.Index, o Options) *Follower {
	return &Follower{catalogue: c, index: ix, o: o, loaded: make(chan struct{})}
}

// State is the newest published state; nil before the first load. What was merged in the index since is in it: the same
// rows in fewer parts.
func (f *Follower) State() *State {
	s := f.state.Load()
	if s == nil {
		return nil
	}
	if now := f.index.Snapshot(); now != s.Snapshot && now.Seq() == s.Seq {
		next := *s
		next.Snapshot = now
		f.state.CompareAndSwap(s, &next)
		return &next
	}
	return s
}

// Seq is the last change applied; 0 before the first load.
func (f *Follower) Seq() uint64 {
	if s := f.State(); s != nil {
		return s.Seq
	}
	return 0
}

// Full reports that the first load fails for lack of memory: [ErrFull].
func (f *Follower) Full() bool { return f.full.Load() }

// Await returns nil as soon as the published state has seen change seq, or ctx's error.
func (f *Follower) Await(ctx context.Context, seq uint64) error {
	select {
	case <-f.loaded:
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		s := f.State()
		if s.Seq >= seq {
			return nil
		}
		select {
		case <-s.replaced:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Run loads the catalogue and then follows the log until ctx ends; it returns ctx's error. It is to be
// called once.
//
// Faults are reported to Events.Fault and tried again, at least every 5 seconds; meanwhile the last
// state answers. That goes for a log that contradicts itself too ([storage.ErrCorrupt]): which of its
// parts is right is for people to say, and until then verdicts tell by their IndexSeq how old they are.
// A catalogue that is too large for the memory ([ErrFull]) is tried again every minute: entries may be retracted.
func (f *Follower) Run(ctx context.Context) error {
	const usual, full = 5 * time.Second, time.Minute
	most := usual
	for wait := time.Duration(0); ; wait = min(max(2*wait, 50*time.Millisecond), most) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		before := f.Seq()
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if f.o.Events.Fault != nil {
			f.o.Events.Fault(fmt.Errorf("follow the log: %w", err))
		}
		if f.Seq() > before {
			wait = 0
		}
		most = usual
		if f.full.Store(errors.Is(err, ErrFull)); f.Full() {
			wait, most = full, full
		}
	}
}

// follow loads if nothing is loaded, then applies page after page until something fails.
func (f *Follower) follow(ctx context.Context) error {
	if f.State() == nil {
		if err := f.load(ctx); err != nil {
			return fmt.Errorf("load the catalogue: %w", err)
		}
	}
	for {
		s := f.State()
		if err := f.catalogue.Wait(ctx, s.Seq); err != nil {
			return err
		}
		head, err := f.catalogue.Head(ctx)
		if err != nil {
			return err
		}
		if head.LogID != s.LogID {
			return fmt.Errorf("%w: log %s is now %s", storage.ErrCorrupt, s.LogID, head.LogID)
		}
		if head.Seq <= s.Seq {
			continue
		}
		changes, err := f.catalogue.Changes(ctx, s.Seq, pageSize)
		if err != nil {
			return err
		}
		if len(changes) == 0 {
			return fmt.Errorf("%w: the log ends with change %d, its head says %d", storage.ErrCorrupt, s.Seq, head.Seq)
		}
		if err := f.apply(ctx, s, changes); err != nil {
			return err
		}
	}
}

// load reads the catalogue as of one change. If the index was saved, only what came since is read into it; else all
// entries are.
func (f *Follower) load(ctx context.Context) error {
	next := &State{
		Banks: map[storage.BankID]storage.Bank{}, Keys: map[string]storage.Key{}, Parties: map[storage.PartyID]storage.Party{},
		Subscriptions: map[seat]storage.Subscription{}, Overlays: map[storage.PartyID]*overlays{},
	}
	err := f.catalogue.View(ctx, func(r storage.Reader) error {
		head, err := r.Head()
		if err != nil {
			return err
		}
		next.LogID, next.Seq = head.LogID, head.Seq
		banks, err := r.Banks()
		if err != nil {
			return err
		}
		for _, b := range banks {
			next.Banks[b.ID] = loggedBank(b.ID, bankBody(b), b.Seq)
		}
		keys, err := r.Keys()
		if err != nil {
			return err
		}
		for _, k := range keys {
			next.Keys[k.ID] = k
		}
		if err := next.loadParties(r); err != nil {
			return err
		}
		if f.index.Snapshot().Seq() > 0 || head.Seq == 0 {
			return nil
		}
		if err := f.index.Load(ctx, head.Seq, everything(r, banks)); err != nil {
			return fmt.Errorf("fill the index: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := f.catchUp(ctx, next.Seq); err != nil {
		return err
	}
	if err := f.index.Snapshot().Canary(ctx); err != nil {
		return fmt.Errorf("the index does not find what is in it (if that goes on, remove the folder of the index, and start again): %w", err)
	}
	f.publish(nil, next)
	return nil
}

// loadParties reads the parties and what they say.
func (s *State) loadParties(r storage.Reader) error {
	parties, err := r.Parties()
	if err != nil {
		return err
	}
	for _, p := range parties {
		s.Parties[p.ID] = loggedParty(p.ID, partyBody(p), p.Seq)
	}
	subscriptions, err := r.Subscriptions()
	if err != nil {
		return err
	}
	for _, sub := range subscriptions {
		s.Subscriptions[seat{sub.Party, sub.Bank}] = sub
	}
	overlays, err := r.Overlays()
	if err != nil {
		return err
	}
	s.Overlays = withOverlays(s.Overlays, overlays)
	return nil
}

// everything is the state of the index of a whole catalogue.
func everything(r storage.Reader, banks []storage.Bank) iter.Seq2[index.Change, error] {
	return func(yield func(index.Change, error) bool) {
		for _, b := range banks {
			if !yield(index.Change{Bank: index.BankID(b.ID), Hidden: b.Deleted}, nil) {
				return
			}
		}
		for after := storage.EntryID(0); ; {
			page, err := r.Entries(storage.EntryQuery{After: after, Limit: pageSize, Status: storage.Active})
			if err != nil {
				yield(index.Change{}, err)
				return
			}
			for _, e := range page {
				if !yield(entryRows(e.Bank, e.ID, e.Signals), nil) {
					return
				}
				after = e.ID
			}
			if len(page) < pageSize {
				return
			}
		}
	}
}

// catchUp carries a saved index on to a change.
func (f *Follower) catchUp(ctx context.Context, to uint64) error {
	for {
		at := f.index.Snapshot().Seq()
		if at >= to {
			return nil
		}
		changes, err := f.catalogue.Changes(ctx, at, int(min(pageSize, to-at)))
		if err != nil {
			return err
		}
		if len(changes) == 0 {
			return fmt.Errorf("%w: the log ends with change %d, its head says %d", storage.ErrCorrupt, at, to)
		}
		a, err := read(at, changes)
		if err != nil {
			return err
		}
		if err := f.index.Apply(ctx, a.seq, a.rows); err != nil {
			return fmt.Errorf("apply to the index: %w", err)
		}
	}
}

// applied is what changes of the log say.
type applied struct {
	seq   uint64 // of the last one
	rows  []index.Change
	banks map[storage.BankID]storage.Bank
	keys  map[string]storage.Key // their ids alone

	parties       map[storage.PartyID]storage.Party
	subscriptions map[seat]storage.Subscription
	overlays      []storage.Overlay // in order
}

// read takes changes apart that follow change seq.
func read(seq uint64, changes []storage.Change) (applied, error) {
	a := applied{
		seq: seq, banks: map[storage.BankID]storage.Bank{}, keys: map[string]storage.Key{},
		parties: map[storage.PartyID]storage.Party{}, subscriptions: map[seat]storage.Subscription{},
	}
	for _, c := range changes {
		if c.Seq != a.seq+1 {
			return a, fmt.Errorf("%w: change %d follows %d", storage.ErrCorrupt, c.Seq, a.seq)
		}
		a.seq = c.Seq
		body := func(into any) error {
			if err := json.Unmarshal(c.Body, into); err != nil {
				return fmt.Errorf("%w: body of change %d: %w", storage.ErrCorrupt, c.Seq, err)
			}
			return nil
		}
		if err := a.take(c, body); err != nil {
			return a, err
		}
	}
	return a, nil
}

// take notes what one change says.
func (a *applied) take(c storage.Change, read func(into any) error) error {
	switch c.Kind {
	case storage.EntryAdded, storage.EntrySourced, storage.EntryRetracted, storage.EntryRestored, storage.EntryConfirmed,
		storage.EntryRejected, storage.EntryQuarantined:
		var body storage.EntryBody
		if err := read(&body); err != nil {
			return err
		}
		var signals []hashing.Signal
		if body.Status == storage.Active {
			for _, b := range body.Signals {
				signals = append(signals, b.Whole())
			}
		}
		a.rows = append(a.rows, entryRows(c.Bank, c.Entry, signals))
	case storage.BankCreated, storage.BankChanged, storage.BankDeleted, storage.BankRestored, storage.BankProposed, storage.BankRejected:
		var body storage.BankBody
		if err := read(&body); err != nil {
			return err
		}
		a.banks[c.Bank] = loggedBank(c.Bank, body, c.Seq)
		a.rows = append(a.rows, index.Change{Bank: index.BankID(c.Bank), Hidden: body.Deleted})
	case storage.KeyCreated, storage.KeyRevoked:
		a.keys[c.Key] = storage.Key{}
	case storage.PartyCreated, storage.PartyChanged:
		var body storage.PartyBody
		if err := read(&body); err != nil {
			return err
		}
		a.parties[c.Party] = loggedParty(c.Party, body, c.Seq)
	case storage.SubscriptionSet:
		var sub storage.Subscription
		if err := read(&sub); err != nil {
			return err
		}
		a.subscriptions[seat{sub.Party, sub.Bank}] = sub
	case storage.OverlaySet:
		var o storage.Overlay
		if err := read(&o); err != nil {
			return err
		}
		a.overlays = append(a.overlays, o)
	}
	return nil
}

// apply carries changes into the index, the banks and the keys, and publishes the new state.
func (f *Follower) apply(ctx context.Context, s *State, changes []storage.Change) error {
	a, err := read(s.Seq, changes)
	if err != nil {
		return err
	}
	if err := f.readKeys(ctx, a.keys); err != nil {
		return err
	}
	if err := f.index.Apply(ctx, a.seq, a.rows); err != nil {
		return fmt.Errorf("apply to the index: %w", err)
	}
	f.publish(s, &State{
		LogID: s.LogID, Seq: a.seq, Banks: overlaid(s.Banks, a.banks), Keys: overlaid(s.Keys, a.keys),
		Parties: overlaid(s.Parties, a.parties), Subscriptions: overlaid(s.Subscriptions, a.subscriptions),
		Overlays: withOverlays(s.Overlays, a.overlays),
		scopes:   s.scopesAfter(a),
	})
	if f.o.Events.Applied != nil {
		f.o.Events.Applied(a.seq, len(changes), f.o.Now().Sub(changes[0].At))
	}
	return nil
}

// scopesAfter are the scopes that are known already, if nothing that they are made of has changed.
func (s *State) scopesAfter(a applied) *sync.Map {
	if len(a.banks)+len(a.parties)+len(a.subscriptions)+len(a.overlays) == 0 {
		return s.scopes
	}
	return &sync.Map{}
}

// readKeys fills in keys by their ids. The log does not hold the digests of secrets: they are read
// where they are kept, as of now, which may be later than the change.
func (f *Follower) readKeys(ctx context.Context, keys map[string]storage.Key) error {
	if len(keys) == 0 {
		return nil
	}
	return f.catalogue.View(ctx, func(r storage.Reader) error {
		for id := range keys {
			k, err := r.Key(id)
			if err != nil {
				return err
			}
			keys[id] = k
		}
		return nil
	})
}

// overlaid is old with some of it replaced; old itself stays as it is.
func overlaid[K comparable, V any](old, replaced map[K]V) map[K]V {
	if len(replaced) == 0 {
		return old
	}
	m := maps.Clone(old)
	maps.Copy(m, replaced)
	return m
}

// bankBody is what the log tells of a bank, and loggedBank what is known from there: the same whether a
// node has loaded it or followed it.
func bankBody(b storage.Bank) storage.BankBody {
	return storage.BankBody{
		Name: b.Name, Owner: b.Owner, Kind: b.Kind, Members: b.Members, Open: b.Open, Dual: b.Dual,
		Policy: b.Policy, Proposal: publicProposal(b.Proposal), Deleted: b.Deleted,
	}
}

func loggedBank(id storage.BankID, body storage.BankBody, seq uint64) storage.Bank {
	return storage.Bank{
		ID: id, Name: body.Name, Owner: cmp.Or(body.Owner, storage.Operator), Kind: cmp.Or(body.Kind, storage.Positive),
		Members: body.Members, Open: body.Open, Dual: body.Dual,
		Policy: body.Policy, Proposal: body.Proposal, Deleted: body.Deleted, Seq: seq,
	}
}

func (f *Follower) publish(old, next *State) {
	next.Snapshot = f.index.Snapshot()
	next.replaced = make(chan struct{})
	if next.scopes == nil {
		next.scopes = &sync.Map{}
	}
	f.state.Store(next)
	if old != nil {
		close(old.replaced)
	}
	f.once.Do(func() { close(f.loaded) })
}

// entryRows are the rows that an entry has in the index: all its signals that say enough.
func entryRows(bank storage.BankID, entry storage.EntryID, signals []hashing.Signal) index.Change {
	c := index.Change{Bank: index.BankID(bank), Entry: index.EntryID(entry)}
	for _, s := range signals {
		if poor(s) == nil {
			c.Signals = append(c.Signals, s)
		}
	}
	return c
}
