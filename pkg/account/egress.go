package account

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Ports says which ports sessions may go to: numbers and ranges between commas, each with "!" in front if it is
// denied. What is denied nowhere passes, unless there are others: then one of those has to name it. "110,995" is
// these two, "!25,!8000-8999" all but these; "" is every port.
type Ports string

// maxPorts bounds the text of a rule in bytes.
const maxPorts = 1024

// Allow says whether a port passes.
func (p Ports) Allow(port uint16) bool {
	named, others := false, false
	for part := range p.parts() {
		if !part.denied {
			others = true
		}
		if part.low <= port && port <= part.high {
			if part.denied {
				return false
			}
			named = true
		}
	}
	return named || !others
}

// Validate says what of the text is no port.
func (p Ports) Validate() error {
	if len(p) > maxPorts {
		return invalid("egress_ports", "is longer than %d bytes", maxPorts)
	}
	for part := range p.parts() {
		if !part.ok {
			return invalid("egress_ports", "%q is not a port like 995, a range like 8000-8999, or one of them denied, like !25", part.text)
		}
	}
	return nil
}

type portRange struct {
	text       string
	low, high  uint16
	denied, ok bool
}

// parts calls yield for each part. One that cannot be read denies everything, so that a damaged rule opens nothing.
func (p Ports) parts() func(yield func(portRange) bool) {
	return func(yield func(portRange) bool) {
		if p == "" {
			return
		}
		for text := range strings.SplitSeq(string(p), ",") {
			r := portRange{text: text}
			text, r.denied = strings.CutPrefix(strings.TrimSpace(text), "!")
			from, to, isRange := strings.Cut(text, "-")
			if !isRange {
				to = from
			}
			low, err1 := strconv.ParseUint(from, 10, 16)
			high, err2 := strconv.ParseUint(to, 10, 16)
			if r.ok = err1 == nil && err2 == nil && 0 < low && low <= high; r.ok {
				r.low, r.high = uint16(low), uint16(high)
			} else {
				r.low, r.high, r.denied = 0, 1<<16-1, true
			}
			if !yield(r) {
				return
			}
		}
	}
}

// ProxyAddress returns "host:port" of a SOCKS5 proxy that is written as socks5://host:port.
func ProxyAddress(url string) (string, error) {
	addr, ok := strings.CutPrefix(url, "socks5://")
	host, port, err := net.SplitHostPort(addr)
	if n, perr := strconv.ParseUint(port, 10, 16); !ok || err != nil || perr != nil || n == 0 || host == "" || strings.ContainsAny(host, "@/?# ") {
		return "", invalid("egress_proxy", "want socks5://HOST:PORT; user name and password have fields of their own")
	}
	return addr, nil
}

// SourceAddress returns the address that sessions come from.
func SourceAddress(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
		return netip.Addr{}, invalid("egress_source", "want an IP address of the workers' hosts")
	}
	return a.Unmap(), nil
}
