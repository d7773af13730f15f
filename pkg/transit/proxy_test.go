package transit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mailferry/mailferry/pkg/testenv"
)

// proxy stands between a client and NATS. It can swallow what one side says and cut the connection.
type proxy struct {
	to       string
	listener net.Listener
	deaf     atomic.Bool // what the client says is lost
	mute     atomic.Bool // what the server says is lost
	lost     atomic.Int64
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
}

func newProxy(t *testing.T, url string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{to: strings.TrimPrefix(url, "nats://"), listener: l}
	p.wg.Go(p.serve)
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		p.wg.Go(func() { p.pass(server, client, &p.deaf) })
		p.wg.Go(func() { p.pass(client, server, &p.mute) })
	}
}

func (p *proxy) pass(to, from net.Conn, swallow *atomic.Bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if swallow.Load() {
			p.lost.Add(int64(n))
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// cut ends all connections; those that come later pass unharmed.
func (p *proxy) cut() {
	p.deaf.Store(false)
	p.mute.Store(false)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// newProxied is a house whose client speaks through a proxy.
func newProxied(t *testing.T, cfg Config) (*house, *proxy) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	n := testenv.NewNATS(t)
	p := newProxy(t, n.URL)
	nc, err := nats.Connect(p.listener.Addr().String(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond),
		nats.IgnoreDiscoveredServers())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Bodies = newBodies(t, houseKeys())
	tr, err := Open(ctx, nc, js, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &house{tr, t, n, ctx}, p
}

// TestLostAnswersAndLostMessages cuts the connection after either was swallowed: all messages are there
// in the end, long before their time is over, and each has its one outcome.
func TestLostAnswersAndLostMessages(t *testing.T) {
	t.Parallel()
	for name, swallow := range map[string]func(*proxy) *atomic.Bool{
		"answers":  func(p *proxy) *atomic.Bool { return &p.mute },
		"messages": func(p *proxy) *atomic.Bool { return &p.deaf },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, proxy := newProxied(t, Config{PublishTimeout: time.Minute})
			swallow(proxy).Store(true)
			p := h.Publisher(0)
			var c collect
			for i := range 50 {
				key := fmt.Sprintf("p%d", i)
				if err := p.Put(h.ctx, message("acc", key), bytes.NewReader(nil), c.done(key)); err != nil {
					t.Fatal(err)
				}
			}
			testenv.Eventually(t, 30*time.Second, "something is swallowed", func() bool { return proxy.lost.Load() > 1000 })
			proxy.cut()
			if err := p.Flush(h.ctx); err != nil {
				t.Fatal(err)
			}
			held, err := h.Held(h.ctx, "acc")
			if err != nil || len(held) != 50 {
				t.Fatal(len(held), err)
			}
			for key, got := range c.got {
				if len(got) != 1 || got[0] != nil && !errors.Is(got[0], ErrHeld) {
					t.Fatal(key, got)
				}
			}
			if len(c.got) != 50 {
				t.Fatal(len(c.got))
			}
		})
	}
}

// TestOwnCopyKeepsItsBody loses the answer to a message with a large body: the refusal of its second
// copy is our own doing, and the body is needed.
func TestOwnCopyKeepsItsBody(t *testing.T) {
	t.Parallel()
	h, proxy := newProxied(t, Config{Inline: 1000, PublishTimeout: time.Minute})
	content := bodyOf(200_000, 1)
	m := message("acc", "p1")
	if err := h.putBody(h.ctx, m, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	m.Digest = sum[:]
	prefix, err := mailPrefixOf(m)
	if err != nil {
		t.Fatal(err)
	}
	p := h.Publisher(0)
	var c collect
	proxy.mute.Store(true)
	if err := p.publish(h.ctx, prefix, m, make([]byte, headRoom), c.done("p1")); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, 30*time.Second, "the message is stored", func() bool {
		s, err := h.nats.JS.Stream(h.ctx, transitStream) // not through the proxy
		return err == nil && s.CachedInfo().State.Msgs == 1
	})
	proxy.cut()
	if err := p.Flush(h.ctx); err != nil {
		t.Fatal(err)
	}
	if got := c.got["p1"]; len(got) != 1 || !errors.Is(got[0], ErrHeld) {
		t.Fatal(got)
	}
	if !bytes.Equal(h.body(h.next(h.intake(0))), content) {
		t.Fatal("another body")
	}
}
