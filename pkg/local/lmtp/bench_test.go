package lmtp_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/local/lmtp"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// sink takes mail and forgets it.
func sink(tb testing.TB, network, addr string) net.Listener {
	tb.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveSink(c)
		}
	}()
	return l
}

func serveSink(c net.Conn) {
	defer c.Close()
	r, w := bufio.NewReaderSize(c, 64<<10), bufio.NewWriter(c)
	fmt.Fprint(w, "220 sink\r\n")
	data := false
	for {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadSlice('\n')
		switch {
		case err != nil:
			return
		case data:
			if len(line) == 3 && line[0] == '.' {
				data = false
				_, _ = w.WriteString("250 2.0.0 saved\r\n")
			}
		case bytes.HasPrefix(line, []byte("LHLO")):
			_, _ = w.WriteString("250-sink\r\n250-8BITMIME\r\n250 PIPELINING\r\n")
		case bytes.HasPrefix(line, []byte("DATA")):
			data = true
			_, _ = w.WriteString("354 go\r\n")
		default:
			_, _ = w.WriteString("250 2.1.0 ok\r\n")
		}
	}
}

// BenchmarkDeliver hands 2 KB messages over with eight goroutines; the budget is 25,000 a second.
func BenchmarkDeliver(b *testing.B) {
	body := "Subject: bench\r\n\r\n" + strings.Repeat(strings.Repeat("x", 68)+"\r\n", 29)
	trace := []byte("X-Mailferry: account=bench; key=bench\r\n")
	for _, network := range []string{"tcp", "unix"} {
		b.Run(network, func(b *testing.B) {
			addr := "127.0.0.1:0"
			if network == "unix" {
				addr = testenv.TempDir(b) + "/lmtp"
			}
			l := sink(b, network, addr)
			c := lmtp.New(lmtp.Config{Endpoints: []lmtp.Endpoint{{Network: network, Address: l.Addr().String()}}})
			defer c.Close()
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			b.ResetTimer()
			start := time.Now()
			var wg sync.WaitGroup
			var n atomic.Int64
			for range 8 {
				wg.Go(func() {
					env := local.Envelope{From: "s@example.org", To: []string{"a@example.com"}}
					for n.Add(1) <= int64(b.N) {
						r, err := c.Deliver(b.Context(), env, local.Message{Trace: trace, Body: strings.NewReader(body), ID: "x"}, nil)
						if err != nil || len(r) != 1 {
							b.Error(r, err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "messages/s")
		})
	}
}

// BenchmarkLarge hands one large message over.
func BenchmarkLarge(b *testing.B) {
	l := sink(b, "tcp", "127.0.0.1:0")
	c := lmtp.New(lmtp.Config{Endpoints: []lmtp.Endpoint{{Network: "tcp", Address: l.Addr().String()}}})
	defer c.Close()
	for name, line := range map[string]string{"CRLF": strings.Repeat("x", 76) + "\r\n", "LF": strings.Repeat("x", 77) + "\n", "empty": "\r\n\n", "CR": "\r"} {
		b.Run(name, func(b *testing.B) {
			body := strings.Repeat(line, (16<<20)/len(line))
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				_, err := c.Deliver(b.Context(), local.Envelope{To: []string{"a@b"}},
					local.Message{Body: io.MultiReader(strings.NewReader(body)), ID: "x"}, nil)
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
