package matcher_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
)

// society is a world whose parties change all that scopes are made of. What a check should say is read from the catalogue
// each time.
type society struct {
	*world
	names []string // of parties
	banks int
}

func (s *society) party(t *rapid.T) string { return rapid.SampledFrom(s.names).Draw(t, "party") }

// drawBank is one of the banks there are, with somebody of its owner.
func (s *society) drawBank(t *rapid.T) (storage.Bank, matcher.Principal) {
	all := slices.SortedFunc(maps.Values(s.Follower().State().Banks), func(a, b storage.Bank) int { return int(a.ID) - int(b.ID) })
	if len(all) == 0 {
		t.Skip("no bank")
	}
	b := rapid.SampledFrom(all).Draw(t, "bank")
	return b, s.anyone(t, s.names[b.Owner-1])
}

func (s *society) anyone(t *rapid.T, party string) matcher.Principal {
	p := s.who(party)
	p.Actor += rapid.SampledFrom([]string{"", "'s colleague"}).Draw(t, "person")
	return p
}

func (s *society) drawEntry(t *rapid.T) (e storage.Entry, b storage.Bank) {
	var all []storage.Entry
	must(s.t, s.catalogue.View(s.ctx, func(r storage.Reader) (err error) {
		all, err = r.Entries(storage.EntryQuery{Limit: storage.MaxEntries})
		return err
	}))
	if len(all) == 0 {
		t.Skip("no entries")
	}
	e = rapid.SampledFrom(all).Draw(t, "entry")
	return e, s.Follower().State().Banks[e.Bank]
}

func drawEdit(t *rapid.T, s *society) (e matcher.BankEdit) {
	if rapid.Bool().Draw(t, "action") {
		e.Action = ptr(rapid.SampledFrom(machineActions).Draw(t, "which"))
	}
	if rapid.Bool().Draw(t, "radius") {
		e.Radius = &radii{hashing.PDQ: rapid.SampledFrom([]int{0, 10, 20, 31}).Draw(t, "which")}
	}
	if rapid.Bool().Draw(t, "members") {
		e.Members = ptr(rapid.SliceOfNDistinct(rapid.SampledFrom(s.names), 0, 2, rapid.ID).Draw(t, "who"))
	}
	if rapid.IntRange(0, 2).Draw(t, "open") == 0 {
		e.Open = ptr(rapid.Bool().Draw(t, "is open"))
	}
	if rapid.IntRange(0, 3).Draw(t, "dual") == 0 {
		e.Dual = ptr(rapid.Bool().Draw(t, "is dual"))
	}
	return e
}

func (s *society) createBank(t *rapid.T) {
	n := matcher.NewBank{BankEdit: drawEdit(t, s), Kind: rapid.SampledFrom([]storage.BankKind{"", "", storage.KnownGood, storage.TestBank}).Draw(t, "kind")}
	s.banks++
	n.Name, n.Link = ptr(fmt.Sprint("bank-", s.banks)), ptr(help)
	owner := s.who(s.party(t))
	_, err := s.CreateBank(s.ctx, owner, n)
	must(s.t, err)
	s.owners[*n.Name] = owner.Actor
	s.flagInto(t, *n.Name, owner)
}

func (s *society) flagInto(t *rapid.T, bank string, who matcher.Principal) {
	signals := []hashing.Signal{away(upload, rapid.IntRange(0, 31).Draw(t, "away"))}
	_, err := s.Flag(s.ctx, matcher.Flagging{Bank: bank, Who: who, Signals: signals, DespiteKnownGood: true, Labels: []string{"the-source-s"}})
	must(s.t, err)
}

func (s *society) flag(t *rapid.T) {
	b, who := s.drawBank(t)
	if b.Deleted {
		t.Skip("it is deleted")
	}
	s.flagInto(t, b.Name, who)
}

// try does what may be refused, for reasons that people can mend: the catalogue says what came of it.
func (s *society) try(err error) {
	s.t.Helper()
	for _, mends := range []error{
		nil, matcher.ErrUnknownBank, matcher.ErrForeign, matcher.ErrUnknownEntry, matcher.ErrPending, matcher.ErrNothingProposed,
		matcher.ErrSecondPerson, matcher.ErrDuplicate,
	} {
		if errors.Is(err, mends) {
			return
		}
	}
	var input *matcher.InputError
	if !errors.As(err, &input) {
		s.t.Errorf("refused for %v", err)
	}
}

func (s *society) steps() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"create bank": s.createBank,
		"flag":        s.flag,
		"change bank": func(t *rapid.T) {
			b, who := s.drawBank(t)
			s.try(second(s.ChangeBank(s.ctx, who, b.Name, drawEdit(t, s))))
		},
		"delete bank": func(t *rapid.T) {
			b, who := s.drawBank(t)
			s.try(second(s.DeleteBank(s.ctx, who, b.Name)))
		},
		"restore bank": func(t *rapid.T) {
			b, who := s.drawBank(t)
			s.try(second(s.RestoreBank(s.ctx, who, b.Name)))
		},
		"conclude bank": func(t *rapid.T) {
			b, who := s.drawBank(t)
			s.try(second(s.ConfirmBank(s.ctx, who, b.Name)))
			if rapid.Bool().Draw(t, "reject") {
				s.try(second(s.RejectBank(s.ctx, who, b.Name)))
			}
		},
		"conclude entry": func(t *rapid.T) {
			e, b := s.drawEntry(t)
			who := s.anyone(t, s.names[b.Owner-1])
			s.try(s.Confirm(s.ctx, who, e.ID))
			if rapid.Bool().Draw(t, "reject") {
				s.try(s.Reject(s.ctx, who, e.ID, "a test"))
			}
		},
		"retract": func(t *rapid.T) {
			e, b := s.drawEntry(t)
			s.try(s.Retract(s.ctx, s.anyone(t, s.names[b.Owner-1]), e.ID, "a test"))
		},
		"restore": func(t *rapid.T) {
			e, b := s.drawEntry(t)
			s.try(s.Restore(s.ctx, s.anyone(t, s.names[b.Owner-1]), e.ID, "a test"))
		},
		"quarantine": s.quarantine,
		"subscribe": func(t *rapid.T) {
			b, _ := s.drawBank(t)
			var e matcher.SubscriptionEdit
			if rapid.Bool().Draw(t, "on") {
				e.On = ptr(rapid.IntRange(0, 3).Draw(t, "is on") > 0)
			}
			if rapid.Bool().Draw(t, "cap") {
				e.Cap = ptr(rapid.SampledFrom([]radii{{}, {hashing.PDQ: 5}, {hashing.PDQ: 15}, {hashing.PHash: 1}}).Draw(t, "which"))
			}
			if rapid.Bool().Draw(t, "action") {
				e.Action = ptr(rapid.SampledFrom(append(machineActions, "")).Draw(t, "which"))
			}
			_, err := s.Subscribe(s.ctx, s.who(s.party(t)), b.Name, e)
			s.try(err)
		},
		"overlay": func(t *rapid.T) {
			e, _ := s.drawEntry(t)
			labels := rapid.SampledFrom([][]string{nil, {}, {"mine"}}).Draw(t, "labels")
			s.try(s.Overlay(s.ctx, s.who(s.party(t)), e.ID, rapid.Bool().Draw(t, "disabled"), labels, ""))
		},
		"suspend": func(t *rapid.T) {
			_, err := s.ChangeParty(s.ctx, local, s.party(t), matcher.PartyEdit{Suspended: ptr(rapid.IntRange(0, 2).Draw(t, "suspended") == 0)})
			s.try(err)
		},
		"start anew": s.restart,
		"compare":    s.compare,
	}
}

// quarantine takes an entry out as a rule of its bank would.
func (s *society) quarantine(t *rapid.T) {
	e, _ := s.drawEntry(t)
	c := &storage.Change{Kind: storage.EntryQuarantined, Actor: "system", Bank: e.Bank, Entry: e.ID, Body: []byte(`{"status":"quarantined","signals":[]}`)}
	if e.Status != storage.Active {
		t.Skip("it is not active")
	}
	e.Status = storage.Quarantined
	must(s.t, s.catalogue.Update(s.ctx, func(w storage.Writer) error {
		if err := w.UpdateEntry(e); err != nil {
			return err
		}
		return w.Append(c)
	}))
	must(s.t, s.Follower().Await(s.ctx, c.Seq))
}

// restart puts a new matcher on the catalogue, which loads what the old one has followed.
func (s *society) restart(t *rapid.T) {
	s.compare(t)
	s.node.stop()
	s.node = follow(s.t, s.catalogue, matcher.Options{Patience: patience})
	must(s.t, s.Follower().Await(s.ctx, uint64(len(s.changes()))))
}

// compare wants that a node which loads the catalogue knows what this one has followed.
func (s *society) compare(*rapid.T) {
	fresh := follow(s.t, s.catalogue, matcher.Options{Patience: patience})
	defer fresh.stop()
	followed := s.Follower().State()
	must(s.t, fresh.Follower().Await(s.ctx, followed.Seq))
	loaded := fresh.Follower().State()
	equal(s.t, loaded.Banks, followed.Banks)
	equal(s.t, loaded.Keys, followed.Keys)
	equal(s.t, loaded.Parties, followed.Parties)
	equal(s.t, loaded.Subscriptions, followed.Subscriptions)
	equal(s.t, loaded.Overlays, followed.Overlays)
	equal(s.t, loaded.Snapshot.Stats().Entries, followed.Snapshot.Stats().Entries)
}

// check asks for some parties, and compares with what the catalogue says.
func (s *society) check(t *rapid.T) {
	for range 2 {
		party := s.party(t)
		v := s.node.check(s.ask(party))
		got := map[storage.EntryID]string{}
		for _, f := range v.Matches {
			got[f.Entry] = fmt.Sprintf("%s within %d, %s, %v, suppressed %t", f.Level, f.Radius, f.Action, f.Labels, f.SuppressedBy != nil)
		}
		want, level, action := s.expect(s.parties[party])
		if !maps.Equal(got, want) || v.Level != level || v.Action != action {
			t.Fatalf("%s is told %s, %s of %v\nwant %s, %s of %v", party, v.Level, v.Action, got, level, action, want)
		}
	}
}

// expect says what a party is to be told of the upload: the rules, written once more as one reads them.
func (s *society) expect(party storage.PartyID) (told map[storage.EntryID]string, level matcher.Level, action matcher.Action) {
	type near struct {
		storage.Entry
		bank     storage.Bank
		action   matcher.Action
		distance int
		radius   int
	}
	var all []near
	good := 1 << 20 // how near what is known good is
	must(s.t, s.catalogue.View(s.ctx, func(r storage.Reader) error {
		subscriptions, err := r.Subscriptions()
		must(s.t, err)
		overlays, err := r.Overlays()
		must(s.t, err)
		entries, err := r.Entries(storage.EntryQuery{Limit: storage.MaxEntries, Status: storage.Active})
		must(s.t, err)
		for _, e := range entries {
			b, err := r.Bank(e.Bank)
			must(s.t, err)
			owner, err := r.Party(b.Owner)
			must(s.t, err)
			mine := b.Owner == party
			if b.Deleted || owner.Suspended || !mine && !b.Open && !slices.Contains(b.Members, party) {
				continue
			}
			n := near{Entry: e, bank: b, distance: e.Signals[0].Value.Distance(upload.Value), radius: b.Policy.Radius[hashing.PDQ]}
			on, action := mine, b.Policy.Action
			if !mine && (action == "block" || action == "hold" || action == "redirect") {
				action = "review"
			}
			for _, sub := range subscriptions {
				if sub.Party != party || sub.Bank != b.ID {
					continue
				}
				on = sub.On
				if sub.Action != "" {
					action = sub.Action
				}
				if most, capped := sub.Cap[hashing.PDQ]; capped && most < n.radius {
					n.radius = most
				}
			}
			for _, o := range overlays {
				if o.Party == party && o.Entry == e.ID {
					on = on && !o.Disabled
					if o.Labels != nil {
						n.Labels = o.Labels
					}
				}
			}
			if !on || n.distance > n.radius {
				continue
			}
			n.action, err = matcher.ParseAction(action)
			must(s.t, err)
			if b.Kind == storage.KnownGood {
				good = min(good, n.distance)
				continue
			}
			all = append(all, n)
		}
		return nil
	}))
	told = map[storage.EntryID]string{}
	for _, n := range all {
		counts, suppressed := matcher.Match, good < n.distance
		switch {
		case suppressed:
			counts, n.action = matcher.None, matcher.NoAction
		case n.bank.Kind == storage.TestBank:
			n.action = matcher.ActionLog
		default:
			level, action = counts, max(action, n.action)
		}
		told[n.ID] = fmt.Sprintf("%s within %d, %s, %v, suppressed %t", counts, n.radius, n.action, n.Labels, suppressed)
	}
	return told, level, action
}

// TestScopes lives through random histories of parties, banks, subscriptions, proposals, overlays and quarantines.
func TestScopes(t *testing.T) {
	t.Parallel()
	for name, open := range catalogues {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				c := open(t)
				defer c.Close()
				w := &world{parties: map[string]storage.PartyID{"operator": storage.Operator}, owners: map[string]string{}, flagged: map[string]storage.EntryID{}}
				w.node = follow(t, c, matcher.Options{Patience: patience})
				s := &society{world: w, names: []string{"operator", "platform", "source", "third"}}
				defer func() { s.node.stop() }()
				must(t, s.Follower().Await(s.ctx, 0))
				for _, name := range s.names {
					s.who(name)
				}
				for range 3 {
					s.createBank(rt)
				}
				steps := s.steps()
				steps[""] = s.check
				rt.Repeat(steps)
			})
		})
	}
}

// TestNobodyRedirectsAnothersUsers: where no action was chosen, an owner who turns to redirect gets no further than review.
func TestNobodyRedirectsAnothersUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, matcher.Options{})
	w.bank("source", "list", shared("block"))
	w.at("list", "e", 4)
	w.subscribe("platform", "list", matcher.SubscriptionEdit{})
	_, err := w.ChangeBank(w.ctx, w.who("source"), "list", matcher.BankEdit{Action: ptr("redirect"), Link: ptr("https://example.org/")})
	must(t, err)
	if v := w.check(w.ask("platform")); v.Action != matcher.ActionReview || v.Link != "" {
		t.Errorf("%s to %q", v.Action, v.Link)
	}
}
