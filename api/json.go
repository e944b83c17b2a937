package api

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
)

// maxDepth bounds how deep JSON may nest; the contract needs four levels.
const maxDepth = 16

// checkJSON refuses text that is not one JSON value of the schema, or that two readers could
// understand differently: a key that stands twice, bytes that are no UTF-8, NUL in a string.
func checkJSON(text []byte, schema *openapi3.Schema) error {
	if len(text) == 0 {
		return refuse(pInvalid, "no body")
	}
	if !utf8.Valid(text) {
		return refuse(pInvalid, "not JSON: it is not UTF-8")
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return refuse(pInvalid, "not JSON: %v", err)
	}
	if err := unambiguous(json.NewDecoder(bytes.NewReader(text)), 0); err != nil {
		return err
	}
	if err := schema.VisitJSON(value, openapi3.VisitAsRequest()); err != nil {
		return refuse(pInvalid, "body%s", schemaDetail(err, ""))
	}
	return nil
}

// unambiguous reads one value, which is known to be valid JSON.
func unambiguous(in *json.Decoder, depth int) error {
	token, err := in.Token()
	if err != nil {
		return refuse(pInvalid, "not JSON: %v", err)
	}
	if text, ok := token.(string); ok {
		return checkText("body", text)
	}
	open, nested := token.(json.Delim)
	if !nested {
		return nil
	}
	if depth == maxDepth {
		return refuse(pInvalid, "nested more than %d deep", maxDepth)
	}
	seen := map[any]bool{}
	for in.More() {
		if open == '{' {
			key, err := in.Token()
			if err != nil {
				return refuse(pInvalid, "not JSON: %v", err)
			}
			if seen[key] {
				return refuse(pInvalid, "key %q stands twice", key)
			}
			seen[key] = true
		}
		if err := unambiguous(in, depth+1); err != nil {
			return err
		}
	}
	_, err = in.Token() // the closing bracket
	return err
}

// checkText refuses strings that databases and logs do not keep as they are.
func checkText(where, s string) error {
	switch {
	case !utf8.ValidString(s):
		return refuse(pInvalid, "%s: text that is not UTF-8", where)
	case strings.ContainsRune(s, 0):
		return refuse(pInvalid, "%s: text with a NUL character", where)
	}
	return nil
}
