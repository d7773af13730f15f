package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// maildrop is a POP3 server with one maildrop that outlives its sessions, and with the habits of servers that
// no real one can be brought to.
type maildrop struct {
	addr string
	// onDELE is told of every message that is to go.
	onDELE func(id string)

	mu      sync.Mutex
	letters []*letter
	// noUIDL, noTOP: the command is not known. unlisted: UIDL leaves out the last so many. loseQUIT: the connection
	// ends at QUIT, and nothing was deleted.
	noUIDL   bool
	noTOP    bool
	unlisted int
	loseQUIT bool
	sessions int // that have ended
	tops     int // TOPs that were answered
}

// letter is a message in a maildrop.
type letter struct {
	id, uid string
	raw     []byte // with CRLF at its end
	// size, where not 0, is what LIST says. wire, where not nil, is sent after the +OK to RETR in place of raw with
	// its dots and the end mark. refused: RETR is answered by -ERR. cut: the first RETR ends within the body,
	// with the connection.
	size    int
	wire    []byte
	refused bool
	cut     bool
}

func newMaildrop(t testing.TB, letters ...*letter) *maildrop {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &maildrop{addr: l.Addr().String(), letters: letters, onDELE: func(string) {}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() {
					_ = c.Close()
					d.mu.Lock()
					d.sessions++
					d.mu.Unlock()
				}()
				d.serve(c)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return d
}

// change changes the server while nobody looks.
func (d *maildrop) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// letter returns the one with this id.
func (d *maildrop) letter(id string) *letter {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.letters[slices.IndexFunc(d.letters, func(l *letter) bool { return l.id == id })]
}

// ended counts the sessions that are over.
func (d *maildrop) ended() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sessions
}

// left returns the ids of what lies in the maildrop.
func (d *maildrop) left() (ids []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.letters {
		ids = append(ids, l.id)
	}
	return ids
}

// dropSession is one connection, on the maildrop as it was at its beginning.
type dropSession struct {
	d       *maildrop
	w       *bufio.Writer
	letters []*letter
	doomed  []*letter
}

func (d *maildrop) serve(c net.Conn) {
	s := &dropSession{d: d, w: bufio.NewWriter(c)}
	d.change(func() { s.letters = slices.Clone(d.letters) })
	r := bufio.NewReader(c)
	s.say("+OK ready")
	for {
		if s.w.Flush() != nil {
			return
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		f := append(strings.Fields(line), "", "")
		if !s.answer(strings.ToUpper(f[0]), f[1]) {
			_ = s.w.Flush()
			return
		}
	}
}

func (s *dropSession) say(format string, args ...any) { fmt.Fprintf(s.w, format+"\r\n", args...) }

// answer answers one command; false ends the connection.
func (s *dropSession) answer(verb, arg string) bool {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	var l *letter
	if n, err := strconv.Atoi(arg); err == nil && n >= 1 && n <= len(s.letters) {
		l = s.letters[n-1]
	}
	switch verb {
	case "CAPA":
		s.say("+OK\r\nUSER")
		if !s.d.noTOP {
			s.say("TOP")
		}
		if !s.d.noUIDL {
			s.say("UIDL")
		}
		s.say(".")
	case "USER", "PASS", "NOOP":
		s.say("+OK")
	case "STAT":
		s.say("+OK %d 0", len(s.letters))
	case "LIST":
		s.list(len(s.letters), func(l *letter) string { return strconv.Itoa(l.listed()) })
	case "UIDL":
		if s.d.noUIDL {
			s.say("-ERR what?")
			break
		}
		s.list(len(s.letters)-s.d.unlisted, func(l *letter) string { return l.uid })
	case "TOP":
		if s.d.noTOP {
			s.say("-ERR what?")
			break
		}
		s.d.tops++
		head, _, _ := bytes.Cut(l.raw, []byte("\r\n\r\n"))
		s.say("+OK\r\n%s\r\n\r\n.", head)
	case "RETR":
		return s.retr(l)
	case "DELE":
		s.d.onDELE(l.id)
		s.doomed = append(s.doomed, l)
		s.say("+OK")
	case "QUIT":
		if !s.d.loseQUIT {
			s.d.letters = slices.DeleteFunc(s.d.letters, func(l *letter) bool { return slices.Contains(s.doomed, l) })
			s.say("+OK")
		}
		return false
	default:
		s.say("-ERR what?")
	}
	return true
}

func (s *dropSession) list(n int, show func(*letter) string) {
	s.say("+OK")
	for i, l := range s.letters[:n] {
		s.say("%d %s", i+1, show(l))
	}
	s.say(".")
}

func (s *dropSession) retr(l *letter) bool {
	switch {
	case l.refused:
		s.say("-ERR message is damaged")
		return true
	case l.wire != nil:
		s.say("+OK")
		_, _ = s.w.Write(l.wire)
		return true
	case l.cut:
		l.cut = false
		s.say("+OK")
		_, _ = s.w.Write(l.raw[:len(l.raw)/2])
		return false
	}
	s.say("+OK")
	stuffed := bytes.ReplaceAll(append([]byte("\r\n"), l.raw...), []byte("\r\n."), []byte("\r\n.."))[2:]
	_, _ = s.w.Write(stuffed)
	s.say(".")
	return true
}

func (l *letter) listed() int {
	if l.size != 0 {
		return l.size
	}
	return len(l.raw)
}
