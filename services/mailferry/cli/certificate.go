package cli

import (
	"io"
	"os"

	"github.com/mailferry/mailferry/pkg/account"
)

// Certificate is an account's own rule for the certificate of its server.
type Certificate struct {
	TLSPin          []string `name:"tls-pin" placeholder:"SHA256" sep:"none" group:"certificate" help:"Take only a certificate with this key (SHA-256 of its public key, in hex), whoever signed it; may be repeated. Empty: none."`
	TLSCA           *string  `name:"tls-ca" placeholder:"FILE" group:"certificate" help:"Take only certificates of the authorities in this file (PEM). Empty: those of the installation."`
	TLSAllowInvalid *bool    `name:"tls-allow-invalid" negatable:"" group:"certificate" help:"Take any certificate, where the domain permits it: whoever sits in between gets the password."`
}

func (c *Certificate) named() bool {
	return len(c.TLSPin) > 0 || c.TLSCA != nil || c.TLSAllowInvalid != nil
}

// apply writes what was named into the account.
func (c *Certificate) apply(a *account.Account) error {
	if len(c.TLSPin) > 0 {
		a.TLSPins = c.TLSPin
	}
	if c.TLSAllowInvalid != nil {
		a.TLSAllowInvalid = *c.TLSAllowInvalid
	}
	if c.TLSCA == nil {
		return nil
	}
	a.TLSCA = ""
	if *c.TLSCA == "" {
		return nil
	}
	f, err := os.Open(*c.TLSCA)
	if err != nil {
		return usage("the file of --tls-ca cannot be read: %v", err)
	}
	defer func() { _ = f.Close() }()
	pem, err := io.ReadAll(io.LimitReader(f, 64<<10)) // control refuses what is longer than it takes
	if err != nil {
		return usage("the file of --tls-ca cannot be read: %v", err)
	}
	a.TLSCA = string(pem)
	return nil
}
