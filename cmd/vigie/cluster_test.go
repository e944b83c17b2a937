package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "vigie/api/v1"
	"vigie/internal/testpg"
	"vigie/internal/testproxy"
	"vigie/internal/tests3"
)

// cluster is some nodes on one database and one bucket. All of it is real: PostgreSQL, an S3 server and each node are processes of
// their own, and between each node and either server stands a proxy that can do to them what networks do.
type cluster struct {
	testing.TB
	pg              *testpg.Server
	s3              *tests3.Server
	nodes           []*member
	admin, platform string // keys

	bucket  string // of media
	config  string // of the source of re-scans, in the bucket posts
	posts   string
	workers []*served
}

// member is a node of a cluster. Its clients ask it at the same address whether it runs or not, at the same time; what starts
// and ends it is for one goroutine.
type member struct {
	name           string
	*served        // what its clients need to know: they do not look at the process
	address        string
	database       *testproxy.Proxy
	bucket         *testproxy.Proxy
	process        *served
	env, arguments []string
	program        string // instead of this test's own; empty: that

	// What clients under way need to know of it.
	ready  atomic.Bool  // it said so when it was asked last
	down   atomic.Bool  // it is away on purpose
	deaths atomic.Int64 // how often it was killed
}

// clusterDatabase is one that can be replaced by another, unlike that of the superuser.
const clusterDatabase = "vigie"

// The banks of a cluster: of hashes, and of pictures that are kept.
const (
	listsBank    = "lists"
	picturesBank = "pictures"
)

// newCluster starts the servers and nodes A, B, C ..., each with the data folder that dataOf names for it, and makes banks and keys.
func newCluster(t *testing.T, n int, dataOf func(name string) string, args ...string) *cluster {
	t.Helper()
	c := &cluster{TB: t, pg: testpg.Start(t), s3: tests3.Start(t)}
	c.bucket, c.posts = c.s3.Bucket(t, false), c.s3.Bucket(t, false)
	c.config = withSource(t, map[string]any{"kind": "bucket", "location": c.s3.URL(c.posts), "per_second": 60})
	c.pg.Exec(t, "CREATE DATABASE "+clusterDatabase+" TEMPLATE template0")
	where, err := url.Parse(c.pg.URL("postgres"))
	must(t, err)
	for i := range n {
		m := &member{
			name: string(rune('A' + i)), address: freeAddress(t), arguments: args,
			database: testproxy.Start(t, "unix", filepath.Join(where.Query().Get("host"), ".s.PGSQL.5432")),
			bucket:   testproxy.Start(t, "tcp", c.s3.Address()),
		}
		m.served = &served{data: dataOf(m.name), url: "http://" + m.address}
		m.env = c.env("postgres://postgres@"+m.database.Address()+"/"+clusterDatabase+"?sslmode=disable", c.s3.Via(m.bucket.Address(), c.bucket))
		must(t, m.start())
		t.Cleanup(func() { m.process.kill() })
		c.nodes = append(c.nodes, m)
	}
	a := c.nodes[0]
	for _, args := range [][]string{{"banks", "create", "--action", "block", listsBank}, {"banks", "create", "--action", "block", "--keep-media", picturesBank}} {
		if code, _, warn := a.vigie(args...); code != 0 {
			t.Fatal(warn)
		}
	}
	c.admin, c.platform = a.key(t, v1.Admin), a.key(t, v1.Platform)
	c.together()
	return c
}

// env is what a process of the cluster knows of the others.
func (c *cluster) env(database, media string) []string {
	return []string{
		"VIGIE_DATABASE=" + database, "VIGIE_MEDIA=" + media, "VIGIE_CONFIG=" + c.config,
		"AWS_ACCESS_KEY_ID=" + tests3.AccessKey, "AWS_SECRET_ACCESS_KEY=" + tests3.SecretKey,
	}
}

// startWorker starts one that does jobs. No proxy stands between it and the servers.
func (c *cluster) startWorker(data string) *served {
	c.Helper()
	w, err := startCommand("vigie", "worker", data, c.env(c.pg.URL(clusterDatabase), c.s3.URL(c.bucket)))
	must(c, err)
	c.Cleanup(w.kill)
	return w
}

// start starts the node's process, and returns when it is ready.
func (m *member) start() (err error) {
	m.process, err = startProgram(cmp.Or(m.program, "vigie"), m.data, m.env, append(m.arguments, "--listen", m.address)...)
	return err
}

// kill kills the node's process; clients know that it is away until it is revived.
func (m *member) kill() {
	m.down.Store(true)
	m.deaths.Add(1)
	m.process.kill()
}

// revive starts a node that was killed.
func (m *member) revive() error {
	err := m.start()
	m.down.Store(false)
	return err
}

// together waits until all nodes have seen the whole log, and returns its end.
func (c *cluster) together() (head int64) {
	c.Helper()
	eventually(c, "all nodes have seen the whole log", func() bool {
		var err error
		if head, err = c.nodes[0].head(c.admin); err != nil {
			return false
		}
		for _, m := range c.nodes {
			if ready, err := get[v1.Readiness](m.served, "", "/readyz"); err != nil || !ready.Ready || ready.IndexSeq == nil || *ready.IndexSeq < head {
				return false
			}
		}
		return true
	})
	return head
}

// head is the end of the log.
func (s *served) head(key string) (int64, error) {
	page, err := get[v1.Changes](s, key, "/v1/changes?limit=1")
	return page.Head.Seq, err
}

// changes reads the whole log, and fails unless it is dense.
func (c *cluster) changes() (all []v1.Change) {
	c.Helper()
	for {
		page, err := get[v1.Changes](c.nodes[0].served, c.admin, fmt.Sprintf("/v1/changes?limit=1000&after=%d", len(all)))
		must(c, err)
		for _, change := range page.Changes {
			if change.Seq != int64(len(all))+1 {
				c.Fatalf("change %d stands at %d", change.Seq, len(all)+1)
			}
			all = append(all, change)
		}
		if int64(len(all)) >= page.Head.Seq || len(page.Changes) == 0 {
			return all
		}
	}
}

// verified has `vigie nodes --verify` find all nodes to hold what the catalogue does, and `vigie log verify` find the log in
// order. It returns the digest of them all. Nobody may write meanwhile.
func (c *cluster) verified() (digest string) {
	c.Helper()
	a := c.nodes[0]
	var told string
	deadline := time.Now().Add(2 * patience) // nodes report every few seconds
	for all := false; !all; time.Sleep(200 * time.Millisecond) {
		code, out, warn := a.vigie("nodes", "--verify", "--json")
		var nodes v1.Nodes
		_ = json.Unmarshal([]byte(out), &nodes)
		told = fmt.Sprintf("exit %d: %s%s", code, out, warn)
		if v := nodes.Verified; v != nil {
			if len(v.Differ) > 0 {
				c.Fatalf("nodes do not hold what the catalogue does: %s", told)
			}
			all, digest = code == 0 && len(v.Agree) == len(c.nodes)+len(c.workers), v.Digest
		}
		if !all && time.Now().After(deadline) {
			c.Fatalf("vigie nodes --verify does not see %d nodes agree: %s", len(c.nodes)+len(c.workers), told)
		}
	}
	if code, out, warn := a.vigie("log", "verify", "--json"); code != 0 || !strings.Contains(out, `"verified":true`) {
		c.Fatalf("log verify: exit %d: %s%s", code, out, warn)
	}
	return digest
}

// flagSignals flags a list of hashes.
func (s *served) flagSignals(key string, signals []v1.Signal) (v1.Flagged, error) {
	return post[v1.Flagged](s, key, "/v1/banks/"+listsBank+"/entries", v1.FlagSignals{Signals: signals})
}

// flagPicture flags a picture that is kept.
func (s *served) flagPicture(key string, file []byte) (v1.Flagged, error) {
	return postFile[v1.Flagged](s, key, "/v1/banks/"+picturesBank+"/entries", file)
}

// retract retracts an entry.
func (s *served) retract(key string, entry int64) (v1.Entry, error) {
	return post[v1.Entry](s, key, fmt.Sprintf("/v1/entries/%d/retract", entry), v1.Reason{Reason: "retracted by its client"})
}

// matchedIn reports whether a verdict says that an entry is matched.
func matchedIn(v v1.Verdict, entry int64) bool {
	return slices.ContainsFunc(v.Matches, func(m v1.Match) bool { return m.Entry == entry && m.Level == v1.LevelMatch })
}
