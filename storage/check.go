package storage

import (
	"encoding/json"
	"errors"
	"fmt"

	"vigie/hashing"
)

// Check tells what keeps an entry from being stored without loss: no text (ErrInvalid), a signal of an unknown algorithm or
// variant, or with more bits than its algorithm has, an expiry outside of the years that are kept. Catalogues call it before they store an entry;
// whether the entry makes sense is the matcher's to judge.
func (e Entry) Check() error {
	var faults []error
	if e.Status == "" {
		faults = append(faults, errors.New("entry has no status"))
	}
	faults = append(faults, CheckSignals(e.Signals), e.CheckText(), CheckExpiry(e.ExpiresAt))
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

// CheckNewEntries is [Entry.Check] for what [Writer.CreateEntries] gets, at most [MaxEntries].
func CheckNewEntries(entries []*Entry) error {
	if len(entries) > MaxEntries {
		return fmt.Errorf("%d entries are created at once, at most %d can be", len(entries), MaxEntries)
	}
	for _, e := range entries {
		if err := e.Check(); err != nil {
			return err
		}
	}
	return nil
}

// CheckAsked reports more signals than [MaxEntries].
func CheckAsked(signals []hashing.Signal) error {
	if len(signals) > MaxEntries {
		return fmt.Errorf("%d signals are asked about at once, at most %d can be", len(signals), MaxEntries)
	}
	return CheckSignals(signals)
}

// MaxEntries is the largest page of entries, and the most that are created, or signals asked about, at once.
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

// CheckLabels reports more ids than [MaxLabels]. It stands before all that is asked of several entries at once.
func CheckLabels(ids []EntryID) error {
	if len(ids) > MaxLabels {
		return fmt.Errorf("%d entries are asked about at once, at most %d can be", len(ids), MaxLabels)
	}
	return nil
}

// Bounds of what the journals bring.
const (
	MaxMatches      = 1000    // largest page of matches or sign-ins, and matches that [Reader.Decisions] takes at once
	MaxRemoved      = 10000   // largest limit of what removes what is old
	MaxMatchEntries = 1000    // of one match
	MaxOutcome      = 4 << 20 // bytes of a remembered outcome
	MaxVerdict      = 1 << 20 // bytes
)

// Check reports a limit outside 1..[MaxMatches].
func (q MatchQuery) Check() error { return checkRange("limit of a match query", q.Limit, MaxMatches) }

// Check reports a limit outside 1..[MaxMatches].
func (q SignInQuery) Check() error {
	return checkRange("limit of a sign-in query", q.Limit, MaxMatches)
}

// CheckJudgements reports a limit outside 1..[MaxMatches].
func CheckJudgements(limit int) error { return checkRange("limit of judgements", limit, MaxMatches) }

// CheckRemoved reports a limit outside 1..[MaxRemoved].
func CheckRemoved(limit int) error { return checkRange("limit of what is removed", limit, MaxRemoved) }

func checkRange(what string, n, most int) error {
	if n < 1 || n > most {
		return fmt.Errorf("%s is %d, accepted are 1..%d", what, n, most)
	}
	return nil
}

// CheckMatchIDs reports more ids than [MaxMatches].
func CheckMatchIDs(ids []MatchID) error {
	if len(ids) > MaxMatches {
		return fmt.Errorf("%d matches are asked about at once, at most %d can be", len(ids), MaxMatches)
	}
	return nil
}

// CheckMatches reports what keeps matches of a node from being added behind the number shipped.
func CheckMatches(node string, shipped uint64, matches []MatchRecord) error {
	for _, m := range matches {
		if err := checkNext(node, shipped, m.ID); err != nil {
			return err
		}
		shipped = m.ID.Number
		texts := []string{m.Key, m.ContentID, m.Level, m.Action, string(m.Verdict)}
		for _, e := range m.Entries {
			texts = append(texts, e.Level)
		}
		if err := CheckText("match "+m.ID.String(), texts...); err != nil {
			return err
		}
		if len(m.Verdict) > MaxVerdict || len(m.Entries) > MaxMatchEntries {
			return fmt.Errorf("match %s: a verdict of %d bytes on %d entries, accepted are %d and %d",
				m.ID, len(m.Verdict), len(m.Entries), MaxVerdict, MaxMatchEntries)
		}
		if len(m.Verdict) > 0 && !json.Valid(m.Verdict) {
			return fmt.Errorf("match %s: the verdict is not JSON", m.ID)
		}
		if err := checkDistinct(m.Entries, func(e MatchEntry) EntryID { return e.Entry }); err != nil {
			return fmt.Errorf("match %s: %w", m.ID, err)
		}
		if err := m.checkPast(); err != nil {
			return err
		}
	}
	return nil
}

// CheckSignIns is [CheckMatches] for sign-ins.
func CheckSignIns(node string, shipped uint64, signIns []SignIn) error {
	for _, s := range signIns {
		if err := checkNext(node, shipped, s.ID); err != nil {
			return err
		}
		shipped = s.ID.Number
		if err := CheckText("sign-in "+s.ID.String(), s.Key, s.Address); err != nil {
			return err
		}
	}
	return nil
}

// checkNext reports an id that is not of the node, or not beyond the number before.
func checkNext(node string, before uint64, id MatchID) error {
	if parsed, err := ParseMatchID(id.String()); err != nil || parsed != id {
		return fmt.Errorf("%q is not the id of a record of a journal", id)
	}
	switch {
	case id.Node != node:
		return fmt.Errorf("record %s is not of the node %s", id, node)
	case id.Number <= before:
		return fmt.Errorf("record %s is not beyond number %d: %w", id, before, ErrExists)
	}
	return nil
}

// Check reports a decision about no entry, or about one twice, or what is no text (ErrInvalid).
func (d Decision) Check() error {
	err := errors.Join(checkDistinct(d.Entries, func(id EntryID) EntryID { return id }), CheckText("texts", string(d.Ruling), d.Reason, d.Actor))
	if len(d.Entries) == 0 {
		err = errors.New("names no entry")
	}
	if err != nil {
		return fmt.Errorf("decision on match %s: %w", d.Match, err)
	}
	return nil
}

func checkDistinct[T any](all []T, entry func(T) EntryID) error {
	seen := make(map[EntryID]bool, len(all))
	for _, one := range all {
		if seen[entry(one)] {
			return fmt.Errorf("names entry %d twice", entry(one))
		}
		seen[entry(one)] = true
	}
	return nil
}

// Check reports an outcome that is not JSON or longer than [MaxOutcome], or what is no text (ErrInvalid).
func (r Remembered) Check() error {
	if len(r.Outcome) > MaxOutcome {
		return fmt.Errorf("outcome of a request has %d bytes, accepted are %d", len(r.Outcome), MaxOutcome)
	}
	if len(r.Outcome) > 0 && !json.Valid(r.Outcome) {
		return errors.New("outcome of a request is not JSON")
	}
	return CheckText("outcome of a request", r.Scope, r.Key, string(r.Outcome))
}
