package api

import (
	"context"
	"errors"
	"fmt"

	v1 "vigie/api/v1"
	"vigie/matcher"
	"vigie/storage"
)

// ListBanks answers GET /v1/banks.
func (s *Server) ListBanks(ctx context.Context, r v1.ListBanksRequestObject) (v1.ListBanksResponseObject, error) {
	out := v1.ListBanks200JSONResponse{Banks: []v1.Bank{}}
	err := s.catalogue.View(ctx, func(reader storage.Reader) error {
		banks, err := reader.Banks()
		for _, b := range banks {
			if !b.Deleted || or(r.Params.Deleted, false) {
				out.Banks = append(out.Banks, bankOut(b))
			}
		}
		return err
	})
	return out, err
}

// CreateBank answers POST /v1/banks.
func (s *Server) CreateBank(ctx context.Context, r v1.CreateBankRequestObject) (v1.CreateBankResponseObject, error) {
	in := r.Body
	edit, err := bankEditIn(v1.BankChange{
		Name: &in.Name, Description: in.Description, Action: in.Action, Radius: in.Radius, SecondVote: in.SecondVote, KeepMedia: in.KeepMedia,
		MaxFrames: in.MaxFrames,
	})
	if err != nil {
		return nil, err
	}
	b, err := s.matcher.CreateBank(ctx, actor(ctx), edit)
	return v1.CreateBank201JSONResponse(bankOut(b)), err
}

// GetBank answers GET /v1/banks/{bank}.
func (s *Server) GetBank(ctx context.Context, r v1.GetBankRequestObject) (v1.GetBankResponseObject, error) {
	var bank storage.Bank
	err := s.catalogue.View(ctx, func(reader storage.Reader) (err error) {
		bank, err = reader.BankNamed(r.Bank)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("%w: %s", matcher.ErrUnknownBank, r.Bank)
	}
	return v1.GetBank200JSONResponse(bankOut(bank)), err
}

// ChangeBank answers PATCH /v1/banks/{bank}.
func (s *Server) ChangeBank(ctx context.Context, r v1.ChangeBankRequestObject) (v1.ChangeBankResponseObject, error) {
	edit, err := bankEditIn(*r.Body)
	if err != nil {
		return nil, err
	}
	b, err := s.matcher.ChangeBank(ctx, actor(ctx), r.Bank, edit)
	return v1.ChangeBank200JSONResponse(bankOut(b)), err
}

// DeleteBank answers DELETE /v1/banks/{bank}.
func (s *Server) DeleteBank(ctx context.Context, r v1.DeleteBankRequestObject) (v1.DeleteBankResponseObject, error) {
	b, err := s.matcher.DeleteBank(ctx, actor(ctx), r.Bank)
	return v1.DeleteBank200JSONResponse(bankOut(b)), err
}

// RestoreBank answers POST /v1/banks/{bank}/restore.
func (s *Server) RestoreBank(ctx context.Context, r v1.RestoreBankRequestObject) (v1.RestoreBankResponseObject, error) {
	b, err := s.matcher.RestoreBank(ctx, actor(ctx), r.Bank)
	return v1.RestoreBank200JSONResponse(bankOut(b)), err
}
