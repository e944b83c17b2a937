package storagetest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vigie/storage"
)

const nodeB = "0000000b"

func testMatches(t *testing.T, open Open) {
	group(t, open, map[string]func(*fixture){
		"round trip": func(f *fixture) {
			at := time.Date(2026, 11, 22, 7, 0, 0, 123_999_999, time.FixedZone("", 3600))
			full := storage.MatchRecord{
				ID: storage.MatchID{Node: nodeA, Number: 1<<63 - 1}, At: at, Party: 7, Key: "k", ContentID: "post <&> 7",
				Level: "likely", Action: "hold", IndexSeq: 1 << 40,
				Entries: []storage.MatchEntry{{Entry: 1 << 40, Bank: 3, Level: "likely"}, {Entry: 2, Bank: 3, Level: "review", Exact: true}},
				Verdict: []byte(`{"a" : "é<&>"}`),
			}
			bare := storage.MatchRecord{ID: storage.MatchID{Node: nodeB, Number: 1}, Entries: []storage.MatchEntry{}, Verdict: []byte{}}
			f.update(func(w storage.Writer) error {
				f.must(w.AddMatches(nodeB, []storage.MatchRecord{bare}))
				f.must(w.AddMatches(nodeB, nil))
				return w.AddMatches(nodeA, []storage.MatchRecord{full})
			})
			given := full
			given.Entries, given.Verdict = slices.Clone(full.Entries), slices.Clone(full.Verdict)
			full.Entries[0].Entry, full.Verdict[0] = 9, 'x' // the caller's again
			full = given
			full.At, full.Ord = time.Date(2026, 11, 22, 6, 0, 0, 123_000_000, time.UTC), 2
			bare.Ord, bare.Entries, bare.Verdict = 1, nil, nil
			for range 2 {
				f.sameMatch(full)
				f.sameMatch(bare)
				s := Dump(f, f.Catalogue)
				f.same([]storage.MatchRecord{full, bare}, s.Matches)
				s.Matches[0].Entries[0].Entry, s.Matches[0].Verdict[0] = 9, 'x'
			}
			f.view(func(r storage.Reader) error {
				listed, err := r.Matches(storage.MatchQuery{Limit: 2})
				full.Verdict = nil // left out
				f.same([]storage.MatchRecord{full, bare}, listed)
				_, err2 := r.Match(storage.MatchID{Node: nodeB, Number: 2})
				f.want(err2, storage.ErrNotFound)
				return err
			})
		},
		"refused": func(f *fixture) {
			id := func(n uint64) storage.MatchID { return storage.MatchID{Node: nodeA, Number: n} }
			twice := []storage.MatchEntry{{Entry: 1}, {Entry: 1, Bank: 2}}
			f.update(func(w storage.Writer) error {
				f.must(w.SetShipped(nodeA, 5))
				return w.AddMatches(nodeA, []storage.MatchRecord{{ID: id(7)}, {ID: id(8)}})
			})
			before := Dump(f, f.Catalogue)
			f.update(func(w storage.Writer) error {
				for name, matches := range map[string][]storage.MatchRecord{
					"shipped":      {{ID: id(5)}},
					"there":        {{ID: id(6)}, {ID: id(7)}},
					"order":        {{ID: id(10)}, {ID: id(9)}},
					"twice":        {{ID: id(9)}, {ID: id(9)}},
					"other node":   {{ID: id(9)}, {ID: storage.MatchID{Node: nodeB, Number: 10}}},
					"no node":      {{ID: storage.MatchID{Number: 9}}},
					"large":        {{ID: id(1 << 63)}},
					"same entry":   {{ID: id(9), Entries: twice}},
					"many entries": {{ID: id(9), Entries: make([]storage.MatchEntry, storage.MaxMatchEntries+1)}},
					"not JSON":     {{ID: id(9), Verdict: []byte("{")}},
					"long":         {{ID: id(9), Verdict: []byte(`"` + strings.Repeat("x", storage.MaxVerdict) + `"`)}},
				} {
					err := w.AddMatches(nodeA, matches)
					if err == nil {
						f.Errorf("%s is accepted", name)
					}
					if name == "shipped" || name == "there" {
						f.want(err, storage.ErrExists)
					}
				}
				f.want(w.SetShipped(nodeA, 4), storage.ErrConflict)
				f.must(w.SetShipped(nodeA, 5))
				for node, want := range map[string]uint64{nodeA: 5, nodeB: 0} {
					got, err := w.Shipped(node)
					f.same(want, got)
					f.must(err)
				}
				for _, limit := range []int{-1, 0, storage.MaxMatches + 1} {
					_, err1 := w.Matches(storage.MatchQuery{Limit: limit})
					_, err2 := w.SignIns(storage.SignInQuery{Limit: limit})
					if err1 == nil || err2 == nil {
						f.Errorf("limit %d is accepted: %v, %v", limit, err1, err2)
					}
				}
				return nil
			})
			f.same(before, Dump(f, f.Catalogue))
		},
		"listing": func(f *fixture) {
			f.listing()
		},
		"sign-ins": func(f *fixture) {
			var want []storage.SignIn
			start := f.clock.Now().UTC().Truncate(time.Millisecond)
			f.update(func(w storage.Writer) error {
				for i := range 30 {
					node, late := nodeA, 0
					if i%3 == 0 {
						node, late = nodeB, 5 // which comes late
					}
					s := storage.SignIn{
						ID: storage.MatchID{Node: node, Number: uint64(i + 1)}, At: start.Add(time.Duration(i-late) * 20 * time.Minute),
						Key: "k", Party: storage.PartyID(1 + i%2), Address: "2001:db8::/48",
					}
					given := s
					given.At = given.At.Add(time.Microsecond).In(time.FixedZone("", 3600))
					f.must(w.AddSignIns(node, []storage.SignIn{given}))
					s.Ord = uint64(i + 1)
					want = append(want, s)
				}
				f.want(w.AddSignIns(nodeA, []storage.SignIn{{ID: storage.MatchID{Node: nodeA, Number: 2}}}), storage.ErrExists)
				f.must(w.SetShipped(nodeA, 40))
				f.want(w.AddSignIns(nodeA, []storage.SignIn{{ID: storage.MatchID{Node: nodeA, Number: 40}}}), storage.ErrExists)
				return nil
			})
			slices.Reverse(want)
			for _, q := range []storage.SignInQuery{
				{},
				{Party: 1},
				{Party: 9},
				{From: start.Add(2 * time.Hour)},
				{Until: start.Add(2 * time.Hour)},
				{From: want[20].At, Until: want[10].At, Party: 2},
				{From: want[0].At.AddDate(1, 0, 0)},
				{Before: 4},
				{Before: 1 << 63},
			} {
				filtered := slices.DeleteFunc(slices.Clone(want), func(s storage.SignIn) bool {
					return q.Before != 0 && s.Ord >= q.Before || q.Party != 0 && s.Party != q.Party || !inTime(s.At, q.From, q.Until)
				})
				for _, limit := range []int{1, 4, 1000} {
					q, got := q, []storage.SignIn(nil)
					q.Limit = limit
					f.view(func(r storage.Reader) error {
						for {
							page, err := r.SignIns(q)
							if err != nil || len(page) == 0 {
								return err
							}
							got = append(got, page...)
							q.Before = got[len(got)-1].Ord
						}
					})
					if len(filtered) == 0 {
						filtered = nil
					}
					f.same(filtered, got)
				}
			}
			f.update(func(w storage.Writer) error {
				for _, step := range []struct {
					before      time.Time
					limit, want int
				}{{start.Add(2 * time.Hour), 3, 3}, {start.Add(2 * time.Hour), 100, 5}, {start.Add(2 * time.Hour), 100, 0}} {
					n, err := w.ExpireSignIns(step.before, step.limit)
					if n != step.want || err != nil {
						f.Errorf("%d expired, %v; want %d", n, err, step.want)
					}
				}
				_, err := w.ExpireSignIns(start, 0)
				if err == nil {
					f.Error("limit 0 is accepted")
				}
				return nil
			})
			f.same(slices.DeleteFunc(want, func(s storage.SignIn) bool { return s.At.Before(start.Add(2 * time.Hour)) }), Dump(f, f.Catalogue).SignIns)
		},
		"erased": func(f *fixture) {
			f.matches(6, func(i int, m *storage.MatchRecord) {
				m.Party, m.ContentID = storage.PartyID(1+i/3), []string{"a", "b", ""}[i%3]
			})
			f.update(func(w storage.Writer) error {
				for _, step := range []struct {
					party   storage.PartyID
					content string
					want    int
				}{{1, "a", 1}, {1, "a", 0}, {1, "", 0}, {2, "x", 0}, {9, "b", 0}} {
					n, err := w.EraseContent(step.party, step.content)
					if n != step.want || err != nil {
						f.Errorf("erased %q of %d in %d matches, %v; want %d", step.content, step.party, n, err, step.want)
					}
				}
				return nil
			})
			var left []string
			for _, m := range Dump(f, f.Catalogue).Matches {
				left = append(left, m.ContentID)
			}
			f.same([]string{"", "b", "a", "", "b", ""}, left)
			f.view(func(r storage.Reader) error {
				found, err := r.Matches(storage.MatchQuery{Content: "a", Limit: 9})
				f.same(1, len(found))
				return err
			})
		},
		"expired": func(f *fixture) {
			ids := f.matches(8, func(i int, m *storage.MatchRecord) {
				m.Party, m.At = storage.PartyID(1+i%2), f.clock.Now().Add(-time.Duration(i)*time.Hour)
				m.Entries = []storage.MatchEntry{{Entry: 1, Bank: 1}}
			})
			f.decide(storage.Decision{Match: ids[6], Ruling: storage.BadHash, Entries: []storage.EntryID{1}})
			f.decide(storage.Decision{Match: ids[2], Ruling: storage.Removed, Entries: []storage.EntryID{1}})
			counted := Dump(f, f.Catalogue).Counters
			before := f.clock.Now().Add(-150 * time.Minute)
			f.update(func(w storage.Writer) error {
				for _, step := range []struct{ limit, want int }{{1, 1}, {9, 1}, {9, 0}} {
					n, err := w.ExpireMatches(1, before, step.limit)
					if n != step.want || err != nil {
						f.Errorf("%d expired, %v; want %d", n, err, step.want)
					}
				}
				if _, err := w.ExpireMatches(1, before, storage.MaxRemoved+1); err == nil {
					f.Error("too large a limit is accepted")
				}
				f.want(w.AddDecision(&storage.Decision{Match: ids[6], Entries: []storage.EntryID{1}}), storage.ErrNotFound)
				decisions, err := w.Decisions(ids)
				if len(decisions) != 1 || len(decisions[ids[2]]) != 1 {
					f.Errorf("decisions left: %v", decisions)
				}
				return err
			})
			s := Dump(f, f.Catalogue)
			f.same(counted, s.Counters)
			var left []uint64
			for _, m := range s.Matches {
				left = append(left, m.ID.Number)
			}
			f.same([]uint64{8, 6, 4, 3, 2, 1}, left)
			f.matches(1, func(_ int, m *storage.MatchRecord) { m.ID.Number = 99 })
			f.same(uint64(9), Dump(f, f.Catalogue).Matches[0].Ord) // no number is given twice
		},
		"decisions": func(f *fixture) {
			ids := f.matches(2, func(_ int, m *storage.MatchRecord) {
				m.Entries = []storage.MatchEntry{{Entry: 1, Bank: 1}, {Entry: 2, Bank: 1}}
			})
			yes, no := true, false
			first := f.decide(storage.Decision{
				Match: ids[0], Party: 7, Ruling: storage.Exempt, Entries: []storage.EntryID{2, 1}, MatchCorrect: &yes, LabelCorrect: &no, Reason: "news <&>", Actor: "k",
			})
			if first.ID == 0 || !first.At.Equal(storage.Options{Now: f.clock.Now}.Time()) {
				f.Errorf("new decision has id %d, time %v", first.ID, first.At)
			}
			f.clock.Advance(time.Hour)
			second := f.decide(storage.Decision{Match: ids[0], Ruling: storage.Kept, Entries: []storage.EntryID{1}})
			other := f.decide(storage.Decision{Match: ids[1], Ruling: storage.Removed, Entries: []storage.EntryID{1}})
			want := map[storage.MatchID][]storage.Decision{ids[0]: {first, second}, ids[1]: {other}}
			for range 2 {
				f.view(func(r storage.Reader) error {
					got, err := r.Decisions([]storage.MatchID{ids[1], ids[0], ids[0], {Node: nodeB, Number: 1}, {Node: nodeA, Number: 99}})
					f.same(want, got)
					got[ids[0]][0].Entries[0], *got[ids[0]][0].MatchCorrect = 9, false // not the catalogue's
					return err
				})
				f.view(func(r storage.Reader) error {
					got, err := r.Decisions(nil)
					f.same(map[storage.MatchID][]storage.Decision{}, got)
					return err
				})
			}
			before := Dump(f, f.Catalogue)
			f.update(func(w storage.Writer) error {
				for name, d := range map[string]storage.Decision{
					"no match":      {Match: storage.MatchID{Node: nodeB, Number: 1}, Entries: []storage.EntryID{1}},
					"no such entry": {Match: ids[0], Entries: []storage.EntryID{1, 3}},
					"no entry":      {Match: ids[0]},
					"twice":         {Match: ids[0], Entries: []storage.EntryID{1, 1}},
				} {
					err := w.AddDecision(&d)
					if err == nil {
						f.Errorf("%s is accepted", name)
					}
					if strings.HasPrefix(name, "no ") && name != "no entry" {
						f.want(err, storage.ErrNotFound)
					}
				}
				if _, err := w.Decisions(make([]storage.MatchID, storage.MaxMatches+1)); err == nil {
					f.Error("too many ids are accepted")
				}
				return nil
			})
			f.same(before, Dump(f, f.Catalogue))
		},
	})
}

// listing holds pages of every combination of filters against a loop over all matches.
func (f *fixture) listing() {
	start := f.clock.Now().UTC().Truncate(time.Millisecond)
	f.matches(80, func(i int, m *storage.MatchRecord) {
		late := i % 11 * i % 7
		m.At = start.Add(time.Duration(i-late) * 13 * time.Minute)
		m.Party, m.Level, m.ContentID = storage.PartyID(1+i%3*i%2), []string{"review", "match", "likely"}[i%3], []string{"", "x", "y"}[i%5%3]
		for n := range i % 4 {
			m.Entries = append(m.Entries, storage.MatchEntry{Entry: storage.EntryID(1 + (i+n)%5), Bank: storage.BankID(1 + (i+n)%2)})
		}
	})
	all := Dump(f, f.Catalogue).Matches
	type part struct {
		match storage.MatchID
		entry storage.EntryID
	}
	standing := map[part]bool{}
	for i, m := range all {
		if len(m.Entries) == 0 {
			continue
		}
		for n := range i % 3 {
			ruling, entry := storage.Rulings()[(i/3+n)%6], m.Entries[n%len(m.Entries)].Entry
			f.decide(storage.Decision{Match: m.ID, Ruling: ruling, Entries: []storage.EntryID{entry}})
			standing[part{m.ID, entry}] = ruling == storage.Removed
		}
	}
	stands := func(m storage.MatchRecord, q storage.MatchQuery) bool {
		return slices.ContainsFunc(m.Entries, func(e storage.MatchEntry) bool {
			return (q.Entry == 0 || q.Entry == e.Entry) && (q.Entry != 0 || q.Bank == 0 || q.Bank == e.Bank) && standing[part{m.ID, e.Entry}]
		})
	}
	bounds := []time.Time{{}, start.Add(3*time.Hour + time.Millisecond), all[20].At}
	f.view(func(r storage.Reader) error {
		for n := range 2 * 3 * 3 * 3 * 3 * 3 * 2 * 3 {
			pick := func(choices int) (picked int) {
				picked = n % choices
				n /= choices
				return picked
			}
			q := storage.MatchQuery{
				Party: storage.PartyID(pick(2)), Bank: storage.BankID(pick(3)), Entry: storage.EntryID(2 * pick(3)),
				From: bounds[pick(3)], Until: bounds[pick(3)], Level: []string{"", "match", "none"}[pick(3)],
				Standing: pick(2) == 1, Content: []string{"", "x", "none"}[pick(3)],
			}
			var want []uint64
			for _, m := range all {
				if (q.Party == 0 || m.Party == q.Party) && inTime(m.At, q.From, q.Until) && (q.Level == "" || m.Level == q.Level) &&
					(q.Bank == 0 || slices.ContainsFunc(m.Entries, func(e storage.MatchEntry) bool { return e.Bank == q.Bank })) &&
					(q.Entry == 0 || slices.ContainsFunc(m.Entries, func(e storage.MatchEntry) bool { return e.Entry == q.Entry })) &&
					(q.Content == "" || m.ContentID == q.Content) && (!q.Standing || stands(m, q)) {
					want = append(want, m.Ord)
				}
			}
			for _, q.Limit = range []int{3, 50} {
				got, err := AllMatches(r, q)
				if err != nil {
					return fmt.Errorf("%+v: %w", q, err)
				}
				var ords []uint64
				for _, m := range got {
					ords = append(ords, m.Ord)
				}
				if !slices.Equal(want, ords) {
					f.Errorf("%+v: got %v, want %v", q, ords, want)
				}
			}
		}
		page, err := r.Matches(storage.MatchQuery{Limit: 5, Before: 1 << 63})
		f.same(all[0].Ord, page[0].Ord)
		return err
	})
}

func inTime(at, from, until time.Time) bool {
	return (from.IsZero() || !at.Before(from)) && (until.IsZero() || at.Before(until))
}

func testCounters(t *testing.T, open Open) {
	group(t, open, map[string]func(*fixture){
		"matches": func(f *fixture) {
			hour := f.clock.Now().Truncate(time.Hour)
			f.clock.Advance(hour.Add(time.Hour + 4*time.Minute).Sub(f.clock.Now())) // in the first step of an hour
			now := f.clock.Now()
			ago := []time.Duration{
				-time.Hour, 0, 4 * time.Minute, 59 * time.Minute, // in the hour; the first is in the future
				59*time.Minute + time.Millisecond, 2 * time.Hour, 23*time.Hour + 59*time.Minute, // in the day
				23*time.Hour + 59*time.Minute + time.Millisecond, 25 * time.Hour, 1000 * time.Hour,
			}
			f.matches(len(ago), func(i int, m *storage.MatchRecord) {
				m.At = now.Add(-ago[i])
				m.Entries = []storage.MatchEntry{{Entry: 1, Bank: 1}}
				if i%5 == 0 {
					m.Entries = append(m.Entries, storage.MatchEntry{Entry: 7, Bank: 2})
				}
			})
			f.counters(map[storage.EntryID]storage.Counters{1: {Hour: 4, Day: 7, Total: 10}, 7: {Hour: 1, Day: 2, Total: 2}}, 7, 1, 99, 1)
			f.counters(map[storage.EntryID]storage.Counters{1: {Hour: 4, Day: 7, Total: 10}}, 1)
			f.counters(map[storage.EntryID]storage.Counters{})
			f.clock.Advance(2 * time.Minute) // the next step
			f.counters(map[storage.EntryID]storage.Counters{1: {Hour: 3, Day: 6, Total: 10}}, 1)
			f.clock.Advance(48 * time.Hour)
			f.counters(map[storage.EntryID]storage.Counters{1: {Total: 10}}, 1)
			f.matches(1, func(_ int, m *storage.MatchRecord) { // after which old counts may be swept
				m.ID.Number, m.At, m.Entries = 50, f.clock.Now(), []storage.MatchEntry{{Entry: 1}}
			})
			f.counters(map[storage.EntryID]storage.Counters{1: {Hour: 1, Day: 1, Total: 11}, 7: {Total: 2}}, 1, 7)
			f.view(func(r storage.Reader) error {
				if _, err := r.Counters(make([]storage.EntryID, storage.MaxLabels+1)); err == nil {
					f.Error("too many ids are accepted")
				}
				return nil
			})
		},
		"rulings": func(f *fixture) {
			for _, test := range []struct {
				rulings               []storage.Ruling
				confirmed, overturned uint64
			}{
				{nil, 0, 0},
				{[]storage.Ruling{storage.Removed}, 1, 0},
				{[]storage.Ruling{storage.Exempt}, 1, 0},
				{[]storage.Ruling{storage.WrongMatch}, 0, 1},
				{[]storage.Ruling{storage.BadHash}, 0, 1},
				{[]storage.Ruling{storage.Kept}, 0, 0},
				{[]storage.Ruling{storage.Removed, storage.Restored}, 0, 0},
				{[]storage.Ruling{storage.Removed, storage.Removed}, 1, 0},
				{[]storage.Ruling{storage.Removed, storage.WrongMatch}, 0, 1},
				{[]storage.Ruling{storage.WrongMatch, storage.BadHash, storage.Exempt}, 1, 0},
				{[]storage.Ruling{storage.WrongMatch, storage.Restored, storage.Restored}, 0, 1}, // put back, and still wrong
				{[]storage.Ruling{storage.BadHash, storage.Restored, storage.Removed, storage.Restored}, 0, 0},
			} {
				entry := f.entryOfMatches()
				id := f.matches(1, func(_ int, m *storage.MatchRecord) {
					m.ID.Number, m.At = uint64(entry), f.clock.Now().AddDate(0, 0, -9)
					m.Entries = []storage.MatchEntry{{Entry: entry}}
				})[0]
				for i, r := range test.rulings {
					f.decide(storage.Decision{Match: id, Party: storage.PartyID(1 + i), Ruling: r, Entries: []storage.EntryID{entry}})
				}
				f.counters(map[storage.EntryID]storage.Counters{entry: {Total: 1, Confirmed: test.confirmed, Overturned: test.overturned}}, entry)
			}
		},
		"each entry has the last ruling that names it": func(f *fixture) {
			ids := f.matches(2, func(_ int, m *storage.MatchRecord) {
				m.At, m.Entries = f.clock.Now().AddDate(0, 0, -9), []storage.MatchEntry{{Entry: 1}, {Entry: 2}}
			})
			f.decide(storage.Decision{Match: ids[0], Ruling: storage.Removed, Entries: []storage.EntryID{1, 2}})
			f.decide(storage.Decision{Match: ids[1], Ruling: storage.Removed, Entries: []storage.EntryID{2}})
			f.decide(storage.Decision{Match: ids[0], Ruling: storage.BadHash, Entries: []storage.EntryID{1}})
			f.counters(map[storage.EntryID]storage.Counters{1: {Total: 2, Overturned: 1}, 2: {Total: 2, Confirmed: 2}}, 1, 2)
			f.decide(storage.Decision{Match: ids[0], Ruling: storage.WrongMatch, Entries: []storage.EntryID{2}})
			f.counters(map[storage.EntryID]storage.Counters{1: {Total: 2, Overturned: 1}, 2: {Total: 2, Confirmed: 1, Overturned: 1}}, 1, 2)
		},
	})
}

func testJudgements(t *testing.T, open Open) {
	group(t, open, map[string]func(*fixture){
		"newest first, of what counted": func(f *fixture) {
			ids := f.matches(7, func(i int, m *storage.MatchRecord) {
				m.Party, m.ContentID, m.Bare = storage.PartyID(1+i%2), fmt.Sprint("c", i), i == 3
				m.Entries = []storage.MatchEntry{{Entry: 1, Level: "match"}, {Entry: 2, Level: []string{"none", "review"}[i%2]}}
			})
			both := []storage.EntryID{1, 2}
			judged := map[storage.MatchID]storage.Judgement{}
			for i, rulings := range [][]storage.Ruling{
				{storage.Removed},
				{storage.WrongMatch},
				{storage.Kept},
				{storage.BadHash, storage.Restored},
				{storage.Exempt, storage.Restored},
				{storage.Removed, storage.WrongMatch},
				{},
			} {
				for n, r := range rulings {
					d := f.decide(storage.Decision{Match: ids[i], Ruling: r, Entries: both})
					if j := (storage.Judgement{
						Decision: d.ID, Match: d.Match, Party: storage.PartyID(1 + i%2), ContentID: fmt.Sprint("c", i), Bare: i == 3, Wrong: r.Overturns(),
					}); n == 0 || r.Overturns() {
						judged[ids[i]] = j
					}
				}
			}
			last := f.decide(storage.Decision{Match: ids[0], Ruling: storage.Exempt, Entries: both[:1]})
			first := judged[ids[0]]
			first.Decision = last.ID
			f.judgements(1, []storage.Judgement{first, judged[ids[5]], judged[ids[3]], judged[ids[1]]})
			f.judgements(2, []storage.Judgement{judged[ids[5]], judged[ids[3]], judged[ids[1]]})
			f.judgements(3, nil)
			f.view(func(r storage.Reader) error { // one party's do not keep out another's
				some, err := r.Judgements(1, 2, 2)
				f.same([]storage.Judgement{judged[ids[5]], judged[ids[3]]}, some)
				if _, err := r.Judgements(1, 2, 0); err == nil {
					f.Error("limit 0 is accepted")
				}
				return err
			})

			f.update(func(w storage.Writer) error {
				_, err1 := w.Clear(9)
				_, err2 := w.Clear(1)
				return cmp.Or(err1, err2)
			})
			f.judgements(1, nil)
			f.judgements(2, []storage.Judgement{judged[ids[5]], judged[ids[3]], judged[ids[1]]})
			again := f.decide(storage.Decision{Match: ids[1], Ruling: storage.BadHash, Entries: both[:1]})
			f.decide(storage.Decision{Match: ids[3], Ruling: storage.Restored, Entries: both[:1]})
			f.judgements(1, []storage.Judgement{{Decision: again.ID, Match: ids[1], Party: 2, ContentID: "c1", Wrong: true}})
		},
		"alarms and statuses": func(f *fixture) {
			bank, gone, p, q := f.bank("a").ID, f.bank("b"), f.party("p").ID, f.party("q").ID
			e, other := f.entry(storage.Entry{Bank: bank}).ID, f.entry(storage.Entry{Bank: gone.ID, Status: storage.Quarantined, Reason: "why"}).ID
			disable := func(party storage.PartyID, entry storage.EntryID, alarm bool) (o storage.Overlay) {
				f.update(func(w storage.Writer) (err error) {
					o, err = w.Disable(party, entry, alarm)
					return err
				})
				return o
			}
			alarms := func(entry storage.EntryID, want ...storage.PartyID) {
				f.Helper()
				f.view(func(r storage.Reader) error {
					got, err := r.Alarms(entry, f.clock.Now().Add(-time.Hour))
					f.same(want, got)
					return err
				})
			}
			labelled := storage.Overlay{Party: q, Entry: e, Labels: []string{"x"}}
			f.update(func(w storage.Writer) error { return w.SetOverlay(labelled) })
			labelled.Disabled = true
			f.same(labelled, disable(q, e, true))
			f.same(storage.Overlay{Party: p, Entry: e, Disabled: true}, disable(p, e, true))
			f.same(storage.Overlay{Party: p, Entry: other, Disabled: true}, disable(p, other, false))
			alarms(e, p, q)
			alarms(other)
			disable(p, other, true)
			disable(p, other, false) // the alarm stays
			alarms(other, p)
			f.same(3, len(Dump(f, f.Catalogue).Overlays))
			f.update(func(w storage.Writer) error {
				f.must(w.SetOverlay(storage.Overlay{Party: p, Entry: e, Disabled: true})) // as it is
				f.must(w.SetOverlay(storage.Overlay{Party: q, Entry: e, Labels: []string{"x"}}))
				gone.Deleted = true
				f.must(w.UpdateBank(gone))
				_, err := w.Disable(9, e, false)
				f.want(err, storage.ErrNotFound)
				_, err = w.Disable(p, 9, false)
				f.want(err, storage.ErrNotFound)
				return nil
			})
			alarms(e, p)
			f.view(func(r storage.Reader) error {
				got, err := r.Statuses(p, []storage.EntryID{other, e, 9, e})
				f.same(map[storage.EntryID]storage.EntryStatus{
					e: {Status: storage.Active, Disabled: true}, other: {Status: storage.Quarantined, Reason: "why", BankDeleted: true, Disabled: true},
				}, got)
				got, err2 := r.Statuses(q, []storage.EntryID{e})
				f.same(map[storage.EntryID]storage.EntryStatus{e: {Status: storage.Active}}, got)
				if _, err := r.Statuses(q, make([]storage.EntryID, storage.MaxLabels+1)); err == nil {
					f.Error("too many ids are accepted")
				}
				return cmp.Or(err, err2)
			})
			f.clock.Advance(time.Hour)
			alarms(e, p)
			f.clock.Advance(time.Millisecond)
			alarms(e)
			disable(p, e, true)
			alarms(e, p)
			f.update(func(w storage.Writer) error {
				lifted, err := w.Clear(e)
				f.same([]storage.Overlay(nil), lifted)
				f.must(w.SetOverlay(storage.Overlay{Party: p, Entry: other}))
				return err
			})
			alarms(e)
			alarms(other)
			f.same(2, len(Dump(f, f.Catalogue).Overlays)) // which the parties have said themselves
		},
		"what is taken is given back": func(f *fixture) {
			bank, p, q, own, said := f.bank("a").ID, f.party("p").ID, f.party("q").ID, f.party("own").ID, f.party("said").ID
			e, other := f.entry(storage.Entry{Bank: bank}).ID, f.entry(storage.Entry{Bank: bank}).ID
			own1, said1 := storage.Overlay{Party: own, Entry: e, Disabled: true}, storage.Overlay{Party: said, Entry: e, Disabled: true, Labels: []string{}}
			f.update(func(w storage.Writer) error {
				f.must(w.SetOverlay(own1))
				f.must(w.SetOverlay(storage.Overlay{Party: q, Entry: e, Labels: []string{"x"}}))
				for _, party := range []storage.PartyID{p, q, own, said} {
					_, err := w.Disable(party, e, party == q)
					f.must(err)
				}
				_, err := w.Disable(p, other, true)
				f.must(err)
				return w.SetOverlay(said1) // from here it is its own
			})
			want := []storage.Overlay{{Party: p, Entry: e}, {Party: q, Entry: e, Labels: []string{"x"}}}
			for range 2 {
				f.update(func(w storage.Writer) error {
					lifted, err := w.Clear(e)
					f.same(want, lifted)
					return err
				})
				want = nil
			}
			f.same([]storage.Overlay{{Party: p, Entry: other, Disabled: true}, {Party: q, Entry: e, Labels: []string{"x"}}, own1, said1}, Dump(f, f.Catalogue).Overlays)
		},
	})
}

func (f *fixture) judgements(entry storage.EntryID, want []storage.Judgement) {
	f.Helper()
	f.view(func(r storage.Reader) error {
		judges, err := r.Judges(entry)
		var got []storage.Judgement
		for _, party := range judges {
			of, err := r.Judgements(entry, party, storage.MaxMatches)
			f.must(err)
			if len(of) == 0 {
				f.Errorf("party %d is a judge without judgements", party)
			}
			got = append(got, of...)
		}
		slices.SortFunc(got, func(a, b storage.Judgement) int { return cmp.Compare(b.Decision, a.Decision) })
		if len(got)+len(want) > 0 {
			f.same(want, got)
		}
		return err
	})
}

// matches adds n matches of one node, numbered from 1 unless fill says otherwise.
func (f *fixture) matches(n int, fill func(i int, m *storage.MatchRecord)) (ids []storage.MatchID) {
	f.Helper()
	var matches []storage.MatchRecord
	for i := range n {
		m := storage.MatchRecord{ID: storage.MatchID{Node: nodeA, Number: uint64(i + 1)}, At: f.clock.Now(), Verdict: body(i)}
		fill(i, &m)
		matches, ids = append(matches, m), append(ids, m.ID)
	}
	f.update(func(w storage.Writer) error { return w.AddMatches(nodeA, matches) })
	return ids
}

// entryOfMatches is the number of an entry that no match names yet.
func (f *fixture) entryOfMatches() storage.EntryID {
	f.Helper()
	return storage.EntryID(len(Dump(f, f.Catalogue).Matches) + 1)
}

func (f *fixture) decide(d storage.Decision) storage.Decision {
	f.Helper()
	f.update(func(w storage.Writer) error { return w.AddDecision(&d) })
	return d
}

func (f *fixture) sameMatch(want storage.MatchRecord) {
	f.Helper()
	f.view(func(r storage.Reader) error {
		got, err := r.Match(want.ID)
		f.same(want, got)
		return err
	})
}

func (f *fixture) counters(want map[storage.EntryID]storage.Counters, ids ...storage.EntryID) {
	f.Helper()
	f.view(func(r storage.Reader) error {
		got, err := r.Counters(ids)
		f.same(want, got)
		return err
	})
}
