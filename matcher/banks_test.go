package matcher_test

import (
	"math"
	"strings"
	"testing"

	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
)

func TestCreateBank(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		b, err := n.CreateBank(n.ctx, someone, matcher.NewBank{BankEdit: matcher.BankEdit{Name: ptr("plain"), Description: ptr("what it is")}})
		must(t, err)
		equal(t, b.Policy, matcher.DefaultPolicy())
		var stored storage.Bank
		must(t, n.catalogue.View(n.ctx, func(r storage.Reader) (err error) {
			stored, err = r.Bank(b.ID)
			return err
		}))
		equal(t, stored, b)
		c := n.changes()[1]
		if c.Kind != storage.BankCreated || c.Actor != "someone" || c.Bank != b.ID || c.Seq != b.Seq || strings.Contains(string(c.Body), "what it is") {
			t.Errorf("change: %+v", c)
		}
		_, err = n.CreateBank(n.ctx, someone, matcher.NewBank{BankEdit: matcher.BankEdit{Name: ptr("plain")}})
		wantErr(t, err, matcher.ErrBankExists)
	})
}

func TestBankRefuses(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, test := range []struct {
		name  string
		edit  matcher.BankEdit
		field string
	}{
		{"no name", matcher.BankEdit{Name: ptr("")}, "bank"},
		{"blank in the name", matcher.BankEdit{Name: ptr("a b")}, "bank"},
		{"dot first", matcher.BankEdit{Name: ptr(".a")}, "bank"},
		{"line end", matcher.BankEdit{Name: ptr("a\n")}, "bank"},
		{"long name", matcher.BankEdit{Name: ptr(strings.Repeat("a", 65))}, "bank"},
		{"long description", matcher.BankEdit{Description: ptr(strings.Repeat("a", 1001))}, "description"},
		{"action", matcher.BankEdit{Action: ptr("shoot")}, "action"},
		{"no action", matcher.BankEdit{Action: ptr("none")}, "action"},
		{"radius of a digest", matcher.BankEdit{Radius: &radii{hashing.MD5: 0}}, "radius"},
		{"radius of nothing", matcher.BankEdit{Radius: &radii{0: 1}}, "radius"},
		{"negative radius", matcher.BankEdit{Radius: &radii{hashing.PDQ: -1}}, "radius"},
		{"wide radius", matcher.BankEdit{Radius: &radii{hashing.PDQ: 65}}, "radius"},
		{"wide radius of 64 bits", matcher.BankEdit{Radius: &radii{hashing.PHash: 17}}, "radius"},
		{"redirect that leads nowhere", matcher.BankEdit{Action: ptr("redirect")}, "link"},
		{"link of another scheme", matcher.BankEdit{Link: ptr("javascript:alert(1)")}, "link"},
		{"link without a host", matcher.BankEdit{Link: ptr("https:/help")}, "link"},
		{"link that is none", matcher.BankEdit{Link: ptr("https://a b/")}, "link"},
		{"long link", matcher.BankEdit{Link: ptr("https://example.org/" + strings.Repeat("a", 2000))}, "link"},
		{"ratio above 1", matcher.BankEdit{EnabledRatio: ptr(1.01)}, "enabled_ratio"},
		{"negative ratio", matcher.BankEdit{EnabledRatio: ptr(-0.01)}, "enabled_ratio"},
		{"ratio that is no number", matcher.BankEdit{EnabledRatio: ptr(math.NaN())}, "enabled_ratio"},
		{"quality", matcher.BankEdit{MinQuality: ptr(101)}, "min_quality"},
		{"negative quality", matcher.BankEdit{MinQuality: ptr(-1)}, "min_quality"},
		{"flood", matcher.BankEdit{Flood: ptr(1_000_001)}, "flood"},
		{"negative flood", matcher.BankEdit{Flood: ptr(-1)}, "flood"},
		{"overturn above 1", matcher.BankEdit{Overturn: &storage.Overturn{Rate: 1.1, Min: 1}}, "overturn"},
		{"overturn that is no number", matcher.BankEdit{Overturn: &storage.Overturn{Rate: math.NaN(), Min: 1}}, "overturn"},
		{"overturn after none", matcher.BankEdit{Overturn: &storage.Overturn{Rate: 0.5}}, "overturn"},
		{"overturn of none", matcher.BankEdit{Overturn: &storage.Overturn{Min: 3}}, "overturn"},
		{"overturn after less than none", matcher.BankEdit{Overturn: &storage.Overturn{Rate: 0.5, Min: -1}}, "overturn"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := n.ChangeBank(n.ctx, local, "bank", test.edit)
			wantInput(t, err, test.field)
			if test.edit.Name == nil {
				test.edit.Name = ptr("new")
			}
			_, err = n.CreateBank(n.ctx, local, matcher.NewBank{BankEdit: test.edit})
			wantInput(t, err, test.field)
		})
	}
	for name, err := range map[string]error{
		"change":  second(n.ChangeBank(n.ctx, local, "other", matcher.BankEdit{})),
		"delete":  second(n.DeleteBank(n.ctx, local, "other")),
		"restore": second(n.RestoreBank(n.ctx, local, "other")),
	} {
		t.Run(name+" an unknown one", func(t *testing.T) { wantErr(t, err, matcher.ErrUnknownBank) })
	}
	if got := n.kinds(); len(got) != 0 {
		t.Errorf("refused edits left changes: %v", got)
	}
}

func second(_ storage.Bank, err error) error { return err }

func TestBankAtTheRims(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	widest := radii{hashing.PDQ: 64, hashing.PHash: 16, hashing.DHash: 0, hashing.AHash: 16}
	b := n.changeBank("bank", matcher.BankEdit{
		Name: ptr(strings.Repeat("a", 64)), Description: ptr(strings.Repeat("d", 1000)), Radius: &widest,
	})
	equal(t, b.Policy.Radius, widest)
	b = n.changeBank(b.Name, matcher.BankEdit{
		Action: ptr("redirect"), Link: ptr("http://example.org"), EnabledRatio: ptr(0.0), MinQuality: ptr(100), Flood: ptr(1_000_000),
		Overturn: &storage.Overturn{Rate: 1, Min: 1},
	})
	equal(t, *b.Policy.EnabledRatio, 0.0)
	b = n.changeBank(b.Name, matcher.BankEdit{EnabledRatio: ptr(1.0), Flood: ptr(0), Overturn: &storage.Overturn{}})
	equal(t, b.Policy.EnabledRatio, (*float64)(nil)) // which is what goes without saying
}

func TestBankPolicyAppliesAtOnce(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		s := signal(hashing.PDQ, 1)
		n.flagSignals("bank", s)
		near := away(s, 20)
		ask := func() [2]string {
			v := n.checkSignals(near)
			return [2]string{v.Level.String(), v.Action.String()}
		}
		equal(t, ask(), [2]string{"match", "block"})
		n.changeBank("bank", matcher.BankEdit{Radius: &radii{hashing.PDQ: 19}})
		equal(t, ask(), [2]string{"none", "none"})
		n.changeBank("bank", matcher.BankEdit{Radius: &radii{hashing.PDQ: 20}, Action: ptr("label")})
		equal(t, ask(), [2]string{"match", "label"})
		n.changeBank("bank", matcher.BankEdit{Radius: &radii{}})
		equal(t, ask(), [2]string{"none", "none"})

		before := len(n.kinds())
		n.changeBank("bank", matcher.BankEdit{Radius: &radii{}, Action: ptr("label")})
		equal(t, len(n.kinds()), before) // it was so already
	})
}

func TestDeleteAndRestoreBank(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		s := signal(hashing.PDQ, 1)
		kept, gone := n.flagSignals("bank", s), n.flagSignals("bank", away(s, 1))
		bank := kept.Bank
		_, err := n.DeleteBank(n.ctx, local, "bank")
		must(t, err)
		equal(t, n.checkSignals(s).Level, matcher.None)
		wantErr(t, second(n.DeleteBank(n.ctx, local, "bank")), matcher.ErrUnknownBank)
		wantErr(t, second(n.ChangeBank(n.ctx, local, "bank", matcher.BankEdit{Action: ptr("log")})), matcher.ErrUnknownBank)

		// What happens to entries of a deleted bank shows when it is restored.
		n.retract(gone.Entry.ID)
		_, err = n.RestoreBank(n.ctx, local, "bank")
		must(t, err)
		equal(t, matched(n.checkSignals(s)), ids(kept))
		before := len(n.kinds())
		restored, err := n.RestoreBank(n.ctx, local, "bank")
		must(t, err)
		equal(t, len(n.kinds()), before)
		equal(t, restored.ID, bank.ID)

		// The name of a deleted bank is free. The restored one needs it back.
		_, err = n.DeleteBank(n.ctx, local, "bank")
		must(t, err)
		namesake := n.bank("bank", "log", nil)
		if namesake.ID == bank.ID {
			t.Error("the new bank is the old one")
		}
		equal(t, n.checkSignals(s).Level, matcher.None)
		n.changeBank("bank", matcher.BankEdit{Name: ptr("namesake")})
		_, err = n.RestoreBank(n.ctx, local, "bank")
		must(t, err)
		equal(t, matched(n.checkSignals(s)), ids(kept))
	})
}

func TestRenameBank(t *testing.T) {
	t.Parallel()
	overEach(t, func(t *testing.T, n *node) {
		s := signal(hashing.PDQ, 1)
		flagged := n.flagSignals("bank", s)
		n.changeBank("bank", matcher.BankEdit{Name: ptr("renamed")})
		v := n.checkSignals(s)
		equal(t, matched(v), ids(flagged))
		equal(t, v.Matches[0].Bank.Name, "renamed")
		_, err := n.Check(n.ctx, matcher.Question{Signals: []hashing.Signal{s}, Banks: []string{"bank"}})
		wantErr(t, err, matcher.ErrUnknownBank)
		equal(t, matched(n.check(matcher.Question{Signals: []hashing.Signal{s}, Banks: []string{"renamed"}})), ids(flagged))
		if again := n.flagSignals("renamed", s); again.Created {
			t.Error("the renamed bank has lost its entry")
		}
		n.bank("other", "log", nil)
		wantErr(t, second(n.ChangeBank(n.ctx, local, "renamed", matcher.BankEdit{Name: ptr("other")})), matcher.ErrBankExists)
	})
}

// A bank whose name another one took cannot come back, and says so rather than answer with the other.
func TestRestoreBankWhoseNameIsTaken(t *testing.T) {
	overEach(t, func(t *testing.T, n *node) {
		old := n.bank("a", "block", nil)
		_, err := n.DeleteBank(n.ctx, local, "a")
		must(t, err)
		n.bank("a", "log", nil)
		_, err = n.RestoreBank(n.ctx, local, "a")
		wantErr(t, err, matcher.ErrBankExists)
		n.changeBank("a", matcher.BankEdit{Name: ptr("b")})
		back, err := n.RestoreBank(n.ctx, local, "a")
		must(t, err)
		equal(t, back.ID, old.ID)
	})
}
