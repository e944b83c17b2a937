package api

import (
	"net/http"
	"net/netip"
	"testing"
)

func TestPeers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		trusted   []string
		remote    string
		forwarded []string
		want      string
	}{
		{"nobody is trusted", nil, "10.0.0.1:1", []string{"192.0.2.1"}, "10.0.0.1"},
		{"loopback is not trusted by itself", []string{"10.0.0.0/8"}, "127.0.0.1:1", []string{"192.0.2.1"}, "127.0.0.1"},
		{"private networks are not trusted by themselves", []string{"127.0.0.1/32"}, "192.168.1.1:1", []string{"192.0.2.1"}, "192.168.1.1"},
		{"a trusted proxy", []string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"192.0.2.1"}, "192.0.2.1"},
		{"it says nothing", []string{"10.0.0.0/8"}, "10.0.0.1:1", nil, "10.0.0.1"},
		{"a client that forges", []string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"198.51.100.9, 192.0.2.1"}, "192.0.2.1"},
		{"a client that forges a line", []string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"198.51.100.9", "192.0.2.1"}, "192.0.2.1"},
		{"a client that forges a proxy", []string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"10.9.9.9, 192.0.2.1, 10.0.0.2"}, "192.0.2.1"},
		{"a chain of proxies", []string{"10.0.0.0/8", "2001:db8:1::/48"}, "10.0.0.1:1", []string{"192.0.2.1, 2001:db8:1::5, 10.0.0.2"}, "192.0.2.1"},
		{"an untrusted peer forges", []string{"10.0.0.0/8"}, "203.0.113.5:1", []string{"192.0.2.1"}, "203.0.113.5"},
		{"nonsense", []string{"10.0.0.0/8"}, "10.0.0.1:1", []string{"unknown"}, "10.0.0.1"},
		{"IPv6", []string{"::1/128"}, "[::1]:1", []string{"2001:db8::7"}, "2001:db8::7"},
		{"bits beyond the prefix", []string{"10.0.0.7/8"}, "10.1.1.1:1", []string{"192.0.2.1"}, "192.0.2.1"},
		{"a socket in the file system", []string{"10.0.0.0/8"}, "@", []string{"192.0.2.1"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var trusted []netip.Prefix
			for _, p := range tt.trusted {
				trusted = append(trusted, netip.MustParsePrefix(p))
			}
			r := &http.Request{RemoteAddr: tt.remote, Header: http.Header{"X-Forwarded-For": tt.forwarded}}
			if got := peers(trusted)(r); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"203.0.113.77":            "203.0.113.0/24",
		"::ffff:203.0.113.77":     "203.0.113.0/24",
		"2001:db8:1:2:3:4:5:6":    "2001:db8:1::/48",
		"fe80::1%eth0":            "fe80::/48",
		"":                        "",
		"@":                       "",
		"203.0.113.77, 192.0.2.1": "",
	} {
		if got := network(address, shown4, shown6); got != want {
			t.Errorf("%q: got %q, want %q", address, got, want)
		}
	}
}
