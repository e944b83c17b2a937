package storage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// ErrInvalid: a text has a NUL byte or is not UTF-8. Databases differ in what they make of such text, so that no catalogue takes it.
// A name that is only asked for is not found.
var ErrInvalid = errors.New("text has a NUL byte or is not UTF-8")

// IsText reports whether a catalogue can hold a text: it is UTF-8 and has no NUL bytes.
func IsText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// CheckText is ErrInvalid unless all are texts. what names where they stand; the error does not show them.
func CheckText(what string, texts ...string) error {
	if slices.ContainsFunc(texts, func(s string) bool { return !IsText(s) }) {
		return fmt.Errorf("%s: %w", what, ErrInvalid)
	}
	return nil
}

// CheckText is ErrInvalid if one of the bank's texts is.
func (b Bank) CheckText() error {
	texts := []string{b.Name, b.Description, string(b.Kind), b.Policy.Action, b.Policy.Link}
	return CheckText("bank", append(texts, b.Proposal.texts()...)...)
}

func (p *Proposal) texts() []string {
	if p == nil {
		return nil
	}
	texts := append([]string{string(p.Kind), p.Actor, p.Reason}, p.Labels...)
	if b := p.Bank; b != nil {
		texts = append(texts, b.Name, b.Description, b.Policy.Action, b.Policy.Link)
	}
	return texts
}

// CheckText is ErrInvalid if one of the entry's texts is.
func (e Entry) CheckText() error {
	texts := []string{string(e.Status), e.Note, e.Reason, e.Media.Format}
	texts = append(append(texts, e.Labels...), e.Proposal.texts()...)
	faults := []error{CheckText("entry", texts...)}
	for _, s := range e.Sources {
		faults = append(faults, s.CheckText())
	}
	return errors.Join(faults...)
}

// CheckText is ErrInvalid if one of the source's texts is.
func (s Source) CheckText() error {
	return CheckText("source", s.Actor, s.Origin, s.List, s.Foreign)
}

// CheckText is ErrInvalid if one of the key's texts is.
func (k Key) CheckText() error { return CheckText("key", k.ID, k.Name, string(k.Role)) }

// CheckText is ErrInvalid if one of the party's texts is.
func (p Party) CheckText() error { return CheckText("party", p.Name, string(p.Kind)) }

// CheckText is ErrInvalid if one of the subscription's texts is.
func (s Subscription) CheckText() error { return CheckText("subscription", s.Action, s.Link) }

// CheckText is ErrInvalid if one of the opinion's texts is.
func (o Opinion) CheckText() error {
	return CheckText("opinion", string(o.Stance), o.Reason, o.Actor)
}

// CheckText is ErrInvalid if one of the change's texts is, its JSON included.
func (c Change) CheckText() error {
	return CheckText("change", string(c.Kind), c.Actor, c.Key, string(c.Body), string(c.Private))
}

// CheckText is ErrInvalid if one of the report's texts is.
func (n NodeReport) CheckText() error {
	texts := []string{n.ID, n.Name, n.Version, n.LogID, n.Claim.Place}
	for _, s := range n.Sums {
		texts = append(texts, s.Digest)
	}
	return CheckText("report of a node", texts...)
}

// CheckText is ErrInvalid if one of the re-scan's texts is.
func (r Rescan) CheckText() error {
	return CheckText("re-scan", append([]string{r.Key, r.Source, r.Version}, r.Options.Banks...)...)
}

// CheckText is ErrInvalid if one of the hits' texts is, JSON included; names of items are any bytes.
func (p ShardProgress) CheckText() error {
	for _, h := range p.Hits {
		if err := CheckText("hit", h.Level, h.Action, string(h.Verdict)); err != nil {
			return err
		}
	}
	return nil
}
