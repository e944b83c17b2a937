//go:build race

package sandbox_test

func init() { raceEnabled = true }
