package exchange

import "fmt"

// Reason says in one stable word why a row was skipped; the words appear in reports.
type Reason string

// The reasons of this package. Whoever takes the items may have more.
const (
	TooLong          Reason = "too-long"          // a line of more than [MaxRow] bytes
	OpenQuote        Reason = "open-quote"        // a quoted cell that does not end
	BadQuote         Reason = "bad-quote"         // a quote where none may stand
	WrongCells       Reason = "wrong-cells"       // more or fewer cells than the header has
	BadText          Reason = "bad-text"          // not UTF-8, or with NUL
	BadJSON          Reason = "bad-json"          // not one JSON object, or a member of another type
	UnknownField     Reason = "unknown-field"     // a member that no item has
	DuplicateField   Reason = "duplicate-field"   // a member that stands twice
	NoSignal         Reason = "no-signal"         // nothing to match
	BadHash          Reason = "bad-hash"          // not the digits of its algorithm
	UnknownAlgorithm Reason = "unknown-algorithm" // none of Vigie's, or none named
	BadQuality       Reason = "bad-quality"       // not 0 to 100
	BadLabel         Reason = "bad-label"         // of another alphabet, or too many
	BadTime          Reason = "bad-time"          // no date, or no time within a video
	BadStatus        Reason = "bad-status"        // no word
	BadNumber        Reason = "bad-number"        // a size, or a yes or no, that is none
	BadCategory      Reason = "bad-category"      // none of ThreatExchange's opinions
	NegativeOpinion  Reason = "negative-opinion"  // the list says that it must not match
)

// The reasons why a list cannot be read at all.
const (
	NoHeader        Reason = "no-header"        // a CSV whose first row names no column of signals
	DuplicateColumn Reason = "duplicate-column" // a CSV that has two columns of one meaning
	Binary          Reason = "binary"           // not text
	UnknownFormat   Reason = "unknown-format"   // none of [Formats]
	BadPosition     Reason = "bad-position"     // reading was to be resumed outside of the list
	OtherList       Reason = "other-list"       // a [Checkpoint] is of another list
)

// RowError says why one row was skipped. It holds nothing of the row's content, so that it may be logged.
type RowError struct {
	Line   int   // the row's first line, from 1
	Offset int64 // bytes before the row
	Reason Reason
	Column string // what of the row: a column of Vigie's CSV, a member of its JSON; "" if it is the row as a whole
	Detail string // for people
}

func (e *RowError) Error() string {
	where := fmt.Sprintf("line %d", e.Line)
	if e.Column != "" {
		where += ", " + e.Column
	}
	return fmt.Sprintf("%s: %s: %s", where, e.Reason, e.Detail)
}

// bad is a RowError without its place.
func bad(r Reason, column, format string, args ...any) *RowError {
	return &RowError{Reason: r, Column: column, Detail: fmt.Sprintf(format, args...)}
}

// ListError says why a list cannot be read at all, or not any further.
type ListError struct {
	Reason Reason
	Detail string
}

func (e *ListError) Error() string { return fmt.Sprintf("%s: %s", e.Reason, e.Detail) }
