package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	v1 "vigie/api/v1"
)

type partiesCmd struct {
	List   partiesListCmd `cmd:"" default:"withargs" help:"List parties."`
	Create partyCreateCmd `cmd:"" help:"Create a party. Only the operator of the node may."`
	Change partyChangeCmd `cmd:"" help:"Change a party."`
}

type partiesListCmd struct{}

// Run lists parties.
func (partiesListCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	out, err := ask[struct{ Parties []v1.Party }](node.ListParties(ctx))
	if err != nil {
		return err
	}
	return list(a.printer, out.Parties, []string{"PARTY", "KIND", "KEEPS MATCHES", "KEEPS UPLOADS", "STATE", "CREATED"}, func(p v1.Party) []string {
		return []string{p.Name, string(p.Kind), keepWords(p), historyWords(p), partyState(p), p.CreatedAt.Local().Format(stamp)}
	})
}

// historyWords, keepWords and partyState are empty for a party that is not one's own.
func keepWords(p v1.Party) string {
	if p.KeepMatches == nil {
		return ""
	}
	return plural(*p.KeepMatches, "day")
}

func historyWords(p v1.Party) string {
	switch {
	case p.HistoryDays == nil:
		return ""
	case *p.HistoryDays == 0:
		return "no"
	}
	return plural(*p.HistoryDays, "day")
}

func partyState(p v1.Party) string {
	switch {
	case p.Suspended == nil:
		return ""
	case *p.Suspended:
		return "suspended"
	}
	return "active"
}

// partyFields are the flags of a party that can be changed.
type partyFields struct {
	Kind        *v1.PartyKind `help:"platform, authority, civil_society or exchange (a new party: platform)." placeholder:"KIND"`
	KeepMatches *int          `help:"For how many days its matches are kept (a new party: 180)." placeholder:"DAYS"`
	HistoryDays *int          `help:"For how many days its uploads are kept, so that a look-back finds what becomes known later; 0: none are (a new party: 0)." placeholder:"DAYS"`
}

// showParty sends one request about a party and shows the party that is answered.
func showParty(ctx context.Context, a *app, connect func(context.Context) (*client, error), request func(*client) (*http.Response, error)) error {
	node, err := connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	p, err := ask[v1.Party](request(node))
	if err != nil {
		return err
	}
	if a.json {
		return a.object(p)
	}
	words := []string{string(p.Kind)}
	if state := partyState(p); state != "" {
		words = append(words, state)
	}
	if keeps := keepWords(p); keeps != "" {
		words = append(words, "keeps matches for "+keeps)
	}
	if p.HistoryDays != nil && *p.HistoryDays > 0 {
		words = append(words, "keeps uploads for "+historyWords(p))
	}
	a.say("party %s: %s", p.Name, strings.Join(words, ", "))
	return nil
}

type partyCreateCmd struct {
	Name string `arg:"" help:"Name of the party."`
	partyFields
}

// Run creates a party.
func (c *partyCreateCmd) Run(ctx context.Context, a *app) error {
	err := showParty(ctx, a, a.connectOrMake, func(n *client) (*http.Response, error) {
		return n.CreateParty(ctx, v1.NewParty{Name: c.Name, Kind: c.Kind, KeepMatches: c.KeepMatches, HistoryDays: c.HistoryDays})
	})
	if err == nil {
		a.say("its first key: vigie keys create --party %s --role admin NAME", c.Name)
	}
	return err
}

type partyChangeCmd struct {
	Name string `arg:"" help:"Name of the party."`
	partyFields
	Rename    *string `help:"New name." placeholder:"NAME"`
	Suspended *bool   `help:"Refuse its keys, and let its banks match nothing." negatable:""`
}

// Run changes a party.
func (c *partyChangeCmd) Run(ctx context.Context, a *app) error {
	change := v1.PartyChange{Name: c.Rename, Kind: c.Kind, KeepMatches: c.KeepMatches, HistoryDays: c.HistoryDays, Suspended: c.Suspended}
	if change == (v1.PartyChange{}) {
		return usagef("nothing to change: name at least one of --rename, --kind, --keep-matches, --history-days, --suspended, --no-suspended")
	}
	return showParty(ctx, a, a.connect, func(n *client) (*http.Response, error) { return n.ChangeParty(ctx, c.Name, change) })
}

type vocabularyCmd struct{}

// Run lists the labels that mean the same to all.
func (vocabularyCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	out, err := ask[struct{ Terms []v1.Term }](node.GetVocabulary(ctx))
	if err != nil {
		return err
	}
	return list(a.printer, out.Terms, []string{"LABEL", "SEVERAL", "VALUES", "ABOUT"}, func(t v1.Term) []string {
		values := "any word"
		switch {
		case t.Values != nil:
			values = strings.Join(*t.Values, " ")
		case t.Most != nil:
			values = fmt.Sprintf("0 to %d", *t.Most)
		}
		return []string{t.Name + ":", yesNo(t.Many), values, t.About}
	})
}
