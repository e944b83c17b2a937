package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"vigie/storage"
)

// written makes a folder with files of 5 and of 2 records, and returns what they are.
func written(t *testing.T) (dir string, appended map[ID]string) {
	t.Helper()
	dir, appended = t.TempDir(), map[ID]string{}
	for _, n := range []int{5, 2} {
		j := open(t, dir, unsynced(Options{}))
		for range n {
			body := fmt.Sprintf("[%d,\"text\"]", len(appended))
			appended[add(t, j, body)] = body
		}
		j.Close()
	}
	return dir, appended
}

func readFile(t tb, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// with returns a folder with the files of another one, some of which are altered; nil: not there.
func with(t *testing.T, dir string, altered map[string][]byte) string {
	t.Helper()
	to := t.TempDir()
	all := map[string][]byte{}
	for _, name := range names(t, dir) {
		all[name] = readFile(t, dir, name)
	}
	for name, b := range altered {
		all[name] = b
	}
	for name, b := range all {
		if b != nil {
			if err := os.WriteFile(filepath.Join(to, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return to
}

type span struct {
	number   uint64
	from, to int64
}

// frames are where the good frames of a file are, up to a number.
func frames(t tb, b []byte, first, last uint64) (all []span) {
	t.Helper()
	s := newScanner(newFrameReader(), bytes.NewReader(b), headerSize, int64(len(b)), first, last)
	for {
		r, _, err := s.scan()
		if errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		size := int64(frameSize(r.Kind, r.Body))
		all = append(all, span{r.ID.Number, s.off - size, s.off})
	}
}

// TestTornTail: what is left of a last frame, however much of it, is no record, and its number is given again.
func TestTornTail(t *testing.T) {
	t.Parallel()
	dir, appended := written(t)
	name := fileName(6)
	good := readFile(t, dir, name)
	all := frames(t, good, 6, math.MaxUint64)
	last := all[len(all)-1]
	for end := all[0].from; end < last.to; end++ {
		kept := end / last.from // of the two records: 0 or 1
		if end < all[0].to {
			kept = 0
		}
		for what, tail := range map[string][]byte{
			"nothing": nil, "zeros": make([]byte, 100), "ones": bytes.Repeat([]byte{255}, 5000), "another file": readFile(t, dir, fileName(1)),
		} {
			altered := append(slices.Clone(good[:end]), tail...)
			torn := with(t, dir, map[string][]byte{name: altered})
			j := open(t, torn, unsynced(Options{Fault: func(err error) { t.Errorf("%d bytes and %s: %v", end, what, err) }}))
			want := map[ID]string{}
			for id, body := range appended {
				if id.Number <= uint64(5+kept) {
					want[id] = body
				}
			}
			id := add(t, j, `"new"`)
			want[id] = `"new"`
			c := newCatalogue(t)
			drain(t, j, c)
			if c.want(want, false); id.Number != uint64(6+kept) || t.Failed() {
				t.Fatalf("%d bytes and %s: the next is %v", end, what, id)
			}
			j.Close()
		}
	}
}

// TestDamage flips a bit of each byte of a file. The record that it is of is lost, and told of; all others are delivered, and the
// file is kept.
func TestDamage(t *testing.T) {
	t.Parallel()
	dir, appended := written(t)
	name := fileName(1)
	good := readFile(t, dir, name)
	all := frames(t, good, 1, 5)
	for at := range good {
		altered := slices.Clone(good)
		altered[at] ^= 1 << (at % 8)
		damaged := with(t, dir, map[string][]byte{name: altered})
		want, lost, tells := map[ID]string{}, uint64(0), name
		for id, body := range appended {
			if i := id.Number - 1; i < 5 && int64(at) >= all[i].from && int64(at) < all[i].to {
				lost, tells = 1, fmt.Sprintf("%s at byte %d: damage before record %d: 1 records are lost", name, all[i].from, i+2)
				continue
			}
			want[id] = body
		}
		var told faults
		j := open(t, damaged, unsynced(Options{Fault: told.add}))
		c := newCatalogue(t)
		drain(t, j, c)
		c.want(want, false)
		got := told.corrupt()
		if s := j.Stats(); s.Lost != lost || s.Shipped != 7 || s.Bytes != 0 {
			t.Errorf("byte %d: %+v", at, s)
		}
		if len(got) != 1 || !strings.Contains(got[0], tells) {
			t.Errorf("byte %d: told %q, want %s", at, got, tells)
		}
		if left := names(t, damaged); !slices.Equal(left, []string{name + damagedSuffix, markName}) {
			t.Errorf("byte %d: %v", at, left)
		} else if !bytes.Equal(readFile(t, damaged, left[0]), altered) {
			t.Errorf("byte %d: what was kept is another file", at)
		}
		if j.Close(); t.Failed() {
			break
		}
	}
}

// TestMoreDamage: what else may have become of the files.
func TestMoreDamage(t *testing.T) {
	t.Parallel()
	dir, appended := written(t)
	one, two := readFile(t, dir, fileName(1)), readFile(t, dir, fileName(6))
	all := frames(t, one, 1, 5)
	foreign := appendHeader(nil, "00000000", 6)
	later := slices.Clone(two)
	later[8] = 2
	clear(later[12:16])
	binary.LittleEndian.PutUint32(later[12:], crc32.Checksum(later[:headerSize], castagnoli))
	empty := t.TempDir()
	open(t, empty, Options{}).Close()
	mark := readFile(t, empty, markName)

	for _, c := range []struct {
		name    string
		altered map[string][]byte
		lost    []uint64
		faults  int
		fails   string // Open does
	}{
		{name: "nothing"},
		{
			name: "bytes are inserted", altered: map[string][]byte{fileName(1): slices.Concat(one[:all[2].from], []byte("junk"), one[all[2].from:])},
			faults: 1,
		},
		{
			name: "a record is cut out", altered: map[string][]byte{fileName(1): slices.Concat(one[:all[2].from], one[all[2].to:])},
			lost: []uint64{3, 4, 5}, faults: 1,
		},
		{
			name: "three are overwritten", altered: map[string][]byte{fileName(1): slices.Concat(one[:all[1].from], make([]byte, all[3].to-all[1].from), one[all[3].to:])},
			lost: []uint64{2, 3, 4}, faults: 1,
		},
		{
			name: "cut off", altered: map[string][]byte{fileName(1): one[:all[3].from+1]},
			lost: []uint64{4, 5}, faults: 1,
		},
		{
			name: "cut off in the header", altered: map[string][]byte{fileName(1): one[:10]},
			lost: []uint64{1, 2, 3, 4, 5}, faults: 2,
		},
		{name: "empty", altered: map[string][]byte{fileName(1): {}}, lost: []uint64{1, 2, 3, 4, 5}, faults: 2},
		{
			name: "the first file is missing", altered: map[string][]byte{fileName(1): nil},
			lost: []uint64{1, 2, 3, 4, 5}, faults: 1,
		},
		{
			name: "the last file has a bad header", altered: map[string][]byte{fileName(6): slices.Concat(make([]byte, headerSize), two[headerSize:])},
			faults: 1,
		},
		{name: "the mark is missing", altered: map[string][]byte{markName: nil}, faults: 1},
		{
			name: "the mark is damaged", altered: map[string][]byte{markName: make([]byte, 8192)},
			faults: 1,
		},
		{name: "one slot is damaged", altered: map[string][]byte{markName: append(make([]byte, 100), readFile(t, dir, markName)[100:]...)}},
		{name: "the mark is cut off", altered: map[string][]byte{markName: readFile(t, dir, markName)[:50]}},
		{name: "left-overs", altered: map[string][]byte{fileName(9) + tempSuffix: []byte("x"), "notes.txt": []byte("x")}},
		{
			name: "much is behind the last record", altered: map[string][]byte{fileName(6): append(slices.Clone(two), make([]byte, maxGroup+1)...)},
			faults: 1,
		},
		{
			name: "much, and no record", altered: map[string][]byte{fileName(8): append(slices.Clone(one[:8]), make([]byte, maxGroup+headerSize)...)},
			faults: 2,
		},

		{name: "a name is wrong", altered: map[string][]byte{"8.journal": one}, fails: "not the name of a file"},
		{name: "another's name", altered: map[string][]byte{fileName(8): one}, fails: "begins with record 1"},
		{
			name: "another node's file", altered: map[string][]byte{fileName(8): slices.Concat(appendHeader(nil, "00000000", 8), one[headerSize:])},
			fails: "is of node 00000000",
		},
		{name: "another node's mark", altered: map[string][]byte{markName: mark}, fails: "this is node"},
		{name: "a later version", altered: map[string][]byte{fileName(6): later}, fails: "has version 2; this program reads 1"},
		{
			name: "no mark and no header", altered: map[string][]byte{markName: nil, fileName(1): one[:1], fileName(6): foreign[:1]},
			fails: "which node this is",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var told faults
			altered := with(t, dir, c.altered)
			j, err := Open(altered, unsynced(Options{Fault: told.add}))
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) || strings.Contains(c.fails, "node") && !errors.Is(err, storage.ErrCorrupt) {
					t.Errorf("got %v", err)
				}
				return
			} else if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { j.Close() })
			want := map[ID]string{}
			for id, body := range appended {
				if !slices.Contains(c.lost, id.Number) {
					want[id] = body
				}
			}
			id := add(t, j, `"new"`)
			want[id] = `"new"`
			got := newCatalogue(t)
			drain(t, j, got)
			got.want(want, false)
			if s := j.Stats(); id.Number != 8 || s.Lost != uint64(len(c.lost)) || s.Bytes != 0 {
				t.Errorf("the next is %v; %+v", id, s)
			}
			if all := told.corrupt(); len(all) != c.faults || len(told.all) != c.faults {
				t.Errorf("told %q", all)
			}
		})
	}
}

// TestHandedOnIsNotGivenAgain: the numbers of records that were delivered, or may have been, are not given again, whatever has
// become of the files.
func TestHandedOnIsNotGivenAgain(t *testing.T) {
	t.Parallel()
	for _, delivered := range []bool{true, false} {
		for _, left := range []int64{0, headerSize, headerSize + 1, headerSize + 60} {
			dir := t.TempDir()
			j := open(t, dir, Options{})
			for n := range 3 {
				add(t, j, fmt.Sprint(n))
			}
			c := newCatalogue(t)
			ctx, cancel := context.WithCancel(t.Context())
			err := j.Ship(ctx, func(_ context.Context, r []Record) error {
				cancel()
				if err := c.deliver(ctx, r); err != nil || !delivered {
					return errors.New("meant")
				}
				return nil
			})
			if err == nil || len(c.has) != 3 {
				t.Fatalf("%v; %d records", err, len(c.has))
			}
			j.Close()
			if err := os.Truncate(filepath.Join(dir, fileName(1)), left); err != nil {
				t.Fatal(err)
			}
			var told faults
			j = open(t, dir, Options{Fault: told.add})
			if id := add(t, j, `"new"`); id.Number != 4 {
				t.Errorf("%d bytes are left; the next is %v", left, id)
			}
			drain(t, j, c)
			if lost := j.Stats().Lost; len(c.has) != 4 || (lost > 0) == delivered || (len(told.corrupt()) > 0) == delivered && left >= headerSize {
				t.Errorf("%d bytes are left: %d records, %d lost; told %q", left, len(c.has), lost, told.corrupt())
			}
		}
	}
}

// TestUnreadable: a page that the disk does not give is waited for, and then it is damage.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir, unsynced(Options{}))
	body := `"` + strings.Repeat("x", 1000) + `"`
	appended := map[ID]string{}
	for range 20 {
		appended[add(t, j, body)] = body
	}
	j.Close()
	const bad = 2*pageSize + 77
	read := func(f *os.File, p []byte, off int64) (int, error) {
		if off <= bad && bad < off+int64(len(p)) {
			return 0, &os.PathError{Op: "read", Path: f.Name(), Err: syscall.EIO}
		}
		return f.ReadAt(p, off)
	}
	j = open(t, dir, unsynced(Options{}))
	j.o.read = read
	f := j.unshipped()
	if _, err := j.read(f, newFrameReader(), false, false); !errors.Is(err, syscall.EIO) {
		t.Fatalf("at first: %v", err)
	}
	b, err := j.read(f, newFrameReader(), false, true)
	if err != nil {
		t.Fatal(err)
	}
	// 4096 bytes are some of 5 records.
	if len(b.records) != 15 || len(b.holes) != 1 || b.holes[0].to-b.holes[0].from != 5 || b.next != 21 || b.off != f.end {
		t.Errorf("%d records, %+v, then %d at %d", len(b.records), b.holes, b.next, b.off)
	}
	j.Close()
	if _, err := Open(dir, Options{read: read}); !errors.Is(err, syscall.EIO) {
		t.Errorf("opened: %v", err)
	}
}
