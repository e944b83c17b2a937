package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	v1 "vigie/api/v1"
)

type webhooksCmd struct {
	List   webhooksListCmd  `cmd:"" default:"withargs" help:"List webhooks."`
	Create webhookCreateCmd `cmd:"" help:"Have a URL told of what happens; the secret that signs is shown once."`
	Change webhookChangeCmd `cmd:"" help:"Change a webhook; switch it off and on."`
	Rotate webhookRotateCmd `cmd:"" help:"Replace the secret that signs; it is shown once."`
	Test   webhookTestCmd   `cmd:"" help:"Send a ping, once, now."`
	Dead   webhookDeadCmd   `cmd:"" help:"List deliveries that were given up."`
	Replay webhookReplayCmd `cmd:"" help:"Try deliveries again that were given up."`
	Delete webhookDeleteCmd `cmd:"" help:"Delete a webhook."`
}

type webhookID struct {
	ID int64 `arg:"" help:"The webhook's number."`
}

var webhookHeader = []string{"WEBHOOK", "PARTY", "STATE", "KINDS", "URL"}

func webhookRow(h v1.Webhook) []string {
	kinds := make([]string, len(h.Kinds))
	for i, k := range h.Kinds {
		kinds[i] = string(k)
	}
	state := "on"
	switch d := value(h.Deliveries); {
	case !h.On:
		state = "off: " + value(h.Disabled)
	case d.Failing > 0:
		state = fmt.Sprintf("FAILING: %d of %d pending, the oldest of %s: %s", d.Failing, d.Pending, value(d.OldestAt).Local().Format(stamp), value(d.Error))
	case d.Pending > 0:
		state = fmt.Sprintf("on, %d pending", d.Pending)
	}
	return []string{strconv.FormatInt(h.Id, 10), h.Party, state, strings.Join(kinds, ","), h.Url}
}

type webhooksListCmd struct{}

// Run lists webhooks, never their secrets.
func (webhooksListCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	out, err := ask[struct{ Webhooks []v1.Webhook }](node.ListWebhooks(ctx))
	if err != nil {
		return err
	}
	return list(a.printer, out.Webhooks, webhookHeader, webhookRow)
}

type webhookCreateCmd struct {
	URL   string         `arg:"" help:"Where to send events: https://host/path."`
	Kinds []v1.EventKind `arg:"" help:"${event_kinds}."`
	Out   string         `help:"Write the secret to this file, which must not exist, instead of printing it." placeholder:"FILE"`
}

// Run creates a webhook and shows its secret, once.
func (c *webhookCreateCmd) Run(ctx context.Context, a *app) error {
	return a.showWebhook(ctx, c.Out, func(node *client) (*http.Response, error) {
		return node.CreateWebhook(ctx, v1.NewWebhook{Url: c.URL, Kinds: c.Kinds})
	})
}

type webhookRotateCmd struct {
	webhookID
	Keep int    `help:"Hours that the old secret signs, too, 0 to 168." default:"24"`
	Out  string `help:"Write the secret to this file, which must not exist, instead of printing it." placeholder:"FILE"`
}

// Run replaces a secret and shows it, once.
func (c *webhookRotateCmd) Run(ctx context.Context, a *app) error {
	return a.showWebhook(ctx, c.Out, func(node *client) (*http.Response, error) {
		return node.RotateWebhook(ctx, c.ID, v1.WebhookRotation{KeepHours: &c.Keep})
	})
}

// showWebhook shows the secret that a request has made.
func (a *app) showWebhook(ctx context.Context, path string, request func(*client) (*http.Response, error)) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	return a.showSecret(path, func() (secret, error) {
		h, err := ask[v1.CreatedWebhook](request(node))
		what := fmt.Sprintf("the secret of webhook %d", h.Webhook.Id)
		return secret{text: h.Secret, what: what, intro: "T" + what[1:] + ", shown this once:", whole: h, rest: h.Webhook}, err
	})
}

type webhookChangeCmd struct {
	webhookID
	URL   *string        `help:"Where to send events." placeholder:"URL"`
	Kinds []v1.EventKind `help:"All kinds that it is told of." placeholder:"KIND,..."`
	On    *bool          `help:"Send, or do not: what happens while it is off is never sent." negatable:"off"`
}

// Run changes a webhook.
func (c *webhookChangeCmd) Run(ctx context.Context, a *app) error {
	if c.URL == nil && c.On == nil && len(c.Kinds) == 0 {
		return usagef("name what to change: --url, --kinds, --on or --off")
	}
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	edit := v1.WebhookEdit{Url: c.URL, On: c.On}
	if len(c.Kinds) > 0 {
		edit.Kinds = &c.Kinds
	}
	h, err := ask[v1.Webhook](node.ChangeWebhook(ctx, c.ID, edit))
	if err != nil {
		return err
	}
	return list(a.printer, []v1.Webhook{h}, webhookHeader, webhookRow)
}

type webhookTestCmd struct{ webhookID }

// Run sends a ping and says what came of it.
func (c *webhookTestCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	out, err := ask[v1.WebhookTest](node.TestWebhook(ctx, c.ID))
	if err != nil {
		return err
	}
	if a.json {
		if err := a.object(out); err != nil {
			return err
		}
	} else if out.Delivered {
		a.say("delivered: answered %d", value(out.Status))
	} else {
		a.warn("webhook %d: %s", c.ID, value(out.Error))
	}
	if !out.Delivered {
		return errSomeFailed
	}
	return nil
}

type webhookDeadCmd struct {
	webhookID
	Limit int `help:"At most so many; 0: all." default:"0"`
}

// Run lists deliveries that were given up, oldest first.
func (c *webhookDeadCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	dead := pages(c.Limit, 500, node.deadDeliveries(ctx, c.ID))
	return stream(a.printer, dead, []string{"DELIVERY", "CREATED", "DIED", "EVENTS", "ATTEMPTS", "ERROR"}, func(d v1.DeadDelivery) []string {
		return []string{
			strconv.FormatInt(d.Id, 10), d.CreatedAt.Local().Format(stamp), d.DiedAt.Local().Format(stamp), strconv.Itoa(d.Events),
			strconv.Itoa(d.Attempts), d.Error,
		}
	})
}

func (n *client) deadDeliveries(ctx context.Context, id int64) func(cursor *string, limit *int) ([]v1.DeadDelivery, *string, error) {
	return func(cursor *string, limit *int) ([]v1.DeadDelivery, *string, error) {
		type page struct {
			Dead []v1.DeadDelivery
			Next *string
		}
		out, err := ask[page](n.ListDeadDeliveries(ctx, id, &v1.ListDeadDeliveriesParams{Cursor: cursor, Limit: limit}))
		return out.Dead, out.Next, err
	}
}

type webhookReplayCmd struct {
	webhookID
	Deliveries []int64 `arg:"" optional:"" help:"Their numbers in the list of the dead; none: all."`
}

// Run has deliveries tried again.
func (c *webhookReplayCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	if len(c.Deliveries) == 0 {
		out, err := ask[struct{ Replayed int }](node.ReplayDeliveries(ctx, c.ID))
		if err != nil {
			return err
		}
		a.say("%d deliveries are on their way", out.Replayed)
		return nil
	}
	for _, d := range c.Deliveries {
		if err := done(node.ReplayDelivery(ctx, c.ID, d)); err != nil {
			return err
		}
	}
	a.say("%d deliveries are on their way", len(c.Deliveries))
	return nil
}

// done is ask for what is answered with nothing.
func done(response *http.Response, err error) error {
	if err == nil && response.StatusCode == http.StatusNoContent {
		return response.Body.Close()
	}
	_, err = ask[struct{}](response, err)
	return err
}

type webhookDeleteCmd struct{ webhookID }

// Run deletes a webhook.
func (c *webhookDeleteCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	if err := done(node.DeleteWebhook(ctx, c.ID)); err != nil {
		return err
	}
	a.say("webhook %d is deleted", c.ID)
	return nil
}
