package main

import (
	"math"
	"slices"
)

// poissonUpper is the upper end of the one-sided 95 % confidence interval of a Poisson rate of which k
// events were seen: the rate at which k or fewer have a chance of 5 %. For none it is the rule of three, 2.996.
// For rare events it is Clopper and Pearson's bound of a share, times the number of trials.
func poissonUpper(k int) float64 {
	low, high := 0.0, 10+3*float64(k)
	for range 100 {
		mid := (low + high) / 2
		if poissonAtMost(k, mid) > 0.05 {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}

// poissonAtMost is the chance of k events or fewer.
func poissonAtMost(k int, rate float64) float64 {
	sum := 0.0
	for i := range k + 1 {
		logFactorial, _ := math.Lgamma(float64(i) + 1)
		sum += math.Exp(float64(i)*math.Log(rate) - rate - logFactorial)
	}
	return sum
}

// tail is how many pairs are how near: tail[d] is the number of pairs with a least distance of d.
type tail [258]int

// within is the number of pairs at most d apart.
func (t *tail) within(d int) int {
	n := 0
	for _, c := range t[:d+1] {
		n += c
	}
	return n
}

func (t *tail) pairs() int { return t.within(len(t) - 1) }

// least is the least distance, or -1 if there are no pairs.
func (t *tail) least() int { return slices.IndexFunc(t[:], func(n int) bool { return n > 0 }) }

// Where the straight line is laid through the tail: between the distances within which there are so
// many pairs.
const (
	tailFew  = 20
	tailMany = 2000
)

// extrapolated is the share of pairs that would be within d bits if the tail went on to fall as it
// does near its end, by a constant factor for each bit. It falls faster than that if pairs are near by chance,
// and slower if pictures have something in common. ok is false if there are too few pairs to say.
func (t *tail) extrapolated(d int) (share float64, ok bool) {
	if t.pairs() < 10*tailMany {
		return 0, false
	}
	few, many := 0, 0
	for t.within(few) < tailFew {
		few++
	}
	for t.within(many) < tailMany {
		many++
	}
	if many == few {
		return 0, false
	}
	a, b := math.Log(float64(t.within(few))), math.Log(float64(t.within(many)))
	slope := (b - a) / float64(many-few)
	return math.Exp(a-slope*float64(few-d)) / float64(t.pairs()), true
}

// quantile is of sorted values; 0 without any.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// spreadOf are the mean, the median and the value that 95 % do not exceed.
func spreadOf(values []float64) spreadReport {
	sorted := slices.Sorted(slices.Values(values))
	sum := 0.0
	for _, v := range sorted {
		sum += v
	}
	return spreadReport{sum / float64(max(1, len(sorted))), quantile(sorted, .5), quantile(sorted, .95)}
}

type spreadReport struct {
	Mean   float64 `json:"mean"`
	Median float64 `json:"median"`
	P95    float64 `json:"p95"`
}

// pairSet holds pairs of places that belong together, as [pairOf] makes them.
type pairSet map[[2]int]bool

func pairOf(i, j int) [2]int { return [2]int{min(i, j), max(i, j)} }

// has reports whether i and j belong together; each does with itself.
func (p pairSet) has(i, j int) bool { return i == j || p[pairOf(i, j)] }

// groups joins what belongs together (a disjoint-set forest).
type groups []int

func newGroups(n int) groups {
	g := make(groups, n)
	for i := range g {
		g[i] = i
	}
	return g
}

// of names the group of i.
func (g groups) of(i int) int {
	for g[i] != i {
		g[i] = g[g[i]]
		i = g[i]
	}
	return i
}

func (g groups) join(i, j int) { g[g.of(i)] = g.of(j) }
