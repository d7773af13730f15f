package remote_test

import (
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/remote"
)

func TestIdleFor(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]time.Duration{
		"imap.mail.yahoo.com": 3 * time.Minute, "IMAP.Gmail.com.": 9 * time.Minute, "gmail.com": 9 * time.Minute,
		"imap.notgmail.com": 14 * time.Minute, "imap.example.com": 14 * time.Minute, "": 14 * time.Minute,
	} {
		if got := remote.IdleFor(host); got != want {
			t.Errorf("%s: %v, want %v", host, got, want)
		}
	}
}
