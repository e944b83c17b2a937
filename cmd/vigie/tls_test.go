package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// pairOfFiles makes a certificate for 127.0.0.1 with a serial number, and writes it and its key.
func pairOfFiles(t *testing.T, serial int64, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, certFile, "CERTIFICATE", cert)
	writePEM(t, keyFile, "PRIVATE KEY", secret)
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestTLS serves HTTPS, renews the certificate under way, and keeps the old one when the new one is of no use.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pairOfFiles(t, 1, cert, key)
	s := serve(t, filepath.Join(dir, "data"), nil, "--tls-cert", cert, "--tls-key", key)
	address, ok := strings.CutPrefix(s.url, "https://")
	if !ok {
		t.Fatalf("it says that it serves %s", s.url)
	}
	serial := func() int64 {
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // signed by itself
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Errorf("certificate %d", got)
	}

	// Somebody who asks by HTTP/2 gets it.
	client := http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // as above
	answer, err := client.Get(s.url + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK || answer.ProtoMajor != 2 {
		t.Errorf("%s by %s", answer.Status, answer.Proto)
	}

	// Versions that are not safe any more are refused.
	old := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11} //nolint:gosec // that is the point
	if conn, err := tls.Dial("tcp", address, old); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.1 is accepted")
	}

	hangup := func() {
		if err := s.process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	pairOfFiles(t, 2, cert, key)
	hangup()
	eventually(t, "the second certificate", func() bool { return serial() == 2 })

	if err := os.WriteFile(key, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	hangup()
	eventually(t, "a word in the log", func() bool { return strings.Contains(s.stderr.String(), "the one before stays") })
	if got := serial(); got != 2 {
		t.Errorf("certificate %d, when the new one is of no use", got)
	}

	pairOfFiles(t, 3, cert, key) // nobody says so
	eventually(t, "the third certificate", func() bool { return serial() == 3 })
	if code, err := s.stop(); code != 0 || err != nil {
		t.Errorf("it ends with %d, %v", code, err)
	}
}

// TestCertificate reads pairs that do not hold.
func TestCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	pairOfFiles(t, 1, file("a.pem"), file("a.key"))
	pairOfFiles(t, 2, file("b.pem"), file("b.key"))
	if err := os.WriteFile(file("large"), make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ cert, key, want string }{
		{"a.pem", "b.key", "private key does not match public key"},
		{"none", "a.key", "no such file"},
		{"a.pem", "none", "no such file"},
		{"a.key", "a.pem", "failed to find certificate PEM data"},
		{"large", "a.key", "more than 1048576 bytes"},
		{".", "a.key", "not a regular file"},
	} {
		_, err := openCertificate(file(tt.cert), file(tt.key))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s and %s: %v; want %q", tt.cert, tt.key, err, tt.want)
		}
	}
	c, err := openCertificate(file("a.pem"), file("a.key"))
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := c.reload(); changed || err != nil {
		t.Errorf("unchanged: %v, %v", changed, err)
	}
	pairOfFiles(t, 3, file("a.pem"), file("c.key")) // half of a renewal
	if changed, err := c.reload(); changed || err == nil || c.now.Load().Leaf.SerialNumber.Int64() != 1 {
		t.Errorf("half a renewal: %v, %v", changed, err)
	}
	if changed, err := c.reload(); changed || err != nil {
		t.Errorf("the same fault is told twice: %v, %v", changed, err)
	}
	if err := os.Rename(file("c.key"), file("a.key")); err != nil {
		t.Fatal(err)
	}
	if changed, err := c.reload(); !changed || err != nil || c.now.Load().Leaf.SerialNumber.Int64() != 3 {
		t.Errorf("the other half: %v, %v", changed, err)
	}
}

// TestPrivate serves metrics and profiles on a port of their own, and not on the public one.
func TestPrivate(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	s := serve(t, filepath.Join(t.TempDir(), "data"), nil, "--listen-private", address)
	get := func(url string) (int, string) {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(text)
	}
	for path, want := range map[string]string{
		"/metrics":                           "vigie_search_running 0",
		"/readyz":                            `"ready":true`,
		"/healthz":                           `"status":"alive"`,
		"/debug/pprof/":                      "goroutine",
		"/debug/pprof/goroutine?debug=1":     "net/http",
		"/debug/pprof/profile?seconds=1":     "",
		"/debug/pprof/trace?seconds=0.1":     "go 1.",
		"/debug/pprof/allocs?debug=1&gc=1":   "heap profile",
		"/debug/pprof/threadcreate?debug=1":  "threadcreate",
		"/debug/pprof/mutex?debug=1&gc=none": "mutex",
	} {
		status, text := get("http://" + address + path)
		if status != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%s: %d, without %q: %.200s", path, status, want, text)
		}
		if status, _ := get(s.url + path); strings.Contains(path, "z") && status != http.StatusOK || !strings.Contains(path, "z") && status != http.StatusNotFound {
			t.Errorf("%s on the public port: %d", path, status)
		}
	}
	if status, _ := get("http://" + address + "/v1/banks"); status != http.StatusNotFound {
		t.Errorf("the API on the private port: %d", status)
	}
	if strings.Contains(s.stderr.String(), "other machines") {
		t.Error("loopback is taken for a network")
	}
}

var lastPort atomic.Int32

// freeAddress is one that nobody listens on. Its port is below those that the system gives to whoever asks for any: none of these
// takes it before it is used.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		port := 20_000 + (100*os.Getpid()+int(lastPort.Add(1)))%12_000
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		must(t, l.Close())
		return l.Addr().String()
	}
	t.Fatal("no port is free")
	return ""
}
