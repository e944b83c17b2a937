package api

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	v1 "vigie/api/v1"
	"vigie/matcher"
	"vigie/storage"
)

// The feed of changes is the log as its reader may see it, up to what this node's index has seen. A stream holds no more
// than a page in memory, and reads the log at its reader's pace: who is slow delays nobody. Each page that is read, of a stream too,
// waits for its turn like any other request; those who wait for changes to come are counted.

const (
	eventStream = "text/event-stream"
	feedPage    = 500           // changes that a stream reads at a time
	feedScan    = 20 * feedPage // that a reader of one bank looks at before it is told how far that was

	mostReaders, mostReadersOfParty, mostReadersOfKey = 1000, 300, 100 // that wait for changes at a time
)

// feed is one reader of the log.
type feed struct {
	who   matcher.Principal
	bank  storage.BankID // 0: all
	logID string         // empty: whichever there is
	after uint64
	root  string // at after, as far as the reader knows it: some of its first digits
}

// cursorRoot is how many digits of a root a cursor has: enough that no other past has the same by chance.
const cursorRoot = 16

var cursorText = regexp.MustCompile(`^([^:]+):([0-9]+)(?::([0-9a-f]{16}))?$`)

// cursorAt names a place in a log, and what the log says up to there.
func cursorAt(logID string, seq uint64, root string) string {
	if seq == 0 {
		return logID + ":0"
	}
	return fmt.Sprintf("%s:%d:%.*s", logID, seq, cursorRoot, root)
}

// from has the feed go on from a cursor, whose root may be left out.
func (f *feed) from(cursor string) error {
	parts := cursorText.FindStringSubmatch(cursor)
	if parts == nil {
		return refuse(pInvalid, "cursor %.128q; accepted is that of a page, or the id of an event: <log_id>:<seq>:<root>", cursor)
	}
	seq, err := strconv.ParseUint(parts[2], 10, 63)
	if err != nil {
		return refuse(pInvalid, "cursor %.128q; its number is beyond any log", cursor)
	}
	f.logID, f.after, f.root = parts[1], seq, parts[3]
	return nil
}

// wantsEvents reports whether an Accept header asks for a stream.
func wantsEvents(accept string) bool { return strings.Contains(strings.ToLower(accept), eventStream) }

// ListChanges answers GET /v1/changes.
func (s *Server) ListChanges(ctx context.Context, r v1.ListChangesRequestObject) (v1.ListChangesResponseObject, error) {
	f, err := s.feed(ctx, r.Params)
	if err != nil {
		return nil, err
	}
	if wantsEvents(or(r.Params.Accept, "")) {
		leave, err := s.come(f.who)
		if err != nil {
			return nil, err
		}
		return stream{ctx: ctx, server: s, feed: f, leave: leave}, nil
	}
	limit := or(r.Params.Limit, 100)
	changes, head, err := s.read(ctx, &f, limit)
	if wait := or(r.Params.Wait, 0); err == nil && len(changes) == 0 && wait > 0 {
		leave, err := s.come(f.who)
		if err != nil {
			return nil, err
		}
		defer leave()
		changes, head, err = s.poll(ctx, &f, limit, time.Duration(wait)*time.Second)
		if err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	out := v1.ListChanges200JSONResponse{
		LogId: head.LogID, Head: v1.Head{Seq: int64(head.Seq), Root: hex.EncodeToString(head.Root[:])},
		Next: int64(f.after), Cursor: cursorAt(head.LogID, f.after, f.root), Changes: []v1.Change{},
	}
	for _, c := range changes {
		out.Changes = append(out.Changes, changeOut(c))
	}
	return out, nil
}

// readers are those who wait for changes, by their keys and parties. It is safe for concurrent use.
type readers struct {
	mu      sync.Mutex
	all     int
	ofKey   map[string]int
	ofParty map[storage.PartyID]int
}

// come counts one who is about to wait for changes until it leaves, or refuses it: one party leaves others room. The
// operator on this machine always has some.
func (s *Server) come(p matcher.Principal) (leave func(), err error) {
	r := &s.readers
	r.mu.Lock()
	defer r.mu.Unlock()
	tooMany := func(n int, whose string) error {
		if s.o.Metrics != nil {
			s.o.Metrics.limited.WithLabelValues("readers").Inc()
		}
		return limited(5*time.Second, fmt.Sprintf("%d readers wait for changes with %s already; one is enough for most", n, whose))
	}
	switch {
	case p.Actor == local:
	case r.ofKey[p.Actor] >= mostReadersOfKey:
		return nil, tooMany(mostReadersOfKey, "this key")
	case r.ofParty[p.Party] >= mostReadersOfParty:
		return nil, tooMany(mostReadersOfParty, "keys of this party")
	case r.all >= mostReaders:
		return nil, refuse(pBusy, "%d readers wait for changes already", mostReaders)
	}
	if r.ofKey == nil {
		r.ofKey, r.ofParty = map[string]int{}, map[storage.PartyID]int{}
	}
	count := func(n int) {
		r.all += n
		if r.ofKey[p.Actor] += n; r.ofKey[p.Actor] == 0 {
			delete(r.ofKey, p.Actor)
		}
		if r.ofParty[p.Party] += n; r.ofParty[p.Party] == 0 {
			delete(r.ofParty, p.Party)
		}
	}
	count(1)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		count(-1)
	}, nil
}

// feed reads where a reader stands and what it wants, and holds its cursor against the log.
func (s *Server) feed(ctx context.Context, p v1.ListChangesParams) (feed, error) {
	f := feed{who: who(ctx), after: uint64(or(p.After, 0))}
	for _, cursor := range []string{or(p.Cursor, ""), or(p.LastEventID, "")} { // the last one wins
		if cursor == "" {
			continue
		}
		if err := f.from(cursor); err != nil {
			return f, err
		}
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
	if err := f.in(head); err != nil || f.after == 0 {
		return f, err
	}
	at, err := s.changes(ctx, f.after-1, 1)
	if err != nil {
		return f, err
	}
	root := ""
	if len(at) > 0 {
		root = hex.EncodeToString(at[0].Root[:])
	}
	if !strings.HasPrefix(root, f.root) {
		return f, refuse(pLogChanged, "the log has another past now: at %d its root is %.*s, the cursor says %s", f.after, cursorRoot, root, f.root)
	}
	f.root = root
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

// changes reads some of the log when it is its reader's turn.
func (s *Server) changes(ctx context.Context, after uint64, limit int) ([]storage.Change, error) {
	ctx, cancel := context.WithTimeout(ctx, workTime)
	defer cancel()
	leave, err := s.o.Admission.rest.enterFor(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	return s.catalogue.Changes(ctx, after, limit)
}

// read returns at most limit changes of those that follow the feed's cursor, and moves it on to the last one that it
// looked at, which for a reader of one bank may be feedScan of them, for nothing. The head is that of the log.
func (s *Server) read(ctx context.Context, f *feed, limit int) (seen []storage.Change, head storage.Head, err error) {
	head, err = s.catalogue.Head(ctx)
	if err != nil {
		return nil, head, err
	}
	if err := f.in(head); err != nil {
		return nil, head, err
	}
	f.logID = head.LogID
	step := limit
	if f.bank != 0 {
		step = min(feedPage, s.feedScan)
	}
	for from := f.after; len(seen) < limit && f.after < head.Seq && f.after < from+uint64(s.feedScan); {
		// Rights are known as of the state that the index has: what is newer has to wait for it.
		until := min(head.Seq, f.after+uint64(step))
		if err := s.matcher.Await(ctx, until); err != nil && !errors.Is(err, matcher.ErrIndexBehind) {
			return nil, head, err
		}
		state := s.matcher.Follower().State()
		if state == nil {
			return nil, head, matcher.ErrNotReady
		}
		if state.Seq <= f.after {
			break
		}
		if state.LogID != head.LogID || !s.matcher.Follower().Has(1) { // rights of another log say nothing of this one
			return nil, head, matcher.ErrNotReady
		}
		changes, err := s.changes(ctx, f.after, int(min(until, state.Seq)-f.after))
		if err != nil || len(changes) == 0 {
			return seen, head, err
		}
		for _, c := range changes {
			if len(seen) == limit {
				break
			}
			f.after, f.root = c.Seq, hex.EncodeToString(c.Root[:])
			c = state.Redact(f.who, c)
			if f.bank == 0 || c.Bank == f.bank { // of what is redacted nobody knows the bank
				seen = append(seen, c)
			}
		}
	}
	if len(seen) == 0 && f.bank != 0 {
		return nil, head, s.reads(f.who, f.bank)
	}
	return seen, head, nil
}

// reads is an error if a bank was taken from its reader meanwhile.
func (s *Server) reads(who matcher.Principal, bank storage.BankID) error {
	banks, all, err := s.matcher.Readable(who)
	if err == nil && !all && !slices.Contains(banks, bank) {
		err = matcher.ErrUnknownBank
	}
	return err
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
	leave  func()
}

// VisitListChangesResponse writes events until the reader goes, is too slow, or may not read on.
func (t stream) VisitListChangesResponse(w http.ResponseWriter) error {
	defer t.leave()
	s := t.server
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
			id := cursorAt(t.feed.logID, c.Seq, hex.EncodeToString(c.Root[:]))
			fmt.Fprintf(&events, "id: %s\nevent: %s\ndata: %s\n\n", id, name, data)
		}
		// An id without data moves a reader's cursor over what is left out, and shows that the line is alive.
		fmt.Fprintf(&events, "id: %s\n\n", cursorAt(t.feed.logID, t.feed.after, t.feed.root))
		if err := send(events.Bytes()); err != nil {
			return err
		}
	}
}
