package pop3_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/pkg/account"
	"github.com/mailferry/mailferry/pkg/remote"
	"github.com/mailferry/mailferry/pkg/remote/pop3"
)

// BenchmarkFetch fetches messages of 2 KB from a server in the same process; one op is one message.
func BenchmarkFetch(b *testing.B) {
	for _, c := range []struct {
		name string
		mode account.TLSMode
		capa []string
	}{
		{"pipelined", account.Disable, []string{"PIPELINING"}},
		{"pipelined over TLS", account.Detect, []string{"PIPELINING", "STLS"}},
		{"one by one", account.Disable, nil},
	} {
		b.Run(c.name, func(b *testing.B) {
			const held = 1000
			srv := serve(b, c.capa...)
			m := []byte("Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 28))
			for range held {
				srv.append(m)
			}
			s, err := pop3.Dial(b.Context(), dialer(srv.ca.Pool), remote.Target{
				Host: "localhost", Port: srv.port, TLS: c.mode, Username: "u", Password: "p",
			})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Abort()
			l, err := s.List(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			h := sha256.New()
			b.SetBytes(int64(len(m)))
			b.ReportAllocs()
			b.ResetTimer()
			for left := b.N; left > 0; left -= held {
				err := s.Fetch(b.Context(), l.Items[:min(left, held)], func(f remote.Fetched) error {
					_, err := io.Copy(h, f.Body)
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkList lists 10,000 messages.
func BenchmarkList(b *testing.B) {
	srv := serve(b, "PIPELINING")
	for range 10_000 {
		srv.append([]byte("Subject: x\r\n\r\n"))
	}
	s, err := pop3.Dial(b.Context(), dialer(srv.ca.Pool), remote.Target{
		Host: "localhost", Port: srv.port, TLS: account.Disable, Username: "u", Password: "p",
	})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Abort()
	b.ReportAllocs()
	for b.Loop() {
		if l, err := s.List(b.Context()); err != nil || len(l.Items) != 10_000 || !l.Complete {
			b.Fatal(len(l.Items), l.Note, err)
		}
	}
}

// TestLargeMessageInConstantMemory streams 100 MB that exist nowhere as a whole.
func TestLargeMessageInConstantMemory(t *testing.T) {
	const size = 100 << 20
	port := serveLarge(t, size)
	s, err := pop3.Dial(t.Context(), dialer(nil), remote.Target{
		Host: "localhost", Port: port, TLS: account.Disable, Username: "u", Password: canary,
	})
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var n int64
	err = s.Fetch(t.Context(), []remote.Item{{Number: 1}}, func(f remote.Fetched) error {
		var err error
		n, err = io.Copy(io.Discard, f.Body)
		return err
	})
	runtime.ReadMemStats(&after)
	s.Abort()
	if err != nil || n != size {
		t.Errorf("%d octets: %v", n, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
		t.Errorf("%d octets were allocated for a message of %d", used, size)
	}
}

// serveLarge serves one connection with messages of size octets that are made as they are sent.
func serveLarge(t *testing.T, size int) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		line := append(bytes.Repeat([]byte("x"), 1022), "\r\n"...)
		r, w := bufio.NewReader(c), bufio.NewWriterSize(c, 64<<10)
		fmt.Fprint(w, "+OK\r\n")
		for w.Flush() == nil {
			cmd, err := r.ReadString('\n')
			if err != nil {
				return
			}
			switch verb, _, _ := strings.Cut(strings.TrimSpace(cmd), " "); verb {
			case "CAPA":
				fmt.Fprint(w, "-ERR\r\n")
			case "RETR":
				fmt.Fprint(w, "+OK\r\n")
				for range size / len(line) {
					_, _ = w.Write(line)
				}
				fmt.Fprint(w, ".\r\n")
			default:
				fmt.Fprint(w, "+OK\r\n")
			}
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}
