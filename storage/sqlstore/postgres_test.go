package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"vigie/internal/testpg"
	"vigie/storage"
	"vigie/storage/storagetest"
)

func TestMain(m *testing.M) { os.Exit(testpg.Main(m)) }

// inPostgres is a store that can be opened again.
type inPostgres struct {
	*Store
	url string
}

func (s inPostgres) Reopen(t testing.TB) storage.Catalogue {
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return openPostgres(t, s.url, s.options)
}

// Rewind implements [storagetest.Rewinder]: sequences do not go back with a transaction.
func (s inPostgres) Rewind(t testing.TB) func(error) {
	type sequence struct {
		name   string
		last   int64
		called bool
	}
	conn := admin(t, s.url)
	rows, err := conn.Query(t.Context(), "SELECT sequencename FROM pg_sequences WHERE schemaname = 'vigie'")
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(names) < 7 {
		t.Fatal(names, err)
	}
	all := make([]sequence, len(names))
	for i, name := range names {
		all[i].name = "vigie." + name
		if err := conn.QueryRow(t.Context(), "SELECT last_value, is_called FROM "+all[i].name).Scan(&all[i].last, &all[i].called); err != nil {
			t.Fatal(err)
		}
	}
	return func(outcome error) {
		for _, q := range all {
			if outcome == nil {
				break
			}
			if _, err := conn.Exec(t.Context(), "SELECT setval($1::text::regclass, $2, $3)", q.name, q.last, q.called); err != nil {
				t.Fatal(err)
			}
		}
		conn.Close(t.Context())
	}
}

// admin is a connection beside those of a store.
func admin(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// migrated is an empty database with the schema of a catalogue.
func migrated(t testing.TB) string {
	return testpg.Database(t, "catalogue", func(ctx context.Context, url string) error {
		config, err := pgx.ParseConfig(url)
		if err != nil {
			return err
		}
		return preparePostgres(ctx, config)
	})
}

func openPostgres(t testing.TB, url string, o storage.Options) inPostgres {
	t.Helper()
	s, err := OpenPostgres(context.Background(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return inPostgres{s, url}
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(t testing.TB, o storage.Options) storage.Catalogue {
		return openPostgres(t, migrated(t), o)
	})
}

// cluster is a database that stores are opened on.
type cluster struct{ url string }

func (c cluster) Open(t testing.TB) storage.Catalogue {
	return openPostgres(t, c.url, storage.Options{})
}

func (c cluster) Cut(t testing.TB) (n int) {
	err := admin(t, c.url).QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE datname = current_database() AND application_name = 'vigie'`).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPostgresCluster(t *testing.T) {
	t.Parallel()
	storagetest.RunCluster(t, func(t testing.TB) storagetest.Cluster { return cluster{testpg.Database(t, "", nil)} })
}

// sessions asks live connections of a store.
func sessions(t *testing.T, s inPostgres, ask func(name string, conn *sql.Conn)) {
	t.Helper()
	ask("writer", s.conn)
	for range 3 { // at a time, so that they are different connections
		conn, err := s.reader.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ask("reader", conn)
	}
}

// TestPostgresSessions: every session has the settings that Vigie relies on, whatever the database and the URL say.
func TestPostgresSessions(t *testing.T) {
	t.Parallel()
	u := migrated(t)
	a := admin(t, u)
	for _, statement := range []string{
		"CREATE SCHEMA evil",
		"CREATE TABLE evil.log_head AS SELECT 1 AS one, 'evil' AS log_id, 7 AS seq, ''::bytea AS root",
		`DO $$ BEGIN
			EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database());
			EXECUTE format('ALTER DATABASE %I SET search_path = evil, vigie', current_database());
			EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable', current_database());
			EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database());
		END $$`,
	} {
		if _, err := a.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	s := openPostgres(t, u+"&synchronous_commit=off&search_path=evil&application_name=other&default_query_exec_mode=simple_protocol", storage.Options{})
	want := map[string]map[string]string{
		"writer": {"statement_timeout": "30s", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "5s", "default_transaction_isolation": "read committed", "default_transaction_read_only": "off"},
		"reader": {"statement_timeout": "1min", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "10min", "default_transaction_read_only": "on"},
	}
	sessions(t, s, func(name string, conn *sql.Conn) {
		settings := maps.Clone(want[name])
		maps.Copy(settings, map[string]string{"synchronous_commit": "on", "search_path": "vigie, pg_temp", "application_name": "vigie", "client_encoding": "UTF8", "enable_seqscan": "off", "jit": "off"})
		for setting, value := range settings {
			var got string
			if err := conn.QueryRowContext(t.Context(), "SHOW "+setting).Scan(&got); err != nil || got != value {
				t.Errorf("%s: %s is %s, want %s; %v", name, setting, got, value, err)
			}
		}
		if _, err := conn.ExecContext(t.Context(), "UPDATE log_head SET seq = seq"); (err == nil) != (name == "writer") {
			t.Errorf("%s writes: %v", name, err)
		}
	})
	if w, r := s.writer.Stats().MaxOpenConnections, s.reader.Stats().MaxOpenConnections; w != 1 || r != maxReaders {
		t.Errorf("%d writing and %d reading connections", w, r)
	}
	err := s.View(t.Context(), func(r storage.Reader) error {
		var isolation string
		err := r.(*reader).row("SHOW transaction_isolation").Scan(&isolation)
		if isolation != "repeatable read" {
			t.Errorf("a view is %s", isolation)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if head, err := s.Head(t.Context()); err != nil || len(head.LogID) != 32 {
		t.Errorf("head is %v, %v", head, err)
	}
	if err := s.Update(t.Context(), func(w storage.Writer) error { return w.Append(&storage.Change{Kind: "test"}) }); err != nil {
		t.Error(err)
	}
}

// TestPostgresRefused: databases that hold something else there, or too new, give a clear error and stay as they are.
func TestPostgresRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		catalogue  bool // there is one
		statements string
		want       error
	}{
		"newer":            {true, "INSERT INTO vigie.goose_db_version (version_id, is_applied) VALUES (99, true)", ErrNewer},
		"another's tables": {false, "CREATE SCHEMA vigie; CREATE TABLE vigie.log_head (a BIGINT)", ErrForeign},
		"another's goose":  {false, "CREATE SCHEMA vigie; CREATE TABLE vigie.goose_db_version (a BIGINT); CREATE VIEW vigie.x AS SELECT 1", ErrForeign},
		"an empty schema":  {false, "CREATE SCHEMA vigie", nil},
		"other schemas":    {false, "CREATE TABLE log_head (a BIGINT); CREATE TABLE goose_db_version (a BIGINT); CREATE TABLE banks (a BIGINT)", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := testpg.Database(t, "", nil)
			if test.catalogue {
				u = migrated(t)
			}
			a := admin(t, u)
			if _, err := a.Exec(t.Context(), test.statements); err != nil {
				t.Fatal(err)
			}
			tables := func() (n int) {
				if err := a.QueryRow(t.Context(), "SELECT count(*) FROM pg_class").Scan(&n); err != nil {
					t.Fatal(err)
				}
				return n
			}
			before := tables()
			if test.want == nil {
				openPostgres(t, u, storage.Options{})
				return
			}
			if _, err := OpenPostgres(t.Context(), u, storage.Options{}); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if after := tables(); after != before {
				t.Errorf("%d tables became %d", before, after)
			}
		})
	}
	for name, u := range map[string]string{
		"not a URL":   "postgres://user:hunter2@host:port/x",
		"nobody":      "postgres://user:hunter2@localhost:1/x",
		"no database": strings.Replace(migrated(t), "/t", "/none", 1),
	} {
		_, err := OpenPostgres(t.Context(), u, storage.Options{})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
		if name == "no database" && !strings.Contains(err.Error(), `: FATAL: database "none`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPostgresTamperedTree is TestTamperedTree.
func TestPostgresTamperedTree(t *testing.T) {
	t.Parallel()
	s := openPostgres(t, migrated(t), storage.Options{})
	add := func() error {
		return s.Update(t.Context(), func(w storage.Writer) error { return w.Append(&storage.Change{Kind: "test"}) })
	}
	for range 3 {
		if err := add(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := admin(t, s.url).Exec(t.Context(), "UPDATE vigie.log_hashes SET hash = '\\x00' WHERE idx = 2"); err != nil {
		t.Fatal(err)
	}
	s = s.Reopen(t).(inPostgres) // who has appended last knows the end of the tree by itself
	if err := add(); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
	if head, err := s.Head(t.Context()); err != nil || head.Seq != 3 {
		t.Errorf("head is %d, %v", head.Seq, err)
	}
}

// together runs updates in one transaction, and returns what came of each.
func together(t *testing.T, s *Store, updates ...func(storage.Writer) error) []error {
	t.Helper()
	inside, finish := make(chan bool), make(chan bool)
	var wait sync.WaitGroup
	wait.Go(func() {
		s.Update(t.Context(), func(storage.Writer) error {
			inside <- true
			<-finish
			return nil
		})
	})
	<-inside
	outcomes := make([]error, len(updates))
	for i, u := range updates {
		wait.Go(func() { outcomes[i] = s.Update(t.Context(), u) })
		for len(s.requests) <= i {
			runtime.Gosched()
		}
	}
	close(finish)
	wait.Wait()
	return outcomes
}

// TestPostgresSwallowed: an update that makes nothing of an error of the database fails, alone.
func TestPostgresSwallowed(t *testing.T) {
	t.Parallel()
	s := openPostgres(t, migrated(t), storage.Options{})
	swallow := func(w storage.Writer) error {
		w.Append(&storage.Change{Kind: "test"})
		if _, err := w.(*writer).db.ExecContext(t.Context(), "INSERT INTO log_head (one) VALUES (7)"); err == nil {
			t.Error("the statement does not fail")
		}
		return nil
	}
	later := func(w storage.Writer) error { // one that is not waited for
		w.Append(&storage.Change{Kind: "test"})
		return w.(*writer).exec("INSERT INTO log_head (one) VALUES (7)")
	}
	laterRead := func(w storage.Writer) error {
		later(w)
		if _, err := w.Banks(); err == nil {
			t.Error("what was read after the statement does not fail")
		}
		return nil
	}
	add := func(w storage.Writer) error { return w.Append(&storage.Change{Kind: "test"}) }
	for _, err := range []error{
		together(t, s.Store, swallow)[0], s.Update(t.Context(), swallow), s.Update(t.Context(), later), s.Update(t.Context(), laterRead),
	} {
		if err == nil || errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("alone: %v", err)
		}
	}
	gaveUp := func(w storage.Writer) error { return errors.Join(later(w), errors.ErrUnsupported) }
	outcomes := together(t, s.Store, add, swallow, add, later, add, laterRead, add, gaveUp, add, gaveUp)
	if err := s.Update(t.Context(), gaveUp); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("alone: %v", err)
	}
	for i, err := range outcomes {
		if (err == nil) != (i%2 == 0) || errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("update %d: %v", i, err)
		}
	}
	if head, err := storage.VerifyLog(t.Context(), s, nil); err != nil || head.Seq != 5 {
		t.Errorf("head is %d, %v", head.Seq, err)
	}
}

// TestPostgresHold: a transaction takes up no more updates once it has had the head for its time, and none is lost.
func TestPostgresHold(t *testing.T) {
	t.Parallel()
	s := openPostgres(t, migrated(t), storage.Options{})
	ids := make([]string, 6)
	updates := make([]func(storage.Writer) error, len(ids))
	for i := range updates {
		updates[i] = func(w storage.Writer) error {
			time.Sleep(postgresDialect.hold * 2 / 3) // so that there is time for two
			return w.(*writer).row("SELECT CAST(pg_current_xact_id() AS TEXT)").Scan(&ids[i])
		}
	}
	for i, err := range together(t, s.Store, updates...) {
		if err != nil {
			t.Errorf("update %d: %v", i, err)
		}
	}
	each := map[string]int{}
	for _, id := range ids {
		if each[id]++; each[id] > 2 {
			t.Errorf("transactions of the updates: %v", ids)
		}
	}
}

// TestPostgresHeadIsHeld: who holds the head for too long makes others fail, and they say why.
func TestPostgresHeadIsHeld(t *testing.T) {
	t.Parallel()
	s := openPostgres(t, migrated(t), storage.Options{})
	if _, err := s.conn.ExecContext(t.Context(), "SET lock_timeout = '10ms'"); err != nil {
		t.Fatal(err)
	}
	tx, err := admin(t, s.url).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT FROM vigie.log_head FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	err = s.Update(t.Context(), func(storage.Writer) error { t.Error("it ran"); return nil })
	if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrUnknownOutcome) {
		t.Errorf("got %v", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(t.Context(), func(storage.Writer) error { return nil }); err != nil {
		t.Error(err)
	}
}

// TestPostgresKilled stops a server in every way while it is written to. What it acknowledged is there, the store comes
// back by itself, and while there is no server it says so.
func TestPostgresKilled(t *testing.T) {
	t.Parallel()
	server := testpg.Start(t)
	s := openPostgres(t, server.URL("postgres"), storage.Options{})
	if err := s.Update(t.Context(), func(w storage.Writer) error { return w.CreateBank(&storage.Bank{Name: "a"}) }); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	acknowledged, unknown, failed := map[string]uint64{}, map[string]bool{}, map[string]error{}
	ways := []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL, syscall.SIGINT, syscall.SIGQUIT}
	for round, way := range ways {
		var stop atomic.Bool
		var wait sync.WaitGroup
		for i := range 4 {
			wait.Go(func() {
				for n := 0; !stop.Load(); n++ {
					note := fmt.Sprint(round, "-", i, "-", n)
					e := storage.Entry{Bank: 1, Note: note}
					var c storage.Change
					err := s.Update(t.Context(), func(w storage.Writer) error {
						if err := storagetest.AddEntry(w, &e); err != nil {
							return err
						}
						c = storage.Change{Kind: storage.EntryChanged, Bank: 1, Entry: e.ID, Body: []byte("{}")}
						return w.Append(&c)
					})
					mu.Lock()
					switch {
					case err == nil:
						acknowledged[note] = c.Seq
					case errors.Is(err, storage.ErrUnknownOutcome):
						unknown[note] = true
					case errors.Is(err, storage.ErrUnavailable):
						failed[note] = err
					default:
						t.Errorf("%s: %v", note, err)
					}
					mu.Unlock()
				}
			})
		}
		head, err := s.Head(t.Context())
		if err == nil {
			err = s.Wait(t.Context(), head.Seq+40)
		}
		if err != nil {
			t.Fatal(err)
		}
		server.Stop(t, way)
		if err := s.Update(t.Context(), func(storage.Writer) error { t.Error("it ran"); return nil }); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("an update without a server: %v", err)
		}
		if err := s.View(t.Context(), func(storage.Reader) error { t.Error("it ran"); return nil }); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("a view without a server: %v", err)
		}
		if _, err := s.Head(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("the head without a server: %v", err)
		}
		if err := s.Wait(t.Context(), 1<<40); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("waiting without a server: %v", err)
		}
		stop.Store(true)
		wait.Wait()
		server.Restart(t)
		if err := s.Update(t.Context(), func(storage.Writer) error { return nil }); err != nil {
			t.Errorf("after %v: %v", way, err)
		}
		if _, err := storage.VerifyLog(t.Context(), s, nil); err != nil {
			t.Errorf("after %v: %v", way, err)
		}
	}
	state := storagetest.Dump(t, s)
	storagetest.CheckPairs(t, state)
	seen := map[string]uint64{}
	for _, e := range state.Entries {
		if seen[e.Note] != 0 {
			t.Errorf("%s is there twice", e.Note)
		}
		if acknowledged[e.Note] == 0 && !unknown[e.Note] {
			t.Errorf("%s is there, though its update failed: %v", e.Note, failed[e.Note])
		}
		seen[e.Note] = e.Seq
	}
	for note, seq := range acknowledged {
		if seen[note] != seq {
			t.Errorf("%s was acknowledged as %d, and is there as %d", note, seq, seen[note])
		}
	}
	t.Logf("%d acknowledged, %d failed, %d of unknown outcome", len(acknowledged), len(failed), len(unknown))
}

// TestPostgresNotify: commits of another process are heard of, and still are when the listening connection was cut. What
// stands behind it, to look every second, has no part in this.
func TestPostgresNotify(t *testing.T) {
	t.Parallel()
	u := migrated(t)
	one, two := openPostgres(t, u, storage.Options{}), openPostgres(t, u, storage.Options{})
	for range 2 {
		for range 3 { // the first may be heard of because the connection is new
			heard := two.nextCommit()
			for {
				err := one.Update(t.Context(), func(w storage.Writer) error { return w.Append(&storage.Change{Kind: "test"}) })
				if err == nil {
					break
				}
				if !errors.Is(err, storage.ErrUnavailable) {
					t.Fatal(err)
				}
			}
			select {
			case <-heard:
			case <-time.After(20 * time.Second):
				t.Fatal("a commit was not heard of")
			}
		}
		cluster{u}.Cut(t)
	}
}
