package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"vigie/hashing"
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
