package testenv

import (
	"bufio"
	"bytes"
	"crypto/x509"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"
)

// cyrusConf and cyrusServices are the templates of Cyrus' two configuration files; their fields are those of
// [Cyrus].
//
//go:embed conf/imapd.conf.tmpl
var cyrusConf string

//go:embed conf/cyrus.conf.tmpl
var cyrusServices string

// Cyrus is a Cyrus IMAP server of the test's own, for POP3 and IMAP: unrelated to Dovecot in code, store and
// habits. Any user may sign in with Password and has an INBOX then.
type Cyrus struct {
	t     testing.TB
	child *child
	// What the templates need.
	Dir, Owner, CertFile, KeyFile string

	mu       sync.Mutex
	sessions map[string]*cyrusSession // of the test's own, by user

	// Host is "localhost", the name in the certificate. POP3 and IMAP offer STLS and STARTTLS; POP3S and IMAPS
	// are TLS from the first byte.
	Host, Password                           string
	POP3Port, POP3SPort, IMAPPort, IMAPSPort int
	// Pool trusts the server's certificate.
	Pool *x509.CertPool
}

// NewCyrus starts a Cyrus that ends with the test. Its programs come from tools/cyrus.sh: Debian's packages of
// Cyrus and of Dovecot exclude one another, so that they are unpacked, not installed.
func NewCyrus(t testing.TB, password string) *Cyrus {
	t.Helper()
	ca := NewCA(t)
	c := &Cyrus{t: t, Dir: TempDir(t), Host: "localhost", Password: password, Pool: ca.Pool, sessions: map[string]*cyrusSession{}}
	c.unpack(ca)
	c.checkPasswords()
	for attempt := 0; ; attempt++ {
		freePorts(t, "127.0.0.1", &c.POP3Port, &c.POP3SPort, &c.IMAPPort, &c.IMAPSPort)
		err := c.launch()
		if err == nil {
			break
		}
		if attempt == 5 {
			t.Fatalf("cyrus does not start: %v", err)
		}
	}
	return c
}

// unpack fills the folder of the server: programs, certificate, empty stores.
func (c *Cyrus) unpack(ca *CA) {
	c.t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		c.t.Fatal(err)
	}
	programs := filepath.Join(cache, "mailferry", "cyrus")
	if _, err := os.Stat(filepath.Join(programs, "bin", "master")); err != nil {
		c.t.Fatalf("cyrus is not in %s: run tools/cyrus.sh", programs)
	}
	uid, gid := mailOwner(c.t)
	owner, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		c.t.Fatal(err)
	}
	c.Owner, c.CertFile, c.KeyFile = owner.Username, filepath.Join(c.Dir, "crt"), filepath.Join(c.Dir, "key")
	crt, key := ca.IssueFiles("localhost")
	// A copy, for whoever the server runs as need not be able to look into our home.
	err = errors.Join(os.CopyFS(c.Dir, os.DirFS(programs)), os.Rename(crt, c.CertFile), os.Rename(key, c.KeyFile))
	for _, d := range []string{"db/socket", "spool", "proc", "lock"} {
		err = errors.Join(err, os.MkdirAll(filepath.Join(c.Dir, d), 0o700))
	}
	if err == nil {
		err = filepath.WalkDir(c.Dir, func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Chown(path, uid, gid))
		})
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// checkPasswords answers for saslauthd: four strings with their lengths ahead, login, password, service and
// realm, are answered by one that begins with OK or NO.
func (c *Cyrus) checkPasswords() {
	c.t.Helper()
	socket := filepath.Join(c.Dir, "auth")
	l, err := net.Listen("unix", socket)
	if err == nil {
		err = os.Chmod(socket, 0o777)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			var asked [4]string
			for i := range asked {
				var n uint16
				_ = binary.Read(conn, binary.BigEndian, &n)
				b := make([]byte, n)
				_, _ = io.ReadFull(conn, b)
				asked[i] = string(b)
			}
			answer := "\x00\x02NO"
			if asked[1] == c.Password {
				answer = "\x00\x02OK"
			}
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		}
	})
	c.t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
}

func (c *Cyrus) launch() error {
	for name, text := range map[string]string{"imapd.conf": cyrusConf, "cyrus.conf": cyrusServices} {
		var b strings.Builder
		if err := template.Must(template.New(name).Parse(text)).Execute(&b, c); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(c.Dir, name), []byte(b.String()), 0o644); err != nil {
			return err
		}
	}
	cmd := exec.Command(filepath.Join(c.Dir, "bin", "master"), "-D", "-C", filepath.Join(c.Dir, "imapd.conf"),
		"-M", filepath.Join(c.Dir, "cyrus.conf"), "-p", filepath.Join(c.Dir, "pid"))
	lib := filepath.Join(c.Dir, "lib")
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LD_LIBRARY_PATH=" + lib, "LD_PRELOAD=" + filepath.Join(lib, "libeatmydata.so")}
	cmd.Dir = c.Dir
	var as *syscall.Credential
	if os.Getuid() == 0 { // Cyrus refuses to serve as root
		uid, gid := mailOwner(c.t)
		as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	var err error
	if c.child, err = startChild(cmd, as); err != nil {
		return err
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if c.child.ended() {
			return fmt.Errorf("it ended: %s", c.child.out.Bytes())
		}
		if greets("127.0.0.1", c.POP3Port, c.IMAPPort) {
			c.t.Cleanup(c.child.kill)
			return nil
		}
	}
	c.child.kill()
	return fmt.Errorf("no answer within 20 s: %s", c.child.out.Bytes())
}

// Append puts messages into the user's INBOX, byte for byte and in order. Cyrus refuses NUL, bare LF, and
// what does not begin with a header.
func (c *Cyrus) Append(username string, messages ...[]byte) {
	c.t.Helper()
	s := c.session(username)
	defer s.mu.Unlock()
	var all bytes.Buffer // MULTIAPPEND (RFC 3502)
	for _, m := range messages {
		fmt.Fprintf(&all, " {%d+}\r\n%s", len(m), m)
	}
	s.say("a APPEND INBOX%s", all.Bytes())
	s.ok()
}

// Count says how many messages are in the user's INBOX.
func (c *Cyrus) Count(username string) int {
	c.t.Helper()
	s := c.session(username)
	defer s.mu.Unlock()
	s.say("a STATUS INBOX (MESSAGES)")
	n := -1
	for _, line := range s.ok() {
		_, _ = fmt.Sscanf(line, "* STATUS INBOX (MESSAGES %d)", &n)
	}
	return n
}

// cyrusSession is one of the test's own, to see and change what lies in a mailbox.
type cyrusSession struct {
	t  testing.TB
	mu sync.Mutex
	c  net.Conn
	r  *bufio.Reader
}

// session returns the user's session, locked.
func (c *Cyrus) session(username string) *cyrusSession {
	c.t.Helper()
	c.mu.Lock()
	s := c.sessions[username]
	if s == nil {
		s = c.signIn(username)
		c.sessions[username] = s
	}
	c.mu.Unlock()
	s.mu.Lock()
	return s
}

func (c *Cyrus) signIn(username string) *cyrusSession {
	c.t.Helper()
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(c.IMAPPort)))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = conn.Close() })
	s := &cyrusSession{t: c.t, c: conn, r: bufio.NewReader(conn)}
	s.say("a LOGIN %s %s", username, c.Password)
	s.ok()
	return s
}

func (s *cyrusSession) say(format string, args ...any) {
	s.t.Helper()
	if _, err := fmt.Fprintf(s.c, format+"\r\n", args...); err != nil {
		s.t.Fatal(err)
	}
}

// ok reads to the tagged response, which must be OK, and returns the lines before it.
func (s *cyrusSession) ok() (lines []string) {
	s.t.Helper()
	_ = s.c.SetReadDeadline(time.Now().Add(30 * time.Second))
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			s.t.Fatal(err)
		}
		if strings.HasPrefix(line, "a ") {
			if !strings.HasPrefix(line, "a OK") {
				s.t.Fatalf("cyrus answers %q", line)
			}
			return lines
		}
		lines = append(lines, strings.TrimRight(line, "\r\n"))
	}
}
