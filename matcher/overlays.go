package matcher

import (
	"maps"

	"vigie/storage"
)

// overlays are what a party holds of single entries. A value is immutable and shared by all that read it. It is kept in parts,
// so that a change copies one of them: whoever holds much of many entries does not hold up those who follow the log.
// The nil value holds nothing.
type overlays [overlayParts]map[storage.EntryID]storage.Overlay

const overlayParts = 256

// of is what is held of an entry; empty if nothing is.
func (o *overlays) of(id storage.EntryID) storage.Overlay {
	if o == nil {
		return storage.Overlay{}
	}
	return o[id%overlayParts][id]
}

// with is o with some of it replaced, in order; nil if nothing is left.
func (o *overlays) with(replaced []storage.Overlay) *overlays {
	next, mine := overlays{}, [overlayParts]bool{}
	if o != nil {
		next = *o
	}
	for _, r := range replaced {
		part := r.Entry % overlayParts
		if !mine[part] {
			mine[part], next[part] = true, maps.Clone(next[part])
		}
		switch {
		case !r.Empty() && next[part] == nil:
			next[part] = map[storage.EntryID]storage.Overlay{r.Entry: r}
		case !r.Empty():
			next[part][r.Entry] = r
		default:
			if delete(next[part], r.Entry); len(next[part]) == 0 {
				next[part] = nil
			}
		}
	}
	for _, part := range next {
		if part != nil {
			return &next
		}
	}
	return nil
}

// withOverlays is old with some of it replaced, in order; old itself stays as it is.
func withOverlays(old map[storage.PartyID]*overlays, replaced []storage.Overlay) map[storage.PartyID]*overlays {
	if len(replaced) == 0 {
		return old
	}
	by := map[storage.PartyID][]storage.Overlay{}
	for _, o := range replaced {
		by[o.Party] = append(by[o.Party], o)
	}
	all := maps.Clone(old)
	for party, of := range by {
		if all[party] = all[party].with(of); all[party] == nil {
			delete(all, party)
		}
	}
	return all
}
