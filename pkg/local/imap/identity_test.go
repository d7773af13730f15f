package imap_test

import (
	"bytes"
	"fmt"
	"testing"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailferry/mailferry/pkg/local/imap"
	"github.com/mailferry/mailferry/pkg/local/localtest"
	"github.com/mailferry/mailferry/pkg/testenv"
)

// What is appended is read back by IMAP, too: its line ends are CRLF there, which Dovecot makes of every LF. It leaves
// out a CR that the message ends with.
func TestIdentity(t *testing.T) {
	t.Parallel()
	dove := testenv.NewDovecot(t, testenv.DovecotMaster("ferry", "s\"e\\cret"), testenv.DovecotExtra("mail_fsync = never"))
	c := imap.New(configs(dove)["starttls"])
	t.Cleanup(func() { _ = c.Close() })
	localtest.Identity(t, localtest.Instance{
		Destination: c, Domain: "example.com",
		Carry: func(b []byte) []byte {
			return bytes.ReplaceAll(stored(b), []byte("\n"), []byte("\r\n"))
		},
		Mail: func(t testing.TB, to string) [][]byte { return fetched(t, dove, to) },
	}, 1000)
}

// fetched returns what lies in the INBOX of a user.
func fetched(t testing.TB, dove *testenv.Dovecot, user string) [][]byte {
	t.Helper()
	c, err := imapclient.DialInsecure(fmt.Sprintf("%s:%d", dove.Address, dove.IMAPPort), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.Login(user, dove.Password).Wait(); err != nil {
		t.Fatal(err)
	}
	sel, err := c.Select("INBOX", nil).Wait()
	if err != nil || sel.NumMessages == 0 {
		return nil
	}
	whole := &goimap.FetchItemBodySection{Peek: true}
	all, err := c.Fetch(goimap.SeqSet{{Start: 1}}, &goimap.FetchOptions{BodySection: []*goimap.FetchItemBodySection{whole}}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for _, m := range all {
		out = append(out, m.FindBodySection(whole))
	}
	return out
}
