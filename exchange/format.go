package exchange

import (
	"bytes"
	"path"
	"slices"
	"strings"
)

// Format names the form of a list.
type Format string

// The formats; see docs/exchange.md.
const (
	CSV       Format = "csv"        // Vigie's own, and others that name their columns
	NDJSON    Format = "ndjson"     // one JSON object a line, in the words of the API
	LocalFile Format = "local-file" // python-threatexchange's: "<type> <signal>" a line
	TXCSV     Format = "tx-csv"     // python-threatexchange's: tx dataset --csv
)

// Formats lists the formats, those that say everything first.
func Formats() []Format { return []Format{CSV, NDJSON, TXCSV, LocalFile} }

// ParseFormat is a format by its name; its error is a [*ListError].
func ParseFormat(s string) (Format, error) {
	if f := Format(s); slices.Contains(Formats(), f) {
		return f, nil
	}
	return "", &ListError{UnknownFormat, "accepted are csv, ndjson, tx-csv, local-file"}
}

// DetectBytes is how much of a list [Detect] needs to see.
const DetectBytes = 64 << 10

// Detect tells the format of a list by its first bytes, or, where these tell nothing, by its name. Its
// error is a [*ListError].
func Detect(name string, first []byte) (Format, error) {
	if isBinary(first) {
		return "", binary()
	}
	line, _, _ := strings.Cut(strings.TrimLeft(strings.TrimPrefix(string(first), bom), " \t\r\n"), "\n")
	line = strings.TrimSuffix(line, "\r")
	if strings.HasPrefix(line, "{") {
		return NDJSON, nil
	}
	if cells, err := split(line, delimiterOf(line), maxColumns); err == nil {
		if _, err := readHeader(cells, CSV, true); err == nil {
			if slices.Contains(cells, "signal_type") && slices.Contains(cells, "signal_str") {
				return TXCSV, nil
			}
			return CSV, nil
		}
	}
	if kind, _, typed := strings.Cut(line, " "); typed && parseKind(kind).algorithm.Valid() {
		return LocalFile, nil
	}
	switch strings.ToLower(path.Ext(name)) {
	case ".csv", ".tsv":
		return CSV, nil
	case ".ndjson", ".jsonl":
		return NDJSON, nil
	case ".txt":
		return LocalFile, nil
	}
	return "", &ListError{UnknownFormat, "neither the content nor the name tells what it is; accepted are csv, ndjson, tx-csv, local-file"}
}

func isBinary(first []byte) bool { return bytes.IndexByte(first[:min(textBytes, len(first))], 0) >= 0 }

func binary() *ListError {
	return &ListError{Binary, "it holds NUL characters; accepted is text in UTF-8"}
}
