package route

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/mailferry/mailferry/pkg/account"
)

// Return says how sure it is that mail comes back to where it was collected.
type Return int

// A certain return cannot be meant; a likely one depends on what only the servers know.
const (
	NoReturn Return = iota
	LikelyReturn
	CertainReturn
)

// The ports that one mail server has, as a rule, by which it lets people read and takes mail
// (RFC 9051 §2.1, RFC 1939 §3, RFC 8314 §7; RFC 5321 §4.5.4.2, RFC 6409 §3.1; LMTP has none, 24 is common).
var (
	readingPorts = []string{"143", "993", "110", "995"}
	takingPorts  = []string{"24", "25", "465", "587"}
)

// Returns says whether what an account collects and hands over for a target lies in its remote mailbox again: the same
// user of the same server, and a mailbox that is collected. It knows names only, and asks where only if those of the users
// fit; [Loop] stops at run time what goes another way round. Its errors are those of where.
func Returns(a account.Account, t account.Target, where Where) (Return, error) {
	local, _, _ := strings.Cut(t.Address, "@")
	whole := strings.EqualFold(a.Username, t.Address)
	if !whole && !strings.EqualFold(a.Username, local) || !collects(a, t.Mailbox) {
		return NoReturn, nil
	}
	destination, err := where(t)
	if err != nil {
		return NoReturn, err
	}
	d, err := ParseDestination(destination)
	if err != nil || d.Kind == Maildir {
		return NoReturn, nil
	}
	at := sameServer(a, d)
	if !whole || a.Recipients.Mode == account.FromHeaders || len(a.Rules) > 0 {
		return min(at, LikelyReturn), nil
	}
	return at, nil
}

// sameServer compares the account's server with those of a destination. Other ports of one host may be other servers,
// in containers for instance.
func sameServer(a account.Account, d Destination) Return {
	host, port, err := a.HostPort()
	if err != nil || d.Network == "unix" {
		return NoReturn
	}
	found, p := NoReturn, strconv.Itoa(port)
	for _, server := range d.Endpoints() {
		h, at, err := net.SplitHostPort(server)
		if err != nil || !strings.EqualFold(strings.TrimSuffix(h, "."), strings.TrimSuffix(host, ".")) {
			continue
		}
		usual := slices.Contains(readingPorts, at) || d.Kind.Transfers() && slices.Contains(takingPorts, at)
		if !d.Kind.Transfers() && at == p || usual && slices.Contains(readingPorts, p) {
			return CertainReturn
		}
		found = LikelyReturn
	}
	return found
}

// collects says whether mail for a mailbox path, nil for an address, ends in a mailbox that the account collects. Of
// what is in INBOX there that is the path itself, of everything else a mailbox beneath.
func collects(a account.Account, path []string) bool {
	if len(path) == 1 && strings.EqualFold(path[0], "INBOX") {
		path = nil
	}
	if a.Protocol == account.POP3 || len(a.Mailboxes) == 0 {
		return path == nil // only INBOX
	}
	if path == nil {
		return listed(a, "INBOX")
	}
	for _, delimiter := range []string{"/", "."} {
		name := strings.Join(path, delimiter)
		if listed(a, "INBOX") && listed(a, name) || listed(a, name+delimiter+"any") {
			return true
		}
	}
	return false
}

// listed says whether a mailbox is among those that the account names.
func listed(a account.Account, name string) bool {
	fits := func(pattern string) bool {
		return pattern == account.AllMailboxes || pattern == name || pattern == "%" && !strings.ContainsAny(name, "/.") ||
			strings.HasSuffix(pattern, "*") && strings.HasPrefix(name, strings.TrimSuffix(pattern, "*"))
	}
	return slices.ContainsFunc(a.Mailboxes, fits) && !slices.ContainsFunc(a.ExcludeMailboxes, fits)
}
