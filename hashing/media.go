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

// Picture is what hashing a decoded picture yields: no pixels but thumbnails, only what is kept or
// searched.
type Picture struct {
	Format        string // "jpeg", "png", "gif", "webp", "bmp", "tiff", "avif", "heic"
	Width, Height int    // as coded, before orientation
	Unhashable    Reason // why there are no perceptual signals; "" when there are
	// Graphic says that the picture as a whole is text or a flat drawing on one ground. The hashes of such
	// pictures crowd together: nearness says less than between photographs. A photograph on a page of text is
	// none: each of the Queries tells of its own rendering.
	Graphic bool
	// Signals are the PDQ signals that are usable: the plain one first, then its variants, then those of
	// further frames of an animation, which have a Time. Where only the variants are usable (a logo
	// whose shape is in its alpha), they stand alone. An entry stores fewer: see [Picture.Stored].
	// Empty when Unhashable.
	Signals []Signal
	// Queries are what a check searches: the usable renderings under the transforms. No value stands
	// twice under one transform. Empty when Unhashable.
	Queries []Query
	// Thumbs are small renderings from which the 64-bit hashes are taken when they are needed: of the
	// variants plain, trim (there may be several) and frame that are usable, of the first frame.
	Thumbs []Thumb
}

// ThumbSide is the side of a [Thumb], in pixels.
const ThumbSide = 64

// Thumb is a rendering reduced to 64 x 64 gray pixels, each the mean of its part, the aspect ratio
// ignored. It serves a second opinion on what PDQ finds (vigie/hashing/fingerprint: Short).
type Thumb struct {
	Variant Variant
	Quality Quality // PDQ's, of the same rendering
	Pix     [ThumbSide * ThumbSide]uint8
}

// Video says what a video is, as far as its container and its decoder tell.
type Video struct {
	Format        string // the container: "mp4", "webm", "avi", ...
	Width, Height int    // as coded
	Duration      uint32 // milliseconds, of the longest stream; 0 if unknown. What was looked at if Cut
	FrameRate     float64
	Frames        int  // kept and handed out; those without signals are not counted
	Streams       int  // of pictures in motion that the file holds; 0 if unknown. Of more than [MaxStreams] not all are looked at
	Cut           bool // not all was looked at: a limit or damage ended it before its end, or left out a stream
}

// MaxStreams is how many of a video's streams are looked at: a file may hold several, and it is the player
// that chooses which one is shown.
const MaxStreams = 4

// VideoOptions choose the frames of a video.
type VideoOptions struct {
	// Keyframes alone are decoded: several times faster, and nothing is seen between them. Otherwise
	// there is also one frame for each second.
	Keyframes bool
	// PerSecond is how many frames there are for each second; 0 is 1, and the most is 10. A check that
	// looks at more frames than the entry has finds fast scenes that it would else pass by between two
	// frames.
	PerSecond int
	// All keeps every such frame, also those that differ little from the one kept before them.
	All bool
}

// CheckPerSecond is the PerSecond of [VideoOptions] for checks. Entries have one frame a second, so that
// at as many a copy's frames may be half a second off the entry's; with 4 they are an eighth at most. Of
// 100 copies of 5 seconds with a moving camera this finds 100 (95 under a logo), and 1 a second 90 to 98
// (75); see TestClips in vigie/hashing/video.
const CheckPerSecond = 4

// Frame is one frame of a video, hashed. The streams of a file come one after the other, first the one that
// a player shows unless it is told otherwise. Within a stream times increase strictly; each stream has its own.
//
// A frame without signals (and queries) shows nothing that can be told from others: it is black, flat or blurred.
// What was shown before ends at its Time. Of several such frames in a row only the first is handed out, and
// the next frame with signals is, also if it is like the last one before. Entries do not store them.
type Frame struct {
	Stream  int    // 0 for the first stream, then 1, ...
	Time    uint32 // milliseconds from the stream's start
	Quality Quality
	// Signals are the PDQ signals: the plain one first, then its variants if they are more than 4 bits
	// away, all with the frame's Time. Queries are what a check searches. Both as of a [Picture].
	Signals []Signal
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
			return s.Algorithm == PDQ && kept.Algorithm == PDQ && s.Time == kept.Time && s.Value.Distance(kept.Value) <= near
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
	Graphic   bool // the rendering, be it a part of the picture, is text or a flat drawing: see [Picture]
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
	NoDecoder   MediaErrorKind = "decoder-missing"    // an optional program that this node lacks would decode it
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
