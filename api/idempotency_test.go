package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "vigie/api/v1"
	"vigie/fixtures"
	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/sqlstore"
)

// keyed sends a request with an Idempotency-Key and reads the answer.
func (n *node) keyed(key, method, path, body string, headers ...string) (status int, replayed bool, text string) {
	n.t.Helper()
	answer := n.send(method, path, strings.NewReader(body), append([]string{asJSON, "Idempotency-Key: " + key}, headers...)...)
	return answer.StatusCode, answer.Header.Get("Idempotency-Replayed") == "true", read(n.t, answer.Body)
}

func (n *node) head() uint64 {
	n.t.Helper()
	head, err := n.catalogue.Head(n.t.Context())
	must(n.t, err)
	return head.Seq
}

func problemIn(t *testing.T, text string) v1.Problem {
	t.Helper()
	return problemOf(t, strings.NewReader(text))
}

// TestEveryChangeTakesAKey holds the contract to its promise: what changes something takes an Idempotency-Key. Checks change
// nothing, and a list tells by itself what it brought before.
func TestEveryChangeTakesAKey(t *testing.T) {
	t.Parallel()
	without := []string{"check", "checkBatch", "flagList", "testWebhook", "replayDelivery", "replayDeliveries"}
	for path, item := range newValidator(t, nil).spec.Paths.Map() {
		for method, op := range item.Operations() {
			takes := op.Parameters.GetByInAndName("header", "Idempotency-Key") != nil
			if want := method != "GET" && !slices.Contains(without, op.OperationID); takes != want {
				t.Errorf("%s %s: Idempotency-Key: %v, want %v", method, path, takes, want)
			}
		}
	}
}

// TestRepetition sends requests of each kind again: the work is done once, and the answer is the first one's.
func TestRepetition(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.party("partner")
	n.bank("known")
	members := `{"members":["partner"]}`
	entry := n.flag("known", nil, digest(1)).Entry.Id
	waiting := n.flag("known", nil, digest(2)).Entry.Id
	check, err := n.as("platform").CheckWithResponse(t.Context(), v1.CheckSignals{Signals: v1.Signals{digest(2)}, ContentId: some("post 1")})
	must(t, err)
	match := *check.JSON200.Match
	of := func(format string, args ...any) string { return fmt.Sprintf(format, args...) }
	for i, r := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/v1/banks", `{"name":"new","dual":true}`, 201},
		{"PATCH", "/v1/banks/known", members, 200},
		{"PATCH", "/v1/banks/new", `{"description":"d"}`, 200}, // proposed
		{"POST", "/v1/banks/new/reject", "", 200},
		{"DELETE", "/v1/banks/known", "", 200},
		{"POST", "/v1/banks/known/restore", "", 200},
		{"POST", "/v1/banks/known/entries", `{"signals":[{"algorithm":"md5","value":"` + zeros[:31] + `1"}],"note":"n"}`, 201},
		{"POST", "/v1/banks/known/entries", `{"signals":[{"algorithm":"md5","value":"` + zeros[:31] + `1"}],"note":"m"}`, 200},
		{"PATCH", of("/v1/entries/%d", entry), `{"labels":["a"]}`, 200},
		{"POST", of("/v1/entries/%d/retract", entry), `{"reason":"r"}`, 200},
		{"POST", of("/v1/entries/%d/restore", entry), `{"reason":"r"}`, 200},
		{"PUT", of("/v1/entries/%d/overlay", entry), `{"labels":["b"]}`, 200},
		{"DELETE", of("/v1/entries/%d/overlay", entry), "", 200},
		{"PUT", of("/v1/entries/%d/opinion", waiting), `{"stance":"agree"}`, 200},
		{"POST", "/v1/matches/" + match + "/decision", `{"ruling":"removed"}`, 200},
		{"PUT", "/v1/subscriptions/known", `{"cap":{"pdq":10}}`, 200},
		{"POST", "/v1/parties", `{"name":"another"}`, 201},
		{"PATCH", "/v1/parties/another", `{"suspended":true}`, 200},
		{"DELETE", "/v1/keys/" + strings.Split(n.keys["partner admin"], "_")[1], "", 200},
	} {
		key := fmt.Sprintf("key %d", i)[4:]
		before := n.head()
		status, replayed, first := n.keyed("k"+key, r.method, r.path, r.body)
		equal(t, r.method+" "+r.path+": status", status, r.status)
		equal(t, r.path+": replayed at first", replayed, false)
		equal(t, r.path+": changes", n.head(), before+1)
		status, replayed, again := n.keyed("k"+key, r.method, r.path, r.body)
		equal(t, r.path+": status again", status, r.status)
		equal(t, r.path+": replayed", replayed, true)
		equal(t, r.path+": changes again", n.head(), before+1)
		if plain(t, again) != plain(t, first) {
			t.Errorf("%s %s: answered\n%s\nand then\n%s", r.method, r.path, first, again)
		}
	}
}

// plain is JSON without what a flag says beside its entry: the entry is answered as it is now.
func plain(t *testing.T, text string) string {
	t.Helper()
	var v map[string]any
	must(t, json.Unmarshal([]byte(text), &v))
	out, _ := json.Marshal(v)
	return string(out)
}

// TestSecretIsShownOnce creates a key again.
func TestSecretIsShownOnce(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	const body = `{"name":"uploads","role":"platform"}`
	status, _, text := n.keyed("a", "POST", "/v1/keys", body)
	equal(t, "status", status, http.StatusCreated)
	var made v1.CreatedKey
	must(t, json.Unmarshal([]byte(text), &made))
	status, _, text = n.keyed("a", "POST", "/v1/keys", body)
	equal(t, "status again", status, http.StatusConflict)
	p := problemIn(t, text)
	equal(t, "problem", p.Type, "/problems/secret-shown")
	if !strings.Contains(*p.Detail, made.Key.Id) || strings.Contains(text, made.Secret) {
		t.Errorf("detail %q names the key %s, and no secret", *p.Detail, made.Key.Id)
	}
}

// TestKeysAreApart tells what makes a request another one: its meaning, its route, who asks; and what does not.
func TestKeysAreApart(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.bank("a")
	n.bank("b")
	const key = "8e03978e-40d5-43dd-bc93-6894a57f9324"
	flag := func(bank, body string, headers ...string) (int, bool, string) {
		return n.keyed(key, "POST", "/v1/banks/"+bank+"/entries", body, headers...)
	}
	one := `{"signals":[{"algorithm":"md5","value":"` + zeros[:31] + `1"}],"note":"n"}`
	first, _, _ := flag("a", one)
	equal(t, "first", first, http.StatusCreated)
	for name, body := range map[string]string{
		"order and space": ` { "note" : "n", "signals":[{"value":"` + zeros[:31] + `1","algorithm":"md5"}]}`,
		"escapes":         strings.Replace(one, `"n"`, `"\u006e"`, 1),
	} {
		status, replayed, _ := flag("a", body)
		equal(t, name, status, http.StatusCreated)
		equal(t, name+" replayed", replayed, true)
	}
	status, replayed, _ := flag("a", one, "Content-Type: Application/JSON; charset=utf-8")
	equal(t, "a type otherwise written", status, http.StatusCreated)
	equal(t, "a type otherwise written, replayed", replayed, true)
	for name, body := range map[string]string{
		"another note":  strings.Replace(one, `"n"`, `"m"`, 1),
		"another field": strings.Replace(one, `"note"`, `"origin"`, 1),
		"another value": strings.Replace(one, `1"}`, `2"}`, 1),
	} {
		status, _, text := flag("a", body)
		equal(t, name, status, http.StatusUnprocessableEntity)
		equal(t, name, problemIn(t, text).Type, "/problems/idempotency-key-reused")
	}
	status, replayed, _ = flag("b", one)
	equal(t, "another bank", status, http.StatusCreated)
	equal(t, "another bank replayed", replayed, false)
	status, replayed, _ = flag("a", one, "Authorization: Bearer "+n.keys["analyst"])
	equal(t, "another caller", status, http.StatusOK)
	equal(t, "another caller replayed", replayed, false)
	status, replayed, _ = n.keyed(key+"2", "POST", "/v1/banks/a/entries", one)
	equal(t, "another key", status, http.StatusOK)
	equal(t, "another key replayed", replayed, false)
}

// TestBadIdempotencyKeys refuses what is no key. Where nothing is changed, the header means nothing.
func TestBadIdempotencyKeys(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	for name, key := range map[string]string{"empty": "", "too long": strings.Repeat("k", 129), "a space": "a b", "not ASCII": "é"} {
		status, _, text := n.keyed(key, "POST", "/v1/banks", `{"name":"b"}`)
		equal(t, name, status, http.StatusBadRequest)
		equal(t, name, problemIn(t, text).Type, "/problems/invalid-request")
	}
	r, err := http.NewRequestWithContext(t.Context(), "POST", n.URL+"/v1/banks", strings.NewReader(`{"name":"b"}`))
	must(t, err)
	r.Header = http.Header{"Authorization": {"Bearer " + n.keys["admin"]}, "Content-Type": {"application/json"}, "Idempotency-Key": {"a", "b"}}
	answer, err := n.http.Do(r)
	must(t, err)
	equal(t, "two keys", answer.StatusCode, http.StatusBadRequest)
	_ = answer.Body.Close()
	for range 2 {
		status, replayed, _ := n.keyed("k", "POST", "/v1/check", asks(digest(0)))
		equal(t, "a check", status, http.StatusOK)
		equal(t, "a check replayed", replayed, false)
	}
	status, _, _ := n.keyed(strings.Repeat("k", 128), "POST", "/v1/banks", `{"name":"b"}`)
	equal(t, "as long as may be", status, http.StatusCreated)
}

// TestFailuresAreNotRemembered sends a request that fails, and again when it can succeed.
func TestFailuresAreNotRemembered(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	body := asks(digest(1))
	status, _, _ := n.keyed("k", "POST", "/v1/banks/later/entries", body)
	equal(t, "without a bank", status, http.StatusNotFound)
	n.bank("later")
	status, replayed, _ := n.keyed("k", "POST", "/v1/banks/later/entries", body)
	equal(t, "with the bank", status, http.StatusCreated)
	equal(t, "replayed", replayed, false)
}

// counting is a hasher that counts, and waits where it is told to.
type counting struct {
	matcher.Hasher
	calls   atomic.Int32
	entered chan struct{} // nil: do not wait
	leave   chan struct{}
}

func (h *counting) Picture(ctx context.Context, data []byte) (hashing.Picture, error) {
	h.calls.Add(1)
	if h.entered != nil {
		h.entered <- struct{}{}
		select {
		case <-h.leave:
		case <-time.After(time.Minute):
			return hashing.Picture{}, errors.New("nobody lets it go on")
		}
	}
	return h.Hasher.Picture(ctx, data)
}

// TestRunning sends a request again while the first one is at work: one works, the others are told to come back, and then
// they are answered as the first one was.
func TestRunning(t *testing.T) {
	t.Parallel()
	held := &counting{Hasher: &oneAtATime{hasher: newFingerprint()}, entered: make(chan struct{}), leave: make(chan struct{})}
	n := newNode(t, setup{hasher: held})
	n.bank("known")
	send := func() *http.Response {
		body, kind := form("file", string(fixtures.Read("hills.jpg")), "note", "n")
		return n.send("POST", "/v1/banks/known/entries", body, kind, "Idempotency-Key: k")
	}
	first := make(chan *http.Response)
	go func() { first <- send() }()
	<-held.entered
	for range 3 {
		busy := send()
		equal(t, "status", busy.StatusCode, http.StatusConflict)
		equal(t, "problem", problemOf(t, busy.Body).Type, "/problems/idempotency-running")
		equal(t, "Retry-After", busy.Header.Get("Retry-After"), "1")
	}
	body, kind := form("file", string(fixtures.Read("hills.jpg")))
	other := make(chan *http.Response)
	go func() { other <- n.send("POST", "/v1/banks/known/entries", body, kind, "Idempotency-Key: other") }()
	<-held.entered // another key is not held up
	close(held.leave)
	statuses := []int{(<-first).StatusCode, (<-other).StatusCode}
	slices.Sort(statuses) // whoever came second found it there
	equal(t, "statuses", fmt.Sprint(statuses), "[200 201]")
	again := send()
	equal(t, "replayed", again.Header.Get("Idempotency-Replayed"), "true")
	equal(t, "times hashed", held.calls.Load(), 2)
}

// TestFormsAreReplayed sends an upload again in another form: the same parts, otherwise written.
func TestFormsAreReplayed(t *testing.T) {
	t.Parallel()
	hasher := &counting{Hasher: &oneAtATime{hasher: newFingerprint()}}
	n := newNode(t, setup{hasher: hasher})
	n.bank("known")
	picture := string(fixtures.Read("hills.jpg"))
	send := func(boundary string, pairs ...string) *http.Response {
		var body bytes.Buffer
		w := multipart.NewWriter(&body)
		must(t, w.SetBoundary(boundary))
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == "file" {
				part, _ := w.CreateFormFile("file", boundary+".jpg")
				_, _ = io.WriteString(part, pairs[i+1])
			} else {
				_ = w.WriteField(pairs[i], pairs[i+1])
			}
		}
		must(t, w.Close())
		return n.send("POST", "/v1/banks/known/entries", &body, "Content-Type: "+w.FormDataContentType(), "Idempotency-Key: k")
	}
	first := send("one", "file", picture, "note", "n", "labels", "a", "labels", "b")
	equal(t, "status", first.StatusCode, http.StatusCreated)
	entry := read(t, first.Body)
	for _, again := range []*http.Response{
		send("one", "file", picture, "note", "n", "labels", "a", "labels", "b"),
		send("another", "labels", "a", "note", "n", "labels", "b", "file", picture),
	} {
		equal(t, "status again", again.StatusCode, http.StatusCreated)
		equal(t, "replayed", again.Header.Get("Idempotency-Replayed"), "true")
		equal(t, "answer", plain(t, read(t, again.Body)), plain(t, entry))
	}
	for _, other := range []*http.Response{
		send("one", "file", picture, "note", "m", "labels", "a", "labels", "b"),
		send("one", "file", picture, "note", "n", "labels", "a"),
		send("one", "file", picture, "origin", "n", "labels", "a", "labels", "b"),
		send("one", "file", string(fixtures.Read("page.png")), "note", "n", "labels", "a", "labels", "b"),
		n.send("POST", "/v1/banks/known/entries", strings.NewReader(asks(digest(1))), asJSON, "Idempotency-Key: k"),
	} {
		equal(t, "status of another request", other.StatusCode, http.StatusUnprocessableEntity)
	}
	equal(t, "times hashed", hasher.calls.Load(), 1)
	equal(t, "sources", len(n.entryOf(t, entry).Sources), 1)
}

// entryOf reads the entry of a flag's answer as it is now.
func (n *node) entryOf(t *testing.T, answer string) v1.Entry {
	t.Helper()
	var f v1.Flagged
	must(t, json.Unmarshal([]byte(answer), &f))
	got, err := n.as("auditor").GetEntryWithResponse(t.Context(), f.Entry.Id)
	must(t, err)
	return *got.JSON200
}

// TestReplayedByAnotherNode repeats a request at a node that was started later, and a day later.
func TestReplayedByAnotherNode(t *testing.T) {
	t.Parallel()
	var late atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	catalogue, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "catalogue.db"), storage.Options{Now: now})
	must(t, err)
	t.Cleanup(func() { must(t, catalogue.Close()) })
	first := newNode(t, setup{catalogue: catalogue})
	status, _, _ := first.keyed("k", "POST", "/v1/banks", `{"name":"b"}`)
	equal(t, "status", status, http.StatusCreated)

	second := newNode(t, setup{catalogue: catalogue, matcher: matcher.Options{Now: now}})
	second.keys = first.keys // who asks is part of the name
	again := func() (int, bool) {
		status, replayed, _ := second.keyed("k", "POST", "/v1/banks", `{"name":"b"}`)
		return status, replayed
	}
	status, replayed := again()
	equal(t, "status at another node", status, http.StatusCreated)
	equal(t, "replayed at another node", replayed, true)

	late.Store(int64(23 * time.Hour))
	must(t, second.matcher.Forget(t.Context()))
	if status, replayed = again(); status != http.StatusCreated || !replayed {
		t.Errorf("after 23 hours: %d, replayed: %v", status, replayed)
	}
	late.Store(int64(25 * time.Hour))
	must(t, second.matcher.Forget(t.Context()))
	status, replayed = again()
	equal(t, "status after 25 hours", status, http.StatusConflict) // the bank is there
	equal(t, "replayed after 25 hours", replayed, false)
}
