package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// wire sends requests over connections of its own: net/http's client takes more of a processor for a request than the
// node does, and would measure itself. It is safe for concurrent use.
type wire struct {
	host string
	dial func(context.Context) (net.Conn, error)

	mu   sync.Mutex
	idle []*line // the one that was used last comes first
}

// line is a connection.
type line struct {
	net.Conn
	in *bufio.Reader
}

// answerTime is how long a request waits for its answer, at most.
const answerTime = time.Minute

// newWire prepares connections to the node at a URL.
func newWire(node string) (*wire, error) {
	u, err := url.Parse(node)
	if err != nil {
		return nil, fmt.Errorf("the node's URL: %w", err)
	}
	address := u.Host
	w := &wire{host: u.Host, dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}}
	if u.Scheme == "https" {
		if u.Port() == "" {
			address = net.JoinHostPort(u.Hostname(), "443")
		}
		w.dial = func(ctx context.Context) (net.Conn, error) { return new(tls.Dialer).DialContext(ctx, "tcp", address) }
	} else if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "80")
	}
	return w, nil
}

// post sends a body and returns the answer's status; 0 if there is no whole answer.
func (w *wire) post(ctx context.Context, path, key, contentType string, body []byte) int {
	head := fmt.Appendf(make([]byte, 0, 512), "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
		path, w.host, key, contentType, len(body))
	for {
		l, used, err := w.take(ctx)
		if err != nil {
			return 0
		}
		status, silent := l.exchange(ctx, head, body, w.give)
		if !silent || !used || ctx.Err() != nil {
			return status
		} // the node had closed it meanwhile
	}
}

// take finds a connection, or makes one.
func (w *wire) take(ctx context.Context) (l *line, used bool, err error) {
	w.mu.Lock()
	if n := len(w.idle); n > 0 {
		l, w.idle = w.idle[n-1], w.idle[:n-1]
	}
	w.mu.Unlock()
	if l != nil {
		return l, true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	c, err := w.dial(ctx)
	if err != nil {
		return nil, false, err
	}
	return &line{c, bufio.NewReader(c)}, false, nil
}

func (w *wire) give(l *line) {
	w.mu.Lock()
	w.idle = append(w.idle, l)
	w.mu.Unlock()
}

// exchange sends a request and reads the answer; silent if none began. The line is given back if it can be used again.
func (l *line) exchange(ctx context.Context, head, body []byte, give func(*line)) (status int, silent bool) {
	keep := false
	defer func() {
		if keep {
			give(l)
		} else {
			_ = l.Close()
		}
	}()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	_ = l.SetDeadline(time.Now().Add(answerTime))
	_, sent := (&net.Buffers{head, body}).WriteTo(l.Conn) // if that breaks off there may be an answer all the same
	answer, err := http.ReadResponse(l.in, nil)
	if err != nil {
		return 0, true
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 0, false
	}
	keep = sent == nil && !answer.Close && stop()
	return answer.StatusCode, false
}

// Close closes the connections that nobody uses.
func (w *wire) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.idle {
		_ = l.Close()
	}
	w.idle = nil
}
