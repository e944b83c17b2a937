package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/labstack/echo/v4"

	"vigie/matcher"
	"vigie/storage"
)

// A request that changes something may carry an Idempotency-Key. Its name is the key, who asks, and the route with its
// parameters; its digest is of what it means: JSON whatever its spaces and the order of its fields, the parts of a form
// whatever their order and boundary. The matcher stores the outcome with the change; here stands what is about HTTP.

const (
	idempotencyKey      = "Idempotency-Key"
	idempotencyReplayed = "Idempotency-Replayed"
)

// running are the requests with a key that this node works on. It is safe for concurrent use.
type running struct {
	mu    sync.Mutex
	names map[[2]string]bool // scope and key
}

// begin reports whether no other request of that name is running; then it is to end.
func (r *running) begin(scope, key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := [2]string{scope, key}
	if r.names[name] {
		return false
	}
	if r.names == nil {
		r.names = map[[2]string]bool{}
	}
	r.names[name] = true
	return true
}

func (r *running) end(scope, key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.names, [2]string{scope, key})
}

// keyed is a request with a key, on its way to its handler.
type keyed struct {
	scope, key string
	query      string
	answer     http.Header
}

type keyedKey struct{}

// idempotent gives a request with a key its name, and keeps others of that name out meanwhile.
func (s *Server) idempotent(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r, op := c.Request(), s.operation(c)
		keys := r.Header.Values(idempotencyKey)
		if op == nil || !op.keyed || len(keys) == 0 {
			return next(c)
		}
		if len(keys) > 1 || keys[0] == "" {
			return refuse(pInvalid, "header %s: accepted is one of 1 to 128 visible ASCII characters", idempotencyKey)
		}
		k := keyed{scope: scopeOf(c, op), key: keys[0], query: r.URL.Query().Encode(), answer: c.Response().Header()}
		if !s.running.begin(k.scope, k.key) {
			return refuse(pRunning, "a request with this %s is running", idempotencyKey)
		}
		defer s.running.end(k.scope, k.key)
		ctx := context.WithValue(r.Context(), keyedKey{}, k)
		kind, _, _ := mime.ParseMediaType(r.Header.Get(echo.HeaderContentType))
		if op.route.Operation.RequestBody == nil || kind != echo.MIMEMultipartForm {
			sent, err := digestJSON(r, op)
			if err == nil {
				ctx, err = s.once(ctx, sent)
			}
			if err != nil {
				return err
			}
		} // else whoever reads the form calls once
		c.SetRequest(r.WithContext(ctx))
		return next(c)
	}
}

// scopeOf is who asks, and for what: the route with its parameters.
func scopeOf(c echo.Context, op *operation) string {
	path := pathParameter.ReplaceAllStringFunc(op.route.Path, func(p string) string {
		return url.PathEscape(c.Param(strings.Trim(p, "{}")))
	})
	return fmt.Sprintf("%s %s %s", actor(c.Request().Context()), op.route.Method, path)
}

// once makes what is done under the context happen once, if its request has a key, now that it is known what it says. The
// answer to a repetition is marked.
func (s *Server) once(ctx context.Context, sent storage.Hash) (context.Context, error) {
	k, ok := ctx.Value(keyedKey{}).(keyed)
	if !ok {
		return ctx, nil
	}
	digest := sha256.Sum256(append(sent[:], k.query...))
	ctx = matcher.WithOnce(ctx, matcher.Once{Scope: k.scope, Key: k.key, Digest: digest})
	again, err := s.matcher.Replayed(ctx)
	if again {
		k.answer.Set(idempotencyReplayed, "true")
	}
	return ctx, err
}

// digestJSON is the digest of a JSON body, which is validated already, or of none.
func digestJSON(r *http.Request, op *operation) (storage.Hash, error) {
	if op.route.Operation.RequestBody == nil {
		return storage.Hash{}, nil
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return storage.Hash{}, bodyError(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(text))
	in := json.NewDecoder(bytes.NewReader(text))
	in.UseNumber() // large ones stay apart
	var value any
	if err := in.Decode(&value); err != nil {
		return storage.Hash{}, bodyError(err)
	}
	plain, err := json.Marshal(value) // keys in order
	return sha256.Sum256(append([]byte("json\n"), plain...)), err
}

// partSums are the digests of the parts of a form.
type partSums []string

func (p *partSums) add(name string, content storage.Hash) {
	*p = append(*p, fmt.Sprintf("%s %x\n", name, content))
}

// sum is the digest of a form, in whichever order its parts came.
func (p partSums) sum() storage.Hash {
	slices.Sort(p)
	return sha256.Sum256([]byte("form\n" + strings.Join(p, "")))
}
