// Package v1 is the HTTP contract in Go: types, the server interface that package api implements, and
// the client that the command line uses. All but this file is generated from ../openapi.yaml.
package v1

//go:generate go tool -modfile=../../tools/go.mod oapi-codegen --config=oapi-codegen.yaml ../openapi.yaml
