package buildinfo

import "testing"

func TestVersion(t *testing.T) {
	stamped := version
	t.Cleanup(func() { version = stamped })

	version = "v1.2.3"
	if got := Version(); got != "v1.2.3" {
		t.Errorf("got %q, want the stamped version", got)
	}
	version = ""
	if Version() == "" {
		t.Error("no version without a stamp")
	}
}
