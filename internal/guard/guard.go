// Package guard is the one way out: every request that Vigie makes to a URL that somebody gave it (a webhook, a list of URLs
// to check) goes through the client made here, so that nobody makes the node ask what only the node can reach (SSRF).
//
//	out := guard.New(guard.Options{Allow: rules})
//	u, err := out.Check(text)      // when the URL is given: its form, and an address that stands in it
//	answer, err := out.Client().Do(...)  // at each request and redirect again, and the address at the connection
//
// # What holds
//
//   - The address that is judged is the one that is connected to: the check is made by the dialer after the name was looked up,
//     on the socket. What a name meant a second ago counts for nothing.
//   - What is not a public unicast address, in whichever way it is written or wrapped (see [Public]), is refused, and so is what is
//     this machine's own; so are ports other than 80 and 443, schemes other than http and https, and the proxy of the environment
//     is not used.
//   - A redirect is a new request: it is checked likewise, is not followed from https to http, and carries nothing of what the
//     caller sent to the first host (credentials, cookies, headers of its own, the address of the first page) to another.
//   - Answers are bounded, in their headers, in their bodies, and in time; nothing is decompressed.
//   - The operator may allow more, by [Rule].
//
// An error tells the operator what happened. Whoever gave the URL is told [Public] words only: see [Told].
package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// Options of a [Guard]. The zero value lets out to public addresses alone.
type Options struct {
	// Allow are exceptions that the operator makes.
	Allow []Rule
	// Secure: requests go by https; by http only where a rule allows the name, or the address.
	Secure bool
	// Timeout bounds a request, from the lookup of the name to the end of the body; default 10 s.
	Timeout time.Duration
	// Redirects is how many are followed; default 0: a redirect is the answer.
	Redirects int
	// MaxBody bounds the body of an answer, in bytes; default 64 KiB. Reading beyond it fails with [ErrTooLong].
	MaxBody int64
	// UserAgent names the program; default "vigie".
	UserAgent string
	// Resolver looks names up; nil: as the machine does.
	Resolver *net.Resolver

	// own tells the addresses of this machine; nil: as it has them. For tests.
	own func() ([]net.Addr, error)
	// connecting is told of an address that has passed, before it is connected to; its error keeps it from that. For tests.
	connecting func(netip.AddrPort) error
}

// ErrTooLong ends a body that is longer than [Options.MaxBody].
var ErrTooLong = errors.New("the answer is longer than is read")

// RefusedError is what is not let out.
type RefusedError struct {
	// Reason says what was wrong and what is accepted, in the terms of what the caller gave: it may be shown to them.
	Reason string
	// Resolved: it was refused for what a name means, which the caller may have no right to know.
	Resolved bool
}

func (e *RefusedError) Error() string { return e.Reason }

func refuse(format string, args ...any) error {
	return &RefusedError{Reason: fmt.Sprintf(format, args...)}
}

// Guard makes requests. It is safe for concurrent use.
type Guard struct {
	o      Options
	client *http.Client
}

// New makes a guard.
func New(o Options) *Guard {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.MaxBody == 0 {
		o.MaxBody = 64 << 10
	}
	if o.own == nil {
		o.own = net.InterfaceAddrs
	}
	if o.UserAgent == "" {
		o.UserAgent = "vigie"
	}
	g := &Guard{o: o}
	transport := &http.Transport{
		Proxy:                  nil, // that of the environment would be asked to connect in the node's place
		DialContext:            g.dial,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		TLSHandshakeTimeout:    o.Timeout,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns:           100,
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        30 * time.Second,
	}
	g.client = &http.Client{Transport: roundTripper{g, transport}, CheckRedirect: g.redirect, Timeout: o.Timeout}
	return g
}

// Client is the way out. It must not be given another Transport.
func (g *Guard) Client() *http.Client { return g.client }

// Close closes connections that wait for another request.
func (g *Guard) Close() { g.client.CloseIdleConnections() }

// roundTripper checks each request, redirected ones among them, and bounds its answer.
type roundTripper struct {
	guard *Guard
	next  *http.Transport
}

func (t roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, err := t.guard.Check(r.URL.String()); err != nil {
		return nil, err
	}
	r = r.Clone(context.WithValue(r.Context(), plainText{}, r.URL.Scheme == "http"))
	r.Host = "" // that of the URL
	r.Header.Set("User-Agent", t.guard.o.UserAgent)
	answer, err := t.next.RoundTrip(r)
	if err == nil {
		answer.Body = &bounded{ReadCloser: answer.Body, left: t.guard.o.MaxBody}
	}
	return answer, err
}

// plainText is the key of whether a request goes by http, for the dialer.
type plainText struct{}

// CloseIdleConnections is for [http.Client.CloseIdleConnections].
func (t roundTripper) CloseIdleConnections() { t.next.CloseIdleConnections() }

type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1] // one more tells whether it ends here
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return max(n-1, 0), ErrTooLong
	}
	return n, err
}

// redirect decides whether a redirect is followed.
func (g *Guard) redirect(next *http.Request, via []*http.Request) error {
	first, last := via[0].URL, via[len(via)-1].URL
	switch {
	case g.o.Redirects == 0:
		return http.ErrUseLastResponse
	case len(via) > g.o.Redirects:
		return refuse("more than %d redirects", g.o.Redirects)
	case last.Scheme == "https" && next.URL.Scheme != "https":
		return refuse("a redirect from https to %.10s; accepted is https", next.URL.Scheme)
	case next.Method != http.MethodGet && next.Method != http.MethodHead:
		return refuse("a redirect of a request with a body")
	}
	if next.URL.Host != first.Host || next.URL.Scheme != first.Scheme {
		accept := next.Header.Get("Accept")
		clear(next.Header)
		if accept != "" {
			next.Header.Set("Accept", accept)
		}
	}
	next.Header.Del("Referer")
	return nil
}

// dial connects to the first address of a host that may be connected to.
func (g *Guard) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	trusted := allowsName(g.o.Allow, host, uint16(number))
	d := net.Dialer{
		Timeout: g.o.Timeout, Resolver: g.o.Resolver,
		ControlContext: func(ctx context.Context, network, address string, _ syscall.RawConn) error {
			return g.connect(ctx, trusted, network, address)
		},
	}
	return d.DialContext(ctx, network, address)
}

// connect judges what is about to be connected to. This is the check that counts.
func (g *Guard) connect(ctx context.Context, trusted bool, network, address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || network != "tcp4" && network != "tcp6" {
		return &RefusedError{Reason: "not an address of TCP", Resolved: true}
	}
	if !trusted {
		plain, _ := ctx.Value(plainText{}).(bool)
		err := g.mayConnect(at, plain)
		if _, whatever := allowsAddr(g.o.Allow, at); err == nil && !whatever && g.isOwn(ctx, unwrapped(at.Addr())) {
			err = refuse("the address is this machine's own")
		}
		if err != nil {
			return &RefusedError{Reason: err.Error(), Resolved: true}
		}
	}
	if g.o.connecting != nil {
		return g.o.connecting(at)
	}
	return nil
}

func (g *Guard) mayConnect(at netip.AddrPort, plain bool) error {
	allowed, whatever := allowsAddr(g.o.Allow, at)
	if whatever {
		return nil
	}
	if err := Public(at.Addr()); err != nil || allowed {
		return err
	}
	if plain && g.o.Secure {
		return errPlain
	}
	if !usualPort(at.Port()) {
		return refuse("port %d; accepted are 80 and 443, and what the operator of the node allows", at.Port())
	}
	return nil
}

var errPlain = refuse("http, which anybody on the way reads; accepted is https, and http where the operator of the node allows it")

// isOwn reports whether an address is one of this machine's.
func (g *Guard) isOwn(ctx context.Context, addr netip.Addr) bool {
	all, err := g.o.own()
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if own, ok := netip.AddrFromSlice(n.IP); ok && own.Unmap() == addr {
				return true
			}
		}
	}
	if err == nil {
		return false
	}
	// A service may be kept from asking the kernel for them (AF_NETLINK). What is its own it can bind to.
	var l net.ListenConfig
	c, err := l.ListenPacket(ctx, "udp", netip.AddrPortFrom(addr, 0).String())
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

func usualPort(p uint16) bool { return p == 80 || p == 443 }

// Told is what whoever gave a URL may know of an error with it. Whether a name is known to the node's resolver, to which
// address it leads, and what listens there is for the operator alone, or one could explore the network around the node by
// asking it: all that goes wrong before there is a connection is told in the same words.
func Told(err error) string {
	var refused *RefusedError
	var unreached *net.OpError
	var unknown *net.DNSError
	var broken *url.Error
	switch {
	case errors.As(err, &refused) && !refused.Resolved:
		return refused.Reason
	case errors.As(err, &refused), errors.As(err, &unknown), errors.As(err, &unreached) && unreached.Op == "dial":
		return unreachable
	case errors.Is(err, ErrTooLong):
		return ErrTooLong.Error()
	case errors.As(err, &broken) && broken.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return unreachable
	case isTLS(err):
		return "its certificate is not accepted: it has expired, is of another name, or of an authority that is not known"
	}
	return "the connection broke off, or the answer is not HTTP"
}

const unreachable = "no answer came in time: its name leads nowhere, nothing answers there, or it is not where this node may call"
