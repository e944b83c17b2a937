package rescan_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vigie/rescan"
)

// TestHashFile: a scan of a list sees each row once, in order, be it stopped in between or not; and notices that the list changes.
func TestHashFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "list.csv")
	var text strings.Builder
	text.WriteString("id,pdq\n")
	var want []string
	for i := range 25 {
		hash := fmt.Sprintf("%064x", i)
		if i == 7 {
			hash = "none"
		}
		fmt.Fprintf(&text, "post %d,%s\n", i, hash)
		want = append(want, fmt.Sprint("post ", i, " ", i == 7))
	}
	must(t, os.WriteFile(path, []byte(text.String()), 0o600))
	list, err := rescan.OpenHashFile(t.Context(), path, 4)
	must(t, err)

	var got []string
	var checkpoint rescan.Checkpoint
	enough := errors.New("stopped")
	scan := func(batches int) (rescan.Summary, error) {
		s := rescan.Scan[int]{
			Source: list, Checkpoint: &checkpoint, Workers: 3,
			Check: func(_ context.Context, i rescan.Item) (int, error) { return len(i.Hashes), nil },
			Emit: func(r rescan.Result[int]) error {
				if batches--; batches < 0 {
					return enough
				}
				for _, h := range r.Item.Hashes {
					got = append(got, fmt.Sprint(h.ID, " ", h.Err != nil))
					if h.Err == nil && !strings.HasSuffix(h.Hash.Hex(), fmt.Sprintf("%x", len(got)-1)) {
						t.Errorf("%s has %s", h.ID, h.Hash.Hex())
					}
				}
				if share := list.Share(r.Item.Place); share <= 0 || share > 1 {
					t.Errorf("%s: %v of the list", r.Item.Name, share)
				}
				return nil
			},
			Count: func(s *rescan.Summary, r rescan.Result[int]) { s.Items += int64(r.Verdict) },
		}
		return s.Run(t.Context())
	}
	if s, err := scan(2); !errors.Is(err, enough) || s.Items != 8 {
		t.Errorf("%+v, %v", s, err)
	}
	s, err := scan(100)
	must(t, err)
	equal(t, s.Items, int64(25))
	equal(t, got, want)

	got, checkpoint = nil, rescan.Checkpoint{}
	must(t, os.WriteFile(path, []byte(text.String()+"\n"), 0o600))
	if _, err := scan(100); err == nil || !strings.Contains(err.Error(), "has changed") {
		t.Errorf("of a list that has changed: %v", err)
	}
	again, err := rescan.OpenHashFile(t.Context(), path, 4)
	must(t, err)
	if again.Version() == list.Version() {
		t.Error("the version is the same")
	}
	for name, text := range map[string]string{"a.csv": "id,what\n", "a.txt": "", "a.parquet": "PAR1"} {
		path := filepath.Join(t.TempDir(), name)
		must(t, os.WriteFile(path, []byte(text), 0o600))
		if _, err := rescan.OpenHashFile(t.Context(), path, 4); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
