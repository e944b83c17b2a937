package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"vigie/api"
	v1 "vigie/api/v1"
	"vigie/hashing"
	"vigie/matcher"
)

const asLines = "Content-Type: application/x-ndjson"

// batch sends lines at once and reads the whole answer.
func (n *node) batch(body io.Reader) (lines []answered) {
	n.t.Helper()
	answer := n.send("POST", "/v1/check/batch", body, asLines)
	equal(n.t, "status", answer.StatusCode, http.StatusOK)
	for line := range strings.Lines(read(n.t, answer.Body)) {
		lines = append(lines, n.line([]byte(line)))
	}
	return lines
}

// TestBatchAnswersInOrder sends more than a buffer's worth, with bad, empty and unfinished lines.
func TestBatchAnswersInOrder(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.bank("known")
	n.flag("known", nil, digest(0))
	var body strings.Builder
	wants := map[int]string{} // by number of the line: a content id, or a type of problem
	const lines = 3000
	for i := 1; i <= lines; i++ {
		end := "\n"
		switch {
		case i == lines:
			end = "" // the last line may do without
		case i%7 == 0:
			end = "\r\n"
		}
		switch i % 5 {
		case 1:
			fmt.Fprintf(&body, `{"signals":[{"algorithm":"sha256","value":"%064x"}],"content_id":"%d","nonsense":1}%s`, 1, i, end)
			wants[i] = "/problems/invalid-request"
		case 2:
			body.WriteString("  \t" + end)
		case 3:
			fmt.Fprintf(&body, `{"signals":[{"algorithm":"md5","value":"00"}]}%s`, end)
			wants[i] = "/problems/invalid-signal"
		default:
			fmt.Fprintf(&body, `{"signals":[{"algorithm":"sha256","value":"%064x"}],"content_id":"%d"}%s`, i%2+1, i, end)
			wants[i] = fmt.Sprint(i)
		}
	}
	got := n.batch(strings.NewReader(body.String()))
	equal(t, "answers", len(got), len(wants))
	for i, at := 1, 0; i <= lines && at < len(got); i++ {
		want, ok := wants[i]
		if !ok {
			continue
		}
		switch line := got[at]; {
		case line.Problem != nil:
			equal(t, "problem", line.Problem.Type, want)
			equal(t, "line", *line.Line, i)
		default:
			equal(t, "content id", *line.ContentId, want)
			equal(t, "level of "+want, line.Level == v1.LevelMatch, i%2 == 0)
		}
		at++
	}
}

// TestBatchIsADialogue shows that a caller may wait for each answer before it sends the next line.
func TestBatchIsADialogue(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	body, lines := io.Pipe()
	answer, err := n.http.Do(n.request(ctx, "/v1/check/batch", body, asLines)) // the head of the answer comes before the first line
	must(t, err)
	defer answer.Body.Close()
	in := bufio.NewReader(answer.Body)
	for i := range 5 {
		text := asks(digest(i)) + "\n"
		_, err := io.WriteString(lines, text[:10]) // a line may come in pieces
		must(t, err)
		_, err = io.WriteString(lines, text[10:])
		must(t, err)
		line, err := in.ReadBytes('\n')
		must(t, err)
		equal(t, "level", n.line(line).Level, v1.LevelNone)
	}
	must(t, lines.Close())
	_, err = in.ReadByte()
	equal(t, "end", err, io.EOF)
}

// TestBatchEndsWithItsKey shows that a key which is revoked does not go on through an open batch.
func TestBatchEndsWithItsKey(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	body, lines := io.Pipe()
	answer, err := n.http.Do(n.request(t.Context(), "/v1/check/batch", body, asLines))
	must(t, err)
	defer answer.Body.Close()
	in := bufio.NewReader(answer.Body)
	ask := func() answered {
		_, err := io.WriteString(lines, asks(digest(1))+"\n")
		must(t, err)
		line, err := in.ReadBytes('\n')
		must(t, err)
		return n.line(line)
	}
	equal(t, "level", ask().Level, v1.LevelNone)
	_, err = n.as("admin").RevokeKeyWithResponse(t.Context(), strings.Split(n.keys["platform"], "_")[1])
	must(t, err)
	if last := ask(); last.Problem == nil || last.Problem.Type != "/problems/revoked-key" {
		t.Errorf("after the key was revoked: %+v", last)
	}
	must(t, lines.Close())
}

// TestBatchEnds shows what ends a batch, and that the answer says so in its last line.
func TestBatchEnds(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{api: api.Options{BatchLines: 100}})
	line := asks(digest(0)) + "\n"
	for _, test := range []struct {
		name, body string
		answers    int
		problem    string
	}{
		{"exactly as many lines as may be", strings.Repeat(line, 100), 100, ""},
		{"one line more", strings.Repeat(line, 101), 101, "/problems/batch-too-long"},
		{"many lines more", strings.Repeat(line, 50_000), 101, "/problems/batch-too-long"},
		{"many empty lines", strings.Repeat("\n", 50_000), 1, "/problems/batch-too-long"},
		{"a line as long as may be", line + strings.Repeat(" ", api.LineBytes-len(line)) + line, 2, ""},
		{"a line too long", line + strings.Repeat(" ", api.LineBytes+1) + line, 2, "/problems/line-too-long"},
		{"nothing", "", 0, ""},
		{"an empty line", "\n", 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := n.batch(strings.NewReader(test.body))
			equal(t, "answers", len(got), test.answers)
			for i, line := range got {
				problem := ""
				if line.Problem != nil {
					problem = line.Problem.Type
				}
				if i == len(got)-1 {
					equal(t, "problem of the last line", problem, test.problem)
				} else {
					equal(t, "problem", problem, "")
				}
			}
		})
	}
}

// TestEndlessBatch sends without end and without reading, then looks at the answer: it ends, and
// memory did not grow with what was sent.
func TestEndlessBatch(t *testing.T) {
	n := newNode(t, setup{api: api.Options{BatchLines: 20_000}})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	sent := &endless{line: []byte(asks(digest(0)) + "\n")}
	answer := n.send("POST", "/v1/check/batch", sent, asLines)
	in, count := bufio.NewScanner(answer.Body), 0
	for in.Scan() {
		count++
	}
	// A caller who never stops to listen may lose the end of the answer with the connection.
	if count > 20_001 || count < 10_000 {
		t.Errorf("%d answers", count)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}

// endless is a reader of one line, again and again.
type endless struct {
	line []byte
	at   int
}

func (e *endless) Read(p []byte) (n int, err error) {
	for n < len(p) {
		moved := copy(p[n:], e.line[e.at:])
		n, e.at = n+moved, (e.at+moved)%len(e.line)
	}
	return n, nil
}

// TestCallerHangsUp shows that a caller who goes away ends the work for it, and that the log says so.
func TestCallerHangsUp(t *testing.T) {
	t.Parallel()
	held := &holding{entered: make(chan struct{}), left: make(chan struct{})}
	n := newNode(t, setup{hasher: held})
	body, kind := form("file", "a picture")
	ctx, hangUp := context.WithCancel(t.Context())
	r := n.request(ctx, "/v1/check", body, kind)
	done := make(chan error)
	go func() {
		_, err := n.http.Do(r)
		done <- err
	}()
	<-held.entered
	hangUp()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller got %v", err)
	}
	<-held.left
	n.server.Close() // waits for the request
	if logged := n.logs.String(); !strings.Contains(logged, `"problem":"request-cancelled"`) || strings.Contains(logged, "ERROR") {
		t.Errorf("logged: %s", logged)
	}
}

// TestCallerHangsUpInBatch does so in the middle of a dialogue: the node takes it for no fault.
func TestCallerHangsUpInBatch(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	body, lines := io.Pipe()
	ctx, hangUp := context.WithCancel(t.Context())
	answer, err := n.http.Do(n.request(ctx, "/v1/check/batch", body, asLines))
	must(t, err)
	defer answer.Body.Close()
	_, err = io.WriteString(lines, asks(digest(0))+"\n")
	must(t, err)
	_, err = bufio.NewReader(answer.Body).ReadBytes('\n')
	must(t, err)
	hangUp()
	must(t, lines.CloseWithError(io.ErrUnexpectedEOF))
	n.server.Close()
	if logged := n.logs.String(); strings.Contains(logged, "ERROR") || !strings.Contains(logged, `"route":"/v1/check/batch"`) {
		t.Errorf("logged: %s", logged)
	}
}

// request is one of a platform that may be cancelled.
func (n *node) request(ctx context.Context, path string, body io.Reader, kind string) *http.Request {
	r, err := http.NewRequestWithContext(ctx, "POST", n.URL+path, body)
	must(n.t, err)
	r.Header.Set("Authorization", "Bearer "+n.keys["platform"])
	r.Header.Set("Content-Type", strings.TrimPrefix(kind, "Content-Type: "))
	return r
}

// holding is a hasher that works until its request is cancelled.
type holding struct{ entered, left chan struct{} }

func (h *holding) Picture(ctx context.Context, _ []byte) (hashing.Picture, error) {
	close(h.entered)
	defer close(h.left)
	<-ctx.Done()
	return hashing.Picture{}, ctx.Err()
}

// FuzzBatchLine reads lines as a batch does: any line is a question that the matcher takes, or a
// refusal of the caller.
func FuzzBatchLine(f *testing.F) {
	for _, seed := range []string{
		asks(digest(0)), `{}`, `[]`, `null`, `{"signals":[]}`, `{"signals":null}`, `x`, "\xff", `{"signals":[{}]}`,
		`{"signals":[{"algorithm":"pdq","variant":"cli","value":"` + zeros + `","quality":100}],"content_id":"é","banks":["a"],"min_seq":9007199254740993}`,
		`{"signals":[{"algorithm":"md5","value":"00"}],"min_seq":1e3}`, `{"signals":[{"algorithm":"md5","value":"00"}],"min_seq":9223372036854775808}`,
		`{"signals":[{"algorithm":"md5","value":"00","value":"01"}]}`, strings.Repeat(`[`, 100), `{"content_id":"\u0000\ud800"}`,
	} {
		f.Add([]byte(seed))
	}
	n := newNode(f, setup{bare: true})
	f.Fuzz(func(t *testing.T, line []byte) {
		q, err := n.api.Question(line)
		if err != nil {
			if problem, detail := api.ProblemOf(err); detail == "" || problem != "/problems/invalid-request" && problem != "/problems/invalid-signal" {
				t.Errorf("%s: %q for %v", problem, detail, err)
			}
			return
		}
		checkQuestion(t, q)
		var again v1.CheckSignals
		if err := json.Unmarshal(line, &again); err != nil {
			t.Errorf("taken, but not JSON: %v", err)
		}
		equal(t, "signals", len(q.Signals), len(again.Signals))
	})
}

func checkQuestion(t *testing.T, q matcher.Question) {
	t.Helper()
	if len(q.Signals) < 1 || len(q.Signals) > 64 || len(q.Banks) > 1000 || len([]rune(q.ContentID)) > 256 || q.MinSeq > 1<<63-1 {
		t.Errorf("beyond the contract: %+v", q)
	}
	if q.Banks != nil && len(q.Banks) == 0 {
		t.Error("no banks, which is not all of them")
	}
	for _, s := range q.Signals {
		if parsed, err := hashing.Parse(s.String()); err != nil || parsed.Value != s.Value {
			t.Errorf("signal %v: %v", s, err)
		}
		if s.Quality > 100 && s.Quality != hashing.QualityUnknown || s.Algorithm.Exact() && s.Quality != 100 {
			t.Errorf("quality %d of %v", s.Quality, s)
		}
	}
}
