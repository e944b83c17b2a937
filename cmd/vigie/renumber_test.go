package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"vigie/storage"
	"vigie/storage/journal"
	"vigie/storage/memory"
)

// TestRenumber: of what waits in the journal under numbers that the catalogue has already, that gets other numbers which the catalogue has
// something else for; not what it has, or had until it expired.
func TestRenumber(t *testing.T) {
	t.Parallel()
	now := time.Now()
	const (
		same    = iota // the catalogue has it
		other          // it has another one of this number
		nothing        // it has none
	)
	type waiting struct {
		days int // its age
		past bool
		has  int
	}
	for name, test := range map[string]struct {
		waits   []waiting
		shipped uint64
		want    []int // of them, those that get numbers of their own
		alarm   bool
	}{
		"killed before it noted what it had handed on": {[]waiting{{0, false, same}, {200, false, same}, {0, false, nothing}}, 2, nil, false},
		"two had the identity":                         {[]waiting{{0, false, same}, {0, false, other}, {0, false, nothing}}, 3, []int{1, 2}, true},
		"and this one had more":                        {[]waiting{{0, false, other}, {0, false, other}, {0, false, nothing}}, 2, []int{0, 1}, true},
		"it was away, and they have expired":           {[]waiting{{200, false, nothing}, {200, false, nothing}, {1, false, same}}, 3, nil, false},
		"one is too young to have expired":             {[]waiting{{200, false, nothing}, {179, false, nothing}, {0, false, same}}, 3, []int{1}, true},
		"they have expired, or another had the number": {[]waiting{{200, false, nothing}, {0, false, other}}, 2, []int{0, 1}, true},
		"a look-back found twice what is told once":    {[]waiting{{0, true, nothing}, {0, false, same}}, 2, []int{0}, false},
		"an older copy":                                {[]waiting{{0, false, same}}, 9, nil, true},
	} {
		for _, ended := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", interrupted ", ended), func(t *testing.T) {
				t.Parallel()
				dir, clock := t.TempDir(), now
				open := func() *journal.Journal {
					t.Helper()
					j, err := journal.Open(dir, journal.Options{Now: func() time.Time { return clock }, Fault: func(err error) { t.Error(err) }})
					must(t, err)
					t.Cleanup(func() { j.Close() })
					return j
				}
				c, err := memory.New(storage.Options{})
				must(t, err)
				defer c.Close()
				j := open()
				var has []storage.MatchRecord
				bodies := map[string]int{}
				for i, w := range test.waits {
					clock = now.Add(-time.Duration(w.days)*24*time.Hour + time.Duration(i)*time.Second)
					m := storage.MatchRecord{Party: storage.Operator, ContentID: fmt.Sprint("upload ", i), Level: "match", Verdict: []byte("{}")}
					if w.past {
						m.Past = &storage.PastUpload{Upload: storage.MatchID{Node: "bbbbbbbb", Number: 1}}
					}
					body, err := json.Marshal(m)
					must(t, err)
					id, err := j.Append(t.Context(), "match", body)
					must(t, err)
					bodies[string(body)] = i
					if m.ID, m.At = storage.MatchID(id), clock; w.has == other {
						m.At = m.At.Add(time.Minute)
					}
					if w.has != nothing {
						has = append(has, m)
					}
				}
				must(t, c.Update(t.Context(), func(w storage.Writer) error {
					if err := w.AddMatches(j.Node(), has); err != nil {
						return err
					}
					return w.SetShipped(j.Node(), test.shipped)
				}))
				var logged strings.Builder
				left := func() (all []int) { // of what waits beyond what the catalogue has
					t.Helper()
					for r, err := range j.Backlog() {
						must(t, err)
						if n := bodies[string(r.Body)]; r.ID.Number > max(test.shipped, uint64(len(test.waits))) {
							if all = append(all, n); !r.At.Equal(now.Add(-time.Duration(test.waits[n].days)*24*time.Hour + time.Duration(n)*time.Second)) {
								t.Errorf("%d is of %v now", n, r.At)
							}
						}
					}
					return all
				}
				renumber := func() {
					t.Helper()
					must(t, j.Close())
					j = open()
					logged.Reset()
					n := &node{store: c, journal: j}
					must(t, n.renumber(t.Context(), slog.New(slog.NewTextHandler(&logged, nil))))
					if got := left(); !slices.Equal(got, test.want) {
						t.Errorf("other numbers get %v, want %v", got, test.want)
					}
				}
				if ended {
					// As when it ended before it noted that they have other numbers.
					var own []journal.Record
					must(t, c.View(t.Context(), func(r storage.Reader) (err error) {
						own, _, err = (&node{store: c, journal: j}).unlike(r, test.shipped)
						return err
					}))
					must(t, j.Close())
					j = open()
					must(t, j.Renumber(0, own))
				}
				renumber()
				if alarm := strings.Contains(logged.String(), "level=ERROR"); alarm != test.alarm && !ended {
					t.Errorf("told: %s", logged.String())
				}
				renumber()
			})
		}
	}
}
