package segment

// Costs, in comparisons of a row's first half, as BenchmarkPlan has them on a processor with AVX-512 (the last one:
// as 64-bit values were timed by hand). They are rough: memory is further away in a large segment than in a small one, but for all that is compared here. A wrong
// guess costs time, and no answer.
const (
	tableCost  = 150 // of a table that is opened at all
	bucketCost = 20  // of a bucket, whatever is in it
	passCost   = 350 // of a sketch that passes: its row is elsewhere in memory
	fullCost   = 3   // of a row that is compared in full
	wordsCost  = 170 // of a bucket of 64-bit values, in comparisons of one
)

// halfDecides is the largest radius for which nearly no row passes by its first 128 bits alone: random ones
// differ in 64 of them, give or take 5.7.
const halfDecides = 48

// maxProbed is the largest radius for which tables can cost less than a flat scan.
const maxProbed = 80

// plan is what a search by tables is expected to cost: so much, and so much for each row.
type plan struct{ fixed, row float64 }

// plans are by the width of the directories, and by radius. They expect buckets of one size, and rows that have nothing
// to do with the query.
var plans = func() (plans [17][maxProbed + 1]plan) {
	var passes [33]float64 // the share of sketches that differ in at most so many bits
	for k, share := 0, 1.0/(1<<32); k < len(passes); k++ {
		passes[k] = share + passes[max(k-1, 0)]
		share *= float64(32-k) / float64(k+1)
	}
	for width := range plans {
		below := &maskSets[width].below
		for radius := range plans[width] {
			p := &plans[width][radius]
			var t thresholds
			t.split(radius)
			for i, n := range t {
				if n > 0 {
					p.fixed += tableCost
				}
				for d := range n {
					buckets := float64(below[d+1] - below[d])
					p.fixed += bucketCost * buckets
					p.row += buckets / float64(int(1)<<width) * (1 + passCost*passes[t.limit(i)-d])
				}
			}
		}
	}
	return plans
}()

// worthwhile reports whether tables are expected to cost less than a flat scan.
func (s *Segment) worthwhile(radius int) bool {
	if radius < 0 || radius > maxProbed {
		return false
	}
	p := &plans[s.Prefix][radius]
	return p.fixed+p.row*float64(s.Len()) < float64(s.flatBudget(radius))
}

// flatBudget is what a flat scan costs.
func (s *Segment) flatBudget(radius int) int {
	if radius > halfDecides {
		return fullCost * s.Len()
	}
	return s.Len()
}

// thresholds is T of the package's documentation.
type thresholds [Chunks]int

// split deals radius+1 out evenly.
func (t *thresholds) split(radius int) {
	for i := range t {
		t[i] = (radius+1)*(i+1)/Chunks - (radius+1)*i/Chunks
	}
}

// limit is the most bits in which three chunks may differ, from t on.
func (t *thresholds) limit(i int) int { return t[i] + t[(i+1)%Chunks] + t[(i+2)%Chunks] - 1 }
