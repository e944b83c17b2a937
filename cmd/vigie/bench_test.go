package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/index"
	"vigie/matcher"
)

// The bounds are those of the tables: half the 90 % quantile of chi-squared with 2k+2 degrees of freedom.
func TestPoissonUpper(t *testing.T) {
	t.Parallel()
	for k, want := range map[int]float64{0: 2.9957, 1: 4.7439, 2: 6.2958, 5: 10.5130, 10: 16.9622, 50: 63.2871} {
		if got := poissonUpper(k); math.Abs(got-want) > 1e-3 {
			t.Errorf("%d events: %.4f, want %.4f", k, got, want)
		}
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	var none tail
	if none.least() != -1 || none.pairs() != 0 || none.within(256) != 0 {
		t.Error("an empty tail has pairs")
	}
	if _, ok := none.extrapolated(31); ok {
		t.Error("an empty tail was extrapolated")
	}
	// Twice as many pairs for each bit: within d there are 2^(d-79), from 80 on.
	var doubling tail
	for d := 80; d <= 100; d++ {
		doubling[d] = 1 << (d - 80)
	}
	if doubling.least() != 80 || doubling.within(79) != 0 || doubling.within(90) != 1<<11-1 {
		t.Errorf("least %d, within 90 %d", doubling.least(), doubling.within(90))
	}
	share, ok := doubling.extrapolated(31)
	if want := math.Exp2(31-79) / float64(doubling.pairs()); !ok || share < want/1.6 || share > want*1.6 {
		t.Errorf("extrapolated to %.3g, want about %.3g", share, want)
	}
}

func TestClosestIsWhatSignalsSay(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	signal := func() hashing.Signal {
		return hashing.Signal{Algorithm: hashing.PDQ, Value: hashing.Value{r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()}}
	}
	queries := []hashing.Query{{Signal: hashing.Signal{Algorithm: hashing.PHash}}} // no PDQ: nearest to the zero value
	rows := []hashing.Signal{signal(), signal(), signal()}
	least := 257
	for range 5 {
		q := signal()
		queries = append(queries, hashing.Query{Signal: q, Transform: hashing.Mirror})
		for _, row := range rows {
			d, err := q.Distance(row)
			if err != nil {
				t.Fatal(err)
			}
			least = min(least, d)
		}
	}
	d, q, row := closest(queries, rows)
	if again, _ := q.Signal.Distance(row); d != least || again != d || q.Transform != hashing.Mirror {
		t.Errorf("closest %d (its signals are %d apart), want %d", d, again, least)
	}
	if d, _, _ := closest(nil, rows); d <= 256 {
		t.Errorf("without queries the distance is %d", d)
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	g := newGroups(6)
	g.join(0, 1)
	g.join(2, 3)
	g.join(1, 3)
	for i, together := range []bool{true, true, true, true, false, false} {
		if (g.of(i) == g.of(0)) != together {
			t.Errorf("%d and 0 together: %v", i, !together)
		}
	}
}

// hashesByName gives a picture of one byte the hash of that byte.
type hashesByName map[string]hashing.Value

func (h hashesByName) Picture(_ context.Context, data []byte) (hashing.Picture, error) {
	s := hashing.Signal{Algorithm: hashing.PDQ, Version: hashing.PDQ.Version(), Quality: hashing.MaxQuality, Value: h[string(data)]}
	return hashing.Picture{
		Format: "png", Width: 64, Height: 64,
		Signals: []hashing.Signal{s}, Queries: []hashing.Query{{Signal: s}},
	}, nil
}

// Only pictures that are a match for one another, or that people call the same, are no mistakes for each other:
// a is 20 bits from b and 40 from c, b and c are 60 apart; d, e and f are far from all.
func TestRelatedAreMatches(t *testing.T) {
	t.Parallel()
	const all = ^uint64(0)
	low := func(n int) uint64 { return 1<<n - 1 }
	hashes := hashesByName{
		"a": {all, all, 0, 0}, "b": {all, all, 0, low(20)}, "c": {all, all, 0, low(40) << 20},
		"d": {all, 0, all, 0}, "e": {0, all, 0, all}, "f": {all, 0, low(32), all},
	}
	b := &accuracy{
		app: &app{Config: Config{MaxBytes: 1 << 20}}, workers: 2,
		settings: []labSetting{{name: "default"}}, same: map[string]string{"d": "e", "f": "e"},
	}
	var err error
	if b.lab, err = newLab(t.Context(), hashes, b.settings); err != nil {
		t.Fatal(err)
	}
	defer b.lab.stop()
	for _, name := range slices.Sorted(maps.Keys(hashes)) {
		b.known = append(b.known, &knownPicture{benchFile: benchFile{
			name, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(name)), nil },
		}})
	}
	if err := cmp.Or(b.flag(t.Context()), b.relate(t.Context())); err != nil {
		t.Fatal(err)
	}
	media, p, _, err := b.hash(t.Context(), b.known[0].benchFile)
	if err != nil {
		t.Fatal(err)
	}
	answers, _, err := b.lab.check(t.Context(), media, p)
	if err != nil || len(answers[0].found) != 3 || answers[0].found[2].Level != matcher.Review {
		t.Fatalf("a finds %+v, %v; want itself, b, and c at review", answers[0].found, err)
	}
	const ab, de, df, ef = "a b 20 match", "d e 256 named by --same", "d f 96 named by --same", "e f 160 named by --same"
	var got []string
	for _, twin := range b.twins {
		got = append(got, fmt.Sprintf("%s %s %d %s", twin.A, twin.B, twin.Distance, twin.Level))
	}
	if want := []string{ab, de, df, ef}; !slices.Equal(got, want) {
		t.Errorf("related: %q, want %q", got, want)
	}
	for i := range 6 {
		for j := range 6 {
			if want := i == j || max(i, j) == 1 || min(i, j) > 2; b.related.has(i, j) != want {
				t.Errorf("%d and %d related: %v", i, j, !want)
			}
		}
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	var files []benchFile
	for _, name := range strings.Split("abcdefghij", "") {
		files = append(files, benchFile{name: name})
	}
	for n, want := range map[int]string{0: "abcdefghij", 20: "abcdefghij", 1: "a", 3: "adg", 10: "abcdefghij"} {
		got := ""
		for _, f := range spread(files, n) {
			got += f.name
		}
		if got != want {
			t.Errorf("%d of ten: %s, want %s", n, got, want)
		}
	}
}

// What people see of a file's name cannot break a table.
func TestMarkdownIsEscaped(t *testing.T) {
	t.Parallel()
	r := accuracyReport{Skipped: []skippedFile{{"a|b\n<i>.jpg", "empty"}}}
	text := markdown(r, "text without marks")
	if !strings.Contains(text, "| a\\|b\uFFFD&lt;i>.jpg | empty |\n") {
		t.Errorf("not escaped: %s", text)
	}
	if again := markdown(r, "before\n"+text+"after\n"); again != "before\n"+text+"after\n" {
		t.Error("writing the tables again changes them or what is around them")
	}
}

func TestInColourReadsWhatItSays(t *testing.T) {
	t.Parallel()
	small := drawn(1, 40, 30)
	for _, ext := range []string{".jpg", ".png", ".gif", ".bmp"} {
		data := encoded(ext, small)
		img, err := inColour(data, hashing.DefaultLimits())
		if err != nil || img.Bounds().Size() != small.Bounds().Size() {
			t.Errorf("%s: %v", ext, err)
		}
		if _, err := inColour(data, hashing.Limits{Bytes: 1 << 20, Side: 39, Pixels: 1 << 20}); err == nil {
			t.Errorf("%s: a picture over the limits was decoded", ext)
		}
		for n := range len(data) / 2 {
			if _, err := inColour(data[:n], hashing.DefaultLimits()); err == nil && ext != ".gif" {
				t.Errorf("%s: %d of %d bytes were decoded", ext, n, len(data))
				break
			}
		}
	}
}

// benchSearch runs vigie bench search --json, and returns the lines of radii and those of runs.
func benchSearch(t *testing.T, args ...string) (radii, runs []map[string]any) {
	t.Helper()
	var out, faults bytes.Buffer
	args = append([]string{"bench", "search", "--json"}, args...)
	if code := run(t.Context(), args, streams{strings.NewReader(""), &out, &faults}); code != exitDone || faults.Len() > 0 {
		t.Fatalf("%q ends with %d: %s", args, code, &faults)
	}
	for line := range strings.Lines(out.String()) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Fatal(err)
		}
		if object["radius"] != nil {
			radii = append(radii, object)
		} else {
			runs = append(runs, object)
		}
	}
	return radii, runs
}

// numberIn is a number in JSON objects, one in the other.
func numberIn(t *testing.T, object map[string]any, path ...string) float64 {
	t.Helper()
	for _, key := range path[:len(path)-1] {
		inner, ok := object[key].(map[string]any)
		if !ok {
			t.Fatalf("%q: %v", key, object[key])
		}
		object = inner
	}
	n, ok := object[path[len(path)-1]].(float64)
	if !ok {
		t.Fatalf("%q is no number: %v", path, object[path[len(path)-1]])
	}
	return n
}

func TestBenchSearch(t *testing.T) {
	t.Parallel()
	const state, rows = "steady", 20_000
	dir := t.TempDir()
	markdown := filepath.Join(dir, "page.md")
	radii, runs := benchSearch(t, "--state", state, "--rows", "3000,20000", "--radii", "31,8-9", "--queries", "60", "--check", "90",
		"--join", "700", "--live", "300ms", "--svg-dir", dir, "--svg", filepath.Join(dir, "bars.svg"), "--markdown", markdown)
	if len(radii) != 6 || len(runs) != 2 {
		t.Fatalf("%d lines of radii and %d of runs, want 6 and 2", len(radii), len(runs))
	}
	for i, r := range radii {
		if r["data"] != "uniform" || r["state"] != state || numberIn(t, r, "radius") != []float64{8, 9, 31}[i%3] || numberIn(t, r, "n") != []float64{3000, rows}[i/3] {
			t.Errorf("line %d is of %v, %v, radius %v, %v rows", i, r["data"], r["state"], r["radius"], r["n"])
		}
		if numberIn(t, r, "differences") != 0 || numberIn(t, r, "checked") != 30+20 { // by --check, and those that were timed
			t.Errorf("%v of %v differ", r["differences"], r["checked"])
		}
		for _, path := range [][]string{
			{"engine", "p50_us"},
			{"engine", "p99_us"},
			{"engine", "qps_1"},
			{"engine", "qps_all"},
			{"hits", "p50_us"},
			{"flat_simd", "p50_us"},
			{"flat_simd", "gb_per_s"},
			{"flat_scalar", "p50_us"},
			{"scaling"},
			{"bytes_per_row"},
			{"build_s"},
			{"load_s"},
		} {
			if numberIn(t, r, path...) <= 0 {
				t.Errorf("%q: %v", path, numberIn(t, r, path...))
			}
		}
		if many, ok := r["many"].([]any); !ok || len(many) != 3 {
			t.Errorf("many queries: %v", r["many"])
		}
	}
	last := runs[1]
	if alive := numberIn(t, last, "live_rows"); alive != rows-rows/100 {
		t.Errorf("%v rows are alive, and not all but 1 %%", alive)
	}
	for _, wrong := range [][]string{{"join", "differences"}, {"live", "differences"}} {
		if numberIn(t, last, wrong...) != 0 {
			t.Errorf("%q: %v", wrong, numberIn(t, last, wrong...))
		}
	}
	for _, path := range [][]string{
		{"save_s"}, {"grow_s"}, {"join", "values_per_second"}, {"live", "inserts_per_s"}, {"live", "deletes_per_s"}, {"live", "searches"}, {"live", "p99_ratio"}, {"live", "visible", "p50_us"},
	} {
		if numberIn(t, last, path...) <= 0 {
			t.Errorf("%q: %v", path, numberIn(t, last, path...))
		}
	}
	if hits := numberIn(t, last, "join", "hits"); hits != 70 {
		t.Errorf("%v of 70 values near a row were joined with it", hits)
	}
	if checked := numberIn(t, last, "live", "checked"); checked <= numberIn(t, last, "live", "searches")/2 {
		t.Errorf("%v of %v answers were checked; half of them are near rows", checked, numberIn(t, last, "live", "searches"))
	}
	if alive := numberIn(t, last, "live", "rows"); alive <= rows {
		t.Errorf("%v rows are alive in the end", alive)
	}
	for _, name := range []string{"bars.svg", "radius-steady-20000.svg", "rows-steady.svg", "live-steady-20000.svg", "live-memory-steady-20000.svg"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.HasPrefix(text, []byte("<svg ")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	text, err := os.ReadFile(markdown)
	for _, want := range []string{"<!-- vigie bench search --rows 3000,20000 --state steady --live: begin -->", "\n| 20000 | uniform | steady | ", "\n## One query among 20000 rows, uniform, steady, in microseconds\n", "| insert to visible | "} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in the page, %v", want, err)
		}
	}
}

// Rows like real hashes have their clusters, which are found; only checks are made.
func TestBenchSearchLikeAFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "hashes.csv")
	var text strings.Builder
	like := rowSource{seed: 3}
	for i := range 200 {
		v := like.value(uint64(i))
		v[0] |= 0xff // bits that are always ones
		fmt.Fprintf(&text, "%s,%d\n", hashing.Signal{Algorithm: hashing.PDQ, Value: v}.Hex(), i)
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	radii, runs := benchSearch(t, "--like", file, "--rows", "20000", "--radii", "0-64", "--queries", "0", "--check", "650")
	if len(radii) != 65 || len(runs) != 1 || numberIn(t, runs[0], "like_hashes") != 200 {
		t.Fatalf("%d radii, %v", len(radii), runs)
	}
	for _, r := range radii {
		if numberIn(t, r, "checked") != 10 || numberIn(t, r, "differences") != 0 || r["data"] != "like hashes.csv" {
			t.Errorf("radius %v: %v of %v differ", r["radius"], r["differences"], r["checked"])
		}
	}

	rows, err := newRowSource(file, 1)
	if err != nil {
		t.Fatal(err)
	}
	const n = 10 * clusterSpan
	values, copies, zeros := rows.values(n), 0, 0
	for i, v := range values {
		if v != rows.value(uint64(i)) {
			t.Fatalf("row %d is not what it was", i)
		}
		if v.Distance(rows.known[i/clusterSpan]) <= clusterBits {
			copies++
		} else if v[0]&0xff != 0xff {
			zeros++
		}
	}
	if want := n / clusterEvery; copies < want*3/4 || copies > want*5/4 {
		t.Errorf("%d copies of known hashes, want about %d", copies, want)
	}
	if zeros > n/1000 {
		t.Errorf("%d rows lack bits that all hashes have", zeros)
	}
}

// An engine that loses a hit is found out, wherever answers are checked.
func TestBenchSearchTellsOfWrongAnswers(t *testing.T) {
	t.Parallel()
	rows, err := newRowSource("", 1)
	if err != nil {
		t.Fatal(err)
	}
	losing := func(s *index.Snapshot, ctx context.Context, q index.Query) (index.Result, error) {
		r, err := s.Search(ctx, q)
		if q.Method == index.Auto && len(r.Hits) > 0 {
			r.Hits, r.Total = r.Hits[1:], r.Total-1
		}
		return r, err
	}
	bench := func(c searchBenchCmd) *searchBench {
		app := &app{printer: printer{json: true, streams: streams{err: io.Discard}}}
		return &searchBench{searchBenchCmd: &c, app: app, n: 5000, rows: rows, radii: []int{31}, search: losing}
	}
	b := bench(searchBenchCmd{State: "fresh", Queries: 40, Check: 20, Join: 100, Live: 100 * time.Millisecond, Inserts: 2000, Deletes: 200, Pace: 500})
	if err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := b.report
	if r.Radii[0].Differences < 10 || r.Join.Differences != 10 || r.Live.Differences == 0 {
		t.Errorf("of lost hits %d were told among single queries, %d of a join, %d live", r.Radii[0].Differences, r.Join.Differences, r.Live.Differences)
	}
	if code := fail(io.Discard, searchReport{&r}.verdict()); code != exitFailed {
		t.Errorf("the command ends with %d", code)
	}
	if err := bench(searchBenchCmd{State: "steady"}).run(t.Context()); err == nil || !strings.Contains(err.Error(), "first query") {
		t.Errorf("a wrong answer of a loaded index: %v", err)
	}
}

// What is expected of a row is what the deletions did, one after the other.
func TestLiveKnowsWhatIsDeleted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ n, inserts, deletes int }{{1, 10, 1}, {13, 10, 1}, {100, 100, 30}, {1000, 10, 30}, {1000, 0, 10}, {1000, 10, 0}} {
		l := live{searchBench: &searchBench{searchBenchCmd: &searchBenchCmd{State: "fresh", Inserts: c.inserts, Deletes: c.deletes}, n: c.n}}
		l.plan()
		const inserted = 500
		all, dead := c.n+inserted, map[int]bool{}
		for deleted := range min(c.n, 90) {
			for row := range all + 10 {
				if got, want := l.has(row, total{all, deleted}), row < all && !dead[row]; got != want {
					t.Fatalf("%+v: after %d deletions row %d is there: %v", c, deleted, row, got)
				}
			}
			if victim := l.victim(deleted); dead[victim] {
				t.Fatalf("%+v: row %d is deleted twice", c, victim)
			} else {
				dead[victim] = true
			}
		}
	}
}

func TestRadii(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]int{"0": {0}, "31,8,8-9": {8, 9, 31}, "0-3,256": {0, 1, 2, 3, 256}, "5-5": {5}, "": nil, "3-1": nil, "257": nil, "-1": nil, "a": nil, "1,,2": nil} {
		c := searchBenchCmd{Rows: []int{1}, Radii: text}
		if got, err := c.validate(); !slices.Equal(got, want) || (err != nil) != (want == nil) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestBenchSearchRefusesWrongUse(t *testing.T) {
	t.Parallel()
	few := filepath.Join(t.TempDir(), "few.txt")
	if err := os.WriteFile(few, []byte(strings.Repeat("0", 64)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"--rows", "0"},
		{"--rows", "10,-1"},
		{"--rows", "many"},
		{"--radii", "9-8"},
		{"--queries", "1"},
		{"--check=-1"},
		{"--join=-1"},
		{"--state", "old"},
		{"--live=-1s"},
		{"--live", "1s", "--pace", "0"},
		{"--live", "1s", "--inserts=-1"},
		{"--like", "missing"},
		{"--like", few},
		{"--like", "bench_test.go"},
	} {
		var out, faults bytes.Buffer
		code := run(t.Context(), append([]string{"bench", "search"}, args...), streams{strings.NewReader(""), &out, &faults})
		if code != exitUsage || out.Len() > 0 || strings.Count(faults.String(), "\n") != 1 || !strings.Contains(faults.String(), args[0][:6]) {
			t.Errorf("%q ends with %d: %s%s", args, code, &out, &faults)
		}
	}
}

// A scan reads the second half of rows only where the first does not decide.
func TestFlatBytes(t *testing.T) {
	t.Parallel()
	for radius, want := range map[int]float64{0: 16, 31: 16, 64: 32, 128: 32, 256: 32} {
		if got := flatBytes(radius); math.Abs(got-want) > .1 {
			t.Errorf("radius %d: %.3f bytes, want %v", radius, got, want)
		}
	}
	if got := flatBytes(47); got < 16.1 || got > 16.6 { // one block in 70
		t.Errorf("radius 47: %.3f bytes", got)
	}
}
