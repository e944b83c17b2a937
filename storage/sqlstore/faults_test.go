package sqlstore

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"vigie/internal/testpg"
	"vigie/internal/testproxy"
	"vigie/storage"
)

// socketOf is the folder of a server's socket.
func socketOf(t *testing.T, database string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get("host")
}

// at is the URL with other hosts.
func at(t *testing.T, database, hosts string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery = url.Values{"host": {hosts}}.Encode()
	return u.String()
}

func nothing(storage.Writer) error { return nil }

// TestPostgresSilent: a server that does not answer any more is given up, and found again.
func TestPostgresSilent(t *testing.T) {
	t.Parallel()
	u := migrated(t)
	p := testproxy.Start(t, "unix", filepath.Join(socketOf(t, u), ".s.PGSQL.5432"))
	parsed, err := url.Parse(u)
	if err != nil {
		t.Fatal(err)
	}
	parsed.Host, parsed.RawQuery = p.Address(), "sslmode=disable"
	s := openPostgres(t, parsed.String(), storage.Options{})
	// The committer reads it in an update's turn, which this one is not: none is under way.
	s.dialect.limit = time.Second
	for _, fault := range []testproxy.Fault{{HoldRequests: true, HoldAnswers: true}, {HoldAnswers: true}, {HoldRequests: true}} {
		if err := s.Update(t.Context(), nothing); err != nil {
			t.Fatal(err)
		}
		p.Set(fault)
		if err := s.Update(t.Context(), nothing); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%+v: an update: %v", fault, err)
		}
		if _, err := s.Head(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%+v: the head: %v", fault, err)
		}
		if err := s.Wait(t.Context(), 1<<40); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%+v: waiting: %v", fault, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if err := s.View(ctx, func(r storage.Reader) error { _, err := r.Banks(); return err }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%+v: a view: %v", fault, err)
		}
		cancel()
		p.Set(testproxy.Fault{})
	}
	if err := s.Update(t.Context(), nothing); err != nil {
		t.Error(err)
	}
	if _, err := s.Head(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestPostgresSlowStatement: what takes too long is ended by the server, alone, and says so.
func TestPostgresSlowStatement(t *testing.T) {
	t.Parallel()
	s := openPostgres(t, migrated(t), storage.Options{})
	if _, err := s.conn.ExecContext(t.Context(), "SET statement_timeout = '20ms'"); err != nil {
		t.Fatal(err)
	}
	var slept string
	err := s.Update(t.Context(), func(w storage.Writer) error {
		return w.(*writer).row("SELECT CAST(pg_sleep(60) AS TEXT)").Scan(&slept)
	})
	if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrUnknownOutcome) {
		t.Errorf("got %v", err)
	}
	if err := s.Update(t.Context(), nothing); err != nil {
		t.Error(err)
	}
}

// TestPostgresManyReaders: who waits for a place among the readers waits no longer than its context.
func TestPostgresManyReaders(t *testing.T) {
	t.Parallel()
	s := openPostgres(t, migrated(t), storage.Options{})
	var inside, all sync.WaitGroup
	leave := make(chan bool)
	inside.Add(maxReaders)
	for range maxReaders {
		all.Go(func() {
			if err := s.View(t.Context(), func(storage.Reader) error { inside.Done(); <-leave; return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	inside.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.View(ctx, func(storage.Reader) error { t.Error("it ran"); return nil }); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if err := s.Update(t.Context(), nothing); err != nil { // has a connection of its own
		t.Error(err)
	}
	close(leave)
	all.Wait()
}

// TestPostgresFailover: of several hosts the one is used that can be written to; a standby alone is not available, until it is promoted.
func TestPostgresFailover(t *testing.T) {
	t.Parallel()
	server, other := testpg.Start(t), testpg.Start(t)
	u := server.URL("postgres")
	folder := socketOf(t, u)
	s := openPostgres(t, u, storage.Options{})
	if err := s.Update(t.Context(), func(w storage.Writer) error { return w.CreateBank(&storage.Bank{Name: "a"}) }); err != nil {
		t.Fatal(err)
	}
	server.Stop(t, syscall.SIGINT)
	if err := os.WriteFile(filepath.Join(folder, "data", "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	server.Restart(t)
	if err := s.Update(t.Context(), nothing); !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "standby") {
		t.Errorf("an update on a standby: %v", err)
	}
	if _, err := OpenPostgres(t.Context(), u, storage.Options{}); !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "standby") {
		t.Errorf("open a standby: %v", err)
	}
	both := openPostgres(t, at(t, u, folder+","+socketOf(t, other.URL("postgres")))+"&target_session_attrs=read-write", storage.Options{})
	err := both.Update(t.Context(), func(w storage.Writer) error { return w.CreateBank(&storage.Bank{Name: "b"}) })
	if err == nil {
		err = both.View(t.Context(), func(r storage.Reader) error { _, err := r.BankNamed(storage.Operator, "b"); return err })
	}
	if err != nil {
		t.Errorf("with two hosts: %v", err)
	}
	server.Exec(t, "SELECT pg_promote()")
	if err := s.Update(t.Context(), nothing); err != nil {
		t.Errorf("after the promotion: %v", err)
	}
	if err := s.View(t.Context(), func(r storage.Reader) error { _, err := r.BankNamed(storage.Operator, "a"); return err }); err != nil {
		t.Error(err)
	}
}

// TestPostgresSettingsIgnored: a pooler that does not pass on what a session is to be like is not worked with.
func TestPostgresSettingsIgnored(t *testing.T) {
	t.Parallel()
	u := migrated(t)
	parsed, err := pgx.ParseConfig(u)
	if err != nil {
		t.Fatal(err)
	}
	config := sessionOf(parsed, nil)
	delete(config.RuntimeParams, "search_path")
	db := stdlib.OpenDB(*config)
	defer db.Close()
	if err := db.PingContext(t.Context()); !errors.Is(err, ErrPooler) || Passing(err) {
		t.Errorf("got %v", err)
	}
}

// TestPooler: nobody waits for a pooler that refuses the settings of a session, but for one that has too much to do, with the same code.
func TestPooler(t *testing.T) {
	t.Parallel()
	for says, want := range map[string]bool{
		"unsupported startup parameter: default_transaction_isolation": false,
		"no more connections allowed (max_client_conn)":                true,
	} {
		_, err := OpenPostgres(t.Context(), testpg.Refusing(t, "08P01", says), storage.Options{})
		if err == nil || Passing(err) != want || errors.Is(err, ErrPooler) == want {
			t.Errorf("%s: %v; passing: %v", says, err, Passing(err))
		}
	}
}

// TestPostgresTurn: who has waited long for a turn to write is told that nothing has happened, and is not served when the head of the log
// is free again: the next one does not queue behind those who have gone.
func TestPostgresTurn(t *testing.T) {
	t.Parallel()
	u := migrated(t)
	s := openPostgres(t, u, storage.Options{})
	s.dialect.turn = 100 * time.Millisecond // nobody updates yet
	other := admin(t, u)
	for _, statement := range []string{"BEGIN", "SELECT seq FROM vigie.log_head FOR UPDATE"} {
		if _, err := other.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for range 2 * maxBatch { // more than the queue has room for
		all.Go(func() {
			err := s.Update(t.Context(), func(storage.Writer) error { t.Error("it is served"); return nil })
			if !errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "no turn") {
				t.Errorf("who waits for too long: %v", err)
			}
		})
	}
	all.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Update(ctx, nothing); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("who gives up before: %v", err)
	}
	if _, err := other.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	for { // the head is free, or about to be
		err := s.Update(t.Context(), nothing)
		if err == nil {
			break
		}
		if !errors.Is(err, storage.ErrUnavailable) || t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}
