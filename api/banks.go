package api

import (
	"context"
	"slices"

	v1 "vigie/api/v1"
	"vigie/matcher"
	"vigie/storage"
)

// ListBanks answers GET /v1/banks.
func (s *Server) ListBanks(ctx context.Context, r v1.ListBanksRequestObject) (v1.ListBanksResponseObject, error) {
	readable, all, err := s.matcher.Readable(who(ctx))
	if err != nil {
		return nil, err
	}
	out := v1.ListBanks200JSONResponse{Banks: []v1.Bank{}}
	err = s.catalogue.View(ctx, func(reader storage.Reader) error {
		called, err := namesIn(ctx, reader)
		if err != nil {
			return err
		}
		banks, err := reader.Banks()
		for _, b := range banks {
			if (all || slices.Contains(readable, b.ID)) && (!b.Deleted || or(r.Params.Deleted, false)) {
				out.Banks = append(out.Banks, bankOut(b, called))
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
		MaxFrames: in.MaxFrames, EnabledRatio: in.EnabledRatio, MinQuality: in.MinQuality, Link: in.Link, Flood: in.Flood, Overturn: in.Overturn,
		Members: in.Members, Open: in.Open, Dual: in.Dual,
	})
	if err != nil {
		return nil, err
	}
	made := matcher.NewBank{BankEdit: edit, Kind: storage.BankKind(or(in.Kind, "")), Owner: or(in.Owner, "")}
	b, err := s.matcher.CreateBank(ctx, who(ctx), made)
	if err != nil {
		return nil, err
	}
	out, err := s.bank(ctx, b)
	return v1.CreateBank201JSONResponse(out), err
}

// bank is a bank as it is answered.
func (s *Server) bank(ctx context.Context, b storage.Bank) (v1.Bank, error) {
	called, err := s.names(ctx)
	return bankOut(b, called), err
}

// GetBank answers GET /v1/banks/{bank}.
func (s *Server) GetBank(ctx context.Context, r v1.GetBankRequestObject) (v1.GetBankResponseObject, error) {
	var bank storage.Bank
	err := s.catalogue.View(ctx, func(reader storage.Reader) (err error) {
		bank, err = matcher.NamedBank(reader, who(ctx), r.Bank)
		return err
	})
	if err != nil {
		return nil, err
	}
	out, err := s.bank(ctx, bank)
	return v1.GetBank200JSONResponse(out), err
}

// ChangeBank answers PATCH /v1/banks/{bank}.
func (s *Server) ChangeBank(ctx context.Context, r v1.ChangeBankRequestObject) (v1.ChangeBankResponseObject, error) {
	edit, err := bankEditIn(*r.Body)
	if err != nil {
		return nil, err
	}
	b, err := s.matcher.ChangeBank(ctx, who(ctx), r.Bank, edit)
	if err != nil {
		return nil, err
	}
	out, err := s.bank(ctx, b)
	return v1.ChangeBank200JSONResponse(out), err
}

// DeleteBank answers DELETE /v1/banks/{bank}.
func (s *Server) DeleteBank(ctx context.Context, r v1.DeleteBankRequestObject) (v1.DeleteBankResponseObject, error) {
	b, err := s.matcher.DeleteBank(ctx, who(ctx), r.Bank)
	if err != nil {
		return nil, err
	}
	out, err := s.bank(ctx, b)
	return v1.DeleteBank200JSONResponse(out), err
}

// RestoreBank answers POST /v1/banks/{bank}/restore.
func (s *Server) RestoreBank(ctx context.Context, r v1.RestoreBankRequestObject) (v1.RestoreBankResponseObject, error) {
	b, err := s.matcher.RestoreBank(ctx, who(ctx), r.Bank)
	if err != nil {
		return nil, err
	}
	out, err := s.bank(ctx, b)
	return v1.RestoreBank200JSONResponse(out), err
}

// ConfirmBank answers POST /v1/banks/{bank}/confirm.
func (s *Server) ConfirmBank(ctx context.Context, r v1.ConfirmBankRequestObject) (v1.ConfirmBankResponseObject, error) {
	b, err := s.matcher.ConfirmBank(ctx, who(ctx), r.Bank)
	if err != nil {
		return nil, err
	}
	out, err := s.bank(ctx, b)
	return v1.ConfirmBank200JSONResponse(out), err
}

// RejectBank answers POST /v1/banks/{bank}/reject.
func (s *Server) RejectBank(ctx context.Context, r v1.RejectBankRequestObject) (v1.RejectBankResponseObject, error) {
	b, err := s.matcher.RejectBank(ctx, who(ctx), r.Bank)
	if err != nil {
		return nil, err
	}
	out, err := s.bank(ctx, b)
	return v1.RejectBank200JSONResponse(out), err
}
