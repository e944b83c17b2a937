package matcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"vigie/hashing"
	"vigie/storage"
)

// BankEdit changes what is not nil.
type BankEdit struct {
	Name        *string
	Description *string
	Action      *string
	Radius      *map[hashing.Algorithm]int
	SecondVote  SecondVoteEdit
	KeepMedia   *bool
	MaxFrames   *int

	EnabledRatio *float64
	MinQuality   *int
	Link         *string
	Flood        *int
	Overturn     *storage.Overturn

	// Members are names of parties that may read the bank, besides its owner; Open lets all.
	Members *[]string
	Open    *bool
	// Dual makes changes need a second person.
	Dual *bool
}

// NewBank is a bank to be made.
type NewBank struct {
	BankEdit
	Kind  storage.BankKind // none: positive
	Owner string           // name of a party; none: the maker's own. Others are for the operator.
}

// SecondVoteEdit changes what is not nil.
type SecondVoteEdit struct {
	Radius  *int
	Far     *int
	PHash   *int
	DHash   *int
	Graphic *int
}

// apply edits a bank, and checks it whole.
func (e BankEdit) apply(r storage.Reader, b *storage.Bank) error {
	set(&b.Name, e.Name)
	set(&b.Description, e.Description)
	p := &b.Policy
	set(&p.Action, e.Action)
	set(&p.Radius, e.Radius)
	set(&p.SecondVote.Radius, e.SecondVote.Radius)
	set(&p.SecondVote.Far, e.SecondVote.Far)
	set(&p.SecondVote.PHash, e.SecondVote.PHash)
	set(&p.SecondVote.DHash, e.SecondVote.DHash)
	set(&p.SecondVote.Graphic, e.SecondVote.Graphic)
	set(&p.KeepMedia, e.KeepMedia)
	set(&p.MaxFrames, e.MaxFrames)
	if e.EnabledRatio != nil {
		p.EnabledRatio = e.EnabledRatio
		if *e.EnabledRatio == 1 {
			p.EnabledRatio = nil
		}
	}
	set(&p.MinQuality, e.MinQuality)
	set(&p.Link, e.Link)
	set(&p.Flood, e.Flood)
	set(&p.Overturn, e.Overturn)
	set(&b.Open, e.Open)
	set(&b.Dual, e.Dual)
	if e.Members != nil {
		members, err := partiesNamed(r, *e.Members)
		if err != nil {
			return err
		}
		b.Members = slices.DeleteFunc(members, func(p storage.PartyID) bool { return p == b.Owner })
	}
	if b.Kind == storage.KnownGood {
		b.Dual = true // what it holds undoes matches
	}
	return cmp.Or(checkBankName(b.Name), checkLength("description", b.Description, maxDescription), checkPolicy(b.Policy))
}

// partiesNamed are the numbers of parties, ascending.
func partiesNamed(r storage.Reader, names []string) ([]storage.PartyID, error) {
	var ids []storage.PartyID
	for _, name := range names {
		p, err := r.PartyNamed(name)
		if err != nil {
			return nil, translate(err, ErrUnknownParty, name)
		}
		ids = append(ids, p.ID)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// Bank finds a bank that is not deleted, and that who may read. ErrUnknownBank.
func (m *Matcher) Bank(ctx context.Context, who Principal, name string) (b storage.Bank, err error) {
	err = m.catalogue.View(ctx, func(r storage.Reader) (err error) {
		b, err = liveBank(r, who, name)
		return err
	})
	return b, err
}

// CreateBank makes a bank with [DefaultPolicy], edited. ErrBankExists, ErrUnknownParty, ErrOperator, [*InputError].
func (m *Matcher) CreateBank(ctx context.Context, who Principal, n NewBank) (storage.Bank, error) {
	if n.Kind != "" && !slices.Contains(storage.BankKinds(), n.Kind) {
		return storage.Bank{}, invalid("kind", "%q; accepted are positive, known_good, test", n.Kind)
	}
	return m.changeBank(ctx, who, nil, func(w storage.Writer, b *storage.Bank) (storage.Kind, error) {
		*b = storage.Bank{Owner: who.Party, Kind: cmp.Or(n.Kind, storage.Positive), Policy: DefaultPolicy()}
		if n.Owner != "" {
			owner, err := w.PartyNamed(n.Owner)
			if err != nil {
				return "", translate(err, ErrUnknownParty, n.Owner)
			}
			if owner.ID != who.Party && !who.runs() {
				return "", ErrOperator
			}
			b.Owner = owner.ID
		}
		if err := n.apply(w, b); err != nil {
			return "", err
		}
		return storage.BankCreated, w.CreateBank(b)
	})
}

// ChangeBank edits a bank that is not deleted. An edit that changes nothing is no error. Under dual control the edit
// becomes the bank's proposal, and nothing else changes. ErrUnknownBank, ErrForeign, ErrBankExists, ErrPending, [*InputError].
func (m *Matcher) ChangeBank(ctx context.Context, who Principal, name string, edit BankEdit) (storage.Bank, error) {
	return m.alterBank(ctx, who, storage.BankChanged, name, func(w storage.Writer, b *storage.Bank) error {
		return cmp.Or(stillThere(*b, name), edit.apply(w, b))
	})
}

// DeleteBank makes all entries of a bank stop matching, as one change. ErrUnknownBank, ErrForeign, ErrPending.
func (m *Matcher) DeleteBank(ctx context.Context, who Principal, name string) (storage.Bank, error) {
	return m.alterBank(ctx, who, storage.BankDeleted, name, func(_ storage.Writer, b *storage.Bank) error {
		err := stillThere(*b, name)
		b.Deleted = true
		return err
	})
}

// RestoreBank undoes the deletion of the bank of that name that was deleted last. Restoring a bank
// that is not deleted changes nothing and is no error; but ErrBankExists if it took the name of one
// that is. ErrUnknownBank, ErrForeign, ErrPending.
func (m *Matcher) RestoreBank(ctx context.Context, who Principal, name string) (storage.Bank, error) {
	return m.alterBank(ctx, who, storage.BankRestored, name, func(w storage.Writer, b *storage.Bank) error {
		if !b.Deleted {
			return nameTaken(w, *b)
		}
		b.Deleted = false
		return nil
	})
}

// alterBank lets fn alter a bank of who's party, and stores it; under dual control, as a proposal.
func (m *Matcher) alterBank(ctx context.Context, who Principal, kind storage.Kind, name string, fn func(storage.Writer, *storage.Bank) error) (storage.Bank, error) {
	return m.changeBank(ctx, who, &name, func(w storage.Writer, b *storage.Bank) (storage.Kind, error) {
		before := *b
		err := fn(w, b)
		switch {
		case err != nil:
			return "", err
		case reflect.DeepEqual(*b, before):
			return "", errUnchanged
		case before.Proposal != nil:
			return "", fmt.Errorf("%w: bank %s", ErrPending, name)
		case before.Dual:
			would := proposedBank(*b)
			*b = before
			b.Proposal = &storage.Proposal{Kind: kind, Actor: who.Actor, At: milliseconds(m.o.Now()), Bank: &would}
			return storage.BankProposed, w.UpdateBank(*b)
		}
		return kind, w.UpdateBank(*b)
	})
}

// ConfirmBank carries out what somebody else has proposed of a bank. ErrUnknownBank, ErrForeign, ErrNothingProposed,
// ErrSecondPerson, ErrBankExists.
func (m *Matcher) ConfirmBank(ctx context.Context, who Principal, name string) (storage.Bank, error) {
	return m.concludeBank(ctx, who, name, func(w storage.Writer, b *storage.Bank) (storage.Kind, error) {
		if err := who.seconds(w, b.Proposal); err != nil {
			return "", err
		}
		p := b.Proposal.Bank
		b.Name, b.Description, b.Policy = p.Name, p.Description, p.Policy
		b.Members, b.Open, b.Dual, b.Deleted = p.Members, p.Open, p.Dual, p.Deleted
		return b.Proposal.Kind, nil
	})
}

// RejectBank drops what is proposed of a bank; the proposer may, too. ErrUnknownBank, ErrForeign, ErrNothingProposed.
func (m *Matcher) RejectBank(ctx context.Context, who Principal, name string) (storage.Bank, error) {
	return m.concludeBank(ctx, who, name, func(storage.Writer, *storage.Bank) (storage.Kind, error) {
		return storage.BankRejected, nil
	})
}

// concludeBank lets fn conclude what is proposed of a bank of who's party.
func (m *Matcher) concludeBank(ctx context.Context, who Principal, name string, fn func(storage.Writer, *storage.Bank) (storage.Kind, error)) (storage.Bank, error) {
	return m.changeBank(ctx, who, &name, func(w storage.Writer, b *storage.Bank) (storage.Kind, error) {
		if b.Proposal == nil {
			return "", fmt.Errorf("%w: bank %s", ErrNothingProposed, name)
		}
		kind, err := fn(w, b)
		if err != nil {
			return "", err
		}
		b.Proposal = nil
		return kind, w.UpdateBank(*b)
	})
}

func proposedBank(b storage.Bank) storage.ProposedBank {
	return storage.ProposedBank{
		Name: b.Name, Description: b.Description, Policy: b.Policy,
		Members: b.Members, Open: b.Open, Dual: b.Dual, Deleted: b.Deleted,
	}
}

// nameTaken is ErrBankExists if a deleted bank had the name that b has now.
func nameTaken(r storage.Reader, b storage.Bank) error {
	banks, err := r.Banks()
	for _, o := range banks {
		if o.Deleted && o.Owner == b.Owner && o.Name == b.Name {
			return fmt.Errorf("%w: %s; rename or delete that one first", ErrBankExists, b.Name)
		}
	}
	return err
}

// errUnchanged ends a change that finds nothing to do.
var errUnchanged = errors.New("unchanged")

// changeBank lets fn alter and store a bank of who's party, or make one if there is no name, and drafts the change.
func (m *Matcher) changeBank(ctx context.Context, who Principal, name *string, fn func(storage.Writer, *storage.Bank) (storage.Kind, error)) (storage.Bank, error) {
	var bank storage.Bank
	done, err := m.update(ctx, func(w storage.Writer) (_ *storage.Change, err error) {
		var before storage.Bank
		if name != nil {
			if before, err = changeable(w, who, *name); err != nil {
				return nil, err
			}
		}
		bank = before
		kind, err := fn(w, &bank)
		if errors.Is(err, errUnchanged) {
			return &storage.Change{Bank: bank.ID}, nil
		} else if errors.Is(err, storage.ErrExists) {
			return nil, fmt.Errorf("%w: %s", ErrBankExists, bank.Name)
		} else if err != nil {
			return nil, err
		}
		body := bankBody(bank)
		body.Left, body.Closed = left(before, bank), before.Open && !bank.Open
		return draft(storage.Change{Kind: kind, Actor: who.Actor, Bank: bank.ID}, body, private{}), nil
	})
	if err != nil {
		return storage.Bank{}, err
	}
	if done.replayed {
		err = m.catalogue.View(ctx, func(r storage.Reader) (err error) {
			bank, err = r.Bank(done.Bank)
			return err
		})
	} else if done.Seq > 0 {
		bank.Seq = done.Seq
		m.settle(ctx, done.Seq)
	}
	return bank, err
}
