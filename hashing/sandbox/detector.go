//go:build !race

package sandbox

const detector = 0 // bytes; see the other build
