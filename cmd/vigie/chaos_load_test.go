package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	v1 "vigie/api/v1"
)

// How much the clients of a cluster do, for each node and second. The rate of checks is fixed: it does not fall when answers are
// slow.
const (
	checksPerSecond = 20
	writesPerSecond = 4
)

// load is what the clients of a cluster do throughout, and everything that they were told. It is judged when all is over,
// by the log: see judge.
type load struct {
	*cluster
	name   string // of its checks
	logID  string
	client *http.Client
	stop   context.CancelFunc
	ended  sync.WaitGroup

	phase    atomic.Int32 // what happens to the cluster now
	balanced atomic.Bool  // checks and writes go to a node that says it is ready, as behind a load balancer
	since    atomic.Int64 // marks before are of a log that is no more: their numbers say nothing

	mu      sync.Mutex
	marks   []*mark
	checks  []*checked
	written []*write
}

// mark is a media that a client flags, and perhaps retracts later. Its fields below digest are under the load's lock.
type mark struct {
	signals []v1.Signal
	picture []byte // instead of signals, for some
	digest  string // SHA-256, by which it is known in the log

	entry, seq int64 // as acknowledged
	retracting bool  // its retraction was sent
}

// checked is what came of a check.
type checked struct {
	due     time.Time
	took    time.Duration
	on      *member
	phase   int32
	mark    *mark  // that it was about; nil: what nobody has flagged
	name    string // content id
	minSeq  int64
	verdict v1.Verdict // without what is not needed; zero if there was none
	fault   string     // why there was none
	killed  bool       // the node was killed meanwhile
}

// write is what came of a flag or a retraction.
type write struct {
	phase   int32
	mark    *mark
	retract bool
	seq     int64  // that was acknowledged; 0: none was
	fault   string // the kind of problem, or that there was no answer
}

// noAnswer is the kind of a fault that has no problem document.
const noAnswer = "no answer"

// saysNothing reports whether a problem promises that nothing has happened.
func saysNothing(fault string) bool {
	return fault == "/problems/database-away" || fault == "/problems/clock-off"
}

// startLoad sets clients to work on each node, who know of some marks already, and do as much as stands above, divided by
// share.
func startLoad(c *cluster, name string, seed uint64, share time.Duration, marks ...*mark) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{cluster: c, name: name, stop: stop, marks: marks, client: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64},
		Timeout:   20 * time.Second, // nothing may take so long: a node has to say something before
	}}
	page, err := get[v1.Changes](c.nodes[0].served, c.admin, "/v1/changes?limit=1")
	must(c, err)
	l.logID = page.LogId
	for i, m := range c.nodes {
		l.ended.Go(func() { l.watch(ctx, m) })
		questions, works := rand.New(rand.NewPCG(seed, uint64(2*i+1))), rand.New(rand.NewPCG(seed, uint64(2*i+2)))
		l.ended.Go(func() {
			every(ctx, share*time.Second/checksPerSecond, func(due time.Time) {
				if on, deaths := l.route(m, questions); on != nil {
					check := l.question(on, deaths, questions, due)
					l.ended.Go(check)
				}
			})
		})
		l.ended.Go(func() {
			every(ctx, share*time.Second/writesPerSecond, func(time.Time) {
				if on, _ := l.route(m, works); on != nil {
					work := l.work(on, works)
					l.ended.Go(work)
				}
			})
		})
	}
	return l
}

// end ends all clients, when they have their answers.
func (l *load) end() {
	l.stop()
	l.ended.Wait()
}

// every does something at a fixed rate, each time when it is due or, if that has passed, at once.
func every(ctx context.Context, interval time.Duration, do func(due time.Time)) {
	for due := time.Now(); ; due = due.Add(interval) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(due)):
			do(due)
		}
	}
}

// watch asks a node whether it is ready, as a load balancer does.
func (l *load) watch(ctx context.Context, m *member) {
	every(ctx, 50*time.Millisecond, func(time.Time) {
		ready := false
		if r, err := l.client.Get(m.url + "/readyz"); err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
			_ = r.Body.Close()
			ready = r.StatusCode == http.StatusOK
		}
		m.ready.Store(ready)
	})
}

// route is the node to ask instead of m: m itself, unless it is killed, or a load balancer chooses; nil: none. deaths is how often it had
// been killed before it was chosen.
func (l *load) route(m *member, random *rand.Rand) (on *member, deaths int64) {
	if l.balanced.Load() {
		ready := slices.DeleteFunc(slices.Clone(l.nodes), func(m *member) bool { return !m.ready.Load() })
		if len(ready) == 0 {
			l.Error("no node is ready")
			return nil, 0
		}
		m = ready[random.IntN(len(ready))]
		return m, m.deaths.Load()
	}
	deaths = m.deaths.Load() // first: whoever is about to be killed is down before it counts
	if m.down.Load() {
		return nil, 0
	}
	return m, deaths
}

// send posts something to a node.
func send[T any](l *load, m *member, key, path, contentType string, body io.Reader) (T, string, error) {
	r, err := http.NewRequest("POST", m.url+path, body)
	if err != nil {
		panic(err) // paths are the tests' own
	}
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Content-Type", contentType)
	out, err := ask[T](l.client.Do(r))
	if p, ok := errors.AsType[*problemError](err); ok {
		return out, p.Type, err
	} else if err != nil {
		return out, noAnswer, err
	}
	return out, "", nil
}

func jsonOf(v any) io.Reader {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // the tests' own structs
	}
	return bytes.NewReader(text)
}

// question draws a check, and returns what asks it: half of them are about what was flagged, of which some is retracted.
func (l *load) question(on *member, deaths int64, random *rand.Rand, due time.Time) func() {
	a := &checked{due: due, on: on, phase: l.phase.Load()}
	signals := randomSignals(random)[:1]
	l.mu.Lock()
	marks := l.marks
	if n := len(marks); n > 0 && random.IntN(2) == 0 {
		from := 0
		if random.IntN(2) == 0 {
			from = max(0, n-50) // what is new is asked about more often
		}
		at := from + random.IntN(n-from)
		a.mark = marks[at]
		signals = a.mark.signals
		if random.IntN(2) == 0 && !l.balanced.Load() && at >= int(l.since.Load()) {
			a.minSeq = a.mark.seq // what was acknowledged must be seen
		}
	}
	a.name = fmt.Sprintf("%s-%d", l.name, len(l.checks))
	l.checks = append(l.checks, a)
	l.mu.Unlock()
	if a.mark != nil && a.mark.picture == nil {
		signals = []v1.Signal{{Algorithm: v1.Pdq, Value: turned(signals[0].Value, random)}}
	}
	return func() {
		var v v1.Verdict
		var fault string
		if a.mark != nil && a.mark.picture != nil {
			contentType, body := formOf(a.mark.picture, map[string]string{"content_id": a.name, "min_seq": fmt.Sprint(a.minSeq)})
			v, fault, _ = send[v1.Verdict](l, on, l.platform, "/v1/check", contentType, body)
		} else {
			v, fault, _ = send[v1.Verdict](l, on, l.platform, "/v1/check", "application/json", jsonOf(v1.CheckSignals{Signals: signals, ContentId: &a.name, MinSeq: &a.minSeq}))
		}
		v.Signals, v.Media = nil, nil
		l.mu.Lock()
		defer l.mu.Unlock()
		a.took, a.verdict, a.fault, a.killed = time.Since(due), v, fault, on.deaths.Load() != deaths
	}
}

// work draws a flag or a retraction, and returns what does it. What fails is not tried again: whether it has happened is
// for the log to say.
func (l *load) work(on *member, random *rand.Rand) func() {
	if random.IntN(6) == 0 {
		l.mu.Lock()
		defer l.mu.Unlock()
		var able []*mark
		for _, m := range l.marks[l.since.Load():] {
			if m.entry != 0 && !m.retracting {
				able = append(able, m)
			}
		}
		if len(able) > 0 {
			m := able[random.IntN(len(able))]
			m.retracting = true
			return func() { l.doRetract(on, m) }
		}
	}
	m := newList(random)
	if random.IntN(8) == 0 {
		m = newPicture(random.Uint64())
	}
	return func() { _ = l.doFlag(on, m) }
}

func newList(random *rand.Rand) *mark {
	m := &mark{signals: randomSignals(random)}
	m.digest = m.signals[1].Value
	return m
}

func newPicture(seed uint64) *mark {
	m := &mark{picture: jpegOf(seed, 160, 120)}
	sum := sha256.Sum256(m.picture)
	m.digest = hex.EncodeToString(sum[:])
	return m
}

// doFlag flags, and from the answer on it is asked about.
func (l *load) doFlag(on *member, m *mark) error {
	w := &write{phase: l.phase.Load(), mark: m}
	var out v1.Flagged
	var err error
	if m.picture != nil {
		contentType, body := form(m.picture)
		out, w.fault, err = send[v1.Flagged](l, on, l.admin, "/v1/banks/"+picturesBank+"/entries", contentType, body)
	} else {
		out, w.fault, err = send[v1.Flagged](l, on, l.admin, "/v1/banks/"+listsBank+"/entries", "application/json", jsonOf(v1.FlagSignals{Signals: m.signals}))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	w.seq, m.entry, m.seq = out.Seq, out.Entry.Id, out.Seq
	l.marks, l.written = append(l.marks, m), append(l.written, w)
	return err
}

func (l *load) doRetract(on *member, m *mark) {
	w := &write{phase: l.phase.Load(), mark: m, retract: true}
	var out v1.Entry
	out, w.fault, _ = send[v1.Entry](l, on, l.admin, fmt.Sprintf("/v1/entries/%d/retract", m.entry), "application/json", jsonOf(v1.Reason{Reason: "retracted by its client"}))
	l.mu.Lock()
	defer l.mu.Unlock()
	w.seq = out.Seq
	l.written = append(l.written, w)
}

// formOf is a file with fields beside it.
func formOf(file []byte, fields map[string]string) (contentType string, body io.Reader) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	var err error
	for name, value := range fields {
		err = errors.Join(err, w.WriteField(name, value))
	}
	part, err2 := w.CreateFormFile("file", "upload")
	if err = errors.Join(err, err2); err == nil {
		_, err = part.Write(file)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err) // memory does not fail
	}
	return w.FormDataContentType(), &b
}

// turned is a hash with up to 20 of its bits turned, as a copy has it: within the radius of 31.
func turned(value string, random *rand.Rand) string {
	bits, err := hex.DecodeString(value)
	if err != nil {
		panic(err) // it was made here
	}
	for range random.IntN(21) {
		i := random.IntN(8 * len(bits))
		bits[i/8] ^= 1 << (i % 8)
	}
	return hex.EncodeToString(bits)
}
