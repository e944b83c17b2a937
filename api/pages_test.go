package api_test

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"vigie/api"
)

// TestPages reads what is served beside the contract, without a key.
func TestPages(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.send("POST", "/v1/check", strings.NewReader(asks(digest(0))), asJSON)
	contract, err := os.ReadFile("openapi.yaml")
	must(t, err)
	for _, test := range []struct {
		path, kind string
		holds      []string
	}{
		{"/docs", "text/html; charset=UTF-8", []string{"/v1/check/batch", `<a href="#Verdict">`, "<code>banks</code>: list of", "<code>reason</code> says why", "at most 1000", "no key needed"}},
		{"/problems", "text/html; charset=UTF-8", []string{`id="unknown-bank"`, "<code>/problems/<wbr>index-behind</code>"}},
		{"/openapi.yaml", "application/yaml", []string{string(contract)}},
		{"/metrics", "text/plain", []string{
			`vigie_checks_total{asked="signals",level="none"} 1`, "vigie_changes_applied_total",
			`vigie_http_request_seconds_count{method="POST",route="/v1/check",status="200"} 1`,
		}},
		{"/healthz?from=balancer", "application/json", []string{`{"serving":false,"status":"alive","version":"test"}`}},
	} {
		t.Run(test.path, func(t *testing.T) {
			t.Parallel()
			answer := n.send("GET", test.path, nil, "Authorization: ")
			equal(t, "status", answer.StatusCode, http.StatusOK)
			kind := answer.Header.Get("Content-Type")
			if !strings.HasPrefix(kind, test.kind) {
				t.Errorf("Content-Type %s", kind)
			}
			policy := answer.Header.Get("Content-Security-Policy")
			equal(t, "a policy on HTML", strings.HasPrefix(policy, "default-src 'none'"), strings.HasPrefix(kind, "text/html"))
			text := read(t, answer.Body)
			for _, part := range test.holds {
				if !strings.Contains(text, part) {
					t.Errorf("holds no %.80s", part)
				}
			}
			if strings.Contains(text, "<no value>") || strings.Contains(text, "%!") {
				t.Error("a template went wrong")
			}

			head := n.send("HEAD", test.path, nil, "Authorization: ")
			equal(t, "status of HEAD", head.StatusCode, http.StatusOK)
			equal(t, "body of HEAD", read(t, head.Body), "")
		})
	}
	redirected := n.send("GET", "/", nil)
	equal(t, "status of /", redirected.StatusCode, http.StatusFound)
	equal(t, "/ leads to", redirected.Header.Get("Location"), "/docs")
	for problem := range api.ProblemTypes() {
		answer := n.send("GET", problem, nil)
		equal(t, problem, answer.Header.Get("Location"), "/problems#"+strings.TrimPrefix(problem, "/problems/"))
	}
	equal(t, "unknown problem", n.send("GET", "/problems/nothing", nil).StatusCode, http.StatusNotFound)
}

// TestMethods shows what a path answers to methods that it does not have.
func TestMethods(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	for _, test := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"OPTIONS", "/v1/banks", http.StatusNoContent, "OPTIONS, GET, POST"},
		{"PUT", "/v1/banks", http.StatusMethodNotAllowed, "OPTIONS, GET, POST"},
		{"DELETE", "/v1/check", http.StatusMethodNotAllowed, "OPTIONS, POST"},
		{"HEAD", "/v1/check", http.StatusMethodNotAllowed, "OPTIONS, POST"},
		{"HEAD", "/v1/banks", http.StatusOK, ""},
		{"HEAD", "/v1/nothing", http.StatusNotFound, ""},
		{"BREW", "/v1/banks", http.StatusMethodNotAllowed, "OPTIONS, GET, POST"},
	} {
		answer := n.send(test.method, test.path, nil)
		equal(t, test.method+" "+test.path, answer.StatusCode, test.status)
		equal(t, test.method+" "+test.path+": Allow", answer.Header.Get("Allow"), test.allow)
	}
}

// TestRequestID shows that a harmless id of the caller's comes back, and another does not.
func TestRequestID(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	for _, test := range []struct {
		name, sent string
		kept       bool
	}{
		{"plain", "Abc-123_x", true},
		{"none", "", false},
		{"quotes", `a"b`, false},
		{"too long", strings.Repeat("a", 65), false},
	} {
		first := n.send("GET", "/v1/banks/nobank", nil, "X-Request-Id: "+test.sent)
		id := first.Header.Get("X-Request-Id")
		equal(t, test.name, id == test.sent, test.kept)
		equal(t, test.name+": instance", *problemOf(t, first.Body).Instance, id)
		if !strings.Contains(n.logs.String(), `"id":"`+id+`"`) {
			t.Errorf("%s: not in the log", test.name)
		}
	}
}

// TestBodyOfNoUse shows that a body that nobody reads is no burden and no fault.
func TestBodyOfNoUse(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	body := io.MultiReader(bytes.NewReader(make([]byte, 1<<10)))
	equal(t, "status", n.send("GET", "/v1/banks", body, asForm).StatusCode, http.StatusOK)
}
