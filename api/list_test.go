package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"vigie/api"
	v1 "vigie/api/v1"
	"vigie/exchange"
	"vigie/index"
	"vigie/matcher"
	"vigie/storage"
)

const (
	asCSV    = "Content-Type: text/csv"
	asText   = "Content-Type: text/plain"
	asNDJSON = "Content-Type: application/x-ndjson"
)

// list sends a list, and reads the report.
func (n *node) list(query, contentType string, body io.Reader, more ...string) v1.ListReport {
	n.t.Helper()
	answer := n.send("POST", "/v1/banks/b/entries:batch"+query, body, append([]string{contentType}, more...)...)
	text := read(n.t, answer.Body)
	if answer.StatusCode != http.StatusOK {
		n.t.Fatalf("%s: %s", answer.Status, text)
	}
	var out v1.ListReport
	must(n.t, json.Unmarshal([]byte(text), &out))
	if total := out.Created + out.Sourced + out.Same + out.Skipped; total != out.Read {
		n.t.Errorf("%d rows are told of, of %d: %s", total, out.Read, text)
	}
	skipped := 0
	for _, rows := range out.Reasons {
		skipped += rows
	}
	equal(n.t, "skipped by reason", skipped, out.Skipped)
	return out
}

// stored counts the entries of all banks.
func (n *node) stored() (stored int) {
	n.t.Helper()
	must(n.t, n.catalogue.View(n.t.Context(), func(r storage.Reader) error {
		all, err := r.Entries(storage.EntryQuery{Limit: storage.MaxEntries})
		stored = len(all)
		return err
	}))
	return stored
}

// md5s are rows of a list of MD5 digests.
func md5s(from, rows int) string {
	var b strings.Builder
	for i := range rows {
		fmt.Fprintf(&b, "md5 %032x\n", from+i)
	}
	return b.String()
}

const (
	listPDQ  = "f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22"
	listMD5  = "d41d8cd98f00b204e9800998ecf8427e"
	ownLines = "signals,labels,note,origin,source,foreign_id,created_at,status\n"
)

// Every format is read as it stands; what is skipped is told by the line where its row begins, whoever skips it: the format,
// this package, or the matcher.
func TestFlagListFormats(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		query, contentType, body string
		created                  int
		rows                     []string
	}{
		"csv": {
			"?format=csv", asCSV, ownLines +
				"pdq:" + listPDQ + "?q=90 md5:" + listMD5 + ",a b,\"a note\nof \"\"three\"\"\nlines\",origin,list,17,2024-02-29T12:00:00Z,\n" + // 2 to 4
				"md5:" + listMD5[:31] + ",,,,,,,\n" + // 5
				"pdq:" + strings.Replace(listPDQ, "f", "0", 1) + "?q=49,,\"two\nlines\",,,,,\n" + // 6
				"md5:" + strings.Replace(listMD5, "d", "0", 1) + ",,,,," + strings.Repeat("x", 201) + ",,\n" + // 8
				"md5:" + strings.Replace(listMD5, "d", "1", 1) + ",,,,,,,retracted\n" + // 9
				"md5:" + strings.Replace(listMD5, "d", "2", 1) + ",,,,,,,\n",
			2,
			[]string{"5 bad-hash signals", "6 low-quality ", "8 invalid foreign_id", "9 not-active status"},
		},
		"ndjson": {
			"", asNDJSON, `{"signals":[{"algorithm":"pdq","value":"` + listPDQ + `","quality":90},{"algorithm":"md5","value":"` + listMD5 + `"}],` +
				`"labels":["a","b"],"note":"a note\nof \"three\"\nlines","origin":"origin","source":"list","foreign_id":"17","created_at":"2024-02-29T12:00:00Z"}` + "\n" +
				"\n{}\n" + `{"signals":[{"algorithm":"md5","value":"` + listMD5 + `"}],"media":{"duration_ms":4294967296}}` + "\n",
			1,
			[]string{"3 no-signal signals", "4 invalid duration_ms"},
		},
		"tx-csv": {
			"?format=tx-csv", asCSV, "signal_type,signal_str,collab,category,tags\r\n" +
				"pdq," + listPDQ + ",list,POSITIVE_CLASS,a b\r\nvideo_md5," + listMD5 + ",list,POSITIVE_CLASS,\r\nraw_text,x,list,POSITIVE_CLASS,\r\n",
			2,
			[]string{"4 unknown-algorithm algorithm"},
		},
		"local-file": {
			"?format=local-file", asText, "pdq " + listPDQ + "\nvideo_md5 " + listMD5 + "\nnonsense\n",
			2,
			[]string{"3 unknown-algorithm signal"},
		},
		"one algorithm": {
			"?format=local-file&algorithm=md5&source=list", asText, listMD5 + "\n" + listPDQ + "\n",
			1,
			[]string{"2 bad-hash signal"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, setup{})
			n.bank("b")
			n.list(c.query+map[bool]string{true: "?", false: "&"}[c.query == ""]+"dry_run=true", c.contentType, strings.NewReader(c.body))
			equal(t, "entries after a dry run", n.stored(), 0)
			out := n.list(c.query, c.contentType, strings.NewReader(c.body))
			equal(t, "created", out.Created, c.created)
			equal(t, "entries", n.stored(), c.created)
			equal(t, "matchable", out.Matchable, true)
			equal(t, "ended", out.Ended, nil)
			var rows []string
			for _, r := range out.Rows {
				rows = append(rows, fmt.Sprintf("%d %s %s", r.Line, r.Reason, or(r.Column)))
			}
			if !slices.Equal(rows, c.rows) {
				t.Errorf("skipped %q, want %q", rows, c.rows)
			}
			again := n.list(c.query, c.contentType, strings.NewReader(c.body))
			equal(t, "the same again", again.Same, c.created)
			equal(t, "changes again", again.Seq, 0)

			e, err := n.as("analyst").GetEntryWithResponse(t.Context(), 1)
			must(t, err)
			if name == "csv" || name == "ndjson" {
				s := e.JSON200.Sources[0]
				got := fmt.Sprint(e.JSON200.Labels, e.JSON200.Note, or(s.Origin), or(s.List), or(s.ForeignId), s.At.UTC(), *e.JSON200.Signals[0].Quality)
				equal(t, "the entry", got, fmt.Sprint([]string{"a", "b"}, "a note\nof \"three\"\nlines", "origin", "list", "17",
					time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC), 90))
			} else if s := e.JSON200.Sources[0]; name != "local-file" {
				equal(t, "the list", or(s.List), "list")
			}
			if logs := n.logs.String(); strings.Contains(logs, "three") || strings.Contains(logs, listMD5) {
				t.Errorf("the log tells what is in the list: %s", logs)
			}
		})
	}
}

// Without a format the Content-Type tells it, or else the first line.
func TestFlagListFormatFound(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.bank("b")
	line := `{"signals":[{"algorithm":"md5","value":"` + listMD5 + `"}]}` + "\n"
	tx := "signal_type,signal_str,collab,category,tags\r\nvideo_md5," + listMD5 + ",list,POSITIVE_CLASS,\r\n"
	for i, c := range []struct {
		query, contentType, body string
		same, skipped            int
	}{
		{"", asCSV, "md5\n" + listMD5 + "\n", 1, 0},
		{"", asCSV + "; charset=utf-8", tx, 1, 0},
		{"", asText, "\n\nmd5\n" + listMD5 + "\n", 1, 0},
		{"", asText, "\ufeff\nmd5\n" + listMD5 + "\n", 1, 0},
		{"", asText, tx, 1, 0},
		{"", asText, "md5 " + listMD5 + "\nbad\n", 1, 1},
		{"", asText, line, 1, 0},
		{"", asNDJSON, "bad\n" + line, 1, 1},
		{"?algorithm=md5", asText, listMD5, 1, 0},
		{"?format=ndjson", asText, "bad\n" + line, 1, 1},
		{"?format=csv", asNDJSON, "md5\n" + listMD5 + "\n", 1, 0},
	} {
		n.list(c.query, c.contentType, strings.NewReader(c.body))
		out := n.list(c.query, c.contentType, iotest.OneByteReader(strings.NewReader(c.body)))
		equal(t, fmt.Sprintf("list %d", i), [2]int{out.Same, out.Skipped}, [2]int{c.same, c.skipped})
	}
	for _, body := range []string{"a,b\n1,2\n", "words", strings.Repeat("x", 100<<10)} {
		answer := n.send("POST", "/v1/banks/b/entries:batch", strings.NewReader(body), asText)
		p := problemOf(t, answer.Body)
		equal(t, body[:min(9, len(body))], answer.StatusCode, 400)
		if !strings.Contains(or(p.Detail), "text/csv, application/x-ndjson, or format=") {
			t.Errorf("it says %v", or(p.Detail))
		}
	}
	answer := n.send("POST", "/v1/banks/b/entries:batch", strings.NewReader(line), "Content-Type: application/x-www-form-urlencoded")
	equal(t, "as curl sends it", answer.StatusCode, 415)
	if p := problemOf(t, answer.Body); !strings.Contains(or(p.Detail), "accepted are application/x-ndjson, text/csv, text/plain") {
		t.Errorf("it says %v", or(p.Detail))
	}
}

// What stands twice in a list is told by a dry run, too, however far apart; labels that end in notes are counted, and all sources are
// kept.
func TestFlagListTellsAll(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.bank("b")
	body := "md5,labels,source,more_sources\n" +
		listMD5 + `,"severity=high, Far Right, a",x,"[{""source"":""y"",""foreign_id"":""7"",""origin"":""case"",""created_at"":""2024-02-29T12:00:00Z""},{}]"` + "\n"
	for i := range 300 {
		body += fmt.Sprintf("%032x,,,\n", i)
	}
	body += listMD5 + ",,z,\n" + listMD5 + ",,z,\n"
	for _, query := range []string{"?source=list&dry_run=true", "?source=list"} {
		out := n.list(query, asCSV, strings.NewReader(body))
		equal(t, query, [4]int{out.Created, out.Sourced, out.Same, out.Noted}, [4]int{301, 1, 1, 2})
		equal(t, "repeats unseen", out.RepeatsUnseen == nil, true)
	}
	e, err := n.as("analyst").GetEntryWithResponse(t.Context(), 1)
	must(t, err)
	equal(t, "labels", fmt.Sprint(e.JSON200.Labels), "[a far-right]")
	equal(t, "note", e.JSON200.Note, "labels: severity=high, Far Right, a\nlabels: severity:high")
	var sources []string
	for _, s := range e.JSON200.Sources {
		sources = append(sources, fmt.Sprintf("%s %s %s %v", or(s.List), or(s.ForeignId), or(s.Origin), s.At.Year() == 2024))
	}
	equal(t, "sources", strings.Join(sources, "; "), "x   false; y 7 case true; list   false; z   false")
}

// What is no list at all is refused as a whole.
func TestFlagListRefused(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.bank("b")
	for _, c := range []struct {
		path, contentType, body, want string
		status                        int
	}{
		{"b/entries:batch?format=csv", asCSV, "a,b\n1,2\n", "/problems/invalid-request", 400},
		{"b/entries:batch?format=csv", asCSV, "", "/problems/invalid-request", 400},
		{"b/entries:batch?format=parquet", asCSV, "", "/problems/invalid-request", 400},
		{"b/entries:batch?algorithm=sha1", asText, "", "/problems/invalid-request", 400},
		{"b/entries:batch", asNDJSON, strings.Repeat("\x00", 20), "/problems/invalid-request", 400},
		{"b/entries:batch", asJSON, "{}", "/problems/unsupported-content-type", 415},
		{"none/entries:batch", asNDJSON, "", "/problems/unknown-bank", 404},
	} {
		answer := n.send("POST", "/v1/banks/"+c.path, strings.NewReader(c.body), c.contentType)
		equal(t, c.path+": status", answer.StatusCode, c.status)
		equal(t, c.path+": type", problemOf(t, answer.Body).Type, c.want)
	}
	equal(t, "entries", n.stored(), 0)
}

// A row that is too long is one bad row, and too many rows end the list: what was stored before is told.
func TestFlagListLimits(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.bank("b")
	long := md5s(0, 1) + strings.Repeat("x", 2<<20) + "\n" + md5s(1, 1)
	out := n.list("?format=local-file", asText, strings.NewReader(long))
	equal(t, "created around a long row", out.Created, 2)
	equal(t, "reason", fmt.Sprint(out.Reasons), "map[too-long:1]")

	bad := strings.Repeat("?\n", 99_999)
	out = n.list("?format=local-file", asText, strings.NewReader(md5s(2, 1)+bad))
	equal(t, "rows", out.Read, 100_000)
	equal(t, "ended", out.Ended, nil)
	equal(t, "examples", len(out.Rows), 1000)

	out = n.list("?format=local-file", asText, strings.NewReader(md5s(3, 1)+bad+md5s(4, 1)))
	equal(t, "rows of more", out.Read, 100_000)
	if out.Ended == nil || out.Ended.Type != "/problems/batch-too-long" {
		t.Errorf("100,001 rows end with %+v", out.Ended)
	}
	equal(t, "entries", n.stored(), 4)
	answer := n.send("POST", "/v1/banks/b/entries:batch?format=local-file", strings.NewReader(bad+"?\n?\n"), asText)
	equal(t, "too many rows, none of them good", answer.StatusCode, http.StatusRequestEntityTooLarge)
}

// Rows have as much time to arrive as they need, if they come; one who stops sending is told what is stored.
func TestFlagListBodyTime(t *testing.T) {
	t.Parallel()
	const patience, parts = 3 * time.Second, 4
	n := newNode(t, setup{api: api.Options{BodyTime: patience}})
	n.bank("b")
	body, rows := io.Pipe()
	go func() {
		for i := range parts { // each in less than patience, all in more
			_, _ = io.WriteString(rows, md5s(256*i, 256))
			time.Sleep(patience / 3) // that it is slow is what is tested
		}
		_ = rows.Close()
	}()
	out := n.list("?format=local-file", asText, body)
	equal(t, "created", out.Created, parts*256)

	body, rows = io.Pipe()
	t.Cleanup(func() { _ = rows.Close() })
	go func() { _, _ = io.WriteString(rows, md5s(100_000, 256)+md5s(200_000, 1)) }()
	out = n.list("?format=local-file", asText, body)
	if out.Ended == nil || out.Ended.Type != "/problems/body-timeout" {
		t.Errorf("a list that stops coming ends with %+v", out.Ended)
	}
	equal(t, "created before", out.Created, 256)
}

// What is held of a list at a time does not grow with its rows: a part ends when enough bytes of it were read, too.
func TestFlagListLongRows(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.bank("b")
	body, rows := io.Pipe()
	go func() {
		defer rows.Close()
		row := fmt.Sprintf(`{"signals":[{"algorithm":"md5","value":"%s"}],"note":"`, listMD5)
		_, _ = io.WriteString(rows, row+"\"}\n")
		long := row + strings.Repeat("x", exchange.MaxRow-1000) + "\"}\n"
		for range 10 {
			_, _ = io.WriteString(rows, long)
		}
		for deadline := time.Now().Add(10 * time.Second); n.stored() == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Error("20 MiB are held")
				return
			}
		}
	}()
	out := n.list("", asNDJSON, body)
	equal(t, "rows", fmt.Sprint(out.Created, out.Skipped), "1 10")
}

// A key that is revoked flags no more rows, even of a list that is under way.
func TestFlagListKeyRevoked(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.bank("b")
	secret := n.key("operator", storage.Analyst)
	key, err := n.matcher.Authenticate(secret)
	must(t, err)
	body, rows := io.Pipe()
	go func() {
		_, _ = io.WriteString(rows, md5s(0, 256))
		for n.stored() < 256 {
			time.Sleep(time.Millisecond)
		}
		_, err := n.matcher.RevokeKey(t.Context(), matcher.Local(), key.ID)
		if err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(rows, md5s(256, 300))
		_ = rows.Close()
	}()
	out := n.list("?format=local-file", asText, body, "Authorization: Bearer "+secret)
	if out.Ended == nil || out.Ended.Type != "/problems/revoked-key" {
		t.Errorf("it ends with %+v", out.Ended)
	}
	equal(t, "rows", out.Read, 256)
	equal(t, "entries", n.stored(), 256)
}

// Without memory for rows the list ends: it is not a fault of the rows.
func TestFlagListMemoryLimit(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{index: index.Options{MemoryLimit: 1 << 20}})
	n.bank("b")
	answer := n.send("POST", "/v1/banks/b/entries:batch?format=local-file", strings.NewReader(md5s(0, 10)), asText)
	equal(t, "status", answer.StatusCode, http.StatusInsufficientStorage)
	equal(t, "type", problemOf(t, answer.Body).Type, "/problems/memory-limit")
	equal(t, "entries", n.stored(), 0)
}

// A report that ends is of the first rows of the list, the skipped ones among them.
func TestFlagListEndsInOrder(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.bank("b")
	secret := n.key("operator", storage.Analyst)
	key, err := n.matcher.Authenticate(secret)
	must(t, err)
	body, rows := io.Pipe()
	go func() {
		_, _ = io.WriteString(rows, md5s(0, 255)+"bad\n")
		for n.stored() < 255 {
			time.Sleep(time.Millisecond)
		}
		_, _ = n.matcher.RevokeKey(t.Context(), matcher.Local(), key.ID)
		_, _ = io.WriteString(rows, md5s(256, 1)+"bad\nbad\n"+md5s(257, 1))
		_ = rows.Close()
	}()
	out := n.list("?format=local-file", asText, body, "Authorization: Bearer "+secret)
	equal(t, "rows that are done", out.Read, 256)
	equal(t, "skipped", fmt.Sprint(out.Skipped, len(out.Rows), out.Rows[0].Line), "1 1 256")
}

// The frames of large videos are not all held at a time, and each is stored whole.
func TestFlagListVideos(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.bank("b")
	var body bytes.Buffer
	for i := range 5 {
		body.WriteString(`{"signals":[`)
		for f := range 600 {
			if f > 0 {
				body.WriteByte(',')
			}
			fmt.Fprintf(&body, `{"algorithm":"pdq","value":"%x","quality":100,"time_ms":%d}`, sha256.Sum256([]byte{byte(i), byte(f), byte(f >> 8)}), f*1000)
		}
		body.WriteString("]}\n")
	}
	out := n.list("", asNDJSON, &body)
	equal(t, "created", out.Created, 5)
	e, err := n.as("analyst").GetEntryWithResponse(t.Context(), 5)
	must(t, err)
	equal(t, "frames", len(e.JSON200.Signals), 600)
}

// A list whose sender does not read on before all is sent gets its report all the same.
func TestFlagListEndsForWhoSendsOn(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.bank("b")
	endless := io.MultiReader(strings.NewReader(md5s(0, 1)+strings.Repeat("?\n", 100_000)), strings.NewReader(strings.Repeat("?\n", 4<<20)))
	out := n.list("?format=local-file", asText, endless)
	if out.Ended == nil || out.Ended.Type != "/problems/batch-too-long" {
		t.Errorf("it ends with %+v", out.Ended)
	}
	equal(t, "created", out.Created, 1)
}
