package testpg

import (
	"context"
	"os"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func ask(t *testing.T, url, query string) (answer string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(t.Context(), query).Scan(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

// TestDatabase: databases are apart from each other, and copies of their template.
func TestDatabase(t *testing.T) {
	t.Parallel()
	prepared := 0
	prepare := func(ctx context.Context, url string) error {
		prepared++
		conn, err := pgx.Connect(ctx, url)
		if err == nil {
			_, err = conn.Exec(ctx, "CREATE TABLE a (b TEXT); INSERT INTO a VALUES ('from the template')")
			conn.Close(ctx)
		}
		return err
	}
	one, two := Database(t, "x", prepare), Database(t, "x", prepare)
	if one == two || prepared != 1 {
		t.Errorf("%s and %s, prepared %d times", one, two, prepared)
	}
	if got := ask(t, one, "UPDATE a SET b = 'changed' RETURNING b"); got != "changed" {
		t.Error(got)
	}
	if got := ask(t, two, "SELECT b FROM a"); got != "from the template" {
		t.Error(got)
	}
	if got := ask(t, Database(t, "", nil), "SELECT current_setting('fsync')"); got != "off" {
		t.Errorf("the shared server has fsync %s", got)
	}
}

// TestServer: what was committed is there after every kind of end.
func TestServer(t *testing.T) {
	t.Parallel()
	s := Start(t)
	u := s.URL("postgres")
	if got := ask(t, u, "SELECT current_setting('fsync')||current_setting('synchronous_commit')||current_setting('full_page_writes')"); got != "ononon" {
		t.Errorf("settings are %s", got)
	}
	s.Exec(t, "CREATE TABLE a (b BIGINT)")
	for i, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		s.Exec(t, "INSERT INTO a VALUES ($1)", i)
		s.Stop(t, signal)
		if conn, err := pgx.Connect(t.Context(), u); err == nil {
			conn.Close(t.Context())
			t.Errorf("after %v the server still answers", signal)
		}
		s.Restart(t)
		if got := ask(t, u, "SELECT string_agg(b::text, ',' ORDER BY b) FROM a"); got != "0,1,2"[:1+2*i] {
			t.Errorf("after %v: %s", signal, got)
		}
	}
}
