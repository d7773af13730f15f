package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// Failed logins are bounded for each domain and remote mailbox, in whatever protocol and however the host and
// the user name are written, so that nobody finds a password by trying: at most loginsFailed in loginWindow.
const (
	loginsFailed = 5
	loginWindow  = time.Hour
)

// LoginBlocked returns until when the domain may not sign in at the remote mailbox, the zero time if it may.
func (l *Ledger) LoginBlocked(ctx context.Context, domain, host, username string) (time.Time, error) {
	return l.login(ctx, domain, host, username, "")
}

// LoginFailed counts a sign-in that was refused, and returns what LoginBlocked does from now on.
func (l *Ledger) LoginFailed(ctx context.Context, domain, host, username string) (time.Time, error) {
	return l.login(ctx, domain, host, username, nonce())
}

func (l *Ledger) login(ctx context.Context, domain, host, username, failure string) (time.Time, error) {
	host = strings.TrimSuffix(host, ".")
	sum := sha256.Sum256([]byte(strings.ToLower(domain + "\x00" + host + "\x00" + username)))
	reply, err := l.run(ctx, "login", []string{"mf:login:" + hex.EncodeToString(sum[:12])}, failure, loginWindow.Milliseconds(), loginsFailed)
	if err != nil || number(reply, 1) == 0 {
		return time.Time{}, err
	}
	return time.UnixMilli(number(reply, 1)), nil
}
