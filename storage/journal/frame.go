package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strings"
	"time"
)

// MaxBody is how many bytes the body of a record may have.
const MaxBody = 1 << 20

const (
	version    = 1
	fileMagic  = "VIGIEJNL"
	headerSize = 32

	maxKind   = 32
	fixedSize = 8 + 17 // of a frame: length and checksum; number, time, length of the kind
	minFrame  = fixedSize + 2
	maxFrame  = fixedSize + maxKind + MaxBody

	// maxNumber is what no node ever reaches. Larger numbers are damage, and sums of smaller ones do not overflow.
	maxNumber = 1 << 62
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A header is magic, version, checksum of the header with these four bytes as zeros, first number, node.
func appendHeader(b []byte, node string, first uint64) []byte {
	at := len(b)
	b = append(b, fileMagic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, first)
	b = append(b, node...)
	binary.LittleEndian.PutUint32(b[at+12:], crc32.Checksum(b[at:], castagnoli))
	return b
}

// parseHeader reads a header of headerSize bytes. ok says that it is whole; of another version it may be all the same.
func parseHeader(b []byte) (v uint32, node string, first uint64, ok bool) {
	v = binary.LittleEndian.Uint32(b[8:])
	first = binary.LittleEndian.Uint64(b[16:])
	node = string(b[24:32])
	return v, node, first, string(b[:8]) == fileMagic && checkedSum(b, 12)
}

// checkedSum reports whether the four bytes at an offset are the checksum of all bytes, these four as zeros.
func checkedSum(b []byte, at int) bool {
	sum := crc32.Checksum(b[:at], castagnoli)
	sum = crc32.Update(sum, castagnoli, make([]byte, 4))
	sum = crc32.Update(sum, castagnoli, b[at+4:])
	return sum == binary.LittleEndian.Uint32(b[at:])
}

// A frame is the length of what is behind the checksum, the checksum of that, number, time in nanoseconds since 1970,
// length of the kind, kind, body.
func appendFrame(b []byte, number uint64, at time.Time, kind string, body []byte) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(frameSize(kind, body)-8))
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, number)
	b = binary.LittleEndian.AppendUint64(b, uint64(at.UnixNano()))
	b = append(b, byte(len(kind)))
	b = append(b, kind...)
	b = append(b, body...)
	binary.LittleEndian.PutUint32(b[start+4:], crc32.Checksum(b[start+8:], castagnoli))
	return b
}

func frameSize(kind string, body []byte) int { return fixedSize + len(kind) + len(body) }

// frameHead looks at the first fixedSize bytes of what may be a frame: its size and its number.
func frameHead(b []byte) (size int, number uint64, ok bool) {
	length := binary.LittleEndian.Uint32(b)
	if length < minFrame-8 || length > maxFrame-8 {
		return 0, 0, false
	}
	size = int(length) + 8
	kind := int(b[24])
	return size, binary.LittleEndian.Uint64(b[8:]), kind >= 1 && kind <= maxKind && fixedSize+kind < size
}

// parseFrame reads a whole frame whose head is ok. Kind and body are copies.
func parseFrame(b []byte) (r Record, ok bool) {
	if crc32.Checksum(b[8:], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return Record{}, false
	}
	text := b[fixedSize:]
	r.ID.Number = binary.LittleEndian.Uint64(b[8:])
	r.At = time.Unix(0, int64(binary.LittleEndian.Uint64(b[16:]))).UTC()
	r.Kind = string(text[:b[24]])
	r.Body = bytes.Clone(text[b[24]:])
	return r, true
}

// checkRecord refuses what cannot be delivered. It also keeps frames apart: the last byte of a frame's length is zero,
// and there is no zero in JSON, so that no body contains what looks like a frame.
func checkRecord(kind string, body []byte) error {
	switch {
	case kind == "" || len(kind) > maxKind || strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz0123456789._-") != "":
		return fmt.Errorf("%w: a record's kind is 1 to %d lower-case letters, digits and any of ._-", ErrInvalid, maxKind)
	case len(body) > MaxBody:
		return fmt.Errorf("%w: a record's body has %d bytes; at most %d are accepted", ErrInvalid, len(body), MaxBody)
	case !json.Valid(body):
		return fmt.Errorf("%w: a record's body is not JSON", ErrInvalid)
	}
	return nil
}
