package guard

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Rule is an exception that the operator makes: requests may go to these addresses, or to whatever this name means, at this port.
type Rule struct {
	name   string // in lower case; empty: by prefix
	prefix netip.Prefix
	port   uint16 // 0: 80 and 443
}

// ParseRule reads a rule: a name, an address or a prefix of addresses, with a port or for 80 and 443, such as hooks.internal,
// hooks.internal:8443, 10.1.2.3:8080, 10.0.0.0/8, [fd12::/16]:8443. A name that is allowed is trusted wherever it leads: allow no
// name that others can make lead elsewhere. A prefix that has public addresses, such as 0.0.0.0/0:8443, allows the port at those
// alone: who opens a port to the world does not mean this machine and its cloud's metadata.
func ParseRule(text string) (Rule, error) {
	r := Rule{}
	host := text
	wrong := func() (Rule, error) {
		return Rule{}, fmt.Errorf("%.128q is not a name, an address or a prefix with or without a port; accepted are such as hooks.internal:8443, 10.1.2.3, 10.0.0.0/8:8080, [fd12::/16]:8443", text)
	}
	if _, err := parsePrefix(text); err != nil {
		if i := strings.LastIndexByte(text, ':'); i >= 0 && !strings.HasSuffix(text, "]") {
			n, err := strconv.ParseUint(text[i+1:], 10, 16)
			if err != nil || n == 0 {
				return wrong()
			}
			host, r.port = text[:i], uint16(n)
		}
		if inner, ok := strings.CutPrefix(host, "["); ok {
			if host, ok = strings.CutSuffix(inner, "]"); !ok {
				return wrong()
			}
		}
	}
	prefix, err := parsePrefix(host)
	switch {
	case err == nil:
		r.prefix = prefix
	case hostName.MatchString(host) && !lastIsNumber.MatchString(host) && len(host) <= 253:
		r.name = strings.ToLower(host)
	default:
		return wrong()
	}
	return r, nil
}

// UnmarshalText is [ParseRule].
func (r *Rule) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRule(string(text))
	return err
}

// String is what [ParseRule] reads.
func (r Rule) String() string {
	host := r.name
	if host == "" {
		host = r.prefix.String()
	}
	switch {
	case r.port == 0:
		return host
	case r.name == "" && r.prefix.Addr().Is6():
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(r.port))
}

func parsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err
}

func (r Rule) at(port uint16) bool { return r.port == port || r.port == 0 && usualPort(port) }

// allowsName reports whether a name is trusted at a port.
func allowsName(rules []Rule, host string, port uint16) bool {
	for _, r := range rules {
		if r.name != "" && strings.EqualFold(r.name, host) && r.at(port) {
			return true
		}
	}
	return false
}

// allowsAddr reports whether an address is allowed at a port, and whether that is so whatever it is: else only if it is public.
func allowsAddr(rules []Rule, at netip.AddrPort) (allowed, whatever bool) {
	for _, r := range rules {
		if r.name == "" && r.prefix.Contains(at.Addr().Unmap()) && r.at(at.Port()) {
			allowed = true
			whatever = whatever || r.prefix.IsSingleIP() || special(r.prefix)
		}
	}
	return allowed, whatever
}

// mayAllow reports whether there is a rule for a name at a port, or one by which it may be allowed: where a name leads is seen
// when it is connected to.
func mayAllow(rules []Rule, host string, port uint16) bool {
	for _, r := range rules {
		if r.at(port) && (r.name == "" || strings.EqualFold(r.name, host)) {
			return true
		}
	}
	return false
}
