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
	return l.lately(ctx, "mf:login:"+hex.EncodeToString(sum[:12]), failure, loginWindow, loginsFailed)
}

// Tests of accounts are bounded for each domain, so that they are no way to look around in the network.
const (
	testsMost  = 30
	testWindow = 10 * time.Minute
)

// TestBlocked counts a test of an account of the domain and returns the zero time, or until when there may be none.
func (l *Ledger) TestBlocked(ctx context.Context, domain string) (time.Time, error) {
	sum := sha256.Sum256([]byte(strings.ToLower(domain)))
	key := "mf:tests:" + hex.EncodeToString(sum[:12])
	if until, err := l.lately(ctx, key, "", testWindow, testsMost); err != nil || !until.IsZero() {
		return until, err
	}
	_, err := l.lately(ctx, key, nonce(), testWindow, testsMost)
	return time.Time{}, err
}

// lately counts what happened in a window, with what happens now unless that is "", and returns until when it was as
// often as it may be.
func (l *Ledger) lately(ctx context.Context, key, now string, window time.Duration, most int) (time.Time, error) {
	reply, err := l.run(ctx, "login", []string{key}, now, window.Milliseconds(), most)
	if err != nil || number(reply, 1) == 0 {
		return time.Time{}, err
	}
	return time.UnixMilli(number(reply, 1)), nil
}
