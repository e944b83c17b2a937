package matcher_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
)

// world is a node with several parties. Each is acted for by two people. What is done is told in words.
type world struct {
	*node
	down    *faulty
	parties map[string]storage.PartyID
	owners  map[string]string // of banks
	flagged map[string]storage.EntryID
	told    strings.Builder
}

// upload is what is checked, if nothing else is said: entries lie at distances from it.
var upload = signal(hashing.PDQ, 1)

func newWorld(t testing.TB, o matcher.Options) *world {
	return worldOver(t, catalogues["memory"](t), o)
}

func worldOver(t testing.TB, c storage.Catalogue, o matcher.Options) *world {
	w := &world{
		down: &faulty{Catalogue: c}, parties: map[string]storage.PartyID{"operator": storage.Operator},
		owners: map[string]string{}, flagged: map[string]storage.EntryID{},
	}
	w.node = start(t, w.down, o)
	return w
}

// overWorlds runs a test over each storage.
func overWorlds(t *testing.T, o matcher.Options, test func(*testing.T, *world)) {
	for name, open := range catalogues {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, worldOver(t, open(t), o))
		})
	}
}

func (w *world) say(format string, words ...any) {
	fmt.Fprintf(&w.told, "  "+format+"\n", words...)
}

// who acts for a party, which is made when it is first named; colleague is another person of it.
func (w *world) who(party string) matcher.Principal {
	w.t.Helper()
	if _, ok := w.parties[party]; !ok {
		p, err := w.CreateParty(w.ctx, local, matcher.PartyEdit{Name: &party})
		must(w.t, err)
		w.parties[party] = p.ID
	}
	return matcher.Principal{Actor: party, Party: w.parties[party], Role: storage.Analyst}
}

func (w *world) colleague(party string) matcher.Principal {
	w.t.Helper()
	p := w.who(party)
	p.Actor += "'s colleague"
	return p
}

// bank makes a bank of a party.
func (w *world) bank(owner, name string, n matcher.NewBank) storage.Bank {
	w.t.Helper()
	w.say("%s has the bank %s: %s", owner, name, bankWords(n))
	for _, m := range value(n.Members) {
		w.who(m)
	}
	n.Name = &name
	b, err := w.CreateBank(w.ctx, w.who(owner), n)
	must(w.t, err)
	w.owners[name] = owner
	return b
}

// shared is a bank that every party may read.
func shared(action string, edits ...func(*matcher.NewBank)) matcher.NewBank {
	n := matcher.NewBank{BankEdit: matcher.BankEdit{Action: &action, Open: ptr(true)}}
	for _, edit := range edits {
		edit(&n)
	}
	return n
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func bankWords(n matcher.NewBank) string {
	words := []string{value(n.Action)}
	add := func(is bool, format string, values ...any) {
		if is {
			words = append(words, fmt.Sprintf(format, values...))
		}
	}
	add(n.Kind != "", "%s", n.Kind)
	add(n.Link != nil, "link %s", value(n.Link))
	add(n.Radius != nil, "radius %s", radiusWords(value(n.Radius)))
	add(n.SecondVote.Radius != nil, "second vote to %d", value(n.SecondVote.Radius))
	add(n.EnabledRatio != nil, "ratio %v", value(n.EnabledRatio))
	add(n.MinQuality != nil, "quality %d or more", value(n.MinQuality))
	add(n.Flood != nil, "at most %d contents an hour", value(n.Flood))
	add(value(n.Dual), "dual control")
	add(value(n.Open), "open")
	add(n.Members != nil, "members %s", strings.Join(value(n.Members), ", "))
	return strings.Join(slices.DeleteFunc(words, func(s string) bool { return s == "" }), ", ")
}

func radiusWords(r radii) string {
	var words []string
	for _, a := range slices.Sorted(maps.Keys(r)) {
		words = append(words, fmt.Sprintf("%s %d", a, r[a]))
	}
	return strings.Join(words, ", ")
}

// subscribe says what a party makes of a bank.
func (w *world) subscribe(party, bank string, edit matcher.SubscriptionEdit) {
	w.t.Helper()
	words := ""
	if edit.On != nil && !*edit.On {
		words += ", off"
	}
	if edit.Action != nil {
		words += ", action " + cmp.Or(*edit.Action, "not said")
	}
	if edit.Link != nil {
		words += ", link " + *edit.Link
	}
	if edit.Cap != nil {
		words += ", capped to " + cmp.Or(radiusWords(*edit.Cap), "nothing")
	}
	w.say("%s subscribes to %s%s", party, bank, words)
	_, err := w.Subscribe(w.ctx, w.who(party), bank, edit)
	must(w.t, err)
}

// entry flags something for the owner of a bank, and a colleague confirms it if that is needed.
func (w *world) entry(bank, name, words string, f matcher.Flagging) storage.EntryID {
	w.t.Helper()
	id := w.propose(bank, name, words, f)
	if w.entryOf(name).Status == storage.Proposed {
		must(w.t, w.Confirm(w.ctx, w.colleague(w.owners[bank]), id))
	}
	return id
}

func (w *world) propose(bank, name, words string, f matcher.Flagging) storage.EntryID {
	w.t.Helper()
	labels := ""
	if f.Labels != nil {
		labels = ", labelled " + strings.Join(f.Labels, ", ")
	}
	w.say("%s has %s: %s%s", bank, name, words, labels)
	f.Bank, f.Who, f.DespiteKnownGood = bank, w.who(w.owners[bank]), true
	out, err := w.Flag(w.ctx, f)
	must(w.t, err)
	w.flagged[name] = out.Entry.ID
	return out.Entry.ID
}

// at is an entry some bits from the upload.
func (w *world) at(bank, name string, distance int, labels ...string) storage.EntryID {
	w.t.Helper()
	return w.entry(bank, name, fmt.Sprintf("pdq %d away", distance), matcher.Flagging{
		Signals: []hashing.Signal{away(upload, distance)}, Labels: labels,
	})
}

// of is an entry of some signals.
func (w *world) of(bank, name, words string, signals ...hashing.Signal) storage.EntryID {
	w.t.Helper()
	return w.entry(bank, name, words, matcher.Flagging{Signals: signals})
}

// entryOf is the entry of a name, as its bank's owner reads it.
func (w *world) entryOf(name string) storage.Entry {
	w.t.Helper()
	e, _, err := w.Entry(w.ctx, local, w.flagged[name])
	must(w.t, err)
	return e
}

// do does something that it says in words.
func (w *world) do(words string, err error) {
	w.t.Helper()
	w.say("%s", words)
	must(w.t, err)
}

func (w *world) opine(party, entry string, s storage.Stance) {
	w.t.Helper()
	w.do(fmt.Sprintf("%s says of %s: %s", party, entry, s), w.Opine(w.ctx, w.who(party), w.flagged[entry], s, "a test"))
}

// ask is a question of a party about the upload.
func (w *world) ask(party string, signals ...hashing.Signal) matcher.Question {
	if len(signals) == 0 {
		signals = []hashing.Signal{upload}
	}
	return matcher.Question{Who: w.who(party), Signals: signals}
}

// asks checks, and tells question and verdict.
func (w *world) asks(party, about string, q matcher.Question) matcher.Verdict {
	w.t.Helper()
	q.Who = w.who(party)
	if q.Signals == nil {
		q.Signals = []hashing.Signal{upload}
	}
	if about != "" {
		about = " " + about
	}
	v := w.check(q)
	w.say("-> %s checks%s: %s", party, about, w.verdictWords(v))
	return v
}

func (w *world) verdictWords(v matcher.Verdict) string {
	text := fmt.Sprintf("%s, %s", v.Level, v.Action)
	if v.Link != "" {
		text += " to " + v.Link
	}
	text += fmt.Sprintf(" (banks asked: %d)", v.Banks)
	if len(v.Skipped) > 0 {
		text += "; skipped: " + strings.Join(v.Skipped, ", ")
	}
	if v.Unexplained {
		text += "; unexplained"
	}
	for _, f := range v.Matches {
		text += fmt.Sprintf("\n       %s of %s: %s by %s %d", w.nameOf(f.Entry), f.Bank.Name, f.Level, f.Algorithm, f.Distance)
		if !f.Algorithm.Exact() {
			text += fmt.Sprintf("/%d", f.Radius)
		}
		text += ", " + f.Action.String()
		if len(f.Limits) > 0 {
			text += "; limited by " + strings.Join(f.Limits, ", ")
		}
		if s := f.SuppressedBy; s != nil {
			text += fmt.Sprintf("; suppressed by %s of %s, %s %d", w.nameOf(s.Entry), s.Bank, s.Algorithm, s.Distance)
		}
		if len(f.Labels) > 0 {
			text += "; labels " + strings.Join(f.Labels, ", ")
		}
		if f.Tally.Standing != matcher.Seed && !v.Unexplained {
			text += fmt.Sprintf("; %s (%d agree, %d disagree, %d saw it)", f.Tally.Standing, f.Tally.Agree, f.Tally.Disagree, f.Tally.Saw)
		}
		if f.Flooded {
			text += "; flooded"
		}
	}
	return text
}

func (w *world) nameOf(id storage.EntryID) string {
	for name, of := range w.flagged {
		if of == id {
			return name
		}
	}
	return fmt.Sprint(id)
}
