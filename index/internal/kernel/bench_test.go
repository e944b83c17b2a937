package kernel_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"vigie/index/internal/kernel"
)

// eachKernel measures f with each kernel. Besides the mean it reports how much of unit the fastest run
// did a second, or how many nanoseconds it took for each, where work is how much f does: on a machine
// that others use the mean says little.
func eachKernel(b *testing.B, work float64, unit string, f func()) {
	for _, name := range kernel.Kernels() {
		b.Run(name, func(b *testing.B) {
			defer kernel.Use(kernel.Kernel())
			kernel.Use(name)
			least := time.Duration(1 << 62)
			for b.Loop() {
				start := time.Now()
				f()
				least = min(least, time.Since(start))
			}
			b.ReportMetric(float64(least.Nanoseconds()), "least-ns/op")
			if unit[0] == 'G' {
				b.ReportMetric(work/float64(least.Nanoseconds()), unit+"/s")
			} else {
				b.ReportMetric(float64(least.Nanoseconds())/work, "ns/"+unit)
			}
		})
	}
}

func random(n int) []uint64 {
	r := rand.New(rand.NewPCG(15, 16))
	words := aligned(n, 0)
	for i := range words {
		words[i] = r.Uint64()
	}
	return words
}

var found = make([]uint32, 1<<16)

func BenchmarkFlat(b *testing.B) {
	for _, rows := range []int{1 << 16, 1 << 22} {
		plane, rest := random(2*rows), random(2*rows)
		var all [8][2]uint64
		for i := range all {
			all[i] = [2]uint64{uint64(i), 0}
		}
		by := make([]uint8, len(found))
		scans := []struct {
			name  string
			bytes int // compared with a query
			scan  func()
		}{
			{"128", 16 * rows, func() { kernel.Flat128(plane, 0, 0, 31, found) }},
			{"256", 16 * rows, func() { kernel.Flat256(plane, rest, &[4]uint64{}, 31, found) }},
			{"256 radius 85", 32 * rows, func() { kernel.Flat256(plane, rest, &[4]uint64{}, 85, found) }},
			{"64", 16 * rows, func() { kernel.Flat64(plane, 0, 8, found) }},
			{"128x8", 8 * 16 * rows, func() { kernel.Flat128x8(plane, &all, 31, found, by) }},
		}
		for _, s := range scans {
			b.Run(fmt.Sprintf("%s/rows=%d", s.name, rows), func(b *testing.B) {
				eachKernel(b, float64(s.bytes), "GB", s.scan)
			})
		}
	}
}

// A query of a multi-index probes 17 buckets in each of 16 tables.
func BenchmarkProbe(b *testing.B) {
	const tables = 16
	masks := []uint16{0}
	for i := range 16 {
		masks = append(masks, 1<<i)
	}
	for _, size := range []int{15, 153} {
		n := size << 16
		memory := random((n+kernel.Padding)/2 + 1)
		r := rand.New(rand.NewPCG(17, 18))
		var off [tables][]uint32
		var sketch [tables][]uint32
		for t := range tables {
			sketch[t] = slices.Clone(halves(memory))[:n]
			off[t] = make([]uint32, 1<<16+1)
			for k := range 1 << 16 {
				off[t][k+1] = min(uint32(n), off[t][k]+uint32(size+r.IntN(5)-2))
			}
		}
		var ranges [2][]kernel.Range
		for i := range ranges {
			ranges[i] = make([]kernel.Range, len(masks))
		}
		b.Run(fmt.Sprintf("buckets of %d", size), func(b *testing.B) {
			eachKernel(b, float64(tables*len(masks)), "probe", func() {
				var c [tables]uint16
				for t := range c {
					c[t] = uint16(r.Uint32())
					kernel.Prefetch(off[t], masks, c[t], 0)
				}
				kernel.Ranges(off[0], masks, c[0], 0, sketch[0], ranges[0])
				for t := range c {
					if t+1 < tables {
						kernel.Ranges(off[t+1], masks, c[t+1], 0, sketch[t+1], ranges[(t+1)%2])
					}
					kernel.Scan(sketch[t], ranges[t%2], 0, 4, found)
				}
			})
		})
	}
}

func BenchmarkJoinBucket(b *testing.B) {
	const queries, repeats = 20, 100
	pairs := make([]kernel.Pair, 1<<12)
	words := halves(random(1000))
	for _, size := range []int{15, 153} {
		b.Run(fmt.Sprintf("buckets of %d", size), func(b *testing.B) {
			eachKernel(b, float64(repeats*size*queries), "Gpair", func() {
				for range repeats {
					kernel.JoinBucket(words[:size], words[500:500+queries], 4, pairs)
				}
			})
		})
	}
}
