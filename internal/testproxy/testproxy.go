// Package testproxy is a proxy for tests, which stands between a client and its server and does to their connections
// what networks do: delays them, slows them down, cuts them half-way, leaves them half-open, refuses them. It does not know what is
// spoken on them.
package testproxy

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Fault is what happens to connections. The zero value lets everything pass.
type Fault struct {
	// Delay is for how long each piece (of at most 16 kB) is held back, in each direction.
	Delay time.Duration
	// Rate is how many bytes a second pass, in each direction of each connection; 0 is without limit.
	Rate int
	// Cut is after how many bytes, of both directions together and counted from the fault on, a connection is reset.
	// 0 never cuts.
	Cut int64
	// HoldRequests lets nothing pass to the server, HoldAnswers nothing to the client; both together are a half-open
	// connection: it stands, new ones are accepted, and nothing moves, not even its end. What is held passes when the fault ends.
	HoldRequests, HoldAnswers bool
	// Refuse resets all connections, and lets nobody connect.
	Refuse bool
}

// piece is how much is passed on at once, in bytes.
const piece = 16 << 10

// Proxy is a running proxy. Its methods are safe for concurrent use.
type Proxy struct {
	network, target string // of the server
	address         string // of the proxy
	work            sync.WaitGroup

	mu       sync.Mutex
	fault    Fault
	changed  chan struct{} // closed when there is another fault
	listener net.Listener  // nil while connections are refused
	links    map[*link]bool
	accepted int
	cut      int
}

// Start starts a proxy for the server at an address of a network, as net.Dial takes them: "tcp" and host:port, or "unix" and the
// path of the socket. It ends with the test.
func Start(t testing.TB, network, target string) *Proxy {
	t.Helper()
	p := &Proxy{network: network, target: target, address: "127.0.0.1:0", changed: make(chan struct{}), links: map[*link]bool{}}
	if err := p.listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Set(Fault{Refuse: true}); err != nil {
			t.Error(err)
		}
		p.work.Wait()
	})
	return p
}

// Address is where the proxy listens, host:port of TCP on this machine.
func (p *Proxy) Address() string { return p.address }

// Accepted is how many connections there have been.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// WasCut is how many connections a Fault's Cut has ended.
func (p *Proxy) WasCut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cut
}

// Set puts a fault in the place of the one before, for new connections and those that stand. Its error is that of
// listening again after Refuse.
func (p *Proxy) Set(f Fault) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
	close(p.changed)
	p.changed = make(chan struct{})
	for l := range p.links {
		l.passed = 0
		if f.Refuse {
			l.reset()
		}
	}
	if f.Refuse && p.listener != nil {
		err := p.listener.Close()
		p.listener = nil
		return err
	}
	if !f.Refuse && p.listener == nil {
		return p.listen()
	}
	return nil
}

// Reset resets the connections that stand, and lets new ones be.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.reset()
	}
}

// listen begins to accept; the caller holds the lock, or is alone.
func (p *Proxy) listen() error {
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		return err
	}
	p.listener, p.address = l, l.Addr().String()
	p.work.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // it is closed
			}
			p.work.Go(func() { p.serve(client) })
		}
	})
	return nil
}

// link is a connection of a client and the one to the server for it.
type link struct {
	client, server net.Conn
	passed         int64 // bytes since the fault; under the proxy's lock
	ended          chan struct{}
	end            func() // closes it, once
}

// reset ends both connections at once, so that whoever writes or reads gets an error, not an end.
func (l *link) reset() {
	l.end()
	for _, c := range []net.Conn{l.client, l.server} {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // closing sends RST
		}
		_ = c.Close()
	}
}

func (p *Proxy) serve(client net.Conn) {
	server, err := net.Dial(p.network, p.target)
	if err != nil {
		_ = client.(*net.TCPConn).SetLinger(0)
		_ = client.Close()
		return
	}
	ended := make(chan struct{})
	l := &link{client: client, server: server, ended: ended, end: sync.OnceFunc(func() { close(ended) })}
	p.mu.Lock()
	p.accepted++
	p.links[l] = true
	if p.fault.Refuse {
		l.reset()
	}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.pass(l, client, server, func(f Fault) bool { return f.HoldRequests }) })
	both.Go(func() { p.pass(l, server, client, func(f Fault) bool { return f.HoldAnswers }) })
	both.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
	_ = client.Close()
	_ = server.Close()
}

// pass carries one direction of a link, until its end.
func (p *Proxy) pass(l *link, from, to net.Conn, held func(Fault) bool) {
	buf := make([]byte, piece)
	for {
		n, err := from.Read(buf)
		for rest := buf[:n]; len(rest) > 0; {
			allowed := p.let(l, len(rest), held)
			if allowed == 0 {
				return
			}
			if _, err := to.Write(rest[:allowed]); err != nil {
				l.reset()
				return
			}
			rest = rest[allowed:]
		}
		if err == nil {
			continue
		}
		p.let(l, 0, held) // the end waits its turn
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
		return
	}
}

// let waits until bytes may pass, and says how many of n; 0 if the link has ended.
func (p *Proxy) let(l *link, n int, held func(Fault) bool) int {
	for {
		p.mu.Lock()
		f, changed := p.fault, p.changed
		p.mu.Unlock()
		var wait time.Duration
		now := n
		if f.Rate > 0 { // ten times a second
			now = min(n, max(1, f.Rate/10))
			wait = time.Duration(now) * time.Second / time.Duration(f.Rate)
		}
		var timer <-chan time.Time
		if !held(f) {
			timer = time.After(f.Delay + wait)
		}
		select {
		case <-l.ended:
			return 0
		case <-changed:
			continue
		case <-timer:
		}
		return p.count(l, now)
	}
}

// count counts bytes that are about to pass, says how many of n may, and cuts the link if none.
func (p *Proxy) count(l *link, n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault.Cut > 0 && n > 0 {
		n = int(min(int64(n), p.fault.Cut-l.passed))
		if n == 0 {
			p.cutOff(l)
		}
	}
	l.passed += int64(n)
	return n
}

// cutOff resets a link that has not ended yet; the caller holds the lock.
func (p *Proxy) cutOff(l *link) {
	select {
	case <-l.ended:
	default:
		p.cut++
		l.reset()
	}
}
