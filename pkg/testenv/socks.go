package testenv

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
)

// Socks is a SOCKS5 proxy (RFC 1928) that connects to addresses, not to names, and asks for no password unless told to.
type Socks struct {
	Addr string
	mu   sync.Mutex
	seen []string
	code byte
	auth string // "" or what RFC 1929 §2 sends
	wg   sync.WaitGroup
}

// NewSocks starts a proxy that ends with the test.
func NewSocks(t testing.TB) *Socks {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Socks{Addr: l.Addr().String()}
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		s.wg.Wait()
	})
	return s
}

// Answer makes the proxy refuse from now on, with a reply of RFC 1928 §6; 0 connects again.
func (s *Socks) Answer(code byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.code = code
}

// Ask makes the proxy ask for a user name and a password from now on.
func (s *Socks) Ask(username, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth = "\x01" + string(rune(len(username))) + username + string(rune(len(password))) + password
}

// admits does the part of RFC 1928 §3 that follows the methods of the client, and RFC 1929.
func (s *Socks) admits(c net.Conn, r io.Reader, methods []byte) bool {
	s.mu.Lock()
	auth := s.auth
	s.mu.Unlock()
	if auth == "" {
		_, _ = c.Write([]byte{5, 0})
		return true
	}
	if !bytes.Contains(methods, []byte{2}) {
		_, _ = c.Write([]byte{5, 0xff})
		return false
	}
	_, _ = c.Write([]byte{5, 2})
	said := make([]byte, len(auth))
	if _, err := io.ReadFull(r, said); err != nil || string(said) != auth {
		_, _ = c.Write([]byte{1, 1})
		return false
	}
	_, _ = c.Write([]byte{1, 0})
	return true
}

// Seen returns where it was asked to connect to, "name" for names.
func (s *Socks) Seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.seen...)
}

func (s *Socks) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		return
	}
	methods := make([]byte, head[1])
	if _, err := io.ReadFull(r, methods); err != nil || !s.admits(c, r, methods) {
		return
	}
	target, ok := readTarget(r)
	s.mu.Lock()
	s.seen = append(s.seen, target)
	code := s.code
	s.mu.Unlock()
	if !ok {
		code = 8 // address type not supported
	}
	var up net.Conn
	if code == 0 {
		var err error
		if up, err = net.Dial("tcp", target); err != nil {
			code = 5
		}
	}
	_, _ = c.Write([]byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0})
	if code != 0 {
		return
	}
	s.wg.Go(func() {
		_, _ = io.Copy(up, r)
		_ = up.Close()
	})
	_, _ = io.Copy(c, up)
	_ = up.Close()
}

// readTarget reads a request to connect (RFC 1928 §4).
func readTarget(r io.Reader) (string, bool) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return "", false
	}
	size := map[byte]int{1: 4, 4: 16}[head[3]]
	if size == 0 {
		return "name", false
	}
	rest := make([]byte, size+2)
	if _, err := io.ReadFull(r, rest); err != nil {
		return "", false
	}
	a, _ := netip.AddrFromSlice(rest[:size])
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(rest[size:])).String(), true
}
