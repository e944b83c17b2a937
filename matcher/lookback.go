package matcher

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"vigie/storage"
	"vigie/storage/history"
	"vigie/storage/jobs"
)

// Look-back finds what was uploaded before an entry was known. The change that makes an entry active says so (Lookback): a flag, a
// confirmation, a restoration; not a list, which may have a million. Then
//
//   - every node searches its own window, when it has the entry. A check that began before that put its upload there before it
//     asked ([Matcher.keepUpload]), so that one of the two finds the other;
//   - the first node to see the change enqueues a job for the files, of all nodes;
//   - a node that sees it late, since it was down or cut off, has moved uploads from its window to files meanwhile, perhaps
//     behind the back of that job: it enqueues another one, for its own files.
//
// How far each node has looked is in the catalogue, behind what it did: who dies in between looks again. What is found twice is
// told once: the catalogue keeps one match of an entry and an upload.

// LookbackJob is the kind of the jobs that search files.
const LookbackJob = "lookback"

const (
	lookbackTime  = 10 * time.Minute // of a job
	late          = time.Minute      // after which a node takes a change for one that it has slept through
	lookedEvery   = 10 * time.Second // how far a node has looked is noted
	lookbackRetry = 5 * time.Second
	filesAtATime  = 8  // of a place that nodes share: most of the time a network is waited for
	lookbackBatch = 16 // entries that a window is searched for at a time
)

// lookbackArgs are those of a job.
type lookbackArgs struct {
	Entry storage.EntryID `json:"entry"`
	Bank  storage.BankID  `json:"bank"`
	Seq   uint64          `json:"seq"`            // that the index must have seen
	Until int64           `json:"until"`          // uploads from before, in milliseconds
	Node  string          `json:"node,omitempty"` // only its files
	// Shared: the files are in a place that nodes share.
	Shared bool `json:"shared,omitempty"`
}

// argsOf are those for what a change made active.
func argsOf(c storage.Change, now time.Time) lookbackArgs {
	return lookbackArgs{Entry: c.Entry, Bank: c.Bank, Seq: c.Seq, Until: now.UnixMilli() + 1} // which is later, in milliseconds
}

func (a lookbackArgs) job() jobs.Job {
	text, _ := json.Marshal(a) // plain struct: cannot fail
	key := fmt.Sprintf("%d.%d", a.Entry, a.Seq)
	if a.Node != "" {
		key += "@" + a.Node
	}
	return jobs.Job{Kind: LookbackJob, Key: key, Args: text}
}

// LookbackHandler does the jobs that search the files of the history.
func (m *Matcher) LookbackHandler() jobs.Handler {
	return jobs.Handler{Do: m.lookThroughFiles, Timeout: lookbackTime}
}

// lookThroughFiles does a job.
func (m *Matcher) lookThroughFiles(ctx context.Context, r jobs.Run) error {
	var a lookbackArgs
	if err := json.Unmarshal(r.Args, &a); err != nil {
		return jobs.Never(errors.New("the job cannot be read"))
	}
	if m.o.History == nil || a.Shared && !m.o.History.Shared() {
		return jobs.Later(time.Minute) // another process may have them
	}
	if !m.follower.Has(a.Seq) {
		return jobs.Later(time.Second)
	}
	return m.searchFiles(ctx, a)
}

// searchFiles searches the files of all parties whose uploads are kept, several at a time.
func (m *Matcher) searchFiles(ctx context.Context, a lookbackArgs) error {
	s, ok := m.searchPast(m.follower.State(), []sought{{a.Entry, a.Bank}}, time.UnixMilli(a.Until))
	if !ok {
		return nil
	}
	g, some := errgroup.WithContext(ctx)
	g.SetLimit(max(1, runtime.GOMAXPROCS(0)/2)) // checks go first
	if m.o.History.Shared() {
		g.SetLimit(filesAtATime)
	}
	for f, err := range m.o.History.Files(some, s.query) {
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		if a.Node != "" && f.Node != a.Node || !s.state.keepsUploadsOf(f.Party) {
			continue
		}
		g.Go(func() error { return m.lookThroughFile(some, s, f) })
	}
	return g.Wait()
}

// lookThroughFile searches one file. A damaged one is told of, and does not keep the others from being searched.
func (m *Matcher) lookThroughFile(ctx context.Context, s *pastSearch, f history.File) error {
	hits, err := s.file(ctx, f)
	if errors.Is(err, storage.ErrCorrupt) || isCrowd(err) {
		m.fault(fmt.Errorf("look back in a file: %w", err))
		err = nil
	}
	if err != nil {
		return err
	}
	_, err = s.tell(ctx, hits)
	return err
}

// Looked is the change up to which this node has looked among its recent uploads, and had jobs made for older ones. ok is false until
// it is in the catalogue from where on it looks, which is when it begins to keep uploads: so whatever is kept is looked at.
func (m *Matcher) Looked() (seq uint64, ok bool) {
	next := m.looked.Load()
	return max(next, 1) - 1, next > 0
}

// LookBack follows the log and looks for new entries among past uploads until ctx ends; it returns ctx's error, or nil if the node has
// no history. It carries erasures out, too. engine has [Matcher.LookbackHandler] and [Matcher.UploadsHandler]; nil: the files are this
// node's alone, and it searches them itself. To be run once, on every node with a history.
func (m *Matcher) LookBack(ctx context.Context, engine jobs.Engine) error {
	if m.o.History == nil || m.o.Journal == nil {
		return nil
	}
	var ending sync.WaitGroup // which a store that is away keeps waiting
	defer ending.Wait()
	e := &ender{m: m, engine: engine}
	ending.Go(func() { e.runErase(ctx) })
	ending.Go(func() { e.runExpire(ctx) })
	l := &lookback{m: m, engine: engine, node: m.o.History.Node(), began: m.o.Now()}
	for {
		err := l.pass(ctx)
		if ctx.Err() != nil {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookbackRetry)
			defer cancel()
			_ = l.save(last) // else the next start looks again
			return ctx.Err()
		}
		wait := lookedEvery
		if err != nil {
			m.fault(fmt.Errorf("look back: %w", err))
			wait = lookbackRetry
		}
		waiting, cancel := context.WithTimeout(ctx, wait)
		if err != nil {
			<-waiting.Done()
		} else {
			_ = m.follower.Await(waiting, l.at+1)
		}
		cancel()
	}
}

// lookback is how far a node has looked.
type lookback struct {
	m      *Matcher
	engine jobs.Engine
	node   string
	began  time.Time

	moved bool // all files of this node are where others see them

	log   string // of which at, files and saved are; empty: they are not known yet
	at    uint64 // this node's
	files uint64 // of all nodes
	saved uint64 // at, in the catalogue
	when  time.Time
}

// pass looks for what the follower has seen since.
func (l *lookback) pass(ctx context.Context) error {
	if err := l.m.follower.Await(ctx, 0); err != nil {
		return err
	}
	state := l.m.follower.State()
	if state == nil || !l.m.follower.Has(state.Seq) {
		return nil // it is of another log, and is to be replaced
	}
	now := l.m.o.Now()                     // whatever is checked from now on knows the state
	if !l.moved && l.m.o.History.Moved() { // jobs may have missed files that were not where they looked: as if it had slept until now
		l.moved, l.log, l.began = true, "", now
	}
	if l.log != state.LogID || l.at > state.Seq {
		if err := l.begin(ctx, state); err != nil {
			return err
		}
	}
	for l.at < state.Seq && state.keepsUploads() {
		changes, err := l.m.catalogue.Changes(ctx, l.at, int(min(pageSize, state.Seq-l.at)))
		if err != nil {
			return err
		}
		if len(changes) == 0 {
			return fmt.Errorf("%w: the log ends with change %d", storage.ErrConflict, l.at)
		}
		if err := l.page(ctx, state, changes, now); err != nil {
			return err
		}
		l.at = changes[len(changes)-1].Seq
		l.m.looked.Store(l.at + 1)
		if now.Sub(l.when) >= lookedEvery {
			if err := l.save(ctx); err != nil {
				return err
			}
		}
	}
	l.at = max(l.at, state.Seq)
	l.m.looked.Store(l.at + 1)
	if now.Sub(l.when) < lookedEvery {
		return nil
	}
	return l.save(ctx)
}

// begin reads how far was looked in a log. A node that never has begins with the present: it had no uploads before. With files that nodes
// share it begins where these have been looked through, which may be earlier after a restore.
func (l *lookback) begin(ctx context.Context, state *State) error {
	l.log = ""
	err := l.m.catalogue.View(ctx, func(r storage.Reader) (err error) {
		if l.at, err = r.Looked(l.node); err == nil {
			l.files, err = r.Looked("")
		}
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		err = l.m.catalogue.Update(ctx, func(w storage.Writer) (err error) {
			if l.files, err = w.Looked(""); errors.Is(err, storage.ErrNotFound) {
				l.files, err = state.Seq, w.SetLooked("", state.Seq)
			}
			if err != nil {
				return err
			}
			if l.at, err = w.Looked(l.node); errors.Is(err, storage.ErrNotFound) {
				if l.at = state.Seq; l.engine != nil { // somebody has to look through the files of all
					l.at = min(l.at, l.files)
				}
				err = w.SetLooked(l.node, l.at)
			}
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("how far was looked: %w", err)
	}
	l.log, l.saved, l.when = state.LogID, l.at, l.m.o.Now()
	l.m.looked.Store(l.at + 1)
	return nil
}

// save notes how far this node has looked.
func (l *lookback) save(ctx context.Context) error {
	l.when = l.m.o.Now()
	if l.log == "" || l.at == l.saved || !l.moved {
		return nil
	}
	at := l.at
	err := l.m.catalogue.Update(ctx, func(w storage.Writer) error {
		if l.engine == nil {
			return w.SetLooked(l.node, at)
		}
		return cmp.Or(w.SetLooked(l.node, at), w.SetLooked("", at))
	})
	if err == nil {
		l.saved = at
	}
	return err
}

// marked is in the record of a change that says Lookback, and spares reading the signals of those that do not.
var marked = []byte(`"lookback":true`)

// page looks for the entries of some changes.
func (l *lookback) page(ctx context.Context, state *State, changes []storage.Change, now time.Time) error {
	var fresh []storage.Change
	for _, c := range changes {
		var body storage.EntryBody
		if c.Entry == 0 || !bytes.Contains(c.Body, marked) {
			continue
		}
		if err := json.Unmarshal(c.Body, &body); err != nil {
			return fmt.Errorf("%w: body of change %d: %w", storage.ErrCorrupt, c.Seq, err)
		}
		if body.Lookback && body.Status == storage.Active {
			fresh = append(fresh, c)
		}
	}
	for len(fresh) > 0 {
		some := fresh[:min(len(fresh), lookbackBatch)]
		if err := l.enqueue(ctx, some, now); err != nil {
			return err
		}
		if err := l.window(ctx, state, some, now); err != nil {
			return err
		}
		if l.engine == nil {
			for _, c := range some {
				if err := l.m.searchFiles(ctx, argsOf(c, now)); err != nil {
					return err
				}
			}
		}
		fresh = fresh[len(some):]
	}
	return nil
}

// window searches this node's window for some entries.
func (l *lookback) window(ctx context.Context, state *State, changes []storage.Change, now time.Time) error {
	var entries []sought
	for _, c := range changes {
		entries = append(entries, sought{c.Entry, c.Bank})
	}
	s, ok := l.m.searchPast(state, entries, now)
	if !ok {
		return nil
	}
	hits, err := s.window(ctx)
	if isCrowd(err) {
		l.m.fault(fmt.Errorf("look back for what changes %d to %d made active: %w", changes[0].Seq, changes[len(changes)-1].Seq, err))
		err = nil
	}
	if err != nil {
		return err
	}
	_, err = s.tell(ctx, hits)
	return err
}

// enqueue has files searched for some entries, and notes that it has: other nodes need not.
func (l *lookback) enqueue(ctx context.Context, changes []storage.Change, now time.Time) error {
	if l.engine == nil {
		return nil
	}
	if changes[len(changes)-1].Seq > l.files {
		err := l.m.catalogue.View(ctx, func(r storage.Reader) (err error) {
			l.files, err = r.Looked("")
			return err
		})
		if err != nil {
			return err
		}
	}
	var all []jobs.Job
	last := l.files
	for _, c := range changes {
		args := argsOf(c, now)
		args.Shared = l.m.o.History.Shared()
		if c.Seq > l.files {
			all, last = append(all, args.job()), c.Seq
		}
		if c.At.Before(l.began) || now.Sub(c.At) > late {
			args.Node = l.node
			all = append(all, args.job())
		}
	}
	if len(all) == 0 {
		return nil
	}
	if err := l.engine.Enqueue(ctx, all...); err != nil {
		return err
	}
	if last == l.files {
		return nil
	}
	l.files = last
	return l.m.catalogue.Update(ctx, func(w storage.Writer) error { return w.SetLooked("", last) })
}
