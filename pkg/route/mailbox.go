package route

import (
	"errors"
	"net"
	"strings"

	"github.com/mailferry/mailferry/pkg/fault"
)

// The kinds of destinations that append to mailboxes by IMAP, IMAPS with TLS from the first octet.
const (
	IMAP  Kind = "imap"
	IMAPS Kind = "imaps"
)

// standard are the ports of IMAP (RFC 9051 §11.1).
var standard = map[Kind]string{IMAP: "143", IMAPS: "993"}

var errIMAP = errors.New("want imap:host, imap:host:port, imaps:host or imaps:host:port")

// parseIMAP reads what follows "imap:" and "imaps:".
func parseIMAP(kind Kind, rest string) (Destination, error) {
	if _, _, err := net.SplitHostPort(rest); err != nil {
		rest = net.JoinHostPort(strings.TrimSuffix(strings.TrimPrefix(rest, "["), "]"), standard[kind])
	}
	if checkHostPort(rest) != nil {
		return Destination{}, errIMAP
	}
	return Destination{Kind: kind, Network: "tcp", Address: rest}, nil
}

// ParseMailboxDestination reads a destination that files messages into the mailboxes of mailbox paths:
// "imap:host:port", "imaps:host:port" or "maildir:/path/%d/%n".
func ParseMailboxDestination(s string) (Destination, error) {
	d, err := ParseDestination(s)
	if err == nil && d.Kind != Maildir && d.Kind != IMAP && d.Kind != IMAPS {
		return Destination{}, fault.Errorf(fault.Policy, "destination", "%q hands mail to a recipient, not to a mailbox: want imap:host, imaps:host or maildir:/path",
			fault.Clean(s))
	}
	return d, err
}

// Tree returns the path of a mailbox below the one that an account's mail is filed into: that of the remote mailbox,
// level by level as delimiter parts them at the remote server. INBOX is the mailbox itself, also for what is below
// INBOX: on many servers everything is.
func Tree(mailbox, delimiter string) []string {
	if mailbox == "" {
		return nil
	}
	levels := []string{mailbox}
	if delimiter != "" {
		levels = strings.Split(mailbox, delimiter)
	}
	if strings.EqualFold(levels[0], "INBOX") {
		levels = levels[1:]
	}
	return levels
}
