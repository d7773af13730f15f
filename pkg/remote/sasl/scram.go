package sasl

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"strings"

	gosasl "github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Bounds of the iterations that a server may ask for: fewer make the password easy to guess for who reads
// along (RFC 7677 §4), more are there to burn our time.
const (
	minIterations = 4096
	maxIterations = 1_000_000
)

// scramClient is SCRAM (RFC 5802).
type scramClient struct {
	a    *Attempt
	conv *scram.ClientConversation
}

// nonce is replaced by the test vectors; nil is the library's random one.
type nonce = scram.NonceGeneratorFcn

func newScram(a *Attempt, c Credentials, o Offer, n nonce) (*scramClient, error) {
	hash := scram.SHA256
	if a.Mechanism == ScramSHA1 || a.Mechanism == ScramSHA1Plus {
		hash = scram.SHA1
	}
	client, err := hash.NewClient(c.Username, c.Password, "")
	if err != nil { // what SASLprep does not know, servers take as it is
		client, err = hash.NewClientUnprepped(c.Username, c.Password, "")
	}
	if err != nil {
		return nil, fault.Errorf(fault.Policy, a.op(), "the user name or the password cannot be sent")
	}
	client.WithMinIterations(minIterations)
	if n != nil {
		client.WithNonceGenerator(n)
	}
	s := &scramClient{a: a}
	switch binding := c.binding(); {
	case a.Mechanism.plus():
		s.conv = client.NewConversationWithChannelBinding(binding)
	case binding.IsSupported() && !o.Has(a.Mechanism+"-PLUS"):
		// A server that does offer it sees that somebody in between has hidden that (RFC 5802 §6).
		s.conv = client.NewConversationAdvertisingChannelBinding()
	default:
		s.conv = client.NewConversation()
	}
	return s, nil
}

// binding returns tls-exporter with TLS 1.3 (RFC 9266), else tls-unique (RFC 5929 §3), else none.
func (c Credentials) binding() scram.ChannelBinding {
	var b scram.ChannelBinding
	switch {
	case c.TLS == nil:
	case c.TLS.Version >= tls.VersionTLS13:
		b, _ = scram.NewTLSExporterBinding(c.TLS)
	default:
		b = scram.NewTLSUniqueBinding(c.TLS.TLSUnique)
	}
	return b
}

func (s *scramClient) Start() (string, []byte, error) {
	first, err := s.conv.Step("")
	return string(s.a.Mechanism), []byte(first), err
}

func (s *scramClient) Next(challenge []byte) ([]byte, error) {
	message := string(challenge)
	if s.a.refused != nil {
		return nil, gosasl.ErrUnexpectedServerChallenge
	}
	if reason, ok := strings.CutPrefix(message, "e="); ok { // a no follows (RFC 5802 §7, server-error)
		reason, _, _ = strings.Cut(reason, ",")
		s.a.refused = fault.Errorf(fault.Auth, s.a.op(), "the server said: %s", fault.Clean(reason))
		return []byte{}, nil
	}
	if !s.a.sent {
		if err := checkIterations(message); err != nil {
			return nil, err
		}
	}
	response, err := s.conv.Step(message)
	if err != nil { // the library quotes the server
		return nil, fault.Errorf(fault.Protocol, s.a.op(), "%s", fault.Clean(err.Error()))
	}
	s.a.sent = true // a proof of the password
	return []byte(response), nil
}

// checkIterations looks at the server's first message, "r=nonce,s=salt,i=count" (RFC 5802 §7), before any
// work is done for it.
func checkIterations(message string) error {
	fields := strings.SplitN(message, ",", 4)
	if len(fields) < 3 {
		return errors.New("the server's first message has no salt and no iteration count")
	}
	count := strings.TrimPrefix(fields[2], "i=")
	n, err := strconv.Atoi(count)
	if err != nil || n < minIterations || n > maxIterations {
		return fmt.Errorf("the server asks for %s iterations, %d to %d are allowed", fault.Clean(count), minIterations, maxIterations)
	}
	return nil
}
