package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "vigie/api/v1"
)

// siege is a node that is killed with SIGKILL amid the work of many clients, and started again. They send whatever was not
// answered again, until it is.
type siege struct {
	*killing
	random   *rand.Rand
	node     atomic.Pointer[served] // as the clients know it
	answered atomic.Int64
	repeated atomic.Int64 // requests that were sent again
	moments  []int64      // numbers of answers after which the node is killed
	due      chan struct{}
}

// besiege starts a node with a bank for lists and one that keeps pictures. VIGIE_KILL_ROUNDS sets how often it will be killed
// (20 is the full proof), VIGIE_KILL_SEED repeats the moments of a former run.
func besiege(t *testing.T) (s *siege, kills int) {
	seed := fromEnv(t, "VIGIE_KILL_SEED", uint64(time.Now().UnixNano()))
	t.Logf("VIGIE_KILL_SEED=%d", seed)
	s = &siege{
		killing: &killing{T: t, data: filepath.Join(t.TempDir(), "data"), seed: seed, all: map[int64]*flagRecord{}},
		random:  rand.New(rand.NewPCG(seed, 0)),
	}
	s.begin()
	for _, args := range [][]string{{"banks", "create", "lists"}, {"banks", "create", "--keep-media", "pictures"}} {
		if code, _, warn := s.vigie(args...); code != 0 {
			t.Fatal(warn)
		}
	}
	s.admin = s.key(t, v1.Admin)
	return s, int(fromEnv(t, "VIGIE_KILL_ROUNDS", 3))
}

func (s *siege) begin() {
	s.Helper()
	s.start()
	s.node.Store(s.served)
}

// through has clients do n pieces of work, and kills the node after as many answers as chance wants, once in each of as many
// equal parts of the work as there are kills. Clients call done for each answer.
func (s *siege) through(n, kills, clients int, client func(number int, todo <-chan int), begun func()) {
	s.Helper()
	s.moments, s.due = nil, make(chan struct{}, kills)
	for i := range kills {
		s.moments = append(s.moments, int64(i*n/kills+1+s.random.IntN(n/kills-1)))
	}
	todo := make(chan int, n)
	for i := range n {
		todo <- i
	}
	close(todo)
	var clientele sync.WaitGroup
	for number := range clients {
		clientele.Go(func() { client(number, todo) })
	}
	s.Cleanup(clientele.Wait)
	finished := make(chan struct{})
	go func() { clientele.Wait(); close(finished) }()
	for kill := range kills {
		select {
		case <-s.due:
		case <-finished:
			s.Fatalf("the work ended after %d answers, before kill %d", s.answered.Load(), kill+1)
		}
		time.Sleep(time.Duration(s.random.Int64N(int64(3 * time.Millisecond)))) // the moment of the kill, not a wait for something
		s.kill()
		s.quiet()
		s.begin()
		begun()
	}
	<-finished
}

// done counts an answer.
func (s *siege) done() {
	if slices.Contains(s.moments, s.answered.Add(1)) {
		s.due <- struct{}{}
	}
}

// quiet is an error if the node had a fault to tell of.
func (s *siege) quiet() {
	s.Helper()
	if said := s.stderr.String(); said != "" {
		s.Errorf("the node said: %s", said)
	}
}

// end stops the node as its operator would.
func (s *siege) end() {
	s.Helper()
	if code, err := s.stop(); code != 0 || err != nil {
		s.Errorf("the node ended with %d: %v", code, err)
	}
	s.quiet()
}

// again does something until a node answers it: once more if the connection breaks, if the node is busy or not well (429, 5xx), or if the
// request is running already. What is refused is an error of the test.
func (s *siege) again(what string, do func(*served) error) bool {
	for deadline := time.Now().Add(4 * patience); s.Context().Err() == nil; time.Sleep(20 * time.Millisecond) {
		err := do(s.node.Load())
		var gone unreachableError
		var p *problemError
		if errors.As(err, &p) && (p.Status >= 500 || p.Status == http.StatusTooManyRequests || p.Type == "/problems/idempotency-running") {
			gone = unreachableError{err}
		}
		switch {
		case err == nil:
			return true
		case gone.error == nil && !errors.As(err, &gone), time.Now().After(deadline):
			s.Errorf("%s: %v", what, err)
			return false
		}
		s.repeated.Add(1)
	}
	return false
}

// once is post with an Idempotency-Key. It says whether the answer was one of before.
func once[T any](s *served, admin, key, path, contentType string, body []byte) (out T, replayed bool, err error) {
	r, err := http.NewRequest("POST", s.url+path, bytes.NewReader(body))
	if err != nil {
		return out, false, err
	}
	r.Header.Set("Authorization", "Bearer "+admin)
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Idempotency-Key", key)
	answer, err := http.DefaultClient.Do(r)
	if err == nil {
		replayed = answer.Header.Get("Idempotency-Replayed") == "true"
	}
	out, err = ask[T](answer, err)
	return out, replayed, err
}

// flagOnce flags with a key of the flag's own.
func (s *siege) flagOnce(node *served, r *flagRecord) (v1.Flagged, bool, error) {
	key := fmt.Sprintf("%d/%d", s.seed, r.number)
	if r.picture != nil {
		contentType, body := form(r.picture)
		text, _ := io.ReadAll(body)
		return once[v1.Flagged](node, s.admin, key, "/v1/banks/pictures/entries", contentType, text)
	}
	text, _ := json.Marshal(v1.FlagSignals{Signals: r.signals})
	return once[v1.Flagged](node, s.admin, key, "/v1/banks/lists/entries", "application/json", text)
}

// TestKillOnce has clients flag with Idempotency-Keys, and send what was not answered again, while the node is killed: each
// flag makes one entry and one change, and each answer is that of the first time.
func TestKillOnce(t *testing.T) {
	t.Parallel()
	const (
		flags   = 50 // for each kill
		clients = 8
	)
	s, kills := besiege(t)
	before := s.changes()
	jobs := s.jobs(0, flags*kills)
	var replays atomic.Int64
	s.through(len(jobs), kills, clients, func(_ int, todo <-chan int) {
		for i := range todo {
			r := jobs[i]
			r.sent = true
			s.again(fmt.Sprintf("flag %d", i), func(node *served) error {
				out, replayed, err := s.flagOnce(node, r)
				if err != nil {
					return err
				}
				if replayed {
					replays.Add(1)
				}
				first := r.acknowledged
				if r.acknowledged = &out; first != nil && (out.Entry.Id != first.Entry.Id || out.Seq != first.Seq) {
					return fmt.Errorf("answered as entry %d, change %d, and then as %d, %d", first.Entry.Id, first.Seq, out.Entry.Id, out.Seq)
				} else if first == nil && i%10 == 0 {
					return unreachableError{errors.New("the answer is lost on the way")}
				}
				return nil
			})
			s.done()
		}
	}, func() {})

	changes := s.changes()
	if made := len(changes) - len(before); made != len(jobs) {
		t.Errorf("%d flags made %d changes", len(jobs), made)
	}
	kinds := map[string]int{}
	for _, c := range changes[len(before):] {
		kinds[c.Kind]++
	}
	if kinds["entry.added"] != len(jobs) {
		t.Errorf("%d flags made %v", len(jobs), kinds)
	}
	for _, e := range s.entries() {
		if len(e.Sources) != 1 {
			t.Errorf("entry %d was flagged %d times", e.Id, len(e.Sources))
		}
	}
	if t.Failed() {
		return
	}
	s.inspect(jobs)
	for i, r := range jobs {
		got, replayed, err := s.flagOnce(s.served, r)
		if err != nil || !replayed {
			t.Fatalf("flag %d at last: replayed: %v, %v", i, replayed, err)
		}
		first := r.acknowledged
		if !first.Created || got.Created != first.Created || got.Entry.Id != first.Entry.Id || got.Seq != first.Seq {
			t.Errorf("flag %d was answered entry %d, change %d, created: %v, and at last %d, %d, %v", i,
				first.Entry.Id, first.Seq, first.Created, got.Entry.Id, got.Seq, got.Created)
		}
	}
	if now := len(s.changes()); now != len(changes) {
		t.Errorf("repetitions made %d changes", now-len(changes))
	}
	s.end()
	t.Logf("%d flags by %d clients through %d kills: %d requests sent again, %d of them found their work done; %d entries, %d changes",
		len(jobs), clients, kills, s.repeated.Load(), replays.Load(), kinds["entry.added"], len(changes))
}

// asked is what the clients of a node know of their checks.
type asked struct {
	mu      sync.Mutex
	entry   map[string]int64     // what should match, by content: each attempt has a name of its own
	told    map[string]string    // contents, by match
	decided map[string]v1.Ruling // by match
	failed  []string
}

// attempt names a check of an entry that is about to be sent.
func (a *asked) attempt(entry int64) (content string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	content = fmt.Sprintf("post %d", len(a.entry))
	a.entry[content] = entry
	return content
}

// answer notes a verdict on an attempt.
func (a *asked) answer(content string, v v1.Verdict) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if v.Match == nil || len(v.Matches) != 1 || v.Matches[0].Entry != a.entry[content] || v.ContentId == nil || *v.ContentId != content {
		a.failed = append(a.failed, fmt.Sprintf("%s: %+v", content, v))
		return
	}
	if other, twice := a.told[*v.Match]; twice {
		a.failed = append(a.failed, fmt.Sprintf("%s was told of %s and of %s", *v.Match, other, content))
	}
	a.told[*v.Match] = content
}

// TestKillMatches has clients check what is known, alone and in batches, and decide about some of it, while the node is
// killed: each match that was told of is on record once, as are the decisions, and the counters count what is on record.
func TestKillMatches(t *testing.T) {
	t.Parallel()
	const (
		checks  = 500 // for each kill
		clients = 6
		batch   = 40 // checks
	)
	s, kills := besiege(t)
	jobs := slices.DeleteFunc(s.jobs(0, 40), func(r *flagRecord) bool { return r.picture != nil })
	for _, r := range jobs {
		out, err := s.flag(s.served, r)
		if err != nil {
			t.Fatal(err)
		}
		r.acknowledged = &out
	}
	a := &asked{entry: map[string]int64{}, told: map[string]string{}, decided: map[string]v1.Ruling{}}
	question := func(i int) (string, v1.CheckSignals) {
		r := jobs[i%len(jobs)]
		content := a.attempt(r.acknowledged.Entry.Id)
		return content, v1.CheckSignals{Signals: r.signals[i%2 : i%2+1], ContentId: &content} // by PDQ, by SHA-256
	}
	alone := func(i int) {
		var match string
		s.again(fmt.Sprintf("check %d", i), func(node *served) error {
			content, q := question(i)
			v, err := post[v1.Verdict](node, s.admin, "/v1/check", q)
			if err == nil && v.Match != nil {
				a.answer(content, v)
				match = *v.Match
			}
			return err
		})
		s.done()
		if i%20 != 0 || match == "" {
			return
		}
		ruling := []v1.Ruling{v1.RulingRemoved, v1.RulingKept, v1.RulingExempt}[i/20%3]
		text, _ := json.Marshal(v1.NewDecision{Ruling: ruling})
		s.again("decide about "+match, func(node *served) error {
			_, _, err := once[v1.Decided](node, s.admin, match, "/v1/matches/"+match+"/decision", "application/json", text)
			return err
		})
		a.mu.Lock()
		a.decided[match] = ruling
		a.mu.Unlock()
	}
	batches := func(some []int) {
		s.again(fmt.Sprintf("a batch from check %d", some[0]), func(node *served) error {
			var contents []string
			var body bytes.Buffer
			for _, i := range some {
				content, q := question(i)
				contents = append(contents, content)
				_ = json.NewEncoder(&body).Encode(q)
			}
			answer, err := node.request(s.admin, "POST", "/v1/check/batch", "application/x-ndjson", &body)
			if err != nil || answer.StatusCode != http.StatusOK {
				_, err = ask[any](answer, err)
				return err
			}
			defer answer.Body.Close()
			in := bufio.NewReader(answer.Body)
			for _, content := range contents {
				line, err := in.ReadBytes('\n')
				if err != nil {
					return unreachableError{err}
				}
				var v v1.Verdict
				if err := json.Unmarshal(line, &v); err != nil {
					return err
				}
				a.answer(content, v)
				s.done()
				some = some[1:]
			}
			return nil
		})
	}
	before := map[string]v1.RecordedMatch{}
	s.through(checks*kills, kills, clients, func(number int, todo <-chan int) {
		for i := range todo {
			if number%3 > 0 {
				alone(i)
				continue
			}
			some := []int{i}
			for i := range todo {
				if some = append(some, i); len(some) == batch {
					break
				}
			}
			batches(some)
		}
	}, func() { // a number that has been seen stays what it is
		for id, m := range s.recorded() {
			if was, seen := before[id]; seen && *was.ContentId != *m.ContentId {
				t.Errorf("%s was %s, and is now %s", id, *was.ContentId, *m.ContentId)
			}
			before[id] = m
		}
	})

	// What was acknowledged before is in the catalogue when this is answered.
	if _, err := unhurried(func() (any, error) {
		return post[any](s.served, s.admin, "/v1/contents/erase", v1.ContentName{ContentId: "none of them"})
	}); err != nil {
		t.Fatal(err)
	}
	recorded := s.recorded()
	for _, text := range a.failed {
		t.Error(text)
	}
	for id, content := range a.told {
		if m, there := recorded[id]; !there || *m.ContentId != content {
			t.Errorf("%s was told of %s, and on record is %+v", id, content, m)
		}
	}
	contents, nodes, counted, decided := map[string]string{}, map[string]bool{}, map[int64]int64{}, 0
	for id, m := range recorded {
		if was, seen := before[id]; seen && *was.ContentId != *m.ContentId {
			t.Errorf("%s was %s, and is at last %s", id, *was.ContentId, *m.ContentId)
		}
		if twice := contents[*m.ContentId]; twice != "" {
			t.Errorf("%s is on record as %s and as %s", *m.ContentId, twice, id)
		}
		contents[*m.ContentId] = id
		if len(m.Entries) != 1 || m.Entries[0].Entry != a.entry[*m.ContentId] {
			t.Errorf("%s is of %v, and was asked about %d", id, m.Entries, a.entry[*m.ContentId])
			continue
		}
		nodes[strings.Split(id, "-")[0]] = true
		counted[m.Entries[0].Entry]++
		ruling, ruled := a.decided[id]
		if ruled != (len(m.Decisions) == 1) || len(m.Decisions) > 1 || ruled && m.Decisions[0].Ruling != ruling {
			t.Errorf("of %s was decided %q, and on record is %+v", id, ruling, m.Decisions)
		}
		decided += len(m.Decisions)
	}
	if len(nodes) != 1 {
		t.Errorf("the node has the names %v", nodes)
	}
	if decided != len(a.decided) {
		t.Errorf("%d decisions, of %d on record", len(a.decided), decided)
	}
	for _, r := range jobs {
		e, err := get[v1.Entry](s.served, s.admin, fmt.Sprintf("/v1/entries/%d", r.acknowledged.Entry.Id))
		if err != nil {
			t.Fatal(err)
		}
		if e.Counters == nil || e.Counters.Total != counted[e.Id] {
			t.Errorf("entry %d counts %+v; %d are on record", e.Id, e.Counters, counted[e.Id])
		}
	}
	if code, _, warn := s.vigie("log", "verify"); code != 0 {
		t.Errorf("log verify: exit %d: %s", code, warn)
	}
	s.end()
	t.Logf("%d checks by %d clients through %d kills: %d requests sent again, %d matches told of, %d on record, %d decisions",
		checks*kills, clients, kills, s.repeated.Load(), len(a.told), len(recorded), decided)
}

// recorded reads all matches, page by page.
func (s *siege) recorded() map[string]v1.RecordedMatch {
	s.Helper()
	all := map[string]v1.RecordedMatch{}
	for path := "/v1/matches?limit=500"; ; {
		type pageOf struct {
			Matches []v1.RecordedMatch
			Next    string
		}
		page, err := unhurried(func() (pageOf, error) { return get[pageOf](s.served, s.admin, path) })
		if err != nil {
			s.Fatal(err)
		}
		for _, m := range page.Matches {
			if _, twice := all[m.Id]; twice {
				s.Errorf("%s is listed twice", m.Id)
			}
			all[m.Id] = m
		}
		if page.Next == "" {
			return all
		}
		path = "/v1/matches?limit=500&cursor=" + page.Next
	}
}
