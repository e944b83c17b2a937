//go:build race

package decode

func init() { raceDetector = true }
