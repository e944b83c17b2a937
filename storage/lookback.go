package storage

import (
	"fmt"
	"time"
)

// PastUpload is an upload in the history of a node (vigie/storage/history).
type PastUpload struct {
	Upload MatchID   // among those of all nodes: history and matches are numbered apart
	At     time.Time // when it was checked
}

// LookbackReader reads how far nodes have looked back.
type LookbackReader interface {
	// Looked is the change up to which a node has looked for new entries among its past uploads; ErrNotFound if it never has.
	// The node "" stands for all of them together, and the files that they share.
	Looked(node string) (seq uint64, err error)
	// Erasures are those beyond a number, in order, at most limit (1..MaxRemoved).
	Erasures(after uint64, limit int) ([]Erasure, error)
	// Erased is the number of the last erasure that a node has carried out; 0: none.
	Erased(node string) (id uint64, err error)
}

// LookbackWriter notes it.
type LookbackWriter interface {
	// SetLooked notes how far a node has looked; one that was farther stays there.
	SetLooked(node string, seq uint64) error
	// RewindLooked has all nodes that are farther than a change look again at what is beyond it. It is for a catalogue that was restored with
	// jobs of a moment before its own.
	RewindLooked(seq uint64) error
	// AddErasure sets e.ID and e.At; ErrNotFound if there is no such party.
	AddErasure(e *Erasure) error
	// SetErased notes how far a node has carried erasures out; one that was farther stays there.
	SetErased(node string, id uint64) error
	// ExpireErasures removes at most limit (1..MaxRemoved) from before a time, oldest first, and says how many.
	ExpireErasures(before time.Time, limit int) (int, error)
}

// Erasure is the name of an upload that every node is to erase from its history. It is kept for a while, for those that are down.
type Erasure struct {
	ID        uint64 // ascending
	Party     PartyID
	ContentID string
	At        time.Time
}

// pastKey is what a past upload and an entry have one match by.
type pastKey struct {
	entry  EntryID
	upload MatchID
}

// Unseen are the matches of a batch that are to be stored: of those of past uploads, one for each upload and entry, unless
// there is one already. Catalogues share it.
func Unseen(matches []MatchRecord, there func(EntryID, MatchID) bool) (fresh []MatchRecord) {
	seen := map[pastKey]bool{}
	for _, m := range matches {
		if m.Past != nil {
			key := pastKey{m.Entries[0].Entry, m.Past.Upload}
			if seen[key] || there(key.entry, key.upload) {
				continue
			}
			seen[key] = true
		}
		fresh = append(fresh, m)
	}
	return fresh
}

// ErasedBy reports whether an erasure was of this match's name, after its upload was checked: what comes late, from the journal of a
// node that was down or found by a look-back meanwhile, is not to bring the name back. A name that comes again later is another's.
func (m MatchRecord) ErasedBy(e Erasure) bool {
	at := m.At
	if m.Past != nil {
		at = m.Past.At
	}
	return m.Party == e.Party && m.ContentID == e.ContentID && !KeptTime(at).After(e.At)
}

// checkPast reports what keeps the match of a past upload from being stored.
func (m MatchRecord) checkPast() error {
	switch {
	case m.Past == nil:
		return nil
	case len(m.Entries) != 1:
		return fmt.Errorf("match %s: of a past upload, with %d entries; it has one", m.ID, len(m.Entries))
	}
	if _, err := ParseMatchID(m.Past.Upload.String()); err != nil {
		return fmt.Errorf("match %s: upload: %w", m.ID, err)
	}
	return nil
}
