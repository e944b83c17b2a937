//go:build race

package fingerprint_test

func init() { raceDetector = true }
