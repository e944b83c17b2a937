package api

import (
	"context"
	"net/url"
	"time"

	v1 "vigie/api/v1"
	"vigie/matcher"
	"vigie/storage"
	"vigie/webhook"
)

// webhooks is what sends, or a refusal.
func (s *Server) webhooks() (*webhook.Service, error) {
	if s.o.Webhooks == nil {
		return nil, refuse(pNoWebhooks, "")
	}
	return s.o.Webhooks, nil
}

// ListWebhooks answers GET /v1/webhooks.
func (s *Server) ListWebhooks(ctx context.Context, _ v1.ListWebhooksRequestObject) (v1.ListWebhooksResponseObject, error) {
	hooks, err := s.matcher.Webhooks(ctx, who(ctx))
	if err != nil {
		return nil, err
	}
	called, err := s.names(ctx)
	if err != nil {
		return nil, err
	}
	out := v1.ListWebhooks200JSONResponse{Webhooks: []v1.Webhook{}}
	for _, h := range hooks {
		out.Webhooks = append(out.Webhooks, webhookOut(ctx, h, called))
	}
	s.addPending(ctx, out.Webhooks)
	return out, nil
}

// addPending adds what is still to be delivered, if that can be found out.
func (s *Server) addPending(ctx context.Context, hooks []v1.Webhook) {
	if s.o.Webhooks == nil || len(hooks) == 0 {
		return
	}
	pending, err := inTurn(ctx, s, s.o.Webhooks.Pending)
	if err != nil {
		s.o.Logger.WarnContext(ctx, "count the deliveries of webhooks", "error", err)
		return
	}
	for i := range hooks {
		p := pending[storage.WebhookID(hooks[i].Id)]
		hooks[i].Deliveries = &v1.PendingDeliveries{Pending: p.Jobs, Failing: p.Failing, OldestAt: some(p.Oldest), Error: some(p.Error)}
	}
}

// CreateWebhook answers POST /v1/webhooks.
func (s *Server) CreateWebhook(ctx context.Context, r v1.CreateWebhookRequestObject) (v1.CreateWebhookResponseObject, error) {
	hooks, err := s.webhooks()
	if err != nil {
		return nil, err
	}
	h, err := hooks.Create(ctx, who(ctx), matcher.WebhookEdit{URL: &r.Body.Url, Kinds: kindsIn(&r.Body.Kinds)})
	if err != nil {
		return nil, err
	}
	out, err := s.withSecret(ctx, h)
	return v1.CreateWebhook201JSONResponse(out), err
}

// withSecret shows a secret that was just made: the only time that it can be told, whatever else cannot be read.
func (s *Server) withSecret(ctx context.Context, h storage.Webhook) (v1.CreatedWebhook, error) {
	if h.Secret == "" { // the request came again
		return v1.CreatedWebhook{}, refuse(pSecretShown, "it is the secret of webhook %d; rotate it if it was lost", h.ID)
	}
	called, _ := s.names(ctx)
	return v1.CreatedWebhook{Webhook: webhookOut(ctx, h, called), Secret: h.Secret}, nil
}

// GetWebhook answers GET /v1/webhooks/{webhook}.
func (s *Server) GetWebhook(ctx context.Context, r v1.GetWebhookRequestObject) (v1.GetWebhookResponseObject, error) {
	h, err := s.matcher.Webhook(ctx, who(ctx), storage.WebhookID(r.Webhook))
	if err != nil {
		return nil, err
	}
	called, err := s.names(ctx)
	if err != nil {
		return nil, err
	}
	out := []v1.Webhook{webhookOut(ctx, h, called)}
	s.addPending(ctx, out)
	return v1.GetWebhook200JSONResponse(out[0]), nil
}

// ChangeWebhook answers PATCH /v1/webhooks/{webhook}.
func (s *Server) ChangeWebhook(ctx context.Context, r v1.ChangeWebhookRequestObject) (v1.ChangeWebhookResponseObject, error) {
	hooks, err := s.webhooks()
	if err != nil {
		return nil, err
	}
	h, err := hooks.Change(ctx, who(ctx), storage.WebhookID(r.Webhook), matcher.WebhookEdit{URL: r.Body.Url, Kinds: kindsIn(r.Body.Kinds), On: r.Body.On})
	if err != nil {
		return nil, err
	}
	called, err := s.names(ctx)
	return v1.ChangeWebhook200JSONResponse(webhookOut(ctx, h, called)), err
}

// DeleteWebhook answers DELETE /v1/webhooks/{webhook}.
func (s *Server) DeleteWebhook(ctx context.Context, r v1.DeleteWebhookRequestObject) (v1.DeleteWebhookResponseObject, error) {
	remove := s.matcher.DeleteWebhook // what is on its way to it ends by itself
	if s.o.Webhooks != nil {
		remove = s.o.Webhooks.Delete
	}
	return v1.DeleteWebhook204Response{}, remove(ctx, who(ctx), storage.WebhookID(r.Webhook))
}

// RotateWebhook answers POST /v1/webhooks/{webhook}/rotate.
func (s *Server) RotateWebhook(ctx context.Context, r v1.RotateWebhookRequestObject) (v1.RotateWebhookResponseObject, error) {
	keep := time.Duration(or(r.Body.KeepHours, 24)) * time.Hour
	h, err := s.matcher.RotateWebhook(ctx, who(ctx), storage.WebhookID(r.Webhook), keep)
	if err != nil {
		return nil, err
	}
	out, err := s.withSecret(ctx, h)
	return v1.RotateWebhook200JSONResponse(out), err
}

// TestWebhook answers POST /v1/webhooks/{webhook}/test.
func (s *Server) TestWebhook(ctx context.Context, r v1.TestWebhookRequestObject) (v1.TestWebhookResponseObject, error) {
	hooks, err := s.webhooks()
	if err != nil {
		return nil, err
	}
	p, err := hooks.Ping(ctx, who(ctx), storage.WebhookID(r.Webhook))
	if err != nil {
		return nil, err
	}
	out := v1.TestWebhook200JSONResponse{Delivered: p.Err == nil, Status: some(p.Status)}
	if p.Err != nil {
		out.Error = some(p.Err.Error())
	}
	return out, nil
}

// ListDeadDeliveries answers GET /v1/webhooks/{webhook}/dead.
func (s *Server) ListDeadDeliveries(ctx context.Context, r v1.ListDeadDeliveriesRequestObject) (v1.ListDeadDeliveriesResponseObject, error) {
	hooks, err := s.webhooks()
	if err != nil {
		return nil, err
	}
	after, err := cursorIn[uint64](r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	dead, next, err := hooks.Dead(ctx, who(ctx), storage.WebhookID(r.Webhook), int64(after), or(r.Params.Limit, 100))
	if err != nil {
		return nil, err
	}
	out := v1.ListDeadDeliveries200JSONResponse{Dead: []v1.DeadDelivery{}}
	if next > 0 {
		out.Next = some(cursorOut(uint64(next)))
	}
	for _, d := range dead {
		out.Dead = append(out.Dead, v1.DeadDelivery{
			Id: d.ID, Delivery: d.Delivery, Events: d.Events, Error: d.Error, Attempts: d.Attempts, CreatedAt: d.Created, DiedAt: d.Died,
		})
	}
	return out, nil
}

// ReplayDelivery answers POST /v1/webhooks/{webhook}/dead/{delivery}/replay.
func (s *Server) ReplayDelivery(ctx context.Context, r v1.ReplayDeliveryRequestObject) (v1.ReplayDeliveryResponseObject, error) {
	hooks, err := s.webhooks()
	if err != nil {
		return nil, err
	}
	return v1.ReplayDelivery204Response{}, hooks.Replay(ctx, who(ctx), storage.WebhookID(r.Webhook), r.Delivery)
}

// ReplayDeliveries answers POST /v1/webhooks/{webhook}/dead/replay.
func (s *Server) ReplayDeliveries(ctx context.Context, r v1.ReplayDeliveriesRequestObject) (v1.ReplayDeliveriesResponseObject, error) {
	hooks, err := s.webhooks()
	if err != nil {
		return nil, err
	}
	n, err := hooks.ReplayAll(ctx, who(ctx), storage.WebhookID(r.Webhook))
	return v1.ReplayDeliveries200JSONResponse{Replayed: n}, err
}

func kindsIn(kinds *[]v1.EventKind) *[]string {
	if kinds == nil {
		return nil
	}
	in := make([]string, len(*kinds))
	for i, k := range *kinds {
		in[i] = string(k)
	}
	return &in
}

// webhookOut shows a webhook, without its secrets; its URL in full to the admins of its party alone.
func webhookOut(ctx context.Context, h storage.Webhook, called names) v1.Webhook {
	out := v1.Webhook{
		Id: int64(h.ID), Party: called.parties[h.Party], Url: h.URL, Kinds: []v1.EventKind{}, On: h.Disabled == "", Disabled: some(h.Disabled),
		OldSecretUntil: some(h.OldUntil), CreatedAt: h.CreatedAt,
	}
	if p := who(ctx); p.Party != h.Party || p.Role != storage.Admin {
		out.Url = ""
		if u, err := url.Parse(h.URL); err == nil {
			out.Url = u.Scheme + "://" + u.Host + "/..."
		}
	}
	for _, k := range h.Kinds {
		out.Kinds = append(out.Kinds, v1.EventKind(k))
	}
	return out
}
