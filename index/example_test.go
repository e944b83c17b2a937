package index_test

import (
	"context"
	"fmt"
	"log"

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
