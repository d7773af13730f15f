// Package route decides who gets a message and where it is handed over, and writes the trace that is put
// in front of it. It is pure: what it decides follows from its arguments alone.
//
// The recipients are those that the header of the message names, where the account asks for it ([Find]), else its
// Forward to; rules may send it elsewhere; the extra copies come besides. The reverse-path is the one the message was
// delivered to the remote mailbox with, as the first Return-Path of its header block has it (RFC 5321 §4.4), and
// the null one where there is none or one that cannot be read.
package route

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
)

// Route is where a message goes. Its JSON form is short: the mark of a message keeps it.
type Route struct {
	// From is the reverse-path, "" for the null one.
	From string
	// Legs are the hand-overs, in order.
	Legs []Leg
	// Fallback are the targets that are tried one after the other, as account.ParseTarget reads them, when a recipient
	// is refused for good. Fell is the one that is in force, "" for none.
	Fallback []string
	Fell     string
	// Refused are the names of recipients that were refused for good, and Reason what the first was answered.
	Refused []string
	Reason  string
	// Tier decided who gets it, by the header field Field; "" where the recipients are not looked for.
	Tier, Field string
	// Client gave the message to the remote server, and ClientBy is how the destination learns of it, "" if not at all.
	Client   Client
	ClientBy account.ClientAddress
	// Received is when a declared host took the message from outside, where the account wants it to have that date in
	// mailboxes; the zero time where it does not, or where nobody tells.
	Received time.Time
	// Failures are attempts that failed for now, the first one and the last ones, and Failed counts all.
	Failures []Failure
	Failed   int
	// Uncertain says that a destination may have accepted the message without our knowing.
	Uncertain bool
	// Retried says that somebody had the message handed over again; see [Loop].
	Retried bool `json:",omitempty"`
	// Discarded is the rule that dropped the message; there are no legs then. "" for none.
	Discarded string
}

// Leg is one hand-over: recipients that a destination gets in one transaction.
type Leg struct {
	// Destination is as [ParseDestination] takes it.
	Destination string
	// To are the addresses of the recipients.
	To []string
	// Mailbox is the path of the mailbox that gets the message, past filters; nil for the recipients' own filters.
	Mailbox []string
}

// Name is how the mark of a message and a dead letter name a recipient of the leg.
func (l Leg) Name(to string) string { return account.Target{Address: to, Mailbox: l.Mailbox}.String() }

// Where returns the destination that holds for a target.
type Where func(account.Target) (string, error)

// Message is what a route is decided by.
type Message struct {
	// Header is the beginning of the message, as much of it as is at hand.
	Header []byte
	// Size in octets of the whole message.
	Size int64
	// Mailbox it was in at the remote server (IMAP).
	Mailbox string
	// Collected is when; the zero time where the message is not collected yet.
	Collected time.Time
}

// Decide returns where a message of the account goes: to the recipients that its header names or to Forward to, or
// where a rule sends it, and to the extra copies, each at the destination that holds for it. What they refuse goes to
// Forward to, then to the postmaster. A destination that is missing or not valid is a temporary fault: its
// administrator can mend it, and no message is given up for it. note, if it is not nil, is told each step.
func Decide(a account.Account, m Message, t Tenant, where Where, note func(Step)) (Route, error) {
	if note == nil {
		note = func(Step) {}
	}
	always, err := a.Targets()
	if err != nil {
		return Route{}, fault.New(fault.Policy, "route", err)
	}
	forwardTo, copies := always[0], always[1:]
	found := Find(a, t, m.Header, note)
	r := Route{From: ReturnPath(m.Header)}
	if by := cmp.Or(a.ClientAddress, t.ClientAddress, account.ClientOff); by != account.ClientOff {
		r.Client, r.ClientBy = FindClient(a, t, m.Header), by
		note(r.clientStep())
	}
	if a.Date == account.DateReceived {
		r.Received = FindReceived(a, t, m)
		note(r.dateStep())
	}
	if found.Tier != TierForwardTo {
		r.Tier, r.Field = found.Tier, found.Field
	}
	var targets []account.Target
	for _, address := range found.Recipients {
		targets = append(targets, account.Target{Address: address})
	}
	if len(targets) == 0 {
		targets = []account.Target{forwardTo}
		note(Step{Tier: found.Tier, Value: forwardTo.String(), Verdict: "Forward to gets the message"})
	}
	rules := newRuling(slices.Concat(a.Rules, t.Rules), m, len(found.Recipients) == 0, note)
	if targets = rules.apply(targets); len(targets) == 0 {
		r.Discarded = rules.discarded
		return r, nil
	}
	for _, to := range slices.Concat(targets, copies) {
		if to.Mailbox != nil && !t.files(a, to) { // past filters goes only what a domain files into its own mailboxes
			note(Step{Tier: found.Tier, Value: to.String(), Verdict: "is in a domain of somebody else: goes to the address alone"})
			to.Mailbox = nil
		}
		if err := r.Add(to, where); err != nil {
			return Route{}, err
		}
	}
	if found.Tier != TierForwardTo || rules.applied {
		r.Fallback = append(r.Fallback, a.ForwardTo)
	}
	if t.Postmaster != "" {
		r.Fallback = append(r.Fallback, t.Postmaster)
	}
	return r, nil
}

// files says whether mail of the account may go into a mailbox of the target past filters.
func (t Tenant) files(a account.Account, to account.Target) bool {
	own := func(domain string) bool { return strings.EqualFold(domain, to.Domain()) }
	return own(a.Domain) || slices.ContainsFunc(t.Local, own) || slices.ContainsFunc(t.Aliases, own)
}

// Add has the target get the message, too, in a leg that goes there already if there is one.
func (r *Route) Add(t account.Target, where Where) error {
	destination, err := where(t)
	switch {
	case err != nil:
		return err
	case destination == "":
		return fault.Errorf(fault.DestinationTemporary, "route", "there is no destination for %s", fault.Clean(t.String()))
	}
	if _, err := ParseDestination(destination); err != nil {
		return fault.New(fault.DestinationTemporary, "route", err)
	}
	for i, l := range r.Legs {
		if l.Destination == destination && slices.Equal(l.Mailbox, t.Mailbox) {
			if !slices.Contains(l.To, t.Address) {
				r.Legs[i].To = append(r.Legs[i].To, t.Address)
			}
			return nil
		}
	}
	r.Legs = append(r.Legs, Leg{Destination: destination, To: []string{t.Address}, Mailbox: t.Mailbox})
	return nil
}

// Has says whether the route names a recipient.
func (r *Route) Has(name string) bool {
	return slices.ContainsFunc(r.Legs, func(l Leg) bool {
		return slices.ContainsFunc(l.To, func(to string) bool { return l.Name(to) == name })
	})
}

// maxReason bounds what is kept of an answer, in octets.
const maxReason = 300

// Refuse notes that recipients were refused for good.
func (r *Route) Refuse(reason string, names ...string) {
	for _, n := range names {
		if !slices.Contains(r.Refused, n) {
			r.Refused = append(r.Refused, n)
		}
	}
	if r.Reason == "" {
		r.Reason = strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
	}
}

// Covered says whether a fallback is in force that has not refused the message itself.
func (r *Route) Covered() bool { return r.Fell != "" && !slices.Contains(r.Refused, r.Fell) }

// Fall has the next fallback get the message in place of those who refused it, unless one is in force. One that gets
// the message anyway needs no second copy.
func (r *Route) Fall(where Where) error {
	for !r.Covered() && len(r.Fallback) > 0 {
		t, err := account.ParseTarget("fallback", r.Fallback[0])
		if err == nil && !r.Has(t.String()) {
			if err := r.Add(t, where); err != nil {
				return err
			}
		}
		r.Fallback = r.Fallback[1:]
		if err == nil {
			r.Fell = t.String()
		}
	}
	return nil
}
