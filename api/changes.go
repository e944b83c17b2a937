package api

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	v1 "vigie/api/v1"
	"vigie/matcher"
	"vigie/storage"
)

// The feed of changes is the log as its reader may see it, up to what this node's index has seen. A stream holds no more
// than a page in memory, and reads the log at its reader's pace: who is slow delays nobody.

const (
	eventStream = "text/event-stream"
	feedPage    = 500  // changes that a stream reads at a time
	maxStreams  = 1000 // at a time
)

// feed is one reader of the log.
type feed struct {
	who   matcher.Principal
	bank  storage.BankID // 0: all
	logID string         // empty: whichever there is
	after uint64
}

// ListChanges answers GET /v1/changes.
func (s *Server) ListChanges(ctx context.Context, r v1.ListChangesRequestObject) (v1.ListChangesResponseObject, error) {
	f, err := s.feed(ctx, r.Params)
	if err != nil {
		return nil, err
	}
	if strings.Contains(strings.ToLower(or(r.Params.Accept, "")), eventStream) {
		if !s.streams.TryAcquire(1) {
			return nil, refuse(pBusy, "%d readers follow the log already", maxStreams)
		}
		return stream{ctx: ctx, server: s, feed: f}, nil
	}
	changes, head, err := s.read(ctx, &f, or(r.Params.Limit, 100))
	if wait := or(r.Params.Wait, 0); err == nil && len(changes) == 0 && wait > 0 {
		changes, head, err = s.poll(ctx, &f, or(r.Params.Limit, 100), time.Duration(wait)*time.Second)
	}
	if err != nil {
		return nil, err
	}
	out := v1.ListChanges200JSONResponse{
		LogId: head.LogID, Head: v1.Head{Seq: int64(head.Seq), Root: hex.EncodeToString(head.Root[:])},
		Next: int64(f.after), Changes: []v1.Change{},
	}
	for _, c := range changes {
		out.Changes = append(out.Changes, changeOut(c))
	}
	return out, nil
}

// feed reads where a reader stands and what it wants, and holds its cursor against the log.
func (s *Server) feed(ctx context.Context, p v1.ListChangesParams) (feed, error) {
	f := feed{who: who(ctx), logID: or(p.LogId, ""), after: uint64(or(p.After, 0))}
	if last := or(p.LastEventID, ""); last != "" {
		log, seq, _ := strings.Cut(last, ":")
		n, err := strconv.ParseUint(seq, 10, 63)
		if err != nil || log == "" {
			return f, refuse(pInvalid, "Last-Event-ID %q; accepted is the id of an event, <log_id>:<seq>", last)
		}
		f.logID, f.after = log, n
	}
	if name := or(p.Bank, ""); name != "" {
		b, err := s.matcher.Bank(ctx, f.who, name)
		if err != nil {
			return f, err
		}
		f.bank = b.ID
	}
	head, err := s.catalogue.Head(ctx)
	if err != nil {
		return f, err
	}
	if err := f.in(head); err != nil {
		return f, err
	}
	if root := or(p.Root, ""); root != "" && f.after > 0 {
		at, err := s.catalogue.Changes(ctx, f.after-1, 1)
		if err != nil {
			return f, err
		}
		if len(at) == 0 || hex.EncodeToString(at[0].Root[:]) != root {
			return f, refuse(pLogChanged, "the root at %d is another one", f.after)
		}
	}
	return f, nil
}

// in is an error if the feed's cursor is not of the log with this head.
func (f feed) in(head storage.Head) error {
	switch {
	case f.logID != "" && f.logID != head.LogID:
		return refuse(pLogChanged, "the cursor is of log %.64s, this is %s", f.logID, head.LogID)
	case f.after > head.Seq:
		return refuse(pLogChanged, "the cursor is at %d, the log ends with %d", f.after, head.Seq)
	}
	return nil
}

// read returns at most limit changes of those that follow the feed's cursor, and moves it on to the last one that it
// looked at. The head is that of the log.
func (s *Server) read(ctx context.Context, f *feed, limit int) ([]storage.Change, storage.Head, error) {
	head, err := s.catalogue.Head(ctx)
	if err != nil {
		return nil, head, err
	}
	if err := f.in(head); err != nil {
		return nil, head, err
	}
	f.logID = head.LogID
	for f.after < head.Seq {
		changes, err := s.catalogue.Changes(ctx, f.after, limit)
		if err != nil || len(changes) == 0 {
			return nil, head, err
		}
		// Rights are known as of the state that the index has: what is newer has to wait for it.
		if err := s.matcher.Await(ctx, min(head.Seq, changes[len(changes)-1].Seq)); err != nil && !errors.Is(err, matcher.ErrIndexBehind) {
			return nil, head, err
		}
		state := s.matcher.Follower().State()
		if state == nil {
			return nil, head, matcher.ErrNotReady
		}
		seen := []storage.Change{}
		before := f.after
		for _, c := range changes {
			if c.Seq > state.Seq {
				break
			}
			f.after = c.Seq
			if f.bank == 0 {
				seen = append(seen, state.Redact(f.who, c))
			} else if c.Bank == f.bank && state.MayRead(f.who, c) {
				seen = append(seen, c)
			}
		}
		if len(seen) > 0 || f.after == before {
			return seen, head, nil
		}
	}
	return nil, head, nil
}

// poll reads until there is something, at most for a while.
func (s *Server) poll(ctx context.Context, f *feed, limit int, patience time.Duration) ([]storage.Change, storage.Head, error) {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if err := s.standing(ctx); err != nil {
			return nil, storage.Head{}, err
		}
		part, done := context.WithTimeout(waiting, time.Second) // so that a key that is revoked meanwhile is noticed
		err := s.matcher.Follower().Await(part, f.after+1)
		done()
		if ctx.Err() != nil {
			return nil, storage.Head{}, ctx.Err()
		}
		if err != nil && waiting.Err() == nil {
			continue
		}
		changes, head, err := s.read(ctx, f, limit)
		if err != nil || len(changes) > 0 || waiting.Err() != nil {
			return changes, head, err
		}
	}
}

// stream writes changes as Server-Sent Events (WHATWG HTML, 9.2).
type stream struct {
	ctx    context.Context //nolint:containedctx // lives as long as the one call that writes the answer
	server *Server
	feed   feed
}

// VisitListChangesResponse writes events until the reader goes, is too slow, or may not read on.
func (t stream) VisitListChangesResponse(w http.ResponseWriter) error {
	s := t.server
	defer s.streams.Release(1)
	control := http.NewResponseController(w)
	h := w.Header()
	h.Set("Content-Type", eventStream)
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	w.WriteHeader(http.StatusOK)
	// send writes all of it before the deadline, or cuts the reader off.
	send := func(text []byte) error {
		_ = control.SetWriteDeadline(time.Now().Add(s.o.BodyTime))
		if _, err := w.Write(text); err != nil {
			return err
		}
		return control.Flush()
	}
	if err := send([]byte("retry: 2000\n\n")); err != nil {
		return err
	}
	var events bytes.Buffer
	for {
		changes, _, err := s.poll(t.ctx, &t.feed, feedPage, s.o.Heartbeat)
		if err != nil {
			if t.ctx.Err() != nil {
				return t.ctx.Err()
			}
			p, _ := json.Marshal(document(err, ""))
			return send(fmt.Appendf(nil, "event: problem\ndata: %s\n\n", p))
		}
		events.Reset()
		for _, c := range changes {
			name := "change"
			if c.Kind == storage.Redacted {
				name = string(storage.Redacted)
			}
			data, err := json.Marshal(changeOut(c))
			if err != nil {
				return err
			}
			fmt.Fprintf(&events, "id: %s:%d\nevent: %s\ndata: %s\n\n", t.feed.logID, c.Seq, name, data)
		}
		// An id without data moves a reader's cursor over what is left out, and shows that the line is alive.
		fmt.Fprintf(&events, "id: %s:%d\n\n", t.feed.logID, t.feed.after)
		if err := send(events.Bytes()); err != nil {
			return err
		}
	}
}
