package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"vigie/api"
	v1 "vigie/api/v1"
	"vigie/hashing"
	"vigie/hashing/decode"
	"vigie/hashing/fingerprint"
	"vigie/hashing/sandbox"
	"vigie/index"
	"vigie/internal/guard"
	"vigie/matcher"
	"vigie/rescan"
	"vigie/storage"
	"vigie/storage/jobs"
	"vigie/storage/journal"
	"vigie/storage/media"
	"vigie/storage/sqlstore"
	"vigie/webhook"
)

// TestMain makes the test binary its own decode child.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "decode-child" {
		o, err := sandbox.ChildOptionsFrom(os.Getenv)
		if err == nil {
			err = sandbox.Child(os.Stdin, os.Stdout, fingerprint.New(o.Limits).Picture, decode.Cost, o)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// node is a whole node on a server of its own.
type node struct {
	noJobs    noJobs // of webhooks
	t         testing.TB
	URL       string
	matcher   *matcher.Matcher
	catalogue storage.Catalogue
	api       *api.Server
	rescans   *rescan.Runner
	posts     string            // the folder of the source of that name
	working   jobs.Engine       // of re-scans; nil: nobody does them
	http      *http.Client      // validates answers against the contract
	keys      map[string]string // by role; and "expired", "revoked"
	logs      *locked           // what the node logged
	stop      func()            // ends the follower
	server    *httptest.Server
	ledger    *ledger
}

// setup is what a test may want otherwise.
type setup struct {
	api     api.Options
	matcher matcher.Options
	index   index.Options
	hasher  matcher.Hasher // nil: in this process
	bare    bool           // no follower runs, so there are no keys
	// catalogue is one that other nodes have, too; nil: one of its own.
	catalogue storage.Catalogue
}

func newNode(t testing.TB, o setup) *node {
	t.Helper()
	dir := t.TempDir()
	catalogue := o.catalogue
	if catalogue == nil {
		own, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(dir, "catalogue.db"), storage.Options{})
		must(t, err)
		catalogue = own
	}
	blobs, err := media.OpenFolder(filepath.Join(dir, "media"))
	must(t, err)
	if o.hasher == nil {
		o.hasher = &oneAtATime{hasher: fingerprint.New(hashing.DefaultLimits())}
	}
	n := &node{t: t, catalogue: catalogue, keys: map[string]string{}, logs: &locked{}, stop: func() {}, ledger: &ledger{}}
	o.api.Logger = slog.New(slog.NewJSONHandler(n.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.api.Version = "test"
	if o.api.Metrics == nil {
		o.api.Metrics = api.NewMetrics()
	}
	o.matcher.Events = o.api.Metrics.Watch(o.matcher.Events)
	o.matcher.Journal, o.matcher.Render, o.matcher.Ship = n.ledger, api.RenderVerdict, n.ledger.ship
	o.matcher.Reach = func(ctx context.Context, _ journal.ID) error { return n.ledger.ship(ctx) }
	n.matcher = matcher.New(catalogue, blobs, o.hasher, index.New(o.index), o.matcher)
	n.ledger.deliver = n.matcher.Deliver
	if o.api.Webhooks == nil {
		o.api.Webhooks = webhook.New(&n.noJobs, webhook.NewSender(n.matcher, catalogue, guard.New(guard.Options{}), webhook.Options{}))
	}
	n.rescans = n.newRescans(dir)
	o.api.Rescans = n.rescans
	n.api, err = api.New(n.matcher, catalogue, o.api)
	must(t, err)

	server := httptest.NewServer(n.api.Handler())
	n.URL, n.server = server.URL, server
	n.http = &http.Client{
		Transport:     newValidator(t, server.Client().Transport),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(func() {
		server.Close()
		n.stop()
		if o.catalogue == nil {
			must(t, catalogue.Close())
		}
		must(t, blobs.Close())
	})
	if o.bare {
		return n
	}
	following, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = n.matcher.Follower().Run(following) })
	n.stop = func() { cancel(); running.Wait() }
	must(t, n.matcher.Follower().Await(t.Context(), 0))
	for _, role := range storage.Roles() {
		n.keys[string(role)] = n.key("operator", role)
	}
	return n
}

// key makes a key of a party.
func (n *node) key(party string, role storage.Role) string {
	n.t.Helper()
	_, secret, err := n.matcher.CreateKey(n.t.Context(), matcher.Local(), matcher.NewKey{Name: fmt.Sprint("test ", role, len(n.keys)), Role: role, Party: party})
	must(n.t, err)
	return secret
}

// party makes a party with keys "<name> <role>" of all roles.
func (n *node) party(name string) storage.Party {
	n.t.Helper()
	p, err := n.matcher.CreateParty(n.t.Context(), matcher.Local(), matcher.PartyEdit{Name: &name})
	must(n.t, err)
	for _, role := range storage.Roles() {
		n.keys[name+" "+string(role)] = n.key(name, role)
	}
	return p
}

// ledger is a journal in memory.
type ledger struct {
	mu      sync.Mutex
	records []journal.Record // that are not shipped yet
	last    uint64
	full    bool // it takes no more
	deliver func(context.Context, []journal.Record) error
}

func (l *ledger) Append(_ context.Context, kind string, body []byte) (journal.ID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full {
		return journal.ID{}, journal.ErrFull
	}
	l.last++
	id := journal.ID{Node: "0123abcd", Number: l.last}
	l.records = append(l.records, journal.Record{ID: id, At: time.Now(), Kind: kind, Body: body})
	return id, nil
}

func (l *ledger) ship(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.deliver(ctx, l.records)
	if err == nil {
		l.records = nil
	}
	return err
}

// oneAtATime makes a hasher safe for concurrent use.
type oneAtATime struct {
	mu     sync.Mutex
	hasher *fingerprint.Hasher
}

func (h *oneAtATime) Picture(ctx context.Context, data []byte) (hashing.Picture, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hasher.Picture(ctx, data)
}

// locked is a buffer that many may write to.
type locked struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// as is the generated client with the key of a role.
func (n *node) as(role string) *v1.ClientWithResponses {
	c, err := v1.NewClientWithResponses(n.URL, v1.WithHTTPClient(n.http), v1.WithRequestEditorFn(
		func(_ context.Context, r *http.Request) error {
			r.Header.Set("Authorization", "Bearer "+n.keys[role])
			return nil
		}))
	must(n.t, err)
	return c
}

// send makes a request as admin; headers are "Name: value".
func (n *node) send(method, path string, body io.Reader, headers ...string) *http.Response {
	n.t.Helper()
	r, err := http.NewRequestWithContext(n.t.Context(), method, n.URL+path, body)
	must(n.t, err)
	r.Header.Set("Authorization", "Bearer "+n.keys["admin"])
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	answer, err := n.http.Do(r)
	must(n.t, err)
	n.t.Cleanup(func() { _ = answer.Body.Close() })
	return answer
}

// bank makes a bank.
func (n *node) bank(name string) {
	n.t.Helper()
	got, err := n.as("admin").CreateBankWithResponse(n.t.Context(), v1.NewBank{Name: name})
	must(n.t, err)
	equal(n.t, "status", got.StatusCode(), http.StatusCreated)
}

// flag flags signals.
func (n *node) flag(bank string, labels []string, signals ...v1.Signal) v1.Flagged {
	n.t.Helper()
	labels = append([]string{}, labels...)
	got, err := n.as("analyst").FlagWithResponse(n.t.Context(), bank, v1.FlagSignals{Signals: signals, Labels: &labels})
	must(n.t, err)
	if got.JSON201 == nil {
		n.t.Fatalf("flag: %s: %s", got.Status(), got.Body)
	}
	return *got.JSON201
}

// digest is a SHA-256 signal that differs for each number.
func digest(number int) v1.Signal {
	return v1.Signal{Algorithm: v1.Sha256, Value: fmt.Sprintf("%064x", number+1)}
}

func asks(s v1.Signal) string {
	text, _ := json.Marshal(v1.CheckSignals{Signals: v1.Signals{s}})
	return string(text)
}

// form is a multipart body of name and value pairs; the value of "file" is its content.
func form(pairs ...string) (io.Reader, string) {
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] == "file" {
			part, _ := w.CreateFormFile("file", "private-name.jpg")
			_, _ = io.WriteString(part, pairs[i+1])
		} else {
			_ = w.WriteField(pairs[i], pairs[i+1])
		}
	}
	_ = w.Close()
	return &body, "Content-Type: " + w.FormDataContentType()
}

// validator holds every answer against the contract.
type validator struct {
	t      testing.TB
	next   http.RoundTripper
	spec   *openapi3.T
	router routers.Router
}

func newValidator(t testing.TB, next http.RoundTripper) *validator {
	t.Helper()
	spec, err := openapi3.NewLoader().LoadFromFile("openapi.yaml")
	must(t, err)
	router, err := legacy.NewRouter(spec)
	must(t, err)
	return &validator{t: t, next: next, spec: spec, router: router}
}

func (v *validator) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := v.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	kind := answer.Header.Get("Content-Type")
	if kind == "application/x-ndjson" {
		return answer, nil // readLines validates line by line
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	_ = answer.Body.Close()
	answer.Body = io.NopCloser(bytes.NewReader(text))
	if answer.Header.Get("X-Request-Id") == "" || answer.Header.Get("X-Content-Type-Options") != "nosniff" {
		v.t.Errorf("%s %s: headers %v", r.Method, r.URL, answer.Header)
	}
	if kind == "application/problem+json" && len(text) > 0 {
		v.fits("Problem", text)
	}
	path := *r
	path.URL.RawQuery = ""
	route, params, err := v.router.FindRoute(&path)
	if err != nil || r.Method == http.MethodHead {
		return answer, nil //nolint:nilerr // outside of the contract
	}
	err = openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route},
		Status:                 answer.StatusCode, Header: answer.Header, Body: io.NopCloser(bytes.NewReader(text)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
	if err != nil {
		v.t.Errorf("%s %s: the answer breaks the contract: %v\n%s", r.Method, r.URL.Path, err, text)
	}
	return answer, nil
}

// fits validates JSON against a schema of the contract.
func (v *validator) fits(schema string, text []byte) {
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		v.t.Errorf("not JSON: %v: %s", err, text)
		return
	}
	if err := v.spec.Components.Schemas[schema].Value.VisitJSON(value, openapi3.VisitAsResponse()); err != nil {
		v.t.Errorf("not a %s: %v: %s", schema, err, text)
	}
}

// answered is a line that a batch answered: a verdict or a problem.
type answered struct {
	v1.Verdict
	v1.BatchLine
}

// line reads one line of a batch's answer and validates it.
func (n *node) line(text []byte) answered {
	n.t.Helper()
	var out answered
	must(n.t, json.Unmarshal(text, &out.BatchLine))
	schema := "BatchLine"
	if out.Problem == nil {
		must(n.t, json.Unmarshal(text, &out.Verdict))
		schema = "Verdict"
	}
	n.http.Transport.(*validator).fits(schema, text)
	return out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func read(t testing.TB, r io.Reader) string {
	t.Helper()
	text, err := io.ReadAll(r)
	must(t, err)
	return string(text)
}

func problemOf(t testing.TB, body io.Reader) v1.Problem {
	t.Helper()
	var p v1.Problem
	must(t, json.NewDecoder(body).Decode(&p))
	return p
}

func reason(text string) v1.Reason { return v1.Reason{Reason: text} }

func newFingerprint() *fingerprint.Hasher { return fingerprint.New(hashing.DefaultLimits()) }

// hexes finds the values of signals.
var hexes = regexp.MustCompile(`[0-9a-f]{16,}`)
