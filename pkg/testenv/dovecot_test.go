package testenv_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/testenv"
)

// dialog is one connection of a test to a server of lines.
type dialog struct {
	t testing.TB
	c net.Conn
	r *bufio.Reader
}

func dial(t testing.TB, network, addr string) *dialog {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &dialog{t, c, bufio.NewReader(c)}
}

// secure starts TLS.
func (d *dialog) secure(cfg *tls.Config) *dialog {
	d.t.Helper()
	tc := tls.Client(d.c, cfg)
	if err := tc.Handshake(); err != nil {
		d.t.Fatal(err)
	}
	return &dialog{d.t, tc, bufio.NewReader(tc)}
}

// want reads one line, which must begin with prefix.
func (d *dialog) want(prefix string) string {
	d.t.Helper()
	_ = d.c.SetDeadline(time.Now().Add(20 * time.Second))
	line, err := d.r.ReadString('\n')
	if err != nil {
		d.t.Fatal(err)
	}
	if !strings.HasPrefix(line, prefix) {
		d.t.Fatalf("answer %q, want %q…", line, prefix)
	}
	return line
}

func (d *dialog) say(line string) {
	d.t.Helper()
	if _, err := io.WriteString(d.c, line+"\r\n"); err != nil {
		d.t.Fatal(err)
	}
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func TestDovecot(t *testing.T) {
	t.Parallel()
	dove := testenv.NewDovecot(t, testenv.DovecotPassword("pässw%rd"))
	client := &tls.Config{RootCAs: dove.Pool, ServerName: "localhost"}
	messages := [][]byte{[]byte("Subject: one\n\nbody\n"), []byte("Subject: two\r\n\r\n8-bit \xff, no end")}
	dove.Append("Alice@example.com", messages...)
	dove.AppendTo("alice@example.com", "Archive.2026", []byte("Subject: old\n\n"))
	if got := dove.Messages("alice@example.com"); !slices.EqualFunc(got, messages, slices.Equal) {
		t.Errorf("messages %q", got)
	}

	t.Run("POP3", func(t *testing.T) { dovecotPOP3(t, dove, client) })
	t.Run("IMAP", func(t *testing.T) { dovecotIMAP(t, dove, client) })
	t.Run("LMTP", func(t *testing.T) { dovecotLMTP(t, dove) })
	t.Run("restart", func(t *testing.T) { dovecotRestarts(t, dove) })
}

func dovecotPOP3(t *testing.T, dove *testenv.Dovecot, client *tls.Config) {
	t.Helper()
	p := dial(t, "tcp", local(dove.POP3Port))
	p.want("+OK")
	p.say("STLS")
	p.want("+OK")
	p = p.secure(client)
	p.say("USER alice@example.com\r\nPASS pässw%rd\r\nSTAT\r\nRETR 2")
	p.want("+OK")
	p.want("+OK")
	p.want("+OK 2 ")
	p.want("+OK")
	p.want("Subject: two\r\n")
	testenv.Eventually(t, 10*time.Second, "one session is open", func() bool {
		return dove.Sessions("alice@example.com") == testenv.Sessions{Total: 1, Open: 1, Peak: 1}
	})
	_ = p.c.Close()
	testenv.Eventually(t, 10*time.Second, "the session is over", func() bool {
		return dove.Sessions("alice@example.com") == testenv.Sessions{Total: 1, Peak: 1}
	})
	p = dial(t, "tcp", local(dove.POP3SPort)).secure(client)
	p.want("+OK")
}

func dovecotIMAP(t *testing.T, dove *testenv.Dovecot, client *tls.Config) {
	t.Helper()
	i := dial(t, "tcp", local(dove.IMAPPort))
	i.want("* OK")
	i.say("a STARTTLS")
	i.want("a OK")
	i.secure(client)
	i = dial(t, "tcp", local(dove.IMAPSPort)).secure(client)
	i.want("* OK")
	i.say(`a LOGIN bob wrong`)
	i.want("a NO")
	i.say(`a LOGIN alice@example.com "pässw%rd"`)
	i.want("a OK")
	i.say("b STATUS Archive.2026 (MESSAGES)")
	i.want("* STATUS Archive.2026 (MESSAGES 1)")
}

func dovecotLMTP(t *testing.T, dove *testenv.Dovecot) {
	t.Helper()
	for network, addr := range map[string]string{"tcp": dove.LMTPAddr, "unix": dove.LMTPSocket} {
		l := dial(t, network, addr)
		l.want("220")
		l.say("LHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<carol@example.com>\r\nDATA")
		for !strings.HasPrefix(l.want("250"), "250 ") {
		}
		l.want("250")
		l.want("250")
		l.want("354")
		l.say("Subject: new\r\n\r\nbody\r\n.")
		l.want("250")
	}
	if got := dove.Messages("carol@example.com"); len(got) != 2 || !strings.HasSuffix(string(got[0]), "\n\nbody\n") {
		t.Errorf("messages %q", got)
	}
}

func dovecotRestarts(t *testing.T, dove *testenv.Dovecot) {
	t.Helper()
	dove.Stop()
	if c, err := net.Dial("tcp", local(dove.POP3Port)); err == nil {
		_ = c.Close()
		t.Error("a stopped server accepts a connection")
	}
	dove.Start()
	dial(t, "tcp", local(dove.POP3Port)).want("+OK")
}

func TestDovecotNoTLS(t *testing.T) {
	t.Parallel()
	dove := testenv.NewDovecot(t, testenv.DovecotNoTLS(), testenv.DovecotUsers("alice"),
		testenv.DovecotExtra("login_greeting = extra text"))
	p := dial(t, "tcp", local(dove.POP3Port))
	p.want("+OK extra text")
	p.say("STLS")
	p.want("-ERR")
	p.say("USER alice\r\nPASS secret")
	p.want("+OK")
	p.want("+OK")
	l := dial(t, "tcp", dove.LMTPAddr)
	l.want("220")
	l.say("LHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob>")
	for !strings.HasPrefix(l.want("250"), "250 ") {
	}
	l.want("250")
	l.want("550")
}

func TestDovecotRequireTLS(t *testing.T) {
	t.Parallel()
	dove := testenv.NewDovecot(t, testenv.DovecotRequireTLS())
	addr := fmt.Sprintf("%s:%d", dove.Host, dove.POP3Port)
	p := dial(t, "tcp", addr)
	p.want("+OK")
	p.say("USER alice")
	p.want("-ERR")
	p = dial(t, "tcp", addr)
	p.want("+OK")
	p.say("STLS")
	p.want("+OK")
	p = p.secure(&tls.Config{RootCAs: dove.Pool, ServerName: dove.Host})
	p.say("USER alice\r\nPASS secret")
	p.want("+OK")
	p.want("+OK")
}
