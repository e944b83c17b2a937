package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"
	"golang.org/x/sync/semaphore"

	v1 "vigie/api/v1"
	"vigie/hashing"
	"vigie/matcher"
	"vigie/rescan"
	"vigie/storage"
	"vigie/webhook"
)

// Options of a [Server]. Zero fields take the defaults.
type Options struct {
	Limits hashing.Limits // of uploads; hashing.DefaultLimits
	// VideoBytes bounds a video's file in place of Limits; default: Limits.Bytes.
	VideoBytes int64
	// UploadMemory bounds the bytes of all uploads held at once; default 1 GiB. What does not fit is
	// answered 503.
	UploadMemory int64
	// BodyTime is how long a request may take to arrive, and its answer to be taken; default 60 s, and a
	// second more for each MiB that arrives. A batch may take this long for each line.
	BodyTime time.Duration
	// BatchLines is how many lines a batch may have; default 100,000.
	BatchLines int
	// Heartbeat is how often a stream of changes shows that it is alive; default 15 s.
	Heartbeat time.Duration
	Version   string
	Serving   bool         // false for a node within a command
	Logger    *slog.Logger // nil: no request log
	Metrics   *Metrics     // nil: none
	// PrivateMetrics keeps /metrics from being served here, as it is served elsewhere.
	PrivateMetrics bool
	// Admission bounds what runs at a time; default: one of its own.
	Admission *Admission
	// Webhooks tells parties of what happens; nil: this node does not.
	Webhooks *webhook.Service
	// Rescans checks what was posted before; nil: this node does not.
	Rescans *rescan.Runner
	// WorkTime is how long the work on an upload that has come may take; default 11 minutes.
	WorkTime time.Duration
	// MaxStaleness makes /readyz say no while the index is staler; 0: it never does, since a catalogue that is away would take
	// all nodes out at once.
	MaxStaleness time.Duration
	// TrustedProxies are believed when they say for whom they ask (X-Forwarded-For).
	TrustedProxies []netip.Prefix
}

func (o *Options) setDefaults() {
	if o.Limits == (hashing.Limits{}) {
		o.Limits = hashing.DefaultLimits()
	}
	if o.UploadMemory == 0 {
		o.UploadMemory = 1 << 30
	}
	o.VideoBytes = max(o.VideoBytes, o.Limits.Bytes)
	o.UploadMemory = max(o.UploadMemory, o.VideoBytes)
	if o.BodyTime == 0 {
		o.BodyTime = time.Minute
	}
	if o.BatchLines == 0 {
		o.BatchLines = 100_000
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 15 * time.Second
	}
	if o.WorkTime == 0 {
		o.WorkTime = 11 * time.Minute
	}
	if o.Admission == nil {
		o.Admission = NewAdmission(AdmissionOptions{Metrics: o.Metrics})
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Bounds of bodies that hold no media.
const (
	jsonBytes    = 2 << 20   // of a JSON body: room for the frames of a video
	partsBytes   = 256 << 10 // of all text parts beside a file
	framingBytes = 64 << 10  // of boundaries and headers of a multipart body
	lineBytes    = 128 << 10 // of a line of a batch
)

// Server answers HTTP. It is safe for concurrent use.
type Server struct {
	matcher    *matcher.Matcher
	catalogue  storage.Catalogue
	o          Options
	contract   *openapi3.T
	operations map[string]*operation // by "METHOD /echo/:path"
	uploads    *semaphore.Weighted   // bytes
	rehearsals *semaphore.Weighted   // dry runs of lists that remember them
	readers    readers               // who wait for changes
	feedScan   int                   // changes; see the constant
	running    running               // requests with an Idempotency-Key
	draining   atomic.Bool
	echo       *echo.Echo
}

// New makes a server over a matcher and the catalogue that it works on.
func New(m *matcher.Matcher, c storage.Catalogue, o Options) (*Server, error) {
	o.setDefaults()
	contract, operations, err := loadContract()
	if err != nil {
		return nil, err
	}
	s := &Server{
		matcher: m, catalogue: c, o: o, contract: contract, operations: operations,
		uploads: semaphore.NewWeighted(o.UploadMemory), rehearsals: semaphore.NewWeighted(maxRehearsals), feedScan: feedScan, echo: echo.New(),
	}
	e := s.echo
	e.HTTPErrorHandler = s.writeProblem
	e.IPExtractor = peers(o.TrustedProxies)
	e.Use(s.observe, s.recover, s.patience, s.strangers, s.authenticate, s.bound, s.admit, s.validate, s.idempotent, s.outcome)
	v1.RegisterHandlers(e, v1.NewStrictHandler(s, nil))
	s.pages(e)
	return s, nil
}

// Handler is the server as an http.Handler.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead { // GET, of which net/http keeps the body to itself
			get := *r
			get.Method = http.MethodGet
			get.Header = r.Header.Clone()
			get.Header.Del(echo.HeaderAccept) // no stream, whose end nobody would wait for
			r = &get
		}
		if !s.crowded(w, r) {
			s.echo.ServeHTTP(w, r)
		}
	})
}

// Drain makes /readyz say no, so that a balancer sends no more; requests are still answered.
func (s *Server) Drain() { s.draining.Store(true) }

// Keys of what a request carries through the middleware.
const (
	problemKey = "problem" // error
	bodyKey    = "body"    // *arriving
)

// observe gives each request an id, and logs and counts it when it is done: route, status, time,
// sizes, the network it came from; never a query, a body, a key, a name or a whole address.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		id := c.Request().Header.Get(echo.HeaderXRequestID)
		if !plainID(id) {
			id = newID()
		}
		h := c.Response().Header()
		h.Set(echo.HeaderXRequestID, id)
		h.Set(echo.HeaderXContentTypeOptions, "nosniff")
		h.Set(echo.HeaderCacheControl, "no-store")
		err := next(c)
		half := err != nil && c.Response().Committed
		if err != nil {
			c.Error(err)
		}
		route, status, took := c.Path(), c.Response().Status, time.Since(start)
		if route == "" {
			route = "(none)"
		}
		if s.o.Metrics != nil {
			s.o.Metrics.request(c.Request().Method, route, status, took)
		}
		attrs := []slog.Attr{
			slog.String("id", id), slog.String("method", c.Request().Method), slog.String("route", route),
			slog.Int("status", status), slog.Float64("took_ms", float64(took.Microseconds())/1000), slog.Int64("out", c.Response().Size),
			slog.String("actor", actor(c.Request().Context())),
		}
		if from := network(c.RealIP(), shown4, shown6); from != "" {
			attrs = append(attrs, slog.String("network", from))
		}
		level := slog.LevelInfo
		if route == "/healthz" || route == "/readyz" || route == "/metrics" {
			level = slog.LevelDebug // probes, many times a minute
		}
		if err, ok := c.Get(problemKey).(error); ok {
			is, _ := classify(err)
			attrs = append(attrs, slog.String("problem", is.Slug))
			if is == pLimited && actor(c.Request().Context()) == "" {
				level = slog.LevelDebug // a flood of strangers must not fill the disk; it is counted
			}
			if is.Status >= 500 && is.Status != http.StatusServiceUnavailable && is.Status != http.StatusInsufficientStorage {
				level = slog.LevelError
				attrs = append(attrs, slog.String("error", err.Error()))
			}
		}
		s.o.Logger.LogAttrs(c.Request().Context(), level, "request", attrs...)
		if half {
			panic(http.ErrAbortHandler) // so that it does not pass for a whole answer
		}
		return nil
	}
}

// recover turns a panic of a handler into an internal error that knows where it was.
func (s *Server) recover(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = &panicError{r, debug.Stack()}
			}
		}()
		return next(c)
	}
}

type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", p.value, p.stack) }

// patience puts deadlines on a request's arrival and answer. Not every writer has deadlines; the
// server's own stand behind.
func (s *Server) patience(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		control := http.NewResponseController(c.Response().Writer)
		_ = control.SetWriteDeadline(time.Time{}) // of the request before
		c.Response().Before(func() { _ = control.SetWriteDeadline(time.Now().Add(s.o.BodyTime)) })
		if r := c.Request(); r.Body != nil && r.Body != http.NoBody {
			_ = control.SetReadDeadline(time.Now().Add(s.o.BodyTime))
			body := &arriving{ReadCloser: r.Body, control: control, due: time.Now().Add(s.o.BodyTime), kind: r.Header.Get(echo.HeaderContentType)}
			r.Body = body
			c.Set(bodyKey, body)
		}
		return next(c)
	}
}

// arriving is a body that has a deadline until it is here. Then net/http reads on to notice a caller
// who hangs up, and a deadline that still stood would pass for that.
type arriving struct {
	io.ReadCloser
	control *http.ResponseController
	due     time.Time
	kind    string // Content-Type, as the caller gave it
	fresh   int    // bytes since the deadline was put off
	over    bool
}

// slowest is how many bytes a second are fast enough for any body, however large.
const slowest = 1 << 20

func (a *arriving) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if a.fresh += n; a.fresh >= slowest && err == nil {
		a.due = a.due.Add(time.Duration(a.fresh) * time.Second / slowest)
		a.fresh = 0
		_ = a.control.SetReadDeadline(a.due)
	}
	if errors.Is(err, io.EOF) {
		a.over = true
		_ = a.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// linger sends what is written so far and reads on for a while, though nobody wants the rest: many
// clients send all of a body before they look at the answer, which a connection closed early would
// take from them.
func (s *Server) linger(control *http.ResponseController, rest io.Reader) {
	_ = control.Flush()
	_ = control.SetReadDeadline(time.Now().Add(min(s.o.BodyTime, 5*time.Second)))
	_, _ = io.CopyN(io.Discard, rest, 2*s.o.VideoBytes)
}

// bound puts a limit on the body, and finds room for an upload before it is read.
func (s *Server) bound(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r, op := c.Request(), s.operation(c)
		if op == nil || op.route.Operation.RequestBody == nil {
			return next(c) // nobody reads it
		}
		if op.route.Operation.RequestBody.Value.Content[ndjson] != nil {
			return next(c) // bounded by line, in the handler
		}
		limit, upload := int64(jsonBytes), false
		switch kind, _, _ := mime.ParseMediaType(r.Header.Get(echo.HeaderContentType)); kind {
		case echo.MIMEMultipartForm:
			limit, upload = s.o.VideoBytes+partsBytes+framingBytes, true
		}
		if r.ContentLength > limit {
			return refuse(pBodyBig, "%d bytes; accepted are at most %d", r.ContentLength, limit)
		}
		body := &bounded{ReadCloser: http.MaxBytesReader(c.Response().Writer, r.Body, limit)}
		if upload {
			body.room = &room{uploads: s.uploads, most: s.o.VideoBytes}
			defer body.room.leave()
			if !body.room.first(r.ContentLength, s.o.Limits.Bytes) {
				return s.full()
			}
		}
		r.Body = body
		err := next(c)
		switch {
		case err != nil && body.full:
			return s.full()
		case err != nil && body.fault != nil:
			return bodyError(body.fault)
		}
		return err
	}
}

// bounded is a body that remembers what was wrong with it. A parser whose input ends early may take
// that for another mistake, such as half a header.
type bounded struct {
	io.ReadCloser
	room  *room // nil for bodies that are small
	full  bool  // there was no more room
	fault error
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.room != nil && !b.room.take(int64(n)) {
		b.full = true
		return 0, errFull
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.fault = err
	}
	return n, err
}

// room is the memory that one upload has, of what there is for all.
type room struct {
	uploads    *semaphore.Weighted
	most       int64 // a file has no more bytes
	held, used int64
}

// first takes memory before an upload is read: for all of it, or if its length is not known, which
// is negative then, for a picture. It reports whether there was any.
func (r *room) first(length, picture int64) bool {
	if length < 0 {
		length = picture
	}
	return r.more(length)
}

// take counts bytes that have come. A body of unknown length that outgrows its room gets twice as much.
func (r *room) take(n int64) bool {
	r.used += n
	return r.used <= r.held || r.more(max(r.held, r.used-r.held))
}

func (r *room) more(n int64) bool {
	n = min(n, r.most-r.held)
	if !r.uploads.TryAcquire(n) {
		return false
	}
	r.held += n
	return true
}

func (r *room) leave() { r.uploads.Release(r.held) }

var errFull = errors.New("no room for uploads")

func (s *Server) full() error {
	return refuse(pBusy, "uploads fill the %d MiB that this node gives them", s.o.UploadMemory>>20)
}

func requestID(c echo.Context) string { return c.Response().Header().Get(echo.HeaderXRequestID) }

// plainID accepts a caller's request id if it can do no harm in a log.
func plainID(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-' || r == '_')
	}) < 0
}

func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// Health answers /healthz.
func (s *Server) Health(context.Context, v1.HealthRequestObject) (v1.HealthResponseObject, error) {
	return v1.Health200JSONResponse{Status: v1.Alive, Version: s.o.Version, Serving: s.o.Serving}, nil
}

// Ready answers /readyz: yes once the index is loaded, while it is not staler than the operator allows, and until the node
// drains.
func (s *Server) Ready(context.Context, v1.ReadyRequestObject) (v1.ReadyResponseObject, error) {
	no := func(reason string) (v1.ReadyResponseObject, error) {
		return v1.Ready503JSONResponse{Ready: false, Reason: &reason}, nil
	}
	state := s.matcher.Follower().State()
	switch {
	case s.draining.Load():
		return no("the node is draining")
	case state == nil && s.matcher.Follower().Full():
		return no(matcher.ErrNotReady.Error() + ": " + matcher.ErrFull.Error())
	case state == nil:
		return no(matcher.ErrNotReady.Error())
	case s.stale():
		return no(fmt.Sprintf("the index is stale for %v; the operator allows %v",
			s.matcher.Follower().Staleness().Round(time.Millisecond), s.o.MaxStaleness))
	}
	seq := int64(state.Seq)
	return v1.Ready200JSONResponse{Ready: true, IndexSeq: &seq}, nil
}

// IsReady reports whether /readyz says yes.
func (s *Server) IsReady() bool {
	return !s.draining.Load() && s.matcher.Follower().State() != nil && !s.stale()
}

func (s *Server) stale() bool {
	return s.o.MaxStaleness > 0 && s.matcher.Follower().Staleness() > s.o.MaxStaleness
}
