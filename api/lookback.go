package api

import (
	"context"
	"fmt"

	v1 "vigie/api/v1"
	"vigie/matcher"
	"vigie/storage"
)

// What is done is done when these are asked: where they fail, the answer goes without.

// pastUploads are what a look-back finds at once for an entry that has just become active; nil if there is nothing to look for.
func (s *Server) pastUploads(ctx context.Context, id storage.EntryID) *v1.PastUploads {
	p, err := s.matcher.PastUploads(ctx, who(ctx), id)
	if err != nil {
		s.o.Logger.WarnContext(ctx, "look for an entry among past uploads", "entry", id, "error", err)
	}
	if err != nil || p == nil {
		return nil
	}
	return shownPast(p)
}

func shownPast(p *matcher.PastUploads) *v1.PastUploads {
	out := &v1.PastUploads{OwnTotal: p.OwnTotal, Others: p.Others, Since: someTime(p.Since), Partial: p.Partial, Complete: p.Complete}
	if p.CutAt > 0 {
		out.CutAt = &p.CutAt
	}
	out.Own = make([]v1.PastUpload, len(p.Own))
	for i, h := range p.Own {
		out.Own[i] = v1.PastUpload{ContentId: h.ContentID, UploadedAt: h.At, Distance: h.Distance}
	}
	return out
}

// mostToRestore is how many matches, and hits of re-scans, are counted.
const mostToRestore = 500

// toRestore counts what was removed because of an entry that was just retracted.
func (s *Server) toRestore(ctx context.Context, id storage.EntryID) *v1.ToRestore {
	page, err := s.matcher.Matches(ctx, who(ctx), storage.MatchQuery{Entry: id, Standing: true, Limit: mostToRestore + 1})
	if err != nil {
		s.o.Logger.WarnContext(ctx, "count what was removed because of an entry", "entry", id, "error", err)
		return nil
	}
	out := &v1.ToRestore{
		Count: min(len(page), mostToRestore), More: len(page) > mostToRestore,
		Matches: fmt.Sprintf("/v1/matches?entry=%d&standing=true", id),
	}
	var hits []storage.RescanHit
	err = s.catalogue.View(ctx, func(r storage.Reader) (err error) {
		hits, err = r.RescanHitsOf(who(ctx).Party, id, 0, mostToRestore+1)
		return err
	})
	if err != nil {
		s.o.Logger.WarnContext(ctx, "count what re-scans have found because of an entry", "entry", id, "error", err)
		return out
	}
	out.Rescans = &v1.FoundByRescans{
		Count: min(len(hits), mostToRestore), More: len(hits) > mostToRestore,
		Hits: fmt.Sprintf("/v1/entries/%d/rescan-hits", id),
	}
	return out
}
