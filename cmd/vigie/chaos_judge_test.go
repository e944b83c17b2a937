package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v1 "vigie/api/v1"
)

// life is how long something was in a bank, by the log: from change added until change retracted, 0 if that never came.
type life struct{ entry, added, retracted int64 }

func (l life) at(seq int64) bool {
	return l.added > 0 && l.added <= seq && !(l.retracted > 0 && l.retracted <= seq)
}

// lives are those that a log tells of, by SHA-256.
func (l *load) lives(log []v1.Change) map[string]life {
	l.Helper()
	all, digests := map[string]life{}, map[int64]string{}
	for _, c := range log {
		switch c.Kind {
		case "entry.added":
			var body struct{ Signals []struct{ Signal string } }
			must(l, json.Unmarshal(c.Body, &body))
			for _, s := range body.Signals {
				if digest, ok := strings.CutPrefix(s.Signal, "sha256:"); ok {
					if _, twice := all[digest]; twice {
						l.Errorf("change %d adds what is there", c.Seq)
					}
					all[digest], digests[*c.Entry] = life{entry: *c.Entry, added: c.Seq}, digest
				}
			}
		case "entry.retracted":
			was := all[digests[*c.Entry]]
			if was.added == 0 || was.retracted != 0 {
				l.Errorf("change %d retracts entry %d, which is not there", c.Seq, *c.Entry)
			}
			was.retracted = c.Seq
			all[digests[*c.Entry]] = was
		}
	}
	return all
}

// judgeWrites holds what was written against the log: what was acknowledged is there, as the change that was named; what was
// refused with "nothing has happened" is not. It returns how many were neither, and of these how many are there.
func (l *load) judgeWrites(all map[string]life) (unknown, whole int) {
	l.Helper()
	tried := map[*mark]int{} // but for retractions
	for _, w := range l.written {
		if !w.retract {
			tried[w.mark]++
		}
	}
	for _, w := range l.written {
		life, does := all[w.mark.digest], "flag"
		is := life.added
		if w.retract {
			does, is = "retraction", life.retracted
		}
		switch {
		case w.fault == "/problems/internal":
			l.Errorf("phase %d: a %s failed, and nobody says why", w.phase, does)
		case w.seq != 0 && is != w.seq:
			l.Errorf("phase %d: a %s was acknowledged as change %d; the log has it as change %d", w.phase, does, w.seq, is)
		case w.seq != 0 && !w.retract && life.entry != w.mark.entry:
			l.Errorf("phase %d: a flag was acknowledged as entry %d; the log has it as entry %d", w.phase, w.mark.entry, life.entry)
		case w.seq == 0 && saysNothing(w.fault) && is != 0 && !w.retract && tried[w.mark] > 1: // another try did it
		case w.seq == 0 && saysNothing(w.fault) && is != 0:
			l.Errorf("phase %d: of a %s it was said that nothing had happened; it is change %d", w.phase, does, is)
		case w.seq == 0 && !saysNothing(w.fault):
			unknown++
			if is != 0 {
				whole++
			}
		}
	}
	return unknown, whole
}

// wrong says what is wrong with the verdict of a check: it must be what the log says, as of the change that the verdict names.
func (l *load) wrong(a *checked, all map[string]life) string {
	v := a.verdict
	var want []int64
	if a.mark != nil {
		if life := all[a.mark.digest]; life.at(v.IndexSeq) {
			want = []int64{life.entry}
		}
	}
	var got []int64
	for _, m := range v.Matches {
		got = append(got, m.Entry)
		if m.Level != v1.LevelMatch {
			return fmt.Sprintf("entry %d is matched at the level %s", m.Entry, m.Level)
		}
	}
	switch {
	case v.LogId != l.logID:
		return "it is of log " + v.LogId
	case v.IndexSeq < a.minSeq:
		return fmt.Sprintf("it is as of change %d, and was to be as of %d", v.IndexSeq, a.minSeq)
	case !slices.Equal(got, want):
		return fmt.Sprintf("as of change %d it matches %v, and should match %v", v.IndexSeq, got, want)
	case (v.Level == v1.LevelMatch) != (want != nil):
		return fmt.Sprintf("its level is %s", v.Level)
	case want != nil && (v.Match == nil) != (v.Unrecorded != nil && *v.Unrecorded):
		return "it names no record, and does not say why"
	}
	return ""
}

// unanswered says that a check got no verdict and should have: not so if the node was killed, nor if it was asked to wait for a
// change that it could not see.
func unanswered(a *checked) bool {
	return a.fault != "" && !(a.fault == noAnswer && a.killed) && !(a.fault == "/problems/index-behind" && a.minSeq > 0)
}

// judgeEntries holds the entries of the catalogue against the log.
func (l *load) judgeEntries(all map[string]life) {
	l.Helper()
	seen := 0
	for cursor := ""; ; {
		page, err := get[struct {
			Entries []v1.Entry
			Next    string
		}](l.nodes[len(l.nodes)-1].served, l.admin, "/v1/entries?limit=1000"+cursor)
		must(l, err)
		for _, e := range page.Entries {
			life := all[valueOf(e, v1.Sha256)]
			if seen++; life.entry != e.Id || (e.Status == v1.Active) != (life.retracted == 0) {
				l.Errorf("entry %d is %s; by the log it is %+v", e.Id, e.Status, life)
			}
		}
		if page.Next == "" {
			break
		}
		cursor = "&cursor=" + page.Next
	}
	if seen != len(all) {
		l.Errorf("%d entries, and %d by the log", seen, len(all))
	}
}

// judgeMatches wants each match that a verdict named in the catalogue, and none twice. It returns how many there are. Those
// that the journals have not shipped yet are waited for.
func (l *load) judgeMatches() (recorded int) {
	l.Helper()
	told := map[string]string{} // content id by match id
	for _, a := range l.checks {
		if a.verdict.Match != nil {
			told[*a.verdict.Match] = a.name
		}
	}
	missing := 0
	defer func() {
		if missing > 0 {
			l.Logf("%d of %d matches that were told are not in the catalogue", missing, len(told))
		}
	}()
	eventually(l, "the matches are in the catalogue", func() bool {
		byName, have := map[string]string{}, map[string]bool{}
		for cursor := ""; ; {
			page, err := get[v1.ListMatches200JSONResponse](l.nodes[0].served, l.admin, "/v1/matches?limit=500"+cursor)
			must(l, err)
			for _, m := range page.Matches {
				name := value(m.ContentId)
				if had := byName[name]; name != "" && had != "" || told[m.Id] != "" && told[m.Id] != name {
					l.Fatalf("match %s is of %q, told of %q, which match %s is of, too", m.Id, name, told[m.Id], had)
				}
				byName[name], have[m.Id] = m.Id, true
			}
			if page.Next == nil {
				break
			}
			cursor = "&cursor=" + *page.Next
		}
		missing, recorded = 0, len(have)
		for id := range told {
			if !have[id] {
				missing++
			}
		}
		return missing == 0
	})
	return recorded
}
