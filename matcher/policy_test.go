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
	asks := []struct {
		name    string
		signals []hashing.Signal
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
	}
	type bank struct {
		action  string
		radius  radii
		signals []hashing.Signal
	}
	worlds := []struct {
		name  string
		banks []bank
	}{
		{"one bank: block, default radii", []bank{{"block", nil, all}}},
		{"one bank: hold", []bank{{"hold", nil, all}}},
		{"one bank: review", []bank{{"review", nil, all}}},
		{"one bank: redirect", []bank{{"redirect", nil, all}}},
		{"one bank: label", []bank{{"label", nil, all}}},
		{"one bank: log", []bank{{"log", nil, all}}},
		{"one bank: block, only dhash 0", []bank{{"block", radii{hashing.DHash: 0}, all}}},
		{"one bank: block, no radii", []bank{{"block", radii{}, all}}},
		{"block by phash alone, label by pdq", []bank{
			{"block", nil, []hashing.Signal{phash}}, {"label", nil, []hashing.Signal{pdq}},
		}},
		{"block within 5, log within 40", []bank{
			{"block", radii{hashing.PDQ: 5}, all}, {"log", radii{hashing.PDQ: 40}, all},
		}},
	}
	var out strings.Builder
	for _, world := range worlds {
		n := start(t, catalogues["memory"](t), matcher.Options{})
		fmt.Fprintf(&out, "%s\n", world.name)
		for i, b := range world.banks {
			name := fmt.Sprintf("%d", i+1)
			n.bank(name, b.action, b.radius)
			n.flagSignals(name, b.signals...)
		}
		for _, a := range asks {
			v := n.checkSignals(a.signals...)
			fmt.Fprintf(&out, "  %-20s %-7s %-9s%s\n", a.name, v.Level, v.Action, matchesText(v))
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
			all = append(all, fmt.Sprintf("%s %d/%d %s", e.Algorithm, e.Distance, e.Radius, e.Level))
		}
		fmt.Fprintf(&text, " [bank %s: %s; %s]", f.Bank.Name, f.Action, strings.Join(all, ", "))
	}
	return text.String()
}
