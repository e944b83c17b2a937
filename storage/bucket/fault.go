package bucket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"vigie/storage"
)

// fault says what an error of minio-go means: ctx's end, [storage.ErrNotFound] if the server said so in its own words,
// [storage.ErrUnavailable] if it is away or cannot answer now (with [storage.ErrClock], if it refuses to for that), else what it refused. Keys of objects, which may be
// digests, do not stand in it.
func fault(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if own := (sourceError{}); errors.As(err, &own) {
		return own.error
	}
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) {
		return awayError{withoutURL(err), 0}
	}
	reason := answer.Code
	if answer.XMLName.Local != "Error" { // it is minio-go's guess: a HEAD has no reasons, nor has a proxy in between
		reason = "no reason"
	}
	switch {
	case reason == minio.NoSuchKey:
		return storage.ErrNotFound
	case reason == minio.RequestTimeTooSkewed: // the clock may be set right, so it is no reason to give up
		return awayError{fmt.Errorf("%w by more than the server accepts", storage.ErrClock), answer.StatusCode}
	case answer.StatusCode == http.StatusPreconditionFailed:
		return ErrReplaced
	case answer.StatusCode >= http.StatusInternalServerError, answer.StatusCode == http.StatusTooManyRequests,
		answer.StatusCode == http.StatusRequestTimeout:
		return awayError{fmt.Errorf("it answers HTTP status %d, %s", answer.StatusCode, reason), answer.StatusCode}
	default:
		if means := refusals[reason]; means != "" {
			reason += ": " + means
		}
		return fmt.Errorf("the object store answers HTTP status %d, %s", answer.StatusCode, reason)
	}
}

// refusals are what the most frequent ones mean to an operator.
var refusals = map[string]string{
	"InvalidAccessKeyId":    "the access key is not known there",
	"XAdminUserNotFound":    "the access key is not known there", // versitygw's
	"SignatureDoesNotMatch": "the secret key is wrong",
	"ExpiredToken":          "the session token has expired",
	minio.AccessDenied:      "these keys lack a right there",
	minio.NoSuchBucket:      "name or endpoint are wrong, or path-style=true is missing",
}

// sourceError is one of reading what is to be sent, which is not the server's.
type sourceError struct{ error }

func isCode(err error, code string) bool { return minio.ToErrorResponse(err).Code == code }

// awayError is a [storage.ErrUnavailable].
type awayError struct {
	why    error
	status int // of HTTP; 0: there was no answer
}

func (e awayError) Error() string        { return "the object store is not available: " + e.why.Error() }
func (e awayError) Unwrap() error        { return e.why }
func (e awayError) Is(target error) bool { return target == storage.ErrUnavailable }

// MayBeObject reports of a [storage.ErrUnavailable] that it may be of that one object alone, which a server has and cannot give: it says
// that something is wrong inside, or the connection broke. Whether others can be had [Bucket.Check] tells.
func MayBeObject(err error) bool {
	var away awayError
	return errors.As(err, &away) && (away.status == 0 || away.status == http.StatusInternalServerError)
}

// withoutURL takes the address of the request out of an error.
func withoutURL(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	if strings.HasPrefix(err.Error(), "Connection closed by foreign host") { // minio-go's, with the URL
		return errors.New("the connection was closed")
	}
	return err
}

const defaultStall = 15 * time.Second

// newTransport is minio-go's own, with connections that end when nothing has moved on them for a while: nothing else ends
// a request to a server whose machine or network is gone.
func newTransport(secure bool, stall time.Duration) (*http.Transport, error) {
	if stall == 0 {
		stall = defaultStall
	}
	t, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: min(stall, 5*time.Second), KeepAlive: 30 * time.Second}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &impatient{c, stall}, nil
	}
	return t, nil
}

// impatient is a connection that fails when nothing moves on it.
type impatient struct {
	net.Conn
	stall time.Duration
}

// Read implements net.Conn.
func (c *impatient) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write implements net.Conn. It postpones the end of a Read that waits for the answer, too.
func (c *impatient) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
