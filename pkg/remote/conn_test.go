package remote_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/testenv"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = remote.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}

// listen serves each connection with serve, which owns it, until the test ends.
func listen(t testing.TB, serve func(net.Conn)) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// pipe returns a connection to server, in memory.
func pipe(t *testing.T, d remote.Dialer) (c *remote.Conn, server net.Conn) {
	t.Helper()
	client, server := net.Pipe()
	d.DialContext = func(context.Context, string, string) (net.Conn, error) { return client, nil }
	c, err := d.Connect(t.Context(), remote.Target{Host: "mail.example.com", Port: 110})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Abort(); _ = server.Close() })
	return c, server
}

func wantKind(t *testing.T, err error, kind fault.Kind, words ...string) {
	t.Helper()
	if fault.KindOf(err) != kind {
		t.Errorf("error %v is of kind %q, want %q", err, fault.KindOf(err), kind)
	}
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %v does not say %q", err, w)
		}
	}
}

func TestConnectErrors(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := taken.Addr().(*net.TCPAddr).Port
	_ = taken.Close()
	d := remote.Dialer{DialContext: loopback.DialContext}
	_, err = d.Connect(t.Context(), remote.Target{Host: "127.0.0.1", Port: free})
	wantKind(t, err, fault.Refused, "127.0.0.1")
	_, err = d.Connect(t.Context(), remote.Target{Host: "no-such-host.invalid", Port: 110})
	wantKind(t, err, fault.DNS, "no-such-host.invalid")

	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = d.Connect(canceled, remote.Target{Host: "127.0.0.1", Port: free})
	wantKind(t, err, fault.Canceled)

	d.Trusted = func() error { return errors.New("the lock is lost") }
	_, err = d.Connect(t.Context(), remote.Target{Host: "127.0.0.1", Port: free})
	wantKind(t, err, fault.Canceled, "the lock is lost")
}

func TestConnectWithinItsLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := remote.Dialer{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		start := time.Now()
		_, err := d.Connect(t.Context(), remote.Target{Host: "mail.example.com", Port: 110})
		wantKind(t, err, fault.Timeout, "mail.example.com", "110")
		if took := time.Since(start); took != 15*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestConnTimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, server := pipe(t, remote.Dialer{Limits: remote.Limits{Command: time.Minute}})
		_ = c.SetReadDeadline(time.Time{}) // cleared by a library: ignored
		c.AnswerWithin(time.Minute)
		drip := make(chan struct{})
		go func() { // one octet each 25 s: not silent, yet too slow for an answer
			defer close(drip)
			for {
				if _, err := server.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(25 * time.Second)
			}
		}()
		start := time.Now()
		_, err := io.ReadAll(c)
		wantKind(t, err, fault.Timeout, "within 1m")
		if took := time.Since(start); took != time.Minute {
			t.Errorf("an answer took %v", took)
		}
		<-drip

		c, server = pipe(t, remote.Dialer{})
		c.SilentFor(time.Minute)
		go func() {
			for range 10 {
				_, _ = server.Write([]byte("x"))
				time.Sleep(50 * time.Second)
			}
		}()
		start = time.Now()
		n, err := io.Copy(io.Discard, c)
		wantKind(t, err, fault.Timeout)
		if took := time.Since(start); n != 10 || took != 9*50*time.Second+time.Minute {
			t.Errorf("%d octets, silence after %v", n, took)
		}
		if _, again := c.Write([]byte("x")); !errors.Is(again, err) {
			t.Errorf("the first failure is not final: %v", again)
		}

		c, _ = pipe(t, remote.Dialer{Limits: remote.Limits{Command: time.Minute}})
		_, err = c.Write([]byte("nobody reads"))
		wantKind(t, err, fault.Timeout)
	})
}

func TestConnEndIsNoEOF(t *testing.T) {
	t.Parallel()
	c, server := pipe(t, remote.Dialer{})
	_ = server.Close()
	_, err := c.Read(make([]byte, 1))
	wantKind(t, err, fault.Network)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v can be taken for a proper end", err)
	}
}

func TestConnAsksForTrustBeforeEachWrite(t *testing.T) {
	t.Parallel()
	var lost atomic.Bool
	c, server := pipe(t, remote.Dialer{Trusted: func() error {
		if lost.Load() {
			return errors.New("the lock is lost")
		}
		return nil
	}})
	got := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(server)
		got <- string(b)
	}()
	if _, err := c.Write([]byte("NOOP\r\n")); err != nil {
		t.Fatal(err)
	}
	lost.Store(true)
	_, err := c.Write([]byte("DELE 1\r\n"))
	wantKind(t, err, fault.Canceled, "the lock is lost")
	_ = c.Close() // what was written by mistake is shown, and not waited for
	if s := <-got; s != "NOOP\r\n" {
		t.Errorf("the server got %q", s)
	}
	if c.BytesOut() != 6 {
		t.Errorf("counted %d", c.BytesOut())
	}
}

func TestConnEndsWithItsContext(t *testing.T) {
	t.Parallel()
	c, _ := pipe(t, remote.Dialer{})
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := c.Watch(ctx)
	go cancel(fault.Errorf(fault.BackPressure, "run", "no progress"))
	_, err := c.Read(make([]byte, 1))
	wantKind(t, err, fault.BackPressure, "no progress")
	stop()

	c, server := pipe(t, remote.Dialer{})
	ctx, cancel = context.WithCancelCause(t.Context())
	c.Watch(ctx)()
	cancel(nil)
	go func() { _, _ = server.Write([]byte("x")) }()
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("a context that is no longer watched ended the connection: %v", err)
	}
	go c.Abort()
	_, err = c.Read(make([]byte, 1))
	wantKind(t, err, fault.Canceled)
}

// tlsServer serves TLS with cfg and says hello in it.
func tlsServer(t *testing.T, cfg *tls.Config) (port int) {
	t.Helper()
	return listen(t, func(c net.Conn) {
		tc := tls.Server(c, cfg)
		if tc.Handshake() == nil {
			_, _ = io.WriteString(tc, "hello")
			_, _ = io.Copy(io.Discard, tc)
		}
	})
}

// connectTLS connects with Direct to localhost.
func connectTLS(ctx context.Context, port int, cfg *tls.Config, limits remote.Limits) (*remote.Conn, error) {
	d := remote.Dialer{DialContext: loopback.DialContext, TLS: cfg, Limits: limits}
	return d.Connect(ctx, remote.Target{Host: "localhost", Port: port, TLS: account.Direct})
}

func TestConnTLS(t *testing.T) {
	t.Parallel()
	ca := testenv.NewCA(t)
	port := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{ca.Issue("localhost")}})
	trusting := &tls.Config{RootCAs: ca.Pool, ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	for i := range 2 {
		c, err := connectTLS(t.Context(), port, trusting, remote.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 5)
		if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "hello" {
			t.Errorf("%q %v", buf, err)
		}
		if c.TLS() != "TLS 1.3" || !c.Secure() || c.Resumed() != (i == 1) {
			t.Errorf("connection %d: %s, resumed %v", i, c.TLS(), c.Resumed())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if trusting.ServerName != "" {
		t.Error("the caller's configuration was changed")
	}
}

func TestConnTLSErrors(t *testing.T) {
	t.Parallel()
	ca := testenv.NewCA(t)
	own := []tls.Certificate{ca.Issue("localhost")}
	good := tlsServer(t, &tls.Config{Certificates: own})
	old := tlsServer(t, &tls.Config{Certificates: own, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
	other := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{ca.Issue("other.example")}})
	plain := listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "+OK ready\r\n"); _, _ = io.Copy(io.Discard, c) })
	cut := listen(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) })
	silent := listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })

	trusting := &tls.Config{RootCAs: ca.Pool}
	late := &tls.Config{RootCAs: ca.Pool, Time: func() time.Time { return time.Now().Add(48 * time.Hour) }}
	brief := remote.Limits{Dial: 200 * time.Millisecond}
	for name, c := range map[string]struct {
		port   int
		cfg    *tls.Config
		limits remote.Limits
		kind   fault.Kind
		words  string
	}{
		"unknown authority": {good, nil, remote.Limits{}, fault.TLS, "is not trusted: an authority"},
		"another name":      {other, trusting, remote.Limits{}, fault.TLS, "made out to other.example, not to localhost"},
		"expired":           {good, late, remote.Limits{}, fault.TLS, "not valid at this time"},
		"too old":           {old, trusting, remote.Limits{}, fault.TLS, "protocol version"},
		"plain text":        {plain, trusting, remote.Limits{}, fault.TLS, "does not speak TLS"},
		"cut":               {cut, trusting, remote.Limits{}, fault.TLS, "closed the connection during the TLS handshake"},
		"silence":           {silent, trusting, brief, fault.Timeout, "200ms"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := connectTLS(t.Context(), c.port, c.cfg, c.limits)
			wantKind(t, err, c.kind, c.words)
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err := connectTLS(ctx, silent, trusting, remote.Limits{})
	wantKind(t, err, fault.Canceled)
}

// TestTrust lets accounts bring their own rule for the certificate. A session that was made under such a rule
// is not resumed by others, who would not verify it again.
func TestTrust(t *testing.T) {
	t.Parallel()
	known, private := testenv.NewCA(t), testenv.NewCA(t)
	cert := private.Issue("other.example") // neither its authority nor its name is right
	port := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{cert}})
	named := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{private.Issue("localhost")}})
	ours := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{known.Issue("localhost")}})
	pin := account.Pin(cert.Leaf)
	cfg := &tls.Config{RootCAs: known.Pool, ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	for _, c := range []struct {
		name  string
		port  int
		trust remote.Trust
		words string // of the error, "" for none
	}{
		{"the pinned key", port, remote.Trust{Pins: []string{strings.Repeat("0", 64), pin}}, ""},
		{"another key", port, remote.Trust{Pins: []string{strings.Repeat("0", 64)}}, pin},
		{"another key of a good authority", ours, remote.Trust{Pins: []string{pin}}, "is not the pinned one"},
		{"any", port, remote.Trust{Any: true}, ""},
		{"nobody resumes what any let pass", port, remote.Trust{}, "is not trusted"},
		{"own authority", named, remote.Trust{CA: private.Pool}, ""},
		{"own authority alone", ours, remote.Trust{CA: private.Pool}, "is not trusted"},
		{"own authority, another name", port, remote.Trust{CA: private.Pool}, "made out to other.example"},
		{"nobody resumes what another authority let pass", named, remote.Trust{}, "is not trusted"},
	} {
		d := remote.Dialer{DialContext: loopback.DialContext, TLS: cfg}
		conn, err := d.Connect(t.Context(), remote.Target{Host: "localhost", Port: c.port, TLS: account.Direct, Trust: c.trust})
		if c.words != "" {
			wantKind(t, err, fault.TLS, c.words)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := conn.Certificate(); got == nil || len(c.trust.Pins) > 0 && account.Pin(got) != pin {
			t.Errorf("%s: certificate %v", c.name, got)
		}
		_, _ = io.ReadFull(conn, make([]byte, 5)) // and with it the ticket
		_ = conn.Close()
	}
}
