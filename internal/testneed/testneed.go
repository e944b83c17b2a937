// Package testneed says what becomes of a test when the machine lacks a program that it needs.
package testneed

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

// ErrMissing is wrapped by the error of who looked for a program in vain.
var ErrMissing = errors.New("is not installed")

// Missing is the error of who looked for a program in vain; a target of the Makefile installs it.
func Missing(program, target string) error {
	return fmt.Errorf("%s %w (make %s)", program, ErrMissing, target)
}

// End ends a test that cannot have what it needs. If a program is missing, it is skipped, and says so, unless the
// variable CI is true; else it fails.
func End(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, ErrMissing) && os.Getenv("CI") != "true" {
		fmt.Fprintf(os.Stderr, "SKIPPED %s: %v\n", t.Name(), err)
		t.Skip(err)
	}
	t.Fatal(err)
}
