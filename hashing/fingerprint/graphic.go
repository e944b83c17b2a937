package fingerprint

// What a graphic is. Measured on 330 pictures, ten fulfil it: lines of text on one ground, a technical
// drawing, a black shape on white, drawn memes, two pictures without content; and, of about 300 photographs,
// one of a small car radio cut out on gray. Photographs of objects before a white wall, of the moon, of
// a clear sky do not: two levels make up the most of them too, but they have less than 0.35 strong steps
// for a weak one.
const (
	graphicRows   = 128
	graphicReach  = 6   // levels around a ground's
	graphicShare  = 0.7 // of the pixels that two grounds must make up
	strongStep    = 48  // levels between pixels two apart: ink beside paper
	weakStep      = 8   // what shading and texture make
	strongPerWeak = 0.5
)

// graphic reports whether p is text or a flat drawing: two levels make up the most of it, and where
// its level changes, it does so at once. It reads every second pixel of at most 128 rows.
func graphic(p plane) bool {
	var histogram [256]int
	var steps [256]int // counted like this, no branch has to be guessed
	n := 0
	for y := 0; y < p.h; y += max(2, (p.h+graphicRows-1)/graphicRows) {
		row := p.row(y)
		last := row[0]
		for x := 0; x < len(row); x += 2 {
			v := row[x]
			histogram[v]++
			steps[max(v, last)-min(v, last)]++
			last = v
		}
		n += (len(row) + 1) / 2
	}
	strong, weak := 0, 0
	for d, count := range steps {
		if d >= strongStep {
			strong += count
		} else if d >= weakStep {
			weak += count
		}
	}
	grounds := 0
	for range 2 {
		level := mode(&histogram)
		for v := max(level-graphicReach, 0); v <= min(level+graphicReach, 255); v++ {
			grounds += histogram[v]
			histogram[v] = 0
		}
	}
	return float64(grounds) >= graphicShare*float64(n) && float64(strong) >= strongPerWeak*float64(weak)
}
