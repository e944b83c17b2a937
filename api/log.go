package api

import (
	"context"
	"encoding/hex"
	"time"

	v1 "vigie/api/v1"
	"vigie/storage"
)

// ListChanges answers GET /v1/changes.
func (s *Server) ListChanges(ctx context.Context, r v1.ListChangesRequestObject) (v1.ListChangesResponseObject, error) {
	changes, err := s.catalogue.Changes(ctx, uint64(or(r.Params.After, 0)), or(r.Params.Limit, 100))
	if err != nil {
		return nil, err
	}
	head, err := s.catalogue.Head(ctx) // after the changes, so that it is never behind them
	if err != nil {
		return nil, err
	}
	out := v1.ListChanges200JSONResponse{
		LogId: head.LogID, Head: v1.Head{Seq: int64(head.Seq), Root: hex.EncodeToString(head.Root[:])}, Changes: []v1.Change{},
	}
	for _, c := range changes {
		if c.Key != "" && !maySeeKeys(ctx) {
			c.Private, c.Salt = nil, nil // whose key it is
		}
		out.Changes = append(out.Changes, changeOut(c))
	}
	return out, nil
}

// maySeeKeys reports whether who asks may list keys.
func maySeeKeys(ctx context.Context) bool {
	p, _ := ctx.Value(principalKey{}).(principal)
	return p.Role == storage.Admin || p.Role == storage.Auditor
}

// ListKeys answers GET /v1/keys.
func (s *Server) ListKeys(ctx context.Context, _ v1.ListKeysRequestObject) (v1.ListKeysResponseObject, error) {
	out := v1.ListKeys200JSONResponse{Keys: []v1.Key{}}
	err := s.catalogue.View(ctx, func(reader storage.Reader) error {
		keys, err := reader.Keys()
		for _, k := range keys {
			out.Keys = append(out.Keys, keyOut(k))
		}
		return err
	})
	return out, err
}

// CreateKey answers POST /v1/keys.
func (s *Server) CreateKey(ctx context.Context, r v1.CreateKeyRequestObject) (v1.CreateKeyResponseObject, error) {
	key, secret, err := s.matcher.CreateKey(ctx, actor(ctx), r.Body.Name, storage.Role(r.Body.Role), or(r.Body.ExpiresAt, time.Time{}))
	return v1.CreateKey201JSONResponse{Key: keyOut(key), Secret: secret}, err
}

// RevokeKey answers DELETE /v1/keys/{key}.
func (s *Server) RevokeKey(ctx context.Context, r v1.RevokeKeyRequestObject) (v1.RevokeKeyResponseObject, error) {
	key, err := s.matcher.RevokeKey(ctx, actor(ctx), r.Key)
	return v1.RevokeKey200JSONResponse(keyOut(key)), err
}
