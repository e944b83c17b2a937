package storage

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// What a catalogue keeps of a thing is its normal form: times in UTC to the millisecond, lists in their order and
// without duplicates, no list where there is an empty one, and what stands for none. Every catalogue brings things into
// it before it stores them, and so equal things are deeply equal. A normal form shares nothing with what it was made of.

// KeptTime is what a catalogue keeps of a time.
func KeptTime(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Millisecond)
}

// Normal is the bank as a catalogue keeps it.
func (b Bank) Normal() Bank {
	b.Owner, b.Kind = cmp.Or(b.Owner, Operator), cmp.Or(b.Kind, Positive)
	b.Members = normalMembers(b.Members)
	b.Policy = b.Policy.clone()
	b.Proposal = b.Proposal.Normal()
	return b
}

func (p Policy) clone() Policy {
	p.Radius = maps.Clone(p.Radius)
	if p.EnabledRatio != nil {
		ratio := *p.EnabledRatio
		p.EnabledRatio = &ratio
	}
	return p
}

// Normal is the proposal as a catalogue keeps it; nil of nil.
func (p *Proposal) Normal() *Proposal {
	if p == nil {
		return nil
	}
	n := *p
	n.At, n.ExpiresAt = KeptTime(n.At), KeptTime(n.ExpiresAt)
	n.Labels = append([]string(nil), n.Labels...)
	if n.Bank != nil {
		b := *n.Bank
		b.Members, b.Policy = normalMembers(b.Members), b.Policy.clone()
		n.Bank = &b
	}
	return &n
}

func normalMembers(members []PartyID) []PartyID {
	if len(members) == 0 {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(members)))
}

// Normal is the subscription as a catalogue keeps it.
func (s Subscription) Normal() Subscription {
	s.Cap = maps.Clone(s.Cap)
	if len(s.Cap) == 0 {
		s.Cap = nil
	}
	return s
}

// Normal is the overlay as a catalogue keeps it. That it has no labels is another thing than that it says nothing of them.
func (o Overlay) Normal() Overlay {
	if o.Labels != nil {
		o.Labels = append([]string{}, DistinctLabels(o.Labels)...)
	}
	return o
}

// DistinctLabels keeps the first of equal labels; nil of none.
func DistinctLabels(labels []string) (kept []string) {
	for _, l := range labels {
		if !slices.Contains(kept, l) {
			kept = append(kept, l)
		}
	}
	return kept
}

// Normal is the outcome as a catalogue keeps it.
func (r Remembered) Normal() Remembered {
	r.Outcome = append([]byte(nil), r.Outcome...)
	r.At = KeptTime(r.At)
	return r
}

// Normal is the match as a catalogue keeps it.
func (m MatchRecord) Normal() MatchRecord {
	m.At = KeptTime(m.At)
	m.Entries = append([]MatchEntry(nil), m.Entries...)
	m.Verdict = append([]byte(nil), m.Verdict...)
	if m.Past != nil {
		m.Past = &PastUpload{m.Past.Upload, KeptTime(m.Past.At)}
	}
	return m
}

// Normal is the decision as a catalogue keeps it.
func (d Decision) Normal() Decision {
	d.At = KeptTime(d.At)
	d.Entries = append([]EntryID(nil), d.Entries...)
	for _, said := range []**bool{&d.MatchCorrect, &d.LabelCorrect} {
		if *said != nil {
			copied := **said
			*said = &copied
		}
	}
	return d
}
