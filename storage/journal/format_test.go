package journal

import (
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestFormat holds the code against the example of docs/format/journal.md: its bytes stay readable as they are there, or get
// another version.
func TestFormat(t *testing.T) {
	t.Parallel()
	text := string(readFile(t, "../../docs/format/journal.md"))
	_, example, ok := strings.Cut(text, "\n## An example\n")
	dir := t.TempDir()
	if err := (mark{"a1b2c3d4", 6, 16, 16}).create(dir, Options{}.withDefaults()); err != nil || !ok {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC)
	j := open(t, dir, Options{Now: func() time.Time { return at }})
	add(t, j, `{"level":"match"}`)
	at = at.Add(1500 * time.Microsecond)
	if _, err := j.Append(t.Context(), "signin", []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	written := hex.Dump(readFile(t, dir, "00000000000000000017.journal"))
	drain(t, j, newCatalogue(t))
	saved := readFile(t, dir, "mark")
	var slots []string
	for line := range strings.Lines(hex.Dump(saved)) {
		if line[:8] < "00000030" || line[:8] >= "00001000" && line[:8] < "00001030" {
			slots = append(slots, line)
		}
	}
	if len(saved) != 8192 {
		t.Errorf("the mark has %d bytes", len(saved))
	}
	shown := regexp.MustCompile(`(?m)^[0-9a-f]{8}  .*\n`).FindAllString(example, -1)
	want := slices.Concat(slices.Collect(strings.Lines(written)), slots)
	want = slices.DeleteFunc(want, func(line string) bool { return len(line) < 20 }) // the size
	if !slices.Equal(shown, want) {
		t.Errorf("is\n%s\nshown is\n%s", strings.Join(want, ""), strings.Join(shown, ""))
	}
}
