package memory

import (
	"cmp"
	"slices"

	"vigie/hashing"
	"vigie/storage"
)

// reader reads one state. What it hands out are copies.
type reader struct {
	state
	options storage.Options
}

func (r *reader) Head() (storage.Head, error) {
	tree := storage.Tree{}
	root := tree.Root()
	if n := len(r.changes); n > 0 {
		root = r.changes[n-1].Root
	}
	return storage.Head{LogID: r.seal.LogID, Seq: uint64(len(r.changes)), Root: root}, nil
}

func (r *reader) Bank(id storage.BankID) (storage.Bank, error) {
	b, err := r.bank(id)
	if err != nil {
		return storage.Bank{}, err
	}
	return b.Normal(), nil
}

func (r *reader) BankNamed(owner storage.PartyID, name string) (storage.Bank, error) {
	var named []storage.Bank
	for _, b := range r.banks {
		if b.Owner == owner && b.Name == name {
			named = append(named, b)
		}
	}
	if len(named) == 0 {
		return storage.Bank{}, missing("bank", name)
	}
	return slices.MaxFunc(named, func(a, b storage.Bank) int {
		if a.Deleted != b.Deleted {
			return map[bool]int{true: -1, false: 1}[a.Deleted]
		}
		return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.ID, b.ID))
	}).Normal(), nil
}

func (r *reader) Banks() ([]storage.Bank, error) {
	var all []storage.Bank
	for _, b := range r.banks {
		all = append(all, b.Normal())
	}
	return all, nil
}

func (r *reader) Entry(id storage.EntryID) (storage.Entry, error) {
	e, err := r.entry(id)
	if err != nil {
		return storage.Entry{}, err
	}
	return cloneEntry(*e), nil
}

func (r *reader) Entries(q storage.EntryQuery) ([]storage.Entry, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	var page []storage.Entry
	for _, e := range r.entries[min(q.After, storage.EntryID(len(r.entries))):] {
		if len(page) < q.Limit &&
			(q.Bank == 0 || e.Bank == q.Bank) &&
			(q.Banks == nil || slices.Contains(q.Banks, e.Bank)) &&
			(q.Status == "" || e.Status == q.Status) &&
			(q.Label == "" || slices.Contains(e.Labels, q.Label)) &&
			(!q.Waiting || e.Proposal != nil) {
			page = append(page, cloneEntry(e))
		}
	}
	return page, nil
}

func (r *reader) EntriesWith(bank storage.BankID, s hashing.Signal) ([]storage.EntryID, error) {
	var ids []storage.EntryID
	for _, e := range r.entries {
		if e.Bank == bank && hasSignal(e, s) {
			ids = append(ids, e.ID)
		}
	}
	return ids, nil
}

func (r *reader) EntriesWithAny(bank storage.BankID, signals []hashing.Signal) ([][]storage.EntryID, error) {
	if err := storage.CheckAsked(signals); err != nil {
		return nil, err
	}
	found := make([][]storage.EntryID, len(signals))
	for i, s := range signals {
		ids, err := r.EntriesWith(bank, s)
		if err != nil {
			return nil, err
		}
		found[i] = ids
	}
	return found, nil
}

func hasSignal(e storage.Entry, s hashing.Signal) bool {
	return slices.ContainsFunc(e.Signals, func(o hashing.Signal) bool { return sameSignal(o, s) })
}

func sameSignal(a, b hashing.Signal) bool {
	return a.Algorithm == b.Algorithm && a.Variant == b.Variant && a.Value == b.Value
}

func (r *reader) Labels(ids []storage.EntryID) (map[storage.EntryID][]string, error) {
	if err := storage.CheckLabels(ids); err != nil {
		return nil, err
	}
	labels := map[storage.EntryID][]string{}
	for _, id := range ids {
		if e, err := r.entry(id); err == nil && len(e.Labels) > 0 {
			labels[id] = slices.Clone(e.Labels)
		}
	}
	return labels, nil
}

func (r *reader) Key(id string) (storage.Key, error) {
	k, err := r.key(id)
	if err != nil {
		return storage.Key{}, err
	}
	return *k, nil
}

func (r *reader) Keys() ([]storage.Key, error) { return slices.Clone(r.keys), nil }

// bank, entry, key and party find the stored value itself.

func (s *state) bank(id storage.BankID) (*storage.Bank, error) {
	if id < 1 || int(id) > len(s.banks) {
		return nil, missing("bank", id)
	}
	return &s.banks[id-1], nil
}

func (s *state) entry(id storage.EntryID) (*storage.Entry, error) {
	if id < 1 || id > storage.EntryID(len(s.entries)) {
		return nil, missing("entry", id)
	}
	return &s.entries[id-1], nil
}

func (s *state) party(id storage.PartyID) (*storage.Party, error) {
	if id < 1 || int(id) > len(s.parties) {
		return nil, missing("party", id)
	}
	return &s.parties[id-1], nil
}

func (s *state) key(id string) (*storage.Key, error) {
	for i := range s.keys {
		if s.keys[i].ID == id {
			return &s.keys[i], nil
		}
	}
	return nil, missing("key", id)
}

// cloneEntry also makes empty lists nil, so that equal entries are deeply equal.
func cloneEntry(e storage.Entry) storage.Entry {
	e.Signals = append([]hashing.Signal(nil), e.Signals...)
	e.Labels = append([]string(nil), e.Labels...)
	e.Sources = append([]storage.Source(nil), e.Sources...)
	e.Proposal = e.Proposal.Normal()
	return e
}
