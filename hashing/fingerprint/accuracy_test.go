package fingerprint_test

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vigie/hashing"
	"vigie/hashing/decode"
	"vigie/hashing/fingerprint"
	"vigie/hashing/pdq"
	"vigie/internal/datatest"
)

// reference is a row of the manifest.
type reference struct {
	file                    string
	full, cli               hashing.Value
	fullQuality, cliQuality int
}

func references(t testing.TB, dir string) []reference {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "manifest.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := func(name string) int {
		i := slices.Index(rows[0], name)
		if i < 0 {
			t.Fatalf("manifest has no column %s", name)
		}
		return i
	}
	var refs []reference
	for _, row := range rows[1:] {
		r := reference{file: row[column("file")]}
		r.full, r.fullQuality = referenceHash(t, row[column("ref_full_pdq")], row[column("ref_full_quality")])
		r.cli, r.cliQuality = referenceHash(t, row[column("ref_cli_pdq")], row[column("ref_cli_quality")])
		refs = append(refs, r)
	}
	return refs
}

// referenceHash reads a hash and its quality; a file that the reference could not read has quality -1.
func referenceHash(t testing.TB, digits, quality string) (hashing.Value, int) {
	t.Helper()
	q := -1
	if digits == "" {
		return hashing.Value{}, q
	}
	s, err := hashing.ParseParts("pdq", "", digits)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(quality, &q); err != nil {
		t.Fatalf("quality %q: %v", quality, err)
	}
	return s.Value, q
}

// comparison collects how far computed hashes are from the reference's.
type comparison struct {
	name      string
	distances []int
	qualities []int // differences, absolute
	worst     []string
}

func (c *comparison) add(file string, got hashing.Signal, want hashing.Value, quality int) {
	d, dq := got.Value.Distance(want), int(got.Quality)-quality
	c.distances = append(c.distances, d)
	c.qualities = append(c.qualities, max(dq, -dq))
	if d > 4 || dq > 1 || dq < -1 {
		c.worst = append(c.worst, fmt.Sprintf("  %s %s: distance %d, quality %d for %d", c.name, file, d, got.Quality, quality))
	}
}

func (c *comparison) share(within int) float64 {
	n := 0
	for _, d := range c.distances {
		if d <= within {
			n++
		}
	}
	return 100 * float64(n) / float64(len(c.distances))
}

func (c *comparison) String() string {
	sum := 0
	for _, d := range c.distances {
		sum += d
	}
	slices.Sort(c.distances)
	return fmt.Sprintf("%-5s %8d %7.1f%% %9.1f%% %6.2f %5d %5d %16d", c.name, len(c.distances), c.share(0), c.share(4),
		float64(sum)/float64(len(c.distances)), c.distances[len(c.distances)*99/100], slices.Max(c.distances), slices.Max(c.qualities))
}

// raceDetector is set by race_test.go. It makes hashing ten times slower, and the tests over the whole
// data set run in one goroutine: make test runs them without it.
var raceDetector bool

// What Vigie computes from files must be what others compute: HMA at full resolution, the command line
// from samples. Decoders differ in rounding, so a few bits are allowed.
func TestAgainstTheReference(t *testing.T) {
	if raceDetector {
		t.Skip("one goroutine over the whole data set; runs without the race detector")
	}
	dir := datatest.Folder(t)
	h := fingerprint.New(hashing.DefaultLimits())
	full, cli := &comparison{name: "full"}, &comparison{name: "cli"}
	refused := map[string]int{}
	for _, ref := range references(t, dir) {
		data, err := os.ReadFile(filepath.Join(dir, ref.file))
		if err != nil {
			t.Fatal(err)
		}
		p, err := h.Picture(t.Context(), data)
		if m, ok := hashing.AsMediaError(err); ok {
			refused[string(m.Kind)]++
			t.Logf("refused %s: %v", ref.file, m)
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", ref.file, err)
		}
		if p.Unhashable != "" {
			t.Logf("unhashable %s: %s (reference quality %d)", ref.file, p.Unhashable, ref.fullQuality)
			if ref.fullQuality > int(hashing.MinQuality)+5 {
				t.Errorf("%s: %s, although the reference's quality is %d", ref.file, p.Unhashable, ref.fullQuality)
			}
			continue
		}
		// The references clip 16-bit samples instead of scaling them.
		clipped := filepath.Base(ref.file) == "I16.png"
		for _, s := range p.Signals {
			switch {
			case s.Algorithm != hashing.PDQ:
			case clipped:
				t.Logf("%s %s: %d bits from the clipping reference", ref.file, s.Variant, min(s.Value.Distance(ref.full), s.Value.Distance(ref.cli)))
			case s.Variant == hashing.Plain && ref.fullQuality >= int(hashing.MinQuality):
				full.add(ref.file, s, ref.full, ref.fullQuality)
			case s.Variant == hashing.CLI && ref.cliQuality >= int(hashing.MinQuality):
				cli.add(ref.file, s, ref.cli, ref.cliQuality)
			}
		}
	}
	t.Logf("against  pictures   exact  within 4   mean   p99   max  quality off max\n%v\n%v\n%s", full, cli,
		strings.Join(append(full.worst, cli.worst...), "\n"))
	for _, c := range []*comparison{full, cli} {
		if len(c.distances) < 250 {
			t.Errorf("%s: only %d pictures compared", c.name, len(c.distances))
		}
		if c.share(4) < 99 || c.share(10) < 100 {
			t.Errorf("%s: %.1f%% within 4 bits, %.1f%% within 10; want 99 and 100", c.name, c.share(4), c.share(10))
		}
		if q := slices.Max(c.qualities); q > 5 {
			t.Errorf("%s: quality off by %d", c.name, q)
		}
	}
	if full.share(0) < 70 {
		t.Errorf("full: %.1f%% exact, want 70", full.share(0))
	}
	for kind, n := range refused {
		if n > 5 {
			t.Errorf("%d files refused as %s", n, kind)
		}
	}
}

// DihedralOf estimates orientations from a hash alone; its documentation states these errors.
func TestErrorOfTheDihedralEstimate(t *testing.T) {
	if raceDetector {
		t.Skip("one goroutine over the whole data set; runs without the race detector")
	}
	dir := datatest.Folder(t)
	type errors struct{ sum, n, most, over int }
	add := func(e *errors, d int) {
		e.sum, e.n, e.most = e.sum+d, e.n+1, max(e.most, d)
		if d > 31 {
			e.over++
		}
	}
	mean := func(e errors) float64 { return float64(e.sum) / float64(e.n) }
	var h pdq.Hasher
	var toDihedral, toTurned, dihedralToTurned errors
	for _, ref := range references(t, dir) {
		data, err := os.ReadFile(filepath.Join(dir, ref.file))
		if err != nil {
			t.Fatal(err)
		}
		img, err := decode.Decode(data, hashing.DefaultLimits())
		if err != nil {
			continue
		}
		var l decode.Luma
		img.Reduced(&l, decode.Bare)
		luma, width, height := l.Floats, l.Width, l.Height
		for _, v := range l.Bytes {
			luma = append(luma, float32(v))
		}
		all, quality := h.Dihedral(luma, width, height)
		if quality < int(hashing.MinQuality) {
			continue
		}
		estimates := pdq.DihedralOf(all[0])
		for i, estimate := range estimates {
			add(&toDihedral, estimate.Distance(all[i]))
		}
		slices.Reverse(luma)
		turned, _ := h.Hash(luma, width, height)
		add(&toTurned, estimates[hashing.Rotate180].Distance(turned))
		add(&dihedralToTurned, all[hashing.Rotate180].Distance(turned))
	}
	t.Logf("%d pictures", toTurned.n)
	t.Logf("estimate to Dihedral:         mean %.2f, max %d", mean(toDihedral), toDihedral.most)
	t.Logf("estimate to turned pixels:    mean %.2f, max %d, %d over 31", mean(toTurned), toTurned.most, toTurned.over)
	t.Logf("Dihedral to turned pixels:    mean %.2f, max %d, %d over 31", mean(dihedralToTurned), dihedralToTurned.most, dihedralToTurned.over)
	if mean(toDihedral) > 6 || toDihedral.most > 50 || mean(toTurned) > 18 {
		t.Error("the documentation states less")
	}
}
