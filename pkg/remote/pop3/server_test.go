package pop3_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/mailferry/mailferry/pkg/testenv"
)

// server is a POP3 server in memory that keeps messages as they are: what Dovecot changes, it does not.
type server struct {
	capa []string // beyond UIDL
	ca   *testenv.CA
	tls  *tls.Config
	port int

	mu       sync.Mutex
	next     int
	messages []stored
}

type stored struct {
	uid  string
	wire []byte // as RETR sends it, with dots and the end mark
	size int
}

// serve starts a server that ends with the test.
func serve(t testing.TB, capa ...string) *server {
	t.Helper()
	s := &server{capa: capa, ca: testenv.NewCA(t)}
	s.tls = &tls.Config{Certificates: []tls.Certificate{s.ca.Issue("localhost")}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				defer c.Close()
				s.session(c)
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return s
}

func (s *server) append(messages ...[]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range messages {
		s.next++
		wire := bytes.ReplaceAll(append([]byte("\r\n"), served(m)...), []byte("\r\n."), []byte("\r\n.."))[2:]
		s.messages = append(s.messages, stored{fmt.Sprintf("u%d", s.next), append(wire, ".\r\n"...), len(m)})
	}
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.messages)
}

// served is m as POP3 can carry it: the last line has an end.
func served(m []byte) []byte {
	if bytes.HasSuffix(m, []byte("\r\n")) {
		return m
	}
	return append(bytes.Clone(m), "\r\n"...)
}

// session serves one connection; it answers when the client has nothing more to say.
func (s *server) session(c net.Conn) {
	r, w := bufio.NewReaderSize(c, 64<<10), bufio.NewWriterSize(c, 256<<10)
	s.mu.Lock()
	drop := append([]stored(nil), s.messages...)
	s.mu.Unlock()
	deleted := map[string]bool{}
	fmt.Fprint(w, "+OK ready\r\n")
	for {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		verb, arg, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		n, _ := strconv.Atoi(arg)
		switch verb {
		case "CAPA":
			fmt.Fprintf(w, "+OK\r\nUIDL\r\n%s.\r\n", strings.Join(append(s.capa, ""), "\r\n"))
		case "STLS":
			fmt.Fprint(w, "+OK\r\n")
			if w.Flush() != nil {
				return
			}
			tc := tls.Server(c, s.tls)
			if tc.Handshake() != nil {
				return
			}
			c, r, w = tc, bufio.NewReaderSize(tc, 64<<10), bufio.NewWriterSize(tc, 256<<10)
		case "USER", "PASS":
			fmt.Fprint(w, "+OK\r\n")
		case "STAT":
			fmt.Fprintf(w, "+OK %d 0\r\n", len(drop))
		case "UIDL", "LIST":
			listing(w, drop, verb == "UIDL")
		case "RETR":
			_, _ = io.WriteString(w, "+OK\r\n")
			_, _ = w.Write(drop[n-1].wire)
		case "DELE":
			deleted[drop[n-1].uid] = true
			fmt.Fprint(w, "+OK\r\n")
		case "QUIT":
			s.remove(deleted)
			fmt.Fprint(w, "+OK\r\n")
			_ = w.Flush()
			return
		default:
			fmt.Fprint(w, "-ERR what?\r\n")
		}
	}
}

func listing(w io.Writer, drop []stored, uidl bool) {
	fmt.Fprint(w, "+OK\r\n")
	for i, m := range drop {
		if uidl {
			fmt.Fprintf(w, "%d %s\r\n", i+1, m.uid)
		} else {
			fmt.Fprintf(w, "%d %d\r\n", i+1, m.size)
		}
	}
	fmt.Fprint(w, ".\r\n")
}

func (s *server) remove(deleted map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.messages[:0:0]
	for _, m := range s.messages {
		if !deleted[m.uid] {
			left = append(left, m)
		}
	}
	s.messages = left
}
