package account

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net"
	"slices"
	"strconv"
	"strings"
)

const (
	maxPins = 4
	maxCA   = 32 << 10 // bytes of PEM
)

// Target returns "host:port" of the remote server in the form in which two can be compared.
func (a Account) Target() (string, error) {
	host, port, err := a.HostPort()
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(strings.ToLower(strings.TrimSuffix(host, ".")), strconv.Itoa(port)), nil
}

// KnowsCertificate says whether the account brings its own rule for the server's certificate. Signing in
// without TLS would go around it.
func (a Account) KnowsCertificate() bool { return len(a.TLSPins) > 0 || a.TLSCA != "" }

// Pin returns the pin of a certificate: SHA-256 of its SubjectPublicKeyInfo in hex.
func Pin(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// normalPins writes pins the way [Pin] does, whatever the usual tools made of them: capitals, colons, a
// leading "sha256:".
func normalPins(pins []string) []string {
	var out []string
	for _, p := range pins {
		p = strings.TrimPrefix(strings.ToLower(strings.TrimSpace(p)), "sha256:")
		if p = strings.ReplaceAll(p, ":", ""); p != "" && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

func (a Account) validateTLS() error {
	if len(a.TLSPins) > maxPins {
		return invalid("tls_pins", "want at most %d", maxPins)
	}
	for _, p := range a.TLSPins {
		if b, err := hex.DecodeString(p); err != nil || len(b) != sha256.Size {
			return invalid("tls_pins", "want the SHA-256 of a public key: 64 hex digits; 'openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | sha256sum' makes it of a certificate")
		}
	}
	if len(a.TLSCA) > maxCA || a.TLSCA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(a.TLSCA)) {
		return invalid("tls_ca", "want certificates in PEM form, at most %d bytes", maxCA)
	}
	switch {
	case a.TLSAllowInvalid && a.KnowsCertificate():
		return invalid("tls_allow_invalid", "goes with neither a pin nor a CA: it would void them")
	case a.TLS == Disable && (a.TLSAllowInvalid || a.KnowsCertificate()):
		return invalid("tls", "disable goes with no rule for certificates: there would be none to check")
	}
	return nil
}
