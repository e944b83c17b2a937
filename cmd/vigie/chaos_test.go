package main

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	v1 "vigie/api/v1"
	"vigie/internal/testproxy"
)

// TestChaos lets happen to a cluster what happens to clusters, while clients flag, retract and check on all nodes, and then
// judges everything that they were told: see judge. VIGIE_CHAOS is for how long (each fault strikes once at least),
// VIGIE_CHAOS_SEED repeats the order of a former run, VIGIE_CHAOS_ONLY is a part of the names of the faults that strike (else all do),
// VIGIE_CHAOS_REPORT names a file for the table (Markdown).
func TestChaos(t *testing.T) {
	if testing.Short() || underRace {
		t.Skip("it takes minutes, and what the race detector makes slow is taken for broken")
	}
	atLeast, err := time.ParseDuration(cmp.Or(os.Getenv("VIGIE_CHAOS"), "0s"))
	must(t, err)
	seed := fromEnv(t, "VIGIE_CHAOS_SEED", uint64(time.Now().UnixNano()))
	t.Logf("VIGIE_CHAOS_SEED=%d", seed)
	c := &chaos{T: t, random: rand.New(rand.NewPCG(seed, 0)), small: smallDisk(t), share: 2, shortest: 2 * time.Second, longest: 2 * time.Second}
	if atLeast > 0 {
		c.share, c.longest = 1, 20*time.Second
		if strings.Contains(clockBlow, os.Getenv("VIGIE_CHAOS_ONLY")) {
			c.jumping = withJumpingClock(t)
		}
	}
	dir := t.TempDir()
	cluster := newCluster(t, 3, func(name string) string {
		if name == "C" && c.small != "" {
			return filepath.Join(c.small, name)
		}
		return filepath.Join(dir, name)
	}, "--drain-delay", "500ms", "--log-level", "warn", "--no-work")
	for _, name := range []string{"V", "W"} {
		cluster.workers = append(cluster.workers, cluster.startWorker(filepath.Join(dir, name)))
	}
	c.load = startLoad(cluster, "check", seed, c.share)
	t.Cleanup(c.load.end)

	c.strike(blow{"none", "", func(c *chaos, _ *member, lasts time.Duration) { time.Sleep(2 * lasts) }})
	for began := time.Now(); time.Since(began) < atLeast || len(c.phases) == 1; {
		all := c.blows()
		for _, i := range c.random.Perm(len(all)) {
			if c.strike(all[i]); time.Since(began) > atLeast && len(c.phases) > len(all) {
				break
			}
		}
	}
	c.backup()
	c.end()
	c.judge()
	c.restore()
	c.report()
}

// chaos is a run.
type chaos struct {
	*testing.T
	*load
	random            *rand.Rand
	share             time.Duration // how much of the load: see startLoad
	small             string        // a file system with little room, where C has its data folder; empty: there is none
	jumping           string        // the program, with a clock that jumps; empty: there is none
	shortest, longest time.Duration
	phases            []*phase

	dump    string    // a backup of the database
	posted  *planting // what a re-scan has to find; nil before the first one
	summary []string
	after   []string
}

// phase is one fault at a time, from its beginning until all is well again.
type phase struct {
	fault, on         string
	lasted, recovered time.Duration
}

// blow is something that happens to one node, or to a server and so to all. do returns when it is over, and what was broken is
// there again.
type blow struct {
	name string
	on   string // the nodes that it always strikes; empty: one of them
	do   func(c *chaos, on *member, lasts time.Duration)
}

var blows = []blow{
	{"node killed (SIGKILL), started again", "", func(c *chaos, on *member, lasts time.Duration) {
		on.kill()
		time.Sleep(lasts)
		must(c, on.revive())
	}},
	{"PostgreSQL stopped (fast), started again", "all", databaseEnds(syscall.SIGINT)},
	{"PostgreSQL stopped at once (immediate): it recovers", "all", databaseEnds(syscall.SIGQUIT)},
	{"PostgreSQL killed (SIGKILL): it recovers", "all", databaseEnds(syscall.SIGKILL)},
	{"connections of a node to PostgreSQL cut half-way, again and again", "", onDatabase(testproxy.Fault{Cut: 20_000})},
	{"PostgreSQL half-open for a node: connections stand, nothing comes", "", onDatabase(testproxy.Fault{HoldRequests: true, HoldAnswers: true})},
	{"answers of PostgreSQL to a node held: it commits, nobody hears of it", "", onDatabase(testproxy.Fault{HoldAnswers: true})},
	{"PostgreSQL slow for a node: 40 ms each way, 200 kB a second", "", onDatabase(testproxy.Fault{Delay: 40 * time.Millisecond, Rate: 200_000})},
	{"S3 refuses a node", "", onBucket(testproxy.Fault{Refuse: true})},
	{"S3 half-open for a node: connections stand, nothing comes", "", onBucket(testproxy.Fault{HoldRequests: true, HoldAnswers: true})},
	{"S3 killed, started again", "all", func(c *chaos, _ *member, lasts time.Duration) {
		c.s3.Stop(c, syscall.SIGKILL)
		time.Sleep(lasts)
		c.s3.Restart(c)
	}},
	{"both workers killed (SIGKILL) in the middle of a re-scan, started again: until it is done", "all", workersKilled},
	{"all nodes restarted, one after another, behind a load balancer", "all", rolling},
}

const clockBlow = "clock of a node jumps an hour and a half ahead, and then two days back"

// blows are all that can happen here.
func (c *chaos) blows() []blow {
	all := slices.Clone(blows)
	if c.small != "" {
		all = append(all, blow{"disk of a node full", "C", diskFull})
	}
	if c.jumping != "" {
		all = append(all, blow{clockBlow, "", clockJumps})
	}
	only := os.Getenv("VIGIE_CHAOS_ONLY")
	all = slices.DeleteFunc(all, func(b blow) bool { return !strings.Contains(b.name, only) })
	if len(all) == 0 {
		c.Fatalf("VIGIE_CHAOS_ONLY=%s: no fault has that in its name", only)
	}
	return all
}

// databaseEnds stops PostgreSQL by a signal, for all.
func databaseEnds(signal syscall.Signal) func(*chaos, *member, time.Duration) {
	return func(c *chaos, _ *member, lasts time.Duration) {
		c.pg.Stop(c, signal)
		time.Sleep(lasts)
		c.pg.Restart(c)
	}
}

// onDatabase does something to a node's connections to PostgreSQL. What was held when it ends is lost.
func onDatabase(f testproxy.Fault) func(*chaos, *member, time.Duration) {
	return func(c *chaos, on *member, lasts time.Duration) {
		must(c, on.database.Set(f))
		time.Sleep(lasts)
		on.database.Reset()
		must(c, on.database.Set(testproxy.Fault{}))
	}
}

// onBucket is onDatabase for a node's connections to S3.
func onBucket(f testproxy.Fault) func(*chaos, *member, time.Duration) {
	return func(c *chaos, on *member, lasts time.Duration) {
		must(c, on.bucket.Set(f))
		time.Sleep(lasts)
		on.bucket.Reset()
		must(c, on.bucket.Set(testproxy.Fault{}))
	}
}

// smallDisk mounts a file system of a fixed size for the length of a test, where that is possible.
func smallDisk(t *testing.T) string {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=256m"); err != nil {
		t.Logf("no disk is filled up: to mount one takes root's rights (%v)", err)
		return ""
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// diskFull fills the disk of C, and makes room again. Then matches are on record as before.
func diskFull(c *chaos, _ *member, lasts time.Duration) {
	filler, err := os.Create(filepath.Join(c.small, "filler"))
	must(c, err)
	defer filler.Close()
	for piece := make([]byte, 1<<20); len(piece) > 0; {
		if _, err := filler.Write(piece); errors.Is(err, syscall.ENOSPC) {
			piece = piece[:len(piece)/2]
		} else {
			must(c, err)
		}
	}
	time.Sleep(lasts)
	must(c, os.Remove(filler.Name()))
	must(c, filler.Truncate(0))
	m := c.flagOn(c.nodes[len(c.nodes)-1])
	eventually(c, "matches are recorded again", func() bool {
		v, _, _ := send[v1.Verdict](c.load, c.nodes[len(c.nodes)-1], c.platform, "/v1/check", "application/json", jsonOf(v1.CheckSignals{Signals: m.signals[:1], MinSeq: &m.seq}))
		return v.Match != nil
	})
}

// clockJumps has a node run with a clock that jumps, twice.
func clockJumps(c *chaos, on *member, lasts time.Duration) {
	c.restart(on, func() {
		on.env = append(on.env, fmt.Sprintf("%s=%d:5400,%d:-172800", clockVariable, 1, 1+int(lasts.Seconds())))
		on.program = c.jumping
	})
	time.Sleep(time.Second + 2*lasts)
	c.restart(on, func() { on.env, on.program = on.env[:len(on.env)-1], "" })
}

// restart ends a node in order, and starts it otherwise.
func (c *chaos) restart(m *member, otherwise func()) {
	m.down.Store(true)
	defer m.down.Store(false)
	time.Sleep(100 * time.Millisecond) // for checks that have its name already
	if code, err := m.process.stop(); code != 0 || err != nil {
		c.Fatalf("node %s ended with %d: %v: %s", m.name, code, err, m.process.stderr.String())
	}
	otherwise()
	must(c, m.start())
}

// rolling restarts all nodes, as for an upgrade; a balancer sees which are ready, and no check may fail.
func rolling(c *chaos, _ *member, _ time.Duration) {
	c.balanced.Store(true)
	defer c.balanced.Store(false)
	for _, m := range c.nodes {
		eventually(c, "all nodes are ready", func() bool {
			return !slices.ContainsFunc(c.nodes, func(m *member) bool { return !m.ready.Load() })
		})
		if code, err := m.process.stop(); code != 0 || err != nil {
			c.Fatalf("node %s ended with %d: %v: %s", m.name, code, err, m.process.stderr.String())
		}
		must(c, m.start())
	}
	eventually(c, "all nodes are ready", func() bool {
		return !slices.ContainsFunc(c.nodes, func(m *member) bool { return !m.ready.Load() })
	})
}

// strike lets a fault happen, and waits until all is well again: each node takes a picture, and all nodes know of it.
func (c *chaos) strike(f blow) {
	on := c.nodes[c.random.IntN(len(c.nodes))]
	lasts := c.shortest + time.Duration(c.random.Int64N(int64(c.longest-c.shortest)+1))
	p := &phase{fault: f.name, on: cmp.Or(f.on, on.name)}
	c.phases = append(c.phases, p)
	c.phase.Store(int32(len(c.phases) - 1))
	began, took := time.Now(), ""
	f.do(c, on, lasts)
	over := time.Now()
	for _, m := range c.nodes {
		mark := newPicture(c.random.Uint64())
		c.takes(m, mark, f.name)
		took += fmt.Sprintf("; %s takes a picture: %v", m.name, time.Since(over).Round(time.Millisecond))
		for _, other := range c.nodes {
			eventually(c, "node "+other.name+" follows again, after: "+f.name, func() bool {
				ready, err := get[v1.Readiness](other.served, "", "/readyz")
				return err == nil && ready.Ready && *ready.IndexSeq >= mark.seq
			})
		}
	}
	p.lasted, p.recovered = over.Sub(began), time.Since(over)
	c.Logf("%s (%s): %v, and well again after %v%s", f.name, p.on, p.lasted.Round(time.Millisecond), p.recovered.Round(time.Millisecond), took)
}

// takes waits until a node takes a flag. If it does not, the test says what the node was told to say.
func (c *chaos) takes(m *member, mark *mark, after string) {
	var faults []error
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err := c.doFlag(m, mark)
		if err == nil {
			return
		}
		faults = append(faults, fmt.Errorf("after %v: %w", time.Since(began).Round(time.Millisecond), err))
		if time.Since(began) > 2*patience {
			c.Fatalf("node %s does not take a flag any more, after: %s\n%v\nit says: %s", m.name, after,
				errors.Join(faults[max(0, len(faults)-10):]...), m.process.stderr.String())
		}
	}
}

// flagOn flags a list of hashes, which no client retracts, on a node that is to take it.
func (c *chaos) flagOn(m *member) *mark {
	mark := newList(c.random)
	mark.retracting = true
	eventually(c, "a flag is taken", func() bool { return c.doFlag(m, mark) == nil })
	return mark
}

// judge holds everything that clients were told against the log, and the nodes against the catalogue.
func (c *chaos) judge() {
	c.together()
	log := c.changes()
	all := c.lives(log)
	unknown, whole := c.judgeWrites(all)
	c.judgeEntries(all)
	wrong, lost := 0, 0
	for _, a := range c.checks {
		if unanswered(a) {
			if lost++; lost <= 10 {
				c.Errorf("%s on %s, phase %q: no verdict: %s, after %v", a.name, a.on.name, c.phases[a.phase].fault, a.fault, a.took)
			}
		} else if a.fault == "" {
			if why := c.wrong(a, all); why != "" {
				if wrong++; wrong <= 10 {
					c.Errorf("%s on %s, phase %q: %s", a.name, a.on.name, c.phases[a.phase].fault, why)
				}
			}
		}
	}
	recorded := c.judgeMatches()
	digest := c.verified()
	a := c.nodes[0]
	if code, out, warn := runVigie(append(append(os.Environ(), a.env...), "VIGIE_DATA="+a.data), "doctor"); code != 0 {
		c.Errorf("vigie doctor: exit %d: %s%s", code, out, warn)
	}
	acknowledged := 0
	for _, w := range c.written {
		if w.seq != 0 {
			acknowledged++
		}
	}
	c.summary = []string{
		fmt.Sprintf("%d checks; %d answered wrongly; %d not answered that should have been.", len(c.checks), wrong, lost),
		fmt.Sprintf("%d writes acknowledged: all are in the log, each as the change that was named. Of %d whose outcome nobody was told, %d had happened. None had of those that were refused with \"nothing has happened\".", acknowledged, unknown, whole),
		fmt.Sprintf("The log is dense up to change %d, and verifies. A, B, C and the catalogue hold the same: digest %.16s.", len(log), digest),
		fmt.Sprintf("%d matches are in the catalogue, each once; among them all that verdicts named.", recorded),
	}
}

// report writes the table.
func (c *chaos) report() {
	var b strings.Builder
	b.WriteString("| fault | times, seconds | checks | answered | p50 ms | p99 ms | longest ms | behind | writes acknowledged | refused | unknown | well again after |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	var names []string
	for _, p := range c.phases {
		if !slices.Contains(names, p.fault) {
			names = append(names, p.fault)
		}
	}
	for _, name := range names {
		var lasted, recovered time.Duration
		var took []float64
		times, asked, cut, behind, acknowledged, refused, unknown := 0, 0, 0, 0, 0, 0, 0
		for _, p := range c.phases {
			if p.fault == name {
				times, lasted, recovered = times+1, lasted+p.lasted, max(recovered, p.recovered)
			}
		}
		for _, a := range c.checks {
			if c.phases[a.phase].fault != name {
				continue
			}
			asked++
			switch {
			case a.fault == "":
				took = append(took, 1e3*a.took.Seconds())
			case a.killed:
				cut++
			case a.minSeq > 0:
				behind++
			}
		}
		for _, w := range c.written {
			switch {
			case c.phases[w.phase].fault != name:
			case w.seq != 0:
				acknowledged++
			case saysNothing(w.fault):
				refused++
			default:
				unknown++
			}
		}
		slices.Sort(took)
		fmt.Fprintf(&b, "| %s | %d, %.0f | %d | %d%s | %.1f | %.1f | %.0f | %d | %d | %d | %d | %.1f s |\n", name, times, lasted.Seconds(), asked, len(took),
			map[bool]string{true: fmt.Sprintf(" (%d were under way on a node that was killed)", cut)}[cut > 0],
			quantile(took, .5), quantile(took, .99), quantile(took, 1), behind, acknowledged, refused, unknown, recovered.Seconds())
	}
	b.WriteString("\n")
	for _, line := range append(c.summary, c.after...) {
		b.WriteString("- " + line + "\n")
	}
	fmt.Fprintln(c.T.Output(), b.String())
	faults := map[string]int{}
	for _, w := range c.written {
		faults[w.fault]++
	}
	c.Logf("what writes were told: %v", faults)
	if path := os.Getenv("VIGIE_CHAOS_REPORT"); path != "" {
		must(c, os.WriteFile(path, []byte(b.String()), 0o644))
	}
}
