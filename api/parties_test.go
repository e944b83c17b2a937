package api_test

import (
	"net/http"
	"strings"
	"testing"

	v1 "vigie/api/v1"
	"vigie/storage"
)

// TestParties makes parties and changes them; what concerns only a party itself is shown to it and to the operator.
func TestParties(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	kind := v1.AuthorityParty
	made, err := n.as("admin").CreatePartyWithResponse(t.Context(), v1.NewParty{Name: "police", Kind: &kind, KeepMatches: some(30)})
	must(t, err)
	equal(t, "status", made.StatusCode(), http.StatusCreated)
	equal(t, "kind", made.JSON201.Kind, kind)
	equal(t, "kept", *made.JSON201.KeepMatches, 30)
	n.party("shop")
	usual, err := n.as("shop platform").GetPartyWithResponse(t.Context(), "shop")
	must(t, err)
	equal(t, "usual kind", usual.JSON200.Kind, v1.PlatformParty)
	equal(t, "kept usually", *usual.JSON200.KeepMatches, 180)

	for who, sees := range map[string]bool{"auditor": true, "shop platform": false} {
		list, err := n.as(who).ListPartiesWithResponse(t.Context())
		must(t, err)
		var names []string
		for _, p := range list.JSON200.Parties {
			names = append(names, p.Name)
			if p.Name == "police" {
				equal(t, who+" sees what is kept", p.KeepMatches != nil, sees)
				equal(t, who+" sees suspension", p.Suspended != nil, sees)
			}
		}
		equal(t, "parties", strings.Join(names, " "), "operator police shop")
	}

	for _, test := range []struct {
		name, who, party string
		change           v1.PartyChange
		status           int
		problem          string
	}{
		{"its own term", "shop admin", "shop", v1.PartyChange{KeepMatches: some(10)}, 200, ""},
		{"its own name", "shop admin", "shop", v1.PartyChange{Name: some("market")}, 403, "operator-only"},
		{"another's term", "shop admin", "police", v1.PartyChange{KeepMatches: some(10)}, 403, "operator-only"},
		{"a name by the operator", "admin", "shop", v1.PartyChange{Name: some("market")}, 200, ""},
		{"a name that is taken", "admin", "market", v1.PartyChange{Name: some("police")}, 409, "party-exists"},
		{"an unknown party", "admin", "shop", v1.PartyChange{Suspended: some(true)}, 404, "unknown-party"},
		{"the operator's suspension", "admin", "operator", v1.PartyChange{Suspended: some(true)}, 400, "invalid-request"},
	} {
		got, err := n.as(test.who).ChangePartyWithResponse(t.Context(), test.party, test.change)
		must(t, err)
		equal(t, test.name, got.StatusCode(), test.status)
		equal(t, test.name, problemType(got.ApplicationproblemJSONDefault), test.problem)
	}
	again, err := n.as("admin").CreatePartyWithResponse(t.Context(), v1.NewParty{Name: "police"})
	must(t, err)
	equal(t, "a party that exists", problemType(again.ApplicationproblemJSONDefault), "party-exists")
	none, err := n.as("auditor").GetPartyWithResponse(t.Context(), "nobody")
	must(t, err)
	equal(t, "no such party", problemType(none.ApplicationproblemJSONDefault), "unknown-party")
}

// problemType is the slug of a problem; "" for none.
func problemType(p *v1.Problem) string {
	if p == nil {
		return ""
	}
	return strings.TrimPrefix(p.Type, "/problems/")
}

// TestSuspendedParty shows that a party's keys are refused from the answer on, and taken again.
func TestSuspendedParty(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.party("shop")
	for _, suspended := range []bool{true, false} {
		_, err := n.as("admin").ChangePartyWithResponse(t.Context(), "shop", v1.PartyChange{Suspended: &suspended})
		must(t, err)
		got, err := n.as("shop platform").WhoamiWithResponse(t.Context())
		must(t, err)
		equal(t, "refused", problemType(got.ApplicationproblemJSONDefault) == "party-suspended", suspended)
	}
}

// TestKeysOfParties makes keys for one's own party, and as the operator for others.
func TestKeysOfParties(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.party("shop")
	n.party("other")
	create := func(who string, party *string) *v1.CreateKeyResponse {
		t.Helper()
		got, err := n.as(who).CreateKeyWithResponse(t.Context(), v1.NewKey{Name: "uploads", Role: v1.Platform, Party: party})
		must(t, err)
		return got
	}
	own := create("shop admin", nil).JSON201
	equal(t, "own party", own.Key.Party, "shop")
	equal(t, "by the operator", create("admin", some("shop")).JSON201.Key.Party, "shop")
	equal(t, "for another", problemType(create("shop admin", some("other")).ApplicationproblemJSONDefault), "operator-only")
	equal(t, "for nobody", problemType(create("admin", some("nobody")).ApplicationproblemJSONDefault), "unknown-party")

	for who, count := range map[string]int{"shop auditor": 6, "other admin": 4, "auditor": 14} {
		list, err := n.as(who).ListKeysWithResponse(t.Context())
		must(t, err)
		equal(t, "keys that "+who+" sees", len(list.JSON200.Keys), count)
	}
	n.keys["made"] = own.Secret
	me, err := n.as("made").WhoamiWithResponse(t.Context())
	must(t, err)
	equal(t, "whoami", *me.JSON200.Name+" "+string(me.JSON200.Role)+" "+me.JSON200.Party+" "+me.JSON200.Key, "uploads platform shop "+own.Key.Id)
	foreign, err := n.as("other admin").RevokeKeyWithResponse(t.Context(), own.Key.Id)
	must(t, err)
	equal(t, "revoking another's", problemType(foreign.ApplicationproblemJSONDefault), "unknown-key-id")
	revoked, err := n.as("shop admin").RevokeKeyWithResponse(t.Context(), own.Key.Id)
	must(t, err)
	equal(t, "party of what is revoked", revoked.JSON200.Party, "shop")
}

// TestSignIns lists uses of keys by network, once an hour, and only the party's own.
func TestSignIns(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.party("shop")
	for range 3 {
		for _, who := range []string{"shop platform", "shop admin", "platform"} {
			_, err := n.as(who).WhoamiWithResponse(t.Context())
			must(t, err)
		}
	}
	must(t, n.ledger.ship(t.Context()))
	list := func(who string, p *v1.ListSignInsParams) (keys []string, next *string) {
		t.Helper()
		got, err := n.as(who).ListSignInsWithResponse(t.Context(), p)
		must(t, err)
		for _, in := range got.JSON200.SignIns {
			equal(t, "network", *in.Network, "127.0.0.0/24")
			keys = append(keys, in.Key)
		}
		return keys, got.JSON200.Next
	}
	id := func(who string) string { return strings.Split(n.keys[who], "_")[1] }
	got, _ := list("shop admin", nil)
	equal(t, "of the party, newest first", strings.Join(got, " "), id("shop admin")+" "+id("shop platform"))
	must(t, n.ledger.ship(t.Context()))
	got, _ = list("auditor", nil)
	equal(t, "of all", len(got), 3)

	first, next := list("shop admin", &v1.ListSignInsParams{Limit: some(1)})
	second, end := list("shop admin", &v1.ListSignInsParams{Limit: some(1), Cursor: next})
	equal(t, "in pages", first[0]+" "+second[0], id("shop admin")+" "+id("shop platform"))
	equal(t, "last page", end, nil)
}

// TestLocalIsTheOperator asks through the socket: no key, and no sign-in.
func TestLocalIsTheOperator(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	local := n.local()
	me, err := local.WhoamiWithResponse(t.Context())
	must(t, err)
	equal(t, "whoami", me.JSON200.Key+" "+string(me.JSON200.Role)+" "+me.JSON200.Party, "local "+string(storage.Admin)+" operator")
	equal(t, "records", n.ledger.last, uint64(0))
}
