package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	v1 "vigie/api/v1"
)

type banksCmd struct {
	List    banksListCmd   `cmd:"" default:"withargs" help:"List banks."`
	Show    bankShowCmd    `cmd:"" help:"Show a bank."`
	Create  bankCreateCmd  `cmd:"" help:"Create a bank."`
	Change  bankChangeCmd  `cmd:"" help:"Change a bank's name, description or policy."`
	Delete  bankDeleteCmd  `cmd:"" help:"Delete a bank: all its entries stop matching. It can be restored."`
	Restore bankRestoreCmd `cmd:"" help:"Restore a deleted bank."`
}

type banksListCmd struct {
	Deleted bool `help:"Also deleted banks."`
}

// Run lists banks.
func (c *banksListCmd) Run(ctx context.Context, a *app) error {
	node, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	out, err := ask[struct{ Banks []v1.Bank }](node.ListBanks(ctx, &v1.ListBanksParams{Deleted: &c.Deleted}))
	if err != nil {
		return err
	}
	return list(a.printer, out.Banks, []string{"BANK", "ACTION", "RADIUS", "SECOND VOTE", "KEEPS MEDIA", "STATE", "DESCRIPTION"}, bankRow)
}

func bankRow(b v1.Bank) []string {
	state := "live"
	if b.Deleted {
		state = "deleted"
	}
	return []string{b.Name, string(b.Policy.Action), radiusWords(b.Policy.Radius), secondVoteWords(b.Policy.SecondVote), yesNo(b.Policy.KeepMedia), state, b.Description}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func radiusWords(r v1.Radius) string {
	var words []string
	for _, a := range slices.Sorted(maps.Keys(r)) {
		words = append(words, fmt.Sprintf("%s=%d", a, r[a]))
	}
	return strings.Join(words, " ")
}

// secondVoteWords writes a second vote as --second-vote takes it.
func secondVoteWords(v v1.SecondVote) string {
	return fmt.Sprintf("radius=%d far=%d phash=%d dhash=%d graphic=%d", v.Radius, v.Far, v.Phash, v.Dhash, v.Graphic)
}

type bankName struct {
	Name string `arg:"" help:"Name of the bank."`
}

// ask sends one request about a bank and shows the bank that is answered.
func (b bankName) ask(ctx context.Context, a *app, request func(*client) (*http.Response, error)) error {
	return b.askOf(ctx, a, a.connect, request)
}

func (b bankName) askOf(ctx context.Context, a *app, connect func(context.Context) (*client, error), request func(*client) (*http.Response, error)) error {
	node, err := connect(ctx)
	if err != nil {
		return err
	}
	defer node.Close()
	bank, err := ask[v1.Bank](request(node))
	if err != nil {
		return err
	}
	if a.json {
		return a.object(bank)
	}
	a.say("bank %s: %s on a match, radius %s, keeps media: %s%s", bank.Name, bank.Policy.Action,
		radiusWords(bank.Policy.Radius), yesNo(bank.Policy.KeepMedia), map[bool]string{true: " (deleted)"}[bank.Deleted])
	a.say("second vote: %s", secondVoteWords(bank.Policy.SecondVote))
	if bank.Description != "" {
		a.say("%s", printable(bank.Description))
	}
	a.say("created %s, last change %d", bank.CreatedAt.Local().Format(stamp), bank.Seq)
	return nil
}

type bankShowCmd struct{ bankName }

// Run shows a bank.
func (c *bankShowCmd) Run(ctx context.Context, a *app) error {
	return c.ask(ctx, a, func(n *client) (*http.Response, error) { return n.GetBank(ctx, c.Name) })
}

// thresholdBits are distances by name, as a flag has them: name=bits,name=bits, or the flag once for each.
type thresholdBits map[string]int

// Decode reads the flag's value. Semicolons and spaces separate as commas do.
func (b *thresholdBits) Decode(ctx *kong.DecodeContext) error {
	var text string
	if err := ctx.Scan.PopValueInto("thresholds", &text); err != nil {
		return err
	}
	if *b == nil {
		*b = thresholdBits{}
	}
	for _, field := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(",; ", r) }) {
		name, value, _ := strings.Cut(field, "=")
		bits, err := strconv.Atoi(value)
		if name == "" || err != nil {
			return fmt.Errorf("%q is not of the form name=bits,name=bits", field)
		}
		(*b)[name] = bits
	}
	return nil
}

// bankPolicy are the flags of a bank's policy.
type bankPolicy struct {
	Description *string       `help:"What it is for."`
	Action      *string       `help:"Recommended on a match: block, hold, review, redirect, label or log (a new bank: review)." placeholder:"ACTION"`
	Radius      thresholdBits `help:"Largest distance that counts, such as pdq=31,phash=4 (a new bank: pdq=31). What is left out is not matched." placeholder:"ALGORITHM=BITS,..."`
	SecondVote  thresholdBits `help:"Up to which pdq radius a phash or dhash may make a hit likely, how far one that agrees may still bring it up for review, how near these must be, and the pdq distance from where graphics need them too (a new bank: radius=47,far=55,phash=8,dhash=8,graphic=15). What is left out stays." placeholder:"THRESHOLD=BITS,..."`
	KeepMedia   *bool         `help:"Store the flagged bytes too." negatable:""`
	MaxFrames   *int          `help:"How many frames of a video an entry stores (a new bank: 600)." placeholder:"N"`
}

func (p bankPolicy) change() (v1.BankChange, error) {
	c := v1.BankChange{Description: p.Description, Action: (*v1.Action)(p.Action), KeepMedia: p.KeepMedia, MaxFrames: p.MaxFrames}
	if len(p.Radius) > 0 {
		radius := v1.Radius(p.Radius)
		c.Radius = &radius
	}
	if len(p.SecondVote) > 0 {
		var vote v1.SecondVoteChange
		fields := map[string]**int{"radius": &vote.Radius, "far": &vote.Far, "phash": &vote.Phash, "dhash": &vote.Dhash, "graphic": &vote.Graphic}
		for name, bits := range p.SecondVote {
			field, ok := fields[name]
			if !ok {
				return c, usagef("--second-vote: %q is not known; accepted are radius, far, phash, dhash, graphic", name)
			}
			*field = &bits
		}
		c.SecondVote = &vote
	}
	return c, nil
}

type bankCreateCmd struct {
	bankName
	bankPolicy
}

// Run creates a bank.
func (c *bankCreateCmd) Run(ctx context.Context, a *app) error {
	p, err := c.change()
	if err != nil {
		return err
	}
	return c.askOf(ctx, a, a.connectOrMake, func(n *client) (*http.Response, error) {
		return n.CreateBank(ctx, v1.NewBank{
			Name: c.Name, Description: p.Description, Action: p.Action, Radius: p.Radius, SecondVote: p.SecondVote, KeepMedia: p.KeepMedia,
			MaxFrames: p.MaxFrames,
		})
	})
}

type bankChangeCmd struct {
	bankName
	bankPolicy
	Rename *string `help:"New name." placeholder:"NAME"`
}

// Run changes a bank.
func (c *bankChangeCmd) Run(ctx context.Context, a *app) error {
	change, err := c.change()
	if err != nil {
		return err
	}
	change.Name = c.Rename
	if change == (v1.BankChange{}) {
		return usagef("nothing to change: name at least one of --rename, --description, --action, --radius, --second-vote, --keep-media, --max-frames")
	}
	return c.ask(ctx, a, func(n *client) (*http.Response, error) { return n.ChangeBank(ctx, c.Name, change) })
}

type bankDeleteCmd struct{ bankName }

// Run deletes a bank.
func (c *bankDeleteCmd) Run(ctx context.Context, a *app) error {
	return c.ask(ctx, a, func(n *client) (*http.Response, error) { return n.DeleteBank(ctx, c.Name) })
}

type bankRestoreCmd struct{ bankName }

// Run restores a bank.
func (c *bankRestoreCmd) Run(ctx context.Context, a *app) error {
	return c.ask(ctx, a, func(n *client) (*http.Response, error) { return n.RestoreBank(ctx, c.Name) })
}
