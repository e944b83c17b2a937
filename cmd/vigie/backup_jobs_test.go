package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vigie/internal/testpg"
	"vigie/storage"
	"vigie/storage/jobs"
	"vigie/storage/sqlstore"
	"vigie/webhook"
)

// receiver gets webhooks. It answers with a status, and keeps how often it was told of what.
type receiver struct {
	*httptest.Server
	status atomic.Int64
	mu     sync.Mutex
	told   map[string]int // by the event's id
}

func newReceiver(t *testing.T, status int64) *receiver {
	r := &receiver{told: map[string]int{}}
	r.status.Store(status)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		var body struct{ Events []struct{ ID string } }
		if err := json.NewDecoder(request.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, e := range body.Events {
			r.told[e.ID]++
		}
		w.WriteHeader(int(r.status.Load()))
	}))
	t.Cleanup(r.Close)
	return r
}

// take returns the ids of the events that have come since it was last asked.
func (r *receiver) take() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := r.told
	r.told = map[string]int{}
	return told
}

// untold is a node that could not tell of a flag: the receiver of one webhook is out of order, so that the delivery waits,
// and that of the other is gone, so that it is dead.
type untold struct {
	*testing.T
	out, gone *receiver
	event     string // its id
	data      string
}

func newUntold(t *testing.T) (*untold, *served) {
	u := &untold{T: t, out: newReceiver(t, 500), gone: newReceiver(t, 410), data: filepath.Join(t.TempDir(), "data")}
	s := u.serve(u.data)
	file := filepath.Join(t.TempDir(), "known.jpg")
	must(t, os.WriteFile(file, jpegOf(5, 320, 240), 0o600))
	for _, args := range [][]string{
		{"banks", "create", "b"},
		{"webhooks", "create", u.out.URL + "/", "entry.added"},
		{"webhooks", "create", u.gone.URL + "/", "entry.added"},
		{"flag", "--bank", "b", file},
	} {
		if code, _, warn := s.vigie(args...); code != 0 {
			t.Fatalf("%v: %s", args, warn)
		}
	}
	eventually(t, "one delivery is dead", func() bool { return u.dead(s) == 1 })
	eventually(t, "the other one was tried", func() bool {
		for id := range u.out.take() {
			u.event = id
		}
		return u.event != ""
	})
	return u, s
}

// serve starts a node that may reach the receivers.
func (u *untold) serve(data string, args ...string) *served {
	u.Helper()
	var allowed []string
	for _, r := range []*receiver{u.out, u.gone} {
		allowed = append(allowed, strings.TrimPrefix(r.URL, "http://"))
	}
	return serve(u, data, nil, append(args, "--allow-outgoing", strings.Join(allowed, ","))...)
}

// dead is how many deliveries to the second webhook are.
func (u *untold) dead(s *served) int {
	u.Helper()
	code, out, warn := s.vigie("webhooks", "dead", "2", "--json")
	if code != 0 {
		u.Fatal(warn)
	}
	if out != "" && !strings.Contains(out, "answered 410") {
		u.Errorf("dead is %s", out)
	}
	return strings.Count(out, "\n")
}

// delivers starts a node on what has become of the other, and the receiver that was out of order: it is told of what it was to be told.
func (u *untold) delivers(what, data string, dead int, args ...string) {
	u.Helper()
	u.out.take()
	u.gone.take()
	u.out.status.Store(200)
	s := u.serve(data, args...)
	eventually(u, what+": the delivery", func() bool { return u.out.take()[u.event] > 0 })
	if n := u.dead(s); n != dead {
		u.Errorf("%s: %d deliveries are dead, want %d", what, n, dead)
	}
	if told := u.gone.take(); len(told) > 0 {
		u.Errorf("%s: what was dead was sent again", what)
	}
	if code, err := s.stop(); code != 0 || err != nil {
		u.Errorf("%s: exit %d, %v: %s", what, code, err, s.stderr.String())
	}
}

// TestBackupJobs: what was still to be told when a backup was taken is told after its restoration, and what was given up is listed there. A
// backup without jobs, as former versions made them, is restored, too.
func TestBackupJobs(t *testing.T) {
	t.Parallel()
	u, s := newUntold(t)
	root := filepath.Join(t.TempDir(), "backups")
	code, out, warn := s.vigie("backup", root, "--json") // while it runs
	var b backedUp
	if err := json.Unmarshal([]byte(out), &b); code != 0 || err != nil {
		t.Fatalf("exit %d: %s %v", code, warn, err)
	}
	s.kill()
	must(t, os.RemoveAll(u.data))
	restored := func(name string) string {
		t.Helper()
		data := filepath.Join(t.TempDir(), name)
		if code, _, warn := runVigie(os.Environ(), "restore", root, "--data", data); code != 0 {
			t.Fatal(warn)
		}
		return data
	}
	data := restored("new")
	engine, err := (&end{folder: data}).jobs(t.Context())
	must(t, err)
	stats, err := engine.Stats(t.Context())
	if must(t, errors.Join(err, engine.Close())); stats[webhook.Job].Waiting != 1 || stats[webhook.Job].Dead != 1 {
		t.Errorf("restored are %+v", stats)
	}
	u.delivers("restored", data, 1)

	// A damaged file of jobs is refused like any other.
	file := filepath.Join(b.Backup, jobsFile)
	must(t, os.Truncate(file, 1000))
	code, _, warn = runVigie(os.Environ(), "restore", root, "--data", filepath.Join(t.TempDir(), "damaged"))
	if code != exitFailed || !strings.Contains(warn, "the backup is damaged: "+file) {
		t.Errorf("exit %d: %s", code, warn)
	}
	// As a former version left it.
	var m manifest
	text, err := os.ReadFile(filepath.Join(b.Backup, manifestFile))
	must(t, errors.Join(err, json.Unmarshal(text, &m), os.Remove(file)))
	m.Files = slices.DeleteFunc(m.Files, func(f manifestFileEntry) bool { return f.Name == jobsFile })
	m.Handed = nil
	text, err = json.Marshal(m)
	must(t, errors.Join(err, os.WriteFile(filepath.Join(b.Backup, manifestFile), text, 0o600)))
	s = u.serve(restored("old"))
	if n := u.dead(s); n != 0 {
		t.Errorf("%d deliveries are dead", n)
	}
	if code, err := s.stop(); code != 0 || err != nil {
		t.Errorf("exit %d, %v", code, err)
	}
}

// TestHandedOnMeanwhile: what was handed on to jobs after those were copied, and before the catalogue was, is handed on again after the
// restoration, however long before it happened.
func TestHandedOnMeanwhile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, draft := filepath.Join(dir, "data"), filepath.Join(dir, "draft")
	code, _, warn := runVigie(os.Environ(), "banks", "create", "b", "--data", data)
	if code != 0 {
		t.Fatal(warn)
	}
	must(t, os.Mkdir(draft, 0o700))
	opened := func() *sqlstore.Store {
		t.Helper()
		c, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(data, catalogueFile), storage.Options{})
		must(t, err)
		return c
	}
	const node = "0000000a"
	move := func(log, looked uint64) {
		t.Helper()
		c := opened()
		must(t, c.Update(t.Context(), func(w storage.Writer) error {
			_, err := w.TakeDispatch("h", time.Minute)
			return errors.Join(err, w.Dispatched("h", storage.Position{Log: log}, time.Minute), w.SetLooked("", looked), w.SetLooked(node, looked))
		}))
		must(t, c.Close())
	}
	a := &app{Config: Config{Data: data}}
	move(1, 10)
	h, err := a.handedOn(t.Context())
	must(t, err)
	must(t, jobs.BackupLocal(t.Context(), filepath.Join(data, jobsFile), filepath.Join(draft, jobsFile)))
	move(2, 20) // a copy of the catalogue that is made now says that
	text, err := json.Marshal(manifest{Handed: h, Files: []manifestFileEntry{{Name: jobsFile}}})
	must(t, err)
	var m manifest
	must(t, json.Unmarshal(text, &m))
	c := opened()
	defer c.Close()
	must(t, restoreJobs(t.Context(), &m, draft, c))
	must(t, c.View(t.Context(), func(r storage.Reader) error {
		d, err := r.Dispatch()
		of, err2 := r.Looked("")
		own, err3 := r.Looked(node)
		if d != (storage.Dispatch{Position: storage.Position{Log: 1}}) || of != 10 || own != 10 {
			t.Errorf("%+v, looked at %d and %d", d, of, own)
		}
		return errors.Join(err, err2, err3)
	}))
}

// TestCopyJobs: what was still to be told goes with a catalogue into PostgreSQL, and back, with what was given up.
func TestCopyJobs(t *testing.T) {
	t.Parallel()
	u, s := newUntold(t)
	if code, err := s.stop(); code != 0 || err != nil {
		t.Fatal(code, err)
	}
	database, back := testpg.Database(t, "", nil), filepath.Join(t.TempDir(), "back")
	for _, way := range [][2]string{{u.data, database}, {database, back}} {
		code, out, warn := runVigie(os.Environ(), "copy", way[0], way[1], "--json")
		var c copied
		if err := json.Unmarshal([]byte(out), &c); code != 0 || err != nil || c.Jobs != 1 || c.DeadJobs != 1 {
			t.Fatalf("exit %d, %d jobs and %d dead: %s%s %v", code, c.Jobs, c.DeadJobs, out, warn, err)
		}
	}
	u.delivers("in PostgreSQL", u.data, 1, "--database", database) // which knows nothing of the folder's own jobs
	u.delivers("back in a folder", back, 1)
}
