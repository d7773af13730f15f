package route

import (
	"bytes"
	"strings"

	"github.com/mailferry/mailferry/pkg/fault"
)

// maxReceived is how many times a message may have been handed on: RFC 5321 §6.3 wants 100 at least.
const maxReceived = 100

// Loop returns why a message goes in circles, or nil: it was collected for this account before, as its trace says, or it
// has more than 100 Received fields (RFC 5321 §6.3). What a destination gave back is not given to it again. A message that
// was retried by hand goes on in spite of its trace, with one more: if it comes back, it is collected anew, and stopped.
func Loop(uid string, header []byte, retried bool) error {
	received := 0
	for name, value := range eachField(header) {
		switch {
		case bytes.EqualFold(name, []byte("Received")):
			received++
		case !retried && bytes.EqualFold(name, []byte("X-Mailferry")) && ours(unfold(value), uid):
			return fault.Errorf(fault.Policy, "loop", "the message was collected for this account before and came back to its remote mailbox: "+
				"forward to another address or mailbox (account edit --forward-to), or end the forwarding there that leads back; then retry the dead letter")
		}
	}
	if received > maxReceived {
		return fault.Errorf(fault.Policy, "loop", "the message was handed on %d times already, more than %d", received, maxReceived)
	}
	return nil
}

// ours says whether a trace names the account.
func ours(value, uid string) bool {
	first, _, _ := strings.Cut(strings.TrimSpace(value), ";")
	return uid != "" && first == "account="+uid
}
