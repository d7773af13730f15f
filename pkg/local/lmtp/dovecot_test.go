package lmtp_test

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/local/lmtp"
	"github.com/mailferry/mailferry/pkg/local/localtest"
	"github.com/mailferry/mailferry/pkg/testenv"
)

func TestDovecot(t *testing.T) {
	dove := testenv.NewDovecot(t, testenv.DovecotNoTLS())
	for name, cfg := range map[string]lmtp.Config{
		"tcp":  {Endpoints: []lmtp.Endpoint{{Network: "tcp", Address: dove.LMTPAddr}}},
		"unix": {Endpoints: []lmtp.Endpoint{{Network: "unix", Address: dove.LMTPSocket}}, MaxConns: 2},
		"plain": {Endpoints: []lmtp.Endpoint{{Network: "unix", Address: dove.LMTPSocket}}, Dial: func(ctx context.Context, n, a string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, n, a)
			return &veiled{c}, err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			opened := 0
			localtest.Run(t, func(t testing.TB) localtest.Instance {
				opened++
				c := lmtp.New(cfg)
				t.Cleanup(func() { _ = c.Close() })
				return localtest.Instance{
					Destination: c, Domain: strings.Repeat("x", opened) + name + ".example", Mail: func(t testing.TB, to string) [][]byte {
						return dove.Messages(to)
					},
					Refused: "no space@example.com", Carry: stored,
				}
			})
		})
	}
}

// stored is what Dovecot keeps of a message: canonical lines on the way, LF on the disk.
func stored(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	b = bytes.ReplaceAll(b, []byte("\r"), []byte("\n"))
	if n := len(b); n > 0 && b[n-1] != '\n' {
		b = append(b, '\n')
	}
	return b
}

// veiled hides that the server offers PIPELINING.
type veiled struct{ net.Conn }

func (v *veiled) Read(p []byte) (int, error) {
	n, err := v.Conn.Read(p)
	copy(p, bytes.ReplaceAll(p[:n], []byte("PIPELINING"), []byte("XIPELINING")))
	return n, err
}
