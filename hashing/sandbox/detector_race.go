//go:build race

package sandbox

// detector is how many bytes of data the race detector takes for itself: with less, a child whose limit is lowered cannot start a thread.
const detector = 1 << 30
