package bucket

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"vigie/internal/tests3"
	"vigie/storage"
)

// What a bucket does is told by the suites of those that it is for: vigie/storage/media and vigie/storage/history.

func TestMain(m *testing.M) { os.Exit(tests3.Main(m)) }

// with adds a prefix and parameters to the URL of a bucket.
func with(t *testing.T, address, prefix, parameters string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = prefix
	u.RawQuery += parameters
	return u.String()
}

// failing is a source that ends before its time.
type failing struct{ io.ReaderAt }

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off > 17<<20 {
		return 0, errors.New("bad sector")
	}
	return f.ReaderAt.ReadAt(p, off)
}

// TestSource: what cannot be read is not the server's fault, and leaves nothing there.
func TestSource(t *testing.T) {
	t.Parallel()
	server := tests3.Shared(t)
	bucket := server.Bucket(t, false)
	b, err := Open(t.Context(), server.URL(bucket), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	data := bytes.NewReader(make([]byte, 20<<20))
	for what, src := range map[string]io.ReaderAt{"bad sector": failing{data}, "EOF": bytes.NewReader(make([]byte, 19<<20))} {
		if err := b.PutFrom(t.Context(), "a", src, 20<<20); errors.Is(err, storage.ErrUnavailable) || err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for o := range server.Client().ListIncompleteUploads(t.Context(), bucket, "", true) {
		t.Errorf("left: %+v", o)
	}
	if _, err := b.Open(t.Context(), "a"); !errors.Is(err, storage.ErrNotFound) {
		t.Error(err)
	}
	if err := b.PutFrom(t.Context(), "a", data, 20<<20); err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	server := tests3.Shared(t)
	address := server.URL(server.Bucket(t, false))
	for parameters, want := range map[string]string{
		"&color=red":               `parameter "color" is not known; there are encryption, endpoint, lock, path-style, region`,
		"&region=x":                "given twice",
		"&lock=180d":               "governance:180d or compliance:180d",
		"&lock=governance:0d":      "1 to 36500",
		"&lock=governance:180":     "1 to 36500",
		"&encryption=aes":          "sse-s3 or sse-kms:KEY",
		"&encryption=sse-kms:":     "sse-s3 or sse-kms:KEY",
		"&%zz":                     "cannot be read",
		"&path-style=yes":          "given twice",
		"&endpoint=localhost:7070": "given twice",
	} {
		if _, err := Open(t.Context(), with(t, address, "", parameters), Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", parameters, err, want)
		}
	}
	for address, want := range map[string]string{
		"s3://key:secret@bucket":                           "AWS_ACCESS_KEY_ID",
		"s3://bucket?endpoint=localhost:7070":              "https://host:port",
		"s3://bucket?endpoint=https://a:b@localhost":       "https://host:port",
		"s3://bucket?endpoint=https://localhost/path":      "https://host:port",
		"s3://bucket?path-style=yes":                       "true or false",
		"s3://Bucket_":                                     "small letters",
		"s3:///prefix":                                     "small letters",
		"s3://bucket/a//b":                                 "without empty parts",
		"s3://bucket/a/../b":                               "without empty parts",
		"https://bucket":                                   "s3://bucket/prefix",
		"s3://missing?endpoint=http://" + server.Address(): "NoSuchBucket",
	} {
		_, err := Open(t.Context(), address, Options{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %q", address, err, want)
		}
	}
	for _, keys := range []*credentials.Credentials{credentials.NewStaticV4(tests3.AccessKey, "wrong", ""), credentials.NewStaticV4("nobody", "wrong", "")} {
		if _, err := Open(t.Context(), address, Options{Credentials: keys}); err == nil || errors.Is(err, storage.ErrUnavailable) || !strings.Contains(err.Error(), "the object store answers ") {
			t.Errorf("wrong keys: %v", err)
		}
	}
	none := credentials.New(&credentials.Chain{})
	if _, err := Open(t.Context(), address, Options{Credentials: none}); err == nil || !strings.Contains(err.Error(), "no keys found") {
		t.Errorf("no keys: %v", err)
	}
}

func TestLocation(t *testing.T) {
	t.Parallel()
	at, err := parseLocation("s3://bucket/a/b/?endpoint=https://example.org:9000&region=fr&path-style=false&encryption=sse-kms:k&lock=compliance:180d")
	if err != nil {
		t.Fatal(err)
	}
	if at.bucket != "bucket" || at.prefix != "a/b" || at.host != "example.org:9000" || !at.secure || at.region != "fr" || at.lookup != minio.BucketLookupDNS ||
		at.encryption.Type() != encrypt.KMS || at.lock != minio.Compliance || at.lockFor != 180*24*time.Hour {
		t.Errorf("%+v", at)
	}
	at, err = parseLocation("s3://bucket")
	if err != nil || !at.secure || at.host != "s3.amazonaws.com" || at.lookup != minio.BucketLookupAuto || at.encryption != nil || at.lock != "" {
		t.Errorf("%+v, %v", at, err)
	}
}

// TestFolder: what lies beside the media has names of its own, and is not locked as they are.
func TestFolder(t *testing.T) {
	t.Parallel()
	server := tests3.Shared(t)
	b, err := Open(t.Context(), with(t, server.URL(server.Bucket(t, true)), "/media", "&lock=governance:10d"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	below := b.Folder(Uploads)
	for _, at := range []*Bucket{b, below} {
		if err := at.Put(t.Context(), "a", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for o, err := range b.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, o.Name)
	}
	if !slices.Equal(names, []string{"a", "uploads/a"}) {
		t.Errorf("%v", names)
	}
	if err := b.Delete(t.Context(), "a"); !errors.Is(err, storage.ErrRetained) {
		t.Errorf("delete what is locked: %v", err)
	}
	if err := below.Delete(t.Context(), "a"); err != nil {
		t.Errorf("delete what is not: %v", err)
	}
}

// TestEncryption: the server is asked to encrypt whatever is sent, however large it is, beside the media, too.
func TestEncryption(t *testing.T) {
	t.Parallel()
	server := tests3.Shared(t)
	to := &url.URL{Scheme: "http", Host: server.Address()}
	var mu sync.Mutex
	asked := map[string]int{}
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // which the signature is of
		if method := r.In.Method; method == http.MethodPut && !r.In.URL.Query().Has("uploadId") || method == http.MethodPost && r.In.URL.Query().Has("uploads") {
			mu.Lock()
			asked[method+" "+r.In.URL.Path+" "+r.In.Header.Get("X-Amz-Server-Side-Encryption")+r.In.Header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id")]++
			mu.Unlock()
		}
	}})
	defer proxy.Close()
	bucket := server.Bucket(t, false)
	for parameters, want := range map[string]string{"&encryption=sse-s3": "AES256", "&encryption=sse-kms:k": "aws:kmsk", "": ""} {
		b, err := Open(t.Context(), with(t, server.Via(strings.TrimPrefix(proxy.URL, "http://"), bucket), "", parameters), Options{})
		if err != nil {
			t.Fatal(err)
		}
		clear(asked)
		err = errors.Join(
			b.Put(t.Context(), "small", []byte("x")), b.PutFrom(t.Context(), "large", bytes.NewReader(make([]byte, 17<<20)), 17<<20),
			b.Folder(Uploads).Put(t.Context(), "beside", []byte("x")), b.Close())
		if err != nil {
			t.Errorf("%s: %v", want, err)
		}
		wants := map[string]int{
			"PUT /" + bucket + "/small " + want: 1, "POST /" + bucket + "/large " + want: 1, "PUT /" + bucket + "/uploads/beside " + want: 1,
		}
		if !maps.Equal(asked, wants) {
			t.Errorf("asked %v, want %v", asked, wants)
		}
	}
}
