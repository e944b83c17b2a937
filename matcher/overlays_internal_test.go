package matcher

import (
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"

	"vigie/storage"
)

// TestOverlays lives through a random history, and keeps all that there was: it stays as it was, and each next one shares with
// it what has not changed.
func TestOverlays(t *testing.T) {
	t.Parallel()
	const parties, entries = 3, 3 * overlayParts
	draw := rand.New(rand.NewPCG(1, 2))
	type was struct {
		is   map[storage.PartyID]*overlays
		want map[storage.PartyID]map[storage.EntryID]storage.Overlay
	}
	now := was{is: map[storage.PartyID]*overlays{}, want: map[storage.PartyID]map[storage.EntryID]storage.Overlay{}}
	var history []was
	for range 2000 {
		var page []storage.Overlay
		next := was{want: map[storage.PartyID]map[storage.EntryID]storage.Overlay{}}
		for p, of := range now.want {
			next.want[p] = maps.Clone(of)
		}
		for range draw.IntN(4) {
			o := storage.Overlay{Party: storage.PartyID(draw.IntN(parties)), Entry: storage.EntryID(draw.IntN(entries)), Disabled: draw.IntN(3) > 0}
			page = append(page, o)
			if next.want[o.Party] == nil {
				next.want[o.Party] = map[storage.EntryID]storage.Overlay{}
			}
			if next.want[o.Party][o.Entry] = o; o.Empty() {
				delete(next.want[o.Party], o.Entry)
			}
		}
		next.is = withOverlays(now.is, page)
		for p, of := range next.is {
			copied := 0
			for i := range of {
				if had := now.is[p]; had != nil && reflect.ValueOf(of[i]).Pointer() != reflect.ValueOf(had[i]).Pointer() {
					copied++
				}
			}
			if copied > len(page) {
				t.Fatalf("%d parts copied for %d changes", copied, len(page))
			}
		}
		history, now = append(history, next), next
	}
	for i := 0; i < len(history); i += 100 {
		h := history[i]
		for p := range storage.PartyID(parties) {
			for id := range storage.EntryID(entries) {
				if got, want := h.is[p].of(id), h.want[p][id]; !reflect.DeepEqual(got, want) {
					t.Fatalf("after %d changes party %d holds %+v of %d, want %+v", i, p, got, id, want)
				}
			}
			if there := h.is[p] != nil; there != (len(h.want[p]) > 0) {
				t.Errorf("after %d changes party %d holds anything: %t", i, p, there)
			}
		}
	}
	for _, o := range now.want[0] { // and nothing is left of nothing
		now.is = withOverlays(now.is, []storage.Overlay{{Party: 0, Entry: o.Entry}})
	}
	if now.is[0] != nil {
		t.Error("an empty one stays")
	}
}
