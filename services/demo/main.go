// Command demo shows mailferry at work on this machine: a private Dovecot with a POP3 and an IMAP mailbox
// as the remote server, "mailferry up" with its data in a folder, two accounts, a fetch of each, and a
// count of what arrived where. It is for newcomers and for the test of the whole path; it is no part of
// the product.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/mailferry/mailferry/pkg/testenv"
)

const (
	messages = 200
	large    = 12 << 20
	password = "demo-password"
)

func main() {
	once := flag.Bool("once", false, "end after the second fetch, with status 0 only if all was delivered exactly once")
	binary := flag.String("mailferry", ".bin/mailferry", "the program to show")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := &stage{once: *once}
	err := s.play(ctx, *binary)
	stop()
	s.clear()
	switch {
	case err == nil:
	case ctx.Err() != nil && !*once:
		fmt.Println("\nStopped; nothing is left running.")
	default:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// play is the demo from beginning to end.
func (s *stage) play(ctx context.Context, binary string) error {
	path, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	s.binary = path
	if s.dir, err = os.MkdirTemp("/tmp", "mailferry-demo-"); err != nil { // short: socket paths lie beneath
		return err
	}
	s.atEnd(func() { _ = os.RemoveAll(s.dir) })
	s.say("A private Dovecot as the remote server, with %d messages for POP3 and %d for IMAP", messages, messages)
	dovecot, err := s.startDovecot()
	if err != nil {
		return err
	}
	boxes := s.seed(dovecot)
	fmt.Printf("   pop3 %s:%d and imap %s:%d, user name and password as you see below\n", dovecot.Host, dovecot.POP3Port, dovecot.Host, dovecot.IMAPPort)
	if err := s.startUp(ctx, dovecot); err != nil {
		return err
	}
	if err := s.addAccounts(ctx, boxes); err != nil {
		return err
	}
	if err := s.fetchAll(ctx, boxes, "Fetch"); err != nil {
		return err
	}
	if err := s.count(boxes); err != nil {
		return err
	}
	if err := s.fetchAll(ctx, boxes, "Fetch again: nothing is new"); err != nil {
		return err
	}
	if err := s.count(boxes); err != nil {
		return err
	}
	if s.once {
		return nil
	}
	s.whatNext(boxes)
	<-ctx.Done()
	return ctx.Err()
}

// box is one remote mailbox and where its mail goes.
type box struct {
	account, protocol, user, forwardTo string
	port                               int
	host                               string
	seeds                              []testenv.Seed
	// destination is the Maildir that gets the mail.
	destination, how string
}

func (s *stage) seed(d *testenv.Dovecot) []*box {
	alice := &box{
		account: "demo.example/alice-pop3", protocol: "pop3", user: "alice", forwardTo: "alice@demo.example", host: d.Host, port: d.POP3Port,
		destination: d.Maildir("alice@demo.example"), how: "LMTP to Dovecot",
	}
	bob := &box{
		account: "demo.example/bob-imap", protocol: "imap", user: "bob", forwardTo: "bob@files.example", host: d.Host, port: d.IMAPPort,
		destination: filepath.Join(s.dir, "mail", "files.example", "bob"), how: "Maildir",
	}
	for _, b := range []*box{alice, bob} {
		b.seeds = testenv.Corpus(testenv.CorpusConfig{Name: b.user, Messages: messages, Large: large})
		for _, m := range b.seeds {
			d.Append(b.user, m.Raw)
		}
	}
	return []*box{alice, bob}
}

func (s *stage) startUp(ctx context.Context, d *testenv.Dovecot) error {
	s.say("mailferry up, with its data in %s", filepath.Join(s.dir, "data"))
	if err := os.Mkdir(filepath.Join(s.dir, "mail"), 0o755); err != nil { // the folder of the Maildirs: mailferry makes what is in it
		return err
	}
	log, err := os.Create(filepath.Join(s.dir, "up.log"))
	if err != nil {
		return err
	}
	up := exec.Command(s.binary, "up", "--data", filepath.Join(s.dir, "data"), "--listen", "127.0.0.1:0", "--health-listen", "off",
		"--remote-ca", d.CAPath, "--egress-allow", "127.0.0.0/8", "--log-format", "json")
	up.Stdout, up.Stderr = log, log
	up.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := up.Start(); err != nil {
		return fmt.Errorf("start mailferry: %w", err)
	}
	var failure error // of up, to be read once ended is closed
	ended := make(chan struct{})
	go func() {
		failure = up.Wait()
		close(ended)
	}()
	s.atEnd(func() {
		_ = up.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(40 * time.Second):
			_ = up.Process.Kill()
		}
	})
	deadline := time.After(time.Minute)
	for s.quiet(ctx, "status") != nil {
		select {
		case <-ended:
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("mailferry up ended: %w\n%s", failure, text)
		case <-deadline:
			return errors.New("mailferry up does not answer; see " + log.Name())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	if err := s.quiet(ctx, "domain", "add", "demo.example", "--destination", "lmtp:unix:"+d.LMTPSocket); err != nil {
		return err
	}
	return s.quiet(ctx, "domain", "add", "files.example", "--destination", "maildir:"+filepath.Join(s.dir, "mail", "%d", "%n"))
}

func (s *stage) addAccounts(ctx context.Context, boxes []*box) error {
	s.say("Two remote accounts")
	secret := filepath.Join(s.dir, "password")
	if err := os.WriteFile(secret, []byte(password), 0o600); err != nil {
		return err
	}
	for _, b := range boxes {
		if err := s.show(ctx, "account", "add", b.account, "--protocol", b.protocol, "--host", fmt.Sprintf("%s:%d", b.host, b.port),
			"--username", b.user, "--password-file", secret, "--forward-to", b.forwardTo); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) fetchAll(ctx context.Context, boxes []*box, title string) error {
	s.say("%s", title)
	for _, b := range boxes {
		if err := s.show(ctx, "fetch", b.account); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) whatNext(boxes []*box) {
	s.say("It stays up until Ctrl-C. In another terminal, try")
	fmt.Printf("   export MAILFERRY_DATA=%s\n", filepath.Join(s.dir, "data"))
	for _, args := range []string{"status", "account list", "account show " + boxes[0].account, "runs " + boxes[0].account,
		"index reset " + boxes[1].account, "fetch " + boxes[1].account, "fetch --all --wait", "--help"} {
		fmt.Printf("   %s %s\n", s.binary, args)
	}
}
