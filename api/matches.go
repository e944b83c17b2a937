package api

import (
	"context"
	"encoding/json"
	"time"

	v1 "vigie/api/v1"
	"vigie/matcher"
	"vigie/storage"
)

// ListMatches answers GET /v1/matches.
func (s *Server) ListMatches(ctx context.Context, r v1.ListMatchesRequestObject) (v1.ListMatchesResponseObject, error) {
	in, limit := r.Params, or(r.Params.Limit, 100)
	q := storage.MatchQuery{
		Limit: limit + 1, From: or(in.From, time.Time{}), Until: or(in.Until, time.Time{}), Entry: storage.EntryID(or(in.Entry, 0)),
		Level: string(or(in.Level, "")), Content: or(in.ContentId, ""), Standing: or(in.Standing, false),
	}
	var err error
	if q.Before, err = cursorIn[uint64](in.Cursor); err != nil {
		return nil, err
	}
	if in.Bank != nil {
		err := s.catalogue.View(ctx, func(reader storage.Reader) error {
			b, err := matcher.NamedBank(reader, who(ctx), *in.Bank)
			q.Bank = b.ID
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	page, err := s.matcher.Matches(ctx, who(ctx), q) // one more than asked for tells whether there is a next page
	if err != nil {
		return nil, err
	}
	called, err := s.names(ctx)
	out := v1.ListMatches200JSONResponse{Matches: []v1.RecordedMatch{}}
	if len(page) > limit {
		page = page[:limit]
		out.Next = some(cursorOut(page[limit-1].Ord))
	}
	for _, m := range page {
		out.Matches = append(out.Matches, matchOut(m, called))
	}
	return out, err
}

// GetMatch answers GET /v1/matches/{match}.
func (s *Server) GetMatch(ctx context.Context, r v1.GetMatchRequestObject) (v1.GetMatchResponseObject, error) {
	id, err := matchIn(r.Match)
	if err != nil {
		return nil, err
	}
	m, err := s.matcher.Match(ctx, who(ctx), id)
	if err != nil {
		return nil, err
	}
	called, err := s.names(ctx)
	return v1.GetMatch200JSONResponse(matchOut(m, called)), err
}

// Decide answers POST /v1/matches/{match}/decision.
func (s *Server) Decide(ctx context.Context, r v1.DecideRequestObject) (v1.DecideResponseObject, error) {
	id, err := matchIn(r.Match)
	if err != nil {
		return nil, err
	}
	in := r.Body
	d := matcher.Decision{
		Match: id, Ruling: storage.Ruling(in.Ruling), MatchCorrect: in.MatchCorrect, LabelCorrect: in.LabelCorrect, Reason: or(in.Reason, ""),
	}
	for _, e := range or(in.Entries, nil) {
		d.Entries = append(d.Entries, storage.EntryID(e))
	}
	decided, err := s.matcher.Decide(ctx, who(ctx), d)
	if err != nil {
		return nil, err
	}
	return v1.Decide200JSONResponse{
		Match: r.Match, Decision: decisionOut(decided.Decision), Seq: int64(decided.Seq),
		Quarantined: numbers(decided.Quarantined), Disabled: numbers(decided.Disabled), Inactive: numbers(decided.Inactive),
	}, nil
}

// EraseContent answers POST /v1/contents/erase. The name goes in the body: it may hold any text, and paths and queries are
// written to logs on the way.
func (s *Server) EraseContent(ctx context.Context, r v1.EraseContentRequestObject) (v1.EraseContentResponseObject, error) {
	n, err := s.matcher.EraseContent(ctx, who(ctx), r.Body.ContentId)
	return v1.EraseContent200JSONResponse{Matches: n}, err
}

func matchIn(text string) (storage.MatchID, error) {
	id, err := storage.ParseMatchID(text)
	if err != nil {
		return id, refuse(pInvalid, "path parameter match: %v", err)
	}
	return id, nil
}

func matchOut(m matcher.MatchView, called names) v1.RecordedMatch {
	out := v1.RecordedMatch{
		Id: m.ID.String(), At: m.At, Party: called.parties[m.Party], Key: some(m.Key), ContentId: some(m.ContentID),
		Level: v1.Level(m.Level), Action: some(v1.Recommendation(m.Action)), IndexSeq: int64(m.IndexSeq),
		Entries: []v1.MatchedEntry{}, Decisions: []v1.Decision{}, Verdict: json.RawMessage(m.Verdict),
	}
	if p := m.Past; p != nil {
		out.Past = &v1.LookedBack{Upload: p.Upload.String(), UploadedAt: p.At}
	}
	for _, e := range m.Entries {
		out.Entries = append(out.Entries, v1.MatchedEntry{
			Entry: int64(e.Entry), Bank: some(called.banks[e.Bank]), Level: v1.Level(e.Level), Exact: e.Exact,
			Status: some(v1.Status(m.Now[e.Entry].Status)), Out: some(v1.Out(m.Now[e.Entry].Out)),
		})
	}
	for _, d := range m.Decisions {
		out.Decisions = append(out.Decisions, decisionOut(d))
	}
	return out
}

func decisionOut(d storage.Decision) v1.Decision {
	return v1.Decision{
		Id: int64(d.ID), Ruling: v1.Ruling(d.Ruling), Entries: numbers(d.Entries), MatchCorrect: d.MatchCorrect, LabelCorrect: d.LabelCorrect,
		Reason: some(d.Reason), Actor: some(d.Actor), At: d.At,
	}
}

func numbers(ids []storage.EntryID) []int64 {
	out := make([]int64, len(ids))
	for i, id := range ids {
		out[i] = int64(id)
	}
	return out
}
