// Package api is Vigie over HTTP: the routes of openapi.yaml, the roles named there, problem
// documents (RFC 9457), limits on bodies and time, metrics, and the pages that explain them.
//
// Handlers parse, call package matcher, and map the answer; they have no rules of their own. The
// contract is openapi.yaml: package v1 is generated from it, and every request is validated against
// it before a handler runs (multipart bodies part by part, NDJSON line by line, in the handlers).
package api
