// Package route decides who gets a message and where it is handed over, and writes the trace that is put
// in front of it. It is pure: what it decides follows from its arguments alone.
//
// The recipient is the account's Forward to address. The reverse-path is the one the message was delivered
// to the remote mailbox with, as the first Return-Path of its header block has it (RFC 5321 §4.4), and the
// null one where there is none or one that cannot be read.
package route

import (
	"encoding/json"
	"errors"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
)

// Route is where a message goes. Its JSON form is short: the mark of a message keeps it.
type Route struct {
	// Envelope has the form of a local.Envelope and can be assigned to one: the rooms do not import
	// each other.
	Envelope Envelope
	// Destination is as [ParseDestination] takes it.
	Destination string
}

// Envelope says who sent a message, "" for the null reverse-path, and who gets it.
type Envelope = struct {
	From string
	To   []string
}

// compact is the stored form of a Route; its names never change their meaning.
type compact struct {
	From        string   `json:"f,omitempty"`
	To          []string `json:"t"`
	Destination string   `json:"d"`
}

// MarshalJSON returns the short form.
func (r Route) MarshalJSON() ([]byte, error) {
	return json.Marshal(compact{r.Envelope.From, r.Envelope.To, r.Destination})
}

// UnmarshalJSON reads what [Route.MarshalJSON] wrote.
func (r *Route) UnmarshalJSON(b []byte) error {
	var c compact
	if err := json.Unmarshal(b, &c); err != nil {
		return err
	}
	if len(c.To) == 0 || c.Destination == "" {
		return errors.New("a route without recipient or destination")
	}
	*r = Route{Envelope: Envelope{From: c.From, To: c.To}, Destination: c.Destination}
	return nil
}

// Decide returns where a message of the account goes: to its Forward to address at the destination that
// holds for that address's domain. header is the beginning of the message, as much of it as is at hand. A
// destination that is missing or not valid is a temporary fault: its administrator can mend it, and no
// message is given up for it.
func Decide(a account.Account, destination string, header []byte) (Route, error) {
	if err := account.ValidateAddress("forward_to", a.ForwardTo); err != nil {
		return Route{}, fault.New(fault.Policy, "route", err)
	}
	if destination == "" {
		return Route{}, fault.Errorf(fault.DestinationTemporary, "route",
			"there is no destination for %s", fault.Clean(a.ForwardTo))
	}
	if _, err := ParseDestination(destination); err != nil {
		return Route{}, fault.New(fault.DestinationTemporary, "route", err)
	}
	return Route{
		Envelope:    Envelope{From: ReturnPath(header), To: []string{a.ForwardTo}},
		Destination: destination,
	}, nil
}
