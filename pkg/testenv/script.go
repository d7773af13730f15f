package testenv

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Script is a server that plays one dialogue on each connection, also such as no real server can be made
// to hold. A dialogue has one step a line, as in the RFCs:
//
//	# a comment; lines that begin with "=" are for the reader too
//	S: +OK ready            the server sends this line, with CRLF
//	S+ "a\nb\x00"           the server sends these octets (a Go string)
//	S* 1000 "x"             … that many times
//	S~ 10ms "x"             … one after such a pause, and so on until the client leaves
//	C: CAPA                 the client must send this line
//	C? PASS                 the client must send a line that begins so
//	ANY                     the client must send something, and may send anything from here on
//	TLS                     handshake, with a certificate for localhost and 127.0.0.1
//	CLOSE                   the server closes the connection
//	NEXT                    the next connection plays from here; the last part is for all that follow
//
// After the last step the server is silent until the client closes the connection, and the client must
// send nothing but TLS's own goodbye. A client that leaves early breaks no rule.
type Script struct {
	t     testing.TB
	l     net.Listener
	parts [][]step
	tls   *tls.Config
	wg    sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	ended bool
	done  int
	errs  []error
	// Port is on 127.0.0.1. CA signed the certificate.
	Port int
	CA   *CA
}

type step struct {
	line  int
	verb  string
	text  string
	times int
	pause time.Duration
}

// NewScriptFile plays the dialogue in a file.
func NewScriptFile(t testing.TB, path string) *Script {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return NewScript(t, string(b))
}

// NewScript plays a dialogue until the end of the test, which fails if a client broke it.
func NewScript(t testing.TB, dialogue string) *Script {
	t.Helper()
	parts, err := parseScript(dialogue)
	if err != nil {
		t.Fatal(err)
	}
	s := &Script{t: t, parts: parts, CA: NewCA(t), conns: map[net.Conn]bool{}}
	s.tls = &tls.Config{Certificates: []tls.Certificate{s.CA.Issue("localhost", "127.0.0.1")}}
	if s.l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.Port = s.l.Addr().(*net.TCPAddr).Port
	s.wg.Add(1)
	go s.accept()
	t.Cleanup(func() {
		if err := s.End(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Finished counts the connections on which the whole dialogue was played.
func (s *Script) Finished() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

// End closes the server and all its connections, and returns how clients broke the dialogue.
func (s *Script) End() error {
	_ = s.l.Close()
	s.mu.Lock()
	s.ended = true
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	errs := s.errs
	s.errs = nil
	return errors.Join(errs...)
}

func parseScript(text string) ([][]step, error) {
	parts := make([][]step, 1)
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" || line[0] == '#' || line[0] == '=' {
			continue
		}
		verb, rest, _ := strings.Cut(line, " ")
		s := step{line: n, verb: verb, text: rest, times: 1}
		var err error
		switch verb {
		case "S:":
			s.text += "\r\n"
		case "S*":
			count, quoted, _ := strings.Cut(rest, " ")
			s.times, err = strconv.Atoi(count)
			if err == nil {
				s.text, err = strconv.Unquote(quoted)
			}
		case "S~":
			pause, quoted, _ := strings.Cut(rest, " ")
			s.pause, err = time.ParseDuration(pause)
			if err == nil {
				s.text, err = strconv.Unquote(quoted)
			}
		case "S+":
			s.text, err = strconv.Unquote(rest)
		case "C:", "C?", "ANY", "TLS", "CLOSE":
		case "NEXT":
			parts = append(parts, nil)
			continue
		default:
			err = errors.New("no such step")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d of the dialogue, %q: %w", n, line, err)
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], s)
	}
	return parts, nil
}

func (s *Script) accept() {
	defer s.wg.Done()
	for n := 0; ; n++ {
		c, err := s.l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.ended {
			s.mu.Unlock()
			_ = c.Close()
			return
		}
		s.conns[c] = true
		s.wg.Add(1)
		s.mu.Unlock()
		go s.serve(c, s.parts[min(n, len(s.parts)-1)])
	}
}

func (s *Script) serve(c net.Conn, steps []step) {
	defer s.wg.Done()
	err := s.play(c, steps)
	s.mu.Lock()
	delete(s.conns, c)
	if err != nil {
		s.errs = append(s.errs, err)
	}
	s.mu.Unlock()
	_ = c.Close()
}

// play returns how the client broke the dialogue.
func (s *Script) play(c net.Conn, steps []step) error {
	conn, anything := c, false
	r := bufio.NewReader(conn)
	for _, st := range steps {
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		switch st.verb {
		case "S:", "S+", "S*":
			for range st.times {
				if _, err := io.WriteString(conn, st.text); err != nil {
					return nil // the client left
				}
			}
		case "S~":
			for err := error(nil); err == nil; time.Sleep(st.pause) {
				_, err = io.WriteString(conn, st.text)
			}
			return nil
		case "C:", "C?":
			line, err := r.ReadString('\n')
			if err != nil {
				return nil
			}
			got := strings.TrimSuffix(line, "\r\n")
			if got != st.text && (st.verb != "C?" || !strings.HasPrefix(got, st.text)) {
				return fmt.Errorf("line %d of the dialogue: the client sent %q, want %q", st.line, line, st.text)
			}
		case "ANY":
			if _, err := r.ReadByte(); err != nil {
				return nil
			}
			anything = true
		case "TLS":
			tc := tls.Server(c, s.tls)
			if tc.Handshake() != nil {
				return nil
			}
			conn, r = tc, bufio.NewReader(tc)
		case "CLOSE":
			s.finish()
			return nil
		}
	}
	s.finish()
	rest, _ := io.ReadAll(r)
	if len(rest) > 0 && !anything {
		return fmt.Errorf("the client sent %q after the end of the dialogue", rest)
	}
	return nil
}

func (s *Script) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done++
}
