package remotetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
)

// A phase is what lies between two writes of the session: the suite plays a whole session once to count
// its writes, and then again and again, with the fault behind each of them.

// journey is a whole session: sign in, list, fetch all, delete one, close.
func (e Env) journey(ctx context.Context, d remote.Dialer, info *remote.Info) error {
	s, err := e.Dial(ctx, d)
	if err != nil {
		return err
	}
	defer s.Abort()
	*info = s.Info()
	l, err := s.List(ctx)
	if err != nil {
		return err
	}
	var failed error
	err = s.Fetch(ctx, l.Items, func(f remote.Fetched) error {
		if f.Err != nil {
			failed = f.Err
			return nil
		}
		_, err := io.Copy(io.Discard, f.Body)
		return err
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	if err := s.Delete(ctx, l.Items[:1]); err != nil {
		return err
	}
	return s.Close(ctx)
}

// phases calls test for each write of a journey but TLS's goodbye, with a connection that is armed for it.
func (e Env) phases(t *testing.T, test func(t *testing.T, d remote.Dialer, p *probe)) {
	t.Helper()
	e.numbered(4)
	run := func(at int) (remote.Dialer, *probe) {
		p := &probe{at: at}
		return p.under(e.Dialer), p
	}
	d, p := run(-1)
	var info remote.Info
	if err := e.journey(t.Context(), d, &info); err != nil {
		t.Fatal(err)
	}
	writes := p.writes
	if info.TLS != "none" {
		writes--
	}
	if writes < 5 {
		t.Fatalf("a session of %d writes", writes)
	}
	for at := range writes + 1 {
		e.numbered(1) // in place of the one that was deleted
		t.Run(fmt.Sprintf("after %d of %d writes", at, writes), func(t *testing.T) {
			d, p := run(at)
			test(t, d, p)
		})
	}
}

// fails plays the journey with a fault and looks at how it ends: with one of the kinds, in time, and
// without the password.
func (e Env) fails(t *testing.T, ctx context.Context, d remote.Dialer, p *probe, kinds ...fault.Kind) {
	t.Helper()
	start := time.Now()
	err := e.journey(ctx, d, new(remote.Info))
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	if err == nil {
		if !p.fired() && p.count() < p.at { // this time it needed fewer writes
			return
		}
		t.Fatalf("the session ends well; the fault happened: %v", p.fired())
	}
	ok := false
	for _, k := range kinds {
		ok = ok || fault.KindOf(err) == k
	}
	if !ok {
		t.Errorf("%v is of kind %q, want one of %v", err, fault.KindOf(err), kinds)
	}
	if strings.Contains(err.Error(), e.Password) {
		t.Errorf("the error shows the password: %v", err)
	}
}

func testCancel(t *testing.T, e Env) {
	e.phases(t, func(t *testing.T, d remote.Dialer, p *probe) {
		ctx, cancel := context.WithCancel(t.Context())
		p.silent(cancel)
		e.fails(t, ctx, d, p, fault.Canceled)
	})
}

func testSilence(t *testing.T, e Env) {
	e.phases(t, func(t *testing.T, d remote.Dialer, p *probe) {
		const brief = 150 * time.Millisecond
		d.Limits.Dial, d.Limits.Command, d.Limits.Idle = brief, brief, brief
		p.silent(func() {})
		e.fails(t, t.Context(), d, p, fault.Timeout)
	})
}

func testCut(t *testing.T, e Env) {
	e.phases(t, func(t *testing.T, d remote.Dialer, p *probe) {
		p.cut()
		e.fails(t, t.Context(), d, p, fault.Network, fault.TLS)
	})
}

func testTrust(t *testing.T, e Env) {
	e.phases(t, func(t *testing.T, d remote.Dialer, p *probe) {
		p.at = max(0, p.at-1) // the last write is followed by none that could be refused
		d.Trusted = func() error {
			if p.count() >= p.at {
				p.fire()
				return fault.Errorf(fault.Canceled, "lock", "is lost")
			}
			return nil
		}
		e.fails(t, t.Context(), d, p, fault.Canceled)
		if p.count() > p.at {
			t.Errorf("%d writes, trust ended after %d", p.count(), p.at)
		}
	})
}

// probe watches the connection of a session and spoils it with a write, before the server can answer.
type probe struct {
	at int // the number of the write; 0: as soon as the connection is there

	mu     sync.Mutex
	writes int
	gone   bool
	spoil  func(*probed) // when the fault happens
}

// silent lets nothing more of the server through once the fault happens, and calls then.
func (p *probe) silent(then func()) {
	p.spoil = func(c *probed) {
		c.mute()
		then()
	}
}

// cut closes the connection when the fault happens.
func (p *probe) cut() {
	p.spoil = func(c *probed) { c.sever() }
}

func (p *probe) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writes
}

func (p *probe) fire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
}

func (p *probe) fired() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone
}

// written counts a write and says whether the fault follows it.
func (p *probe) written(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes += n
	if p.writes != p.at || p.spoil == nil || p.gone {
		return false
	}
	p.gone = true
	return true
}

// under returns d with p below the connections it opens.
func (p *probe) under(d remote.Dialer) remote.Dialer {
	inner := d.DialContext
	d.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := inner(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return p.wrap(c), nil
	}
	return d
}

func (p *probe) wrap(c net.Conn) net.Conn {
	dead, other := net.Pipe()
	w := &probed{Conn: c, p: p, dead: dead, other: other, answered: make(chan struct{})}
	if p.written(0) || p.spoil != nil && p.fired() { // the fault lasts: a session that connects again meets it again
		p.spoil(w)
	}
	return w
}

// probed is a connection that can fall silent: its reads then go to a pipe on which nothing ever comes.
type probed struct {
	net.Conn
	p           *probe
	dead, other net.Conn
	mu          sync.Mutex
	muted       bool
	// answered is closed when the server has said something after the connection fell silent.
	answered chan struct{}
	once     sync.Once
}

// answerTime is how long a server that is not listened to any more may take for what it was told last.
const answerTime = time.Second

func (c *probed) mute() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.muted = true
}

func (c *probed) sever() {
	c.mu.Lock()
	c.muted = true
	c.mu.Unlock()
	_ = c.other.Close() // a reader of dead sees the end
	_ = c.Conn.Close()
}

func (c *probed) silent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.muted
}

func (c *probed) Read(b []byte) (int, error) {
	if !c.silent() {
		if n, err := c.Conn.Read(b); !c.silent() {
			return n, err
		}
		c.once.Do(func() { close(c.answered) })
	}
	return c.dead.Read(b)
}

func (c *probed) Write(b []byte) (int, error) {
	if c.silent() {
		return len(b), nil
	}
	if c.p.written(1) {
		c.p.spoil(c)
	}
	return c.Conn.Write(b)
}

// Close lets the server do what it was told last: else it may delete a message while the next session lists and
// fetches it.
func (c *probed) Close() error {
	_ = c.dead.Close()
	_ = c.other.Close()
	if c.silent() {
		go func() { // until the connection is closed

			_, _ = c.Conn.Read(make([]byte, 1))
			c.once.Do(func() { close(c.answered) })
		}()
		select {
		case <-c.answered:
		case <-time.After(answerTime):
		}
	}
	return c.Conn.Close()
}

func (c *probed) SetReadDeadline(t time.Time) error {
	_ = c.dead.SetReadDeadline(t)
	return c.Conn.SetReadDeadline(t)
}

func (c *probed) SetDeadline(t time.Time) error {
	_ = c.dead.SetDeadline(t)
	return c.Conn.SetDeadline(t)
}
