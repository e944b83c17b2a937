package segment

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"vigie/hashing"
)

// TestUnreadable verifies a file of which a page cannot be read: here, since it was cut off after it was mapped.
func TestUnreadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "1.seg")
	if err := build(t, hashing.PDQ, make([]Row, 5000)).Write(path); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	h, err := decodeHeader(whole)
	if err != nil {
		t.Fatal(err)
	}
	memory, drop, err := load(f, len(whole), false)
	if err != nil {
		t.Fatal(err)
	}
	defer drop(memory)
	s, err := over(memory, h)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.verify(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 64<<10); err != nil {
		t.Fatal(err)
	}
	if err := s.verify(); !errors.Is(err, errUnreadable) {
		t.Errorf("got %v", err)
	}
}
