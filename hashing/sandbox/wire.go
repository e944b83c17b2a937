package sandbox

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"vigie/hashing"
)

// What goes over the pipes. A frame is its length in four bytes, big-endian, and that many bytes.
// The child sends hello once, then one answer for each picture.

const (
	maxHello   = 4 << 10   // bytes
	maxAnswer  = 256 << 10 // bytes
	maxSignals = 256       // of a picture
	maxQueries = 1024      // of a picture
	maxDetail  = 300       // bytes of a media error's detail
)

// hello is the child's first frame. Error says why it refuses to work.
type hello struct {
	Protections Protections `json:"protections"`
	Error       string      `json:"error,omitempty"`
}

// answer holds either a picture or an error.
type answer struct {
	Picture *wirePicture `json:"picture,omitempty"`
	Error   *wireError   `json:"error,omitempty"`
}

type wireError struct {
	Kind   hashing.MediaErrorKind `json:"kind"`
	Detail string                 `json:"detail"`
}

type wirePicture struct {
	Format     string         `json:"format"`
	Width      int            `json:"width"`
	Height     int            `json:"height"`
	Unhashable hashing.Reason `json:"unhashable,omitempty"`
	Signals    []wireSignal   `json:"signals,omitempty"`
	Queries    []wireQuery    `json:"queries,omitempty"`
}

type wireSignal struct {
	Text    string          `json:"signal"`
	Quality hashing.Quality `json:"quality"`
	Version uint8           `json:"version"`
}

type wireQuery struct {
	wireSignal
	Transform hashing.Transform `json:"transform"`
}

// encodeAnswer is the child's side: what hashing returned, as JSON.
func encodeAnswer(p hashing.Picture, err error) ([]byte, error) {
	if err != nil {
		media, ok := hashing.AsMediaError(err)
		if !ok { // its text is unknown and may hold anything
			media = &hashing.MediaError{Kind: hashing.Crashed, Detail: "the decoder failed in an unexpected way"}
		}
		return json.Marshal(answer{Error: &wireError{media.Kind, cleanDetail(media.Detail)}})
	}
	w := wirePicture{Format: p.Format, Width: p.Width, Height: p.Height, Unhashable: p.Unhashable}
	for _, s := range p.Signals {
		w.Signals = append(w.Signals, toWire(s))
	}
	for _, q := range p.Queries {
		w.Queries = append(w.Queries, wireQuery{toWire(q.Signal), q.Transform})
	}
	return json.Marshal(answer{Picture: &w})
}

func toWire(s hashing.Signal) wireSignal {
	return wireSignal{Text: s.String(), Quality: s.Quality, Version: s.Version}
}

// decodeAnswer is the parent's side: it believes nothing. The first error is a [*hashing.MediaError]
// that the child reports; the second says why the answer does not hold.
func decodeAnswer(b []byte, limits hashing.Limits) (p hashing.Picture, reported *hashing.MediaError, err error) {
	var a answer
	if err := strictJSON(b, &a); err != nil {
		return p, nil, err
	}
	switch {
	case (a.Picture == nil) == (a.Error == nil):
		return p, nil, errors.New("neither a picture nor an error, or both")
	case a.Error != nil:
		if !knownKind(a.Error.Kind) {
			return p, nil, errors.New("unknown kind of error")
		}
		return p, &hashing.MediaError{Kind: a.Error.Kind, Detail: cleanDetail(a.Error.Detail)}, nil
	}
	p, err = a.Picture.check(limits)
	return p, nil, err
}

func (w *wirePicture) check(limits hashing.Limits) (hashing.Picture, error) {
	p := hashing.Picture{Format: w.Format, Width: w.Width, Height: w.Height, Unhashable: w.Unhashable}
	if !plainName(w.Format) {
		return p, errors.New("format is no plain name")
	}
	if err := limits.CheckSize(w.Width, w.Height); err != nil {
		return p, err
	}
	if len(w.Signals) > maxSignals || len(w.Queries) > maxQueries {
		return p, fmt.Errorf("%d signals and %d queries are too many", len(w.Signals), len(w.Queries))
	}
	switch w.Unhashable {
	case hashing.Flat, hashing.Tiny, hashing.LowQuality:
		if len(w.Signals)+len(w.Queries) != 0 {
			return p, errors.New("an unhashable picture has signals")
		}
		return p, nil
	case "":
		if len(w.Signals) == 0 || len(w.Queries) == 0 { // it would be a silent miss
			return p, errors.New("a hashable picture has no signals or no queries")
		}
	default:
		return p, errors.New("unknown reason")
	}
	for _, ws := range w.Signals {
		s, err := ws.check()
		if err != nil {
			return p, err
		}
		p.Signals = append(p.Signals, s)
	}
	for _, wq := range w.Queries {
		s, err := wq.check()
		if err != nil {
			return p, err
		}
		if !wq.Transform.Valid() {
			return p, errors.New("unknown transform")
		}
		p.Queries = append(p.Queries, hashing.Query{Signal: s, Transform: wq.Transform})
	}
	return p, nil
}

func (w wireSignal) check() (hashing.Signal, error) {
	s, err := hashing.Parse(w.Text)
	switch {
	case err != nil:
		return s, errors.New("a signal does not parse")
	case s.Algorithm.Exact():
		return s, errors.New("a digest is not the child's to tell")
	case s.Version != w.Version:
		return s, errors.New("a signal of another version: the child is another program")
	case w.Quality > hashing.MaxQuality && w.Quality != hashing.QualityUnknown:
		return s, errors.New("quality out of range")
	}
	s.Quality = w.Quality
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
	const small = 4 << 10
	head := binary.BigEndian.AppendUint32(make([]byte, 0, 4+small), uint32(len(b)))
	if len(b) <= small {
		_, err := w.Write(append(head, b...))
		return err
	}
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
