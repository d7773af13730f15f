package imap_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"
	"go.uber.org/goleak"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/remote/imap"
	"github.com/mailferry/mailferry/pkg/remote/remotetest"
	"github.com/mailferry/mailferry/pkg/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// canary is the password of all tests; no error may show it.
const canary = "cAnary-7f3a"

// dialer reaches servers on this host and trusts the pool.
func dialer(pool *x509.CertPool) remote.Dialer {
	own := remote.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}
	return remote.Dialer{DialContext: own.DialContext, TLS: &tls.Config{RootCAs: pool}}
}

func TestSessionWithDovecot(t *testing.T) {
	t.Parallel()
	dove := testenv.NewDovecot(t, testenv.DovecotPassword(canary))
	for name, target := range map[string]remote.Target{
		"plain":    {Port: dove.IMAPPort, TLS: account.Disable},
		"STARTTLS": {Port: dove.IMAPPort, TLS: account.Detect},
		"IMAPS":    {Port: dove.IMAPSPort, TLS: account.Direct},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			remotetest.Run(t, func(t *testing.T) remotetest.Env {
				target := target
				target.Host, target.Password = dove.Host, dove.Password
				target.Username = mailbox(t.Name())
				return remotetest.Env{
					Dial: func(ctx context.Context, d remote.Dialer) (remote.Session, error) {
						return imap.Dial(ctx, d, target)
					},
					Dialer: dialer(dove.Pool), Password: canary,
					Append: func(m ...[]byte) { dove.Append(target.Username, m...) },
					Served: dovecotServes,
					Count:  func() int { return len(dove.Messages(target.Username)) },
				}
			})
		})
	}
}

// TestSessionWithCyrus runs over STARTTLS, which has both the plain and the secured part of a session.
func TestSessionWithCyrus(t *testing.T) {
	t.Parallel()
	cyrus := testenv.NewCyrus(t, canary)
	remotetest.Run(t, func(t *testing.T) remotetest.Env {
		target := remote.Target{
			Host: cyrus.Host, Port: cyrus.IMAPPort, TLS: account.Detect, Username: mailbox(t.Name()), Password: cyrus.Password,
		}
		return remotetest.Env{
			Dial: func(ctx context.Context, d remote.Dialer) (remote.Session, error) {
				return imap.Dial(ctx, d, target)
			},
			Dialer: dialer(cyrus.Pool), Password: canary,
			Append: func(m ...[]byte) { cyrus.Append(target.Username, m...) },
			Served: cyrusServes,
			Count:  func() int { return cyrus.Count(target.Username) },
		}
	})
}

// cyrusServes says what Cyrus makes of m: it takes mail as RFC 5322 has it, and nothing else.
func cyrusServes(m []byte) []byte {
	if bytes.IndexByte(m, 0) >= 0 || bytes.Contains(bytes.ReplaceAll(m, []byte("\r\n"), nil), []byte("\n")) {
		return nil
	}
	return m
}

// mailbox makes a user name of a test's name.
func mailbox(test string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(test))
}

// dovecotServes says what Dovecot makes of m: every LF becomes CRLF, every NUL 0x80.
func dovecotServes(m []byte) []byte {
	var out []byte
	for i, c := range m {
		switch {
		case c == '\n' && (i == 0 || m[i-1] != '\r'):
			out = append(out, '\r', '\n')
		case c == 0:
			out = append(out, 0x80)
		default:
			out = append(out, c)
		}
	}
	return out
}

func TestSessionWithMemoryServer(t *testing.T) {
	t.Parallel()
	for name, caps := range map[string]goimap.CapSet{
		"IMAP4rev1":         {goimap.CapIMAP4rev1: {}},
		"IMAP4rev1 UIDPLUS": {goimap.CapIMAP4rev1: {}, goimap.CapUIDPlus: {}, goimap.CapSASLIR: {}},
		"IMAP4rev2":         {goimap.CapIMAP4rev2: {}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			remotetest.Run(t, func(t *testing.T) remotetest.Env {
				user, port := serve(t, caps)
				return remotetest.Env{
					Dial: func(ctx context.Context, d remote.Dialer) (remote.Session, error) {
						return imap.Dial(ctx, d, local(port))
					},
					Dialer: dialer(nil), Password: canary,
					Append: func(messages ...[]byte) {
						for _, m := range messages {
							if _, err := user.Append("INBOX", literal{bytes.NewReader(m)}, &goimap.AppendOptions{}); err != nil {
								t.Fatal(err)
							}
						}
					},
					Served: func(m []byte) []byte {
						if !bytes.Contains(m, []byte("\r\n\r\n")) && !bytes.HasPrefix(m, []byte("\r\n")) {
							return append(m[:len(m):len(m)], "\r\n"...) // the server ends a header
						}
						return m
					},
					Count: func() int {
						st, err := user.Status("INBOX", &goimap.StatusOptions{NumMessages: true})
						if err != nil {
							t.Fatal(err)
						}
						return int(*st.NumMessages)
					},
				}
			})
		})
	}
}

// local is a target on this host, in plain text.
func local(port int) remote.Target {
	return remote.Target{Host: "localhost", Port: port, TLS: account.Disable, Username: "alice", Password: canary}
}

type literal struct{ *bytes.Reader }

// serve starts a server in memory that ends with the test.
func serve(t testing.TB, caps goimap.CapSet) (*imapmemserver.User, int) {
	t.Helper()
	user := imapmemserver.NewUser("alice", canary)
	if err := user.Create("INBOX", nil); err != nil {
		t.Fatal(err)
	}
	mem := imapmemserver.New()
	mem.AddUser(user)
	srv := imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return mem.NewSession(), nil, nil
		},
		Caps: caps, InsecureAuth: true, Logger: silent{},
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return user, l.Addr().(*net.TCPAddr).Port
}

type silent struct{}

func (silent) Printf(string, ...any) {}

// session opens a session or fails the test; it is aborted at the end.
func session(t testing.TB, d remote.Dialer, target remote.Target) remote.Session {
	t.Helper()
	s, err := imap.Dial(context.Background(), d, target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Abort)
	return s
}

// TestSourceKeepsItsState fetches with flags and dates: they arrive, and nothing changes at the source.
func TestSourceKeepsItsState(t *testing.T) {
	t.Parallel()
	user, port := serve(t, goimap.CapSet{goimap.CapIMAP4rev1: {}})
	date := time.Date(2020, 2, 29, 23, 59, 58, 0, time.FixedZone("", -5*3600))
	for _, flags := range [][]goimap.Flag{nil, {goimap.FlagSeen, goimap.FlagFlagged, "$Work"}} {
		_, err := user.Append("INBOX", literal{bytes.NewReader([]byte("Subject: x\r\n\r\ny\r\n"))},
			&goimap.AppendOptions{Flags: flags, Time: date})
		if err != nil {
			t.Fatal(err)
		}
	}
	s := session(t, dialer(nil), local(port))
	l, err := s.List(t.Context())
	if err != nil || len(l.Items) != 2 || l.Items[0].Size != 17 || l.Items[0].Mailbox != "INBOX" {
		t.Fatalf("%+v, %v", l, err)
	}
	for range 2 {
		var flags []string
		err = s.Fetch(t.Context(), l.Items, func(f remote.Fetched) error {
			if !f.InternalDate.Equal(date) {
				t.Errorf("date %v, want %v", f.InternalDate, date)
			}
			if _, offset := f.InternalDate.Zone(); offset != -5*3600 {
				t.Errorf("zone %d", offset)
			}
			flags = append(flags, f.Flags...)
			_, err := io.Copy(io.Discard, f.Body)
			return err
		})
		if err != nil || len(flags) != 3 {
			t.Fatalf("flags %v, %v", flags, err)
		}
	}
	st, err := user.Status("INBOX", &goimap.StatusOptions{NumUnseen: true})
	if err != nil || *st.NumUnseen != 1 {
		t.Errorf("%d unseen, want 1: %v", *st.NumUnseen, err)
	}
}

// TestBadInput is what owners of accounts get wrong.
func TestBadInput(t *testing.T) {
	t.Parallel()
	dove := testenv.NewDovecot(t, testenv.DovecotUsers("alice"))
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	for name, tt := range map[string]struct {
		change func(*remote.Target, *remote.Dialer)
		kind   fault.Kind
		text   string
	}{
		"unknown host":     {func(t *remote.Target, _ *remote.Dialer) { t.Host = "nowhere.invalid" }, fault.DNS, "nowhere.invalid"},
		"closed port":      {func(t *remote.Target, _ *remote.Dialer) { t.Port = closed.Addr().(*net.TCPAddr).Port }, fault.Refused, "refuses"},
		"wrong password":   {func(*remote.Target, *remote.Dialer) {}, fault.Auth, "AUTHENTICATIONFAILED"},
		"wrong user":       {func(t *remote.Target, _ *remote.Dialer) { t.Username = "nobody" }, fault.Auth, "AUTHENTICATIONFAILED"},
		"TLS on 143":       {func(t *remote.Target, _ *remote.Dialer) { t.TLS = account.Direct }, fault.TLS, "does not speak TLS"},
		"no TLS on 993":    {func(t *remote.Target, _ *remote.Dialer) { t.Port, t.TLS = dove.IMAPSPort, account.Disable }, fault.Timeout, "no answer"},
		"untrusted":        {func(t *remote.Target, d *remote.Dialer) { d.TLS, t.TLS = &tls.Config{}, account.Detect }, fault.TLS, "not trusted"},
		"POP3":             {func(t *remote.Target, _ *remote.Dialer) { t.Port = dove.POP3Port }, fault.Protocol, "not an IMAP server"},
		"a denied address": {func(_ *remote.Target, d *remote.Dialer) { d.DialContext = remote.Guard{}.DialContext }, fault.Policy, "not one that accounts may use"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target, d := local(dove.IMAPPort), dialer(dove.Pool)
			d.Limits.Command = 10 * time.Second
			if tt.kind == fault.Timeout {
				d.Limits.Command = 500 * time.Millisecond
			}
			tt.change(&target, &d)
			_, err := imap.Dial(t.Context(), d, target)
			failsWith(t, err, tt.kind, tt.text)
		})
	}
}
