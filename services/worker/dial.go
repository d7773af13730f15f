package worker

import (
	"context"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/remote/imap"
	"github.com/mailferry/mailferry/pkg/remote/pop3"
)

// dial opens a session in the account's protocol.
func dial(ctx context.Context, p account.Protocol, d remote.Dialer, t remote.Target) (remote.Session, error) {
	if p == account.IMAP {
		return imap.Dial(ctx, d, t)
	}
	return pop3.Dial(ctx, d, t)
}
