package guard

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// names is a DNS server on this machine. Each lookup of a name and type is answered with the next of its answers, the last one
// again and again.
type names struct {
	mu      sync.Mutex
	answers map[string][][]netip.Addr // by name
	asked   map[string]int            // by name and type
	address string
}

func newNames(t *testing.T, answers map[string][]string) *names {
	n := &names{answers: map[string][][]netip.Addr{}, asked: map[string]int{}}
	for name, lookups := range answers {
		for _, lookup := range lookups {
			var addrs []netip.Addr
			for _, a := range strings.Fields(lookup) {
				addrs = append(addrs, netip.MustParseAddr(a))
			}
			n.answers[name] = append(n.answers[name], addrs)
		}
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	n.address = conn.LocalAddr().String()
	go func() {
		packet := make([]byte, 1500)
		for {
			size, from, err := conn.ReadFrom(packet)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(n.answer(packet[:size]), from)
		}
	}()
	return n
}

func (n *names) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", n.address)
	}}
}

// answer writes what RFC 1035 has for a question of one name.
func (n *names) answer(question []byte) []byte {
	at, labels := 12, []string{}
	for question[at] != 0 {
		size := int(question[at])
		labels = append(labels, string(question[at+1:at+1+size]))
		at += 1 + size
	}
	kind := binary.BigEndian.Uint16(question[at+1:])
	question = question[:at+5] // without what else there is
	name := strings.ToLower(strings.Join(labels, "."))
	n.mu.Lock()
	lookups, known := n.answers[name]
	key := name + map[uint16]string{1: " A", 28: " AAAA"}[kind]
	lookup := min(n.asked[key], len(lookups)-1)
	n.asked[key]++
	n.mu.Unlock()
	reply := append([]byte{}, question...)
	copy(reply[2:], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
	if !known {
		reply[3] |= 3 // no such name
		return reply
	}
	count := byte(0)
	for _, a := range lookups[lookup] {
		if (kind == 1) != a.Is4() || kind != 1 && kind != 28 {
			continue
		}
		count++
		reply = append(reply, 0xc0, 12, 0, byte(kind), 0, 1, 0, 0, 0, 0, 0, byte(a.BitLen()/8))
		reply = append(reply, a.AsSlice()...)
	}
	reply[7] = count
	return reply
}
