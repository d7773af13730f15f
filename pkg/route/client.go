package route

import (
	"net/netip"
	"strings"

	"github.com/mailferry/mailferry/pkg/account"
)

// Client is the host that gave a message to the remote server.
type Client struct {
	// IP is always known of a client, and of the public internet.
	IP netip.Addr `json:"a"`
	// Helo is the name it gave itself, and Name that of its address, as the server looked it up; "" where not known.
	Helo string `json:"h,omitempty"`
	Name string `json:"n,omitempty"`
}

// Known says whether there is a client.
func (c Client) Known() bool { return c.IP.IsValid() }

// FindClient returns the client that the topmost Received field of a declared host names (RFC 5321 §4.4): that host saw
// it, while what lies beneath came with the message and can be forged. It is the zero one where no host is declared,
// none of them wrote a line, or the line has none of the forms in which known servers tell an address that they saw
// from one that they were told.
func FindClient(a account.Account, t Tenant, header []byte) Client {
	x, _, ok := topmost(parseFields(header), newHouse(a, t).r.ReceivedBy)
	if !ok {
		return Client{}
	}
	return parseClient(x.value)
}

// clientStep explains the client of a route.
func (r Route) clientStep() Step {
	if !r.Client.Known() {
		return Step{Tier: "client", Field: "Received", Verdict: "no line of a declared host names a client: the destination is told of none"}
	}
	return Step{Tier: "client", Field: "Received", Value: r.Client.IP.String(), Verdict: "the destination is told of it: " + string(r.ClientBy)}
}

// parseClient reads what stands between "from" and "by". It has to be one word and comments, and no more than one
// address that the server saw: who says HELO with blanks and brackets in it makes a line of another form.
func parseClient(value string) Client {
	word, comments, ok := fromPart(value)
	if !ok {
		return Client{}
	}
	var c Client
	told, forged := false, false // the name it gave itself stands in a comment; the name of its address may not be its own
	for _, text := range comments {
		ip, name, helo := clientComment(text)
		if helo != "" {
			c.Helo, told = helo, true
		}
		if !ip.IsValid() {
			continue
		}
		if c.IP.IsValid() && c.IP != ip {
			return Client{}
		}
		c.IP, c.Name, forged = ip, name, strings.Contains(text, "forged")
	}
	switch {
	case !c.IP.IsValid() && told: // from [192.0.2.1] (helo=name)
		c.IP = literal(word)
	case told && c.Name == "": // from name ([192.0.2.1] helo=name)
		c.Name = word
	case !told:
		c.Helo = word
	}
	if forged || !isHostName(c.Name) {
		c.Name = ""
	}
	c.Helo = strings.TrimSuffix(c.Helo, ".")
	c.Name = strings.TrimSuffix(c.Name, ".")
	if !isHelo(c.Helo) {
		c.Helo = ""
	}
	if !public(c.IP) {
		return Client{}
	}
	return c
}

// fromPart returns the word behind "from" and the comments between it and the one "by".
func fromPart(value string) (word string, comments []string, ok bool) {
	words := 0
	for bys := 0; ; {
		value = strings.TrimLeft(value, " \t\r")
		switch {
		case value == "" || value[0] == ';':
			return word, comments, bys == 1
		case value[0] == '(':
			end := commentEnd(value, 0)
			if end == 0 {
				return "", nil, false
			}
			if bys == 0 {
				comments = append(comments, value[1:end-1])
			}
			value = value[end:]
			continue
		}
		end := strings.IndexAny(value, " \t\r(;")
		if end < 0 {
			end = len(value)
		}
		next := value[:end]
		value = value[end:]
		switch by := strings.EqualFold(next, "by"); {
		case by && words != 2:
			return "", nil, false
		case by:
			bys++
		case words == 0 && !strings.EqualFold(next, "from"):
			return "", nil, false
		case words == 1:
			word = next
		}
		words++
	}
}

// clientComment reads a comment of Postfix, Sendmail, Gmail and many more ("name [192.0.2.1]"), of Exim ("[192.0.2.1]
// helo=name", "port=25 helo=name"), of Exchange ("192.0.2.1"), and of qmail ("HELO name", "user@192.0.2.1").
func clientComment(text string) (ip netip.Addr, name, helo string) {
	words := strings.Fields(text)
	if len(words) > 0 && strings.HasPrefix(words[0], "port=") {
		words = words[1:]
	}
	if len(words) == 0 {
		return ip, "", ""
	}
	first := words[0]
	if verb := strings.ToUpper(first); verb == "HELO" || verb == "EHLO" {
		if len(words) == 2 {
			helo = words[1]
		}
		return ip, "", helo
	}
	if helo, ok := strings.CutPrefix(first, "helo="); ok {
		return ip, "", helo
	}
	first = first[strings.LastIndexByte(first, '@')+1:]
	if ip = literal(first); ip.IsValid() {
		if len(words) > 1 {
			helo, _ = strings.CutPrefix(words[1], "helo=")
			if helo == words[1] {
				helo = ""
			}
		}
		return ip, "", helo
	}
	if len(words) > 1 && strings.HasPrefix(words[1], "[") && (isHostName(first) || first == "unknown") {
		return literal(words[1]), first, ""
	}
	return ip, "", ""
}

// literal reads an address, also one in square brackets (RFC 5321 §4.1.3) and behind them a port.
func literal(s string) netip.Addr {
	if strings.HasPrefix(s, "[") {
		s, _, _ = strings.Cut(s[1:], "]")
	}
	if len(s) > 5 && strings.EqualFold(s[:5], "IPv6:") {
		s = s[5:]
	}
	ip, err := netip.ParseAddr(s)
	if err != nil || ip.Zone() != "" {
		return netip.Addr{}
	}
	return ip.Unmap()
}

// shared is what providers number their customers with (RFC 6598).
var shared = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 0, 0}), 10)

// public says whether an address can be that of a host anywhere. A destination may trust all others.
func public(ip netip.Addr) bool {
	return ip.IsValid() && ip.IsGlobalUnicast() && !ip.IsPrivate() && !shared.Contains(ip)
}

// isHostName says whether s is a name with a dot in it, as DNS has them.
func isHostName(s string) bool {
	return strings.Contains(strings.TrimSuffix(s, "."), ".") && account.ValidateDomain(strings.TrimSuffix(s, ".")) == nil && isHelo(s)
}

// isHelo says whether s is a name or an address literal in ASCII.
func isHelo(s string) bool {
	return s != "" && len(s) <= maxToken && !strings.ContainsFunc(s, func(c rune) bool {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		return !letter && (c < '0' || c > '9') && !strings.ContainsRune("-._:[]", c)
	})
}
