package main

import (
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	v1 "vigie/api/v1"
	"vigie/internal/testpg"
	"vigie/internal/testproxy"
	"vigie/matcher"
	"vigie/storage"
	"vigie/storage/journal"
	"vigie/storage/sqlstore"
)

// TestCopiedFolder: the data folder of a node is copied, and both are to run on one database. The second one does not start while the first one
// is at work. When it may, since that one is gone, both have found matches under the same numbers in the end: all are in the catalogue, once each.
func TestCopiedFolder(t *testing.T) {
	t.Parallel()
	pg := testpg.Start(t)
	where, err := url.Parse(pg.URL("postgres"))
	must(t, err)
	proxy := testproxy.Start(t, "unix", filepath.Join(where.Query().Get("host"), ".s.PGSQL.5432"))
	through := "postgres://postgres@" + proxy.Address() + "/postgres?sslmode=disable"
	d := newDrive(t, through)
	d.checks(3)
	d.wantRecorded()
	all := len(d.told)

	// Copied while it is at work, as the image of a disk is.
	data := filepath.Join(filepath.Dir(d.data), "copy")
	must(t, os.Mkdir(data, 0o700))
	for _, name := range []string{journalFolder, logFile} {
		if out, err := exec.Command("cp", "-r", filepath.Join(d.data, name), data).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	code, out, warn := runVigie(append(os.Environ(), "VIGIE_LOG_LEVEL=error", "VIGIE_DATABASE="+pg.URL("postgres")), "serve", "--data", data, "--listen", "127.0.0.1:0")
	if code != exitUsage || !strings.Contains(warn, "another node has the identity of this one") || strings.Count(warn, "\n") != 1 || out != "" {
		t.Errorf("exit %d: %s%s", code, out, warn)
	}

	// The first one finds what it cannot hand on, and is killed; the second one waits for it, and begins with the same numbers.
	must(t, proxy.Set(testproxy.Fault{Refuse: true}))
	d.told = nil
	d.checks(9) // more than the second one
	all += len(d.told)
	d.kill()
	first, told := d.served, d.told
	d.served, d.told = serve(t, data, []string{"VIGIE_DATABASE=" + pg.URL("postgres")}), nil
	if !strings.Contains(d.stderr.String(), "half a minute to tell") {
		t.Errorf("it has not waited: %s", d.stderr.String())
	}
	d.checks(5)
	all += len(d.told)
	if !slices.ContainsFunc(d.told, func(id string) bool { return slices.Contains(told, id) }) {
		t.Errorf("both have found %v and %v: no number twice", told, d.told)
	}
	_, err = d.stop()
	must(t, err)

	// The first one again, from its own folder, and once more: what it does then has been done.
	must(t, proxy.Set(testproxy.Fault{}))
	for last := range 2 {
		d.served = serve(t, first.data, []string{"VIGIE_DATABASE=" + through})
		eventually(t, "all matches are in the catalogue", func() bool {
			page, err := get[v1.ListMatches200JSONResponse](d.served, d.admin, "/v1/matches?limit=500")
			must(t, err)
			if len(page.Matches) > all {
				t.Fatalf("%d matches, %d were found", len(page.Matches), all)
			}
			return len(page.Matches) == all
		})
		if last == 0 {
			_, err = d.stop()
			must(t, err)
		}
	}

	// Another one claims its identity, as if it had stood still: it ends.
	c, err := sqlstore.OpenPostgres(t.Context(), pg.URL("postgres"), storage.Options{})
	must(t, err)
	defer c.Close()
	must(t, c.Update(t.Context(), func(w storage.Writer) error {
		nodes, err := w.Nodes()
		must(t, err)
		nodes[0].Claim = storage.NodeClaim{Number: nodes[0].Claim.Number + 1, Place: "elsewhere"}
		return w.ReportNode(nodes[0])
	}))
	select {
	case <-d.ended:
	case <-time.After(patience):
		t.Fatal("it goes on")
	}
	if exit, ok := errors.AsType[*exec.ExitError](d.exit); !ok || exit.ExitCode() != exitFailed || !strings.Contains(d.stderr.String(), "another node has the identity") {
		t.Errorf("it ended with %v: %s", d.exit, d.stderr.String())
	}
}

// TestIdentityLost: from when a node knows that another process has its identity, it gives no numbers, is not ready, and ends. A command on its
// folder claims the identity, too, and changes nothing else that is told of the node.
func TestIdentityLost(t *testing.T) {
	t.Parallel()
	var c cli
	parser, err := kong.New(&c, words())
	must(t, err)
	_, err = parser.Parse([]string{"serve", "--data", filepath.Join(t.TempDir(), "data"), "--database", testpg.Database(t, "", nil), "--no-work"})
	must(t, err)
	n, err := openNode(t.Context(), &c.Config, newFront(), nil)
	must(t, err)
	report := func() storage.NodeReport {
		t.Helper()
		var all []storage.NodeReport
		must(t, n.store.View(t.Context(), func(r storage.Reader) (err error) {
			all, err = r.Nodes()
			return err
		}))
		if len(all) != 1 {
			t.Fatalf("nodes are %+v", all)
		}
		return all[0]
	}
	claim := func(by storage.NodeReport) {
		t.Helper()
		by.Claim = storage.NodeClaim{Number: by.Claim.Number + 1, Place: "elsewhere"}
		must(t, n.store.Update(t.Context(), func(w storage.Writer) error { return w.ReportNode(by) }))
	}
	if _, err := n.journal.Append(t.Context(), "signin", []byte("{}")); err != nil {
		t.Error(err)
	}
	claim(report())
	select {
	case err := <-n.failed:
		if !errors.Is(err, matcher.ErrIdentityTaken) {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("it goes on")
	}
	if id, err := n.journal.Append(t.Context(), "signin", []byte("{}")); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("it gives the number %s, %v", id, err)
	}
	if n.hurry(); n.api.IsReady() {
		t.Error("it is ready")
	}
	stopped := report()
	stopped.Stopped = true // as the other one ends
	claim(stopped)
	must(t, n.Close())

	n, err = openNode(t.Context(), &c.Config, nil, nil)
	must(t, err)
	defer n.Close()
	now := report()
	if now.Claim.Number != stopped.Claim.Number+2 || now.Claim.Place != place(c.Config.Data) {
		t.Errorf("the command claims %+v after %+v", now.Claim, stopped.Claim)
	}
	if now.Claim = stopped.Claim; !reflect.DeepEqual(now, stopped) {
		t.Errorf("it is told %+v, not %+v", now, stopped)
	}
	claim(report())
	later := []journal.Record{{ID: journal.ID{Node: n.journal.Node(), Number: 1 << 40}, Kind: "signin", Body: []byte("{}"), Gap: 1<<40 - 1}}
	if err := n.matcher.Deliver(t.Context(), later); !errors.Is(err, matcher.ErrIdentityTaken) {
		t.Errorf("it delivers: %v", err)
	}
}
