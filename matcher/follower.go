package matcher

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"runtime"
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
	Root     storage.Hash // of the log, as of Seq
	Snapshot *index.Snapshot
	Banks    map[storage.BankID]storage.Bank // as the log tells them; deleted ones included
	Keys     map[string]storage.Key
	Parties  map[storage.PartyID]storage.Party

	Subscriptions map[seat]storage.Subscription
	Overlays      map[storage.PartyID]*overlays

	scopes *sync.Map // Scope by party; made when they are asked for
	logs   uint64    // how many logs the follower had lost when it was published
}

func (s *State) point() point { return point{s.LogID, s.Seq, s.Root} }

// Follower reads the change log in order and applies it to the index, the banks and the keys in
// memory. One goroutine, [Follower.Run], does the work; everyone else reads the published [State]
// without a lock.
type Follower struct {
	catalogue storage.Catalogue
	index     *index.Index
	o         Options
	state     atomic.Pointer[State]
	changed   atomic.Pointer[chan struct{}] // closed when a state is published
	full      atomic.Bool
	sums      sums

	// at is what the index is of: the state's point but while a state is made. Run moves both at once, under moving.
	moving sync.Mutex
	at     point

	// While there are more doubts than are cleared, nobody relies on the state: it may be of another log than the catalogue's,
	// or is, and answers until one of this log is published. A look clears those that were there before it.
	doubts, cleared atomic.Uint64
	diverged        atomic.Uint64
	astray          bool // the state is of another log; Run's alone

	whole atomic.Pointer[time.Time] // when it was last known that all of the log had been seen
	head  atomic.Uint64             // the end of the log at the last look
	looks look                      // Run's alone
}

// Rebuilt says what became of an index when another log took the place of the one that it was of.
type Rebuilt struct {
	Seq     uint64 // the last change of the log before that this node had seen
	Entries int    // with rows, then
	// NowSeq and NowEntries are those of the log that is there now, Missing the entries that had rows and have none any more. An
	// entry may have got another's number: then it is not counted.
	NowSeq              uint64
	NowEntries, Missing int
}

// look is where the log ended at a moment.
type look struct {
	seq uint64
	at  time.Time // zero: what was seen then is all applied
}

// pageSize bounds what is read from the catalogue at once. A video is some 100 kB.
const pageSize = 500

func newFollower(c storage.Catalogue, ix *index.Index, o Options) *Follower {
	f := &Follower{catalogue: c, index: ix, o: o, at: openedAt(ix)}
	next, now := make(chan struct{}), o.Now()
	f.changed.Store(&next)
	f.whole.Store(&now)
	return f
}

// State is the newest published state; nil before the first load. What was merged in the index since is in it: the same
// rows in fewer parts.
func (f *Follower) State() *State {
	for {
		s := f.state.Load()
		if s == nil {
			return nil
		}
		now := f.index.Snapshot()
		if now == s.Snapshot || now.Seq() != s.Seq || !f.relied() {
			return s
		}
		next := *s
		next.Snapshot = now
		if f.state.CompareAndSwap(s, &next) {
			return &next
		}
	}
}

// Seq is the last change applied; 0 before the first load.
func (f *Follower) Seq() uint64 {
	if s := f.State(); s != nil {
		return s.Seq
	}
	return 0
}

// Staleness is how long ago this node last knew that it had seen the whole log; before the first load, since it was made.
// While all is well it is a second at most, however little happens; when the catalogue is away, or another log has
// taken its place that is not read yet, it grows.
func (f *Follower) Staleness() time.Duration { return f.staleness(f.o.Now()) }

func (f *Follower) staleness(now time.Time) time.Duration { return max(now.Sub(*f.whole.Load()), 0) }

// Head is where the log ended when this node looked last.
func (f *Follower) Head() uint64 { return f.head.Load() }

// Diverged is how often the catalogue's log turned out to be another one.
func (f *Follower) Diverged() uint64 { return f.diverged.Load() }

// Sums are the digests of the newest states, by Seq, ascending; at most [storage.MaxNodeSums].
func (f *Follower) Sums() []Sum { return f.sums.list() }

// Full reports that the first load fails for lack of memory: [ErrFull].
func (f *Follower) Full() bool { return f.full.Load() }

// Has reports whether the published state has seen change seq. While the state is of another log than the catalogue's, nobody
// knows of which one seq is, and it has none but 0.
func (f *Follower) Has(seq uint64) bool {
	s := f.State()
	return s != nil && s.Seq >= seq && (seq == 0 || f.relied())
}

// Await returns nil as soon as the follower [Follower.Has] change seq, or ctx's error.
func (f *Follower) Await(ctx context.Context, seq uint64) error {
	for {
		changed := *f.changed.Load()
		if f.Has(seq) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// doubt has nobody rely on the state before the follower has looked again, as it does within a second: a change was made
// with a number that the state had seen before.
func (f *Follower) doubt() { f.doubts.Add(1) }

// relied reports that there is no doubt that the state is of the catalogue's log.
func (f *Follower) relied() bool { return f.doubts.Load() == f.cleared.Load() }

// holds reports whether numbers of a state name in the catalogue what they name in the state, as far as is known here.
func (f *Follower) holds(s *State) bool { return f.relied() && s.logs == f.diverged.Load() }

// Save saves the index, under what it is of: the catalogue may have another log by now. It returns as of which change. While the
// catalogue is read into the index, it waits. It is an error to save what is known to be of no use, or of nothing. It is for one
// goroutine at a time.
func (f *Follower) Save(ctx context.Context, dir string) (uint64, error) {
	if s := f.State(); s != nil && !f.holds(s) {
		return 0, errOtherLog
	}
	f.moving.Lock()
	unlock := sync.OnceFunc(f.moving.Unlock)
	defer unlock()
	return f.index.Save(ctx, dir, func(seq uint64) (index.Mark, error) {
		defer unlock() // from here on it may move
		if f.at.logID == "" || f.at.seq != seq {
			return index.Mark{}, errors.New("the index is of no log yet")
		}
		return markAt(f.at), nil
	})
}

// move does something to the index that takes it to a point.
func (f *Follower) move(to point, do func() error) error {
	f.moving.Lock()
	defer f.moving.Unlock()
	if err := do(); err != nil {
		return err
	}
	f.at = to
	return nil
}

// Run loads the catalogue and then follows the log until ctx ends; it returns ctx's error. It is to be
// called once.
//
// Faults are reported to Events.Fault and tried again, at least every 5 seconds, and every second while the catalogue is away; meanwhile
// the last state answers. That goes for a log that contradicts itself too ([storage.ErrCorrupt]): which of its
// parts is right is for people to say, and until then verdicts tell by their Staleness how old they are.
// A catalogue that is too large for the memory ([ErrFull]) is tried again every minute: entries may be retracted.
//
// Another log in the place of the one that was read, such as that of a restored backup, is noticed within a second, and told
// to Events.Diverged. The catalogue is loaded anew, while the old state answers; if there is no memory for both, the
// node is not ready meanwhile.
func (f *Follower) Run(ctx context.Context) error {
	const away, usual, full = time.Second, 5 * time.Second, time.Minute
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
		f.fault(fmt.Errorf("follow the log: %w", err))
		if f.Seq() > before {
			wait = 0
		}
		most = usual
		if errors.Is(err, storage.ErrUnavailable) {
			most = away
		}
		if f.full.Store(errors.Is(err, ErrFull)); f.Full() {
			wait, most = full, full
		}
	}
}

func (f *Follower) fault(err error) {
	if f.o.Events.Fault != nil {
		f.o.Events.Fault(err)
	}
}

// follow loads if nothing of this log is loaded, then applies page after page until something fails.
func (f *Follower) follow(ctx context.Context) error {
	for {
		if f.State() == nil || f.astray {
			if err := f.load(ctx); err != nil {
				return fmt.Errorf("load the catalogue: %w", err)
			}
		}
		if err := f.next(ctx); errors.Is(err, errOtherLog) {
			f.lost(err)
		} else if err != nil {
			return err
		}
	}
}

// lost notes that the state is of another log.
func (f *Follower) lost(why error) {
	f.astray = true
	f.doubt()
	f.diverged.Add(1)
	if f.o.Events.Diverged != nil {
		f.o.Events.Diverged(why)
	} else {
		f.fault(why)
	}
}

// next looks at the end of the log, within a second, and applies a page of what is new. errOtherLog.
func (f *Follower) next(ctx context.Context) error {
	s := f.State()
	var at time.Time
	var doubts uint64
	head, err := s.point().look(ctx, f.catalogue, func() { at, doubts = f.o.Now(), f.doubts.Load() })
	if err != nil {
		return err
	}
	f.head.Store(head.Seq)
	if f.looks.at.IsZero() {
		f.looks = look{head.Seq, at}
	}
	if head.Seq > s.Seq {
		changes, err := s.point().changes(ctx, f.catalogue, int(pageSize-s.Seq%pageSize)) // to where all nodes have a digest
		if err != nil {
			return err
		}
		if len(changes) == 0 {
			return fmt.Errorf("%w: the log ends with change %d, its head says %d", storage.ErrCorrupt, s.Seq, head.Seq)
		}
		if err := f.apply(ctx, s, changes, doubts); err != nil {
			return err
		}
	} else if doubts != f.cleared.Load() {
		f.settled(doubts)
	}
	if f.Seq() >= f.looks.seq {
		whole := f.looks.at
		f.whole.Store(&whole)
		f.looks = look{}
	}
	return nil
}

// load reads the catalogue as of one change. If the index is of this log, only what came since is read into it; else all
// entries are. While a state of another log answers, its index is replaced when all is there.
func (f *Follower) load(ctx context.Context) error {
	had, doubts := f.State(), f.doubts.Load()
	next := &State{
		Banks: map[storage.BankID]storage.Bank{}, Keys: map[string]storage.Key{}, Parties: map[storage.PartyID]storage.Party{},
		Subscriptions: map[seat]storage.Subscription{}, Overlays: map[storage.PartyID]*overlays{},
	}
	at := f.o.Now()
	err := f.catalogue.View(ctx, func(r storage.Reader) error {
		head, err := r.Head()
		if err != nil {
			return err
		}
		next.LogID, next.Seq, next.Root = head.LogID, head.Seq, head.Root
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
		if err := f.fill(ctx, next.point(), had != nil, everything(r, banks)); err != nil {
			return fmt.Errorf("fill the index: %w", err)
		}
		return nil
	})
	if errors.Is(err, ErrFull) && had != nil {
		f.drop()
		return fmt.Errorf("there is no memory for the index of the log before beside that of this one; it was dropped, and the node is not ready: %v", err)
	}
	if err != nil {
		return err
	}
	if err := f.catchUp(ctx, next.point()); err != nil {
		if errors.Is(err, errOtherLog) {
			f.forget()
		}
		return err
	}
	if err := f.index.Snapshot().Canary(ctx); err != nil {
		return fmt.Errorf("the index does not find what is in it (if that goes on, remove the folder of the index, and start again): %w", err)
	}
	f.publish(next, doubts)
	f.astray = false
	f.head.Store(next.Seq)
	f.whole.Store(&at)
	f.looks = look{}
	if had != nil && f.o.Events.Rebuilt != nil {
		now := f.State()
		f.o.Events.Rebuilt(Rebuilt{
			Seq: had.Seq, Entries: had.Snapshot.Stats().Entries, NowSeq: now.Seq, NowEntries: now.Snapshot.Stats().Entries,
			Missing: had.Snapshot.Missing(now.Snapshot),
		})
	}
	return nil
}

// fill has the index hold all that the log says up to a point, unless it is of that log and only lacks its end.
func (f *Follower) fill(ctx context.Context, to point, answers bool, all iter.Seq2[index.Change, error]) error {
	if answers {
		return f.move(to, func() error { return f.index.Replace(ctx, to.seq, all) })
	}
	if f.at.seq > 0 && f.at.in(to.head()) == nil {
		return nil
	}
	f.forget() // nobody reads what it holds
	return f.move(to, func() error {
		if to.seq == 0 {
			return nil
		}
		return f.index.Load(ctx, to.seq, all)
	})
}

// forget empties the index, of which nothing is known that is of use.
func (f *Follower) forget() {
	_ = f.move(point{}, func() error {
		if f.index.Snapshot().Seq() > 0 {
			f.index.Drop()
		}
		return nil
	})
}

// drop gives back the memory of a state that is of no use any more.
func (f *Follower) drop() {
	f.state.Store(nil)
	f.forget()
	runtime.GC()
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

// catchUp carries the index on to a point of the log, if it is of that log; else errOtherLog.
func (f *Follower) catchUp(ctx context.Context, to point) error {
	for f.at.seq < to.seq {
		changes, err := f.at.changes(ctx, f.catalogue, int(min(pageSize, to.seq-f.at.seq)))
		if err != nil {
			return err
		}
		if len(changes) == 0 {
			return fmt.Errorf("%w: the log ends with change %d, its head says %d", storage.ErrCorrupt, f.at.seq, to.seq)
		}
		a, err := read(f.at.seq, changes)
		if err != nil {
			return err
		}
		if err := f.carry(ctx, a); err != nil {
			return err
		}
	}
	return f.at.in(to.head()) // for the log may have been replaced meanwhile
}

// carry applies what changes say to the index.
func (f *Follower) carry(ctx context.Context, a applied) error {
	err := f.move(point{f.at.logID, a.seq, a.root}, func() error { return f.index.Apply(ctx, a.seq, a.rows) })
	if err != nil {
		return fmt.Errorf("apply to the index: %w", err)
	}
	return nil
}

// applied is what changes of the log say.
type applied struct {
	seq   uint64 // of the last one
	root  storage.Hash
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
		a.seq, a.root = c.Seq, c.Root
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
		storage.EntryRejected, storage.EntryQuarantined, storage.EntryExpired:
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
func (f *Follower) apply(ctx context.Context, s *State, changes []storage.Change, doubts uint64) error {
	if f.at != s.point() {
		return fmt.Errorf("%w: the index is as of change %d, and the banks as of %d", errOtherLog, f.at.seq, s.Seq)
	}
	a, err := read(s.Seq, changes)
	if err != nil {
		return err
	}
	if err := f.readKeys(ctx, a.keys); err != nil {
		return err
	}
	if err := f.carry(ctx, a); err != nil {
		return err
	}
	f.publish(&State{
		LogID: s.LogID, Seq: a.seq, Root: a.root, Banks: overlaid(s.Banks, a.banks), Keys: overlaid(s.Keys, a.keys),
		Parties: overlaid(s.Parties, a.parties), Subscriptions: overlaid(s.Subscriptions, a.subscriptions),
		Overlays: withOverlays(s.Overlays, a.overlays),
		scopes:   s.scopesAfter(a),
	}, doubts)
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

// publish puts a state in the place of the one before, clears doubts that are older than what it was read of, and wakes those who
// wait.
func (f *Follower) publish(next *State, doubts uint64) {
	next.Snapshot, next.logs = f.index.Snapshot(), f.diverged.Load()
	if next.scopes == nil {
		next.scopes = &sync.Map{}
	}
	f.sums.note(next, f.astray)
	f.state.Store(next)
	f.settled(doubts)
}

// settled clears doubts, and wakes those who wait.
func (f *Follower) settled(doubts uint64) {
	f.cleared.Store(doubts)
	changed := make(chan struct{})
	close(*f.changed.Swap(&changed))
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
