package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "vigie/api/v1"
	"vigie/storage/sqlstore"
)

// backup makes one of the database, while all goes on, and lets some more be written.
func (c *chaos) backup() {
	c.strike(blow{"backup made (pg_dump)", "all", func(c *chaos, _ *member, lasts time.Duration) {
		c.dump = filepath.Join(c.TempDir(), "dump")
		if out, err := exec.Command("pg_dump", "--format=custom", "--file="+c.dump, c.pg.URL(clusterDatabase)).CombinedOutput(); err != nil {
			c.Fatalf("pg_dump: %v: %s", err, out)
		}
		time.Sleep(lasts)
	}})
}

// What a write or a check began in, when a backup is restored.
const (
	withOld   = iota // the database that is to be replaced
	withNone         // neither can be reached
	withOlder        // the backup
)

// damaged is the name that the old database gets.
const damaged = clusterDatabase + "_damaged"

// restore puts an older backup in the place of the database, as the operations guide tells, while nodes run and clients go on. What was
// written to the old one since the backup is lost, and is listed; whatever was acknowledged afterwards is there; no check is answered but
// as the log says that its node stands on; and in the end all nodes stand on the backup's.
func (c *chaos) restore() {
	l := startLoad(c.cluster, "later", c.random.Uint64(), c.share, c.marks...)
	defer l.end()
	time.Sleep(2 * time.Second) // for writes that will be lost
	c.pg.Exec(c, "CREATE DATABASE vigie_restored TEMPLATE template0")
	if out, err := exec.Command("pg_restore", "--no-owner", "--exit-on-error", "--dbname="+c.pg.URL("vigie_restored"), c.dump).CombinedOutput(); err != nil {
		c.Fatalf("pg_restore: %v: %s", err, out)
	}
	l.phase.Store(withNone)
	c.pg.Exec(c, "ALTER DATABASE "+clusterDatabase+" ALLOW_CONNECTIONS false")
	c.pg.Exec(c, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+clusterDatabase+"'")
	c.pg.Exec(c, "ALTER DATABASE "+clusterDatabase+" RENAME TO "+damaged)
	l.mu.Lock()
	l.since.Store(int64(len(l.marks)))
	l.phase.Store(withOlder)
	l.mu.Unlock()
	c.pg.Exec(c, "ALTER DATABASE vigie_restored RENAME TO "+clusterDatabase)
	began := time.Now()

	followed, retried := map[*member]time.Time{}, map[*mark]bool{}
	for _, m := range c.nodes {
		retried[c.retake(l, m)] = true
		followed[m] = time.Now()
	}
	took := time.Since(began)
	for _, m := range c.nodes {
		if !strings.Contains(m.process.stderr.String(), "ANOTHER LOG") {
			c.Errorf("node %s does not say that its database was restored: %s", m.name, m.process.stderr.String())
		}
	}
	time.Sleep(2 * time.Second) // and all goes on
	l.end()
	c.together()
	log := c.changes()
	was, is := c.lives(c.damagedLog()), c.lives(log)
	c.judgeRestored(l, was, is, followed, retried)
	digest := c.verified()

	kept, gone := 0, 0
	for digest, old := range was {
		switch now := is[digest]; {
		case now.added == 0:
			gone++
		case now.entry != old.entry || now.added != old.added:
			c.Errorf("%+v is %+v after the restore", old, now)
		default:
			kept++
		}
	}
	if gone == 0 {
		c.Error("the backup lacks nothing: it was made too late to show anything")
	}
	c.after = append(c.after, fmt.Sprintf("All nodes followed %.1f s after the backup had got the name of the database, and said loudly that the log was another one. "+
		"Of %d entries, %d were written after the backup, and are gone from all nodes; %d are as they were. Digest %.16s, log dense up to change %d.",
		took.Seconds(), len(was), gone, kept, digest, len(log)))
}

// retake waits until a node takes a flag again, and matches it: then it stands on the log that this is in.
func (c *chaos) retake(l *load, m *member) *mark {
	var last error
	defer func() {
		if c.Failed() {
			c.Logf("it was answered: %v; node %s said: %s", last, m.name, m.process.stderr.String())
		}
	}()
	mark := newList(c.random)
	mark.retracting = true // which nobody else does, then
	eventually(c, "node "+m.name+" takes a flag after the restore", func() bool { return l.doFlag(m, mark) == nil })
	eventually(c, "node "+m.name+" follows the log of the backup", func() bool {
		v, _, err := send[v1.Verdict](l, m, c.platform, "/v1/check", "application/json", jsonOf(v1.CheckSignals{Signals: mark.signals[:1], MinSeq: &mark.seq}))
		if last = err; err == nil {
			last = fmt.Errorf("verdict %s as of change %d, entry %d added by change %d", v.Action, v.IndexSeq, mark.entry, mark.seq)
		}
		return err == nil && matchedIn(v, mark.entry)
	})
	return mark
}

// damagedLog is the log of the database that was replaced.
func (c *chaos) damagedLog() (all []v1.Change) {
	c.pg.Exec(c, "ALTER DATABASE "+damaged+" ALLOW_CONNECTIONS true")
	s, err := sqlstore.SnapshotPostgres(c.Context(), c.pg.URL(damaged))
	must(c, err)
	defer s.Close()
	for {
		page, err := s.Changes(c.Context(), uint64(len(all)), 1000)
		must(c, err)
		if len(page) == 0 {
			return all
		}
		for _, change := range page {
			entry := int64(change.Entry)
			all = append(all, v1.Change{Seq: int64(change.Seq), Kind: string(change.Kind), Entry: &entry, Body: change.Body})
		}
	}
}

// judgeRestored holds what clients were told meanwhile against the log that was, and the one that is. followed says since when nodes
// are known to stand on that, retried what was written again and again until it was taken.
func (c *chaos) judgeRestored(l *load, was, is map[string]life, followed map[*member]time.Time, retried map[*mark]bool) {
	change := func(w *write, log map[string]life) int64 {
		if w.retract {
			return log[w.mark.digest].retracted
		}
		return log[w.mark.digest].added
	}
	var lost []int64
	acknowledged := [withOlder + 1]int{}
	for _, w := range l.written {
		old, now := change(w, was), change(w, is)
		switch {
		case w.fault == "/problems/internal":
			c.Errorf("during the restore, a write failed, and nobody says why")
		case w.seq == 0 && saysNothing(w.fault) && !retried[w.mark] && (old != 0 || now != 0):
			c.Errorf("during the restore, it was said of a write that nothing had happened; it is change %d of the old log, %d of the new", old, now)
		case w.seq == 0:
		case now == w.seq:
			acknowledged[w.phase]++
		case old == w.seq && w.phase != withOlder:
			acknowledged[w.phase]++
			lost = append(lost, old)
		default:
			c.Errorf("a write was acknowledged as change %d, begun in phase %d of the restore; it is change %d of the old log, %d of the new", w.seq, w.phase, old, now)
		}
	}
	slices.Sort(lost)
	c.Logf("lost with the database that was replaced, of what was acknowledged meanwhile: changes %v", lost)

	wrong, unanswered, byOld := 0, 0, 0
	var late []*checked
	for _, a := range l.checks {
		onNew := a.due.After(followed[a.on])
		if a.fault != "" {
			if !(a.minSeq > 0 && slices.Contains([]string{"/problems/index-behind", "/problems/min-seq-beyond-head"}, a.fault)) {
				unanswered++
				c.Errorf("%s on %s, during the restore: no verdict: %s, after %v", a.name, a.on.name, a.fault, a.took)
			}
			continue
		}
		why := l.wrong(a, is)
		if why != "" && !onNew && l.wrong(a, was) == "" {
			byOld++
			why = ""
		}
		if why != "" {
			wrong++
			c.Errorf("%s on %s, during the restore, on the new log: %v: %s", a.name, a.on.name, onNew, why)
		}
		if onNew {
			late = append(late, a)
		}
	}
	recorded := (&load{cluster: c.cluster, checks: late}).judgeMatches()
	c.after = []string{
		fmt.Sprintf("Then the database was replaced, under running nodes and load, by its older backup. Writes acknowledged meanwhile: %d begun before and %d while there was none, of which %d were lost with the old database (changes %s), and %d afterwards: all of these are there.",
			acknowledged[withOld], acknowledged[withNone], len(lost), spanOf(lost), acknowledged[withOlder]),
		fmt.Sprintf("%d checks meanwhile; %d answered wrongly, %d not answered; %d as the old log had it, on nodes that had not followed yet. %d matches are in the catalogue, each once.",
			len(l.checks), wrong, unanswered, byOld, recorded),
	}
}

// spanOf are the first and the last of numbers in order.
func spanOf(numbers []int64) string {
	if len(numbers) == 0 {
		return "none"
	}
	return fmt.Sprintf("%d to %d", numbers[0], numbers[len(numbers)-1])
}
