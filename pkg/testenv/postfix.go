package testenv

import (
	"bytes"
	"crypto/x509"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"
)

// PostfixConfig is the template of main.cf; its fields are those of [PostfixSettings].
//
//go:embed postfix.cf.tmpl
var PostfixConfig string

// postfixServices is master.cf, with the port of smtpd. Nothing is chrooted.
const postfixServices = `127.0.0.1:%d inet n - n - - smtpd
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
proxymap  unix - - n - - proxymap
tlsmgr    unix - - n 1000? 1 tlsmgr
lmtp      unix - - n - - lmtp
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
`

// PostfixSettings fills in [PostfixConfig].
type PostfixSettings struct {
	Dir, DaemonDir    string
	CertFile, KeyFile string
	// Domain it takes mail for, but for refused@Domain, and Deliver where that goes by LMTP, as "inet:127.0.0.1:24".
	Domain, Deliver string
	// Auth is the socket of Dovecot that says who may sign in.
	Auth string
	// Extra is appended to the file.
	Extra string
}

// Postfix is a Postfix of the test's own, in its own folder. It takes mail for one domain by SMTP from who signs in, which
// is possible in TLS only.
type Postfix struct {
	child *child
	Port  int
	// LogPath is what it logs to.
	LogPath string
	// Pool trusts its certificate, which is for localhost and 127.0.0.1.
	Pool *x509.CertPool
}

// PostfixAuth makes a Dovecot answer who may sign in at a Postfix; socket is where.
func PostfixAuth(t testing.TB) (opt DovecotOption, socket string) {
	t.Helper()
	dir := TempDir(t)
	if err := os.Chmod(dir, 0o755); err != nil { // others than root ask there
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "auth")
	return DovecotExtra("service auth {\n  unix_listener " + socket + " {\n    mode = 0666\n  }\n}"), socket
}

// NewPostfix starts a Postfix that ends with the test. Its master runs as root only: the test is passed over elsewhere.
func NewPostfix(t testing.TB, s PostfixSettings) *Postfix {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("Postfix's master runs as root only")
	}
	out, err := exec.Command("postconf", "-d", "-h", "daemon_directory").Output()
	if err != nil {
		t.Fatalf("postfix is not installed (%v): apt-get install postfix", err)
	}
	ca := NewCA(t)
	s.Dir, s.DaemonDir = TempDir(t), strings.TrimSpace(string(out))
	s.CertFile, s.KeyFile = ca.IssueFiles("localhost", "127.0.0.1")
	p := &Postfix{Pool: ca.Pool, LogPath: filepath.Join(s.Dir, "mail.log")}
	if err := postfixFolders(s.Dir); err != nil {
		t.Fatal(err)
	}
	for attempt := 0; ; attempt++ {
		freePorts(t, "127.0.0.1", &p.Port)
		err := p.start(s)
		if err == nil {
			break
		}
		if attempt == 5 || !strings.Contains(err.Error(), "already in use") {
			t.Fatalf("postfix does not start: %v", err)
		}
	}
	t.Cleanup(p.child.stop)
	return p
}

// Log returns the server's log so far.
func (p *Postfix) Log() string {
	b, _ := os.ReadFile(p.LogPath)
	return string(b)
}

// postfixFolders makes the folders of queue and data, with the owners that Postfix asks for.
func postfixFolders(dir string) error {
	owner, err := user.Lookup("postfix")
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(owner.Uid)
	group, err := user.LookupGroup("postdrop")
	if err != nil {
		return err
	}
	gid, _ := strconv.Atoi(group.Gid)
	err = errors.Join(os.Chmod(dir, 0o755), os.Mkdir(filepath.Join(dir, "queue"), 0o755), os.Mkdir(filepath.Join(dir, "queue", "pid"), 0o755))
	for _, name := range strings.Fields("active bounce corrupt defer deferred flush hold incoming private saved trace ../data") {
		path := filepath.Join(dir, "queue", name)
		err = errors.Join(err, os.Mkdir(path, 0o700), os.Chown(path, uid, 0))
	}
	for name, mode := range map[string]os.FileMode{"maildrop": 0o730, "public": 0o710} {
		path := filepath.Join(dir, "queue", name)
		err = errors.Join(err, os.Mkdir(path, 0o700), os.Chown(path, uid, gid), os.Chmod(path, mode))
	}
	return err
}

func (p *Postfix) start(s PostfixSettings) error {
	var conf bytes.Buffer
	if err := template.Must(template.New("main.cf").Parse(PostfixConfig)).Execute(&conf, s); err != nil {
		return err
	}
	err := errors.Join(os.WriteFile(filepath.Join(s.Dir, "main.cf"), conf.Bytes(), 0o644),
		os.WriteFile(filepath.Join(s.Dir, "master.cf"), fmt.Appendf(nil, postfixServices, p.Port), 0o644))
	if err != nil {
		return err
	}
	if p.child, err = startChild(exec.Command(filepath.Join(s.DaemonDir, "master"), "-c", s.Dir, "-d"), nil); err != nil {
		return err
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if p.child.ended() {
			return fmt.Errorf("it ended: %s%s", p.child.out.Bytes(), p.Log())
		}
		if greets("127.0.0.1", p.Port) {
			return nil
		}
	}
	p.child.stop()
	return fmt.Errorf("no answer within 20 s: %s", p.Log())
}
