package route

import (
	"errors"
	"fmt"
	"net"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Kind is a form of handing over.
type Kind string

// Maildir is the kind of a folder for each recipient.
const Maildir Kind = "maildir"

// Destination is a parsed destination.
type Destination struct {
	Kind Kind
	// Network and Address are a server's: "tcp" and "host:port", or "unix" and the path of a socket. Of LMTP and SMTP
	// there may be several, as [Destination.Endpoints] has them.
	Network, Address string
	// Path is Maildir's, with its variables.
	Path string
}

// maxDestination bounds a destination in octets.
const maxDestination = 1024

var errDestination = errors.New("want lmtp:host:port, lmtp:unix:/path, smtp:host, smtp+tls:host, smtps:host, or maildir:/path with %d (domain), %n (local part) or %u (address)")

// ParseDestination reads a destination as settings and domains have it: "lmtp:host:port",
// "lmtp:[v6]:port", "lmtp:unix:/path", "smtp:host", "smtp+tls:host:port", "smtps:host" or "maildir:/path/%d/%n", where
// all but a path may have more servers behind commas. Its errors are of kind policy and say
// what is allowed.
func ParseDestination(s string) (Destination, error) {
	d, err := parseDestination(s)
	if err != nil {
		return Destination{}, fault.Errorf(fault.Policy, "destination", "%q: %w", fault.Clean(s), err)
	}
	return d, nil
}

func parseDestination(s string) (Destination, error) {
	if len(s) > maxDestination || !validText(s) {
		return Destination{}, errDestination
	}
	kind, rest, _ := strings.Cut(s, ":")
	switch Kind(kind) {
	case LMTP, LMTPTLS, SMTP, SMTPTLS, SMTPS:
		return parseTransfer(Kind(kind), rest)
	case Maildir:
		return Destination{Kind: Maildir, Path: rest}, checkMaildir(rest)
	case IMAP, IMAPS:
		return parseIMAP(Kind(kind), rest)
	}
	return Destination{}, errDestination
}

// maxSocket is what the address of a unix socket can hold on Linux.
const maxSocket = 107

func checkSocket(p string) error {
	if !path.IsAbs(p) || strings.HasSuffix(p, "/") {
		return errors.New("want lmtp:unix: followed by the absolute path of a socket")
	}
	if len(p) > maxSocket {
		return fmt.Errorf("the path of a socket has at most %d octets", maxSocket)
	}
	return nil
}

func checkHostPort(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return errors.New("want lmtp:host:port, lmtp:[v6]:port or lmtp:unix:/path")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return errors.New("the port of lmtp:host:port is a number from 1 to 65535")
	}
	if net.ParseIP(host) != nil {
		return nil
	}
	if host == "" || len(host) > 253 || strings.HasPrefix(host, ".") || strings.HasPrefix(host, "-") ||
		strings.ContainsFunc(host, func(r rune) bool {
			return r != '-' && r != '.' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
		}) {
		return errors.New("the host of lmtp:host:port is a name or an address")
	}
	return nil
}

// checkMaildir repeats what local/maildir asks of a path, so that a setting is refused when it is made.
func checkMaildir(p string) error {
	if !path.IsAbs(p) {
		return errors.New("want maildir: followed by an absolute path, like maildir:/var/mail/%d/%n")
	}
	for name := range strings.SplitSeq(strings.Trim(p, "/"), "/") {
		if name == "" || name == "." || name == ".." {
			return fmt.Errorf("the path of a maildir must not contain %q as a name", name)
		}
	}
	for rest := p; ; {
		_, after, ok := strings.Cut(rest, "%")
		if !ok {
			return nil
		}
		if after == "" || !strings.Contains("dnu%", after[:1]) {
			return errors.New("the path of a maildir knows %d (domain), %n (local part), %u (address) and %% only")
		}
		rest = after[1:]
	}
}

func validText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) })
}
