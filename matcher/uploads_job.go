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

// UploadsJob is the kind of the jobs that erase from files of the history that nodes share, and remove those whose time has passed.
const UploadsJob = "uploads"

const (
	uploadsTime  = 30 * time.Minute // of a job
	uploadsPause = time.Minute      // before it is tried again
	erasers      = 8                // files that are written anew at a time; it is a network that is waited for
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
