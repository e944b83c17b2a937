package matcher

import (
	"slices"

	"vigie/hashing"
	"vigie/storage"
)

// Rehearsal is what the dry run of a list would have put into a bank so far, so that what stands twice in the list is told as it
// will be. Its zero value has seen nothing. It serves the parts of one list for one bank, one after the other.
type Rehearsal struct {
	entries map[storage.EntryID]storage.Entry    // those that the list makes, and those that it adds to
	with    map[hashing.Signal][]storage.EntryID // of entries, by algorithm, variant and value
	made    storage.EntryID
	bytes   int // about, of both
	full    bool
}

const (
	// MaxRehearsed bounds the bytes that a rehearsal remembers: some 100,000 entries of two signals.
	MaxRehearsed = 64 << 20
	// What is counted of each signal, and of each source beside its texts.
	signalBytes, sourceBytes = 160, 112
	// Entries that are only rehearsed have numbers behind this one.
	firstRehearsed storage.EntryID = 1 << 62
)

// Full reports whether the list had more than is remembered: what repeats the rest of it is told as if it did not.
func (r *Rehearsal) Full() bool { return r.full }

// on is a bank's catalogue as it would be.
func (r *Rehearsal) on(catalogue storage.Reader) storage.Reader { return rehearsed{catalogue, r} }

// create remembers an entry that a list would make.
func (r *Rehearsal) create(b storage.Bank, e storage.Entry) {
	r.made++
	made := storage.Entry{
		ID: firstRehearsed + r.made, Bank: b.ID, Status: e.Status, ExactOnly: e.ExactOnly, Signals: e.Signals, Sources: e.Sources,
		ExpiresAt: e.ExpiresAt,
	}
	if needsSecond(b, storage.EntryConfirmed) {
		made.Status = storage.Proposed
	}
	r.keep(made, made.Signals)
}

// extend remembers what a list would add to an entry; see extend.
func (r *Rehearsal) extend(b storage.Bank, had, e storage.Entry, sources []storage.Source) {
	if prolongs(b, had, e) {
		had.ExpiresAt = e.ExpiresAt
	}
	signals := e.Signals
	if timed(had.Signals) && timed(signals) {
		signals = slices.DeleteFunc(slices.Clone(signals), isFrame)
	}
	all := distinct(slices.Concat(had.Signals, signals))
	r.keep(storage.Entry{
		ID: had.ID, Bank: had.Bank, Status: had.Status, ExactOnly: had.ExactOnly, ExpiresAt: had.ExpiresAt,
		Signals: all, Sources: slices.Concat(had.Sources, sources[:min(len(sources), max(0, maxSources-len(had.Sources)))]),
	}, all[len(distinct(had.Signals)):])
}

func (r *Rehearsal) keep(e storage.Entry, fresh []hashing.Signal) {
	size := sizeOf(e) - sizeOf(r.entries[e.ID])
	if r.full = r.full || r.bytes+size > MaxRehearsed; r.full {
		return
	}
	if r.entries == nil {
		r.entries, r.with = map[storage.EntryID]storage.Entry{}, map[hashing.Signal][]storage.EntryID{}
	}
	r.entries[e.ID] = e
	r.bytes += size
	for _, s := range fresh {
		r.with[plain(s)] = append(r.with[plain(s)], e.ID)
	}
}

func sizeOf(e storage.Entry) int {
	size := signalBytes*len(e.Signals) + sourceBytes*len(e.Sources)
	for _, s := range e.Sources {
		size += len(s.Origin) + len(s.List) + len(s.Foreign)
	}
	return size
}

// plain is what tells a signal apart to [storage.Reader.EntriesWith].
func plain(s hashing.Signal) hashing.Signal {
	return hashing.Signal{Algorithm: s.Algorithm, Variant: s.Variant, Value: s.Value}
}

// rehearsed is a catalogue with what a rehearsal would have added, as far as [hadListed] looks.
type rehearsed struct {
	storage.Reader
	*Rehearsal
}

func (r rehearsed) Entry(id storage.EntryID) (storage.Entry, error) {
	if e, ok := r.entries[id]; ok {
		return e, nil
	}
	return r.Reader.Entry(id)
}

func (r rehearsed) EntriesWith(bank storage.BankID, s hashing.Signal) ([]storage.EntryID, error) {
	ids, err := r.Reader.EntriesWith(bank, s)
	if more := r.with[plain(s)]; err == nil && len(more) > 0 {
		ids = slices.Concat(ids, more)
		slices.Sort(ids)
		ids = slices.Compact(ids)
	}
	return ids, err
}
