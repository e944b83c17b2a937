package storage

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// NodeReader reads what the nodes say of themselves.
type NodeReader interface {
	// Nodes are the reports of all nodes that were not forgotten, by id.
	Nodes() ([]NodeReport, error)
}

// NodeWriter writes what a node says of itself. It is no part of the log.
type NodeWriter interface {
	// ReportNode puts a report in the place of the node's one before.
	ReportNode(NodeReport) error
	// ForgetNode removes a node's report; ErrNotFound. If the node lives, it reports again.
	ForgetNode(id string) error
}

// NodeReport is what a node says of itself every few seconds.
type NodeReport struct {
	ID        string // 8 hexadecimal digits: that of its journal
	Name      string // for people; at most MaxNodeName bytes
	Version   string // of its program; at most MaxNodeName bytes
	StartedAt time.Time
	At        time.Time // of the report, by the node's clock
	Stopped   bool      // it has ended in order
	Ready     bool
	LogID     string        // of the log that its index is of; empty before its first load
	Seq       uint64        // that its index has seen
	Head      uint64        // the end of the log when it looked last
	Staleness time.Duration // since it knew that it had seen the whole log
	Backlog   uint64        // records of its journal that are not in the catalogue yet
	Sums      []NodeSum     // newest last; at most MaxNodeSums
	Claim     NodeClaim
}

// NodeClaim says which process uses a node's identity: that of the highest number.
type NodeClaim struct {
	Number uint64 // of claims to this identity; 0: nobody has claimed it
	// Place stands for where there is room for one process: a data folder, on a machine, since that was started. Empty: it is not known.
	// At most MaxNodeName bytes.
	Place string
}

// Yields reports whether another claim to the same identity was made later.
func (c NodeClaim) Yields(to NodeClaim) bool {
	return to.Number > c.Number || to.Number == c.Number && to.Place != c.Place
}

// NodeSum is the digest of a node's index as of a change, 64 hexadecimal digits.
type NodeSum struct {
	Seq    uint64
	Digest string
}

// Normal is the report as a catalogue keeps it.
func (n NodeReport) Normal() NodeReport {
	n.StartedAt, n.At = KeptTime(n.StartedAt), KeptTime(n.At)
	n.Sums = slices.Clone(n.Sums)
	return n
}

// Bounds of a report.
const (
	MaxNodeName = 200
	MaxNodeSums = 32
)

// Check says what is wrong with a report.
func (n NodeReport) Check() error {
	switch {
	case len(n.ID) != 8 || strings.Trim(n.ID, "0123456789abcdef") != "":
		return fmt.Errorf("node %.20q; accepted are 8 lower-case hexadecimal digits", n.ID)
	case len(n.Name) > MaxNodeName || len(n.Version) > MaxNodeName || len(n.Claim.Place) > MaxNodeName:
		return fmt.Errorf("the name, version or place of node %s; accepted are at most %d bytes", n.ID, MaxNodeName)
	case len(n.Sums) > MaxNodeSums:
		return fmt.Errorf("%d digests of node %s; accepted are at most %d", len(n.Sums), n.ID, MaxNodeSums)
	}
	return nil
}
