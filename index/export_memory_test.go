package index

// Limited is an index that may take so much memory, beside a program that takes what process says, with deltas of so
// many rows.
func Limited(limit int64, process func() int64, deltaRows int, fault func(error)) Options {
	return Options{MemoryLimit: limit, process: process, deltaRows: deltaRows, Fault: fault}
}

// SegmentBytes and RowBytes are estimates.
var (
	SegmentBytes = segmentBytes
	RowBytes     = rowBytes
)
