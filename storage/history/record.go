package history

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"vigie/hashing"
	"vigie/storage"
)

// MaxContentID is how many bytes a content id may have.
const MaxContentID = 256

// Record is an upload.
type Record struct {
	Party     storage.PartyID // whose upload it is
	At        time.Time       // when it was checked; kept to the millisecond
	ContentID string          // the platform's name for it, of which nothing is known: 1 to 256 bytes of UTF-8
	PDQ       hashing.Value
	Quality   hashing.Quality // of the hash, 0 to 100, or 255: unknown
}

func (r Record) validate() error {
	switch {
	case r.Party == 0:
		return fmt.Errorf("%w: an upload without a party", ErrInvalid)
	case r.ContentID == "" || len(r.ContentID) > MaxContentID:
		return fmt.Errorf("%w: a content id of %d bytes; accepted are 1 to %d", ErrInvalid, len(r.ContentID), MaxContentID)
	case !utf8.ValidString(r.ContentID):
		return fmt.Errorf("%w: a content id that is not UTF-8", ErrInvalid)
	case r.At.Before(earliest) || !r.At.Before(latest):
		return fmt.Errorf("%w: an upload of the year %d; accepted are 1970 to 9999", ErrInvalid, r.At.UTC().Year())
	}
	return nil
}

var earliest, latest = time.Unix(0, 0), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)

// recordKind is the kind of the records in the journal.
const recordKind = "upload"

const (
	hashBytes  = 32
	hashDigits = 43 // in base64
)

// appendBody writes the body of a record in the journal: party, milliseconds since 1970, quality, hash, content id.
//
//	[7,1795341600000,90,"+PjwzuD0qE8GNwoiA49j8LNuLtWWYh4dM+aznE6cmyI","post/4711"]
//
// The hash is in base64 without padding, and comes before the only text that is not ours, so that nothing but that needs a
// parser.
func (r Record) appendBody(b []byte) []byte {
	b = append(b, '[')
	b = strconv.AppendUint(b, uint64(r.Party), 10)
	b = append(b, ',')
	b = strconv.AppendInt(b, r.At.UnixMilli(), 10)
	b = append(b, ',')
	b = strconv.AppendUint(b, uint64(r.Quality), 10)
	b = append(b, ',', '"')
	b = base64.RawStdEncoding.AppendEncode(b, r.PDQ.Bytes(hashBytes))
	b = append(b, '"', ',')
	id, _ := json.Marshal(r.ContentID) // no text fails
	b = append(b, id...)
	return append(b, ']')
}

// parseBody reads what appendBody writes.
func parseBody(b []byte) (r Record, err error) {
	bad := fmt.Errorf("%w: not the body of an upload", storage.ErrCorrupt)
	rest, ok := bytes.CutPrefix(b, []byte("["))
	var numbers [3]int64
	for i := range numbers {
		var digits []byte
		var comma bool
		digits, rest, comma = bytes.Cut(rest, []byte(","))
		numbers[i], err = strconv.ParseInt(string(digits), 10, 64)
		ok = ok && comma && err == nil && numbers[i] >= 0
	}
	if !ok || len(rest) < hashDigits+5 || string(rest[hashDigits+1:hashDigits+3]) != `",` || numbers[0] > 1<<32-1 || numbers[2] > 255 {
		return Record{}, bad
	}
	var hash [hashBytes + 1]byte
	if n, err := base64.RawStdEncoding.Decode(hash[:], rest[1:hashDigits+1]); err != nil || n != hashBytes {
		return Record{}, bad
	}
	r = Record{
		Party: storage.PartyID(numbers[0]), At: time.UnixMilli(numbers[1]).UTC(),
		Quality: hashing.Quality(numbers[2]), PDQ: hashing.ValueFromBytes(hash[:hashBytes]),
	}
	if err := json.Unmarshal(rest[hashDigits+3:len(rest)-1], &r.ContentID); err != nil || r.validate() != nil {
		return Record{}, bad
	}
	return r, nil
}
