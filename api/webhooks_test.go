package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"vigie/api"
	v1 "vigie/api/v1"
	"vigie/storage"
	"vigie/storage/jobs"
)

// noJobs keeps jobs that nobody does, and those that were given up.
type noJobs struct {
	jobs.Engine
	dead    []jobs.Dead
	pending jobs.Pending // of webhook 1
}

func (n *noJobs) Pending(context.Context, string) (map[string]jobs.Pending, error) {
	return map[string]jobs.Pending{"1": n.pending}, nil
}

func (n *noJobs) Enqueue(context.Context, ...jobs.Job) error { return nil }

func (n *noJobs) DeadOf(_ context.Context, _, prefix string, after int64, limit int) (page []jobs.Dead, err error) {
	for _, d := range n.dead {
		if d.ID > after && len(page) < limit && prefix == prefixOf(d) {
			page = append(page, d)
		}
	}
	return page, nil
}

func prefixOf(d jobs.Dead) string {
	var a struct{ Webhook int }
	_ = json.Unmarshal(d.Args, &a)
	return fmt.Sprintf("%d-", a.Webhook)
}

func (n *noJobs) ReplayOf(_ context.Context, _, prefix string) (int, error) {
	before := len(n.dead)
	n.dead = slices.DeleteFunc(n.dead, func(d jobs.Dead) bool { return prefixOf(d) == prefix })
	return before - len(n.dead), nil
}

func (n *noJobs) DropOf(ctx context.Context, kind, prefix string) error {
	_, err := n.ReplayOf(ctx, kind, prefix)
	return err
}

func (n *noJobs) Replay(_ context.Context, id int64) error {
	before := len(n.dead)
	if n.dead = slices.DeleteFunc(n.dead, func(d jobs.Dead) bool { return d.ID == id }); len(n.dead) == before {
		return storage.ErrNotFound
	}
	return nil
}

// TestWebhooks: the secret is shown once, by create and by rotate; the URL only to its party's admins; what was given up is
// listed by webhook, and replayed.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	ask := func(method, path, body, key string, headers ...string) (int, string) {
		answer := n.send(method, path, strings.NewReader(body), append(headers, asJSON, "Authorization: Bearer "+key)...)
		return answer.StatusCode, read(t, answer.Body)
	}
	admin, auditor := n.keys["admin"], n.keys["auditor"]
	create := `{"url":"https://hooks.test/T00/secret-path?token=x","kinds":["match","entry.retracted"]}`
	status, text := ask("POST", "/v1/webhooks", create, admin, "Idempotency-Key: a")
	var made v1.CreatedWebhook
	must(t, json.Unmarshal([]byte(text), &made))
	equal(t, "status", status, 201)
	equal(t, "url", made.Webhook.Url, "https://hooks.test/T00/secret-path?token=x")
	if len(made.Secret) != len("whsec_")+52 {
		t.Errorf("the secret is %q", made.Secret)
	}
	status, text = ask("POST", "/v1/webhooks", create, admin, "Idempotency-Key: a")
	equal(t, "again", status, 409)
	equal(t, "again", problemOfText(t, text), "/problems/secret-shown")
	for key, shown := range map[string]string{admin: "https://hooks.test/T00/secret-path?token=x", auditor: "https://hooks.test/..."} {
		for _, path := range []string{"/v1/webhooks", "/v1/webhooks/1"} {
			_, text := ask("GET", path, "", key)
			if strings.Contains(text, "whsec_") || !strings.Contains(text, `"`+shown+`"`) {
				t.Errorf("%s shows %s", path, text)
			}
		}
	}
	status, text = ask("POST", "/v1/webhooks/1/rotate", `{"keep_hours":1}`, admin)
	var rotated v1.CreatedWebhook
	must(t, json.Unmarshal([]byte(text), &rotated))
	equal(t, "rotate", status, 200)
	if rotated.Secret == made.Secret || rotated.Webhook.OldSecretUntil == nil || time.Until(*rotated.Webhook.OldSecretUntil) > time.Hour {
		t.Errorf("rotated: %s", text)
	}
	for body, want := range map[string]int{
		`{"on":false}`: 200, `{"kinds":["match"]}`: 200, `{"kinds":["nothing"]}`: 400, `{"kinds":[]}`: 400, `{"url":"http://10.0.0.1/"}`: 400,
		`{"url":"https://user:pw@hooks.test/"}`: 400, `{"secret":"x"}`: 400,
	} {
		status, text := ask("PATCH", "/v1/webhooks/1", body, admin)
		equal(t, body+" "+text, status, want)
	}
	_, text = ask("GET", "/v1/webhooks/1", "", admin)
	var now v1.Webhook
	must(t, json.Unmarshal([]byte(text), &now))
	equal(t, "as changed", fmt.Sprint(now.On, now.Kinds, *now.Disabled), "false [match]switched off")

	equal(t, "nothing pending", *now.Deliveries, v1.PendingDeliveries{})
	since := time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)
	n.noJobs.pending = jobs.Pending{Jobs: 3, Failing: 2, Oldest: since, Error: "answered 503"}
	for _, path := range []string{"/v1/webhooks", "/v1/webhooks/1"} {
		_, text = ask("GET", path, "", auditor)
		if want := `"deliveries":{"error":"answered 503","failing":2,"oldest_at":"2026-11-23T06:00:00Z","pending":3}`; !strings.Contains(text, want) {
			t.Errorf("%s shows %s", path, text)
		}
	}

	for i := range int64(3) {
		n.noJobs.dead = append(n.noJobs.dead, jobs.Dead{ID: i + 1, Kind: "webhook", Args: fmt.Appendf(nil, `{"webhook":%d,"source":"log","after":%d,"until":9,"count":5}`, 1+i%2, i), Error: "answered 500", Attempts: 34})
	}
	_, text = ask("GET", "/v1/webhooks/1/dead?limit=1", "", admin)
	var page struct {
		Dead []v1.DeadDelivery
		Next *string
	}
	must(t, json.Unmarshal([]byte(text), &page))
	equal(t, "page", fmt.Sprintln(len(page.Dead), page.Dead[0].Id, page.Dead[0].Delivery, page.Dead[0].Events, page.Dead[0].Error), "1 1 1-log-0-9 5 answered 500\n")
	_, text = ask("GET", "/v1/webhooks/1/dead?cursor="+*page.Next, "", admin)
	page.Next = nil
	must(t, json.Unmarshal([]byte(text), &page))
	equal(t, "next page", fmt.Sprint(len(page.Dead), page.Dead[0].Id, page.Next == nil), "1 3 true")
	for _, path := range []string{"/v1/webhooks/1/dead/3/replay", "/v1/webhooks/1/dead/replay"} {
		status, text = ask("POST", path, "", admin)
		equal(t, "replay while it is off", fmt.Sprint(status, " ", problemOfText(t, text)), "409 /problems/webhook-off")
	}
	equal(t, "left", len(n.noJobs.dead), 3)
	status, _ = ask("PATCH", "/v1/webhooks/1", `{"on":true}`, admin)
	equal(t, "switched on", status, http.StatusOK)
	status, _ = ask("POST", "/v1/webhooks/1/dead/2/replay", "", admin)
	equal(t, "replay of another's", status, http.StatusNotFound)
	status, _ = ask("POST", "/v1/webhooks/1/dead/3/replay", "", admin)
	equal(t, "replay", status, http.StatusNoContent)
	equal(t, "left", len(n.noJobs.dead), 2)
	status, text = ask("POST", "/v1/webhooks/1/dead/replay", "", admin)
	equal(t, "replay of all", fmt.Sprint(status, " ", strings.TrimSpace(text)), `200 {"replayed":1}`)
	equal(t, "left", len(n.noJobs.dead), 1)
	status, _ = ask("POST", "/v1/webhooks/1/dead/replay", "", auditor)
	equal(t, "replay by who may not", status, http.StatusForbidden)

	for i := range 25 {
		status, text = ask("POST", "/v1/webhooks", create, admin)
		if status != 201 {
			equal(t, "made", i, 19)
			equal(t, "too many", problemOfText(t, text), "/problems/too-many-webhooks")
			break
		}
	}
	status, _ = ask("DELETE", "/v1/webhooks/1", "", admin)
	equal(t, "delete", status, 204)
	status, _ = ask("GET", "/v1/webhooks/1", "", admin)
	equal(t, "deleted", status, 404)
}

func problemOfText(t *testing.T, text string) string {
	var p v1.Problem
	must(t, json.Unmarshal([]byte(text), &p))
	return p.Type
}

// TestWebhooksOff: a node that sends nothing says so.
func TestWebhooksOff(t *testing.T) {
	t.Parallel()
	n := newNode(t, setup{})
	bare, err := api.New(n.matcher, n.catalogue, api.Options{})
	must(t, err)
	r := httptest.NewRequest(http.MethodPost, "/v1/webhooks", strings.NewReader(`{"url":"https://hooks.test/","kinds":["match"]}`))
	r.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	bare.Handler().ServeHTTP(answer, r.WithContext(api.TrustLocal(r.Context())))
	equal(t, "status", answer.Code, http.StatusNotImplemented)
	equal(t, "type", problemOfText(t, answer.Body.String()), "/problems/webhooks-off")
}
