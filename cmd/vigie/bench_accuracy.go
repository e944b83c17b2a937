package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"vigie/fixtures"
	"vigie/hashing"
	"vigie/hashing/sandbox"
	"vigie/matcher"
	"vigie/rescan"
	"vigie/storage"
)

type accuracyCmd struct {
	Folder      string            `arg:"" optional:"" help:"Folder of pictures, with all below it; without one, the built-in ones."`
	External    string            `help:"Score copies that somebody else made: DIR/EDIT/N.jpg of DIR/original/N.jpg." placeholder:"DIR"`
	Distractors []string          `sep:"none" help:"Flag the pictures of this folder too, without making copies of them; may be repeated." placeholder:"DIR"`
	Same        map[string]string `help:"Two pictures of the folder that show the same to people; may be repeated. Those that match one another as they are need not be named." placeholder:"NAME=NAME"`
	Edits       []string          `help:"Only these edits." placeholder:"NAME"`
	Seed        uint64            `help:"What random edits are drawn from." default:"1"`
	Limit       int               `help:"Only so many pictures, spread over the folder; 0: all."`
	Workers     int               `help:"Pictures worked on at a time; 0: one a processor." default:"0"`
	Sweep       bool              `help:"Compare other thresholds too." hidden:""`
	benchFiles
}

// Run makes, checks and counts.
func (c *accuracyCmd) Run(ctx context.Context, a *app) error {
	b := &accuracy{app: a, workers: c.Workers, settings: []labSetting{{name: "default"}}}
	if b.workers <= 0 {
		b.workers = runtime.GOMAXPROCS(0)
	}
	if c.Sweep {
		b.settings = append(b.settings, sweep()...)
	}
	if err := c.material(ctx, b); err != nil {
		return err
	}
	pool, err := sandbox.New(a.sandbox())
	if err != nil {
		return err
	}
	defer pool.Close()
	b.same = c.Same
	if b.lab, err = newLab(ctx, pool, b.settings); err != nil {
		return err
	}
	defer b.lab.stop()

	for _, stage := range []func(context.Context) error{b.flag, b.relate, b.check} {
		if err := stage(ctx); err != nil {
			return err
		}
	}
	report := b.report()
	report.Seed = c.Seed
	return c.benchFiles.publish(a.printer, report)
}

// material finds what is flagged, and who makes the copies.
func (c *accuracyCmd) material(ctx context.Context, b *accuracy) error {
	switch {
	case c.Folder != "" && c.External != "":
		return usagef("a folder and --external: the copies are made here, or by somebody else; name one of them")
	case c.Limit < 0:
		return usagef("--limit: %d; it must not be negative", c.Limit)
	}
	var files []benchFile
	var err error
	if c.External != "" {
		var s *stranger
		if s, err = newStranger(ctx, c.External, c.Edits, b.limits().Bytes); err == nil {
			b.copier, files, b.strays = s, s.originals, s.strays
		}
	} else if b.copier, err = newEditor(c.Edits, c.Seed, b.limits()); err == nil {
		files, err = c.pictures(ctx)
	}
	if err != nil {
		return err
	}
	files = spread(files, c.Limit)
	b.pictures = len(files)
	for _, dir := range c.Distractors {
		more, err := filesIn(ctx, dir)
		if err != nil {
			return usagef("--distractors: %w", err)
		}
		files = append(files, more...)
	}
	for _, f := range files {
		b.known = append(b.known, &knownPicture{benchFile: f})
	}
	return nil
}

func (c *accuracyCmd) pictures(ctx context.Context) ([]benchFile, error) {
	if c.Folder == "" {
		pictures, err := fs.Sub(fixtures.Files, "pictures")
		if err != nil {
			return nil, err
		}
		return filesBelow(ctx, rescan.Folder{FS: pictures})
	}
	files, err := filesIn(ctx, c.Folder)
	if err != nil {
		return nil, usageError{err}
	}
	return files, nil
}

// filesIn is filesBelow for a path; that there is no such folder or nothing in it is an error.
func filesIn(ctx context.Context, dir string) ([]benchFile, error) {
	if info, err := os.Stat(dir); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a folder", dir)
	}
	root, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	files, err := filesBelow(ctx, rescan.Dir(root))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s holds no files", dir)
	}
	return files, err
}

// sweep is other thresholds than the default ones: how far the band reaches without an agreeing vote and
// with one, and when a vote agrees.
func sweep() []labSetting {
	band := func(radius, far, vote int) labSetting {
		var e matcher.BankEdit
		e.SecondVote.Radius, e.SecondVote.Far = &radius, &far
		e.SecondVote.PHash, e.SecondVote.DHash = &vote, &vote
		reach := fmt.Sprintf("far to %d", far)
		if far <= radius {
			reach = "far off"
		}
		return labSetting{fmt.Sprintf("band to %d, %s, votes within %d", radius, reach, vote), e}
	}
	graphic := func(d int) labSetting {
		var e matcher.BankEdit
		e.SecondVote.Graphic = &d
		return labSetting{fmt.Sprintf("graphics alone to %d", d), e}
	}
	none := 0
	alone := labSetting{name: "no second vote"}
	alone.edit.SecondVote.Radius, alone.edit.SecondVote.Far, alone.edit.SecondVote.Graphic = &none, &none, &none
	return []labSetting{
		alone,
		band(39, 0, 8), band(39, 55, 8), band(47, 0, 8), band(47, 0, 10), band(47, 0, 12),
		band(47, 55, 6), band(47, 55, 10), band(47, 55, 12),
		band(47, 60, 6), band(47, 60, 8), band(47, 60, 10), band(47, 64, 8), band(55, 0, 8), band(55, 60, 8),
		graphic(0), graphic(8), graphic(23),
	}
}

// accuracy is one run.
type accuracy struct {
	*app
	lab      *lab
	settings []labSetting
	copier   copier
	workers  int
	same     map[string]string // names of pictures that people call the same

	known    []*knownPicture // the pictures, then the distractors
	pictures int             // how many of known are pictures
	entries  []*knownEntry
	entryOf  []map[storage.EntryID]int // by setting: places in entries
	related  pairSet                   // of entries: real duplicates
	twins    []pairReport              // why they are related
	strays   []skippedFile             // copies of nothing
	skipped  []skippedFile

	mu    sync.Mutex // guards what follows
	tally tally
}

// knownPicture is a file that is flagged.
type knownPicture struct {
	benchFile
	entry int // place in entries; -1: it could not be flagged
}

// knownEntry is an entry of the banks.
type knownEntry struct {
	name  string // of the first picture that it was made of
	ids   []storage.EntryID
	rows  []hashing.Signal // its PDQ signals
	short int              // its 64-bit values
}

// hash reads and hashes a file. A third result that is not empty says why the file is no use.
func (b *accuracy) hash(ctx context.Context, s benchFile) (media hashing.Media, p hashing.Picture, why string, err error) {
	media, err = s.read(b.limits().Bytes)
	if err == nil {
		p, err = b.lab.hasher.Picture(ctx, media.Data)
	}
	why, itsFault := fileFault(err)
	switch {
	case ctx.Err() != nil:
		return media, p, "", ctx.Err()
	case itsFault:
		return media, p, why, nil
	}
	return media, p, string(p.Unhashable), err
}

// flag fills the banks: in order, so that every run makes the same entries, though files are hashed
// several at a time.
func (b *accuracy) flag(ctx context.Context) error {
	type outcome struct {
		media hashing.Media
		p     hashing.Picture
		why   string
	}
	b.entryOf = make([]map[storage.EntryID]int, len(b.settings))
	for i := range b.entryOf {
		b.entryOf[i] = map[storage.EntryID]int{}
	}
	bar := b.countdown(len(b.known), "pictures flagged")
	defer bar.end()
	for part := range slices.Chunk(b.known, 32) {
		outcomes := make([]outcome, len(part))
		var work errgroup.Group
		work.SetLimit(b.workers)
		for i, k := range part {
			work.Go(func() (err error) {
				o := &outcomes[i]
				o.media, o.p, o.why, err = b.hash(ctx, k.benchFile)
				return err
			})
		}
		if err := work.Wait(); err != nil {
			return err
		}
		for i, k := range part {
			o := outcomes[i]
			if err := b.add(ctx, k, o.media, o.p, o.why); err != nil {
				return err
			}
			bar.done()
		}
	}
	if len(b.entries) == 0 {
		return fmt.Errorf("none of %d files is a picture that can be flagged; the first: %s: %s",
			len(b.skipped), printable(b.skipped[0].File), b.skipped[0].Reason)
	}
	for _, e := range b.entries {
		signals, err := b.lab.signals(ctx, e.ids[0])
		if err != nil {
			return err
		}
		for _, s := range signals {
			switch {
			case s.Algorithm == hashing.PDQ:
				e.rows = append(e.rows, s)
			case !s.Algorithm.Exact():
				e.short++
			}
		}
	}
	return nil
}

// add flags one picture.
func (b *accuracy) add(ctx context.Context, k *knownPicture, media hashing.Media, p hashing.Picture, why string) error {
	k.entry = -1
	if why == "" {
		ids, err := b.lab.flag(ctx, media, p)
		var unhashable *matcher.UnhashableError
		switch {
		case errors.As(err, &unhashable):
			why = string(unhashable.Reason)
		case err != nil:
			return fmt.Errorf("flag %s: %w", printable(k.name), err)
		default:
			place, had := b.entryOf[0][ids[0]]
			if had {
				b.twins = append(b.twins, pairReport{A: b.entries[place].name, B: k.name, Level: "the same entry"})
			} else {
				place = len(b.entries)
				b.entries = append(b.entries, &knownEntry{name: k.name, ids: ids})
				for i, id := range ids {
					b.entryOf[i][id] = place
				}
			}
			k.entry = place
			return nil
		}
	}
	b.skipped = append(b.skipped, skippedFile{k.name, why})
	return nil
}

// relate finds the real duplicates: pictures that are a match for one another as they are, and what --same
// names. What is found of one of them is no mistake for the other. Who finds another at a lower level is
// no duplicate for that: it may be the mistake that is looked for.
func (b *accuracy) relate(ctx context.Context) error {
	b.related = pairSet{}
	bar := b.countdown(len(b.known), "pictures compared")
	defer bar.end()
	var mu sync.Mutex
	twins := map[[2]int]pairReport{}
	err := b.each(ctx, b.known, func(ctx context.Context, k *knownPicture) error {
		defer bar.done()
		if k.entry < 0 {
			return nil
		}
		media, p, why, err := b.hash(ctx, k.benchFile)
		if err != nil || why != "" {
			return err
		}
		answers, _, err := b.lab.check(ctx, media, p)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, f := range answers[0].found {
			other := b.entryOf[0][f.Entry]
			if other == k.entry || f.Level < matcher.Match {
				continue
			}
			pair := pairOf(other, k.entry)
			d, _, _ := closest(p.Queries, b.entries[other].rows)
			if old, ok := twins[pair]; !ok || d < old.Distance {
				twins[pair] = pairReport{
					A: b.entries[pair[0]].name, B: b.entries[pair[1]].name,
					Distance: d, Level: f.Level.String(), Transform: f.Transform.String(), Variant: f.Variant.String(),
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	same := newGroups(len(b.entries))
	var named []int
	for name, other := range b.same {
		x, y := b.entryNamed(name), b.entryNamed(other)
		if x < 0 || y < 0 || x == y {
			return usagef("--same %s=%s: these are not the names of two pictures that are flagged", name, other)
		}
		same.join(x, y)
		named = append(named, x, y)
	}
	for _, x := range named {
		for _, y := range named {
			pair := pairOf(x, y)
			if _, found := twins[pair]; found || x == y || same.of(x) != same.of(y) {
				continue
			}
			d, _, _ := closest(plainQueries(b.entries[x].rows), b.entries[y].rows)
			twins[pair] = pairReport{A: b.entries[pair[0]].name, B: b.entries[pair[1]].name, Distance: d, Level: "named by --same"}
		}
	}
	for _, pair := range slices.SortedFunc(maps.Keys(twins), func(x, y [2]int) int { return slices.Compare(x[:], y[:]) }) {
		b.related[pair] = true
		b.twins = append(b.twins, twins[pair])
	}
	return nil
}

// entryNamed is the place of the entry of a picture; -1 if there is none.
func (b *accuracy) entryNamed(name string) int {
	return slices.IndexFunc(b.entries, func(e *knownEntry) bool { return e.name == name })
}

func plainQueries(signals []hashing.Signal) []hashing.Query {
	queries := make([]hashing.Query, len(signals))
	for i, s := range signals {
		queries[i].Signal = s
	}
	return queries
}

// each works on pictures, several at a time, until one fails.
func (b *accuracy) each(ctx context.Context, pictures []*knownPicture, work func(context.Context, *knownPicture) error) error {
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(b.workers)
	for _, k := range pictures {
		if within.Err() != nil {
			break
		}
		group.Go(func() error { return work(within, k) })
	}
	return cmp.Or(group.Wait(), ctx.Err())
}

// check makes the copies of each picture, and asks for them.
func (b *accuracy) check(ctx context.Context) error {
	kinds := b.copier.kinds()
	b.tally = newTally(len(kinds), len(b.settings))
	bar := b.countdown(b.pictures, "pictures, each with its copies,")
	defer bar.end()
	return b.each(ctx, b.known[:b.pictures], func(ctx context.Context, k *knownPicture) error {
		defer bar.done()
		if k.entry < 0 {
			return nil
		}
		media, err := k.read(b.limits().Bytes)
		if err != nil {
			return err
		}
		mine := newTally(len(kinds), len(b.settings))
		var why error
		for c, err := range b.copier.copies(k.name, media.Data) {
			if err != nil {
				why = err
				break
			}
			if err := b.checkCopy(ctx, k, c, &mine); err != nil {
				return err
			}
		}
		if len(mine.hashTime) > 0 {
			mine.pictures = 1
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.tally.add(mine)
		if why != nil {
			b.skipped = append(b.skipped, skippedFile{k.name, why.Error()})
		}
		return ctx.Err()
	})
}

// checkCopy asks for one copy and counts what is found.
func (b *accuracy) checkCopy(ctx context.Context, k *knownPicture, c copiedPicture, t *tally) error {
	score := &t.edits[c.edit]
	score.copies++
	media, err := hashing.ReadMedia(bytes.NewReader(c.data), int64(len(c.data)))
	if err != nil {
		return err
	}
	begun := time.Now()
	p, err := b.lab.hasher.Picture(ctx, c.data)
	took := time.Since(begun)
	if _, bad := hashing.AsMediaError(err); bad || err == nil && p.Unhashable != "" {
		score.unhashable++
		for i := range score.levels {
			score.levels[i][matcher.None]++
		}
		return nil
	} else if err != nil {
		return err
	}
	answers, search, err := b.lab.check(ctx, media, p)
	if err != nil {
		return err
	}
	t.hashTime = append(t.hashTime, milliseconds(took))
	t.searchTime = append(t.searchTime, milliseconds(search))
	t.searches = append(t.searches, float64(len(p.Queries)))

	for i, a := range answers {
		own := matcher.None
		for _, f := range a.found {
			switch place := b.entryOf[i][f.Entry]; {
			case place == k.entry:
				own = f.Level
			case !b.related.has(k.entry, place):
				score.wrong[i][f.Level]++
			}
		}
		if a.cut {
			t.cut++
		}
		score.levels[i][own]++
	}
	found := map[int]matcher.Found{}
	for _, f := range answers[0].found {
		found[b.entryOf[0][f.Entry]] = f
	}
	for place, e := range b.entries {
		if b.related.has(k.entry, place) {
			continue
		}
		d, q, r := closest(p.Queries, e.rows)
		t.tail[d]++
		f, wrong := found[place]
		if d > tailListed && !wrong {
			continue
		}
		near := nearPair{copies: 1, distance: d, edit: c.edit, level: f.Level, transform: q.Transform, variant: q.Signal.Variant, row: r.Variant}
		pair := [2]int{k.entry, place}
		if old, ok := t.near[pair]; ok {
			near = old.with(near)
		}
		t.near[pair] = near
	}
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// tailListed is the distance up to which unrelated pairs are remembered one by one.
const tailListed = 90

// nearPair is a picture and an unrelated entry, of which a copy came near.
type nearPair struct {
	copies    int // that came so near that they are remembered
	distance  int // the least
	edit      int
	level     matcher.Level // the highest
	transform hashing.Transform
	variant   hashing.Variant // of the copy
	row       hashing.Variant // of the entry
}

func (n nearPair) with(o nearPair) nearPair {
	nearer := n
	if o.distance < n.distance || o.distance == n.distance && o.edit < n.edit {
		nearer = o
	}
	nearer.copies, nearer.level = n.copies+o.copies, max(n.level, o.level)
	return nearer
}

// tally is what was counted; add puts two of them together.
type tally struct {
	pictures   int // of which copies were checked
	edits      []editTally
	tail       tail
	near       map[[2]int]nearPair
	cut        int // answers that did not list all
	hashTime   []float64
	searchTime []float64
	searches   []float64
}

// editTally counts the copies of one edit; by setting and level what was found of their own entry, and
// how often unrelated entries were found.
type editTally struct {
	copies, unhashable int
	levels, wrong      [][matcher.Match + 1]int
}

func newTally(edits, settings int) tally {
	t := tally{edits: make([]editTally, edits), near: map[[2]int]nearPair{}}
	for i := range t.edits {
		t.edits[i].levels = make([][matcher.Match + 1]int, settings)
		t.edits[i].wrong = make([][matcher.Match + 1]int, settings)
	}
	return t
}

func (t *tally) add(o tally) {
	for i := range t.edits {
		to, from := &t.edits[i], &o.edits[i]
		to.copies += from.copies
		to.unhashable += from.unhashable
		for s := range to.levels {
			for l := range to.levels[s] {
				to.levels[s][l] += from.levels[s][l]
				to.wrong[s][l] += from.wrong[s][l]
			}
		}
	}
	for d := range t.tail {
		t.tail[d] += o.tail[d]
	}
	for pair, n := range o.near {
		if old, ok := t.near[pair]; ok {
			n = old.with(n)
		}
		t.near[pair] = n
	}
	t.pictures += o.pictures
	t.cut += o.cut
	t.hashTime = append(t.hashTime, o.hashTime...)
	t.searchTime = append(t.searchTime, o.searchTime...)
	t.searches = append(t.searches, o.searches...)
}
