package matcher

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

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

// Oversees reports whether p may read everything: the operator's admins, who hold the machine, and its auditors.
func (p Principal) Oversees() bool {
	return p.Party == storage.Operator && (p.Role == storage.Admin || p.Role == storage.Auditor)
}

// runs reports whether p runs the node: makes parties, and what they begin with.
func (p Principal) runs() bool { return p.Party == storage.Operator && p.Role == storage.Admin }

// reads reports whether p may read a bank and its entries.
func (p Principal) reads(b storage.Bank) bool {
	return p.Oversees() || belongs(p.Party, b)
}

// belongs reports whether a party may read a bank, and subscribe to it.
func belongs(party storage.PartyID, b storage.Bank) bool {
	return b.Owner == party || b.Open || slices.Contains(b.Members, party)
}

// Readable are the banks that p may read, deleted ones included, by number; all is true if these are all that there are,
// and that will be. ErrNotReady.
func (m *Matcher) Readable(p Principal) (banks []storage.BankID, all bool, err error) {
	if p.Oversees() {
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
	if p.Oversees() {
		return true
	}
	switch c.Kind {
	case storage.KeyCreated, storage.KeyRevoked:
		return (p.Role == storage.Admin || p.Role == storage.Auditor) && s.Keys[c.Key].Party == p.Party
	case storage.WebhookCreated, storage.WebhookChanged, storage.WebhookDeleted:
		return (p.Role == storage.Admin || p.Role == storage.Auditor) && c.Party == p.Party
	case storage.PartyCreated, storage.PartyChanged, storage.SubscriptionSet, storage.OverlaySet,
		storage.OpinionGiven, storage.DecisionMade, storage.ContentErased:
		return c.Party == p.Party
	}
	b, ok := s.Banks[c.Bank]
	return ok && p.reads(b)
}

// Redact is a change as p may see it: as it is, or with nothing but its place; and with the bank, if the change is what took
// it from p, who is to drop what it holds of it. Who oversees needs no state.
func (s *State) Redact(p Principal, c storage.Change) storage.Change {
	if s.MayRead(p, c) {
		return c
	}
	leaf := storage.LeafOf(c.Record)
	place := storage.Change{Seq: c.Seq, At: c.At, Kind: storage.Redacted, Root: c.Root, Leaf: &leaf}
	var body storage.BankBody
	if c.Kind.Subject() == "bank" && json.Unmarshal(c.Body, &body) == nil && body.TookFrom(p.Party) {
		place.Kind, place.Bank = storage.BankLost, c.Bank
	}
	return place
}

// left are the members of a bank that a change of it takes away.
func left(before, after storage.Bank) []storage.PartyID {
	return slices.DeleteFunc(slices.Clone(before.Members), func(p storage.PartyID) bool { return belongs(p, after) })
}

// liveBank finds a bank that is not deleted, and that p may read.
func liveBank(r storage.Reader, p Principal, name string) (storage.Bank, error) {
	b, err := NamedBank(r, p, name)
	return b, cmp.Or(err, stillThere(b, name))
}

// stillThere is ErrUnknownBank if a bank is deleted.
func stillThere(b storage.Bank, name string) error {
	if b.Deleted {
		return fmt.Errorf("%w: %s (it is deleted, and can be restored)", ErrUnknownBank, name)
	}
	return nil
}

// Called is what a party calls a bank of this owner: its own by its name, another's as owner:name. Names of banks are each
// party's own affair: nobody learns from them, or is kept from one, by what others have.
func Called(party storage.PartyID, b storage.Bank, owner string) string {
	if b.Owner == party {
		return b.Name
	}
	return owner + calledOf + b.Name
}

const calledOf = ":"

// NamedBank finds a bank that p may read, be it deleted, by what it is called: p's own by their names, all as owner:name, and
// another's by its bare name if it is the only such one that p reads. What is deleted does not hide what is not.
// ErrUnknownBank, ErrAmbiguous.
func NamedBank(r storage.Reader, p Principal, name string) (storage.Bank, error) {
	owner, bare, qualified := strings.Cut(name, calledOf)
	var b storage.Bank
	var err error
	if qualified {
		var party storage.Party
		if party, err = r.PartyNamed(owner); err == nil {
			b, err = r.BankNamed(party.ID, bare)
		}
	} else if b, err = r.BankNamed(p.Party, name); errors.Is(err, storage.ErrNotFound) || err == nil && b.Deleted {
		b, err = onlyBank(r, p, name)
	}
	if err == nil && !p.reads(b) {
		err = storage.ErrNotFound
	}
	if err != nil {
		return storage.Bank{}, translate(err, ErrUnknownBank, name)
	}
	return b, nil
}

// onlyBank is the one bank that p reads and that has this name: one that is not deleted, if there is, or else p's own. Of one
// owner several may be deleted: then it is the one that was last.
func onlyBank(r storage.Reader, p Principal, name string) (last storage.Bank, err error) {
	all, err := r.Banks()
	if err != nil {
		return last, err
	}
	all = slices.DeleteFunc(all, func(b storage.Bank) bool { return b.Name != name || !p.reads(b) })
	for _, first := range []func(storage.Bank) bool{
		func(b storage.Bank) bool { return !b.Deleted },
		func(b storage.Bank) bool { return b.Owner == p.Party },
	} {
		if slices.ContainsFunc(all, first) {
			all = slices.DeleteFunc(all, func(b storage.Bank) bool { return !first(b) })
		}
	}
	var called []string
	for _, b := range all {
		owner, err := r.Party(b.Owner)
		if err != nil {
			return last, err
		}
		called = append(called, Called(p.Party, b, owner.Name))
		if b.Seq >= last.Seq {
			last = b
		}
	}
	slices.Sort(called)
	switch called = slices.Compact(called); len(called) {
	case 0:
		return last, storage.ErrNotFound
	case 1:
		return last, nil
	}
	return last, fmt.Errorf("%w: %s is %s", ErrAmbiguous, name, strings.Join(called, ", "))
}

// own is ErrForeign if the bank is not p's.
func (p Principal) own(b storage.Bank) error {
	if b.Owner != p.Party {
		return fmt.Errorf("%w: bank %s", ErrForeign, b.Name)
	}
	return nil
}

// seconds is ErrSecondPerson unless p can be another person than the one who proposed something. A node knows keys, not people:
// so keys of one name, whatever its case, are one person's, and a key that was made since is nobody's second one. Who has made
// and named which key stands in the log.
func (p Principal) seconds(r storage.Reader, of *storage.Proposal) error {
	if p.Actor == of.Actor {
		return ErrSecondPerson
	}
	mine, err := r.Key(p.Actor)
	if errors.Is(err, storage.ErrNotFound) {
		return nil // on the machine
	} else if err != nil {
		return err
	}
	if mine.CreatedAt.After(of.At) {
		return fmt.Errorf("%w, with a key that was there before; yours is newer than the proposal", ErrSecondPerson)
	}
	theirs, err := r.Key(of.Actor)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err == nil && strings.EqualFold(strings.TrimSpace(mine.Name), strings.TrimSpace(theirs.Name)) {
		err = fmt.Errorf("%w; both keys have the same name", ErrSecondPerson)
	}
	return err
}

// ownBank finds a bank that is not deleted and that p may change.
func ownBank(r storage.Reader, p Principal, name string) (storage.Bank, error) {
	b, err := changeable(r, p, name)
	return b, cmp.Or(err, stillThere(b, name))
}

// changeable finds a bank that p may change, be it deleted: another's bank does not stand in the way of what is done to one's own.
func changeable(r storage.Reader, p Principal, name string) (storage.Bank, error) {
	b, err := r.BankNamed(p.Party, name)
	if errors.Is(err, storage.ErrNotFound) {
		b, err = NamedBank(r, p, name)
	}
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
