package jobs_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vigie/internal/testpg"
	"vigie/storage/jobs"
	"vigie/storage/jobs/jobstest"
)

// child is the variable that makes this test binary a process that is killed: the URL or the path of its jobs.
const child = "VIGIE_TEST_JOBS"

func TestMain(m *testing.M) {
	if where := os.Getenv(child); where != "" {
		stand(where)
		return
	}
	os.Exit(testpg.Main(m))
}

// openAt opens jobs by where they are.
func openAt(ctx context.Context, where string, of map[string]jobs.Handler, o jobs.Options) (jobs.Engine, error) {
	if strings.HasPrefix(where, "postgres:") {
		return jobs.OpenRiver(ctx, where, of, o)
	}
	return jobs.OpenLocal(ctx, where, of, o)
}

// stand is the life of the process that is killed: it takes up a job, says so, and stands still.
func stand(where string) {
	e, err := openAt(context.Background(), where, killed(func(ctx context.Context, r jobs.Run) error {
		fmt.Printf("attempt %d\n", r.Attempt)
		select {}
	}), jobs.Options{})
	if err == nil {
		err = e.Run(context.Background())
	}
	fmt.Println(err)
	os.Exit(1)
}

// killed are the handlers of both processes.
func killed(do func(context.Context, jobs.Run) error) map[string]jobs.Handler {
	return map[string]jobs.Handler{"work": {Do: do, Timeout: 2 * time.Second, Backoff: func(int) time.Duration { return 0 }}}
}

// wheres are the places of the engines: a file, and an empty database.
var wheres = map[string]func(t testing.TB) string{
	"local": func(t testing.TB) string { return filepath.Join(t.TempDir(), "jobs.db") },
	"river": func(t testing.TB) string {
		return testpg.Database(t, "jobs", func(ctx context.Context, url string) error {
			e, err := jobs.OpenRiver(ctx, url, nil, jobs.Options{})
			if err != nil {
				return err
			}
			return e.Close()
		})
	},
}

func TestEngines(t *testing.T) {
	for name, where := range wheres {
		t.Run(name, func(t *testing.T) {
			jobstest.Run(t, func(t *testing.T) jobstest.Store {
				at := where(t)
				return jobstest.Store{Shared: name == "river", Open: func(ctx context.Context, of map[string]jobs.Handler, o jobs.Options) (jobs.Engine, error) {
					return openAt(ctx, at, of, o)
				}}
			})
		})
	}
}

// TestKilled: the job of a process that is killed by SIGKILL is attempted again by another one, under a larger number.
func TestKilled(t *testing.T) {
	for name, where := range wheres {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := where(t)
			began := make(chan jobs.Run, 8)
			of := killed(func(_ context.Context, r jobs.Run) error {
				began <- r
				return nil
			})
			enqueue := func() {
				t.Helper()
				e, err := openAt(t.Context(), at, of, jobs.Options{})
				if err != nil {
					t.Fatal(err)
				}
				err = e.Enqueue(t.Context(), jobs.Job{Kind: "work", Key: "k", Args: []byte("1")})
				if err2 := e.Close(); err != nil || err2 != nil {
					t.Fatal(err, err2)
				}
			}
			enqueue()
			for n := 1; n <= 2; n++ {
				process := exec.Command(os.Args[0])
				process.Env = append(os.Environ(), child+"="+at)
				process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
				out, err := process.StdoutPipe()
				if err == nil {
					err = process.Start()
				}
				if err != nil {
					t.Fatal(err)
				}
				line, _ := bufio.NewReader(out).ReadString('\n')
				if err := process.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				_ = process.Wait()
				if want := fmt.Sprintf("attempt %d\n", n); line != want {
					t.Fatalf("the process said %q, not %q", line, want)
				}
			}
			enqueue() // nothing: it is still to be done
			e, err := openAt(t.Context(), at, of, jobs.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- e.Run(ctx) }()
			select {
			case r := <-began:
				if r.Attempt != 3 || string(r.Args) != "1" {
					t.Errorf("after two processes were killed: %+v", r)
				}
			case <-time.After(time.Minute):
				t.Error("the job of a killed process was not attempted again")
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if len(began) > 0 {
				t.Errorf("attempted once more: %+v", <-began)
			}
		})
	}
}
