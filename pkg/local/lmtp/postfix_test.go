package lmtp_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/pkg/fault"
	"github.com/mailferry/mailferry/pkg/local"
	"github.com/mailferry/mailferry/pkg/local/lmtp"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// collected files what bears our trace, as docs/destinations.md shows it.
const collected = `require ["fileinto", "mailbox"];
if header :contains "X-Mailferry" "account=gmail" {
  fileinto :create "Collected";
}
`

// filtered is a message of an account that the filter looks for, and of one that it does not.
func filtered(account string) local.Message {
	return local.Message{
		Trace: []byte("X-Mailferry: account=" + account + "; key=" + strings.Repeat("k", 70) + "\r\n"),
		Body:  strings.NewReader("Subject: x\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n.\r\n"), ID: account,
	}
}

// Filters of the recipient act on what is handed over to an address.
func TestSieveByLMTP(t *testing.T) {
	t.Parallel()
	dove := testenv.NewDovecot(t, testenv.DovecotNoTLS(), testenv.DovecotSieve(t, collected))
	c := lmtp.New(lmtp.Config{Endpoints: []lmtp.Endpoint{{Network: "unix", Address: dove.LMTPSocket}}})
	defer c.Close()
	for _, account := range []string{"gmail1", "isp1"} {
		if replies, err := c.Deliver(t.Context(), local.Envelope{To: []string{"alice@example.com"}}, filtered(account), nil); err != nil || !replies[0].Accepted() {
			t.Fatal(replies, err)
		}
	}
	wantFiled(t, dove)
}

// unfiltered is docs/destinations.md's script for accounts that skip filters. A stranger's own line stands below ours.
const unfiltered = `require ["fileinto", "index"];
if header :index 1 :contains "X-Mailferry-Skip" "filters" {
  fileinto "INBOX";
  stop;
}
`

func TestSieveIsSkipped(t *testing.T) {
	t.Parallel()
	dove := testenv.NewDovecot(t, testenv.DovecotNoTLS(), testenv.DovecotSieve(t, unfiltered, collected))
	c := lmtp.New(lmtp.Config{Endpoints: []lmtp.Endpoint{{Network: "unix", Address: dove.LMTPSocket}}})
	defer c.Close()
	for account, skip := range map[string]string{"gmail1": "filters, antispam", "gmail2": "antispam"} {
		m := local.Message{
			Trace: []byte("X-Mailferry: account=" + account + "; key=" + strings.Repeat("k", 70) + "\r\nX-Mailferry-Skip: " + skip + "\r\n"),
			Body:  strings.NewReader("X-Mailferry-Skip: filters\r\nSubject: x\r\n\r\n"),
		}
		if replies, err := c.Deliver(t.Context(), local.Envelope{To: []string{"alice@example.com"}}, m, nil); err != nil || !replies[0].Accepted() {
			t.Fatal(replies, err)
		}
	}
	for mailbox, account := range map[string]string{"": "gmail1", "Collected": "gmail2"} {
		if got := dove.MessagesIn("alice@example.com", mailbox); len(got) != 1 || !bytes.Contains(got[0], []byte("account="+account+";")) {
			t.Errorf("mailbox %q has %q", mailbox, got)
		}
	}
}

func wantFiled(t *testing.T, dove *testenv.Dovecot) {
	t.Helper()
	testenv.Eventually(t, time.Minute, "both messages lie there", func() bool {
		return len(dove.Messages("alice@example.com")) == 1 && len(dove.MessagesIn("alice@example.com", "Collected")) == 1
	})
	for mailbox, account := range map[string]string{"": "isp1", "Collected": "gmail1"} {
		if m := dove.MessagesIn("alice@example.com", mailbox)[0]; !bytes.Contains(m, []byte("account="+account+";")) || !bytes.Contains(m, []byte("Gr\xc3\xbc\xc3\x9fe\n.\n")) {
			t.Errorf("mailbox %q has %q", mailbox, m)
		}
	}
}

// postfix starts a smarthost that wants STARTTLS and a password, and hands over to a Dovecot with the script.
func postfix(t *testing.T, script string) (*testenv.Postfix, *testenv.Dovecot) {
	t.Helper()
	signIn, auth := testenv.PostfixAuth(t)
	opts := []testenv.DovecotOption{testenv.DovecotNoTLS(), signIn, testenv.DovecotExtra("mail_fsync = never")}
	if script != "" {
		opts = append(opts, testenv.DovecotSieve(t, script))
	}
	dove := testenv.NewDovecot(t, opts...)
	return testenv.NewPostfix(t, testenv.PostfixSettings{Domain: "example.com", Auth: auth, Deliver: "inet:" + dove.LMTPAddr}), dove
}

// relay is a client of a smarthost, as smtp+tls: sets it up.
func relay(t *testing.T, p *testenv.Postfix, password string, pool *x509.CertPool, opts ...func(*lmtp.Config)) *lmtp.Client {
	t.Helper()
	cfg := lmtp.Config{
		Protocol: lmtp.SMTP, TLS: lmtp.RequiredTLS, Endpoints: []lmtp.Endpoint{{Network: "tcp", Address: fmt.Sprintf("localhost:%d", p.Port)}},
		Username: "ferry", Password: password, TLSConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
	}
	for _, o := range opts {
		o(&cfg)
	}
	c := lmtp.New(cfg)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestPostfix(t *testing.T) {
	t.Parallel()
	p, dove := postfix(t, collected)
	c := relay(t, p, dove.Password, p.Pool)
	for _, account := range []string{"gmail1", "isp1"} { // the second on the same connection
		replies, err := c.Deliver(t.Context(), local.Envelope{From: "sender@example.org", To: []string{"alice@example.com", "nobody@elsewhere.example"}}, filtered(account), nil)
		if err != nil || !slices.Equal(codes(replies), []int{250, 250}) { // a smarthost takes mail for everywhere
			t.Fatal(replies, err, p.Log())
		}
	}
	replies, err := c.Deliver(t.Context(), local.Envelope{To: []string{"alice@example.com", "refused@example.com"}}, filtered("isp2"), nil)
	if err != nil || len(replies) != 2 || !replies[0].Accepted() || replies[1].Code/100 != 5 {
		t.Errorf("half refused: %+v, %v", replies, err)
	}
	testenv.Eventually(t, time.Minute, "all messages lie there, one of them filed", func() bool {
		return len(dove.Messages("alice@example.com")) == 2 && len(dove.MessagesIn("alice@example.com", "Collected")) == 1
	})

	for name, c := range map[string]*lmtp.Client{
		"535": relay(t, p, "wrong", p.Pool), "certificate": relay(t, p, dove.Password, x509.NewCertPool()),
	} {
		_, err := c.Deliver(t.Context(), local.Envelope{To: []string{"alice@example.com"}}, filtered("isp1"), nil)
		if fault.KindOf(err) != fault.DestinationTemporary || !strings.Contains(err.Error(), name) {
			t.Errorf("want an error with %q: %v", name, err)
		}
	}
}
