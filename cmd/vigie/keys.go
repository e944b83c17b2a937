package main

import (
	"context"
	"fmt"
	"time"

	v1 "vigie/api/v1"
)

type keysCmd struct {
	List    keysListCmd  `cmd:"" default:"withargs" help:"List keys."`
	Create  keyCreateCmd `cmd:"" help:"Create a key; it is shown once."`
	Revoke  keyRevokeCmd `cmd:"" help:"Revoke a key."`
	SignIns signInsCmd   `cmd:"" help:"List the uses of keys: the first from a network in each hour."`
}

type keysListCmd struct{}

// Run lists keys, never their secrets.
func (c *keysListCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	out, err := ask[struct{ Keys []v1.Key }](node.ListKeys(ctx))
	if err != nil {
		return err
	}
	return list(a.printer, out.Keys, []string{"KEY", "ROLE", "PARTY", "STATE", "CREATED", "NAME"}, func(k v1.Key) []string {
		return []string{k.Id, string(k.Role), k.Party, keyState(k), k.CreatedAt.Local().Format(stamp), k.Name}
	})
}

func keyState(k v1.Key) string {
	switch {
	case k.RevokedAt != nil:
		return "revoked"
	case k.ExpiresAt == nil:
		return "valid"
	case k.ExpiresAt.Before(time.Now()):
		return "expired"
	}
	return "valid until " + k.ExpiresAt.Local().Format(stamp)
}

type keyCreateCmd struct {
	Role    v1.Role       `required:"" help:"platform, analyst, admin or auditor." placeholder:"ROLE"`
	Party   *string       `help:"The party that it acts for: your own, unless you are the operator." placeholder:"PARTY"`
	Expires time.Duration `help:"Valid for so long, such as 720h; 0: for ever." default:"0s"`
	Out     string        `help:"Write the key to this file, which must not exist, instead of printing it." placeholder:"FILE"`
	Name    string        `arg:"" help:"Whose key it is."`
}

// Run creates a key and shows it, once.
func (c *keyCreateCmd) Run(ctx context.Context, a *app) error {
	if c.Expires < 0 {
		return usagef("--expires: %v; it must not be negative", c.Expires)
	}
	node, err := a.connectOrMake(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	request := v1.NewKey{Name: c.Name, Role: c.Role, Party: c.Party}
	if c.Expires > 0 {
		at := time.Now().Add(c.Expires).UTC()
		request.ExpiresAt = &at
	}
	return a.showSecret(c.Out, func() (secret, error) {
		k, err := ask[v1.CreatedKey](node.CreateKey(ctx, request))
		return secret{
			text: k.Secret, what: fmt.Sprintf("key %s (%s)", k.Key.Id, k.Key.Role),
			intro: fmt.Sprintf("The %s key %s, shown this once; it is stored nowhere:", k.Key.Role, k.Key.Id), whole: k, rest: k.Key,
		}, err
	})
}

type keyRevokeCmd struct {
	Key string `arg:"" help:"The key's id: the middle part of vg_<id>_<secret>."`
}

// Run revokes a key.
func (c *keyRevokeCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	key, err := ask[v1.Key](node.RevokeKey(ctx, c.Key))
	if err != nil {
		return err
	}
	if a.json {
		return a.object(key)
	}
	a.say("key %s is revoked", key.Id)
	return nil
}

type signInsCmd struct {
	period
	Limit int `help:"At most so many; 0: all." default:"0"`
}

// Run lists uses of keys, newest first.
func (c *signInsCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	p := v1.ListSignInsParams{}
	p.From, p.Until = c.bounds()
	used := pages(c.Limit, 500, func(cursor *string, limit *int) ([]v1.SignIn, *string, error) {
		p.Cursor, p.Limit = cursor, limit
		type page struct {
			SignIns []v1.SignIn `json:"sign_ins"`
			Next    *string
		}
		out, err := ask[page](node.ListSignIns(ctx, &p))
		return out.SignIns, out.Next, err
	})
	return stream(a.printer, used, []string{"AT", "KEY", "PARTY", "NETWORK"}, func(s v1.SignIn) []string {
		return []string{s.At.Local().Format(stamp), s.Key, s.Party, value(s.Network)}
	})
}
