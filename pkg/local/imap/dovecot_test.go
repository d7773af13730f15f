package imap_test

import (
	"bytes"
	"crypto/tls"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/local/imap"
	"github.com/mailferry/mailferry/pkg/local/localtest"
	"github.com/mailferry/mailferry/pkg/testenv"
)

func TestDovecot(t *testing.T) {
	dove := testenv.NewDovecot(t, testenv.DovecotMaster("ferry", "s\"e\\cret"))
	for name, cfg := range configs(dove) {
		t.Run(name, func(t *testing.T) {
			opened := 0
			localtest.Run(t, func(t testing.TB) localtest.Instance {
				opened++
				c := imap.New(cfg)
				t.Cleanup(func() { _ = c.Close() })
				return localtest.Instance{
					Destination: c, Domain: strings.Repeat("x", opened) + name + ".example", Mail: func(_ testing.TB, to string) [][]byte {
						return dove.Messages(to)
					},
					Refused: "no space@example.com", Carry: stored,
				}
			})
		})
	}
}

// configs are the ways to sign in as anybody.
func configs(dove *testenv.Dovecot) map[string]imap.Config {
	const password = "s\"e\\cret"
	address := func(port int) string { return net.JoinHostPort(dove.Host, strconv.Itoa(port)) }
	trust := &tls.Config{RootCAs: dove.Pool}
	return map[string]imap.Config{
		"starttls": {Address: address(dove.IMAPPort), TLSConfig: trust, Credentials: imap.Credentials{Username: "ferry", Password: password}},
		"tls":      {Address: address(dove.IMAPSPort), TLS: true, TLSConfig: trust, MaxConns: 4, PerUser: 2, Credentials: imap.Credentials{Username: "%u*ferry", Password: password}},
	}
}

// stored is what Dovecot keeps of a message: LF on the disk, no NUL, and no CR at the end.
func stored(b []byte) []byte {
	b = bytes.TrimSuffix(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\r"))
	return bytes.ReplaceAll(b, []byte{0}, []byte{0x80})
}
