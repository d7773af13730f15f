package account

import (
	"fmt"
	"net"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mailferry/mailferry/pkg/fault"
)

// Bounds of what an owner may fill in.
const (
	MaxNameLen  = 128                // bytes of an account's name
	MaxFieldLen = 512                // bytes of any other text field
	MinInterval = time.Minute        // shortest schedule
	MaxInterval = 7 * 24 * time.Hour // longest schedule
	MinDedupe   = time.Minute        // shortest window for doubles
	MaxDedupe   = 30 * 24 * time.Hour
)

// Error says which field of an account is not valid and why.
type Error struct {
	Field, Reason string
}

// Error returns "field: reason".
func (e *Error) Error() string { return e.Field + ": " + e.Reason }

func invalid(field, format string, args ...any) error {
	return &Error{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// Validate returns an *[Error] for the first field that is not valid. It expects defaults to be filled in.
func (a Account) Validate() error {
	if err := ValidateDomain(a.Domain); err != nil {
		return err
	}
	if err := validateText("name", a.Name, MaxNameLen); err != nil {
		return err
	}
	if strings.ContainsRune(a.Name, '/') {
		return invalid("name", "must not contain a slash")
	}
	if _, ok := protocols[a.Protocol]; !ok {
		return invalid("protocol", "want pop3 or imap")
	}
	if _, ok := tlsModes[a.TLS]; !ok {
		return invalid("tls", "want detect, direct or disable")
	}
	if _, ok := afters[a.After]; !ok {
		return invalid("after", "want leave, delete or move")
	}
	if _, ok := losses[a.OnIndexLoss]; !ok {
		return invalid("on_index_loss", "want recollect or baseline")
	}
	if a.OnIndexLoss == Baseline && a.After.Removes() {
		return invalid("on_index_loss", "baseline goes with leave only: what it passes over would be deleted uncollected")
	}
	if _, ok := auths[a.Auth]; !ok {
		return invalid("auth", "want %s, %s, %s or the name of a SASL mechanism such as %s", AuthAuto, AuthUserPass, OAuth2, AuthScramSHA256)
	}
	if a.APOP && a.Protocol != POP3 {
		return invalid("apop", "is a POP3 option")
	}
	if a.LenientDot && a.Protocol != POP3 {
		return invalid("lenient_dot", "is a POP3 option")
	}
	if a.Push && a.Protocol != IMAP {
		return invalid("push", "needs IMAP: a POP3 server does not say when messages come")
	}
	if a.APOP && a.Auth != AuthAuto {
		return invalid("apop", "is a way to sign in of its own: it goes with auth %s only", AuthAuto)
	}
	if (a.Auth == OAuth2) != (a.OAuthProvider != "") || len(a.OAuthProvider) > MaxNameLen {
		return invalid("oauth_provider", "goes with auth %s, which needs one", OAuth2)
	}
	if a.Auth == OAuth2 && a.TLS == Disable {
		return invalid("auth", "%s sends a token, which goes over TLS only", OAuth2)
	}
	if err := validateText("username", a.Username, MaxFieldLen); err != nil {
		return err
	}
	if err := a.validateTargets(); err != nil {
		return err
	}
	if err := a.validateLabels(); err != nil {
		return err
	}
	if err := a.validateNotify(); err != nil {
		return err
	}
	if err := a.validateSchedule(); err != nil {
		return err
	}
	if err := a.validatePolicy(); err != nil {
		return err
	}
	if a.DedupeWindow < 0 || a.DedupeWindow > 0 && a.DedupeWindow < MinDedupe || a.DedupeWindow > MaxDedupe {
		return invalid("dedupe_window", "want %s to %s, or 0 for none", fault.Span(MinDedupe), fault.Span(MaxDedupe))
	}
	if a.ClientAddress != "" && clientAddresses[a.ClientAddress] == 0 {
		return invalid("client_address", "want off, xclient, header or auto")
	}
	if err := a.Recipients.validate(); err != nil {
		return err
	}
	if err := ValidateRules(a.Rules); err != nil {
		return err
	}
	if err := a.validateTLS(); err != nil {
		return err
	}
	return a.validateHost()
}

func (a Account) validateHost() error {
	if err := validateText("host", a.Host, MaxFieldLen); err != nil {
		return err
	}
	host, _, err := a.HostPort()
	if err != nil {
		return err
	}
	if net.ParseIP(host) != nil {
		return nil
	}
	if strings.ContainsFunc(host, func(r rune) bool { return r > unicode.MaxASCII }) {
		return invalid("host", "%q has letters that DNS does not know: write its ASCII form (xn--…)", host)
	}
	if host == "" || len(host) > 253 || strings.ContainsFunc(host, func(r rune) bool {
		return r != '-' && r != '.' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) {
		return invalid("host", "%q is not a host name", host)
	}
	return nil
}

// ValidateDomain says whether s can name a domain: labels of letters, digits and hyphens.
func ValidateDomain(s string) error {
	if s == "" || len(s) > 253 {
		return invalid("domain", "want a domain name like example.com")
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool {
			return r != '-' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
		}) {
			return invalid("domain", "%q is not a domain name", s)
		}
	}
	return nil
}

// ValidateAddress says whether s can stand in an SMTP envelope as local-part@domain (RFC 5321 §4.1.2,
// unquoted local parts only).
func ValidateAddress(field, s string) error {
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at == len(s)-1 || len(s) > 320 {
		return invalid(field, "want an address like alice@example.com")
	}
	if strings.ContainsAny(s, "<>()[],;:\\\"") || strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}) || strings.IndexByte(s, '@') < at {
		return invalid(field, "%q is not an address", s)
	}
	return ValidateDomain(s[at+1:])
}

// ValidatePassword refuses what could break out of a protocol line; any other text is a password.
func ValidatePassword(s string) error {
	if s == "" {
		return invalid("password", "is missing")
	}
	if len(s) > 8192 || strings.ContainsAny(s, "\r\n\x00") {
		return invalid("password", "must not contain CR, LF or NUL, nor be longer than 8192 bytes")
	}
	return nil
}

func validateText(field, s string, limit int) error {
	switch {
	case s == "":
		return invalid(field, "is missing")
	case len(s) > limit:
		return invalid(field, "is longer than %d bytes", limit)
	case !utf8.ValidString(s):
		return invalid(field, "is not valid UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		return invalid(field, "must not contain control characters")
	}
	return nil
}
