package video

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"vigie/hashing"
	"vigie/hashing/pdq"
)

// Feature is one hashed frame in the words of vPDQ, Meta's algorithm for videos
// (github.com/facebook/ThreatExchange, folder vpdq).
type Feature struct {
	Frame   int // number of the frame, from 0; [UnknownFrame] where the form does not carry it
	Quality int // 0 to 100
	Hash    pdq.Hash
	Seconds float64 // from the start: the frame's number divided by the frame rate
}

// UnknownFrame is the number of frames that were read from vPDQ's JSON, which has none.
const UnknownFrame = -1

// maxSeconds bounds times in lists: more than any video, and within the milliseconds of
// [hashing.Signal].
const maxSeconds = math.MaxUint32 / 1000

// Signal is the feature as Vigie stores it: a PDQ signal with a time.
func (f Feature) Signal() hashing.Signal {
	return hashing.Signal{
		Algorithm: hashing.PDQ, Version: hashing.PDQ.Version(), Quality: hashing.Quality(f.Quality),
		Time: uint32(math.Round(f.Seconds * 1000)), Value: hashing.Value(f.Hash),
	}
}

// FeatureOf is the inverse of [Feature.Signal], without the frame's number. A signal of unknown
// quality, which came from a list, counts as one of quality 100: vPDQ has no word for it and would
// drop it.
func FeatureOf(s hashing.Signal) Feature {
	return Feature{
		Frame: UnknownFrame, Quality: int(min(s.Quality, hashing.MaxQuality)), Hash: pdq.Hash(s.Value),
		Seconds: float64(s.Time) / 1000,
	}
}

// VPDQ hashes a video as vPDQ's reference does, for exchange with others and for comparison: frame n
// is hashed if n is divisible by int(secondsPerHash * frame rate), each frame if that is 0; at full
// size; its time is n divided by the frame rate, whatever its time stamp says (filehasher.cpp). The rate is the
// average that the container tells, or if there is none the stream's basic one (ffmpegwrapper.cpp). Of several streams
// it is the default one. The limits are those of [Decoder.Video]; a video that exceeds them is an error here, as a part of the
// features would count as the whole.
//
// Frames differ from the reference's by what decoders and scalers round: see the test of this name.
func (d *Decoder) VPDQ(ctx context.Context, data []byte, secondsPerHash float64) ([]Feature, error) {
	if !(secondsPerHash >= 0 && secondsPerHash <= maxSeconds) {
		return nil, fmt.Errorf("seconds per hash: %v is not between 0 and %d", secondsPerHash, maxSeconds)
	}
	c, err := d.admit(data)
	if err != nil {
		return nil, err
	}
	hasher, release, err := d.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	j := d.job(c, data)
	j.edited = true // as the reference has it
	tracks, _, err := d.tracks(ctx, j)
	if err != nil {
		return nil, err
	}
	t := tracks[0]
	if t.rate == 0 {
		return nil, &hashing.MediaError{Kind: hashing.Corrupt, Detail: "the video tells no frame rate"}
	}
	step := max(1, int(secondsPerHash*t.rate))
	var features []Feature
	cut, err := d.decode(ctx, j, t.place, skipNone, fmt.Sprintf(`not(mod(n\,%d))`, step), false, func(p picture) error {
		n := len(features) * step
		seconds := float64(n) / t.rate
		if len(features) == d.o.MaxFrames || seconds > d.o.MaxDuration.Seconds() {
			return errLimit
		}
		hash, quality := hasher.whole(p)
		features = append(features, Feature{Frame: n, Quality: quality, Hash: hash, Seconds: seconds})
		return nil
	})
	switch {
	case err == errNothing:
		return nil, d.undecoded(t)
	case err != nil:
		return nil, err
	case cut:
		return nil, &hashing.MediaError{Kind: hashing.TooLarge, Detail: fmt.Sprintf(
			"not all of the video could be hashed within the limits (%d frames to hash, %v long, %v of time)", d.o.MaxFrames, d.o.MaxDuration, d.o.Timeout)}
	}
	return features, nil
}

// WriteVPDQ writes features in vPDQ's text form, one a line:
//
//	frame number,quality,64 hexadecimal digits,seconds with 3 decimals
//
// A feature without a number gets its place in the list. The errors are those of w.
func WriteVPDQ(w io.Writer, features []Feature) error {
	b := bufio.NewWriter(w)
	for i, f := range features {
		if f.Frame == UnknownFrame {
			f.Frame = i
		}
		fmt.Fprintf(b, "%d,%d,%s,%.3f\n", f.Frame, f.Quality, f.Hash, f.Seconds)
	}
	return b.Flush()
}

// WriteVPDQJSON writes features in the form of python-threatexchange (extensions/vpdq/vpdq_util.py,
// vpdq_to_json): a JSON array of texts "64 hexadecimal digits,quality,seconds". The errors are those
// of w.
func WriteVPDQJSON(w io.Writer, features []Feature) error {
	texts := make([]string, len(features))
	for i, f := range features {
		texts[i] = fmt.Sprintf("%s,%d,%.3f", f.Hash, f.Quality, f.Seconds)
	}
	return json.NewEncoder(w).Encode(texts)
}

// FormatError tells which line of a vPDQ text, or which element of a vPDQ JSON array, does not hold.
type FormatError struct {
	Line   int // from 1
	Reason string
}

func (e *FormatError) Error() string { return fmt.Sprintf("vPDQ, line %d: %s", e.Line, e.Reason) }

// maxListBytes bounds what [ReadVPDQ] reads: some 800,000 features.
const maxListBytes = 64 << 20

// ReadVPDQ reads either form: text as of [WriteVPDQ], or JSON as of [WriteVPDQJSON], told by its first
// character. It is strict: each feature has all its fields, a quality of 0 to 100, digits of either
// case, and a finite time of 0 or more; frame numbers of the text rise. Lines may end in "\r\n"; empty
// ones are skipped. What does not hold is a [*FormatError], as is a list of more than 64 MiB; errors of
// r are returned as they are. The result of an empty input is empty.
func ReadVPDQ(r io.Reader) ([]Feature, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxListBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxListBytes {
		return nil, &FormatError{Line: 1, Reason: fmt.Sprintf("the list is longer than %d bytes", maxListBytes)}
	}
	text := string(data)
	if strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "[") {
		return readJSON(data)
	}
	var features []Feature
	last := -1
	number := 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			continue
		}
		f, err := parseLine(line)
		if err == nil && f.Frame <= last {
			err = fmt.Errorf("frame %d after frame %d", f.Frame, last)
		}
		if err != nil {
			return nil, &FormatError{Line: number, Reason: err.Error()}
		}
		last = f.Frame
		features = append(features, f)
	}
	return features, nil
}

func readJSON(data []byte) ([]Feature, error) {
	var texts []string
	if err := json.Unmarshal(data, &texts); err != nil {
		return nil, &FormatError{Line: 1, Reason: `not a JSON array of texts "hash,quality,seconds"`}
	}
	var features []Feature
	for i, text := range texts {
		f := Feature{Frame: UnknownFrame}
		fields := strings.Split(text, ",")
		err := errors.New("not of the form hash,quality,seconds")
		if len(fields) == 3 {
			err = f.parse(fields[0], fields[1], fields[2])
		}
		if err != nil {
			return nil, &FormatError{Line: i + 1, Reason: err.Error()}
		}
		features = append(features, f)
	}
	return features, nil
}

func parseLine(line string) (Feature, error) {
	fields := strings.Split(line, ",")
	if len(fields) != 4 {
		return Feature{}, fmt.Errorf("%d fields; a line is frame number,quality,hash,seconds", len(fields))
	}
	frame, err := strconv.ParseUint(fields[0], 10, 31)
	if err != nil {
		return Feature{}, errors.New("the frame number is not a whole number from 0 to 2147483647")
	}
	f := Feature{Frame: int(frame)}
	return f, f.parse(fields[2], fields[1], fields[3])
}

func (f *Feature) parse(hash, quality, seconds string) error {
	digits, err := hex.DecodeString(hash)
	if err != nil || len(digits) != 32 {
		return errors.New("the hash is not 64 hexadecimal digits")
	}
	q, err := strconv.ParseUint(quality, 10, 8)
	if err != nil || q > uint64(hashing.MaxQuality) {
		return errors.New("the quality is not a whole number from 0 to 100")
	}
	s, err := strconv.ParseFloat(seconds, 64)
	if err != nil || !(s >= 0 && s <= maxSeconds) {
		return fmt.Errorf("the time is not a number of seconds from 0 to %d", maxSeconds)
	}
	f.Hash, f.Quality, f.Seconds = pdq.Hash(hashing.ValueFromBytes(digits)), int(q), s
	return nil
}
