// Package exchange reads and writes lists of flagged media: what one party hands to another.
//
//	r, err := exchange.NewReader(file, exchange.CSV, exchange.ReadOptions{})
//	for {
//		item, err := r.Next()
//		var bad *exchange.RowError
//		switch {
//		case err == io.EOF:
//			return report, nil
//		case errors.As(err, &bad):
//			report.Skip(bad) // and on with the next row
//		...
//		}
//	}
//
// A list is read row by row, in bounded memory whatever it holds, and a row that does not hold is skipped
// with its reason: one bad row never stops a list. Vigie's own two formats, [CSV] and [NDJSON], are exact:
// what was written is read back equal, and written again gives the same bytes. The two of ThreatExchange,
// [TXCSV] and [LocalFile], can say less; the [Writer] counts what it could not say.
//
// The package knows formats only. Whether a signal is good enough to match, whether a bank has the entry
// already, and how many signals an entry may have is the matcher's to say.
//
// The formats are described in docs/exchange.md.
package exchange
