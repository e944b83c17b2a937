package api_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vigie/api"
	v1 "vigie/api/v1"
)

// local is the generated client over a connection that needs no key.
func (n *node) local() *v1.ClientWithResponses {
	n.t.Helper()
	server := httptest.NewUnstartedServer(n.api.Handler())
	server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return api.TrustLocal(ctx) }
	server.Start()
	n.t.Cleanup(server.Close)
	c, err := v1.NewClientWithResponses(server.URL)
	must(n.t, err)
	return c
}

// TestSubscribe follows a bank from its owner to another party's verdicts.
func TestSubscribe(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.party("shop")
	block := v1.ActionBlock
	made, err := n.as("admin").CreateBankWithResponse(t.Context(), v1.NewBank{Name: "shared", Action: &block})
	must(t, err)
	equal(t, "owner", made.JSON201.Owner, "operator")
	equal(t, "kind", made.JSON201.Kind, v1.PositiveBank)
	near, far := v1.Signal{Algorithm: v1.Pdq, Value: strings.Repeat("0f", 32)}, v1.Signal{Algorithm: v1.Pdq, Value: strings.Repeat("f0", 2) + strings.Repeat("0f", 30)}
	n.flag("shared", nil, near)

	listed := func() []v1.Subscription {
		t.Helper()
		got, err := n.as("shop platform").ListSubscriptionsWithResponse(t.Context())
		must(t, err)
		return got.JSON200.Subscriptions
	}
	subscribe := func(s v1.NewSubscription) *v1.SubscribeResponse {
		t.Helper()
		got, err := n.as("shop admin").SubscribeWithResponse(t.Context(), "shared", s)
		must(t, err)
		return got
	}
	verdict := func(s v1.Signal) string {
		t.Helper()
		got, err := n.as("shop platform").CheckWithResponse(t.Context(), v1.CheckSignals{Signals: v1.Signals{s}})
		must(t, err)
		v := *got.JSON200
		return fmt.Sprintf("%d %s %s %s", v.Banks, v.Level, v.Action, or(v.Link))
	}
	equal(t, "before it is shared", len(listed()), 0)
	equal(t, "before it is shared", problemType(subscribe(v1.NewSubscription{}).ApplicationproblemJSONDefault), "unknown-bank")
	shared, err := n.as("admin").ChangeBankWithResponse(t.Context(), "shared", v1.BankChange{Members: &[]string{"shop"}})
	must(t, err)
	equal(t, "members", strings.Join(shared.JSON200.Members, " "), "shop")
	equal(t, "goes without saying", words(listed()[0].On, listed()[0].Said, listed()[0].Owner), "false false operator")
	equal(t, "not subscribed", verdict(near), "0 none none ")

	got := subscribe(v1.NewSubscription{}).JSON200
	equal(t, "policy that counts", got.Policy.Action, v1.ActionReview)
	equal(t, "on another's word alone", verdict(near), "1 match review ")
	got = subscribe(v1.NewSubscription{Action: &block, Cap: &v1.Radius{"pdq": 10}}).JSON200
	if diff := cmp.Diff(&v1.Radius{"pdq": 10}, got.Cap); diff != "" {
		t.Errorf("cap (-want +got)\n%s", diff)
	}
	equal(t, "radius that counts", got.Policy.Radius["pdq"], 10)
	equal(t, "with an action", verdict(near), "1 match block ")
	equal(t, "beyond the cap", verdict(far), "1 none none ")
	redirect := v1.ActionRedirect
	subscribe(v1.NewSubscription{Action: &redirect, Link: some("https://help.example/")})
	equal(t, "redirect", verdict(near), "1 match redirect https://help.example/")
	equal(t, "the cap is gone", verdict(far), "1 match redirect https://help.example/")
	subscribe(v1.NewSubscription{On: some(false)})
	equal(t, "off", verdict(near), "0 none none ")
	equal(t, "off", words(listed()[0].On, listed()[0].Said), "false true")

	for name, bad := range map[string]v1.NewSubscription{
		"a cap of a digest":       {Cap: &v1.Radius{"md5": 1}},
		"a cap too wide":          {Cap: &v1.Radius{"phash": 17}},
		"redirect without a link": {Action: &redirect},
		"a link of another kind":  {Action: &redirect, Link: some("javascript:alert(1)")},
	} {
		equal(t, name, problemType(subscribe(bad).ApplicationproblemJSONDefault), "invalid-request")
	}
}

// TestPolicyOfABank sets what a bank may say, and reads it back.
func TestPolicyOfABank(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	redirect := v1.ActionRedirect
	got, err := n.as("admin").CreateBankWithResponse(t.Context(), v1.NewBank{
		Name: "b", Action: &redirect, Link: some("https://help.example/"), EnabledRatio: some(0.1), MinQuality: some(60), Flood: some(7),
		Overturn: &v1.Overturn{Rate: 0.25, Min: 4}, Open: some(true),
	})
	must(t, err)
	p := got.JSON201.Policy
	equal(t, "policy", words(p.Action, *p.Link, p.EnabledRatio, p.MinQuality, p.Flood, p.Overturn, got.JSON201.Open),
		"redirect https://help.example/ 0.1 60 7 {4 0.25} true")
	changed, err := n.as("admin").ChangeBankWithResponse(t.Context(), "b", v1.BankChange{EnabledRatio: some(0.0), Overturn: &v1.Overturn{}})
	must(t, err)
	equal(t, "what was changed", words(changed.JSON200.Policy.EnabledRatio, changed.JSON200.Policy.Overturn), "0 {0 0}")
	equal(t, "what was not", changed.JSON200.Policy.Flood, 7)
	check, err := n.as("platform").CheckWithResponse(t.Context(), v1.CheckSignals{Signals: v1.Signals{digest(1)}})
	must(t, err)
	equal(t, "skipped", strings.Join(*check.JSON200.Skipped, " "), "b")

	usual, err := n.as("admin").CreateBankWithResponse(t.Context(), v1.NewBank{Name: "usual"})
	must(t, err)
	p = usual.JSON201.Policy
	equal(t, "usual policy", words(p.Action, p.EnabledRatio, p.MinQuality, p.Flood, p.Overturn), "review 1 0 0 {10 0.5}")
	for name, bad := range map[string]v1.NewBank{
		"redirect to nowhere":  {Name: "x", Action: &redirect},
		"rate without minimum": {Name: "x", Overturn: &v1.Overturn{Rate: 0.5}},
		"unknown member":       {Name: "x", Members: &[]string{"nobody"}},
		"another's bank":       {Name: "x", Owner: some("nobody")},
	} {
		got, err := n.as("admin").CreateBankWithResponse(t.Context(), bad)
		must(t, err)
		if got.StatusCode() != http.StatusBadRequest && got.StatusCode() != http.StatusNotFound {
			t.Errorf("%s: %s", name, got.Status())
		}
	}
}

func or[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// words are values with spaces between them.
func words(values ...any) string { return strings.TrimSpace(fmt.Sprintln(values...)) }
