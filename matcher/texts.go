package matcher

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vigie/index/text"
	"vigie/storage"
)

// Texts carries the log into the text index, in which analysts search: another projection, made of the catalogue again
// whenever its folder is of no use. One goroutine, [Texts.Run], writes; searches read beside it.
type Texts struct {
	catalogue storage.Catalogue
	dir       string
	fault     func(error)
	index     atomic.Pointer[openText] // nil while none is open
	replaced  atomic.Pointer[chan struct{}]
	wanted    chan struct{}
	want      sync.Once
	most      time.Duration // that one search may take
}

// longestSearch is how long one search may take. What people ask takes some hundredths of a second; what takes this long
// keeps a processor from others.
const longestSearch = 10 * time.Second

// openText is an index in use.
type openText struct {
	*text.Index
	filled atomic.Bool             // all that there was is in it
	lost   context.CancelCauseFunc // called by whoever finds it damaged
	stream time.Time               // when next has last applied several changes at once; its own
}

// textPause is how long changes are gathered after several were applied at once. What comes now and then is found at once;
// what comes in a stream, such as an import, would else be indexed in crumbs, which take several times the work to merge.
const (
	textPause = 250 * time.Millisecond
	several   = 16
)

// textsRule is the rule by which entries become documents. Who changes what of an entry is searched raises it, so that
// folders of an earlier rule are filled again.
const textsRule = 1

// NewTexts makes a text index of the catalogue in a folder. fault is told what goes wrong while it follows; it may be nil.
// Nothing is done before it is wanted: by [Texts.Want], or a search.
func NewTexts(c storage.Catalogue, dir string, fault func(error)) *Texts {
	if fault == nil {
		fault = func(error) {}
	}
	t := &Texts{catalogue: c, dir: dir, fault: fault, wanted: make(chan struct{}), most: longestSearch}
	next := make(chan struct{})
	t.replaced.Store(&next)
	return t
}

// Want lets [Texts.Run] begin.
func (t *Texts) Want() { t.want.Do(func() { close(t.wanted) }) }

// Run fills the index and follows the log until ctx ends; then it closes the index, and returns ctx's error. Faults are
// reported and tried again, at least every 30 seconds; meanwhile what there is answers. An index that turns out to be
// damaged is opened anew, which fills it again. It is to be called once.
func (t *Texts) Run(ctx context.Context) error {
	defer t.close()
	select {
	case <-t.wanted:
	case <-ctx.Done():
		return ctx.Err()
	}
	for wait := time.Duration(0); ; wait = min(max(2*wait, 100*time.Millisecond), 30*time.Second) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		before := t.seq()
		err := t.follow(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.fault(fmt.Errorf("follow the log into the text index: %w", err))
		if t.seq() > before {
			wait = 0
		}
		if errors.Is(err, text.ErrDamaged) || errors.Is(err, errOtherLog) {
			t.close()
		}
	}
}

// seq is up to which change the index goes; 0 while none is open.
func (t *Texts) seq() uint64 {
	if x := t.index.Load(); x != nil {
		return x.Mark().Seq
	}
	return 0
}

func (t *Texts) close() {
	if x := t.index.Swap(nil); x != nil {
		if err := x.Close(); err != nil {
			t.fault(fmt.Errorf("close the text index: %w", err))
		}
	}
}

// follow opens the index if it is not open, fills it if it is empty, and applies page after page until something fails.
func (t *Texts) follow(ctx context.Context) (err error) {
	ctx, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	defer func() {
		if cause := context.Cause(ctx); cause != nil {
			err = cause // rather than what it interrupted
		}
	}()
	head, err := t.catalogue.Head(ctx)
	if err != nil {
		return err
	}
	x := &openText{lost: lost}
	if had := t.index.Load(); had != nil {
		x.Index = had.Index
		x.filled.Store(had.filled.Load())
	} else if x.Index, err = t.open(ctx, head); err != nil {
		return err
	}
	t.index.Store(x)
	if !x.filled.Load() && x.Mark().Seq == 0 {
		if err := t.fill(ctx, x, head); err != nil {
			return err
		}
	}
	x.filled.Store(true)
	t.announce()
	for {
		if err := t.next(ctx, x); err != nil {
			return err
		}
	}
}

// open opens the index in the folder. If it is of another state of the log, such as that before an older backup took its
// place, it is emptied.
func (t *Texts) open(ctx context.Context, head storage.Head) (*text.Index, error) {
	o := text.Options{LogID: textLog(head), Head: head.Seq}
	x, err := text.Open(t.dir, o)
	if err != nil {
		return nil, err
	}
	mark := x.Mark()
	if mark.Seq == 0 {
		return x, nil
	}
	want, err := markOf(ctx, t.catalogue, mark.Seq)
	if err != nil || want.Root == mark.Root {
		return x, err
	}
	t.fault(fmt.Errorf("the text index is of another state of the log as of change %d, and is made of the catalogue again", mark.Seq))
	if err := x.Close(); err != nil {
		return nil, err
	}
	o.Head = 0 // of what the two have in common, as far as is known: an index that goes beyond is emptied
	return text.Open(t.dir, o)
}

// textLog names the log, and the rule, that an index is of.
func textLog(h storage.Head) string { return fmt.Sprintf("%s texts %d", h.LogID, textsRule) }

func rootText(root storage.Hash) string { return fmt.Sprintf("%x", root) }

// fill indexes all entries. They are read page by page, as of then: what changes meanwhile is beyond head, and is followed
// afterwards. The mark moves when all is there, so that a fill which is cut short begins again.
func (t *Texts) fill(ctx context.Context, x *openText, head storage.Head) error {
	for after := storage.EntryID(0); ; {
		var docs []text.Document
		last := false
		err := t.catalogue.View(ctx, func(r storage.Reader) error {
			docs, last = docs[:0], false
			for from := after; len(docs) < pageSize && !last; {
				run, err := r.Entries(storage.EntryQuery{After: from, Limit: wholeEntries})
				if err != nil {
					return err
				}
				for _, e := range run {
					docs, from = append(docs, document(e)), e.ID
				}
				last = len(run) < wholeEntries
			}
			return nil
		})
		if err != nil {
			return err
		}
		mark := text.Mark{LogID: textLog(head)}
		if last {
			mark.Seq, mark.Root = head.Seq, rootText(head.Root)
		}
		if len(docs) > 0 {
			after = storage.EntryID(docs[len(docs)-1].Entry)
		}
		if err := x.Apply(ctx, mark, docs, nil); err != nil || last {
			return err
		}
	}
}

// next waits for changes and applies a page of them. Of an entry, what is indexed is its present state.
func (t *Texts) next(ctx context.Context, x *openText) error {
	mark := x.Mark()
	if mark.LogID == "" {
		return fmt.Errorf("%w: its mark cannot be read", text.ErrDamaged)
	}
	at := point{logID: strings.TrimSuffix(mark.LogID, textLog(storage.Head{})), seq: mark.Seq}
	if root, err := hex.DecodeString(mark.Root); err == nil && len(root) == len(at.root) {
		at.root = storage.Hash(root)
	}
	head, err := at.look(ctx, t.catalogue, func() {})
	if err != nil {
		return err
	}
	if rest := textPause - time.Since(x.stream); rest > 0 && head.Seq < mark.Seq+pageSize {
		select {
		case <-time.After(rest):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	changes, err := at.changes(ctx, t.catalogue, pageSize)
	if err != nil {
		return err
	}
	var ids []storage.EntryID
	for _, c := range changes {
		if mark.Seq++; c.Seq != mark.Seq {
			return fmt.Errorf("%w: change %d stands where %d should", storage.ErrCorrupt, c.Seq, mark.Seq)
		}
		if mark.Root = rootText(c.Root); c.Kind.Subject() == "entry" {
			ids = append(ids, c.Entry)
		}
	}
	if len(changes) == 0 {
		if head.Seq > mark.Seq {
			return fmt.Errorf("%w: the log ends with change %d, its head says %d", storage.ErrCorrupt, mark.Seq, head.Seq)
		}
		return nil
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	docs := make([]text.Document, 0, len(ids))
	err = t.catalogue.View(ctx, func(r storage.Reader) error {
		docs = docs[:0]
		return entriesOf(r, ids, func(e storage.Entry) { docs = append(docs, document(e)) })
	})
	if err != nil {
		return err
	}
	if err := x.Apply(ctx, mark, docs, nil); err != nil {
		return err
	}
	if len(changes) >= several {
		x.stream = time.Now()
	}
	t.announce()
	return nil
}

// wholeEntries is how many entries are in memory at once with all their signals, which of a long video are 10,000 frames.
const wholeEntries = 50

// entriesOf reads entries by their numbers, which are sorted and each there once. Those without a gap between them, as an
// import adds them, are read together, up to wholeEntries.
func entriesOf(r storage.Reader, ids []storage.EntryID, each func(storage.Entry)) error {
	for len(ids) > 0 {
		n := 1
		for n < min(len(ids), wholeEntries) && ids[n] == ids[n-1]+1 {
			n++
		}
		page, err := r.Entries(storage.EntryQuery{After: ids[0] - 1, Limit: n})
		if err != nil {
			return err
		}
		for i, id := range ids[:n] {
			if i >= len(page) || page[i].ID != id {
				return fmt.Errorf("entry %d: %w", id, storage.ErrNotFound)
			}
			each(page[i])
		}
		ids = ids[n:]
	}
	return nil
}

// announce wakes those who wait for more.
func (t *Texts) announce() {
	next := make(chan struct{})
	close(*t.replaced.Swap(&next))
}

// document is what analysts search of an entry.
func document(e storage.Entry) text.Document {
	d := text.Document{
		Entry: uint64(e.ID), Bank: uint32(e.Bank), Status: string(e.Status), Note: e.Note, Labels: e.Labels,
		Reason: e.Reason, CreatedAt: e.CreatedAt,
	}
	for _, s := range e.Sources {
		for _, part := range []string{s.Origin, s.Actor, s.List, s.Foreign} {
			if part != "" && !slices.Contains(d.Sources, part) {
				d.Sources = append(d.Sources, part)
			}
		}
	}
	return d
}

// State is how the index stands; ok is false before it is open. Documents and mark are those of a part of the catalogue
// while it is Rebuilding for the first time.
func (t *Texts) State() (s text.State, ok bool) {
	x := t.index.Load()
	if x == nil {
		return text.State{}, false
	}
	s, err := x.State()
	s.Rebuilding = s.Rebuilding || !x.filled.Load()
	return s, err == nil
}

// search asks the index as soon as all that there was is in it, and change seq, unless late comes first. ErrIndexBehind,
// ErrNotReady, [*text.QueryError]; context.DeadlineExceeded if it takes longer than it may.
func (t *Texts) search(ctx context.Context, q text.Query, seq uint64, late <-chan time.Time) (text.Result, error) {
	t.Want()
	for {
		replaced := *t.replaced.Load()
		x := t.index.Load()
		if x != nil && x.filled.Load() && x.Mark().Seq >= seq {
			limited, cancel := context.WithTimeout(ctx, t.most)
			r, err := x.Search(limited, q)
			cancel()
			if errors.Is(err, text.ErrDamaged) {
				x.lost(err)
			}
			if errors.Is(err, text.ErrClosed) || errors.Is(err, text.ErrDamaged) {
				err = fmt.Errorf("%w: %w", ErrNotReady, err)
			}
			return r, err
		}
		select {
		case <-replaced:
		case <-ctx.Done():
			return text.Result{}, ctx.Err()
		case <-late:
			if x == nil || !x.filled.Load() {
				return text.Result{}, fmt.Errorf("%w: the text index is being made of the catalogue", ErrNotReady)
			}
			return text.Result{}, fmt.Errorf("%w: change %d is asked for, %d is in the text index", ErrIndexBehind, seq, x.Mark().Seq)
		}
	}
}

// TextQuery is a search among the entries that who may read; Text.Banks is set by the matcher.
type TextQuery struct {
	Text   text.Query
	Bank   string // only of this bank
	MinSeq uint64 // answer only from an index that has seen this change
}

// TextFound answers a search: the entries as they are now, in the order of Hits. An entry that was changed since may not
// fit any more.
type TextFound struct {
	text.Result
	Entries []storage.Entry
}

// SearchText finds entries by what people wrote of them. Who may read what is told by this node's state, which has seen
// MinSeq too. ErrNotReady, ErrIndexBehind, ErrBeyondHead, ErrUnknownBank, [*text.QueryError]; context.DeadlineExceeded if
// it takes longer than ten seconds.
func (m *Matcher) SearchText(ctx context.Context, who Principal, q TextQuery) (found TextFound, err error) {
	if m.o.Texts == nil {
		return found, fmt.Errorf("%w: this node has no text index", ErrNotReady)
	}
	late := time.NewTimer(m.o.Patience)
	defer late.Stop()
	if q.MinSeq > 0 {
		if _, err := m.stateAt(ctx, q.MinSeq); err != nil {
			return found, err
		}
	}
	readable, all, err := m.Readable(who)
	if err != nil {
		return found, err
	}
	q.Text.Banks = nil
	if !all {
		q.Text.Banks = make([]uint32, len(readable))
		for i, b := range readable {
			q.Text.Banks[i] = uint32(b)
		}
	}
	if q.Bank != "" {
		b, err := m.Bank(ctx, who, q.Bank)
		if err != nil {
			return found, err
		}
		q.Text.Banks = []uint32{uint32(b.ID)}
	}
	if found.Result, err = m.o.Texts.search(ctx, q.Text, q.MinSeq, late.C); err != nil {
		return found, err
	}
	err = m.catalogue.View(ctx, func(r storage.Reader) error {
		found.Entries = found.Entries[:0]
		for _, h := range found.Hits {
			e, err := r.Entry(storage.EntryID(h.Entry))
			if err != nil {
				return err
			}
			found.Entries = append(found.Entries, e)
		}
		return nil
	})
	return found, err
}
