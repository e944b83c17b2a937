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

	// Of what is cut out of a graphic: without the margins less of it is ground. Blocks of text have 0.52 or more,
	// and 0.37 strong steps for a weak one; of 35 photographs cut out of pages six have as much ground, and
	// 0.25 strong steps at most.
	partShare         = 0.5
	partStrongPerWeak = 0.35
)

// graphic reports whether p is text or a flat drawing: two levels make up the most of it, and where
// its level changes, it does so at once.
func graphic(p plane) bool { return inked(p, graphicShare, strongPerWeak) }

// graphicPart is graphic for a part of a picture that as a whole is a graphic or not.
func graphicPart(p plane, ofGraphic bool) bool {
	if ofGraphic {
		return inked(p, partShare, partStrongPerWeak)
	}
	return graphic(p)
}

// inked reports whether the two most frequent levels make up a share of p at least, and whether there are so many
// strong steps for each weak one. It reads every second pixel of at most 128 rows.
func inked(p plane, share, strongPerWeak float64) bool {
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
	return float64(grounds) >= share*float64(n) && float64(strong) >= strongPerWeak*float64(weak)
}
