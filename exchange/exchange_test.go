package exchange

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"vigie/hashing"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	pdqHex  = "f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22"
	md5Hex  = "9e107d9d372bb6826bd81d3542a419d6"
	sha2Hex = "d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592"
)

// outcome is what Next said.
type outcome struct {
	item Item
	bad  *RowError
	at   Position // behind it
}

// readAll reads a list to its end.
func readAll(t testing.TB, in io.Reader, f Format, o ReadOptions) []outcome {
	t.Helper()
	r, err := NewReader(in, f, o)
	if err != nil {
		t.Fatal(err)
	}
	return rest(t, r)
}

func rest(t testing.TB, r *Reader) (all []outcome) {
	t.Helper()
	for {
		i, err := r.Next()
		o := outcome{item: i, at: r.Position()}
		switch {
		case err == io.EOF:
			return all
		case err != nil && !errors.As(err, &o.bad):
			t.Fatal(err)
		}
		all = append(all, o)
	}
}

// items are those of a list without a bad row.
func items(t testing.TB, text string, f Format) (out []Item) {
	t.Helper()
	for _, o := range readAll(t, strings.NewReader(text), f, ReadOptions{}) {
		if o.bad != nil {
			t.Fatal(o.bad)
		}
		out = append(out, o.item)
	}
	return out
}

func written(t testing.TB, f Format, items ...Item) (string, map[Loss]int) {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, f)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range items {
		if err := w.Write(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String(), w.Lost()
}

func signal(t testing.TB, text string) hashing.Signal {
	t.Helper()
	s, bad := parseSignal(text)
	if bad != nil {
		t.Fatal(bad)
	}
	return s
}

func diff(a, b any) string { return cmp.Diff(a, b, cmpopts.EquateEmpty()) }

// A list of each format, read and written again, is the same bytes.
func TestRoundTripsOfFiles(t *testing.T) {
	for _, c := range []struct {
		file  string
		f     Format
		items int
		lost  map[Loss]int
	}{
		{"own.csv", CSV, 5, nil},
		{"own.ndjson", NDJSON, 5, nil},
		{"tx.csv", TXCSV, 6, nil},
		{"local.txt", LocalFile, 4, nil},
	} {
		t.Run(c.file, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", c.file))
			if err != nil {
				t.Fatal(err)
			}
			list := items(t, string(text), c.f)
			if len(list) != c.items {
				t.Errorf("%d items", len(list))
			}
			again, lost := written(t, c.f, list...)
			if d := diff(string(text), again); d != "" {
				t.Error(d)
			}
			if d := diff(c.lost, lost); d != "" {
				t.Error(d)
			}
			if f, err := Detect("", text); f != c.f || err != nil {
				t.Errorf("taken for %s, %v", f, err)
			}
		})
	}
	own, _ := os.ReadFile("testdata/own.csv")
	ndjson, _ := os.ReadFile("testdata/own.ndjson")
	if d := diff(items(t, string(own), CSV), items(t, string(ndjson), NDJSON)); d != "" {
		t.Errorf("both hold the same items: %s", d)
	}
}

// Lists that were written before entries had more than one source there are read as they were.
func TestListsWithOneSource(t *testing.T) {
	text := "signals,labels,note,origin,source,foreign_id,created_at,status,exact_only,format,width,height,bytes,duration_ms\n" +
		"md5:" + md5Hex + ",a,n,o,s,f,2024-02-29T12:00:00Z,,true,mp4,1,2,3,4\n"
	want := Item{
		Signals: []hashing.Signal{signal(t, "md5:"+md5Hex)}, ExactOnly: true, Labels: []string{"a"}, Note: "n", Origin: "o", Source: "s", Foreign: "f",
		CreatedAt: time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC), Media: Media{"mp4", 1, 2, 3, 4},
	}
	if d := diff([]Item{want}, items(t, text, CSV)); d != "" {
		t.Error(d)
	}
}

// What lists of other programs say, as Vigie's NDJSON.
func TestForeignLists(t *testing.T) {
	for _, name := range []string{"tat.csv", "excel.csv", "descriptors.csv", "tx.csv"} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			f, err := Detect(name, text)
			if err != nil {
				t.Fatal(err)
			}
			r, err := NewReader(bytes.NewReader(text), f, ReadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, w := range r.Warnings() {
				got.WriteString("warning: " + w + "\n")
			}
			for _, o := range rest(t, r) {
				if o.bad != nil {
					got.WriteString(o.bad.Error() + "\n")
					continue
				}
				line, _ := written(t, NDJSON, o.item)
				got.WriteString(line)
			}
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := diff(string(want), got.String()); d != "" {
				t.Error(d)
			}
		})
	}
}

var anyText = rapid.OneOf(
	rapid.StringMatching("[^\x00]{0,40}"),
	rapid.SampledFrom([]string{
		"", " ", `"`, `""`, ",", "a,b", "a\nb", "a\r\nb", "\r", "\n", "\r\n", "=cmd()", "+1", "-1", "@x", "\ufeff", "\ufffd",
		"\u202eelif\u202c", "مرحبا", "<&>", "\u2028", "\\ufffd", "\\u0000", "{}", `{"a":1}`, "\x1f\x7f", "\t", "null",
	}),
)

var anySignal = rapid.Custom(func(t *rapid.T) hashing.Signal {
	a := rapid.SampledFrom(hashing.Algorithms()).Draw(t, "algorithm")
	s := hashing.Signal{
		Algorithm: a, Version: rapid.Uint8().Draw(t, "version"), Quality: hashing.MaxQuality,
		Time:  rapid.SampledFrom([]uint32{0, 0, 1, 1500, maxTime}).Draw(t, "time"),
		Value: hashing.ValueFromBytes(rapid.SliceOfN(rapid.Byte(), a.Bits()/8, a.Bits()/8).Draw(t, "value")),
	}
	if !a.Exact() {
		s.Variant = hashing.Variant(rapid.IntRange(0, int(hashing.Framed)).Draw(t, "variant"))
		s.Quality = rapid.SampledFrom([]hashing.Quality{0, 49, 50, 100, hashing.QualityUnknown}).Draw(t, "quality")
	}
	return s
})

var anyItem = rapid.Custom(func(t *rapid.T) Item {
	size := rapid.SampledFrom([]int64{0, 0, 1, 1 << 30})
	i := Item{
		Signals:   rapid.SliceOfN(anySignal, 1, 4).Draw(t, "signals"),
		ExactOnly: rapid.Bool().Draw(t, "exact only"),
		Labels:    rapid.SliceOfN(rapid.StringMatching(`[a-z0-9][a-z0-9_.:/-]{0,63}`), 0, maxLabels).Draw(t, "labels"),
		Note:      anyText.Draw(t, "note"), Origin: anyText.Draw(t, "origin"),
		Source: anyText.Draw(t, "source"), Foreign: anyText.Draw(t, "foreign"),
		Status: rapid.SampledFrom([]string{"", Retracted, "proposed"}).Draw(t, "status"),
		Media: Media{
			anyText.Draw(t, "format"), int(size.Draw(t, "width")), int(size.Draw(t, "height")), size.Draw(t, "bytes"), size.Draw(t, "duration"),
		},
	}
	i.CreatedAt, i.ExpiresAt = anyTime.Draw(t, "created"), anyTime.Draw(t, "expires")
	i.More = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Source {
		return Source{anyText.Draw(t, "origin"), anyText.Draw(t, "list"), anyText.Draw(t, "foreign"), anyTime.Draw(t, "at")}
	}), 0, 2).Draw(t, "more")
	return i
})

var anyTime = rapid.Custom(func(t *rapid.T) (at time.Time) {
	if s := rapid.Int64Range(-60_000_000_000, 250_000_000_000).Draw(t, "s"); s > 0 || rapid.Bool().Draw(t, "old") {
		at = time.Unix(s, rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC()
	}
	return at
})

func TestRoundTripsOfItems(t *testing.T) {
	for _, f := range []Format{CSV, NDJSON} {
		t.Run(string(f), func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) {
				list := rapid.SliceOfN(anyItem, 0, 4).Draw(r, "items")
				text, lost := written(t, f, list...)
				again := items(t, text, f)
				if d := diff(list, again); d != "" || len(lost) > 0 {
					r.Fatalf("lost %v, %s\n%s", lost, d, text)
				}
				if twice, _ := written(t, f, again...); twice != text {
					r.Fatalf("written again as %q, first as %q", twice, text)
				}
			})
		})
	}
}

// The longest video that a bank may keep fits into a row, with all the sources that an entry keeps.
func TestLongVideo(t *testing.T) {
	var i Item
	for n := range uint32(10_000) {
		s := signal(t, "pdq/black:"+pdqHex+"?q=100&v=255")
		s.Time = maxTime - n
		i.Signals = append(i.Signals, s)
	}
	i.Note = strings.Repeat("\"", 10_000)
	for n := range 199 {
		i.More = append(i.More, Source{strings.Repeat("o", 1500), "a list", fmt.Sprint(n), time.Unix(int64(n), 0).UTC()})
	}
	for _, f := range []Format{CSV, NDJSON} {
		text, _ := written(t, f, i)
		if again := items(t, text, f); len(again) != 1 || !reflect.DeepEqual(again[0], i) {
			t.Errorf("%s: it came back otherwise", f)
		}
	}
}

// Sources may be six times as long where they are written. An item is written with as many as its row has room for.
func TestSourcesThatFit(t *testing.T) {
	i := Item{Signals: []hashing.Signal{signal(t, "md5:"+md5Hex)}, Note: "a note"}
	for n := range 199 {
		i.More = append(i.More, Source{Origin: strings.Repeat("\x01", 2000), List: fmt.Sprint(n)})
	}
	for _, f := range []Format{CSV, NDJSON} {
		text, lost := written(t, f, i)
		again := items(t, text, f)
		if len(again) != 1 || again[0].Note != i.Note || diff(lost, map[Loss]int{LostSource: 1}) != "" {
			t.Fatalf("%s: %d rows, lost %v", f, len(again), lost)
		}
		kept := len(again[0].More)
		if kept == 199 || diff(again[0].More, i.More[:kept]) != "" || len(text)+2*6*2000 < MaxRow {
			t.Errorf("%s: %d sources in %d bytes", f, kept, len(text))
		}
	}
	many := Item{Signals: i.Signals, More: slices.Repeat([]Source{{}}, 200)} // one more than is read
	for _, f := range []Format{CSV, NDJSON} {
		text, lost := written(t, f, many)
		if again := items(t, text, f); len(again[0].More) != 199 || again[0].Unread != 0 || lost[LostSource] != 1 {
			t.Errorf("%s: %d sources, lost %v", f, len(again[0].More), lost)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	pdq := []hashing.Signal{signal(t, "pdq:"+pdqHex)}
	with := func(change func(*hashing.Signal)) Item {
		s := pdq[0]
		change(&s)
		return Item{Signals: []hashing.Signal{s}}
	}
	var many []hashing.Signal
	for range 40_000 {
		many = append(many, pdq[0])
	}
	for _, c := range []struct {
		name string
		item Item
		want Reason
	}{
		{"no signal", Item{}, NoSignal},
		{"no algorithm", Item{Signals: make([]hashing.Signal, 1)}, BadHash},
		{"bits beyond", with(func(s *hashing.Signal) { s.Algorithm = hashing.PHash }), BadHash},
		{"quality", with(func(s *hashing.Signal) { s.Quality = 101 }), BadHash},
		{"quality of a digest", with(func(s *hashing.Signal) { s.Algorithm = hashing.SHA256 }), BadHash},
		{"variant of a digest", with(func(s *hashing.Signal) {
			s.Algorithm, s.Quality, s.Variant = hashing.SHA256, 100, hashing.CLI
		}), BadHash},
		{"time", with(func(s *hashing.Signal) { s.Time = maxTime + 1 }), BadHash},
		{"label", Item{Signals: pdq, Labels: []string{"a", "Flag"}}, BadLabel},
		{"labels", Item{Signals: pdq, Labels: strings.Fields(strings.Repeat("a ", 33))}, BadLabel},
		{"NUL", Item{Signals: pdq, Note: "a\x00"}, BadText},
		{"not UTF-8", Item{Signals: pdq, Origin: "\xff"}, BadText},
		{"status", Item{Signals: pdq, Status: "Retracted"}, BadStatus},
		{"two words for one status", Item{Signals: pdq, Status: "active"}, BadStatus},
		{"NUL in a source", Item{Signals: pdq, More: []Source{{List: "a\x00"}}}, BadText},
		{"year of a source", Item{Signals: pdq, More: []Source{{CreatedAt: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}}}, BadTime},
		{"year of expiry", Item{Signals: pdq, ExpiresAt: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}, BadTime},
		{"year", Item{Signals: pdq, CreatedAt: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}, BadTime},
		{"size", Item{Signals: pdq, Media: Media{Bytes: -1}}, BadNumber},
		{"too long", Item{Signals: many}, TooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, f := range []Format{CSV, NDJSON} {
				var out bytes.Buffer
				w, _ := NewWriter(&out, f)
				var bad *RowError
				if err := w.Write(c.item); !errors.As(err, &bad) || bad.Reason != c.want {
					t.Errorf("%s: %v, want %s", f, err, c.want)
				}
				if err := errors.Join(w.Write(Item{Signals: pdq}), w.Close()); err != nil {
					t.Fatal(err)
				}
				if all := readAll(t, &out, f, ReadOptions{}); len(all) != 1 || all[0].bad != nil {
					t.Errorf("%s: what came after it was read as %v", f, all)
				}
			}
		})
	}
}

// What ThreatExchange's formats cannot say is counted, and what Vigie would not match is not given away.
func TestLosses(t *testing.T) {
	video := Item{
		Signals: []hashing.Signal{
			signal(t, "md5:"+md5Hex), signal(t, "pdq:"+pdqHex+"?q=90"), signal(t, "pdq:"+pdqHex+"?t=1500"),
			signal(t, "pdq/cli:"+pdqHex+"?q=90&t=1500"), signal(t, "pdq:"+pdqHex+"?q=49&t=2000"),
		},
		Labels: []string{"a", "opinion:disputed"}, Source: "a list", More: []Source{{List: "another"}},
	}
	picture := Item{
		Signals: []hashing.Signal{signal(t, "pdq/white:"+pdqHex+"?q=90"), signal(t, "phash:0000000000000000")},
		Note:    "n", Origin: "o", Foreign: "f", CreatedAt: time.Unix(1, 0).UTC(), Media: Media{Width: 1},
	}
	picture.ExpiresAt = time.Unix(2, 0).UTC()
	gone := Item{Signals: video.Signals, Status: Retracted, Note: "n"}
	vpdq := `["` + pdqHex + `,90,0.000","` + pdqHex + `,100,1.500"]`

	text, lost := written(t, LocalFile, video, picture, gone)
	if want := "video_md5 " + md5Hex + "\nvpdq " + vpdq + "\npdq " + pdqHex + "\n"; text != want {
		t.Errorf("got %s, want %s", text, want)
	}
	both := map[Loss]int{
		LostInactive: 1, LostPoor: 2, LostFrames: 1, LostQuality: 2, LostVariant: 1, LostGroup: 1,
		LostNote: 1, LostOrigin: 1, LostForeign: 1, LostTime: 1, LostExpiry: 1, LostMedia: 1,
	}
	want := map[Loss]int{LostLabels: 1, LostSource: 1}
	for l, n := range both {
		want[l] = n
	}
	if d := diff(want, lost); d != "" {
		t.Error(d)
	}

	text, lost = written(t, TXCSV, video, picture, gone)
	if want := "signal_type,signal_str,collab,category,tags\r\n" +
		"video_md5," + md5Hex + ",a list,DISPUTED,a\r\n" +
		`vpdq,"` + strings.ReplaceAll(vpdq, `"`, `""`) + `",a list,DISPUTED,a` + "\r\n" +
		"pdq," + pdqHex + ",,INVESTIGATION_SEED,\r\n"; text != want {
		t.Errorf("got %s, want %s", text, want)
	}
	both[LostOpinion], both[LostSource] = 1, 1
	if d := diff(both, lost); d != "" {
		t.Error(d)
	}
}

// The bounds that this package repeats are those of the API.
func TestBoundsAreTheContracts(t *testing.T) {
	contract, err := os.ReadFile("../api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Label:\n      type: string\n      pattern: \"" + labelName.String() + "\"\n",
		"Labels:\n      type: array\n      maxItems: 32\n",
		"time_ms: {type: integer, format: int64, minimum: 0, maximum: 2147483647,",
	} {
		if !strings.Contains(string(contract), want) {
			t.Errorf("the contract does not say %q", want)
		}
	}
	if maxLabels != 32 || maxTime != 2147483647 {
		t.Error("the constants differ")
	}
}
