package matcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"vigie/storage"
	"vigie/storage/history"
	"vigie/storage/jobs"
)

// Past uploads end when their time has passed, or when their party has them erased, by name. Each node does so with its journal and its
// window, and with files that are its own. Files that nodes share are tended by one job at a time, whoever does it:
//
//   - A node first has what it was given sealed, and lets go of it. Then it asks for the job, and has erased when the job has: so it goes
//     through that again if it is restarted in between, when it may have read a file that had the upload still.
//   - The job erases from the files of all nodes, so that those of a node that is gone are rid of it, too. A node that was down asks
//     for it when it is back: what it seals then may have what others erased long before.
//
// How far each node has erased is in the catalogue, under [ofFiles] how far all files were gone through on its behalf, and under [byOthers]
// how far its files were on behalf of others, so that those of a node that is gone are not gone through for the same again and again.

// UploadsJob is the kind of the jobs that erase from files of the history that nodes share, and remove those whose time has passed.
const UploadsJob = "uploads"

const (
	uploadsTime  = 30 * time.Minute // of a job
	uploadsPause = time.Minute      // before it is tried again
	// uploadsKey is the key of all jobs: two that write the same file anew would undo each other's work. What is not enqueued, because
	// another one is about to end, is asked for again.
	uploadsKey   = "files"
	erasers      = 8 // files that are written anew at a time; it is a network that is waited for
	eraseEvery   = 10 * time.Second
	erasePending = time.Second // a job was asked for
	expireEvery  = time.Hour
	// keepErasures is how long a node may be down and still erase what it is to.
	keepErasures = 90 * 24 * time.Hour
)

// uploadsArgs are those of a job. Without a node it removes files whose time has passed.
type uploadsArgs struct {
	Node string `json:"node,omitempty"` // that asks
	Last uint64 `json:"last,omitempty"` // erasure up to which it has sealed all that it was given before
}

// ofFiles is the name under which the catalogue has how far all files were gone through after a node had sealed what it was given.
func ofFiles(node string) string { return "files of " + node }

// byOthers is the name under which it has how far a node's files were gone through, of which others may come when that node is back.
func byOthers(node string) string { return "files of " + node + " by others" }

// UploadsHandler does the jobs that tend the files of the history. One that fails is told of, and tried again for as long as it takes: no
// other is done meanwhile.
func (m *Matcher) UploadsHandler() jobs.Handler {
	return jobs.Handler{Timeout: uploadsTime, Do: func(ctx context.Context, r jobs.Run) error {
		var a uploadsArgs
		if err := json.Unmarshal(r.Args, &a); err != nil {
			return jobs.Never(errors.New("the job cannot be read"))
		}
		if m.o.History == nil || !m.o.History.Shared() {
			return jobs.Later(time.Minute) // another process may have them
		}
		if m.follower.State() == nil {
			return jobs.Later(time.Second)
		}
		err := m.tendFiles(ctx, a)
		if err == nil || errors.Is(ctx.Err(), context.Canceled) {
			return err
		}
		m.fault(fmt.Errorf("tend the files of past uploads: %w", err))
		return jobs.Later(uploadsPause)
	}}
}

// tendFiles does a job. What has had its time goes first, whatever keeps uploads from being erased.
func (m *Matcher) tendFiles(ctx context.Context, a uploadsArgs) (err error) {
	if keep, ok := m.keepUploads(); ok {
		err = m.o.History.ExpireFiles(ctx, keep)
	}
	if a.Node != "" {
		err = errors.Join(err, m.eraseFromFiles(ctx, a))
	}
	return err
}

// keepUploads is how long each party keeps its uploads; not ok as long as the parties are not known.
func (m *Matcher) keepUploads() (keep func(storage.PartyID) time.Duration, ok bool) {
	state := m.follower.State()
	if state == nil {
		return nil, false
	}
	return func(id storage.PartyID) time.Duration {
		p, ok := state.Parties[id]
		if !ok { // a catalogue that was restored may not know it any more
			return maxHistoryDays * 24 * time.Hour
		}
		return time.Duration(p.HistoryDays) * 24 * time.Hour
	}, true
}

// expireUploads removes from the history what is older than its party keeps it; of one that keeps none any more, all.
func (m *Matcher) expireUploads(ctx context.Context) error {
	if m.o.History == nil {
		return nil
	}
	if keep, ok := m.keepUploads(); ok {
		return m.o.History.Expire(ctx, keep)
	}
	return nil
}

// ender ends past uploads, on behalf of a node.
type ender struct {
	m      *Matcher
	engine jobs.Engine // nil: jobs are done at once
	// dropped is the erasure up to which this process has sealed, and let go of what it had in memory; of one that was noted it has the
	// number alone.
	dropped storage.Erasure
}

// runErase carries erasures out until ctx ends.
func (e *ender) runErase(ctx context.Context) {
	const looks = int(eraseEvery / erasePending)
	for look := 0; ctx.Err() == nil; {
		pending, err := e.erase(ctx, look%looks == 0) // a job that is pending is no reason to seal, in tiny files, more often
		e.tell(ctx, err)
		if pending && err == nil {
			look++
			pause(ctx, erasePending)
		} else {
			look = 0
			pause(ctx, eraseEvery)
		}
	}
}

// runExpire has files that nodes share removed when their time has passed, until ctx ends.
func (e *ender) runExpire(ctx context.Context) {
	var asked time.Time
	for e.m.o.History.Shared() && ctx.Err() == nil {
		if e.m.o.Now().Sub(asked) >= expireEvery {
			err := e.ask(ctx, uploadsArgs{})
			if e.tell(ctx, err); err == nil {
				asked = e.m.o.Now()
			}
		}
		pause(ctx, eraseEvery)
	}
}

func (e *ender) tell(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		e.m.fault(fmt.Errorf("erase past uploads: %w", err))
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// ask has a job done.
func (e *ender) ask(ctx context.Context, a uploadsArgs) error {
	if e.engine == nil {
		return e.m.tendFiles(ctx, a)
	}
	text, _ := json.Marshal(a) // plain struct: cannot fail
	return e.engine.Enqueue(ctx, jobs.Job{Kind: UploadsJob, Key: uploadsKey, Args: text})
}

// erase erases from this node's history what is to be erased, with more also what came since, and notes how far it has; pending: a job is
// to do its part.
func (e *ender) erase(ctx context.Context, more bool) (pending bool, err error) {
	h := e.m.o.History
	var done, ofAll uint64
	known := false
	err = e.m.catalogue.View(ctx, func(r storage.Reader) (err error) {
		if done, err = r.Erased(h.Node()); err == nil {
			ofAll, err = r.Erased(ofFiles(h.Node()))
		}
		if err == nil && e.dropped.ID > done {
			known, err = hasErasure(r, e.dropped)
		}
		return err
	})
	if err != nil {
		return false, err
	}
	if !known { // it is noted; or the catalogue was set back, and numbers come again
		e.dropped = storage.Erasure{ID: done}
	}
	for more {
		page, err := e.m.erasures(ctx, e.dropped.ID)
		if err != nil {
			return false, err
		}
		if page.last.ID == 0 {
			break
		}
		for party := range page.of {
			if err := h.Erase(ctx, party, page.contents(party, 0)); err != nil {
				return false, err
			}
		}
		e.dropped = page.last
		if h.Shared() {
			continue
		}
		if err := e.note(ctx, e.dropped.ID); err != nil {
			return false, err
		}
	}
	if !h.Shared() || e.dropped.ID == done {
		return false, nil
	}
	if now := min(ofAll, e.dropped.ID); now > done {
		if err := e.note(ctx, now); err != nil || now == e.dropped.ID {
			return false, err
		}
	}
	return true, e.ask(ctx, uploadsArgs{h.Node(), e.dropped.ID})
}

// note notes how far this node has erased, unless the catalogue was set back meanwhile.
func (e *ender) note(ctx context.Context, id uint64) error {
	return e.m.catalogue.Update(ctx, func(w storage.Writer) error {
		known, err := hasErasure(w, e.dropped)
		if err == nil && known {
			err = w.SetErased(e.m.o.History.Node(), id)
		}
		return err
	})
}

// hasErasure reports whether the catalogue has an erasure: when it was set back, another one gets the same number.
func hasErasure(r storage.LookbackReader, e storage.Erasure) (bool, error) {
	page, err := r.Erasures(e.ID-1, 1)
	if err != nil || len(page) == 0 {
		return false, err
	}
	at := page[0].At
	page[0].At = e.At
	return page[0] == e && at.Equal(e.At), nil
}

// erasures are some that follow one another; last is zero if there are none.
type erasures struct {
	last storage.Erasure
	of   map[storage.PartyID][]storage.Erasure
}

// contents are the content ids of a party that are to be erased by what comes behind a number.
func (e erasures) contents(party storage.PartyID, after uint64) (ids []string) {
	for _, one := range e.of[party] {
		if one.ID > after {
			ids = append(ids, one.ContentID)
		}
	}
	return ids
}

// erasures reads those behind a number, some of them.
func (m *Matcher) erasures(ctx context.Context, after uint64) (e erasures, err error) {
	var page []storage.Erasure
	err = m.catalogue.View(ctx, func(r storage.Reader) (err error) {
		page, err = r.Erasures(after, storage.MaxRemoved)
		return err
	})
	e.of = map[storage.PartyID][]storage.Erasure{}
	for _, p := range page {
		e.last, e.of[p.Party] = p, append(e.of[p.Party], p)
	}
	return e, err
}

// sweep goes through the files of all nodes on behalf of one, and erases what they were not gone through for yet.
type sweep struct {
	m     *Matcher
	args  uploadsArgs
	noted uint64            // under ofFiles
	from  map[string]uint64 // by node, the erasure up to which its files were gone through when the sweep began
	files map[owner][]history.File
	away  atomic.Int32 // files that the store would not give or take
}

// owner is whose uploads a file has.
type owner struct {
	party storage.PartyID
	node  string
}

// errOvertaken: another attempt has noted something meanwhile.
var errOvertaken = errors.New("files were erased from by two at a time")

// eraseFromFiles erases from the files of all nodes, and notes after each page of erasures how far it is. What cannot be erased from one
// file keeps from that note, and no other file waits for it.
//
// Two attempts may overlap, if one stood still for long, and undo each other's work. Whoever comes to a note second sees that the
// other one has noted its own meanwhile, and goes through all of it once more.
func (m *Matcher) eraseFromFiles(ctx context.Context, a uploadsArgs) (err error) {
	s := &sweep{m: m, args: a, from: map[string]uint64{}}
	for {
		if s.noted, err = m.goneThrough(ctx, a.Node, ofFiles(a.Node)); err != nil || len(s.from) == 0 && s.noted >= a.Last {
			return err
		}
		if err = s.run(ctx); !errors.Is(err, errOvertaken) {
			return err
		}
	}
}

// goneThrough is the last of the erasures that are noted under some names.
func (m *Matcher) goneThrough(ctx context.Context, names ...string) (id uint64, err error) {
	err = m.catalogue.View(ctx, func(r storage.Reader) error {
		for _, name := range names {
			one, err := r.Erased(name)
			if err != nil {
				return err
			}
			id = max(id, one)
		}
		return nil
	})
	return id, err
}

// run goes through all files once.
func (s *sweep) run(ctx context.Context) error {
	at, err := s.list(ctx)
	var faults error
	for err == nil {
		var page erasures
		if page, err = s.m.erasures(ctx, at); err != nil || page.last.ID == 0 {
			break
		}
		at = page.last.ID
		if fault := s.erase(ctx, page); fault != nil {
			faults = errors.Join(faults, fault)
			err = ctx.Err()
		}
		switch {
		case s.away.Load() > erasers:
			return faults
		case err == nil && faults == nil:
			err = s.note(ctx, page.last)
		}
	}
	return errors.Join(faults, err)
}

// list lists the files, and returns from which erasure on some are to be gone through. It keeps what is in from.
func (s *sweep) list(ctx context.Context) (at uint64, err error) {
	s.files, at = map[owner][]history.File{}, s.noted
	for f, err := range s.m.o.History.Files(ctx, history.Query{}) {
		if err != nil {
			return 0, err
		}
		if _, known := s.from[f.Node]; !known {
			names := []string{f.Node, ofFiles(f.Node)}
			if f.Node != s.args.Node { // whose own files others may not have seen
				names = append(names, byOthers(f.Node))
			}
			if s.from[f.Node], err = s.m.goneThrough(ctx, names...); err != nil {
				return 0, err
			}
		}
		whose := owner{f.Party, f.Node}
		s.files[whose] = append(s.files[whose], f)
		at = min(at, s.from[f.Node])
	}
	return at, nil
}

// erase erases from each file what it was not gone through for, and nothing else: who posts something again after its erasure has it kept.
// One file that fails does not keep the others; when several are not available the store is not.
func (s *sweep) erase(ctx context.Context, page erasures) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var g errgroup.Group
	g.SetLimit(erasers)
	for whose, files := range s.files {
		ids := page.contents(whose.party, s.from[whose.node])
		if len(ids) == 0 {
			continue
		}
		for _, f := range files {
			g.Go(func() error {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				err := s.m.o.History.EraseFile(ctx, f, ids)
				if errors.Is(err, storage.ErrUnavailable) && s.away.Add(1) > erasers {
					stop()
				}
				return err
			})
		}
	}
	return g.Wait()
}

// note notes that all files were gone through up to an erasure.
func (s *sweep) note(ctx context.Context, last storage.Erasure) error {
	mine := min(last.ID, s.args.Last)
	err := s.m.catalogue.Update(ctx, func(w storage.Writer) error {
		now, err := w.Erased(ofFiles(s.args.Node))
		if err != nil {
			return err
		}
		known, err := hasErasure(w, last)
		switch {
		case err != nil:
			return err
		case now > s.noted:
			return errOvertaken
		case !known:
			return errors.New("the erasures are others than they were: the catalogue was set back, or they are too old")
		}
		err = w.SetErased(ofFiles(s.args.Node), mine)
		for node, from := range s.from {
			if err == nil && node != s.args.Node && from < last.ID {
				err = w.SetErased(byOthers(node), last.ID)
			}
		}
		return err
	})
	if err == nil {
		s.noted = max(s.noted, mine)
	}
	return err
}
