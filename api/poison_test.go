package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	xdraw "golang.org/x/image/draw"
	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"

	v1 "vigie/api/v1"
	"vigie/fixtures"
	"vigie/internal/datatest"
)

// innocents are pictures that people made of one that millions use, with words of their own; and others that have nothing
// to do with it. They are real ones where there are test data.
func innocents(t *testing.T, n int) (template []byte, captioned, others [][]byte) {
	t.Helper()
	template = fixtures.Read("hills.jpg")
	for _, name := range []string{"bridge.jpg", "harbour.bmp", "lighthouse.jpg", "skyline.png", "mosaic.jpg", "discs.jpg"} {
		others = append(others, fixtures.Read(name))
	}
	if dir := datatest.Find(); dir != "" {
		files, err := filepath.Glob(filepath.Join(dir, "images", "memegen", "*.jpg"))
		must(t, err)
		others = nil
		for i, f := range files {
			data, err := os.ReadFile(f)
			must(t, err)
			if strings.HasPrefix(filepath.Base(f), "success") {
				template = data
			} else if i < 20 {
				others = append(others, data)
			}
		}
	}
	plain, err := jpeg.Decode(bytes.NewReader(template))
	must(t, err)
	for i := range n {
		var out bytes.Buffer
		must(t, jpeg.Encode(&out, captionedBy(plain, fmt.Sprintf("joke number %d", i)), &jpeg.Options{Quality: 85}))
		captioned = append(captioned, out.Bytes())
	}
	return template, captioned, others
}

// captionedBy writes a line over the foot of a picture.
func captionedBy(m image.Image, text string) image.Image {
	out := image.NewRGBA(m.Bounds())
	draw.Draw(out, out.Rect, m, out.Rect.Min, draw.Src)
	face := basicfont.Face7x13
	line := image.NewAlpha(image.Rect(0, 0, face.Advance*len(text), face.Height))
	(&font.Drawer{Dst: line, Src: image.Opaque, Face: face, Dot: fixed.P(0, face.Ascent)}).DrawString(text)
	height := out.Rect.Dy() / 10
	big := image.NewAlpha(image.Rect(0, 0, line.Rect.Dx()*height/face.Height, height))
	xdraw.ApproxBiLinear.Scale(big, big.Rect, line, line.Rect, draw.Src, nil)
	at := big.Rect.Add(image.Pt(out.Rect.Min.X+height/2, out.Rect.Max.Y-3*height/2))
	draw.DrawMask(out, at, image.NewUniform(color.White), image.Point{}, big, image.Point{}, draw.Over)
	return out
}

// poisoned is a node with a list that two platforms subscribe to, in which somebody has flagged the wrong picture.
type poisoned struct {
	*node
	entry int64
	table strings.Builder
}

func (p *poisoned) row(step string, checks, matched, kept, flooded int) {
	e, err := p.as("source analyst").GetEntryWithResponse(p.t.Context(), p.entry)
	must(p.t, err)
	fmt.Fprintf(&p.table, "%-42s %6d %8d %8d %8d  %s\n", step, checks, matched, kept, flooded, e.JSON200.Status)
}

// checks has a platform check pictures, and lists what was found.
func (p *poisoned) checks(step, platform string, pictures [][]byte) (matches []string) {
	p.t.Helper()
	matched, kept, flooded := 0, 0, 0
	for i, picture := range pictures {
		body, kind := form("file", string(picture), "content_id", fmt.Sprintf("%s %d", platform, i))
		answer := p.send("POST", "/v1/check", body, kind, "Authorization: Bearer "+p.keys[platform+" platform"])
		equal(p.t, "status", answer.StatusCode, http.StatusOK)
		v := decodedAs[v1.Verdict](p.t, answer)
		if v.Match == nil {
			continue
		}
		matched++
		matches = append(matches, *v.Match)
		switch {
		case v.Matches[0].Flooded != nil:
			flooded++
			equal(p.t, "action of the one too many", v.Action, "review")
		case v.Action == "block" || v.Action == "hold":
			kept++
		}
	}
	must(p.t, p.ledger.ship(p.t.Context()))
	p.row(step, len(pictures), matched, kept, flooded)
	return matches
}

func (p *poisoned) decides(platform string, matches []string, r v1.Ruling) {
	p.t.Helper()
	for _, m := range matches {
		got, err := p.as(platform+" platform").DecideWithResponse(p.t.Context(), m, v1.NewDecision{Ruling: r})
		must(p.t, err)
		equal(p.t, "decided", got.StatusCode(), http.StatusOK)
	}
}

// lists are the matches of an entry, as a key reads them.
func (p *poisoned) lists(who string, standing bool) (all []v1.RecordedMatch) {
	p.t.Helper()
	got, err := p.as(who).ListMatchesWithResponse(p.t.Context(), &v1.ListMatchesParams{Entry: &p.entry, Standing: &standing, Limit: some(500)})
	must(p.t, err)
	if got.JSON200 == nil {
		p.t.Fatalf("%s", got.Body)
	}
	return got.JSON200.Matches
}

// kinds counts the changes that a key reads, by kind, after a number.
func (p *poisoned) kinds(who string, after uint64) map[string]int {
	p.t.Helper()
	kinds := map[string]int{}
	page, problem := p.page(who, fmt.Sprintf("after=%d&limit=1000", after))
	equal(p.t, "problem", problem, "")
	for _, c := range page.Changes {
		kinds[string(c.Kind)]++
	}
	return kinds
}

// TestPoisonedHash flags a picture that half the world has written jokes on. Each platform that checks uploads is spared at
// the bound; with the second one the entry is out for all, says why, and all that rested on it is found and put back.
func TestPoisonedHash(t *testing.T) {
	t.Parallel()
	const bound = 12
	template, jokes, others := innocents(t, 2*bound)
	p := &poisoned{node: newNode(t, setup{})}
	for _, party := range []string{"source", "shop", "forum"} {
		p.party(party)
	}
	made, err := p.as("source admin").CreateBankWithResponse(t.Context(), v1.NewBank{
		Name: "list", Action: some(v1.ActionBlock), Members: &[]string{"shop", "forum"}, Flood: some(bound),
	})
	must(t, err)
	equal(t, "bank", made.StatusCode(), http.StatusCreated)
	for _, platform := range []string{"shop", "forum"} {
		got, err := p.as(platform+" admin").SubscribeWithResponse(t.Context(), "list", v1.NewSubscription{Action: some(v1.ActionBlock)})
		must(t, err)
		equal(t, "subscription", got.StatusCode(), http.StatusOK)
	}
	flag := func(picture []byte) int64 {
		body, kind := form("file", string(picture))
		answer := p.send("POST", "/v1/banks/list/entries", body, kind, "Authorization: Bearer "+p.keys["source analyst"])
		equal(t, "flagged", answer.StatusCode, http.StatusCreated)
		return decodedAs[v1.Flagged](t, answer).Entry.Id
	}
	rightly := flag(others[0])
	p.entry = flag(template)
	fmt.Fprintf(&p.table, "%-42s %6s %8s %8s %8s  %s\n", "", "checks", "matched", "kept out", "flooded", "entry")

	equal(t, "other pictures that match", len(p.checks("shop: other pictures", "shop", others[1:])), 0)
	before := p.head()
	atShop := p.checks("shop: jokes", "shop", jokes)
	equal(t, "of one platform", len(atShop), bound+1) // and none of the others
	p.decides("shop", atShop[:bound], v1.RulingRemoved)
	equal(t, "feed of the one", p.kinds("shop analyst", before)["overlay.set"], 1)
	m, err := p.as("shop platform").GetMatchWithResponse(t.Context(), atShop[0])
	must(t, err)
	equal(t, "out for it", words(*m.JSON200.Entries[0].Status, *m.JSON200.Entries[0].Out), "active disabled")

	atForum := p.checks("forum: jokes", "forum", jokes)
	equal(t, "of the other platform", len(atForum), bound+1)
	p.decides("forum", atForum[:bound], v1.RulingRemoved)
	e, err := p.as("source analyst").GetEntryWithResponse(t.Context(), p.entry)
	must(t, err)
	equal(t, "status", e.JSON200.Status, v1.Quarantined)
	if !strings.Contains(*e.JSON200.Reason, fmt.Sprintf("more than %d different contents", bound)) {
		t.Errorf("reason: %s", *e.JSON200.Reason)
	}
	equal(t, "jokes that match", len(p.checks("shop: jokes again", "shop", jokes))+len(p.checks("forum: jokes again", "forum", jokes)), 0)
	equal(t, "the right one", len(p.checks("forum: the picture flagged rightly", "forum", others[:1])), 1)

	// What rested on it: the owner sees all of it, each platform its own, and puts it back.
	equal(t, "matches for the owner", len(p.lists("source analyst", false)), 2*(bound+1))
	for _, m := range p.lists("source analyst", true) {
		if !slices.Contains(slices.Concat(atShop, atForum), m.Id) || m.Decisions[0].Ruling != v1.RulingRemoved || m.ContentId != nil {
			t.Errorf("%s: %+v", m.Id, m)
		}
	}
	for _, platform := range []string{"shop", "forum"} {
		standing := p.lists(platform+" platform", true)
		equal(t, platform+": to be put back", len(standing), bound)
		for _, m := range standing {
			equal(t, "why", words(*m.Entries[0].Status, *m.Entries[0].Out), "quarantined flood")
			if m.ContentId == nil || !strings.HasPrefix(*m.ContentId, platform) {
				t.Errorf("which upload: %v", m.ContentId)
			}
			p.decides(platform, []string{m.Id}, v1.RulingRestored)
		}
		equal(t, platform+": left", len(p.lists(platform+" platform", true)), 0)
		kinds := p.kinds(platform+" analyst", before)
		equal(t, platform+"'s feed", words(kinds["entry.quarantined"], kinds["decision.made"]), words(1, 2*bound))
	}
	p.row("put back", 0, 0, 0, 0)
	equal(t, "left for the owner", len(p.lists("source analyst", true)), 0)
	good, err := p.as("source analyst").GetEntryWithResponse(t.Context(), rightly)
	must(t, err)
	equal(t, "the entry that is right", good.JSON200.Status, v1.Active)
	t.Log("\n" + p.table.String())
}

// decodedAs reads the JSON of an answer.
func decodedAs[T any](t testing.TB, answer *http.Response) (v T) {
	t.Helper()
	must(t, json.NewDecoder(answer.Body).Decode(&v))
	return v
}
