package storage

import (
	"errors"
	"fmt"

	"vigie/hashing"
)

// Check tells what keeps an entry from being stored without loss: a signal of an unknown algorithm or
// variant, or with more bits than its algorithm has. Catalogues call it before they store an entry;
// whether the entry makes sense is the matcher's to judge.
func (e Entry) Check() error {
	var faults []error
	if e.Status == "" {
		faults = append(faults, errors.New("entry has no status"))
	}
	faults = append(faults, CheckSignals(e.Signals))
	return errors.Join(faults...)
}

// CheckSignals is the part of [Entry.Check] that is about signals.
func CheckSignals(signals []hashing.Signal) error {
	var faults []error
	for i, s := range signals {
		switch {
		case !s.Algorithm.Valid():
			faults = append(faults, fmt.Errorf("signal %d: unknown algorithm %d", i, s.Algorithm))
		case !s.Variant.Valid():
			faults = append(faults, fmt.Errorf("signal %d: unknown variant %d", i, s.Variant))
		case hashing.ValueFromBytes(s.Value.Bytes(s.Algorithm.Bits()/8)) != s.Value:
			faults = append(faults, fmt.Errorf("signal %d: value is longer than the %d bits of %s", i, s.Algorithm.Bits(), s.Algorithm))
		}
	}
	return errors.Join(faults...)
}

// MaxEntries is the largest page of entries.
const MaxEntries = 10000

// Check reports a limit outside 1..[MaxEntries].
func (q EntryQuery) Check() error {
	if q.Limit < 1 || q.Limit > MaxEntries {
		return fmt.Errorf("limit %d of an entry query is outside 1..%d", q.Limit, MaxEntries)
	}
	return nil
}

// MaxLabels is how many entries [Reader.Labels] takes at once.
const MaxLabels = 1000

// CheckLabels reports more ids than [MaxLabels].
func CheckLabels(ids []EntryID) error {
	if len(ids) > MaxLabels {
		return fmt.Errorf("labels of %d entries are asked for, at most %d can be", len(ids), MaxLabels)
	}
	return nil
}
