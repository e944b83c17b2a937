package api

import (
	"encoding/json"
	"io"
	"math"
	"net/http"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

// crowd refuses requests at the door, while the node is behind with work for which there is no gate. A check of hashes
// takes a processor for so short a time that it is over as soon as it has begun: too many of them do not wait at a
// gate but for a processor, where this program does not see them, and everything else waits with them.
//
// So it looks every tick how long goroutines that could run had to wait until they did. When that is beyond a bound, it
// lets in a tenth less than in the tick before, and again for as long as it gets worse; else a little more, until nobody is refused any
// more. If they wait for something else, such as another program, to refuse is of no use: so it lets in no less than a share of what came
// while they did not wait, and when it has refused for about a second and they wait for as long as before, it lets in more and
// more all the same, unless they then wait for longer. Such a controller is that of DAGOR (Zhou et al., Overload Control for Scaling WeChat Microservices, 2018).
//
// Fair: what is let in is shared so that no key has less than another that wants as much. Who asks for less than its
// share is not refused at all. The flags of a key are apart from its checks.
type crowd struct {
	wait func() (behind time.Duration, many bool) // of goroutines, since it was asked last; and whether many wait now
	shed func()                                   // tells that one was refused

	mu      sync.Mutex
	ticked  time.Time
	came    float64         // requests let in during this tick
	usual   float64         // and in a tick, smoothed
	allowed float64         // requests a tick, while somebody is refused; else 0
	level   float64         // of these, the most that one flow has
	flows   map[claim]*flow // while somebody is refused
	behind  time.Duration   // in the tick before
	calmly  float64         // requests in a tick while nobody was refused, smoothed over many
	from    time.Duration   // about so late it has been
	trial   int             // for so many ticks in which it let in less, and not in others
	late    time.Time       // when it was so last
}

// flow is what one key asks for.
type flow struct {
	now, usual float64 // in this tick, and in a tick, smoothed
	credit     float64 // a request is let in for 1
}

const (
	tick       = 50 * time.Millisecond
	mostBehind = 20 * time.Millisecond

	calmTicks = 200    // in about as many it is known what comes while nobody is refused
	calmShare = 1. / 4 // of that is let in at any time; as refusing costs, not more
	trialTime = 20     // ticks in which to refuse must have changed something
)

// calm lets a request in without asking whose it is, if nobody is refused.
func (w *crowd) calm() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); now.Sub(w.ticked) >= tick {
		w.turn(now)
	}
	if w.allowed > 0 {
		return false
	}
	w.came++
	return true
}

// enter reports whether the request is let in. Ask calm before.
func (w *crowd) enter(c claim) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.allowed == 0 {
		w.came++
		return true
	}
	f := w.flows[c]
	if f == nil {
		f = &flow{credit: 1} // the first one is let in
		w.flows[c] = f
	}
	f.now++
	f.credit += min(1, w.level/max(f.now, f.usual))
	if f.credit < 1 {
		w.shed()
		return false
	}
	f.credit--
	w.came++
	return true
}

// turn ends a tick, and decides upon the next one.
func (w *crowd) turn(now time.Time) {
	ticks := max(1, now.Sub(w.ticked).Seconds()/tick.Seconds())
	w.ticked = now
	came := w.came / ticks
	w.usual += (came - w.usual) / 4
	w.came = 0
	wanted := 0.0
	for c, f := range w.flows {
		f.usual += (f.now/ticks - f.usual) / 4
		f.now = 0
		if wanted += f.usual; f.usual < .01 {
			delete(w.flows, c)
		}
	}
	behind, many := w.wait()
	late := many && behind > mostBehind
	if !late {
		w.trial = max(0, w.trial-1)
	} else if late = w.worth(now, behind); !late {
		w.trial = 2 * trialTime // which a few ticks in time do not end
	}
	least := max(1, calmShare*w.calmly)
	switch {
	case late && w.allowed == 0:
		w.allowed, w.flows = max(least, .9*w.usual), map[claim]*flow{}
		w.level = w.allowed
	case w.allowed == 0:
		if w.trial == 0 {
			w.calmly += (came - w.calmly) * min(1, ticks/calmTicks)
		}
	case late && behind >= w.behind:
		w.trial++
		w.allowed = max(least, .9*w.allowed)
	case !late && w.allowed > 2*wanted:
		w.allowed, w.flows = 0, nil
	case !late:
		w.allowed *= math.Pow(1.05, min(ticks, 20))
	}
	w.behind = behind
	if wanted > 0 {
		w.level = level(w.flows, w.allowed)
	}
}

// worth reports whether to refuse may make goroutines wait for less long: not if it was tried, and they wait as before.
func (w *crowd) worth(now time.Time, behind time.Duration) bool {
	if behind < w.from/2 || behind > 2*w.from || now.Sub(w.late) > trialTime*tick {
		w.from, w.trial = behind, 0
	}
	w.late = now
	return w.trial < trialTime
}

// level is the most that one flow may have, so that all of them have so much.
func level(flows map[claim]*flow, all float64) float64 {
	wants := make([]float64, 0, len(flows))
	for _, f := range flows {
		wants = append(wants, f.usual)
	}
	slices.Sort(wants)
	for i, want := range wants {
		if share := all / float64(len(wants)-i); want >= share {
			return share
		}
		all -= want
	}
	return math.Inf(1) // there is enough for all
}

// lateness is what crowds go by. Tests, which run a hundred nodes in one process, put something else in its place.
var lateness = scheduling

// scheduling measures how long goroutines that can run wait for a processor: nine of ten of them at most so long. They are many if they are more than
// anybody would wait for who is not in a crowd.
func scheduling() func() (behind time.Duration, many bool) {
	samples := []metrics.Sample{{Name: "/sched/latencies:seconds"}, {Name: "/sched/goroutines/runnable:goroutines"}}
	var before []uint64
	return func() (time.Duration, bool) {
		metrics.Read(samples)
		h := samples[0].Value.Float64Histogram()
		if before == nil {
			before = make([]uint64, len(h.Counts))
		}
		all := uint64(0)
		for i, n := range h.Counts {
			before[i], all = n-before[i], all+n-before[i]
		}
		beyond, at := all/10, len(before)-1
		for ; at > 0 && before[at] <= beyond; at-- {
			beyond -= before[at]
		}
		copy(before, h.Counts)
		return seconds(max(0, h.Buckets[at])), samples[1].Value.Uint64() >= uint64(16*runtime.GOMAXPROCS(0))
	}
}

// crowded answers a request that is refused at the door, and reports whether it was. It does little, as every request comes
// here that the node cannot take: it makes no line in the log. What holds much is left to the gates, and streams are
// slowed down there.
func (s *Server) crowded(w http.ResponseWriter, r *http.Request) bool {
	crowd := s.o.Admission.crowd
	if !strings.HasPrefix(r.URL.Path, "/v1/") || strings.HasSuffix(r.URL.Path, "batch") || r.ContentLength > swallowed ||
		r.Context().Value(principalKey{}) != nil || crowd.calm() {
		return false
	}
	_, secret, _ := strings.Cut(r.Header.Get(echo.HeaderAuthorization), " ")
	key, err := s.matcher.Authenticate(secret)
	if err != nil {
		return false // which is told, but not too often
	}
	c := claim{key: key.ID, lane: interactive}
	if r.URL.Path == "/v1/check" {
		c.lane = checks
	}
	if crowd.enter(c) {
		return false
	}
	h := w.Header()
	h.Set(echo.HeaderXRequestID, newID())
	h.Set(echo.HeaderXContentTypeOptions, "nosniff")
	h.Set(echo.HeaderCacheControl, "no-store")
	h.Set(echo.HeaderContentType, "application/problem+json")
	h.Set(echo.HeaderContentLength, strconv.Itoa(len(crowdedProblem)))
	h.Set(echo.HeaderRetryAfter, "1")
	control := http.NewResponseController(w)
	here := swallow(control, r.Body)
	if !here {
		h.Set(echo.HeaderConnection, "close")
	}
	w.WriteHeader(pOverloaded.Status)
	_, _ = w.Write(crowdedProblem)
	if !here {
		s.linger(control, r.Body)
	}
	return true
}

var crowdedProblem = func() []byte {
	body, _ := json.Marshal(document(refuse(pOverloaded, "more requests come than this node has processors for; try again in 1 s"), ""))
	return body
}()

// swallowed bounds the bodies that are read though nobody wants them.
const swallowed = 256 << 10

// swallow reads a body that is here already, and reports whether that was all of it: then the connection can go on, which costs the
// node, and who asks, less than another one.
func swallow(control *http.ResponseController, body io.Reader) bool {
	if body == http.NoBody {
		return true
	}
	_ = control.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	n, err := io.Copy(io.Discard, io.LimitReader(body, swallowed+1))
	if err == nil {
		_ = control.SetReadDeadline(time.Time{})
	}
	return err == nil && n <= swallowed
}
