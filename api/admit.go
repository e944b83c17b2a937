package api

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"runtime"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"vigie/hashing"
	"vigie/hashing/decode"
	"vigie/matcher"
)

// AdmissionOptions of an [Admission]. Zero fields take the defaults.
type AdmissionOptions struct {
	// Decoders, WasmDecoders and VideoDecoders are how many pictures, AVIF pictures and videos are decoded at a time.
	// Default: GOMAXPROCS, 1, GOMAXPROCS.
	Decoders, WasmDecoders, VideoDecoders int
	// SearchWait and DecodeWait are how long a check of signals, and a picture, may wait for its turn; default 1 s and 5 s.
	// While more comes than can be done they wait for a fraction of that, and the rest is refused.
	SearchWait, DecodeWait time.Duration
	// Rate is how many requests a second one key may make, and Burst how many at once after a rest; a line of a batch
	// counts as one. Default: no limit; Burst: as many as in a second.
	Rate  float64
	Burst int
	// Metrics counts what waits and what is refused; nil: nobody does.
	Metrics *Metrics
}

// Admission decides which requests run, which wait and which are refused. At the door requests are refused while there are not
// enough processors for them. Behind it there is a gate for each kind of work, so that
// a crowd of one kind holds up no other: decoding (in front of the decode children), searching, and all the rest, such as
// flags of signals and lists; searches of text, each of which may take seconds of a processor, have one of their own. It is safe for concurrent use.
type Admission struct {
	crowd                    *crowd
	idle                     *idle
	search, text, rest       *gate
	pictures, wasm, videos   *gate
	perKey, perStranger      rates
	limitedKey, limitedGuest func()
}

// NewAdmission makes an admission. Give the matcher its [Admission.Hasher] and [Admission.Videos], and the server itself.
func NewAdmission(o AdmissionOptions) *Admission {
	processors := runtime.GOMAXPROCS(0)
	searchWait, decodeWait := cmp.Or(o.SearchWait, time.Second), cmp.Or(o.DecodeWait, 5*time.Second)
	gateOf := func(name string, slots int, patience time.Duration) *gate {
		g := &gate{gateOptions: gateOptions{slots: slots, room: 1024, patience: patience, target: patience / 50}}
		if o.Metrics != nil {
			o.Metrics.watchGate(name, g)
		}
		return g
	}
	// More run than there are processors: some of them wait for a disk, which takes as long for many as for one. And there is one picture for each decode
	// child, and one in hand, so that none is idle; what is large waits for memory there without its child.
	a := &Admission{
		idle:        newIdle(),
		crowd:       &crowd{wait: lateness(), shed: func() {}},
		search:      gateOf("search", 64*processors, searchWait),
		text:        gateOf("text", 2*processors, 5*time.Second),
		rest:        gateOf("rest", 16*processors, 5*time.Second),
		pictures:    gateOf("pictures", 2*cmp.Or(o.Decoders, processors), decodeWait),
		wasm:        gateOf("avif", 2*cmp.Or(o.WasmDecoders, 1), decodeWait),
		videos:      gateOf("videos", cmp.Or(o.VideoDecoders, processors), 4*decodeWait),
		perKey:      rates{limit: rate.Limit(o.Rate), burst: cmp.Or(o.Burst, int(math.Ceil(o.Rate))), most: 4096},
		perStranger: rates{limit: 10, burst: 300, most: 4096},
		limitedKey:  func() {}, limitedGuest: func() {},
	}
	a.search.batches = 8 * processors // enough for all of the processors, and others find one soon
	if o.Metrics != nil {
		a.crowd.shed = o.Metrics.shed.WithLabelValues("any", "crowd").Inc
		a.limitedKey, a.limitedGuest = o.Metrics.limited.WithLabelValues("rate").Inc, o.Metrics.limited.WithLabelValues("authentication").Inc
	}
	return a
}

type claimKey struct{}

// enterFor is enter on behalf of the request whose context this is. What no request asked for is the node's own.
func (g *gate) enterFor(ctx context.Context) (leave func(), err error) {
	c, ok := ctx.Value(claimKey{}).(claim)
	if !ok {
		c = claim{key: local, lane: batches, own: true}
	}
	return g.enter(ctx, c)
}

// Hasher puts the gate in front of a hasher, where the bytes are here already: somebody whose upload takes a
// minute does not keep a decoder from others meanwhile.
func (a *Admission) Hasher(h matcher.Hasher) matcher.Hasher { return gatedHasher{a, h} }

type gatedHasher struct {
	a *Admission
	matcher.Hasher
}

func (h gatedHasher) Picture(ctx context.Context, data []byte) (hashing.Picture, error) {
	g := h.a.pictures
	if decode.Sniff(data).Class == decode.Compiled { // they have children of their own
		g = h.a.wasm
	}
	leave, err := g.enterFor(ctx)
	if err != nil {
		return hashing.Picture{}, err
	}
	defer leave()
	return h.Hasher.Picture(ctx, data)
}

// Videos puts the gate in front of a decoder of videos.
func (a *Admission) Videos(v matcher.Videos) matcher.Videos { return gatedVideos{a, v} }

type gatedVideos struct {
	a *Admission
	matcher.Videos
}

func (v gatedVideos) Video(ctx context.Context, data []byte, o hashing.VideoOptions, fn func(hashing.Frame) error) (hashing.Video, error) {
	leave, err := v.a.videos.enterFor(ctx)
	if err != nil {
		return hashing.Video{}, err
	}
	defer leave()
	return v.Videos.Video(ctx, data, o, fn)
}

// workTime is how long the work on one request may take, if it holds no media.
const workTime = time.Minute

// admit lets a request go on when it is its turn. An upload is refused here if it would be later; it takes its turn
// once it has come ([Admission.Hasher]). A stream, such as a batch, takes one for each of its lines ([Server.admitLine]),
// the feed for each of its pages ([Server.changes]), a listing of entries where it is known whether
// it searches ([Server.ListEntries]).
// Operations that need no key pass: they are for probes.
func (s *Server) admit(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		op, r := s.operation(c), c.Request()
		if op == nil || len(op.roles) == 0 {
			return next(c)
		}
		kind, _, _ := mime.ParseMediaType(r.Header.Get(echo.HeaderContentType))
		claim := claim{key: actor(r.Context()), lane: interactive}
		claim.own = claim.key == local
		stream := op.streams(kind)
		feed := stream && op.route.Operation.RequestBody == nil
		switch {
		case feed && !wantsEvents(r.Header.Get(echo.HeaderAccept)): // a page
		case stream:
			claim.lane, claim.patient = batches, true
		case op.route.Operation.OperationID == "check":
			claim.lane = checks
		}
		if claim.lane == checks || kind == echo.MIMEMultipartForm {
			s.o.Admission.idle.ask()
		}
		ctx := context.WithValue(r.Context(), claimKey{}, claim)
		if stream && !feed {
			c.SetRequest(r.WithContext(ctx))
			return next(c)
		}
		if !claim.own {
			if err := s.o.Admission.spend(claim.key); err != nil {
				return err
			}
		}
		if feed {
			c.SetRequest(r.WithContext(ctx))
			return next(c)
		}
		most := workTime
		if kind == echo.MIMEMultipartForm {
			most = s.o.BodyTime + time.Duration(s.o.VideoBytes/slowest)*time.Second + s.o.WorkTime
		}
		ctx, cancel := context.WithTimeout(ctx, most)
		defer cancel()
		r = r.WithContext(ctx)
		c.SetRequest(r)
		if kind == echo.MIMEMultipartForm {
			if err := s.o.Admission.pictures.hopeless(claim); err != nil {
				if rest, ok := c.Get(bodyKey).(*arriving); ok && r.ContentLength <= swallowed {
					swallow(rest.control, rest)
				}
				return err
			}
			return next(c)
		}
		if kind == echo.MIMEApplicationJSON && op.route.Operation.RequestBody != nil {
			text, err := io.ReadAll(r.Body) // which bound bounds; before the turn comes, or who sends slowly would hold others up
			if err != nil {
				return bodyError(err)
			}
			r.Body = io.NopCloser(bytes.NewReader(text))
		}
		if op.route.Operation.OperationID == "listEntries" {
			return next(c)
		}
		g := s.o.Admission.rest
		if claim.lane == checks {
			g = s.o.Admission.search
		}
		leave, err := g.enter(ctx, claim)
		if err != nil {
			return err
		}
		defer leave()
		return next(c)
	}
}

// streams reports whether a request, with a body of a type, or its answer lasts for as long as somebody sends or reads:
// it may be a list in lines, or events.
func (o *operation) streams(kind string) bool {
	if body := o.route.Operation.RequestBody; body != nil && body.Value.Content[kind] != nil && !atOnce(kind) {
		return true
	}
	for _, answer := range o.route.Operation.Responses.Map() {
		for kind := range answer.Value.Content {
			if !atOnce(kind) {
				return true
			}
		}
	}
	return false
}

// atOnce are bodies and answers that are whole before anything is done with them.
func atOnce(kind string) bool {
	return kind == echo.MIMEApplicationJSON || kind == echo.MIMEMultipartForm || kind == "application/problem+json"
}

// spend counts a request of a key.
func (a *Admission) spend(key string) error {
	wait := a.perKey.spend(key)
	if wait == 0 {
		return nil
	}
	a.limitedKey()
	return limited(wait, fmt.Sprintf("this key may make %g requests a second, and %d at once after a rest", float64(a.perKey.limit), a.perKey.burst))
}

func limited(wait time.Duration, detail string) error {
	after := min(max(wait.Truncate(time.Second)+time.Second, time.Second), longestRetry)
	return &refusal{is: pLimited, detail: detail, retry: after}
}

// admitLine waits for the turn of one line of a batch, and for its key's rate.
func (s *Server) admitLine(ctx context.Context) (leave func(), err error) {
	s.o.Admission.idle.ask()
	if key := actor(ctx); key != local {
		if b := s.o.Admission.perKey.of(key); b != nil {
			if err := b.Wait(ctx); err != nil {
				return nil, err
			}
		}
	}
	return s.o.Admission.search.enterFor(ctx)
}

// admitRows waits for the turn of some rows of a list that are about to be stored, and for its key's rate, to which each
// of them counts.
func (s *Server) admitRows(ctx context.Context, rows int) (leave func(), err error) {
	if key := actor(ctx); key != local {
		if b := s.o.Admission.perKey.of(key); b != nil {
			for rows > 0 {
				n := min(rows, b.Burst())
				if err := b.WaitN(ctx, n); err != nil {
					return nil, err
				}
				rows -= n
			}
		}
	}
	return s.o.Admission.rest.enterFor(ctx)
}

// strangers bounds how often one address is told that its key is no good: beyond that it is told to wait, and its
// connection ends. A good key passes all the same, as it may come through the same proxy. Its secret is found
// neither by fast nor by slow guessing, but who tries should cost little and be seen.
func (s *Server) strangers(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		err := next(c)
		if err == nil || actor(c.Request().Context()) != "" || !badKey(err) {
			return err
		}
		wait := s.o.Admission.perStranger.spend(network(c.RealIP(), 32, site6))
		if wait == 0 {
			return err
		}
		s.o.Admission.limitedGuest()
		c.Response().Header().Set(echo.HeaderConnection, "close")
		return limited(wait, "too many requests without a good key came from this address")
	}
}

func badKey(err error) bool {
	for _, is := range []error{matcher.ErrNoKey, matcher.ErrBadKey, matcher.ErrExpiredKey, matcher.ErrRevokedKey} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}
