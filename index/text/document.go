package text

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/blevesearch/bleve/v2/analysis"
	"github.com/blevesearch/bleve/v2/analysis/lang/ar"
	"github.com/blevesearch/bleve/v2/analysis/lang/en"
	"github.com/blevesearch/bleve/v2/analysis/lang/fr"
	"github.com/blevesearch/bleve/v2/document"
	"github.com/blevesearch/bleve/v2/registry"
	index "github.com/blevesearch/bleve_index_api"
)

// MappingVersion is raised whenever another text, or another form of it, comes to be indexed: an index of another
// version is made anew when it is opened.
const MappingVersion = 1

// The fields of the index.
const (
	fieldNote   = "note_any" // folded
	fieldLabel  = "label"    // folded, each label apart
	fieldSource = "source"   // folded, each source apart
	fieldPairs  = "pairs"    // each two neighbours in a source, as one word
	fieldReason = "reason"   // folded
	fieldKey    = "key"      // bank, status, labels, hosts and time, as they are, each behind its letter
	fieldStored = "stored"   // the texts, for highlighting
)

// folds are the fields of folded words.
var folds = []string{fieldNote, fieldLabel, fieldSource, fieldReason}

// noteIn is the field of the stems of a note in a language.
func noteIn(language string) string { return "note_" + language }

const (
	// Folded words keep their positions, for phrases.
	foldOptions = index.IndexField | index.IncludeTermVectors
	stemOptions = index.IndexField
	pairOptions = index.IndexField | index.SkipFreqNorm
	// Keys are counted for facets one document at a time: neither compressed nor in chunks, that is quickest.
	keyOptions = index.IndexField | index.SkipFreqNorm | index.DocValues | index.SkipDVChunking | index.SkipDVCompression
)

// stems are the analyzers of the languages: bleve's, and what they leave is folded. The Arabic stemmer takes folded words
// itself, so that it knows Persian letters.
var stems = func() map[string]analysis.Analyzer {
	cache := registry.NewCache()
	all := map[string]analysis.Analyzer{}
	for _, name := range []string{fr.AnalyzerName, en.AnalyzerName} {
		a, err := cache.AnalyzerNamed(name)
		if err != nil {
			panic(err) // the imports register them
		}
		its := a.(*analysis.DefaultAnalyzer)
		all[name] = &analysis.DefaultAnalyzer{
			CharFilters: its.CharFilters, Tokenizer: its.Tokenizer,
			TokenFilters: slices.Concat(its.TokenFilters, folded.TokenFilters),
		}
	}
	stemmer, err := cache.TokenFilterNamed(ar.StemmerName)
	if err != nil {
		panic(err)
	}
	all[ar.AnalyzerName] = &analysis.DefaultAnalyzer{
		Tokenizer: folded.Tokenizer, TokenFilters: slices.Concat(folded.TokenFilters, []analysis.TokenFilter{stemmer}),
	}
	return all
}()

// The letters before the values of the field key.
const (
	keyBank   = "b"
	keyStatus = "s"
	keyLabel  = "l"
	keySource = "h" // the host of a URL, otherSource for the rest
	keyMonth  = "m" // 2006-01, in UTC
	keyDay    = "d" // 2006-01-02
	keyTime   = "t" // the microsecond, in an order that is that of the bytes
)

// otherSource stands in the facet for sources that are no URLs.
const otherSource = "other"

const (
	longestText = 64 << 10 // bytes of a text that are indexed
	longestKey  = 256      // bytes of a label, a status or a host that tell it from others
)

// storedTexts are kept to show where a search matched.
type storedTexts struct {
	Note    string   `json:"n,omitempty"`
	Labels  []string `json:"l,omitempty"`
	Sources []string `json:"s,omitempty"`
	Reason  string   `json:"r,omitempty"`
}

// bleve makes of a document what bleve indexes.
func (d *Document) bleve() *document.Document {
	out := document.NewDocument(entryKey(d.Entry))
	add := func(name, value string, i int, o index.FieldIndexingOptions, a analysis.Analyzer) {
		if value != "" {
			out.AddField(document.NewTextFieldCustom(name, []uint64{uint64(i)}, []byte(value), o, a))
		}
	}
	texts := storedTexts{Note: cut(d.Note, longestText), Reason: cut(d.Reason, longestText)}
	add(fieldNote, texts.Note, 0, foldOptions, folded)
	for _, l := range languages(texts.Note) {
		add(noteIn(l), texts.Note, 0, stemOptions, stems[l])
	}
	add(fieldReason, texts.Reason, 0, foldOptions, folded)
	texts.Labels, texts.Sources = cutAll(d.Labels), cutAll(d.Sources)
	for i, l := range texts.Labels {
		add(fieldLabel, l, i, foldOptions, folded)
	}
	for i, s := range texts.Sources {
		add(fieldSource, s, i, foldOptions, folded)
		add(fieldPairs, s, i, pairOptions, pairs{})
	}
	for i, k := range d.keys() {
		add(fieldKey, k, i, keyOptions, verbatim{})
	}
	if text, err := json.Marshal(texts); err == nil && len(text) > len("{}") {
		out.AddField(document.NewTextFieldCustom(fieldStored, nil, text, index.StoreField, nil))
	}
	return out
}

// keys are the document's values of the field key, each once.
func (d *Document) keys() []string {
	at := d.CreatedAt.UTC()
	keys := []string{
		bankKey(d.Bank), key(keyStatus, d.Status),
		keyMonth + at.Format("2006-01"), keyDay + at.Format(time.DateOnly), timeKey(at),
	}
	seen := map[string]bool{}
	once := func(k string) {
		if !seen[k] {
			seen[k] = true
			keys = append(keys, k)
		}
	}
	for _, l := range d.Labels {
		once(key(keyLabel, l))
	}
	for _, s := range d.Sources {
		once(key(keySource, sourceKind(s)))
	}
	return keys
}

// pairs indexes neighbouring words. Hosts have parts that are in half of all sources, such as com; to find two of those in a
// row by their positions alone takes too long.
type pairs struct{}

func (pairs) Analyze(value []byte) analysis.TokenStream {
	words := folded.Analyze(value)
	var out analysis.TokenStream
	for i := 1; i < len(words); i++ {
		out = append(out, &analysis.Token{Term: []byte(pair(string(words[i-1].Term), string(words[i].Term))), Position: i})
	}
	return out
}

// pair is two words as one.
func pair(a, b string) string { return a + " " + b }

// verbatim indexes a value as one word.
type verbatim struct{}

func (verbatim) Analyze(value []byte) analysis.TokenStream {
	return analysis.TokenStream{{Term: value, End: len(value), Position: 1}}
}

func key(kind, value string) string {
	return kind + cut(strings.ToValidUTF8(value, "\uFFFD"), longestKey)
}
func bankKey(bank uint32) string   { return fmt.Sprintf("%s%d", keyBank, bank) }
func entryKey(entry uint64) string { return fmt.Sprintf("%016x", entry) }
func timeKey(t time.Time) string {
	return fmt.Sprintf("%s%016x", keyTime, uint64(t.UnixMicro())^1<<63)
}

// sourceKind is the host of a source that is a URL, in lower case, without its port.
func sourceKind(source string) string {
	if u, err := url.Parse(source); err == nil && u.Scheme != "" && u.Hostname() != "" {
		return strings.ToLower(u.Hostname())
	}
	return otherSource
}

// cut returns at most the first n bytes of a text, in whole runes.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// cutAll returns the first 64 KiB of texts.
func cutAll(texts []string) []string {
	left := longestText
	var out []string
	for _, t := range texts {
		t = cut(t, left)
		left -= len(t)
		out = append(out, t)
	}
	return out
}
