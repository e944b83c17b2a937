package matcher_test

import (
	"fmt"
	"strings"
	"testing"

	"vigie/hashing"
	"vigie/matcher"
)

func TestParseAction(t *testing.T) {
	t.Parallel()
	last := matcher.NoAction
	for _, name := range []string{"log", "label", "redirect", "review", "hold", "block"} { // ascending
		a, err := matcher.ParseAction(name)
		must(t, err)
		if a.String() != name || a <= last {
			t.Errorf("%q is %s, after %s", name, a, last)
		}
		last = a
	}
	for _, name := range []string{"", "none", "Block", "delete"} {
		a, err := matcher.ParseAction(name)
		wantInput(t, err, "action")
		equal(t, a, matcher.NoAction)
	}
}

// TestVerdicts writes a table of what verdicts come of which hits under which policies.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	pdq, phash, dhash := signal(hashing.PDQ, 1), signal(hashing.PHash, 1), signal(hashing.DHash, 1)
	sha, md := signal(hashing.SHA256, 1), signal(hashing.MD5, 1)
	all := []hashing.Signal{pdq, phash, dhash, sha, md}
	poor := pdq
	poor.Quality = hashing.MinQuality - 1
	ask := func(signals ...hashing.Signal) []hashing.Signal { return signals }
	banded := func(signals ...hashing.Signal) []hashing.Signal { return append(signals, hashing.Signal{}) }
	asks := []struct {
		name    string
		signals []hashing.Signal // the zero one stands for the band
	}{
		{"pdq 0", ask(pdq)},
		{"pdq 31", ask(away(pdq, 31))},
		{"pdq 32", ask(away(pdq, 32))},
		{"pdq 0, quality 49", ask(poor)},
		{"phash 0", ask(phash)},
		{"phash 4", ask(away(phash, 4))},
		{"phash 5", ask(away(phash, 5))},
		{"dhash 0", ask(dhash)},
		{"sha256", ask(sha)},
		{"sha256, 1 bit off", ask(away(sha, 1))},
		{"md5", ask(md)},
		{"pdq 32, phash 2", ask(away(pdq, 32), away(phash, 2))},
		{"pdq 7, phash 2", ask(away(pdq, 7), away(phash, 2))},
		{"md5, sha256, pdq 3", ask(md, sha, away(pdq, 3))},
		{"band, pdq 31", banded(away(pdq, 31))},
		{"band, pdq 32", banded(away(pdq, 32))},
		{"band, pdq 47, phash 8", banded(away(pdq, 47), away(phash, 8))},
		{"band, pdq 48, phash 0", banded(away(pdq, 48), phash)},
		{"band, pdq 55, phash 8", banded(away(pdq, 55), away(phash, 8))},
		{"band, pdq 55, phash 9", banded(away(pdq, 55), away(phash, 9))},
		{"band, pdq 55", banded(away(pdq, 55))},
		{"band, pdq 56, phash 0", banded(away(pdq, 56), phash)},
		{"band, pdq 47, dhash 8", banded(away(pdq, 47), away(dhash, 8))},
		{"band, pdq 32, dhash 9", banded(away(pdq, 32), away(dhash, 9))},
	}
	type bank struct {
		action  string
		radius  radii
		signals []hashing.Signal
		vote    matcher.SecondVoteEdit
	}
	narrow := matcher.SecondVoteEdit{Radius: ptr(32), Far: ptr(0), PHash: ptr(0), DHash: ptr(9)}
	worlds := []struct {
		name  string
		banks []bank
	}{
		{"one bank: block, default radii", []bank{{action: "block", signals: all}}},
		{"one bank: hold", []bank{{action: "hold", signals: all}}},
		{"one bank: review", []bank{{action: "review", signals: all}}},
		{"one bank: redirect", []bank{{action: "redirect", signals: all}}},
		{"one bank: label", []bank{{action: "label", signals: all}}},
		{"one bank: log", []bank{{action: "log", signals: all}}},
		{"one bank: block, only dhash 0", []bank{{action: "block", radius: radii{hashing.DHash: 0}, signals: all}}},
		{"one bank: block, no radii", []bank{{action: "block", radius: radii{}, signals: all}}},
		{"block by phash alone, label by pdq", []bank{
			{action: "block", signals: []hashing.Signal{phash}}, {action: "label", signals: []hashing.Signal{pdq}},
		}},
		{"block within 5, log within 40", []bank{
			{action: "block", radius: radii{hashing.PDQ: 5}, signals: all}, {action: "log", radius: radii{hashing.PDQ: 40}, signals: all},
		}},
		{"one bank: block, phash within 4 too", []bank{{action: "block", radius: radii{hashing.PDQ: 31, hashing.PHash: 4}, signals: all}}},
		{"one bank: block, bare pdq", []bank{{action: "block", signals: all[:1]}}},
		{"one bank: block, no band", []bank{{action: "block", signals: all, vote: matcher.SecondVoteEdit{Radius: ptr(0), Far: ptr(0)}}}},
		{"one bank: block, only what is agreed on", []bank{{action: "block", signals: all, vote: matcher.SecondVoteEdit{Radius: ptr(0)}}}},
		{"one bank: block, second vote up to 32 of pHash 0, dHash 9", []bank{{action: "block", signals: all, vote: narrow}}},
	}
	var out strings.Builder
	for _, world := range worlds {
		n := start(t, catalogues["memory"](t), matcher.Options{})
		fmt.Fprintf(&out, "%s\n", world.name)
		for i, b := range world.banks {
			name := fmt.Sprintf("%d", i+1)
			n.bank(name, b.action, b.radius)
			n.changeBank(name, matcher.BankEdit{SecondVote: b.vote})
			n.flagSignals(name, b.signals...)
		}
		for _, a := range asks {
			sent, band := a.signals, false
			if last := len(sent) - 1; sent[last] == (hashing.Signal{}) {
				sent, band = sent[:last], true
			}
			v := n.check(matcher.Question{Signals: sent, Band: band})
			fmt.Fprintf(&out, "  %-21s %-7s %-9s%s\n", a.name, v.Level, v.Action, matchesText(v))
		}
		fmt.Fprintln(&out)
	}
	golden(t, "verdicts.golden", out.String())
}

// matchesText lists the matches of a verdict: each with its bank's action, and all its evidence.
func matchesText(v matcher.Verdict) string {
	var text strings.Builder
	for _, f := range v.Matches {
		var all []string
		for _, e := range f.All {
			words := fmt.Sprintf("%s %d/%d %s", e.Algorithm, e.Distance, e.Radius, e.Level)
			if e.Vote != nil {
				words += fmt.Sprintf(" by %s %d/%d", e.Vote.Algorithm, e.Vote.Distance, e.Vote.Radius)
			}
			all = append(all, words)
		}
		fmt.Fprintf(&text, " [bank %s: %s; %s]", f.Bank.Name, f.Action, strings.Join(all, ", "))
	}
	return text.String()
}
