package index

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"iter"
	"math/bits"

	"vigie/hashing"
	"vigie/index/internal/segment"
)

// Digest sums up what an index holds, in whatever order it came and however it lies: two that hold the same rows have the
// same one. It is the sum, modulo 2^256, of the SHA-256 of each live row and each hidden bank. A sum, and not an exclusive or,
// so that a row which is there twice shows. Rows of hidden banks count. The zero value is that of nothing.
//
// What is hashed of a row are 50 bytes: bank (4), entry (8), algorithm, variant (1 each), time (4), value (32), big-endian, a
// shorter value with zeros behind it; of a hidden bank, the same with zeros for all but the bank.
type Digest [4]uint64 // the least significant word first

const digestRow = 4 + 8 + 1 + 1 + 4 + 32

// String is 64 hexadecimal digits.
func (d Digest) String() string {
	var b [32]byte
	for i, w := range d {
		binary.BigEndian.PutUint64(b[24-8*i:], w)
	}
	return hex.EncodeToString(b[:])
}

// ParseDigest is the inverse of [Digest.String].
func ParseDigest(text string) (d Digest, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != 32 {
		return d, fmt.Errorf("%w: a digest is 64 hexadecimal digits, not %.80q", ErrInvalid, text)
	}
	for i := range d {
		d[i] = binary.BigEndian.Uint64(b[24-8*i:])
	}
	return d, nil
}

// MarshalText and UnmarshalText are String and ParseDigest.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is ParseDigest.
func (d *Digest) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDigest(string(text))
	return err
}

// Add counts what a change would bring into an empty index: the rows of an entry, or that a bank is hidden.
func (d *Digest) Add(c Change) {
	if c.Entry == 0 && c.Hidden {
		d.plus(hidden(c.Bank))
	}
	for _, s := range c.Signals {
		d.plus(rowDigest(s.Algorithm, s.Value, uint64(c.Entry), uint32(c.Bank), uint8(s.Variant), s.Time))
	}
}

func (d *Digest) plus(o Digest) {
	var carry uint64
	for i := range d {
		d[i], carry = bits.Add64(d[i], o[i], carry)
	}
}

func (d *Digest) minus(o Digest) {
	var borrow uint64
	for i := range d {
		d[i], borrow = bits.Sub64(d[i], o[i], borrow)
	}
}

func hidden(b BankID) Digest { return rowDigest(0, hashing.Value{}, 0, uint32(b), 0, 0) }

func rowDigest(a hashing.Algorithm, v hashing.Value, entry uint64, bank uint32, variant uint8, time uint32) Digest {
	var b [digestRow]byte
	binary.BigEndian.PutUint32(b[0:], bank)
	binary.BigEndian.PutUint64(b[4:], entry)
	b[12], b[13] = uint8(a), variant
	binary.BigEndian.PutUint32(b[14:], time)
	for i, w := range v {
		binary.BigEndian.PutUint64(b[18+8*i:], w)
	}
	sum := sha256.Sum256(b[:])
	var d Digest
	for i := range d {
		d[i] = binary.BigEndian.Uint64(sum[24-8*i:])
	}
	return d
}

// digestOf is that of a row as parts have it.
func digestOf(a hashing.Algorithm, r segment.Row) Digest {
	return rowDigest(a, original(a, r.Value), r.Entry, r.Bank, r.Variant, r.Time)
}

// losing takes rows of a part out of the digest as they go by.
func (d *Digest) losing(a hashing.Algorithm, p part, rows iter.Seq[int]) iter.Seq[int] {
	return func(yield func(int) bool) {
		for row := range rows {
			d.minus(digestOf(a, p.Row(row)))
			if !yield(row) {
				return
			}
		}
	}
}

// rehidden is the digest when other banks are hidden.
func (d *Digest) rehidden(before, after map[BankID]bool) {
	for b := range before {
		if !after[b] {
			d.minus(hidden(b))
		}
	}
	for b := range after {
		if !before[b] {
			d.plus(hidden(b))
		}
	}
}

// Shifted is the digest that differs from d as to does from from.
func (d Digest) Shifted(from, to Digest) Digest {
	d.minus(from)
	d.plus(to)
	return d
}

// Kept is the digest of the snapshot as it was kept up with each change; it costs nothing.
func (s *Snapshot) Kept() Digest { return s.digest }

// Digest computes the digest from the rows as they lie in memory. If it is not Kept, the index is not what was applied to
// it. It takes some tenths of a second for a million rows.
func (s *Snapshot) Digest(ctx context.Context) (Digest, error) {
	d := s.sum(func() bool { return ctx.Err() != nil })
	return d, ctx.Err()
}

// sum adds up what there is, until it is to stop.
func (s *Snapshot) sum(stop func() bool) (d Digest) {
	for b := range s.hidden {
		d.plus(hidden(b))
	}
	for a, parts := range s.parts {
		for _, p := range parts {
			for row := range p.Len() {
				if row%(1<<16) == 0 && stop() {
					return d
				}
				if !p.dead.has(row) {
					d.plus(digestOf(a, p.Row(row)))
				}
			}
		}
	}
	return d
}

// Missing counts the entries with live rows in the snapshot, of hidden banks too, that have none in another one.
func (s *Snapshot) Missing(other *Snapshot) int {
	recent := map[uint64]bool{} // entries in deltas, which are looked through once
	for _, parts := range other.parts {
		for _, p := range parts {
			if d, ok := p.rows.(*delta); ok {
				for row, m := range d.rows {
					if !p.dead.has(row) {
						recent[m.entry] = true
					}
				}
			}
		}
	}
	holds := func(entry uint64) bool {
		for _, parts := range other.parts {
			for _, p := range parts {
				if _, ok := p.rows.(*delta); ok {
					continue
				}
				for range p.of(entry) {
					return true
				}
			}
		}
		return recent[entry]
	}
	missing := map[uint64]bool{}
	for _, parts := range s.parts {
		for _, p := range parts {
			last := uint64(0)
			for row := range p.Len() {
				if p.dead.has(row) {
					continue
				}
				entry := p.Row(row).Entry
				if entry != last && !holds(entry) {
					missing[entry] = true
				}
				last = entry
			}
		}
	}
	return len(missing)
}
