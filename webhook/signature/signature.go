// Package signature signs what Vigie sends to webhooks, and verifies it for receivers. It uses the standard library alone, so
// that a receiver written in Go can import it by itself.
//
//	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4<<20))
//	err = signature.Verify(r.Header, body, time.Now(), secret)
//
// A signature is HMAC-SHA256, in hexadecimal, of the time, a dot and the body, with the secret as its text is: see [Sign]. While the
// secret is rotated there are two, of which one suffices.
package signature

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Headers of a delivery.
const (
	Timestamp = "Vigie-Timestamp" // when this attempt was made: seconds since 1970
	Header    = "Vigie-Signature" // v1=<64 hexadecimal digits>, once for each secret, with commas between them
	Delivery  = "Vigie-Delivery"  // names the delivery; the same when it is tried again
	Event     = "Vigie-Event"     // the kinds of the events, with commas between them
)

// Tolerance is how far the clocks of sender and receiver may lie apart, the way included. What is older may have been recorded and
// sent again by somebody else.
const Tolerance = 5 * time.Minute

const (
	version = "v1="
	// mostSignatures are looked at of a request: whoever sends may be anybody, and pays for none.
	mostSignatures = 8
)

// ErrBad: the request was not signed with any of the secrets, or for another time, or has been changed on its way.
var ErrBad = errors.New("the signature is not good")

// Sign is the value of [Header] for a body that is sent at a time.
func Sign(body []byte, at time.Time, secrets ...string) string {
	signatures := make([]string, len(secrets))
	for i, s := range secrets {
		signatures[i] = version + hex.EncodeToString(sum(s, strconv.FormatInt(at.Unix(), 10), body))
	}
	return strings.Join(signatures, ",")
}

// Verify is nil if a request has a good signature, by one of the secrets, of this body and of a time that is near. Its error
// wraps [ErrBad].
func Verify(h http.Header, body []byte, now time.Time, secrets ...string) error {
	stamp := h.Get(Timestamp)
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: %s is missing or not a number", ErrBad, Timestamp)
	}
	if age := now.Sub(time.Unix(seconds, 0)).Abs(); age > Tolerance {
		return fmt.Errorf("%w: %s is %v away from now, accepted are %v", ErrBad, Timestamp, age.Round(time.Second), Tolerance)
	}
	given := strings.SplitN(h.Get(Header), ",", mostSignatures+1)
	if len(given) > mostSignatures {
		return fmt.Errorf("%w: %s has more than %d", ErrBad, Header, mostSignatures)
	}
	var macs [][]byte
	for _, g := range given {
		text, is := strings.CutPrefix(strings.TrimSpace(g), version)
		if mac, err := hex.DecodeString(text); is && err == nil && len(mac) == sha256.Size {
			macs = append(macs, mac)
		}
	}
	good := false
	for _, s := range secrets {
		if s == "" || len(macs) == 0 {
			continue // what is not set signs nothing
		}
		want := sum(s, stamp, body)
		for _, mac := range macs {
			good = hmac.Equal(mac, want) || good
		}
	}
	if !good {
		return fmt.Errorf("%w: %s has none by a secret that is known here", ErrBad, Header)
	}
	return nil
}

func sum(secret, stamp string, body []byte) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(stamp))
	h.Write([]byte("."))
	h.Write(body)
	return h.Sum(nil)
}
