package history

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"vigie/hashing"
	"vigie/internal/testneed"
	"vigie/storage"
	"vigie/storage/journal"
)

// duckdb runs SQL in another reader of Parquet, and returns the rows of each statement: values are texts, as JSON of DuckDB has them.
func duckdb(t *testing.T, statements ...string) [][]map[string]any {
	t.Helper()
	root := filepath.Join("..", "..")
	pkg, err := filepath.Abs(filepath.Join(root, ".tools", "duckdb", "node_modules", "@duckdb", "node-api"))
	if err == nil {
		_, err = os.Stat(pkg)
	}
	if err == nil {
		_, err = exec.LookPath("node")
	}
	if err != nil {
		testneed.End(t, fmt.Errorf("%w: %w", testneed.Missing("DuckDB", "duckdb"), err))
	}
	in, err := json.Marshal(statements)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", filepath.Join("testdata", "duckdb.mjs"), pkg)
	cmd.Stdin = bytes.NewReader(in)
	var warn bytes.Buffer
	cmd.Stderr = &warn
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, warn.String())
	}
	var results [][]map[string]any
	if err := json.Unmarshal(out, &results); err != nil || len(results) != len(statements) {
		t.Fatalf("%d results of %d: %v", len(results), len(statements), err)
	}
	return results
}

// documented is the SQL below a heading of the format's page, for files in another place and another hash.
func documented(t *testing.T, heading, files string, v hashing.Value) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "format", "uploads.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, below, _ := strings.Cut(string(text), "\n## "+heading+"\n")
	below, _, _ = strings.Cut(below, "\n## ")
	var all []string
	for _, block := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(below, -1) {
		sql := strings.ReplaceAll(block[1], "'uploads/", "'"+files+"/")
		all = append(all, regexp.MustCompile("[0-9a-f]{64}").ReplaceAllString(sql, hex.EncodeToString(v.Bytes(hashBytes))))
	}
	return all
}

// TestDuckDB has DuckDB, which shares no code with what writes the files, read them: every value, the search that the format's page
// shows, the filter of content ids, and how the hashes are stored.
func TestDuckDB(t *testing.T) {
	t.Parallel()
	h, p := run(t, Options{Now: func() time.Time { return noon }})
	want := map[uint64]Record{}
	var near []string // within 31 bits of the first one, of party 1
	for n := range 20_000 {
		r := upload(n)
		if n%400 == 0 {
			r.PDQ = upload(0).PDQ
			for bit := range n / 400 {
				r.PDQ[bit%4] ^= 1 << bit
			}
		}
		if r.Party == 1 && r.PDQ.Distance(upload(0).PDQ) <= 31 {
			near = append(near, r.ContentID)
		}
		want[uint64(n+1)] = r
	}
	var records []journal.Record
	for n, r := range want {
		records = append(records, journal.Record{ID: journal.ID{Node: h.Node(), Number: n}, Body: r.appendBody(nil)})
	}
	slices.SortFunc(records, func(a, b journal.Record) int { return int(a.ID.Number) - int(b.ID.Number) })
	if err := h.seal(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	gone := upload(3000)
	if err := h.Erase(t.Context(), gone.Party, []string{gone.ContentID}); err != nil { // some files are not as they were
		t.Fatal(err)
	}
	delete(want, 3001)

	files := filepath.Join(p.dir, "files")
	first := File{1, noon, h.Node(), 1, 20_000}
	statements := documented(t, "DuckDB", files, upload(0).PDQ)
	if len(statements) != 1 {
		t.Fatalf("the page has %d statements", len(statements))
	}
	probe := func(id string) string {
		return fmt.Sprintf("SELECT bloom_filter_excludes AS excluded FROM parquet_bloom_probe('%s', 'content_id', '%s')",
			filepath.Join(files, first.Name()), id)
	}
	results := duckdb(t,
		fmt.Sprintf("SELECT number, epoch_ms(checked_at) AS ms, hex(pdq) AS pdq, quality, content_id, party, hour, filename FROM read_parquet('%s/**/*.parquet', filename = true)", files),
		statements[0],
		probe(upload(0).ContentID), probe(gone.ContentID), probe("unknown"),
		fmt.Sprintf("SELECT DISTINCT type, encodings, compression FROM parquet_metadata('%s/**/*.parquet') WHERE path_in_schema = 'pdq'", files),
		fmt.Sprintf("SELECT string_agg(decode(key) || '=' || decode(value), ' ' ORDER BY key) AS all FROM parquet_kv_metadata('%s')", filepath.Join(files, first.Name())),
	)

	got := map[uint64]Record{}
	for _, row := range results[0] {
		number := func(name string) int64 {
			n, err := strconv.ParseInt(fmt.Sprint(row[name]), 10, 64)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return n
		}
		hash, err := hex.DecodeString(row["pdq"].(string))
		if err != nil {
			t.Fatal(err)
		}
		r := Record{
			storage.PartyID(number("party")), time.UnixMilli(number("ms")).UTC(), row["content_id"].(string),
			hashing.ValueFromBytes(hash), hashing.Quality(number("quality")),
		}
		name, _ := filepath.Rel(files, row["filename"].(string))
		if f, err := ParseFile(name); err != nil || row["hour"] != f.Hour.Format(hourLayout) || f.Party != r.Party || !hourOf(r.At).Equal(f.Hour) {
			t.Fatalf("%+v is in %s of hour %v: %v", r, name, row["hour"], err)
		}
		got[uint64(number("number"))] = r
	}
	if len(got) != len(want) || len(results[0]) != len(want) {
		t.Errorf("%d rows, %d different, want %d", len(results[0]), len(got), len(want))
	}
	for n, r := range want {
		if got[n] != r {
			t.Fatalf("row %d is %+v, want %+v", n, got[n], r)
		}
	}

	var found []string
	for _, row := range results[1] {
		found = append(found, row["content_id"].(string))
	}
	slices.Sort(found)
	if slices.Sort(near); len(near) < 5 || !slices.Equal(found, near) {
		t.Errorf("near are %q, want %q", found, near)
	}

	for i, excluded := range []bool{false, true, true} {
		if rows := results[2+i]; len(rows) != 1 || rows[0]["excluded"] != excluded {
			t.Errorf("filter, %d: %v", i, rows)
		}
	}
	if rows := fmt.Sprint(results[5]); rows != "[map[compression:UNCOMPRESSED encodings:PLAIN type:FIXED_LEN_BYTE_ARRAY]]" {
		t.Errorf("hashes are stored as %v", rows)
	}
	text := fmt.Sprintf("vigie.first=1 vigie.last=20000 vigie.node=%s vigie.party=1 vigie.uploads=1", h.Node())
	if rows := results[6]; len(rows) != 1 || rows[0]["all"] != text {
		t.Errorf("%v, want %s", rows, text)
	}
}
