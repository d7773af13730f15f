package route

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
)

// kept is the stored form of a Route; its names never change their meaning. To and Destination are the one leg of
// routes that were kept before there were several.
type kept struct {
	From        string    `json:"f,omitempty"`
	Legs        []keptLeg `json:"l,omitempty"`
	Fallback    []string  `json:"b,omitempty"`
	Fell        string    `json:"g,omitempty"`
	Refused     []string  `json:"r,omitempty"`
	Reason      string    `json:"e,omitempty"`
	Tier        string    `json:"i,omitempty"`
	Field       string    `json:"h,omitempty"`
	To          []string  `json:"t,omitempty"`
	Destination string    `json:"d,omitempty"`
	Failures    []Failure `json:"a,omitempty"`
	Failed      int       `json:"n,omitempty"`
	Client      *Client   `json:"c,omitempty"`
	ClientBy    string    `json:"k,omitempty"`
	Uncertain   bool      `json:"u,omitempty"`
	Received    time.Time `json:"w,omitzero"`
}

type keptLeg struct {
	To          []string `json:"t"`
	Destination string   `json:"d"`
	Mailbox     []string `json:"m,omitempty"`
}

// MarshalJSON returns the short form.
func (r Route) MarshalJSON() ([]byte, error) {
	k := kept{From: r.From, Fallback: r.Fallback, Fell: r.Fell, Refused: r.Refused, Reason: r.Reason, Tier: r.Tier, Field: r.Field,
		Failures: r.Failures, Failed: r.Failed, Uncertain: r.Uncertain, Received: r.Received}
	if r.Client.Known() {
		k.Client, k.ClientBy = &r.Client, string(r.ClientBy)
	}
	for _, l := range r.Legs {
		k.Legs = append(k.Legs, keptLeg{l.To, l.Destination, l.Mailbox})
	}
	return json.Marshal(k)
}

// UnmarshalJSON reads what [Route.MarshalJSON] wrote.
func (r *Route) UnmarshalJSON(b []byte) error {
	var k kept
	if err := json.Unmarshal(b, &k); err != nil {
		return err
	}
	if len(k.To) > 0 {
		k.Legs = append(k.Legs, keptLeg{To: k.To, Destination: k.Destination})
	}
	out := Route{From: k.From, Fallback: k.Fallback, Fell: k.Fell, Refused: k.Refused, Reason: k.Reason, Tier: k.Tier, Field: k.Field,
		Failures: k.Failures, Failed: k.Failed, Uncertain: k.Uncertain, Received: k.Received}
	if k.Client != nil && k.Client.Known() {
		out.Client, out.ClientBy = *k.Client, account.ClientAddress(k.ClientBy)
	}
	for _, l := range k.Legs {
		if len(l.To) == 0 || l.Destination == "" {
			return errors.New("a leg without recipient or destination")
		}
		out.Legs = append(out.Legs, Leg{Destination: l.Destination, To: l.To, Mailbox: l.Mailbox})
	}
	if len(out.Legs) == 0 && out.Failed == 0 && !out.Uncertain {
		return errors.New("a route without legs")
	}
	*r = out
	return nil
}
