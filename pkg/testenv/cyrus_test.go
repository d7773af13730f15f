package testenv_test

import (
	"crypto/tls"
	"testing"

	"github.com/mailferry/mailferry/pkg/testenv"
)

func TestCyrus(t *testing.T) {
	t.Parallel()
	cyrus := testenv.NewCyrus(t, "secret")
	cyrus.Append("alice", []byte("Subject: one\r\n\r\n1\r\n"), []byte("Subject: two\r\n\r\n2\r\n"))
	if n := cyrus.Count("alice"); n != 2 {
		t.Errorf("%d messages", n)
	}
	client := &tls.Config{RootCAs: cyrus.Pool, ServerName: "localhost"}
	p := dial(t, "tcp", local(cyrus.POP3Port))
	p.want("+OK")
	p.say("STLS")
	p.want("+OK")
	p = p.secure(client)
	p.say("USER alice\r\nPASS wrong")
	p.want("+OK")
	p.want("-ERR")
	p.say("USER alice\r\nPASS secret\r\nSTAT\r\nUIDL 2")
	p.want("+OK")
	p.want("+OK")
	p.want("+OK 2 ")
	p.want("+OK 2 ")
	dial(t, "tcp", local(cyrus.POP3SPort)).secure(client).want("+OK")
	dial(t, "tcp", local(cyrus.IMAPSPort)).secure(client).want("* OK")
	i := dial(t, "tcp", local(cyrus.IMAPPort))
	i.want("* OK")
	i.say("a STARTTLS")
	i.want("a OK")
	i.secure(client)
}
