//go:build race

package pdq_test

func init() { raceDetector = true }
