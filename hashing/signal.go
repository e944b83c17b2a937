package hashing

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"strings"
)

// Algorithm names a fingerprint function. The zero value is invalid.
type Algorithm uint8

// The algorithms that Vigie knows. The order is part of no format: text forms carry the name.
const (
	// PDQ is Meta's 256-bit perceptual hash of a picture (see package vigie/hashing/pdq).
	PDQ Algorithm = iota + 1
	// PHash is goimagehash's 64-bit DCT hash ("perception hash").
	PHash
	// DHash is goimagehash's 64-bit gradient hash ("difference hash").
	DHash
	// AHash is goimagehash's 64-bit mean hash ("average hash").
	AHash
	// MD5 is the digest of the file's bytes (RFC 1321). Lists exchange it; it is not collision resistant.
	MD5
	// SHA256 is the digest of the file's bytes (FIPS 180-4).
	SHA256
)

// algorithmSpec is all that differs between algorithms as far as values go.
type algorithmSpec struct {
	name    string
	bits    int
	digest  bool
	version uint8
}

var algorithmSpecs = [...]algorithmSpec{
	PDQ:    {name: "pdq", bits: 256, version: 1},
	PHash:  {name: "phash", bits: 64, version: 2},
	DHash:  {name: "dhash", bits: 64, version: 2},
	AHash:  {name: "ahash", bits: 64, version: 2},
	MD5:    {name: "md5", bits: 128, digest: true, version: 1},
	SHA256: {name: "sha256", bits: 256, digest: true, version: 1},
}

// Algorithms lists every known algorithm, perceptual ones first.
func Algorithms() []Algorithm {
	return []Algorithm{PDQ, PHash, DHash, AHash, MD5, SHA256}
}

func (a Algorithm) spec() algorithmSpec {
	if a.Valid() {
		return algorithmSpecs[a]
	}
	return algorithmSpec{name: "invalid"}
}

// Valid reports whether a is one of the known algorithms.
func (a Algorithm) Valid() bool { return a >= PDQ && int(a) < len(algorithmSpecs) }

// String is the name used in text forms, JSON and lists: "pdq", "phash", ...
func (a Algorithm) String() string { return a.spec().name }

// Bits is the width of the algorithm's values: 64, 128 or 256; 0 if a is invalid.
func (a Algorithm) Bits() int { return a.spec().bits }

// Exact reports whether a is a digest of bytes: equal or not, without a distance.
func (a Algorithm) Exact() bool { return a.spec().digest }

// Version is the version of this program's implementation of a: it changes when the same picture
// would get another value.
func (a Algorithm) Version() uint8 { return a.spec().version }

// ParseAlgorithm is the inverse of [Algorithm.String]; it ignores case. Its error is a [*ParseError].
func ParseAlgorithm(s string) (Algorithm, error) {
	for _, a := range Algorithms() {
		if strings.EqualFold(a.String(), s) {
			return a, nil
		}
	}
	return 0, &ParseError{Input: s, Reason: "unknown algorithm; accepted are pdq, phash, dhash, ahash, md5, sha256"}
}

// Variant says from which rendering of the picture a signal was computed.
// The zero value, Plain, is the picture as decoded, alpha dropped.
type Variant uint8

// The variants. Their numbers are stored: in the catalogue, and in the files of an index.
const (
	// Plain is the picture as decoded, colour under transparent pixels included.
	Plain Variant = iota
	// CLI is PDQ as the reference command line computes it: nearest neighbour to 512x512 first.
	CLI
	// White is the picture composited over white; only for pictures with transparency.
	White
	// Black is the picture composited over black; only for pictures with transparency.
	Black
	// Trimmed is the picture without flat borders: bars, margins, a coloured edge.
	Trimmed
	// Framed is the picture inside a picture: what a screenshot or a captioned meme is about.
	Framed
)

var variantNames = [...]string{Plain: "", CLI: "cli", White: "white", Black: "black", Trimmed: "trim", Framed: "frame"}

// String is the variant's name; "" for Plain.
func (v Variant) String() string {
	if v.Valid() {
		return variantNames[v]
	}
	return "invalid"
}

// Valid reports whether v is a known variant.
func (v Variant) Valid() bool { return int(v) < len(variantNames) }

// ParseVariant is the inverse of [Variant.String]. Its error is a [*ParseError].
func ParseVariant(s string) (Variant, error) {
	for v, name := range variantNames {
		if name == s {
			return Variant(v), nil
		}
	}
	return 0, &ParseError{Input: s, Reason: `unknown variant; accepted are "" (plain), cli, white, black, trim, frame`}
}

// Value is the bits of a signal, most significant first: Value[0] holds the first 16 digits of the
// hexadecimal form. Algorithms of fewer bits leave the rest zero. Values compare with ==.
type Value [4]uint64

// Distance is the Hamming distance: how many bits differ, 0..256.
func (v Value) Distance(o Value) int {
	return bits.OnesCount64(v[0]^o[0]) + bits.OnesCount64(v[1]^o[1]) +
		bits.OnesCount64(v[2]^o[2]) + bits.OnesCount64(v[3]^o[3])
}

// Bytes returns the first n bytes, big-endian (n <= 32).
func (v Value) Bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(v[i/8] >> (56 - 8*(i%8)))
	}
	return b
}

// ValueFromBytes is the inverse of [Value.Bytes]; bytes beyond the 32nd are ignored.
func ValueFromBytes(b []byte) Value {
	var v Value
	for i := range min(len(b), 32) {
		v[i/8] |= uint64(b[i]) << (56 - 8*(i%8))
	}
	return v
}

// Quality says how much a perceptual signal can be relied on: 0 (nothing to see) to 100, by PDQ's
// measure of the picture it was taken from. Digests have 100. A value that came without its
// picture may have [QualityUnknown].
type Quality uint8

const (
	// MinQuality is the least PDQ quality at which a perceptual signal is used for matching
	// (the reference's recommendation; ThreatExchange pdq/README.md).
	MinQuality Quality = 50
	// MaxQuality is the quality of a detailed picture, and of every digest.
	MaxQuality Quality = 100
	// QualityUnknown marks a value whose picture was never seen, as in hash lists.
	QualityUnknown Quality = 255
)

// Usable reports whether a signal of this quality may be matched. Unknown counts as usable: whoever
// sent the bare hash vouches for it.
func (q Quality) Usable() bool { return q >= MinQuality }

// Signal is one fingerprint of a media. It is a small comparable value, safe to copy and to use as a map key.
type Signal struct {
	Algorithm Algorithm
	Variant   Variant
	Version   uint8 // of the implementation that computed it; see [Algorithm.Version]
	Quality   Quality
	// Time is where in a video or animation the frame stands from which the signal was computed, in
	// milliseconds from the start. 0 for a picture, and for the first frame.
	Time  uint32
	Value Value
}

// Blank reports whether a perceptual value tells nothing: it would match every other picture that has
// as little in it. PDQ sets its bits by the median, so that a real hash has close to 128 of 256 set; a
// 64-bit hash is blank if all its bits are equal. Digests are never blank.
func (s Signal) Blank() bool {
	ones := s.Value.Distance(Value{})
	switch {
	case s.Algorithm == PDQ:
		return ones < 64 || ones > 192
	case s.Algorithm.Exact():
		return false
	}
	return ones == 0 || ones == s.Algorithm.Bits()
}

// String is the text form "algorithm:hex", or "algorithm/variant:hex" for other variants than the
// plain one: "pdq:f8f8...", "pdq/cli:f8f8...". Quality, version and time are not part of it.
func (s Signal) String() string {
	var b strings.Builder
	b.WriteString(s.Algorithm.String())
	if s.Variant != Plain {
		b.WriteByte('/')
		b.WriteString(s.Variant.String())
	}
	b.WriteByte(':')
	b.WriteString(s.Hex())
	return b.String()
}

// Hex is the value in lower-case hexadecimal, Bits()/4 digits.
func (s Signal) Hex() string { return hex.EncodeToString(s.Value.Bytes(s.Algorithm.Bits() / 8)) }

// ErrIncomparable is returned by [Signal.Distance] for signals of different algorithms.
var ErrIncomparable = errors.New("signals of different algorithms have no distance")

// Distance is the Hamming distance between two signals of one algorithm, 0 to its Bits. Variants of
// one algorithm are comparable: a copy may show as another variant.
func (s Signal) Distance(o Signal) (int, error) {
	if s.Algorithm != o.Algorithm || !s.Algorithm.Valid() {
		return 0, fmt.Errorf("%w: %s and %s", ErrIncomparable, s.Algorithm, o.Algorithm)
	}
	return s.Value.Distance(o.Value), nil
}

// ParseError tells what was wrong with the text of a signal, and what is accepted.
type ParseError struct {
	Input  string // at most the first 80 bytes of what was given
	Reason string
}

func (e *ParseError) Error() string {
	in := e.Input
	if len(in) > 80 {
		in = in[:80] + "..."
	}
	return fmt.Sprintf("%q: %s", in, e.Reason)
}

// Parse reads the text form of a signal: "pdq:<64 hex>", "pdq/cli:<64 hex>", "md5:<32 hex>", ...
// Names and digits may be of either case. The result has the current version and
// [QualityUnknown] (100 for digests). Errors are [*ParseError].
func Parse(s string) (Signal, error) {
	name, digits, ok := strings.Cut(s, ":")
	if !ok {
		return Signal{}, &ParseError{Input: s, Reason: `no colon; a signal is written "algorithm:hex", such as "pdq:" and 64 hexadecimal digits`}
	}
	name, variant, _ := strings.Cut(name, "/")
	return ParseParts(name, variant, digits)
}

// ParseParts makes a signal from its algorithm's name, its variant's name ("" for plain) and its
// value in hexadecimal. Errors are [*ParseError].
func ParseParts(algorithm, variant, digits string) (Signal, error) {
	a, err := ParseAlgorithm(algorithm)
	if err != nil {
		return Signal{}, err
	}
	v, err := ParseVariant(variant)
	if err != nil {
		return Signal{}, err
	}
	if v != Plain && a.Exact() {
		return Signal{}, &ParseError{Input: algorithm + "/" + variant, Reason: "digests have no variants"}
	}
	if len(digits) != a.Bits()/4 {
		return Signal{}, &ParseError{Input: digits, Reason: fmt.Sprintf(
			"%s is written with %d hexadecimal digits, got %d", a, a.Bits()/4, len(digits))}
	}
	raw, err := hex.DecodeString(digits)
	if err != nil {
		return Signal{}, &ParseError{Input: digits, Reason: "not hexadecimal: accepted are the digits 0-9 and a-f"}
	}
	q := QualityUnknown
	if a.Exact() {
		q = MaxQuality
	}
	return Signal{Algorithm: a, Variant: v, Version: a.Version(), Quality: q, Value: ValueFromBytes(raw)}, nil
}

// MarshalText writes the text form; it makes signals usable as JSON strings and map keys.
func (s Signal) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is [Parse].
func (s *Signal) UnmarshalText(b []byte) (err error) {
	*s, err = Parse(string(b))
	return err
}

// MarshalText and UnmarshalText make algorithms usable as JSON strings and map keys.
func (a Algorithm) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText is [ParseAlgorithm].
func (a *Algorithm) UnmarshalText(b []byte) (err error) {
	*a, err = ParseAlgorithm(string(b))
	return err
}

// MarshalText writes the variant's name.
func (v Variant) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText is [ParseVariant].
func (v *Variant) UnmarshalText(b []byte) (err error) {
	*v, err = ParseVariant(string(b))
	return err
}
