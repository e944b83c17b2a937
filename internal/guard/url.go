package guard

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// MaxURL is how long a URL may be, in bytes.
const MaxURL = 2048

// hostName is a name as DNS has it; an international one is written in its ASCII form (xn--).
var hostName = regexp.MustCompile(`^(?i:[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)(\.(?i:[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?))*$`)

// lastIsNumber: browsers and C libraries read such a host as an IPv4 address, in decimal, octal or hexadecimal (WHATWG URL, 3.5).
var lastIsNumber = regexp.MustCompile(`(^|\.)([0-9]+|0[xX][0-9a-fA-F]*)$`)

// Check parses a URL that somebody gave, and refuses what no request is made to, whatever its name means: a [*RefusedError], which
// may be shown to them. What programs read in different ways is refused rather than read in one of them.
func (g *Guard) Check(text string) (*url.URL, error) {
	if len(text) > MaxURL {
		return nil, refuse("a URL of %d bytes; accepted are at most %d", len(text), MaxURL)
	}
	for _, c := range []byte(text) {
		if c <= ' ' || c > '~' || c == '\\' || c == '"' || c == '<' || c == '>' || c == '^' || c == '`' || c == '{' || c == '|' || c == '}' {
			return nil, refuse("a URL with a space, a backslash, a control or another character that has to be escaped; write %%XX for it, and an international name in its ASCII form (xn--...)")
		}
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, refuse("it is not a URL; accepted is https://host/path")
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, refuse("scheme %.20q; accepted are https and http", u.Scheme)
	case u.Opaque != "" || u.Hostname() == "":
		return nil, refuse("a URL without a host; accepted is https://host/path")
	case u.User != nil:
		return nil, refuse("a URL with a user or password; leave them out: requests are signed")
	case u.Fragment != "" || strings.Contains(text, "#"):
		return nil, refuse("a URL with a fragment (#...), which is never sent; leave it out")
	case strings.HasSuffix(u.Host, ":"):
		return nil, refuse("a URL with an empty port; leave the colon out")
	}
	port := uint16(443)
	if u.Scheme == "http" {
		port = 80
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 || p[0] == '0' {
			return nil, refuse("port %.10q; accepted are 1 to 65535", p)
		}
		port = uint16(n)
	}
	return u, g.checkHost(u.Hostname(), strings.HasPrefix(u.Host, "["), port, u.Scheme == "http")
}

// checkHost judges a host as it is written.
func (g *Guard) checkHost(host string, brackets bool, port uint16, plain bool) error {
	addr, err := netip.ParseAddr(host)
	switch {
	case err == nil && addr.Zone() != "":
		return refuse("an address with a zone (%%...); accepted is one without")
	case err == nil && brackets == addr.Is6():
		return g.mayConnect(netip.AddrPortFrom(addr, port), plain)
	case err == nil || brackets:
		return refuse("brackets are for IPv6 addresses, which are not written without")
	case len(host) > 253 || !hostName.MatchString(host):
		return refuse("host %.64q; accepted are names of letters, digits, hyphens and dots, without a dot at the end, and addresses", host)
	case lastIsNumber.MatchString(host):
		return refuse("host %.64q, which some programs read as an IPv4 address; accepted are addresses of four decimal numbers", host)
	case mayAllow(g.o.Allow, host, port):
	case plain && g.o.Secure:
		return errPlain
	case !usualPort(port):
		return refuse("port %d; accepted are 80 and 443, and what the operator of the node allows", port)
	}
	return nil
}

func isTLS(err error) bool {
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	return errors.As(err, &verify) || errors.As(err, &record) || errors.As(err, &unknown) || errors.As(err, &invalid) || errors.As(err, &host)
}
