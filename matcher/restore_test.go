package matcher_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"vigie/hashing"
	"vigie/internal/testneed"
	"vigie/internal/testpg"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/journal"
	"vigie/storage/sqlstore"
)

// member is a node of several on one PostgreSQL database, with a journal that is shipped.
type member struct {
	*node
	journal           *journal.Journal
	diverged, shipped told[error]
}

func join(t *testing.T, url string) *member {
	m := &member{}
	c, err := sqlstore.OpenPostgres(t.Context(), url, storage.Options{})
	must(t, err)
	m.journal, err = journal.Open(filepath.Join(t.TempDir(), "journal"), journal.Options{Fault: m.shipped.add})
	must(t, err)
	m.node = follow(t, c, matcher.Options{
		Patience: patience, Journal: m.journal, Render: func(matcher.Verdict) ([]byte, error) { return []byte("{}"), nil },
		Events: matcher.Events{Diverged: m.diverged.add},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = m.journal.Ship(ctx, m.Deliver) })
	running.Go(func() {
		r := &matcher.Reporter{Matcher: m.Matcher, Journal: m.journal, Name: "a member", Ready: func() bool { return true }}
		_ = r.Run(ctx)
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		m.stop()
		must(t, m.journal.Close())
		must(t, c.Close())
	})
	must(t, m.Follower().Await(m.ctx, 0))
	return m
}

// recorded are the numbers of a node's matches in the catalogue, which are there once each.
func (m *member) recorded() map[string]int {
	found := map[string]int{}
	must(m.t, m.catalogue.View(m.ctx, func(r storage.Reader) error {
		clear(found)
		page, err := r.Matches(storage.MatchQuery{Limit: 500})
		for _, match := range page {
			found[match.ID.String()]++
		}
		return err
	}))
	return found
}

// TestPostgresRestored restores a dump under two running nodes: both notice, read the catalogue anew, hold the same, and hand
// on again what the dump lacks of their matches; before and after, each match is there once.
func TestPostgresRestored(t *testing.T) {
	t.Parallel()
	server := testpg.Start(t)
	server.Exec(t, "CREATE DATABASE live")
	tool := func(name string, args ...string) {
		t.Helper()
		path, err := exec.LookPath(name)
		if err != nil {
			testneed.End(t, fmt.Errorf("%w: %w", testneed.Missing(name, "postgres"), err))
		}
		if out, err := exec.CommandContext(t.Context(), path, append([]string{"--dbname=" + server.URL("live")}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	a, b := join(t, server.URL("live")), join(t, server.URL("live"))
	a.bank("bank", "block", nil)
	kept := a.flagSignals("bank", signal(hashing.PDQ, 1))
	must(t, b.Follower().Await(b.ctx, kept.Seq))
	const each = 20
	match := func() { // at both at a time
		var asking sync.WaitGroup
		for _, m := range []*member{a, b} {
			asking.Go(func() {
				for i := range each {
					if v, err := m.Check(m.ctx, matcher.Question{Signals: []hashing.Signal{signal(hashing.PDQ, 1)}, ContentID: fmt.Sprint(i)}); err != nil || v.Unrecorded || v.MatchesTotal != 1 {
						t.Errorf("%v, %+v", err, v)
					}
				}
			})
		}
		asking.Wait()
	}
	arrived := func(want int) {
		t.Helper()
		within(t, fmt.Sprintf("%d matches", want), func() bool { return len(a.recorded()) == want })
		for id, n := range a.recorded() {
			if n != 1 {
				t.Errorf("match %s is there %d times", id, n)
			}
		}
	}
	match()
	arrived(2 * each)
	dump := filepath.Join(t.TempDir(), "dump.sql")
	tool("pg_dump", "--file="+dump)
	lost := a.flagSignals("bank", signal(hashing.PDQ, 2))
	must(t, b.Follower().Await(b.ctx, lost.Seq))
	match()
	arrived(4 * each)

	server.Exec(t, "DROP DATABASE live WITH (FORCE)")
	equal(t, a.checkSignals(signal(hashing.PDQ, 1)).IndexSeq, lost.Seq) // while there is none
	server.Exec(t, "CREATE DATABASE next")
	text, err := os.ReadFile(dump)
	must(t, err)
	if !strings.Contains(string(text), "log_head") {
		t.Fatal("the dump has no log")
	}
	// It is there at one stroke, as a database that is failed over to.
	restore, err := exec.LookPath("psql")
	must(t, err)
	if out, err := exec.CommandContext(t.Context(), restore, "--quiet", "--set=ON_ERROR_STOP=1", "--dbname="+server.URL("next"), "--file="+dump).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	server.Exec(t, "ALTER DATABASE next RENAME TO live")

	for _, m := range []*member{a, b} {
		within(t, "the restored log", func() bool { return len(m.diverged.list()) > 0 && m.Follower().Seq() == kept.Seq })
		equal(t, matched(m.checkSignals(signal(hashing.PDQ, 1))), ids(kept))
		equal(t, m.checkSignals(signal(hashing.PDQ, 2)).Level, matcher.None)
		holdsAll(t, m.node)
	}
	arrived(4*each + 3) // with those of the single checks
	again := b.flagSignals("bank", signal(hashing.PDQ, 3))
	must(t, a.Follower().Await(a.ctx, again.Seq))
	match()
	arrived(6*each + 3)
	v, err := a.VerifyNodes(a.ctx, local)
	must(t, err)
	if len(v.Agree) != 2 || len(v.Differ)+len(v.Unknown) != 0 {
		t.Errorf("%+v", v)
	}
	for _, m := range []*member{a, b} {
		var told []string
		for _, err := range m.shipped.list() {
			if strings.Contains(err.Error(), "handed on again") {
				told = append(told, err.Error())
			}
		}
		if len(told) != 1 || !strings.Contains(told[0], ", 0 are not") {
			t.Errorf("told %v", told)
		}
	}
}
