package api_test

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"vigie/hashing"
	"vigie/storage"
)

// TestContractIsValid holds openapi.yaml against the specification and against the code's own lists.
func TestContractIsValid(t *testing.T) {
	t.Parallel()
	spec, err := openapi3.NewLoader().LoadFromFile("openapi.yaml")
	must(t, err)
	must(t, spec.Validate(t.Context()))

	var algorithms, roles []any
	for _, a := range hashing.Algorithms() {
		algorithms = append(algorithms, a.String())
	}
	for _, r := range storage.Roles() {
		roles = append(roles, string(r))
	}
	for name, want := range map[string][]any{
		"Algorithm": algorithms, "Role": roles, "Status": anys(storage.Statuses()), "BankKind": anys(storage.BankKinds()),
		"PartyKind": anys(storage.PartyKinds()), "Ruling": anys(storage.Rulings()),
	} {
		if got := spec.Components.Schemas[name].Value.Enum; !slices.Equal(got, want) {
			t.Errorf("%s: the contract has %v, the code %v", name, got, want)
		}
	}
	for path, item := range spec.Paths.Map() {
		for method, op := range item.Operations() {
			open := op.Security != nil && len(*op.Security) == 0
			if named := op.Extensions["x-roles"] != nil; named == open {
				t.Errorf("%s %s: x-roles: %v, without a key: %v", method, path, named, open)
			}
			if op.Summary == "" || op.OperationID == "" || len(op.Tags) != 1 {
				t.Errorf("%s %s: it needs a summary, an id and one tag", method, path)
			}
		}
	}
}

func anys[S ~string](list []S) (out []any) {
	for _, s := range list {
		out = append(out, string(s))
	}
	return out
}

// TestObjectsAreClosed shows that whatever a caller may send as JSON refuses fields it does not know.
func TestObjectsAreClosed(t *testing.T) {
	t.Parallel()
	spec, err := openapi3.NewLoader().LoadFromFile("openapi.yaml")
	must(t, err)
	closed := 0
	for path, item := range spec.Paths.Map() {
		for method, op := range item.Operations() {
			if op.RequestBody == nil {
				continue
			}
			for _, kind := range []string{"application/json", "application/x-ndjson"} {
				content := op.RequestBody.Value.Content[kind]
				if content == nil || content.Schema.Value.Type.Is("string") { // a list, read row by row
					continue
				}
				closed++
				if has := content.Schema.Value.AdditionalProperties.Has; has == nil || *has {
					t.Errorf("%s %s takes unknown fields", method, path)
				}
			}
		}
	}
	equal(t, "bodies", closed, 21)
}

// TestContractKeepsTo30 holds off what the validator of requests does not know: it reads the contract
// as version 3.0.
func TestContractKeepsTo30(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("openapi.yaml")
	must(t, err)
	for _, word := range []string{
		"const:", "prefixItems:", "contains:", "dependentRequired:", "patternProperties:",
		"unevaluatedProperties:", "propertyNames:", "if:", "$defs:", "exclusiveMinimum:", "exclusiveMaximum:", "type: [",
	} {
		if bytes.Contains(text, []byte(" "+word)) || bytes.Contains(text, []byte("{"+word)) {
			t.Errorf("openapi.yaml uses %s", word)
		}
	}
}
