package matcher_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"vigie/hashing"
	"vigie/hashing/pdq"
	"vigie/matcher"
	"vigie/storage"
)

// The platform checks; list is a bank of the source, another party, open to all.
var policyCases = []struct {
	name string
	do   func(w *world)
}{
	// Subscriptions.
	{"own bank", func(w *world) {
		w.bank("platform", "own", block())
		w.at("own", "e", 12)
		w.asks("platform", "", matcher.Question{})
	}},
	{"own bank, switched off", func(w *world) {
		w.bank("platform", "own", block())
		w.at("own", "e", 12)
		w.subscribe("platform", "own", matcher.SubscriptionEdit{On: ptr(false)})
		w.asks("platform", "", matcher.Question{})
		w.subscribe("platform", "own", matcher.SubscriptionEdit{On: ptr(true)})
		w.asks("platform", "", matcher.Question{})
	}},
	{"own bank, with another action than the bank's", func(w *world) {
		w.bank("platform", "own", block())
		w.at("own", "e", 12)
		w.subscribe("platform", "own", matcher.SubscriptionEdit{Action: ptr("label")})
		w.asks("platform", "", matcher.Question{})
	}},
	{"nothing said of another's bank", func(w *world) {
		w.list("block")
		w.at("list", "e", 12)
		w.asks("platform", "", matcher.Question{})
		w.asks("source", "", matcher.Question{})
	}},
	{"a subscription, off", func(w *world) {
		w.list("block")
		w.at("list", "e", 12)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{On: ptr(false), Action: ptr("block")})
		w.asks("platform", "", matcher.Question{})
	}},
	{"a subscription that says no more: another's word recommends to look", func(w *world) {
		w.list("block")
		w.at("list", "e", 12)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{})
		w.asks("platform", "", matcher.Question{})
	}},
	{"a subscription to a bank that says less than to look", func(w *world) {
		w.list("log")
		w.at("list", "e", 12)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{})
		w.asks("platform", "", matcher.Question{})
		w.subscribe("platform", "list", matcher.SubscriptionEdit{Action: ptr("log")})
		w.asks("platform", "", matcher.Question{})
	}},
	{"a subscription that says block, and then no longer", func(w *world) {
		w.list("review")
		w.at("list", "e", 12)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{Action: ptr("block")})
		w.asks("platform", "", matcher.Question{})
		w.asks("source", "", matcher.Question{})
		w.subscribe("platform", "list", matcher.SubscriptionEdit{Action: ptr("")})
		w.asks("platform", "", matcher.Question{})
	}},
	{"redirects: the bank's link, and the subscription's", func(w *world) {
		w.bank("source", "list", shared("redirect", func(n *matcher.NewBank) { n.Link = ptr("https://list.example.org/") }))
		w.at("list", "e", 12)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{Action: ptr("redirect")})
		w.asks("platform", "", matcher.Question{})
		w.subscribe("platform", "list", matcher.SubscriptionEdit{Link: ptr("https://platform.example.org/")})
		w.asks("platform", "", matcher.Question{})
		w.asks("source", "", matcher.Question{})
	}},
	{"a redirect beside something stronger leads nowhere", func(w *world) {
		w.bank("platform", "own", block())
		w.bank("platform", "help", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("redirect"), Link: ptr(help)}})
		w.at("own", "e", 12)
		w.at("help", "f", 5)
		w.asks("platform", "", matcher.Question{})
	}},

	// Caps.
	{"within the bank's radius, beyond the cap", func(w *world) {
		w.list("block")
		w.at("list", "e", 20)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{Action: ptr("block"), Cap: &radii{hashing.PDQ: 19}})
		w.asks("platform", "", matcher.Question{})
		w.subscribe("platform", "list", matcher.SubscriptionEdit{Cap: &radii{hashing.PDQ: 20}})
		w.asks("platform", "", matcher.Question{})
		w.subscribe("platform", "list", matcher.SubscriptionEdit{Cap: &radii{}})
		w.asks("platform", "", matcher.Question{})
	}},
	{"a cap wider than the bank widens nothing", func(w *world) {
		w.bank("source", "list", shared("block", func(n *matcher.NewBank) { n.Radius = &radii{hashing.PDQ: 10} }))
		w.at("list", "e", 12)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{Cap: &radii{hashing.PDQ: 31}})
		w.asks("platform", "", matcher.Question{})
	}},
	{"the second vote's band, beyond the cap and at it", func(w *world) {
		w.list("block")
		w.at("list", "e", 40)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{Action: ptr("block")})
		w.asks("platform", "in the band", matcher.Question{Band: true})
		w.subscribe("platform", "list", matcher.SubscriptionEdit{Cap: &radii{hashing.PDQ: 39}})
		w.asks("platform", "in the band", matcher.Question{Band: true})
		w.subscribe("platform", "list", matcher.SubscriptionEdit{Cap: &radii{hashing.PDQ: 40}})
		w.asks("platform", "in the band", matcher.Question{Band: true})
	}},
	{"a cap on another algorithm", func(w *world) {
		w.bank("source", "list", shared("block", func(n *matcher.NewBank) { n.Radius = &radii{hashing.PDQ: 31, hashing.PHash: 8} }))
		w.of("list", "e", "pdq 12 away, phash 6 away", away(upload, 12), away(uploadShort, 6))
		w.subscribe("platform", "list", matcher.SubscriptionEdit{Action: ptr("block"), Cap: &radii{hashing.PHash: 5}})
		w.asks("platform", "pdq", matcher.Question{})
		w.asks("platform", "phash", matcher.Question{Signals: []hashing.Signal{uploadShort}})
	}},
	{"a cap does not touch equal bytes", func(w *world) {
		w.list("block")
		w.of("list", "e", "sha256", uploadBytes)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{Action: ptr("block"), Cap: &radii{hashing.PDQ: 0}})
		w.asks("platform", "sha256", matcher.Question{Signals: []hashing.Signal{uploadBytes}})
	}},

	// Who may read.
	{"a member, and a member no longer", func(w *world) {
		w.bank("source", "list", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("block"), Members: &[]string{"platform"}}})
		w.at("list", "e", 12)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{Action: ptr("block")})
		w.asks("platform", "", matcher.Question{})
		w.do("source lets nobody read list", second(w.ChangeBank(w.ctx, w.who("source"), "list", matcher.BankEdit{Members: &[]string{}})))
		w.asks("platform", "", matcher.Question{})
		w.do("source makes platform a member again", second(w.ChangeBank(w.ctx, w.who("source"), "list", matcher.BankEdit{Members: &[]string{"platform"}})))
		w.asks("platform", "", matcher.Question{})
	}},
	{"an open bank, and closed", func(w *world) {
		w.list("block")
		w.at("list", "e", 12)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{})
		w.asks("platform", "", matcher.Question{})
		w.do("source closes list", second(w.ChangeBank(w.ctx, w.who("source"), "list", matcher.BankEdit{Open: ptr(false)})))
		w.asks("platform", "", matcher.Question{})
	}},
	{"a bank deleted and restored", func(w *world) {
		w.list("block")
		w.at("list", "e", 12)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{})
		w.do("source deletes list", second(w.DeleteBank(w.ctx, w.who("source"), "list")))
		w.asks("platform", "", matcher.Question{})
		w.do("source restores list", second(w.RestoreBank(w.ctx, w.who("source"), "list")))
		w.asks("platform", "", matcher.Question{})
	}},
	{"an owner suspended", func(w *world) {
		w.list("block")
		w.at("list", "e", 12)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{})
		w.suspend("source", true)
		w.asks("platform", "", matcher.Question{})
		w.suspend("source", false)
		w.asks("platform", "", matcher.Question{})
	}},

	// Levels and actions.
	{"levels by actions", func(w *world) {
		for _, action := range []string{"block", "hold", "review", "redirect", "label", "log"} {
			n := matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr(action)}}
			if action == "redirect" {
				n.Link = ptr(help)
			}
			w.bank("platform", action, n)
			w.of(action, action+"-e", "pdq and phash of the upload", upload, uploadShort)
			only := func(about string, signals ...hashing.Signal) {
				w.asks("platform", about, matcher.Question{Signals: signals, Band: true, Banks: []string{action}})
			}
			only("31 away", away(upload, 31))
			only("40 away, phash 3 away", away(upload, 40), away(uploadShort, 3))
			only("40 away", away(upload, 40))
		}
	}},
	{"several banks with different actions", func(w *world) {
		w.bank("platform", "blocks", block())
		w.bank("platform", "holds", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("hold")}})
		w.bank("platform", "logs", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("log")}})
		w.of("blocks", "e", "pdq 40 away", away(upload, 40))
		w.at("holds", "f", 20)
		w.at("logs", "g", 0)
		w.asks("platform", "in the band", matcher.Question{Band: true})
	}},
	{"named banks", func(w *world) {
		w.bank("platform", "a", block())
		w.bank("platform", "b", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("hold")}})
		w.at("a", "e", 12)
		w.at("b", "f", 20)
		w.asks("platform", "b alone", matcher.Question{Banks: []string{"b"}})
		w.asks("platform", "a and b", matcher.Question{Banks: []string{"a", "b"}})
	}},
	{"a named bank that the party does not subscribe to", func(w *world) {
		w.list("block")
		w.at("list", "e", 12)
		q := w.ask("platform")
		q.Banks = []string{"list"}
		_, err := w.Check(w.ctx, q)
		w.say("-> platform checks list alone: refused: %v", err)
	}},

	// Known good.
	{"known good, nearer", func(w *world) {
		w.bank("platform", "own", block())
		w.good("platform", 8)
		w.at("own", "e", 12)
		w.asks("platform", "", matcher.Question{})
	}},
	{"known good, as near", func(w *world) {
		w.bank("platform", "own", block())
		w.good("platform", 12)
		w.at("own", "e", 12)
		w.asks("platform", "", matcher.Question{})
	}},
	{"known good, farther", func(w *world) {
		w.bank("platform", "own", block())
		w.good("platform", 13)
		w.at("own", "e", 12)
		w.asks("platform", "", matcher.Question{})
	}},
	{"known good between two entries", func(w *world) {
		w.bank("platform", "own", block())
		w.good("platform", 10)
		w.at("own", "e", 5)
		w.at("own", "f", 20)
		w.asks("platform", "", matcher.Question{})
	}},
	{"known good alone is no match", func(w *world) {
		w.good("platform", 0)
		w.asks("platform", "", matcher.Question{})
	}},
	{"known good, beyond its own radius", func(w *world) {
		w.bank("platform", "own", block())
		w.good("platform", 35)
		w.at("own", "e", 40)
		w.asks("platform", "in the band", matcher.Question{Band: true})
	}},
	{"known good beside the very bytes", func(w *world) {
		w.bank("platform", "own", block())
		w.good("platform", 0)
		w.of("own", "e", "pdq 12 away, sha256", away(upload, 12), uploadBytes)
		w.asks("platform", "pdq", matcher.Question{})
		w.asks("platform", "pdq and sha256", matcher.Question{Signals: []hashing.Signal{upload, uploadBytes}})
	}},
	{"the very bytes are known good", func(w *world) {
		w.bank("platform", "own", block())
		w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood})
		w.of("good", "g", "sha256", uploadBytes)
		w.at("own", "e", 12)
		w.at("own", "f", 0)
		w.asks("platform", "pdq", matcher.Question{})
		w.asks("platform", "pdq and sha256", matcher.Question{Signals: []hashing.Signal{upload, uploadBytes}})
	}},
	{"the very bytes are known good, and flagged", func(w *world) {
		w.bank("platform", "own", block())
		w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood})
		w.of("good", "g", "sha256", uploadBytes)
		w.of("own", "e", "sha256", uploadBytes)
		w.asks("platform", "sha256", matcher.Question{Signals: []hashing.Signal{uploadBytes}})
	}},
	{"another's known good, without a subscription and with one", func(w *world) {
		w.bank("platform", "own", block())
		w.bank("source", "good", matcher.NewBank{Kind: storage.KnownGood, BankEdit: matcher.BankEdit{Open: ptr(true)}})
		w.at("good", "g", 8)
		w.at("own", "e", 12)
		w.asks("platform", "", matcher.Question{})
		w.subscribe("platform", "good", matcher.SubscriptionEdit{})
		w.asks("platform", "", matcher.Question{})
	}},
	{"another's known good, capped", func(w *world) {
		w.bank("platform", "own", block())
		w.bank("source", "good", matcher.NewBank{Kind: storage.KnownGood, BankEdit: matcher.BankEdit{Open: ptr(true)}})
		w.at("good", "g", 8)
		w.at("own", "e", 12)
		w.subscribe("platform", "good", matcher.SubscriptionEdit{Cap: &radii{hashing.PDQ: 7}})
		w.asks("platform", "", matcher.Question{})
	}},
	{"known good, although other banks are named", func(w *world) {
		w.bank("platform", "own", block())
		w.good("platform", 8)
		w.at("own", "e", 12)
		w.asks("platform", "own alone", matcher.Question{Banks: []string{"own"}})
	}},
	{"another's known good that the party has disabled", func(w *world) {
		w.bank("platform", "own", block())
		w.bank("source", "good", matcher.NewBank{Kind: storage.KnownGood, BankEdit: matcher.BankEdit{Open: ptr(true)}})
		id := w.at("good", "g", 8)
		w.at("own", "e", 12)
		w.subscribe("platform", "good", matcher.SubscriptionEdit{})
		w.do("platform disables g", w.Overlay(w.ctx, w.who("platform"), id, true, nil, ""))
		w.asks("platform", "", matcher.Question{})
	}},
	{"known good in one frame of a video", func(w *world) {
		w.bank("platform", "own", block())
		w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood})
		w.of("own", "e", "a video of 20 s", frames(20, 6)...)
		w.of("good", "g", "its frame at 3 s, as uploaded", untimed(frames(20, 0)[3]))
		w.asks("platform", "the video from 3 s to 4 s", matcher.Question{Signals: frames(20, 0)[3:5]})
		w.asks("platform", "the video from 3 s to 9 s", matcher.Question{Signals: frames(20, 0)[3:10]})
	}},
	{"known good in all frames of a video", func(w *world) {
		w.bank("platform", "own", block())
		w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood})
		w.of("own", "e", "a video of 20 s", frames(20, 6)...)
		w.of("good", "g", "the same, nearer", frames(20, 2)...)
		w.asks("platform", "the video", matcher.Question{Signals: frames(20, 0)})
	}},
	{"known good inside what is flagged: the photograph in a poster", func(w *world) {
		w.bank("platform", "own", block())
		w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood})
		w.at("own", "poster", 12)
		w.of("good", "photograph", "the picture inside, as uploaded", inside)
		w.asks("platform", "the poster and the picture inside", matcher.Question{Signals: []hashing.Signal{upload, framed(inside)}})
	}},
	{"known good, nearer to the same part of the upload", func(w *world) {
		w.bank("platform", "own", block())
		w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood})
		w.of("own", "e", "12 from the picture inside", away(inside, 12))
		w.of("good", "g", "8 from the picture inside", away(inside, 8))
		w.asks("platform", "the whole and the picture inside", matcher.Question{Signals: []hashing.Signal{upload, framed(inside)}})
	}},
	{"known good, nearer to another of two trimmed parts", func(w *world) {
		w.bank("platform", "own", block())
		w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood})
		w.of("own", "e", "12 from one part", away(upload, 12))
		w.of("good", "g", "as another part is", inside)
		one, other := upload, inside
		one.Variant, other.Variant = hashing.Trimmed, hashing.Trimmed
		w.asks("platform", "both parts", matcher.Question{Signals: []hashing.Signal{one, other}})
	}},
	{"known good, sampled otherwise, mirrored", func(w *world) {
		w.bank("platform", "own", block())
		w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood})
		w.at("own", "e", 12)
		mirrored, sampled := inside, inside
		mirrored.Value = hashing.Value(pdq.DihedralOf(pdq.Hash(inside.Value))[hashing.Mirror])
		sampled.Variant = hashing.CLI
		w.of("good", "g", "the upload as the reference samples it, mirrored", mirrored)
		w.asks("platform", "the upload, and as the reference samples it", matcher.Question{Signals: []hashing.Signal{upload, sampled}})
	}},
	{"the picture inside of what is known good says nothing", func(w *world) {
		w.bank("platform", "own", block())
		w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood})
		w.at("own", "e", 12)
		w.of("good", "page", "a page around a picture 2 from the upload", signal(hashing.PDQ, 9), framed(away(upload, 2)))
		w.asks("platform", "", matcher.Question{})
	}},
	{"known good by 64 bits suppresses what is found by the same 64 bits alone", func(w *world) {
		short := &radii{hashing.PDQ: 31, hashing.PHash: 8, hashing.DHash: 8}
		w.bank("platform", "own", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("block"), Radius: short}})
		w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood, BankEdit: matcher.BankEdit{Radius: short}})
		w.of("good", "g", "phash 1 away", away(uploadShort, 1))
		w.at("own", "e", 31)
		w.of("own", "f", "phash 2 away", away(uploadShort, 2))
		w.of("own", "h", "dhash 2 away", away(signal(hashing.DHash, 3), 2))
		w.asks("platform", "pdq, phash and dhash", matcher.Question{Signals: []hashing.Signal{upload, uploadShort, signal(hashing.DHash, 3)}})
	}},
	{"known good by PDQ suppresses what is found by 64 bits: distances are shares of the bits", func(w *world) {
		w.bank("platform", "own", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("block"), Radius: &radii{hashing.PHash: 8}}})
		w.good("platform", 12)
		w.of("own", "e", "phash 3 away, which is 12 of 256", away(uploadShort, 3))
		w.of("own", "f", "phash 4 away, which is 16 of 256", away(uploadShort, 4))
		w.asks("platform", "pdq and phash", matcher.Question{Signals: []hashing.Signal{upload, uploadShort}})
	}},
	{"what no second vote has raised is not suppressed: it was not found", func(w *world) {
		w.bank("platform", "own", block())
		w.at("own", "e", 52)
		w.of("own", "f", "pdq 53 away, phash 3 away", away(upload, 53), away(uploadShort, 3))
		w.asks("platform", "in the band", matcher.Question{Band: true, Signals: []hashing.Signal{upload, uploadShort}})
		w.good("platform", 8)
		w.asks("platform", "in the band", matcher.Question{Band: true, Signals: []hashing.Signal{upload, uploadShort}})
	}},
	{"known good that suppresses more contents than its bank's bound", func(w *world) {
		w.bank("platform", "own", block())
		w.bank("platform", "good", matcher.NewBank{Kind: storage.KnownGood, BankEdit: matcher.BankEdit{Flood: ptr(2)}})
		w.at("own", "e", 31)
		id := w.at("good", "g", 2)
		for i := range 3 {
			w.asks("platform", fmt.Sprintf("content %d", i+1), matcher.Question{Signals: []hashing.Signal{away(upload, i)}})
		}
		w.asks("platform", "content 1 again", matcher.Question{})
		w.do("platform restores g", w.Restore(w.ctx, w.who("platform"), id, "a test"))
		w.do("a colleague confirms that", w.Confirm(w.ctx, w.colleague("platform"), id))
		w.asks("platform", "content 1 again", matcher.Question{})
	}},
	{"another's known good, its owner suspended", func(w *world) {
		w.bank("platform", "own", block())
		w.bank("source", "good", matcher.NewBank{Kind: storage.KnownGood, BankEdit: matcher.BankEdit{Open: ptr(true)}})
		w.at("good", "g", 8)
		w.at("own", "e", 12)
		w.subscribe("platform", "good", matcher.SubscriptionEdit{})
		w.asks("platform", "", matcher.Question{})
		w.suspend("source", true)
		w.asks("platform", "", matcher.Question{})
		w.suspend("source", false)
		w.asks("platform", "", matcher.Question{})
	}},

	// Test banks.
	{"a test bank", func(w *world) {
		w.bank("platform", "trial", matcher.NewBank{Kind: storage.TestBank, BankEdit: matcher.BankEdit{Action: ptr("block")}})
		w.at("trial", "e", 0)
		w.asks("platform", "", matcher.Question{})
	}},
	{"a test bank beside a positive one", func(w *world) {
		w.bank("platform", "trial", matcher.NewBank{Kind: storage.TestBank, BankEdit: matcher.BankEdit{Action: ptr("block")}})
		w.bank("platform", "own", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("label")}})
		w.at("trial", "e", 0)
		w.at("own", "f", 12)
		w.asks("platform", "", matcher.Question{})
	}},

	// Enabled ratio and quality.
	{"ratio 0", func(w *world) { w.ratio(0) }},
	{"ratio 0.5", func(w *world) { w.ratio(0.5) }},
	{"ratio 1", func(w *world) { w.ratio(1) }},
	{"quality", func(w *world) {
		w.bank("platform", "own", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("block"), MinQuality: ptr(80)}})
		w.of("own", "e", "pdq 12 away, sha256", away(upload, 12), uploadBytes)
		of := func(q hashing.Quality) hashing.Signal {
			s := upload
			s.Quality = q
			return s
		}
		w.asks("platform", "pdq of quality 79", matcher.Question{Signals: []hashing.Signal{of(79)}})
		w.asks("platform", "pdq of quality 80", matcher.Question{Signals: []hashing.Signal{of(80)}})
		w.asks("platform", "pdq of unknown quality", matcher.Question{Signals: []hashing.Signal{of(hashing.QualityUnknown)}})
		w.asks("platform", "pdq of quality 79 and sha256", matcher.Question{Signals: []hashing.Signal{of(79), uploadBytes}})
	}},
	{"quality, in one of two banks", func(w *world) {
		w.bank("platform", "strict", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("block"), MinQuality: ptr(80)}})
		w.bank("platform", "own", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("label")}})
		w.at("strict", "e", 12)
		w.at("own", "f", 20)
		poor := upload
		poor.Quality = 79
		// Each signal of a question is judged by its own quality.
		w.asks("platform", "pdq of quality 79, and of another picture of 100", matcher.Question{Signals: []hashing.Signal{poor, signal(hashing.PDQ, 9)}})
	}},

	// Entries that wait or are taken out.
	{"dual control: pending, confirmed", func(w *world) {
		w.bank("platform", "own", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("block"), Dual: ptr(true)}})
		id := w.propose("own", "e", "pdq 12 away, proposed", matcher.Flagging{Signals: []hashing.Signal{away(upload, 12)}})
		w.asks("platform", "", matcher.Question{})
		w.do("a colleague confirms e", w.Confirm(w.ctx, w.colleague("platform"), id))
		w.asks("platform", "", matcher.Question{})
	}},
	{"dual control: rejected", func(w *world) {
		w.bank("platform", "own", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("block"), Dual: ptr(true)}})
		id := w.propose("own", "e", "pdq 12 away, proposed", matcher.Flagging{Signals: []hashing.Signal{away(upload, 12)}})
		w.do("a colleague rejects e", w.Reject(w.ctx, w.colleague("platform"), id, "a test"))
		w.asks("platform", "", matcher.Question{})
	}},
	{"dual control: a known-good entry that is proposed to be retracted counts until then", func(w *world) {
		w.bank("platform", "own", block())
		id := w.good("platform", 8)
		w.at("own", "e", 12)
		w.do("platform retracts good-8", w.Retract(w.ctx, w.who("platform"), id, "a test"))
		w.asks("platform", "", matcher.Question{})
		w.do("a colleague confirms that", w.Confirm(w.ctx, w.colleague("platform"), id))
		w.asks("platform", "", matcher.Question{})
	}},
	{"dual control: the bank's action counts when it is confirmed", func(w *world) {
		w.bank("platform", "own", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("label"), Dual: ptr(true)}})
		w.at("own", "e", 12)
		w.do("platform makes the action block", second(w.ChangeBank(w.ctx, w.who("platform"), "own", matcher.BankEdit{Action: ptr("block")})))
		w.asks("platform", "", matcher.Question{})
		w.do("a colleague confirms that", second(w.ConfirmBank(w.ctx, w.colleague("platform"), "own")))
		w.asks("platform", "", matcher.Question{})
	}},
	{"quarantined, and restored", func(w *world) {
		w.bank("platform", "own", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("block"), Flood: ptr(2)}})
		id := w.at("own", "e", 12)
		for i := range 3 {
			w.asks("platform", fmt.Sprintf("content %d", i+1), matcher.Question{Signals: []hashing.Signal{away(upload, i)}})
		}
		w.asks("platform", "content 1 again", matcher.Question{})
		w.do("platform restores e", w.Restore(w.ctx, w.who("platform"), id, "a test"))
		w.asks("platform", "content 1 again", matcher.Question{})
	}},

	// Opinions.
	{"seed: nobody but the owner has said anything", func(w *world) {
		w.bank("source", "list", shared("block"))
		w.at("list", "e", 12)
		w.opine("source", "e", storage.Agree)
		w.asks("source", "", matcher.Question{})
	}},
	{"positive: others agree", func(w *world) {
		w.bank("source", "list", shared("block"))
		w.at("list", "e", 12)
		w.opine("platform", "e", storage.Agree)
		w.opine("third", "e", storage.Saw)
		w.asks("source", "", matcher.Question{})
	}},
	{"disputed: another disagrees", func(w *world) {
		w.bank("source", "list", shared("block"))
		w.at("list", "e", 12)
		w.opine("platform", "e", storage.Disagree)
		w.asks("source", "", matcher.Question{})
		w.opine("platform", "e", storage.Agree)
		w.asks("source", "", matcher.Question{})
	}},
	{"disputed: the owner takes it back, another stands by it", func(w *world) {
		w.bank("source", "list", shared("block"))
		w.at("list", "e", 12)
		w.opine("source", "e", storage.Disagree)
		w.opine("platform", "e", storage.Agree)
		w.asks("source", "", matcher.Question{})
	}},
	{"negative: the owner takes it back", func(w *world) {
		w.bank("source", "list", shared("block"))
		w.at("list", "e", 12)
		w.opine("source", "e", storage.Disagree)
		w.asks("source", "", matcher.Question{})
	}},
	{"disputed, in a bank that only logs", func(w *world) {
		w.bank("source", "list", shared("log"))
		w.at("list", "e", 12)
		w.opine("platform", "e", storage.Disagree)
		w.asks("source", "", matcher.Question{})
	}},

	// Context.
	{"context rules by what the platform says", func(w *world) {
		for _, rule := range []string{"any_context", "block_unless_news", "review_always", "label_only"} {
			w.bank("platform", rule, block())
			w.at(rule, rule+"-e", 12, "context:"+rule)
			w.asks("platform", "", matcher.Question{Banks: []string{rule}})
			w.asks("platform", "in the context of news", matcher.Question{Banks: []string{rule}, Context: []string{"news"}})
		}
	}},
	{"a context rule and the level", func(w *world) {
		w.bank("platform", "own", block())
		w.at("own", "e", 40, "context:block_unless_news")
		w.asks("platform", "in the band, in the context of art", matcher.Question{Band: true, Context: []string{"art"}})
	}},

	// What a party holds for itself.
	{"disabled by one party", func(w *world) {
		w.list("block")
		id := w.at("list", "e", 12)
		w.subscribe("platform", "list", matcher.SubscriptionEdit{Action: ptr("block")})
		w.do("platform disables e", w.Overlay(w.ctx, w.who("platform"), id, true, nil, ""))
		w.asks("platform", "", matcher.Question{})
		w.asks("source", "", matcher.Question{})
		w.do("platform takes that back", w.Overlay(w.ctx, w.who("platform"), id, false, nil, ""))
		w.asks("platform", "", matcher.Question{})
	}},
	{"other labels for one party, with another context rule", func(w *world) {
		w.list("block")
		id := w.at("list", "e", 12, "behaviour:recruitment")
		w.subscribe("platform", "list", matcher.SubscriptionEdit{Action: ptr("block")})
		w.do("platform labels e context:label_only", w.Overlay(w.ctx, w.who("platform"), id, false, []string{"context:label_only"}, ""))
		w.asks("platform", "", matcher.Question{})
		w.asks("source", "", matcher.Question{})
		w.do("platform labels e not at all", w.Overlay(w.ctx, w.who("platform"), id, false, []string{}, ""))
		w.asks("platform", "", matcher.Question{})
	}},

	{"the catalogue cannot be read", func(w *world) {
		w.bank("platform", "own", block())
		w.at("own", "e", 12, "context:label_only")
		w.bank("platform", "logs", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("log")}})
		w.at("logs", "f", 20)
		w.say("the catalogue goes down")
		w.down.down.Store(true)
		w.asks("platform", "", matcher.Question{})
		w.asks("platform", "logs alone", matcher.Question{Banks: []string{"logs"}})
		w.down.down.Store(false)
		w.say("it is back")
		w.asks("platform", "", matcher.Question{})
	}},
}

var (
	uploadShort = signal(hashing.PHash, 1)
	uploadBytes = signal(hashing.SHA256, 1)
	inside      = signal(hashing.PDQ, 77) // of another picture: a part of the upload
)

// framed is the hash of a picture inside the one that is asked about, or flagged.
func framed(s hashing.Signal) hashing.Signal {
	s.Variant = hashing.Framed
	return s
}

func block() matcher.NewBank {
	return matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("block")}}
}

// list is a bank of the source's that every party may read.
func (w *world) list(action string) { w.t.Helper(); w.bank("source", "list", shared(action)) }

// good is an entry of a party's bank of what is known good.
func (w *world) good(party string, distance int) storage.EntryID {
	w.t.Helper()
	w.bank(party, "good", matcher.NewBank{Kind: storage.KnownGood})
	return w.at("good", fmt.Sprintf("good-%d", distance), distance)
}

func (w *world) suspend(party string, is bool) {
	w.t.Helper()
	_, err := w.ChangeParty(w.ctx, local, party, matcher.PartyEdit{Suspended: &is})
	w.do(fmt.Sprintf("%s is suspended: %t", party, is), err)
}

// frames are those of a video, one a second, some bits from the first version of it.
func frames(n, distance int) (all []hashing.Signal) {
	for i := range n {
		all = append(all, at(away(signal(hashing.PDQ, uint64(1000+i)), distance), uint32(1000*(i+1))))
	}
	return all
}

func untimed(s hashing.Signal) hashing.Signal { return at(s, 0) }

// ratio asks about 1,000 contents, and again, also another node.
func (w *world) ratio(share float64) {
	const contents = 1000
	w.bank("platform", "own", matcher.NewBank{BankEdit: matcher.BankEdit{Action: ptr("block"), EnabledRatio: &share}})
	w.at("own", "e", 12)
	w.asks("platform", "", matcher.Question{})
	other := follow(w.t, w.catalogue, matcher.Options{Patience: patience})
	defer other.stop()
	must(w.t, other.Follower().Await(w.ctx, w.Follower().Seq()))
	asked := 0
	for i := range uint64(contents) {
		var answers [3]string
		for j, n := range []*node{w.node, w.node, other} {
			v := n.check(w.ask("platform", signal(hashing.SHA256, i)))
			answers[j] = fmt.Sprint(v.Banks, v.Skipped)
			if slices.Contains(v.Skipped, "own") == (v.Banks == 1) {
				w.t.Errorf("%d banks asked, and %v skipped", v.Banks, v.Skipped)
			}
			if j == 0 {
				asked += v.Banks
			}
		}
		if answers[0] != answers[1] || answers[0] != answers[2] {
			w.t.Errorf("content %d is answered %v", i, answers)
		}
	}
	if got := float64(asked) / contents; got < share-0.05 || got > share+0.05 {
		w.t.Errorf("%v of the contents were asked about, want %v", got, share)
	}
	w.say("of 1,000 contents the bank is asked about %d, of the same when they come again, or to another node", asked)
}

// TestPolicy tells what verdicts come of banks, subscriptions and all that people say of entries.
func TestPolicy(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	for _, c := range policyCases {
		w := newWorld(t, matcher.Options{})
		c.do(w)
		fmt.Fprintf(&out, "%s\n%s\n", c.name, w.told.String())
	}
	golden(t, "policy.golden", out.String())
}
