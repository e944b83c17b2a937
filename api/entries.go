package api

import (
	"context"
	"time"

	v1 "vigie/api/v1"
	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
)

// Flag answers POST /v1/banks/{bank}/entries.
func (s *Server) Flag(ctx context.Context, r v1.FlagRequestObject) (v1.FlagResponseObject, error) {
	f := matcher.Flagging{Bank: r.Bank, Who: who(ctx)}
	var err error
	if in := r.JSONBody; in != nil {
		f.Labels, f.Note, f.Origin = or(in.Labels, nil), or(in.Note, ""), or(in.Origin, "")
		f.ExpiresAt = or(in.ExpiresAt, time.Time{})
		f.DespiteKnownGood = or(in.DespiteKnownGood, false)
		f.Signals, err = signalsIn(in.Signals)
	} else {
		var sent storage.Hash
		if f.Media, sent, err = s.readParts(r.MultipartBody, flagParts(&f)); err == nil {
			ctx, err = s.once(ctx, sent)
		}
	}
	if err != nil {
		return nil, err
	}
	flagged, err := s.matcher.Flag(ctx, f)
	if err != nil {
		return nil, err
	}
	out := flaggedOut(flagged)
	out.PastUploads = s.pastUploads(ctx, flagged.Entry.ID)
	if flagged.Created {
		return v1.Flag201JSONResponse(out), nil
	}
	return v1.Flag200JSONResponse(out), nil
}

// flagParts are the text parts beside a flagged file.
func flagParts(f *matcher.Flagging) map[string]part {
	text := func(to *string) part {
		return part{take: func(v string) error { *to = v; return nil }}
	}
	yes := func(name string, to *bool) part {
		return part{take: func(v string) error {
			if v != "true" && v != "false" {
				return refuse(pInvalid, "part %s: %q; accepted are true and false", name, v)
			}
			*to = v == "true"
			return nil
		}}
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
		"expires_at": {take: func(v string) (err error) {
			if f.ExpiresAt, err = time.Parse(time.RFC3339, v); err != nil {
				return refuse(pInvalid, "part expires_at: %.64q; accepted is a time as 2026-11-22T06:00:00Z", v)
			}
			return nil
		}},
		"exact_only":         yes("exact_only", &f.ExactOnly),
		"despite_known_good": yes("despite_known_good", &f.DespiteKnownGood),
	}
}

// ListEntries answers GET /v1/entries.
func (s *Server) ListEntries(ctx context.Context, r v1.ListEntriesRequestObject) (v1.ListEntriesResponseObject, error) {
	gate := s.o.Admission.rest
	if searches(r.Params) {
		gate = s.o.Admission.text
	}
	leave, err := gate.enterFor(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if searches(r.Params) {
		return s.searchEntries(ctx, r.Params)
	}
	limit := or(r.Params.Limit, 100)
	q := storage.EntryQuery{
		Limit: limit + 1, Status: storage.Status(or(r.Params.Status, "")), Label: or(r.Params.Label, ""), Waiting: or(r.Params.Waiting, false),
	}
	if q.After, err = cursorIn[storage.EntryID](r.Params.Cursor); err != nil {
		return nil, err
	}
	if q.Banks, _, err = s.matcher.Readable(who(ctx)); err != nil { // nil, if it is all
		return nil, err
	}
	out := v1.ListEntries200JSONResponse{Entries: []v1.Entry{}}
	err = s.catalogue.View(ctx, func(reader storage.Reader) error {
		if r.Params.Bank != nil {
			b, err := matcher.NamedBank(reader, who(ctx), *r.Params.Bank)
			if err != nil {
				return err
			}
			q.Bank = b.ID
		}
		byID, err := banksIn(ctx, reader)
		if err != nil {
			return err
		}
		page, err := reader.Entries(q) // one more than asked for tells whether there is a next page
		if err != nil {
			return err
		}
		if len(page) > limit {
			page = page[:limit]
			out.Next = some(cursorOut(page[limit-1].ID))
		}
		counters, err := matcher.CountersOf(reader, who(ctx), page)
		if err != nil {
			return err
		}
		for _, e := range page {
			one := listedOut(e, byID[e.Bank])
			if err := s.beside(ctx, &one, counters[e.ID]); err != nil {
				return err
			}
			out.Entries = append(out.Entries, one)
		}
		return nil
	})
	return out, err
}

// entry reads an entry for an answer, if err is nil.
func (s *Server) entry(ctx context.Context, id int64, err error) (v1.Entry, error) {
	if err != nil {
		return v1.Entry{}, err
	}
	e, b, err := s.matcher.Entry(ctx, who(ctx), storage.EntryID(id))
	if err != nil {
		return v1.Entry{}, err
	}
	counters, err := s.matcher.Counters(ctx, who(ctx), []storage.EntryID{e.ID})
	if err != nil {
		return v1.Entry{}, err
	}
	_, tally, err := s.matcher.Opinions(ctx, who(ctx), e.ID)
	if err != nil {
		return v1.Entry{}, err
	}
	called, err := s.names(ctx)
	if err != nil {
		return v1.Entry{}, err
	}
	b.Name = called.banks[b.ID]
	out := entryOut(e, b)
	out.Opinions = tallyOut(tally)
	return out, s.beside(ctx, &out, counters[e.ID])
}

// beside adds to an entry what it did, and what the party of who asks holds of it.
func (s *Server) beside(ctx context.Context, e *v1.Entry, c storage.Counters) error {
	if c != (storage.Counters{}) {
		e.Counters = &v1.Counters{
			Hour: int64(c.Hour), Day: int64(c.Day), Total: int64(c.Total), Confirmed: int64(c.Confirmed), Overturned: int64(c.Overturned),
		}
	}
	o, err := s.matcher.OverlayOf(who(ctx), storage.EntryID(e.Id))
	if err == nil && !o.Empty() {
		e.Overlay = &v1.Overlay{Disabled: o.Disabled}
		if o.Labels != nil {
			labels := labelsOut(o.Labels)
			e.Overlay.Labels = &labels
		}
	}
	return err
}

// GetEntry answers GET /v1/entries/{entry}.
func (s *Server) GetEntry(ctx context.Context, r v1.GetEntryRequestObject) (v1.GetEntryResponseObject, error) {
	e, err := s.entry(ctx, r.Entry, nil)
	return v1.GetEntry200JSONResponse(e), err
}

// ChangeEntry answers PATCH /v1/entries/{entry}.
func (s *Server) ChangeEntry(ctx context.Context, r v1.ChangeEntryRequestObject) (v1.ChangeEntryResponseObject, error) {
	edit := matcher.EntryEdit{Labels: r.Body.Labels, Note: r.Body.Note, ExpiresAt: r.Body.ExpiresAt}
	if or(r.Body.NeverExpires, false) {
		if edit.ExpiresAt != nil {
			return nil, refuse(pInvalid, "expires_at and never_expires; accepted is one of them")
		}
		edit.ExpiresAt = &time.Time{}
	}
	e, err := s.entry(ctx, r.Entry, s.matcher.Edit(ctx, who(ctx), storage.EntryID(r.Entry), edit))
	return v1.ChangeEntry200JSONResponse(e), err
}

// Retract answers POST /v1/entries/{entry}/retract.
func (s *Server) Retract(ctx context.Context, r v1.RetractRequestObject) (v1.RetractResponseObject, error) {
	e, err := s.entry(ctx, r.Entry, s.matcher.Retract(ctx, who(ctx), storage.EntryID(r.Entry), r.Body.Reason))
	if err == nil && e.Status == v1.Status(storage.Retracted) {
		e.ToRestore = s.toRestore(ctx, storage.EntryID(r.Entry))
	}
	return v1.Retract200JSONResponse(e), err
}

// Restore answers POST /v1/entries/{entry}/restore.
func (s *Server) Restore(ctx context.Context, r v1.RestoreRequestObject) (v1.RestoreResponseObject, error) {
	e, err := s.entry(ctx, r.Entry, s.matcher.Restore(ctx, who(ctx), storage.EntryID(r.Entry), r.Body.Reason))
	if err == nil {
		e.PastUploads = s.pastUploads(ctx, storage.EntryID(r.Entry))
	}
	return v1.Restore200JSONResponse(e), err
}

// ConfirmEntry answers POST /v1/entries/{entry}/confirm.
func (s *Server) ConfirmEntry(ctx context.Context, r v1.ConfirmEntryRequestObject) (v1.ConfirmEntryResponseObject, error) {
	e, err := s.entry(ctx, r.Entry, s.matcher.Confirm(ctx, who(ctx), storage.EntryID(r.Entry)))
	if err == nil {
		e.PastUploads = s.pastUploads(ctx, storage.EntryID(r.Entry))
	}
	return v1.ConfirmEntry200JSONResponse(e), err
}

// RejectEntry answers POST /v1/entries/{entry}/reject.
func (s *Server) RejectEntry(ctx context.Context, r v1.RejectEntryRequestObject) (v1.RejectEntryResponseObject, error) {
	e, err := s.entry(ctx, r.Entry, s.matcher.Reject(ctx, who(ctx), storage.EntryID(r.Entry), r.Body.Reason))
	return v1.RejectEntry200JSONResponse(e), err
}
