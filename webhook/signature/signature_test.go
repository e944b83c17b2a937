package signature_test

import (
	"encoding/json"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"vigie/webhook/signature"
)

// vector is one that receivers in other languages are tried against: see testdata/vectors.json. Its signatures were made with openssl.
type vector struct {
	Name      string
	Secrets   []string // that the receiver knows
	Timestamp string
	Signature string
	Body      string
	Now       int64
	Good      bool
}

func TestVectors(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	good := 0
	for _, v := range vectors {
		h := http.Header{}
		h.Set(signature.Timestamp, v.Timestamp)
		h.Set(signature.Header, v.Signature)
		if err := signature.Verify(h, []byte(v.Body), time.Unix(v.Now, 0), v.Secrets...); (err == nil) != v.Good {
			t.Errorf("%s: %v", v.Name, err)
		}
		if v.Good {
			good++
		}
	}
	if good < 3 || len(vectors) < 12 {
		t.Errorf("%d vectors, %d of them good", len(vectors), good)
	}
	first := vectors[0]
	at, _ := strconv.ParseInt(first.Timestamp, 10, 64)
	if got := signature.Sign([]byte(first.Body), time.Unix(at, 0), first.Secrets[0]); got != first.Signature {
		t.Errorf("signed %s, want %s", got, first.Signature)
	}
}

// FuzzVerify: what is not signed is not accepted, and a change of any byte is noticed.
func FuzzVerify(f *testing.F) {
	f.Add([]byte(`{"a":1}`), "whsec_x", "v1=00", uint(3))
	now := time.Unix(1_800_000_000, 0)
	f.Fuzz(func(t *testing.T, body []byte, secret, forged string, flip uint) {
		h := http.Header{}
		h.Set(signature.Timestamp, strconv.FormatInt(now.Unix(), 10))
		h[signature.Header] = []string{forged}
		if !strings.Contains(signature.Sign(body, now, secret), forged) && signature.Verify(h, body, now, secret) == nil && !strings.Contains(forged, ",") {
			t.Errorf("%q is accepted", forged)
		}
		h.Set(signature.Header, signature.Sign(body, now, "another", secret))
		if err := signature.Verify(h, body, now, secret); (err == nil) != (secret != "") {
			t.Errorf("signed by %q: %v", secret, err)
		}
		if len(body) > 0 && secret != "another" {
			body = append([]byte{}, body...)
			body[flip%uint(len(body))] ^= 1
			if signature.Verify(h, body, now, secret) == nil {
				t.Error("a changed body is accepted")
			}
		}
	})
}
