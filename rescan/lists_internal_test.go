package rescan

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"pgregory.net/rapid"

	"vigie/hashing"
	"vigie/internal/guard"
	"vigie/internal/parquetvet"
	"vigie/storage"
)

// textFile is a file in memory.
type textFile struct{ *bytes.Reader }

func (f textFile) Close() error    { return nil }
func (f textFile) size() int64     { return f.Size() }
func (f textFile) version() string { return "1" }

func opening(data []byte) opener {
	return func(context.Context) (file, error) { return textFile{bytes.NewReader(data)}, nil }
}

// TestLinesInAnyRanges: wherever a text is cut into ranges, and resumed, each line comes once, in order.
func TestLinesInAnyRanges(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		data := rapid.StringOfN(rapid.SampledFrom([]rune("ab\n\r")), 0, 40, -1).Draw(rt, "text")
		var want []string
		for _, line := range strings.SplitAfter(data, "\n") {
			if line == "" {
				continue
			}
			if line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"); len(line) > 8 {
				line = "too long"
			}
			want = append(want, line)
		}
		l := text{open: opening([]byte(data)), most: 8}
		f, _ := l.open(t.Context())
		var got []string
		for after, end := int64(0), int64(len(data)); after < end; {
			to := min(after+int64(rapid.IntRange(1, 15).Draw(rt, "range")), end)
			for at := after; ; { // resumed after each line
				next := int64(0)
				err := l.lines(t.Context(), f, at, to, func(place int64, line []byte, err error) error {
					if errors.Is(err, errLongLine) {
						line = []byte("too long")
					}
					got, next = append(got, string(line)), place
					return errEnough
				})
				if next == 0 {
					if err != nil {
						rt.Fatal(err)
					}
					break
				}
				if next <= at || next > to {
					rt.Fatalf("place %d of the range from %d to %d", next, at, to)
				}
				at = next
			}
			after = to
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("%q: got %q, want %q", data, got, want)
		}
	})
}

// testHash is the n-th of a row of hashes, as text.
func testHash(n int) string {
	b := bytes.Repeat([]byte{0xa5, byte(n >> 8), byte(n), 0x3c}, 8)
	return hex.EncodeToString(b)
}

type parquetHash struct {
	Content string `parquet:"content_id,zstd"`
	Hash    []byte `parquet:"pdq"`
	Quality *int32 `parquet:"quality,optional"`
}

// lists are the same list in all formats: row 5 has no hash, row 7 no quality.
func lists(t testing.TB, n int) map[string][]byte {
	var csv, semicolons, nd strings.Builder
	csv.WriteString("\ufeffcontent_id,pdq,quality\r\n")
	semicolons.WriteString("Quality; PDQ ;other;id\n")
	var raw bytes.Buffer
	w := parquet.NewGenericWriter[parquetHash](&raw, parquet.MaxRowsPerRowGroup(40), parquet.PageBufferSize(300))
	for i := range n {
		hash, quality, q := testHash(i), fmt.Sprint(50+i%50), int32(50+i%50)
		row := parquetHash{fmt.Sprintf("post,%d", i), nil, &q}
		row.Hash, _ = hex.DecodeString(hash)
		if i == 5 {
			hash, row.Hash = "abc", []byte("abc")
		}
		if i == 7 {
			quality, row.Quality = "", nil
		}
		fmt.Fprintf(&csv, "\"post,%d\",%s,%s\r\n", i, hash, quality)
		fmt.Fprintf(&semicolons, "%s;%s;;post,%d\n", quality, strings.ToUpper(hash), i)
		if quality != "" {
			quality = `,"quality":` + quality
		}
		fmt.Fprintf(&nd, "{\"hash\":\"pdq:%s\",\"id\":\"post,%d\"%s}\n", hash, i, quality)
		if _, err := w.Write([]parquetHash{row}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"a.csv": []byte(csv.String()), "b.csv": []byte(semicolons.String()), "c.ndjson": []byte(nd.String()), "d.parquet": raw.Bytes(),
	}
}

func listOf(t testing.TB, name string, data []byte, columns Columns) opened {
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	c := SourceConfig{Kind: HashSource, Location: path, Columns: columns}
	if err := (Sources{"x": c}).Check(); err != nil {
		t.Fatal(err)
	}
	o, err := c.open(t.Context(), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func tell(r hashRow) string {
	if r.err != nil {
		return r.id + " !"
	}
	return fmt.Sprintf("%s %x %d", r.id, r.hash.Value.Bytes(32), r.hash.Quality)
}

// TestHashLists: all formats give the same rows, however they are cut, and from everywhere on.
func TestHashLists(t *testing.T) {
	t.Parallel()
	const n = 100
	var want []string
	for i := range n {
		q := 50 + i%50
		if i == 7 {
			q = int(hashing.QualityUnknown)
		}
		want = append(want, fmt.Sprintf("post,%d %s %d", i, testHash(i), q))
	}
	want[5] = "post,5 !"
	for name, data := range lists(t, n) {
		list := listOf(t, name, data, Columns{}).hashes
		end, version, err := list.extent(t.Context())
		if err != nil || version == "" {
			t.Fatal(name, err)
		}
		for _, step := range []int64{1 << 40, end/7 + 1, end/90 + 1} {
			for _, size := range []int{7} {
				var got []string
				last := int64(0)
				for from := int64(0); from < end; from = min(from+step, end) {
					err := list.rows(t.Context(), from, min(from+step, end), size, func(rows []hashRow) error {
						if len(rows) > size {
							t.Errorf("%d rows at a time", len(rows))
						}
						for _, r := range rows {
							if r.place <= last {
								t.Errorf("%s: place %d after %d", name, r.place, last)
							}
							last = r.place
							got = append(got, tell(r))
						}
						return nil
					})
					if err != nil {
						t.Fatal(name, err)
					}
				}
				if !slices.Equal(got, want) {
					t.Fatalf("%s by %d:\n%q\nwant\n%q", name, step, got, want)
				}
			}
		}
	}
}

// TestHashListsThatAreNone: what is no list, or wants too much, is an error or a row set aside, whatever the bytes.
func TestHashListsThatAreNone(t *testing.T) {
	t.Parallel()
	good := lists(t, 100)
	read := func(o opened) (rows, bad int, err error) {
		end, _, err := o.hashes.extent(t.Context())
		if err != nil {
			return 0, 0, err
		}
		err = o.hashes.rows(t.Context(), 0, end, 10, func(page []hashRow) error {
			for _, r := range page {
				if rows++; r.err != nil {
					bad++
				}
			}
			return nil
		})
		return rows, bad, err
	}
	for name, data := range map[string]string{
		"empty.csv": "", "no columns.csv": "a,b\n1,2\n", "empty.parquet": "", "short.parquet": "PAR1PAR1", "text.parquet": "PAR1 hello PAR1",
		"wide.csv": "pdq" + strings.Repeat(",x", 1000) + "\n", "long.csv": "pdq" + strings.Repeat(" ", maxHashLine) + "\n",
	} {
		if rows, _, err := read(listOf(t, name, []byte(data), Columns{})); err == nil {
			t.Errorf("%s: %d rows and no error", name, rows)
		}
	}
	for name, columns := range map[string]Columns{"a.csv": {Hash: "x"}, "d.parquet": {ID: "x"}} {
		if _, _, err := read(listOf(t, name, good[name], columns)); err == nil {
			t.Errorf("%s: a column that is not there is found", name)
		}
	}
	hash := testHash(1)
	rows, bad, err := read(listOf(t, "rows.csv", []byte("pdq,id,quality\n"+
		hash+",ok,\n"+hash+",few\n"+hash+",\"open,1\n"+hash+",q,101\n"+hash+",q,NaN\n"+hash+"0,long,\n"+
		hash+","+strings.Repeat("x", 5000)+",\n"+strings.Repeat("y", maxHashLine+1)+"\n\n"+hash+",ok,7"), Columns{}))
	if rows != 9 || bad != 7 || err != nil {
		t.Errorf("%d rows, %d bad, %v", rows, bad, err)
	}
	rows, bad, err = read(listOf(t, "rows.ndjson", []byte("{\"hash\":\""+hash+"\"}\n[]\nnull\n{\"hash\":7}\n{\"x\":1}\n{\"hash\":\n"), Columns{}))
	if rows != 6 || bad != 5 || err != nil {
		t.Errorf("%d rows, %d bad, %v", rows, bad, err)
	}
	// Any damage to a Parquet file is an error, or other rows; never more of them, nor the end of the process.
	data := good["d.parquet"]
	for at := 0; at < len(data); at += 1 + at%97 {
		damaged := bytes.Clone(data)
		damaged[at] ^= byte(1 + at%255)
		if rows, _, err := read(opened{hashes: parquetList{open: opening(damaged)}}); err == nil && rows > 100 {
			t.Errorf("byte %d: %d rows", at, rows)
		}
	}
}

type wide struct {
	Hash string `parquet:"hash,zstd"`
}

// TestParquetBomb: a page that would unpack into more than it may is refused before it is.
func TestParquetBomb(t *testing.T) {
	t.Parallel()
	var raw bytes.Buffer
	w := parquet.NewGenericWriter[wide](&raw, parquet.PageBufferSize(2*parquetvet.MaxPage))
	rows := slices.Repeat([]wide{{strings.Repeat("a", 1<<10)}}, 1<<10)
	for range parquetvet.MaxPage>>20 + 1 {
		if _, err := w.Write(rows); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if raw.Len() > 1<<20 {
		t.Fatalf("%d bytes: no bomb", raw.Len())
	}
	err := parquetList{open: opening(raw.Bytes())}.rows(t.Context(), 0, 1, 1, func([]hashRow) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "accepted are") {
		t.Error(err)
	}
}

// TestBatchBytes: rows with long ids are handed on before there are many.
func TestBatchBytes(t *testing.T) {
	t.Parallel()
	var sizes []int
	b := batch{most: 1 << 18, fn: func(rows []hashRow) error {
		sizes = append(sizes, len(rows))
		return nil
	}}
	id := strings.Repeat("i", 4096)
	for range 40_000 {
		if err := b.add(hashRow{id: id}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.flush(); err != nil {
		t.Fatal(err)
	}
	if want := []int{1 << 14, 1 << 14, 40_000 - 2<<14}; !slices.Equal(sizes, want) {
		t.Errorf("%v, not %v", sizes, want)
	}
}

// TestTold: a party reads nothing of the machines and files around the node.
func TestTold(t *testing.T) {
	t.Parallel()
	_, gone := os.Open("/secret/place")
	for _, err := range []error{
		gone, &os.PathError{Op: "read", Path: "/secret/place", Err: os.ErrInvalid}, &net.OpError{Op: "dial", Err: errors.New("secret")},
		fmt.Errorf("secret: %w", storage.ErrUnavailable),
	} {
		if text := told(fmt.Errorf("open: %w", err)); strings.Contains(text, "secret") {
			t.Error(text)
		}
	}
	if text := told(errChanged); text != errChanged.Error() {
		t.Error(text)
	}
	u := urls{client: guard.New(guard.Options{}).Client()}
	for _, address := range []string{"http://localhost/", "http://127.0.0.1:80/", "http://no-such-name.invalid/"} {
		if _, err := u.fetch(t.Context(), address); err == nil || strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), "lookup") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
