package api

import (
	"net"
	"net/netip"

	"github.com/labstack/echo/v4"
)

// peers finds the address of who sent a request. X-Forwarded-For is believed only of trusted proxies, and of what it says
// the last address that is not one of them: what stands further left anybody may have written.
func peers(trusted []netip.Prefix) echo.IPExtractor {
	if len(trusted) == 0 {
		return echo.ExtractIPDirect()
	}
	options := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, p := range trusted {
		p = p.Masked()
		options = append(options, echo.TrustIPRange(&net.IPNet{
			IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
		}))
	}
	return echo.ExtractIPFromXFFHeader(options...)
}

// Bits of an address that a log shows: enough to see where a flood comes from, too few for a person.
const (
	shown4, shown6 = 24, 48
	site6          = 64 // what one subscriber has
)

// network is an address without its last bits; "" if it is none, such as that of a socket in the file system.
func network(address string, bits4, bits6 int) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	a = a.Unmap().WithZone("")
	bits := bits4
	if a.Is6() {
		bits = bits6
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return ""
	}
	return p.String()
}
