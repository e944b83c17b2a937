package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vigie/api"
	v1 "vigie/api/v1"
	"vigie/fixtures"
	"vigie/hashing"
	"vigie/matcher"
	"vigie/storage"
)

// TestFlagCheckRetract is the main job over HTTP, with a picture.
func TestFlagCheckRetract(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.bank("known")
	picture := string(fixtures.Read("hills.jpg"))
	check := func(want v1.Level, pairs ...string) v1.Verdict {
		t.Helper()
		body, kind := form(pairs...)
		got, err := n.as("platform").CheckWithBodyWithResponse(t.Context(), strings.TrimPrefix(kind, "Content-Type: "), body)
		must(t, err)
		if got.JSON200 == nil {
			t.Fatalf("check: %s: %s", got.Status(), got.Body)
		}
		equal(t, "level", got.JSON200.Level, want)
		return *got.JSON200
	}
	check(v1.LevelNone, "file", picture)

	body, kind := form("note", "seen twice", "labels", "b, a", "labels", "c", "origin", "case 7", "file", picture)
	flagged, err := n.as("analyst").FlagWithBodyWithResponse(t.Context(), "known", strings.TrimPrefix(kind, "Content-Type: "), body)
	must(t, err)
	equal(t, "status", flagged.StatusCode(), http.StatusCreated)
	entry := flagged.JSON201.Entry
	equal(t, "labels", strings.Join(entry.Labels, " "), "a b c")
	equal(t, "note", entry.Note, "seen twice")
	equal(t, "origin", *entry.Sources[0].Origin, "case 7")
	equal(t, "matchable", flagged.JSON201.Matchable, true)

	v := check(v1.LevelMatch, "content_id", "upload 1", "banks", "known", "min_seq", "1", "file", picture)
	equal(t, "content id", *v.ContentId, "upload 1")
	equal(t, "matches", len(v.Matches), 1)
	equal(t, "entry", v.Matches[0].Entry, entry.Id)
	equal(t, "index has the flag", v.IndexSeq >= flagged.JSON201.Seq, true)
	equal(t, "labels of the match", strings.Join(v.Matches[0].Labels, " "), "a b c")

	body, kind = form("file", picture)
	again, err := n.as("analyst").FlagWithBodyWithResponse(t.Context(), "known", strings.TrimPrefix(kind, "Content-Type: "), body)
	must(t, err)
	if again.JSON200 == nil {
		t.Fatalf("flag again: %s: %s", again.Status(), again.Body)
	}
	equal(t, "created", again.JSON200.Created, false)
	equal(t, "sources", len(again.JSON200.Entry.Sources), 2)

	retracted, err := n.as("analyst").RetractWithResponse(t.Context(), entry.Id, reason("mistake"))
	must(t, err)
	equal(t, "status of the entry", retracted.JSON200.Status, v1.Retracted)
	check(v1.LevelNone, "file", picture)
	_, err = n.as("analyst").RestoreWithResponse(t.Context(), entry.Id, reason("no mistake"))
	must(t, err)
	check(v1.LevelMatch, "file", picture)

	_, err = n.as("admin").DeleteBankWithResponse(t.Context(), "known")
	must(t, err)
	check(v1.LevelNone, "file", picture)
	_, err = n.as("admin").RestoreBankWithResponse(t.Context(), "known")
	must(t, err)
	check(v1.LevelMatch, "file", picture)
}

// TestContentTypeIsReadAsItIsMeant sends types in other letters and with parameters.
func TestContentTypeIsReadAsItIsMeant(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	for _, test := range []struct{ name, path, kind, body string }{
		{"JSON with a charset", "/v1/check", "application/json; charset=utf-8", asks(digest(0))},
		{"JSON in capitals", "/v1/check", "Application/JSON", asks(digest(0))},
		{
			"multipart in capitals", "/v1/check", `Multipart/Form-Data; Boundary="b"`,
			"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n" + string(fixtures.Read("hills.jpg")) + "\r\n--b--\r\n",
		},
		{"NDJSON in capitals", "/v1/check/batch", "Application/X-NDJSON; charset=utf-8", asks(digest(0))},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := n.send("POST", test.path, strings.NewReader(test.body), "Content-Type: "+test.kind)
			equal(t, "status", got.StatusCode, http.StatusOK)
		})
	}
}

// TestUploadsFillMemory holds an upload half sent: there is no room for another until it is done.
func TestUploadsFillMemory(t *testing.T) {
	t.Parallel()
	limits := hashing.DefaultLimits()
	limits.Bytes = 1 << 20
	n := newNode(t, setup{api: api.Options{Limits: limits, UploadMemory: 1 << 20}})
	whole, kind := form("file", string(fixtures.Read("hills.jpg")))
	text := []byte(read(t, whole))

	body, half := io.Pipe()
	first := make(chan *http.Response)
	go func() { first <- n.send("POST", "/v1/check", body, kind) }() // its length is not known: it takes all
	_, err := half.Write(text[:len(text)/2])
	must(t, err)
	// The server reads while it holds the room: what net/http buffers is less than a picture.
	_, err = half.Write(text[len(text)/2 : len(text)-10])
	must(t, err)
	busy := n.send("POST", "/v1/check", bytes.NewReader(text), kind)
	equal(t, "status", busy.StatusCode, http.StatusServiceUnavailable)
	equal(t, "problem", problemOf(t, busy.Body).Type, "/problems/busy")
	equal(t, "Retry-After", busy.Header.Get("Retry-After"), "1")
	equal(t, "status of a check of signals", n.send("POST", "/v1/check", strings.NewReader(asks(digest(0))), asJSON).StatusCode, http.StatusOK)

	_, err = half.Write(text[len(text)-10:])
	must(t, err)
	must(t, half.Close())
	equal(t, "status of the first", (<-first).StatusCode, http.StatusOK)
	equal(t, "status afterwards", n.send("POST", "/v1/check", bytes.NewReader(text), kind).StatusCode, http.StatusOK)
}

// TestIndexBehind asks for a change that the index of this node never sees.
func TestIndexBehind(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{matcher: matcher.Options{Patience: 20 * time.Millisecond}})
	n.stop()
	_, _, err := n.matcher.CreateKey(t.Context(), matcher.Local(), matcher.NewKey{Name: "late", Role: storage.Admin})
	must(t, err)
	head, err := n.catalogue.Head(t.Context())
	must(t, err)
	min := int64(head.Seq)
	got, err := n.as("platform").CheckWithResponse(t.Context(), v1.CheckSignals{Signals: v1.Signals{digest(0)}, MinSeq: &min})
	must(t, err)
	equal(t, "status", got.StatusCode(), http.StatusServiceUnavailable)
	equal(t, "problem", got.ApplicationproblemJSONDefault.Type, "/problems/index-behind")
	equal(t, "Retry-After", got.HTTPResponse.Header.Get("Retry-After"), "1")
}

// TestCheckInTheBand asks beyond the radius, by a request and by a line of a batch, and reads how the
// second vote came out.
func TestCheckInTheBand(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.bank("known")
	changed, err := n.as("admin").ChangeBankWithResponse(t.Context(), "known", v1.BankChange{SecondVote: &v1.SecondVoteChange{Phash: some(1)}})
	must(t, err)
	equal(t, "second vote", changed.JSON200.Policy.SecondVote, v1.SecondVote{Radius: 47, Far: 55, Phash: 1, Dhash: 8, Graphic: 15})

	signal := func(a v1.Algorithm, value string) v1.Signal { return v1.Signal{Algorithm: a, Value: value} }
	near, far := strings.Repeat("0f", 32), strings.Repeat("f0", 5)+strings.Repeat("0f", 27) // 40 bits between them
	n.flag("known", nil, signal(v1.Pdq, near), signal(v1.Phash, "00ff00ff00ff00ff"))
	for _, test := range []struct {
		name    string
		band    *bool
		signals []v1.Signal
		level   v1.Level
		vote    *v1.Vote
	}{
		{"band left out", nil, []v1.Signal{signal(v1.Pdq, far)}, v1.LevelNone, nil},
		{"no band", some(false), []v1.Signal{signal(v1.Pdq, far)}, v1.LevelNone, nil},
		{"no vote", some(true), []v1.Signal{signal(v1.Pdq, far)}, v1.LevelReview, nil},
		{
			"agreed", some(true),
			[]v1.Signal{signal(v1.Pdq, far), signal(v1.Phash, "00ff00ff00ff00fe")},
			v1.LevelLikely,
			&v1.Vote{Algorithm: v1.Phash, Distance: 1, Radius: 1, Agrees: true},
		},
		{
			"not agreed", some(true),
			[]v1.Signal{signal(v1.Pdq, far), signal(v1.Phash, "00ff00ff00ff00fc")},
			v1.LevelReview,
			&v1.Vote{Algorithm: v1.Phash, Distance: 2, Radius: 1},
		},
	} {
		question := v1.CheckSignals{Band: test.band, Signals: test.signals}
		answer, err := n.as("platform").CheckWithResponse(t.Context(), question)
		must(t, err)
		line, err := json.Marshal(question)
		must(t, err)
		for how, v := range map[string]v1.Verdict{"alone": *answer.JSON200, "in a batch": n.batch(bytes.NewReader(line))[0].Verdict} {
			equal(t, test.name+" "+how, v.Level, test.level)
			if test.level == v1.LevelNone {
				continue
			}
			m := v.Matches[0]
			equal(t, "distance", m.Distance, 40)
			equal(t, "radius", m.Radius, 47)
			for _, vote := range []*v1.Vote{m.Vote, m.Evidence[0].Vote} {
				if diff := cmp.Diff(test.vote, vote); diff != "" {
					t.Errorf("%s %s: vote (-want +got)\n%s", test.name, how, diff)
				}
			}
		}
	}
}

func some[T any](v T) *T { return &v }
