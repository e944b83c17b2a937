package api_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	v1 "vigie/api/v1"
	"vigie/fixtures"
	"vigie/storage"
)

// TestChangesVerify reads the log in pages of many sizes; the roots are those that the records give.
func TestChangesVerify(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	n.bank("known")
	for i := range 20 {
		n.flag("known", nil, digest(i))
	}
	for _, limit := range []int{1, 7, 25, 1000} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			t.Parallel()
			var tree storage.Tree
			for after := int64(0); ; {
				got, err := n.as("auditor").ListChangesWithResponse(t.Context(), &v1.ListChangesParams{After: &after, Limit: &limit})
				must(t, err)
				page := *got.JSON200
				if len(page.Changes) > limit {
					t.Errorf("%d changes", len(page.Changes))
				}
				for _, c := range page.Changes {
					equal(t, "seq", c.Seq, after+1)
					after = c.Seq
					tree, _ = tree.Append([]byte(c.Record))
					root := tree.Root()
					equal(t, "root", c.Root, hex.EncodeToString(root[:]))
				}
				if len(page.Changes) == 0 {
					equal(t, "head", page.Head.Seq, after)
					root := tree.Root()
					equal(t, "root of the head", page.Head.Root, hex.EncodeToString(root[:]))
					break
				}
			}
			equal(t, "changes", tree.Size(), 25)
		})
	}
}

// TestNothingSensitiveIsLogged runs a session full of things that must not be written down.
func TestNothingSensitiveIsLogged(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{hasher: faulty{Hasher: &oneAtATime{hasher: newFingerprint()}}})
	const bank, note, origin, label, content, why = "operation-x", "victim John Doe", "https://leak.example/?u=7", "person:doe", "user-4711", "the wrong John"
	const idempotent = "case-of-John-Doe"
	n.bank(bank)
	picture := string(fixtures.Read("hills.jpg"))
	signal := v1.Signal{Algorithm: v1.Pdq, Value: strings.Repeat("a5", 32)}
	noteText, originText := note, origin
	flagged, err := n.as("analyst").FlagWithResponse(t.Context(), bank, v1.FlagSignals{
		Signals: v1.Signals{signal}, Labels: &v1.Labels{label}, Note: &noteText, Origin: &originText,
	})
	must(t, err)
	body, kind := form("file", picture, "note", note, "origin", origin, "labels", label)
	entry := read(t, n.send("POST", "/v1/banks/"+bank+"/entries", body, kind).Body)
	body, kind = form("file", picture, "content_id", content, "banks", bank)
	verdict := read(t, n.send("POST", "/v1/check", body, kind).Body)
	body, kind = form("file", faultMark)
	n.send("POST", "/v1/check", body, kind)
	n.send("POST", "/v1/check", strings.NewReader(`{"signals":[{"algorithm":"pdq","value":"`+note+`"}]}`), asJSON)
	n.send("POST", "/v1/check", strings.NewReader(`{"content_id":"`+content+`"}`), asJSON)
	n.send("POST", "/v1/check/batch", strings.NewReader(asks(signal)+"\n"+note+"\n"), asLines)
	n.send("GET", "/v1/entries?label="+label, nil, "User-Agent: "+note, "X-Request-Id: "+note)
	n.send("GET", "/v1/banks/"+content, nil)
	n.send("GET", "/"+content, nil)
	match := n.found("platform", content, signal)
	n.keyed(idempotent, "POST", "/v1/matches/"+match+"/decision", `{"ruling":"kept","reason":"`+why+`"}`)
	n.send("GET", "/v1/matches?content_id="+content, nil)
	_, err = n.as("platform").EraseContentWithResponse(t.Context(), v1.ContentName{ContentId: content})
	must(t, err)
	_, err = n.as("analyst").SetOpinionWithResponse(t.Context(), flagged.JSON201.Entry.Id, v1.NewOpinion{Stance: v1.Disagree, Reason: some(why)})
	must(t, err)
	_, err = n.as("analyst").SetOverlayWithResponse(t.Context(), flagged.JSON201.Entry.Id, v1.NewOverlay{Labels: &v1.Labels{label}, Reason: some(why)})
	must(t, err)
	_, err = n.as("analyst").RetractWithResponse(t.Context(), flagged.JSON201.Entry.Id, reason(why))
	must(t, err)
	created, err := n.as("admin").CreateKeyWithResponse(t.Context(), v1.NewKey{Name: "John's own key", Role: v1.Analyst})
	must(t, err)
	metrics := read(t, n.send("GET", "/metrics", nil).Body)
	n.server.Close()

	secrets := []string{bank, note, origin, "leak.example", label, content, why, "private-name", "John", idempotent, signal.Value, created.JSON201.Secret}
	for _, key := range n.keys {
		secrets = append(secrets, key, key[strings.LastIndex(key, "_")+1:])
	}
	secrets = append(secrets, hexes.FindAllString(verdict+entry, -1)...)
	if len(secrets) < 25 {
		t.Fatalf("only %d secrets: the session did not do what it should", len(secrets))
	}
	for where, text := range map[string]string{"log": n.logs.String(), "metrics": metrics} {
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds %q", where, secret)
			}
		}
	}
	equal(t, "requests logged", strings.Count(n.logs.String(), `"msg":"request"`), 20)
	equal(t, "faults logged", strings.Count(n.logs.String(), `"level":"ERROR"`), 1)
}
