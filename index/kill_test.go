package index_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"vigie/index"
	"vigie/index/indextest"
	"vigie/internal/testkill"
)

// The environment of the process that is killed.
const (
	killedFolder = "VIGIE_TEST_KILLED_FOLDER"
	killedSeed   = "VIGIE_TEST_KILLED_SEED"
)

// TestKilledSaving has a process apply changes and save, again and again, and kills it with SIGKILL at random moments. The
// folder opens as of a save that was complete, and of none before the last one that the process told of; there is nothing in it
// only if none was. What a save left half done is gone after the next one. VIGIE_KILL_ROUNDS sets how often (50 is the full
// proof), VIGIE_KILL_SEED repeats the changes of a former run.
func TestKilledSaving(t *testing.T) {
	if dir := os.Getenv(killedFolder); dir != "" {
		saveUntilKilled(t, dir)
	}
	rounds := int(testkill.Number(t, "VIGIE_KILL_ROUNDS", 10))
	seed := testkill.Number(t, "VIGIE_KILL_SEED", uint64(time.Now().UnixNano()))
	t.Logf("VIGIE_KILL_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 0))

	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "ROUND\tLAST SAVE ACKNOWLEDGED\tKILLED\tOPENED AS OF\tLEFT-OVERS\tSWEPT\t\n")
	var k *killed
	during, hits := 0, 0
	for round := range rounds {
		if round%5 == 0 { // a folder in which nothing was ever saved
			k = &killed{T: t, dir: filepath.Join(t.TempDir(), "index"), seed: seed + uint64(round), oracle: indextest.NewOracle()}
		}
		until := 1 // lines
		if round%5 > 0 {
			until += r.IntN(8)
		}
		acknowledged, saving := k.run(until, time.Duration(r.Int64N(int64(30*time.Millisecond))))
		killed, opened, swept := "between saves", "nothing", "by the next process"
		if saving > acknowledged {
			killed = fmt.Sprintf("saving as of %d", saving)
			during++
		}
		x, left := k.open(acknowledged, saving, &hits)
		if seq := x.Snapshot().Seq(); seq > 0 {
			opened = strconv.FormatUint(seq, 10)
		}
		if r.IntN(2) == 0 {
			k.saveNext(x)
			swept = "yes"
		}
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%d\t%s\t\n", round+1, acknowledged, killed, opened, left, swept)
	}
	_ = w.Flush()
	t.Logf("%d hits compared\n%s", hits, table.String())
	if during == 0 || hits == 0 {
		t.Errorf("killed %d times during a save; %d hits compared", during, hits)
	}
}

// historyAt is what the log says as of a change.
func historyAt(seed, seq uint64) []index.Change {
	g := indextest.Gen{Source: rand.New(rand.NewPCG(seed, seq)), Entries: 2000, Banks: 4}
	return g.Changes(1 + g.IntN(60))
}

// saveUntilKilled is the process that is killed. It tells of each save before and after.
func saveUntilKilled(t *testing.T, dir string) {
	seed := testkill.Number(t, killedSeed, 0)
	x, _, err := index.Open(dir, index.SmallDeltas(64))
	if errors.Is(err, os.ErrNotExist) {
		x, err = index.New(index.SmallDeltas(64)), nil
	}
	if err != nil {
		t.Fatal(err)
	}
	for seq := x.Snapshot().Seq() + 1; ; seq++ {
		if err := x.Apply(t.Context(), seq, historyAt(seed, seq)); err != nil {
			t.Fatal(err)
		}
		if seq%4 == 0 {
			fmt.Printf("saving %d\n", seq)
			fmt.Printf("saved %d\n", save(t, x, dir))
		}
	}
}

// killed is a folder in which processes save until they are killed, and what should be there.
type killed struct {
	*testing.T
	dir    string
	seed   uint64
	oracle *indextest.Oracle
}

// run lets a process live until it has said so much, and a little longer. It returns as of which changes the process last had
// saved, and began to save.
func (k *killed) run(until int, pause time.Duration) (acknowledged, saving uint64) {
	k.Helper()
	env := []string{killedFolder + "=" + k.dir, killedSeed + "=" + strconv.FormatUint(k.seed, 10)}
	testkill.After(k.T, env, until, pause, func(line string) {
		var n uint64
		if _, err := fmt.Sscanf(line, "saving %d", &n); err == nil {
			saving = n
		} else if _, err := fmt.Sscanf(line, "saved %d", &n); err == nil {
			acknowledged = n
		}
	})
	return acknowledged, saving
}

// open opens the folder, compares what is in it with what should be, and counts the files that belong to no save.
func (k *killed) open(acknowledged, saving uint64, hits *int) (x *index.Index, left int) {
	k.Helper()
	before := k.oracle.Snapshot().Seq()
	x, mark, err := index.Open(k.dir, index.SmallDeltas(64))
	if errors.Is(err, os.ErrNotExist) && before+acknowledged == 0 {
		files, _ := os.ReadDir(k.dir)
		return index.New(index.SmallDeltas(64)), len(files)
	}
	if err != nil {
		k.Fatalf("after a save as of change %d: %v", acknowledged, err)
	}
	s := x.Snapshot()
	if seq := s.Seq(); seq < max(before, acknowledged) || seq > max(before, saving) || mark.Root != "" {
		k.Fatalf("opened %+v as of change %d; saves were as of %d, %d, and began as of %d", mark, seq, before, acknowledged, saving)
	}
	for seq := before + 1; seq <= s.Seq(); seq++ {
		if err := k.oracle.Apply(k.Context(), seq, historyAt(k.seed, seq)); err != nil {
			k.Fatal(err)
		}
	}
	g := indextest.Gen{Source: rand.New(rand.NewPCG(k.seed, s.Seq())), Entries: 2000, Banks: 4}
	*hits += indextest.Compare(k, s, k.oracle.Snapshot(), g, 40)
	all, named := k.files()
	return x, len(all) - len(named)
}

// files are those in the folder, and those that belong to the save.
func (k *killed) files() (all, named []string) {
	k.Helper()
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		k.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	text, err := os.ReadFile(filepath.Join(k.dir, "MANIFEST"))
	if err != nil {
		k.Fatal(err)
	}
	_, body, _ := bytes.Cut(text, []byte("\n"))
	var manifest struct{ Parts []struct{ File string } }
	if err := json.Unmarshal(body, &manifest); err != nil {
		k.Fatal(err)
	}
	named = []string{"MANIFEST"}
	for _, p := range manifest.Parts {
		named = append(named, p.File)
	}
	slices.Sort(named)
	return all, named
}

// saveNext applies the next change and saves: then nothing else is in the folder.
func (k *killed) saveNext(x *index.Index) {
	k.Helper()
	seq := x.Snapshot().Seq() + 1
	if err := errors.Join(x.Apply(k.Context(), seq, historyAt(k.seed, seq)), k.oracle.Apply(k.Context(), seq, historyAt(k.seed, seq))); err != nil {
		k.Fatal(err)
	}
	save(k.T, x, k.dir)
	if all, named := k.files(); !slices.Equal(all, named) {
		k.Errorf("the folder holds %v; the save is %v", all, named)
	}
}
