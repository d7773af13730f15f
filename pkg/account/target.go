package account

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of where mail is forwarded to.
const (
	maxCopies = 32
	maxLevels = 16 // of a mailbox path
)

// Target is one place that mail is forwarded to: the owner of Address by way of their filters, or a mailbox of
// theirs, past filters.
type Target struct {
	Address string
	// Mailbox is the path of the mailbox, level by level; nil for an address alone.
	Mailbox []string
}

// ParseTarget reads "alice@example.com" or "alice@example.com/Imported/Gmail". Its error is an *[Error] of field.
func ParseTarget(field, s string) (Target, error) {
	if len(s) > MaxFieldLen {
		return Target{}, invalid(field, "is longer than %d bytes", MaxFieldLen)
	}
	at := strings.IndexByte(s, '@')
	domain, mailbox, path := strings.Cut(s[at+1:], "/")
	t := Target{Address: s[:at+1] + domain}
	if err := ValidateAddress(field, t.Address); err != nil || !path {
		return t, err
	}
	t.Mailbox = strings.Split(mailbox, "/")
	if len(t.Mailbox) > maxLevels {
		return Target{}, invalid(field, "a mailbox path has at most %d levels", maxLevels)
	}
	for _, level := range t.Mailbox {
		if level == "" || level == "." || level == ".." || !utf8.ValidString(level) || strings.ContainsFunc(level, unicode.IsControl) {
			return Target{}, invalid(field, "want a mailbox path like alice@example.com/Imported/Gmail; %q cannot be a level of it", level)
		}
	}
	return t, nil
}

// String returns what ParseTarget reads.
func (t Target) String() string {
	if t.Mailbox == nil {
		return t.Address
	}
	return strings.Join(append([]string{t.Address}, t.Mailbox...), "/")
}

// Domain of the address, in lower case.
func (t Target) Domain() string {
	return strings.ToLower(t.Address[strings.LastIndexByte(t.Address, '@')+1:])
}

// Targets returns where mail of the account is forwarded to: Forward to first, then the extra copies.
func (a Account) Targets() ([]Target, error) {
	first, err := ParseTarget("forward_to", a.ForwardTo)
	if err != nil {
		return nil, err
	}
	all := []Target{first}
	for _, s := range a.CopyTo {
		t, err := ParseTarget("copy_to", s)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// mayFile returns an *[Error] for a mailbox path in the domain of somebody else: past filters goes only what a domain
// files into its own mailboxes.
func (a Account) mayFile(t Target) error {
	if t.Mailbox == nil || t.Domain() == strings.ToLower(a.Domain) {
		return nil
	}
	return invalid("forward_to", "the mailbox path %s is in another domain: want one of %s, or an address alone", t, a.Domain)
}

// ForwardsToMailbox says whether mail of the account is forwarded to a mailbox path, among others.
func (a Account) ForwardsToMailbox() bool {
	all, _ := a.Targets() // of an account that is valid
	return slices.ContainsFunc(all, func(t Target) bool { return t.Mailbox != nil })
}

func (a Account) validateTargets() error {
	if len(a.CopyTo) > maxCopies {
		return invalid("copy_to", "at most %d extra copies", maxCopies)
	}
	all, err := a.Targets()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, t := range all {
		if seen[t.String()] {
			return invalid("copy_to", "%s gets the mail already", t)
		}
		seen[t.String()] = true
		if err := a.mayFile(t); err != nil {
			return err
		}
	}
	return nil
}
