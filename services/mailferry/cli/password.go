package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// maxPassword bounds what is read as a password, in bytes.
const maxPassword = 8192

// Password says where a password comes from. There is no flag for the password itself: a command line
// is seen by everybody on the machine and kept in the history of the shell.
type Password struct {
	PasswordFile  string `name:"password-file" placeholder:"FILE" xor:"password" group:"password" help:"Read the password from the first line of a file."`
	PasswordStdin bool   `name:"password-stdin" xor:"password" group:"password" help:"Read the password from the first line of standard input."`
}

// given says that the command line names a source.
func (p *Password) given() bool { return p.PasswordFile != "" || p.PasswordStdin }

// read returns the password, asking for it on a terminal if no source is given.
func (p *Password) read(env *Env, account string) (string, error) {
	switch {
	case p.PasswordFile != "":
		f, err := os.Open(p.PasswordFile)
		if err != nil {
			return "", usage("the password file cannot be read: %v", err)
		}
		defer func() { _ = f.Close() }()
		return firstLine(f, "the password file")
	case p.PasswordStdin:
		return firstLine(env.Stdin, "standard input")
	case !env.AskTerminal:
		return "", usage("account %s: there is no terminal to ask for the password: give --password-file or --password-stdin", account)
	}
	_, _ = fmt.Fprintf(env.Stderr, "Password of %s: ", account)
	b, err := env.ReadPassword()
	_, _ = fmt.Fprintln(env.Stderr)
	if err != nil {
		return "", usage("account %s: the password cannot be read: %v", account, err)
	}
	if len(b) == 0 {
		return "", usage("account %s: the password is empty", account)
	}
	return string(b), nil
}

func firstLine(r io.Reader, source string) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxPassword+2))
	if err != nil {
		return "", usage("%s cannot be read: %v", source, err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	line = strings.TrimSuffix(line, "\r")
	switch {
	case line == "":
		return "", usage("there is no password in %s", source)
	case len(line) > maxPassword:
		return "", usage("the password in %s is longer than %d bytes", source, maxPassword)
	}
	return line, nil
}
