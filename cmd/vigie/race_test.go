//go:build race

package main

// underRace says that the program under test is many times slower than it is.
const underRace = true
