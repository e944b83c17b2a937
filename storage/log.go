package storage

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"
)

// A change gets its place in the log in one step, [Sealer.Seal], that every catalogue shares: its
// number, its time, its canonical record, and the root of the tree with the record as last leaf.

// Options are what a catalogue takes from outside its data: time and chance. The zero value is the
// clock of the machine and its secure random numbers.
type Options struct {
	Now  func() time.Time
	Rand io.Reader // salts and the identity of a new log
}

// Time is the present in UTC, to the millisecond, which is all that a catalogue keeps of a time.
func (o Options) Time() time.Time {
	now := time.Now
	if o.Now != nil {
		now = o.Now
	}
	return now().UTC().Truncate(time.Millisecond)
}

// TimeOr is given as a catalogue keeps it, or usual if it is zero.
func (Options) TimeOr(given, usual time.Time) time.Time {
	if given.IsZero() {
		return usual
	}
	return given.UTC().Truncate(time.Millisecond)
}

// Random draws n random bytes.
func (o Options) Random(n int) ([]byte, error) {
	source := io.Reader(rand.Reader)
	if o.Rand != nil {
		source = o.Rand
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(source, b); err != nil {
		return nil, fmt.Errorf("draw random bytes: %w", err)
	}
	return b, nil
}

// NewLogID draws the identity of a new log.
func (o Options) NewLogID() (string, error) {
	b, err := o.Random(16)
	return hex.EncodeToString(b), err
}

// Sealer writes the end of a log. It is a plain value: a copy is a checkpoint to fall back to when a
// transaction fails. It is not safe for concurrent use.
type Sealer struct {
	LogID   string
	Tree    Tree // of the changes so far
	Options Options
}

// Seal makes c the next change of the log: it sets Seq, At, Salt, Record and Root, and brings Body
// into its compact form. It returns the new nodes of the tree, to be stored from index
// tlog.StoredHashIndex(0, c.Seq-1) on. If it fails, neither s nor c has changed.
func (s *Sealer) Seal(c *Change) ([]Hash, error) {
	sealed := *c
	sealed.Seq = s.Tree.Size() + 1
	sealed.At = s.Options.Time()
	sealed.Salt = nil
	if len(sealed.Private) == 0 {
		sealed.Private = nil
	} else if !json.Valid(sealed.Private) {
		return nil, fmt.Errorf("append %s: the private part is not JSON", c.Kind)
	} else {
		salt, err := s.Options.Random(32)
		if err != nil {
			return nil, err
		}
		sealed.Salt = salt
	}
	r, err := recordOf(s.LogID, sealed)
	if err != nil {
		return nil, fmt.Errorf("append %s: %w", c.Kind, err)
	}
	if sealed.Record, err = r.encode(); err != nil {
		return nil, fmt.Errorf("append %s: %w", c.Kind, err)
	}
	sealed.Body = r.Body
	tree, nodes := s.Tree.Append(sealed.Record)
	sealed.Root = tree.Root()
	*c, s.Tree = sealed, tree
	return nodes, nil
}

// Record is the public text of a change, in the order in which it is written. docs/format/log.md
// describes it.
type Record struct {
	Log     string          `json:"log"`
	Seq     uint64          `json:"seq"`
	At      string          `json:"at"` // in [RecordTime]
	Kind    Kind            `json:"kind"`
	Actor   string          `json:"actor,omitempty"`
	Bank    BankID          `json:"bank,omitempty"`
	Entry   EntryID         `json:"entry,omitempty"`
	Key     string          `json:"key,omitempty"`
	Party   PartyID         `json:"party,omitempty"`
	Body    json.RawMessage `json:"body,omitempty"`
	Private string          `json:"private,omitempty"` // hex of [Commitment]
}

// RecordTime is the layout of times in records: UTC, milliseconds, always 24 characters.
const RecordTime = "2006-01-02T15:04:05.000Z"

// ParseRecord reads a record. Its error wraps [ErrCorrupt].
func ParseRecord(text []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		return Record{}, fmt.Errorf("record is not readable (%v): %w", err, ErrCorrupt)
	}
	return r, nil
}

// Commitment is what a record says of private data: SHA-256(salt || private).
func Commitment(salt, private []byte) Hash {
	return sha256.Sum256(slices.Concat(salt, private))
}

func recordOf(logID string, c Change) (Record, error) {
	r := Record{
		Log: logID, Seq: c.Seq, At: c.At.UTC().Format(RecordTime), Kind: c.Kind, Actor: c.Actor,
		Bank: c.Bank, Entry: c.Entry, Key: c.Key, Party: c.Party,
	}
	if c.Private != nil {
		h := Commitment(c.Salt, c.Private)
		r.Private = hex.EncodeToString(h[:])
	}
	if len(c.Body) > 0 {
		var body bytes.Buffer
		if err := json.Compact(&body, c.Body); err != nil {
			return Record{}, fmt.Errorf("body: %w", err)
		}
		r.Body = body.Bytes()
	}
	return r, nil
}

// encode writes the canonical text: compact JSON in the order of the fields, without the escapes that
// make JSON safe in HTML.
func (r Record) encode() ([]byte, error) {
	for _, s := range []string{string(r.Kind), r.Actor, r.Key, string(r.Body)} {
		if !utf8.ValidString(s) {
			return nil, errors.New("text is not UTF-8")
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Tree is the right edge of the Merkle tree over the records: the roots of its perfect subtrees, from
// the left, largest first. That is all that it takes to append, in O(log n) memory. The zero value is
// the empty tree. Trees are immutable values.
type Tree struct {
	size uint64
	edge []Hash
}

// LoadTree restores the tree of the first size records from its stored nodes: read returns those at
// the given stored-hash indexes, in their order.
func LoadTree(size uint64, read func(indexes []int64) ([]Hash, error)) (Tree, error) {
	indexes := edgeIndexes(size)
	if len(indexes) == 0 {
		return Tree{}, nil
	}
	edge, err := read(indexes)
	if err != nil {
		return Tree{}, err
	}
	if len(edge) != len(indexes) {
		return Tree{}, fmt.Errorf("%d of %d nodes of the tree of %d changes are missing: %w",
			len(indexes)-len(edge), len(indexes), size, ErrCorrupt)
	}
	return Tree{size, edge}, nil
}

// edgeIndexes is where the edge of a tree is stored: every bit of its size stands for one perfect
// subtree.
func edgeIndexes(size uint64) (indexes []int64) {
	for level := 63; level >= 0; level-- {
		if size>>level&1 == 1 {
			indexes = append(indexes, tlog.StoredHashIndex(level, int64(size>>level)-1))
		}
	}
	return indexes
}

// Size is the number of records.
func (t Tree) Size() uint64 { return t.size }

// Append returns the tree with one more record, and the new nodes: the leaf, then the root of each
// subtree that it completes.
func (t Tree) Append(record []byte) (Tree, []Hash) { return t.AppendLeaf(LeafOf(record)) }

// LeafOf is the hash by which a record stands in the tree.
func LeafOf(record []byte) Hash { return Hash(tlog.RecordHash(record)) }

// AppendLeaf is Append for a record of which only the hash is known.
func (t Tree) AppendLeaf(leaf Hash) (Tree, []Hash) {
	node := tlog.Hash(leaf)
	nodes := []Hash{leaf}
	edge := slices.Clone(t.edge)
	for n := t.size; n&1 == 1; n >>= 1 {
		last := len(edge) - 1
		node = tlog.NodeHash(tlog.Hash(edge[last]), node)
		nodes, edge = append(nodes, Hash(node)), edge[:last]
	}
	return Tree{t.size + 1, append(edge, Hash(node))}, nodes
}

// Root is the hash of the whole tree.
func (t Tree) Root() Hash {
	if t.size == 0 {
		return sha256.Sum256(nil)
	}
	last := len(t.edge) - 1
	root := tlog.Hash(t.edge[last])
	for _, left := range slices.Backward(t.edge[:last]) {
		root = tlog.NodeHash(tlog.Hash(left), root)
	}
	return Hash(root)
}
