// Package kernel is the inner loops of an exact Hamming search: flat scans of planes, probes of the
// tables of a multi-index, and joins of their buckets. All of it is arithmetic on slices that the
// caller owns; nothing is kept, and every function may be called by many goroutines at once.
//
// # Instruction sets
//
// There are three implementations, which give the same results to the last number: in Go, with AVX2
// (population counts by nibble tables, after Muła, Kurz and Lemire, "Faster Population Counts Using
// AVX2 Instructions", 2018) and with AVX-512 VPOPCNTDQ. See [Kernel].
//
// # Planes
//
// 256-bit rows lie in two planes of 128 bits each, A (words 0 and 1) and B (words 2 and 3). A plane is
// blocks of 8 rows, 16 words each: word 0 of the 8 rows, then word 1 of the 8 rows. The length of a
// plane is thus a multiple of 16. Rows of the last block that do not exist are padding; scans may
// report their numbers, which callers drop. Scans are fastest where planes begin at a cache line.
//
// # Limits and results
//
// Radii and limits are in bits and inclusive. Nothing is within a negative one, everything within one
// that is as large as the rows. Results go to a slice of the caller's. A function that might not have
// room for all results of its next step (a block, a bucket, a query) stops before it and says how far
// it came: call it again with the rest. It never drops a result. The places of the slice
// behind the results may be overwritten.
//
// # Costs
//
// The Go runtime can neither preempt assembly nor see what it does with slices: a scan delays a stop
// of the world by its whole duration, so cut planes of more than some 100,000 rows into pieces; and
// slices and arrays on the caller's stack are moved to the heap, so keep them for the next call.
package kernel
