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
	Change  bankChangeCmd  `cmd:"" help:"Change a bank: its name, its policy, who may read it."`
	Delete  bankDeleteCmd  `cmd:"" help:"Delete a bank: all its entries stop matching. It can be restored."`
	Restore bankRestoreCmd `cmd:"" help:"Restore a deleted bank."`
	Confirm bankConfirmCmd `cmd:"" help:"Carry out what somebody else proposed of a bank."`
	Reject  bankRejectCmd  `cmd:"" help:"Drop what is proposed of a bank."`
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
	return list(a.printer, out.Banks, []string{"BANK", "KIND", "OWNER", "ACTION", "RADIUS", "KEEPS MEDIA", "STATE", "DESCRIPTION"}, bankRow)
}

func bankRow(b v1.Bank) []string {
	state := "live"
	if b.Deleted {
		state = "deleted"
	}
	if b.Proposal != nil {
		state += ", waits for a second person"
	}
	return []string{
		b.Name, string(b.Kind), b.Owner, string(b.Policy.Action), radiusWords(b.Policy.Radius), yesNo(b.Policy.KeepMedia), state, b.Description,
	}
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
	is := bankLines(v1.ProposedBank{
		Name: bank.Name, Description: bank.Description, Members: bank.Members, Open: bank.Open, Dual: bank.Dual, Policy: bank.Policy, Deleted: bank.Deleted,
	}, bank.Kind)
	for _, line := range is {
		a.say("%s", line)
	}
	a.say("%s bank of %s, created %s, last change %d", bank.Kind, bank.Owner, bank.CreatedAt.Local().Format(stamp), bank.Seq)
	if p := bank.Proposal; p != nil {
		a.say("%s; waits for: vigie banks confirm %s", proposalWords(*p), bank.Name)
		if p.Bank != nil {
			for _, line := range bankLines(*p.Bank, bank.Kind) {
				if !slices.Contains(is, line) {
					a.say("  %s", line)
				}
			}
		}
	}
	return nil
}

// bankLines tell how a bank is, or is proposed to be, one thing a line. What is as usual is left out.
func bankLines(b v1.ProposedBank, kind v1.BankKind) []string {
	p := b.Policy
	lines := []string{
		fmt.Sprintf("bank %s: %s on a match, radius %s, keeps media: %s%s", b.Name, p.Action, radiusWords(p.Radius),
			yesNo(p.KeepMedia), map[bool]string{true: " (deleted)"}[b.Deleted]),
		"second vote: " + secondVoteWords(p.SecondVote),
		overturnWords(p.Overturn),
	}
	say := func(about bool, format string, args ...any) {
		if about {
			lines = append(lines, fmt.Sprintf(format, args...))
		}
	}
	say(b.Description != "", "description: %s", printable(b.Description))
	say(b.Open, "read by every party")
	say(!b.Open && len(b.Members) > 0, "read by its owner and %s", strings.Join(b.Members, ", "))
	say(b.Dual || kind == v1.KnownGoodBank, "changes need a second person")
	say(value(p.Link) != "", "redirects to %s", printable(value(p.Link)))
	say(p.EnabledRatio != 1, "asked about %g of all contents", p.EnabledRatio)
	say(p.MinQuality > 0, "matches uploads of a quality under %d by their digests alone", p.MinQuality)
	say(p.Flood > 0, "an entry is quarantined when it matches more than %d contents in an hour", p.Flood)
	say(p.MaxFrames != nil, "stores %d frames of a video at most", value(p.MaxFrames))
	return lines
}

func overturnWords(o v1.Overturn) string {
	if o == (v1.Overturn{}) {
		return "entries are never quarantined by decisions"
	}
	return fmt.Sprintf("an entry is quarantined when %g of its decided matches are overturned, of %d at least", o.Rate, o.Min)
}

// proposalWords tell what waits for a second person.
func proposalWords(p v1.Proposal) string {
	because := ""
	if r := value(p.Reason); r != "" {
		because = ": " + printable(r)
	}
	return fmt.Sprintf("proposed %s by %s: %s%s", p.At.Local().Format(stamp), p.Actor, p.Kind, because)
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

// overturn is a share of overturned matches, as a flag has it: rate=0.5,min=10.
type overturn v1.Overturn

// UnmarshalText reads the flag's value.
func (o *overturn) UnmarshalText(text []byte) error {
	rate, least, _ := strings.Cut(string(text), ",")
	share, err := strconv.ParseFloat(strings.TrimPrefix(rate, "rate="), 64)
	count, err2 := strconv.Atoi(strings.TrimPrefix(least, "min="))
	if err != nil || err2 != nil || !strings.HasPrefix(rate, "rate=") || !strings.HasPrefix(least, "min=") {
		return fmt.Errorf("%q is not of the form rate=0.5,min=10", text)
	}
	*o = overturn{Rate: share, Min: count}
	return nil
}

// bankPolicy are the flags of a bank's policy, and of who may read it.
type bankPolicy struct {
	Description *string       `help:"What it is for."`
	Action      *string       `help:"Recommended on a match: block, hold, review, redirect, label or log (a new bank: review)." placeholder:"ACTION"`
	Radius      thresholdBits `help:"Largest distance that counts, such as pdq=31,phash=4 (a new bank: pdq=31). What is left out is not matched." placeholder:"ALGORITHM=BITS,..."`
	SecondVote  thresholdBits `help:"Up to which pdq radius a phash or dhash may make a hit likely, how far one that agrees may still bring it up for review, how near these must be, and the pdq distance from where graphics need them too (a new bank: radius=47,far=55,phash=8,dhash=8,graphic=15). What is left out stays." placeholder:"THRESHOLD=BITS,..."`
	KeepMedia   *bool         `help:"Store the flagged bytes too." negatable:""`
	MaxFrames   *int          `help:"How many frames of a video an entry stores (a new bank: 600)." placeholder:"N"`

	Link         *string   `help:"Where the action redirect leads." placeholder:"URL"`
	EnabledRatio *float64  `help:"The share of contents that it is asked about, 0 to 1 (a new bank: 1); the same content always or never." placeholder:"SHARE"`
	MinQuality   *int      `help:"The least pdq quality of an upload that is matched perceptually, 0 to 100 (a new bank: 0)." placeholder:"QUALITY"`
	Flood        *int      `help:"How many different contents an entry may match perceptually within an hour before it is quarantined; 0: any number (a new bank: 0)." placeholder:"N"`
	Overturn     *overturn `help:"Quarantine an entry when this share of its decided matches is overturned, of so many at least (a new bank: rate=0.5,min=10); rate=0,min=0: never." placeholder:"rate=SHARE,min=N"`
	Members      *string   `help:"Parties that may read it and subscribe to it, separated by commas, instead of those before; \"\" for none." placeholder:"PARTY,..."`
	Open         *bool     `help:"Every party may." negatable:""`
	Dual         *bool     `help:"Changes need a second person; always so for a known-good bank." negatable:""`
}

func (p bankPolicy) change() (v1.BankChange, error) {
	c := v1.BankChange{
		Description: p.Description, Action: (*v1.Action)(p.Action), KeepMedia: p.KeepMedia, MaxFrames: p.MaxFrames, Link: p.Link,
		EnabledRatio: p.EnabledRatio, MinQuality: p.MinQuality, Flood: p.Flood, Overturn: (*v1.Overturn)(p.Overturn), Open: p.Open, Dual: p.Dual,
	}
	if p.Members != nil {
		members := strings.FieldsFunc(*p.Members, func(r rune) bool { return r == ',' || r == ' ' })
		c.Members = &members
	}
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
	Kind  *v1.BankKind `help:"positive: what is not wanted; known_good: what must not be taken for it; test: shown, and changes no verdict (positive). It stays." placeholder:"KIND"`
	Owner *string      `help:"The party that it belongs to: your own, unless you are the operator. It stays." placeholder:"PARTY"`
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
			MaxFrames: p.MaxFrames, Link: p.Link, EnabledRatio: p.EnabledRatio, MinQuality: p.MinQuality, Flood: p.Flood, Overturn: p.Overturn,
			Members: p.Members, Open: p.Open, Dual: p.Dual, Kind: c.Kind, Owner: c.Owner,
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
		return usagef("nothing to change: name what, such as --action, --radius, --members or --rename; vigie banks change --help lists all")
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

type bankConfirmCmd struct{ bankName }

// Run carries out what is proposed.
func (c *bankConfirmCmd) Run(ctx context.Context, a *app) error {
	return c.ask(ctx, a, func(n *client) (*http.Response, error) { return n.ConfirmBank(ctx, c.Name) })
}

type bankRejectCmd struct{ bankName }

// Run drops what is proposed.
func (c *bankRejectCmd) Run(ctx context.Context, a *app) error {
	return c.ask(ctx, a, func(n *client) (*http.Response, error) { return n.RejectBank(ctx, c.Name) })
}
