package account

import (
	"slices"
	"strings"

	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// Rule changes where a message goes. All conditions that are given must hold; the first rule that fits is applied, and
// the next ones only where it says Continue. In patterns * stands for any run of characters; case does not matter.
type Rule struct {
	Name string
	// Sender fits an address of From, or the reverse-path. Recipient fits the recipient that is decided upon; of a message
	// that goes to Forward to, also any address of To and Cc. Subject fits the decoded subject.
	Sender, Recipient, Subject string
	// Header is "NAME: PATTERN", or "NAME" where any value fits.
	Header string
	// LargerThan and SmallerThan are octets of the whole message; 0: any.
	LargerThan, SmallerThan int64
	// Mailbox fits the name of the remote mailbox (IMAP).
	Mailbox string

	// To gets the message in place of its recipient: addresses or mailbox paths, see [ParseTarget].
	To []string
	// Subfolder is a mailbox beneath whatever gets it, levels by "/".
	Subfolder string
	// Copy gets it besides.
	Copy []string
	// Discard drops it: nobody gets it, and it counts as collected.
	Discard  bool
	Continue bool
}

const (
	maxRules   = 50
	maxTargets = 20
)

// ValidateRules returns an *[Error] for the first rule that is not valid.
func ValidateRules(rules []Rule) error {
	if len(rules) > maxRules {
		return invalid("rules", "want at most %d", maxRules)
	}
	for i, r := range rules {
		if err := r.validate(); err != nil {
			return invalid("rules", "rule %d %q: %s", i+1, r.Name, err)
		}
	}
	return nil
}

func (r Rule) validate() error {
	for field, s := range map[string]string{
		"name": r.Name, "sender": r.Sender, "recipient": r.Recipient, "subject": r.Subject, "header": r.Header,
		"mailbox": r.Mailbox, "subfolder": r.Subfolder,
	} {
		if s == "" {
			continue
		}
		if err := validateText(field, s, MaxFieldLen); err != nil {
			return err
		}
	}
	name, _, _ := strings.Cut(r.Header, ":")
	switch {
	case !r.conditional():
		return invalid("when", "no condition is given: want one of sender, recipient, subject, header, larger, smaller and mailbox")
	case r.Header != "" && !isFieldName(strings.TrimSpace(name)):
		return invalid("header", "want NAME: PATTERN")
	case r.LargerThan < 0 || r.SmallerThan < 0:
		return invalid("larger", "a size must not be negative")
	case r.Discard && (len(r.To) > 0 || r.Subfolder != "" || len(r.Copy) > 0 || r.Continue):
		return invalid("discard", "goes with no other action: what is discarded goes nowhere")
	case !r.Discard && len(r.To) == 0 && r.Subfolder == "" && len(r.Copy) == 0:
		return invalid("to", "no action is given: want one of to, subfolder, copy and discard")
	case len(r.To) > maxTargets || len(r.Copy) > maxTargets:
		return invalid("to", "want at most %d", maxTargets)
	}
	for _, t := range slices.Concat(r.To, r.Copy) {
		if _, err := ParseTarget("to", t); err != nil {
			return err
		}
	}
	if r.Subfolder != "" {
		if _, err := ParseTarget("subfolder", "x@example.com/"+r.Subfolder); err != nil {
			return err
		}
	}
	return nil
}

func (r Rule) conditional() bool {
	return r.Sender != "" || r.Recipient != "" || r.Subject != "" || r.Header != "" || r.LargerThan != 0 || r.SmallerThan != 0 || r.Mailbox != ""
}

// RulesProto returns the wire form of rules.
func RulesProto(rules []Rule) []*mailferryv1.Rule {
	var out []*mailferryv1.Rule
	for _, r := range rules {
		out = append(out, &mailferryv1.Rule{
			Name: r.Name, Sender: r.Sender, Recipient: r.Recipient, Subject: r.Subject, Header: r.Header,
			LargerThan: r.LargerThan, SmallerThan: r.SmallerThan, Mailbox: r.Mailbox,
			To: r.To, Subfolder: r.Subfolder, Copy: r.Copy, Discard: r.Discard, Continue: r.Continue,
		})
	}
	return out
}

// RulesFromProto returns the rules of their wire form.
func RulesFromProto(rules []*mailferryv1.Rule) []Rule {
	var out []Rule
	for _, p := range rules {
		out = append(out, Rule{
			Name: p.GetName(), Sender: p.GetSender(), Recipient: p.GetRecipient(), Subject: p.GetSubject(), Header: p.GetHeader(),
			LargerThan: p.GetLargerThan(), SmallerThan: p.GetSmallerThan(), Mailbox: p.GetMailbox(),
			To: p.GetTo(), Subfolder: p.GetSubfolder(), Copy: p.GetCopy(), Discard: p.GetDiscard(), Continue: p.GetContinue(),
		})
	}
	return out
}
