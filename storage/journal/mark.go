package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"vigie/storage"
)

// mark is the file that says who the node is and what was handed on. It has two slots that are written in turn, in place, so
// that the one before stays whole, and so that a full disk does not hold up the shipping that empties it.
type mark struct {
	node       string
	generation uint64 // how often it was written; its lowest bit is the slot
	shipped    uint64 // records up to here were delivered
	handed     uint64 // records up to here may have been: their numbers are not given again
}

const (
	markName  = "mark"
	markMagic = "VIGIEMRK"
	markSize  = 48
	slotSize  = 4096 // slots are in different pages of the disk
)

// append appends a slot: magic, version, checksum as in a header, node, generation, shipped, handed.
func (m mark) append(b []byte) []byte {
	at := len(b)
	b = append(b, markMagic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = append(b, m.node...)
	b = binary.LittleEndian.AppendUint64(b, m.generation)
	b = binary.LittleEndian.AppendUint64(b, m.shipped)
	b = binary.LittleEndian.AppendUint64(b, m.handed)
	binary.LittleEndian.PutUint32(b[at+12:], crc32.Checksum(b[at:], castagnoli))
	return b
}

func parseSlot(b []byte) (m mark, v uint32, ok bool) {
	m = mark{
		node:       string(b[16:24]),
		generation: binary.LittleEndian.Uint64(b[24:]),
		shipped:    binary.LittleEndian.Uint64(b[32:]),
		handed:     binary.LittleEndian.Uint64(b[40:]),
	}
	ok = string(b[:8]) == markMagic && checkedSum(b, 12) &&
		validNode(m.node) && m.shipped <= m.handed && m.handed < maxNumber
	return m, binary.LittleEndian.Uint32(b[8:]), ok
}

// readMark returns the newest whole slot. Errors are os.ErrNotExist, storage.ErrCorrupt, or of the system.
func readMark(dir string) (newest mark, err error) {
	f, err := os.Open(filepath.Join(dir, markName))
	if err != nil {
		return mark{}, err
	}
	defer f.Close()
	found := false
	for i := range int64(2) {
		b := make([]byte, markSize)
		if _, err := f.ReadAt(b, i*slotSize); errors.Is(err, io.EOF) {
			continue
		} else if err != nil {
			return mark{}, err
		}
		m, v, ok := parseSlot(b)
		if ok && v != version {
			return mark{}, fmt.Errorf("%s has version %d; this program reads %d", f.Name(), v, version)
		}
		if ok && (!found || m.generation > newest.generation) {
			newest, found = m, true
		}
	}
	if !found {
		return mark{}, fmt.Errorf("%w: %s: neither slot has its checksum", storage.ErrCorrupt, f.Name())
	}
	return newest, nil
}

// create makes the file anew, with the same in both slots.
func (m mark) create(dir string, o Options) error {
	b := make([]byte, 2*slotSize)
	m.append(b[:0])
	m.append(b[slotSize:slotSize])
	f, err := place(dir, markName, b, o)
	if err != nil {
		return err
	}
	return f.Close()
}

// save writes what follows old into the slot that old is not in. If that fails, old is still there.
func (m mark) save(dir string, o Options, old mark) (mark, error) {
	m.generation = old.generation + 1
	f, err := os.OpenFile(filepath.Join(dir, markName), os.O_WRONLY, 0)
	if err != nil {
		return old, err
	}
	_, err = f.WriteAt(m.append(nil), int64(m.generation%2)*slotSize)
	if err == nil {
		err = o.sync(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return old, err
	}
	return m, nil
}
