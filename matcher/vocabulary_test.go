package matcher_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"vigie/hashing"
	"vigie/matcher"
)

// TestVocabulary labels an entry with each value of each term, and with some that there are not.
func TestVocabulary(t *testing.T) {
	t.Parallel()
	w := newWorld(t, matcher.Options{})
	w.bank("platform", "own", block())
	id := w.at("own", "e", 12)
	label := func(labels ...string) error {
		return w.Edit(w.ctx, w.who("platform"), id, matcher.EntryEdit{Labels: &labels})
	}
	seen := map[string]bool{}
	for _, term := range matcher.Vocabulary() {
		if seen[term.Name] || term.About == "" {
			t.Errorf("term %+v", term)
		}
		seen[term.Name] = true
		values := term.Values
		if values == nil {
			values = []string{"0", fmt.Sprint(term.Most)}
		}
		if term.Most < 0 {
			values = []string{"berlin-2016", "2016"}
		}
		all := make([]string, len(values))
		for i, v := range values {
			all[i] = term.Name + ":" + v
			if err := label(all[i], "a-free-word"); err != nil {
				t.Errorf("%s is refused: %v", all[i], err)
			}
		}
		if err := label(all...); (err == nil) != (term.Many || len(all) == 1) {
			t.Errorf("several of %s are answered %v", term.Name, err)
		}
		wrong := []string{"", "unheard-of", "1.5", "-1", "01", fmt.Sprint(term.Most + 1)}
		if term.Most < 0 {
			wrong = []string{""}
		}
		for _, v := range wrong {
			err := label(term.Name + ":" + v)
			var input *matcher.InputError
			if !errors.As(err, &input) || input.Field != "labels" {
				t.Errorf("%s:%s is answered %v", term.Name, v, err)
			} else if v == "unheard-of" && !strings.Contains(err.Error(), values[0]) {
				t.Errorf("%v does not say what is accepted", err)
			}
		}
	}
	for _, free := range []string{"producer", "tlp", "severity.4", "producers:isis", "a:b", "tlp-red"} {
		if err := label(free); err != nil {
			t.Errorf("the free word %s is refused: %v", free, err)
		}
	}
	// Wherever labels come from.
	_, err := w.Flag(w.ctx, matcher.Flagging{Bank: "own", Who: w.who("platform"), Signals: []hashing.Signal{upload}, Labels: []string{"tlp:purple"}})
	wantInput(t, err, "labels")
}

func TestContexts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, matcher.Options{})
	for _, c := range []string{"news", "education", "art", "research", "counter_terror"} {
		q := w.ask("platform")
		q.Context = []string{c}
		w.check(q)
	}
	q := w.ask("platform")
	q.Context = []string{"news", "fun"}
	_, err := w.Check(w.ctx, q)
	wantInput(t, err, "context")
	video := q
	video.Signals = frames(3, 0)
	_, err = w.Check(w.ctx, video)
	wantInput(t, err, "context")
}
