package testproxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// echo is a server that sends back what it gets, and ends when the client has.
func echo(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	return l
}

func connect(t *testing.T, p *Proxy) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil { // nothing here takes so long
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

func set(t *testing.T, p *Proxy, f Fault) {
	t.Helper()
	if err := p.Set(f); err != nil {
		t.Fatal(err)
	}
}

// ask sends a message, and wants it back.
func ask(t *testing.T, c net.Conn, message []byte) {
	t.Helper()
	go c.Write(message)
	got := make([]byte, len(message))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, message) {
		t.Fatalf("%d bytes come back otherwise: %v", len(message), err)
	}
}

// silent reports whether nothing comes within a short time, of what would come at once.
func silent(t *testing.T, c net.Conn) bool {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	defer c.SetReadDeadline(time.Now().Add(time.Minute))
	_, err := c.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded)
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func TestPass(t *testing.T) {
	t.Parallel()
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")} {
		l := echo(t, network, address)
		p := Start(t, network, l.Addr().String())
		c := connect(t, p)
		ask(t, c, bytes.Repeat([]byte("0123456789"), 100_000))
		ask(t, c, []byte("again"))
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%s: the end gives %v", network, err)
		}
		if p.Accepted() != 1 {
			t.Errorf("%d connections", p.Accepted())
		}
	}
}

// TestSlow: what is delayed or slowed down arrives whole, and not sooner than it should.
func TestSlow(t *testing.T) {
	t.Parallel()
	l := echo(t, "tcp", "127.0.0.1:0")
	for _, test := range []struct {
		fault Fault
		least time.Duration
	}{
		{Fault{Delay: 50 * time.Millisecond}, 100 * time.Millisecond}, // there and back
		{Fault{Rate: 20_000}, 100 * time.Millisecond},                 // 2000 bytes
	} {
		p := Start(t, "tcp", l.Addr().String())
		set(t, p, test.fault)
		c, start := connect(t, p), time.Now()
		ask(t, c, make([]byte, 2000))
		if took := time.Since(start); took < test.least {
			t.Errorf("%+v: took %v", test.fault, took)
		}
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	l := echo(t, "tcp", "127.0.0.1:0")
	p := Start(t, "tcp", l.Addr().String())
	c := connect(t, p)
	ask(t, c, make([]byte, 50_000)) // before the fault: not counted
	set(t, p, Fault{Cut: 50_000})
	ask(t, c, make([]byte, 20_000))
	go c.Write(make([]byte, 20_000))
	if n, err := io.Copy(io.Discard, c); n > 10_000 || !isReset(err) {
		t.Errorf("%d bytes more came back, %v; want at most 10000 and a reset", n, err)
	}
	if p.WasCut() != 1 {
		t.Errorf("%d connections were cut", p.WasCut())
	}
	set(t, p, Fault{})
	c = connect(t, p)
	ask(t, c, make([]byte, 100_000))
	p.Reset()
	if _, err := io.Copy(io.Discard, c); !isReset(err) {
		t.Errorf("after Reset: %v", err)
	}
}

// TestHold: what is held does not arrive, and is not lost.
func TestHold(t *testing.T) {
	t.Parallel()
	l := echo(t, "tcp", "127.0.0.1:0")
	for _, fault := range []Fault{{HoldRequests: true}, {HoldAnswers: true}, {HoldRequests: true, HoldAnswers: true}} {
		p := Start(t, "tcp", l.Addr().String())
		old := connect(t, p)
		ask(t, old, []byte("before"))
		set(t, p, fault)
		for _, c := range []*net.TCPConn{old, connect(t, p)} {
			if _, err := c.Write([]byte("held")); err != nil {
				t.Fatal(err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if !silent(t, c) {
				t.Errorf("%+v: something came", fault)
			}
			defer func() {
				if got, err := io.ReadAll(c); string(got) != "held" || err != nil {
					t.Errorf("%+v: after it %q came, %v", fault, got, err)
				}
			}()
		}
		set(t, p, Fault{})
	}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	l := echo(t, "tcp", "127.0.0.1:0")
	p := Start(t, "tcp", l.Addr().String())
	c := connect(t, p)
	ask(t, c, []byte("before"))
	set(t, p, Fault{Refuse: true})
	if _, err := io.Copy(io.Discard, c); !isReset(err) {
		t.Errorf("a connection that stood: %v", err)
	}
	if _, err := net.Dial("tcp", p.Address()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new one: %v", err)
	}
	set(t, p, Fault{})
	ask(t, connect(t, p), []byte("after"))
}
