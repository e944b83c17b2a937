package api

import (
	"context"
	"time"

	v1 "vigie/api/v1"
	"vigie/matcher"
	"vigie/storage"
)

// ListKeys answers GET /v1/keys.
func (s *Server) ListKeys(ctx context.Context, _ v1.ListKeysRequestObject) (v1.ListKeysResponseObject, error) {
	p := who(ctx)
	_, all, err := s.matcher.Readable(p)
	if err != nil {
		return nil, err
	}
	out := v1.ListKeys200JSONResponse{Keys: []v1.Key{}}
	err = s.catalogue.View(ctx, func(reader storage.Reader) error {
		called, err := namesIn(ctx, reader)
		if err != nil {
			return err
		}
		keys, err := reader.Keys()
		for _, k := range keys {
			if all || k.Party == p.Party {
				out.Keys = append(out.Keys, keyOut(k, called))
			}
		}
		return err
	})
	return out, err
}

// CreateKey answers POST /v1/keys.
func (s *Server) CreateKey(ctx context.Context, r v1.CreateKeyRequestObject) (v1.CreateKeyResponseObject, error) {
	key, secret, err := s.matcher.CreateKey(ctx, who(ctx), matcher.NewKey{
		Name: r.Body.Name, Role: storage.Role(r.Body.Role), Party: or(r.Body.Party, ""), Expires: or(r.Body.ExpiresAt, time.Time{}),
	})
	if err != nil {
		return nil, err
	}
	if secret == "" { // the request came again
		return nil, refuse(pSecretShown, "it is the key %s", key.ID)
	}
	called, err := s.names(ctx)
	if err != nil { // the key is made, and this is the only time that its secret can be told
		called = names{parties: map[storage.PartyID]string{key.Party: or(r.Body.Party, "")}}
	}
	return v1.CreateKey201JSONResponse{Key: keyOut(key, called), Secret: secret}, nil
}

// RevokeKey answers DELETE /v1/keys/{key}.
func (s *Server) RevokeKey(ctx context.Context, r v1.RevokeKeyRequestObject) (v1.RevokeKeyResponseObject, error) {
	key, err := s.matcher.RevokeKey(ctx, who(ctx), r.Key)
	if err != nil {
		return nil, err
	}
	called, err := s.names(ctx)
	return v1.RevokeKey200JSONResponse(keyOut(key, called)), err
}

// Whoami answers GET /v1/whoami.
func (s *Server) Whoami(ctx context.Context, _ v1.WhoamiRequestObject) (v1.WhoamiResponseObject, error) {
	p := who(ctx)
	out := v1.Whoami200JSONResponse{Key: p.Actor, Role: v1.Role(p.Role)}
	err := s.catalogue.View(ctx, func(reader storage.Reader) error {
		party, err := reader.Party(p.Party)
		if err != nil {
			return err
		}
		out.Party = party.Name
		if p != matcher.Local() {
			key, err := reader.Key(p.Actor)
			if err != nil {
				return err
			}
			out.Name = &key.Name
		}
		return nil
	})
	return out, err
}

// ListSignIns answers GET /v1/sign-ins.
func (s *Server) ListSignIns(ctx context.Context, r v1.ListSignInsRequestObject) (v1.ListSignInsResponseObject, error) {
	limit := or(r.Params.Limit, 100)
	before, err := cursorIn[uint64](r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	page, err := s.matcher.SignIns(ctx, who(ctx), storage.SignInQuery{
		Before: before, Limit: limit + 1, From: or(r.Params.From, time.Time{}), Until: or(r.Params.Until, time.Time{}),
	})
	if err != nil {
		return nil, err
	}
	called, err := s.names(ctx)
	out := v1.ListSignIns200JSONResponse{SignIns: []v1.SignIn{}}
	if len(page) > limit {
		page = page[:limit]
		out.Next = some(cursorOut(page[limit-1].Ord))
	}
	for _, in := range page {
		out.SignIns = append(out.SignIns, v1.SignIn{At: in.At, Key: in.Key, Party: called.parties[in.Party], Network: some(in.Address)})
	}
	return out, err
}
