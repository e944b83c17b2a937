package sandbox

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"vigie/hashing"
)

// What goes over the pipes. A frame is its length in four bytes, big-endian, and that many bytes.
// The child sends hello once (JSON). Then, for each picture (raw bytes), it sends an answer, and before it
// a need if the picture takes much memory, which the parent answers by a grant: one byte, 1 for "go on",
// 0 for "forget this picture". What the child sends begins with a byte that says what follows; numbers are
// big-endian, texts have their length in one byte before them:
//
//	need      memory (8 bytes)
//	failure   kind (text), detail (the rest)
//	picture   format (text), width (4), height (4), flags (1), unhashable (text), number of signals (2),
//	          of queries (2), of thumbs (1); signals; queries: a signal, its transform (1) and flags (1);
//	          thumbs: variant (1), quality (1), pixels (4096)
//	signal    algorithm (1), variant (1), version (1), quality (1), time (4), value (32)
//
// It is binary since it is on the way of every check: as JSON it cost more than many a decoder. Parent and
// child are of one build, or the hello does not fit.

const (
	wireVersion = 3

	maxHello   = 4 << 10 // bytes
	maxSignals = 256     // of a picture
	maxQueries = 1024    // of a picture
	maxThumbs  = 8       // of a picture; there may be several of one variant
	maxDetail  = 300     // bytes of a media error's detail

	signalBytes = 40
	queryBytes  = signalBytes + 2
	thumbBytes  = 2 + hashing.ThumbSide*hashing.ThumbSide
	maxAnswer   = 1 + 256 + 9 + 256 + 5 + maxSignals*signalBytes + maxQueries*queryBytes + maxThumbs*thumbBytes // bytes
)

// The first bytes of what a child sends.
const (
	tagNeed    = 'n'
	tagFailure = 'e'
	tagPicture = 'p'
)

// The flags of a picture and of a query.
const flagGraphic = 1

func flagsOf(graphic bool) byte {
	if graphic {
		return flagGraphic
	}
	return 0
}

// The parent's say to a need.
var (
	granted = []byte{1}
	refused = []byte{0}
)

// hello is the child's first frame. Error says why it refuses to work.
type hello struct {
	Wire        int         `json:"wire"`
	Protections Protections `json:"protections"`
	Error       string      `json:"error,omitempty"`
}

func encodeNeed(bytes int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{tagNeed}, uint64(bytes))
}

// decodeNeed reports whether a frame is a need that holds, and which.
func decodeNeed(b []byte) (bytes int64, ok bool) {
	if len(b) != 9 || b[0] != tagNeed {
		return 0, false
	}
	bytes = int64(binary.BigEndian.Uint64(b[1:]))
	return bytes, bytes > 0
}

// encodeAnswer is the child's side: what hashing returned.
func encodeAnswer(p hashing.Picture, err error) ([]byte, error) {
	if err != nil {
		media, ok := hashing.AsMediaError(err)
		if !ok { // its text is unknown and may hold anything
			media = &hashing.MediaError{Kind: hashing.Crashed, Detail: "the decoder failed in an unexpected way"}
		}
		return append(appendText([]byte{tagFailure}, string(media.Kind)), cleanDetail(media.Detail)...), nil
	}
	if len(p.Signals) > maxSignals || len(p.Queries) > maxQueries || len(p.Thumbs) > maxThumbs {
		return nil, fmt.Errorf("%d signals, %d queries and %d thumbs are too many", len(p.Signals), len(p.Queries), len(p.Thumbs))
	}
	b := make([]byte, 0, 64+len(p.Signals)*signalBytes+len(p.Queries)*queryBytes+len(p.Thumbs)*thumbBytes)
	b = appendText(append(b, tagPicture), p.Format)
	b = binary.BigEndian.AppendUint32(b, uint32(p.Width))
	b = binary.BigEndian.AppendUint32(b, uint32(p.Height))
	b = appendText(append(b, flagsOf(p.Graphic)), string(p.Unhashable))
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.Signals)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.Queries)))
	b = append(b, byte(len(p.Thumbs)))
	for _, s := range p.Signals {
		b = appendSignal(b, s)
	}
	for _, q := range p.Queries {
		b = append(appendSignal(b, q.Signal), byte(q.Transform), flagsOf(q.Graphic))
	}
	for i := range p.Thumbs {
		t := &p.Thumbs[i]
		b = append(append(b, byte(t.Variant), byte(t.Quality)), t.Pix[:]...)
	}
	return b, nil
}

func appendText(b []byte, s string) []byte {
	s = s[:min(len(s), 255)]
	return append(append(b, byte(len(s))), s...)
}

func appendSignal(b []byte, s hashing.Signal) []byte {
	b = append(b, byte(s.Algorithm), byte(s.Variant), s.Version, byte(s.Quality))
	b = binary.BigEndian.AppendUint32(b, s.Time)
	for _, word := range s.Value {
		b = binary.BigEndian.AppendUint64(b, word)
	}
	return b
}

// decodeAnswer is the parent's side: it believes nothing. The first error is a [*hashing.MediaError]
// that the child reports; the second says why the answer does not hold.
func decodeAnswer(b []byte, limits hashing.Limits) (p hashing.Picture, reported *hashing.MediaError, err error) {
	r := reader{rest: b}
	switch r.byte() {
	case tagFailure:
		kind := hashing.MediaErrorKind(r.text())
		if r.short || !knownKind(kind) {
			return p, nil, errors.New("unknown kind of error")
		}
		return p, &hashing.MediaError{Kind: kind, Detail: cleanDetail(string(r.rest))}, nil
	case tagPicture:
		p, err = r.picture(limits)
		if err != nil {
			p = hashing.Picture{}
		}
		return p, nil, err
	}
	return p, nil, errors.New("neither a picture nor an error")
}

// reader takes an answer apart. After its end it reads zeros, and is short.
type reader struct {
	rest  []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if len(r.rest) < n {
		r.short, r.rest = true, nil
		return make([]byte, n)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte     { return r.take(1)[0] }
func (r *reader) uint16() uint16 { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) uint32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) text() string   { return string(r.take(int(r.byte()))) }

func (r *reader) picture(limits hashing.Limits) (p hashing.Picture, err error) {
	p.Format = r.text()
	width, height := r.uint32(), r.uint32()
	flags := r.byte()
	p.Unhashable = hashing.Reason(r.text())
	signals, queries, thumbs := int(r.uint16()), int(r.uint16()), int(r.byte())
	switch {
	case r.short || len(r.rest) != signals*signalBytes+queries*queryBytes+thumbs*thumbBytes:
		return p, errors.New("its length does not fit")
	case !plainName(p.Format):
		return p, errors.New("format is no plain name")
	case width > math.MaxInt32 || height > math.MaxInt32:
		return p, errors.New("size out of range")
	case flags&^flagGraphic != 0:
		return p, errors.New("unknown flags")
	case signals > maxSignals || queries > maxQueries || thumbs > maxThumbs:
		return p, fmt.Errorf("%d signals, %d queries and %d thumbs are too many", signals, queries, thumbs)
	}
	p.Width, p.Height, p.Graphic = int(width), int(height), flags&flagGraphic != 0
	if err := limits.CheckSize(p.Width, p.Height); err != nil {
		return p, err
	}
	switch p.Unhashable {
	case hashing.Flat, hashing.Tiny, hashing.LowQuality:
		if signals+queries+thumbs != 0 {
			return p, errors.New("an unhashable picture has signals")
		}
		return p, nil
	case "":
		if signals == 0 || queries == 0 { // it would be a silent miss
			return p, errors.New("a hashable picture has no signals or no queries")
		}
	default:
		return p, errors.New("unknown reason")
	}
	p.Signals = make([]hashing.Signal, signals)
	for i := range p.Signals {
		if p.Signals[i], err = r.signal(); err != nil {
			return p, err
		}
	}
	p.Queries = make([]hashing.Query, queries)
	for i := range p.Queries {
		q := &p.Queries[i]
		if q.Signal, err = r.signal(); err != nil {
			return p, err
		}
		if q.Transform = hashing.Transform(r.byte()); !q.Transform.Valid() {
			return p, errors.New("unknown transform")
		}
		flags := r.byte()
		if flags&^flagGraphic != 0 {
			return p, errors.New("unknown flags of a query")
		}
		q.Graphic = flags == flagGraphic
	}
	if thumbs > 0 {
		p.Thumbs = make([]hashing.Thumb, thumbs)
	}
	for i := range p.Thumbs {
		t := &p.Thumbs[i]
		t.Variant, t.Quality = hashing.Variant(r.byte()), hashing.Quality(r.byte())
		copy(t.Pix[:], r.take(len(t.Pix)))
		if t.Variant != hashing.Plain && t.Variant != hashing.Trimmed && t.Variant != hashing.Framed {
			return p, errors.New("a thumb of a variant that has none")
		}
		if t.Quality > hashing.MaxQuality {
			return p, errors.New("quality out of range")
		}
	}
	return p, nil
}

func (r *reader) signal() (s hashing.Signal, err error) {
	b := r.take(signalBytes)
	s = hashing.Signal{
		Algorithm: hashing.Algorithm(b[0]), Variant: hashing.Variant(b[1]), Version: b[2], Quality: hashing.Quality(b[3]),
		Time: binary.BigEndian.Uint32(b[4:]), Value: hashing.ValueFromBytes(b[8:]),
	}
	switch {
	case !s.Algorithm.Valid() || !s.Variant.Valid():
		return s, errors.New("a signal of an unknown algorithm or variant")
	case s.Algorithm.Exact():
		return s, errors.New("a digest is not the child's to tell")
	case s.Version != s.Algorithm.Version():
		return s, errors.New("a signal of another version: the child is another program")
	case s.Quality > hashing.MaxQuality && s.Quality != hashing.QualityUnknown:
		return s, errors.New("quality out of range")
	}
	for _, extra := range b[8+s.Algorithm.Bits()/8:] {
		if extra != 0 {
			return s, errors.New("a value with more bits than its algorithm has")
		}
	}
	return s, nil
}

func knownKind(k hashing.MediaErrorKind) bool {
	return slices.Contains([]hashing.MediaErrorKind{
		hashing.Empty, hashing.Unsupported, hashing.TooLarge, hashing.Corrupt,
		hashing.TimedOut, hashing.OutOfMemory, hashing.Crashed, hashing.NoDecoder,
	}, k)
}

// plainName reports whether s is 1 to 16 small letters and digits.
func plainName(s string) bool {
	return len(s) >= 1 && len(s) <= 16 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// cleanDetail makes a text fit for a log line: printable ASCII, bounded.
func cleanDetail(s string) string {
	if len(s) > maxDetail {
		s = s[:maxDetail]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// strictJSON decodes exactly one document without unknown fields.
func strictJSON(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("more than one document")
	}
	return nil
}

var errFrameTooLong = errors.New("frame is too long")

// writeFrame writes b as one frame. A small frame is one write.
func writeFrame(w io.Writer, b []byte) error {
	const small = 64 << 10
	if len(b) <= small {
		_, err := w.Write(append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(b)), uint32(len(b))), b...))
		return err
	}
	head := binary.BigEndian.AppendUint32(make([]byte, 0, 4), uint32(len(b)))
	if _, err := w.Write(head); err != nil {
		return err
	}
	_, err := w.Write(b)
	return err
}

// readFrame reads one frame of at most limit bytes, into buf if it fits. The end of r before a frame
// is io.EOF, within one io.ErrUnexpectedEOF.
func readFrame(r io.Reader, limit int64, buf []byte) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if int64(n) > limit {
		return nil, errFrameTooLong
	}
	if uint32(cap(buf)) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(r, buf); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return buf, nil
}
