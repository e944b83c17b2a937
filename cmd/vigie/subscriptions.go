package main

import (
	"context"

	v1 "vigie/api/v1"
)

type subscribedCmd struct {
	List subscriptionsListCmd `cmd:"" default:"withargs" help:"List the banks that your party may subscribe to, and what counts of them."`
	Set  subscribeCmd         `cmd:"" help:"Subscribe to a bank, or not. It sets the whole subscription: what is left out has its default."`
}

type subscriptionsListCmd struct{}

var subscriptionHeader = []string{"BANK", "KIND", "OWNER", "COUNTS", "ACTION", "RADIUS", "CAP", "LINK"}

// Run lists subscriptions.
func (subscriptionsListCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	out, err := ask[struct{ Subscriptions []v1.Subscription }](node.ListSubscriptions(ctx))
	if err != nil {
		return err
	}
	return list(a.printer, out.Subscriptions, subscriptionHeader, subscriptionRow)
}

// subscriptionRow shows what counts: the action and the radius are those of the bank as the subscription bounds them.
func subscriptionRow(s v1.Subscription) []string {
	counts := yesNo(s.On)
	if !s.Said {
		counts += ", unsaid"
	}
	return []string{
		s.Bank, string(s.Kind), s.Owner, counts, string(s.Policy.Action), radiusWords(s.Policy.Radius), radiusWords(value(s.Cap)),
		value(s.Policy.Link),
	}
}

type subscribeCmd struct {
	bankName
	On     bool          `help:"Its matches count for your party's checks; this is the default." default:"true" negatable:"off"`
	Cap    thresholdBits `help:"Bounds the distance that counts, whatever the bank's radius is; an algorithm left out is not bounded." placeholder:"ALGORITHM=BITS,..."`
	Action *v1.Action    `help:"In place of the bank's: block, hold, review, redirect, label or log. Left out: your own bank's action, of another's bank review." placeholder:"ACTION"`
	Link   *string       `help:"Goes with the action redirect, in place of the bank's." placeholder:"URL"`
}

// Run sets a subscription.
func (c *subscribeCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	request := v1.NewSubscription{On: &c.On, Action: c.Action, Link: c.Link}
	if len(c.Cap) > 0 {
		bounds := v1.Radius(c.Cap)
		request.Cap = &bounds
	}
	s, err := ask[v1.Subscription](node.Subscribe(ctx, c.Name, request))
	if err != nil {
		return err
	}
	return list(a.printer, []v1.Subscription{s}, subscriptionHeader, subscriptionRow)
}
