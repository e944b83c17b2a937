package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "vigie/api/v1"
	"vigie/exchange"
)

// TestImportKilled imports a list while the importer and the node are killed by turns, with SIGKILL, and resumed. What is
// in the bank in the end is what an undisturbed import puts there, each entry once, and the report is of each row once.
// VIGIE_KILL_ROUNDS sets how many kills.
func TestImportKilled(t *testing.T) {
	t.Parallel()
	kills, seed := fromEnv(t, "VIGIE_KILL_ROUNDS", 4), fromEnv(t, "VIGIE_KILL_SEED", uint64(time.Now().UnixNano()))
	rows := importPart * (int(kills) + 2)
	t.Logf("VIGIE_KILL_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	file := filepath.Join(dir, "list.csv")
	planted, err := (&importBench{importBenchCmd: &importBenchCmd{Rows: rows, Bad: 3, Seed: seed}}).makeList(file)
	if err != nil {
		t.Fatal(err)
	}
	good := rows
	for _, n := range planted {
		good -= int(n)
	}

	calm := serve(t, filepath.Join(dir, "calm"), nil, "--log-level", "error")
	calm.must(t, "banks", "create", "b")
	calm.must(t, "import", "--bank", "b", file)
	want := calm.must(t, "export", "--bank", "b")

	b := &importBench{data: filepath.Join(dir, "killed")}
	node := serve(t, b.data, nil, "--log-level", "error")
	node.must(t, "banks", "create", "b")
	args := []string{"import", "--bank", "b", "--json", file}
	for kill := range kills {
		importer := exec.Command("vigie", args...)
		importer.Env = append(os.Environ(), "VIGIE_DATA="+b.data)
		before := b.read()
		if err := importer.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the import goes on", func() bool { return b.read() > before })
		time.Sleep(time.Duration(random.Int64N(int64(50 * time.Millisecond)))) // the moment of the kill
		if kill%2 == 0 {
			_ = importer.Process.Kill()
		} else {
			node.kill()
		}
		_ = importer.Wait()
		if kill%2 == 1 {
			node = serve(t, b.data, nil, "--log-level", "error")
		}
		args = []string{"import", "--bank", "b", "--json", "--resume", file}
	}
	var got importSummary
	if err := json.Unmarshal([]byte(node.must(t, args...)), &got); err != nil {
		t.Fatal(err)
	}
	if export := node.must(t, "export", "--bank", "b"); export != want {
		t.Errorf("what is exported differs from that of an undisturbed import: %d bytes and %d", len(export), len(want))
	}
	log := node.must(t, "log", "list")
	if added, sourced := strings.Count(log, "entry.added"), strings.Count(log, "entry.sourced"); added != good || sourced != 0 {
		t.Errorf("%d entries were added and %d sources, of %d good rows", added, sourced, good)
	}
	if got.Read != int64(rows) || got.Created+got.Same != good || got.Sourced != 0 {
		t.Errorf("reported are %d rows, %d new, %d had, %d sources, of %d and %d good ones", got.Read, got.Created, got.Same, got.Sourced, rows, good)
	}
	for reason, n := range planted {
		if s := got.Skipped[reason]; s == nil || s.Rows != n {
			t.Errorf("%d rows are bad by %s, reported are %+v", n, reason, s)
		}
	}
	t.Logf("%d kills; %d rows were sent twice", kills, got.Same)
	if left, _ := filepath.Glob(filepath.Join(b.data, "imports", "*")); len(left) > 0 {
		t.Errorf("a finished import leaves %v", left)
	}
}

// must runs a command that succeeds, and returns what it prints.
func (s *served) must(t testing.TB, args ...string) string {
	t.Helper()
	code, out, warn := s.vigie(args...)
	if code != 0 {
		t.Fatalf("vigie %v: exit %d: %s", args, code, warn)
	}
	return out
}

// listNode is a node that takes lists as a test says.
type listNode struct {
	*httptest.Server
	mu    sync.Mutex
	parts []string // that came
}

// answering takes each part of a list by one of the answers; the last one serves for all that follow.
func answering(t *testing.T, answers ...func(w http.ResponseWriter, rows int)) *listNode {
	n := &listNode{}
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		part, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/v1/banks/b/entries:batch" || r.URL.Query().Get("format") != "ndjson" {
			t.Errorf("%s: %v", r.URL, err)
		}
		n.mu.Lock()
		answer := answers[min(len(n.parts), len(answers)-1)]
		n.parts = append(n.parts, string(part))
		n.mu.Unlock()
		answer(w, bytes.Count(part, []byte("\n")))
	}))
	t.Cleanup(n.Close)
	return n
}

// came are the parts that came so far.
func (n *listNode) came() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.parts)
}

// taken answers that rows were taken, all if fewer than none, and then what ended that.
func taken(created int, ended *v1.Problem, skipped ...v1.SkippedRow) func(http.ResponseWriter, int) {
	return func(w http.ResponseWriter, rows int) {
		n := created
		if n < 0 {
			n = rows - len(skipped)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v1.ListReport{
			Read: n + len(skipped), Created: n, Skipped: len(skipped), Rows: skipped, Ended: ended, Seq: 7, Reasons: map[string]int{},
		})
	}
}

func refused(status int, title string) func(http.ResponseWriter, int) {
	return func(w http.ResponseWriter, _ int) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v1.Problem{Status: status, Title: title, Type: "/problems/test"})
	}
}

// importer imports the file list.csv into a node elsewhere.
func (n *listNode) importer(t *testing.T, dir string) func(args ...string) (code int, out, warn string) {
	env := append(os.Environ(), "VIGIE_KEY=vg_test", "XDG_CACHE_HOME="+filepath.Join(dir, "cache"), "HOME="+dir)
	return func(args ...string) (int, string, string) {
		t.Helper()
		return runVigie(env, append([]string{"import", "--server", n.URL, "--bank", "b", filepath.Join(dir, "list.csv")}, args...)...)
	}
}

// A node that is busy in the middle of a part gets the rest of it, and is told of nothing twice; one that has no memory left
// ends the import, which can be resumed. Lines are those of the file, whose records are of two lines each.
func TestImportGoesOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	list := "md5,note\n"
	for i := range 10 {
		list += fmt.Sprintf("%032x,\"two\nlines\"\n", i)
	}
	list += "bad,\n"
	if err := os.WriteFile(filepath.Join(dir, "list.csv"), []byte(list), 0o666); err != nil {
		t.Fatal(err)
	}
	busy, full := &v1.Problem{Status: 503, Title: "busy", Type: "/problems/busy"}, &v1.Problem{Status: 507, Title: "no memory", Type: "/problems/memory-limit"}
	column := "labels"
	skip := func(line int) v1.SkippedRow { return v1.SkippedRow{Line: line, Reason: "invalid", Column: &column} }
	n := answering(t, taken(2, busy, skip(2)), refused(503, "busy"), refused(429, "limited"), taken(3, full, skip(4)), taken(-1, nil, skip(10)))
	run := n.importer(t, dir)

	code, out, warn := run("--json")
	var got importSummary
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	want := exchange.Report{Read: 8, OK: 5, Skipped: map[exchange.Reason]*exchange.Skipped{
		"bad-hash": {Rows: 1, Examples: []exchange.Example{{Line: 22, Column: "md5"}}},
		"invalid":  {Rows: 2, Examples: []exchange.Example{{Line: 4, Column: "labels"}, {Line: 14, Column: "labels"}}},
	}}
	if diff := cmp.Diff(want, got.Report); diff != "" {
		t.Errorf("the report (-want +got):\n%s", diff)
	}
	if code != exitFailed || !strings.HasPrefix(warn, "vigie: no memory; go on with: vigie import --server ") || !strings.HasSuffix(warn, " --resume\n") {
		t.Errorf("without memory: exit %d, %s", code, warn)
	}
	var rows []int
	parts := n.came()
	for _, part := range parts {
		rows = append(rows, strings.Count(part, "\n"))
	}
	if diff := cmp.Diff([]int{10, 7, 7, 7}, rows); diff != "" {
		t.Errorf("rows that were sent (-want +got):\n%s", diff)
	}
	if !strings.Contains(parts[1], fmt.Sprintf("%032x", 3)) || strings.Contains(parts[1], fmt.Sprintf("%032x", 2)) {
		t.Errorf("the rest is %s", parts[1])
	}

	code, out, warn = run("--resume")
	if code != 0 || !strings.HasPrefix(out, "11 rows: 9 taken, 2 skipped\n  bad-hash: 1, at line 22 (md5)\n  invalid: 1, at line 20 (labels)\n9 new, ") {
		t.Errorf("resumed: exit %d, %s%s", code, out, warn)
	}
	if code, _, warn = run("--resume"); code != exitUsage || !strings.Contains(warn, "was stopped before its end") {
		t.Errorf("resumed once more: exit %d, %s", code, warn)
	}
}

// What would refuse every part ends the import at once, with what to do.
func TestImportEnds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer func(http.ResponseWriter, int)
		want   string
	}{
		{refused(401, "The key was revoked"), "vigie: The key was revoked; go on with: "},
		{refused(403, "It belongs to another party"), "vigie: It belongs to another party; go on with: "},
		{func(w http.ResponseWriter, _ int) { panic(http.ErrAbortHandler) }, "vigie: the node cannot be reached: "},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "list.csv"), []byte("md5\n"+strings.Repeat("0", 32)+"\n"), 0o666); err != nil {
			t.Fatal(err)
		}
		run := answering(t, c.answer).importer(t, dir)
		code, out, warn := run()
		if code != exitFailed || !strings.HasPrefix(warn, c.want) || !strings.HasSuffix(warn, " --resume\n") || !strings.HasPrefix(out, "0 rows") {
			t.Errorf("exit %d, %s%s", code, out, warn)
		}
		if code, _, warn := run("--resume"); code != exitFailed || !strings.HasPrefix(warn, c.want) {
			t.Errorf("resumed: exit %d, %s", code, warn)
		}
	}
}

// A list longer than a part is sent in several; each ends where a row does.
func TestImportInParts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var list strings.Builder
	list.WriteString("md5,note\n")
	for i := range 2500 {
		fmt.Fprintf(&list, "%032x,\n", i)
	}
	for i := range 3 { // of which two are too many bytes
		fmt.Fprintf(&list, "%032x,%s\n", 5000+i, strings.Repeat("n", 700<<10))
	}
	if err := os.WriteFile(filepath.Join(dir, "list.csv"), []byte(list.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	n := answering(t, taken(-1, nil))
	if code, out, warn := n.importer(t, dir)("--source", "s"); code != 0 || !strings.HasPrefix(out, "2503 rows: 2503 taken, 0 skipped\n2503 new") {
		t.Errorf("exit %d, %s%s", code, out, warn)
	}
	var rows []int
	parts := n.came()
	for _, part := range parts {
		rows = append(rows, strings.Count(part, "\n"))
	}
	if diff := cmp.Diff([]int{1000, 1000, 502, 1}, rows); diff != "" {
		t.Errorf("rows of each part (-want +got):\n%s", diff)
	}
}

// A dry run is sent in parts as large as a request may be, since the node looks within each for what stands twice; where there
// are several, or a part is sent in two, the report says that it may not have seen all. All rows that are skipped are counted.
func TestImportDryRunInParts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(rows int) {
		t.Helper()
		var list strings.Builder
		list.WriteString("md5\n")
		for i := range rows {
			fmt.Fprintf(&list, "%032x\n", i)
		}
		if err := os.WriteFile(filepath.Join(dir, "list.csv"), []byte(list.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	busy := &v1.Problem{Status: 503, Title: "busy", Type: "/problems/busy"}
	known := func(w http.ResponseWriter, rows int) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v1.ListReport{
			Read: rows, Created: rows - 3000, Skipped: 3000, Noted: 5, Reasons: map[string]int{"known-good": 2999, "taken-back": 1},
			Rows: []v1.SkippedRow{{Line: 7, Reason: "known-good"}},
		})
	}
	for name, c := range map[string]struct {
		rows   int
		answer []func(http.ResponseWriter, int)
		want   string
		parts  []int
		unseen bool
	}{
		"one part":     {99_999, []func(http.ResponseWriter, int){known}, "99999 rows: 96999 taken, 3000 skipped\n  known-good: 2999, at line 8, ...\n  taken-back: 1, ...\n", []int{99_999}, false},
		"two parts":    {100_001, []func(http.ResponseWriter, int){taken(-1, nil)}, "100001 rows: 100001 taken, 0 skipped\n", []int{100_000, 1}, true},
		"part in two":  {10, []func(http.ResponseWriter, int){taken(4, busy), taken(-1, nil)}, "10 rows: 10 taken, 0 skipped\n", []int{10, 6}, true},
		"busy at once": {10, []func(http.ResponseWriter, int){refused(503, "busy"), taken(-1, nil)}, "10 rows: 10 taken, 0 skipped\n", []int{10, 10}, false},
	} {
		write(c.rows)
		n := answering(t, c.answer...)
		code, out, warn := n.importer(t, dir)("--dry-run")
		var parts []int
		for _, part := range n.came() {
			parts = append(parts, strings.Count(part, "\n"))
		}
		if code != 0 || !strings.HasPrefix(out, c.want+"would be ") || !slices.Equal(parts, c.parts) || strings.Contains(warn, "twice") != c.unseen {
			t.Errorf("%s: exit %d, parts %v, %s%s", name, code, parts, out, warn)
		}
		if strings.Contains(warn, "5 labels") != (name == "one part") {
			t.Errorf("%s: it warns: %s", name, warn)
		}
	}
}

// A file that ends before it did when the import began is not taken for whole.
func TestImportOfAFileCutShort(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "list.csv")
	var list strings.Builder
	list.WriteString("md5\n")
	for i := range 20_000 {
		fmt.Fprintf(&list, "%032x\n", i)
	}
	if err := os.WriteFile(path, []byte(list.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	cut := func(w http.ResponseWriter, rows int) {
		if err := os.Truncate(path, 330_004); err != nil {
			t.Error(err)
		}
		taken(-1, nil)(w, rows)
	}
	code, _, warn := answering(t, cut).importer(t, dir)()
	if code != exitFailed || warn != "vigie: the file was cut short meanwhile: it had 660004 bytes, and ended after 330004\n" {
		t.Errorf("exit %d, %s", code, warn)
	}
}
