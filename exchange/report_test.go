package exchange

import (
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	var r Report
	if s := r.String(); s != "0 rows: 0 taken, 0 skipped" {
		t.Error(s)
	}
	for n := range 10 {
		r.Add()
		if n < 7 {
			r.Skip(&RowError{Line: n + 1, Reason: BadHash, Column: "md5", Detail: "not to be seen"})
		}
	}
	r.Skip(&RowError{Line: 90, Reason: "flat"})
	r.Skip(&RowError{Line: 91, Reason: OpenQuote})
	r.Skip(&RowError{Reason: BadTime}) // of which the line is not known
	const want = "20 rows: 10 taken, 10 skipped\n" +
		"  bad-hash: 7, at line 1 (md5), 2 (md5), 3 (md5), 4 (md5), 5 (md5), ...\n" +
		"  bad-time: 1, ...\n" +
		"  flat: 1, at line 90\n" +
		"  open-quote: 1, at line 91"
	if s := r.String(); s != want {
		t.Errorf("got %s\nwant %s", s, want)
	}
	text, err := json.Marshal(&r)
	if err != nil || strings.Contains(string(text), "seen") {
		t.Errorf("%s, %v", text, err)
	}
	var again Report
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	again.Skip(&RowError{Line: 92, Reason: "flat"}) // a resumed import goes on counting
	if !strings.Contains(again.String(), "21 rows: 10 taken, 11 skipped\n") || !strings.Contains(again.String(), "  flat: 2, at line 90, 92\n") {
		t.Error(again.String())
	}
}

func TestCheckpoint(t *testing.T) {
	head := strings.Repeat("a", headBytes)
	begun := func(text string, f Format) Checkpoint {
		c, err := NewCheckpoint(strings.NewReader(text), int64(len(text)), f)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	saved := begun(head+"b", CSV)
	saved.Position = Position{Offset: 70_000, Line: 12}
	text, err := json.Marshal(saved)
	if err != nil {
		t.Fatal(err)
	}
	var again Checkpoint
	if err := json.Unmarshal(text, &again); err != nil || again != saved {
		t.Fatalf("%s became %v, %v", text, again, err)
	}
	if at, err := again.Resume(begun(head+"b", CSV)); err != nil || at != saved.Position {
		t.Errorf("the same file: %v, %v", at, err)
	}
	for name, other := range map[string]Checkpoint{
		"format": begun(head+"b", NDJSON), "longer": begun(head+"bc", CSV), "another": begun("b"+head, CSV), "empty": begun("", CSV),
	} {
		var list *ListError
		if at, err := again.Resume(other); !errors.As(err, &list) || list.Reason != OtherList || at != (Position{}) {
			t.Errorf("%s: %v, %v", name, at, err)
		}
	}
}

// The page names every column, reason, loss and format.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/exchange.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	losses, err := os.ReadFile("txwriter.go")
	if err != nil {
		t.Fatal(err)
	}
	words := append([]string{strings.Join(ownColumns, ",")}, labelColumns...)
	words = append(words, hashColumns...)
	for name := range setters {
		words = append(words, name)
	}
	for _, f := range Formats() {
		words = append(words, string(f))
	}
	for _, m := range regexp.MustCompile(`(?m)^\s+\w+\s+(?:Reason|Loss) += "([a-z_-]+)"|^\tLost\w+\s+Loss = "([a-z_-]+)"`).FindAllStringSubmatch(string(source)+string(losses), -1) {
		words = append(words, m[1]+m[2])
	}
	if len(words) < 60 {
		t.Errorf("only %d words: %q", len(words), words)
	}
	for _, w := range words {
		if !strings.Contains(string(page), "`"+w+"`") && !strings.Contains(string(page), "\n"+w+"\n") {
			t.Errorf("%s is not described", w)
		}
	}
}

// The examples of the page can be read.
func TestExamples(t *testing.T) {
	page, err := os.ReadFile("../docs/exchange.md")
	if err != nil {
		t.Fatal(err)
	}
	read := map[Format]int{}
	for _, block := range regexp.MustCompile("(?s)```(?:csv|json|)\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		if strings.Contains(block[1], "skipped") {
			continue // the report
		}
		f, err := Detect("", []byte(block[1]))
		if err != nil {
			t.Fatal(err)
		}
		read[f] += len(items(t, block[1], f))
	}
	if d := diff(read, map[Format]int{CSV: 1, NDJSON: 1, TXCSV: 1, LocalFile: 2}); d != "" {
		t.Error(d)
	}
}
