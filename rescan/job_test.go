package rescan_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vigie/hashing"
	"vigie/matcher"
	"vigie/rescan"
	"vigie/storage"
	"vigie/storage/jobs"
	"vigie/storage/memory"
)

// queue is an engine whose jobs are done when a test says so.
type queue struct {
	jobs.Engine // nil: what is not asked of it

	mu   sync.Mutex
	next int64
	jobs []jobs.Job // that wait or run
	ids  []int64
	dead []jobs.Dead
}

func (q *queue) Enqueue(_ context.Context, all ...jobs.Job) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, j := range all {
		same := func(o jobs.Job) bool { return j.Key != "" && o.Kind == j.Kind && o.Key == j.Key }
		if !slices.ContainsFunc(q.jobs, same) {
			q.next++
			q.jobs, q.ids = append(q.jobs, j), append(q.ids, q.next)
		}
	}
	return nil
}

func (q *queue) DeadOf(_ context.Context, kind, prefix string, after int64, _ int) ([]jobs.Dead, error) {
	var of struct{ Rescan int }
	return slices.DeleteFunc(slices.Clone(q.dead), func(d jobs.Dead) bool {
		_ = json.Unmarshal(d.Args, &of)
		return d.Kind != kind || fmt.Sprint(of.Rescan, "/") != prefix || d.ID <= after
	}), nil
}

func (q *queue) Drop(_ context.Context, _, key string) error {
	q.dead = nil
	return nil
}
func (q *queue) Run(context.Context) error                            { return nil }
func (q *queue) Replay(context.Context, int64) error                  { return nil }
func (q *queue) Stats(context.Context) (map[string]jobs.Stats, error) { return nil, nil }
func (q *queue) Close() error                                         { return nil }

func (q *queue) done(id int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.ids, id); i >= 0 {
		q.jobs, q.ids = slices.Delete(q.jobs, i, i+1), slices.Delete(q.ids, i, i+1)
	}
}

var errDied = errors.New("the process has died")

// process is one that does jobs, until it dies or stands still at one of its writes.
type process struct {
	storage.Catalogue
	*queue
	mu     sync.Mutex
	dieAt  int  // before the write of this number; 0: never
	after  bool // or rather after it, before it learns of it
	unsure bool // it lives, but the write does not tell that it has happened
	writes int
	dead   bool
	stands chan struct{} // it stands still there until this is closed; nil: it dies
	stood  chan struct{} // closed when it does
}

func (p *process) Close() error { return nil }

func (p *process) die() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
}

func (p *process) died() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

func (p *process) View(ctx context.Context, fn func(storage.Reader) error) error {
	if p.died() {
		return errDied
	}
	return p.Catalogue.View(ctx, fn)
}

func (p *process) Update(ctx context.Context, fn func(storage.Writer) error) error {
	p.mu.Lock()
	p.writes++
	now := p.writes == p.dieAt
	dead := p.dead
	if now && p.stands == nil && !p.unsure {
		p.dead = true
	}
	p.mu.Unlock()
	switch {
	case dead:
		return errDied
	case now && p.stands != nil:
		close(p.stood)
		<-p.stands
	case now && p.unsure:
		if err := p.Catalogue.Update(ctx, fn); err != nil {
			return err
		}
		return storage.ErrUnknownOutcome
	case now && p.after:
		if err := p.Catalogue.Update(ctx, fn); err != nil {
			return err
		}
		return errDied
	case now:
		return errDied
	}
	return p.Catalogue.Update(ctx, fn)
}

func (p *process) Enqueue(ctx context.Context, all ...jobs.Job) error {
	if p.died() {
		return errDied
	}
	return p.queue.Enqueue(ctx, all...)
}

// site is a folder whose files say what a check says of them, with a catalogue and a queue.
type site struct {
	t        testing.TB
	dir      string
	c        storage.Catalogue
	q        *queue
	o        rescan.Options
	finished []storage.Rescan
	often    time.Duration
	same     *rescan.Runner // of all processes, if it is not nil
}

func newSite(t testing.TB, files map[string]string) *site {
	s := &site{t: t, dir: t.TempDir(), q: &queue{}, often: time.Second}
	c, err := memory.New(storage.Options{})
	must(t, err)
	s.c = c
	for name, level := range files {
		s.write(name, level)
	}
	s.o = rescan.Options{
		Sources:    rescan.Sources{"old": {Kind: rescan.FolderSource, Location: s.dir}},
		ShardItems: 7, Slice: time.Nanosecond, Ahead: 3,
		Check: func(_ context.Context, _ storage.Rescan, u rescan.Upload) (rescan.Verdict, error) {
			level := string(u.Media.Data)
			if level == "poor" {
				return rescan.Verdict{}, &hashing.MediaError{Kind: hashing.Corrupt}
			}
			whole, _ := json.Marshal(u.Name)
			return rescan.Verdict{Level: level, Action: "hold", Whole: whole}, nil
		},
		Finished: func(_ context.Context, r storage.Rescan) error {
			s.finished = append(s.finished, r)
			return nil
		},
	}
	return s
}

func (s *site) write(name, level string) {
	path := filepath.Join(s.dir, name)
	must(s.t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(s.t, writeFile(path, level))
}

func (s *site) sameRunner() { s.same = s.runner(s.process()) }

func (s *site) runner(p *process) *rescan.Runner {
	if s.same != nil {
		return s.same
	}
	o := s.o
	o.Catalogue, o.Engine = p, func() jobs.Engine { return p }
	run := rescan.New(o)
	run.Often(s.often)
	return run
}

func (s *site) process() *process { return &process{Catalogue: s.c, queue: s.q} }

func (s *site) start(q rescan.Request) storage.Rescan {
	s.t.Helper()
	q.Who, q.Source = matcher.Local(), "old"
	r, err := s.runner(s.process()).Start(s.t.Context(), q)
	must(s.t, err)
	return r
}

// do has a process do the job at a place of the queue. What comes of it, the queue learns only if the process lives.
func (s *site) do(p *process, at int) error {
	s.q.mu.Lock()
	j, id := s.q.jobs[at], s.q.ids[at]
	s.q.mu.Unlock()
	err := s.runner(p).Handlers()[j.Kind].Do(s.t.Context(), jobs.Run{ID: id, Attempt: 1, Args: j.Args})
	if err == nil && !p.died() {
		s.q.done(id)
	}
	return err
}

// rest does what there is to do.
func (s *site) rest() {
	s.t.Helper()
	for i := range 10_000 {
		if len(s.q.jobs) == 0 {
			return
		}
		_ = s.do(s.process(), i%len(s.q.jobs))
	}
	s.t.Fatal("it never ends")
}

func (s *site) rescan(id storage.RescanID) (r storage.Rescan) {
	s.t.Helper()
	must(s.t, s.c.View(s.t.Context(), func(rd storage.Reader) (err error) {
		r, err = rd.Rescan(id)
		return err
	}))
	return r
}

// found are the hits and the failures, by item, as often as they are there.
func (s *site) found(id storage.RescanID) (hits, failed []string) {
	s.t.Helper()
	for h, err := range rescan.Hits(s.t.Context(), s.c, id) {
		must(s.t, err)
		hits = append(hits, h.Item+" "+h.Level)
	}
	for f, err := range rescan.Failures(s.t.Context(), s.c, id) {
		must(s.t, err)
		failed = append(failed, f.Item)
	}
	slices.Sort(hits)
	slices.Sort(failed)
	return hits, failed
}

// planted are n files, of which some match and some are poor, with what a re-scan has to find.
func planted(n int) (files map[string]string, hits, failed []string, counts storage.RescanCounts) {
	files = map[string]string{}
	for i := range n {
		name := fmt.Sprintf("%s/%03d", []string{"a", "a-b", "b"}[i%3], i)
		level := []string{"none", "none", "match", "none", "likely", "none", "poor", "review"}[i%8]
		files[name] = level
		counts.Items++
		counts.Bytes += int64(len(level))
		switch level {
		case "none":
			counts.None++
		case "poor":
			counts.Failed++
			failed = append(failed, name)
		case "match":
			counts.Match++
		case "likely":
			counts.Likely++
		case "review":
			counts.Review++
		}
		if level != "none" && level != "poor" {
			hits = append(hits, name+" "+level)
		}
	}
	slices.Sort(hits)
	slices.Sort(failed)
	return files, hits, failed, counts
}

// TestRescanOnce: whatever dies or stands still, and when, whoever cancels and resumes: what is planted is found once each, and
// the counts are exact.
func TestRescanOnce(t *testing.T) {
	t.Parallel()
	files, hits, failed, counts := planted(40)
	s := newSite(t, files)
	rapid.Check(t, func(rt *rapid.T) {
		s.t, s.q, s.finished = t, &queue{}, nil
		c, err := memory.New(storage.Options{})
		must(t, err)
		s.c = c
		s.o.Workers = rapid.IntRange(1, 4).Draw(rt, "workers")
		s.o.Slice = rapid.SampledFrom([]time.Duration{time.Nanosecond, time.Minute}).Draw(rt, "slice")
		s.often = rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(rt, "often")
		r := s.start(rescan.Request{})
		var zombies []func()
		deaths := map[string]int{"": 0} // by job
		for range rapid.IntRange(0, 25).Draw(rt, "steps") {
			if len(s.q.jobs) == 0 {
				break
			}
			p := s.process()
			at := rapid.IntRange(0, len(s.q.jobs)-1).Draw(rt, "job")
			what := rapid.SampledFrom([]string{"do", "do", "die", "die", "unsure", "stand", "cancel", "resume"}).Draw(rt, "what")
			if what == "die" || what == "unsure" || what == "stand" {
				deaths[string(s.q.jobs[at].Args)]++
			}
			switch what {
			case "unsure":
				p.dieAt, p.unsure = rapid.IntRange(1, 4).Draw(rt, "write"), true
				_ = s.do(p, at)
			case "die":
				p.dieAt, p.after = rapid.IntRange(1, 6).Draw(rt, "write"), rapid.Bool().Draw(rt, "after")
				_ = s.do(p, at)
			case "stand":
				p.dieAt, p.stands, p.stood = rapid.IntRange(1, 3).Draw(rt, "write"), make(chan struct{}), make(chan struct{})
				ended := make(chan struct{})
				job, id := s.q.jobs[at], s.q.ids[at]
				go func() {
					defer close(ended)
					_ = s.runner(p).Handlers()[job.Kind].Do(t.Context(), jobs.Run{ID: id, Attempt: 1, Args: job.Args})
				}()
				select {
				case <-p.stood:
				case <-ended:
				}
				zombies = append(zombies, func() {
					close(p.stands)
					<-ended
				})
			case "cancel":
				_, _ = s.runner(p).Cancel(t.Context(), matcher.Local(), r.ID)
			case "resume":
				_, _ = s.runner(p).Resume(t.Context(), matcher.Local(), r.ID)
			default:
				_ = s.do(p, at)
			}
			if len(zombies) > 0 && rapid.Bool().Draw(rt, "wake") {
				zombies[0]()
				zombies = zombies[1:]
			}
		}
		for _, wake := range zombies {
			wake()
		}
		if s.rescan(r.ID).State.Ended() {
			_, _ = s.runner(s.process()).Resume(t.Context(), matcher.Local(), r.ID)
		}
		must(t, s.runner(s.process()).Recover(t.Context()))
		s.rest()
		now := s.rescan(r.ID)
		gotHits, gotFailed := s.found(r.ID)
		hits, failed, counts := hits, failed, counts
		for f, err := range rescan.Failures(t.Context(), s.c, r.ID) {
			must(t, err)
			if !strings.Contains(f.Error, "set aside") {
				continue
			}
			// Processes have died of the same shard one after the other: as if it were of this item.
			if slices.Max(slices.Collect(maps.Values(deaths))) < 3 {
				rt.Fatalf("%s is set aside after the deaths %v", f.Item, deaths)
			}
			hits, failed, counts = setAside(f.Item, files[f.Item], hits, failed, counts)
		}
		if now.State != storage.RescanDone || now.Counts != counts || !slices.Equal(gotHits, hits) || !slices.Equal(gotFailed, failed) {
			rt.Fatalf("%+v, want the counts %+v\nhits %q\nwant %q\nfailed %q\nwant %q", now, counts, gotHits, hits, gotFailed, failed)
		}
		if n := len(s.finished); n == 0 || s.finished[n-1].State != storage.RescanDone {
			rt.Fatalf("told of %+v", s.finished)
		}
	})
}

// setAside is what a re-scan has to find if an item of a level was set aside.
func setAside(
	item, level string, hits, failed []string, counts storage.RescanCounts,
) ([]string, []string, storage.RescanCounts) {
	hits = slices.DeleteFunc(slices.Clone(hits), func(h string) bool { return strings.HasPrefix(h, item+" ") })
	if !slices.Contains(failed, item) {
		failed = append(slices.Clone(failed), item)
		slices.Sort(failed)
		counts.Failed++
	}
	switch level {
	case "match":
		counts.Match--
	case "likely":
		counts.Likely--
	case "review":
		counts.Review--
	case "none":
		counts.None--
	}
	return hits, failed, counts
}

// TestRescanPoison: an item that kills whoever checks it is set aside in the end, and nothing else is.
func TestRescanPoison(t *testing.T) {
	t.Parallel()
	files, hits, failed, counts := planted(40)
	s := newSite(t, files)
	const poison = "a-b/010" // which matches, if it could be checked
	s.o.Slice = time.Minute
	r := s.start(rescan.Request{})
	check := s.o.Check
	deaths := 0
	for i := 0; len(s.q.jobs) > 0; i++ {
		p := s.process()
		var once sync.Once
		s.o.Check = func(ctx context.Context, r storage.Rescan, u rescan.Upload) (rescan.Verdict, error) {
			if u.Name == poison {
				once.Do(func() { deaths++; p.die() })
			}
			if p.died() {
				return rescan.Verdict{}, errDied
			}
			return check(ctx, r, u)
		}
		_ = s.do(p, i%len(s.q.jobs))
		if i > 1000 {
			t.Fatal("it never ends")
		}
	}
	hits = slices.DeleteFunc(hits, func(h string) bool { return strings.HasPrefix(h, poison) })
	failed = append(failed, poison)
	slices.Sort(failed)
	counts.Match, counts.Failed = counts.Match-1, counts.Failed+1
	gotHits, gotFailed := s.found(r.ID)
	equal(t, gotHits, hits)
	equal(t, gotFailed, failed)
	equal(t, s.rescan(r.ID).Counts, counts)
	if deaths < 3 || deaths > 8 {
		t.Errorf("%d have died", deaths)
	}
	for f, err := range rescan.Failures(t.Context(), s.c, r.ID) {
		must(t, err)
		if f.Item == poison && !strings.Contains(f.Error, "set aside") {
			t.Error(f.Error)
		}
	}
}

// TestRescanOfWhatChanges: items come and go between plan and work.
func TestRescanOfWhatChanges(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[string]string{})
	empty := s.start(rescan.Request{})
	s.rest()
	equal(t, s.rescan(empty.ID).State, storage.RescanDone)
	equal(t, s.rescan(empty.ID).Shards, 0)
	equal(t, len(s.finished), 1)

	for i := range 20 {
		s.write(fmt.Sprintf("%02d", i), "match")
	}
	s.o.Slice = time.Minute
	r := s.start(rescan.Request{})
	_ = s.do(s.process(), 0) // plans all
	must(t, os.Remove(filepath.Join(s.dir, "03")))
	s.write("035", "likely") // between two
	s.write("99", "match")   // beyond the end: none of this re-scan
	s.rest()
	hits, failed := s.found(r.ID)
	equal(t, len(hits), 20)
	equal(t, slices.Contains(hits, "035 likely"), true)
	equal(t, failed, []string(nil))
	equal(t, s.rescan(r.ID).Counts.Items, int64(20))
}

// TestRescanOfWhatIsNewer checks only what was changed after a time.
func TestRescanOfWhatIsNewer(t *testing.T) {
	t.Parallel()
	files, _, _, _ := planted(200)
	s := newSite(t, files)
	s.o.Slice, s.o.ShardItems = time.Minute, 2
	old := time.Now().Add(-time.Hour)
	for name := range files {
		must(t, os.Chtimes(filepath.Join(s.dir, name), old, old))
	}
	s.write("a-b/new", "match")
	r := s.start(rescan.Request{Options: storage.RescanOptions{NewerThan: old.Add(time.Minute)}})
	s.rest()
	hits, _ := s.found(r.ID)
	equal(t, hits, []string{"a-b/new match"})
	equal(t, s.rescan(r.ID).Counts.Items, int64(1))
	equal(t, s.rescan(r.ID).Shards, 1) // the ranges without anything new are no shards
}

// TestRescanStart: who may start what.
func TestRescanStart(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	must(t, s.c.Update(t.Context(), func(w storage.Writer) error { return w.CreateParty(&storage.Party{Name: "p"}) }))
	s.o.Sources["theirs"] = rescan.SourceConfig{Kind: rescan.FolderSource, Location: s.dir, Party: "p"}
	s.o.Sources["nobody's"] = rescan.SourceConfig{Kind: rescan.FolderSource, Location: s.dir, Party: "x"}
	run := s.runner(s.process())
	for source, party := range map[string]storage.PartyID{"x": 1, "theirs": 1, "old": 2, "nobody's": 1} {
		_, err := run.Start(t.Context(), rescan.Request{Who: matcher.Principal{Party: party}, Source: source})
		wantErr(t, err, rescan.ErrUnknownSource)
	}
	_, err := run.Start(t.Context(), rescan.Request{Who: matcher.Local(), Source: "old", SinceLast: true})
	wantErr(t, err, rescan.ErrNoLast)
	first := s.start(rescan.Request{})
	s.rest()
	must(t, s.c.Update(t.Context(), func(w storage.Writer) error {
		return w.Append(&storage.Change{Kind: storage.PartyChanged, Actor: "local", Party: 2, Body: json.RawMessage("{}")})
	}))
	second := s.start(rescan.Request{SinceLast: true})
	equal(t, []uint64{second.Options.Since, second.Seq}, []uint64{first.Seq, first.Seq + 1})
}

// TestRescanFails: what cannot be gone on with ends it, and says why without the path.
func TestRescanFails(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.o.Sources["old"] = rescan.SourceConfig{Kind: rescan.URLSource, Location: filepath.Join(s.dir, "gone")}
	r := s.start(rescan.Request{})
	s.sameRunner()
	s.rest()
	now := s.rescan(r.ID)
	equal(t, now.State, storage.RescanFailed)
	if !strings.Contains(now.Error, "it is not there") || strings.Contains(now.Error, s.dir) {
		t.Error(now.Error)
	}
	equal(t, len(s.finished), 1)

	// A shard whose job is dead, too.
	s = newSite(t, map[string]string{"a": "none"})
	r = s.start(rescan.Request{})
	_ = s.do(s.process(), 0)
	at := slices.IndexFunc(s.q.jobs, func(j jobs.Job) bool { return j.Kind == "rescan-shard" })
	s.q.dead = []jobs.Dead{ // one of them of another re-scan
		{ID: 8, Kind: "rescan-shard", Args: []byte(`{"rescan":11,"shard":7}`), Error: "no"},
		{ID: 9, Kind: "rescan-shard", Args: s.q.jobs[at].Args, Error: "no bucket"},
	}
	s.q.done(s.q.ids[at])
	s.rest()
	equal(t, []any{s.rescan(r.ID).State, s.rescan(r.ID).Error}, []any{storage.RescanFailed, "shard 1 failed again and again; the operator of the node can find out why"})
}
