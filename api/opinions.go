package api

import (
	"context"

	v1 "vigie/api/v1"
	"vigie/matcher"
	"vigie/storage"
)

// What a party says of entries: to others by opinions, for itself by overlays; and the words for it.

// SetOverlay answers PUT /v1/entries/{entry}/overlay.
func (s *Server) SetOverlay(ctx context.Context, r v1.SetOverlayRequestObject) (v1.SetOverlayResponseObject, error) {
	in := r.Body
	err := s.matcher.Overlay(ctx, who(ctx), storage.EntryID(r.Entry), or(in.Disabled, false), or(in.Labels, nil), or(in.Reason, ""))
	e, err := s.entry(ctx, r.Entry, err)
	return v1.SetOverlay200JSONResponse(e), err
}

// DropOverlay answers DELETE /v1/entries/{entry}/overlay.
func (s *Server) DropOverlay(ctx context.Context, r v1.DropOverlayRequestObject) (v1.DropOverlayResponseObject, error) {
	e, err := s.entry(ctx, r.Entry, s.matcher.Overlay(ctx, who(ctx), storage.EntryID(r.Entry), false, nil, ""))
	return v1.DropOverlay200JSONResponse(e), err
}

// SetOpinion answers PUT /v1/entries/{entry}/opinion.
func (s *Server) SetOpinion(ctx context.Context, r v1.SetOpinionRequestObject) (v1.SetOpinionResponseObject, error) {
	err := s.matcher.Opine(ctx, who(ctx), storage.EntryID(r.Entry), storage.Stance(r.Body.Stance), or(r.Body.Reason, ""))
	if err != nil {
		return nil, err
	}
	out, err := s.opinions(ctx, r.Entry)
	return v1.SetOpinion200JSONResponse(out), err
}

// ListOpinions answers GET /v1/entries/{entry}/opinions.
func (s *Server) ListOpinions(ctx context.Context, r v1.ListOpinionsRequestObject) (v1.ListOpinionsResponseObject, error) {
	out, err := s.opinions(ctx, r.Entry)
	return v1.ListOpinions200JSONResponse(out), err
}

func (s *Server) opinions(ctx context.Context, entry int64) (v1.Opinions, error) {
	said, tally, err := s.matcher.Opinions(ctx, who(ctx), storage.EntryID(entry))
	if err != nil {
		return v1.Opinions{}, err
	}
	called, err := s.names(ctx)
	out := v1.Opinions{Opinions: []v1.Opinion{}, Tally: *tallyOut(tally)}
	for _, o := range said {
		out.Opinions = append(out.Opinions, v1.Opinion{
			Party: called.parties[o.Party], Stance: v1.Stance(o.Stance), Reason: some(o.Reason), Actor: o.Actor, At: o.At,
		})
	}
	return out, err
}

// GetVocabulary answers GET /v1/vocabulary.
func (s *Server) GetVocabulary(context.Context, v1.GetVocabularyRequestObject) (v1.GetVocabularyResponseObject, error) {
	out := v1.GetVocabulary200JSONResponse{}
	for _, t := range matcher.Vocabulary() {
		term := v1.Term{Name: t.Name, Many: t.Many, About: t.About}
		switch {
		case len(t.Values) > 0:
			term.Values = &t.Values
		case t.Most >= 0:
			term.Most = &t.Most
		}
		out.Terms = append(out.Terms, term)
	}
	return out, nil
}
