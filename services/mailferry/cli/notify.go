package cli

import (
	"os"

	"github.com/mailferry/mailferry/pkg/account"
	mailferryv1 "github.com/mailferry/mailferry/proto/mailferry/v1"
)

// Notify is whom notices of a domain's accounts go to.
type Notify struct {
	Webhook           *string `placeholder:"URL" group:"notices" help:"Post notices of its accounts there (https://HOST/PATH), signed. Empty: none."`
	WebhookSecretFile string  `placeholder:"FILE" group:"notices" help:"File whose first line is the secret that they are signed with, 16 bytes or more; needed with the first --webhook."`
	NotifyAdmin       *string `placeholder:"ADDRESS" group:"notices" help:"Mail notices of its accounts there. Empty: to nobody but their owners."`
}

func (n *Notify) named() bool { return *n != Notify{} }

// apply changes a request to put the domain.
func (n *Notify) apply(req *mailferryv1.PutDomainRequest) error {
	change(&req.Domain.WebhookUrl, n.Webhook)
	change(&req.Domain.NotifyAdmin, n.NotifyAdmin)
	if n.WebhookSecretFile == "" {
		return nil
	}
	secret, err := secretIn(n.WebhookSecretFile)
	req.WebhookSecret = &secret
	return err
}

// OwnerNotify is whether the owner of an account hears of its state.
type OwnerNotify struct {
	Notify   *bool   `negatable:"" group:"policy" help:"Mail a notice to the owner when the account begins to fail, when it is collected again, and when messages are too large."`
	NotifyTo *string `placeholder:"ADDRESS" group:"policy" help:"Where notices go, in place of the address that the account's mail goes to. Empty: there again."`
}

func (n *OwnerNotify) named() bool { return *n != OwnerNotify{} }

func (n *OwnerNotify) apply(a *account.Account) {
	if n.NotifyTo != nil {
		a.NotifyTo = *n.NotifyTo
		a.Notify = a.Notify || a.NotifyTo != ""
	}
	if n.Notify != nil {
		a.Notify = *n.Notify
		if !a.Notify {
			a.NotifyTo = ""
		}
	}
}

// secretIn returns the first line of a file.
func secretIn(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", usage("the secret of the webhook cannot be read: %v", err)
	}
	defer func() { _ = f.Close() }()
	return firstLine(f, path)
}

// notifyOf says where notices of an account go to its owner, "" for nowhere.
func notifyOf(a *mailferryv1.Account) string {
	switch {
	case !a.GetNotify():
		return ""
	case a.GetNotifyTo() != "":
		return "to " + a.GetNotifyTo()
	}
	return "to the owner"
}
