package main

import (
	"net/http"
	"sync/atomic"

	"vigie/api"
	"vigie/internal/buildinfo"
)

// front is what a listener serves: at first that the node waits for its database, and then what the node has to say. It is
// safe for concurrent use.
type front struct{ now atomic.Pointer[http.Handler] }

func newFront() *front {
	f := &front{}
	f.become(api.Waiting(buildinfo.Version()))
	return f
}

// become has the listener serve h from now on.
func (f *front) become(h http.Handler) { f.now.Store(&h) }

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*f.now.Load()).ServeHTTP(w, r) }
