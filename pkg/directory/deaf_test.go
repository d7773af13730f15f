package directory

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/testenv"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// deaf dials connections, one of which breaks before the answer to the first message that contains a word
// is heard.
type deaf struct {
	word  []byte
	armed atomic.Bool
}

func (d *deaf) Dial(network, addr string) (net.Conn, error) {
	c, err := net.Dial(network, addr)
	return &deafConn{Conn: c, d: d}, err
}

type deafConn struct {
	net.Conn
	d    *deaf
	mute atomic.Bool
}

func (c *deafConn) Write(p []byte) (int, error) {
	if bytes.Contains(p, c.d.word) && c.d.armed.CompareAndSwap(true, false) {
		c.mute.Store(true)
	}
	return c.Conn.Write(p)
}

func (c *deafConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.mute.Load() {
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// deafConnection connects by a deaf dialer that is armed when the test arms it.
func deafConnection(t *testing.T, n *testenv.NATS, word string) (*nats.Conn, jetstream.JetStream, *deaf) {
	t.Helper()
	d := &deaf{word: []byte(word)}
	nc, err := nats.Connect(n.URL, nats.SetCustomDialer(d), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js, d
}
