package index

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"weak"

	"vigie/hashing"
	"vigie/index/internal/segment"
)

// Mark says of which log an index is, and what the log was like at the index's sequence number. It is the caller's, and
// saved with the index, so that an index is not carried on by another log.
type Mark struct {
	Log  string `json:"log"`
	Root string `json:"root"`
}

// ErrDamaged is wrapped by the errors of [Open] that say that what is in the folder is not what [Index.Save] left
// there. Nothing is lost: the index is made of the log again.
var ErrDamaged = segment.ErrDamaged

// manifest is the file that says what a saved index consists of. It stands behind its checksum, in one line each.
type manifest struct {
	Version int            `json:"version"`
	Seq     uint64         `json:"seq"`
	Mark    Mark           `json:"mark"`
	Entries int            `json:"entries"`
	Hidden  []BankID       `json:"hidden"`
	Digest  *Digest        `json:"digest,omitempty"` // nil in those of before there was one
	Parts   []manifestPart `json:"parts"`            // in the order in which they are searched
}

type manifestPart struct {
	Algorithm hashing.Algorithm `json:"algorithm"`
	File      string            `json:"file"`
	Rows      int               `json:"rows"`
	Sum       string            `json:"sum"` // which of all segments that ever had this file's name
	Dead      []deadPage        `json:"dead,omitempty"`
}

// deadPage is the rows of a page that are dead: bit i%64 of word i/64 is row number*4096+i. JSON has it as hexadecimal
// words.
type deadPage struct {
	Number int      `json:"number"`
	Words  []string `json:"words"`
}

const (
	manifestName    = "MANIFEST"
	manifestVersion = 1
	segmentSuffix   = ".seg"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Save writes the index as it is to a folder, which it makes: what is there of it already stays, the rest is written and
// synced, then the manifest is replaced, at one stroke; then files that no manifest names are removed. If it
// fails, or the machine does, the folder holds what it held. Searches and changes go on meanwhile. It
// returns the sequence number that it saved.
//
// A folder belongs to one index of one process.
func (x *Index) Save(ctx context.Context, dir string, mark func(seq uint64) (Mark, error)) (uint64, error) {
	x.saving.Lock()
	defer x.saving.Unlock()
	s := x.Snapshot()
	m := manifest{Version: manifestVersion, Seq: s.seq, Entries: s.entries, Hidden: slices.Sorted(maps.Keys(s.hidden)), Digest: &s.digest}
	var err error
	if m.Mark, err = mark(s.seq); err != nil {
		return 0, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, err
	}
	files := map[weak.Pointer[segment.Segment]]string{}
	for _, a := range hashing.Algorithms() {
		for _, p := range s.parts[a] {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			part, err := x.savePart(dir, a, p, files)
			if err != nil {
				return 0, fmt.Errorf("save the index: %w", err)
			}
			if part.File != "" {
				m.Parts = append(m.Parts, part)
			}
		}
	}
	if err := m.write(dir); err != nil {
		return 0, fmt.Errorf("save the index: %w", err)
	}
	x.files = files
	return s.seq, sweep(dir, m)
}

// savePart writes a part, if it is not in the folder yet.
func (x *Index) savePart(dir string, a hashing.Algorithm, p part, files map[weak.Pointer[segment.Segment]]string) (manifestPart, error) {
	g, isSegment := p.rows.(*segment.Segment)
	path := x.files[weak.Make(g)]
	_, err := os.Lstat(path)
	if err != nil || filepath.Dir(path) != filepath.Clean(dir) {
		if !isSegment { // a delta: its live rows, as a segment
			if g, err = (job{a, []part{p}}).do(1); err != nil || g == nil {
				return manifestPart{}, err
			}
			p = part{rows: g}
		}
		for n := 1; ; n++ {
			path = filepath.Join(dir, fmt.Sprintf("%08d%s", n, segmentSuffix))
			if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
				break
			}
		}
		if err := g.Write(path); err != nil {
			return manifestPart{}, err
		}
		if !isSegment {
			g.Free()
		}
	}
	sum, err := sumOf(path)
	if err != nil {
		return manifestPart{}, err
	}
	if isSegment { // what a delta is written as is in no snapshot
		files[weak.Make(g)] = path
	}
	out := manifestPart{Algorithm: a, File: filepath.Base(path), Rows: p.Len(), Sum: sum}
	for i, page := range p.dead.pages {
		if page == nil {
			continue
		}
		d := deadPage{Number: i}
		for _, w := range page {
			d.Words = append(d.Words, strconv.FormatUint(w, 16))
		}
		out.Dead = append(out.Dead, d)
	}
	return out, nil
}

// sumOf is the checksum that stands in a segment's header, of the header itself: that has the checksums of all else.
func sumOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	first := make([]byte, 16)
	if _, err := io.ReadFull(f, first); err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	return fmt.Sprintf("%08x", binary.LittleEndian.Uint32(first[12:])), nil
}

func (m manifest) write(dir string) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	text := fmt.Appendf(nil, "%08x\n%s\n", crc32.Checksum(body, castagnoli), body)
	f, err := os.CreateTemp(dir, manifestName+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, manifestName))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// sweep removes what the manifest does not name: segments that were merged since, and what a crash left.
func sweep(dir string, m manifest) error {
	named := map[string]bool{manifestName: true}
	for _, p := range m.Parts {
		named[p.File] = true
	}
	all, err := os.ReadDir(dir)
	for _, f := range all {
		ours := strings.HasSuffix(f.Name(), segmentSuffix) || strings.HasPrefix(f.Name(), manifestName)
		if ours && !named[f.Name()] {
			err = errors.Join(err, os.Remove(filepath.Join(dir, f.Name())))
		}
	}
	return err
}

// Open returns the index that was saved in a folder, with its mark, and verifies all of it: checksums, and that no
// number leads out of a table. A folder that holds none is [os.ErrNotExist], one that is not what was saved
// [ErrDamaged]; in both cases the caller makes the index of its log again.
func Open(dir string, o Options) (*Index, Mark, error) {
	m, err := readManifest(dir)
	if err != nil {
		return nil, Mark{}, err
	}
	x := New(o)
	x.files = map[weak.Pointer[segment.Segment]]string{}
	s := &Snapshot{seq: m.Seq, entries: m.Entries, parts: map[hashing.Algorithm][]part{}, shadow: x.Snapshot().shadow}
	if len(m.Hidden) > 0 {
		s.hidden = map[BankID]bool{}
	}
	for _, b := range m.Hidden {
		s.hidden[b] = true
	}
	for _, p := range m.Parts {
		path := filepath.Join(dir, p.File)
		g, err := segment.Open(path, o.Copied)
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("%w: %s names %s, which is not there", ErrDamaged, manifestName, p.File) // and is not taken for an empty folder
		}
		if err != nil {
			return nil, Mark{}, err
		}
		if g.Algorithm() != p.Algorithm || g.Len() != p.Rows {
			return nil, Mark{}, fmt.Errorf("%w: %s has %d rows of %s, not %d of %s", ErrDamaged, p.File, g.Len(), g.Algorithm(), p.Rows, p.Algorithm)
		}
		if sum, err := sumOf(path); err != nil {
			return nil, Mark{}, err
		} else if sum != p.Sum {
			return nil, Mark{}, fmt.Errorf("%w: %s is another segment, of the sum %s, not %s", ErrDamaged, path, sum, p.Sum)
		}
		dead, err := p.tombs()
		if err != nil {
			return nil, Mark{}, fmt.Errorf("%w: %s: %w", ErrDamaged, p.File, err)
		}
		x.files[weak.Make(g)] = path
		s.parts[p.Algorithm] = append(s.parts[p.Algorithm], part{g, dead})
	}
	if m.Digest != nil {
		s.digest = *m.Digest
	} else {
		s.digest = s.sum(func() bool { return false })
	}
	x.opened = Saved{Seq: m.Seq, Mark: m.Mark}
	x.snapshot.Store(s)
	return x, m.Mark, nil
}

// Opened says as of what the index was opened, without its files; zero if it was made new.
func (x *Index) Opened() Saved { return x.opened }

func readManifest(dir string) (m manifest, err error) {
	text, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return m, err
	}
	sum, body, ok := strings.Cut(string(text), "\n")
	body = strings.TrimSuffix(body, "\n")
	if !ok || sum != fmt.Sprintf("%08x", crc32.Checksum([]byte(body), castagnoli)) {
		return m, fmt.Errorf("%w: %s: its checksum is wrong", ErrDamaged, manifestName)
	}
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		return m, fmt.Errorf("%w: %s: %w", ErrDamaged, manifestName, err)
	}
	if m.Version != manifestVersion {
		return m, fmt.Errorf("%w: %s: version %d; this program reads %d", ErrDamaged, manifestName, m.Version, manifestVersion)
	}
	for _, p := range m.Parts {
		if p.File != filepath.Base(p.File) || !strings.HasSuffix(p.File, segmentSuffix) {
			return m, fmt.Errorf("%w: %s names the file %q", ErrDamaged, manifestName, p.File)
		}
	}
	return m, nil
}

// tombs are the dead rows.
func (p manifestPart) tombs() (tombs, error) {
	var dead []int
	for _, page := range p.Dead {
		for i, text := range page.Words {
			w, err := strconv.ParseUint(text, 16, 64)
			if err != nil {
				return tombs{}, err
			}
			for ; w != 0; w &= w - 1 {
				row := page.Number*pageRows + i*64 + bits.TrailingZeros64(w)
				if page.Number < 0 || page.Number > p.Rows/pageRows || i >= pageRows/64 || row >= p.Rows {
					return tombs{}, fmt.Errorf("row %d is dead, of %d", row, p.Rows)
				}
				dead = append(dead, row)
			}
		}
	}
	return tombs{}.with(slices.Values(dead)), nil
}
