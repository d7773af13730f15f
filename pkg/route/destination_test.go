package route_test

import (
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/route"
)

func TestParseDestination(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]route.Destination{
		"lmtp:mail.example.com:24":        {Kind: route.LMTP, Network: "tcp", Address: "mail.example.com:24"},
		"lmtp:127.0.0.1:65535":            {Kind: route.LMTP, Network: "tcp", Address: "127.0.0.1:65535"},
		"lmtp:[::1]:24":                   {Kind: route.LMTP, Network: "tcp", Address: "[::1]:24"},
		"lmtp:dovecot_lmtp:24":            {Kind: route.LMTP, Network: "tcp", Address: "dovecot_lmtp:24"},
		"smtp:mail.example.com":           {Kind: route.SMTP, Network: "tcp", Address: "mail.example.com:25"},
		"smtp:mail.example.com:2525":      {Kind: route.SMTP, Network: "tcp", Address: "mail.example.com:2525"},
		"smtp:[::1]":                      {Kind: route.SMTP, Network: "tcp", Address: "[::1]:25"},
		"smtp+tls:a,b:25":                 {Kind: route.SMTPTLS, Network: "tcp", Address: "a:587,b:25"},
		"smtps:a":                         {Kind: route.SMTPS, Network: "tcp", Address: "a:465"},
		"lmtp:a:24,b:24":                  {Kind: route.LMTP, Network: "tcp", Address: "a:24,b:24"},
		"lmtp+tls:a:24":                   {Kind: route.LMTPTLS, Network: "tcp", Address: "a:24"},
		"lmtp:unix:/run/dovecot/lmtp":     {Kind: route.LMTP, Network: "unix", Address: "/run/dovecot/lmtp"},
		"maildir:/var/mail/%d/%n":         {Kind: route.Maildir, Path: "/var/mail/%d/%n"},
		"maildir:/var/mail/%u/Maildir/":   {Kind: route.Maildir, Path: "/var/mail/%u/Maildir/"},
		"maildir:/srv/100%%/vhosts/%d-%n": {Kind: route.Maildir, Path: "/srv/100%%/vhosts/%d-%n"},
	} {
		if got, err := route.ParseDestination(s); err != nil || got != want {
			t.Errorf("%q: %+v, error %v", s, got, err)
		}
	}
}

func TestParseDestinationSaysWhatIsAllowed(t *testing.T) {
	t.Parallel()
	for s, says := range map[string]string{
		"":                                      "lmtp:host:port",
		"lmtp":                                  "lmtp:host:port",
		"smtp:":                                 "smtp:host",
		"smtp:mail.example.com:":                "the port of smtp:host:port",
		"smtp:unix:/run/smtp":                   "smtp:host",
		"smtps:h,":                              "smtps:host",
		"smtp+ssl:h":                            "smtps:host",
		"smtp:user@h":                           "the host of smtp:host:port",
		"smtp:::1":                              "[v6]",
		"lmtp:h:24,unix:/run/x":                 "1 to 65535",
		"lmtp:h:24,h":                           "lmtp:host:port",
		"lmtp:h:1" + strings.Repeat(",h:1", 16): "at most 16",
		"LMTP:h:24":                             "lmtp:host:port",
		"/var/mail":                             "maildir:/path",
		"lmtp:":                                 "lmtp:host:port",
		"lmtp:host":                             "lmtp:host:port",
		"lmtp::24":                              "name or an address",
		"lmtp:host:":                            "1 to 65535",
		"lmtp:host:0":                           "1 to 65535",
		"lmtp:host:65536":                       "1 to 65535",
		"lmtp:host:lmtp":                        "1 to 65535",
		"lmtp:ho/st:24":                         "name or an address",
		"lmtp:-x:24":                            "name or an address",
		"lmtp:::1:24":                           "[v6]",
		"lmtp:unix:":                            "absolute path",
		"lmtp:unix:run/lmtp":                    "absolute path",
		"lmtp:unix:/run/":                       "absolute path",
		"lmtp:unix:/" + long(107):               "at most 107",
		"maildir:":                              "absolute path",
		"maildir:var/mail/%u":                   "absolute path",
		"maildir:/":                             "as a name",
		"maildir:/var//mail/%u":                 "as a name",
		"maildir:/var/../mail/%u":               "as a name",
		"maildir:/var/mail/%x":                  "%n (local part)",
		"maildir:/var/mail/%":                   "%n (local part)",
		"maildir:/var/mail/%u\nx":               "lmtp:host:port",
		"maildir:/var/mail/%u\x00":              "lmtp:host:port",
		"maildir:/var/mail/\xff":                "lmtp:host:port",
		"maildir:/" + long(1100) + "%":          "lmtp:host:port",
	} {
		d, err := route.ParseDestination(s)
		if err == nil || d != (route.Destination{}) {
			t.Errorf("%q: %+v", s, d)
			continue
		}
		if fault.KindOf(err) != fault.Policy || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v; want policy, and %q in it", s, err, says)
		}
	}
}

func long(n int) string { return strings.Repeat("x", n) }

func FuzzParseDestination(f *testing.F) {
	for _, s := range []string{"lmtp:h:24", "lmtp:[::1]:24", "lmtp:unix:/run/x", "maildir:/x/%d/%n", "maildir:/%%", "x:", "smtp:h", "smtps:[::1],h:1", "lmtp:a:1,b:2", "imap:h:1", "imaps:[::1]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := route.ParseDestination(s)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n\x00\x1b") {
				t.Errorf("the error repeats what it was given: %q", err)
			}
			return
		}
		back := string(d.Kind) + ":" + d.Address + d.Path
		if d.Network == "unix" {
			back = string(d.Kind) + ":unix:" + d.Address
		}
		if back != s && d.Kind != route.Maildir { // with the port that was left out
			if again, err := route.ParseDestination(back); err != nil || again != d {
				t.Errorf("%q became %+v, and that %+v, %v", s, d, again, err)
			}
			back = s
		}
		if back != s || (d.Kind != route.Maildir) != (d.Address != "" && d.Network != "") || (d.Kind == route.Maildir) != (d.Path != "") {
			t.Errorf("%q became %+v", s, d)
		}
		if strings.Contains(d.Path, "/../") || strings.ContainsRune(s, 0) {
			t.Errorf("%q passes", s)
		}
	})
}

func TestParseMailboxDestination(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]route.Destination{
		"imap:mail.example.com":      {Kind: route.IMAP, Network: "tcp", Address: "mail.example.com:143"},
		"imap:mail.example.com:1143": {Kind: route.IMAP, Network: "tcp", Address: "mail.example.com:1143"},
		"imaps:mail.example.com":     {Kind: route.IMAPS, Network: "tcp", Address: "mail.example.com:993"},
		"imaps:[::1]":                {Kind: route.IMAPS, Network: "tcp", Address: "[::1]:993"},
		"imaps:[::1]:1":              {Kind: route.IMAPS, Network: "tcp", Address: "[::1]:1"},
		"maildir:/var/mail/%d/%n":    {Kind: route.Maildir, Path: "/var/mail/%d/%n"},
	} {
		if got, err := route.ParseMailboxDestination(s); err != nil || got != want {
			t.Errorf("%q: %+v, error %v", s, got, err)
		}
	}
	for _, s := range []string{"", "imap:", "imap:h:0", "imap:h:", "imaps:a/b", "imap:-x", "imap:a:b:c", "imap:user@host", "lmtp:h:24", "IMAP:h"} {
		if d, err := route.ParseMailboxDestination(s); fault.KindOf(err) != fault.Policy || d != (route.Destination{}) || !strings.Contains(err.Error(), "imap:host") && !strings.Contains(err.Error(), "maildir:/path") {
			t.Errorf("%q: %+v, error %v", s, d, err)
		}
	}
}

func TestTree(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ mailbox, delimiter, want string }{
		{"", "", ""},
		{"INBOX", "/", ""},
		{"inbox", "", ""},
		{"Work/2024", "/", "Work|2024"},
		{"Work.2024", "/", "Work.2024"},
		{"INBOX.Work.2024", ".", "Work|2024"},
		{"INBOXES/x", "/", "INBOXES|x"},
		{"Work/2024", "", "Work/2024"},
		{"a//b/", "/", "a||b|"},
	} {
		if got := strings.Join(route.Tree(tt.mailbox, tt.delimiter), "|"); got != tt.want {
			t.Errorf("%q by %q: %q, want %q", tt.mailbox, tt.delimiter, got, tt.want)
		}
	}
}
