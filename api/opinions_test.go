package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	v1 "vigie/api/v1"
	"vigie/matcher"
)

// TestOverlay disables and relabels an entry for one party, and for nobody else.
func TestOverlay(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.party("shop")
	n.shared("shared", "shop")
	entry := n.flag("shared", []string{"theirs"}, digest(1)).Entry.Id
	seen := func(who string) string {
		t.Helper()
		got, err := n.as(who).CheckWithResponse(t.Context(), v1.CheckSignals{Signals: v1.Signals{digest(1)}})
		must(t, err)
		if len(got.JSON200.Matches) == 0 {
			return "nothing"
		}
		return strings.Join(got.JSON200.Matches[0].Labels, " ")
	}
	equal(t, "before", seen("shop platform"), "theirs")
	for _, test := range []struct {
		name    string
		overlay v1.NewOverlay
		sees    string
		has     string
	}{
		{"other labels", v1.NewOverlay{Labels: &v1.Labels{"ours"}}, "ours", "false [ours]"},
		{"no labels", v1.NewOverlay{Labels: &v1.Labels{}}, "", "false []"},
		{"disabled", v1.NewOverlay{Disabled: some(true), Reason: some("too much")}, "nothing", "true <nil>"},
		{"nothing", v1.NewOverlay{}, "theirs", ""},
	} {
		got, err := n.as("shop analyst").SetOverlayWithResponse(t.Context(), entry, test.overlay)
		must(t, err)
		equal(t, test.name, got.StatusCode(), http.StatusOK)
		equal(t, test.name+": labels of the entry", strings.Join(got.JSON200.Labels, " "), "theirs")
		equal(t, test.name+": overlay", overlayText(got.JSON200.Overlay), test.has)
		equal(t, test.name+": verdict", seen("shop platform"), test.sees)
		equal(t, test.name+": another's verdict", seen("platform"), "theirs")
		others, err := n.as("analyst").GetEntryWithResponse(t.Context(), entry)
		must(t, err)
		equal(t, test.name+": seen by others", overlayText(others.JSON200.Overlay), "")
	}
	_, err := n.as("shop analyst").SetOverlayWithResponse(t.Context(), entry, v1.NewOverlay{Disabled: some(true)})
	must(t, err)
	dropped, err := n.as("shop analyst").DropOverlayWithResponse(t.Context(), entry)
	must(t, err)
	equal(t, "dropped", overlayText(dropped.JSON200.Overlay), "")
	equal(t, "verdict when dropped", seen("shop platform"), "theirs")
	bad, err := n.as("shop analyst").SetOverlayWithResponse(t.Context(), entry, v1.NewOverlay{Labels: &v1.Labels{"tlp:purple"}})
	must(t, err)
	equal(t, "labels against the vocabulary", problemType(bad.ApplicationproblemJSONDefault), "invalid-request")
}

func overlayText(o *v1.Overlay) string {
	switch {
	case o == nil:
		return ""
	case o.Labels == nil:
		return fmt.Sprint(o.Disabled, nil)
	}
	return fmt.Sprint(o.Disabled, " ", *o.Labels)
}

// shared makes a bank of the operator's that a party subscribes to.
func (n *node) shared(bank, party string) {
	n.t.Helper()
	n.bank(bank)
	_, err := n.as("admin").ChangeBankWithResponse(n.t.Context(), bank, v1.BankChange{Members: &[]string{party}})
	must(n.t, err)
	got, err := n.as(party+" admin").SubscribeWithResponse(n.t.Context(), bank, v1.NewSubscription{})
	must(n.t, err)
	equal(n.t, "status", got.StatusCode(), http.StatusOK)
}

// TestOpinions says what parties think of an entry: the sums are for all, the words for the owner.
func TestOpinions(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.party("shop")
	n.party("paper")
	n.shared("shared", "shop")
	_, err := n.as("admin").ChangeBankWithResponse(t.Context(), "shared", v1.BankChange{Open: some(true)})
	must(t, err)
	entry := n.flag("shared", nil, digest(1)).Entry.Id
	say := func(who string, stance v1.Stance, reason *string) *v1.SetOpinionResponse {
		t.Helper()
		got, err := n.as(who).SetOpinionWithResponse(t.Context(), entry, v1.NewOpinion{Stance: stance, Reason: reason})
		must(t, err)
		return got
	}
	equal(t, "disagreeing without a reason", problemType(say("shop analyst", v1.Disagree, nil).ApplicationproblemJSONDefault), "invalid-request")
	first := say("shop analyst", v1.Agree, nil).JSON200
	equal(t, "after one agrees", first.Tally, v1.Tally{Agree: 1, Standing: v1.StandingPositive})
	say("paper analyst", v1.Disagree, some("it is a film"))
	say("shop admin", v1.Saw, some("in May"))
	want := v1.Tally{Disagree: 1, Saw: 1, Standing: v1.StandingDisputed}
	for who, said := range map[string]string{
		"auditor":      "paper disagree it is a film, shop saw in May",
		"shop analyst": "shop saw in May",
		"paper admin":  "paper disagree it is a film",
	} {
		got, err := n.as(who).ListOpinionsWithResponse(t.Context(), entry)
		must(t, err)
		equal(t, "sums for "+who, got.JSON200.Tally, want)
		var words []string
		for _, o := range got.JSON200.Opinions {
			words = append(words, fmt.Sprint(o.Party, " ", o.Stance, " ", or(o.Reason)))
		}
		equal(t, "words for "+who, strings.Join(words, ", "), said)
	}
	read, err := n.as("analyst").GetEntryWithResponse(t.Context(), entry)
	must(t, err)
	equal(t, "sums with the entry", *read.JSON200.Opinions, want)
	check, err := n.as("shop platform").CheckWithResponse(t.Context(), v1.CheckSignals{Signals: v1.Signals{digest(1)}})
	must(t, err)
	m := check.JSON200.Matches[0]
	equal(t, "sums in the verdict", *m.Opinions, want)
	equal(t, "action", m.Action, v1.RecommendationReview)
}

// TestVocabulary reads the words, and what becomes of labels that are not of them.
func TestVocabulary(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	got, err := n.as("platform").GetVocabularyWithResponse(t.Context())
	must(t, err)
	equal(t, "terms", len(got.JSON200.Terms), len(matcher.Vocabulary()))
	kinds := map[string]string{}
	for _, term := range got.JSON200.Terms {
		switch {
		case term.Values != nil:
			kinds[term.Name] = strings.Join(*term.Values, " ")
		case term.Most != nil:
			kinds[term.Name] = fmt.Sprint("to ", *term.Most)
		default:
			kinds[term.Name] = "words"
		}
	}
	for name, want := range map[string]string{"severity": "to 4", "incident": "words", "tlp": "clear green amber amber_strict red"} {
		equal(t, name, kinds[name], want)
	}
}

// TestContext says of an upload where it stands; an entry may want that heeded.
func TestContext(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	block := v1.ActionBlock
	_, err := n.as("admin").CreateBankWithResponse(t.Context(), v1.NewBank{Name: "b", Action: &block})
	must(t, err)
	n.flag("b", []string{"context:block_unless_news"}, v1.Signal{Algorithm: v1.Md5, Value: "900150983cd24fb0d6963f7d28e17f72"}) // of "abc"
	for _, test := range []struct {
		name    string
		context *[]v1.Context
		part    string
		action  v1.Recommendation
		limits  string
	}{
		{"none", nil, "", v1.RecommendationBlock, ""},
		{"news", &[]v1.Context{v1.ContextNews}, "news, art", v1.RecommendationReview, "context"},
	} {
		asked, err := n.as("platform").CheckWithResponse(t.Context(), v1.CheckSignals{Signals: v1.Signals{{Algorithm: v1.Md5, Value: "900150983cd24fb0d6963f7d28e17f72"}}, Context: test.context})
		must(t, err)
		body, kind := form("file", "abc", "context", test.part)
		sent, err := n.as("platform").CheckWithBodyWithResponse(t.Context(), strings.TrimPrefix(kind, "Content-Type: "), body)
		must(t, err)
		for how, v := range map[string]*v1.Verdict{"signals": asked.JSON200, "a file": sent.JSON200} {
			equal(t, test.name+", "+how, v.Action, test.action)
			equal(t, test.name+", "+how+": limits", limitsText(v.Matches[0].Limits), test.limits)
		}
	}
	body, kind := form("file", "abc", "context", "weather")
	bad := n.send("POST", "/v1/check", body, kind)
	equal(t, "an unknown context", bad.StatusCode, http.StatusBadRequest)
}

func limitsText(limits *[]v1.Limit) string {
	var words []string
	for _, l := range or(limits) {
		words = append(words, string(l))
	}
	return strings.Join(words, " ")
}
