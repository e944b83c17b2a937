package api

import (
	"encoding/json"
	"net/http"

	v1 "vigie/api/v1"
	"vigie/storage"
)

// Waiting answers in the place of a node that cannot begin, because its database is away: it is alive, not ready, and refuses
// everything else with database-away.
func Waiting(version string) http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, kind string, status int, body any) {
		text, _ := json.Marshal(body) // plain structs: cannot fail
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_, _ = w.Write(text)
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, "application/json", http.StatusOK, v1.Health{Status: v1.Alive, Version: version, Serving: true})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		reason := "the node waits for its database"
		answer(w, "application/json", http.StatusServiceUnavailable, v1.Readiness{Reason: &reason})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", retryAfter(storage.ErrUnavailable))
		p := document(storage.ErrUnavailable, "")
		answer(w, "application/problem+json", p.Status, p)
	})
	return mux
}
