package text

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/blevesearch/bleve/v2/analysis"
	"github.com/blevesearch/bleve/v2/analysis/token/unicodenorm"
)

// longestWord is how many letters of a word count, in the folded form: longer ones are told apart by these.
const longestWord = 64

// Fold returns the words of a text as they are compared, in order.
//
// A word is a run of letters, digits and the marks on them; everything else separates, so that `https://example.org/b-17`
// is five words. Compatibility forms are resolved (NFKD), case, accents, Arabic vowel marks, tatweel and invisible
// joiners are dropped, digits of all scripts are ASCII. Letters that differ by keyboard are one: ک and ك; ی, ى and ي;
// ہ, ھ, ە, ة and ه; the forms of alef, waw and yeh with and without hamza; ں and ن. ß, æ, œ, ø, đ, ł, þ, ð, ı and ς are
// written as ss, ae, oe, o, d, l, th, d, i and σ.
func Fold(text string) []string {
	var words []string
	for _, t := range folded.Analyze([]byte(text)) {
		words = append(words, string(t.Term))
	}
	return words
}

// folded is Fold as an analyzer of bleve.
var folded = &analysis.DefaultAnalyzer{
	Tokenizer:    wordTokenizer{},
	TokenFilters: []analysis.TokenFilter{unicodenorm.MustNewUnicodeNormalizeFilter(unicodenorm.NFKD), foldFilter{}},
}

// wordTokenizer cuts a text into runs of letters, digits, and marks and joiners between them.
type wordTokenizer struct{}

func (wordTokenizer) Tokenize(text []byte) analysis.TokenStream {
	var words analysis.TokenStream
	start := -1
	end := func(at int) {
		if start >= 0 {
			words = append(words, &analysis.Token{Start: start, End: at, Term: text[start:at]})
			start = -1
		}
	}
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		switch {
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			if start < 0 {
				start = i
			}
		case start >= 0 && (unicode.IsMark(r) || unicode.Is(unicode.Cf, r)):
		default:
			end(i)
		}
		i += n
	}
	end(len(text))
	return words
}

// foldFilter brings decomposed words into the form that is compared, and numbers them.
type foldFilter struct{}

func (foldFilter) Filter(words analysis.TokenStream) analysis.TokenStream {
	kept := words[:0]
	for _, w := range words {
		if w.Term = foldWord(w.Term); len(w.Term) > 0 {
			w.Position = len(kept) + 1
			kept = append(kept, w)
		}
	}
	return kept
}

func foldWord(word []byte) []byte {
	out := make([]byte, 0, len(word))
	letters := 0
	for _, r := range string(word) {
		for _, r := range foldRune(r) {
			if letters == longestWord {
				return out
			}
			out = utf8.AppendRune(out, r)
			letters++
		}
	}
	return out
}

// foldRune returns what stands for a rune of a decomposed word.
func foldRune(r rune) string {
	if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
		return asciiRunes[r : r+1]
	}
	r = unicode.ToLower(r)
	if s, ok := united[r]; ok {
		return s
	}
	switch {
	case unicode.IsDigit(r):
		return asciiRunes['0'+digit(r):][:1]
	case unicode.IsLetter(r):
		return string(r)
	}
	return ""
}

// digit is the value of a decimal digit: each script has its ten in a row.
func digit(r rune) int {
	for n := range 10 {
		if !unicode.IsDigit(r - rune(n) - 1) {
			return n
		}
	}
	return int(r) % 10
}

// asciiRunes lets a rune below 128 become a string without an allocation.
var asciiRunes = func() string {
	var b strings.Builder
	for i := range 128 {
		b.WriteByte(byte(i))
	}
	return b.String()
}()

// united are the letters that are written as others. NFKD has taken off marks before, hamzas and maddas among them.
var united = map[rune]string{
	'ß': "ss", 'æ': "ae", 'œ': "oe", 'ø': "o", 'đ': "d", 'ł': "l", 'þ': "th", 'ð': "d", 'ı': "i", 'ς': "σ",
	'ک': "ك", 'ڪ': "ك",
	'ی': "ي", 'ى': "ي", 'ې': "ي", 'ے': "ي",
	'ہ': "ه", 'ھ': "ه", 'ە': "ه", 'ة': "ه", 'ۃ': "ه",
	'ٱ': "ا", 'ں': "ن",
	'ـ': "", // tatweel: a letter to Unicode
}
