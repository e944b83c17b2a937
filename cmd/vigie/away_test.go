package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "vigie/api/v1"
	"vigie/internal/testpg"
	"vigie/internal/testproxy"
)

// drive is a node on PostgreSQL with one flagged picture, and who checks it.
type drive struct {
	*served
	t               *testing.T
	platform, admin string
	picture         []byte
	entry           int64
	told            []string // matches that verdicts have named
}

func newDrive(t *testing.T, database string, env ...string) *drive {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	d := &drive{t: t, served: serve(t, data, append(env, "VIGIE_DATABASE="+database)), picture: jpegOf(1, 320, 240)}
	d.platform, d.admin = d.key(t, v1.Platform), d.key(t, v1.Admin)
	_, err := post[v1.Bank](d.served, d.admin, "/v1/banks", map[string]any{"name": "b", "action": "block"})
	must(t, err)
	flagged, err := postFile[v1.Flagged](d.served, d.admin, "/v1/banks/b/entries", d.picture)
	must(t, err)
	d.entry = flagged.Entry.Id
	return d
}

// checks asks n times, some at a time, and says how long each took. Each must find the picture, with the action that goes with
// what the verdict knows.
func (d *drive) checks(n int) (took []time.Duration, explained int) {
	d.t.Helper()
	verdict, err := unhurried(func() (v1.Verdict, error) { return postFile[v1.Verdict](d.served, d.platform, "/v1/check", d.picture) })
	must(d.t, err)
	d.told = append(d.told, *verdict.Match)
	signals := slices.DeleteFunc(verdict.Signals, func(s v1.Signal) bool { return s.Algorithm != "pdq" || s.Variant != nil && *s.Variant != "" })
	var mu sync.Mutex
	var askers sync.WaitGroup
	left := make(chan struct{}, n)
	for range n {
		left <- struct{}{}
	}
	close(left)
	for range 4 {
		askers.Go(func() {
			for range left {
				began := time.Now()
				v, err := post[v1.Verdict](d.served, d.platform, "/v1/check", map[string]any{"signals": signals})
				mu.Lock()
				took = append(took, time.Since(began))
				switch {
				case err != nil:
					d.t.Errorf("a check: %v", err)
				case v.Level != v1.LevelMatch || len(v.Matches) != 1 || v.Matches[0].Entry != d.entry || v.Match == nil:
					d.t.Errorf("a check: %+v", v)
				case v.Unexplained == nil && v.Action == v1.RecommendationBlock:
					explained++
				case v.Unexplained == nil || v.Action != v1.RecommendationHold:
					d.t.Errorf("a check: action %s, unexplained %v", v.Action, v.Unexplained)
				}
				if v.Match != nil {
					d.told = append(d.told, *v.Match)
				}
				mu.Unlock()
			}
		})
	}
	askers.Wait()
	slices.Sort(took)
	return took, explained
}

// wantRefused wants a flag to be refused with a problem.
func (d *drive) wantRefused(kind string) {
	d.t.Helper()
	_, err := postFile[v1.Flagged](d.served, d.admin, "/v1/banks/b/entries", jpegOf(2, 320, 240))
	p, ok := errors.AsType[*problemError](err)
	if !ok || p.Type != kind || p.Status != http.StatusServiceUnavailable || p.after == 0 {
		d.t.Errorf("a flag: %#v, want %s with Retry-After", err, kind)
	}
}

// wantRecorded wants all matches that were told in the catalogue, once each.
func (d *drive) wantRecorded() {
	d.t.Helper()
	eventually(d.t, "the matches are in the catalogue", func() bool {
		var have []string
		for cursor := ""; ; {
			page, err := get[v1.ListMatches200JSONResponse](d.served, d.admin, "/v1/matches?limit=500"+cursor)
			if p, refused := errors.AsType[*problemError](err); refused && p.Status == http.StatusServiceUnavailable {
				return false
			}
			must(d.t, err)
			for _, m := range page.Matches {
				have = append(have, m.Id)
			}
			if page.Next == nil {
				break
			}
			cursor = "&cursor=" + *page.Next
		}
		slices.Sort(have)
		slices.Sort(d.told)
		if len(slices.Compact(slices.Clone(have))) != len(have) || len(have) > len(d.told) {
			d.t.Fatalf("%d matches are in the catalogue, some twice; %d were told", len(have), len(d.told))
		}
		return slices.Equal(have, d.told)
	})
}

// TestDatabaseAway: PostgreSQL is stopped under a node. Checks are answered from memory, flags are refused, nothing is lost.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	pg := testpg.Start(t)
	d := newDrive(t, pg.URL("postgres"))
	usual, explained := d.checks(1000)
	if explained == 0 {
		t.Error("no verdict is whole")
	}
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		pg.Stop(t, signal)
		away, explained := d.checks(1000)
		if explained > 0 {
			t.Errorf("%d verdicts have labels that nobody could read", explained)
		}
		t.Logf("p50 and p99 of checks: %v and %v with the database, %v and %v without", usual[500], usual[990], away[500], away[990])
		d.wantRefused("/problems/database-away")
		if ready, err := get[v1.Readiness](d.served, "", "/readyz"); err != nil || !ready.Ready {
			t.Errorf("ready: %+v, %v", ready, err)
		}
		if code, _, warn := d.vigie("banks", "list"); code != 1 || strings.Count(warn, "\n") != 1 || !strings.Contains(warn, "nothing has happened") {
			t.Errorf("vigie banks list: exit %d: %s", code, warn)
		}
		pg.Restart(t)
		eventually(t, "verdicts are whole again", func() bool {
			_, explained := d.checks(1)
			return explained == 1
		})
		_, err := unhurried(func() (v1.Flagged, error) {
			return postFile[v1.Flagged](d.served, d.admin, "/v1/banks/b/entries", jpegOf(uint64(signal), 320, 240))
		})
		must(t, err)
		d.wantRecorded()
	}
}

// TestDatabaseSilent: the connections stand, and nothing comes. Checks are answered as ever.
func TestDatabaseSilent(t *testing.T) {
	t.Parallel()
	pg := testpg.Start(t)
	where, err := url.Parse(pg.URL("postgres"))
	must(t, err)
	proxy := testproxy.Start(t, "unix", filepath.Join(where.Query().Get("host"), ".s.PGSQL.5432"))
	d := newDrive(t, "postgres://postgres@"+proxy.Address()+"/postgres?sslmode=disable")
	must(t, proxy.Set(testproxy.Fault{HoldRequests: true, HoldAnswers: true}))
	took, explained := d.checks(1000)
	if explained > 0 {
		t.Errorf("%d verdicts have labels that nobody could read", explained)
	}
	t.Logf("p50 %v, p99 %v, longest %v", took[500], took[990], took[999])
	must(t, proxy.Set(testproxy.Fault{}))
	d.wantRecorded()
}

// TestStartWithoutDatabase: a node waits for its database, alive and not ready; what cannot pass by itself ends it at once.
func TestStartWithoutDatabase(t *testing.T) {
	t.Parallel()
	pg := testpg.Start(t)
	pg.Exec(t, "CREATE ROLE vigie LOGIN PASSWORD 'right' SUPERUSER")
	pg.Stop(t, syscall.SIGINT)
	data, address := filepath.Join(t.TempDir(), "data"), freeAddress(t)
	type outcome struct {
		node *served
		err  error
	}
	started := make(chan outcome, 1)
	go func() {
		s, err := startServe(data, []string{"VIGIE_DATABASE=" + pg.URL("postgres")}, "--listen", address)
		started <- outcome{s, err}
	}()
	early := &served{data: data, url: "http://" + address}
	eventually(t, "it is alive", func() bool {
		h, err := get[v1.Health](early, "", "/healthz")
		return err == nil && h.Status == v1.Alive
	})
	_, err := get[v1.Readiness](early, "", "/readyz")
	if p, ok := errors.AsType[*problemError](err); !ok || p.Status != http.StatusServiceUnavailable {
		t.Errorf("ready: %v", err)
	}
	_, err = get[v1.ListBanks200JSONResponse](early, "vg_a_b", "/v1/banks")
	if p, ok := errors.AsType[*problemError](err); !ok || p.Type != "/problems/database-away" || p.after == 0 {
		t.Errorf("banks: %v", err)
	}
	eventually(t, "commands on this machine are told", func() bool {
		code, _, warn := early.vigie("banks", "list")
		return code == 1 && strings.Contains(warn, "nothing has happened")
	})
	pg.Restart(t)
	o := <-started
	must(t, o.err)
	t.Cleanup(o.node.kill)
	if ready, err := get[v1.Readiness](o.node, "", "/readyz"); err != nil || !ready.Ready {
		t.Errorf("ready: %+v, %v", ready, err)
	}
	if !strings.Contains(o.node.stderr.String(), "the node waits for it") {
		t.Errorf("its log: %s", o.node.stderr.String())
	}

	pg.Exec(t, "CREATE DATABASE foreigner")
	pg.Exec(t, "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
	for what, database := range map[string]string{
		"no such database": pg.URL("nowhere"),
		"no such user":     strings.Replace(pg.URL("postgres"), "postgres@", "nobody:hunter2@", 1),
		"encoding":         pg.URL("latin"),
	} {
		code, warn := serveInVain(t, filepath.Join(t.TempDir(), "data"), database)
		lines := strings.Split(strings.TrimSpace(warn), "\n")
		if last := lines[len(lines)-1]; code != 1 || !strings.HasPrefix(last, "vigie: open catalogue in database") || strings.Contains(warn, "hunter2") {
			t.Errorf("%s: exit %d: %s", what, code, warn)
		}
	}
}

// TestJournalOfAnotherCatalogue: what one catalogue has not got yet is not shipped to another.
func TestJournalOfAnotherCatalogue(t *testing.T) {
	t.Parallel()
	pg := testpg.Start(t)
	pg.Exec(t, "CREATE DATABASE other")
	d := newDrive(t, pg.URL("postgres"))
	pg.Stop(t, syscall.SIGINT)
	d.checks(10)
	d.kill() // with matches that nobody has
	pg.Restart(t)

	code, warn := serveInVain(t, d.data, pg.URL("other"))
	if code != 1 || !strings.Contains(warn, "records for the catalogue with log") || !strings.Contains(warn, filepath.Join(d.data, journalFolder)) {
		t.Fatalf("exit %d: %s", code, warn)
	}
	d.served = serve(t, d.data, []string{"VIGIE_DATABASE=" + pg.URL("postgres")})
	d.wantRecorded()
	if code, err := d.stop(); code != 0 || err != nil {
		t.Fatalf("stop: %d %v", code, err)
	}
	// With nothing left to ship, it may go to another one, and back.
	for _, database := range []string{"other", "postgres"} {
		s := serve(t, d.data, []string{"VIGIE_DATABASE=" + pg.URL(database)})
		if code, err := s.stop(); code != 0 || err != nil {
			t.Fatalf("stop: %d %v", code, err)
		}
	}
}

// TestDatabaseIsNotShown: a password does not come out, wherever the URL has it.
func TestDatabaseIsNotShown(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"postgres://vigie@db.example/vigie":                                 "postgres://vigie@db.example/vigie",
		"postgres://vigie:hunter2@db.example:5432/vigie":                    "postgres://vigie:****@db.example:5432/vigie",
		"postgresql://db/vigie?password=hunter2&user=a&sslpassword=hunter2": "postgresql://db/vigie?password=****&sslpassword=****&user=a",
		"":                              "",
		"postgres://u:hunt%er2@host/db": "****",
	} {
		if got := Database(given).String(); got != want {
			t.Errorf("%q is shown as %q, want %q", given, got, want)
		}
	}
	for _, given := range []string{
		"postgres://u:hunt%er2@127.0.0.1/db", "mysql://u:hunter2@127.0.0.1/db", "host=127.0.0.1 password=hunter2",
		// Passwords whose second half may seem to be something else.
		"postgres://u:a@hunter2@127.0.0.1:1/db", "postgres://u:1/hunter2@127.0.0.1:1/db", "postgres://u:1?hunter2@127.0.0.1:1/db",
		"postgres://u:1#hunter2@127.0.0.1:1/db", "postgres://127.0.0.1:1/db?password=a#hunter2",
		"postgres://u:hunter2@127.0.0.1:1/db", "postgres://127.0.0.1:1/db?password=hunter2&sslmode=nonsense",
	} {
		for _, args := range [][]string{{"config", "--json"}, {"banks", "list"}, {"migrate", "--dry-run"}, {"doctor"}} {
			data := t.TempDir()
			must(t, os.WriteFile(filepath.Join(data, "LOCK"), nil, 0o600))
			code, out, warn := runVigie(append(os.Environ(), "VIGIE_DATABASE="+given, "VIGIE_DATA="+data), args...)
			if strings.Contains(out+warn, "hunt") {
				t.Errorf("%v with %s: exit %d: %s%s", args, given, code, out, warn)
			}
		}
	}
}

// serveInVain starts a node that is to end by itself, and returns its exit code and what it printed.
func serveInVain(t *testing.T, data, database string) (code int, warn string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "vigie", "serve", "--data", data, "--listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "VIGIE_DATABASE="+database)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
