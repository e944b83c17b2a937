package hashing_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"vigie/hashing"
)

const pdqDigits = "f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22"

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, text, want string // want is the canonical text; "" means as given
		quality          hashing.Quality
	}{
		{"pdq", "pdq:" + pdqDigits, "", hashing.QualityUnknown},
		{"variant", "pdq/cli:" + pdqDigits, "", hashing.QualityUnknown},
		{"upper case", "PDQ:" + strings.ToUpper(pdqDigits), "pdq:" + pdqDigits, hashing.QualityUnknown},
		{"64 bits", "phash:8a3b726e0b32576a", "", hashing.QualityUnknown},
		{"digest", "md5:d41d8cd98f00b204e9800998ecf8427e", "", hashing.MaxQuality},
		{"long digest", "sha256:" + pdqDigits, "", hashing.MaxQuality},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := hashing.Parse(c.text)
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" {
				c.want = c.text
			}
			if s.String() != c.want || s.Quality != c.quality || s.Version != s.Algorithm.Version() {
				t.Errorf("got %s, quality %d, version %d", s, s.Quality, s.Version)
			}
		})
	}
	if s, _ := hashing.Parse("pdq:" + pdqDigits); s.Value[0] != 0xf8f8f0cee0f4a84f || s.Value[3] != 0x33e6b39c4e9c9b22 {
		t.Errorf("words %x", s.Value)
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ name, text, says string }{
		{"empty", "", "no colon"},
		{"bare digits", pdqDigits, "no colon"},
		{"unknown algorithm", "blake3:00", "unknown algorithm; accepted are pdq"},
		{"no algorithm", ":00", "unknown algorithm"},
		{"unknown variant", "pdq/sepia:" + pdqDigits, "unknown variant; accepted are"},
		{"variant in capitals", "pdq/CLI:" + pdqDigits, "unknown variant"},
		{"variant of a digest", "md5/cli:d41d8cd98f00b204e9800998ecf8427e", "digests have no variants"},
		{"too short", "pdq:" + pdqDigits[1:], "64 hexadecimal digits, got 63"},
		{"too long", "phash:" + pdqDigits, "16 hexadecimal digits, got 64"},
		{"no digits", "pdq:", "got 0"},
		{"not hexadecimal", "phash:8a3b726e0b32576g", "not hexadecimal"},
		{"space", "phash: a3b726e0b32576a", "not hexadecimal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := hashing.Parse(c.text)
			var p *hashing.ParseError
			if !errors.As(err, &p) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, %v; want an error with %q", s, err, c.says)
			}
			if s != (hashing.Signal{}) {
				t.Errorf("signal %v beside the error", s)
			}
		})
	}
	_, err := hashing.Parse(strings.Repeat("x", 1<<20))
	if len(err.Error()) > 300 {
		t.Errorf("error text of %d bytes", len(err.Error()))
	}
}

func TestDistance(t *testing.T) {
	parse := func(s string) hashing.Signal {
		signal, err := hashing.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return signal
	}
	a, cli := parse("pdq:"+pdqDigits), parse("pdq/cli:0"+pdqDigits[1:])
	if d, err := a.Distance(cli); d != 4 || err != nil {
		t.Errorf("f and 0 differ in 4 bits, got %d, %v", d, err)
	}
	if _, err := a.Distance(parse("sha256:" + pdqDigits)); !errors.Is(err, hashing.ErrIncomparable) {
		t.Errorf("different algorithms: %v", err)
	}
	if _, err := (hashing.Signal{}).Distance(hashing.Signal{}); !errors.Is(err, hashing.ErrIncomparable) {
		t.Errorf("invalid signals: %v", err)
	}
}

func TestJSON(t *testing.T) {
	type record struct {
		Signal  hashing.Signal
		Variant hashing.Variant
		By      map[hashing.Algorithm]int
	}
	const text = `{"Signal":"pdq/white:` + pdqDigits + `","Variant":"black","By":{"dhash":3}}`
	var r record
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(r)
	if err != nil || string(out) != text {
		t.Errorf("got %s, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"Signal":"pdq:12"}`), &r); err == nil {
		t.Error("a short value was accepted")
	}
}

func TestStoredDropsNearVariants(t *testing.T) {
	pdqOf := func(v hashing.Variant, low uint64) hashing.Signal {
		return hashing.Signal{Algorithm: hashing.PDQ, Variant: v, Value: hashing.Value{1, 2, 3, low}}
	}
	phash := hashing.Signal{Algorithm: hashing.PHash, Value: hashing.Value{1, 2, 3, 0}}
	p := hashing.Picture{Signals: []hashing.Signal{
		pdqOf(hashing.Plain, 0), pdqOf(hashing.CLI, 0b1111), pdqOf(hashing.White, 0b11111), pdqOf(hashing.Black, 0b111111), phash,
	}}
	var got []string
	for _, s := range p.Stored() {
		got = append(got, s.Algorithm.String()+"/"+s.Variant.String())
	}
	if want := "pdq/ pdq/white phash/"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s: 4 bits are near, 5 are not, and black is near white", got, want)
	}
	if stored := (hashing.Picture{Unhashable: hashing.Flat}).Stored(); len(stored) != 0 {
		t.Errorf("stored %v of nothing", stored)
	}
}

// Whatever Parse accepts, its text form is read back as the same signal, in one canonical spelling.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"pdq:" + pdqDigits, "pdq/cli:" + pdqDigits, "PDQ/white:" + strings.ToUpper(pdqDigits), "phash:8a3b726e0b32576a",
		"md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:" + pdqDigits, "ahash:0000000000000000", "pdq/:" + pdqDigits, "", ":", "pdq:", "/:",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := hashing.Parse(text)
		if err != nil {
			var p *hashing.ParseError
			if !errors.As(err, &p) {
				t.Fatalf("%T", err)
			}
			return
		}
		again, err := hashing.Parse(s.String())
		if err != nil || again != s || again.String() != s.String() {
			t.Fatalf("%q became %s, then %s, %v", text, s, again, err)
		}
		if d, err := s.Distance(again); d != 0 || err != nil {
			t.Fatalf("distance to itself %d, %v", d, err)
		}
		// Apart from case, and an empty variant after a slash, the spelling is kept.
		if canonical := strings.Replace(text, "/:", ":", 1); !strings.EqualFold(s.String(), canonical) {
			t.Fatalf("%q became %s", text, s)
		}
	})
}
