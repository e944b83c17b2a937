package video

import "vigie/hashing/pdq"

// MatchOptions are vPDQ's tolerances. See [DefaultMatchOptions].
type MatchOptions struct {
	Quality  int // features of less quality are dropped on both sides
	Distance int // the largest Hamming distance of frames that match; see Strict
	// Strict counts only distances less than Distance, as the reference in C++ does
	// (matchTwoHash.cpp). Its description and the one in Python include Distance itself.
	Strict bool
}

// DefaultMatchOptions are those of python-threatexchange (extensions/vpdq/vpdq_util.py): quality 50,
// distance 31, included.
func DefaultMatchOptions() MatchOptions { return MatchOptions{Quality: 50, Distance: 31} }

// MatchPercent says how many percent of the query's features have a match among the target's, and
// how many of the target's among the query's. Features of low quality count on neither side; if a side
// has none left, both are 0. Every pair may be compared: the time is the product of the lengths.
//
// python-threatexchange calls two videos a match if the first is at least 80 and the second at least 0;
// the reference's documentation proposes 0 and 80.
func MatchPercent(query, target []Feature, o MatchOptions) (queryPercent, targetPercent float64) {
	radius := o.Distance
	if o.Strict {
		radius--
	}
	q, t := usable(query, o.Quality), usable(target, o.Quality)
	if len(q) == 0 || len(t) == 0 {
		return 0, 0
	}
	return percent(q, t, radius), percent(t, q, radius)
}

func usable(features []Feature, quality int) []pdq.Hash {
	var hashes []pdq.Hash
	for _, f := range features {
		if f.Quality >= quality {
			hashes = append(hashes, f.Hash)
		}
	}
	return hashes
}

// percent is the share of these that have one of those within the radius.
func percent(these, those []pdq.Hash, radius int) float64 {
	found := 0
	at := 0 // where the last one was found: the next frame's match is near it
	for _, hash := range these {
		for i := range those {
			j := at + i
			if j >= len(those) {
				j -= len(those)
			}
			if hash.Distance(those[j]) <= radius {
				found++
				at = j
				break
			}
		}
	}
	return 100 * float64(found) / float64(len(these))
}
