package pop3_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"testing"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/remote/pop3"
	"github.com/mailferry/mailferry/pkg/remote/remotetest"
	"github.com/mailferry/mailferry/pkg/testenv"
	"go.uber.org/goleak"
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
		"plain": {Port: dove.POP3Port, TLS: account.Disable},
		"STLS":  {Port: dove.POP3Port, TLS: account.Detect},
		"POP3S": {Port: dove.POP3SPort, TLS: account.Direct},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			remotetest.Run(t, func(t *testing.T) remotetest.Env {
				target := target
				target.Host, target.Password = dove.Host, dove.Password
				target.Username = mailbox(t.Name())
				return remotetest.Env{
					Dial: func(ctx context.Context, d remote.Dialer) (remote.Session, error) {
						return pop3.Dial(ctx, d, target)
					},
					Dialer: dialer(dove.Pool), Password: canary, DeletesAtClose: true,
					Append: func(m ...[]byte) { dove.Append(target.Username, m...) },
					Served: dovecotServes,
					Count:  func() int { return len(dove.Messages(target.Username)) },
				}
			})
		})
	}
}

// TestSessionWithCyrus runs over STLS, which has both the plain and the secured part of a session.
func TestSessionWithCyrus(t *testing.T) {
	t.Parallel()
	cyrus := testenv.NewCyrus(t, canary)
	remotetest.Run(t, func(t *testing.T) remotetest.Env {
		target := remote.Target{
			Host: cyrus.Host, Port: cyrus.POP3Port, TLS: account.Detect, Username: mailbox(t.Name()), Password: cyrus.Password,
		}
		return remotetest.Env{
			Dial: func(ctx context.Context, d remote.Dialer) (remote.Session, error) {
				return pop3.Dial(ctx, d, target)
			},
			Dialer: dialer(cyrus.Pool), Password: canary, DeletesAtClose: true,
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
	return served(m)
}

// mailbox makes a user name of a test's name.
func mailbox(test string) string {
	var b bytes.Buffer
	for _, c := range []byte(test) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			b.WriteByte(c | 0x20)
		} else {
			b.WriteByte('_')
		}
	}
	return b.String()
}

// dovecotServes says what Dovecot makes of m: every LF becomes CRLF.
func dovecotServes(m []byte) []byte {
	var out []byte
	for i, c := range m {
		if c == '\n' && (i == 0 || m[i-1] != '\r') {
			out = append(out, '\r')
		}
		out = append(out, c)
	}
	return served(out)
}

func TestSessionWithServer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		capa []string
		mode account.TLSMode
	}{
		"one by one":         {nil, account.Disable},
		"pipelined":          {[]string{"PIPELINING"}, account.Disable},
		"pipelined over TLS": {[]string{"PIPELINING", "STLS"}, account.Detect},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			remotetest.Run(t, func(t *testing.T) remotetest.Env {
				s := serve(t, c.capa...)
				return remotetest.Env{
					Dial: func(ctx context.Context, d remote.Dialer) (remote.Session, error) {
						return pop3.Dial(ctx, d, remote.Target{
							Host: "localhost", Port: s.port, TLS: c.mode, Username: "alice", Password: canary,
						})
					},
					Dialer: dialer(s.ca.Pool), Password: canary, DeletesAtClose: true,
					Append: s.append, Served: served, Count: s.count,
				}
			})
		})
	}
}
