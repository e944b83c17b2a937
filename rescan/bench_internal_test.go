package rescan

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// BenchmarkRows reads lists of 200,000 hashes with ids.
func BenchmarkRows(b *testing.B) {
	const n = 200_000
	var csv, packed bytes.Buffer
	w := parquet.NewGenericWriter[parquetHash](&packed)
	fmt.Fprintln(&csv, "id,hash,quality")
	for i := range n {
		hash, quality := testHash(i), int32(100)
		raw, _ := hex.DecodeString(hash)
		_, err := w.Write([]parquetHash{{fmt.Sprintf("post-%d", i), raw, &quality}})
		if err != nil {
			b.Fatal(err)
		}
		fmt.Fprintf(&csv, "post-%d,%s,100\n", i, hash)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	for name, list := range map[string]hashList{
		"parquet": parquetList{open: opening(packed.Bytes())},
		"csv":     textHashes{text: text{open: opening(csv.Bytes()), most: maxHashLine}, format: CSV},
	} {
		b.Run(name, func(b *testing.B) {
			end, _, err := list.extent(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				got := 0
				err := list.rows(b.Context(), 0, end, 1<<17, func(rows []hashRow) error {
					got += len(rows)
					return errors.Join(rows[0].err, rows[len(rows)-1].err)
				})
				if err != nil || got != n {
					b.Fatal(err, got)
				}
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "hashes/s")
		})
	}
}
