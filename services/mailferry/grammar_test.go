package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/mailferry/mailferry/services/mailferry/cli"
)

// TestACommandAloneIsWhatItIsAmongAll: the help of a client's command is the same whether the other commands are there or not.
func TestACommandAloneIsWhatItIsAmongAll(t *testing.T) {
	t.Setenv("MAILFERRY_CONFIG", "")
	help := func(ast any, command string) string {
		out, err := os.Create(filepath.Join(t.TempDir(), "help"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		parser, err := newParser(ast, newTerminal(out, out), cli.Bind(t.Context(), cli.OSEnv()))
		if err != nil {
			t.Fatal(err)
		}
		parser.Exit = func(int) {}
		_, _ = parser.Parse([]string{command, "--help"})
		text, err := os.ReadFile(out.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	all := reflect.TypeFor[cli.Commands]()
	for i := range all.NumField() {
		command := strings.ToLower(all.Field(i).Name)
		alone := grammar(&commands{}, []string{command})
		if _, whole := alone.(*commands); whole {
			t.Errorf("%s is not taken alone", command)
		}
		if got, want := help(alone, command), help(&commands{}, command); got != want || !strings.Contains(got, "mailferry "+command) {
			t.Errorf("%s:\n%s\nwant\n%s", command, got, want)
		}
	}
	for _, args := range [][]string{{}, {"--help"}, {"worker"}, {"fetch", "--config=x"}, {"account", "--config", "x"}, {"feth"}} {
		if _, whole := grammar(&commands{}, args).(*commands); !whole {
			t.Errorf("%q is not taken as a whole", args)
		}
	}
}
