package history

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"vigie/internal/testkill"
	"vigie/internal/tests3"
	"vigie/storage"
	"vigie/storage/bucket"
	"vigie/storage/journal"
)

// The environment of the process that is killed.
const (
	killedFolder = "VIGIE_TEST_KILLED_HISTORY"
	killedBucket = "VIGIE_TEST_KILLED_HISTORY_BUCKET" // its URL; empty: files are in a folder
)

// TestKilled has a process append from 16 goroutines, and seal every few records into a store that fails at times, and kills it
// with SIGKILL at random moments. In the end each upload that it acknowledged is in a file, as it was, no number is in two files or
// missing, and the journal is empty. VIGIE_KILL_ROUNDS sets how often (20 is the full proof), VIGIE_KILL_RECORDS after how many
// records, about.
func TestKilled(t *testing.T) {
	if dir := os.Getenv(killedFolder); dir != "" {
		appendUntilKilled(t, dir)
	}
	t.Run("folder", func(t *testing.T) { testKilled(t, "") })
	t.Run("bucket", func(t *testing.T) { testKilled(t, tests3.Bucket(t)) })
}

func testKilled(t *testing.T, address string) {
	dir := t.TempDir()
	rounds, records := int(testkill.Number(t, "VIGIE_KILL_ROUNDS", 5)), int(testkill.Number(t, "VIGIE_KILL_RECORDS", 300))
	acknowledged := map[journal.ID]int{}
	round := func(round int) {
		pause := time.Duration(rand.Int64N(int64(20 * time.Millisecond)))
		testkill.After(t, []string{killedFolder + "=" + dir, killedBucket + "=" + address}, 1+rand.IntN(2*records), pause, func(line string) {
			text, n, _ := strings.Cut(line, " ")
			id, err := journal.ParseID(text)
			if err != nil || acknowledged[id] != 0 {
				t.Fatalf("round %d: %q: %v", round, line, err)
			}
			if acknowledged[id], err = strconv.Atoi(n); err != nil {
				t.Fatal(err)
			}
		})
	}
	for n := range rounds {
		round(n)
	}
	p := openPlace(t, dir)
	store := Store(p.folder)
	if address != "" {
		store = openBucket(t, address, bucket.Options{})
	}
	sealed := func() bool {
		for _, err := range store.List(t.Context(), "") {
			return err == nil
		}
		return false
	}
	for n := rounds; n < 10*rounds && !sealed(); n++ { // on a machine so slow that all were killed before anything was sealed
		round(n)
	}
	if !sealed() {
		t.Errorf("nothing was sealed when it was killed")
	}
	h, stop := p.open(t, store, Options{Shared: address != "", Fault: func(err error) { t.Error(err) }})
	defer stop()
	backlog := h.Stats().Journal.Backlog
	seal(t, h)
	got := inFiles(t, h, everything) // which tells of what is there twice
	for id, n := range acknowledged {
		if want := upload(n); got[id] != want {
			t.Errorf("%v is %+v, want %+v", id, got[id], want)
		}
	}
	total := h.Stats().Journal.Appended
	for n := range total {
		if _, ok := got[journal.ID{Node: h.Node(), Number: n + 1}]; !ok {
			t.Errorf("there is no upload %d", n+1)
		}
	}
	if uint64(len(got)) != total || len(acknowledged) == 0 {
		t.Errorf("%d uploads of %d", len(got), total)
	}
	t.Logf("killed %d times; %d acknowledged, %d appended; %d were not sealed by then", rounds, len(acknowledged), total, backlog)
}

// appendUntilKilled is the process that is killed. It tells of each upload that was acknowledged.
func appendUntilKilled(t *testing.T, dir string) {
	die := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var store Store
	var err error
	if address := os.Getenv(killedBucket); address != "" {
		store = openBucket(t, address, bucket.Options{})
	} else if store, err = OpenFolder(dir + "/files"); err != nil {
		die(err)
	}
	h, err := Open(dir, sometimes{store}, Options{Scan: scan, FileBytes: 4 << 10, Fault: func(err error) {
		if errors.Is(err, storage.ErrCorrupt) {
			die(err)
		}
	}})
	if err != nil {
		die(err)
	}
	for i := range 16 {
		go func() {
			for n := 1 + i; ; n += 16 {
				id, err := h.Append(t.Context(), upload(n))
				if err != nil {
					die(err)
				}
				fmt.Printf("%v %d\n", id, n)
			}
		}()
	}
	die(h.Run(t.Context()))
}

// sometimes is a store that fails at times, and takes its time.
type sometimes struct{ Store }

func (s sometimes) Put(ctx context.Context, name string, data []byte) error {
	time.Sleep(time.Duration(rand.Int64N(int64(5 * time.Millisecond))))
	if rand.IntN(8) == 0 {
		return errors.New("meant")
	}
	return s.Store.Put(ctx, name, data)
}
