package text

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What a query's text may be.
const (
	longestQuery  = 1000 // bytes
	mostWords     = 32   // those of phrases counted
	shortPrefix   = 2    // letters before a *
	shortFuzzy    = 4    // letters before a ~
	mostExpansion = 1024 // words of the index that a prefix or a fuzzy word may stand for
)

// QueryError says what is wrong with a [Query], and what is accepted. It repeats nothing of the query.
type QueryError struct {
	Field  string // text, limit, cursor, facets, from
	Reason string
}

func (e *QueryError) Error() string { return e.Field + ": " + e.Reason }

func wrong(field, format string, args ...any) error {
	return &QueryError{field, fmt.Sprintf(format, args...)}
}

// clause is one condition of a query's text: a word, or words in a row.
type clause struct {
	fields  []string // the fields of folded words that it looks in
	exclude bool
	words   []string // folded
	stems   []stem   // of a single word
	expand  expansion

	// terms are what a single word, or what it expands to, is in the index, by field.
	terms map[string]map[string]bool
}

// stem is a word as a language's analyzer leaves it, and the field of that language.
type stem struct{ field, term string }

type expansion int

const (
	exact expansion = iota
	prefix
	fuzzy
)

// named are the fields that a query's text can name.
var named = map[string]string{"note": fieldNote, "label": fieldLabel, "source": fieldSource, "reason": fieldReason}

// parse reads a query's text; [Query] says how it is written.
func parse(text string) ([]clause, error) {
	if len(text) > longestQuery {
		return nil, wrong("text", "has %d bytes; at most %d are accepted", len(text), longestQuery)
	}
	var clauses []clause
	words := 0
	for rest := strings.TrimLeftFunc(text, unicode.IsSpace); rest != ""; rest = strings.TrimLeftFunc(rest, unicode.IsSpace) {
		at := len(text) - len(rest)
		var c clause
		var err error
		if c, rest, err = next(rest, at); err != nil {
			return nil, err
		}
		if words += len(c.words); words > mostWords {
			return nil, wrong("text", "has more than %d words, those in quotation marks counted", mostWords)
		}
		if len(c.words) > 0 { // not punctuation alone
			clauses = append(clauses, c)
		}
	}
	if len(clauses) == 0 && strings.TrimSpace(text) != "" {
		return nil, wrong("text", "has neither a letter nor a digit; leave it empty to find every entry")
	}
	return clauses, nil
}

// next reads a clause from the beginning of a text, which is not empty, and returns what is left.
func next(text string, at int) (c clause, rest string, err error) {
	rest, c.exclude = strings.CutPrefix(text, "-")
	c.fields = folds
	name, value, isNamed := strings.Cut(rest, ":")
	if isNamed = isNamed && named[strings.ToLower(name)] != ""; isNamed {
		c.fields, rest = []string{named[strings.ToLower(name)]}, value
	}
	if quoted, ok := strings.CutPrefix(rest, `"`); ok {
		phrase, after, closed := strings.Cut(quoted, `"`)
		if !closed {
			return c, "", wrong("text", `the quotation mark at byte %d is not closed; write "words in a row"`, at+len(text)-len(rest))
		}
		c.words = Fold(phrase)
		return c, after, nil
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return unicode.IsSpace(r) || r == '"' })
	if end < 0 {
		end = len(rest)
	}
	word, rest := rest[:end], rest[end:]
	if isNamed && word == "" {
		return c, "", wrong("text", "the field at byte %d lacks its word; write label:word, without a space", at)
	}
	shortest, sign, example := 0, "", ""
	switch {
	case strings.HasSuffix(word, "*"):
		c.expand, shortest, sign, example = prefix, shortPrefix, "*", "word*"
	case strings.HasSuffix(word, "~"):
		c.expand, shortest, sign, example = fuzzy, shortFuzzy, "~", "word~"
	}
	word = strings.TrimSuffix(word, sign)
	if strings.Contains(word, "*") {
		return c, "", wrong("text", "a * at byte %d is not at the end of a word; only beginnings are accepted: word*", at)
	}
	c.words = Fold(word)
	switch {
	case c.expand == exact:
		c.stem(word)
	case len(c.words) != 1 || utf8.RuneCountInString(c.words[0]) < shortest:
		return c, "", wrong("text", "what stands before the %s at byte %d is not one word of at least %d letters: %s",
			sign, at, shortest, example)
	}
	return c, rest, nil
}

// stem adds the stems of a word, if notes are among what is looked in.
func (c *clause) stem(word string) {
	if c.fields[0] != fieldNote {
		return
	}
	for _, l := range languagesOf(word) {
		if t := stems[l].Analyze([]byte(word)); len(t) == 1 {
			c.stems = append(c.stems, stem{noteIn(l), string(t[0].Term)})
		}
	}
}
