package exchange

import "strings"

// maxColumns bounds the columns of a CSV.
const maxColumns = 1000

// split cuts a record of RFC 4180 into its cells. encoding/csv would do, but for two things: it has no bound
// on a record, so that one open quote takes the rest of the file into memory, and it drops the carriage
// returns of a cell, which must come back as they were.
func split(record string, delimiter byte, atMost int) ([]string, *RowError) {
	cells := make([]string, 0, 16)
	for {
		if len(cells) == atMost {
			return nil, bad(WrongCells, "", "more than %d cells", atMost)
		}
		cell, rest, more, err := cut(record, delimiter)
		if err != nil {
			return nil, err
		}
		cells = append(cells, cell)
		if !more {
			return cells, nil
		}
		record = rest
	}
}

// cut takes the first cell off a record; more says that another follows, be it empty.
func cut(record string, delimiter byte) (cell, rest string, more bool, _ *RowError) {
	if !strings.HasPrefix(record, `"`) {
		cell, rest, more = strings.Cut(record, string(delimiter))
		if strings.IndexByte(cell, '"') >= 0 {
			return "", "", false, bad(BadQuote, "", "a quote in a cell that does not begin with one")
		}
		return cell, rest, more, nil
	}
	record = record[1:]
	doubled := false
	for end := 0; ; {
		n := strings.IndexByte(record[end:], '"')
		if n < 0 {
			return "", "", false, bad(OpenQuote, "", "a quoted cell that does not end")
		}
		end += n
		if strings.HasPrefix(record[end:], `""`) {
			doubled = true
			end += 2
			continue
		}
		cell, rest = record[:end], record[end+1:]
		if doubled {
			cell = strings.ReplaceAll(cell, `""`, `"`)
		}
		if rest == "" {
			return cell, "", false, nil
		}
		if rest[0] != delimiter {
			return "", "", false, bad(BadQuote, "", "a quoted cell goes on after its quote; a quote within is doubled")
		}
		return cell, rest[1:], true, nil
	}
}

// delimiterOf tells what separates the cells of a header: a comma, or, where it has none, the semicolon or
// the tab that some spreadsheets write.
func delimiterOf(header string) byte {
	for _, d := range []byte{',', ';', '\t'} {
		if strings.IndexByte(header, d) >= 0 {
			return d
		}
	}
	return ','
}

// appendRecord appends a record of RFC 4180 without its line end. Cells are quoted if they must be.
func appendRecord(dst []byte, cells ...string) []byte {
	for i, c := range cells {
		if i > 0 {
			dst = append(dst, ',')
		}
		if !strings.ContainsAny(c, ",\"\r\n") {
			dst = append(dst, c...)
			continue
		}
		dst = append(dst, '"')
		dst = append(dst, strings.ReplaceAll(c, `"`, `""`)...)
		dst = append(dst, '"')
	}
	return dst
}
