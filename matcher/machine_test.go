package matcher_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"vigie/hashing"
	"vigie/hashing/pdq"
	"vigie/matcher"
	"vigie/storage"
)

// machine is a node, and beside it what its catalogue should hold.
type machine struct {
	t     *testing.T
	node  *node
	banks []*modelBank
	// entries are as flags answered them, with the status that they should have by now.
	entries []*storage.Entry
}

type modelBank struct {
	id      storage.BankID
	name    string
	deleted int // when, in the order of deletions; 0: it is not
	action  string
	radius  radii
}

var (
	// Few pictures, two of them near each other, and signals around few centres: everything meets.
	machineMedia   = [][]byte{pngOf(drawn(1)), jpegOf(drawn(1), 50), pngOf(drawn(2)), []byte("no picture")}
	machineNames   = []string{"a", "b", "c"}
	machineActions = []string{"log", "label", "redirect", "review", "hold", "block"}
)

func machineSignal(t *rapid.T) hashing.Signal {
	a := rapid.SampledFrom(hashing.Algorithms()).Draw(t, "algorithm")
	s := signal(a, uint64(rapid.IntRange(1, 2).Draw(t, "centre")))
	if !a.Exact() {
		s = away(s, rapid.SampledFrom([]int{0, 0, 1, 4, 5, 20, 31, 32, 50}).Draw(t, "away"))
		s.Quality = rapid.SampledFrom([]hashing.Quality{hashing.QualityUnknown, 100, 50}).Draw(t, "quality")
	}
	return s
}

func machineSignals(t *rapid.T) []hashing.Signal {
	return rapid.SliceOfN(rapid.Custom(machineSignal), 1, 3).Draw(t, "signals")
}

func (m *machine) bankNamed(name string) *modelBank {
	i := slices.IndexFunc(m.banks, func(b *modelBank) bool { return b.name == name && b.deleted == 0 })
	if i < 0 {
		return nil
	}
	return m.banks[i]
}

func (m *machine) bankOf(e *storage.Entry) *modelBank { return m.banks[e.Bank-1] }

func drawName(t *rapid.T) string { return rapid.SampledFrom(machineNames).Draw(t, "name") }

func drawRadius(t *rapid.T) radii {
	r := radii{}
	for _, a := range []hashing.Algorithm{hashing.PDQ, hashing.PHash, hashing.DHash} {
		if rapid.Bool().Draw(t, "matched") {
			r[a] = rapid.IntRange(0, matcher.MaxRadius(a)).Draw(t, "radius")
		}
	}
	return r
}

// same fails if the node's outcome is not the model's.
func same(t *rapid.T, what string, err error, want bool) {
	if (err == nil) != want {
		t.Fatalf("%s: error %v, should it work: %t", what, err, want)
	}
}

func (m *machine) createBank(t *rapid.T) {
	name := drawName(t)
	b := &modelBank{name: name, action: rapid.SampledFrom(machineActions).Draw(t, "action"), radius: drawRadius(t)}
	got, err := m.node.CreateBank(m.node.ctx, "local", matcher.BankEdit{Name: &name, Action: &b.action, Radius: ptr(maps.Clone(b.radius))})
	same(t, "create bank", err, m.bankNamed(name) == nil)
	if err == nil {
		b.id = got.ID
		m.banks = append(m.banks, b)
	}
}

func (m *machine) changeBank(t *rapid.T) {
	b := m.bankNamed(drawName(t))
	if b == nil {
		t.Skip("no such bank")
	}
	var edit matcher.BankEdit
	action, radius, name := b.action, b.radius, b.name
	if rapid.Bool().Draw(t, "edit action") {
		action = rapid.SampledFrom(machineActions).Draw(t, "action")
		edit.Action = &action
	}
	if rapid.Bool().Draw(t, "edit radius") {
		radius = drawRadius(t)
		edit.Radius = ptr(maps.Clone(radius))
	}
	if rapid.IntRange(0, 3).Draw(t, "edit name") == 0 {
		name = drawName(t)
		edit.Name = &name
	}
	owner := m.bankNamed(name)
	_, err := m.node.ChangeBank(m.node.ctx, "local", b.name, edit)
	same(t, "change bank", err, owner == nil || owner == b)
	if err == nil {
		b.action, b.radius, b.name = action, radius, name
	}
}

func (m *machine) deleteBank(t *rapid.T) {
	name := drawName(t)
	b := m.bankNamed(name)
	_, err := m.node.DeleteBank(m.node.ctx, "local", name)
	same(t, "delete bank", err, b != nil)
	if b != nil {
		b.deleted = len(m.node.changes())
	}
}

func (m *machine) restoreBank(t *rapid.T) {
	name := drawName(t)
	_, err := m.node.RestoreBank(m.node.ctx, "local", name)
	var last *modelBank
	for _, b := range m.banks {
		if b.name == name && b.deleted > 0 && (last == nil || b.deleted > last.deleted) {
			last = b
		}
	}
	live := m.bankNamed(name)
	same(t, "restore bank", err, (live != nil) != (last != nil))
	if err == nil && last != nil {
		last.deleted = 0
	}
}

func (m *machine) flagMedia(t *rapid.T) {
	f := matcher.Flagging{
		Bank: drawName(t), Media: media(rapid.SampledFrom(machineMedia).Draw(t, "media")),
		ExactOnly: rapid.IntRange(0, 2).Draw(t, "exact only") == 0,
	}
	_, err := pictures.Picture(m.node.ctx, f.Media.Data)
	m.flag(t, f, err == nil || f.ExactOnly)
}

func (m *machine) flagSignals(t *rapid.T) {
	m.flag(t, matcher.Flagging{Bank: drawName(t), Signals: machineSignals(t)}, true)
}

func (m *machine) flag(t *rapid.T, f matcher.Flagging, can bool) {
	b := m.bankNamed(f.Bank)
	before := len(m.node.changes())
	out, err := m.node.Flag(m.node.ctx, f)
	same(t, "flag", err, can && b != nil)
	if err != nil {
		return
	}
	if out.Seq != uint64(before+1) || !out.Matchable || out.Entry.Bank != b.id {
		t.Fatalf("flagged after change %d: %+v", before, out)
	}
	if out.Created {
		if out.Entry.ID != storage.EntryID(len(m.entries)+1) {
			t.Fatalf("entry %d after %d entries", out.Entry.ID, len(m.entries))
		}
		for _, had := range m.entries {
			if had.Status == storage.Active && had.Bank == b.id && slices.Equal(had.Signals, out.Entry.Signals) {
				t.Fatalf("entry %d is the twin of %d", out.Entry.ID, had.ID)
			}
		}
		m.entries = append(m.entries, &out.Entry)
		return
	}
	had := m.entries[out.Entry.ID-1]
	for _, s := range f.Signals {
		if !slices.ContainsFunc(out.Entry.Signals, func(o hashing.Signal) bool { return o.Algorithm == s.Algorithm && o.Value == s.Value }) && (!f.ExactOnly || s.Algorithm.Exact()) {
			t.Fatalf("entry %d lacks %v, which was flagged", out.Entry.ID, s)
		}
	}
	had.Signals = out.Entry.Signals
	if had.Status != storage.Active || had.Bank != b.id || len(out.Entry.Sources) < 2 {
		t.Fatalf("taken for %+v", had)
	}
}

func (m *machine) drawEntry(t *rapid.T) *storage.Entry {
	if len(m.entries) == 0 {
		t.Skip("no entries")
	}
	return rapid.SampledFrom(m.entries).Draw(t, "entry")
}

func (m *machine) retract(t *rapid.T) {
	e := m.drawEntry(t)
	must(m.t, m.node.Retract(m.node.ctx, "local", e.ID, "a test"))
	e.Status = storage.Retracted
}

func (m *machine) restore(t *rapid.T) {
	e := m.drawEntry(t)
	err := m.node.Restore(m.node.ctx, "local", e.ID, "a test")
	if err == nil {
		e.Status = storage.Active
	} else if e.Status == storage.Active {
		t.Fatalf("restore what is active: %v", err)
	}
}

// restart puts a new matcher on the same catalogue.
func (m *machine) restart(*rapid.T) {
	m.node.stop()
	m.node = follow(m.t, m.node.catalogue, matcher.Options{Patience: patience})
	must(m.t, m.node.Follower().Await(m.node.ctx, uint64(len(m.node.changes()))))
}

func (m *machine) check(t *rapid.T) {
	var q matcher.Question
	var queries []hashing.Signal
	if rapid.Bool().Draw(t, "media") {
		q.Media = media(rapid.SampledFrom(machineMedia).Draw(t, "media"))
		queries = q.Media.Digests()
		if p, err := pictures.Picture(m.node.ctx, q.Media.Data); err == nil {
			for _, q := range p.Queries {
				queries = append(queries, q.Signal)
			}
		}
	} else {
		q.Signals = machineSignals(t)
		for _, s := range q.Signals {
			if s.Algorithm != hashing.PDQ {
				queries = append(queries, s)
				continue
			}
			for _, h := range pdq.DihedralOf(pdq.Hash(s.Value)) {
				s.Value = hashing.Value(h)
				queries = append(queries, s)
			}
		}
	}
	if rapid.Bool().Draw(t, "some banks") {
		q.Banks = rapid.SliceOfN(rapid.SampledFrom(machineNames), 1, 2).Draw(t, "banks")
	}
	v, err := m.node.Check(m.node.ctx, q)
	if slices.ContainsFunc(q.Banks, func(name string) bool { return m.bankNamed(name) == nil }) {
		wantErr(m.t, err, matcher.ErrUnknownBank)
		return
	}
	want := m.expect(queries, q.Banks)
	if _, bad := hashing.AsMediaError(err); bad && len(want) == 0 && q.Media != nil {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	got := map[storage.EntryID]string{}
	level, action := matcher.None, matcher.NoAction
	for _, f := range v.Matches {
		got[f.Entry] = fmt.Sprintf("%s %s %s", f.Level, f.Action, evidence(f.All))
		level, action = max(level, f.Level), max(action, f.Action)
	}
	if !maps.Equal(got, want) || v.MatchesTotal != len(want) {
		t.Fatalf("%d matches:\n%v\nwant\n%v", v.MatchesTotal, got, want)
	}
	if v.Level != level || v.Action != action || v.IndexSeq != uint64(len(m.node.changes())) {
		t.Fatalf("level %s, action %s at %d of matches %v", v.Level, v.Action, v.IndexSeq, got)
	}
}

// expect compares all queries with all signals of all entries.
func (m *machine) expect(queries []hashing.Signal, banks []string) map[storage.EntryID]string {
	found := map[storage.EntryID]string{}
	for _, e := range m.entries {
		b := m.bankOf(e)
		if e.Status != storage.Active || b.deleted > 0 || banks != nil && !slices.Contains(banks, b.name) {
			continue
		}
		best := map[hashing.Algorithm]int{}
		for _, s := range e.Signals {
			for _, q := range queries {
				radius, ok := b.radius[s.Algorithm]
				if s.Algorithm.Exact() {
					ok = true
				}
				distance, err := s.Distance(q)
				if err != nil || !ok || distance > radius {
					continue
				}
				if old, ok := best[s.Algorithm]; !ok || distance < old {
					best[s.Algorithm] = distance
				}
			}
		}
		if len(best) == 0 {
			continue
		}
		level, action := "review", b.action
		for a := range best {
			if a == hashing.PDQ || a.Exact() {
				level = "match"
			}
		}
		if level == "review" && (action == "hold" || action == "block") {
			action = "review"
		}
		found[e.ID] = fmt.Sprintf("%s %s %s", level, action, distances(best))
	}
	return found
}

func evidence(all []matcher.Evidence) string {
	best := map[hashing.Algorithm]int{}
	for _, e := range all {
		best[e.Algorithm] = e.Distance
	}
	return distances(best)
}

func distances(best map[hashing.Algorithm]int) (text string) {
	for _, a := range slices.Sorted(maps.Keys(best)) {
		text += fmt.Sprintf(" %s:%d", a, best[a])
	}
	return text
}

// TestMachine lives through random histories, and compares every check with a search by brute force.
func TestMachine(t *testing.T) {
	t.Parallel()
	for name, open := range catalogues {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				c := open(t)
				defer c.Close()
				m := &machine{t: t, node: follow(t, c, matcher.Options{Patience: patience})}
				defer func() { m.node.stop() }()
				must(t, m.node.Follower().Await(m.node.ctx, 0))
				rt.Repeat(map[string]func(*rapid.T){
					"":             m.check,
					"create bank":  m.createBank,
					"change bank":  m.changeBank,
					"delete bank":  m.deleteBank,
					"restore bank": m.restoreBank,
					"flag media":   m.flagMedia,
					"flag signals": m.flagSignals,
					"flag more":    m.flagSignals,
					"retract":      m.retract,
					"restore":      m.restore,
					"restart":      m.restart,
				})
			})
		})
	}
}
