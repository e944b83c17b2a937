package api

import (
	"context"
	"errors"
	"fmt"

	v1 "vigie/api/v1"
	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
)

// Flag answers POST /v1/banks/{bank}/entries.
func (s *Server) Flag(ctx context.Context, r v1.FlagRequestObject) (v1.FlagResponseObject, error) {
	f := matcher.Flagging{Bank: r.Bank, Actor: actor(ctx)}
	var err error
	if in := r.JSONBody; in != nil {
		f.Labels, f.Note, f.Origin = or(in.Labels, nil), or(in.Note, ""), or(in.Origin, "")
		f.Signals, err = signalsIn(in.Signals)
	} else {
		f.Media, err = s.readParts(r.MultipartBody, flagParts(&f))
	}
	if err != nil {
		return nil, err
	}
	flagged, err := s.matcher.Flag(ctx, f)
	if err != nil {
		return nil, err
	}
	if flagged.Created {
		return v1.Flag201JSONResponse(flaggedOut(flagged)), nil
	}
	return v1.Flag200JSONResponse(flaggedOut(flagged)), nil
}

// flagParts are the text parts beside a flagged file.
func flagParts(f *matcher.Flagging) map[string]part {
	text := func(to *string) part {
		return part{take: func(v string) error { *to = v; return nil }}
	}
	return map[string]part{
		"note":   text(&f.Note),
		"origin": text(&f.Origin),
		"labels": {many: true, take: func(v string) error { f.Labels = append(f.Labels, list(v)...); return nil }},
		"signals": {many: true, take: func(v string) error {
			for _, item := range list(v) {
				signal, err := hashing.Parse(item)
				if err != nil {
					return err
				}
				f.Signals = append(f.Signals, signal)
			}
			return nil
		}},
		"exact_only": {take: func(v string) error {
			if v != "true" && v != "false" {
				return refuse(pInvalid, "part exact_only: %q; accepted are true and false", v)
			}
			f.ExactOnly = v == "true"
			return nil
		}},
	}
}

// ListEntries answers GET /v1/entries.
func (s *Server) ListEntries(ctx context.Context, r v1.ListEntriesRequestObject) (v1.ListEntriesResponseObject, error) {
	limit := or(r.Params.Limit, 100)
	q := storage.EntryQuery{Limit: limit + 1, Status: storage.Status(or(r.Params.Status, "")), Label: or(r.Params.Label, "")}
	var err error
	if q.After, err = cursorIn(or(r.Params.Cursor, "")); err != nil {
		return nil, err
	}
	var out v1.ListEntries200JSONResponse
	out.Entries = []v1.Entry{}
	err = s.catalogue.View(ctx, func(reader storage.Reader) error {
		if r.Params.Bank != nil {
			b, err := reader.BankNamed(*r.Params.Bank)
			if errors.Is(err, storage.ErrNotFound) {
				return fmt.Errorf("%w: %s", matcher.ErrUnknownBank, *r.Params.Bank)
			} else if err != nil {
				return err
			}
			q.Bank = b.ID
		}
		banks, err := reader.Banks()
		if err != nil {
			return err
		}
		byID := map[storage.BankID]storage.Bank{}
		for _, b := range banks {
			byID[b.ID] = b
		}
		page, err := reader.Entries(q) // one more than asked for tells whether there is a next page
		if len(page) > limit {
			page = page[:limit]
			out.Next = some(cursorOut(page[limit-1].ID))
		}
		for _, e := range page {
			out.Entries = append(out.Entries, listedOut(e, byID[e.Bank]))
		}
		return err
	})
	return out, err
}

// entry reads an entry for an answer.
func (s *Server) entry(ctx context.Context, id int64) (v1.Entry, error) {
	e, b, err := s.matcher.Entry(ctx, storage.EntryID(id))
	return entryOut(e, b), err
}

// GetEntry answers GET /v1/entries/{entry}.
func (s *Server) GetEntry(ctx context.Context, r v1.GetEntryRequestObject) (v1.GetEntryResponseObject, error) {
	e, err := s.entry(ctx, r.Entry)
	return v1.GetEntry200JSONResponse(e), err
}

// ChangeEntry answers PATCH /v1/entries/{entry}.
func (s *Server) ChangeEntry(ctx context.Context, r v1.ChangeEntryRequestObject) (v1.ChangeEntryResponseObject, error) {
	err := s.matcher.Edit(ctx, actor(ctx), storage.EntryID(r.Entry), matcher.EntryEdit{Labels: r.Body.Labels, Note: r.Body.Note})
	if err != nil {
		return nil, err
	}
	e, err := s.entry(ctx, r.Entry)
	return v1.ChangeEntry200JSONResponse(e), err
}

// Retract answers POST /v1/entries/{entry}/retract.
func (s *Server) Retract(ctx context.Context, r v1.RetractRequestObject) (v1.RetractResponseObject, error) {
	if err := s.matcher.Retract(ctx, actor(ctx), storage.EntryID(r.Entry), r.Body.Reason); err != nil {
		return nil, err
	}
	e, err := s.entry(ctx, r.Entry)
	return v1.Retract200JSONResponse(e), err
}

// Restore answers POST /v1/entries/{entry}/restore.
func (s *Server) Restore(ctx context.Context, r v1.RestoreRequestObject) (v1.RestoreResponseObject, error) {
	if err := s.matcher.Restore(ctx, actor(ctx), storage.EntryID(r.Entry), r.Body.Reason); err != nil {
		return nil, err
	}
	e, err := s.entry(ctx, r.Entry)
	return v1.Restore200JSONResponse(e), err
}
