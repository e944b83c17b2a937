//go:build race

package video_test

func init() { raceEnabled = true }
