package matcher

import (
	"slices"
	"strconv"
	"strings"
)

// Labels are free words, but for those of the vocabulary: `behaviour:recruitment`. Their names before the colon are
// reserved, so that what is written wrongly is refused rather than overlooked.

// Term is a name of the vocabulary.
type Term struct {
	Name string
	Many bool // an entry may have several of it
	// Values are what is accepted; with none, whole numbers from 0 to Most are.
	Values []string
	Most   int
	About  string
}

// Names of the context rule, which has a say about the action.
const (
	contextRule     = "context:"
	blockUnlessNews = "block_unless_news"
	reviewAlways    = "review_always"
	labelOnly       = "label_only"
)

// Vocabulary is what labels mean the same thing to all: producers and behaviours as the GIFCT's taxonomy has them, TLP 2.0
// (FIRST), severity and confidence.
func Vocabulary() []Term {
	return []Term{
		{Name: "producer", Many: true, Values: []string{"un_listed", "eu_listed", "nationally_listed", "attacker", "other", "unknown"}, About: "who made it: an entity on a list, the perpetrator of an attack"},
		{Name: "behaviour", Many: true, Values: []string{"imminent_threat", "graphic_violence", "glorification", "recruitment", "instruction", "perpetrator_content", "manifesto", "branded_publication"}, About: "what it does"},
		{Name: "ideology", Many: true, Values: []string{"islamist", "far_right", "far_left", "separatist", "other", "unknown"}, About: "for statistics, so that a list that leans is seen to lean"},
		{Name: "severity", Most: 4, About: "0 to 4, the gravest"},
		{Name: "confidence", Most: 100, About: "0 to 100, of whoever flagged it"},
		{Name: "tlp", Values: []string{"clear", "green", "amber", "amber_strict", "red"}, About: "with whom it may be shared: TLP 2.0"},
		{Name: "context", Values: []string{"any_context", blockUnlessNews, reviewAlways, labelOnly}, About: "what the surroundings change: block_unless_news recommends to review at most where the check names a context, review_always always, label_only to label at most"},
		{Name: "incident", Many: true, Most: -1, About: "a word of your own for an incident"},
	}
}

// checkVocabulary refuses labels under a name of the vocabulary that are not of it. Labels are sorted.
func checkVocabulary(labels []string) error {
	for _, t := range Vocabulary() {
		var mine []string
		for _, l := range labels {
			if value, ok := strings.CutPrefix(l, t.Name+":"); ok {
				mine = append(mine, value)
			}
		}
		if len(mine) > 1 && !t.Many {
			return invalid("labels", "%s stands %d times; accepted is one", t.Name, len(mine))
		}
		for _, v := range mine {
			if !t.accepts(v) {
				return invalid("labels", "%s:%s; accepted are %s", t.Name, v, t.accepted())
			}
		}
	}
	return nil
}

func (t Term) accepts(value string) bool {
	switch {
	case t.Most < 0:
		return value != ""
	case len(t.Values) > 0:
		return slices.Contains(t.Values, value)
	}
	n, err := strconv.Atoi(value)
	return err == nil && n >= 0 && n <= t.Most && strconv.Itoa(n) == value
}

func (t Term) accepted() string {
	switch {
	case t.Most < 0:
		return "words"
	case len(t.Values) > 0:
		return t.Name + ":" + strings.Join(t.Values, ", ")
	}
	return "0 to " + strconv.Itoa(t.Most)
}

// sameContext reports whether two lists of labels have the same context rule.
func sameContext(a, b []string) bool {
	rule := func(labels []string) string {
		i := slices.IndexFunc(labels, func(l string) bool { return strings.HasPrefix(l, contextRule) })
		if i < 0 {
			return ""
		}
		return labels[i] // of which there is one
	}
	return rule(a) == rule(b)
}

// contexts are what a platform may say of an upload's surroundings (Regulation (EU) 2021/784, Art. 1(3)).
var contexts = []string{"news", "education", "art", "research", "counter_terror"}

func checkContext(given []string) error {
	for _, c := range given {
		if !slices.Contains(contexts, c) {
			return invalid("context", "%q; accepted are %s", c, strings.Join(contexts, ", "))
		}
	}
	return nil
}
