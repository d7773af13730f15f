package remote_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// The texts are those of real servers; the numbers are those of the quirks they belong to.
func TestUnderstand(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		quirk string
		code  fault.Kind
		text  string
		kind  fault.Kind
		away  time.Duration
		hint  string
	}{
		{"quirk02", fault.None, "[ALERT] Account exceeded command or bandwidth limits. (Failure)", fault.RemoteQuota, 0, ""},
		{"quirk02", fault.None, "[ALERT] Too many simultaneous connections. (Failure)", fault.Throttled, 0, ""},
		{"quirk04", fault.Auth, "[AUTH] Application-specific password required: http://support.google.com/accounts/bin/answer.py?answer=185833", fault.AuthWithdrawn, 0, "application password"},
		{"quirk04", fault.Auth, "[AUTH] Web login required: https://support.google.com/mail/answer/78754", fault.AuthWithdrawn, 0, "web mail"},
		{"quirk04", fault.None, "[ALERT] Please log in via your web browser: https://support.google.com/mail/accounts/answer/78754 (Failure)", fault.AuthWithdrawn, 0, "web mail"},
		{"quirk04", fault.NotFound, "[SYS/PERM] Your account is not enabled for POP access. Please visit your Gmail settings page and enable your account for POP access.", fault.AuthWithdrawn, 0, "settings"},
		{"quirk04", fault.None, "Basic authentication is disabled.", fault.AuthWithdrawn, 0, "OAuth2"},
		{"quirk04", fault.None, `Logon failure: unknown user name or bad password. [Error="LogonDenied-BasicAuthBlocked-BasicAuthBlockStatus: Blocked" Proxy=x]`, fault.AuthWithdrawn, 0, "OAuth2"},
		{"quirk04", fault.None, "Logon failure: unknown user name or bad password.", fault.None, 0, ""},
		{"quirk04", fault.None, "Login fail. Please using authorized code to login. More information at https://help.mail.qq.com", fault.AuthWithdrawn, 0, "application password"},
		{"quirk04", fault.Auth, "[AUTH] Application password is REQUIRED. https://help.mail.ru/mail/security/protection/external", fault.AuthWithdrawn, 0, "application password"},
		{"quirk05", fault.None, "User is authenticated but not connected.", fault.Throttled, 0, ""},
		{"quirk06", fault.None, "Request is throttled. Suggested Backoff Time: 299961 milliseconds", fault.Throttled, 299961 * time.Millisecond, ""},
		{"quirk06", fault.Auth, "Suggested Backoff Time: 999999999999999 milliseconds", fault.Throttled, 24 * time.Hour, ""},
		{"quirk24", fault.None, "Exceeded the login limit for a 15 minute period. Reduce the frequency of requests to the POP3 server.", fault.Throttled, 15 * time.Minute, ""},
		{"quirk24", fault.None, "Minimum interval between logins is 720 seconds", fault.Throttled, 0, ""},
		{"quirk24", fault.None, "login too often", fault.Throttled, 0, ""},
		{"quirk24", fault.Throttled, "[LOGIN-DELAY] minimum time between mail checks violation", fault.Throttled, 0, ""},
		{"quirk24", fault.Auth, "[AUTH] (#AUTH005) Too many bad auth attempts", fault.Throttled, 0, ""},
		{"quirk24", fault.None, "login frequency limited", fault.Throttled, 0, ""},
		{"quirk25", fault.InUse, "[IN-USE] Maximum number of connections from user+IP exceeded", fault.InUse, 0, ""},
		{"quirk25", fault.None, "/var/mail/.alice.pop lock busy! Is another session active? (11)", fault.InUse, 0, ""},
		{"quirk25", fault.None, "Unable to lock maildrop: Mailbox is locked by POP server", fault.InUse, 0, ""},
		{"quirk25", fault.None, "Can't get lock. Mailbox in use", fault.InUse, 0, ""},
		{"quirk25", fault.None, "maildrop already locked", fault.InUse, 0, ""},
		{"quirk25", fault.None, "please wait a few minutes and log in again", fault.InUse, 0, ""},
		{"quirk25", fault.None, "your account has been locked", fault.None, 0, ""},
		{"quirk25", fault.Auth, "[AUTH] mailbox locked", fault.Auth, 0, ""},
		{"quirk25", fault.None, "user is blocked", fault.None, 0, ""},
		{"", fault.None, "[SYS/TEMP] temporary problem, please try again later", fault.Unavailable, 0, ""},
		{"", fault.None, "no such mailbox", fault.NotFound, 0, ""},
		{"", fault.None, "no such message", fault.None, 0, ""},
		{"", fault.None, "message 3 is locked", fault.None, 0, ""},
		{"", fault.Unavailable, "[SYS/TEMP] too many connections", fault.Unavailable, 0, ""},
		{"", fault.None, "", fault.None, 0, ""},
	} {
		t.Run(strings.Trim(tt.quirk+"/"+tt.text[:min(len(tt.text), 40)], "/"), func(t *testing.T) {
			t.Parallel()
			m := remote.Understand(tt.code, tt.text, now)
			var until time.Time
			if tt.away > 0 {
				until = now.Add(tt.away)
			}
			if m.Kind != tt.kind || !m.Until.Equal(until) || !strings.Contains(m.Hint, tt.hint) || tt.hint == "" && m.Hint != "" {
				t.Errorf("%q is %v until %v (%s), want %v until %v (%s)", tt.text, m.Kind, m.Until, m.Hint, tt.kind, until, tt.hint)
			}
		})
	}
}
