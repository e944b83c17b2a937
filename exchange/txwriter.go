package exchange

import (
	"cmp"
	"slices"
	"strings"

	"vigie/hashing"
	"vigie/hashing/video"
)

// Loss says what a format cannot say of an item.
type Loss string

// The losses of [TXCSV] and [LocalFile], and [LostSource] of all. Left out are items that are not active and signals that must not
// match; of everything else only what is named here is lost.
const (
	LostInactive Loss = "inactive"    // items left out: retracted, or not active for another reason
	LostPoor     Loss = "low-quality" // perceptual signals left out: under the quality at which they are matched
	LostFrames   Loss = "frames"      // signals with a time left out: vPDQ has plain PDQ alone
	LostVariant  Loss = "variant"     // signals written as if they were of the plain picture
	LostQuality  Loss = "quality"     // signals written without their quality, or as of 100 where vPDQ needs one
	LostGroup    Loss = "group"       // items written as several rows, which nothing holds together
	LostOpinion  Loss = "opinion"     // items that say none, written as INVESTIGATION_SEED
	LostLabels   Loss = "labels"      // items written without their labels; likewise the others
	LostNote     Loss = "note"
	LostOrigin   Loss = "origin"
	LostSource   Loss = "source" // also those behind the first
	LostForeign  Loss = "foreign_id"
	LostTime     Loss = "created_at"
	LostExpiry   Loss = "expires_at"
	LostMedia    Loss = "media"
)

// writeTX writes an item in a format of ThreatExchange: a row for each signal.
func (w *Writer) writeTX(i Item) error {
	if i.Status != "" {
		w.lost[LostInactive]++
		return nil
	}
	lost := map[Loss]int{}
	signals := txSignals(i.Signals, lost)
	opinion, tags := categoryOf(i.Labels)
	category := cmp.Or(opinion, seed)
	var rows []byte
	for _, s := range signals {
		start := len(rows)
		if w.format == LocalFile {
			rows = append(rows, s.kind+" "+s.text+"\n"...)
		} else {
			rows = appendRecord(rows, s.kind, s.text, i.Source, category, strings.Join(tags, " "))
			rows = append(rows, "\r\n"...)
		}
		if n := len(rows) - start; n > MaxRow {
			return tooLong(n)
		}
	}
	for l, applies := range map[Loss]bool{
		LostGroup:   len(signals) > 1,
		LostOpinion: w.format == TXCSV && opinion == "",
		LostLabels:  w.format == LocalFile && len(i.Labels) > 0,
		LostSource:  w.format == LocalFile && i.Source != "" || len(i.More) > 0,
		LostNote:    i.Note != "",
		LostOrigin:  i.Origin != "",
		LostForeign: i.Foreign != "",
		LostTime:    !i.CreatedAt.IsZero(),
		LostExpiry:  !i.ExpiresAt.IsZero(),
		LostMedia:   i.Media != Media{},
	} {
		if applies {
			lost[l]++
		}
	}
	if err := w.write(rows); err != nil {
		return err
	}
	for l, n := range lost {
		w.lost[l] += n
	}
	return nil
}

// txSignal is a signal in the words of ThreatExchange.
type txSignal struct{ kind, text string }

// txSignals says signals in the words of ThreatExchange, the frames of a video in one text, and counts what
// is lost. Others match whatever they are given: what Vigie would not match is left out.
func txSignals(signals []hashing.Signal, lost map[Loss]int) []txSignal {
	timed := slices.ContainsFunc(signals, func(s hashing.Signal) bool { return s.Time > 0 })
	var out []txSignal
	var frames []video.Feature
	for _, s := range signals {
		switch {
		case s.Algorithm.Exact():
			out = append(out, txSignal{kindOf(s.Algorithm), s.Hex()})
		case !s.Quality.Usable() || s.Blank():
			lost[LostPoor]++
		case timed && (s.Algorithm != hashing.PDQ || s.Variant != hashing.Plain):
			lost[LostFrames]++
		case timed:
			if s.Quality == hashing.QualityUnknown {
				lost[LostQuality]++
			}
			frames = append(frames, video.FeatureOf(s))
		default:
			if s.Quality != hashing.QualityUnknown {
				lost[LostQuality]++
			}
			if s.Variant != hashing.Plain {
				lost[LostVariant]++
			}
			out = append(out, txSignal{kindOf(s.Algorithm), s.Hex()})
		}
	}
	if len(frames) > 0 {
		var text strings.Builder
		_ = video.WriteVPDQJSON(&text, frames) // a Builder has no errors
		out = append(out, txSignal{"vpdq", strings.TrimSpace(text.String())})
	}
	return out
}
