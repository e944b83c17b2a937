package matcher_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/index"
	"vigie/matcher"
	"vigie/storage"
)

// flagList flags a list into a bank, and says in a word each what became of its entries.
func (n *node) flagList(who matcher.Principal, bank string, o matcher.ListOptions, items ...matcher.Listed) []string {
	n.t.Helper()
	out, seq, err := n.FlagList(n.ctx, who, bank, items, o)
	must(n.t, err)
	if head := uint64(len(n.changes())); seq > head || !o.DryRun && seq > 0 && seq != head {
		n.t.Errorf("the last change is %d, the list says %d", head, seq)
	}
	must(n.t, n.Await(n.ctx, seq))
	return outcomes(out)
}

func outcomes(out []matcher.ListedOutcome) (words []string) {
	for _, o := range out {
		var input *matcher.InputError
		var poor *matcher.UnhashableError
		word := "sourced"
		switch {
		case errors.As(o.Err, &input):
			word = input.Field
		case errors.As(o.Err, &poor):
			word = string(poor.Reason)
		case errors.Is(o.Err, matcher.ErrKnownGood):
			word = "known-good"
		case errors.Is(o.Err, matcher.ErrTakenBack):
			word = "taken-back"
		case o.Err != nil:
			word = o.Err.Error()
		case o.Same:
			word = "same"
		case o.Created:
			word = "created"
		}
		if o.Err != nil && o.Entry != 0 {
			word += " and an entry"
		}
		words = append(words, word)
	}
	return words
}

// listed is an entry of a list of signals.
func listed(signals ...hashing.Signal) matcher.Listed {
	return matcher.Listed{Signals: signals, Source: storage.Source{List: "a list"}}
}

func TestFlagList(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		old := n.flag(matcher.Flagging{Signals: []hashing.Signal{signal(hashing.PDQ, 1)}, Note: "old", Labels: []string{"old"}}).Entry
		foreign := func(i matcher.Listed, id string) matcher.Listed { i.Source.Foreign = id; return i }
		at := time.Date(2024, 2, 29, 12, 0, 0, 123_000_000, time.UTC)
		whole := matcher.Listed{
			Signals: []hashing.Signal{signal(hashing.PDQ, 2), signal(hashing.MD5, 2)}, Labels: []string{"tlp:amber", "b", "a", "b"}, Note: "note",
			Media:  storage.MediaInfo{Format: "jpeg", Width: 3, Height: 4, Bytes: 5, Kept: true},
			Source: storage.Source{Actor: "not for the list to say", Origin: "origin", List: "a list", Foreign: "17", At: at},
		}
		digest := matcher.Listed{Signals: []hashing.Signal{signal(hashing.MD5, 9)}, ExactOnly: true}
		items := []matcher.Listed{
			whole,
			listed(signal(hashing.PDQ, 1), signal(hashing.MD5, 1)), // the bank has it, without the MD5
			whole,
			foreign(whole, "18"),
			digest,
			listed(signal(hashing.PDQ, 3), signal(hashing.PDQ, 3)),
		}
		equal(t, n.flagList(someone, "bank", matcher.ListOptions{}, items...), []string{"created", "sourced", "same", "sourced", "created", "created"})
		equal(t, n.kinds(), []storage.Kind{
			storage.EntryAdded, storage.EntryAdded, storage.EntrySourced, storage.EntrySourced, storage.EntryAdded, storage.EntryAdded,
		})

		e := n.entry(old.ID)
		equal(t, []any{e.Signals, e.Labels, e.Note, len(e.Sources), e.Sources[1].List}, []any{items[1].Signals, []string{"old"}, "old", 2, "a list"})
		e = n.entry(old.ID + 1)
		e.CreatedAt, e.Seq, e.Sources[1].At = time.Time{}, 0, time.Time{}
		equal(t, e, storage.Entry{
			ID: old.ID + 1, Bank: 1, Status: storage.Active, Labels: []string{"a", "b", "tlp:amber"}, Note: "note", Signals: whole.Signals,
			Media: storage.MediaInfo{Format: "jpeg", Width: 3, Height: 4, Bytes: 5},
			Sources: []storage.Source{
				{Actor: "someone", Origin: "origin", List: "a list", Foreign: "17", At: at},
				{Actor: "someone", Origin: "origin", List: "a list", Foreign: "18"},
			},
		})
		equal(t, n.entry(old.ID+2).ExactOnly, true)
		equal(t, len(n.entry(old.ID+3).Signals), 1)
		equal(t, matched(n.checkSignals(signal(hashing.MD5, 1))), []storage.EntryID{old.ID})
		equal(t, matched(n.checkSignals(away(signal(hashing.PDQ, 2), 20))), []storage.EntryID{old.ID + 1})

		before := len(n.changes()) // and all of it again: nothing is new
		equal(t, n.flagList(someone, "bank", matcher.ListOptions{}, items...), slices.Repeat([]string{"same"}, len(items)))
		equal(t, len(n.changes()), before)
	})
}

// Each bad entry is left out with its reason; those around it are stored.
func TestFlagListBadEntries(t *testing.T) {
	t.Parallel()
	good := func(i int) matcher.Listed { return listed(signal(hashing.MD5, uint64(i))) }
	edited := func(edit func(*matcher.Listed)) matcher.Listed {
		i := listed(signal(hashing.PDQ, 1000))
		edit(&i)
		return i
	}
	other := signal(hashing.PDQ, 1001)
	other.Version++
	dim, frame := signal(hashing.PDQ, 1002), signal(hashing.PDQ, 1003)
	dim.Quality, frame.Quality, frame.Time = 49, 10, 1000
	late := at(signal(hashing.PDQ, 1004), 1<<31)
	wrong := signal(hashing.PDQ, 1005)
	wrong.Quality = 101
	bad := []struct {
		want string
		item matcher.Listed
	}{
		{"signals", matcher.Listed{}},
		{"signals", listed(other)},
		{"signals", listed(wrong)},
		{"signals", listed(late)},
		{"signals", listed(slices.Repeat([]hashing.Signal{signal(hashing.MD5, 5)}, 65)...)},
		{"low-quality", listed(dim)},
		{"low-quality", listed(frame)},
		{"labels", edited(func(i *matcher.Listed) { i.Labels = []string{"Capital"} })},
		{"note", edited(func(i *matcher.Listed) { i.Note = strings.Repeat("n", 10_001) })},
		{"origin", edited(func(i *matcher.Listed) { i.Source.Origin = strings.Repeat("n", 2001) })},
		{"source", edited(func(i *matcher.Listed) { i.Source.List = strings.Repeat("n", 201) })},
		{"foreign_id", edited(func(i *matcher.Listed) { i.Source.Foreign = strings.Repeat("n", 201) })},
		{"format", edited(func(i *matcher.Listed) { i.Media.Format = strings.Repeat("n", 65) })},
		{"exact_only", edited(func(i *matcher.Listed) { i.ExactOnly = true })},
	}
	overEach(t, func(t *testing.T, n *node) {
		var items []matcher.Listed
		var want []string
		for i, b := range bad {
			items, want = append(items, good(i), b.item), append(want, "created", b.want)
		}
		equal(t, n.flagList(local, "bank", matcher.ListOptions{}, items...), want)
		equal(t, len(n.kinds()), len(bad))
		for i := range bad {
			equal(t, len(n.checkSignals(signal(hashing.MD5, uint64(i))).Matches), 1)
		}
		_, _, err := n.FlagList(n.ctx, local, "bank", make([]matcher.Listed, 1001), matcher.ListOptions{})
		wantInput(t, err, "entries")
	})
}

// Labels that the vocabulary does not know as others use them are kept in the note: the entry is not lost for them.
func TestFlagListLabels(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for i, c := range []struct{ labels, note, fit, want string }{
		{"b severity:3 a tlp:amber", "n", "a b severity:3 tlp:amber", "n"},
		{"tlp:amber-strict ideology:far-right ideology:islamist", "", "ideology:far_right ideology:islamist tlp:amber_strict", ""},
		{"severity:severe x confidence:101", "n", "x", "n\nlabels: severity:severe confidence:101"},
		{"tlp:red tlp:green tlp:red severity", "", "severity tlp:red", "labels: tlp:green"},
		{"tlp:white behavior:graphic-violence severity:high", "", "behaviour:graphic_violence tlp:clear", "labels: severity:high"},
		{"severity:high", strings.Repeat("n", 9990), "", strings.Repeat("n", 9990) + "\nlabels..."},
		{"severity:high", strings.Repeat("n", 9999), "", strings.Repeat("n", 9999)},
	} {
		item := listed(signal(hashing.MD5, uint64(i)))
		item.Labels, item.Note = strings.Fields(c.labels), c.note
		equal(t, n.flagList(local, "bank", matcher.ListOptions{}, item), []string{"created"})
		e := n.entry(storage.EntryID(i + 1))
		equal(t, []string{strings.Join(e.Labels, " "), e.Note}, []string{c.fit, c.want})
		equal(t, n.flagList(local, "bank", matcher.ListOptions{}, item), []string{"same"})
	}
}

// Labels that end in the note are counted.
func TestFlagListCountsLabels(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	a, b := listed(signal(hashing.MD5, 1)), listed(signal(hashing.MD5, 2))
	a.Labels = []string{"severity:high", "tlp:amber-strict", "confidence:101"}
	for _, dry := range []bool{true, false} {
		out, _, err := n.FlagList(n.ctx, local, "bank", []matcher.Listed{a, b}, matcher.ListOptions{DryRun: dry})
		must(t, err)
		equal(t, []int{out[0].Noted, out[1].Noted}, []int{2, 0})
	}
}

// All sources that a list has of an entry are kept, as many as an entry keeps; what is had from all of them is the same.
func TestFlagListSources(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		old := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
		from := func(list, foreign string) storage.Source {
			return storage.Source{List: list, Foreign: foreign, At: old}
		}
		item := listed(signal(hashing.SHA256, 1))
		item.Source, item.More = from("a", "1"), []storage.Source{from("b", "2"), {Origin: "a case"}, from("b", "2")}
		want := slices.Concat([]storage.Source{item.Source}, item.More)
		sources := func() (got []storage.Source) {
			for i, s := range n.entry(1).Sources {
				if s.Actor == "" || s.At.IsZero() {
					t.Errorf("source %d is by %q, at %v", i, s.Actor, s.At)
				}
				if s.Actor = ""; !s.At.Equal(old) {
					s.At = time.Time{}
				}
				s.At = s.At.UTC()
				got = append(got, s)
			}
			return got
		}
		equal(t, n.flagList(local, "bank", matcher.ListOptions{}, item), []string{"created"})
		equal(t, sources(), want)
		equal(t, n.flagList(local, "bank", matcher.ListOptions{}, item), []string{"same"})

		item.More = append(item.More, from("c", "3"), from("d", "4"))
		equal(t, n.flagList(local, "bank", matcher.ListOptions{DryRun: true}, item), []string{"sourced"})
		equal(t, n.flagList(local, "bank", matcher.ListOptions{}, item), []string{"sourced"})
		equal(t, sources(), append(want, from("c", "3"), from("d", "4")))
		equal(t, n.flagList(local, "bank", matcher.ListOptions{}, item), []string{"same"})

		many := listed(signal(hashing.SHA256, 2))
		for i := range 250 {
			many.More = append(many.More, from("many", fmt.Sprint(i)))
		}
		equal(t, n.flagList(local, "bank", matcher.ListOptions{}, many), []string{"created"})
		equal(t, len(n.entry(2).Sources), 200)
		equal(t, n.flagList(local, "bank", matcher.ListOptions{}, many), []string{"same"})
		other := listed(signal(hashing.SHA256, 2))
		other.Source.List = "another list" // for which there is no room
		for _, dry := range []bool{true, false} {
			equal(t, n.flagList(local, "bank", matcher.ListOptions{DryRun: dry}, other), []string{"same"})
		}

		// A source brings signals later: it is there once. It may bring some to an entry that takes no more sources.
		item.Signals = append(item.Signals, signal(hashing.MD5, 3))
		equal(t, n.flagList(local, "bank", matcher.ListOptions{}, item), []string{"sourced"})
		equal(t, sources(), append(want, from("c", "3"), from("d", "4")))
		equal(t, n.entry(1).Signals, item.Signals)
		many.Signals = append(many.Signals, signal(hashing.MD5, 4))
		equal(t, n.flagList(local, "bank", matcher.ListOptions{}, many), []string{"sourced"})
		equal(t, []int{len(n.entry(2).Sources), len(n.entry(2).Signals)}, []int{200, 2})

		// The log has one origin of a row, however many there are.
		for _, s := range []hashing.Signal{signal(hashing.MD5, 5), signal(hashing.SHA256, 1)} {
			long := listed(s)
			for i := range 199 {
				long.More = append(long.More, storage.Source{Origin: fmt.Sprint(i, strings.Repeat("x", 1990))})
			}
			n.flagList(local, "bank", matcher.ListOptions{}, long)
			last := n.changes()[len(n.changes())-1]
			equal(t, string(last.Private), `{"origin":"`+long.More[0].Origin+`"}`)
		}

		many.More[0].Origin = strings.Repeat("x", 2001)
		equal(t, n.flagList(local, "bank", matcher.ListOptions{}, many), []string{"origin"})
	})
}

// A list does not bring back what people have taken back, however often it is read.
func TestFlagListTakenBack(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		items := []matcher.Listed{listed(signal(hashing.PDQ, 1), signal(hashing.MD5, 1)), listed(signal(hashing.PDQ, 2))}
		n.flagList(local, "bank", matcher.ListOptions{}, items...)
		id := matched(n.checkSignals(signal(hashing.PDQ, 1)))[0]
		n.retract(id)
		for _, dry := range []bool{true, false} {
			equal(t, n.flagList(someone, "bank", matcher.ListOptions{DryRun: dry}, items...), []string{"taken-back", "sourced"})
		}
		equal(t, matched(n.checkSignals(signal(hashing.PDQ, 1))), []storage.EntryID(nil))
		n.restore(id)
		equal(t, n.flagList(local, "bank", matcher.ListOptions{}, items...), []string{"same", "same"})
		equal(t, matched(n.checkSignals(signal(hashing.PDQ, 1))), []storage.EntryID{id})
	})
}

func TestFlagListUnderDualControl(t *testing.T) {
	t.Parallel()
	overWorlds(t, matcher.Options{}, func(t *testing.T, w *world) {
		w.bank("platform", "own", dual("block"))
		who, second := w.who("platform"), w.colleague("platform")
		small, large := listed(upload), listed(upload, signal(hashing.MD5, 1))
		entries := func() (all []string) {
			must(t, w.catalogue.View(w.ctx, func(r storage.Reader) error {
				page, err := r.Entries(storage.EntryQuery{Limit: 100})
				for _, e := range page {
					all = append(all, fmt.Sprintf("%d %s, %d signals, %d sources", e.ID, e.Status, len(e.Signals), len(e.Sources)))
				}
				return err
			}))
			return all
		}
		for _, step := range []struct {
			do      func() error
			item    matcher.Listed
			outcome string
			entries []string
		}{
			{nil, small, "created", []string{"1 proposed, 1 signals, 1 sources"}},
			{nil, small, "same", []string{"1 proposed, 1 signals, 1 sources"}},
			{func() error { return w.Confirm(w.ctx, second, 1) }, small, "same", []string{"1 active, 1 signals, 1 sources"}},
			{nil, large, "created", []string{"1 active, 1 signals, 1 sources", "2 proposed, 2 signals, 1 sources"}},
			{nil, large, "same", []string{"1 active, 1 signals, 1 sources", "2 proposed, 2 signals, 1 sources"}},
			{
				func() error { return w.Reject(w.ctx, second, 2, "no") }, large, "taken-back",
				[]string{"1 active, 1 signals, 1 sources", "2 retracted, 2 signals, 1 sources"},
			},
			{nil, small, "same", []string{"1 active, 1 signals, 1 sources", "2 retracted, 2 signals, 1 sources"}},
		} {
			if step.do != nil {
				must(t, step.do())
			}
			if step.outcome != "taken-back" { // what a dry run says comes true
				equal(t, w.flagList(who, "own", matcher.ListOptions{DryRun: true}, step.item), []string{step.outcome})
			}
			equal(t, w.flagList(who, "own", matcher.ListOptions{}, step.item), []string{step.outcome})
			equal(t, entries(), step.entries)
		}
	})
}

// What is near a known-good entry is left out, in the middle of many, unless it is wanted.
func TestFlagListKnownGood(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		_, err := n.CreateBank(n.ctx, local, matcher.NewBank{Kind: storage.KnownGood, BankEdit: matcher.BankEdit{Name: ptr("good")}})
		must(t, err)
		out, err := n.Flag(n.ctx, matcher.Flagging{Bank: "good", Signals: []hashing.Signal{signal(hashing.PDQ, 7)}})
		must(t, err)
		if out.Entry.Status == storage.Proposed {
			must(t, n.Confirm(n.ctx, someone, out.Entry.ID))
		}
		var items []matcher.Listed
		var want []string
		for i := range 600 {
			items, want = append(items, listed(signal(hashing.PDQ, uint64(100+i)), signal(hashing.MD5, uint64(i)))), append(want, "created")
		}
		for _, i := range []int{0, 255, 599} {
			items[i].Signals[0], want[i] = away(signal(hashing.PDQ, 7), 10), "known-good"
		}
		equal(t, n.flagList(local, "bank", matcher.ListOptions{}, items...), want)
		equal(t, n.flagList(local, "bank", matcher.ListOptions{DespiteKnownGood: true}, items[255]), []string{"created"})
	})
}

// A video of a list has the frames that one which is flagged has.
func TestFlagListVideo(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		frames := append([]hashing.Signal{signal(hashing.MD5, 1)}, frames(40, 0)...)
		frames[8].Quality = 20
		n.bank("flags", "block", nil)
		for _, most := range []int{600, 5} {
			for _, bank := range []string{"bank", "flags"} {
				n.changeBank(bank, matcher.BankEdit{MaxFrames: &most})
			}
			flagged := n.flagSignals("flags", frames...).Entry
			equal(t, n.flagList(local, "bank", matcher.ListOptions{}, listed(frames...)), []string{"created"})
			e := n.entry(flagged.ID + 1)
			equal(t, e.Signals, flagged.Signals)
			equal(t, len(e.Signals), min(39, most)+1)
			n.retract(flagged.ID)
			n.retract(e.ID)
			for i := range frames { // another one
				frames[i].Value[0]++
			}
		}
	})
}

// A dry run says what becomes of a list, and stores nothing.
func TestFlagListDryRun(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		n.flagSignals("bank", signal(hashing.PDQ, 1))
		items := []matcher.Listed{listed(signal(hashing.PDQ, 1)), listed(signal(hashing.PDQ, 2)), {}}
		before := n.changes()
		says := n.flagList(local, "bank", matcher.ListOptions{DryRun: true}, items...)
		equal(t, n.changes(), before)
		equal(t, says, []string{"sourced", "created", "signals"})
		equal(t, n.flagList(local, "bank", matcher.ListOptions{}, items...), says)
	})
}

// What stands twice in a list is told by a dry run as it will be: also across its parts, under dual control, and of what the
// bank has already.
func TestFlagListDryRunOfRepetitions(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		_, err := n.CreateBank(n.ctx, local, matcher.NewBank{BankEdit: matcher.BankEdit{Name: ptr("dual"), Dual: ptr(true)}})
		must(t, err)
		n.flagSignals("bank", signal(hashing.PDQ, 1))
		pdq, md5 := func(i uint64) hashing.Signal { return signal(hashing.PDQ, i) }, func(i uint64) hashing.Signal { return signal(hashing.MD5, i) }
		other := listed(pdq(2), md5(2))
		other.Source.List = "another list"
		parts := [][]matcher.Listed{
			{listed(pdq(1)), listed(pdq(1)), listed(pdq(2)), listed(pdq(2)), listed(md5(9))},
			{other, other, listed(md5(9)), listed(pdq(1), md5(1)), listed(pdq(1), md5(1)), listed(md5(1))},
		}
		for _, bank := range []string{"bank", "dual"} {
			before := n.changes()
			var says, want []string
			o := matcher.ListOptions{DryRun: true, Rehearsal: &matcher.Rehearsal{}}
			for _, part := range parts {
				says = append(says, n.flagList(local, bank, o, part...)...)
			}
			equal(t, n.changes(), before)
			for _, part := range parts {
				want = append(want, n.flagList(local, bank, matcher.ListOptions{}, part...)...)
			}
			equal(t, says, want)
			equal(t, o.Rehearsal.Full(), false)
			t.Log(bank, says)
		}
	})
}

// A dry run remembers so much of its list, and says when that is too little.
func TestRehearsalIsBounded(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	o := matcher.ListOptions{DryRun: true, Rehearsal: &matcher.Rehearsal{}}
	frames := func(seed uint64) matcher.Listed {
		item := matcher.Listed{}
		for i := range uint64(9000) {
			s := signal(hashing.PDQ, seed<<32|i)
			s.Time = uint32(1 + i)
			item.Signals = append(item.Signals, s)
		}
		return item
	}
	_, err := n.ChangeBank(n.ctx, local, "bank", matcher.BankEdit{MaxFrames: ptr(10_000)})
	must(t, err)
	last := uint64(0)
	for ; !o.Rehearsal.Full(); last++ {
		if equal(t, n.flagList(local, "bank", o, frames(last)), []string{"created"}); last > 100 {
			t.Fatalf("%d signals, and it is not full", 9000*last)
		}
	}
	if last < 40 {
		t.Errorf("it is full after %d signals", 9000*last)
	}
	equal(t, n.flagList(local, "bank", o, frames(0), frames(last-1)), []string{"same", "created"})

	o.Rehearsal = &matcher.Rehearsal{}
	for i := range uint64(200) {
		item := listed(signal(hashing.MD5, i))
		for range 199 {
			item.More = append(item.More, storage.Source{Origin: strings.Repeat("x", 2000)})
		}
		n.flagList(local, "bank", o, item)
	}
	equal(t, o.Rehearsal.Full(), true)
}

func TestFlagListIsForTheOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, matcher.Options{})
	w.bank("owner", "open", shared("block"))
	w.bank("owner", "closed", matcher.NewBank{})
	for _, items := range [][]matcher.Listed{nil, {listed(upload)}} {
		for _, dry := range []bool{false, true} {
			o := matcher.ListOptions{DryRun: dry}
			_, _, err := w.FlagList(w.ctx, w.who("another"), "open", items, o)
			wantErr(t, err, matcher.ErrForeign)
			_, _, err = w.FlagList(w.ctx, w.who("another"), "closed", items, o)
			wantErr(t, err, matcher.ErrUnknownBank)
			_, _, err = w.FlagList(w.ctx, w.who("owner"), "none", items, o)
			wantErr(t, err, matcher.ErrUnknownBank)
		}
	}
}

// A time that no catalogue can tell from none is none: then it is the present.
func TestFlagListTimes(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		began := time.Now().Add(-time.Second)
		for i, given := range []time.Time{{}, time.Unix(0, 999_999)} {
			item := listed(signal(hashing.MD5, uint64(i)))
			item.Source.At = given
			n.flagList(local, "bank", matcher.ListOptions{}, item)
			if at := n.entry(storage.EntryID(i + 1)).Sources[0].At; at.Before(began) || at.After(time.Now()) {
				t.Errorf("%v became %v", given, at)
			}
		}
	})
}

// counted counts what transactions bring.
type counted struct {
	storage.Catalogue
	changes, signals []int // of each transaction that has any
}

func (c *counted) Update(ctx context.Context, fn func(storage.Writer) error) error {
	w := &countedWriter{}
	err := c.Catalogue.Update(ctx, func(inner storage.Writer) error {
		*w = countedWriter{Writer: inner}
		return fn(w)
	})
	if w.changes > 0 {
		c.changes, c.signals = append(c.changes, w.changes), append(c.signals, w.signals)
	}
	return err
}

type countedWriter struct {
	storage.Writer
	changes, signals int
}

func (w *countedWriter) Append(c *storage.Change) error { w.changes++; return w.Writer.Append(c) }

func (w *countedWriter) CreateEntries(entries []*storage.Entry) error {
	for _, e := range entries {
		w.signals += len(e.Signals)
	}
	return w.Writer.CreateEntries(entries)
}

// A list at once is what its entries are one by one, whichever of them are the same.
func TestFlagListAtOnceOrOneByOne(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		var items []matcher.Listed
		for i := range 30 {
			var signals []hashing.Signal
			for _, a := range []hashing.Algorithm{hashing.PDQ, hashing.SHA256, hashing.MD5} {
				if r.IntN(2) == 0 {
					signals = append(signals, signal(a, 1+r.Uint64N(8)))
				}
			}
			item := listed(append(signals, signal(hashing.MD5, 1+r.Uint64N(8)))...)
			item.Source.Foreign = fmt.Sprint(i % 5)
			items = append(items, item)
		}
		type kept struct {
			Signals []hashing.Signal
			Foreign []string
		}
		run := func(dual bool, at int) (words []string, entries []kept, log []string) {
			n := start(t, catalogues["memory"](t), matcher.Options{Now: func() time.Time { return time.UnixMilli(1) }})
			_, err := n.CreateBank(n.ctx, local, matcher.NewBank{BankEdit: matcher.BankEdit{Name: ptr("bank"), Action: ptr("block"), Dual: &dual}})
			must(t, err)
			for part := range slices.Chunk(items, at) {
				words = append(words, n.flagList(local, "bank", matcher.ListOptions{}, part...)...)
			}
			must(t, n.catalogue.View(n.ctx, func(r storage.Reader) error {
				all, err := r.Entries(storage.EntryQuery{Limit: 1000})
				for _, e := range all {
					k := kept{Signals: e.Signals}
					for _, s := range e.Sources {
						k.Foreign = append(k.Foreign, s.Foreign)
					}
					entries = append(entries, k)
				}
				return err
			}))
			for _, c := range n.changes() {
				log = append(log, fmt.Sprint(c.Kind, c.Entry, string(c.Body)))
			}
			return words, entries, log
		}
		for _, dual := range []bool{false, true} {
			words, entries, log := run(dual, len(items))
			words1, entries1, log1 := run(dual, 1)
			equal(t, words, words1)
			equal(t, entries, entries1)
			equal(t, log, log1)
		}
	}
}

// slow takes its time to read an entry, as a database far away does.
type slow struct{ counted }

func (c *slow) Update(ctx context.Context, fn func(storage.Writer) error) error {
	return c.counted.Update(ctx, func(w storage.Writer) error { return fn(slowWriter{w}) })
}

type slowWriter struct{ storage.Writer }

func (w slowWriter) Entry(id storage.EntryID) (storage.Entry, error) {
	time.Sleep(60 * time.Millisecond)
	return w.Writer.Entry(id)
}

// A transaction of a list takes up no more entries when its time is over, and the next goes on from there.
func TestFlagListOnASlowDatabase(t *testing.T) {
	t.Parallel()
	c := &slow{counted{Catalogue: catalogues["memory"](t)}}
	n := start(t, c, matcher.Options{})
	n.bank("bank", "block", nil)
	var items []matcher.Listed
	for i := range 8 {
		items = append(items, listed(signal(hashing.MD5, uint64(i))))
	}
	n.flagList(local, "bank", matcher.ListOptions{}, items...)
	for i := range items {
		items[i].Source.List = "another" // so that each entry that is there has to be read
	}
	c.changes = nil
	equal(t, n.flagList(local, "bank", matcher.ListOptions{}, items...), slices.Repeat([]string{"sourced"}, len(items)))
	total := 0
	for _, changes := range c.changes {
		if total += changes; changes > 1 { // which reads it twice
			t.Errorf("transactions of %d entries", c.changes)
		}
	}
	equal(t, total, len(items))
}

// Flags wait for one transaction of a list: none begins large, be it of many entries or of large ones.
func TestFlagListInShortTransactions(t *testing.T) {
	t.Parallel()
	c := &counted{Catalogue: catalogues["memory"](t)}
	n := start(t, c, matcher.Options{})
	n.bank("bank", "block", nil)
	var items []matcher.Listed
	for i := range 100 {
		items = append(items, listed(signal(hashing.MD5, uint64(i))))
	}
	for i := range 6 {
		video := frames(100+100*i, 0)
		for f := range video {
			video[f].Value[1] += uint64(i)
		}
		items = append(items, listed(video...))
	}
	c.changes, c.signals = nil, nil
	n.flagList(local, "bank", matcher.ListOptions{}, items...)
	most, entries, signals := 128, 0, 0
	for i := range c.changes {
		if c.signals[i] > most && c.changes[i] > 1 {
			t.Errorf("transactions of %d entries with %d signals", c.changes, c.signals)
		}
		most, entries, signals = min(2*most, 4096), entries+c.changes[i], signals+c.signals[i]
	}
	equal(t, []int{entries, signals}, []int{106, 100 + 100 + 200 + 300 + 400 + 500 + 600})
}

// TestFlagListFull ends when the index has no memory left: what is stored stays, and is told.
// It is not parallel, and nothing is collected: both would change what the process takes.
func TestFlagListFull(t *testing.T) {
	const row, room = 177, 96
	var items []matcher.Listed
	for i := range 2000 {
		items = append(items, listed(signal(hashing.MD5, uint64(i))))
	}
	c := catalogues["sqlite"](t)
	defer c.Close()
	dir := filepath.Join(t.TempDir(), "index")
	n := follow(t, c, matcher.Options{Patience: patience})
	must(t, n.Follower().Await(n.ctx, 0))
	n.bank("bank", "block", nil)
	n.stop()

	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	least := index.New(index.Options{}).Memory().Used()
	limited := index.New(index.Options{MemoryLimit: (least + 1<<20) * 16 / 15})
	n = followWith(t, c, limited, matcher.Options{Patience: patience})
	must(t, n.Follower().Await(n.ctx, 0))
	before := len(n.changes())
	var out []matcher.ListedOutcome
	var err error
	done := 0
	for done < len(items) && err == nil {
		out, _, err = n.FlagList(n.ctx, local, "bank", items[done:min(done+room, len(items))], matcher.ListOptions{})
		done += len(out)
	}
	wantErr(t, err, matcher.ErrFull)
	if stored := len(n.changes()) - before; stored != done || done == len(items) {
		t.Errorf("%d entries are stored, %d are told of, of %d", stored, done, len(items))
	}
	_, _, err = n.FlagList(n.ctx, local, "bank", items[done:done+1], matcher.ListOptions{DryRun: true})
	wantErr(t, err, matcher.ErrFull)
	n.stop()

	x, err := matcher.OpenIndex(t.Context(), c, dir, index.Options{})
	must(t, err)
	n = followWith(t, c, x, matcher.Options{Patience: patience})
	defer n.stop()
	must(t, n.Follower().Await(n.ctx, 0))
	for i := 0; i < len(items); i += 1000 {
		words := n.flagList(local, "bank", matcher.ListOptions{}, items[i:i+1000]...)
		for j, word := range words {
			if want := map[bool]string{true: "same", false: "created"}[i+j < done]; word != want {
				t.Fatalf("entry %d is %s, want %s", i+j, word, want)
			}
		}
	}
	equal(t, len(n.changes()), before+len(items))
}
