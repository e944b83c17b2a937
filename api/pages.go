package api

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"
)

//go:embed pages.html
var pagesHTML string

// pages are the routes for people and machines beside the contract: /docs, /problems,
// /openapi.yaml, /metrics. They hold nothing secret and need no key, apart from /metrics, which is
// for the monitoring of the operator: bind it by the network, as usual for Prometheus.
func (s *Server) pages(e *echo.Echo) {
	e.GET("/", func(c echo.Context) error { return c.Redirect(http.StatusFound, "/docs") })
	e.GET("/openapi.yaml", func(c echo.Context) error { return c.Blob(http.StatusOK, "application/yaml", contractYAML) })
	if s.o.Metrics != nil && !s.o.PrivateMetrics {
		e.GET("/metrics", echo.WrapHandler(s.o.Metrics.Handler()))
	}
	pages := template.Must(template.New("").Funcs(template.FuncMap{
		"prose": prose, "inline": inline, "shape": shape, "accepts": accepts, "constraints": constraints,
	}).Parse(pagesHTML))
	show := func(name string, data any) echo.HandlerFunc {
		var page bytes.Buffer
		err := pages.ExecuteTemplate(&page, name, data)
		return func(c echo.Context) error {
			if err != nil {
				return err
			}
			c.Response().Header().Set(echo.HeaderContentSecurityPolicy,
				"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
			return c.HTMLBlob(http.StatusOK, page.Bytes())
		}
	}
	e.GET("/docs", show("docs", s.docs()))
	problems := show("problems", problemTypes)
	e.GET("/problems", problems)
	e.GET("/problems/:slug", func(c echo.Context) error {
		if !slices.ContainsFunc(problemTypes, func(p problemType) bool { return p.Slug == c.Param("slug") }) {
			return echo.ErrNotFound
		}
		return c.Redirect(http.StatusFound, "/problems#"+c.Param("slug"))
	})
}

// docs is what the page at /docs shows: the contract, in reading order.
type docs struct {
	Info    *openapi3.Info
	Groups  []docGroup
	Schemas []docSchema
}

type docGroup struct {
	Name, Description string
	Operations        []docOperation
}

type docOperation struct {
	Method, Path string
	Roles        []string
	Parameters   []*openapi3.Parameter
	*openapi3.Operation
}

type docSchema struct {
	Name   string
	Schema *openapi3.Schema
	Fields []docField
}

type docField struct {
	Name     string
	Required bool
	Ref      *openapi3.SchemaRef
}

func (s *Server) docs() docs {
	d := docs{Info: s.contract.Info}
	for _, tag := range s.contract.Tags {
		g := docGroup{Name: tag.Name, Description: tag.Description}
		for _, o := range s.operations {
			if !slices.Contains(o.route.Operation.Tags, tag.Name) {
				continue
			}
			op := docOperation{Method: o.route.Method, Path: o.route.Path, Operation: o.route.Operation}
			for _, r := range o.roles {
				op.Roles = append(op.Roles, string(r))
			}
			for _, p := range slices.Concat(o.route.PathItem.Parameters, o.route.Operation.Parameters) {
				op.Parameters = append(op.Parameters, p.Value)
			}
			g.Operations = append(g.Operations, op)
		}
		slices.SortFunc(g.Operations, func(a, b docOperation) int {
			return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(b.Method, a.Method))
		})
		d.Groups = append(d.Groups, g)
	}
	for _, name := range sortedKeys(s.contract.Components.Schemas) {
		schema := docSchema{Name: name, Schema: s.contract.Components.Schemas[name].Value}
		for _, field := range sortedKeys(schema.Schema.Properties) {
			schema.Fields = append(schema.Fields, docField{
				Name: field, Required: slices.Contains(schema.Schema.Required, field), Ref: schema.Schema.Properties[field],
			})
		}
		slices.SortStableFunc(schema.Fields, func(a, b docField) int {
			switch {
			case a.Required == b.Required:
				return 0
			case a.Required:
				return -1
			}
			return 1
		})
		d.Schemas = append(d.Schemas, schema)
	}
	return d
}

// prose renders the little markup that descriptions use: paragraphs, `code`, **strong**.
func prose(text string) template.HTML {
	var b strings.Builder
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		fmt.Fprintf(&b, "<p>%s</p>", inline(paragraph))
	}
	return template.HTML(b.String()) //nolint:gosec // escaped by inline
}

// inline is prose within a paragraph. It may be given a string or a pointer to one.
func inline(text any) template.HTML {
	var s string
	switch text := text.(type) {
	case string:
		s = text
	case *string:
		s = or(text, "")
	}
	s = template.HTMLEscapeString(strings.ReplaceAll(s, "\n", " "))
	return template.HTML(pairs(pairs(s, "**", "strong"), "`", "code")) //nolint:gosec // escaped
}

func pairs(s, mark, tag string) string {
	parts := strings.Split(s, mark)
	for i := 1; i < len(parts)-1; i += 2 {
		parts[i] = "<" + tag + ">" + parts[i] + "</" + tag + ">"
	}
	return strings.Join(parts, "")
}

// shape is a schema in a few words: a link to its name, or its type.
func shape(ref *openapi3.SchemaRef) template.HTML {
	switch {
	case ref == nil || ref.Value == nil:
		return ""
	case ref.Ref != "":
		name := template.HTMLEscapeString(ref.Ref[strings.LastIndex(ref.Ref, "/")+1:])
		return template.HTML(fmt.Sprintf(`<a href="#%s">%s</a>`, name, name)) //nolint:gosec // escaped
	case ref.Value.Items != nil:
		return "list of " + shape(ref.Value.Items)
	case ref.Value.AdditionalProperties.Schema != nil:
		return "map to " + shape(ref.Value.AdditionalProperties.Schema)
	case len(ref.Value.Properties) > 0:
		var fields []string
		for _, name := range sortedKeys(ref.Value.Properties) {
			fields = append(fields, fmt.Sprintf("<code>%s</code>: %s", template.HTMLEscapeString(name), shape(ref.Value.Properties[name])))
		}
		return template.HTML(strings.Join(fields, ", ")) //nolint:gosec // escaped
	case ref.Value.Type == nil:
		return "any"
	}
	words := strings.Join(ref.Value.Type.Slice(), " or ")
	if ref.Value.Format != "" {
		words += " (" + ref.Value.Format + ")"
	}
	return template.HTML(template.HTMLEscapeString(words)) //nolint:gosec // escaped
}

// constraints are a schema's bounds and choices, in words.
func constraints(s *openapi3.Schema) string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if len(s.Enum) > 0 {
		var choices []string
		for _, v := range s.Enum {
			choices = append(choices, fmt.Sprintf("%q", v))
		}
		add("one of %s", strings.Join(choices, ", "))
	}
	if s.Pattern != "" {
		add("matches %s", s.Pattern)
	}
	if s.Min != nil {
		add("at least %v", *s.Min)
	}
	if s.Max != nil {
		add("at most %v", *s.Max)
	}
	if s.MaxLength != nil {
		add("at most %d characters", *s.MaxLength)
	}
	if s.MinItems > 0 {
		add("at least %d", s.MinItems)
	}
	if s.MaxItems != nil {
		add("at most %d", *s.MaxItems)
	}
	if s.Default != nil {
		add("default %v", s.Default)
	}
	return strings.Join(out, "; ")
}

// accepts lists media types with their schemas, in order.
func accepts(content openapi3.Content) []docField {
	var out []docField
	for _, kind := range sortedKeys(content) {
		out = append(out, docField{Name: kind, Ref: content[kind].Schema})
	}
	return out
}
