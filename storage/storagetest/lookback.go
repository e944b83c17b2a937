package storagetest

import (
	"testing"
	"time"

	"vigie/storage"
)

func testLookback(t *testing.T, open Open) {
	group(t, open, map[string]func(*fixture){
		"an upload matches an entry once": func(f *fixture) {
			at := time.Date(2026, 11, 22, 5, 0, 0, 123_999_999, time.FixedZone("", 3600))
			upload := func(n uint64) *storage.PastUpload {
				return &storage.PastUpload{Upload: storage.MatchID{Node: nodeB, Number: n}, At: at}
			}
			past := func(number uint64, entry storage.EntryID, p *storage.PastUpload) storage.MatchRecord {
				return storage.MatchRecord{
					ID: storage.MatchID{Node: nodeA, Number: number}, Party: 2, ContentID: "post", Level: "match", Past: p, At: f.clock.Now(),
					Entries: []storage.MatchEntry{{Entry: entry, Bank: 1, Level: "match"}},
				}
			}
			usual := past(3, 1, nil)
			f.update(func(w storage.Writer) error {
				return w.AddMatches(nodeA, []storage.MatchRecord{past(1, 1, upload(7)), past(2, 1, upload(7)), usual, past(4, 1, upload(9)), past(5, 2, upload(7))})
			})
			f.update(func(w storage.Writer) error {
				f.must(w.SetShipped(nodeA, 5))
				again := past(6, 1, upload(7))
				again.ContentID = "other"
				return w.AddMatches(nodeA, []storage.MatchRecord{again, past(7, 1, upload(8)), past(8, 2, upload(9)), past(9, 1, upload(9))})
			})
			f.update(func(w storage.Writer) error { // nothing new is no error
				f.must(w.SetShipped(nodeA, 9))
				return w.AddMatches(nodeA, []storage.MatchRecord{past(10, 1, upload(8))})
			})
			f.view(func(r storage.Reader) error {
				all, err := r.Matches(storage.MatchQuery{Limit: 20})
				var numbers []uint64
				for _, m := range all {
					numbers = append(numbers, m.ID.Number)
					if m.ID.Number == 3 {
						f.same((*storage.PastUpload)(nil), m.Past)
					}
					if m.ID.Number == 1 {
						f.same(&storage.PastUpload{Upload: upload(7).Upload, At: time.Date(2026, 11, 22, 4, 0, 0, 123_000_000, time.UTC)}, m.Past)
					}
				}
				f.same([]uint64{8, 7, 5, 4, 3, 1}, numbers)
				one, err2 := r.Match(storage.MatchID{Node: nodeA, Number: 4})
				f.must(err2)
				f.same(uint64(9), one.Past.Upload.Number)
				heads, err2 := r.MatchHeads(0, 20)
				f.must(err2)
				f.same([]bool{true, false, true, true, true, true}, pasts(heads))
				after, err2 := r.MatchesAfter(storage.MatchStretch{Party: 2, Until: 100, Limit: 2})
				f.must(err2)
				f.same([]bool{true, false}, []bool{after[0].Past != nil, after[1].Past != nil})
				for past, want := range map[bool][]uint64{true: {1, 3}, false: {2}} {
					page, err2 := r.MatchesAfter(storage.MatchStretch{Party: 2, Until: 3, Past: &past, Limit: 9})
					f.must(err2)
					var ords []uint64
					for _, m := range page {
						ords = append(ords, m.Ord)
					}
					f.same(want, ords)
				}
				counters, err2 := r.Counters([]storage.EntryID{1, 2})
				f.must(err2)
				f.same([]uint64{4, 2}, []uint64{counters[1].Total, counters[2].Total}) // what is left out is not counted
				return err
			})
			f.clock.Advance(time.Hour)
			f.update(func(w storage.Writer) error { // what has expired may be found again
				f.must(w.SetShipped(nodeA, 10))
				n, err := w.ExpireMatches(2, f.clock.Now(), 100)
				f.same(6, n)
				f.must(err)
				return w.AddMatches(nodeA, []storage.MatchRecord{past(11, 1, upload(7))})
			})
			f.view(func(r storage.Reader) error {
				m, err := r.Match(storage.MatchID{Node: nodeA, Number: 11})
				f.same(uint64(7), m.Past.Upload.Number)
				return err
			})
		},
		"refused": func(f *fixture) {
			past := &storage.PastUpload{Upload: storage.MatchID{Node: nodeB, Number: 1}}
			id := storage.MatchID{Node: nodeA, Number: 1}
			for _, m := range []storage.MatchRecord{
				{ID: id, Past: past},
				{ID: id, Past: past, Entries: []storage.MatchEntry{{Entry: 1}, {Entry: 2}}},
				{ID: id, Past: &storage.PastUpload{}, Entries: []storage.MatchEntry{{Entry: 1}}},
			} {
				if err := f.Update(f.ctx, func(w storage.Writer) error { return w.AddMatches(nodeA, []storage.MatchRecord{m}) }); err == nil {
					f.Errorf("%+v is stored", m)
				}
			}
		},
		"late after an erasure": func(f *fixture) {
			p := f.party("p").ID
			at := f.clock.Now()
			f.clock.Advance(time.Hour)
			f.update(func(w storage.Writer) error {
				f.must(w.AddErasure(&storage.Erasure{Party: storage.Operator, ContentID: "b"}))
				return w.AddErasure(&storage.Erasure{Party: p, ContentID: "a \"quoted\" ü"})
			})
			f.clock.Advance(time.Minute)
			match := func(n uint64, party storage.PartyID, content string, at time.Time, past *storage.PastUpload) storage.MatchRecord {
				return storage.MatchRecord{
					ID: storage.MatchID{Node: nodeA, Number: n}, Party: party, ContentID: content, At: at, Past: past, Level: "match",
					Entries: []storage.MatchEntry{{Entry: 1, Bank: 1, Level: "match"}},
				}
			}
			now := f.clock.Now()
			past := func(n uint64, at time.Time) *storage.PastUpload {
				return &storage.PastUpload{Upload: storage.MatchID{Node: nodeB, Number: n}, At: at}
			}
			f.update(func(w storage.Writer) error {
				return w.AddMatches(nodeA, []storage.MatchRecord{
					match(1, p, "a \"quoted\" ü", at, nil), match(2, p, "a \"quoted\" ü", now, nil), match(3, p, "b", at, nil),
					match(4, storage.Operator, "b", at, nil), match(5, p, "a \"quoted\" ü", now, past(1, at)),
					match(6, p, "a \"quoted\" ü", now, past(2, now)), match(7, p, "", at, nil),
				})
			})
			f.view(func(r storage.Reader) error {
				for n, want := range []string{"", "a \"quoted\" ü", "b", "", "", "a \"quoted\" ü", ""} {
					m, err := r.Match(storage.MatchID{Node: nodeA, Number: uint64(n + 1)})
					f.must(err)
					f.same(want, m.ContentID)
				}
				return nil
			})
		},
		"erasures": func(f *fixture) {
			p := f.party("p").ID
			first, second := storage.Erasure{Party: p, ContentID: "a"}, storage.Erasure{Party: storage.Operator, ContentID: "b"}
			f.update(func(w storage.Writer) error {
				f.want(w.AddErasure(&storage.Erasure{Party: 99, ContentID: "x"}), storage.ErrNotFound)
				return w.AddErasure(&first)
			})
			f.clock.Advance(time.Hour)
			f.update(func(w storage.Writer) error {
				f.must(w.SetErased(nodeA, 7))
				f.must(w.SetErased(nodeA, 1)) // is behind
				return w.AddErasure(&second)
			})
			f.view(func(r storage.Reader) error {
				all, err := r.Erasures(0, 9)
				f.same([]storage.Erasure{first, second}, all)
				f.must(err)
				one, err := r.Erasures(0, 1)
				f.same([]storage.Erasure{first}, one)
				f.must(err)
				rest, err := r.Erasures(first.ID, 9)
				f.same([]storage.Erasure{second}, rest)
				f.must(err)
				done, err := r.Erased(nodeA)
				f.same(uint64(7), done)
				f.must(err)
				done, err = r.Erased(nodeB)
				f.same(uint64(0), done)
				return err
			})
			f.update(func(w storage.Writer) error {
				n, err := w.ExpireErasures(second.At, 9)
				f.same(1, n)
				return err
			})
			third := storage.Erasure{Party: p, ContentID: "c"}
			f.update(func(w storage.Writer) error {
				_, err := w.ExpireErasures(f.clock.Now().Add(time.Hour), 9)
				f.must(err)
				return w.AddErasure(&third)
			})
			f.view(func(r storage.Reader) error {
				all, err := r.Erasures(second.ID, 9) // numbers do not come again
				f.same([]storage.Erasure{third}, all)
				return err
			})
		},
		"how far nodes have looked": func(f *fixture) {
			f.view(func(r storage.Reader) error {
				_, err := r.Looked(nodeA)
				f.want(err, storage.ErrNotFound)
				return nil
			})
			f.update(func(w storage.Writer) error {
				f.must(w.SetLooked(nodeA, 0))
				f.must(w.SetLooked("", 1<<40))
				return w.SetLooked("", 7) // is behind
			})
			f.update(func(w storage.Writer) error {
				f.must(w.SetLooked("0000000c", 4))
				return w.RewindLooked(1 << 39)
			})
			f.update(func(w storage.Writer) error {
				f.want(w.SetLooked("\x00", 1), storage.ErrInvalid)
				return nil
			})
			f.view(func(r storage.Reader) error {
				for node, want := range map[string]uint64{nodeA: 0, "": 1 << 39, "0000000c": 4} {
					seq, err := r.Looked(node)
					f.must(err)
					f.same(want, seq)
				}
				return nil
			})
		},
	})
}

func pasts(heads []storage.MatchHead) (is []bool) {
	for _, h := range heads {
		is = append(is, h.Past)
	}
	return is
}
