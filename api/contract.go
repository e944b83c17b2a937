package api

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/labstack/echo/v4"

	"vigie/storage"
)

//go:embed openapi.yaml
var contractYAML []byte

// operation is what the contract says of one route.
type operation struct {
	route *routers.Route
	roles []storage.Role
	keyed bool // it takes an Idempotency-Key
}

// loadContract reads the embedded contract; it fails only if the binary was built from a broken one.
func loadContract() (*openapi3.T, map[string]*operation, error) {
	doc, err := openapi3.NewLoader().LoadFromData(contractYAML)
	if err != nil {
		return nil, nil, fmt.Errorf("read openapi.yaml: %w", err)
	}
	// What requests are validated against: a contract of version 3.1 makes the validator compile each
	// schema anew for each request, and it reads whole bodies for security requirements, which are
	// authenticate's. The contract uses nothing that 3.0 lacks.
	spec := *doc
	spec.OpenAPI, spec.Security = "3.0.3", nil
	ops := map[string]*operation{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			o := &operation{route: &routers.Route{Spec: &spec, Path: path, PathItem: item, Method: method, Operation: op}}
			roles, _ := op.Extensions["x-roles"].([]any)
			for _, r := range roles {
				o.roles = append(o.roles, storage.Role(fmt.Sprint(r)))
			}
			o.keyed = op.Parameters.GetByInAndName(openapi3.ParameterInHeader, idempotencyKey) != nil
			ops[method+" "+echoPath(path)] = o
		}
	}
	return doc, ops, nil
}

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

// echoPath writes /v1/banks/{bank} as /v1/banks/:bank, and a colon of the path itself as \:.
func echoPath(path string) string {
	return pathParameter.ReplaceAllString(strings.ReplaceAll(path, ":", `\:`), ":$1")
}

// operation is the contract's word on the route that echo has found; nil for routes outside of it.
func (s *Server) operation(c echo.Context) *operation {
	return s.operations[c.Request().Method+" "+c.Path()]
}

// validate holds a request against the contract before its handler sees it. Multipart and NDJSON
// bodies are streams: their handlers validate parts and lines as they come.
func (s *Server) validate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		op := s.operation(c)
		if op == nil {
			return next(c)
		}
		params := map[string]string{}
		for i, name := range c.ParamNames() {
			params[name] = c.ParamValues()[i]
			if plain, err := url.PathUnescape(params[name]); err == nil { // as it is bound for the handler
				params[name] = plain
			}
		}
		err := op.checkQuery(c.Request().URL)
		if err == nil {
			err = openapi3filter.ValidateRequest(c.Request().Context(), &openapi3filter.RequestValidationInput{
				Request: c.Request(), PathParams: params, Route: op.route,
				Options: &openapi3filter.Options{ExcludeRequestBody: true}, // done below
			})
		}
		if err == nil {
			err = op.checkBody(c.Request())
		}
		if err != nil {
			return err
		}
		return next(c)
	}
}

// checkQuery refuses what the validator overlooks: a filter that is misspelt, empty or there twice
// would answer another question than the caller's. Operations that need no key are for probes, which may
// add what they like.
func (o *operation) checkQuery(u *url.URL) error {
	if len(o.roles) == 0 {
		return nil
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return refuse(pInvalid, "query: %v", err)
	}
	for _, name := range sortedKeys(query) {
		switch known := o.route.Operation.Parameters.GetByInAndName(openapi3.ParameterInQuery, name) != nil; {
		case !known:
			return refuse(pInvalid, "query parameter %q is not known", name)
		case len(query[name]) > 1:
			return refuse(pInvalid, "query parameter %s stands %d times", name, len(query[name]))
		case query.Get(name) == "":
			return refuse(pInvalid, "query parameter %s is empty", name)
		}
	}
	return nil
}

// checkBody refuses a body of a type that the operation does not take, and reads and checks JSON. It
// writes the Content-Type in its plainest form, which is all that the generated code recognizes.
func (o *operation) checkBody(r *http.Request) error {
	if o.route.Operation.RequestBody == nil {
		return nil
	}
	content := o.route.Operation.RequestBody.Value.Content
	given := r.Header.Get(echo.HeaderContentType)
	kind, params, err := mime.ParseMediaType(given)
	accepted, ok := content[kind]
	switch {
	case err != nil || !ok:
		return refuse(pContent, "Content-Type %q; accepted are %s", given, strings.Join(sortedKeys(content), ", "))
	case kind == echo.MIMEMultipartForm && params["boundary"] == "":
		return refuse(pInvalid, "Content-Type %q has no boundary", given)
	}
	r.Header.Set(echo.HeaderContentType, mime.FormatMediaType(kind, params))
	if kind != echo.MIMEApplicationJSON {
		return nil
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return bodyError(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(text))
	return checkJSON(text, accepted.Schema.Value)
}
