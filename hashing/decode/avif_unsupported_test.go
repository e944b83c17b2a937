//go:build !nodynamic

package decode

import (
	"strings"
	"testing"

	"vigie/hashing"
)

// A build that would load the system's libavif must not decode at all.
func TestAVIFNeedsTheTag(t *testing.T) {
	_, err := Decode(read(t, "testdata", "ramp8.avif"), hashing.DefaultLimits())
	if kindOf(t, err) != hashing.Unsupported || !strings.Contains(err.Error(), "-tags nodynamic") {
		t.Errorf("got %v", err)
	}
}
