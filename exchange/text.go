package exchange

import (
	"math"
	"strconv"
	"strings"
	"time"

	"vigie/hashing"
)

// active is how lists may call the [Item.Status] "".
const active = "active"

// appendSignal appends a signal as Vigie's CSV has it: its text form, and what that does not say behind a
// question mark, q for the quality, t for the time in milliseconds, v for the version of the algorithm:
//
//	pdq/cli:f8f8...9b22?q=100&t=1500&v=1
//
// The quality of a digest, an unknown quality and the time 0 are left out. So is the version of a digest:
// it will stay the one there is, while that of a perceptual hash must be known where the program is newer.
func appendSignal(dst []byte, s hashing.Signal) []byte {
	dst = append(dst, s.String()...)
	separator := byte('?')
	add := func(name byte, value uint64) {
		dst = append(dst, separator, name, '=')
		dst = strconv.AppendUint(dst, value, 10)
		separator = '&'
	}
	if s.Quality != hashing.QualityUnknown && !s.Algorithm.Exact() {
		add('q', uint64(s.Quality))
	}
	if s.Time != 0 {
		add('t', uint64(s.Time))
	}
	if !s.Algorithm.Exact() || s.Version != s.Algorithm.Version() {
		add('v', uint64(s.Version))
	}
	return dst
}

// parseSignal is the inverse of appendSignal. A version left out is this program's.
func parseSignal(text string) (hashing.Signal, *RowError) {
	text, more, _ := strings.Cut(text, "?")
	name, digits, _ := strings.Cut(text, ":")
	name, variant, _ := strings.Cut(name, "/")
	s, bad := parseParts(name, variant, digits)
	if bad != nil || more == "" {
		return s, bad
	}
	given := ""
	for p := range strings.SplitSeq(more, "&") {
		name, value, _ := strings.Cut(p, "=")
		if bad := setPart(&s, name, value); bad != nil {
			return s, bad
		}
		if strings.Contains(given, name) {
			return s, badSignal("%s stands twice", name)
		}
		given += name
	}
	return s, nil
}

func setPart(s *hashing.Signal, name, value string) *RowError {
	switch name {
	case "q":
		return setQuality(s, value)
	case "t":
		t, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return bad(BadTime, "", "accepted are 0 to %d milliseconds", maxTime)
		}
		s.Time = uint32(t)
		return nil
	case "v":
		v, err := strconv.ParseUint(value, 10, 8)
		if err != nil {
			return bad(BadNumber, "", "accepted are versions 0 to 255")
		}
		s.Version = uint8(v)
		return nil
	}
	return badSignal("behind the question mark accepted are q, t and v")
}

// setQuality sets a perceptual signal's quality; that of a digest is always 100.
func setQuality(s *hashing.Signal, text string) *RowError {
	q, err := strconv.ParseUint(text, 10, 8)
	if err != nil || q > uint64(hashing.MaxQuality) {
		return bad(BadQuality, "", "accepted are whole numbers from 0 to %d", hashing.MaxQuality)
	}
	if !s.Algorithm.Exact() {
		s.Quality = hashing.Quality(q)
	}
	return nil
}

// parseParts is [hashing.ParseParts], without what was given in its error.
func parseParts(algorithm, variant, digits string) (hashing.Signal, *RowError) {
	s, err := hashing.ParseParts(algorithm, variant, digits)
	if err == nil {
		return s, nil
	}
	reason := BadHash
	if _, err := hashing.ParseAlgorithm(algorithm); err != nil {
		reason = UnknownAlgorithm
	}
	detail := "no signal"
	if p, ok := err.(*hashing.ParseError); ok {
		detail = p.Reason
	}
	return s, bad(reason, "", "%s", detail)
}

func badSignal(format string, args ...any) *RowError { return bad(BadHash, "", format, args...) }

func parseStatus(text string) (string, *RowError) {
	switch {
	case text == active:
		return "", nil
	case !statusName.MatchString(text):
		return "", bad(BadStatus, "", "accepted is one word in lower case, such as active or retracted")
	}
	return text, nil
}

func parseBool(text string) (bool, *RowError) {
	b, err := strconv.ParseBool(strings.ToLower(text))
	if err != nil {
		return false, bad(BadNumber, "", "accepted are true and false")
	}
	return b, nil
}

func parseSize(text string, bits int) (int64, *RowError) {
	n, err := strconv.ParseUint(text, 10, bits)
	if err != nil {
		return 0, bad(BadNumber, "", "accepted are whole numbers of 0 or more, of at most %d bits", bits)
	}
	return int64(n), nil
}

// parseTime reads RFC 3339, a date, or seconds since 1970, from 1973 on, to the microsecond. The result is in UTC.
func parseTime(text string) (time.Time, *RowError) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t, err = time.Parse(time.DateOnly, text)
	}
	if err != nil {
		var seconds float64
		seconds, err = strconv.ParseFloat(text, 64)
		if !(seconds >= 1e8 && seconds < 1e12) { // 20261122 is no number of seconds
			return time.Time{}, badTime()
		}
		t = time.UnixMicro(int64(math.Round(seconds * 1e6)))
	}
	t = t.UTC()
	if err != nil || t.IsZero() || !writable(t) {
		return time.Time{}, badTime()
	}
	return t, nil
}

func badTime() *RowError {
	return bad(BadTime, "", "accepted are times of RFC 3339 such as 2026-11-22T06:00:00Z, dates, and seconds since 1970")
}

// formatTime is the inverse of parseTime; "" for the zero time.
func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}
