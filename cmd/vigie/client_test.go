package main

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
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
