package testenv_test

import (
	"bytes"
	"os"
	"testing"
	"text/template"

	"github.com/mailferry/mailferry/pkg/testenv"
)

// TestComposeDovecot holds deploy/compose/dovecot.conf to the template that the tests start their Dovecot with.
// UPDATE=1 writes it anew.
func TestComposeDovecot(t *testing.T) {
	t.Parallel()
	const path = "../../deploy/compose/dovecot.conf"
	s := testenv.DovecotSettings{
		Dir: "/srv/dovecot", Address: "*", InternalUser: "dovecot", InternalGroup: "dovecot", LoginUser: "dovenull",
		MailUID: 65534, MailGID: 65534, Password: "secret", POP3Port: 110, IMAPPort: 143, LMTPPort: 24,
	}
	var want bytes.Buffer
	if err := template.Must(template.New("").Parse(testenv.DovecotConfig)).Execute(&want, s); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is not what the template makes; run this test with UPDATE=1", path)
	}
}
