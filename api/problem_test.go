package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"vigie/api"
	v1 "vigie/api/v1"
	"vigie/fixtures"
	"vigie/hashing"
	"vigie/hashing/sandbox"
	"vigie/matcher"
)

var update = flag.Bool("update", false, "write the golden files anew")

const problemsFile = "testdata/problems.txt"

// badRequest is a request that must be refused. Its raw form is sent as it is, for what a proper
// client would not send; there "HOST" and "KEY" are filled in.
type badRequest struct {
	name, method, path string
	headers            []string
	body               io.Reader
	raw                string
}

const (
	asJSON = "Content-Type: application/json"
	asForm = "Content-Type: multipart/form-data; boundary=b"
	zeros  = "0000000000000000000000000000000000000000000000000000000000000000"
)

func badRequests() []badRequest {
	json := func(name, method, path, body string) badRequest {
		return badRequest{name: name, method: method, path: path, headers: []string{asJSON}, body: strings.NewReader(body)}
	}
	check := func(name, body string) badRequest { return json(name, "POST", "/v1/check", body) }
	get := func(name, path string) badRequest { return badRequest{name: name, method: "GET", path: path} }
	multi := func(name, path string, pairs ...string) badRequest {
		body, kind := form(pairs...)
		return badRequest{name: name, method: "POST", path: path, headers: []string{kind}, body: body}
	}
	raw := func(name, head, body string) badRequest {
		return badRequest{name: name, raw: strings.ReplaceAll(head, "\n", "\r\n") + "\r\nHost: HOST\r\nAuthorization: Bearer KEY\r\n\r\n" + body}
	}
	picture := string(fixtures.Read(fixtures.Pictures()[0]))
	png := string(fixtures.Read("page.png"))
	signal := `{"algorithm":"sha256","value":"` + zeros + `"}`
	deep := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)

	return []badRequest{
		get("unknown route", "/v2/check"),
		get("unknown route under /v1", "/v1/nothing"),
		get("trailing slash", "/v1/banks/"),
		{name: "method not allowed", method: "PUT", path: "/v1/banks"},
		{name: "method not allowed on a page", method: "POST", path: "/docs"},
		{name: "no key", method: "GET", path: "/v1/banks", headers: []string{"Authorization: "}},
		{name: "unknown key", method: "GET", path: "/v1/banks", headers: []string{"Authorization: Bearer nonsense"}},
		{name: "another scheme", method: "GET", path: "/v1/banks", headers: []string{"Authorization: Basic YTpi"}},
		{name: "wrong role", method: "GET", path: "/v1/keys", headers: []string{"Authorization: Bearer PLATFORM"}},

		get("bank name against its pattern", "/v1/banks/a%20b"),
		get("bank name with a slash", "/v1/banks/a%2Fb"),
		get("bank name too long", "/v1/banks/"+strings.Repeat("a", 65)),
		get("unknown bank", "/v1/banks/nobank"),
		get("entry not a number", "/v1/entries/one"),
		get("entry zero", "/v1/entries/0"),
		get("entry negative", "/v1/entries/-1"),
		get("entry beyond 64 bits", "/v1/entries/99999999999999999999"),
		get("unknown entry", "/v1/entries/9223372036854775807"),
		get("unknown party", "/v1/parties/nobody"),
		get("party name against its pattern", "/v1/parties/a%20b"),
		get("unknown match", "/v1/matches/0123abcd-1"),
		get("match that is none", "/v1/matches/1"),
		get("match beyond 63 bits", "/v1/matches/0123abcd-9999999999999999999"),
		get("time that is none", "/v1/matches?from=yesterday"),
		get("content_id empty", "/v1/matches?content_id="),
		get("matches of an unknown bank", "/v1/matches?bank=nobank"),
		get("matches of an unknown entry", "/v1/matches?entry=99"),
		get("sign-ins by a cursor that is none", "/v1/sign-ins?cursor=!"),
		{name: "unknown key id", method: "DELETE", path: "/v1/keys/nobody"},
		get("limit zero", "/v1/entries?limit=0"),
		get("limit too large", "/v1/entries?limit=1001"),
		get("limit not a number", "/v1/entries?limit=ten"),
		get("limit empty", "/v1/entries?limit="),
		get("limit twice", "/v1/entries?limit=1&limit=2"),
		get("status not in the list", "/v1/entries?status=gone"),
		get("label against its pattern", "/v1/entries?label=A"),
		get("cursor that is none", "/v1/entries?cursor=%C3%A9"),
		get("cursor too long", "/v1/entries?cursor="+strings.Repeat("z", 65)),
		get("cursor beyond 64 bits", "/v1/entries?cursor="+strings.Repeat("z", 64)),
		get("filter by unknown bank", "/v1/entries?bank=nobank"),
		get("unknown query parameter", "/v1/entries?lable=x"),
		get("query that is none", "/v1/entries?label=%zz"),
		get("after negative", "/v1/changes?after=-1"),
		get("flag not boolean", "/v1/banks?deleted=perhaps"),

		{name: "no Content-Type", method: "POST", path: "/v1/check", body: strings.NewReader("{}")},
		{name: "wrong Content-Type", method: "POST", path: "/v1/check", headers: []string{"Content-Type: text/plain"}, body: strings.NewReader("{}")},
		{name: "nearly JSON Content-Type", method: "POST", path: "/v1/check", headers: []string{"Content-Type: application/jsonx"}, body: strings.NewReader("{}")},
		{name: "Content-Type of the batch", method: "POST", path: "/v1/check", headers: []string{"Content-Type: application/x-ndjson"}, body: strings.NewReader("{}")},
		{name: "JSON to the batch", method: "POST", path: "/v1/check/batch", headers: []string{asJSON}, body: strings.NewReader("{}")},
		{name: "no body", method: "POST", path: "/v1/check", headers: []string{asJSON}},
		check("no JSON", "hello"),
		check("JSON cut short", `{"signals":[`),
		check("garbage after JSON", `{"signals":[`+signal+`]} x`),
		check("two values", `{"signals":[`+signal+`]}{}`),
		check("null", "null"),
		check("a list", "[]"),
		check("deeply nested", deep),
		check("nested where nothing is", `{"signals":`+strings.Repeat("[", 20)+strings.Repeat("]", 20)+`}`),
		check("key twice", `{"signals":[`+signal+`],"signals":[`+signal+`]}`),
		check("key twice further in", `{"signals":[{"algorithm":"pdq","algorithm":"md5","value":"00"}]}`),
		check("wrong UTF-8", "{\"signals\":["+signal+"],\"content_id\":\"\xff\"}"),
		check("NUL", `{"signals":[`+signal+`],"content_id":"a\u0000b"}`),
		check("unknown field", `{"signals":[`+signal+`],"min_sec":1}`),
		check("field of another case", `{"Signals":[`+signal+`]}`),
		check("unknown field of a signal", `{"signals":[{"algorithm":"md5","value":"00","hash":"00"}]}`),
		check("no signals", `{}`),
		check("empty signals", `{"signals":[]}`),
		check("65 signals", `{"signals":[`+strings.Repeat(signal+",", 64)+signal+`]}`),
		check("unknown algorithm", `{"signals":[{"algorithm":"sha1","value":"00"}]}`),
		check("unknown variant", `{"signals":[{"algorithm":"pdq","variant":"blue","value":"`+zeros+`"}]}`),
		check("variant of a digest", `{"signals":[{"algorithm":"md5","variant":"cli","value":"`+zeros[:32]+`"}]}`),
		check("hex of the wrong length", `{"signals":[{"algorithm":"pdq","value":"00"}]}`),
		check("hex too long", `{"signals":[{"algorithm":"pdq","value":"`+zeros+`0"}]}`),
		check("not hex", `{"signals":[{"algorithm":"pdq","value":"`+strings.Repeat("z", 64)+`"}]}`),
		check("quality over 100", `{"signals":[{"algorithm":"pdq","value":"`+zeros+`","quality":101}]}`),
		check("quality with a fraction", `{"signals":[{"algorithm":"pdq","value":"`+zeros+`","quality":50.5}]}`),
		check("number as text", `{"signals":[`+signal+`],"min_seq":"1"}`),
		check("min_seq negative", `{"signals":[`+signal+`],"min_seq":-1}`),
		check("min_seq beyond 64 bits", `{"signals":[`+signal+`],"min_seq":1e30}`),
		check("min_seq beyond the head", `{"signals":[`+signal+`],"min_seq":1000000}`),
		check("banks empty", `{"signals":[`+signal+`],"banks":[]}`),
		check("band that is no boolean", `{"signals":[`+signal+`],"band":1}`),
		check("banks unknown", `{"signals":[`+signal+`],"banks":["nobank"]}`),
		check("content_id too long", `{"signals":[`+signal+`],"content_id":"`+strings.Repeat("é", 257)+`"}`),
		check("JSON over the limit", `{"signals":[`+strings.Repeat(" ", 2<<20)+signal+`]}`),
		{
			name: "JSON over the limit, length unknown", method: "POST", path: "/v1/check", headers: []string{asJSON},
			body: io.MultiReader(strings.NewReader(strings.Repeat(" ", 2<<20)), strings.NewReader("{}")),
		},

		json("bank without a name", "POST", "/v1/banks", `{}`),
		json("bank with a bad name", "POST", "/v1/banks", `{"name":"a/b"}`),
		json("bank that exists", "POST", "/v1/banks", `{"name":"known"}`),
		json("bank with an unknown action", "POST", "/v1/banks", `{"name":"b","action":"delete"}`),
		json("bank with a wide radius", "POST", "/v1/banks", `{"name":"b","radius":{"phash":17}}`),
		json("bank with a wider radius", "POST", "/v1/banks", `{"name":"b","radius":{"pdq":65}}`),
		json("bank with a radius for a digest", "POST", "/v1/banks", `{"name":"b","radius":{"md5":1}}`),
		json("bank with a radius for what is unknown", "POST", "/v1/banks", `{"name":"b","radius":{"tlsh":1}}`),
		json("bank with a wide second vote", "POST", "/v1/banks", `{"name":"b","second_vote":{"radius":65}}`),
		json("bank with a second vote too far", "POST", "/v1/banks", `{"name":"b","second_vote":{"far":65}}`),
		json("bank with a second vote of nothing", "POST", "/v1/banks", `{"name":"b","second_vote":{}}`),
		json("bank with a second vote of aHash", "PATCH", "/v1/banks/known", `{"second_vote":{"ahash":8}}`),
		json("bank description too long", "POST", "/v1/banks", `{"name":"b","description":"`+strings.Repeat("d", 1001)+`"}`),
		json("change of nothing", "PATCH", "/v1/banks/known", `{}`),
		json("change of an unknown bank", "PATCH", "/v1/banks/nobank", `{"description":""}`),
		json("bank of an unknown kind", "POST", "/v1/banks", `{"name":"b","kind":"evil"}`),
		json("bank of an unknown party", "POST", "/v1/banks", `{"name":"b","owner":"nobody"}`),
		json("bank with an unknown member", "PATCH", "/v1/banks/known", `{"members":["nobody"]}`),
		json("bank that redirects to nowhere", "PATCH", "/v1/banks/known", `{"action":"redirect"}`),
		json("bank that redirects to a script", "PATCH", "/v1/banks/known", `{"action":"redirect","link":"javascript:alert(1)"}`),
		json("bank with half an overturn", "PATCH", "/v1/banks/known", `{"overturn":{"rate":0.5}}`),
		json("bank with an overturn of none", "PATCH", "/v1/banks/known", `{"overturn":{"rate":0.5,"min":0}}`),
		json("bank enabled twice over", "PATCH", "/v1/banks/known", `{"enabled_ratio":2}`),
		{name: "confirming a bank without a proposal", method: "POST", path: "/v1/banks/known/confirm"},
		{name: "confirming an entry without a proposal", method: "POST", path: "/v1/entries/1/confirm"},
		json("rejecting without a reason", "POST", "/v1/entries/1/reject", `{}`),
		json("party that exists", "POST", "/v1/parties", `{"name":"operator"}`),
		json("party of an unknown kind", "POST", "/v1/parties", `{"name":"p","kind":"army"}`),
		json("party that keeps for ever", "POST", "/v1/parties", `{"name":"p","keep_matches":0}`),
		json("operator suspended", "PATCH", "/v1/parties/operator", `{"suspended":true}`),
		json("subscription to an unknown bank", "PUT", "/v1/subscriptions/nobank", `{}`),
		json("subscription with a cap of a digest", "PUT", "/v1/subscriptions/known", `{"cap":{"md5":1}}`),
		json("overlay with a bad label", "PUT", "/v1/entries/1/overlay", `{"labels":["A"]}`),
		json("overlay with a label against the vocabulary", "PUT", "/v1/entries/1/overlay", `{"labels":["tlp:purple"]}`),
		json("opinion of no stance", "PUT", "/v1/entries/1/opinion", `{"reason":"r"}`),
		json("disagreeing without a reason", "PUT", "/v1/entries/1/opinion", `{"stance":"disagree"}`),
		json("decision that is none", "POST", "/v1/matches/0123abcd-1/decision", `{"ruling":"deleted"}`),
		json("decision about an unknown match", "POST", "/v1/matches/0123abcd-1/decision", `{"ruling":"kept"}`),
		json("erasing nothing", "POST", "/v1/contents/erase", `{"content_id":""}`),
		check("unknown context", `{"signals":[`+signal+`],"context":["weather"]}`),
		json("key of an unknown party", "POST", "/v1/keys", `{"name":"k","role":"admin","party":"nobody"}`),
		{name: "Idempotency-Key with a space", method: "POST", path: "/v1/banks", headers: []string{asJSON, "Idempotency-Key: a b"}, body: strings.NewReader(`{"name":"b"}`)},
		{name: "Idempotency-Key empty", method: "POST", path: "/v1/banks", headers: []string{asJSON, "Idempotency-Key: "}, body: strings.NewReader(`{"name":"b"}`)},
		json("flag into an unknown bank", "POST", "/v1/banks/nobank/entries", `{"signals":[`+signal+`]}`),
		json("flag with a bad label", "POST", "/v1/banks/known/entries", `{"signals":[`+signal+`],"labels":["A B"]}`),
		json("flag with a note too long", "POST", "/v1/banks/known/entries", `{"signals":[`+signal+`],"note":"`+strings.Repeat("n", 10_001)+`"}`),
		json("flag of a hash that says nothing", "POST", "/v1/banks/known/entries", `{"signals":[{"algorithm":"pdq","value":"`+zeros+`"}]}`),
		json("retract without a reason", "POST", "/v1/entries/1/retract", `{"reason":""}`),
		json("restore beside its double", "POST", "/v1/entries/1/restore", `{"reason":"mistake"}`),
		json("key without a role", "POST", "/v1/keys", `{"name":"k"}`),
		json("key with an unknown role", "POST", "/v1/keys", `{"name":"k","role":"root"}`),
		json("key that has expired already", "POST", "/v1/keys", `{"name":"k","role":"admin","expires_at":"2001-01-01T00:00:00Z"}`),
		json("key that expires some day", "POST", "/v1/keys", `{"name":"k","role":"admin","expires_at":"tomorrow"}`),

		{name: "multipart without boundary", method: "POST", path: "/v1/check", headers: []string{"Content-Type: multipart/form-data"}, body: strings.NewReader("x")},
		{name: "multipart that is none", method: "POST", path: "/v1/check", headers: []string{asForm}, body: strings.NewReader("x")},
		{name: "multipart without body", method: "POST", path: "/v1/check", headers: []string{asForm}},
		{
			name: "multipart cut short", method: "POST", path: "/v1/check", headers: []string{asForm},
			body: strings.NewReader("--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nGIF8"),
		},
		multi("no file", "/v1/check", "content_id", "a"),
		multi("two files", "/v1/check", "file", picture, "file", picture),
		multi("unknown part", "/v1/check", "file", picture, "hash", "a"),
		multi("part without a name", "/v1/check", "file", picture, "", "a"),
		multi("part twice", "/v1/check", "file", picture, "content_id", "a", "content_id", "b"),
		multi("text part too long", "/v1/banks/known/entries", "file", picture, "note", strings.Repeat("n", 300<<10)),
		multi("text parts too long together", "/v1/banks/known/entries", "labels", strings.Repeat("a,", 100<<10), "labels", strings.Repeat("b,", 100<<10), "file", picture),
		multi("text part with NUL", "/v1/banks/known/entries", "file", picture, "note", "a\x00b"),
		multi("text part of wrong UTF-8", "/v1/banks/known/entries", "file", picture, "note", "\xff"),
		multi("content_id part too long", "/v1/check", "file", picture, "content_id", strings.Repeat("é", 257)),
		multi("banks part empty", "/v1/check", "file", picture, "banks", " , "),
		multi("too many banks", "/v1/check", "file", picture, "banks", strings.Repeat("known,", 1001)),
		multi("context part that is unknown", "/v1/check", "file", picture, "context", "news,weather"),
		multi("despite_known_good neither true nor false", "/v1/banks/known/entries", "file", picture, "despite_known_good", "yes"),
		multi("min_seq part that is no number", "/v1/check", "file", picture, "min_seq", "-1"),
		multi("exact_only neither true nor false", "/v1/banks/known/entries", "file", picture, "exact_only", "1"),
		multi("signals part that cannot be read", "/v1/banks/known/entries", "file", picture, "signals", "pdq=00"),
		multi("digest of another file", "/v1/banks/known/entries", "file", picture, "signals", "md5:"+zeros[:32]),
		multi("file over the limit", "/v1/check", "file", strings.Repeat("x", 2<<20+1)),
		multi("body over the limit", "/v1/check", "file", strings.Repeat("x", 3<<20)),
		{
			name: "body over the limit, length unknown", method: "POST", path: "/v1/banks/known/entries", headers: []string{asForm},
			body: io.MultiReader(strings.NewReader(strings.Repeat("--b\r\nContent-Disposition: form-data; name=\"labels\"\r\nX-Filler: "+strings.Repeat("f", 1000)+"\r\n\r\n\r\n", 2600))),
		},

		multi("empty file", "/v1/check", "file", ""),
		multi("text for a picture", "/v1/check", "file", "hello, I am a picture"),
		multi("JPEG cut short", "/v1/check", "file", string(fixtures.Read("hills.jpg")[:500])),
		multi("PNG cut short", "/v1/check", "file", png[:len(png)/2]),
		multi("PNG of 50,000 x 50,000", "/v1/check", "file", string(pngHeader(50_000, 50_000))),
		multi("flag of one colour", "/v1/banks/known/entries", "file", string(fixtures.Read("flat.png"))),
		multi("decoder that hangs", "/v1/check", "file", hangMark),
		multi("decoder that crashes", "/v1/check", "file", "VIGIE-TEST-CRASH"),
		multi("hasher that panics", "/v1/check", "file", panicMark),
		multi("hasher that fails", "/v1/check", "file", faultMark),

		raw("slow JSON", "POST /v1/check HTTP/1.1\nContent-Type: application/json\nContent-Length: 100", `{"signals":`),
		raw("slow file", "POST /v1/check HTTP/1.1\n"+asForm+"\nContent-Length: 1000", "--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nGIF8"),
		raw("slow batch", "POST /v1/check/batch HTTP/1.1\nContent-Type: application/x-ndjson\nContent-Length: 1000", `{"signals":`),
		raw("chunk that is none", "POST /v1/check HTTP/1.1\nContent-Type: application/json\nTransfer-Encoding: chunked", "zz\r\n"),
	}
}

// pngHeader is the start of a PNG that claims a size.
func pngHeader(width, height uint32) []byte {
	head, _ := base64.StdEncoding.DecodeString("iVBORw0KGgoAAAANSUhEUg==")
	head = append(head, byte(width>>24), byte(width>>16), byte(width>>8), byte(width))
	head = append(head, byte(height>>24), byte(height>>16), byte(height>>8), byte(height))
	head = append(head, 8, 2, 0, 0, 0)
	sum := crc32.ChecksumIEEE(head[12:])
	return append(head, byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
}

const (
	panicMark = "make the hasher panic"
	faultMark = "make the hasher fail"
	internals = "/var/lib/vigie/secret-path"
)

// faulty is a hasher with faults of its own on marked input. What hangs goes to the hasty hasher: the
// other has time for whatever a busy machine makes slow.
type faulty struct {
	matcher.Hasher
	hasty matcher.Hasher
}

const hangMark = "VIGIE-TEST-HANG"

func (f faulty) Picture(ctx context.Context, data []byte) (hashing.Picture, error) {
	switch string(data) {
	case hangMark:
		return f.hasty.Picture(ctx, data)
	case panicMark:
		panic(internals)
	case faultMark:
		return hashing.Picture{}, errors.New("open " + internals)
	}
	return f.Hasher.Picture(ctx, data)
}

// strictNode has small limits, and decodes in children that can be made to misbehave.
func strictNode(t *testing.T) *node {
	t.Helper()
	limits := hashing.Limits{Bytes: 2 << 20, Side: 10_000, Pixels: 10_000_000}
	pool := func(timeout time.Duration) *sandbox.Pool {
		p, err := sandbox.New(sandbox.Options{
			Limits: limits, Children: 1, Memory: 512 << 20, Timeout: timeout, Env: []string{"VIGIE_DECODE_TEST_HOOKS=1"},
		})
		must(t, err)
		t.Cleanup(func() { must(t, p.Close()) })
		return p
	}
	n := newNode(t, setup{hasher: faulty{pool(time.Minute), pool(time.Second)}, api: api.Options{Limits: limits}})
	n.bank("known")
	first := n.flag("known", nil, digest(0))
	_, err := n.as("admin").RetractWithResponse(t.Context(), first.Entry.Id, reason("test"))
	must(t, err)
	n.flag("known", nil, digest(0))
	return n
}

// TestProblems sends bad requests and holds the answers against a table that people can read. After
// all of them the node still answers.
func TestProblems(t *testing.T) {
	t.Parallel()
	n := strictNode(t)
	hurried := newNode(t, setup{api: api.Options{BodyTime: time.Second}})
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "REQUEST\tSTATUS\tTYPE\tDETAIL")
	reached := map[string]bool{}
	for _, r := range badRequests() {
		to := n
		if r.raw != "" {
			to = hurried
		}
		answer := to.sendBad(r)
		text := read(t, answer.Body)
		var p v1.Problem
		switch kind := answer.Header.Get("Content-Type"); kind {
		case "application/problem+json":
			p = problemOf(t, strings.NewReader(text))
			equal(t, r.name+": status", answer.StatusCode, p.Status)
		case "application/x-ndjson":
			p = *n.line([]byte(text)).Problem
		default:
			t.Errorf("%s: %d %s: %s", r.name, answer.StatusCode, kind, text)
			continue
		}
		reached[p.Type] = true
		if strings.Contains(text, internals) || strings.Contains(text, "goroutine") {
			t.Errorf("%s: tells internals: %s", r.name, text)
		}
		if allow := answer.Header.Get("Allow"); (p.Status == http.StatusMethodNotAllowed) != (allow != "") {
			t.Errorf("%s: %d with Allow %q", r.name, p.Status, allow)
		}
		if after := answer.Header.Get("Retry-After"); (p.Status == http.StatusServiceUnavailable) != (after != "") {
			t.Errorf("%s: %d with Retry-After %q", r.name, p.Status, after)
		}
		detail := ""
		if p.Detail != nil {
			detail = *p.Detail
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", r.name, p.Status, strings.TrimPrefix(p.Type, "/problems/"), detail)
	}
	must(t, w.Flush())
	golden(t, problemsFile, trailing.ReplaceAll(table.Bytes(), nil))

	got := n.send("POST", "/v1/check", strings.NewReader(asks(digest(0))), asJSON)
	equal(t, "status of a check afterwards", got.StatusCode, http.StatusOK)
	for problem := range api.ProblemTypes() {
		if where := elsewhere[problem]; reached[problem] == (where != "") {
			t.Errorf("%s: reached here: %v, elsewhere: %q", problem, reached[problem], where)
		}
	}
}

// elsewhere says where problems are tested that no single request brings about.
var elsewhere = map[string]string{
	"/problems/ambiguous-bank":         "TestBankNames",
	"/problems/decoder-missing":        "TestVideos; by a node that lacks the program in cmd/vigie, script video",
	"/problems/decoder-memory":         "TestDecoderMemory",
	"/problems/memory-limit":           "TestMemoryLimit",
	"/problems/expired-key":            "TestBadKeys",
	"/problems/revoked-key":            "TestBadKeys",
	"/problems/party-suspended":        "TestBadKeys",
	"/problems/foreign":                "TestRights",
	"/problems/operator-only":          "TestParties",
	"/problems/pending":                "TestDualControlOfEntries",
	"/problems/second-person":          "TestDualControlOfEntries",
	"/problems/known-good":             "TestKnownGood",
	"/problems/idempotency-running":    "TestRunning",
	"/problems/idempotency-key-reused": "TestKeysAreApart",
	"/problems/secret-shown":           "TestSecretIsShownOnce",
	"/problems/unknown-webhook":        "TestRights",
	"/problems/unknown-rescan":         "TestRights",
	"/problems/unknown-source":         "TestRescanRefusals",
	"/problems/rescan-ended":           "TestRescanRefusals",
	"/problems/no-last-rescan":         "TestRescanRefusals",
	"/problems/rescans-off":            "TestRescansOff",
	"/problems/unknown-delivery":       "TestWebhooks",
	"/problems/too-many-webhooks":      "TestWebhooks",
	"/problems/webhook-off":            "TestWebhooks",
	"/problems/webhooks-off":           "TestWebhooksOff",
	"/problems/batch-too-long":         "TestBatchEnds",
	"/problems/line-too-long":          "TestBatchEnds",
	"/problems/request-cancelled":      "TestCallerHangsUp",
	"/problems/index-behind":           "TestIndexBehind",
	"/problems/not-ready":              "TestReadiness",
	"/problems/database-away":          "TestDatabaseAway",
	"/problems/outcome-unknown":        "TestDatabaseAway",
	"/problems/clock-off":              "TestClockOff",
	"/problems/busy":                   "TestUploadsFillMemory",
	"/problems/overloaded":             "TestShed",
	"/problems/rate-limited":           "TestRateLimit",
	"/problems/log-changed":            "TestChangedLog",
}

// TestDecoderMemory sends what eats all memory of a decoder. Once in a while the dying child cannot say
// any more why it dies; it is the request's fault all the same, and the next request is answered.
func TestDecoderMemory(t *testing.T) {
	t.Parallel()
	n := strictNode(t)
	for range 5 {
		body, kind := form("file", "VIGIE-TEST-MEMORY")
		answer := n.send("POST", "/v1/check", body, kind)
		equal(t, "status", answer.StatusCode, http.StatusUnprocessableEntity)
		problem := problemOf(t, answer.Body).Type
		body, kind = form("file", string(fixtures.Read("hills.jpg")))
		equal(t, "status afterwards", n.send("POST", "/v1/check", body, kind).StatusCode, http.StatusOK)
		if problem == "/problems/decoder-memory" {
			return
		}
		equal(t, "problem", problem, "/problems/decoder-crashed")
	}
	t.Error("no child said that it was memory")
}

var trailing = regexp.MustCompile(`(?m) +$`)

func (n *node) sendBad(r badRequest) *http.Response {
	n.t.Helper()
	if r.raw == "" {
		for i := range r.headers {
			r.headers[i] = strings.ReplaceAll(r.headers[i], "PLATFORM", n.keys["platform"])
		}
		return n.send(r.method, r.path, r.body, r.headers...)
	}
	host := strings.TrimPrefix(n.URL, "http://")
	conn, err := net.Dial("tcp", host)
	must(n.t, err)
	n.t.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, strings.NewReplacer("HOST", host, "KEY", n.keys["admin"]).Replace(r.raw))
	must(n.t, err)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(n.t, err)
	return answer
}

// golden holds text against a file.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		must(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if bytes.Equal(got, want) {
		return
	}
	before, after := strings.Split(string(want), "\n"), strings.Split(string(got), "\n")
	for i := range max(len(before), len(after)) {
		line := func(lines []string) string {
			if i < len(lines) {
				return lines[i]
			}
			return ""
		}
		if line(before) != line(after) {
			t.Errorf("%s:%d (-update writes it anew)\n got %s\nwant %s", file, i+1, line(after), line(before))
		}
	}
}
