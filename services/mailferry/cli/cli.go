// Package cli is the client side of the command line: what an operator asks of control.
//
// [Commands] is embedded in the command line of the binary; each command talks to control over Connect
// RPC with the token of the installation, prints a table or plain lines for people and, with --json, one
// JSON object a line for programs. Every error is one line on standard error: what happened, to which
// account, what to do, and its kind in brackets. Exit codes: 0 all right, 1 the operation failed, 2 the
// command line cannot be understood.
//
// A password never stands on a command line: it comes from a file, from standard input, or is asked for
// without echo.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/term"
)

// Commands are the client commands, to be embedded in a kong command line with `embed:""`.
type Commands struct {
	Account   AccountCmd   `cmd:"" group:"client" help:"Add, test, list, show, edit and remove remote accounts."`
	Fetch     FetchCmd     `cmd:"" group:"client" help:"Fetch now (Connect Now) and watch the run live."`
	Runs      RunsCmd      `cmd:"" group:"client" help:"Show the last runs of an account."`
	Status    StatusCmd    `cmd:"" group:"client" help:"Show what the fleet is doing and whether its parts answer."`
	Index     IndexCmd     `cmd:"" group:"client" help:"Reset the record of what was collected."`
	Domain    DomainCmd    `cmd:"" group:"client" help:"Add, list, edit and remove domains."`
	Settings  SettingsCmd  `cmd:"" group:"client" help:"Show and set what holds for all accounts."`
	Schedule  ScheduleCmd  `cmd:"" group:"client" help:"Show when an account is run next, and why."`
	Providers ProvidersCmd `cmd:"" group:"client" help:"Show the mail providers whose servers an address is enough for."`
	Rules     RulesCmd     `cmd:"" group:"client" help:"Show and set rules that send messages elsewhere."`
	Route     RouteCmd     `cmd:"" group:"client" help:"Show who would get a message, and why."`
	Dead      DeadCmd      `cmd:"" group:"client" help:"Inspect, retry and drop what could not be delivered."`
}

// Env is where the commands run: their streams, terminal and clock. Commands get it from kong as *Env.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Terminal says that a person watches Stdout, AskTerminal that one can be asked on Stdin.
	Terminal, AskTerminal bool
	// ReadPassword reads a line from the terminal without echo.
	ReadPassword func() ([]byte, error)
	Getenv       func(string) string
	Now          func() time.Time

	json bool // set by --json, for errors
}

// OSEnv is the environment of the process.
func OSEnv() *Env {
	return &Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Terminal:     term.IsTerminal(int(os.Stdout.Fd())),
		AskTerminal:  term.IsTerminal(int(os.Stdin.Fd())),
		ReadPassword: func() ([]byte, error) { return term.ReadPassword(int(os.Stdin.Fd())) },
		Getenv:       os.Getenv,
		Now:          time.Now,
	}
}

// Bind returns the kong options the commands need to run.
func Bind(ctx context.Context, env *Env) kong.Option {
	return kong.OptionFunc(func(k *kong.Kong) error {
		for _, o := range []kong.Option{kong.Bind(env), kong.BindTo(ctx, (*context.Context)(nil))} {
			if err := o.Apply(k); err != nil {
				return err
			}
		}
		return nil
	})
}

// Ref names an account on a command line: DOMAIN/NAME.
type Ref struct{ Domain, Name string }

// UnmarshalText reads DOMAIN/NAME.
func (r *Ref) UnmarshalText(text []byte) error {
	domain, name, ok := strings.Cut(string(text), "/")
	if !ok || domain == "" || name == "" || strings.Contains(name, "/") {
		return fmt.Errorf("%q does not name an account: want DOMAIN/NAME, for instance example.com/gmail-alice", string(text))
	}
	r.Domain, r.Name = domain, name
	return nil
}

// String returns DOMAIN/NAME.
func (r Ref) String() string { return r.Domain + "/" + r.Name }
