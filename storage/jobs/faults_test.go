package jobs

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"vigie/internal/testpg"
	"vigie/internal/testproxy"
	"vigie/storage"
)

// openJobs opens an engine with one kind of jobs, which ends with the test.
func openJobs(t *testing.T, database string) *riverEngine {
	t.Helper()
	e, err := OpenRiver(t.Context(), database, map[string]Handler{"work": {Do: func(context.Context, Run) error { return nil }}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e.(*riverEngine)
}

// parse reads the URL of a database, and returns the folder of its server's socket, too.
func parse(t *testing.T, database string) (*url.URL, string) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	return u, u.Query().Get("host")
}

// TestSilentDatabase: a database that does not answer any more is given up, and found again.
func TestSilentDatabase(t *testing.T) {
	t.Parallel()
	u, folder := parse(t, testpg.Database(t, "", nil))
	p := testproxy.Start(t, "unix", filepath.Join(folder, ".s.PGSQL.5432"))
	u.Host, u.RawQuery = p.Address(), "sslmode=disable"
	e := openJobs(t, u.String())
	job := Job{Kind: "work"}
	asks := map[string]func() error{
		"enqueue":   func() error { return e.Enqueue(t.Context(), job) },
		"stats":     func() error { _, err := e.Stats(t.Context()); return err },
		"dead":      func() error { _, err := e.Dead(t.Context(), "work", 0, 1); return err },
		"pending":   func() error { _, err := e.Pending(t.Context(), "work"); return err },
		"replay":    func() error { return e.Replay(t.Context(), 1) },
		"replay of": func() error { _, err := e.ReplayOf(t.Context(), "work", "a"); return err },
		"drop":      func() error { return e.Drop(t.Context(), "work", "a") },
		"drop of":   func() error { return e.DropOf(t.Context(), "work", "a") },
		"expire":    func() error { return e.Expire(t.Context(), "work", time.Now()) },
	}
	for _, fault := range []testproxy.Fault{{HoldRequests: true, HoldAnswers: true}, {HoldAnswers: true}, {HoldRequests: true}} {
		e.limit = answering
		if err := e.Enqueue(t.Context(), job); err != nil {
			t.Fatal(err)
		}
		e.limit = 100 * time.Millisecond
		if err := p.Set(fault); err != nil {
			t.Fatal(err)
		}
		for what, ask := range asks {
			if err := ask(); !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrUnknownOutcome) {
				t.Errorf("%+v: %s: %v", fault, what, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if err := e.Enqueue(ctx, job); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%+v: who gives up before: %v", fault, err)
		}
		cancel()
		if err := p.Set(testproxy.Fault{}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSeveralHosts: of several hosts the one is used that can be written to; a standby alone is not available.
func TestSeveralHosts(t *testing.T) {
	t.Parallel()
	standby, other := testpg.Start(t), testpg.Start(t)
	u, folder := parse(t, standby.URL("postgres"))
	standby.Stop(t, syscall.SIGINT)
	if err := os.WriteFile(filepath.Join(folder, "data", "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	standby.Restart(t)
	if _, err := OpenRiver(t.Context(), u.String(), nil, Options{}); !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "standby") {
		t.Errorf("open a standby: %v", err)
	}
	_, next := parse(t, other.URL("postgres"))
	u.RawQuery = url.Values{"host": {folder + "," + next}}.Encode()
	if err := openJobs(t, u.String()).Enqueue(t.Context(), Job{Kind: "work"}); err != nil {
		t.Errorf("with two hosts: %v", err)
	}
}

// TestStatementTimeout: the server ends what takes too long, but for migrations.
func TestStatementTimeout(t *testing.T) {
	t.Parallel()
	database := testpg.Database(t, "", nil)
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.Exec(t.Context(), `CREATE FUNCTION look() RETURNS event_trigger LANGUAGE plpgsql AS
		'BEGIN IF current_setting(''statement_timeout'') <> ''0'' THEN RAISE ''statement_timeout is %'', current_setting(''statement_timeout''); END IF; END';
		CREATE EVENT TRIGGER look ON ddl_command_start EXECUTE FUNCTION public.look()`); err != nil {
		t.Fatal(err)
	}
	var limit string
	if err := openJobs(t, database).pool.QueryRow(t.Context(), "SHOW statement_timeout").Scan(&limit); err != nil || limit != "2min" {
		t.Errorf("it is %q: %v", limit, err)
	}
}
