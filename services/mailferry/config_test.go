package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailferry/mailferry/services/mailferry/cli"
)

// parse reads a command line with a configuration file.
func parse(t *testing.T, yaml string, args ...string) (*commands, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mailferry.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MAILFERRY_CONFIG", path)
	var c commands
	parser, err := newParser(&c, newTerminal(os.Stdout, os.Stderr), cli.Bind(t.Context(), cli.OSEnv()))
	if err != nil {
		return nil, err
	}
	parser.Exit = func(int) {}
	_, err = parser.Parse(args)
	return &c, err
}

func TestCommandLineWinsOverEnvironmentOverFile(t *testing.T) {
	const yaml = "nats-url: nats://file:4222\nslots: 7\nnats: {creds: /file.creds}\nworker: {slots: 9}\nlease: 2s\n"
	c, err := parse(t, yaml, "worker")
	if err != nil {
		t.Fatal(err)
	}
	if c.Worker.NATSURL != "nats://file:4222" || c.Worker.Slots != 9 || c.Worker.NATSCreds != "/file.creds" || c.Worker.Lease != 2*time.Second {
		t.Errorf("file: %+v", c.Worker)
	}
	t.Setenv("MAILFERRY_NATS_URL", "nats://env:4222")
	if c, err = parse(t, yaml, "worker"); err != nil || c.Worker.NATSURL != "nats://env:4222" {
		t.Errorf("environment: %v %v", c, err)
	}
	if c, err = parse(t, yaml, "worker", "--nats-url", "nats://flag:4222", "--slots=3"); err != nil || c.Worker.NATSURL != "nats://flag:4222" || c.Worker.Slots != 3 {
		t.Errorf("command line: %v %v", c, err)
	}
}

func TestConfigFileOfTheFlag(t *testing.T) {
	path := filepath.Join(t.TempDir(), "other.yaml")
	if err := os.WriteFile(path, []byte("slots: 11\negress-allow: [10.0.0.0/8, 127.0.0.0/8]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := parse(t, "slots: 7\n", "--config", path, "worker")
	if err != nil || c.Worker.Slots != 11 || len(c.Worker.EgressAllow) != 2 {
		t.Errorf("%+v %v", c, err)
	}
}

func TestMistakesInTheConfigFileAreSeen(t *testing.T) {
	for yaml, want := range map[string]string{
		"slotz: 7\n":                    "slotz",
		"worker: {data: x}\n":           "worker-data",
		"nats-url: a\nnats: {url: b}\n": "nats-url is given twice",
		"slots: many\n":                 "many",
		"slots: [":                      "yaml",
		"delivery: {slots: {deep: 1}}":  "delivery-slots-deep",
	} {
		if _, err := parse(t, yaml, "worker"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", yaml, err)
		}
	}
	t.Setenv("MAILFERRY_CONFIG", "/nowhere.yaml")
	if _, err := configured("/nowhere.yaml"); err == nil {
		t.Error("a missing file is passed over")
	}
}

// Every flag of a process can be set by a variable of the form the documentation promises.
func TestEveryFlagHasItsVariable(t *testing.T) {
	var c commands
	parser, err := newParser(&c, newTerminal(os.Stdout, os.Stderr), cli.Bind(t.Context(), cli.OSEnv()))
	if err != nil {
		t.Fatal(err)
	}
	roles := map[string]bool{"up": true, "planner": true, "worker": true, "delivery": true, "control": true}
	for _, n := range parser.Model.Children {
		if !roles[n.Name] {
			continue
		}
		delete(roles, n.Name)
		for _, f := range n.Flags {
			want := "MAILFERRY_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
			if f.Name != "help" && (len(f.Envs) != 1 || f.Envs[0] != want) {
				t.Errorf("%s --%s: %q", n.Name, f.Name, f.Envs)
			}
		}
	}
	if len(roles) > 0 {
		t.Errorf("roles are missing: %v", roles)
	}
}

func TestCommandLineMistakesExitWithTwo(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"fly"}, {"worker", "--slots", "many"}, {"control"}, {}} {
		cmd, out := command(t, args...)
		if code := exitCode(cmd.Run()); code != 2 || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("%q: exit %d: %s", args, code, out)
		}
	}
	cmd, out := command(t, "version")
	if err := cmd.Run(); err != nil || !strings.HasPrefix(out.String(), "mailferry ") {
		t.Errorf("version: %v %s", err, out)
	}
}
