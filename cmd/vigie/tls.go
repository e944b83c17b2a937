package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// certificate is the pair of PEM files that HTTPS is served with. They are read again when they change: certificates
// are renewed while nodes run.
type certificate struct {
	certFile, keyFile string
	read              [sha256.Size]byte // the files as they were read last
	now               atomic.Pointer[tls.Certificate]
}

// openCertificate reads the pair; it must fit.
func openCertificate(certFile, keyFile string) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile}
	if _, err := c.reload(); err != nil {
		return nil, usagef("--tls-cert, --tls-key: %w", err)
	}
	return c, nil
}

// config serves the newest pair, by TLS 1.2 or later.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.now.Load(), nil },
	}
}

// reload reads the pair if it has changed. One that does not hold leaves the one before in use, and is told of
// once: while both files are written, they may not fit for a moment.
func (c *certificate) reload() (changed bool, err error) {
	cert, err := readPEM(c.certFile)
	if err != nil {
		return false, err
	}
	key, err := readPEM(c.keyFile)
	if err != nil {
		return false, err
	}
	read := sha256.Sum256(fmt.Appendf(nil, "%d %s%s", len(cert), cert, key))
	if read == c.read {
		return false, nil
	}
	c.read = read
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return false, fmt.Errorf("%s and %s: %w", c.certFile, c.keyFile, err)
	}
	c.now.Store(&pair)
	return true, nil
}

// readPEM reads a file of a size that a chain of certificates may have.
func readPEM(path string) ([]byte, error) {
	const most = 1 << 20
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && len(text) > most {
		err = fmt.Errorf("%s: more than %d bytes; a certificate has fewer", path, most)
	}
	return text, err
}

// watch looks for changes every few seconds, and at once when the process gets SIGHUP.
func (c *certificate) watch(ctx context.Context, every time.Duration, log *slog.Logger) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	tick := time.NewTicker(every)
	defer tick.Stop()
	told := "" // of a fault that stays
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			told = ""
		case <-tick.C:
		}
		changed, err := c.reload()
		switch {
		case err != nil && err.Error() != told:
			told = err.Error()
			log.Error("the new TLS certificate is of no use; the one before stays", "error", err)
		case changed:
			told = ""
			log.Info("TLS certificate read", "expires", c.now.Load().Leaf.NotAfter)
		}
	}
}
