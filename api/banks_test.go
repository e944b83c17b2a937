package api_test

import (
	"net/http"
	"strings"
	"testing"

	v1 "vigie/api/v1"
)

// TestBankNames: two parties have a bank of one name, and a third calls them apart, wherever a bank is named.
func TestBankNames(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	for _, party := range []string{"east", "west", "shop"} {
		n.party(party)
	}
	const name = "list"
	for i, party := range []string{"east", "west"} {
		made, err := n.as(party+" admin").CreateBankWithResponse(t.Context(), v1.NewBank{Name: name})
		must(t, err)
		equal(t, party+" makes it", made.StatusCode(), http.StatusCreated)
		hidden, err := n.as("shop admin").GetBankWithResponse(t.Context(), name)
		must(t, err)
		equal(t, "while it is hidden", hidden.StatusCode(), http.StatusNotFound)
		_, err = n.as(party+" analyst").FlagWithResponse(t.Context(), name, v1.FlagSignals{Signals: v1.Signals{digest(i)}})
		must(t, err)
	}
	for _, party := range []string{"east", "west"} {
		_, err := n.as(party+" admin").ChangeBankWithResponse(t.Context(), party+":"+name, v1.BankChange{Open: some(true)})
		must(t, err)
	}
	for path, want := range map[string]int{
		"/v1/banks/list": 409, "/v1/banks/east:list": 200, "/v1/banks/west%3Alist": 200, "/v1/banks/north:list": 404, "/v1/banks/a:b:c": 400,
		"/v1/entries?bank=list": 409, "/v1/entries?bank=east:list": 200, "/v1/changes?bank=west:list": 200, "/v1/matches?bank=west:list": 200,
	} {
		answer := n.send("GET", path, nil, "Authorization: Bearer "+n.keys["shop analyst"])
		text := read(t, answer.Body)
		equal(t, path, answer.StatusCode, want)
		if want == 409 && (!strings.Contains(text, "ambiguous-bank") || !strings.Contains(text, "east:list, west:list")) {
			t.Errorf("%s does not say which: %s", path, text)
		}
	}
	own, err := n.as("east analyst").ListEntriesWithResponse(t.Context(), &v1.ListEntriesParams{Bank: some(name)})
	must(t, err)
	equal(t, "an owner's entries", words(len(own.JSON200.Entries), own.JSON200.Entries[0].Bank), "1 list")
	theirs, err := n.as("shop analyst").ListEntriesWithResponse(t.Context(), &v1.ListEntriesParams{})
	must(t, err)
	equal(t, "others' entries", words(theirs.JSON200.Entries[0].Bank, theirs.JSON200.Entries[1].Bank), "east:list west:list")

	said, err := n.as("shop admin").SubscribeWithResponse(t.Context(), "west:list", v1.NewSubscription{})
	must(t, err)
	equal(t, "subscribed", said.JSON200.Bank, "west:list")
	check, err := n.as("shop platform").CheckWithResponse(t.Context(), v1.CheckSignals{Signals: v1.Signals{digest(1)}, Banks: &[]string{"west:list"}})
	must(t, err)
	equal(t, "verdict", check.JSON200.Matches[0].Bank, "west:list")
}
