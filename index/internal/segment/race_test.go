//go:build race

package segment

func init() { raceDetector = true }
