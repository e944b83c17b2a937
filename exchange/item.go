package exchange

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"vigie/hashing"
)

// Item is one entry of a list. Its texts are UTF-8 without NUL.
type Item struct {
	// Signals are of one media, at least one, in the order of the list. Some have a Time if they are the
	// frames of a video.
	Signals []hashing.Signal
	// ExactOnly says that the media cannot be hashed perceptually, so that digests are all there is.
	ExactOnly bool
	Labels    []string // at most 32, in the order of the list, each of the API's alphabet
	Note      string
	// Noted is how many labels the list has that labels here cannot say: they stand in Note, as far as it has room. It is not
	// written.
	Noted     int
	Origin    string    // where the media comes from: a URL, a case number
	Source    string    // the list, collaboration or exchange that the entry came from, by its name
	Foreign   string    // its id there
	CreatedAt time.Time // in UTC; zero if unknown
	ExpiresAt time.Time // when it is to match no more, in UTC; zero: never
	// More are further sources of the same entry, in order, at most 199; the first are the four fields above.
	More []Source
	// Unread is how many sources the list has beyond those. It is not written.
	Unread int
	// Status is "" for an active entry, or one word in lower case: "retracted", ...
	Status string
	Media  Media
}

// Source says whence an entry is, in the words of [Item].
type Source struct {
	Origin    string
	List      string // [Item.Source]
	Foreign   string
	CreatedAt time.Time
}

// Retracted is the [Item.Status] of what was taken back.
const Retracted = "retracted"

// Media says what is known of the bytes behind an item, apart from their digests; zero where unknown.
type Media struct {
	Format        string // "jpeg", "mp4", ...
	Width, Height int
	Bytes         int64
	DurationMS    int64 // of a video
}

const (
	maxLabels = 32            // as the API
	maxMore   = 199           // with the first, as many as an entry keeps
	maxNote   = 10_000        // bytes, as the API: what is kept there of labels is cut to it
	maxTime   = math.MaxInt32 // of a signal, in milliseconds, as the API
)

var (
	labelName  = regexp.MustCompile(`^[a-z0-9][a-z0-9_.:/-]{0,63}$`) // as the API
	statusName = regexp.MustCompile(`^[a-z][a-z-]{0,31}$`)
)

// check says why no row can be written that would be read back as i.
func (i Item) check() *RowError {
	if len(i.Signals) == 0 {
		return bad(NoSignal, "signals", "none; accepted is at least one")
	}
	for n, s := range i.Signals {
		if err := checkSignal(s); err != nil {
			return bad(BadHash, "signals", "number %d: %v", n+1, err)
		}
	}
	for _, t := range []struct{ column, text string }{
		{"note", i.Note}, {"origin", i.Origin}, {"source", i.Source}, {"foreign_id", i.Foreign}, {"format", i.Media.Format},
	} {
		if err := checkText(t.column, t.text); err != nil {
			return err
		}
	}
	for _, s := range i.More {
		for _, text := range []string{s.Origin, s.List, s.Foreign} {
			if err := checkText("more_sources", text); err != nil {
				return err
			}
		}
		if !writable(s.CreatedAt) {
			return badYear("more_sources")
		}
	}
	switch {
	case i.Status != "" && (i.Status == active || !statusName.MatchString(i.Status)):
		return bad(BadStatus, "status", `accepted are one word in lower case, and "" for active`)
	case min(i.Media.Width, i.Media.Height) < 0 || max(i.Media.Width, i.Media.Height) > math.MaxInt32,
		i.Media.Bytes < 0, i.Media.DurationMS < 0:
		return bad(BadNumber, "media", "accepted are whole numbers of 0 or more")
	case !writable(i.CreatedAt):
		return badYear("created_at")
	case !writable(i.ExpiresAt):
		return badYear("expires_at")
	}
	return checkLabels(i.Labels)
}

func badYear(column string) *RowError {
	return bad(BadTime, column, "accepted are the years 1 to 9999, in UTC")
}

func checkSignal(s hashing.Signal) error {
	parsed, err := hashing.ParseParts(s.Algorithm.String(), s.Variant.String(), s.Hex())
	switch {
	case err != nil:
		return fmt.Errorf("no signal of a known algorithm and variant")
	case parsed.Value != s.Value:
		return fmt.Errorf("a %s has %d bits, and here more are set", s.Algorithm, s.Algorithm.Bits())
	case s.Algorithm.Exact() && s.Quality != hashing.MaxQuality:
		return fmt.Errorf("a digest has the quality %d", hashing.MaxQuality)
	case s.Quality > hashing.MaxQuality && s.Quality != hashing.QualityUnknown:
		return fmt.Errorf("quality %d; accepted are 0 to %d", s.Quality, hashing.MaxQuality)
	case s.Time > maxTime:
		return fmt.Errorf("time %d ms; accepted are 0 to %d", s.Time, maxTime)
	}
	return nil
}

func checkLabels(labels []string) *RowError {
	if len(labels) > maxLabels {
		return bad(BadLabel, "labels", "more than %d", maxLabels)
	}
	for n, l := range labels {
		if !labelName.MatchString(l) {
			return bad(BadLabel, "labels", `number %d: accepted are 1 to 64 lower-case letters, digits, "_", ".", ":", "/" or "-"`, n+1)
		}
	}
	return nil
}

// checkText refuses what databases and other readers do not keep as it is.
func checkText(column, s string) *RowError {
	switch {
	case !utf8.ValidString(s):
		return bad(BadText, column, "it is not UTF-8")
	case strings.IndexByte(s, 0) >= 0:
		return bad(BadText, column, "it holds a NUL character")
	}
	return nil
}

// writable reports whether RFC 3339 can say t, so that it is read back as it was, if it is a time at all.
func writable(t time.Time) bool {
	return t.IsZero() || t.Location() == time.UTC && t.Year() >= 1 && t.Year() <= 9999
}
