package parquetvet

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// errShort: what is claimed is longer than what is there.
var errShort = errors.New("it ends before what it claims to hold")

// maxDepth bounds the nesting of what is walked; Parquet's own is 8 or so.
const maxDepth = 32

// The types of Thrift's compact protocol.
const (
	typeStop = iota
	typeTrue
	typeFalse
	typeI8
	typeI16
	typeI32
	typeI64
	typeDouble
	typeBinary
	typeList
	typeSet
	typeMap
	typeStruct
	typeUUID
)

// walker goes over a value of Thrift's compact protocol without making anything of it. A decoder makes room for as many elements as a
// list claims before it reads the first of them.
type walker struct {
	rest []byte
	// elements is how many elements of lists, sets and maps may still come.
	elements int64
}

// structure walks over a struct, which begins data, and says how many bytes it has. It may hold so many elements of lists in all.
func structure(data []byte, elements *int64) (size int, err error) {
	w := walker{data, *elements}
	err = w.structure(0)
	*elements = w.elements
	return len(data) - len(w.rest), err
}

func (w *walker) structure(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("it is nested in more than %d levels", maxDepth)
	}
	for {
		head, err := w.byte()
		if err != nil {
			return err
		}
		kind := head & 0xf
		if head>>4 == 0 {
			if kind = head; head == typeStop {
				return nil
			}
			if _, err := w.uvarint(); err != nil { // the field's number
				return err
			}
		}
		if kind == typeTrue || kind == typeFalse { // the value is the type
			continue
		}
		if err := w.value(kind, depth); err != nil {
			return err
		}
	}
}

// value walks over a value that is no field of truth.
func (w *walker) value(kind byte, depth int) error {
	switch kind {
	case typeTrue, typeFalse, typeI8:
		return w.skip(1)
	case typeI16, typeI32, typeI64:
		_, err := w.uvarint()
		return err
	case typeDouble:
		return w.skip(8)
	case typeUUID:
		return w.skip(16)
	case typeBinary:
		n, err := w.uvarint()
		if err != nil {
			return err
		}
		return w.skip(n)
	case typeList, typeSet:
		return w.list(depth + 1)
	case typeMap:
		return w.pairs(depth + 1)
	case typeStruct:
		return w.structure(depth + 1)
	}
	return fmt.Errorf("there is no type %d", kind)
}

func (w *walker) list(depth int) error {
	head, err := w.byte()
	if err != nil {
		return err
	}
	n := uint64(head >> 4)
	if n == 0xf {
		if n, err = w.uvarint(); err != nil {
			return err
		}
	}
	return w.many(n, depth, head&0xf)
}

func (w *walker) pairs(depth int) error {
	n, err := w.uvarint()
	if err != nil || n == 0 {
		return err
	}
	kinds, err := w.byte()
	if err != nil {
		return err
	}
	return w.many(n, depth, kinds>>4, kinds&0xf)
}

// many walks over n times values of some kinds. Each takes a byte at least.
func (w *walker) many(n uint64, depth int, kinds ...byte) error {
	if depth > maxDepth {
		return fmt.Errorf("it is nested in more than %d levels", maxDepth)
	}
	if n > uint64(len(w.rest)) {
		return errShort
	}
	if w.elements -= int64(n); w.elements < 0 {
		return errors.New("it holds too many elements")
	}
	for range n {
		for _, kind := range kinds {
			if err := w.value(kind, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *walker) byte() (byte, error) {
	if len(w.rest) == 0 {
		return 0, errShort
	}
	b := w.rest[0]
	w.rest = w.rest[1:]
	return b, nil
}

func (w *walker) skip(n uint64) error {
	if n > uint64(len(w.rest)) {
		return errShort
	}
	w.rest = w.rest[n:]
	return nil
}

func (w *walker) uvarint() (uint64, error) {
	v, n := binary.Uvarint(w.rest)
	if n < 0 {
		return 0, errors.New("it holds a number of more than 64 bits")
	}
	if n == 0 {
		return 0, errShort
	}
	w.rest = w.rest[n:]
	return v, nil
}
