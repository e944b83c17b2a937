package index_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"vigie/hashing"
	"vigie/index"
)

// A picture is flagged, a near-duplicate of it is found, and it is retracted again.
func Example() {
	ctx := context.Background()
	flagged, err := hashing.Parse("pdq:f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22")
	if err != nil {
		log.Fatal(err)
	}
	upload, err := hashing.Parse("pdq:f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9bff")
	if err != nil {
		log.Fatal(err)
	}

	x := index.New(index.Options{})
	if err := x.Apply(ctx, 1, []index.Change{{Entry: 42, Bank: 7, Signals: []hashing.Signal{flagged}}}); err != nil {
		log.Fatal(err)
	}
	before := x.Snapshot()
	if err := x.Apply(ctx, 2, []index.Change{{Entry: 42, Bank: 7}}); err != nil {
		log.Fatal(err)
	}
	after := x.Snapshot()

	q := index.Query{Algorithm: hashing.PDQ, Value: upload.Value, Radius: 31}
	for _, s := range []*index.Snapshot{before, after} {
		r, err := s.Search(ctx, q)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("seq %d: %d within %d bits\n", s.Seq(), r.Total, q.Radius)
		for _, h := range r.Hits {
			fmt.Printf("entry %d of bank %d, %d bits away\n", h.Entry, h.Bank, h.Distance)
		}
	}
	// Output:
	// seq 1: 1 within 31 bits
	// entry 42 of bank 7, 6 bits away
	// seq 2: 0 within 31 bits
}

// Each bank has a radius of its own, and the answer is cut to the nearest hits; the total says how many there are.
func ExampleSnapshot_Search() {
	ctx := context.Background()
	x := index.New(index.Options{})
	var changes []index.Change
	for i := range 9 { // entries 1 to 9, as many bits from a value of zeros, in banks 0 to 2
		near := hashing.Signal{Algorithm: hashing.PDQ, Value: hashing.Value{1<<(i+1) - 1}}
		changes = append(changes, index.Change{Entry: index.EntryID(i + 1), Bank: index.BankID(i % 3), Signals: []hashing.Signal{near}})
	}
	if err := x.Apply(ctx, 1, changes); err != nil {
		log.Fatal(err)
	}

	r, err := x.Snapshot().Search(ctx, index.Query{
		Algorithm: hashing.PDQ,
		Value:     hashing.Value{},
		Banks:     map[index.BankID]int{0: 31, 2: 6}, // not bank 1
		Limit:     3,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("the nearest %d of %d\n", len(r.Hits), r.Total)
	for _, h := range r.Hits {
		fmt.Printf("entry %d of bank %d, %d bits away\n", h.Entry, h.Bank, h.Distance)
	}
	// Output:
	// the nearest 3 of 5
	// entry 1 of bank 0, 1 bits away
	// entry 3 of bank 2, 3 bits away
	// entry 4 of bank 0, 4 bits away
}

// An index is saved, opened again, and goes on with what the log has since.
func ExampleIndex_Save() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "index")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	flag := func(e index.EntryID) []index.Change {
		s := hashing.Signal{Algorithm: hashing.PDQ, Value: hashing.Value{uint64(e)}}
		return []index.Change{{Entry: e, Bank: 7, Signals: []hashing.Signal{s}}}
	}

	x := index.New(index.Options{})
	if err := x.Apply(ctx, 1, flag(41)); err != nil {
		log.Fatal(err)
	}
	_, err = x.Save(ctx, dir, func(seq uint64) (index.Mark, error) {
		return index.Mark{Log: "main", Root: fmt.Sprintf("the log's Merkle root at %d", seq)}, nil
	})
	if err != nil {
		log.Fatal(err)
	}

	y, mark, err := index.Open(dir, index.Options{})
	if err != nil { // os.ErrNotExist, index.ErrDamaged: make a new index of the log
		log.Fatal(err)
	}
	fmt.Printf("%s, as of change %d: %s\n", mark.Log, y.Snapshot().Seq(), mark.Root)
	if err := y.Apply(ctx, 2, flag(42)); err != nil {
		log.Fatal(err)
	}
	fmt.Println(y.Snapshot().Stats().Rows[hashing.PDQ], "rows")
	// Output:
	// main, as of change 1: the log's Merkle root at 1
	// 2 rows
}

// A long list is compared with the index at once, which is much faster than value by value.
func ExampleSnapshot_Join() {
	ctx := context.Background()
	known := hashing.Signal{Algorithm: hashing.PDQ, Value: hashing.Value{0xf8f8f0cee0f4a84f, 0x06370a22038f63f0, 0xb36e2ed596621e1d, 0x33e6b39c4e9c9b22}}
	x := index.New(index.Options{})
	if err := x.Apply(ctx, 1, []index.Change{{Entry: 42, Bank: 7, Signals: []hashing.Signal{known}}}); err != nil {
		log.Fatal(err)
	}

	posted := make([]hashing.Value, 10_000) // hashes of what was posted before
	posted[1234] = known.Value
	posted[1234][0] ^= 0xff // a copy of it, 8 bits away
	err := x.Snapshot().Join(ctx, index.Query{Algorithm: hashing.PDQ, Radius: 31}, posted, func(i int, h index.Hit) error {
		fmt.Printf("value %d: entry %d of bank %d, %d bits away\n", i, h.Entry, h.Bank, h.Distance)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// value 1234: entry 42 of bank 7, 8 bits away
}
