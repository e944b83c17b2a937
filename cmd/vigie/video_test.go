package main

import (
	"fmt"
	"strings"
	"testing"

	v1 "vigie/api/v1"
)

func TestVideoLines(t *testing.T) {
	span := func(from, to, entryFrom, entryTo int64) v1.Span {
		return v1.Span{FromMs: from, ToMs: to, EntryFromMs: entryFrom, EntryToMs: entryTo, Frames: 1}
	}
	m := v1.Match{Entry: 7, Level: v1.LevelMatch, Video: &v1.VideoMatch{
		Spans: []v1.Span{span(0, 267, 5000, 6000), span(61_900, 63_000, 3_600_000, 3_601_500)}, SpansTotal: 2,
		Frames: 2, Share: 0.25, EntryShare: 1, Vpdq: v1.VPDQ{QueryPercent: 81, TargetPercent: 3, Matches: true},
	}}
	want := []string{
		"00:00–00:01 of the upload = 00:05–00:06 of entry 7", // never a span from a second to the same one
		"01:01–01:03 of the upload = 1:00:00–1:00:02 of entry 7",
		"25 % of the upload, 100 % of the entry (frames: 81 % and 3 %, a match of vPDQ)",
	}
	if got := videoLines(m); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q, want %q", got, want)
	}

	for len(m.Video.Spans) < 100 {
		m.Video.Spans = append(m.Video.Spans, span(0, 0, 1000, 2000))
	}
	m.Video.SpansTotal = 150
	got := videoLines(m)
	if len(got) != maxSpanLines+2 || got[2] != "the picture = 00:01–00:02 of entry 7" || got[maxSpanLines] != fmt.Sprintf("and %d spans more", 150-maxSpanLines) {
		t.Errorf("150 spans: %q", got)
	}
	m.Level = v1.LevelLikely
	if got := videoLines(m); !strings.HasSuffix(got[len(got)-1], "; too few frames to be sure") {
		t.Errorf("likely: %q", got)
	}
}

// TestLevelOfEachMatch: a verdict has the strongest level, and says where an entry's is another.
func TestLevelOfEachMatch(t *testing.T) {
	var out, warned strings.Builder
	v := v1.Verdict{Level: v1.LevelMatch, Action: "block", Banks: 1, MatchesTotal: 2, Matches: []v1.Match{
		{Entry: 1, Bank: "b", Level: v1.LevelMatch, Algorithm: v1.Pdq, Distance: 4, Radius: 31, Transform: "none"},
		{Entry: 2, Bank: "b", Level: v1.LevelReview, Algorithm: v1.Pdq, Distance: 40, Radius: 47, Transform: "none"},
	}}
	if err := showVerdict(printer{streams: streams{nil, &out, &warned}}, checkedFile{File: "a.jpg", Verdict: v}); err != nil {
		t.Fatal(err)
	}
	want := "a.jpg: MATCH, block\n  entry 1 of b: pdq distance 4 of 31\n  entry 2 of b: review, pdq distance 40 of 47, without a second vote\n"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
