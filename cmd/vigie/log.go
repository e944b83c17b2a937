package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"

	v1 "vigie/api/v1"
	"vigie/storage"
)

type logCmd struct {
	List   logListCmd   `cmd:"" default:"withargs" help:"Print changes."`
	Follow logFollowCmd `cmd:"" help:"Print changes as they come, until it is interrupted."`
	Verify logVerifyCmd `cmd:"" help:"Read the whole log and verify that it is dense and that its root holds."`
}

type logListCmd struct {
	After int64 `help:"Only changes after this one." default:"0"`
	Limit int   `help:"At most so many; 0: all." default:"0"`
}

// Run prints changes.
func (c *logListCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	names, err := namesAt(ctx, node)
	if err != nil {
		return err
	}
	out := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	defer out.Flush()
	if !a.json {
		row(out, "CHANGE", "AT", "KIND", "BY", "SUBJECT", "WHY")
	}
	shown := 0
	for after := c.After; ; {
		limit := 1000
		if c.Limit > 0 {
			limit = min(limit, c.Limit-shown)
		}
		page, err := ask[v1.Changes](node.ListChanges(ctx, &v1.ListChangesParams{After: &after, Limit: &limit}))
		if err != nil {
			return err
		}
		for _, ch := range page.Changes {
			if a.json {
				err = a.object(ch)
			} else {
				row(out, fmt.Sprint(ch.Seq), ch.At.Local().Format(stamp), ch.Kind, ch.Actor, subject(ch, names), why(ch))
			}
			if err != nil {
				return err
			}
			after = ch.Seq
			shown++
		}
		if len(page.Changes) == 0 || shown == c.Limit {
			return nil
		}
	}
}

// names are those of banks, deleted ones included, and parties by number, as far as the reader may know them.
type names struct{ banks, parties map[int64]string }

func namesAt(ctx context.Context, node *client) (names, error) {
	n := names{map[int64]string{}, map[int64]string{}}
	deleted := true
	banks, err := ask[struct{ Banks []v1.Bank }](node.ListBanks(ctx, &v1.ListBanksParams{Deleted: &deleted}))
	if err != nil {
		return n, err
	}
	for _, b := range banks.Banks {
		n.banks[b.Id] = b.Name
	}
	parties, err := ask[struct{ Parties []v1.Party }](node.ListParties(ctx))
	for _, p := range parties.Parties {
		n.parties[p.Id] = p.Name
	}
	return n, err
}

// subject is what a change is about.
func subject(c v1.Change, called names) string {
	party := ""
	if c.Party != nil {
		party = cmp.Or(called.parties[*c.Party], fmt.Sprint(*c.Party))
	}
	about := ""
	switch {
	case c.Entry != nil && c.Bank != nil:
		about = fmt.Sprintf("entry %d of %s", *c.Entry, cmp.Or(called.banks[*c.Bank], fmt.Sprint(*c.Bank)))
	case c.Key != nil:
		about = "key " + *c.Key
	case c.Bank != nil:
		about = "bank " + cmp.Or(called.banks[*c.Bank], fmt.Sprint(*c.Bank))
	case c.Party != nil:
		return "party " + party
	}
	if party != "" {
		about += ", for " + party
	}
	return about
}

// why is the reason that was given, if any.
func why(c v1.Change) string {
	var private struct{ Reason string }
	_ = json.Unmarshal(c.Private, &private) // nil, or an object without a reason
	return private.Reason
}

type logVerifyCmd struct{}

// Run recomputes the log's tree from the records that the node hands out: it trusts nothing but them.
func (logVerifyCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	head, err := storage.VerifyLog(ctx, &remoteLog{client: node}, nil)
	if err != nil {
		return err
	}
	root := hex.EncodeToString(head.Root[:])
	if a.json {
		return a.object(map[string]any{"log_id": head.LogID, "seq": head.Seq, "root": root, "verified": true})
	}
	a.say("log %s is dense up to change %d, and its root verifies: %s", head.LogID, head.Seq, root)
	return nil
}

// remoteLog is a node's log as storage.VerifyLog reads it. Its head is the one that it saw first, so
// that changes made meanwhile do not disturb.
type remoteLog struct {
	client *client
	head   *storage.Head
}

func (l *remoteLog) page(ctx context.Context, after, limit int64) (v1.Changes, error) {
	n := int(min(limit, 1000))
	return ask[v1.Changes](l.client.ListChanges(ctx, &v1.ListChangesParams{After: &after, Limit: &n}))
}

func (l *remoteLog) Head(ctx context.Context) (storage.Head, error) {
	if l.head == nil {
		page, err := l.page(ctx, 0, 1)
		if err != nil {
			return storage.Head{}, err
		}
		root, err := hashIn(page.Head.Root)
		if err != nil {
			return storage.Head{}, err
		}
		l.head = &storage.Head{LogID: page.LogId, Seq: uint64(page.Head.Seq), Root: root}
	}
	return *l.head, nil
}

func (l *remoteLog) Changes(ctx context.Context, after uint64, limit int) ([]storage.Change, error) {
	head, err := l.Head(ctx)
	if err != nil {
		return nil, err
	}
	limit = int(min(uint64(limit), head.Seq-after))
	if limit == 0 {
		return nil, nil
	}
	page, err := l.page(ctx, int64(after), int64(limit))
	if err != nil {
		return nil, err
	}
	changes := make([]storage.Change, 0, len(page.Changes))
	for _, c := range page.Changes {
		change, err := changeIn(c)
		if err != nil {
			return nil, fmt.Errorf("change %d: %w", c.Seq, err)
		}
		changes = append(changes, change)
	}
	return changes, nil
}

// Wait is not asked for by a verification.
func (l *remoteLog) Wait(context.Context, uint64) error { return errors.ErrUnsupported }

func changeIn(c v1.Change) (storage.Change, error) {
	out := storage.Change{
		Seq: uint64(c.Seq), At: c.At, Kind: storage.Kind(c.Kind), Actor: c.Actor,
		Body: c.Body, Private: c.Private, Record: []byte(c.Record),
	}
	if c.Bank != nil {
		out.Bank = storage.BankID(*c.Bank)
	}
	if c.Entry != nil {
		out.Entry = storage.EntryID(*c.Entry)
	}
	out.Key, out.Party = value(c.Key), storage.PartyID(value(c.Party))
	var err error
	if c.Leaf != nil { // of what this reader may not see
		leaf, err := hashIn(*c.Leaf)
		if err != nil {
			return out, err
		}
		out.Leaf = &leaf
	}
	if c.Salt != nil {
		if out.Salt, err = hex.DecodeString(*c.Salt); err != nil {
			return out, err
		}
	}
	out.Root, err = hashIn(c.Root)
	return out, err
}

func hashIn(s string) (h storage.Hash, err error) {
	b, err := hex.DecodeString(s)
	if err == nil && len(b) != len(h) {
		err = fmt.Errorf("a hash of %d bytes", len(b))
	}
	copy(h[:], b)
	return h, err
}
