package index_test

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"vigie/hashing"
	"vigie/index"
)

// TestFormat saves the example of docs/format/segment.md: a manifest and the bytes of a segment, which stay readable as they are
// there, or get another version.
func TestFormat(t *testing.T) {
	text, err := os.ReadFile("../docs/format/segment.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(text), "\n## An example\n")
	var changes []index.Change
	for i, m := range regexp.MustCompile("`(pdq.*?:[0-9a-f]{64})`").FindAllStringSubmatch(example, -1) {
		s, err := hashing.Parse(m[1])
		if err != nil {
			t.Fatal(err)
		}
		s.Time = uint32(i) * 8 * 3_600_000
		changes = append(changes, index.Change{Entry: index.EntryID(42 + i), Bank: 7, Signals: []hashing.Signal{s}})
	}
	x, dir := index.New(index.Options{}), t.TempDir()
	if err := x.Apply(t.Context(), 9, changes); err != nil {
		t.Fatal(err)
	}
	mark := func(uint64) (index.Mark, error) { return index.Mark{Log: "a log", Root: "5eed"}, nil }
	if _, err := x.Save(t.Context(), dir, mark); err != nil {
		t.Fatal(err)
	}

	manifest, err := os.ReadFile(filepath.Join(dir, "MANIFEST"))
	if err != nil || !strings.Contains(example, "\n"+string(manifest)) {
		t.Errorf("the manifest is another one, %v:\n%s", err, manifest)
	}
	saved, err := os.ReadFile(filepath.Join(dir, "00000001.seg"))
	if err != nil {
		t.Fatal(err)
	}
	dump := map[string]string{}
	for line := range strings.Lines(hex.Dump(saved)) {
		dump[line[:8]] = line
	}
	shown := regexp.MustCompile(`(?m)^([0-9a-f]{8})  .*\n`).FindAllStringSubmatch(example, -1)
	for _, m := range shown {
		if dump[m[1]] != m[0] {
			t.Errorf("is %sshown %s", dump[m[1]], m[0])
		}
	}
	if len(changes) != 2 || len(shown) < 20 {
		t.Errorf("the example has %d rows and shows %d lines", len(changes), len(shown))
	}
}
