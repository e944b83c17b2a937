package api

import (
	"context"

	v1 "vigie/api/v1"
	"vigie/matcher"
)

// ListNodes answers GET /v1/nodes.
func (s *Server) ListNodes(ctx context.Context, r v1.ListNodesRequestObject) (v1.ListNodesResponseObject, error) {
	var verified *v1.VerifiedNodes
	if or(r.Params.Verify, false) {
		v, err := s.matcher.VerifyNodes(ctx, who(ctx))
		if err != nil {
			return nil, err
		}
		verified = &v1.VerifiedNodes{
			Seq: int64(v.Catalogue.Seq), Digest: v.Catalogue.Digest.String(),
			Agree: ids(v.Agree), Differ: ids(v.Differ), Unknown: ids(v.Unknown),
		}
	}
	all, err := s.matcher.Nodes(ctx, who(ctx))
	if err != nil {
		return nil, err
	}
	out := v1.ListNodes200JSONResponse{LogId: all.Head.LogID, Head: int64(all.Head.Seq), Nodes: []v1.Node{}, Verified: verified}
	for _, n := range all.Nodes {
		out.Nodes = append(out.Nodes, nodeOut(n))
	}
	return out, nil
}

func nodeOut(n matcher.NodeView) v1.Node {
	out := v1.Node{
		Id: n.ID, Name: n.Name, Version: n.Version, State: v1.NodeState(n.State), Ready: n.Ready, StartedAt: n.StartedAt, At: n.At,
		LogId: n.LogID, OtherLog: some(n.Other), Seq: int64(n.Seq), Lag: int64(n.Lag), StalenessMs: n.Staleness.Milliseconds(),
		Backlog: int64(n.Backlog), Agrees: ids(n.Agrees), Contradicts: ids(n.Contradicts), Uncompared: ids(n.Uncompared),
	}
	for _, sum := range n.Sums {
		if sum.Seq == n.Seq {
			out.Digest = some(sum.Digest)
		}
	}
	return out
}

// ids is a list that is there if it is empty.
func ids(of []string) []string {
	if of == nil {
		return []string{}
	}
	return of
}
