package index

import (
	"iter"
	"math/bits"
	"slices"
)

// tombs marks rows of one part as dead. It is a value that never changes: who lets rows die gets a new
// one, which shares the pages that did not change.
type tombs struct {
	pages []*page // nil where no row is dead; of those behind the last, too
	n     int     // of dead rows
}

// page is a bit for each of so many rows.
type page [pageRows / 64]uint64

const pageRows = 4096

func (d tombs) has(row int) bool {
	p := row / pageRows
	return p < len(d.pages) && d.pages[p] != nil && d.pages[p][row%pageRows/64]&(1<<(row%64)) != 0
}

// with is d with more rows dead, and with whatever add tells it of.
func (d tombs) with(rows iter.Seq[int]) tombs {
	copied := map[int]bool{}
	for row := range rows {
		if d.has(row) {
			continue
		}
		p := row / pageRows
		if len(copied) == 0 {
			d.pages = slices.Clone(d.pages)
		}
		for len(d.pages) <= p {
			d.pages = append(d.pages, nil)
		}
		if !copied[p] {
			fresh := new(page)
			if d.pages[p] != nil {
				*fresh = *d.pages[p]
			}
			d.pages[p], copied[p] = fresh, true
		}
		d.pages[p][row%pageRows/64] |= 1 << (row % 64)
		d.n++
	}
	return d
}

// since are the rows that are dead, and were not.
func (d tombs) since(before tombs) iter.Seq[int] {
	return func(yield func(int) bool) {
		for p, now := range d.pages {
			var was *page
			if p < len(before.pages) {
				was = before.pages[p]
			}
			if now == was {
				continue
			}
			for i, w := range now {
				if was != nil {
					w &^= was[i]
				}
				for ; w != 0; w &= w - 1 {
					if !yield(p*pageRows + i*64 + bits.TrailingZeros64(w)) {
						return
					}
				}
			}
		}
	}
}

func (d tombs) bytes() int64 {
	n := int64(8 * len(d.pages))
	for _, p := range d.pages {
		if p != nil {
			n += pageRows / 8
		}
	}
	return n
}
