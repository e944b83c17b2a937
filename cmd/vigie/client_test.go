package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	v1 "vigie/api/v1"
)

// refusing answers requests with its statuses in turn, the last of them for ever, and notes when.
type refusing struct {
	retry    string
	statuses []int
	began    time.Time
	at       []time.Duration
}

func (d *refusing) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	status := d.statuses[min(len(d.at), len(d.statuses)-1)]
	d.at = append(d.at, time.Since(d.began))
	body := `{"level":"none"}`
	if status != http.StatusOK {
		body = `{"type":"/problems/x","title":"x","status":0}`
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {d.retry}}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// TestCheckAgain: a node that is busy, or has the key wait, is asked again when it said, for a minute in all.
func TestCheckAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		node  refusing
		fails bool
		times int
		last  time.Duration
	}{
		"busy":             {refusing{retry: "1", statuses: []int{503, 503, 200}}, false, 3, 2 * time.Second},
		"beyond the rate":  {refusing{retry: "20", statuses: []int{429, 429, 200}}, false, 3, 40 * time.Second},
		"does not say":     {refusing{statuses: []int{503, 429, 200}}, false, 3, 750 * time.Millisecond},
		"in vain":          {refusing{retry: "1", statuses: []int{429}}, true, 8, 33 * time.Second},
		"too long to wait": {refusing{retry: "61", statuses: []int{429}}, true, 1, 0},
		"another problem":  {refusing{retry: "1", statuses: []int{422}}, true, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c.node.began = time.Now()
				api, err := v1.NewClient("http://node", v1.WithHTTPClient(&c.node))
				if err != nil {
					t.Fatal(err)
				}
				open := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("media")), nil }
				_, err = (&client{Client: api}).check(t.Context(), open, nil)
				if n := len(c.node.at); (err != nil) != c.fails || n != c.times || c.node.at[n-1] != c.last {
					t.Errorf("asked at %v, then %v; want %d times, the last after %v, failing: %v", c.node.at, err, c.times, c.last, c.fails)
				}
			})
		})
	}
}

// TestInsist: an import and a search are asked again as a check is, and not before the node said.
func TestInsist(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func(ctx context.Context, c *client) error{
		"import": func(ctx context.Context, c *client) error {
			return (&importJob{c: &importCmd{Bank: "b"}, lines: []int{1}}).send(ctx, c)
		},
		"search": func(ctx context.Context, c *client) error {
			_, err := searchPage(ctx, nil, c, v1.ListEntriesParams{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				node := refusing{retry: "7", statuses: []int{503, 429, 200}, began: time.Now()}
				api, err := v1.NewClient("http://node", v1.WithHTTPClient(&node))
				if err != nil {
					t.Fatal(err)
				}
				err = run(t.Context(), &client{Client: api})
				if want := []time.Duration{0, 7 * time.Second, 14 * time.Second}; err != nil || !slices.Equal(node.at, want) {
					t.Errorf("asked at %v, then %v; want %v", node.at, err, want)
				}
			})
		})
	}
}

// TestBrokenOff: what changes no entry is asked again, with the whole of its file, when the owner of a folder breaks off; and not for long.
func TestBrokenOff(t *testing.T) {
	t.Parallel()
	media := strings.Repeat("media", 50_000)
	for name, run := range map[string]func(ctx context.Context, c *client) error{
		"check": func(ctx context.Context, c *client) error {
			_, err := c.check(ctx, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(media)), nil }, nil)
			return err
		},
		"signals": func(ctx context.Context, c *client) error {
			_, err := ask[v1.Verdict](c.Check(ctx, v1.CheckSignals{}))
			return err
		},
		"health": func(ctx context.Context, c *client) error {
			_, err := ask[v1.Health](c.Health(ctx))
			return err
		},
	} {
		for _, breaks := range []int{2, 99} {
			t.Run(fmt.Sprintf("%s, %d times", name, breaks), func(t *testing.T) {
				t.Parallel()
				var asked atomic.Int32
				node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if int(asked.Add(1)) <= breaks {
						_, _ = io.CopyN(io.Discard, r.Body, 1000)
						panic(http.ErrAbortHandler)
					}
					body, err := io.ReadAll(r.Body)
					if err != nil || name == "check" && !strings.Contains(string(body), media) {
						t.Errorf("what came at last is not whole: %d bytes, %v", len(body), err)
					}
					_, _ = io.WriteString(w, `{"level":"none"}`)
				}))
				defer node.Close()
				api, err := v1.NewClient(node.URL, v1.WithHTTPClient(persistent{&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, true}))
				if err != nil {
					t.Fatal(err)
				}
				err = run(t.Context(), &client{Client: api})
				want := min(breaks+1, 4)
				if (err != nil) != (breaks > 3) || int(asked.Load()) != want {
					t.Errorf("asked %d times, %v; want %d", asked.Load(), err, want)
				}
			})
		}
	}
}
