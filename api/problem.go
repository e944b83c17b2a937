package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/labstack/echo/v4"

	v1 "vigie/api/v1"
	"vigie/hashing"
	"vigie/index/text"
	"vigie/matcher"
	"vigie/rescan"
	"vigie/storage"
	"vigie/webhook"
)

// problemType is one kind of error, as callers can rely on it.
type problemType struct {
	Slug   string
	Status int
	Title  string
	Help   string // what to do about it
}

// Type is the stable `type` of the problem document.
func (p problemType) Type() string { return "/problems/" + p.Slug }

// The kinds of errors. The list is served at /problems.
var (
	pInvalid     = problemType{"invalid-request", 400, "The request is not as the contract says", "Correct what detail names; see /docs."}
	pSignal      = problemType{"invalid-signal", 400, "A signal cannot be read", "Signals are an algorithm and its value in hexadecimal."}
	pBeyond      = problemType{"min-seq-beyond-head", 400, "min_seq names a change that does not exist", "Use the seq that a flag or change answered."}
	pEmpty       = problemType{"empty-media", 400, "The file is empty", "Send the bytes of the picture or video."}
	pNoKey       = problemType{"missing-key", 401, "A key is needed", "Send `Authorization: Bearer vg_...`."}
	pBadKey      = problemType{"unknown-key", 401, "The key is not known here", "Check that it was copied whole."}
	pExpired     = problemType{"expired-key", 401, "The key has expired", "Ask an admin for a new one."}
	pRevoked     = problemType{"revoked-key", 401, "The key was revoked", "Ask an admin for a new one."}
	pSuspended   = problemType{"party-suspended", 403, "The key's party is suspended", "Ask the operator of the node."}
	pForeign     = problemType{"foreign", 403, "It belongs to another party", "You may read it, and hold an overlay or an opinion of its entries; its owner alone changes it."}
	pOperator    = problemType{"operator-only", 403, "Only the operator of the node may do that", "Ask the operator: an admin of the party that runs the node."}
	pForbidden   = problemType{"forbidden", 403, "The key's role does not allow this", "Each operation at /docs names the roles that may."}
	pNoBank      = problemType{"unknown-bank", 404, "There is no such bank", "`GET /v1/banks` lists them."}
	pNoEntry     = problemType{"unknown-entry", 404, "There is no such entry", "`GET /v1/entries` lists them."}
	pNoKeyID     = problemType{"unknown-key-id", 404, "There is no such key", "`GET /v1/keys` lists them."}
	pNoParty     = problemType{"unknown-party", 404, "There is no such party", "`GET /v1/parties` lists them."}
	pNoMatch     = problemType{"unknown-match", 404, "There is no such match", "`GET /v1/matches` lists those of your party, unless they are too old."}
	pNoWebhook   = problemType{"unknown-webhook", 404, "There is no such webhook", "`GET /v1/webhooks` lists those of your party."}
	pNoDelivery  = problemType{"unknown-delivery", 404, "There is no such delivery among those given up", "`GET /v1/webhooks/{webhook}/dead` lists them."}
	pNoRescan    = problemType{"unknown-rescan", 404, "There is no such re-scan", "`GET /v1/rescans` lists those of your party, unless they are too old."}
	pNoSource    = problemType{"unknown-source", 404, "There is no such source", "`GET /v1/sources` lists those of your party; the operator of the node configures them."}
	pNoRoute     = problemType{"unknown-route", 404, "There is nothing at this path", "The paths are at /docs."}
	pMethod      = problemType{"method-not-allowed", 405, "The path does not take this method", "The methods are at /docs."}
	pSlowBody    = problemType{"body-timeout", 408, "The request took too long to arrive", "Send it in one go."}
	pBankExists  = problemType{"bank-exists", 409, "A bank of that name exists", "Choose another name."}
	pDuplicate   = problemType{"duplicate-entry", 409, "Another active entry has the same media", "Retract that one first, or leave it."}
	pAmbiguous   = problemType{"ambiguous-bank", 409, "Several banks have that name", "Say whose it is: `owner:name`, as detail lists them."}
	pPartyExists = problemType{"party-exists", 409, "A party of that name exists", "Choose another name."}
	pManyHooks   = problemType{"too-many-webhooks", 409, "The party has as many webhooks as it may", "Delete one first; one webhook can be told of all kinds of events."}
	pHookOff     = problemType{"webhook-off", 409, "The webhook is off", "Switch it on first: `PATCH /v1/webhooks/{webhook}` with `{\"on\": true}`. What was given up stays."}
	pPending     = problemType{"pending", 409, "Another change waits for a second person", "Confirm or reject it first."}
	pNoProposal  = problemType{"nothing-proposed", 409, "There is nothing to confirm or to reject", "Somebody else may have done it already."}
	pSecond      = problemType{"second-person", 409, "Who proposed a change may not confirm it", "Let another person confirm it, with a key of their own."}
	pKnownGood   = problemType{"known-good", 409, "It is near something that is known to be good", "Look at that entry; flag with `despite_known_good` if this one differs."}
	pRunning     = problemType{"idempotency-running", 409, "A request with the same Idempotency-Key is running", "Send it again after Retry-After seconds."}
	pEnded       = problemType{"rescan-ended", 409, "The re-scan has ended", "What is done cannot be cancelled or resumed: start another."}
	pNoLast      = problemType{"no-last-rescan", 409, "No re-scan of the source has been done yet", "Start one without `since_last` first, or say with `since` from which change of the log."}
	pSecretShown = problemType{"secret-shown", 409, "The key was created, and its secret was shown in the first answer", "If that was lost, revoke the key that detail names, and create another with a new Idempotency-Key."}
	pKeyReused   = problemType{"idempotency-key-reused", 422, "The Idempotency-Key was used for another request", "Take a new key for each thing to be done."}
	pBodyBig     = problemType{"body-too-large", 413, "The request is larger than this node accepts", "The operator sets the limits."}
	pMediaBig    = problemType{"media-too-large", 413, "The picture or video is larger than this node decodes", "Reduce it; perceptual hashes do not need more."}
	pContent     = problemType{"unsupported-content-type", 415, "The body's Content-Type is not accepted", "Accepted types are at /docs."}
	pFormat      = problemType{"unsupported-format", 415, "The file is of no format that this node decodes", "Accepted are JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF, HEIC, and MP4, QuickTime, WebM, Matroska, AVI and other videos."}
	pCorrupt     = problemType{"corrupt-media", 422, "The file cannot be decoded", "It is damaged or cut short."}
	pTimedOut    = problemType{"decoder-timeout", 422, "Decoding took too long and was stopped", "The file is hostile, or the node overloaded."}
	pDecoderMem  = problemType{"decoder-memory", 422, "Decoding needed too much memory and was stopped", "The file is hostile, or larger than it seems."}
	pCrashed     = problemType{"decoder-crashed", 422, "The decoder died on this file", "Only this request was lost."}
	pNoDecoder   = problemType{"decoder-missing", 501, "This node lacks the program that decodes this format", "Its operator installs it: see `vigie serve` and the operations guide."}
	pUnhashable  = problemType{"unhashable-media", 422, "It cannot be told from other pictures by perceptual hashing", "Flag it with `exact_only` to match its exact bytes."}
	pBatchLong   = problemType{"batch-too-long", 413, "The batch has more lines than this node accepts", "Send several batches."}
	pLineLong    = problemType{"line-too-long", 413, "A line of the batch is too long", "Lines hold one check each."}
	pCancelled   = problemType{"request-cancelled", 499, "The caller hung up before the answer", "Nobody reads this; it stands in logs and metrics."}
	pLimited     = problemType{"rate-limited", 429, "More requests than this key, or this address, may make", "Try again after Retry-After seconds; the operator sets the rates."}
	pInternal    = problemType{"internal", 500, "Something went wrong here", "Report it with the request id."}
	pLogChanged  = problemType{"log-changed", 409, "The log is not the one that the cursor is of", "Read it again from the beginning: its database was replaced, or restored from a backup."}
	pMemory      = problemType{"memory-limit", 507, "This node's index has no memory for more rows", "Retract entries that are not needed, or give the node more memory and raise `--memory-limit`. Checks and retractions go on."}
	pBehind      = problemType{"index-behind", 503, "The index has not seen min_seq yet", "Try again in a second."}
	pNotReady    = problemType{"not-ready", 503, "The node is loading its index", "Try again; /readyz says when."}
	pAway        = problemType{"database-away", 503, "The node's database, or its object store, cannot be used at present", "Nothing has happened. Try again after Retry-After seconds; checks go on meanwhile."}
	pClock       = problemType{"clock-off", 503, "The clock of the node's machine is off, and its object store refuses what it signs", "Nothing has happened. The operator sets the clock right; another node may do it now. Checks go on meanwhile."}
	pUnknown     = problemType{"outcome-unknown", 503, "The node's database went away while it stored the change", "The change may have been made: repeat the request with the same Idempotency-Key, or look."}
	pNoWebhooks  = problemType{"webhooks-off", 501, "This node has no webhooks", "Ask a node that serves: one within a command sends nothing."}
	pNoRescans   = problemType{"rescans-off", 501, "This node has no re-scans", "Ask another one."}
	pBusy        = problemType{"busy", 503, "Too many uploads at once, or hostile ones among them", "Try again after Retry-After seconds."}
	pOverloaded  = problemType{"overloaded", 503, "The node has more work than it can do in time", "Try again after Retry-After seconds, less and less often."}
	problemTypes = []problemType{
		pInvalid, pSignal, pBeyond, pEmpty, pNoKey, pBadKey, pExpired, pRevoked, pSuspended, pForeign, pOperator, pForbidden, pNoBank, pNoEntry,
		pNoParty, pNoMatch, pAmbiguous, pPartyExists, pPending, pNoProposal, pSecond, pKnownGood, pRunning, pSecretShown, pKeyReused,
		pNoKeyID, pNoRoute, pMethod, pSlowBody, pBankExists, pDuplicate, pBodyBig, pMediaBig, pContent, pFormat,
		pCorrupt, pTimedOut, pDecoderMem, pCrashed, pNoDecoder, pUnhashable, pBatchLong, pLineLong, pCancelled, pLimited, pInternal,
		pNoWebhook, pNoDelivery, pManyHooks, pHookOff, pNoWebhooks,
		pNoRescan, pNoSource, pEnded, pNoLast, pNoRescans,
		pLogChanged, pMemory, pBehind, pNotReady, pAway, pClock, pUnknown, pBusy, pOverloaded,
	}
)

var bySentinel = []struct {
	err error
	is  problemType
}{
	{matcher.ErrUnknownBank, pNoBank},
	{matcher.ErrUnknownEntry, pNoEntry},
	{matcher.ErrUnknownKey, pNoKeyID},
	{matcher.ErrUnknownParty, pNoParty},
	{matcher.ErrUnknownMatch, pNoMatch},
	{matcher.ErrUnknownWebhook, pNoWebhook},
	{rescan.ErrUnknownRescan, pNoRescan},
	{rescan.ErrUnknownSource, pNoSource},
	{rescan.ErrEnded, pEnded},
	{rescan.ErrNoLast, pNoLast},
	{matcher.ErrTooManyWebhooks, pManyHooks},
	{webhook.ErrUnknownDelivery, pNoDelivery},
	{webhook.ErrOff, pHookOff},
	{webhook.ErrBusy, pBusy},
	{matcher.ErrForeign, pForeign},
	{matcher.ErrOperator, pOperator},
	{matcher.ErrPartyExists, pPartyExists},
	{matcher.ErrPending, pPending},
	{matcher.ErrNothingProposed, pNoProposal},
	{matcher.ErrSecondPerson, pSecond},
	{matcher.ErrKnownGood, pKnownGood},
	{matcher.ErrKeyReused, pKeyReused},
	{matcher.ErrSuspended, pSuspended},
	{matcher.ErrBankExists, pBankExists},
	{matcher.ErrAmbiguous, pAmbiguous},
	{matcher.ErrDuplicate, pDuplicate},
	{matcher.ErrIndexBehind, pBehind},
	{matcher.ErrBeyondHead, pBeyond},
	{matcher.ErrFull, pMemory},
	{matcher.ErrNotReady, pNotReady},
	{hashing.ErrBusy, pBusy},
	{storage.ErrConflict, pBusy},
	{matcher.ErrNoKey, pNoKey},
	{matcher.ErrBadKey, pBadKey},
	{matcher.ErrExpiredKey, pExpired},
	{matcher.ErrRevokedKey, pRevoked},
}

// bySilentSentinel are errors of others, whose texts would tell the caller nothing, or too much. Those of a database may wrap any
// that stand after them.
var bySilentSentinel = []struct {
	err    error
	is     problemType
	detail string
}{
	{storage.ErrUnknownOutcome, pUnknown, "the database went away while it stored the change: it may have been made; repeat the request with the same Idempotency-Key, or look"},
	{storage.ErrClock, pClock, "the object store refuses what the node signs, since the clock of the node's machine is off; nothing has happened"},
	{storage.ErrUnavailable, pAway, "the database, or the object store, does not answer; nothing has happened"}, // as ErrUnknownOutcome is, too
	{storage.ErrInvalid, pInvalid, storage.ErrInvalid.Error()},
	{echo.ErrNotFound, pNoRoute, ""},
	{echo.ErrMethodNotAllowed, pMethod, ""},
	{os.ErrDeadlineExceeded, pSlowBody, ""},
	{context.Canceled, pCancelled, ""},
	{context.DeadlineExceeded, pOverloaded, ""},
}

var byMediaError = map[hashing.MediaErrorKind]problemType{
	hashing.Empty:       pEmpty,
	hashing.Unsupported: pFormat,
	hashing.TooLarge:    pMediaBig,
	hashing.Corrupt:     pCorrupt,
	hashing.TimedOut:    pTimedOut,
	hashing.OutOfMemory: pDecoderMem,
	hashing.Crashed:     pCrashed,
	hashing.NoDecoder:   pNoDecoder,
}

// refusal is an error that knows its problem type; handlers use it for what is about HTTP alone.
type refusal struct {
	is     problemType
	detail string
	retry  time.Duration // when to try again, in whole seconds; 0: a second, where it makes sense
}

func (r *refusal) Error() string { return r.detail }

func refuse(is problemType, format string, args ...any) error {
	return &refusal{is: is, detail: fmt.Sprintf(format, args...)}
}

// retryAfter is the Retry-After of an error, in seconds.
func retryAfter(err error) string {
	if own, ok := errors.AsType[*refusal](err); ok && own.retry > 0 {
		return strconv.Itoa(int(own.retry.Seconds()))
	}
	if errors.Is(err, storage.ErrUnavailable) {
		return "2"
	}
	return "1"
}

// classify finds the problem type of an error and what to tell the caller. What is not known is
// internal, and its text stays here.
func classify(err error) (problemType, string) {
	var (
		own      *refusal
		input    *matcher.InputError
		unhash   *matcher.UnhashableError
		media    *hashing.MediaError
		signal   *hashing.ParseError
		tooLarge *http.MaxBytesError
		request  *openapi3filter.RequestError
		search   *text.QueryError
		fromEcho *echo.HTTPError
	)
	for _, s := range bySentinel {
		if errors.Is(err, s.err) {
			return s.is, err.Error()
		}
	}
	for _, s := range bySilentSentinel {
		if errors.Is(err, s.err) {
			return s.is, s.detail
		}
	}
	switch {
	case errors.As(err, &own):
		return own.is, own.detail
	case errors.As(err, &input):
		return pInvalid, err.Error()
	case errors.As(err, &unhash):
		return pUnhashable, unhash.Detail
	case errors.As(err, &media):
		return byMediaError[media.Kind], media.Detail
	case errors.As(err, &signal):
		return pSignal, err.Error()
	case errors.As(err, &tooLarge):
		return pBodyBig, fmt.Sprintf("more than %d bytes", tooLarge.Limit)
	case errors.As(err, &request):
		return pInvalid, requestDetail(request)
	case errors.As(err, &search):
		return pInvalid, searchDetail(search)
	case errors.As(err, &fromEcho) && fromEcho.Code < 500:
		return pInvalid, fmt.Sprint(fromEcho.Message)
	}
	return pInternal, ""
}

// requestDetail says in one line where a request broke the contract, and how.
func requestDetail(err *openapi3filter.RequestError) string {
	where := "body"
	if err.Parameter != nil {
		where = err.Parameter.In + " parameter " + err.Parameter.Name
	}
	return where + schemaDetail(err.Err, err.Reason)
}

// schemaDetail finds the innermost complaint of the validator.
func schemaDetail(err error, reason string) string {
	var schema *openapi3.SchemaError
	if errors.As(err, &schema) {
		path := ""
		for _, p := range schema.JSONPointer() {
			path += "/" + p
		}
		reason, _, _ := strings.Cut(schema.Reason, " (string doesn't match pattern") // of a date
		return fmt.Sprintf("%s: %s", path, reason)
	}
	var parse *openapi3filter.ParseError
	if errors.As(err, &parse) && parse.Cause != nil {
		return ": " + parse.Cause.Error()
	}
	if reason == "" && err != nil {
		reason = err.Error()
	}
	return ": " + reason
}

// searchDetail names the parameter that is wrong with a search, and what is accepted.
func searchDetail(err *text.QueryError) string {
	name, ok := map[string]string{"text": "q", "to": "until"}[err.Field]
	if !ok {
		name = err.Field
	}
	return "query parameter " + name + ": " + err.Reason
}

// maxDetail bounds the detail of a problem, which may quote what was sent; in bytes.
const maxDetail = 400

// document is the RFC 9457 form of an error.
func document(err error, requestID string) v1.Problem {
	is, detail := classify(err)
	p := v1.Problem{Type: is.Type(), Title: is.Title, Status: is.Status}
	if len(detail) > maxDetail {
		detail = strings.ToValidUTF8(detail[:maxDetail], "") + "..."
	}
	if detail != "" {
		p.Detail = &detail
	}
	if requestID != "" {
		p.Instance = &requestID
	}
	return p
}

// writeProblem answers a request with an error; it is echo's error handler.
func (s *Server) writeProblem(err error, c echo.Context) {
	if gone := c.Request().Context().Err(); gone != nil && c.Response().Committed {
		err = gone // what failed is that nobody listens
	}
	c.Set(problemKey, err)
	if c.Response().Committed {
		return // half an answer is out; observe breaks it off
	}
	p := document(err, requestID(c))
	h := c.Response().Header()
	h.Set(echo.HeaderContentType, "application/problem+json")
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set(echo.HeaderWWWAuthenticate, `Bearer realm="vigie"`)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		h.Set("Retry-After", retryAfter(err))
	}
	if p.Type == pRunning.Type() {
		h.Set("Retry-After", "1")
	}
	rest, _ := c.Get(bodyKey).(*arriving)
	unread := rest != nil && !rest.over
	if unread {
		h.Set(echo.HeaderConnection, "close")
	}
	body, _ := json.Marshal(p)
	h.Set(echo.HeaderContentLength, strconv.Itoa(len(body)))
	c.Response().WriteHeader(p.Status)
	_, _ = c.Response().Write(body)
	if unread && p.Status != http.StatusRequestTimeout && actor(c.Request().Context()) != "" {
		s.linger(http.NewResponseController(c.Response().Writer), rest)
	}
}
