package exchange

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"vigie/hashing"
)

// Each row that does not hold is skipped with its reason and its place, and the rows around it are read.
func TestBadRows(t *testing.T) {
	const good = "md5:" + md5Hex
	own := strings.Join(ownColumns, ",") + "\n"
	row := func(signals, labels, more string) string { return signals + "," + labels + "," + more + ",\n" }
	const empty = ",,,,,,,,,,,," // after labels
	json := func(member string) string {
		return `{"signals":[{"algorithm":"md5","value":"` + md5Hex + `"}],` + member + "}\n"
	}
	sig := func(members string) string { return `{"signals":[{` + members + "}]}\n" }
	for _, c := range []struct {
		name   string
		f      Format
		row    string
		want   Reason
		column string
	}{
		{"no colon", CSV, row(md5Hex, "", empty), UnknownAlgorithm, "signals"},
		{"algorithm", CSV, row("sha1:00", "", empty), UnknownAlgorithm, "signals"},
		{"short", CSV, row(good[:35], "", empty), BadHash, "signals"},
		{"digits", CSV, row(good[:35]+"g", "", empty), BadHash, "signals"},
		{"variant", CSV, row("pdq/sepia:"+pdqHex, "", empty), BadHash, "signals"},
		{"none", CSV, row("", "", empty), NoSignal, ""},
		{"quality", CSV, row("pdq:"+pdqHex+"?q=101", "", empty), BadQuality, "signals"},
		{"time in a video", CSV, row("pdq:"+pdqHex+"?t=2147483648", "", empty), BadTime, "signals"},
		{"twice", CSV, row("pdq:"+pdqHex+"?q=1&q=2", "", empty), BadHash, "signals"},
		{"unknown part", CSV, row("pdq:"+pdqHex+"?x=1", "", empty), BadHash, "signals"},
		{"created", CSV, row(good, "", ",,,,yesterday,,,,,,,,"), BadTime, "created_at"},
		{"status", CSV, row(good, "", ",,,,,Gone!,,,,,,,"), BadStatus, "status"},
		{"expires", CSV, good + ",," + empty + ",tomorrow\n", BadTime, "expires_at"},
		{"exact", CSV, row(good, "", ",,,,,,maybe,,,,,,"), BadNumber, "exact_only"},
		{"width", CSV, row(good, "", ",,,,,,,,-1,,,,"), BadNumber, "width"},
		{"sources", CSV, row(good, "", empty+"x"), BadJSON, "more_sources"},
		{"sources and more", CSV, row(good, "", empty+"[][]"), BadJSON, "more_sources"},
		{"cells", CSV, good + "\n", WrongCells, ""},
		{"more cells", CSV, row(good, "", empty+","), WrongCells, ""},
		{"quote", CSV, row(good, `a""`, empty), BadQuote, ""},
		{"behind a quote", CSV, row(good, `"a"b`, empty), BadQuote, ""},
		{"open quote", CSV, row(good, `"a`, empty), OpenQuote, ""},
		{"UTF-8", CSV, row(good, "", "\xff,,,,,,,,,,,,"), BadText, "note"},
		{"NUL", CSV, row(good, "", "a\x00,,,,,,,,,,,,"), BadText, "note"},
		{"long", CSV, row(good, "", strings.Repeat("a", MaxRow)+",,,,,,,,,,,,"), TooLong, ""},

		{"no JSON", NDJSON, "{\"note\":\n", BadJSON, "note"},
		{"no object", NDJSON, "[]\n", BadJSON, ""},
		{"two objects", NDJSON, json(`"note":""`)[:len(json(`"note":""`))-1] + "{}\n", BadJSON, ""},
		{"unknown member", NDJSON, json(`"colour":"red"`), UnknownField, ""},
		{"other capitals", NDJSON, json(`"Note":"x"`), UnknownField, ""},
		{"member twice", NDJSON, json(`"note":"x","note":"y"`), DuplicateField, ""},
		{"null", NDJSON, json(`"note":null`), BadJSON, "note"},
		{"JSON label", NDJSON, json(`"labels":[1]`), BadJSON, "labels"},
		{"number for text", NDJSON, json(`"note":1`), BadJSON, "note"},
		{"NUL escaped", NDJSON, json(`"note":"\u0000"`), BadText, "note"},
		{"half a pair", NDJSON, json(`"note":"\ud800"`), BadText, "note"},
		{"no signals", NDJSON, `{"note":"x"}` + "\n", NoSignal, "signals"},
		{"empty signals", NDJSON, `{"signals":[]}` + "\n", NoSignal, "signals"},
		{"JSON time", NDJSON, json(`"created_at":"soon"`), BadTime, "created_at"},
		{"JSON exact", NDJSON, json(`"exact_only":1`), BadJSON, "exact_only"},
		{"JSON size", NDJSON, json(`"media":{"width":1.5}`), BadNumber, "width"},
		{"JSON media member", NDJSON, json(`"media":{"depth":8}`), UnknownField, ""},
		{"JSON algorithm", NDJSON, sig(`"algorithm":"sha1","value":"00"`), UnknownAlgorithm, "signals"},
		{"JSON value", NDJSON, sig(`"algorithm":"md5","value":"00"`), BadHash, "signals"},
		{"JSON empty signal", NDJSON, sig(``), UnknownAlgorithm, "signals"},
		{"JSON quality", NDJSON, sig(`"algorithm":"pdq","quality":101,"value":"` + pdqHex + `"`), BadQuality, "signals"},
		{"JSON time in a video", NDJSON, sig(`"algorithm":"pdq","value":"` + pdqHex + `","time_ms":2147483648`), BadNumber, "time_ms"},
		{"JSON sources", NDJSON, json(`"more_sources":{}`), BadJSON, "more_sources"},
		{"JSON source member", NDJSON, json(`"more_sources":[{"name":"x"}]`), UnknownField, ""},
		{"JSON source time", NDJSON, json(`"more_sources":[{"created_at":"soon"}]`), BadTime, "created_at"},
		{"deep", NDJSON, strings.Repeat("[", 100_000) + "\n", BadJSON, ""},

		{"word", LocalFile, "pdq\n", UnknownAlgorithm, "signal"},
		{"bare", LocalFile, pdqHex + "\n", UnknownAlgorithm, "signal"},
		{"text", LocalFile, "raw_text bomb\n", UnknownAlgorithm, "signal"},
		{"local digits", LocalFile, "pdq " + md5Hex + "\n", BadHash, "signal"},
		{"frames", LocalFile, `vpdq ["` + pdqHex + `,100"]` + "\n", BadHash, "signal"},
		{"hash for frames", LocalFile, "vpdq " + pdqHex + "\n", BadHash, "signal"},
		{"late frame", LocalFile, `vpdq ["` + pdqHex + `,100,4e6"]` + "\n", BadTime, "signal"},
	} {
		t.Run(string(c.f)+"/"+c.name, func(t *testing.T) {
			head, ok := "", ""
			switch c.f {
			case CSV:
				head, ok = own, row(good, "", empty)
			case NDJSON:
				ok = json(`"note":"x"`)
			case LocalFile:
				ok = "md5 " + md5Hex + "\n"
			}
			all := readAll(t, strings.NewReader(head+ok+c.row+ok), c.f, ReadOptions{})
			if len(all) != 3 || all[0].bad != nil || all[1].bad == nil || all[2].bad != nil {
				t.Fatalf("read %v", all)
			}
			e := all[1].bad
			if e.Reason != c.want || e.Column != c.column {
				t.Errorf("got %v, want %s of %q", e, c.want, c.column)
			}
			if line, offset := strings.Count(head, "\n")+2, len(head+ok); e.Line != line || e.Offset != int64(offset) {
				t.Errorf("at line %d, byte %d; want %d, %d", e.Line, e.Offset, line, offset)
			}
			if s := e.Error(); len(s) > 300 || strings.Contains(s, md5Hex[:8]) || strings.Contains(s, pdqHex[:8]) || strings.Contains(s, "Flag") || strings.Contains(s, "bomb") {
				t.Errorf("the error tells the content: %s", s)
			}
		})
	}
}

// A stray quote costs its own row, wherever the next quote is.
func TestStrayQuotes(t *testing.T) {
	ok := func(n int) string { return strings.Repeat(md5Hex+",\n", n) }
	for _, c := range []struct {
		name, text string
		items      int
		bad        []Reason
	}{
		{"to the end", ok(2) + md5Hex + ",\"x\n" + ok(5), 7, []Reason{OpenQuote}},
		{"beyond the longest row", md5Hex + ",\"x\n" + ok(MaxRow/30), MaxRow / 30, []Reason{OpenQuote}},
		{"closed by a quoted cell", md5Hex + ",\"x\n" + ok(3) + md5Hex + ",\"note\"\n" + ok(1), 5, []Reason{OpenQuote}},
		{"closed amid a cell", md5Hex + ",\"x\n" + ok(3) + md5Hex + ",y\"z\n" + ok(1), 4, []Reason{BadQuote, OpenQuote}},
		{"two that make a note of several lines", md5Hex + ",\"x\n" + ok(3) + md5Hex + ",y\"\n" + ok(1), 2, nil},
		{"in a bare cell", md5Hex + ",x\"\n" + ok(3), 3, []Reason{OpenQuote}},
		{"in the last line", ok(1) + md5Hex + ",x\"", 1, []Reason{OpenQuote}},
		{"none, but a note of several lines", md5Hex + ",\"x\n" + md5Hex + ",\n\"\"y\"\"\"\n" + ok(1), 2, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, bad := 0, []Reason(nil)
			for _, o := range readAll(t, strings.NewReader("md5,note\n"+c.text), CSV, ReadOptions{}) {
				if o.bad != nil {
					bad = append(bad, o.bad.Reason)
				} else {
					got++
				}
			}
			if got != c.items || diff(c.bad, bad) != "" {
				t.Errorf("%d items and %v; want %d and %v", got, bad, c.items, c.bad)
			}
		})
	}
}

func TestListsThatAreNone(t *testing.T) {
	for _, c := range []struct {
		name string
		f    Format
		text string
		o    ReadOptions
		want Reason
	}{
		{"empty", CSV, "", ReadOptions{}, NoHeader},
		{"blank", CSV, "\n\r\n", ReadOptions{}, NoHeader},
		{"no signals", CSV, "note,labels\n", ReadOptions{}, NoHeader},
		{"rows without a header", CSV, md5Hex + ",x\n", ReadOptions{}, NoHeader},
		{"hash of what", CSV, "hash\n", ReadOptions{}, NoHeader},
		{"bad quote", CSV, "md5,\"a\"b\n", ReadOptions{}, NoHeader},
		{"long", CSV, strings.Repeat("a", MaxRow) + "\n", ReadOptions{}, NoHeader},
		{"many columns", CSV, "md5" + strings.Repeat(",", maxColumns) + "\n", ReadOptions{}, NoHeader},
		{"latin 1", CSV, "md5,\xe9\n", ReadOptions{}, NoHeader},
		{"column twice", CSV, "md5,MD5\n", ReadOptions{}, DuplicateColumn},
		{"meaning twice", CSV, "md5,hash,hash_digest,type\n", ReadOptions{}, DuplicateColumn},
		{"not tx", TXCSV, "md5\n", ReadOptions{}, NoHeader},
		{"picture", NDJSON, "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", ReadOptions{}, Binary},
		{"UTF-16", CSV, "m\x00d\x005\x00\n\x00", ReadOptions{}, Binary},
		{"format", "parquet", "", ReadOptions{}, UnknownFormat},
		{"from the header", CSV, "md5\n", ReadOptions{From: Position{2, 0}}, BadPosition},
		{"from the header, by its bytes", CSV, "md5\n", ReadOptions{From: Position{2, 1}}, BadPosition},
		{"from behind the end", CSV, "md5\n", ReadOptions{From: Position{5, 1}}, BadPosition},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := NewReader(strings.NewReader(c.text), c.f, c.o)
			var list *ListError
			if !errors.As(err, &list) || list.Reason != c.want || len(err.Error()) > 300 {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	if _, err := NewWriter(io.Discard, "parquet"); err == nil {
		t.Error("a writer of an unknown format")
	}
	broken := errors.New("disk on fire")
	for _, f := range Formats() {
		if _, err := NewReader(iotest.ErrReader(broken), f, ReadOptions{}); !errors.Is(err, broken) {
			t.Errorf("%s: %v", f, err)
		}
	}
	for _, text := range []string{"md5\n" + md5Hex + "\n" + md5Hex, "md5\n" + md5Hex + "\n" + strings.Repeat("a", MaxRow+10), "md5\n" + md5Hex + "\n\"a\n"} {
		r, err := NewReader(io.MultiReader(strings.NewReader(text+strings.Repeat(" ", 600)), iotest.ErrReader(broken)), CSV, ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		at := r.Position()
		for range 2 {
			if _, err := r.Next(); !errors.Is(err, broken) || r.Position() != at {
				t.Errorf("%v at %v; the row is not read, and the position stays at %v", err, r.Position(), at)
			}
		}
	}
}

func TestDetect(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Format
	}{
		{"x", `{"signals":`, NDJSON},
		{"x.csv", bom + "\r\n {}", NDJSON},
		{"x", "id;MD5;x\r\n", CSV},
		{"x", "md5\n" + md5Hex, CSV},
		{"x", "hash\n" + md5Hex, CSV},
		{"x", "signal_type,signal_str,collab,category,tags", TXCSV},
		{"x", "collab,signal_type,signal_str,category,tags\n", TXCSV},
		{"x", "pdq " + pdqHex, LocalFile},
		{"x.csv", "HASH_MD5 " + md5Hex + "\nmd5 x", LocalFile},
		{"x.TXT", md5Hex, LocalFile},
		{"x.jsonl", "", NDJSON},
		{"x.csv", "what,is,this", CSV},
		{"x", md5Hex, ""},
		{"x.csv", "PK\x03\x04\x00", ""},
	} {
		f, err := Detect(c.name, []byte(c.text))
		if f != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s, %.20q: got %s, %v, want %s", c.name, c.text, f, err, c.want)
		}
	}
}

func TestKinds(t *testing.T) {
	for name, want := range map[string]hashing.Algorithm{
		"pdq": hashing.PDQ, "HASH_PDQ": hashing.PDQ, "ImagePDQ": hashing.PDQ, "vpdq": hashing.PDQ,
		"md5": hashing.MD5, "HASH_MD5": hashing.MD5, "video_md5": hashing.MD5, "HASH_VIDEO_MD5": hashing.MD5, "photo_md5": hashing.MD5, "VideoMD5": hashing.MD5,
		"SHA-256": hashing.SHA256, "video_sha256": hashing.SHA256, "HASH_SHA256": hashing.SHA256,
		"phash": hashing.PHash, "dhash": hashing.DHash, "ahash": hashing.AHash,
		"": 0, "hash": 0, "photo": 0, "raw_text": 0, "HASH_SHA1": 0, "pdq_ocr": 0, "VideoTMK": 0, "url": 0, strings.Repeat("_", 100) + "pdq": 0,
	} {
		if k := parseKind(name); k.algorithm != want || k.frames != (name == "vpdq") {
			t.Errorf("%q is %v, want %v", name, k, want)
		}
	}
}

func TestBareSignals(t *testing.T) {
	frames := `["` + strings.ToUpper(pdqHex) + `,100,1e+02", "` + pdqHex + `,49,125.678"]`
	pdq, late := signal(t, "pdq:"+pdqHex), signal(t, "pdq:"+pdqHex+"?q=100&t=100000")
	o := ReadOptions{Algorithm: hashing.PDQ}
	var got []hashing.Signal
	for _, r := range readAll(t, strings.NewReader(pdqHex+"\r\n\n  "+strings.ToUpper(pdqHex)+"  \nmd5 "+md5Hex+"\n"+frames), LocalFile, o) {
		if r.bad != nil {
			t.Fatal(r.bad)
		}
		got = append(got, r.item.Signals...)
	}
	if d := diff([]hashing.Signal{pdq, pdq, signal(t, "md5:"+md5Hex), late, signal(t, "pdq:"+pdqHex+"?q=49&t=125678")}, got); d != "" {
		t.Error(d)
	}
	all := readAll(t, strings.NewReader("hash,type\n"+pdqHex+",\n"+md5Hex+",md5\n"), CSV, o)
	if len(all) != 2 || all[0].item.Signals[0] != pdq || all[1].item.Signals[0] != signal(t, "md5:"+md5Hex) {
		t.Errorf("read %v", all)
	}
}

// Tags that do not fit stay in the note, whole, and never cost the row.
func TestTags(t *testing.T) {
	text := "md5,tags\n" + md5Hex + ",\"a, B c ;x!\"\n" + md5Hex + "," + strings.Repeat("t1 t2 ", 3) + "\n" + md5Hex + ","
	many := ""
	for n := range 40 {
		many += fmt.Sprintf("t%d ", n)
	}
	list := items(t, text+many+"\n", CSV)
	if d := diff(list[0].Labels, []string{"a", "b-c"}); d != "" || list[0].Note != "tags: a, B c ;x!" {
		t.Error(d, list[0].Note)
	}
	if d := diff(list[1].Labels, []string{"t1", "t2"}); d != "" || list[1].Note != "" {
		t.Error(d, list[1].Note)
	}
	if len(list[2].Labels) != maxLabels || list[2].Note != "tags: "+many {
		t.Error(list[2])
	}
}

// No row is lost to its labels: other spellings are read as what they mean, and what labels cannot say stays in the note and is
// counted.
func TestLabels(t *testing.T) {
	many := ""
	for n := range 33 {
		many += fmt.Sprintf("a%02d ", n)
	}
	for _, c := range []struct {
		column, cell string
		labels       string
		note         string
		noted        int
	}{
		{"labels", "a a b:c/d", "a a b:c/d", "", 0}, // as Vigie writes them
		{"labels", "severity=high", "severity:high", "", 0},
		{"labels", "Severity:3 TLP:AMBER+STRICT tlp=WHITE", "severity:3 tlp:amber-strict tlp:clear", "", 0},
		{"labels", "cat:irf; Far Right | x", "cat:irf far-right x", "labels: cat:irf; Far Right | x", 1},
		{"labels", "a راية #flag", "a", "labels: a راية #flag", 2},
		{"labels", strings.Repeat("a ", 33), "a", "", 0},
		{"labels", many, many[:len(many)-4], "labels: " + many, 1},
		{"tags", "source:member=x Confidence=90, b", "b", "tags: source:member=x Confidence=90, b", 1},
		{"share_level", "TLP:AMBER+STRICT", "tlp:amber-strict", "", 0},
		{"tlp", "tlp = white", "tlp:clear", "", 0},
		{"severity", "severity=SEVERE", "severity:severe", "", 0},
		{"confidence", "0.9%", "", "confidence: 0.9%", 1},
	} {
		list := items(t, "md5,"+c.column+"\n"+md5Hex+",\""+c.cell+"\"\n", CSV)
		want := Item{Signals: list[0].Signals, Labels: strings.Fields(c.labels), Note: c.note, Noted: c.noted}
		if d := diff([]Item{want}, list); d != "" {
			t.Errorf("%s %s: %s", c.column, c.cell, d)
		}
	}
	line := `{"signals":[{"algorithm":"md5","value":"` + md5Hex + `"}],"note":"n","labels":["a","TLP:RED","severity=high","a b","راية"]}`
	want := Item{Signals: []hashing.Signal{signal(t, "md5:"+md5Hex)}, Labels: []string{"a", "tlp:red", "severity:high", "a-b"}, Note: "n\nlabels: a b راية", Noted: 2}
	if d := diff([]Item{want}, items(t, line, NDJSON)); d != "" {
		t.Error(d)
	}
}

// What the note has no room for is cut: the catalogue takes notes of so many bytes.
func TestLabelsBeyondTheNote(t *testing.T) {
	for _, before := range []int{0, maxNote - 20, maxNote - 2, maxNote, maxNote + 1} {
		text := "md5,note,tags\n" + md5Hex + "," + strings.Repeat("n", before) + "," + strings.Repeat("راية ", 5000) + "\n"
		i := items(t, text, CSV)[0]
		if len(i.Note) > max(maxNote, before) || !utf8.ValidString(i.Note) || !strings.HasPrefix(i.Note, strings.Repeat("n", before)) {
			t.Errorf("a note of %d bytes became one of %d", before, len(i.Note))
		}
		if i.Noted != 5000 || before < maxNote-20 && !strings.HasSuffix(i.Note, "...") {
			t.Errorf("%d labels in %.20s", i.Noted, i.Note)
		}
	}
}

// Words of other lists for a status: whatever is not active stays out of what matches.
func TestStatus(t *testing.T) {
	text := "md5,status,deleted\n"
	for _, c := range []string{",", "Active,", "active,f", "active,1", "retracted,false", "Withdrawn,", ",TRUE"} {
		text += md5Hex + "," + c + "\n"
	}
	var got []string
	for _, i := range items(t, text, CSV) {
		got = append(got, i.Status)
	}
	if d := diff([]string{"", "", "", Retracted, Retracted, "withdrawn", Retracted}, got); d != "" {
		t.Error(d)
	}
}

// Reading from any position gives exactly the rest.
func TestResume(t *testing.T) {
	var csvText, lines strings.Builder
	csvText.WriteString(bom + "md5,note\r\n")
	lines.WriteString(bom)
	for n := range 50 {
		fmt.Fprintf(&csvText, "%032x,%s\r\n", n, []string{"", "\"two\nlines\"", "\"stray", "x,y", "\n"}[n%5])
		fmt.Fprintf(&lines, "md5 %032x%s\n", n, []string{"", "x", "\n"}[n%3])
	}
	for f, text := range map[Format]string{CSV: csvText.String(), LocalFile: lines.String()} {
		all := readAll(t, strings.NewReader(text), f, ReadOptions{})
		for n, o := range all {
			again := readAll(t, strings.NewReader(text), f, ReadOptions{From: o.at})
			if d := diffOutcomes(all[n+1:], again); d != "" {
				t.Fatalf("%s, from %v: %s", f, o.at, d)
			}
		}
	}
}

func diffOutcomes(a, b []outcome) string {
	if len(a) != len(b) {
		return fmt.Sprintf("%d rows and %d", len(a), len(b))
	}
	for n := range a {
		if d := diff(a[n].item, b[n].item) + diff(a[n].bad, b[n].bad) + diff(a[n].at, b[n].at); d != "" {
			return d
		}
	}
	return ""
}

// endless gives the same text over and over, up to a length.
type endless struct {
	text string
	left int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) && n < e.left {
		n += copy(p[n:min(len(p), e.left)], e.text)
	}
	e.left -= n
	return n, nil
}

// What a list holds at a time does not grow with its lines.
func TestMemoryOfLongLines(t *testing.T) {
	length := 1 << 30 // of the first; the others say the same with less
	const end = "\n9e107d9d372bb6826bd81d3542a419d6,\n"
	for _, c := range []struct {
		name, head, filler string
		f                  Format
		want               Reason
	}{
		{"line", "", strings.Repeat("a", 4096), NDJSON, TooLong},
		{"cell", "md5,note\n", strings.Repeat("a", 4096), CSV, TooLong},
		{"quoted cell", "md5,note\n\"", strings.Repeat("a", 4096), CSV, TooLong},
		{"quotes", "md5,note\n", strings.Repeat(`"`, 4096), CSV, TooLong},
		{"brackets", "", strings.Repeat("[", 4096), NDJSON, TooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer func() { length = 64 << 20 }()
			in := io.MultiReader(strings.NewReader(c.head), &endless{c.filler, length}, strings.NewReader(end))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r, err := NewReader(in, c.f, ReadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = r.Next()
			runtime.ReadMemStats(&after)
			var bad *RowError
			if !errors.As(err, &bad) || bad.Reason != c.want {
				t.Fatalf("got %v", err)
			}
			if all := rest(t, r); len(all) != 1 || all[0].at.Offset != int64(len(c.head)+length+len(end)) {
				t.Errorf("then %v", all)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 10<<20 {
				t.Errorf("%d bytes were allocated", used)
			}
		})
	}
}

// A row holds no more sources than an entry keeps, however many it has: `{}` is three bytes there, and eighty in memory.
func TestMemoryOfSources(t *testing.T) {
	sources := "[" + strings.Repeat("{},", MaxRow/6) + `{"origin":"last"}]`
	for f, list := range map[Format]string{
		CSV:    "md5,more_sources\n" + md5Hex + `,"` + strings.ReplaceAll(sources, `"`, `""`) + "\"\n" + md5Hex + ",[{}]\n",
		NDJSON: `{"signals":[{"algorithm":"md5","value":"` + md5Hex + `"}],"more_sources":` + sources + "}\n",
	} {
		r, err := NewReader(strings.NewReader(list), f, ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		i, err := r.Next()
		if err != nil || len(i.More) != 199 || cap(i.More) > 1000 || i.Unread != MaxRow/6+1-199 {
			t.Errorf("%s: %d sources, room for %d, %d unread, %v", f, len(i.More), cap(i.More), i.Unread, err)
		}
		rest(t, r)
		if w := r.Warnings(); len(w) != 1 || !strings.Contains(w[0], "200 sources") {
			t.Errorf("%s: warned of %q", f, w)
		}
	}
}

// Rows handed out anew are looked at twice, not again and again: with as many stray quotes as there can be,
// this test would else take hours.
func TestStrayQuotesAreLinear(t *testing.T) {
	const size = MaxRow * 5 / 4
	for _, filler := range []string{"\",\"" + strings.Repeat("x", 30) + "\n", "\"a\n" + strings.Repeat("b,c,d,e,f,g\n", 2000)} {
		in := &endless{filler, size / len(filler) * len(filler)}
		end := int64(len("md5,note\n") + in.left)
		r, err := NewReader(io.MultiReader(strings.NewReader("md5,note\n"), in), CSV, ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for err != io.EOF {
			_, err = r.Next()
		}
		if r.Position().Offset != end {
			t.Errorf("%.10q: ends at %v", filler, r.Position())
		}
	}
}

// Cells are quoted where RFC 4180 wants it, and only there.
func TestQuoting(t *testing.T) {
	got := string(appendRecord(nil, "", "a b", " a", "=1", "a,b", `a"b`, "a\rb", "a\nb"))
	if want := "\"\",a b, a,=1,\"a,b\",\"a\"\"b\",\"a\rb\",\"a\nb\""; got != want[2:] {
		t.Errorf("got %q, want %q", got, want[2:])
	}
}

// split agrees with encoding/csv wherever both read.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{"a,b\n", "\"a,\"\"b\n\",c\n\nd", "\"a\"b", "a\"b", "\"", ",,\n,", "\"\",\"\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ReplaceAll(text, "\r", "")
		ref := csv.NewReader(strings.NewReader(text))
		ref.FieldsPerRecord = -1
		want, wantErr := ref.ReadAll()
		var got [][]string
		var gotErr error
		for r := (&rows{in: strings.NewReader(text), quoted: true}); gotErr == nil; {
			row, why, err := r.next()
			if err == io.EOF {
				break
			}
			if err != nil || why != "" {
				gotErr = fmt.Errorf("%s, %w", why, err)
				break
			}
			if len(row) == 0 {
				continue
			}
			cells, bad := split(string(row), ',', len(text)+1)
			if bad != nil {
				gotErr = bad
				break
			}
			got = append(got, cells)
		}
		if (wantErr == nil) != (gotErr == nil) {
			t.Fatalf("%q: %v, and encoding/csv says %v", text, gotErr, wantErr)
		}
		if d := diff(want, got); wantErr == nil && d != "" {
			t.Fatalf("%q: %s", text, d)
		}
	})
}

// Whatever the bytes: no panic, every byte belongs to one row, each row is an item or a reason, items can be
// written and read back, and reading goes on from any position.
func FuzzReader(f *testing.F) {
	for n, seeds := range [][]string{
		{
			"signals,labels,note\nmd5:" + md5Hex + ",a b,\"x\ny\"\n,,\n", "md5;tags\r\n" + md5Hex + ";a|B c\n\"x", "hash,type,quality\n" + pdqHex + ",pdq,88\n",
			"md5,deleted,created_on,share_level,status\n" + md5Hex + ",true,1704901040.22,WHITE,MALICIOUS\n",
		},
		{`{"signals":[{"algorithm":"pdq","value":"` + pdqHex + `","quality":3,"time_ms":7}],"note":"\u00e9"}` + "\n{}\n", "{\"labels\":[\"a\"],\"media\":{\"width\":3}}"},
		{"signal_type,signal_str,collab,category,tags\r\nvpdq,\"[\"\"" + pdqHex + ",1,1e2\"\"]\",c,POSITIVE_CLASS,a B\r\nmd5," + md5Hex + ",,NEGATIVE_CLASS,\r\n"},
		{"pdq " + pdqHex + "\nvideo_md5 " + md5Hex + "\n\n x", pdqHex},
	} {
		for _, s := range seeds {
			f.Add(uint8(n), s)
			f.Add(uint8(n), bom+strings.ReplaceAll(s, "\n", "\r\n"))
		}
	}
	f.Fuzz(func(t *testing.T, n uint8, text string) {
		format := Formats()[int(n)%len(Formats())]
		o := ReadOptions{Algorithm: hashing.PDQ}
		r, err := NewReader(iotest.OneByteReader(strings.NewReader(text)), format, o)
		if err != nil {
			var list *ListError
			if !errors.As(err, &list) {
				t.Fatal(err)
			}
			return
		}
		at := r.Position()
		all := rest(t, r)
		if end := r.Position().Offset; end != int64(len(text)) {
			t.Fatalf("%d bytes of %d", end, len(text))
		}
		if format == NDJSON || format == LocalFile {
			count := 0
			for line := range strings.SplitSeq(strings.TrimPrefix(text, bom), "\n") {
				if len(bytes.TrimSpace([]byte(line))) > 0 {
					count++
				}
			}
			if count != len(all) {
				t.Fatalf("%d rows of %d lines", len(all), count)
			}
		}
		for n, o := range all {
			o.item.Noted, o.item.Unread = 0, 0 // not written
			if o.at.Offset <= at.Offset || o.at.Line <= at.Line {
				t.Fatalf("row %d ends at %v and the one before at %v", n, o.at, at)
			}
			if o.bad != nil {
				if o.bad.Line <= at.Line || o.bad.Offset < at.Offset || o.bad.Offset >= o.at.Offset || o.bad.Reason == "" || o.bad.Detail == "" {
					t.Fatalf("%#v behind %v", o.bad, at)
				}
			} else if bad := o.item.check(); bad != nil {
				t.Fatalf("row %d cannot be written: %v", n, bad)
			} else {
				for _, f := range []Format{CSV, NDJSON} {
					text, _ := written(t, f, o.item)
					if d := diff([]Item{o.item}, items(t, text, f)); d != "" {
						t.Fatalf("row %d as %s: %s", n, f, d)
					}
				}
				for _, f := range []Format{TXCSV, LocalFile} {
					text, _ := written(t, f, o.item)
					items(t, text, f)
				}
			}
			at = o.at
		}
		for n := range all[:min(len(all), 5)] {
			again := readAll(t, strings.NewReader(text), format, ReadOptions{Algorithm: o.Algorithm, From: all[n].at})
			if d := diffOutcomes(all[n+1:], again); d != "" {
				t.Fatalf("from %v: %s", all[n].at, d)
			}
		}
	})
}

// A million rows are read in seconds: see rows/s.
func BenchmarkReader(b *testing.B) {
	item := Item{Signals: []hashing.Signal{signal(b, "pdq:"+pdqHex+"?q=87"), signal(b, "md5:"+md5Hex)}, Labels: []string{"flag"}, Note: "a note"}
	tx := Item{Signals: item.Signals[:1], Labels: []string{"opinion:positive_class"}, Source: "a list"}
	const count = 10_000
	for f, i := range map[Format]Item{CSV: item, NDJSON: item, TXCSV: tx, LocalFile: tx} {
		b.Run(string(f), func(b *testing.B) {
			list := make([]Item, count)
			for n := range list {
				list[n] = i
			}
			text, _ := written(b, f, list...)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				r, err := NewReader(strings.NewReader(text), f, ReadOptions{})
				if err != nil {
					b.Fatal(err)
				}
				for {
					if _, err := r.Next(); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(count)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
