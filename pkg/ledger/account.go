package ledger

import (
	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
)

// SlotOfAccount returns the slot of the account's remote mailbox.
func SlotOfAccount(a account.Account) (Slot, error) {
	host, port, err := a.HostPort()
	if err != nil {
		return "", fault.New(fault.Policy, "account "+a.Ref(), err)
	}
	return SlotOf(string(a.Protocol), host, port, a.Username), nil
}
