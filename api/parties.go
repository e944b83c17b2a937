package api

import (
	"context"
	"errors"
	"fmt"

	v1 "vigie/api/v1"
	"vigie/matcher"
	"vigie/storage"
)

// ListParties answers GET /v1/parties.
func (s *Server) ListParties(ctx context.Context, _ v1.ListPartiesRequestObject) (v1.ListPartiesResponseObject, error) {
	out := v1.ListParties200JSONResponse{Parties: []v1.Party{}}
	err := s.catalogue.View(ctx, func(reader storage.Reader) error {
		parties, err := reader.Parties()
		for _, p := range parties {
			out.Parties = append(out.Parties, partyOut(ctx, p))
		}
		return err
	})
	return out, err
}

// CreateParty answers POST /v1/parties.
func (s *Server) CreateParty(ctx context.Context, r v1.CreatePartyRequestObject) (v1.CreatePartyResponseObject, error) {
	p, err := s.matcher.CreateParty(ctx, who(ctx), matcher.PartyEdit{
		Name: &r.Body.Name, Kind: (*storage.PartyKind)(r.Body.Kind), KeepMatches: r.Body.KeepMatches,
		HistoryDays: r.Body.HistoryDays,
	})
	return v1.CreateParty201JSONResponse(partyOut(ctx, p)), err
}

// GetParty answers GET /v1/parties/{party}.
func (s *Server) GetParty(ctx context.Context, r v1.GetPartyRequestObject) (v1.GetPartyResponseObject, error) {
	var party storage.Party
	err := s.catalogue.View(ctx, func(reader storage.Reader) (err error) {
		party, err = reader.PartyNamed(r.Party)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("%w: %s", matcher.ErrUnknownParty, r.Party)
	}
	return v1.GetParty200JSONResponse(partyOut(ctx, party)), err
}

// ChangeParty answers PATCH /v1/parties/{party}.
func (s *Server) ChangeParty(ctx context.Context, r v1.ChangePartyRequestObject) (v1.ChangePartyResponseObject, error) {
	p, err := s.matcher.ChangeParty(ctx, who(ctx), r.Party, matcher.PartyEdit{
		Name: r.Body.Name, Kind: (*storage.PartyKind)(r.Body.Kind), KeepMatches: r.Body.KeepMatches,
		HistoryDays: r.Body.HistoryDays, Suspended: r.Body.Suspended,
	})
	return v1.ChangeParty200JSONResponse(partyOut(ctx, p)), err
}

// partyOut is a party as who asks may see it: of others, who they are.
func partyOut(ctx context.Context, p storage.Party) v1.Party {
	out := v1.Party{Id: int64(p.ID), Name: p.Name, Kind: v1.PartyKind(p.Kind), CreatedAt: p.CreatedAt, Seq: int64(p.Seq)}
	if asks := who(ctx); asks.Party == p.ID || asks.Oversees() {
		out.KeepMatches, out.HistoryDays, out.Suspended = &p.KeepMatches, &p.HistoryDays, &p.Suspended
	}
	return out
}
