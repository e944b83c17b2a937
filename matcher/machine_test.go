package matcher_test

import (
	"context"
	"fmt"
	"image"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"vigie/hashing"
	"vigie/hashing/fingerprint"
	"vigie/hashing/pdq"
	"vigie/index"
	"vigie/matcher"
	"vigie/storage"
)

// machine is a node, and beside it what its catalogue should hold.
type machine struct {
	t     *testing.T
	node  *node
	index *index.Index // of the node
	dir   string       // where it is saved, now and then
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
	vote    storage.SecondVote
}

var (
	// Few pictures, two of them near each other, and signals around few centres: everything meets.
	machineMedia   = [][]byte{pngOf(drawn(1)), jpegOf(drawn(1), 50), pngOf(drawn(2)), graphic(drawn(1)), []byte("no picture")}
	machineCentres = centres(pngOf(drawn(1)), pngOf(drawn(2)))
	machineNames   = []string{"a", "b", "c"}
	machineActions = []string{"log", "label", "redirect", "review", "hold", "block"}
)

// graphic is a picture that the hasher calls a graphic.
func graphic(img *image.Gray) []byte {
	p, err := pictures.Picture(context.Background(), pngOf(img))
	if err != nil {
		panic(err)
	}
	p.Graphic = true
	for i := range p.Queries {
		p.Queries[i].Graphic = true
	}
	return pictures.invent("a graphic", p)
}

// centres are signals around which others are drawn: two of each algorithm, and those of pictures.
func centres(pictured ...[]byte) map[hashing.Algorithm][]hashing.Signal {
	all := map[hashing.Algorithm][]hashing.Signal{}
	for _, a := range hashing.Algorithms() {
		all[a] = []hashing.Signal{signal(a, 1), signal(a, 2)}
	}
	for _, data := range pictured {
		p, err := pictures.Picture(context.Background(), data)
		if err != nil {
			panic(err)
		}
		all[hashing.PDQ] = append(all[hashing.PDQ], p.Signals[0])
		for _, s := range fingerprint.Short(p.Thumbs[0], hashing.Identity) {
			all[s.Algorithm] = append(all[s.Algorithm], s)
		}
	}
	return all
}

func machineSignal(t *rapid.T) hashing.Signal {
	a := rapid.SampledFrom(hashing.Algorithms()).Draw(t, "algorithm")
	s := rapid.SampledFrom(machineCentres[a]).Draw(t, "centre")
	if !a.Exact() {
		s = away(s, rapid.SampledFrom([]int{0, 0, 1, 4, 5, 20, 31, 32, 50, 58}).Draw(t, "away"))
		s.Quality = rapid.SampledFrom([]hashing.Quality{hashing.QualityUnknown, 100, 50}).Draw(t, "quality")
		s.Variant = rapid.SampledFrom([]hashing.Variant{hashing.Plain, hashing.Plain, hashing.CLI, hashing.White, hashing.Trimmed}).Draw(t, "variant")
	}
	return s
}

func machineSignals(t *rapid.T) []hashing.Signal {
	if rapid.IntRange(0, 3).Draw(t, "of one picture") > 0 {
		return machinePicture(t)
	}
	return rapid.SliceOfN(rapid.Custom(machineSignal), 1, 3).Draw(t, "signals")
}

// machinePicture is the PDQ of a picture, some bits away, with 64-bit hashes that are near.
func machinePicture(t *rapid.T) (all []hashing.Signal) {
	centre := rapid.IntRange(0, 3).Draw(t, "centre")
	variant := rapid.SampledFrom([]hashing.Variant{hashing.Plain, hashing.Plain, hashing.CLI, hashing.Trimmed}).Draw(t, "variant")
	for _, a := range []hashing.Algorithm{hashing.PDQ, hashing.PHash, hashing.DHash} {
		bits := []int{0, 3, 20, 40, 52}
		if a != hashing.PDQ {
			bits = []int{0, 2, 8, 12}
		}
		s := away(machineCentres[a][centre], rapid.SampledFrom(bits).Draw(t, "away"))
		s.Variant = variant
		if a == hashing.PDQ || rapid.IntRange(0, 3).Draw(t, "hashed") > 0 {
			all = append(all, s)
		}
	}
	return all
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
		if rapid.IntRange(0, 3).Draw(t, "matched") > 1 || a == hashing.PDQ && rapid.Bool().Draw(t, "matched by PDQ") {
			r[a] = rapid.SampledFrom([]int{0, 3, matcher.MaxRadius(a) / 2, matcher.MaxRadius(a)}).Draw(t, "radius")
		}
	}
	return r
}

func drawVote(t *rapid.T) storage.SecondVote {
	return storage.SecondVote{
		Radius:  rapid.SampledFrom([]int{0, 32, 47, 64}).Draw(t, "band"),
		Far:     rapid.SampledFrom([]int{0, 47, 55, 64}).Draw(t, "far"),
		Graphic: rapid.SampledFrom([]int{0, 3, 15, 64}).Draw(t, "graphic"),
		PHash:   rapid.IntRange(0, 16).Draw(t, "phash"),
		DHash:   rapid.IntRange(0, 16).Draw(t, "dhash"),
	}
}

func votes(v storage.SecondVote) matcher.SecondVoteEdit {
	return matcher.SecondVoteEdit{Radius: &v.Radius, Far: &v.Far, PHash: &v.PHash, DHash: &v.DHash, Graphic: &v.Graphic}
}

// same fails if the node's outcome is not the model's.
func same(t *rapid.T, what string, err error, want bool) {
	if (err == nil) != want {
		t.Fatalf("%s: error %v, should it work: %t", what, err, want)
	}
}

func (m *machine) createBank(t *rapid.T) {
	name := drawName(t)
	b := &modelBank{name: name, action: rapid.SampledFrom(machineActions).Draw(t, "action"), radius: drawRadius(t), vote: drawVote(t)}
	got, err := m.node.CreateBank(m.node.ctx, local, matcher.NewBank{BankEdit: matcher.BankEdit{Name: &name, Action: &b.action, Link: ptr(help), Radius: ptr(maps.Clone(b.radius)), SecondVote: votes(b.vote)}})
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
	action, radius, vote, name := b.action, b.radius, b.vote, b.name
	if rapid.Bool().Draw(t, "edit action") {
		action = rapid.SampledFrom(machineActions).Draw(t, "action")
		edit.Action = &action
	}
	if rapid.Bool().Draw(t, "edit radius") {
		radius = drawRadius(t)
		edit.Radius = ptr(maps.Clone(radius))
	}
	if rapid.Bool().Draw(t, "edit vote") {
		vote = drawVote(t)
		edit.SecondVote = votes(vote)
	}
	if rapid.IntRange(0, 3).Draw(t, "edit name") == 0 {
		name = drawName(t)
		edit.Name = &name
	}
	owner := m.bankNamed(name)
	_, err := m.node.ChangeBank(m.node.ctx, local, b.name, edit)
	same(t, "change bank", err, owner == nil || owner == b)
	if err == nil {
		b.action, b.radius, b.vote, b.name = action, radius, vote, name
	}
}

func (m *machine) deleteBank(t *rapid.T) {
	name := drawName(t)
	b := m.bankNamed(name)
	_, err := m.node.DeleteBank(m.node.ctx, local, name)
	same(t, "delete bank", err, b != nil)
	if b != nil {
		b.deleted = len(m.node.changes())
	}
}

func (m *machine) restoreBank(t *rapid.T) {
	name := drawName(t)
	_, err := m.node.RestoreBank(m.node.ctx, local, name)
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
	must(m.t, m.node.Retract(m.node.ctx, local, e.ID, "a test"))
	e.Status = storage.Retracted
}

func (m *machine) restore(t *rapid.T) {
	e := m.drawEntry(t)
	err := m.node.Restore(m.node.ctx, local, e.ID, "a test")
	if err == nil {
		e.Status = storage.Active
	} else if e.Status == storage.Active {
		t.Fatalf("restore what is active: %v", err)
	}
}

// save saves the index as it is.
func (m *machine) save(t *rapid.T) {
	if rapid.IntRange(0, 4).Draw(t, "save") > 0 {
		t.Skip("it waits for the disk each time")
	}
	seq, err := m.node.Follower().Save(m.node.ctx, m.dir)
	must(m.t, err)
	equal(m.t, seq, uint64(len(m.node.changes())))
}

// restart puts a new matcher on the same catalogue, with the index that was saved last or with none.
func (m *machine) restart(t *rapid.T) {
	m.node.stop()
	m.index = index.New(index.Options{})
	if rapid.Bool().Draw(t, "with the saved index") {
		var err error
		m.index, err = matcher.OpenIndex(m.node.ctx, m.node.catalogue, m.dir, index.Options{})
		must(m.t, err)
	}
	m.node = followWith(m.t, m.node.catalogue, m.index, matcher.Options{Patience: patience})
	must(m.t, m.node.Follower().Await(m.node.ctx, uint64(len(m.node.changes()))))
}

func (m *machine) check(t *rapid.T) {
	var q matcher.Question
	var queries []machineQuery
	if rapid.Bool().Draw(t, "media") {
		q.Media = media(rapid.SampledFrom(machineMedia).Draw(t, "media"))
		for _, s := range q.Media.Digests() {
			queries = append(queries, machineQuery{signal: s})
		}
		if p, err := pictures.Picture(m.node.ctx, q.Media.Data); err == nil {
			queries = append(queries, queriesOf(p)...)
		}
	} else {
		q.Signals, q.Band = machineSignals(t), rapid.IntRange(0, 3).Draw(t, "band") > 0
		for _, s := range q.Signals {
			if s.Algorithm != hashing.PDQ {
				queries = append(queries, machineQuery{signal: s})
				continue
			}
			for i, h := range pdq.DihedralOf(pdq.Hash(s.Value)) {
				query := machineQuery{signal: s, band: q.Band}
				query.signal.Value = hashing.Value(h)
				for _, v := range q.Signals {
					if i == 0 && v.Variant == s.Variant {
						query.short = append(query.short, v)
					}
				}
				queries = append(queries, query)
			}
		}
	}
	if rapid.IntRange(0, 5).Draw(t, "some banks") == 0 {
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

// machineQuery is a query with all that the rule looks at.
type machineQuery struct {
	signal        hashing.Signal
	inverted      bool
	band, graphic bool
	short         []hashing.Signal // of the same rendering, under the same transform
}

func queriesOf(p hashing.Picture) (all []machineQuery) {
	for _, q := range p.Queries {
		m := machineQuery{signal: q.Signal, inverted: q.Transform == hashing.Inverted, band: true, graphic: q.Graphic}
		for _, t := range p.Thumbs {
			if t.Variant == q.Signal.Variant {
				m.short = append(m.short, fingerprint.Short(t, q.Transform)...)
			}
		}
		all = append(all, m)
	}
	for _, t := range p.Thumbs {
		if t.Variant == hashing.Plain {
			for _, s := range fingerprint.Short(t, hashing.Identity) {
				all = append(all, machineQuery{signal: s})
			}
		}
	}
	return all
}

// level is what a query and a stored signal of the same algorithm make of an entry of the bank. It is
// the rule, written once more as one reads it.
func (b *modelBank) level(q machineQuery, s hashing.Signal, entry []hashing.Signal) matcher.Level {
	distance := s.Value.Distance(q.signal.Value)
	radius, searched := b.radius[s.Algorithm]
	tight := q.graphic && b.vote.Graphic > 0
	v := q.signal.Variant
	votable := !q.inverted && (v == hashing.Plain || v == hashing.Trimmed || v == hashing.Framed)
	switch {
	case s.Algorithm.Exact() && distance == 0:
		return matcher.Match
	case s.Algorithm.Exact() || !searched:
		return matcher.None
	case s.Algorithm != hashing.PDQ && distance <= radius:
		return matcher.Review
	case s.Algorithm != hashing.PDQ:
		return matcher.None
	case distance <= radius && (!tight || distance <= b.vote.Graphic):
		return matcher.Match
	case distance > radius && (!votable || !q.band || tight || distance > max(b.vote.Radius, b.vote.Far)):
		return matcher.None
	case !votable:
		return matcher.Review
	}
	row := s.Variant
	if row == hashing.CLI {
		row = hashing.Plain
	}
	agree := map[hashing.Algorithm]bool{}
	for _, mine := range q.short {
		for _, theirs := range entry {
			near := map[hashing.Algorithm]int{hashing.PHash: b.vote.PHash, hashing.DHash: b.vote.DHash}
			limit, can := near[mine.Algorithm]
			if can && theirs.Algorithm == mine.Algorithm && theirs.Variant == row && mine.Value.Distance(theirs.Value) <= limit {
				agree[mine.Algorithm] = true
			}
		}
	}
	agreed := len(agree) == 2 || len(agree) == 1 && !tight
	switch far := distance > max(radius, b.vote.Radius); {
	case far && !agreed:
		return matcher.None
	case far || !agreed:
		return matcher.Review
	}
	return matcher.Likely
}

// expect compares all queries with all signals of all entries.
func (m *machine) expect(queries []machineQuery, banks []string) map[storage.EntryID]string {
	found := map[storage.EntryID]string{}
	for _, e := range m.entries {
		b := m.bankOf(e)
		if e.Status != storage.Active || b.deleted > 0 || banks != nil && !slices.Contains(banks, b.name) {
			continue
		}
		best := map[hashing.Algorithm]matcher.Evidence{}
		for _, s := range e.Signals {
			for _, q := range queries {
				if q.signal.Algorithm != s.Algorithm {
					continue
				}
				now := matcher.Evidence{Level: b.level(q, s, e.Signals), Distance: s.Value.Distance(q.signal.Value)}
				old := best[s.Algorithm]
				if now.Level > old.Level || now.Level == old.Level && now.Distance < old.Distance {
					best[s.Algorithm] = now
				}
			}
		}
		level := matcher.None
		for a, e := range best {
			if level = max(level, e.Level); e.Level == matcher.None {
				delete(best, a)
			}
		}
		if level == matcher.None {
			continue
		}
		action := b.action
		switch {
		case level == matcher.Likely && action == "block":
			action = "hold"
		case level == matcher.Review && (action == "hold" || action == "block"):
			action = "review"
		}
		found[e.ID] = fmt.Sprintf("%s %s %s", level, action, evidenceText(best))
	}
	return found
}

func evidence(all []matcher.Evidence) string {
	best := map[hashing.Algorithm]matcher.Evidence{}
	for _, e := range all {
		best[e.Algorithm] = e
	}
	return evidenceText(best)
}

func evidenceText(best map[hashing.Algorithm]matcher.Evidence) (text string) {
	for _, a := range slices.Sorted(maps.Keys(best)) {
		text += fmt.Sprintf(" %s:%d:%s", a, best[a].Distance, best[a].Level)
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
				m := &machine{t: t, index: index.New(index.Options{}), dir: t.TempDir()}
				m.node = followWith(t, c, m.index, matcher.Options{Patience: patience})
				defer func() { m.node.stop() }()
				must(t, m.node.Follower().Await(m.node.ctx, 0))
				m.createBank(rt)
				m.flagSignals(rt)
				rt.Repeat(map[string]func(*rapid.T){
					"":             func(rt *rapid.T) { m.check(rt); m.check(rt) },
					"create bank":  m.createBank,
					"change bank":  m.changeBank,
					"delete bank":  m.deleteBank,
					"restore bank": m.restoreBank,
					"flag media":   m.flagMedia,
					"flag signals": m.flagSignals,
					"flag more":    m.flagSignals,
					"retract":      m.retract,
					"restore":      m.restore,
					"save":         m.save,
					"restart":      m.restart,
				})
			})
		})
	}
}
