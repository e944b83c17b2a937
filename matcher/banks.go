package matcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"

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
}

// SecondVoteEdit changes what is not nil.
type SecondVoteEdit struct {
	Radius  *int
	Far     *int
	PHash   *int
	DHash   *int
	Graphic *int
}

func (e BankEdit) apply(b *storage.Bank) error {
	set(&b.Name, e.Name)
	set(&b.Description, e.Description)
	set(&b.Policy.Action, e.Action)
	set(&b.Policy.Radius, e.Radius)
	set(&b.Policy.SecondVote.Radius, e.SecondVote.Radius)
	set(&b.Policy.SecondVote.Far, e.SecondVote.Far)
	set(&b.Policy.SecondVote.PHash, e.SecondVote.PHash)
	set(&b.Policy.SecondVote.DHash, e.SecondVote.DHash)
	set(&b.Policy.SecondVote.Graphic, e.SecondVote.Graphic)
	set(&b.Policy.KeepMedia, e.KeepMedia)
	set(&b.Policy.MaxFrames, e.MaxFrames)
	return errors.Join(
		checkBankName(b.Name), checkLength("description", b.Description, maxDescription), checkPolicy(b.Policy))
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// CreateBank makes a bank with [DefaultPolicy], edited. ErrBankExists, [*InputError].
func (m *Matcher) CreateBank(ctx context.Context, actor string, edit BankEdit) (storage.Bank, error) {
	bank := storage.Bank{Policy: DefaultPolicy()}
	if err := edit.apply(&bank); err != nil {
		return storage.Bank{}, err
	}
	return m.changeBank(ctx, actor, storage.BankCreated, func(w storage.Writer) (storage.Bank, error) {
		b := bank
		err := w.CreateBank(&b)
		return b, err
	})
}

// ChangeBank edits a bank that is not deleted. An edit that changes nothing is no error. ErrUnknownBank, ErrBankExists, [*InputError].
func (m *Matcher) ChangeBank(ctx context.Context, actor, name string, edit BankEdit) (storage.Bank, error) {
	return m.changeBank(ctx, actor, storage.BankChanged, func(w storage.Writer) (storage.Bank, error) {
		before, err := liveBank(w, name)
		b := before
		if err == nil {
			err = edit.apply(&b)
		}
		if err == nil && reflect.DeepEqual(b, before) {
			err = errUnchanged
		}
		if err == nil {
			err = w.UpdateBank(b)
		}
		return b, err
	})
}

// DeleteBank makes all entries of a bank stop matching, as one change. ErrUnknownBank.
func (m *Matcher) DeleteBank(ctx context.Context, actor, name string) (storage.Bank, error) {
	return m.changeBank(ctx, actor, storage.BankDeleted, func(w storage.Writer) (storage.Bank, error) {
		b, err := liveBank(w, name)
		if err != nil {
			return b, err
		}
		b.Deleted = true
		return b, w.UpdateBank(b)
	})
}

// RestoreBank undoes the deletion of the bank of that name that was deleted last. Restoring a bank
// that is not deleted changes nothing and is no error; but ErrBankExists if it took the name of one
// that is. ErrUnknownBank.
func (m *Matcher) RestoreBank(ctx context.Context, actor, name string) (storage.Bank, error) {
	return m.changeBank(ctx, actor, storage.BankRestored, func(w storage.Writer) (storage.Bank, error) {
		b, err := w.BankNamed(name)
		if err != nil {
			return b, translate(err, ErrUnknownBank, name)
		}
		if !b.Deleted {
			return b, cmp.Or(nameTaken(w, b), errUnchanged)
		}
		b.Deleted = false
		return b, w.UpdateBank(b)
	})
}

// nameTaken is ErrBankExists if a deleted bank had the name that b has now.
func nameTaken(r storage.Reader, b storage.Bank) error {
	banks, err := r.Banks()
	for _, o := range banks {
		if o.Deleted && o.Name == b.Name {
			return fmt.Errorf("%w: %s; rename or delete that one first", ErrBankExists, b.Name)
		}
	}
	return err
}

// errUnchanged ends a change that finds nothing to do.
var errUnchanged = errors.New("unchanged")

func (m *Matcher) changeBank(ctx context.Context, actor string, kind storage.Kind, fn func(storage.Writer) (storage.Bank, error)) (storage.Bank, error) {
	var bank storage.Bank
	seq, err := m.update(ctx, func(w storage.Writer) (_ *storage.Change, err error) {
		if bank, err = fn(w); errors.Is(err, errUnchanged) {
			return nil, nil
		} else if errors.Is(err, storage.ErrExists) {
			return nil, fmt.Errorf("%w: %s", ErrBankExists, bank.Name)
		} else if err != nil {
			return nil, err
		}
		return draft(storage.Change{Kind: kind, Actor: actor, Bank: bank.ID}, bankBody(bank), private{}), nil
	})
	if err != nil {
		return storage.Bank{}, err
	}
	if seq > 0 {
		bank.Seq = seq
		m.settle(ctx, seq)
	}
	return bank, nil
}

// liveBank finds a bank that is not deleted.
func liveBank(r storage.Reader, name string) (storage.Bank, error) {
	b, err := r.BankNamed(name)
	if err != nil {
		return b, translate(err, ErrUnknownBank, name)
	}
	if b.Deleted {
		return b, fmt.Errorf("%w: %s (it is deleted, and can be restored)", ErrUnknownBank, name)
	}
	return b, nil
}
