//go:build race

package index_test

func init() { raceDetector = true }
