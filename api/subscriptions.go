package api

import (
	"context"

	v1 "vigie/api/v1"
	"vigie/hashing"
	"vigie/matcher"
)

// ListSubscriptions answers GET /v1/subscriptions.
func (s *Server) ListSubscriptions(ctx context.Context, _ v1.ListSubscriptionsRequestObject) (v1.ListSubscriptionsResponseObject, error) {
	subs, err := s.matcher.Subscriptions(who(ctx))
	if err != nil {
		return nil, err
	}
	called, err := s.names(ctx)
	out := v1.ListSubscriptions200JSONResponse{Subscriptions: []v1.Subscription{}}
	for _, sub := range subs {
		out.Subscriptions = append(out.Subscriptions, subscriptionOut(sub, called))
	}
	return out, err
}

// Subscribe answers PUT /v1/subscriptions/{bank}.
func (s *Server) Subscribe(ctx context.Context, r v1.SubscribeRequestObject) (v1.SubscribeResponseObject, error) {
	reach, err := radiusIn(or(r.Body.Cap, nil))
	if err != nil {
		return nil, err
	}
	on, action, link := or(r.Body.On, true), string(or(r.Body.Action, "")), or(r.Body.Link, "")
	sub, err := s.matcher.Subscribe(ctx, who(ctx), r.Bank, matcher.SubscriptionEdit{On: &on, Cap: &reach, Action: &action, Link: &link})
	if err != nil {
		return nil, err
	}
	called, err := s.names(ctx)
	return v1.Subscribe200JSONResponse(subscriptionOut(sub, called)), err
}

func subscriptionOut(s matcher.Subscription, called names) v1.Subscription {
	return v1.Subscription{
		Bank: called.banks[s.Bank.ID], Kind: v1.BankKind(s.Bank.Kind), Owner: called.parties[s.Bank.Owner], On: s.On, Said: s.Said,
		Cap: capOut(s.Cap), Action: some(v1.Action(s.Action)), Link: some(s.Link), Policy: policyOut(s.Count),
	}
}

func capOut(reach map[hashing.Algorithm]int) *v1.Radius {
	if len(reach) == 0 {
		return nil
	}
	out := radiusOut(reach)
	return &out
}
