package testenv_test

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/testenv"
)

func TestScript(t *testing.T) {
	t.Parallel()
	s := testenv.NewScript(t, `# a dialogue
S: +OK ready
C: STLS
S+ "+OK\r\n"
TLS
C? USER
S* 3 "x"
S: y
= for the reader
`)
	d := dial(t, "tcp", local(s.Port))
	d.want("+OK ready\r\n")
	d.say("STLS")
	d.want("+OK\r\n")
	d = d.secure(&tls.Config{RootCAs: s.CA.Pool, ServerName: "localhost"})
	d.say("USER me")
	d.want("xxxy\r\n")
	testenv.Eventually(t, 10*time.Second, "the dialogue is played", func() bool { return s.Finished() == 1 })
	_ = d.c.Close()
}

func TestScriptTellsWhoBreaksIt(t *testing.T) {
	t.Parallel()
	s := testenv.NewScript(t, "S: +OK\nC: QUIT\nS: +OK\nCLOSE\n")
	d := dial(t, "tcp", local(s.Port))
	d.want("+OK")
	d.say("NOOP")
	if _, err := d.r.ReadByte(); err == nil {
		t.Error("the server goes on")
	}
	if err := s.End(); err == nil || !strings.Contains(err.Error(), `line 2 of the dialogue: the client sent "NOOP\r\n"`) {
		t.Error(err)
	}
}
