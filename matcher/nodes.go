package matcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"vigie/index"
	"vigie/storage"
	"vigie/storage/journal"
)

// Nodes tell of themselves in the catalogue, every few seconds: how far they are, and the digests of what they hold. So each of
// them can say how all stand, and whether they hold the same.
const (
	reportEvery = 5 * time.Second
	silentAfter = 6 * reportEvery     // a node that has not reported for so long is taken for gone
	missAfter   = time.Hour           // until then a silent node is missed where nodes are held against the catalogue
	forgetAfter = 30 * 24 * time.Hour // a node that has not reported for so long is not listed any more
	countEvery  = time.Hour           // a node counts what lies in its memory
	doubleEvery = time.Minute         // it is told that the catalogue has what this node has not written
)

// Reporter has a node report. Its fields are not to be changed once it runs.
type Reporter struct {
	Matcher *Matcher
	Journal ReportedJournal
	Name    string // for people, such as host:port
	Version string // of the program
	Ready   func() bool

	warned  time.Time // of records that it has not written
	counted time.Time
	kept    index.Digest // at the last count, by each change, and by the count
	found   index.Digest
}

// ReportedJournal is what a [Reporter] needs of the node's *journal.Journal.
type ReportedJournal interface {
	Node() string
	Stats() journal.Stats
	// Again has records after a number handed on again; see [journal.Journal.Again].
	Again(after uint64, seen journal.Stats)
}

// Run reports at once, every 5 seconds, and when ctx ends, whose error it returns; or [ErrIdentityTaken], as soon as another process has
// claimed the node's identity. It also notices, from the same transaction, that the catalogue lacks records of the journal that it once had, as
// after a restore, and has the journal hand them on again. What fails is told to Events.Fault once, until a report succeeds.
//
// Once an hour it counts the digest of what lies in memory. If that is not what each change made of it, it says so to
// Events.Fault, and tells the other nodes the truth.
func (r *Reporter) Run(ctx context.Context) error {
	started, failing := r.Matcher.o.Now(), false
	for first := true; ; first = false {
		err := r.report(ctx, storage.NodeReport{StartedAt: started}, first)
		if errors.Is(err, ErrIdentityTaken) {
			return err
		}
		if err != nil && !failing && ctx.Err() == nil {
			r.Matcher.fault(fmt.Errorf("report to the other nodes: %w", err))
		}
		failing = err != nil
		select {
		case <-time.After(reportEvery):
		case <-ctx.Done():
			_ = r.report(context.WithoutCancel(ctx), storage.NodeReport{StartedAt: started, Stopped: true}, false)
			return ctx.Err()
		}
	}
}

func (r *Reporter) report(ctx context.Context, n storage.NodeReport, tidy bool) error {
	ctx, cancel := context.WithTimeout(ctx, reportEvery)
	defer cancel()
	f, had := r.Matcher.Follower(), r.Journal.Stats()
	n.ID, n.Name, n.Version, n.Claim = r.Journal.Node(), cut(r.Name), cut(r.Version), r.Matcher.o.Claim
	n.At, n.Ready = r.Matcher.o.Now(), r.Ready() && !n.Stopped
	n.Head, n.Staleness, n.Backlog = f.Head(), f.Staleness(), had.Backlog
	s := f.State()
	if s != nil {
		n.LogID, n.Seq = s.LogID, s.Seq
	}
	r.count(ctx)
	for _, s := range f.Sums() {
		n.Sums = append(n.Sums, storage.NodeSum{Seq: s.Seq, Digest: s.Digest.Shifted(r.kept, r.found).String()})
	}
	shipped, head, nodes := uint64(0), storage.Head{}, []storage.NodeReport(nil)
	err := r.Matcher.catalogue.Update(ctx, func(w storage.Writer) (err error) {
		if head, err = w.Head(); err != nil {
			return err
		}
		if s != nil && s.point().in(head) != nil {
			n.Sums = nil // they are of another log, which this node will notice within a second
		}
		if shipped, err = w.Shipped(n.ID); err != nil {
			return err
		}
		if nodes, err = w.Nodes(); err != nil {
			return err
		}
		if err := held(nodes, n.ID, n.Claim); err != nil {
			return err
		}
		if tidy {
			if err := forgetOld(w, nodes, n.At.Add(-forgetAfter)); err != nil {
				return err
			}
		}
		return w.ReportNode(n)
	})
	if err != nil {
		return err
	}
	r.Matcher.heard.note(nodes, r.Matcher.o.Now())
	if of := r.Matcher.o.JournalOf; of == "" || of == head.LogID {
		r.compare(n, shipped, had)
	}
	return nil
}

// compare holds what the catalogue has of this node's journal against what the node did.
func (r *Reporter) compare(n storage.NodeReport, shipped uint64, had journal.Stats) {
	strange := shipped > r.Journal.Stats().Appended
	switch {
	case strange && n.At.Sub(r.warned) > doubleEvery:
		r.warned = n.At
		r.Matcher.fault(fmt.Errorf("THE CATALOGUE HAS RECORDS OF THIS NODE, %s, THAT IT HAS NOT WRITTEN: a command was run on a copy of its data folder. Restart the node, so that its numbers go on behind them", n.ID))
	case !strange && shipped < had.There:
		r.Journal.Again(shipped, had)
	}
}

// count adds up what lies in memory, if that was not done for long.
func (r *Reporter) count(ctx context.Context) {
	s, now := r.Matcher.Follower().State(), r.Matcher.o.Now()
	if s == nil || now.Sub(r.counted) < countEvery {
		return
	}
	found, err := s.Snapshot.Digest(ctx)
	if err != nil {
		return // there is no time for it
	}
	r.counted, r.kept, r.found = now, s.Snapshot.Kept(), found
	if r.kept != r.found {
		r.Matcher.fault(fmt.Errorf("THE INDEX DOES NOT HOLD WHAT WAS APPLIED TO IT, as of change %d: stop the node, remove the folder index, and start it again", s.Seq))
	}
}

// cut is a name as a report takes it, whatever the machine is called.
func cut(name string) string {
	return strings.ToValidUTF8(name[:min(len(name), storage.MaxNodeName)], "")
}

func forgetOld(w storage.Writer, nodes []storage.NodeReport, before time.Time) error {
	for _, n := range nodes {
		if n.At.Before(before) {
			if err := w.ForgetNode(n.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// hearings are when nodes were heard of, by the clock of this node: of a report, only that it is another one than before counts, since
// the clocks of two machines may differ by more than a node may be silent. What was never heard of before goes by what it says.
type hearings struct {
	mu sync.Mutex
	of map[string]hearing
}

type hearing struct {
	said time.Time // the time of the report
	at   time.Time
}

func (h *hearings) note(nodes []storage.NodeReport, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	of := map[string]hearing{}
	for _, n := range nodes {
		last, known := h.of[n.ID]
		switch {
		case !known && n.At.Before(now):
			last = hearing{n.At, n.At}
		case !known || !last.said.Equal(n.At):
			last = hearing{n.At, now}
		}
		of[n.ID] = last
	}
	h.of = of
}

// since is how long a node has been silent.
func (h *hearings) since(id string, now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return now.Sub(h.of[id].at)
}

// Nodes are all nodes of a catalogue.
type Nodes struct {
	Head  storage.Head // of the catalogue's log
	Nodes []NodeView   // by id
}

// NodeView is a report, held against the catalogue and the other reports.
type NodeView struct {
	storage.NodeReport
	State string // NodeLive, NodeSilent, NodeStopped
	// Silence is how long ago it reported, as far as this node can tell.
	Silence time.Duration
	Lag     uint64 // changes of the log that it has not seen; 0 if it has another log
	// Other: its log is not the catalogue's, and it has not noticed yet, or is gone.
	Other bool
	// Agrees and Contradicts are nodes, by id, that held the same, or not, as of a change of which both have told;
	// Uncompared those of which there is no such change. Only nodes that are live, and of the catalogue's log.
	Agrees, Contradicts, Uncompared []string
}

// The states of a node.
const (
	NodeLive    = "live"
	NodeSilent  = "silent"  // it has not reported for half a minute
	NodeStopped = "stopped" // it ended in order
)

// Nodes says how the nodes stand. For who oversees: else ErrOperator.
func (m *Matcher) Nodes(ctx context.Context, who Principal) (out Nodes, err error) {
	if !who.Oversees() {
		return out, ErrOperator
	}
	err = m.catalogue.View(ctx, func(r storage.Reader) error {
		out = Nodes{}
		if out.Head, err = r.Head(); err != nil {
			return err
		}
		reports, err := r.Nodes()
		m.heard.note(reports, m.o.Now())
		for _, n := range reports {
			out.Nodes = append(out.Nodes, m.viewNode(n, out.Head))
		}
		return err
	})
	if err != nil {
		return out, err
	}
	for i := range out.Nodes {
		n := &out.Nodes[i]
		for _, other := range out.Nodes {
			if n.ID == other.ID || !n.counts() || !other.counts() {
				continue
			}
			switch same, common := agree(n.Sums, other.Sums); {
			case !common:
				n.Uncompared = append(n.Uncompared, other.ID)
			case same:
				n.Agrees = append(n.Agrees, other.ID)
			default:
				n.Contradicts = append(n.Contradicts, other.ID)
			}
		}
	}
	return out, nil
}

func (m *Matcher) viewNode(n storage.NodeReport, head storage.Head) NodeView {
	v := NodeView{NodeReport: n, State: NodeLive, Other: n.LogID != "" && (n.LogID != head.LogID || n.Seq > head.Seq)}
	v.Silence = m.heard.since(n.ID, m.o.Now())
	switch {
	case n.Stopped:
		v.State = NodeStopped
	case v.Silence > silentAfter:
		v.State = NodeSilent
	}
	if !v.Other {
		v.Lag = head.Seq - n.Seq
	}
	return v
}

// counts tells whether what a node holds is compared.
func (v NodeView) counts() bool { return v.State == NodeLive && !v.Other && v.LogID != "" }

// agree compares digests as of the changes of which both have one. Common is false if there is none.
func agree(a, b []storage.NodeSum) (same, common bool) {
	same = true
	for _, x := range a {
		for _, y := range b {
			if x.Seq == y.Seq {
				common, same = true, same && x.Digest == y.Digest
			}
		}
	}
	return same, common
}

// VerifiedNodes is what came of holding the nodes against the catalogue.
type VerifiedNodes struct {
	Catalogue Sum
	Agree     []string // ids of live nodes that held the same as of Catalogue.Seq
	Differ    []string // and of those that did not
	// Unknown have not told of that change: they were past it already, were not there yet, or have fallen silent within the hour.
	Unknown []string
}

// VerifyNodes computes the digest of the catalogue's entries, reading all of them, and compares it with those of the live
// nodes as of the same change. While much is written, nodes may pass that change without stopping: then it tries others, three in
// all. For who oversees: else ErrOperator.
func (m *Matcher) VerifyNodes(ctx context.Context, who Principal) (v VerifiedNodes, err error) {
	if !who.Oversees() {
		return v, ErrOperator
	}
	for range 3 {
		v = VerifiedNodes{}
		var logID string
		err := m.catalogue.View(ctx, func(r storage.Reader) error {
			head, err := r.Head()
			if err != nil {
				return err
			}
			logID = head.LogID
			v.Catalogue, err = CatalogueDigest(ctx, r)
			return err
		})
		if err != nil {
			return v, err
		}
		if late, err := m.compareNodes(ctx, who, logID, &v); err != nil || !late || len(v.Differ) > 0 {
			return v, err
		}
	}
	return v, nil
}

// compareNodes waits until all live nodes have told of a change, or cannot any more; late: some live ones have not told. A node differs
// when it has told so once more, or is past the change: a report that was under way while the database was set back tells of the log before.
func (m *Matcher) compareNodes(ctx context.Context, who Principal, logID string, v *VerifiedNodes) (late bool, err error) {
	agreed := map[string]bool{}    // who did, in case it is past the change while others are waited for
	told := map[string]time.Time{} // the first reports of those that differ
	for until := time.Now().Add(3 * reportEvery); ; {
		all, err := m.Nodes(ctx, who)
		if err != nil {
			return false, err
		}
		if all.Head.LogID != logID || all.Head.Seq < v.Catalogue.Seq {
			return false, fmt.Errorf("%w: the log was replaced meanwhile", storage.ErrConflict)
		}
		v.Agree, v.Differ, v.Unknown = nil, nil, nil
		pending := false
		late = false
		for _, n := range all.Nodes {
			if n.State == NodeSilent && n.Silence < missAfter {
				v.Unknown = append(v.Unknown, n.ID)
			}
			if n.State != NodeLive {
				continue
			}
			at := slices.IndexFunc(n.Sums, func(s storage.NodeSum) bool { return s.Seq == v.Catalogue.Seq })
			if at >= 0 && n.counts() {
				if n.Sums[at].Digest == v.Catalogue.Digest.String() {
					agreed[n.ID] = true
					delete(told, n.ID)
				} else if _, again := told[n.ID]; !again {
					told[n.ID] = n.At
				}
			}
			first, differs := told[n.ID]
			switch {
			case differs:
				v.Differ = append(v.Differ, n.ID)
				pending = pending || n.At.Equal(first)
			case agreed[n.ID]:
				v.Agree = append(v.Agree, n.ID)
			default:
				v.Unknown = append(v.Unknown, n.ID)
				late = true
				pending = pending || n.Seq <= v.Catalogue.Seq && !n.Other
			}
		}
		if !pending || time.Now().After(until) {
			return late, nil
		}
		select {
		case <-time.After(reportEvery / 10):
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}
