package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	v1 "vigie/api/v1"
	"vigie/storage"
)

// client talks to a node over the contract, wherever it is.
type client struct {
	*v1.Client
	config *Config

	mu      sync.Mutex
	own     *node // started for this command; nil if another process runs it, or it is at a URL
	settled bool  // it does not become the owner any more
}

// connect finds the node: at --server; or behind the socket of the data folder; or, if nobody owns
// the folder, it starts one for as long as the command lasts. Close it.
func (a *app) connect(ctx context.Context) (*client, error) {
	if a.Server == "" {
		if err := needNode(a.Data); err != nil {
			return nil, err
		}
	}
	return a.connectOrMake(ctx)
}

// connectOrMake is connect for commands that may begin a data folder.
func (a *app) connectOrMake(ctx context.Context) (*client, error) {
	if a.Server != "" {
		key, err := a.key()
		if err != nil {
			return nil, err
		}
		api, err := v1.NewClient(a.Server, v1.WithHTTPClient(persistent{http.DefaultClient, false}), v1.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
			r.Header.Set("Authorization", "Bearer "+key)
			return nil
		}))
		return &client{Client: api}, err
	}

	c := &client{config: &a.Config}
	conn, err := c.dial(ctx, "", "")
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	_ = conn.Close()
	transport := &http.Transport{DialContext: c.dial, MaxIdleConnsPerHost: 32}
	if c.Client, err = v1.NewClient("http://vigie", v1.WithHTTPClient(persistent{&http.Client{Transport: transport}, true})); err == nil {
		err = c.greet(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// ownerPatience is how long a command waits for the owner of the folder, which may come or go, or be reading its catalogue.
const ownerPatience = 15 * time.Second

// dial connects to whoever owns the folder. If nobody does, or not any more, this command becomes
// the owner.
func (c *client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for deadline := time.Now().Add(ownerPatience); ; time.Sleep(20 * time.Millisecond) {
		conn, err := dialSocket(ctx, c.config.Data)
		if err == nil || c.own != nil || c.settled || ctx.Err() != nil {
			return conn, err
		}
		own, err := openNode(ctx, c.config, nil, nil)
		if err == nil {
			c.own = own
			err = own.loaded(ctx)
		}
		if errors.Is(err, storage.ErrLocked) {
			if time.Now().Before(deadline) {
				continue
			}
			err = silent(err)
		}
		if err != nil {
			return nil, err
		}
	}
}

// settle makes the command stay with the node that it found: if that one goes, the folder is left to
// its successor. It is for commands that run for long.
func (c *client) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settled = true
}

// greet asks for a sign of life, so that an owner that hangs does not hang this command. If a node
// serves the folder, the command stays with it: were it to take over when the node dies, the node
// could not come back.
func (c *client) greet(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, ownerPatience)
	defer cancel()
	health, err := ask[v1.Health](c.Health(waiting))
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		return silent(fmt.Errorf("lock %s: %w", c.config.Data, storage.ErrLocked))
	}
	if health.Serving {
		c.settle()
	}
	return err
}

func silent(err error) error { return fmt.Errorf("%w, which does not answer on its socket", err) }

// ends reports whether the node was started for this command, and ends with it.
func (c *client) ends() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.own != nil
}

// Close ends the node if it was started for this command.
func (c *client) Close() error {
	if c.own != nil {
		return c.own.Close()
	}
	return nil
}

// problemError is a refusal by a node.
type problemError struct {
	v1.Problem
	after time.Duration // that it asks to wait for; 0 if it does not say
}

func (e *problemError) Error() string {
	switch {
	case e.Detail == nil || *e.Detail == "":
		return e.Title
	case e.Type == "/problems/secret-shown", e.Status == http.StatusUnprocessableEntity, e.Status == http.StatusUnsupportedMediaType, e.Status == http.StatusRequestEntityTooLarge:
		return e.Title + ": " + *e.Detail // the detail is about the file, and needs the title to make sense
	}
	return *e.Detail
}

// persistent sends a request again if the node breaks off without an answer: it may be restarting, or the command that owned the
// folder has ended. What changes something is sent again also if the node says to come back, and has an Idempotency-Key that keeps
// what was done already from being done twice. The rest is repeated as it is, for less long, and only on the socket of a folder, whose
// owners come and go: a check that had been answered is on record twice then.
type persistent struct {
	v1.HttpRequestDoer
	socket bool // of a folder
}

// The longest pauses between two tries: all tries of what changes something take half a minute, those of the rest two seconds.
const (
	longestPause     = 16 * time.Second
	longestReadPause = time.Second
)

// Do sends the request.
func (p persistent) Do(r *http.Request) (*http.Response, error) {
	again, longest := passing, longestPause
	if r.Method == http.MethodGet || strings.HasPrefix(r.URL.Path, "/v1/check") || strings.HasSuffix(r.URL.Path, ":batch") {
		if !p.socket {
			return p.HttpRequestDoer.Do(r)
		}
		again, longest = brokenOff, longestReadPause
	} else {
		r.Header.Set("Idempotency-Key", rand.Text())
	}
	var met atomic.Bool // whether there is a node at all
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { met.Store(true) },
	}))
	for wait := 250 * time.Millisecond; ; wait *= 2 {
		response, err := p.HttpRequestDoer.Do(r)
		if !met.Load() || wait > longest || !again(response, err) || r.Body != nil && r.GetBody == nil {
			return response, err
		}
		if response != nil {
			_ = response.Body.Close()
		}
		select {
		case <-r.Context().Done():
			return nil, r.Context().Err()
		case <-time.After(wait):
		}
		if r.GetBody != nil {
			if r.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// passing reports whether the same request may be answered otherwise soon.
func passing(response *http.Response, err error) bool {
	return brokenOff(response, err) || err == nil && response.Header.Get("Retry-After") != ""
}

// brokenOff reports whether a request was not answered.
func brokenOff(_ *http.Response, err error) bool {
	var nobody unreachableError
	return err != nil && errors.As(unreachable(err), &nobody)
}

// ask sends one request and reads the answer: T, or the problem as an error.
func ask[T any](response *http.Response, err error) (T, error) {
	var out T
	if err != nil {
		return out, unreachable(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return out, unreachableError{fmt.Errorf("the node's answer breaks off: %w", err)}
	}
	if response.StatusCode >= 300 {
		var p v1.Problem
		if json.Unmarshal(body, &p) != nil || p.Title == "" {
			p = v1.Problem{Title: fmt.Sprintf("the node answered %s, without saying why", response.Status)}
		}
		p.Status = response.StatusCode
		seconds, _ := strconv.Atoi(response.Header.Get("Retry-After")) // 0 if it says nothing
		return out, &problemError{p, time.Duration(max(0, min(seconds, 3600))) * time.Second}
	}
	if err := json.Unmarshal(body, &out); err != nil {
		return out, fmt.Errorf("the node's answer is not as the contract says: %w", err)
	}
	return out, nil
}

// unreachableError says that nobody answers.
type unreachableError struct{ error }

func (e unreachableError) Unwrap() error { return e.error }

// unreachable tells a node that does not answer from a request that could not be made, such as one
// whose file cannot be read.
func unreachable(err error) error {
	var request *url.Error // of every request that was made
	var file *fs.PathError
	if errors.As(err, &request) && !errors.As(err, &file) && !errors.Is(err, context.Canceled) {
		return unreachableError{fmt.Errorf("the node cannot be reached: %w", request.Err)}
	}
	return err
}

// upload is a multipart body: a file and text fields. It is streamed.
func upload(file io.Reader, fields map[string][]string) (contentType string, body io.Reader) {
	form := multipart.NewWriter(io.Discard)
	return form.FormDataContentType(), streamForm(form.Boundary(), file, fields)
}

func streamForm(boundary string, file io.Reader, fields map[string][]string) io.ReadCloser {
	r, w := io.Pipe()
	form := multipart.NewWriter(w)
	go func() {
		err := form.SetBoundary(boundary)
		if err == nil {
			err = writeForm(form, file, fields)
		}
		w.CloseWithError(err)
	}()
	return r
}

func writeForm(form *multipart.Writer, file io.Reader, fields map[string][]string) error {
	for name, values := range fields {
		for _, v := range values {
			if err := form.WriteField(name, v); err != nil {
				return err
			}
		}
	}
	part, err := form.CreateFormFile("file", "upload") // its name is nobody's business
	if err != nil {
		return err
	}
	if _, err := io.Copy(part, file); err != nil {
		return err
	}
	return form.Close()
}

// busyPatience is how long a command waits for a node that is busy, in all.
const busyPatience = time.Minute

// insist asks a node that is busy, or has the key wait, again: not before it said, and less and less often.
func insist[T any](ctx context.Context, try func() (T, error)) (T, error) {
	waited := time.Duration(0)
	for wait := 250 * time.Millisecond; ; wait *= 2 {
		out, err := try()
		var problem *problemError
		if !errors.As(err, &problem) || problem.Status != http.StatusServiceUnavailable && problem.Status != http.StatusTooManyRequests {
			return out, err
		}
		pause := max(wait, problem.after)
		if waited += pause; waited > busyPatience {
			return out, err
		}
		select {
		case <-ctx.Done():
			return out, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// check sends one file to be checked, again while the node is busy.
func (c *client) check(ctx context.Context, open func() (io.ReadCloser, error), fields map[string][]string) (v1.Verdict, error) {
	return insist(ctx, func() (v1.Verdict, error) {
		return sendFile[v1.Verdict](open, fields, func(contentType string, body io.Reader, again v1.RequestEditorFn) (*http.Response, error) {
			return c.CheckWithBody(ctx, contentType, body, again)
		})
	})
}

// flag sends one file to be flagged.
func (c *client) flag(ctx context.Context, bank string, open func() (io.ReadCloser, error), fields map[string][]string) (v1.Flagged, error) {
	return sendFile[v1.Flagged](open, fields, func(contentType string, body io.Reader, again v1.RequestEditorFn) (*http.Response, error) {
		return c.FlagWithBody(ctx, bank, contentType, body, again)
	})
}

// sendFile sends a file and text fields. The file is opened anew if it has to be sent again, for which again is to be handed on.
func sendFile[T any](open func() (io.ReadCloser, error), fields map[string][]string, send func(contentType string, body io.Reader, again v1.RequestEditorFn) (*http.Response, error)) (T, error) {
	var file io.ReadCloser
	end := func() {
		if file != nil {
			_ = file.Close()
		}
	}
	defer func() { end() }()
	form := multipart.NewWriter(io.Discard)
	body := func() (_ io.ReadCloser, err error) {
		end()
		if file, err = open(); err != nil {
			return nil, err
		}
		return streamForm(form.Boundary(), file, fields), nil
	}
	first, err := body()
	if err != nil {
		var none T
		return none, err
	}
	again := func(_ context.Context, r *http.Request) error { r.GetBody = body; return nil }
	return ask[T](send(form.FormDataContentType(), first, again))
}

// openRegular opens a file for reading; folders and devices are refused.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &os.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	return os.Open(path)
}
