package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"vigie/internal/chart"
	"vigie/matcher"
)

// accuracyReport is what vigie bench accuracy finds, and its form as JSON.
type accuracyReport struct {
	Pictures    int             `json:"pictures"`    // of which copies were checked
	Distractors int             `json:"distractors"` // flagged besides
	Entries     int             `json:"entries"`
	Copies      int             `json:"copies"`
	Seed        uint64          `json:"seed"`
	Edits       []editReport    `json:"edits"`
	Sets        []editReport    `json:"sets"` // the mean of each set of edits, every edit with the same weight
	Unrelated   unrelatedReport `json:"unrelated"`
	Duplicates  []pairReport    `json:"duplicates"` // real ones, by which nothing is counted as false
	Cost        costReport      `json:"cost"`
	Skipped     []skippedFile   `json:"skipped"`
	Sweep       []sweepReport   `json:"sweep,omitempty"`

	groups []string // of the edits, for the chart
}

// editReport counts the copies of one edit: shares in per cent of Copies.
type editReport struct {
	Edit       string  `json:"edit"`
	Set        string  `json:"set"`
	Group      string  `json:"group,omitempty"`
	Copies     int     `json:"copies"`
	Unhashable int     `json:"unhashable"` // too little was left in them to hash; they count as missed
	Match      float64 `json:"match"`
	Likely     float64 `json:"likely"`
	Review     float64 `json:"review"`
	Missed     float64 `json:"missed"`
	// Pairs of a copy and an unrelated entry, by the level at which the entry was found.
	FalseMatch  int `json:"false_match"`
	FalseLikely int `json:"false_likely"`
	FalseReview int `json:"false_review"`
}

func (e editReport) atLikely() float64 { return e.Match + e.Likely }
func (e editReport) atReview() float64 { return e.Match + e.Likely + e.Review }

// unrelatedReport is about pairs of a copy and an entry that show different things.
type unrelatedReport struct {
	Pairs       int `json:"pairs"`
	Excluded    int `json:"excluded"` // pairs of entries that are real duplicates
	FalseMatch  int `json:"false_match"`
	FalseLikely int `json:"false_likely"`
	FalseReview int `json:"false_review"`
	// Least is the least distance of any pair, over all renderings and transforms; -1 without pairs.
	Least int `json:"least_distance"`
	// Within is how many pairs are within some distances.
	Within []withinReport `json:"within"`
	// Nearest are the nearest pairs of pictures, and all that were found by mistake.
	Nearest []pairReport `json:"nearest"`
	// Bounds are of what a check of an unrelated upload would find by mistake at match or likely.
	Bounds []boundReport `json:"bounds"`
	Cut    int           `json:"cut,omitempty"` // verdicts with more matches than they list
}

type withinReport struct {
	Distance int `json:"distance"`
	Pairs    int `json:"pairs"`
}

// pairReport is two pictures that are near one another.
type pairReport struct {
	A         string `json:"a"`
	B         string `json:"b"`
	Distance  int    `json:"distance"`
	Level     string `json:"level"`
	Edit      string `json:"edit,omitempty"` // of A, at which B was nearest
	Copies    int    `json:"copies,omitempty"`
	Transform string `json:"transform,omitempty"`
	Variant   string `json:"variant,omitempty"`
}

// boundReport is the rate of mistakes for each upload at a number of entries.
type boundReport struct {
	Entries int `json:"entries"`
	// Upper is the upper end of the 95 % confidence interval, if every pair counts as one trial.
	Upper float64 `json:"upper"`
	// UpperByPictures is the same, if all copies of one picture against one entry count as one trial.
	UpperByPictures float64 `json:"upper_by_pictures"`
	// Extrapolated is how many entries would be within some distances, by the tail; none if there are
	// too few pairs.
	Extrapolated []extrapolation `json:"extrapolated,omitempty"`
}

type extrapolation struct {
	Distance int     `json:"distance"`
	Entries  float64 `json:"entries"`
}

type costReport struct {
	RowsPerEntry  float64      `json:"rows_per_entry"`      // PDQ signals
	ShortPerEntry float64      `json:"values64_per_entry"`  // 64-bit values beside them
	Searches      spreadReport `json:"searches_per_upload"` // PDQ queries of a picture
	HashMS        spreadReport `json:"hash_ms"`             // decode child and hand-over included
	SearchMS      spreadReport `json:"search_ms"`
}

// sweepReport is one setting of the thresholds: mean recall of each set in per cent, and mistakes.
type sweepReport struct {
	Setting string       `json:"setting"`
	Sets    []editReport `json:"sets"`
}

// Distances at which the tail is shown.
var tailShown = []int{31, 47, 60, 70, 80, 90, 100, 110}

// entriesShown are the sizes to which mistakes are extrapolated, and distancesShown the distances: PDQ's
// radius, the end of the band, and further ones that a bank may ask for.
var (
	entriesShown   = []int{1_000_000, 10_000_000}
	distancesShown = []int{31, 47, 55, 60, 64}
)

func (b *accuracy) report() accuracyReport {
	kinds := b.copier.kinds()
	r := accuracyReport{
		Pictures: b.tally.pictures, Distractors: len(b.known) - b.pictures, Entries: len(b.entries),
		Duplicates: b.twins, Skipped: append(b.skipped, b.strays...), Edits: b.edits(0),
	}
	for i, e := range r.Edits {
		r.Copies += e.Copies
		if g := kinds[i].group; !slices.Contains(r.groups, g) {
			r.groups = append(r.groups, g)
		}
	}
	r.Sets = means(r.Edits)
	r.Unrelated = b.unrelated(r.Edits)
	for _, e := range b.entries {
		r.Cost.RowsPerEntry += float64(len(e.rows)) / float64(len(b.entries))
		r.Cost.ShortPerEntry += float64(e.short) / float64(len(b.entries))
	}
	t := &b.tally
	r.Cost.Searches, r.Cost.HashMS, r.Cost.SearchMS = spreadOf(t.searches), spreadOf(t.hashTime), spreadOf(t.searchTime)
	if len(b.settings) > 1 {
		for i, s := range b.settings {
			r.Sweep = append(r.Sweep, sweepReport{s.name, means(b.edits(i))})
		}
	}
	for _, list := range []*[]pairReport{&r.Duplicates, &r.Unrelated.Nearest} {
		if *list == nil {
			*list = []pairReport{} // in JSON an empty list, not null
		}
	}
	if r.Skipped == nil {
		r.Skipped = []skippedFile{}
	}
	slices.SortFunc(r.Skipped, func(x, y skippedFile) int { return cmp.Compare(x.File, y.File) })
	return r
}

// edits are the counts under one setting.
func (b *accuracy) edits(setting int) []editReport {
	kinds := b.copier.kinds()
	reports := make([]editReport, len(kinds))
	for i, k := range kinds {
		t := b.tally.edits[i]
		share := func(l matcher.Level) float64 { return 100 * float64(t.levels[setting][l]) / float64(max(1, t.copies)) }
		reports[i] = editReport{
			Edit: k.name, Set: k.set, Group: k.group, Copies: t.copies, Unhashable: t.unhashable,
			Match: share(matcher.Match), Likely: share(matcher.Likely), Review: share(matcher.Review), Missed: share(matcher.None),
			FalseMatch: t.wrong[setting][matcher.Match], FalseLikely: t.wrong[setting][matcher.Likely], FalseReview: t.wrong[setting][matcher.Review],
		}
	}
	return reports
}

// means are the mean of each set, and the sums of what is counted.
func means(all []editReport) []editReport {
	var sets []editReport
	for _, set := range []string{setStandard, setRandom, setExternal} {
		m, n := editReport{Set: set}, 0.0
		for _, e := range all {
			if e.Set != set || e.Copies == 0 {
				continue
			}
			n++
			m.Copies += e.Copies
			m.Unhashable += e.Unhashable
			m.FalseMatch += e.FalseMatch
			m.FalseLikely += e.FalseLikely
			m.FalseReview += e.FalseReview
			m.Match += e.Match
			m.Likely += e.Likely
			m.Review += e.Review
			m.Missed += e.Missed
		}
		if n > 0 {
			m.Edit = fmt.Sprintf("mean of %.0f %s edits", n, set)
			m.Match, m.Likely, m.Review, m.Missed = m.Match/n, m.Likely/n, m.Review/n, m.Missed/n
			sets = append(sets, m)
		}
	}
	return sets
}

// nearestShown is how many of the nearest pairs of pictures a report names, besides mistakes.
const nearestShown = 12

func (b *accuracy) unrelated(edits []editReport) unrelatedReport {
	t := &b.tally
	u := unrelatedReport{Pairs: t.tail.pairs(), Excluded: len(b.related), Least: t.tail.least(), Cut: t.cut, Bounds: []boundReport{}}
	for _, e := range edits {
		u.FalseMatch += e.FalseMatch
		u.FalseLikely += e.FalseLikely
		u.FalseReview += e.FalseReview
	}
	for _, d := range tailShown {
		u.Within = append(u.Within, withinReport{d, t.tail.within(d)})
	}
	pairs := slices.SortedFunc(maps.Keys(t.near), func(x, y [2]int) int {
		a, b := t.near[x], t.near[y]
		return cmp.Or(cmp.Compare(b.level, a.level), cmp.Compare(a.distance, b.distance), slices.Compare(x[:], y[:]))
	})
	wrong := 0 // pictures and entries that were mistaken at match or likely
	kinds := b.copier.kinds()
	for i, pair := range pairs {
		n := t.near[pair]
		if n.level >= matcher.Likely {
			wrong++
		}
		if n.level == matcher.None && i >= nearestShown {
			break
		}
		u.Nearest = append(u.Nearest, pairReport{
			A: b.entries[pair[0]].name, B: b.entries[pair[1]].name, Distance: n.distance, Level: n.level.String(),
			Edit: kinds[n.edit].name, Copies: n.copies, Transform: n.transform.String(), Variant: n.variant.String(),
		})
	}
	if u.Pairs == 0 {
		return u
	}
	pictures := b.picturePairs()
	for _, n := range entriesShown {
		bound := boundReport{
			Entries:         n,
			Upper:           poissonUpper(u.FalseMatch+u.FalseLikely) / float64(u.Pairs) * float64(n),
			UpperByPictures: poissonUpper(wrong) / float64(max(1, pictures)) * float64(n),
		}
		for _, d := range distancesShown {
			if share, ok := t.tail.extrapolated(d); ok {
				bound.Extrapolated = append(bound.Extrapolated, extrapolation{d, share * float64(n)})
			}
		}
		u.Bounds = append(u.Bounds, bound)
	}
	return u
}

// picturePairs is the number of pairs of a picture and an unrelated entry, however many copies there are.
func (b *accuracy) picturePairs() int {
	n := 0
	for _, k := range b.known[:b.pictures] {
		if k.entry < 0 {
			continue
		}
		for place := range b.entries {
			if !b.related.has(k.entry, place) {
				n++
			}
		}
	}
	return n
}

func (r accuracyReport) sheets() []sheet {
	percent := func(v float64) string { return fmt.Sprintf("%.1f", v) }
	line := func(e editReport) []string {
		return []string{
			e.Edit, fmt.Sprint(e.Copies), percent(e.Match), percent(e.Likely), percent(e.Review), percent(e.Missed),
			percent(e.atLikely()), percent(e.atReview()), fmt.Sprintf("%d / %d / %d", e.FalseMatch, e.FalseLikely, e.FalseReview),
		}
	}
	found := sheet{
		title: "Found, in per cent of the copies",
		note: "Columns match, likely, review and missed add up to 100. False is how many unrelated entries were found, " +
			"at match, likely and review.",
		head: []string{"edit", "copies", "match", "likely", "review", "missed", ">= likely", ">= review", "false"},
	}
	for _, set := range []string{setStandard, setRandom, setExternal} {
		for _, e := range append(slices.Clone(r.Edits), r.Sets...) {
			if e.Set == set {
				found.rows = append(found.rows, line(e))
			}
		}
	}
	sheets := []sheet{found, r.unrelatedSheet(), r.boundSheet(), {
		title: "Nearest unrelated pictures",
		note:  "The least distance of any copy of the one to the other, under any transform. Level: at which the other was found.",
		head:  []string{"picture", "other", "distance", "level", "edit", "transform", "variant", "copies this near"},
		rows: rowsOf(r.Unrelated.Nearest, func(p pairReport) []string {
			return []string{p.A, p.B, fmt.Sprint(p.Distance), p.Level, p.Edit, p.Transform, p.Variant, fmt.Sprint(p.Copies)}
		}),
	}, {
		title: "Real duplicates in the data",
		note:  "Pictures that match one another as they are, or that --same names. What is found of the one is not counted for or against the other.",
		head:  []string{"picture", "other", "distance", "level", "transform"},
		rows: rowsOf(r.Duplicates, func(p pairReport) []string {
			return []string{p.A, p.B, fmt.Sprint(p.Distance), p.Level, p.Transform}
		}),
	}, r.costSheet(), leftOut(r.Skipped)}
	if len(r.Sweep) > 0 {
		sheets = append(sheets, r.sweepSheet())
	}
	return slices.DeleteFunc(sheets, func(s sheet) bool { return len(s.rows) == 0 })
}

func (r accuracyReport) unrelatedSheet() sheet {
	u := r.Unrelated
	s := sheet{
		title: "Unrelated pairs",
		note:  "A pair is a copy and an entry that shows something else; its distance is the least of all renderings and transforms.",
		head:  []string{"what", "number"},
	}
	add := func(what string, n any) { s.rows = append(s.rows, []string{what, fmt.Sprint(n)}) }
	add("pairs compared", u.Pairs)
	add("pairs of entries left out as real duplicates", u.Excluded)
	add("false match", u.FalseMatch)
	add("false likely", u.FalseLikely)
	add("false review", u.FalseReview)
	add("least distance", u.Least)
	for _, w := range u.Within {
		add(fmt.Sprintf("pairs within %d bits", w.Distance), w.Pairs)
	}
	if u.Cut > 0 {
		add("verdicts that listed only some of their matches", u.Cut)
	}
	return s
}

func (r accuracyReport) boundSheet() sheet {
	s := sheet{
		title: "Mistakes for each unrelated upload",
		note: "Upper ends of 95 % confidence intervals of the false match and likely: if every pair is a trial of its own, " +
			"and if all copies of a picture against an entry are one. The other columns are how many entries would be within a distance, " +
			"if the tail of the distances falls on as it does near its end: what a second vote would have to decide on.",
		head: []string{"entries", "bound by pairs", "bound by pictures"},
	}
	for _, d := range distancesShown {
		s.head = append(s.head, fmt.Sprintf("within %d", d))
	}
	for _, b := range r.Unrelated.Bounds {
		cells := []string{fmt.Sprint(b.Entries), rate(b.Upper), rate(b.UpperByPictures)}
		for i := range distancesShown {
			cell := "too few pairs"
			if i < len(b.Extrapolated) {
				cell = fmt.Sprintf("%.1g", b.Extrapolated[i].Entries)
			}
			cells = append(cells, cell)
		}
		s.rows = append(s.rows, cells)
	}
	return s
}

// rate is a number of two digits, without an exponent if it is large.
func rate(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2g", v)
}

func (r accuracyReport) costSheet() sheet {
	three := func(s spreadReport) string { return fmt.Sprintf("%.2f / %.2f / %.2f", s.Mean, s.Median, s.P95) }
	return sheet{
		title: "Cost",
		note:  "Times are of pictures of at most 640 pixels, as many at a time as there are processors.",
		head:  []string{"what", "mean / median / 95 %"},
		rows: [][]string{
			{"rows (PDQ) for each entry", fmt.Sprintf("%.2f", r.Cost.RowsPerEntry)},
			{"64-bit values for each entry", fmt.Sprintf("%.2f", r.Cost.ShortPerEntry)},
			{"searches for each upload", three(r.Cost.Searches)},
			{"hashing, ms, child and hand-over included", three(r.Cost.HashMS)},
			{fmt.Sprintf("search among %d entries, ms", r.Entries), three(r.Cost.SearchMS)},
		},
	}
}

func (r accuracyReport) sweepSheet() sheet {
	s := sheet{
		title: "Other thresholds",
		note:  "Mean recall of each set in per cent, and how many unrelated entries were found at match, likely and review.",
		head:  []string{"setting"},
	}
	for _, set := range r.Sets {
		s.head = append(s.head, set.Set+" >= likely", ">= review", "false")
	}
	for _, w := range r.Sweep {
		cells := []string{w.Setting}
		for _, m := range w.Sets {
			cells = append(cells, fmt.Sprintf("%.2f", m.atLikely()), fmt.Sprintf("%.2f", m.atReview()),
				fmt.Sprintf("%d / %d / %d", m.FalseMatch, m.FalseLikely, m.FalseReview))
		}
		s.rows = append(s.rows, cells)
	}
	return s
}

func (accuracyReport) bench() string { return "accuracy" }

func (r accuracyReport) about() string {
	return fmt.Sprintf("%d pictures, %d copies of them, %d entries (%d distractors), seed %d.", r.Pictures, r.Copies, r.Entries, r.Distractors, r.Seed)
}

// chart shows recall for each edit.
func (r accuracyReport) chart() chart.Bars {
	c := chart.Bars{
		Title: "Edited copies that are found",
		Unit:  "% of the copies",
		Max:   100,
		Notes: "likely or better",
		Series: []chart.Series{
			{Name: "match", Colour: chart.Palette[0]}, {Name: "likely", Colour: chart.Palette[1]}, {Name: "review", Colour: chart.Palette[2]},
		},
	}
	var words []string
	for _, s := range r.Sets {
		words = append(words, fmt.Sprintf("%s: %.1f %% at likely or better, %.1f %% at review or better", s.Edit, s.atLikely(), s.atReview()))
	}
	c.Description = fmt.Sprintf("One bar for each edit, stacked by level. %s. The right column is per cent at likely or better.", strings.Join(words, "; "))
	bar := func(label string, e editReport) chart.Bar {
		return chart.Bar{Label: label, Values: []float64{e.Match, e.Likely, e.Review}, Note: fmt.Sprintf("%.1f", e.atLikely())}
	}
	if len(r.Sets) > 0 {
		g := chart.Group{Name: "means"}
		for _, s := range r.Sets {
			g.Bars = append(g.Bars, bar(s.Edit, s))
		}
		c.Groups = append(c.Groups, g)
	}
	for _, set := range []string{setStandard, setRandom, setExternal} {
		for _, name := range r.groups {
			title := name
			if set == setRandom {
				title += ", at random"
			}
			g := chart.Group{Name: title}
			for _, e := range r.Edits {
				if e.Set == set && e.Group == name {
					g.Bars = append(g.Bars, bar(strings.TrimPrefix(e.Edit, "random-"), e))
				}
			}
			if len(g.Bars) > 0 {
				c.Groups = append(c.Groups, g)
			}
		}
	}
	return c
}
