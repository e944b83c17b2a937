package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	v1 "vigie/api/v1"
	"vigie/hashing"
	"vigie/storage/storagetest"
)

// TestRescanOfHashes: a node re-scans a Parquet list of hashes, is killed in the middle, goes on where it was, and finds what is
// planted, each once. VIGIE_HASHES says how many hashes there are, VIGIE_HASHES_ENTRIES how many entries; VIGIE_HASHES_TURNED=1
// looks them up turned and mirrored as well. It tells how many hashes were looked up in a second: measured from outside, from the
// re-scan's first counts on; and, when asked for, of all again, undisturbed.
func TestRescanOfHashes(t *testing.T) {
	n, entries := int(fromEnv(t, "VIGIE_HASHES", 3<<20)), int(fromEnv(t, "VIGIE_HASHES_ENTRIES", 5000))
	source := map[string]any{"kind": "hashes"}
	if os.Getenv("VIGIE_HASHES") == "" {
		source["per_second"] = 300_000 // else few would be in one go, and not to be interrupted
		t.Parallel()
		if testing.Short() {
			t.Skip("takes a minute")
		}
	}
	upright := fromEnv(t, "VIGIE_HASHES_TURNED", 0) == 0
	folder, data := t.TempDir(), t.TempDir()

	known := filepath.Join(folder, "known.csv")
	writeLines(t, known, func(w *bufio.Writer) {
		fmt.Fprintln(w, "pdq")
		for i := range entries {
			fmt.Fprintln(w, storagetest.Signal(hashing.PDQ, uint64(i)).Hex())
		}
	})
	list := filepath.Join(folder, "posts.parquet")
	planted := writeHashes(t, list, n, entries)
	source["location"] = list
	config := withSource(t, source)

	node := serve(t, data, nil, "--config", config)
	if code, _, warn := node.vigie("banks", "create", "b"); code != 0 {
		t.Fatal(warn)
	}
	began := time.Now()
	if code, _, warn := node.vigie("import", "--bank", "b", known); code != 0 {
		t.Fatal(warn)
	}
	t.Logf("%d entries imported in %.1f s", entries, time.Since(began).Seconds())

	args := []string{"old-posts"}
	if upright {
		args = append(args, "--upright")
	}
	r := node.startRescan(t, args...)
	items, took := watched(t, node, r.Id, func(r v1.Rescan) bool { return r.Counts.Items >= int64(n)/3 || ended(r) })
	node.kill()
	t.Logf("%d hashes until it was killed: %.0f a second", items, float64(items)/took.Seconds())
	node = serve(t, data, nil, "--config", config)
	if r = node.rescan(r.Id); ended(r) {
		t.Errorf("it had ended before it was killed: %+v", r)
	}
	rest, took := watched(t, node, r.Id, ended)
	t.Logf("%d hashes after it was killed: %.0f a second", rest, float64(rest)/took.Seconds())

	if r = node.rescan(r.Id); string(r.State) != "done" || r.Counts.Items != int64(n) || r.Counts.Failed != 0 {
		t.Errorf("it ends as %+v", r)
	}
	if found := node.rescanHits(t, r.Id); !slices.Equal(found, planted) {
		t.Errorf("%d are found, %d are planted", len(found), len(planted))
	}
	if os.Getenv("VIGIE_HASHES") == "" {
		return
	}
	again := node.startRescan(t, args...)
	watched(t, node, again.Id, ended)
	again = node.rescan(again.Id)
	took = again.FinishedAt.Sub(again.CreatedAt)
	t.Logf("all again, undisturbed, from its start to its end: %.1f s, %.0f a second", took.Seconds(), float64(n)/took.Seconds())
	if again.Counts != r.Counts {
		t.Errorf("it ends as %+v", again)
	}
}

// watched looks at a re-scan until it is as wanted, and returns how many items were done meanwhile, and how long that took.
func watched(t *testing.T, s *served, id int64, until func(v1.Rescan) bool) (items int64, took time.Duration) {
	t.Helper()
	var first int64
	eventually(t, "the node says how far it is", func() bool {
		r := s.rescan(id)
		first = r.Counts.Items
		return r.State != ""
	})
	began := time.Now()
	for {
		r := s.rescan(id)
		if took = time.Since(began); r.State != "" && until(r) {
			return r.Counts.Items - first, took
		}
		if took > 30*time.Minute {
			t.Fatalf("not within half an hour: %+v", r)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// postedHash is a row of a list that a platform kept.
type postedHash struct {
	Content string `parquet:"content_id,zstd"`
	Hash    []byte `parquet:"pdq"`
}

// writeHashes writes a list of n hashes, of which one in 9973 is near one of the entries, and returns the ids of these, sorted.
func writeHashes(t *testing.T, path string, n, entries int) (planted []string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	w := parquet.NewGenericWriter[postedHash](f, parquet.MaxRowsPerRowGroup(1<<20))
	rows := make([]postedHash, 0, 1024)
	for i := range n {
		row := postedHash{Content: fmt.Sprintf("post-%d", i)}
		s := storagetest.Signal(hashing.PDQ, uint64(1<<40+i))
		if i%9973 == 17 {
			s = storagetest.Signal(hashing.PDQ, uint64(i%entries))
			s.Value[1] ^= 1<<20 - 1 // 20 bits
			planted = append(planted, row.Content)
		}
		row.Hash = s.Value.Bytes(32)
		if rows = append(rows, row); len(rows) == cap(rows) || i == n-1 {
			_, err := w.Write(rows)
			must(t, err)
			rows = rows[:0]
		}
	}
	must(t, w.Close())
	must(t, f.Close())
	slices.Sort(planted)
	return planted
}

func writeLines(t *testing.T, path string, write func(w *bufio.Writer)) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	w := bufio.NewWriter(f)
	write(w)
	must(t, w.Flush())
	must(t, f.Close())
}
