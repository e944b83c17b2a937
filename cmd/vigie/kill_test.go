package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	v1 "vigie/api/v1"
)

// TestKill kills a node with SIGKILL in the middle of flags by many clients, starts it again, looks
// at everything, and lets the clients go on; in rounds. VIGIE_KILL_ROUNDS sets how many (20 is the
// full proof), VIGIE_KILL_SEED repeats the moments of a former run.
func TestKill(t *testing.T) {
	t.Parallel()
	const clients = 8
	flags := 1000 // in each round
	if underRace {
		flags = 200 // each is looked at several times, by processes that are many times slower
	}
	rounds, seed := fromEnv(t, "VIGIE_KILL_ROUNDS", 3), fromEnv(t, "VIGIE_KILL_SEED", uint64(time.Now().UnixNano()))
	t.Logf("VIGIE_KILL_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	k := &killing{T: t, data: filepath.Join(t.TempDir(), "data"), seed: seed, all: map[int64]*flagRecord{}}
	k.start()
	for _, args := range [][]string{{"banks", "create", "lists"}, {"banks", "create", "--keep-media", "pictures"}} {
		if code, _, warn := k.vigie(args...); code != 0 {
			t.Fatal(warn)
		}
	}
	k.admin = k.key(t, v1.Admin)

	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	row(w, "ROUND", "KILL AFTER", "ACKNOWLEDGED", "IN FLIGHT", "OF THEM WHOLE", "RETRACTED", "FILES", "ORPHANED", "LOG SEQ", "VERIFIED", "RESTART MS", "")
	for round := range rounds {
		jobs := k.jobs(int(round), flags)
		after := 1 + random.IntN(flags-1)
		pause := time.Duration(random.Int64N(int64(3 * time.Millisecond)))
		k.send(jobs, clients, func(_ *flagRecord, acknowledged int64) {
			if acknowledged == int64(after) {
				k.decoders = children(k.process.Pid)
				time.Sleep(pause) // the moment of the kill, not a wait for something
				k.kill()
			}
		})
		k.orphaned()
		began := time.Now()
		k.start()
		restart := time.Since(began)
		s := k.inspect(jobs)
		row(w, fmt.Sprint(round+1), fmt.Sprintf("%d + %v", after, pause.Round(10*time.Microsecond)), fmt.Sprint(s.acknowledged),
			fmt.Sprint(s.inFlight), fmt.Sprint(s.whole), fmt.Sprint(s.retracted), fmt.Sprint(s.files), fmt.Sprint(s.orphans),
			fmt.Sprint(s.seq), s.verified, fmt.Sprint(restart.Milliseconds()), "")
		k.send(jobs, clients, func(*flagRecord, int64) {}) // what was not acknowledged is sent again
	}
	for _, r := range k.all {
		if r.acknowledged == nil {
			t.Fatalf("flag %d was never acknowledged", r.number)
		}
	}
	k.inspect(slices.Collect(maps.Values(k.all))) // all rounds, once more
	_ = w.Flush()
	t.Logf("\n%s", table.String())
	if code, err := k.stop(); code != 0 || err != nil {
		t.Errorf("the node ended with %d: %v", code, err)
	}
}

func fromEnv(t *testing.T, name string, otherwise uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// killing is a node that is killed and started on the same folder, and what its clients know of it.
type killing struct {
	*testing.T
	*served
	data, admin string
	seed        uint64
	all         map[int64]*flagRecord
	decoders    map[int]string // children of the node that was killed last
}

// flagRecord is one flag, as its client sees it.
type flagRecord struct {
	number  int64
	picture []byte // nil: signals alone
	signals []v1.Signal

	mu           sync.Mutex
	sent         bool        // perhaps the node has it
	acknowledged *v1.Flagged // the node has it
	retracting   bool        // a retraction was sent
	retracted    bool        // and acknowledged
}

// retracts says whether the client retracts the entry once it is acknowledged.
func (r *flagRecord) retracts() bool { return r.number%17 == 3 }

func (k *killing) start() {
	k.Helper()
	k.served = serve(k.T, k.data, nil, "--log-level", "error")
}

// orphaned waits until the children of the node that was killed are gone too.
func (k *killing) orphaned() {
	k.Helper()
	if len(k.decoders) == 0 {
		k.Error("the node had no decode children")
	}
	eventually(k, "the children of a killed node end", func() bool {
		for pid := range k.decoders {
			if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(stat), ") Z ") {
				return false
			}
		}
		return true
	})
}

// jobs are the flags of a round: one in ten is a picture for a bank that keeps media, the others are
// lists of three signals.
func (k *killing) jobs(round, n int) []*flagRecord {
	random := rand.New(rand.NewPCG(k.seed, uint64(round)+1))
	hex := func(bytes int) string {
		var b strings.Builder
		for range bytes {
			fmt.Fprintf(&b, "%02x", random.IntN(256))
		}
		return b.String()
	}
	var jobs []*flagRecord
	for i := range n {
		r := &flagRecord{number: int64(round*n + i)}
		if i%10 == 0 {
			r.picture = jpegOf(k.seed+uint64(r.number), 96, 72)
		} else {
			r.signals = []v1.Signal{{Algorithm: v1.Pdq, Value: hex(32)}, {Algorithm: v1.Sha256, Value: hex(32)}, {Algorithm: v1.Md5, Value: hex(16)}}
		}
		jobs = append(jobs, r)
		k.all[r.number] = r
	}
	return jobs
}

// send has clients send what is not acknowledged yet, until all is or the node is gone.
func (k *killing) send(jobs []*flagRecord, clients int, acknowledged func(r *flagRecord, count int64)) {
	k.Helper()
	todo := make(chan *flagRecord, len(jobs))
	for _, r := range jobs {
		if r.acknowledged == nil || r.retracts() && !r.retracted {
			todo <- r
		}
	}
	close(todo)
	node := k.served
	var count atomic.Int64
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for r := range todo {
				if err := k.sendOne(node, r, func() { acknowledged(r, count.Add(1)) }); err != nil {
					select {
					case <-node.ended: // killed: that is why
					case <-time.After(patience):
						k.Errorf("flag %d: %v", r.number, err)
					}
					return
				}
			}
		})
	}
	all.Wait()
}

func (k *killing) sendOne(node *served, r *flagRecord, acknowledged func()) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.acknowledged == nil {
		r.sent = true
		out, err := unhurried(func() (v1.Flagged, error) { return k.flag(node, r) })
		if err != nil {
			return err
		}
		r.acknowledged = &out
		acknowledged()
	}
	if r.retracts() {
		r.retracting = true
		path := fmt.Sprintf("/v1/entries/%d/retract", r.acknowledged.Entry.Id)
		if _, err := unhurried(func() (v1.Entry, error) {
			return post[v1.Entry](node, k.admin, path, v1.Reason{Reason: "retracted by its client"})
		}); err != nil {
			return err
		}
		r.retracted = true
	}
	return nil
}

func (k *killing) flag(node *served, r *flagRecord) (v1.Flagged, error) {
	if r.picture != nil {
		return postFile[v1.Flagged](node, k.admin, "/v1/banks/pictures/entries", r.picture)
	}
	return post[v1.Flagged](node, k.admin, "/v1/banks/lists/entries", v1.FlagSignals{Signals: r.signals})
}

// found is what an inspection saw.
type found struct {
	acknowledged, inFlight, whole, retracted, files, orphans int
	seq                                                      int64
	verified                                                 string
}

// inspect looks at every flag of some jobs, and at all entries, changes and files.
func (k *killing) inspect(jobs []*flagRecord) (s found) {
	k.Helper()
	entries, changes := k.entries(), k.changes()
	s.seq = int64(len(changes))
	added := map[int64]v1.Change{} // by entry
	for i, c := range changes {
		if c.Seq != int64(i)+1 {
			k.Fatalf("change %d stands at %d", c.Seq, i+1)
		}
		if c.Kind == "entry.added" {
			if _, twice := added[*c.Entry]; twice {
				k.Errorf("entry %d was added twice", *c.Entry)
			}
			added[*c.Entry] = c
		}
	}
	if len(added) != len(entries) {
		k.Errorf("%d entries, but %d were added by the log", len(entries), len(added))
	}
	byDigest := map[string]v1.Entry{}
	for _, e := range entries {
		k.checkWhole(e, added[e.Id])
		byDigest[valueOf(e, v1.Sha256)] = e
	}
	for _, r := range jobs {
		e, there := byDigest[r.digest()]
		switch {
		case r.acknowledged != nil:
			s.acknowledged++
			if !there || e.Id != r.acknowledged.Entry.Id {
				k.Errorf("flag %d was acknowledged as entry %d, and is lost", r.number, r.acknowledged.Entry.Id)
				continue
			}
			if c := changes[r.acknowledged.Seq-1]; c.Entry == nil || *c.Entry != e.Id {
				k.Errorf("flag %d was acknowledged as change %d, which is another", r.number, r.acknowledged.Seq)
			}
		case r.sent:
			s.inFlight++
			if there {
				s.whole++
			}
		case there:
			k.Errorf("flag %d was never sent, and is there", r.number)
		}
		if !there {
			continue
		}
		got, err := unhurried(func() (v1.Entry, error) { return get[v1.Entry](k.served, k.admin, fmt.Sprintf("/v1/entries/%d", e.Id)) })
		if err != nil || got.Status != e.Status {
			k.Errorf("entry %d: %v %v", e.Id, got.Status, err)
		}
		if r.retracted {
			s.retracted++
		}
		if r.retracted && e.Status != v1.Retracted || !r.retracting && e.Status != v1.Active {
			k.Errorf("entry %d is %s; retraction sent: %v, acknowledged: %v", e.Id, e.Status, r.retracting, r.retracted)
		}
		if matches := k.matches(r, e.Id); matches != (e.Status == v1.Active) {
			k.Errorf("entry %d is %s; it matches: %v", e.Id, e.Status, matches)
		}
	}
	s.files, s.orphans = k.checkFiles(entries)
	if s.orphans > s.inFlight {
		k.Errorf("%d files belong to no entry, more than the %d flags that were in flight", s.orphans, s.inFlight)
	}
	code, out, warn := k.vigie("log", "verify", "--json")
	var head struct {
		Seq      int64
		Verified bool
	}
	_ = json.Unmarshal([]byte(out), &head)
	s.verified = map[bool]string{true: "yes", false: "NO"}[head.Verified]
	if code != 0 || !head.Verified || head.Seq != s.seq {
		k.Errorf("log verify: exit %d, seq %d of %d: %s", code, head.Seq, s.seq, warn)
	}
	return s
}

// digest is the SHA-256 by which a flag's entry is found.
func (r *flagRecord) digest() string {
	if r.picture == nil {
		return r.signals[1].Value
	}
	sum := sha256.Sum256(r.picture)
	return hex.EncodeToString(sum[:])
}

func valueOf(e v1.Entry, a v1.Algorithm) string {
	for _, s := range e.Signals {
		if s.Algorithm == a {
			return s.Value
		}
	}
	return ""
}

// Signals of a whole entry.
var (
	ofLists    = []string{"md5", "pdq", "sha256"}
	ofPictures = []string{"ahash", "dhash", "md5", "pdq", "phash", "sha256"}
)

// checkWhole looks for halves of an entry: all its signals, the change that added it with the same
// signals, and its source must be there.
func (k *killing) checkWhole(e v1.Entry, added v1.Change) {
	k.Helper()
	var algorithms, signals, logged []string
	for _, s := range e.Signals {
		algorithms = append(algorithms, string(s.Algorithm))
		signals = append(signals, signalName(s.Algorithm, *s.Variant)+":"+s.Value)
	}
	slices.Sort(algorithms)
	algorithms = slices.Compact(algorithms) // a picture may have variants
	want := ofLists
	if e.Bank == "pictures" {
		want = ofPictures
	}
	if !slices.Equal(algorithms, want) {
		k.Errorf("entry %d of %s has the signals %v", e.Id, e.Bank, algorithms)
	}
	var body struct{ Signals []struct{ Signal string } }
	if err := json.Unmarshal(added.Body, &body); err != nil {
		k.Errorf("the change that added entry %d: %v", e.Id, err)
	}
	for _, s := range body.Signals {
		logged = append(logged, s.Signal)
	}
	slices.Sort(signals)
	slices.Sort(logged)
	if !slices.Equal(signals, logged) {
		k.Errorf("entry %d has %v, the change that added it %v", e.Id, signals, logged)
	}
	if len(e.Sources) == 0 {
		k.Errorf("entry %d has no source", e.Id)
	}
	if kept := e.Media != nil && e.Media.Kept != nil && *e.Media.Kept; kept != (e.Bank == "pictures") {
		k.Errorf("entry %d of %s: media kept: %v", e.Id, e.Bank, kept)
	}
}

// matches checks what was flagged, and says whether its entry is found at the level match.
func (k *killing) matches(r *flagRecord, entry int64) bool {
	k.Helper()
	v, err := unhurried(func() (v1.Verdict, error) {
		if r.picture != nil {
			return postFile[v1.Verdict](k.served, k.admin, "/v1/check", r.picture)
		}
		return post[v1.Verdict](k.served, k.admin, "/v1/check", v1.CheckSignals{Signals: r.signals})
	})
	if err != nil {
		k.Errorf("check flag %d: %v", r.number, err)
	}
	return slices.ContainsFunc(v.Matches, func(m v1.Match) bool { return m.Entry == entry && m.Level == v1.LevelMatch })
}

// entries reads all entries, page by page.
func (k *killing) entries() (all []v1.Entry) {
	k.Helper()
	for path := "/v1/entries?limit=1000"; ; {
		page, err := get[struct {
			Entries []v1.Entry
			Next    string
		}](k.served, k.admin, path)
		if err != nil {
			k.Fatal(err)
		}
		all = append(all, page.Entries...)
		if page.Next == "" {
			return all
		}
		path = "/v1/entries?limit=1000&cursor=" + page.Next
	}
}

// changes reads the whole log.
func (k *killing) changes() (all []v1.Change) {
	k.Helper()
	for {
		page, err := get[v1.Changes](k.served, k.admin, fmt.Sprintf("/v1/changes?limit=1000&after=%d", len(all)))
		if err != nil {
			k.Fatal(err)
		}
		all = append(all, page.Changes...)
		if int64(len(all)) >= page.Head.Seq || len(page.Changes) == 0 {
			return all
		}
	}
}

// checkFiles looks at the media folder: each file is whole, and each picture that an entry keeps is
// there. It counts those files, and the others, which the sweep removes later.
func (k *killing) checkFiles(entries []v1.Entry) (kept, orphans int) {
	k.Helper()
	there := map[string]bool{}
	err := filepath.WalkDir(filepath.Join(k.data, mediaFolder), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		sum := sha256.Sum256(data)
		if hex.EncodeToString(sum[:]) != d.Name() {
			k.Errorf("%s is not what its name says", path)
		}
		there[d.Name()] = true
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.Fatal(err)
	}
	for _, e := range entries {
		if e.Bank != "pictures" {
			continue
		}
		digest := valueOf(e, v1.Sha256)
		if !there[digest] {
			k.Errorf("entry %d keeps %s, which is not there", e.Id, digest)
		}
		delete(there, digest)
		kept++
	}
	return kept, len(there)
}
