package guard

import (
	"net/netip"
)

// What is never connected to unless the operator says so, by why. IANA's registries of special-purpose addresses, RFC 6890, and
// what clouds answer their machines' questions at.
var (
	special4 = table{
		{"0.0.0.0/8", "of this network"},
		{"10.0.0.0/8", "private"},
		{"100.64.0.0/10", "behind a carrier's translator"}, // 100.100.100.200 among them, a cloud's metadata
		{"127.0.0.0/8", "of this machine"},
		{"168.63.129.16/32", "a cloud's"},
		{"169.254.0.0/16", "of the link"}, // 169.254.169.254 among them, a cloud's metadata
		{"172.16.0.0/12", "private"},
		{"192.0.0.0/24", "for protocols"}, // 192.0.0.192 among them, a cloud's metadata
		{"192.0.2.0/24", "for documentation"},
		{"192.88.99.0/24", "for relays"},
		{"192.168.0.0/16", "private"},
		{"198.18.0.0/15", "for benchmarks"},
		{"198.51.100.0/24", "for documentation"},
		{"203.0.113.0/24", "for documentation"},
		{"224.0.0.0/4", "for many"},
		{"240.0.0.0/4", "reserved"}, // 255.255.255.255 among them
	}.parsed()
	// special6 are those within global6. All else (loopback, unique local, link-local, multicast, IPv4-compatible, discard-only ...)
	// lies outside of it.
	special6 = table{
		{"2001::/23", "for protocols"}, // Teredo among them, which wraps IPv4 addresses
		{"2001:db8::/32", "for documentation"},
		{"2002::/16", "6to4, which wraps IPv4 addresses"},
		{"3fff::/20", "for documentation"},
	}.parsed()
	global6 = netip.MustParsePrefix("2000::/3")
	nat64   = netip.MustParsePrefix("64:ff9b::/96")
)

type table []struct{ prefix, why string }

type specialPrefix struct {
	netip.Prefix
	why string
}

func (t table) parsed() (parsed []specialPrefix) {
	for _, row := range t {
		parsed = append(parsed, specialPrefix{netip.MustParsePrefix(row.prefix), row.why})
	}
	return parsed
}

// unwrapped is the IPv4 address in one that is mapped into IPv6, or translated by NAT64 on its way; else the address.
func unwrapped(addr netip.Addr) netip.Addr {
	if nat64.Contains(addr) {
		b := addr.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return addr.Unmap()
}

// special reports whether no address of a prefix is a public one, as far as [Public] tells by prefixes.
func special(p netip.Prefix) bool {
	table := special4
	if p.Addr().Is6() {
		switch {
		case p.Overlaps(nat64) && p.Bits() >= nat64.Bits():
			b := p.Addr().As16()
			return special(netip.PrefixFrom(netip.AddrFrom4([4]byte(b[12:])), p.Bits()-nat64.Bits()))
		case p.Overlaps(nat64):
			return false
		case !p.Overlaps(global6):
			return true
		}
		table = special6
	}
	for _, s := range table {
		if s.Bits() <= p.Bits() && s.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// Public is nil for a unicast address of the public internet, and else a [*RefusedError] that says what it is. An IPv4 address that is
// mapped into IPv6, or translated by NAT64 on its way, is judged as what it is; tunnels that wrap one are refused whatever
// they wrap.
func Public(addr netip.Addr) error {
	if addr.Zone() != "" {
		return refuse("an address with a zone")
	}
	plain := unwrapped(addr)
	special := special4
	if plain.Is6() {
		b := plain.As16()
		switch {
		case !global6.Contains(plain):
			return refuse("the address is not a public one")
		case (b[8] == 0 || b[8] == 2) && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe:
			return refuse("the address is not a public one: ISATAP, which wraps IPv4 addresses")
		}
		special = special6
	}
	if !plain.IsValid() {
		return refuse("no address")
	}
	for _, s := range special {
		if s.Contains(plain) {
			return refuse("the address is not a public one: it is %s", s.why)
		}
	}
	return nil
}
