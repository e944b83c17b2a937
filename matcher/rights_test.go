package matcher_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
)

// readers are who reads in these tests: the source owns the banks, member and stranger are other parties.
func (w *world) readers() map[string]matcher.Principal {
	w.t.Helper()
	as := func(party string, role storage.Role) matcher.Principal {
		p := w.who(party)
		p.Role = role
		return p
	}
	return map[string]matcher.Principal{
		"operator's admin":    local,
		"operator's auditor":  as("operator", storage.Auditor),
		"operator's analyst":  as("operator", storage.Analyst),
		"operator's platform": as("operator", storage.Platform),
		"owner":               as("source", storage.Analyst),
		"owner's admin":       as("source", storage.Admin),
		"owner's auditor":     as("source", storage.Auditor),
		"member":              as("member", storage.Analyst),
		"member's admin":      as("member", storage.Admin),
		"stranger":            as("stranger", storage.Analyst),
		"stranger's admin":    as("stranger", storage.Admin),
	}
}

// closed is a bank that the owner shares with the member alone.
func (w *world) closed() {
	w.t.Helper()
	w.bank("source", "list", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("block"), Members: &[]string{"member"}}})
}

func TestMayRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, matcher.Options{})
	w.closed()
	owner := w.who("source")
	_, _, err := w.CreateKey(w.ctx, owner, matcher.NewKey{Name: "the owner's", Role: storage.Platform})
	must(t, err)
	bank := w.Follower().State().Banks[1]
	key := w.changes()[len(w.changes())-1].Key
	member := w.parties["member"]
	ofBank := "operator's admin, operator's auditor, owner, owner's admin, owner's auditor, member, member's admin"
	ofMember := "operator's admin, operator's auditor, member, member's admin"
	overseers := "operator's admin, operator's auditor"
	about := map[storage.Kind]string{
		storage.KeyCreated: overseers + ", owner's admin, owner's auditor",
		storage.KeyRevoked: overseers + ", owner's admin, owner's auditor",
	}
	for _, k := range []storage.Kind{
		storage.EntryAdded, storage.EntrySourced, storage.EntryChanged, storage.EntryRetracted, storage.EntryRestored,
		storage.EntryProposed, storage.EntryConfirmed, storage.EntryRejected, storage.EntryQuarantined, storage.EntryExpired,
		storage.BankCreated, storage.BankChanged, storage.BankDeleted, storage.BankRestored, storage.BankProposed, storage.BankRejected,
	} {
		about[k] = ofBank
	}
	for _, k := range []storage.Kind{
		storage.PartyCreated, storage.PartyChanged, storage.SubscriptionSet, storage.OverlaySet, storage.OpinionGiven,
		storage.DecisionMade, storage.ContentErased,
	} {
		about[k] = ofMember
	}
	state := w.Follower().State()
	for kind, want := range about {
		c := storage.Change{Kind: kind, Bank: bank.ID, Entry: 1}
		switch want {
		case ofMember:
			c.Party = member // whose opinion on the owner's entry is its own
		case ofBank:
		default:
			c = storage.Change{Kind: kind, Key: key}
		}
		equal(t, may(w, state, c), sorted(want))
	}
	for name, c := range map[string]storage.Change{
		"of an unknown kind":  {Kind: "new.kind"},
		"of an unknown bank":  {Kind: storage.EntryAdded, Bank: 99},
		"of an unknown key":   {Kind: storage.KeyCreated, Key: "nobody's"},
		"of an unknown party": {Kind: storage.OverlaySet, Party: 99, Bank: bank.ID},
	} {
		if got := may(w, state, c); !slices.Equal(got, sorted(overseers)) {
			t.Errorf("a change %s is read by %v", name, got)
		}
	}
}

func may(w *world, s *matcher.State, c storage.Change) (names []string) {
	for name, p := range w.readers() {
		if s.MayRead(p, c) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func sorted(list string) []string { return slices.Sorted(slices.Values(strings.Split(list, ", "))) }

func TestReadable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, matcher.Options{})
	w.closed()
	w.bank("source", "secret", block())
	w.bank("source", "open", shared("block"))
	w.bank("stranger", "gone", shared("block"))
	must(t, second(w.DeleteBank(w.ctx, w.who("stranger"), "gone")))
	for name, want := range map[string]string{
		"operator's admin": "all", "operator's auditor": "all",
		"operator's analyst": "[3 4]", "operator's platform": "[3 4]",
		"owner": "[1 2 3 4]", "member": "[1 3 4]", "stranger": "[3 4]", "stranger's admin": "[3 4]",
	} {
		banks, all, err := w.Readable(w.readers()[name])
		must(t, err)
		got := fmt.Sprint(banks)
		if all {
			got = "all"
		}
		if got != want {
			t.Errorf("%s reads %s, want %s", name, got, want)
		}
	}
	must(t, second(w.ChangeBank(w.ctx, w.who("source"), "list", matcher.BankEdit{Members: &[]string{}})))
	banks, _, err := w.Readable(w.who("member"))
	must(t, err)
	equal(t, banks, []storage.BankID{3, 4})

	lonely := newWorld(t, matcher.Options{})
	banks, all, err := lonely.Readable(lonely.who("member"))
	if err != nil || all || banks == nil || len(banks) > 0 {
		t.Errorf("where there is nothing: %v, all %t, %v", banks, all, err)
	}
}

// TestForeign tries all that changes or tells of a bank and an entry, for each reader: who cannot read it is told that there
// is none, who can that it is another's.
func TestForeign(t *testing.T) {
	t.Parallel()
	overWorlds(t, matcher.Options{}, func(t *testing.T, w *world) {
		w.closed()
		id := w.at("list", "e", 12)
		owns := []string{"owner", "owner's admin", "owner's auditor"}     // roles are for vigie/api
		belongs := append(slices.Clone(owns), "member", "member's admin") // to the bank
		reads := append(slices.Clone(belongs), "operator's admin", "operator's auditor")
		type deed struct {
			name    string
			allowed []string
			unknown error
			do      func(p matcher.Principal) error
		}
		deeds := []deed{
			{"read the entry", reads, matcher.ErrUnknownEntry, func(p matcher.Principal) error { _, _, err := w.Entry(w.ctx, p, id); return err }},
			{"read opinions", reads, matcher.ErrUnknownEntry, func(p matcher.Principal) error { _, _, err := w.Opinions(w.ctx, p, id); return err }},
			{"read counters", reads, matcher.ErrUnknownEntry, func(p matcher.Principal) error {
				_, err := w.Counters(w.ctx, p, []storage.EntryID{id})
				return err
			}},
			{"read its matches", reads, matcher.ErrUnknownEntry, func(p matcher.Principal) error {
				_, err := w.Matches(w.ctx, p, storage.MatchQuery{Entry: id, Limit: 1})
				return err
			}},
			{"opine", belongs, matcher.ErrUnknownEntry, func(p matcher.Principal) error { return w.Opine(w.ctx, p, id, storage.Saw, "") }},
			{"overlay", belongs, matcher.ErrUnknownEntry, func(p matcher.Principal) error { return w.Overlay(w.ctx, p, id, false, nil, "") }},
			{"subscribe", belongs, matcher.ErrUnknownBank, func(p matcher.Principal) error {
				_, err := w.Subscribe(w.ctx, p, "list", matcher.SubscriptionEdit{})
				return err
			}},
			{"flag", owns, matcher.ErrUnknownBank, func(p matcher.Principal) error {
				_, err := w.Matcher.Flag(w.ctx, matcher.Flagging{Bank: "list", Who: p, Signals: []hashing.Signal{upload}})
				return err
			}},
			{"edit the entry", owns, matcher.ErrUnknownEntry, func(p matcher.Principal) error {
				return w.Edit(w.ctx, p, id, matcher.EntryEdit{Note: ptr("by " + p.Actor)})
			}},
			{"retract", owns, matcher.ErrUnknownEntry, func(p matcher.Principal) error { return w.Retract(w.ctx, p, id, "a test") }},
			{"restore", owns, matcher.ErrUnknownEntry, func(p matcher.Principal) error { return w.Restore(w.ctx, p, id, "a test") }},
			{"change the bank", owns, matcher.ErrUnknownBank, func(p matcher.Principal) error {
				return second(w.ChangeBank(w.ctx, p, "list", matcher.BankEdit{Description: ptr("by " + p.Actor)}))
			}},
			{"restore the bank", owns, matcher.ErrUnknownBank, func(p matcher.Principal) error { return second(w.RestoreBank(w.ctx, p, "list")) }},
		}
		for name, p := range w.readers() {
			for _, d := range deeds {
				err := d.do(p)
				switch {
				case slices.Contains(d.allowed, name):
					if err != nil {
						t.Errorf("%s: %s is refused: %v", name, d.name, err)
					}
				case slices.Contains(reads, name):
					if !errors.Is(err, matcher.ErrForeign) {
						t.Errorf("%s: %s is answered %v, want that it is another's", name, d.name, err)
					}
				case !errors.Is(err, d.unknown):
					t.Errorf("%s: %s is answered %v, want %v", name, d.name, err, d.unknown)
				}
			}
		}
		for name, do := range map[string]func(p matcher.Principal) error{
			"confirm":          func(p matcher.Principal) error { return w.Confirm(w.ctx, p, id) },
			"reject":           func(p matcher.Principal) error { return w.Reject(w.ctx, p, id, "a test") },
			"confirm the bank": func(p matcher.Principal) error { return second(w.ConfirmBank(w.ctx, p, "list")) },
			"reject the bank":  func(p matcher.Principal) error { return second(w.RejectBank(w.ctx, p, "list")) },
		} {
			if err := do(w.who("source")); !errors.Is(err, matcher.ErrNothingProposed) {
				t.Errorf("owner: %s is answered %v", name, err)
			}
			if err := do(w.who("member")); !errors.Is(err, matcher.ErrForeign) {
				t.Errorf("member: %s is answered %v", name, err)
			}
		}
		wantErr(t, second(w.DeleteBank(w.ctx, w.who("member"), "list")), matcher.ErrForeign)
		wantErr(t, second(w.DeleteBank(w.ctx, local, "list")), matcher.ErrForeign)
	})
}

func TestParties(t *testing.T) {
	t.Parallel()
	overWorlds(t, matcher.Options{}, func(t *testing.T, w *world) {
		admin := w.who("platform")
		admin.Role = storage.Admin
		other := w.who("other")

		// What is the operator's alone.
		_, err := w.CreateParty(w.ctx, admin, matcher.PartyEdit{Name: ptr("new")})
		wantErr(t, err, matcher.ErrOperator)
		analyst := matcher.Principal{Actor: "analyst", Party: storage.Operator, Role: storage.Analyst}
		_, err = w.CreateParty(w.ctx, analyst, matcher.PartyEdit{Name: ptr("new")})
		wantErr(t, err, matcher.ErrOperator)
		for name, edit := range map[string]matcher.PartyEdit{
			"name": {Name: ptr("new")}, "kind": {Kind: ptr(storage.Authority)}, "suspension": {Suspended: ptr(true)},
			"name and days": {Name: ptr("new"), KeepMatches: ptr(3)},
		} {
			if _, err := w.ChangeParty(w.ctx, admin, "platform", edit); !errors.Is(err, matcher.ErrOperator) {
				t.Errorf("a party's own edit of %s is answered %v", name, err)
			}
		}
		_, err = w.ChangeParty(w.ctx, admin, "other", matcher.PartyEdit{KeepMatches: ptr(3)})
		wantErr(t, err, matcher.ErrOperator)
		_, err = w.CreateBank(w.ctx, admin, matcher.NewBank{Owner: "other", BankEdit: matcher.BankEdit{Name: ptr("b")}})
		wantErr(t, err, matcher.ErrOperator)
		_, _, err = w.CreateKey(w.ctx, admin, matcher.NewKey{Name: "k", Role: storage.Admin, Party: "other"})
		wantErr(t, err, matcher.ErrOperator)

		// What a party does for itself.
		p, err := w.ChangeParty(w.ctx, admin, "platform", matcher.PartyEdit{KeepMatches: ptr(3)})
		must(t, err)
		equal(t, p.KeepMatches, 3)
		before := len(w.changes())
		again, err := w.ChangeParty(w.ctx, admin, "platform", matcher.PartyEdit{KeepMatches: ptr(3)})
		must(t, err)
		equal(t, []any{again, len(w.changes())}, []any{p, before})
		key, text, err := w.CreateKey(w.ctx, admin, matcher.NewKey{Name: "k", Role: storage.Platform, Party: "platform"})
		must(t, err)
		equal(t, key.Party, admin.Party)

		// The operator does it for others.
		b, err := w.CreateBank(w.ctx, local, matcher.NewBank{Owner: "other", BankEdit: matcher.BankEdit{Name: ptr("b")}})
		must(t, err)
		equal(t, b.Owner, other.Party)
		theirs, _, err := w.CreateKey(w.ctx, local, matcher.NewKey{Name: "k", Role: storage.Admin, Party: "other"})
		must(t, err)
		equal(t, theirs.Party, other.Party)
		_, err = w.RevokeKey(w.ctx, admin, theirs.ID) // of which it does not know
		wantErr(t, err, matcher.ErrUnknownKey)

		// A suspended party's keys are refused, also of requests that last.
		_, err = w.Authenticate(text)
		must(t, err)
		must(t, w.Standing(key.ID))
		w.suspend("platform", true)
		_, err = w.Authenticate(text)
		wantErr(t, err, matcher.ErrSuspended)
		wantErr(t, w.Standing(key.ID), matcher.ErrSuspended)
		wantErr(t, w.Standing("nobody"), matcher.ErrBadKey)
		w.suspend("platform", false)
		must(t, w.Standing(key.ID))
		_, err = w.RevokeKey(w.ctx, local, key.ID)
		must(t, err)
		wantErr(t, w.Standing(key.ID), matcher.ErrRevokedKey)

		for _, test := range []struct {
			name  string
			edit  matcher.PartyEdit
			field string
		}{
			{"name", matcher.PartyEdit{Name: ptr("a b")}, "name"},
			{"no name", matcher.PartyEdit{Name: ptr("")}, "name"},
			{"kind", matcher.PartyEdit{Kind: ptr(storage.PartyKind("king"))}, "kind"},
			{"no days", matcher.PartyEdit{KeepMatches: ptr(0)}, "keep_matches"},
			{"too many days", matcher.PartyEdit{KeepMatches: ptr(3651)}, "keep_matches"},
		} {
			_, err := w.ChangeParty(w.ctx, local, "other", test.edit)
			wantInput(t, err, test.field)
			if test.edit.Name == nil {
				test.edit.Name = ptr("new")
			}
			_, err = w.CreateParty(w.ctx, local, test.edit)
			wantInput(t, err, test.field)
		}
		_, err = w.ChangeParty(w.ctx, local, "operator", matcher.PartyEdit{Suspended: ptr(true)})
		wantInput(t, err, "suspended")
		_, err = w.CreateParty(w.ctx, local, matcher.PartyEdit{Name: ptr("other")})
		wantErr(t, err, matcher.ErrPartyExists)
		_, err = w.ChangeParty(w.ctx, local, "other", matcher.PartyEdit{Name: ptr("operator")})
		wantErr(t, err, matcher.ErrPartyExists)
		_, err = w.ChangeParty(w.ctx, local, "nobody", matcher.PartyEdit{})
		wantErr(t, err, matcher.ErrUnknownParty)
		_, err = w.CreateBank(w.ctx, local, matcher.NewBank{BankEdit: matcher.BankEdit{Name: ptr("c"), Members: &[]string{"nobody"}}})
		wantErr(t, err, matcher.ErrUnknownParty)
	})
}

func TestSubscriptions(t *testing.T) {
	t.Parallel()
	overWorlds(t, matcher.Options{}, func(t *testing.T, w *world) {
		w.bank("platform", "own", block())
		w.list("block")
		w.bank("source", "secret", block())
		w.bank("source", "gone", shared("block"))
		must(t, second(w.DeleteBank(w.ctx, w.who("source"), "gone")))
		told := func() (list []string) {
			subs, err := w.Subscriptions(w.who("platform"))
			must(t, err)
			for _, s := range subs {
				list = append(list, fmt.Sprintf("%s: on %t, said %t, %s within %d", s.Bank.Name, s.On, s.Said, s.Count.Action, s.Count.Radius[hashing.PDQ]))
			}
			return list
		}
		equal(t, told(), []string{"own: on true, said false, block within 31", "list: on false, said false, review within 31"})
		sub, err := w.Subscribe(w.ctx, w.who("platform"), "list", matcher.SubscriptionEdit{Cap: &radii{hashing.PDQ: 9}, Action: ptr("hold")})
		must(t, err)
		if !sub.On || !sub.Said || sub.Party.ID != w.parties["platform"] || sub.Count.Action != "hold" {
			t.Errorf("answered %+v", sub)
		}
		equal(t, told(), []string{"own: on true, said false, block within 31", "list: on true, said true, hold within 9"})
		equal(t, w.Follower().State().Banks[sub.Bank.ID].Policy.Radius, radii{hashing.PDQ: 31}) // the bank's own

		// An edit leaves the rest as it was.
		_, err = w.Subscribe(w.ctx, w.who("platform"), "list", matcher.SubscriptionEdit{On: ptr(false)})
		must(t, err)
		equal(t, told()[1], "list: on false, said true, hold within 9")

		for field, edit := range map[string]matcher.SubscriptionEdit{
			"action": {Action: ptr("shoot")}, "link": {Action: ptr("redirect")}, "cap": {Cap: &radii{hashing.PDQ: 65}},
		} {
			_, err := w.Subscribe(w.ctx, w.who("platform"), "list", edit)
			wantInput(t, err, field)
		}
		for name, edit := range map[string]matcher.SubscriptionEdit{
			"a digest's":  {Cap: &radii{hashing.SHA256: 0}},
			"a wide one":  {Cap: &radii{hashing.PHash: 17}},
			"a negative":  {Cap: &radii{hashing.PDQ: -1}},
			"a nothing's": {Cap: &radii{0: 1}},
		} {
			_, err := w.Subscribe(w.ctx, w.who("platform"), "list", edit)
			t.Run(name, func(t *testing.T) { wantInput(t, err, "cap") })
		}
		_, err = w.Subscribe(w.ctx, w.who("platform"), "list", matcher.SubscriptionEdit{Link: ptr("javascript:alert(1)")})
		wantInput(t, err, "link")
		_, err = w.Subscribe(w.ctx, w.who("platform"), "gone", matcher.SubscriptionEdit{})
		wantErr(t, err, matcher.ErrUnknownBank)
		_, err = w.Subscribe(w.ctx, w.who("platform"), "secret", matcher.SubscriptionEdit{})
		wantErr(t, err, matcher.ErrUnknownBank)
	})
}

// TestOpinions tells who reads which opinions, and what becomes of a later one.
func TestOpinions(t *testing.T) {
	t.Parallel()
	overWorlds(t, matcher.Options{}, func(t *testing.T, w *world) {
		w.list("block")
		id := w.at("list", "e", 12)
		w.opine("a", "e", storage.Disagree)
		w.opine("b", "e", storage.Saw)
		must(t, w.Opine(w.ctx, w.who("a"), id, storage.Agree, "after all"))
		read := func(p matcher.Principal) (list []string, standing matcher.Standing) {
			own, tally, err := w.Opinions(w.ctx, p, id)
			must(t, err)
			for _, o := range own {
				list = append(list, fmt.Sprintf("%s: %s, %s", o.Actor, o.Stance, o.Reason))
			}
			slices.Sort(list)
			return list, tally.Standing
		}
		all := []string{"a: agree, after all", "b: saw, a test"}
		for name, want := range map[string][]string{"source": all, "a": all[:1], "b": all[1:], "c": nil} {
			got, standing := read(w.who(name))
			equal(t, got, want)
			equal(t, standing, matcher.PositiveClass)
		}
		got, _ := read(local)
		equal(t, got, all)

		wantInput(t, w.Opine(w.ctx, w.who("a"), id, "hate", ""), "stance")
		wantInput(t, w.Opine(w.ctx, w.who("a"), id, storage.Disagree, ""), "reason")
		wantErr(t, w.Opine(w.ctx, w.who("a"), 99, storage.Agree, ""), matcher.ErrUnknownEntry)
		wantInput(t, w.Overlay(w.ctx, w.who("a"), id, false, []string{"severity:9"}, ""), "labels")
		must(t, w.Overlay(w.ctx, w.who("a"), id, false, []string{"mine"}, ""))
		mine, err := w.OverlayOf(w.who("a"), id)
		must(t, err)
		theirs, err := w.OverlayOf(w.who("b"), id)
		must(t, err)
		equal(t, mine.Labels, []string{"mine"})
		equal(t, theirs.Empty(), true)
		equal(t, w.entryOf("e").Labels, []string(nil)) // the source's record is as it was
	})
}
