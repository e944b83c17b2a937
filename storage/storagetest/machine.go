package storagetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vigie/hashing"
	"vigie/storage"
	"vigie/storage/memory"
)

// testMachine runs random updates on the catalogue and on the reference in memory, with the same clock
// and the same salts: they must agree on every outcome and, at the end, on everything they hold.
func testMachine(t *testing.T, open Open) {
	rapid.Check(t, func(rt *rapid.T) {
		clock := NewClock()
		reference, err := memory.New(storage.Options{Now: clock.Now, Rand: NewRand(7)})
		if err != nil {
			rt.Fatal(err)
		}
		tested := open(t, storage.Options{Now: clock.Now, Rand: NewRand(7)})
		defer tested.Close()
		both := []storage.Catalogue{reference, tested}
		for _, c := range both {
			(&fixture{t, c, t.Context(), clock}).furnish() // so that steps have something to meet
		}

		for range rapid.IntRange(1, 15).Draw(rt, "updates") {
			steps := rapid.SliceOfN(rapid.Custom(drawStep), 1, 6).Draw(rt, "steps")
			fails := rapid.IntRange(0, 4).Draw(rt, "fails") == 0
			clock.Advance(time.Duration(rapid.IntRange(0, 3).Draw(rt, "pass")) * 700 * time.Microsecond)
			clock.Advance(time.Duration(rapid.IntRange(0, 3).Draw(rt, "steps of counters")) * 13 * time.Minute)
			outcomes := make([]string, len(both))
			for i, c := range both {
				rewind := func(error) {}
				if r, can := c.(Rewinder); can {
					rewind = r.Rewind(t)
				}
				err := c.Update(t.Context(), func(w storage.Writer) error {
					for _, s := range steps {
						outcomes[i] += s.run(w, clock.Now()) + "\n"
					}
					if fails {
						return errMeant
					}
					return nil
				})
				outcomes[i] += class(err)
				rewind(err)
			}
			if diff := cmp.Diff(outcomes[0], outcomes[1]); diff != "" {
				rt.Fatalf("outcomes differ (-reference +tested):\n%s", diff)
			}
		}
		if diff := cmp.Diff(Dump(t, reference), Dump(t, tested)); diff != "" {
			rt.Fatalf("states differ (-reference +tested):\n%s", diff)
		}
		if _, err := storage.VerifyLog(t.Context(), tested, nil); err != nil {
			rt.Fatal(err)
		}
	})
}

// Fill brings random steps into a catalogue, some of each kind.
func Fill(t testing.TB, c storage.Catalogue) {
	clock := NewClock()
	(&fixture{t, c, t.Context(), clock}).furnish()
	step := rapid.Custom(drawStep)
	for seed := range 600 {
		s := step.Example(seed)
		err := c.Update(t.Context(), func(w storage.Writer) error {
			if text := s.run(w, clock.Now()); !strings.HasSuffix(text, "ok") {
				return errMeant // a statement may have failed, which takes the update with it
			}
			return nil
		})
		if err != nil && !errors.Is(err, errMeant) && !errors.Is(err, storage.ErrNotFound) {
			t.Fatal(err)
		}
	}
}

// step is one call on a writer. Its numbers choose among few things, so that steps meet; the bits of C choose what a
// query asks for.
type step struct {
	Do      string
	A, B, C int
}

func drawStep(t *rapid.T) step {
	return step{
		Do: rapid.SampledFrom([]string{
			"bank", "rename", "delete", "restore", "entry", "change", "source", "key", "revoke",
			"append", "due", "pend", "live", "sweep", "gone", "read", "extend", "labels",
			"party", "suspend", "subscribe", "overlay", "opinion", "said", "remember", "forget", "number",
			"match", "match", "sign in", "shipped", "decide", "decide", "judged", "disable", "clear", "erase", "expire", "count", "list", "find", "find",
		}).Draw(t, "do"),
		A: rapid.IntRange(1, 4).Draw(t, "a"),
		B: rapid.IntRange(1, 4).Draw(t, "b"),
		C: rapid.IntRange(0, 255).Draw(t, "c"),
	}
}

// bit tells whether a bit of C is set.
func (s step) bit(n int) bool { return s.C>>n&1 == 1 }

// run does the step and tells what came of it.
func (s step) run(w storage.Writer, now time.Time) string {
	result, err := s.catalogue(w)
	if result == nil && err == nil {
		result, err = s.journal(w, now)
	}
	return fmt.Sprintf("%+v: %v, %s", s, result, class(err))
}

// done is the result of a step that has none.
const done = "done"

// catalogue does the steps about what is flagged, and by whom.
func (s step) catalogue(w storage.Writer) (result any, err error) {
	name := fmt.Sprint("name", s.B)
	id := storage.BankID(s.A)
	entry := storage.EntryID(s.A)
	sha := Signal(hashing.SHA256, uint64(s.A)).Value
	result = done
	switch s.Do {
	case "bank":
		b := storage.Bank{
			Name: name, Owner: storage.PartyID(s.B - 1), Open: s.bit(0), Dual: s.bit(1),
			Policy: storage.Policy{Action: "hold", Radius: map[hashing.Algorithm]int{hashing.PDQ: s.A}},
		}
		if s.bit(2) {
			b.Kind, b.Members, b.Proposal = storage.KnownGood, []storage.PartyID{2, 1, 2}, s.proposal()
		}
		if err = w.CreateBank(&b); err == nil {
			err = w.Append(&storage.Change{Kind: storage.BankCreated, Bank: b.ID, Body: body(storage.BankBody{Name: name})})
		}
		return fmt.Sprint(b.Seq, b.Owner, b.Kind), err
	case "rename", "delete", "restore":
		b, err := w.Bank(id)
		if err != nil {
			return result, err
		}
		if s.Do == "rename" {
			b.Name, b.Dual, b.Proposal = name, s.bit(0), s.proposal()
		} else {
			b.Deleted = s.Do == "delete"
		}
		return result, w.UpdateBank(b)
	case "entry":
		e := storage.Entry{
			Bank: id, Labels: []string{name, "l", name}[:s.B-1], Note: name[4:], Proposal: s.proposal(), ExpiresAt: s.expiry(),
			Signals: []hashing.Signal{Signal(hashing.PDQ, uint64(s.A)), Signal(hashing.MD5, uint64(s.B))},
		}
		if s.bit(5) {
			second := e
			second.Bank = storage.BankID(s.B)
			err = AddEntries(w, []*storage.Entry{&e, &second})
			return err == nil && second.ID == e.ID+1, err
		}
		err = AddEntry(w, &e)
		return err == nil && e.ID > 0, err
	case "change":
		e, err := w.Entry(entry)
		if err != nil {
			return result, err
		}
		e.Status, e.Labels, e.Reason, e.Proposal = storage.Statuses()[s.B-1], append(e.Labels, name), name, s.proposal()
		e.ExpiresAt = s.expiry()
		return result, w.UpdateEntry(e)
	case "source":
		return result, w.AddSource(entry, storage.Source{Actor: name})
	case "extend":
		var media storage.MediaInfo
		if s.B > 1 {
			media = storage.MediaInfo{SHA256: sha, Bytes: int64(s.B)}
		}
		more := Signal(hashing.PDQ, uint64(s.B))
		return result, w.Extend(entry, []hashing.Signal{more, Signal(hashing.MD5, uint64(s.A)), more}, media)
	case "labels":
		return w.Labels([]storage.EntryID{storage.EntryID(s.B), 99, entry, entry + 1})
	case "key":
		return result, w.CreateKey(&storage.Key{ID: name, Party: storage.PartyID(s.A - 1), Role: storage.Admin, ExpiresAt: NewClock().Now()})
	case "revoke":
		return result, w.UpdateKey(storage.Key{ID: name, RevokedAt: NewClock().Now().Add(time.Hour)})
	case "append":
		kinds := []storage.Kind{storage.EntryChanged, storage.OpinionGiven, storage.PartyChanged, storage.BankChanged}
		return result, w.Append(&storage.Change{
			Kind: kinds[s.B-1], Actor: name, Bank: 1, Entry: entry, Party: storage.PartyID(s.A), Private: body(name),
		})
	case "due":
		var due []storage.EntryID
		var expired []storage.Entry
		if due, err = w.Due(s.B); err == nil {
			expired, err = w.Expire(s.A)
		}
		return fmt.Sprintf("%v %s", due, body(expired)), err
	case "pend":
		return w.MediaPend(sha, 1)
	case "live":
		return result, w.MediaLive(sha)
	case "sweep":
		return w.MediaSweep(NewClock().Now().Add(time.Duration(s.A*s.B) * time.Millisecond))
	case "gone":
		return result, w.MediaGone(sha)
	case "read":
		named, err1 := w.BankNamed(storage.PartyID(s.A), name)
		with, err2 := w.EntriesWith(id, Signal(hashing.PDQ, uint64(s.B)))
		party, err3 := w.PartyNamed(name)
		return fmt.Sprint(named.ID, with, party, class(err1), class(err2), class(err3)), nil
	case "list":
		q := storage.EntryQuery{Limit: s.A, After: storage.EntryID(s.B - 1), Waiting: s.bit(0)}
		if s.bit(1) {
			q.Bank = id
		}
		if s.bit(2) {
			q.Banks = []storage.BankID{4, 1, 2, 2}[:s.B-1]
		}
		if s.bit(3) {
			q.Status = storage.Statuses()[s.A-1]
		}
		if s.bit(4) {
			q.Label = name
		}
		entries, err := w.Entries(q)
		var ids []storage.EntryID
		for _, e := range entries {
			ids = append(ids, e.ID)
		}
		return fmt.Sprint(ids), err
	case "party":
		p := storage.Party{Name: name, Kind: storage.Exchange, KeepMatches: s.A}
		if err = w.CreateParty(&p); err == nil {
			err = w.Append(&storage.Change{Kind: storage.PartyCreated, Party: p.ID})
		}
		return p.ID, err
	case "suspend":
		return result, w.UpdateParty(storage.Party{ID: storage.PartyID(s.A), Name: name, Suspended: true})
	case "subscribe":
		return result, w.SetSubscription(storage.Subscription{
			Party: storage.PartyID(s.A), Bank: storage.BankID(s.B), On: s.bit(0), Action: "log",
			Cap: map[hashing.Algorithm]int{hashing.PDQ: s.C},
		})
	case "overlay":
		return result, w.SetOverlay(storage.Overlay{
			Party: storage.PartyID(s.A), Entry: storage.EntryID(s.B), Disabled: s.bit(0),
			Labels: [][]string{nil, {}, {name, name}, {"x", name}}[s.C&3],
		})
	case "opinion":
		return result, w.SetOpinion(storage.Opinion{Entry: entry, Party: storage.PartyID(s.B), Stance: storage.Disagree, Reason: name})
	case "said":
		return w.Opinions([]storage.EntryID{1, entry, 99})
	case "remember":
		r := storage.Remembered{Scope: fmt.Sprint(s.A), Key: name, Digest: storage.Hash{byte(s.C)}}
		if s.bit(0) {
			r.Outcome = body(name)
		}
		return result, w.Remember(r)
	case "forget":
		return w.Forget(NewClock().Now().Add(time.Duration(s.B)*20*time.Minute), s.A)
	case "number":
		r, err := w.Remembered(fmt.Sprint(s.A), name)
		return fmt.Sprintf("%+v", r), err
	}
	return nil, nil
}

// proposal is one or none.
func (s step) proposal() *storage.Proposal {
	if s.bit(7) {
		return nil
	}
	return &storage.Proposal{Kind: storage.EntryRetracted, Actor: "k", At: NewClock().Now(), Bank: &storage.ProposedBank{Name: fmt.Sprint(s.B)}}
}

// expiry is a time that the clock may come to, or none.
func (s step) expiry() time.Time {
	if s.bit(6) {
		return time.Time{}
	}
	return NewClock().Now().Add(time.Duration(s.A*s.B) * 10 * time.Minute)
}

// journal does the steps about what the journals bring.
func (s step) journal(w storage.Writer, now time.Time) (result any, err error) {
	node := fmt.Sprintf("%08x", s.B)
	party := storage.PartyID(s.A)
	past := func(n int) time.Time { return now.Add(-time.Duration(n*n) * 25 * time.Minute) } // up to days ago
	shipped, err := w.Shipped(node)
	if err != nil {
		return nil, err
	}
	id := storage.MatchID{Node: node, Number: shipped + uint64(s.A)}
	known := storage.MatchID{Node: node, Number: uint64(s.A)}
	switch s.Do {
	case "match":
		m := storage.MatchRecord{
			ID: id, At: past(s.C % 12), Party: storage.PartyID(1 + s.C%3), Bare: s.bit(3), ContentID: []string{"", "c"}[s.C&1], Level: []string{"review", "match"}[s.C>>1&1],
			Entries: []storage.MatchEntry{{Entry: 1, Bank: 1, Level: "match"}, {Entry: storage.EntryID(s.A), Bank: storage.BankID(s.A)}, {Entry: 9, Bank: 1}}[:s.B-1],
			Verdict: body(s.C),
		}
		next := m
		next.ID.Number++
		return done, w.AddMatches(node, []storage.MatchRecord{m, next}[:1+s.C>>2&1])
	case "sign in":
		return done, w.AddSignIns(node, []storage.SignIn{{ID: id, At: past(s.C % 12), Party: party, Key: "k", Address: "a"}})
	case "shipped":
		return shipped, w.SetShipped(node, uint64(s.C%8))
	case "decide":
		d := storage.Decision{
			Match: known, Party: party, Ruling: storage.Rulings()[s.C%6],
			Entries: []storage.EntryID{1, 9, 2, 3}[s.C>>3&1 : 1+s.C>>3&1+s.C>>4&1],
		}
		if s.bit(5) {
			d.MatchCorrect = new(bool)
		}
		err := w.AddDecision(&d)
		return d.ID, err
	case "judged":
		entry := []storage.EntryID{1, 9, 2, 3}[s.A-1]
		judgements, err1 := w.Judgements(entry, storage.PartyID(1+s.C%3), s.B)
		judges, err4 := w.Judges(entry)
		alarms, err2 := w.Alarms(storage.EntryID(s.A), past(s.C%12))
		statuses, err3 := w.Statuses(party, []storage.EntryID{1, 2, storage.EntryID(s.B), 99})
		return fmt.Sprint(len(judgements), judgements, judges, len(alarms), alarms, statuses), errors.Join(err1, err2, err3, err4)
	case "disable":
		return w.Disable(party, storage.EntryID(s.B), s.bit(0))
	case "clear":
		return w.Clear([]storage.EntryID{1, 9, 2, 3}[s.A-1])
	case "erase":
		return w.EraseContent(party, []string{"", "c"}[s.C&1])
	case "expire":
		signIns, err1 := w.ExpireSignIns(past(s.C%12), s.A)
		matches, err2 := w.ExpireMatches(party, past(s.C%12), s.B)
		return fmt.Sprint(signIns, matches), errors.Join(err1, err2)
	case "count":
		counters, err := w.Counters([]storage.EntryID{1, 9, storage.EntryID(s.A)})
		match, err2 := w.Match(known)
		return fmt.Sprintf("%+v %+v", counters, match), errors.Join(err, err2)
	case "find":
		q := storage.MatchQuery{Limit: s.A, Standing: s.bit(0)}
		signIns := storage.SignInQuery{Limit: s.A}
		if s.bit(1) {
			q.Party, signIns.Party = party, party
		}
		if s.bit(2) {
			q.Entry = storage.EntryID([]int{1, 9, 2, 3}[s.B-1])
		}
		if s.bit(3) {
			q.Bank = storage.BankID(s.B)
		}
		if s.bit(4) {
			q.Level = "match"
		}
		if s.bit(5) {
			q.Content = "c"
		}
		if s.bit(6) {
			q.From, signIns.From = past(4*s.A), past(4*s.A)
		}
		if s.bit(7) {
			q.Until, signIns.Until = past(s.B), past(s.B)
			q.Before = uint64(s.A * s.B)
		}
		matches, err := w.Matches(q)
		found, err2 := w.SignIns(signIns)
		return fmt.Sprintf("%+v %+v", matches, found), errors.Join(err, err2)
	}
	return nil, fmt.Errorf("no step is called %s", s.Do)
}

// class is what a caller can tell of an error.
func class(err error) string {
	for _, known := range []error{storage.ErrNotFound, storage.ErrExists, storage.ErrConflict, errMeant} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	if err != nil {
		return "other error: " + err.Error()
	}
	return "ok"
}
