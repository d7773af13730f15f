package testenv

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Deaf dials connections. Once armed, one of them breaks before the answer to the first message that contains
// a word is heard: what was asked for is done, and nobody knows.
type Deaf struct {
	word  []byte
	armed atomic.Bool
}

// Arm makes the next message with the word the last one of its connection.
func (d *Deaf) Arm() { d.armed.Store(true) }

// Armed says whether no such message has come since.
func (d *Deaf) Armed() bool { return d.armed.Load() }

// Disarm lets such messages be.
func (d *Deaf) Disarm() { d.armed.Store(false) }

// Dial connects.
func (d *Deaf) Dial(network, addr string) (net.Conn, error) {
	c, err := net.Dial(network, addr)
	return &deafConn{Conn: c, d: d}, err
}

type deafConn struct {
	net.Conn
	d    *Deaf
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

// Deaf connects to the server by a deaf dialer.
func (n *NATS) Deaf(t testing.TB, word string) (*nats.Conn, jetstream.JetStream, *Deaf) {
	t.Helper()
	d := &Deaf{word: []byte(word)}
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
