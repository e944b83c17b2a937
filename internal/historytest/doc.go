// Package historytest measures the upload history with the index's kernels, which do not know each other: see its benchmarks.
//
//	go test ./internal/historytest -run xxx -bench . -benchtime 1x
//
// VIGIE_HISTORY_ROWS is how many uploads there are, 2 million unless it says otherwise.
package historytest
