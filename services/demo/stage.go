package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/mailferry/mailferry/pkg/testenv"
)

// stage is what the demo has set up and takes down again.
type stage struct {
	once   bool
	binary string
	dir    string
	step   int
	ends   []func()
}

func (s *stage) atEnd(f func()) { s.ends = append(s.ends, f) }

// clear ends everything that was started, in reverse order.
func (s *stage) clear() {
	for i := len(s.ends) - 1; i >= 0; i-- {
		s.ends[i]()
	}
	s.ends = nil
}

func (s *stage) say(format string, args ...any) {
	s.step++
	fmt.Printf("\n%d. "+format+"\n", append([]any{s.step}, args...)...)
}

func (s *stage) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, s.binary, args...)
	c.Env = append(os.Environ(), "MAILFERRY_DATA="+s.dir+"/data")
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// show runs a command of the client as a user would, and shows it.
func (s *stage) show(ctx context.Context, args ...string) error {
	fmt.Println("   $ mailferry " + strings.Join(args, " "))
	c := s.command(ctx, args...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("mailferry %s: %w", args[0], err)
	}
	return nil
}

// quiet runs a command of the client; what it says is part of the error only.
func (s *stage) quiet(ctx context.Context, args ...string) error {
	out, err := s.command(ctx, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mailferry %s: %w: %s", args[0], err, out)
	}
	return nil
}

// host lets the parts of the test environment live as long as the demo.
type host struct {
	testing.TB
	s *stage
}

type fatal struct{ text string }

func (host) Helper()             {}
func (h host) Cleanup(f func())  { h.s.atEnd(f) }
func (host) Logf(string, ...any) {}
func (host) Log(...any)          {}
func (host) Name() string        { return "demo" }
func (host) Fatal(args ...any)   { panic(fatal{fmt.Sprint(args...)}) }
func (host) Error(args ...any)   { fmt.Fprintln(os.Stderr, args...) }
func (host) Errorf(f string, args ...any) {
	fmt.Fprintf(os.Stderr, f+"\n", args...)
}

func (host) Fatalf(f string, args ...any) { panic(fatal{fmt.Sprintf(f, args...)}) }
func (host) Failed() bool                 { return false }

func (s *stage) startDovecot() (d *testenv.Dovecot, err error) {
	defer func() {
		if p := recover(); p != nil {
			f, ok := p.(fatal)
			if !ok {
				panic(p)
			}
			err = fmt.Errorf("dovecot: %s", f.text)
		}
	}()
	return testenv.NewDovecot(host{s: s}, testenv.DovecotPassword(password)), nil
}
