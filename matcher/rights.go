package matcher

import (
	"fmt"
	"slices"

	"vigie/storage"
)

// Principal is who acts: a key of a party, or the operator on the machine.
type Principal struct {
	Actor string // id of the key, "local" or "system"
	Party storage.PartyID
	Role  storage.Role
}

// Local is the operator on the machine.
func Local() Principal {
	return Principal{Actor: "local", Party: storage.Operator, Role: storage.Admin}
}

// system acts by a rule, without a person.
var system = Principal{Actor: "system", Party: storage.Operator, Role: storage.Admin}

// oversees reports whether p may read everything: the operator's admins, who hold the machine, and its auditors.
func (p Principal) oversees() bool {
	return p.Party == storage.Operator && (p.Role == storage.Admin || p.Role == storage.Auditor)
}

// runs reports whether p runs the node: makes parties, and what they begin with.
func (p Principal) runs() bool { return p.Party == storage.Operator && p.Role == storage.Admin }

// reads reports whether p may read a bank and its entries.
func (p Principal) reads(b storage.Bank) bool {
	return p.oversees() || belongs(p.Party, b)
}

// belongs reports whether a party may read a bank, and subscribe to it.
func belongs(party storage.PartyID, b storage.Bank) bool {
	return b.Owner == party || b.Open || slices.Contains(b.Members, party)
}

// Readable are the banks that p may read, deleted ones included, by number; all is true if these are all that there are,
// and that will be. ErrNotReady.
func (m *Matcher) Readable(p Principal) (banks []storage.BankID, all bool, err error) {
	if p.oversees() {
		return nil, true, nil
	}
	state, err := m.state()
	if err != nil {
		return nil, false, err
	}
	banks = []storage.BankID{}
	for id, b := range state.Banks {
		if p.reads(b) {
			banks = append(banks, id)
		}
	}
	slices.Sort(banks)
	return banks, false, nil
}

// MayRead reports whether p may read a change: everything for who oversees; else what is about banks that p reads, and about
// p's own party. What others think and decide is theirs: of their opinions the sums are shown, with the entry.
func (s *State) MayRead(p Principal, c storage.Change) bool {
	if p.oversees() {
		return true
	}
	switch c.Kind {
	case storage.KeyCreated, storage.KeyRevoked:
		return (p.Role == storage.Admin || p.Role == storage.Auditor) && s.Keys[c.Key].Party == p.Party
	case storage.PartyCreated, storage.PartyChanged, storage.SubscriptionSet, storage.OverlaySet,
		storage.OpinionGiven, storage.DecisionMade, storage.ContentErased:
		return c.Party == p.Party
	}
	b, ok := s.Banks[c.Bank]
	return ok && p.reads(b)
}

// Redact is a change as p may see it: as it is, or with nothing but its place. Who oversees needs no state.
func (s *State) Redact(p Principal, c storage.Change) storage.Change {
	if s.MayRead(p, c) {
		return c
	}
	leaf := storage.LeafOf(c.Record)
	return storage.Change{Seq: c.Seq, At: c.At, Kind: storage.Redacted, Root: c.Root, Leaf: &leaf}
}

// liveBank finds a bank that is not deleted, and that p may read.
func liveBank(r storage.Reader, p Principal, name string) (storage.Bank, error) {
	b, err := namedBank(r, p, name)
	if err == nil && b.Deleted {
		return b, fmt.Errorf("%w: %s (it is deleted, and can be restored)", ErrUnknownBank, name)
	}
	return b, err
}

// namedBank finds a bank that p may read.
func namedBank(r storage.Reader, p Principal, name string) (storage.Bank, error) {
	b, err := r.BankNamed(name)
	if err != nil {
		return b, translate(err, ErrUnknownBank, name)
	}
	if !p.reads(b) {
		return storage.Bank{}, fmt.Errorf("%w: %s", ErrUnknownBank, name)
	}
	return b, nil
}

// own is ErrForeign if the bank is not p's.
func (p Principal) own(b storage.Bank) error {
	if b.Owner != p.Party {
		return fmt.Errorf("%w: bank %s", ErrForeign, b.Name)
	}
	return nil
}

// ownBank finds a bank that is not deleted and that p may change.
func ownBank(r storage.Reader, p Principal, name string) (storage.Bank, error) {
	b, err := liveBank(r, p, name)
	if err == nil {
		err = p.own(b)
	}
	return b, err
}

// entryFor finds an entry that p may read, and its bank.
func entryFor(r storage.Reader, p Principal, id storage.EntryID) (storage.Entry, storage.Bank, error) {
	e, err := r.Entry(id)
	if err != nil {
		return storage.Entry{}, storage.Bank{}, translate(err, ErrUnknownEntry, id)
	}
	b, err := r.Bank(e.Bank)
	if err != nil {
		return storage.Entry{}, storage.Bank{}, err
	}
	if !p.reads(b) {
		return storage.Entry{}, storage.Bank{}, fmt.Errorf("%w: %d", ErrUnknownEntry, id)
	}
	return e, b, nil
}
