package matcher

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"vigie/storage"
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

const (
	// uploadsKey is the key of all jobs: two that write the same file anew would undo each other's work. What is not enqueued, because
	// another one is about to end, is asked for again.
	uploadsKey   = "files"
	eraseEvery   = 10 * time.Second
	erasePending = time.Second // a job was asked for
	expireEvery  = time.Hour
	// keepErasures is how long a node may be down and still erase what it is to.
	keepErasures = 90 * 24 * time.Hour
)

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
