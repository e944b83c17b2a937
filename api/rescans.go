package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	v1 "vigie/api/v1"
	"vigie/rescan"
	"vigie/storage"
)

// rescans is what does re-scans, or a refusal.
func (s *Server) rescans() (*rescan.Runner, error) {
	if s.o.Rescans == nil {
		return nil, refuse(pNoRescans, "")
	}
	return s.o.Rescans, nil
}

// ListSources answers GET /v1/sources.
func (s *Server) ListSources(ctx context.Context, _ v1.ListSourcesRequestObject) (v1.ListSourcesResponseObject, error) {
	runner, err := s.rescans()
	if err != nil {
		return nil, err
	}
	all, err := inTurn(ctx, s, func(ctx context.Context) ([]rescan.Named, error) { return runner.Sources(ctx, who(ctx)) })
	if err != nil {
		return nil, err
	}
	called, err := s.names(ctx)
	out := v1.ListSources200JSONResponse{Sources: []v1.RescanSource{}}
	for _, one := range all {
		out.Sources = append(out.Sources, v1.RescanSource{
			Name: one.Name, Kind: v1.RescanSourceKind(one.Kind), Party: cmp.Or(called.parties[one.Owner], one.Party), PerSecond: some(float32(one.PerSecond)),
		})
	}
	return out, err
}

// ListRescans answers GET /v1/rescans.
func (s *Server) ListRescans(ctx context.Context, r v1.ListRescansRequestObject) (v1.ListRescansResponseObject, error) {
	runner, err := s.rescans()
	if err != nil {
		return nil, err
	}
	limit := or(r.Params.Limit, 100)
	q := storage.RescanQuery{Limit: limit + 1, Source: or(r.Params.Source, ""), State: storage.RescanState(or(r.Params.State, ""))}
	if q.Before, err = cursorIn[storage.RescanID](r.Params.Cursor); err != nil {
		return nil, err
	}
	page, err := runner.Rescans(ctx, who(ctx), q)
	if err != nil {
		return nil, err
	}
	called, err := s.names(ctx)
	out := v1.ListRescans200JSONResponse{Rescans: []v1.Rescan{}}
	if len(page) > limit {
		page = page[:limit]
		out.Next = some(cursorOut(page[limit-1].ID))
	}
	for _, one := range page {
		out.Rescans = append(out.Rescans, rescanNow(ctx, runner, one, called))
	}
	return out, err
}

// StartRescan answers POST /v1/rescans.
func (s *Server) StartRescan(ctx context.Context, r v1.StartRescanRequestObject) (v1.StartRescanResponseObject, error) {
	runner, err := s.rescans()
	if err != nil {
		return nil, err
	}
	one, err := runner.Start(ctx, rescan.Request{
		Who: who(ctx), Source: r.Body.Source, SinceLast: or(r.Body.SinceLast, false),
		Options: storage.RescanOptions{
			Banks: or(r.Body.Banks, nil), Since: uint64(or(r.Body.Since, 0)), NewerThan: or(r.Body.NewerThan, time.Time{}), Upright: or(r.Body.Upright, false),
		},
	})
	if err != nil {
		return nil, err
	}
	called, err := s.names(ctx)
	return v1.StartRescan201JSONResponse(rescanOut(one, rescan.Share(one), called)), err
}

// GetRescan answers GET /v1/rescans/{rescan}.
func (s *Server) GetRescan(ctx context.Context, r v1.GetRescanRequestObject) (v1.GetRescanResponseObject, error) {
	one, err := s.rescan(ctx, storage.RescanID(r.Rescan))
	if err != nil {
		return nil, err
	}
	if !wantsEvents(or(r.Params.Accept, "")) {
		return v1.GetRescan200JSONResponse(one), nil
	}
	leave, err := s.come(who(ctx))
	if err != nil {
		return nil, err
	}
	return followed{ctx: ctx, server: s, first: one, leave: leave}, nil
}

// rescan reads one as it is now, when its reader's turn comes.
func (s *Server) rescan(ctx context.Context, id storage.RescanID) (v1.Rescan, error) {
	runner, err := s.rescans()
	if err != nil {
		return v1.Rescan{}, err
	}
	return inTurn(ctx, s, func(ctx context.Context) (v1.Rescan, error) {
		one, share, err := runner.Progress(ctx, who(ctx), id)
		if err != nil {
			return v1.Rescan{}, err
		}
		called, err := s.names(ctx)
		return rescanOut(one, share, called), err
	})
}

// inTurn does something when the turn of whose request it is has come: an answer that may last takes one for each of its steps.
func inTurn[T any](ctx context.Context, s *Server, do func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, workTime)
	defer cancel()
	leave, err := s.o.Admission.rest.enterFor(ctx)
	if err != nil {
		var none T
		return none, err
	}
	defer leave()
	return do(ctx)
}

// followEvery is how often a re-scan is looked at for those who follow it.
const followEvery = time.Second

// followed writes the progress of a re-scan as Server-Sent Events.
type followed struct {
	ctx    context.Context //nolint:containedctx // lives as long as the one call that writes the answer
	server *Server
	first  v1.Rescan
	leave  func()
}

// VisitGetRescanResponse writes events until the re-scan has ended, or the reader goes, is too slow, or may not read on.
func (f followed) VisitGetRescanResponse(w http.ResponseWriter) error {
	defer f.leave()
	s := f.server
	h := w.Header()
	h.Set("Content-Type", eventStream)
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	w.WriteHeader(http.StatusOK)
	send := paced{w, s.o.BodyTime}
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	var told []byte
	spoke := time.Now()
	for now, err := f.first, error(nil); ; now, err = s.rescan(f.ctx, storage.RescanID(f.first.Id)) {
		if err == nil {
			err = s.standing(f.ctx)
		}
		if f.ctx.Err() != nil {
			return f.ctx.Err()
		}
		if err != nil {
			p, _ := json.Marshal(document(err, ""))
			_, err = fmt.Fprintf(send, "event: problem\ndata: %s\n\n", p)
			return err
		}
		data, err := json.Marshal(now)
		if err != nil {
			return err
		}
		name, ended := "progress", storage.RescanState(now.State).Ended()
		if ended {
			name = "end"
		}
		switch {
		case ended || !bytes.Equal(data, told):
			_, err = fmt.Fprintf(send, "event: %s\ndata: %s\n\n", name, data)
			told, spoke = data, time.Now()
		case time.Since(spoke) >= s.o.Heartbeat:
			_, err = fmt.Fprint(send, ":\n\n")
			spoke = time.Now()
		}
		if err != nil || ended {
			return err
		}
		select {
		case <-tick.C:
		case <-f.ctx.Done():
			return f.ctx.Err()
		}
	}
}

// paced writes an answer that lasts: each part of it has a time to be taken, or the reader is cut off.
type paced struct {
	http.ResponseWriter
	time time.Duration
}

func (p paced) Write(text []byte) (int, error) {
	control := http.NewResponseController(p.ResponseWriter)
	_ = control.SetWriteDeadline(time.Now().Add(p.time))
	n, err := p.ResponseWriter.Write(text)
	if err == nil {
		err = control.Flush()
	}
	return n, err
}

// CancelRescan answers POST /v1/rescans/{rescan}/cancel.
func (s *Server) CancelRescan(ctx context.Context, r v1.CancelRescanRequestObject) (v1.CancelRescanResponseObject, error) {
	runner, err := s.rescans()
	if err != nil {
		return nil, err
	}
	one, err := runner.Cancel(ctx, who(ctx), storage.RescanID(r.Rescan))
	if err != nil {
		return nil, err
	}
	called, err := s.names(ctx)
	return v1.CancelRescan200JSONResponse(rescanNow(ctx, runner, one, called)), err
}

// ResumeRescan answers POST /v1/rescans/{rescan}/resume.
func (s *Server) ResumeRescan(ctx context.Context, r v1.ResumeRescanRequestObject) (v1.ResumeRescanResponseObject, error) {
	runner, err := s.rescans()
	if err != nil {
		return nil, err
	}
	one, err := runner.Resume(ctx, who(ctx), storage.RescanID(r.Rescan))
	if err != nil {
		return nil, err
	}
	called, err := s.names(ctx)
	return v1.ResumeRescan200JSONResponse(rescanNow(ctx, runner, one, called)), err
}

// RetryRescan answers POST /v1/rescans/{rescan}/retry.
func (s *Server) RetryRescan(ctx context.Context, r v1.RetryRescanRequestObject) (v1.RetryRescanResponseObject, error) {
	runner, err := s.rescans()
	if err != nil {
		return nil, err
	}
	one, err := runner.Retry(ctx, who(ctx), storage.RescanID(r.Rescan))
	if err != nil {
		return nil, err
	}
	called, err := s.names(ctx)
	return v1.RetryRescan201JSONResponse(rescanOut(one, rescan.Share(one), called)), err
}

// files are what lists are written as, by the type of their content.
var files = map[rescan.ListFormat]string{
	rescan.NDJSON:  "application/x-ndjson",
	rescan.CSV:     "text/csv",
	rescan.Parquet: "application/vnd.apache.parquet",
}

// ListRescanHits answers GET /v1/rescans/{rescan}/hits.
func (s *Server) ListRescanHits(ctx context.Context, r v1.ListRescanHitsRequestObject) (v1.ListRescanHitsResponseObject, error) {
	id := storage.RescanID(r.Rescan)
	if _, err := s.rescan(ctx, id); err != nil {
		return nil, err
	}
	format := rescan.ListFormat(or(r.Params.Format, ""))
	for one, kind := range files {
		if format == "" && strings.Contains(strings.ToLower(or(r.Params.Accept, "")), kind) {
			format = one
		}
	}
	if kind, ok := files[format]; ok {
		return hitsFile{ctx: ctx, server: s, id: id, format: format, kind: kind}, nil
	}
	out := v1.ListRescanHits200JSONResponse{Hits: []v1.RescanHit{}}
	page, next, err := rescanPage(ctx, s, r.Params.Cursor, or(r.Params.Limit, 100), func(r storage.Reader, after uint64, limit int) ([]storage.RescanHit, error) {
		return r.RescanHits(id, after, limit)
	}, func(h storage.RescanHit) uint64 { return h.ID })
	out.Next = next
	for _, h := range page {
		out.Hits = append(out.Hits, v1.RescanHit{
			Item: plainText(h.Item), Level: v1.Level(h.Level), Action: v1.Recommendation(h.Action), Shard: h.Shard, Verdict: h.Verdict,
		})
	}
	return out, err
}

// ListEntryRescanHits answers GET /v1/entries/{entry}/rescan-hits.
func (s *Server) ListEntryRescanHits(ctx context.Context, r v1.ListEntryRescanHitsRequestObject) (v1.ListEntryRescanHitsResponseObject, error) {
	id := storage.EntryID(r.Entry)
	if _, _, err := s.matcher.Entry(ctx, who(ctx), id); err != nil {
		return nil, err
	}
	out := v1.ListEntryRescanHits200JSONResponse{Hits: []v1.EntryRescanHit{}}
	page, next, err := rescanPage(ctx, s, r.Params.Cursor, or(r.Params.Limit, 100), func(r storage.Reader, after uint64, limit int) ([]storage.RescanHit, error) {
		return r.RescanHitsOf(who(ctx).Party, id, after, limit)
	}, func(h storage.RescanHit) uint64 { return h.ID })
	out.Next = next
	for _, h := range page {
		out.Hits = append(out.Hits, v1.EntryRescanHit{
			Rescan: int64(h.Rescan), Item: plainText(h.Item), Level: v1.Level(h.Level), Action: v1.Recommendation(h.Action),
		})
	}
	return out, err
}

// ListRescanFailures answers GET /v1/rescans/{rescan}/failures.
func (s *Server) ListRescanFailures(ctx context.Context, r v1.ListRescanFailuresRequestObject) (v1.ListRescanFailuresResponseObject, error) {
	id := storage.RescanID(r.Rescan)
	if _, err := s.rescan(ctx, id); err != nil {
		return nil, err
	}
	out := v1.ListRescanFailures200JSONResponse{Failures: []v1.RescanFailure{}}
	page, next, err := rescanPage(ctx, s, r.Params.Cursor, or(r.Params.Limit, 100), func(r storage.Reader, after uint64, limit int) ([]storage.RescanFailure, error) {
		return r.RescanFailures(id, after, limit)
	}, func(f storage.RescanFailure) uint64 { return f.ID })
	out.Next = next
	for _, f := range page {
		out.Failures = append(out.Failures, v1.RescanFailure{Item: plainText(f.Item), Error: f.Error, Shard: f.Shard})
	}
	return out, err
}

// plainText is the name of an item as JSON can have it.
func plainText(name string) string { return strings.ToValidUTF8(name, "\ufffd") }

// rescanPage reads a page of what belongs to a re-scan, and the cursor of the next one, if there is more.
func rescanPage[T any](
	ctx context.Context, s *Server, cursor *string, limit int, read func(r storage.Reader, after uint64, limit int) ([]T, error), id func(T) uint64,
) (page []T, next *string, err error) {
	after, err := cursorIn[uint64](cursor)
	if err != nil {
		return nil, nil, err
	}
	page, err = inTurn(ctx, s, func(ctx context.Context) (page []T, err error) {
		err = s.catalogue.View(ctx, func(r storage.Reader) (err error) {
			page, err = read(r, after, limit+1) // one more than asked for tells whether there is a next page
			return err
		})
		return page, err
	})
	if len(page) > limit {
		page = page[:limit]
		next = some(cursorOut(id(page[limit-1])))
	}
	return page, next, err
}

// hitsFile writes all that a re-scan has found as a file.
type hitsFile struct {
	ctx    context.Context //nolint:containedctx // lives as long as the one call that writes the answer
	server *Server
	id     storage.RescanID
	format rescan.ListFormat
	kind   string
}

// VisitListRescanHitsResponse writes the file. An error breaks it off.
func (f hitsFile) VisitListRescanHitsResponse(w http.ResponseWriter) error {
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=rescan-%d.%s", f.id, f.format))
	w.WriteHeader(http.StatusOK)
	return rescan.WriteHits(paced{w, f.server.o.BodyTime}, f.format, rescan.Hits(f.ctx, turns{f.server.catalogue, f.server}, f.id))
}

// turns is a catalogue that is read when it is the reader's turn.
type turns struct {
	storage.Catalogue
	server *Server
}

func (t turns) View(ctx context.Context, fn func(storage.Reader) error) error {
	_, err := inTurn(ctx, t.server, func(ctx context.Context) (struct{}, error) { return struct{}{}, t.Catalogue.View(ctx, fn) })
	return err
}

// rescanNow shows a re-scan that was just read, or changed, with what is done within its shards, too; without that, if it cannot be read.
func rescanNow(ctx context.Context, runner *rescan.Runner, r storage.Rescan, called names) v1.Rescan {
	if r.State != storage.RescanDone {
		if now, share, err := runner.Progress(ctx, who(ctx), r.ID); err == nil {
			return rescanOut(now, share, called)
		}
	}
	return rescanOut(r, rescan.Share(r), called)
}

func rescanOut(r storage.Rescan, share float64, called names) v1.Rescan {
	out := v1.Rescan{
		Id: int64(r.ID), Party: called.parties[r.Party], Source: r.Source, State: v1.RescanState(r.State), StartedBy: r.Key, Seq: int64(r.Seq),
		Since: int64(r.Options.Since), NewerThan: someTime(r.Options.NewerThan), Upright: r.Options.Upright, Planned: r.Planned,
		Shards: r.Shards, ShardsDone: r.ShardsDone, Progress: float32(share), Counts: countsOut(r.Counts), Error: some(r.Error),
		CreatedAt: r.CreatedAt, StartedAt: someTime(r.StartedAt), FinishedAt: someTime(r.FinishedAt),
	}
	if len(r.Options.Banks) > 0 {
		out.Banks = &r.Options.Banks
	}
	if r.Options.FailedOf != 0 {
		out.FailedOf = some(int64(r.Options.FailedOf))
	}
	return out
}

func countsOut(c storage.RescanCounts) v1.RescanCounts {
	return v1.RescanCounts{Items: c.Items, Bytes: c.Bytes, Failed: c.Failed, None: c.None, Review: c.Review, Likely: c.Likely, Match: c.Match}
}

// RescanEnd is what a webhook is told of a re-scan that has ended.
type RescanEnd struct {
	Rescan     storage.RescanID    `json:"rescan"`
	Source     string              `json:"source"`
	State      storage.RescanState `json:"state"` // done or failed
	Counts     v1.RescanCounts     `json:"counts"`
	Error      string              `json:"error,omitempty"`
	StartedAt  *time.Time          `json:"started_at,omitempty"`
	FinishedAt time.Time           `json:"finished_at"`
}

// EndOf is a re-scan that has ended, as webhooks are told of it.
func EndOf(r storage.Rescan) RescanEnd {
	return RescanEnd{r.ID, r.Source, r.State, countsOut(r.Counts), r.Error, someTime(r.StartedAt), r.FinishedAt}
}
