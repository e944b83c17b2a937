package api

import (
	"strconv"

	v1 "vigie/api/v1"
	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
)

// What the contract says of videos, between its types and the matcher's.

// videoParts are the parts beside a checked file that are about videos. They mean nothing for pictures.
func videoParts(q *matcher.Question) map[string]part {
	percent := func(name string, to func(*matcher.VPDQ) *float64) part {
		return part{take: func(v string) error {
			p, err := strconv.ParseFloat(v, 64)
			if err != nil {
				return refuse(pInvalid, "part %s: %q is not a number", name, v)
			}
			if q.VPDQ == nil {
				usual := matcher.DefaultVPDQ()
				q.VPDQ = &usual
			}
			*to(q.VPDQ) = p
			return nil
		}}
	}
	return map[string]part{
		"frames": {take: func(v string) error {
			if !v1.CheckUploadFrames(v).Valid() {
				return refuse(pInvalid, "part frames: %q; accepted are %s and %s", v, v1.All, v1.Keyframes)
			}
			q.Video = hashing.VideoOptions{Keyframes: v == string(v1.Keyframes)}
			return nil
		}},
		"stop_at_first":  truth("stop_at_first", &q.StopAtFirst),
		"query_percent":  percent("query_percent", func(v *matcher.VPDQ) *float64 { return &v.QueryPercent }),
		"target_percent": percent("target_percent", func(v *matcher.VPDQ) *float64 { return &v.TargetPercent }),
	}
}

func vpdqIn(in *v1.VPDQThresholds) *matcher.VPDQ {
	if in == nil {
		return nil
	}
	usual := matcher.DefaultVPDQ()
	return &matcher.VPDQ{
		QueryPercent:  float64(or(in.QueryPercent, float32(usual.QueryPercent))),
		TargetPercent: float64(or(in.TargetPercent, float32(usual.TargetPercent))),
	}
}

func videoOut(v *matcher.VideoMatch) *v1.VideoMatch {
	if v == nil {
		return nil
	}
	out := &v1.VideoMatch{
		Spans: []v1.Span{}, SpansTotal: v.SpansTotal, Frames: v.Frames, Share: float32(v.Share), EntryShare: float32(v.KnownShare),
		Vpdq: v1.VPDQ{QueryPercent: float32(v.QueryPercent), TargetPercent: float32(v.TargetPercent), Matches: v.VPDQ},
	}
	for _, s := range v.Spans {
		out.Spans = append(out.Spans, v1.Span{
			FromMs: int64(s.From), ToMs: int64(s.To), EntryFromMs: int64(s.KnownFrom), EntryToMs: int64(s.KnownTo), Frames: s.Frames,
		})
	}
	return out
}

// maxListed is how many signals of an entry a listing shows: a page of videos would be endless.
const maxListed = 64

// listedOut is an entry in a listing.
func listedOut(e storage.Entry, b storage.Bank) v1.Entry {
	total := len(e.Signals)
	e.Signals = e.Signals[:min(total, maxListed)]
	out := entryOut(e, b)
	if total > maxListed {
		out.SignalsTotal = &total
	}
	return out
}
