package hashing

import (
	"bytes"
	"crypto/md5" //nolint:gosec // exchanged by every hash list; never trusted against an adversary
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Media is a picture or a video as bytes, with the digests of these bytes.
type Media struct {
	Data   []byte
	SHA256 Value
	MD5    Value
}

// ReadMedia reads r to its end and computes the digests while reading. It keeps at most limit bytes:
// a longer input is a [*MediaError] of kind [TooLarge], an empty one of kind [Empty].
// Errors of r itself are returned as they are.
func ReadMedia(r io.Reader, limit int64) (Media, error) {
	var buf bytes.Buffer
	sha, md := sha256.New(), md5.New() //nolint:gosec
	n, err := io.Copy(io.MultiWriter(&buf, sha, md), io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return Media{}, err
	case n > limit:
		return Media{}, &MediaError{Kind: TooLarge, Detail: fmt.Sprintf("more than %d bytes", limit)}
	case n == 0:
		return Media{}, &MediaError{Kind: Empty, Detail: "the file is empty"}
	}
	return Media{Data: buf.Bytes(), SHA256: ValueFromBytes(sha.Sum(nil)), MD5: ValueFromBytes(md.Sum(nil))}, nil
}

// Digests are the exact signals of m: SHA-256, then MD5.
func (m Media) Digests() []Signal {
	return []Signal{
		{Algorithm: SHA256, Version: SHA256.Version(), Quality: MaxQuality, Value: m.SHA256},
		{Algorithm: MD5, Version: MD5.Version(), Quality: MaxQuality, Value: m.MD5},
	}
}

// Picture is what hashing a decoded picture yields: no pixels, only what is kept or searched.
type Picture struct {
	Format        string // "jpeg", "png", "gif", "webp", "bmp", "tiff"
	Width, Height int    // as coded, before orientation
	Unhashable    Reason // why there are no perceptual signals; "" when there are
	// Signals are all that were computed and are usable: plain PDQ first, then its variants, then the
	// 64-bit hashes. Where only the variants are usable (a logo whose shape is in its alpha), they
	// stand alone. An entry stores fewer: see [Picture.Stored]. Empty when Unhashable.
	Signals []Signal
	// Queries are what a check searches: each usable PDQ variant under each transform, then the
	// plain 64-bit hashes. No value stands twice under one transform. Empty when Unhashable.
	Queries []Query
}

// Stored returns the signals that an entry stores: those of Signals without the PDQ variants that
// are within 4 bits of a PDQ signal before them. Such a variant finds nothing that the other would
// miss, but for 4 bits at the rim of the radius, and would cost a row of the index.
func (p Picture) Stored() []Signal {
	const near = 4
	var stored []Signal
	for _, s := range p.Signals {
		redundant := slices.ContainsFunc(stored, func(kept Signal) bool {
			return s.Algorithm == PDQ && kept.Algorithm == PDQ && s.Value.Distance(kept.Value) <= near
		})
		if !redundant {
			stored = append(stored, s)
		}
	}
	return stored
}

// Query is a signal as a check searches it, and the transform under which it was computed.
type Query struct {
	Signal    Signal
	Transform Transform
}

// Reason says why a picture cannot be hashed perceptually. Such a picture has digests only.
type Reason string

const (
	// Flat: one colour, or nearly so; its hash would say nothing and match other flat pictures.
	Flat Reason = "flat"
	// Tiny: a side shorter than 5 pixels, the least that PDQ accepts.
	Tiny Reason = "tiny"
	// LowQuality: PDQ quality under [MinQuality]: too little detail to be told from other pictures.
	LowQuality Reason = "low-quality"
)

// MediaError is the answer to media that cannot be decoded. It is the sender's matter, not the
// server's, apart from [Crashed] which may be either.
type MediaError struct {
	Kind   MediaErrorKind
	Detail string // for people; holds nothing of the media's content
}

// ErrBusy says that no decoder was free in time. It is the server's matter: the same media may be sent
// again a little later.
var ErrBusy = errors.New("all decoders are busy")

// MediaErrorKind classifies a [MediaError]; the values are stable and appear in APIs.
type MediaErrorKind string

// The kinds of media errors.
const (
	Empty       MediaErrorKind = "empty"              // no bytes
	Unsupported MediaErrorKind = "unsupported-format" // not one of the formats, by its first bytes, or a form of one that the decoder lacks
	TooLarge    MediaErrorKind = "too-large"          // bytes, sides or pixels over the limits, by the header
	Corrupt     MediaErrorKind = "corrupt"            // the decoder gave up
	TimedOut    MediaErrorKind = "decoder-timeout"    // killed at its deadline
	OutOfMemory MediaErrorKind = "decoder-memory"     // killed at its memory limit
	Crashed     MediaErrorKind = "decoder-crashed"    // died for another reason
)

func (e *MediaError) Error() string { return string(e.Kind) + ": " + e.Detail }

// AsMediaError finds a [*MediaError] in err's chain.
func AsMediaError(err error) (*MediaError, bool) {
	var m *MediaError
	ok := errors.As(err, &m)
	return m, ok
}

// Limits bound what a decoder may be given. They are applied to the header, before a decoder allocates.
type Limits struct {
	Bytes  int64 // of the file
	Side   int   // longest side, pixels
	Pixels int   // width x height
}

// DefaultLimits admit what phones and cameras make (up to 60 megapixels) and little more.
func DefaultLimits() Limits { return Limits{Bytes: 64 << 20, Side: 30_000, Pixels: 60_000_000} }

// CheckSize applies the limits to a header's claim; its error is a [*MediaError].
func (l Limits) CheckSize(width, height int) error {
	switch {
	case width <= 0 || height <= 0:
		return &MediaError{Kind: Corrupt, Detail: fmt.Sprintf("header claims %d x %d pixels", width, height)}
	case width > l.Side || height > l.Side:
		return &MediaError{Kind: TooLarge, Detail: fmt.Sprintf("%d x %d pixels; the longest side accepted is %d", width, height, l.Side)}
	case width > l.Pixels/height:
		return &MediaError{Kind: TooLarge, Detail: fmt.Sprintf("%d x %d pixels; accepted are %d in all", width, height, l.Pixels)}
	}
	return nil
}
