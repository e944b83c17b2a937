package jobs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"vigie/storage/jobs"
)

// script are handlers that keep what they are told, and fail for good at what begins with "dead".
type script struct {
	mu   sync.Mutex
	runs []jobs.Run
}

func (s *script) handlers(kinds ...string) map[string]jobs.Handler {
	of := map[string]jobs.Handler{}
	for _, kind := range kinds {
		of[kind] = jobs.Handler{Parallel: 32, Do: func(_ context.Context, r jobs.Run) error {
			if bytes.HasPrefix(r.Args, []byte(`"dead`)) {
				return jobs.Never(errors.New("no: " + string(r.Args)))
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.runs = append(s.runs, r)
			return nil
		}}
	}
	return of
}

func (s *script) told() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.runs {
		all = append(all, string(r.Args))
	}
	slices.Sort(all)
	return all
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// running runs an engine until done.
func running(t *testing.T, e jobs.Engine, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("not within a minute")
			break
		}
	}
	cancel()
	check(t, <-ended)
}

// fill enqueues jobs, of which some die, some wait, and one is under way when fill returns, and returns what waits.
func fill(t *testing.T, at string) (waiting []string) {
	t.Helper()
	s := &script{}
	e, err := openAt(t.Context(), at, s.handlers("work", "other"), jobs.Options{})
	check(t, err)
	var all []jobs.Job
	for i := range 700 { // more than a page
		all = append(all, jobs.Job{Kind: "work", Key: fmt.Sprint("dead/", i), Args: []byte(fmt.Sprintf(`"dead %d"`, i))})
		if i > 3 && i < 690 {
			args := fmt.Sprintf(`"%d"`, i)
			all = append(all, jobs.Job{Kind: "other", Key: fmt.Sprint(i), Args: []byte(args), At: time.Now().Add(time.Hour)})
			waiting = append(waiting, args)
		}
	}
	check(t, e.Enqueue(t.Context(), all...))
	running(t, e, func() bool { all, err := e.Stats(t.Context()); return err == nil && all["work"].Dead == 700 })
	dead, err := e.Dead(t.Context(), "work", 0, 1)
	check(t, err)
	check(t, e.Replay(t.Context(), dead[0].ID)) // it waits beside others that are dead
	waiting = append(waiting, string(dead[0].Args))
	// The same key as one that is dead, and none.
	check(t, e.Enqueue(t.Context(), jobs.Job{Kind: "work", Key: "dead/1", Args: []byte(`"dead 1"`)}, jobs.Job{Kind: "other", Args: []byte(`"none"`), At: time.Now().Add(time.Hour)}))
	waiting = append(waiting, `"dead 1"`, `"none"`)
	check(t, e.Close())

	stood := make(chan struct{})
	of := s.handlers("work", "other", "stands")
	of["stands"] = jobs.Handler{Do: func(ctx context.Context, _ jobs.Run) error {
		close(stood)
		<-ctx.Done()
		return ctx.Err()
	}}
	e, err = openAt(t.Context(), at, of, jobs.Options{Only: []string{"stands"}})
	check(t, err)
	check(t, e.Enqueue(t.Context(), jobs.Job{Kind: "stands", Key: "s", Args: []byte(`"stands"`)}))
	ctx, cancel := context.WithCancel(t.Context())
	cancelled := make(chan error)
	go func() { cancelled <- e.Run(ctx) }()
	<-stood
	t.Cleanup(func() {
		cancel()
		<-cancelled
		e.Close()
	})
	return append(waiting, `"stands"`)
}

// deadOf are the dead of a kind, without their numbers.
func deadOf(t *testing.T, e jobs.Engine, kind string) (all []jobs.Dead) {
	t.Helper()
	for {
		last := int64(0)
		if len(all) > 0 {
			last = all[len(all)-1].ID
		}
		page, err := e.Dead(t.Context(), kind, last, 1000)
		check(t, err)
		if len(page) == 0 {
			break
		}
		all = append(all, page...)
	}
	for i := range all {
		all[i].ID = 0
		all[i].Created, all[i].Died = all[i].Created.Truncate(time.Millisecond), all[i].Died.Truncate(time.Millisecond)
	}
	slices.SortFunc(all, func(a, b jobs.Dead) int { return bytes.Compare(a.Args, b.Args) })
	return all
}

// TestCopy: all jobs come into another engine, whichever the two are: those that wait and are under way are done there, each
// once, the dead are dead as they were, and can be replayed. What was there before is gone, also what a copy before has left.
func TestCopy(t *testing.T) {
	for from := range wheres {
		for to := range wheres {
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				here, there := wheres[from](t), wheres[to](t)
				waiting := fill(t, here)
				source, err := openAt(t.Context(), here, nil, jobs.Options{})
				check(t, err)
				defer source.Close()
				s := &script{}
				target, err := openAt(t.Context(), there, s.handlers("work", "other"), jobs.Options{})
				check(t, err)
				check(t, target.Enqueue(t.Context(), jobs.Job{Kind: "other", Args: []byte(`"before"`)}))
				for range 2 {
					got, err := jobs.Copy(t.Context(), source, target)
					if want := (jobs.Copied{Waiting: len(waiting) - 1, Dead: 699, Unknown: 1}); err != nil || got != want {
						t.Fatalf("%+v, %v, want %+v", got, err, want)
					}
				}
				check(t, target.Close())
				target, err = openAt(t.Context(), there, s.handlers("work", "other", "stands"), jobs.Options{})
				check(t, err)
				defer target.Close()
				got, err := jobs.Copy(t.Context(), source, target)
				if want := (jobs.Copied{Waiting: len(waiting), Dead: 699}); err != nil || got != want {
					t.Fatalf("%+v, %v, want %+v", got, err, want)
				}
				want := deadOf(t, source, "work")
				had := deadOf(t, target, "work")
				if to == "river" { // the job that waits with the key of one that is dead stands for it, if it comes first
					want = slices.DeleteFunc(want, func(d jobs.Dead) bool { return string(d.Args) == `"dead 1"` })
					had = slices.DeleteFunc(had, func(d jobs.Dead) bool { return string(d.Args) == `"dead 1"` })
				}
				if !reflect.DeepEqual(had, want) {
					t.Errorf("the dead are\n%+v\nwant\n%+v", had[:2], want[:2])
				}
				n, err := target.ReplayOf(t.Context(), "work", "dead/")
				if err != nil || n < 697 || n > 698 {
					t.Errorf("replayed %d, %v", n, err)
				}
				stats, err := target.Stats(t.Context())
				check(t, err)
				// The jobs that are not due yet wait for their time.
				if stats["other"].Waiting != 687 || stats["other"].Dead != 0 || !stats["other"].Oldest.IsZero() || stats["stands"].Waiting != 1 {
					t.Errorf("%+v", stats)
				}
				running(t, target, func() bool {
					all, err := target.Stats(t.Context())
					return err == nil && all["work"].Waiting+all["work"].Running+all["stands"].Waiting+all["stands"].Running == 0
				})
				if got := s.told(); !slices.Equal(got, []string{`"stands"`}) {
					t.Errorf("done are %v", got)
				}
			})
		}
	}
}

// TestCopyCounts: where there is one job of a key, one that waits stands for those that are dead, which are not counted then.
func TestCopyCounts(t *testing.T) {
	t.Parallel()
	here, there := wheres["local"](t), wheres["river"](t)
	s := &script{}
	source, err := openAt(t.Context(), here, s.handlers("work"), jobs.Options{})
	check(t, err)
	defer source.Close()
	die := func(n int) {
		t.Helper()
		running(t, source, func() bool { all, err := source.Stats(t.Context()); return err == nil && all["work"].Dead == n })
	}
	of := jobs.Job{Kind: "work", Key: "k", Args: []byte(`"dead"`)}
	check(t, source.Enqueue(t.Context(), of))
	die(1)
	first, err := source.Dead(t.Context(), "work", 0, 1)
	check(t, err)
	var filler []jobs.Job
	for range 500 { // so that it is on another page
		filler = append(filler, jobs.Job{Kind: "work", Args: []byte(`"dead"`)})
	}
	check(t, source.Enqueue(t.Context(), append(filler, of)...))
	die(502)
	check(t, source.Replay(t.Context(), first[0].ID))
	target, err := openAt(t.Context(), there, s.handlers("work"), jobs.Options{})
	check(t, err)
	defer target.Close()
	got, err := jobs.Copy(t.Context(), source, target)
	stats, err2 := target.Stats(t.Context())
	if want := (jobs.Copied{Waiting: 1, Dead: 500}); errors.Join(err, err2) != nil || got != want || stats["work"].Dead != got.Dead || stats["work"].Waiting != got.Waiting {
		t.Errorf("%+v, %v; there are %+v, %v", got, err, stats["work"], err2)
	}
}

// TestCopyOfWhatIsDropped: a job that was dropped while it runs is gone in a copy.
func TestCopyOfWhatIsDropped(t *testing.T) {
	t.Parallel()
	here := wheres["river"](t)
	began, gate := make(chan bool, 2), make(chan bool)
	of := map[string]jobs.Handler{"stands": {Parallel: 2, Do: func(context.Context, jobs.Run) error {
		began <- true
		<-gate // whatever its context says
		return nil
	}}}
	source, err := openAt(t.Context(), here, of, jobs.Options{})
	check(t, err)
	defer source.Close()
	check(t, source.Enqueue(t.Context(), jobs.Job{Kind: "stands", Key: "dropped", Args: []byte("1")}, jobs.Job{Kind: "stands", Key: "goes on", Args: []byte("2")}))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- source.Run(ctx) }()
	<-began
	<-began
	check(t, source.Drop(t.Context(), "stands", "dropped"))
	target, err := openAt(t.Context(), wheres["local"](t), of, jobs.Options{})
	check(t, err)
	defer target.Close()
	if got, err := jobs.Copy(t.Context(), source, target); err != nil || got != (jobs.Copied{Waiting: 1}) {
		t.Errorf("%+v, %v", got, err)
	}
	close(gate)
	cancel()
	check(t, <-ended)
}

// TestBackupLocal: a copy of the file has all jobs as of one moment, while the engine goes on, and after its process was killed; those
// that wait count as new afterwards.
func TestBackupLocal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at, to := filepath.Join(dir, "jobs.db"), filepath.Join(dir, "copy.db")
	waiting := fill(t, at) // whose engine still runs
	check(t, jobs.BackupLocal(t.Context(), at, to))
	if err := jobs.BackupLocal(t.Context(), at, to); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over another file: %v", err)
	}
	if info, err := os.Stat(to); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	before := time.Now().Truncate(time.Microsecond)
	check(t, jobs.RenewLocal(t.Context(), to))
	s := &script{}
	e, err := jobs.OpenLocal(t.Context(), to, s.handlers("work", "other", "stands"), jobs.Options{})
	check(t, err)
	defer e.Close()
	stats, err := e.Stats(t.Context())
	check(t, err)
	if n := stats["work"].Waiting + stats["other"].Waiting + stats["stands"].Waiting; n != len(waiting) || stats["work"].Dead != 699 {
		t.Errorf("%+v, want %d waiting", stats, len(waiting))
	}
	for _, d := range deadOf(t, e, "work") {
		if !d.Created.Before(before) {
			t.Fatalf("the dead count as new: %+v", d)
		}
	}
	running(t, e, func() bool { all, err := e.Stats(t.Context()); return err == nil && all["stands"].Waiting == 0 })
	if got := s.runs; len(got) != 1 || got[0].Created.Before(before) || string(got[0].Args) != `"stands"` {
		t.Errorf("%+v", got)
	}
	for what, content := range map[string]string{"nothing": "", "text": "no database"} {
		bad, copied := filepath.Join(dir, what), filepath.Join(dir, what+".copy")
		check(t, os.WriteFile(bad, []byte(content), 0o600))
		if err := jobs.BackupLocal(t.Context(), bad, copied); err == nil {
			t.Errorf("%s was copied", what)
		}
		if _, err := os.Stat(copied); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a copy is left: %v", what, err)
		}
	}
}
