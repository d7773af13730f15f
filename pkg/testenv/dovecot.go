package testenv

import (
	"bytes"
	"crypto/x509"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"text/template"
	"time"
)

// DovecotConfig is the template of the configuration file, in the language of Dovecot 2.3; its fields
// are those of [DovecotSettings].
//
//go:embed dovecot.conf.tmpl
var DovecotConfig string

// DovecotSettings fills in [DovecotConfig].
type DovecotSettings struct {
	Dir, Address                             string
	InternalUser, InternalGroup, LoginUser   string
	OneUser                                  bool // everything runs as one user, who is not root
	MailUID, MailGID                         int
	Password                                 string // of every user, unless there is a PasswdFile
	PasswdFile                               string
	Master, MasterPassword                   string // of the master user
	TLS, RequireTLS                          bool
	CertFile, KeyFile                        string
	POP3Port, POP3SPort, IMAPPort, IMAPSPort int // 0: not offered
	LMTPPort                                 int
	IntrospectionURL, TokenMechanisms        string // OAuth 2.0 (RFC 7662)
	Extra                                    string
}

// Dovecot is a Dovecot of the test's own. Any user may sign in with Password, unless [DovecotUsers]
// names them; each user's mail lies in a Maildir of its own.
type Dovecot struct {
	t        testing.TB
	settings DovecotSettings
	child    *child
	seq      atomic.Int64 // of messages appended
	// Host is "localhost", the name in the certificate; Address is what it listens on, in it too.
	Host, Address, Password string
	// Port numbers on Address. POP3 and IMAP offer STLS and STARTTLS; POP3S and IMAPS are TLS from the
	// first byte and 0 with [DovecotNoTLS].
	POP3Port, POP3SPort, IMAPPort, IMAPSPort, LMTPPort int
	// LMTPAddr is Address and LMTPPort as "127.0.0.1:port"; LMTPSocket is a unix socket.
	LMTPAddr, LMTPSocket string
	// LogPath is what the server logs to.
	LogPath string
	// Pool trusts the server's certificate; CAPath is the authority's certificate as a PEM file.
	Pool   *x509.CertPool
	CAPath string
}

// DovecotOption changes how a Dovecot is set up.
type DovecotOption func(*DovecotSettings)

// DovecotNoTLS offers neither STLS nor STARTTLS, POP3S nor IMAPS.
func DovecotNoTLS() DovecotOption { return func(s *DovecotSettings) { s.TLS = false } }

// DovecotRequireTLS refuses to let anybody sign in before TLS. Dovecot trusts a client on its own
// address, so that this one listens on 127.0.0.2, and Host says so.
func DovecotRequireTLS() DovecotOption {
	return func(s *DovecotSettings) { s.RequireTLS, s.Address = true, "127.0.0.2" }
}

// DovecotPassword sets the password of every user, without spaces; "secret" if not given.
func DovecotPassword(p string) DovecotOption { return func(s *DovecotSettings) { s.Password = p } }

// DovecotExtra appends text to the configuration file.
func DovecotExtra(text string) DovecotOption {
	return func(s *DovecotSettings) { s.Extra += text + "\n" }
}

// DovecotUsers lets only these users sign in and get mail.
func DovecotUsers(users ...string) DovecotOption {
	return func(s *DovecotSettings) { s.PasswdFile = strings.Join(users, "\n") }
}

// DovecotMaster lets one user sign in for every other, with SASL PLAIN's authorization identity or as "user*name".
func DovecotMaster(name, password string) DovecotOption {
	return func(s *DovecotSettings) { s.Master, s.MasterPassword = name, password }
}

// DovecotTokens lets users sign in with tokens of a provider too, by these of the mechanisms xoauth2 and
// oauthbearer; the provider says whose a token is (RFC 7662).
func DovecotTokens(introspectionURL, mechanisms string) DovecotOption {
	return func(s *DovecotSettings) { s.IntrospectionURL, s.TokenMechanisms = introspectionURL, mechanisms }
}

// OfferTLS makes the server offer TLS, or none, from its next Start on.
func (d *Dovecot) OfferTLS(on bool) { d.settings.TLS = on }

// Configure appends text to the configuration file, from its next Start on.
func (d *Dovecot) Configure(text string) { d.settings.Extra += text + "\n" }

// NewDovecot starts a Dovecot that ends with the test.
func NewDovecot(t testing.TB, opts ...DovecotOption) *Dovecot {
	t.Helper()
	requireDovecot(t)
	ca := NewCA(t)
	d := &Dovecot{t: t, Host: "localhost", Pool: ca.Pool, CAPath: ca.PEMPath}
	s := &d.settings
	*s = DovecotSettings{Dir: TempDir(t), Address: "127.0.0.1", Password: "secret", TLS: true}
	for _, o := range opts {
		o(s)
	}
	if strings.ContainsAny(s.Password, " \t\r\n:") {
		t.Fatal("the password of a Dovecot must not contain spaces or colons")
	}
	s.CertFile, s.KeyFile = ca.IssueFiles("localhost", s.Address)
	d.Address = s.Address
	if s.RequireTLS {
		d.Host = s.Address
	}
	d.Password, d.LogPath = s.Password, filepath.Join(s.Dir, "dovecot.log")
	d.LMTPSocket = filepath.Join(s.Dir, "lmtp")
	d.people()
	d.takePorts()
	d.Start()
	t.Cleanup(d.Kill)
	return d
}

// requireDovecot ends the test where no Dovecot of the right kind is installed.
func requireDovecot(t testing.TB) {
	t.Helper()
	const install = "apt-get install dovecot-core dovecot-pop3d dovecot-imapd dovecot-lmtpd"
	out, err := exec.Command("dovecot", "--version").Output()
	if err != nil {
		t.Fatalf("dovecot is not installed (%v): %s", err, install)
	}
	if v := strings.TrimSpace(string(out)); !strings.HasPrefix(v, "2.3.") {
		t.Fatalf("dovecot %s is installed; the tests speak the configuration language of Dovecot 2.3 (Debian 12)", v)
	}
	dir, err := exec.Command("doveconf", "-d", "-h", "libexec_dir").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"pop3", "imap", "lmtp"} {
		if _, err := os.Stat(filepath.Join(strings.TrimSpace(string(dir)), part)); err != nil {
			t.Fatalf("dovecot's %s is not installed: %s", part, install)
		}
	}
}

// people fills in who the server runs as, and makes its folders.
func (d *Dovecot) people() {
	d.t.Helper()
	s := &d.settings
	s.InternalUser, s.InternalGroup, s.LoginUser = "dovecot", "dovecot", "dovenull"
	s.MailUID, s.MailGID = mailOwner(d.t)
	if os.Getuid() != 0 {
		me, err := user.Current()
		if err != nil {
			d.t.Fatal(err)
		}
		group, err := user.LookupGroupId(me.Gid)
		if err != nil {
			d.t.Fatal(err)
		}
		s.OneUser, s.InternalUser, s.InternalGroup, s.LoginUser = true, me.Username, group.Name, me.Username
	}
	mail := filepath.Join(s.Dir, "mail")
	err := errors.Join(os.Chmod(s.Dir, 0o755), os.Mkdir(mail, 0o755), os.Chown(mail, s.MailUID, s.MailGID))
	if users := s.PasswdFile; users != "" {
		s.PasswdFile = filepath.Join(s.Dir, "users")
		var b strings.Builder
		for u := range strings.SplitSeq(users, "\n") {
			fmt.Fprintf(&b, "%s:{PLAIN}%s::::::\n", u, s.Password)
		}
		err = errors.Join(err, os.WriteFile(s.PasswdFile, []byte(b.String()), 0o644))
	}
	if s.Master != "" {
		err = errors.Join(err, os.WriteFile(filepath.Join(s.Dir, "masters"), fmt.Appendf(nil, "%s:{PLAIN}%s\n", s.Master, s.MasterPassword), 0o644))
	}
	if s.IntrospectionURL != "" {
		conf := "introspection_url = " + s.IntrospectionURL + "\nintrospection_mode = post\nusername_attribute = email\nactive_attribute = active\nactive_value = true\ntimeout_msecs = 20000\n"
		err = errors.Join(err, os.WriteFile(filepath.Join(s.Dir, "oauth2.conf"), []byte(conf), 0o644))
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// takePorts finds free ports and keeps them through Stop and Start.
func (d *Dovecot) takePorts() {
	d.t.Helper()
	s := &d.settings
	ports := []*int{&s.POP3Port, &s.IMAPPort, &s.LMTPPort}
	if s.TLS {
		ports = append(ports, &s.POP3SPort, &s.IMAPSPort)
	}
	freePorts(d.t, s.Address, ports...)
	d.POP3Port, d.POP3SPort, d.IMAPPort, d.IMAPSPort = s.POP3Port, s.POP3SPort, s.IMAPPort, s.IMAPSPort
	d.LMTPPort, d.LMTPAddr = s.LMTPPort, net.JoinHostPort(s.Address, strconv.Itoa(s.LMTPPort))
}

// Start starts the server again after Stop, on the same ports and mail. The first start takes other
// ports where somebody was faster.
func (d *Dovecot) Start() {
	d.t.Helper()
	for attempt := 0; ; attempt++ {
		err := d.launch()
		if err == nil {
			return
		}
		if attempt == 5 || !strings.Contains(err.Error(), "Address already in use") {
			d.t.Fatalf("dovecot does not start: %v", err)
		}
		d.takePorts()
	}
}

func (d *Dovecot) launch() error {
	var conf bytes.Buffer
	s := d.settings
	s.Password = strings.ReplaceAll(s.Password, "%", "%%") // the file's own escape
	if err := template.Must(template.New("dovecot.conf").Parse(DovecotConfig)).Execute(&conf, s); err != nil {
		return err
	}
	path := filepath.Join(d.settings.Dir, "dovecot.conf")
	if err := os.WriteFile(path, conf.Bytes(), 0o600); err != nil {
		return err
	}
	var err error
	if d.child, err = startChild(exec.Command("dovecot", "-F", "-c", path), nil); err != nil {
		return err
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if d.child.ended() {
			log, _ := os.ReadFile(d.LogPath)
			return fmt.Errorf("it ended: %s%s", d.child.out.Bytes(), log)
		}
		if greets(d.Address, d.POP3Port, d.IMAPPort, d.LMTPPort) {
			return nil
		}
	}
	d.Stop()
	return errors.New("no answer within 20 s")
}

// Stop stops the server with all its sessions, in order; mail, log and ports are kept.
func (d *Dovecot) Stop() { d.child.stop() }

// Kill is Stop with SIGKILL: what the server had not stored is gone.
func (d *Dovecot) Kill() { d.child.kill() }
