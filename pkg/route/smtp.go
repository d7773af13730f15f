package route

import (
	"errors"
	"fmt"
	"strings"
)

// The kinds of destinations that are handed mail by LMTP and SMTP. With "+tls" there is no session without TLS by
// STARTTLS (RFC 3207) and a valid certificate; smtps begins with TLS (RFC 8314).
const (
	LMTP    Kind = "lmtp"
	LMTPTLS Kind = "lmtp+tls"
	SMTP    Kind = "smtp"
	SMTPTLS Kind = "smtp+tls"
	SMTPS   Kind = "smtps"
)

// smtpPort is the port where none is given (RFC 5321 §4.5.4.2, RFC 6409 §3.1, RFC 8314 §3.3). LMTP has none.
var smtpPort = map[Kind]string{SMTP: "25", SMTPTLS: "587", SMTPS: "465"}

// Transfers says whether mail is handed over by LMTP or SMTP.
func (k Kind) Transfers() bool {
	switch k {
	case LMTP, LMTPTLS, SMTP, SMTPTLS, SMTPS:
		return true
	}
	return false
}

// maxEndpoints bounds the servers of one destination.
const maxEndpoints = 16

// Endpoints are the addresses of the destination's servers, in order.
func (d Destination) Endpoints() []string {
	if d.Network == "unix" {
		return []string{d.Address}
	}
	return strings.Split(d.Address, ",")
}

// parseTransfer reads what follows "lmtp:", "smtp:" and the like: servers between commas, or LMTP's socket.
func parseTransfer(kind Kind, rest string) (Destination, error) {
	if socket, ok := strings.CutPrefix(rest, "unix:"); ok && kind == LMTP {
		return Destination{Kind: kind, Network: "unix", Address: socket}, checkSocket(socket)
	}
	servers := strings.Split(rest, ",")
	if len(servers) > maxEndpoints {
		return Destination{}, fmt.Errorf("a destination has at most %d servers", maxEndpoints)
	}
	for i, s := range servers {
		if port := smtpPort[kind]; port != "" && !hasPort(s) {
			s += ":" + port
		}
		if err := checkHostPort(s); err != nil {
			return Destination{}, forms(kind, err)
		}
		servers[i] = s
	}
	return Destination{Kind: kind, Network: "tcp", Address: strings.Join(servers, ",")}, nil
}

// hasPort says that what follows a host is meant as a port.
func hasPort(s string) bool {
	colon, bracket := strings.LastIndexByte(s, ':'), strings.LastIndexByte(s, ']')
	return colon > bracket
}

// forms says what is allowed where the port may be left out.
func forms(kind Kind, err error) error {
	if smtpPort[kind] == "" {
		return err
	}
	return errors.New(strings.NewReplacer(
		"lmtp:host:port, lmtp:[v6]:port or lmtp:unix:/path", string(kind)+":host, "+string(kind)+":host:port or "+string(kind)+":[v6]:port",
		"lmtp:", string(kind)+":").Replace(err.Error()))
}
