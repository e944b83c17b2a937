package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"vigie/internal/testpg"
	"vigie/storage"
	"vigie/storage/jobs"
	"vigie/storage/sqlstore"
)

// TestOutage: PostgreSQL is stopped in all ways and started again while jobs are enqueued and done by two engines. None that
// was acknowledged is lost.
func TestOutage(t *testing.T) {
	t.Parallel()
	server := testpg.Start(t)
	url := server.URL("postgres")
	var mu sync.Mutex
	done, faults := map[string]bool{}, 0
	of := map[string]jobs.Handler{"work": {
		Timeout: 2 * time.Second, Parallel: 8, Attempts: 1000,
		Backoff: func(int) time.Duration { return 10 * time.Millisecond },
		Do: func(_ context.Context, r jobs.Run) error {
			mu.Lock()
			defer mu.Unlock()
			done[string(r.Args)] = true
			return nil
		},
	}}
	o := jobs.Options{Fault: func(error) { mu.Lock(); faults++; mu.Unlock() }}
	var engines [2]jobs.Engine
	for i := range engines {
		e, err := jobs.OpenRiver(t.Context(), url, of, o)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		engines[i] = e
	}
	ctx, cancel := context.WithCancel(t.Context())
	var runs sync.WaitGroup
	run := func(e jobs.Engine) {
		runs.Go(func() {
			if err := e.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	run(engines[0])

	acknowledged := map[string]bool{}
	last := 0
	enqueue := func() error { // one more job
		args := fmt.Sprint(last)
		err := engines[1].Enqueue(t.Context(), jobs.Job{Kind: "work", Args: []byte(args)})
		if err == nil {
			acknowledged[args] = true
		}
		last++
		return err
	}
	for i, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		for range 50 {
			if err := enqueue(); err != nil {
				t.Fatal(err)
			}
		}
		server.Stop(t, signal)
		for range 3 {
			if err := enqueue(); !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrUnknownOutcome) {
				t.Errorf("enqueue while the database is away: %v", err)
			}
		}
		if _, err := engines[1].Stats(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("stats while the database is away: %v", err)
		}
		if _, err := jobs.OpenRiver(t.Context(), url, of, o); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("open while the database is away: %v", err)
		}
		if i == 0 {
			run(engines[1]) // which waits for the database
		}
		server.Restart(t)
		for limit := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // connections that the stop has cut may be met first
			if err := enqueue(); err == nil {
				break
			} else if time.Now().After(limit) {
				t.Fatal(err)
			}
		}
	}
	for limit := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		mu.Lock()
		missing := 0
		for args := range acknowledged {
			if !done[args] {
				missing++
			}
		}
		told := faults
		mu.Unlock()
		if missing == 0 {
			if told == 0 {
				t.Error("Fault was told of no outage")
			}
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("%d of %d jobs that were acknowledged are not done", missing, len(acknowledged))
		}
	}
	cancel()
	runs.Wait()
}

// TestLostCommit: a connection that ends within the commit leaves it open whether the jobs are there.
func TestLostCommit(t *testing.T) {
	t.Parallel()
	url := wheres["river"](t)
	e, err := jobs.OpenRiver(t.Context(), url, map[string]jobs.Handler{"work": {Do: func(context.Context, jobs.Run) error { return nil }}}, jobs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	execute(t, url, `CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
		CREATE CONSTRAINT TRIGGER die AFTER INSERT ON vigie_jobs.river_job DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.die()`)
	j := jobs.Job{Kind: "work", Key: "k"}
	if err := e.Enqueue(t.Context(), j); !errors.Is(err, storage.ErrUnknownOutcome) || !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("enqueue whose commit has no answer: %v", err)
	}
	execute(t, url, "DROP TRIGGER die ON vigie_jobs.river_job")
	for range 2 {
		if err := e.Enqueue(t.Context(), j); err != nil {
			t.Error(err)
		}
	}
	if s, err := e.Stats(t.Context()); err != nil || s["work"].Waiting != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestOpenTogether: engines and catalogues that are opened at the same time on an empty database make what they need once each, and are
// not in each other's way.
func TestOpenTogether(t *testing.T) {
	t.Parallel()
	url := testpg.Database(t, "", nil)
	var opened sync.WaitGroup
	for range 3 {
		opened.Go(func() {
			e, err := jobs.OpenRiver(t.Context(), url, nil, jobs.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
		opened.Go(func() {
			s, err := sqlstore.OpenPostgres(t.Context(), url, storage.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	opened.Wait()
}

// TestSettings: acknowledged means durable, whatever the database says.
func TestSettings(t *testing.T) {
	t.Parallel()
	url := wheres["river"](t)
	execute(t, url, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$`)
	e, err := jobs.OpenRiver(t.Context(), url, map[string]jobs.Handler{"work": {Do: func(context.Context, jobs.Run) error { return nil }}}, jobs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	execute(t, url, `CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN IF current_setting(''synchronous_commit'') <> ''on'' THEN RAISE ''synchronous_commit is %'', current_setting(''synchronous_commit''); END IF; RETURN NULL; END';
		CREATE TRIGGER look AFTER INSERT ON vigie_jobs.river_job FOR EACH ROW EXECUTE FUNCTION public.look()`)
	if err := e.Enqueue(t.Context(), jobs.Job{Kind: "work"}); err != nil {
		t.Error(err)
	}
}

// TestPlans: what is asked often reads no table of jobs that are done.
func TestPlans(t *testing.T) {
	t.Parallel()
	url := wheres["river"](t)
	const many = 20_000
	execute(t, url, fmt.Sprintf(`INSERT INTO vigie_jobs.river_job (kind, queue, state, finalized_at, max_attempts, args)
		SELECT 'work', 'work', 'completed', now(), 25, jsonb_build_object('key', n::text) FROM generate_series(1, %d) AS n; ANALYZE vigie_jobs.river_job`, many))
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	read := func() (rows int) { // once the engine's sessions have ended, and counted
		t.Helper()
		for limit := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			var sessions int
			err := conn.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()),
				seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'river_job'`).Scan(&sessions, &rows)
			if err != nil || time.Now().After(limit) {
				t.Fatal(sessions, err)
			}
			if sessions == 0 {
				return rows
			}
		}
	}
	before := read()
	gate := make(chan bool)
	e, err := jobs.OpenRiver(t.Context(), url, map[string]jobs.Handler{"work": {
		Timeout: 200 * time.Millisecond, Attempts: 1,
		Do: func(context.Context, jobs.Run) error {
			<-gate // until it is given up
			return nil
		},
	}}, jobs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()
	if err := e.Enqueue(t.Context(), jobs.Job{Kind: "work", Key: "new"}); err != nil {
		t.Error(err)
	}
	var dead []jobs.Dead
	for limit := time.Now().Add(time.Minute); len(dead) == 0; time.Sleep(20 * time.Millisecond) {
		if dead, err = e.Dead(t.Context(), "work", 0, 10); err != nil || time.Now().After(limit) {
			t.Fatal(dead, err)
		}
	}
	close(gate)
	if err := errors.Join(e.Replay(t.Context(), dead[0].ID), e.Drop(t.Context(), "work", "new"), e.Drop(t.Context(), "work", "17")); err != nil {
		t.Error(err)
	}
	if _, err := e.Stats(t.Context()); err != nil {
		t.Error(err)
	}
	cancel()
	if err := errors.Join(<-ended, e.Close()); err != nil {
		t.Error(err)
	}
	if n := read() - before; n >= many/10 {
		t.Errorf("%d rows were read, of %d that are done and one that is not", n, many)
	}
}

func execute(t *testing.T, url, statement string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}
