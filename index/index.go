package index

import (
	"vigie/hashing"
)

// EntryID names an entry; BankID the bank it is in. Both are the caller's numbers.
type (
	EntryID uint64
	BankID  uint32
)

// Change is one step of the change log as the index needs it. Exactly one of the two forms is used:
//
//   - an entry's new state: Entry is set; Signals are all rows it is to have from now on (none: it
//     stops matching). Whatever rows it had before are replaced.
//   - a bank's visibility: Entry is 0; Hidden says whether all entries of Bank stop matching
//     (deleted) or match again (restored), whatever is applied to them meanwhile.
type Change struct {
	Seq     uint64
	Bank    BankID
	Entry   EntryID
	Signals []hashing.Signal
	Hidden  bool
}

// Query asks for all rows of one algorithm within a radius of a value.
type Query struct {
	Algorithm hashing.Algorithm
	Value     hashing.Value
	// Radius is the largest distance that counts, in every bank; for digests it is taken as 0.
	// A negative radius finds nothing.
	Radius int
	// Banks, if not nil, names the only banks to search and the radius in each; Radius is then
	// ignored. It is applied inside the search.
	Banks map[BankID]int
	// Limit, if positive, cuts the answer to the nearest Limit hits; Result.Total says how many there are.
	Limit int
}

// Hit is one row within the radius.
type Hit struct {
	Entry    EntryID
	Bank     BankID
	Variant  hashing.Variant // of the stored row
	Distance int
}

// Result is the answer to one query: hits in the order (distance, entry, variant), complete unless
// Total is larger than len(Hits).
type Result struct {
	Hits  []Hit
	Total int
}

// Stats describe a snapshot.
type Stats struct {
	Seq      uint64
	Entries  int                       // that have live rows, hidden banks included
	Rows     map[hashing.Algorithm]int // live rows, hidden banks included
	Dead     int                       // replaced or removed rows that still take memory
	Segments int
	Bytes    int64 // of rows, tables and tombstones
}
